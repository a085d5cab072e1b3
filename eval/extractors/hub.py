"""Models of transformers by folder or hub id: safetensors only, no remote code.

In: a folder, or an id of the Hugging Face hub that is in the local cache or can be fetched. Out: the folder, the model
in float32, the settings of its preprocessing, and the hash of its weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError, UsageError, first_line
from v2t_eval.core.features import versions
from v2t_eval.core.models import file_sha256
from v2t_eval.extractors.pixels import pil_square

if TYPE_CHECKING:
    from torch import Tensor

_FILES = ["*.json", "*.safetensors", "*.txt", "*.model"]
_FILTERS = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}  # PIL's numbers
_SETTINGS = ("preprocessor_config.json", "video_preprocessor_config.json")


def model_folder(where: str, family: str) -> Path:
    """The folder of a model.

    Raises:
        UsageError: `where` is empty. MissingDependencyError: it is neither here nor can be fetched.
    """
    if not where:
        raise UsageError(f"{family}: a folder or a hub id is expected after the colon")
    folder = Path(where)
    if folder.is_dir():
        return folder
    hint = f"where there is internet: hf download {where}; then name its folder or its id"
    if where.count("/") > 1 or where.startswith((".", "~", "/")):
        raise MissingDependencyError(f"{family}: there is no folder {where}", code="MODEL")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

    # The HTTP library's own errors are bases of the hub's, whichever library it is.
    bases = [base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception)]
    problems: tuple[type[Exception], ...] = (*bases, EntryNotFoundError, OSError, ValueError)
    try:
        return Path(snapshot_download(where, allow_patterns=_FILES))
    except problems as error:
        raise MissingDependencyError(
            f"{family}: cannot get {where}: {first_line(error)}", code="MODEL", hint=hint
        ) from error


def load_model(kind: str, folder: Path, device: str, *, dtype: str = "float32", **options: Any) -> Any:
    """The model in `folder` by the class `kind` of transformers, on `device`, for inference.

    Raises:
        MissingDependencyError: no safetensors there, or weights that do not load.
    """
    import transformers
    from safetensors import SafetensorError
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, report = getattr(transformers, kind).from_pretrained(
            str(folder), local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=dtype,
            output_loading_info=True, **options,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise MissingDependencyError(f"cannot load the model in {folder}: {error}", code="MODEL") from error
    if report["missing_keys"]:  # transformers fills them with random numbers, and continues
        lacking = sorted(report["missing_keys"])
        raise MissingDependencyError(
            f"{folder} lacks {len(lacking)} weights of a {type(model).__name__}, such as {lacking[0]}", code="MODEL"
        )
    return model.to(device).eval()


def config_of(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder.

    Raises:
        MissingDependencyError: it is absent or no JSON object.
    """
    return _read(folder / "config.json")


def processor_settings(folder: Path) -> dict[str, Any]:
    """Settings of the processor of pictures or clips that came with the model; empty when there are none."""
    for name in _SETTINGS:
        if (folder / name).is_file():
            return _read(folder / name)
    if (folder / "processor_config.json").is_file():
        both = _read(folder / "processor_config.json")
        return both.get("image_processor") or both.get("video_processor") or {}
    return {}


def weights_sha256(folder: Path) -> str:
    """sha256 of the weights: of the file, or of the list of names and hashes where there are several."""
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return file_sha256(files[0])
    return hashlib.sha256("".join(f"{path.name}={file_sha256(path)};" for path in files).encode()).hexdigest()


def about(name: str, folder: Path, model: Any, preprocess: str) -> dict[str, str]:
    """The part of a fingerprint that all models of transformers have in common."""
    return {
        "model": f"{name} ({type(model).__name__})",
        "weights": weights_sha256(folder),
        "preprocess": preprocess,
        "library": versions("transformers"),
    }


def side_of(size: Any, default: int) -> int | tuple[int, int]:
    """The side, or (h, w), that `size` of a processor's settings stands for; `shortest_edge` is a side."""
    if isinstance(size, dict):
        if "shortest_edge" in size:
            return int(size["shortest_edge"])
        return int(size["height"]), int(size["width"])
    return int(size) if size else default


def pil_input(
    pixels: np.ndarray, settings: dict[str, Any], trained: int, device: str, *, crops: bool | None, resample: int
) -> Tensor:
    """float32 (n, 3, h, w) in 0..1 of uint8 (n, H, W, 3), as a processor of these settings prepares pictures for a
    model of `trained` pixels a side; `crops` and `resample` where they say nothing, `crops` None where one side does.
    """
    side = side_of(settings.get("size"), trained)
    cut = settings.get("do_center_crop", isinstance(side, int) if crops is None else crops)
    return pil_square(
        pixels, side, device, squash=not isinstance(side, int), filter=_FILTERS[settings.get("resample", resample)],
        crop=side_of(settings.get("crop_size"), trained) if cut else None, floor=True,
    )  # fmt: skip


def _read(path: Path) -> dict[str, Any]:
    try:
        config = read_json(path, finite=False)
    except (OSError, ValueError) as error:
        raise MissingDependencyError(f"cannot read {path}: {error}", code="MODEL") from error
    if not isinstance(config, dict):
        raise MissingDependencyError(f"{path} must hold a JSON object", code="MODEL")
    return config
