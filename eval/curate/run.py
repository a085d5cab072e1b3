"""A curation: survey every film once, cut it into clips with columns, and ask for the set.

In: films, a `Plan`, a folder. Out: the table in the folder, and a `Curation`. Films go through the executor of scorings
(its evidence cache, its places, its killable decoders). A film in the journal, unchanged and measured by the same
steps, is not opened; one that is cached is not decoded, whatever the settings of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cineloop.clip import Clip as FoundClip
from cineloop.clip import check
from cineloop.config import to_dict
from cineloop.discovery import discover
from cineloop.errors import ItemError, UsageError
from cineloop.journal import Journal
from cineloop.log import Progress, logger, printable
from cineloop.manifest import read_manifest
from cineloop.video.survey import Survey
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor
from v2t_eval.core.sample import Clip, Sample
from v2t_eval.core.score import ScoreConfig
from v2t_eval.core.worker import Error, Job, error_of
from v2t_eval.curate.film import FilmSurvey, read_survey
from v2t_eval.curate.pictures import Pictures, examine
from v2t_eval.curate.query import Verdicts, as_tree, ask
from v2t_eval.curate.recipe import Plan
from v2t_eval.curate.step import BaseStep, Piece, Row, Window, Work, film_of
from v2t_eval.curate.table import JOURNAL, Film, append, read_films, write_table

# Of the machine or the moment rather than the file: such a film is tried again by the next run.
_PASSING = frozenset(
    ("CHANGED", "DECODER_CRASH", "DECODE_TIMEOUT", "METRIC_ERROR", "NOT_FOUND", "OUT_OF_MEMORY", "STEP_ERROR")
    + ("UNREADABLE", "WORKER_DIED")
)


@dataclass(frozen=True, kw_only=True)
class Curation:
    """The result: films in the order of ids, their clips, and which are in the set."""

    films: list[Film]
    rows: list[Row]
    verdicts: Verdicts

    @property
    def sound(self) -> list[Row]:
        """All clips, without the rows of films that failed."""
        return [row for row in self.rows if row["error"] is None]

    @property
    def kept(self) -> list[Row]:
        return [row for row, drops in zip(self.rows, self.verdicts.drops, strict=True) if not drops]

    @property
    def failed(self) -> list[Film]:
        """Films without clips."""
        return [film for film in self.films if film.error is not None]


def curate(
    found: Sequence[FoundClip],
    plan: Plan,
    folder: Path,
    config: ScoreConfig,
    *,
    against: Sequence[FoundClip] = (),
    given: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> Curation:
    """Measure what is not in the journal, then write the table.

    Args:
        found: the films, see `cineloop.discovery.discover`.
        plan: steps and limits.
        folder: of the table; locked by the caller.
        config: workers or cluster, limits and cache.
        against: films of a held-out set, of which no id is one of `found`; measured too, but not in the table.
        given: what a manifest says of films, by id; `license` and `source` are carried, the latter as `origin`.
        stop: polled between films.

    Raises:
        MissingDependencyError: no decoder, no PySceneDetect, no room on the disk, no cluster.
        KeyboardInterrupt: `stop` returned true before all was measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    films = _films([*found, *against], plan, folder, config, stop, show_progress)
    ordered = [films[clip.id] for clip in found]
    rows = [row for film in ordered for row in film.rows or [_failed(film)]]
    for row in rows if given else ():
        stated = given.get(film_of(row) if row["error"] is None else row["id"], {})
        row |= {"license": stated.get("license"), "origin": stated.get("source")}
    files = {clip.id: clip.file for clip in [*found, *against]}
    pictures = Pictures(files=files, config=config, stop=stop, show_progress=show_progress)
    held_out = [row for clip in against for row in films[clip.id].rows]
    work = Work(folder=folder, evidence=pictures.evidence, file=pictures.file, held_out=held_out)
    return Curation(films=ordered, rows=rows, verdicts=_table(plan, rows, work, config.cache))


def _films(
    every: Sequence[FoundClip],
    plan: Plan,
    folder: Path,
    config: ScoreConfig,
    stop: Callable[[], bool],
    show_progress: bool,
) -> dict[str, Film]:
    """The films by id, from the journal or measured. Raises as `curate` does."""
    films = known(every, plan, folder)
    left = [clip for clip in every if clip.id not in films]
    with (
        Journal(folder / JOURNAL) as journal,
        EvidenceCache(config.cache) as cache,
        Executor([FilmSurvey()], config.limits, cache, config.place_for(len(left))) as executor,
        Progress(len(left), "films", enabled=show_progress) as bar,
    ):
        for film in _measure(left, plan, executor, stop):
            if film.error is None or film.error["code"] not in _PASSING:
                append(journal, film)
            films[film.id] = film
            bar.advance(1)
    if stop() and len(films) < len(every):
        logger.warning("stopped after %d of %d films; the same command continues from there", len(films), len(every))
        raise KeyboardInterrupt
    return films


def _table(plan: Plan, rows: list[Row], work: Work, cache: Path | None) -> Verdicts:
    """Examine the clips, ask for the set and write it."""
    examine(plan, [row for row in rows if row["error"] is None], work, cache)
    verdicts = ask(plan, rows)
    about = {"recipe": to_dict(plan.recipe), "limits": as_tree(verdicts.limits), "funnel": as_tree(verdicts.funnel)}
    write_table(work.folder, rows, verdicts, about)
    return verdicts


def held_out(folder: Path) -> list[FoundClip]:
    """The films of a held-out set, a folder or manifest, with ids of no film in the set. Raises as `discover` does."""
    return [replace(clip, id=f"held-out:{folder.name}/{clip.id}") for clip in discover([str(folder)])]


def read_given(films: Path) -> dict[str, dict[str, Any]]:
    """What a manifest says of films, by id, of `license` and `source` texts alone; nothing of a folder.

    Raises:
        UsageError: one of them is no text.
    """
    rows = {row["id"]: row for row in read_manifest(films)} if films.suffix == ".jsonl" else {}
    for id, row in rows.items():
        for key in ("license", "source"):
            if not isinstance(row.get(key, ""), str):
                raise UsageError(f"{printable(str(films))}: {key!r} of {id!r} must be a text, got {row[key]!r}")
    return rows


def known(found: Sequence[FoundClip], plan: Plan, folder: Path) -> dict[str, Film]:
    """The films of the journal that are still as they were measured, by id."""
    films = read_films(folder)
    return {
        clip.id: films[clip.id]
        for clip in found
        if clip.id in films and films[clip.id].is_of(clip.size, clip.mtime_ns, plan.print)
    }


def _measure(every: Sequence[FoundClip], plan: Plan, executor: Executor, stop: Callable[[], bool]) -> Iterator[Film]:
    """Every film as it is finished; copies at the end, when their original is in the cache."""
    by_id = {clip.id: clip for clip in every}
    copies: list[FoundClip] = []
    begun: set[str] = set()

    def opened(clips: Sequence[FoundClip], *, hold: bool) -> Iterator[Job]:
        for film in clips:
            clip = Clip(content="", path=Path(film.file), start_s=film.start_s, end_s=film.end_s)
            job = Job(sample=Sample(id=film.id, clip=clip))
            if film.problem is not None:
                job.error = film.problem.record()
            else:
                job = executor.open(job.sample, [0])
            if hold and clip.content in begun:
                copies.append(film)
                continue
            begun.update({clip.content} - {""})
            yield job

    for clips in (every, copies):
        for job in executor.run(opened(clips, hold=clips is every), stop):
            executor.cache.save()  # before the journal says that it is done: its copies look for it here
            yield _film(by_id[job.sample.id], job, plan)


def _film(found: FoundClip, job: Job, plan: Plan) -> Film:
    clip = job.sample.clip
    film = Film(id=found.id, size=found.size, mtime_ns=found.mtime_ns, print=plan.print)
    film.error = job.error or next(iter(job.errors.values()), None)
    sha = clip.content.split()[0].removeprefix("file:") if clip is not None and clip.content else ""
    try:
        if film.error is None:
            check(found)
            film.rows = rows_of(found, sha, read_survey(job.evidence[0]), plan.steps)
    except ItemError as error:
        film.error = error.record()
    if film.error is not None:
        logger.warning("%s: %s: %s", printable(found.id), film.error["code"], printable(film.error["message"]))
    return film


def rows_of(found: FoundClip, sha: str, survey: Survey, steps: Sequence[BaseStep]) -> list[Row]:
    """The clips of a film with their columns.

    Raises:
        ItemError: STEP_ERROR, a step failed or gave what is no number.
    """
    info = survey.info
    whole = Piece(start_s=found.start_s or 0.0, end_s=min(found.end_s or math.inf, info.duration_s))
    pieces: Sequence[Piece] = [whole]
    for step in steps:
        pieces = _run(step, step.cut, survey, pieces)
    rows = []
    for piece in pieces:
        # Inwards to whole milliseconds, as in the address, so that no frame of the neighbour comes in.
        start_s, end_s = math.ceil(piece.start_s * 1000 - 1e-6) / 1000, math.floor(piece.end_s * 1000 + 1e-6) / 1000
        window = Window(survey, start_s, max(end_s, start_s + 0.001))
        row: Row = {
            "id": f"{found.id}#t={window.start_s:.3f},{window.end_s:.3f}",
            "source": found.path,
            "source_sha": sha,
            "start_s": window.start_s,
            "end_s": window.end_s,
            "width": info.width,
            "height": info.height,
            "fps": round(info.fps, 6),
            "codec": info.codec,
            "begins": piece.begins,
            "ends": piece.ends,
            "warnings": sorted({warning.code for warning in info.warnings}),
            "error": None,
        }
        rows.append(row | _columns(window, steps))
    return rows


def _columns(window: Window, steps: Sequence[BaseStep]) -> Row:
    """`scores`, `crop` and `crop_reason` of a clip."""
    scores: dict[str, float | None] = {}
    crop = reason = None
    for step in steps:
        values = dict(_run(step, step.measure, window))
        own, why = values.pop("crop", None), values.pop("crop_reason", None)
        crop, reason = (own, why or step.name) if own else (crop, reason)
        for name, value in values.items():
            if name not in step.columns or not (value is None or math.isfinite(value)):
                raise ItemError(f"step {step.name}: no number of a column: {name} = {value!r}", code="STEP_ERROR")
            scores[name] = None if value is None else float(value)
    return {"scores": scores, "crop": crop, "crop_reason": reason}


def _run(step: BaseStep, work: Callable[..., Any], *given: Any) -> Any:
    try:
        return work(*given)
    except Exception as error:  # a failing step of a user's own loses the film, not the run
        logger.debug("step %s", step.name, exc_info=error)
        raise ItemError(f"step {step.name}: {error_of(error)['message']}", code="STEP_ERROR") from error


def _failed(film: Film) -> Row:
    """The row of a film without clips."""
    error: Error = film.error or {}
    return {"id": film.id, "source": film.id, "source_sha": "", "start_s": 0.0, "end_s": 0.0, "scores": {},
            "warnings": [], "error": error.get("code", "METRIC_ERROR")}  # fmt: skip
