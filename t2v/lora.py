"""Low-rank adapters (LoRA, arXiv:2106.09685) of diffusers transformers: loaded strictly, saved plainly.

In: a transformer with diffusers' `PeftAdapterMixin`, and a safetensors file in one of the four dialects trainers write:
`transformer.` (diffusers), `diffusion_model.` (Wan's own module names or diffusers'), `lora_unet_` (kohya, underscores
for dots, with alphas), or bare `blocks.`. Out: an active adapter, and a `LoraReport` of how many keys found a module.
A key that finds none is an error unless asked otherwise: a LoRA that silently does nothing is the commonest complaint
about such tools. What is saved here loads in plain diffusers, scale included.

Letters: r rank, A (r, in) and B (out, r) with W + weight · alpha / r · B A.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY, LORA_WEIGHT_NAME_SAFE, LoraBaseMixin
from safetensors import SafetensorError, safe_open
from torch import nn

from v2t.base.errors import MissingDependencyError, NothingMatchedError, PolicyError, UsageError
from v2t.base.files import write_atomic
from v2t.base.log import logger

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
# Of a saved adapter configuration only what decides its arithmetic is read: the file is somebody else's.
CONFIG_KEYS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora", "lora_bias")


@dataclass(frozen=True, kw_only=True)
class LoraReport:
    """What became of a file's keys, and proof that the adapter acts.

    Args:
        matched: keys that found their module with the right sizes.
        unmatched: the other keys, each with the reason.
        modules: layers that are changed.
        change: mean size of one layer's weight change, relative to the layer's weights; above 0.
    """

    matched: int
    unmatched: tuple[str, ...]
    modules: int
    change: float

    def __str__(self) -> str:
        text = f"{self.matched} of {self.matched + len(self.unmatched)} keys matched, {self.modules} layers changed"
        return f"{text}, by {self.change:.1%} of a weight"


def load_lora(
    transformer: Any,
    source: str | Path | dict[str, torch.Tensor],
    *,
    adapter_name: str = "default",
    weight: float = 1.0,
    allow_partial: bool = False,
    weight_name: str | None = None,
    pipeline: Any = None,
) -> LoraReport:
    """Load an adapter into a transformer and make it act, beside those that already do.

    Args:
        transformer: a diffusers model with `load_lora_adapter`.
        source: a safetensors file, a folder with one, a hub id, or tensors by key.
        adapter_name: the name it gets; must be free.
        weight: how strongly it acts; 0 is not at all.
        allow_partial: load what matches although other keys do not.
        weight_name: which file of a folder or hub repository.
        pipeline: the pipeline around it, where it is offloaded (its hooks are taken off meanwhile).

    Raises:
        NothingMatchedError: no key fits this transformer: the LoRA is another model's.
        UsageError: some keys do not fit, the name is taken, or the adapter would change nothing.
        PolicyError: not a safetensors file.
    """
    if not hasattr(transformer, "load_lora_adapter"):
        raise UsageError(f"{type(transformer).__name__} takes no LoRA: it has no `load_lora_adapter`")
    if adapter_name in getattr(transformer, "peft_config", {}):
        raise UsageError(f"an adapter named {adapter_name!r} is loaded", hint="give another adapter_name")
    name = "the given tensors" if isinstance(source, dict) else str(source)
    tensors, config = _read(source, weight_name)
    found, alphas, unmatched = _match(tensors, _addresses(transformer))
    total = len(tensors)
    matched = total - len(unmatched)
    counts = f"{matched} of {total} keys match {type(transformer).__name__}, {len(unmatched)} do not"
    if not found:
        raise NothingMatchedError(f"{name} is no LoRA for this model: {counts}; for example {_some(unmatched)}")
    if unmatched and not allow_partial:
        raise UsageError(
            f"{name} fits this model only in part: {counts}; for example {_some(unmatched)}",
            hint="allow_partial loads what matches",
        )
    before = list(transformer.active_adapters() or []) if getattr(transformer, "peft_config", None) else []
    transformer.load_lora_adapter(
        found,
        prefix=None,
        adapter_name=adapter_name,
        metadata=_adapter_config(found, alphas, config),
        _pipeline=pipeline,
    )
    transformer.set_adapter([*before, adapter_name])
    layers = _layers(transformer, adapter_name)
    for layer in layers.values():
        layer.set_scale(adapter_name, weight)
    report = LoraReport(
        matched=matched, unmatched=tuple(unmatched), modules=len(layers), change=_change(layers, adapter_name)
    )
    if weight and not report.change > 0:
        transformer.delete_adapters(adapter_name)
        raise UsageError(f"{name} changes nothing: its B matrices are zero ({counts})", hint="was it trained?")
    logger.info("LoRA %s: %s", name, report)
    if unmatched:
        logger.warning("LoRA %s: %d keys are left out, for example %s", name, len(unmatched), _some(unmatched))
    return report


def save_lora(transformer: Any, path: str | Path, *, adapter_name: str = "default") -> Path:
    """Write an adapter as `transformer.<module>.lora_A.weight` and so on, with its configuration in the header.

    Args:
        transformer: a model with that adapter.
        path: a `.safetensors` file, or a folder, which gets `pytorch_lora_weights.safetensors`.

    Returns:
        The file written. Plain diffusers: `transformer.load_lora_adapter(folder, weight_name=file.name)`.

    Raises:
        UsageError: no adapter of that name.
    """
    adapters = getattr(transformer, "peft_config", {})
    if adapter_name not in adapters:
        raise UsageError(f"no adapter {adapter_name!r} to save; loaded: {', '.join(adapters) or 'none'}")
    state = {}
    for module, layer in _layers(transformer, adapter_name).items():
        for kind in ("lora_A", "lora_B"):
            for part, tensor in getattr(layer, kind)[adapter_name].state_dict().items():
                state[f"transformer.{module}.{kind}.{part}"] = tensor.detach().cpu().contiguous()
    config = adapters[adapter_name].to_dict()
    kept = {f"transformer.{key}": _plain(config[key]) for key in CONFIG_KEYS if key in config}
    header = {"format": "pt", LORA_ADAPTER_METADATA_KEY: json.dumps(kept, sort_keys=True)}
    file = Path(path)
    file = file if file.suffix == ".safetensors" else file / LORA_WEIGHT_NAME_SAFE
    write_atomic(file, safetensors.torch.save(state, header))
    return file


class LoraLoader(LoraBaseMixin):
    """LoRA for a pipeline with a `transformer`: loading, saving, weighing (`set_adapters`), fusing, unloading."""

    _lora_loadable_modules = ["transformer"]

    def load_lora_weights(
        self,
        source: str | Path | dict[str, torch.Tensor],
        adapter_name: str = "default",
        weight: float = 1.0,
        *,
        allow_partial: bool = False,
        weight_name: str | None = None,
    ) -> LoraReport:
        """See `load_lora`."""
        return load_lora(
            self.transformer,
            source,
            adapter_name=adapter_name,
            weight=weight,
            allow_partial=allow_partial,
            weight_name=weight_name,
            pipeline=self,
        )

    def save_lora_weights(self, path: str | Path, adapter_name: str = "default") -> Path:
        """See `save_lora`."""
        return save_lora(self.transformer, path, adapter_name=adapter_name)

    def fuse_lora(self, components: tuple[str, ...] = ("transformer",), **kwargs: Any) -> None:
        """Add the active adapters to the weights themselves; `unfuse_lora` takes them out again."""
        super().fuse_lora(components=list(components), **kwargs)

    def unfuse_lora(self, components: tuple[str, ...] = ("transformer",), **kwargs: Any) -> None:
        """Take fused adapters out of the weights."""
        super().unfuse_lora(components=list(components), **kwargs)


# --- reading
def _read(source: str | Path | dict[str, torch.Tensor], weight_name: str | None) -> tuple[dict, dict[str, Any]]:
    """Tensors by key, and what the file's header says of the adapter's configuration."""
    if isinstance(source, dict):
        return dict(source), {}
    file = _file(source, weight_name)
    try:
        tensors = safetensors.torch.load_file(file)
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
    except SafetensorError as error:
        raise PolicyError(f"{file} is not a safetensors file: {error}") from error
    text = header.get(LORA_ADAPTER_METADATA_KEY)
    config = {key.removeprefix("transformer."): value for key, value in json.loads(text).items()} if text else {}
    return tensors, {key: config[key] for key in CONFIG_KEYS if key in config}


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


def _addresses(transformer: nn.Module) -> dict[str, tuple[str, nn.Module]]:
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


def _match(
    tensors: dict[str, torch.Tensor], known: dict[str, tuple[str, nn.Module]]
) -> tuple[dict[str, torch.Tensor], dict[str, float], list[str]]:
    """The keys in this model's words, alphas by module, and the keys that fit nowhere, with the reason."""
    groups: dict[str, dict[str, tuple[str, torch.Tensor]]] = {}
    unmatched = []
    for key, tensor in tensors.items():
        module, part = _split(key)
        if module in known and part not in groups.get(known[module][0], {}):
            groups.setdefault(known[module][0], {})[part] = (key, tensor)
        else:
            unmatched.append(f"{key} (no such layer)" if part else f"{key} (no LoRA key)")
    layers = dict(known.values())
    found, alphas = {}, {}
    for module, parts in groups.items():
        if reason := _misfit(parts, layers[module]):
            unmatched += [f"{key} ({reason})" for key, _ in parts.values()]
            continue
        if "alpha" in parts:
            alphas[module] = float(parts.pop("alpha")[1])
        found.update({f"{module}.{part}": tensor for part, (_, tensor) in parts.items()})
    return found, alphas, unmatched


def _split(key: str) -> tuple[str, str]:
    """The layer's name without its dialect's prefix, and which part of it the tensor is; empty where it is none."""
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


def _adapter_config(found: dict[str, torch.Tensor], alphas: dict[str, float], config: dict[str, Any]) -> dict[str, Any]:
    """Arguments of the adapter's configuration: rank and alpha of each layer; alpha = rank where nothing says more."""
    ranks = {
        key.removesuffix(".lora_A.weight"): t.shape[0] for key, t in found.items() if key.endswith("lora_A.weight")
    }
    if config and not alphas:
        return {**config, "target_modules": sorted(ranks), "lora_bias": any(key.endswith(".bias") for key in found)}
    each = {module: alphas.get(module, float(rank)) for module, rank in ranks.items()}
    rank, alpha = (Counter(values.values()).most_common(1)[0][0] for values in (ranks, each))
    return {
        "r": rank,
        "lora_alpha": alpha,
        "rank_pattern": {f"^{re.escape(module)}": value for module, value in ranks.items() if value != rank},
        "alpha_pattern": {f"^{re.escape(module)}": value for module, value in each.items() if value != alpha},
        "target_modules": sorted(ranks),
        "lora_bias": any(key.endswith(".bias") for key in found),
    }


# --- the adapter in the model
def _layers(transformer: Any, adapter_name: str) -> dict[str, Any]:
    """The layers that carry an adapter, by name."""
    return {
        name: module
        for name, module in transformer.named_modules()
        if hasattr(module, "set_scale") and adapter_name in getattr(module, "lora_A", {})
    }


@torch.no_grad()
def _change(layers: dict[str, Any], adapter_name: str) -> float:
    """Mean size of the first real change of a layer's weights, relative to them; 0 when every layer stays as it is."""
    for layer in layers.values():
        if adapter_name in layer.active_adapters and not layer.disable_adapters:
            if change := float(layer.get_delta_weight(adapter_name).abs().mean()):
                return change / max(float(layer.get_base_layer().weight.float().abs().mean()), 1e-12)
    return 0.0


def _plain(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:3])
