"""Checks of an untrusted model folder before transformers builds it.

In: a folder of configuration, processor, tokenizer and safetensors. Out: nothing, or an error (exit 5, MODEL) with file
and key. Files must be regular and their JSON sound; sizes that decide how much is built have bounds far beyond any
published model, so that a wrong one costs seconds and not the machine; what a chat template computes has a deadline.
What is wrong in another way, transformers finds while loading: `loading` makes an error of ours of whatever it raises.
"""

from __future__ import annotations

import ctypes
import re
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import CineloopError, MissingDependencyError, UsageError, did_you_mean
from cineloop.files import open_file

DEADLINE_S = 20.0
_MAX_TENSORS = 200_000  # of all files; the largest published mixtures of experts have some 90,000
_MAX_HEADER = 100 << 20  # what safetensors itself allows
_OBJECTS = re.compile(
    r"(|\w+_)config|(|video_|image_)(pre)?processor_config|special_tokens_map|tokenizer|model\.safetensors\.index"
)
_NESTED = re.compile(r"(text|vision|audio|llm|language|resampler|qformer|projector)_config|(image|video)_processor")
# Keys whose numbers decide how much is built: what they are called, least and most.
_BOUNDS = (
    (re.compile(r"(num_|n_)?((en|de)coder_|hidden_|frame_)?layers?|(num_|n_)(\w+_)?(layers|blocks)|depth"), 0, 2048),
    (re.compile(r"(num_|n_|num_attention_|num_key_value_|(en|de)coder_attention_)heads?"), 1, 1 << 16),
    (re.compile(r"hidden_size|d_model|embed_dim|vocab_size|patch_size|image_size"), 1, 1 << 24),
    (re.compile(r"intermediate_size|ffn_dim|num_experts|num_queries"), 0, 1 << 24),
    (re.compile(r"(num|max|min|segment)_frames|vision_chunk_frames"), 1, 1 << 16),
    (re.compile(r"(size|crop_size)(\.(height|width|shortest_edge|longest_edge))?"), 1, 1 << 40),
)
_READ = (".json", ".jinja", ".txt", ".model", ".safetensors")
_DTYPES = "auto float64 double float32 float float16 half bfloat16 float8_e4m3fn float8_e5m2 int8 uint8".split()


def check_hub_id(name: str, known: Iterable[str]) -> None:
    """Refuse the name of a model that is no folder here and cannot be a hub id either, before a hub is asked.

    Args:
        known: what a command takes besides, such as "starter" or "openai:".

    Raises:
        UsageError: a path, or nearly a known name.
    """
    scheme, colon, _ = name.partition(":")
    if "/" not in scheme and (near := did_you_mean(scheme + colon, known, show=str, cutoff=0.75)):
        raise UsageError(f"no model is called {name!r}", hint=near)
    if name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1:
        hint = "a hub id looks like OWNER/NAME; a folder is one that save_pretrained or `v2t train` wrote"
        raise UsageError(f"the folder {name!r} of a model does not exist", hint=hint)


def check(folder: Path) -> None:
    """See the head of this file.

    Raises:
        MissingDependencyError: code MODEL, something in the folder is not as any model has it.
    """
    for path in sorted(folder.iterdir()):
        if path.suffix in _READ and path.exists() and not path.is_file():
            raise _unfit(folder, f"{path.name} is not a regular file")
    for path in sorted(folder.glob("*.json")):
        try:
            tree = read_json(path, finite=False)
        except (OSError, ValueError) as error:
            raise _unfit(folder, f"{path.name}: {getattr(error, 'strerror', None) or error}") from error
        if _OBJECTS.fullmatch(path.stem):
            if not isinstance(tree, dict):
                raise _unfit(folder, f"{path.name} must hold a JSON object, not {type(tree).__name__}")
            if path.stem.endswith("config"):
                _check_keys(folder, path.name, tree, "")
    num_tensors = 0
    for path in sorted(folder.glob("*.safetensors")):
        num_tensors += _num_tensors(folder, path)
        if num_tensors > _MAX_TENSORS:
            raise _unfit(folder, f"its weights are {num_tensors} tensors; no more than {_MAX_TENSORS} are loaded")


@contextmanager
def loading(folder: Path) -> Iterator[None]:
    """Whatever building a model from `folder` raises becomes MissingDependencyError, code MODEL, in one line."""
    try:
        yield
    except CineloopError:
        raise
    except Exception as error:  # a folder can be wrong in as many ways as transformers has lines
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"
        raise _unfit(folder, text) from error


def load_weights(model_class: Any, folder: Path, **options: Any) -> Any:
    """The model of a class of transformers with the folder's safetensors, all of them there, ready to answer.

    Args:
        model_class: with `from_pretrained`. options: of `from_pretrained`.

    Raises:
        MissingDependencyError: code MODEL, it cannot be built, or tensors are missing, which are else drawn at random.
    """
    options |= {"local_files_only": True, "use_safetensors": True, "output_loading_info": True}
    with loading(folder):
        model, info = model_class.from_pretrained(folder, **options)
    if lost := sorted(info["missing_keys"]):
        raise _unfit(folder, f"the weights lack {len(lost)} tensors that config.json asks for, such as {lost[0]}")
    return model.eval()


@contextmanager
def template_deadline() -> Iterator[None]:
    """Stop a chat template that computes for longer than `DEADLINE_S`: a template is an untrusted program.

    The block must run Python code, as a template does: it is stopped between two of its steps.

    Raises:
        MissingDependencyError: code MODEL, it was stopped.
    """
    thread, lock = threading.get_ident(), threading.Lock()
    is_over = is_stopped = False

    def stop() -> None:
        nonlocal is_stopped
        with lock:
            if not is_over:
                is_stopped = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(_StoppedError))

    timer = threading.Timer(DEADLINE_S, stop)
    timer.daemon = True
    timer.start()
    try:
        try:
            yield
        finally:
            with lock:
                is_over = True
            timer.cancel()
        while is_stopped:  # at the very end of the block: the interpreter has yet to raise it
            time.sleep(0.001)
    except _StoppedError:
        raise MissingDependencyError(
            f"the chat template of the model computed for more than {DEADLINE_S:g} s and was stopped", code="MODEL"
        ) from None


class _StoppedError(BaseException):
    """Raised inside a template; no `except Exception` on the way may take it for one of its own."""


def _check_keys(folder: Path, name: str, tree: dict[str, Any], place: str) -> None:
    """Raise for the first value of a configuration that no model can have; nested configurations included."""
    for key, value in tree.items():
        path = f"{place}{key}"
        if _NESTED.fullmatch(key) and not isinstance(value, (dict, type(None))):
            raise _unfit(folder, f"{name}: {path} must be an object, got {value!r:.60}")
        if key in ("dtype", "torch_dtype") and isinstance(value, str) and value.removeprefix("torch.") not in _DTYPES:
            raise _unfit(folder, f"{name}: {path} must be one of {', '.join(_DTYPES)}, got {value!r:.60}")
        at = f"{place.rstrip('.').rpartition('.')[2]}.{key}"  # such as size.height
        for pattern, least, most in _BOUNDS:
            if pattern.fullmatch(key) or pattern.fullmatch(at):
                _check_number(folder, f"{name}: {path}", value, least, most)
        if isinstance(value, dict):
            _check_keys(folder, name, value, f"{path}.")


def _check_number(folder: Path, where: str, value: Any, least: int, most: int) -> None:
    """Numbers, text and lists of numbers are looked at; what else a key may hold is for transformers to judge."""
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) or (isinstance(each, (int, float)) and not least <= each <= most):
            raise _unfit(folder, f"{where} must be a number from {least} to {most}, got {each!r:.60}")


def _num_tensors(folder: Path, path: Path) -> int:
    """Tensors of a safetensors file, by its header."""
    try:
        with open_file(path) as file:
            start = file.read(8)
            length: int = struct.unpack("<Q", start)[0] if len(start) == 8 else _MAX_HEADER + 1
            if length > _MAX_HEADER:
                raise ValueError("it is not a safetensors file")
            return file.read(length).count(b'"data_offsets"')
    except (OSError, ValueError) as error:
        raise _unfit(folder, f"{path.name}: {getattr(error, 'strerror', None) or error}") from error


def _unfit(folder: Path, text: str) -> MissingDependencyError:
    return MissingDependencyError(f"cannot load the model in {folder}: {text}", code="MODEL")
