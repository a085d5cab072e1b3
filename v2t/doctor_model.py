"""Whether this machine can run a model, checked before its weights are downloaded: `v2t doctor --model ID`.

In: a folder, or a hub id whose `config.json` (some kilobytes) is fetched; the devices and the disk of the report. Out:
one JSON-able dict: parameters counted from the architecture alone (on torch's meta device, which holds no number),
sizes in GB = 1e9 bytes, and what keeps the model from running here. The memory is that of the weights: what frames and
answers take comes on top, so a fit is a necessary condition and no promise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cineloop import model_folder
from cineloop.errors import MissingDependencyError

GB = 1e9
BYTES = {"cpu": 4, "cuda": 2, "mps": 2}  # of a parameter, as `--dtype auto` loads it
_CLASSES = ("AutoModelForImageTextToText", "AutoModelForMultimodalLM", "AutoModelForCausalLM")


def check(model: str, devices: list[dict[str, Any]], disk: dict[str, float]) -> dict[str, Any]:
    """What is known of a model and this machine.

    Args:
        model: a folder with a `config.json`, or a hub id.
        devices, disk: of the report, see `v2t.doctor.check`.

    Raises:
        UsageError: no folder, and no hub id. MissingDependencyError: MODEL, its configuration cannot be had or read.
    """
    local = (Path(model) / "config.json").is_file()
    if not local:
        model_folder.check_hub_id(model, ("starter", "openai:"))
    folder = Path(model) if local else _fetch_config(model)
    download = 0.0 if local else _weights_gb(model)
    facts: dict[str, Any] = {"id": model, "local": local, "download_gb": download, "fits": {}, "errors": []}
    config = _config(folder)
    facts["type"], facts["parameters"] = str(config.model_type), _parameters(config)
    if facts["parameters"] is None:
        facts["errors"].append(f"{config.model_type} writes no text: name a video or image language model")
        return facts
    for row in devices:
        needs = facts["parameters"] * BYTES[row["device"].partition(":")[0]] / GB
        free = row.get("memory_free_gb")
        fits = free is None or needs <= free
        facts["fits"][row["device"]] = {"needs_gb": round(needs, 3), "free_gb": free, "fits": fits}
    if not any(each["fits"] for each in facts["fits"].values()):
        least = min(each["needs_gb"] for each in facts["fits"].values())
        facts["errors"].append(
            f"its weights take {least:g} GB and more, which no device here has free: a smaller model, --quantize 4bit, "
            "or another machine (openai:URL)"
        )
    if download and download > disk["hub"]:
        facts["errors"].append(f"the download of {download:g} GB does not fit into the {disk['hub']:g} GB free for it")
    return facts


def _fetch_config(model: str) -> Path:
    """The folder in the hub's cache with `config.json` alone."""
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(model, "config.json")).parent
    except (OSError, ValueError) as error:
        raise MissingDependencyError(
            f"no folder {model} with a config.json, and the hub gives none: {type(error).__name__}",
            code="MODEL",
            hint="check the name; without a network name a folder that holds the model's config.json",
        ) from error


def _weights_gb(model: str) -> float:
    """Size of the model's safetensors on the hub; 0 where it does not say."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(model, files_metadata=True).siblings or ()
    except (OSError, ValueError):  # offline with the config in the cache: all else is known
        return 0.0
    return round(sum(file.size or 0 for file in files if file.rfilename.endswith(".safetensors")) / GB, 3)


def _config(folder: Path) -> Any:
    """The configuration, as the installed transformers reads it; no code of the folder runs."""
    from transformers import AutoConfig

    import v2t.model  # noqa: F401  a folder may be one of ours

    model_folder.check(folder)
    with model_folder.loading(folder):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _parameters(config: Any) -> int | None:
    """How many parameters a model of this configuration has; None where it does not write text."""
    import torch
    import transformers

    for name in _CLASSES:
        auto = getattr(transformers, name, None)
        if auto is not None and type(config) in auto._model_mapping:
            with torch.device("meta"):
                model = auto.from_config(config)
            return int(sum(each.numel() for each in model.parameters()))
    return None


def lines(facts: dict[str, Any]) -> list[str]:
    """The same for people; lines that need attention start with an exclamation mark."""
    size = f", {facts['parameters'] / 1e9:.3g} billion parameters" if facts["parameters"] is not None else ""
    source = "here" if facts["local"] else f"download {facts['download_gb'] or 'of unknown size'} GB"
    shown = [f"model       {facts['id']} ({facts['type']}{size}; {source})"]
    for device, row in facts["fits"].items():
        free = f", {row['free_gb']:g} GB free" if row["free_gb"] is not None else ""
        mark = " " if row["fits"] else "!"
        shown.append(f"{mark} on        {device}: its weights take {row['needs_gb']:g} GB{free}")
    return [*shown, *(f"! {line}" for line in facts["errors"])]
