"""Formats of a set written aside and moved to their places, whole or not at all, and not where they are already.

In: records of clips, what writes a format (`v2t.writers`). Out: files and folders, and in the journal of the run folder
what was written of what, so that what another process put there is never replaced.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cineloop.files import replace_whole, sync_tree, text_key
from cineloop.run_folder import RunFolder, refuse_existing
from v2t.writers import Rows

Record = dict[str, Any]  # of one clip, as of `v2t caption`


class FormatPlaces:
    """The places of a run folder, opened with `v2t_eval.clips.store.JOURNAL`; `scratch` is on its file system."""

    def __init__(self, run: RunFolder, scratch: Path) -> None:
        self.run, self.folder, self.scratch = run, run.path, scratch
        self.written: dict[str, str] = {each["place"]: each["print"] for each in run.replay() if "place" in each}

    def place(
        self, place: Path, records: Sequence[Record], write: Callable[[Rows, Path, Path], None], about: str = ""
    ) -> None:
        """Write a format of the records to its place; `about`: what else determines it.

        Raises:
            UsageError: EXISTS, something is there that no earlier run wrote.
        """
        name = place.relative_to(self.folder).as_posix()
        print = text_key(json.dumps([name, list(records), *([about] if about else [])], sort_keys=True).encode())
        if place.exists() and self.written.get(name) == print:
            return
        refuse_existing([place], overwrite=name in self.written, hint="remove it, or name another folder")
        rows = Rows(lambda: iter(records), lambda record: place.parent / record["path"])
        making, old = self.scratch / place.name, self.scratch / "old"
        write(rows, making, place)
        rows.warn_left_out(name)
        sync_tree(making)
        # Known as ours before it is there: a kill in between leaves it to be written again.
        self._remember(name, "")
        place.parent.mkdir(exist_ok=True)
        replace_whole(making, place, old)
        self._remember(name, print)
        (shutil.rmtree if old.is_dir() else lambda path: path.unlink(missing_ok=True))(old)

    def _remember(self, name: str, print: str) -> None:
        self.written[name] = print
        self.run.append([{"place": name, "print": print}])
