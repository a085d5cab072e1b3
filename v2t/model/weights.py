"""Weights: LoRA and QLoRA on the LLM, merging, loading, saving.

In: a captioner, or the folder of one. Out: adapters inside its LLM, merged or saved separately in peft's form, bfloat16
safetensors. LoRA (arXiv:2106.09685), DoRA (arXiv:2402.09353) and QLoRA (arXiv:2305.14314) through peft and
bitsandbytes, which are imported in this file alone. Adapters live inside the LLM, in place: the model keeps its class,
names and `generate`.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cineloop import model_folder
from cineloop.errors import MissingDependencyError, NothingMatchedError, UsageError
from v2t.model.modeling import CineloopForConditionalGeneration
from v2t.model.processing import CineloopProcessor

QUANTIZATIONS = ("nf4", "int8")
ALL_LINEAR = "all-linear"


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """Low-rank adapters on the LLM.

    Args:
        r: rank, >= 1.
        alpha: scale; the update is multiplied by alpha / r; > 0.
        dropout: on the adapter's input, 0 to below 1.
        targets: names of linear layers of the LLM (their last name), or ("all-linear",).
        dora: also learn the size of each weight column.
    """

    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.05
    targets: tuple[str, ...] = (ALL_LINEAR,)
    dora: bool = False

    def __post_init__(self) -> None:
        if self.r < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            raise UsageError(f"LoRA needs r >= 1, alpha > 0, 0 <= dropout < 1; got {self}")
        if isinstance(self.targets, str) or not self.targets:
            raise UsageError(f"LoRA targets must be a non-empty tuple of layer names, got {self.targets!r}")


def apply_lora(model: CineloopForConditionalGeneration, settings: LoraSettings) -> dict[str, int]:
    """Puts adapters into the LLM, in place, and freezes the rest of the LLM; other parts stay as they are.

    Returns:
        How many layers each target matched.

    Raises:
        NothingMatchedError: a target matched no layer; nothing is changed then.
        MissingDependencyError: peft is not installed.
    """
    peft = _need("peft")
    llm = model.model.language_model
    if lora_layers(model):
        raise UsageError("the LLM has adapters already", hint="merge_lora first")
    linear = [name for name, module in llm.named_modules() if _is_linear(module)]
    known = sorted({name.rpartition(".")[2] for name in linear})
    targets = known if settings.targets == (ALL_LINEAR,) else list(settings.targets)
    counts = {target: sum(name.rpartition(".")[2] == target for name in linear) for target in targets}
    missed = [target for target, count in counts.items() if not count]
    if missed or not counts:
        raise NothingMatchedError(
            f"LoRA targets matched no layer of the LLM: {', '.join(missed) or 'no linear layer at all'}",
            hint=f"its linear layers are {', '.join(known) or 'none'}",
        )
    config = peft.LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets,
        use_dora=settings.dora,
    )
    model.lm_head.requires_grad_(False)
    peft.inject_adapter_in_model(config, llm)
    llm.train(model.training)  # new layers start in training mode, with dropout, whatever the model is in
    applied = len(lora_layers(model))
    if applied != sum(counts.values()):
        raise NothingMatchedError(f"LoRA was to reach {sum(counts.values())} layers but reached {applied}")
    return counts


def lora_layers(model: CineloopForConditionalGeneration) -> list[str]:
    """Names of the layers that carry an adapter."""
    return [name for name, module in model.named_modules() if hasattr(module, "lora_A")]


def merge_lora(model: CineloopForConditionalGeneration) -> int:
    """Merges the adapters into their weights and removes them, in place; returns their number.

    Raises:
        UsageError: the LLM is quantised; merging there would round the result to four or eight bits.
    """
    if is_quantized(model):
        raise UsageError(
            "adapters cannot be merged into a quantised LLM without loss",
            hint="build the model unquantised, apply_lora with the same settings, load_trained, then merge",
        )
    names = lora_layers(model)
    for name in names:
        layer = model.get_submodule(name)
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    llm = model.model.language_model
    if hasattr(llm, "peft_config"):
        del llm.peft_config
    return len(names)


def save_adapter(
    model: CineloopForConditionalGeneration, folder: str | os.PathLike[str], *, base: str, base_revision: str
) -> None:
    """Writes the adapters alone, as peft and vLLM read them: `adapter_config.json` and `adapter_model.safetensors`.

    Args:
        model: with adapters that are not merged.
        folder: is created; files in it are replaced.
        base: the captioner they were trained on, as it was named; base_revision: the hash of its files
            (`v2t.backends.local`), by which a server refuses them for another model.

    Raises:
        UsageError: there are no adapters.
    """
    from pathlib import Path

    from safetensors.torch import save_file

    names = lora_layers(model)
    if not names:
        raise UsageError("the model has no adapters to save", hint="apply_lora first, save before merge_lora")
    settings = copy.copy(model.model.language_model.peft_config["default"])
    # The tower and the resampler have layers of the same last names; these adapters are the LLM's alone.
    ends = sorted({name.rpartition(".")[2] for name in names})
    settings.target_modules = rf".*language_model\..*\.({'|'.join(ends)})"
    settings.base_model_name_or_path, settings.revision = base, base_revision
    settings.inference_mode, settings.task_type = True, "CAUSAL_LM"
    state = {}
    for name, value in model.state_dict().items():
        layer, _, part = name.partition(".lora_")
        if part:  # A.default.weight, B.default.weight, magnitude_vector.default.weight
            state[f"base_model.model.{layer}.lora_{part.replace('.default', '')}"] = value.detach().cpu().contiguous()
    place = Path(folder)
    place.mkdir(parents=True, exist_ok=True)
    save_file(state, place / "adapter_model.safetensors", metadata={"format": "pt"})
    settings.save_pretrained(os.fspath(place))


def trained_state(model: CineloopForConditionalGeneration) -> dict[str, Tensor]:
    """Every trained parameter by name: the content of a checkpoint whose frozen parts are stored elsewhere."""
    return {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}


def load_trained(model: CineloopForConditionalGeneration, state: Mapping[str, Tensor]) -> None:
    """Loads a `trained_state` into a model with the same adapters.

    Raises:
        UsageError: a name that the model does not have.
    """
    unknown = model.load_state_dict(state, strict=False).unexpected_keys
    if unknown:
        raise UsageError(
            f"{len(unknown)} trained tensors have no place in the model, such as {unknown[0]}",
            hint="apply_lora with the settings it was trained with",
        )


def is_quantized(model: nn.Module) -> bool:
    """Whether any weight is packed by bitsandbytes."""
    return any(
        hasattr(p, "quant_state") or type(p).__name__ in ("Params4bit", "Int8Params") for p in model.parameters()
    )


def quantization(kind: str) -> Any:
    """The transformers configuration for `nf4` (QLoRA: double quantisation, bfloat16 compute) or `int8`.

    Only the LLM's layers are packed; tower, resampler, projector and head keep their precision.
    """
    from transformers import BitsAndBytesConfig

    _need("bitsandbytes")
    kept = ["model.vision_tower", "model.resampler", "model.projector", "lm_head"]
    if kind == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
            llm_int8_skip_modules=kept,
        )
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    raise UsageError(f"quantisation {kind!r}; choose one of {', '.join(QUANTIZATIONS)}")


def load_model(
    folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None, quantize: str | None = None, **options: Any
) -> CineloopForConditionalGeneration:
    """A whole captioner from a folder or hub id, its LLM quantised according to `quantize`.

    Raises:
        MissingDependencyError: code MODEL, the folder cannot be loaded (see `cineloop.model_folder`).
    """
    if Path(folder).is_dir():
        model_folder.check(Path(folder))
    if quantize is not None:
        options["quantization_config"] = quantization(quantize)
    with model_folder.loading(Path(folder)):
        return CineloopForConditionalGeneration.from_pretrained(os.fspath(folder), dtype=dtype or "auto", **options)


def save_model(
    model: CineloopForConditionalGeneration,
    folder: str | os.PathLike[str],
    processor: CineloopProcessor | None = None,
    dtype: torch.dtype = torch.bfloat16,
) -> None:
    """Writes safetensors in `dtype` and the processor; the model in memory keeps its own precision.

    Raises:
        UsageError: adapters are not merged, or the LLM is quantised.
    """
    if lora_layers(model):
        raise UsageError("the model has unmerged adapters", hint="merge_lora first, or keep trained_state")
    if is_quantized(model):
        raise UsageError(
            "a quantised model is not saved whole", hint="save trained_state and load it onto the same LLM"
        )
    if model.dtype != dtype or any(p.dtype != dtype for p in model.parameters()):
        model = copy.deepcopy(model).to(dtype)
    model.save_pretrained(os.fspath(folder))
    if processor is not None:
        processor.save_pretrained(os.fspath(folder))


def _need(package: str) -> Any:
    import importlib

    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingDependencyError(f"this needs {package}: {error}", hint="pip install 'cineloop[train]'") from error


def _is_linear(module: nn.Module) -> bool:
    # GPT-2 keeps its linear layers in transformers' Conv1D.
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
