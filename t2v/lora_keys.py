"""LoRA files: whatever dialect they are in, their tensors under this model's names, and the keys that do not fit.

In: a safetensors file (or folder, or hub id) and a transformer. Out: `<module>.lora_A.weight` and so on, the alphas,
the arguments of the adapter's configuration. Dialects: `transformer.` (diffusers), `diffusion_model.` (Wan's own module
names or diffusers'), `lora_unet_` (kohya: underscores for dots, an alpha for each layer), bare `blocks.`, and peft's
`base_model.model.`. The names a layer may have are made from the layers the transformer has, so nothing is guessed.

Letters: r rank, A (r, in) and B (out, r).
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY, LORA_WEIGHT_NAME_SAFE
from safetensors import SafetensorError, safe_open
from torch import nn

from cineloop.documents import parse_json, read_text
from cineloop.errors import MissingDependencyError, PolicyError, UsageError

PREFIXES = ("base_model.model.", "transformer.", "diffusion_model.", "lora_unet_")
# How the two matrices, the alpha and the bias are called, after the name of the module.
SUFFIXES = {
    "lora_A.weight": ("lora_A.weight", "lora_A.default.weight", "lora_down.weight", "lora.down.weight"),
    "lora_B.weight": ("lora_B.weight", "lora_B.default.weight", "lora_up.weight", "lora.up.weight"),
    "lora_B.bias": ("lora_B.bias", "lora_up.bias"),
    "alpha": ("alpha",),
}
# diffusers' module names in the words of Wan's own code, which most Wan LoRAs are written in.
WAN_WORDS = (
    (r"\battn1\.", "self_attn."),
    (r"\battn2\.", "cross_attn."),
    (r"\bto_out\.0$", "o"),
    (r"\bto_([qkv])$", r"\1"),
    (r"\badd_([kv])_proj$", r"\1_img"),
    (r"\bffn\.net\.0\.proj$", "ffn.0"),
    (r"\bffn\.net\.2$", "ffn.2"),
    (r"^condition_embedder\.time_proj$", "time_projection.1"),
    (r"^condition_embedder\.(time|text)_embedder\.linear_1$", r"\1_embedding.0"),
    (r"^condition_embedder\.(time|text)_embedder\.linear_2$", r"\1_embedding.2"),
    (r"^proj_out$", "head.head"),
)
# What else decides over the arithmetic; the ranks are the tensors' own. Nothing more is read: the file is untrusted.
SCALE_KEYS = ("lora_alpha", "alpha_pattern", "use_rslora")


def read_lora(source: str | Path | dict[str, torch.Tensor], weight_name: str | None) -> tuple[dict, dict[str, Any]]:
    """Tensors by key, and how they are scaled: by the file's header (diffusers) or `adapter_config.json` (peft).

    Raises:
        PolicyError: not a safetensors file. UsageError: no file, or several. MissingDependencyError: not on the hub.
    """
    if isinstance(source, dict):
        return dict(source), {}
    file = _file(source, weight_name)
    beside = file.with_name("adapter_config.json")
    try:
        tensors = safetensors.torch.load_file(file)
        with safe_open(file, framework="pt") as opened:
            text = (opened.metadata() or {}).get(LORA_ADAPTER_METADATA_KEY)
        text = text or (read_text(beside) if beside.is_file() else "{}")
        config = {key.removeprefix("transformer."): value for key, value in parse_json(text).items()}
    except (SafetensorError, ValueError) as error:
        raise PolicyError(f"{file} is not a safetensors file of a LoRA: {error}") from error
    return tensors, {key: config[key] for key in SCALE_KEYS if key in config}


def _file(source: str | Path, weight_name: str | None) -> Path:
    """The one safetensors file that a path, a folder or a hub id means."""
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.glob("*.safetensors") if weight_name in (None, file.name))
        named = [file for file in files if file.name == LORA_WEIGHT_NAME_SAFE]
        if len(files) != 1 and not named:
            what = ", ".join(file.name for file in files) or "none"
            raise UsageError(f"{path} should hold one safetensors file of a LoRA, holds {what}", hint="name the file")
        return (named or files)[0]
    if path.is_file():
        if path.suffix != ".safetensors":
            raise PolicyError(f"a LoRA is read from safetensors files only, not from {path.name}")
        return path
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", str(source)):
        raise UsageError(f"no LoRA file {source}")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(str(source), weight_name or LORA_WEIGHT_NAME_SAFE))
    except (OSError, ValueError) as error:
        raise MissingDependencyError(f"no file {source}, and the hub gives none of that name: {error}") from error


def layer_names(transformer: nn.Module) -> dict[str, tuple[str, nn.Module]]:
    """Each name a trainer may have for a layer, to the layer's name here and the layer itself."""
    known: dict[str, tuple[str, nn.Module]] = {}
    for name, module in transformer.named_modules():
        if re.search(r"\.(base_layer|lora_\w+)(\.|$)", name):
            continue  # inside an adapter that is loaded already
        layer = getattr(module, "base_layer", module)
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            wan = name
            for ours, theirs in WAN_WORDS:
                wan = re.sub(ours, theirs, wan)
            for alias in (name, wan, name.replace(".", "_"), wan.replace(".", "_")):
                known.setdefault(alias, (name, layer))
    return known


def match_keys(
    tensors: dict[str, torch.Tensor], known: dict[str, tuple[str, nn.Module]]
) -> tuple[dict[str, torch.Tensor], dict[str, float], list[str]]:
    """The keys in this model's words, alphas by module, and the keys that fit nowhere, with the reason."""
    groups: dict[str, dict[str, tuple[str, torch.Tensor]]] = {}
    unmatched = []
    for key, tensor in tensors.items():
        name, part = _split(key)
        module = known[name][0] if name in known else ""
        if reason := "no LoRA key" if not part else "no such layer" if not module else "":
            unmatched.append(f"{key} ({reason})")
        elif part in groups.setdefault(module, {}):
            unmatched.append(f"{key} (a second one for its layer)")
        else:
            groups[module][part] = (key, tensor)
    layers = dict(known.values())
    fitting, alphas = {}, {}
    for module, parts in groups.items():
        if reason := _misfit(parts, layers[module]):
            unmatched += [f"{key} ({reason})" for key, _ in parts.values()]
            continue
        if "alpha" in parts:
            alphas[module] = float(parts.pop("alpha")[1])
        fitting.update({f"{module}.{part}": tensor for part, (_, tensor) in parts.items()})
    return fitting, alphas, unmatched


def _split(key: str) -> tuple[str, str]:
    """The layer's name without its dialect's prefix, and which part of it the tensor is; empty where it is not one."""
    for part, endings in SUFFIXES.items():
        for ending in endings:
            if key.endswith("." + ending):
                name = key[: -len(ending) - 1]
                for prefix in PREFIXES:
                    name = name.removeprefix(prefix)
                return name, part
    return "", ""


def _misfit(parts: dict[str, tuple[str, torch.Tensor]], layer: Any) -> str:
    """Why these tensors cannot change that layer; empty where they can."""
    if not {"lora_A.weight", "lora_B.weight"} <= set(parts):
        return "half of a pair"
    down, up = parts["lora_A.weight"][1], parts["lora_B.weight"][1]
    # A linear layer by its stated sizes, as a quantised weight has a shape of its own.
    own = (layer.out_features, layer.in_features) if isinstance(layer, nn.Linear) else tuple(layer.weight.shape)
    if (up.shape[0], *down.shape[1:]) != own:
        return f"made for a layer of {(up.shape[0], *down.shape[1:])}, this one is {own}"
    return "" if up.shape[1] == down.shape[0] else f"ranks {down.shape[0]} and {up.shape[1]} of one pair differ"


def adapter_config(
    fitting: dict[str, torch.Tensor], alphas: dict[str, float], config: dict[str, Any]
) -> dict[str, Any]:
    """Arguments of the adapter's configuration: rank and alpha of each layer; alpha = rank where nothing is stated."""
    ending = ".lora_A.weight"
    ranks = {key.removesuffix(ending): len(tensor) for key, tensor in fitting.items() if key.endswith(ending)}
    if alphas or "lora_alpha" not in config:
        config = _most(
            {name: alphas.get(name, float(rank)) for name, rank in ranks.items()}, "lora_alpha", "alpha_pattern"
        )
    bias = any(key.endswith(".bias") for key in fitting)
    return {**config, **_most(ranks, "r", "rank_pattern"), "target_modules": sorted(ranks), "lora_bias": bias}


def _most(values: dict[str, Any], key: str, pattern: str) -> dict[str, Any]:
    """The commonest value, and a pattern for each layer that has another."""
    common = Counter(values.values()).most_common(1)[0][0]
    return {key: common, pattern: {f"^{re.escape(name)}": value for name, value in values.items() if value != common}}
