"""Low-rank adapters (LoRA, arXiv:2106.09685) of diffusers transformers: loaded strictly, saved plainly.

In: a transformer with diffusers' `PeftAdapterMixin`, and a safetensors file in any of the dialects of `t2v.lora_keys`.
Out: an active adapter, and a `LoraReport` of how many keys found a layer. A key that finds none is an error unless
asked otherwise: a LoRA that silently does nothing is the commonest complaint about such tools. What is saved here loads
in plain diffusers, scale included.

Letters: r rank, A (r, in) and B (out, r) with W + weight · alpha / r · B A.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from diffusers.loaders.lora_base import LORA_ADAPTER_METADATA_KEY, LORA_WEIGHT_NAME_SAFE, LoraBaseMixin
from diffusers.utils import is_peft_available

from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from cineloop.files import write_atomic
from cineloop.log import logger
from t2v.lora_keys import adapter_config, layer_names, match_keys, read_lora

# Of an adapter's configuration what others need to rebuild it, whatever version of peft they have.
SAVED_KEYS = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "target_modules", "use_rslora", "lora_bias")


@dataclass(frozen=True, kw_only=True)
class LoraReport:
    """How the keys of a file were mapped, and proof that the adapter acts.

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
        PolicyError: not a safetensors file. MissingDependencyError: no peft, or no such file on the hub.
    """
    _check_room(transformer, adapter_name)
    name = "the given tensors" if isinstance(source, dict) else str(source)
    tensors, config = read_lora(source, weight_name)
    fitting, alphas, unmatched = match_keys(tensors, layer_names(transformer))
    matched = len(tensors) - len(unmatched)
    counts = f"{matched} of {len(tensors)} keys match {type(transformer).__name__}, {len(unmatched)} do not"
    if not fitting:
        raise NothingMatchedError(f"{name} is no LoRA for this model: {counts}; for example {_some(unmatched)}")
    if unmatched and not allow_partial:
        raise UsageError(
            f"{name} fits this model only in part: {counts}; for example {_some(unmatched)}",
            hint="allow_partial loads what matches",
        )
    before = list(transformer.active_adapters() or []) if getattr(transformer, "peft_config", None) else []
    config = adapter_config(fitting, alphas, config)
    transformer.load_lora_adapter(fitting, prefix=None, adapter_name=adapter_name, metadata=config, _pipeline=pipeline)
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
    kept = {f"transformer.{key}": _plain(config[key]) for key in SAVED_KEYS if key in config}
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


# --- the adapter in the model
def _check_room(transformer: Any, adapter_name: str) -> None:
    """Raise where no adapter of that name can be put in."""
    if not hasattr(transformer, "load_lora_adapter"):
        raise UsageError(f"{type(transformer).__name__} takes no LoRA: it has no `load_lora_adapter`")
    if adapter_name in getattr(transformer, "peft_config", {}):
        raise UsageError(f"an adapter named {adapter_name!r} is loaded", hint="give another adapter_name")
    if not is_peft_available():
        raise MissingDependencyError("a LoRA needs peft", hint="pip install 'cineloop[train]'")


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
