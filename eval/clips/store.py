"""Parts of films, each cut once: a folder of mp4 files under keys of all that determines their bytes.

In: parts by key, a run folder. Out: `cuts/KEY.mp4` for each in its state. A part is written aside, flushed, renamed and
then journalled: a run that was killed continues with the next one.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError, MissingDependencyError
from cineloop.files import sync, text_key
from cineloop.log import Progress, logger, printable
from cineloop.run_folder import RunFolder
from cineloop.video.worker import DecoderPool
from v2t_eval.clips.cut import VERSION, Cut, CutFile, submit_cut

CUTS = "cuts"
JOURNAL = "cuts.jsonl"  # of the run folder: parts that were cut, places that were written (`clips.placing`)


@dataclass(frozen=True, kw_only=True)
class WantedCut:
    """A part to cut: an id for messages, its key (`cut_key`), and its film, which may raise ItemError."""

    id: str
    key: str
    cut: Cut
    film: Callable[[], Path]


def cut_key(content: str, cut: Cut, **more: Any) -> str:
    """A key of the part of a film with this content (a hash of its bytes); `more` is what else determines it."""
    return text_key(json.dumps([VERSION, content, {**asdict(cut), **more}], sort_keys=True).encode())


class CutStore:
    """The folder of parts in a run folder that is opened with `JOURNAL`; parts in work lie in `scratch`."""

    def __init__(self, run: RunFolder, scratch: Path) -> None:
        self.run, self.folder, self.scratch = run, run.state / CUTS, scratch
        self.folder.mkdir(parents=True, exist_ok=True)

    def path(self, key: str) -> Path:
        """The file of a part."""
        return self.folder / f"{key}.mp4"

    def fill(
        self,
        wanted: Sequence[WantedCut],
        *,
        workers: int,
        stop: Callable[[], bool] = lambda: False,
        show_progress: bool = False,
        failed: dict[str, ItemError],
    ) -> dict[str, tuple[str, CutFile]]:
        """Key and part by id, cut where it is not there yet; those that cannot be are put into `failed`.

        Raises:
            MissingDependencyError: DISK_FULL, no decoder.
        """
        with (
            Progress(len(wanted), "clips", enabled=show_progress) as bar,
            DecoderPool(num_workers=max(1, min(workers, len(wanted))), threads=1) as pool,
        ):
            known = {
                each["key"]: (each["bytes"], CutFile(**each["piece"])) for each in self.run.replay() if "key" in each
            }
            pieces: dict[str, tuple[str, CutFile]] = {}
            waiting: deque[tuple[str, str, Future[CutFile]]] = deque()

            def finish() -> None:
                id, key, future = waiting.popleft()
                try:
                    piece = future.result()
                except ItemError as error:
                    _record_failure(id, error, failed)
                    return
                file = self.scratch / f"{key}.mp4"
                sync(file)
                size = file.stat().st_size
                os.replace(file, self.path(key))
                self.run.append([{"key": key, "bytes": size, "piece": asdict(piece)}])
                known[key], pieces[id] = (size, piece), (key, piece)

            for each in wanted:
                if stop():
                    break
                while any(each.key == other for _, other, _ in waiting):  # the same film under another name
                    finish()
                size, piece = known.get(each.key, (-1, None))
                if piece is not None and _size(self.path(each.key)) == size:
                    pieces[each.id] = (each.key, piece)
                else:
                    try:
                        target = self.scratch / f"{each.key}.mp4"
                        waiting.append((each.id, each.key, submit_cut(pool, each.film(), target, each.cut)))
                    except ItemError as error:
                        _record_failure(each.id, error, failed)
                while len(waiting) >= 2 * workers:
                    finish()
                bar.advance(1)
            while waiting:
                finish()
        return pieces

    def sweep(self, keys: set[str]) -> None:
        """Remove parts that no set holds any longer; their films can give them again."""
        for path in self.folder.glob("*.mp4"):
            if path.stem not in keys:
                path.unlink()


def _record_failure(id: str, error: ItemError, failed: dict[str, ItemError]) -> None:
    if error.code == "DISK_FULL":
        raise MissingDependencyError(
            error.message,
            code=error.code,
            hint="free some space, then run the same command again; it continues where it stopped",
        ) from error
    logger.warning("%s is left out: %s: %s", printable(id), error.code, printable(error.message))
    failed[id] = error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
