"""Merging of the shards of a folder, or of several folders, into one (`v2t merge`).

In: output folders of captioning runs. Out: one of them, or a new one, with every clip exactly once in its journal, its
sidecars and its files of the whole; a `MergeResult` with counts and missing shards. Of several records of a clip one
that a person wrote or changed takes precedence, then a good one before a failed one, then the newest. Merging again
changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from cineloop import config as layers
from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, NothingMatchedError, UsageError
from cineloop.files import allow_open_files
from cineloop.journal import Entry, Journal
from cineloop.lock import FolderLock
from cineloop.log import logger, printable
from cineloop.store import StoredFolder, is_store
from v2t.caption import shards, stored
from v2t.caption.ledger import ClipState, Ledger, clip_entry
from v2t.caption.outputs import CaptionFolder
from v2t.writers import html

_ENTRIES_AT_ONCE = 1000
_FORMATS = ("txt", "jsonl")
_NAMED = 10


@dataclass
class MergeResult:
    """The result of a merge. Counts are of the whole after it; `taken` are records that were new to it."""

    output: Path | str
    taken: int = 0
    clips: int = 0
    ok: int = 0
    failed: int = 0
    by_hand: int = 0
    shards: int = 0  # number of merged shards; 0 for none
    missing: list[str] = field(default_factory=list)  # shards that were not started or not finished
    notes: list[str] = field(default_factory=list)
    dry_run: bool = False

    @property
    def exit_code(self) -> int:
        """0; 3 when shards are missing or clips failed."""
        return EXIT_FAILED_ITEMS if self.missing or self.failed else EXIT_OK

    def to_dict(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("taken", "clips", "ok", "failed", "by_hand", "shards")}
        rest = {"missing": self.missing, "notes": self.notes, "dry_run": self.dry_run, "exit_code": self.exit_code}
        return {"output": printable(str(self.output)), **counts, **rest}

    def lines(self) -> list[str]:
        would = "would be " if self.dry_run else ""
        lines = [
            f"{printable(str(self.output))}: {self.clips} clips, {self.ok} captioned ({self.by_hand} by hand), "
            f"{self.failed} failed; {self.taken} records {would}taken over"
        ]
        lines += self.notes
        if self.missing:
            names = ", ".join(self.missing[:_NAMED]) + (" ..." if len(self.missing) > _NAMED else "")
            lines.append(f"{len(self.missing)} of {self.shards} shards are missing: {names}")
            lines.append("run them, then v2t merge again; or caption the rest without --shard")
        return lines


def merge(
    folders: Sequence[Path | str],
    output: Path | str | None = None,
    *,
    formats: Sequence[str] = (),
    allow_mixed: bool = False,
    dry_run: bool = False,
) -> MergeResult:
    """Join the shards of each folder, and several folders into one.

    Args:
        folders: output folders of runs, with shards or without, or addresses of them on a store. Each is joined in
            itself first; a store that is not the output is only read.
        output: the folder for the whole; may be left out for a single folder, which is then joined in place.
        formats: files to write; by default those of the runs.
        allow_mixed: take captions that were made with different settings together.
        dry_run: report what would be done; write nothing.

    Raises:
        UsageError: LOCKED, a run or another merge is active there; OTHER_SETTINGS; no output for several folders.
        NothingMatchedError: a folder holds no captions.
        MissingDependencyError: a folder cannot be written; STORE.
    """
    if output is None:
        if len(folders) != 1:
            raise UsageError("several folders need an output folder", hint="give it by -o")
        output = folders[0]
    with ExitStack() as stack:
        copies: dict[Path | str, StoredFolder] = {}
        for each in dict.fromkeys([*folders, output]):
            if is_store(each):
                is_written = each == output and not dry_run
                formats = stored.formats_for(formats, default=()) if each == output else formats
                way = stored.writing(str(each), formats) if is_written else stored.reading(str(each))
                copies[each] = stack.enter_context(way)
        here = [copies[each].folder if each in copies else Path(each) for each in (*folders, output)]
        merged = join_folders(here[:-1], here[-1], formats, allow_mixed, dry_run, copies.get(output))
    merged.output = output
    return merged


def join_folders(
    folders: Sequence[Path],
    output: Path,
    formats: Sequence[str],
    allow_mixed: bool,
    dry_run: bool = False,
    store: StoredFolder | None = None,
) -> MergeResult:
    """`merge` of folders on this machine, the output perhaps the copy of one on a store."""
    for folder in folders:
        if not (folder / shards.STATE_FOLDER).is_dir():
            raise NothingMatchedError(f"{printable(str(folder))} is not the output folder of a captioning run")
    others = [folder for folder in folders if folder.resolve() != output.resolve()]
    formats = tuple(formats) or _formats_of([*folders, output])
    if not dry_run:
        for folder in others:
            _join(folder, [], _formats_of([folder]), allow_mixed, dry_run=False, store=None)
            html.copy_strips(folder, output)
    merged = _join(output, others, formats, allow_mixed, dry_run, store)
    _find_missing(merged, [*others, output])
    return merged


def _join(
    folder: Path,
    others: list[Path],
    formats: Sequence[str],
    allow_mixed: bool,
    dry_run: bool,
    store: StoredFolder | None,
) -> MergeResult:
    merged = MergeResult(output=folder, dry_run=dry_run)
    _take_over(folder, merged, others, allow_mixed, store)
    if not dry_run:  # by now the ledgers that were joined are out of memory
        with CaptionFolder(folder, formats, store=store) as opened:
            opened.close()
            _count(merged, opened.ledger.known.values())
    return merged


def _take_over(
    folder: Path, merged: MergeResult, others: list[Path], allow_mixed: bool, store: StoredFolder | None
) -> None:
    """Append to the journal of the whole what it lacks; on a dry run only count."""
    dry_run = merged.dry_run
    state = folder / shards.STATE_FOLDER
    path = state / shards.JOURNAL
    mirror = store.segments(path) if store else None
    with ExitStack() as stack:
        if not dry_run:
            stack.enter_context(FolderLock(state / shards.LOCK))
            shards.refuse_running(folder)
        whole = Ledger(stack.enter_context(Journal(path, writable=not dry_run, mirror=mirror)))
        fresh = shards.unmerged_journals(folder, whole.merged)
        paths = [other / shards.STATE_FOLDER / shards.JOURNAL for other in others]
        if dry_run:  # its shards were not joined
            paths += [path for other in others for path in shards.journals(other)]
        allow_open_files(len(fresh) + len(paths))
        # Opened to write, a journal loses the torn line of a killed run, so that its size is that of what was read.
        here = [Ledger(stack.enter_context(Journal(path, writable=not dry_run))) for path in fresh]
        there = [Ledger(stack.enter_context(Journal(path, writable=False))) for path in paths]
        winners = winners_of((whole, *here, *there))
        settings = {key: values for ledger in (*here, *there) for key, values in ledger.settings.items()}
        if not allow_mixed:
            _refuse_mixed(winners, whole.settings | settings)
        entries = _entries(whole, winners, settings, here)
        while batch := list(islice(entries, _ENTRIES_AT_ONCE)):
            merged.taken += sum(entry["kind"] == "clip" for entry in batch)
            if not dry_run:
                whole.journal.append(batch)  # not learned: nothing is read from it any more
        if dry_run:
            _count(merged, [known for _, known in winners.values()])
            return
        sizes = {shards.merge_name(folder, path): path.stat().st_size for path in fresh}
        whole.journal.append([{"kind": "merged", "path": name, "size": size} for name, size in sizes.items()])


Winners = dict[str, tuple[Ledger, ClipState]]


def winners_of(ledgers: Iterable[Ledger]) -> Winners:
    """For each clip the record with precedence and its ledger; the first one's own where nothing is better."""
    winners: Winners = {}
    for ledger in ledgers:
        for clip_id, known in ledger.known.items():
            best = winners.get(clip_id)
            if best is None or known.rank > best[1].rank:
                winners[clip_id] = (ledger, known)
    return winners


def _entries(
    whole: Ledger, winners: Winners, settings: Mapping[str, dict[str, Any]], here: list[Ledger]
) -> Iterator[Entry]:
    """Entries that the journal of the whole lacks: settings, parts of films, records."""
    used = {known.settings for _, known in winners.values()}
    for key, values in settings.items():
        if key in used and whole.settings.get(key) != values:
            yield {"kind": "settings", "key": key, "values": values}
    for ledger in here:
        for clip_id, parts in ledger.parts.items():
            for at, (journal, place) in parts.items():
                if at not in whole.parts.get(clip_id, {}):
                    yield journal.read(place)
    owners, ours = dict(whole.owners), set(map(id, here))
    for clip_id in sorted(winners):
        ledger, known = winners[clip_id]
        mine = whole.known.get(clip_id)
        # Sidecars written by shards count as ours, also where the record of the whole is kept.
        written = {key for other in here if clip_id in other.known for key in other.known[clip_id].keys}
        written -= mine.keys if mine else set()
        if ledger is whole and not written:
            continue
        files = known.files
        if id(ledger) not in ours:  # in a separate folder another clip may have had this name
            files = {name: path for name, path in files.items() if owners.get(path, clip_id) == clip_id}
            files |= mine.files if mine else {}
        owners |= dict.fromkeys(files.values(), clip_id)
        entry = clip_entry(ledger.record(clip_id), known.settings, known.source, files, known.latest, known.at)
        yield {**entry, "written": sorted(written)}


def _refuse_mixed(winners: Winners, settings: Mapping[str, dict[str, Any]]) -> None:
    counts = Counter(known.settings for _, known in winners.values() if known.status == "ok" and not known.by_hand)
    if len(counts) > 1:
        (first, *rest) = sorted(counts, key=lambda key: (-counts[key], key))
        changes = [
            f"{counts[key]} clips with {', '.join(layers.changes(settings.get(first, {}), settings.get(key, {})))}"
            for key in rest
        ]
        raise UsageError(
            f"captions were made with different settings: {counts[first]} clips, and {'; '.join(changes)}",
            code="OTHER_SETTINGS",
            hint="caption those shards again with --overwrite, or --allow-mixed to take them as they are",
        )


def _find_missing(merged: MergeResult, folders: Sequence[Path]) -> None:
    """List the missing shards of the most recent division."""
    facts_by_shard: dict[int, dict[int, dict[str, Any]]] = {}
    newest: dict[int, float] = {}
    for folder in folders:
        for of, group in shards.places(folder).items():
            for index, place in group.items():
                facts = shards.facts_of(place)
                facts_by_shard.setdefault(of, {}).setdefault(index, facts)
                facts_by_shard[of][index] = facts_by_shard[of][index] or facts
                newest[of] = max(newest.get(of, 0.0), place.stat().st_mtime)
    if not facts_by_shard:
        return
    merged.shards = max(newest, key=lambda of: newest[of])
    last = facts_by_shard[merged.shards]
    for index in range(1, merged.shards + 1):
        if not last.get(index):
            why = "not finished" if index in last else "never begun"
            merged.missing.append(f"{index}/{merged.shards} ({why})")
    if len({facts["listing"] for facts in last.values() if facts}) > 1:
        sizes = sorted({facts["listed"] for facts in last.values() if facts})
        merged.notes.append(
            f"the shards were made from different lists of clips ({', '.join(map(str, sizes))} clips): "
            "some may be in no shard; run them again with the same arguments"
        )


def _count(merged: MergeResult, known: Collection[ClipState]) -> None:
    merged.clips = len(known)
    merged.ok = sum(each.status == "ok" for each in known)
    merged.failed = merged.clips - merged.ok
    merged.by_hand = sum(each.by_hand for each in known)


def _formats_of(folders: Sequence[Path]) -> tuple[str, ...]:
    """The formats of the runs in these folders."""
    formats: dict[str, None] = {}
    for folder in folders:
        state = folder / shards.STATE_FOLDER
        for run_folder in (state, *(path.parent for path in shards.journals(folder))):
            try:
                names = layers.read_yaml(run_folder / "config.yaml").get("format", ()) if run_folder.is_dir() else ()
            except UsageError as error:
                logger.debug("%s", error)
                names = ()
            formats |= dict.fromkeys(str(name) for name in names)
    return tuple(formats) or _FORMATS
