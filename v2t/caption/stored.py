"""Output folders on object stores, for captioning: which part of one a run copies, and which formats go there.

In: an address. Out: a local copy in which `v2t.caption.outputs` works as in any folder (`cineloop.store`). On a store
are the journals and the formats of one file for the whole run; what needs a file for each clip, or the videos beside
it, is made by `v2t merge s3://... -o DIR` from them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from cineloop.errors import CineloopError, UsageError
from cineloop.journal import encode_entry
from cineloop.log import logger
from cineloop.store import END, StoredFolder, stored_folder
from v2t import writers
from v2t.caption.shards import JOURNAL, LOCK, STATE_FOLDER, parse

DEFAULT = ("jsonl",)
_CHECK = f"{STATE_FOLDER}/create-only"


def formats_for(formats: Sequence[str], *, default: Sequence[str]) -> tuple[str, ...]:
    """The formats of a run whose output is on a store; `default`, those that nobody asked for, become `DEFAULT`.

    Raises:
        UsageError: one that is not written there.
    """
    if tuple(formats) == tuple(default):
        return DEFAULT
    refused = [name for name, writer in writers.load(formats).items() if not is_storable(writer)]
    if refused:
        raise UsageError(
            f"the output is on a store, where {', '.join(refused)} cannot be written: only formats of one file for all "
            "clips can",
            code="NOT_ON_A_STORE",
            hint="--format jsonl,csv,parquet; v2t merge ADDRESS -o DIR --format ... writes the others into a folder",
        )
    return tuple(formats)


def is_storable(writer: object) -> bool:
    """Whether a format is one file for all clips that needs no other file."""
    return hasattr(writer, "NAME") and not hasattr(writer, "OWN") and not getattr(writer, "LINKS_FILES", False)


@contextmanager
def reading(url: str) -> Iterator[StoredFolder]:
    """A copy of the journals at an address, to read; nothing is written there."""
    with stored_folder(url, STATE_FOLDER) as stored:
        stored.pull(lambda name: True)
        yield stored


@contextmanager
def writing(url: str, formats: Sequence[str], shard: str | None = None) -> Iterator[StoredFolder]:
    """A copy of the output folder at an address, to work in; what is made in it is on the store when the block ends.

    Args:
        shard: such as "2/4": what belongs to the others is not copied.

    Raises:
        UsageError, PolicyError: no address that can be written to. MissingDependencyError: STORE.
    """
    index, of = parse(shard) if shard else (0, 0)
    own = f"{STATE_FOLDER}/shard-{index}-of-{of}/" if shard else f"{STATE_FOLDER}/"
    sets = () if shard else _names(formats)
    with stored_folder(url, STATE_FOLDER) as stored:
        stored.pull(
            lambda name: not shard or name.startswith(own) or not name.endswith(f"-of-{of}/{JOURNAL}"),
            lambda name: name in sets or (not shard and ".by-hand" in name),
        )
        stored.store.check_create(_CHECK)
        journal = stored.folder / own / JOURNAL
        if journal in stored.written_at and not _has_ended(journal):
            logger.info(
                "the earlier run did not end in order; going on from there. If it still runs, clips may be captioned "
                "twice, and each has one record"
            )
        try:
            yield stored
        except CineloopError as error:
            if error.code != "STORE":
                with suppress(CineloopError):
                    _push(stored, sets)
            raise
        _push(stored, sets)


def refresh(stored: StoredFolder, own: Path) -> None:
    """Copy again what the other shards have noted of themselves; `own` is the state folder of this one."""
    mine = own.relative_to(stored.folder).as_posix()
    stored.pull(lambda name: name.endswith(".json") and "/shard-" in name and not name.startswith(f"{mine}/"))


def mark_writers(stored: StoredFolder) -> None:
    """Give each journal of a copy whose writer did not end the lock of a process elsewhere: it counts as running while
    its newest segment is as young as the heartbeat of a lock (`cineloop.lock`), as killed afterwards."""
    for journal, at in stored.written_at.items():
        if not _has_ended(journal):
            lock = journal.parent / LOCK
            lock.write_text(json.dumps({"pid": "unknown", "host": ""}))
            os.utime(lock, (at, at))
            os.utime(journal.parent, (at, at))


def _has_ended(journal: Path) -> bool:
    line = encode_entry(END)
    with open(journal, "rb") as file:
        file.seek(max(0, journal.stat().st_size - len(line)))
        return file.read() == line


def _push(stored: StoredFolder, sets: Sequence[str]) -> None:
    stored.push(lambda name: name in sets or ".by-hand" in name)
    stored.end()


def _names(formats: Sequence[str]) -> list[str]:
    """Names of the files of these formats, and of the shipped ones, which an earlier run may have written."""
    known = writers.load_known(DEFAULT + ("csv", "parquet")) | writers.load(formats)
    return [writer.NAME for writer in known.values() if is_storable(writer)]
