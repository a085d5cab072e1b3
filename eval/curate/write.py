"""Write the clips of a set: cut out of their films, then as folders and files that trainers read.

In: a folder with a table of clips, the folder of its films, formats. Out: `clips/` with an mp4 for each kept clip, and
each format beside it (`webdataset/`, `videofolder/`, `manifest.jsonl` ...); where the table has a `split`, a folder of
each split with these in it. Films are only read. A clip is cut once, under a key of all that determines it, and kept in
the set's state, so that a run that was killed continues with the next clip; a format is written aside and renamed, and
not at all where it is there already. The same table gives the same bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop import plugin
from cineloop.clip import check_file
from cineloop.discovery import SKIP_FILE
from cineloop.documents import read_json, read_text
from cineloop.errors import ItemError, MissingDependencyError, NothingMatchedError, UsageError
from cineloop.files import content_key, link_or_copy, raise_if_full, scratch_folder, unescape_name, write_atomic
from cineloop.log import logger, plural, printable
from cineloop.manifest import read_manifest
from cineloop.run_folder import RunFolder
from cineloop.threads import usable_cpus
from v2t.writers import Rows
from v2t_eval.clips.cut import Cut, CutFile
from v2t_eval.clips.faces import FaceBlur
from v2t_eval.clips.placing import FormatPlaces, Record
from v2t_eval.clips.store import CUTS, CutStore, WantedCut, cut_key
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.table import Film, read_clips_of_set, read_films
from v2t_eval.text.caption_faults import caption_of

FORMATS = ("webdataset", "lance", "videofolder", "two_file", "parquet", "manifest")
FILMS = "films.json"  # in the state: where the films of the table are
Writers = dict[str, Any]  # modules, or objects, with NAME and write; maybe `about`
CutFit = Callable[[FilmClip, Cut], Cut]  # may raise ItemError: such a clip is left out
_OWN = ("lance", "parquet", "manifest")  # the others are those of v2t


@dataclass
class Outcome:
    """What was written: places, the number of clips in them, and which could not be cut."""

    places: list[Path] = field(default_factory=list)
    num_clips: int = 0
    failed: dict[str, ItemError] = field(default_factory=dict)

    def as_tree(self) -> dict[str, Any]:
        failed = [{"id": id, **error.record()} for id, error in self.failed.items()]
        return {"schema": 1, "clips": self.num_clips, "places": list(map(str, self.places)), "failed": failed}


def load_writers(formats: Sequence[str]) -> dict[str, ModuleType]:
    """The writers of some formats by name.

    Raises:
        UsageError: no such format. MissingDependencyError: a package it needs is not installed.
    """
    modules = {}
    for name in dict.fromkeys(formats):
        if name not in FORMATS:
            raise UsageError(f"no format is called {name!r}", hint=f"formats: {', '.join(FORMATS)}")
        package = "v2t_eval.curate.writers" if name in _OWN else "v2t.writers"
        modules[name] = plugin.load(package, name, "write")
    return modules


def remember_films(state: Path, films: Path) -> None:
    """Keep where the films of a table are: in a folder, or beside a manifest or file."""
    root = films if films.is_dir() else films.parent
    manifest = os.path.abspath(films) if films.suffix == ".jsonl" else None
    write_atomic(state / FILMS, json.dumps({"root": os.path.abspath(root), "manifest": manifest}).encode())


def write_set(
    run: RunFolder,
    writers: Writers,
    *,
    copy: bool = False,
    faces: Path | None = None,
    fit: CutFit = lambda clip, cut: cut,
    workers: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> Outcome:
    """Write the kept clips of the table in a folder.

    Args:
        run: the set's folder, opened with `v2t_eval.clips.store.JOURNAL`.
        writers: see `load_writers`.
        copy, faces: see `v2t_eval.clips.cut.Cut`.
        fit: the cut of a clip as a trainer wants it: rate, number of frames, size.
        workers: clips cut at a time; None takes the CPUs.
        stop: polled between clips.

    Raises:
        NothingMatchedError: no table, or no clip is kept. UsageError: the films are not known; a place is taken;
            `faces` is no detector.
        MissingDependencyError: DISK_FULL, no decoder. KeyboardInterrupt: `stop` returned true.
    """
    clips = read_clips_of_set(run.path)
    if not clips:
        raise NothingMatchedError(f"no clip of {printable(str(run.path))} is kept", hint="loosen its limits")
    outcome = Outcome()
    try:
        with scratch_folder("writing-", parent=run.state) as scratch:
            cutting = _Cutting(run, scratch, copy=copy, faces=faces, fit=fit)
            pieces = cutting.pieces(clips, workers or usable_cpus(), stop, show_progress, outcome.failed)
            records = [cutting.record(clip, *pieces[clip.id]) for clip in clips if clip.id in pieces]
            if len(pieces) + len(outcome.failed) < len(clips):
                logger.warning("stopped after %d of %d clips; the same command continues", len(pieces), len(clips))
                raise KeyboardInterrupt
            if not records:
                id, error = next(iter(outcome.failed.items()))
                raise NothingMatchedError(f"no clip could be cut; {printable(id)}: {error}", hint=error.hint)
            _warn_captions(records)
            _SetPlaces(run, scratch).place_all(records, writers, outcome)
            cutting.store.sweep({key for key, _ in pieces.values()})
    except OSError as error:
        raise_if_full(error, run.path)
        raise
    outcome.num_clips = len(records)
    return outcome


class _Cutting:
    """The clips as files in the state; used once."""

    def __init__(self, run: RunFolder, scratch: Path, *, copy: bool, faces: Path | None, fit: CutFit) -> None:
        self.copy, self.fit, self.rates = copy, fit, dict[str, float | None]()
        self.faces, self.faces_key = "", ""
        if faces is not None:
            FaceBlur(faces)  # before anything is cut
            self.faces, self.faces_key = os.path.abspath(faces), content_key(faces)
        try:
            known = read_json(run.state / FILMS)
            self.root = Path(known["root"])
            rows = read_manifest(known["manifest"]) if known["manifest"] else ()
            self.given = {row["id"]: row for row in rows}  # what a manifest says of the films
        except (OSError, ValueError, KeyError) as error:
            raise UsageError(
                f"where the films of {printable(str(run.path))} are is not known", hint="v2t-eval curate FILMS -o SET"
            ) from error
        self.films = read_films(run.path)
        self.store = CutStore(run, scratch)

    def pieces(
        self,
        clips: Sequence[FilmClip],
        workers: int,
        stop: Callable[[], bool],
        show: bool,
        failed: dict[str, ItemError],
    ) -> dict[str, tuple[str, CutFile]]:
        """Key and piece of each clip by id, cut where it is not there yet."""
        wanted = []
        for clip in clips:
            try:
                wanted.append(self._cut_job(clip))
            except ItemError as error:
                logger.warning("%s is left out: %s: %s", printable(clip.id), error.code, printable(error.message))
                failed[clip.id] = error
        return self.store.fill(wanted, workers=workers, stop=stop, show_progress=show, failed=failed)

    def _cut_job(self, clip: FilmClip) -> WantedCut:
        cut = Cut(start_s=clip.start_s, end_s=clip.end_s, crop=clip.crop, copy=self.copy, faces=self.faces)
        cut = self.fit(clip, cut)
        self.rates[clip.id] = clip.fps if cut.fps is None else round(cut.fps, 6)
        key = cut_key(clip.source_sha, cut, faces=self.faces_key)
        return WantedCut(id=clip.id, key=key, cut=cut, film=partial(self._film, clip))

    def _film(self, clip: FilmClip) -> Path:
        """The film of a clip, as it was measured. Raises ItemError."""
        path = self.root / unescape_name(clip.source)
        film: Film | None = self.films.get(clip.film)
        status = check_file(path)
        if film is None or (film.size, film.mtime_ns) != (status.st_size, status.st_mtime_ns):
            raise ItemError("the film has changed since it was measured", code="CHANGED", hint="curate it again")
        return path

    def record(self, clip: FilmClip, key: str, piece: CutFile) -> Record:
        """What is written of a clip; as records of `v2t caption`, which its writers take."""
        carried = {"license": clip.license, "origin": clip.origin, "split": clip.links.split, "crop": clip.crop,
                   "crop_reason": clip.crop_reason}  # fmt: skip
        return {
            "id": clip.id,
            "path": f"clips/{key}.mp4",
            "status": "ok",
            "caption": clip.links.caption or self._caption(clip),
            **{name: value for name, value in carried.items() if value},
            "source": clip.source,
            "source_sha": clip.source_sha,
            "source_start_s": round(piece.start_s, 6),
            "source_end_s": round(piece.end_s, 6),
            "duration_s": round(piece.end_s - piece.start_s, 6),
            "width": piece.width,
            "height": piece.height,
            "fps": self.rates[clip.id],
            "num_frames": piece.num_frames,
            "has_sound": piece.has_sound,
            "scores": {name: value for name, value in clip.scores.items() if value is not None},
        }

    def _caption(self, clip: FilmClip) -> str:
        """The film's caption: the first of its manifest, else the .txt beside it; "" where there is none."""
        if text := caption_of(self.given.get(clip.film, {})):
            return text
        try:
            return " ".join(read_text((self.root / unescape_name(clip.source)).with_suffix(".txt")).split())
        except (OSError, ValueError):
            return ""


def _warn_captions(records: Sequence[Record]) -> None:
    without = sum(not record["caption"] for record in records)
    if without:
        logger.warning(
            "%s of %d without a caption: none in the table, in the manifest of the films, in a .txt beside the film",
            *(plural(without, "clip"), len(records)),
        )


class _SetPlaces(FormatPlaces):
    """All formats of a set, in all splits."""

    def place_all(self, records: Sequence[Record], writers: Writers, outcome: Outcome) -> None:
        """Write all splits in all formats, those of earlier runs too, and the clips themselves."""
        writers = self._earlier(writers) | writers
        splits: dict[str, list[Record]] = {}
        for record in records:
            splits.setdefault(record.get("split", ""), []).append(record)
        for split, rows in splits.items():
            if not re.fullmatch(r"[\w-]*", split) or split in FORMATS:
                raise UsageError(f"a split cannot be called {split!r}", hint="letters, digits, - and _")
            home = self.folder / split
            self.place(home / "clips", rows, self._link)
            outcome.places.append(home / "clips")
            for writer in writers.values():
                self.place(home / writer.NAME, rows, writer.write, getattr(writer, "about", ""))
                outcome.places.append(home / writer.NAME)

        now = {place.relative_to(self.folder).as_posix() for place in outcome.places}
        if old := sorted(self.written.keys() - now):
            logger.warning("of an earlier table, and not written again: %s", ", ".join(map(printable, old)))

    def _earlier(self, writers: Writers) -> Writers:
        """Writers of formats of earlier runs: what they point at is about to change."""
        known: Writers = {}
        for name in FORMATS:
            with suppress(MissingDependencyError):
                known |= load_writers([name])
        there = {name.rpartition("/")[2] for name in self.written}
        return {name: writer for name, writer in known.items() if writer.NAME in there and name not in writers}

    def _link(self, rows: Rows, target: Path, place: Path) -> None:
        target.mkdir()
        (target / SKIP_FILE).write_bytes(b"Cut by v2t-eval curate out of films.\n")
        for record in rows.records():
            name = Path(record["path"]).name
            if not (target / name).exists():  # else of the same film under another name
                link_or_copy(self.run.state / CUTS / name, target / name)
