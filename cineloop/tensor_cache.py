"""Tensors that are computed once and kept on disk: each entry under a key of everything its values depend on.

In: keys and tensors (latents, embeddings of texts, tokens of a vision tower). Out: the same tensors, in a later run
too. A folder holds `<name>.jsonl`, a journal that says for every key which shard holds it, and shards
`<name>-000000.safetensors`. What is read is what the journal names, never another file of the folder. A shard is
written whole, then recorded in the journal, so a run killed at any moment leaves a sound cache and continues from
there. A changed file, transform, autoencoder or text encoder has another key, or its cache another folder, so nothing
stale is ever read; entries no longer used only take disk space (`size` says how much).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import CineloopError, ItemError, UsageError
from cineloop.files import sweep, text_key, write_atomic
from cineloop.log import logger
from cineloop.run_folder import RunFolder

if TYPE_CHECKING:
    import torch

Tensors = dict[str, "torch.Tensor"]
SHARD_BYTES = 128 << 20
_SHARD_S = 60.0  # a shard is closed after so long, however small, so that a kill costs little


def cache_key(**parts: Any) -> str:
    """A key of named parts (JSON-able): equal if and only if all parts are.

    Of latents: content of the file, window, rate, size, cut, normalisation, weights of the autoencoder, dtype. Of text:
    the words, their greatest length, weights of the text encoder, dtype.
    """
    return text_key(json.dumps(parts, sort_keys=True, ensure_ascii=False, allow_nan=False).encode("utf-8"))


def folder_key(folder: Path) -> str:
    """A hash of a model's weights and configuration files (all `*.safetensors` and `*.json` of its folder, whole).

    Raises:
        UsageError: the folder holds no safetensors file.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix in (".safetensors", ".json"))
    if not any(path.suffix == ".safetensors" for path in paths):
        raise UsageError(f"{folder} holds no weights (*.safetensors)", code="MODEL")
    digest = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digest.update(f"{path.name}|".encode() + hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


class TensorCache:
    """One kind of cached tensors in a folder; picklable, so loader processes can read.

    Args:
        folder: where; made when absent.
        name: the kind, for example "latents".
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = Path(folder), name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.index: dict[str, tuple[str, int]] = {}  # key → shard, its bytes
        self.refresh()

    def refresh(self) -> None:
        """Read the journal again: another process may have added to it. Entries whose shard is damaged are left out."""
        self.index, damaged = {}, set()
        with self._open(writable=False) as folder:
            for entry in folder.replay():
                shard, size = entry["shard"], entry["bytes"]
                if _size(self.folder / shard) == size:
                    self.index |= dict.fromkeys(entry["keys"], (shard, size))
                else:
                    damaged.add(shard)
        for shard in sorted(damaged):
            logger.warning("%s is gone or cut; its entries are made again", self.folder / shard)

    def __contains__(self, key: str) -> bool:
        return key in self.index

    def size(self) -> tuple[int, int]:
        """Entries, and bytes of the shards that hold them."""
        return len(self.index), sum(dict(self.index.values()).values())

    def get(self, key: str) -> Tensors:
        """The tensors of a key, on the CPU.

        Raises:
            CineloopError: code CACHE, the key is not in the cache or its shard was changed.
        """
        if key not in self.index:
            raise CineloopError(f"{self.folder} holds no {self.name} {key}", code="CACHE", hint="fill the cache first")
        shard, size = self.index[key]
        file, names = _map_shard(str(self.folder / shard), size)
        return {name: file.get_tensor(f"{key}/{name}") for name in names[key]}

    def fill(
        self,
        wanted: Iterable[tuple[str, Any]],
        make: Callable[[Any], Tensors],
        *,
        failed: Callable[[Any, ItemError], None] | None = None,
        shard_bytes: int = SHARD_BYTES,
        on_progress: Callable[[int], None] = lambda done: None,
    ) -> int:
        """Make what is wanted and not there; returns how many entries were made. One process fills, others wait.

        Args:
            wanted: (key, what `make` is given).
            make: gives the tensors of one entry; what it raises ends the filling, what is made until then stays.
            failed: called with entries that `make` raises ItemError for, which are left out; None raises it.
            shard_bytes: size at which a shard is closed.
            on_progress: called with the number of entries made so far.
        """
        missing = {key: given for key, given in wanted if key not in self.index}
        if not missing:
            return 0
        with self._open() as folder:
            self.refresh()  # the process that held the lock before may have made them
            sweep(self.folder)
            missing = {key: given for key, given in missing.items() if key not in self.index}
            number = 1 + max((_number(entry["shard"]) for entry in folder.replay()), default=-1)
            waiting: dict[str, Tensors] = {}
            since, done, held = time.monotonic(), 0, 0
            try:
                for key, given in missing.items():
                    try:
                        made = make(given)
                    except ItemError as error:
                        if failed is None:
                            raise
                        failed(given, error)
                        continue
                    waiting[key] = {name: tensor.detach().cpu().contiguous() for name, tensor in made.items()}
                    held += sum(tensor.nbytes for tensor in waiting[key].values())
                    done += 1
                    on_progress(done)
                    folder.beat()
                    if held >= shard_bytes or time.monotonic() - since > _SHARD_S:
                        self._close_shard(folder, number, waiting)
                        number, waiting, since, held = number + 1, {}, time.monotonic(), 0
            finally:
                if waiting:
                    self._close_shard(folder, number, waiting)
        return done

    def _open(self, *, writable: bool = True) -> RunFolder:
        journal, lock = f"{self.name}.jsonl", f"{self.name}.lock"
        return RunFolder(self.folder, state="", journal=journal, lock=lock, writable=writable, waits=True)

    def _close_shard(self, folder: RunFolder, number: int, entries: Mapping[str, Tensors]) -> None:
        from safetensors.torch import save

        shard = f"{self.name}-{number:06d}.safetensors"
        data = save({f"{key}/{name}": t for key, tensors in entries.items() for name, t in tensors.items()})
        write_atomic(self.folder / shard, data)
        folder.append([{"shard": shard, "bytes": len(data), "keys": list(entries)}])
        self.index |= dict.fromkeys(entries, (shard, len(data)))


@lru_cache(maxsize=256)
def _map_shard(path: str, size: int) -> tuple[Any, dict[str, list[str]]]:
    """A shard mapped into memory, and the names of each key's tensors in it."""
    from safetensors import safe_open

    if _size(Path(path)) != size:
        raise CineloopError(f"{path} was changed since the cache was opened", code="CACHE", hint="start again")
    file = safe_open(path, framework="pt")
    names: dict[str, list[str]] = {}
    for full in file.keys():
        key, _, name = full.partition("/")
        names.setdefault(key, []).append(name)
    return file, names


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _number(shard: str) -> int:
    return int(Path(shard).stem.rpartition("-")[2])
