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

from cineloop.clip import Clip as SourceFilm
from cineloop.clip import check
from cineloop.config import to_dict
from cineloop.discovery import discover
from cineloop.errors import ItemError, UsageError
from cineloop.journal import Journal
from cineloop.log import Progress, logger, printable
from cineloop.manifest import read_manifest
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor, ExecutorConfig
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.worker import Error, Job, error_of
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.film import FilmSurvey, read_survey
from v2t_eval.curate.pictures import Pictures, examine
from v2t_eval.curate.query import Verdicts, apply_limits, as_tree
from v2t_eval.curate.recipe import Plan
from v2t_eval.curate.step import BaseStep, Piece, Window, Work
from v2t_eval.curate.table import JOURNAL, Film, append, read_films, write_table
from v2t_eval.frames.survey import Survey

# Of the machine or the moment rather than the file: such a film is tried again by the next run.
_PASSING = frozenset(
    ("CHANGED", "DECODER_CRASH", "DECODE_TIMEOUT", "METRIC_ERROR", "NOT_FOUND", "OUT_OF_MEMORY", "STEP_ERROR")
    + ("UNREADABLE", "WORKER_DIED")
)


@dataclass(frozen=True, kw_only=True)
class Curation:
    """The result: films in the order of ids, their clips, and which are in the set."""

    films: list[Film]
    clips: list[FilmClip]
    verdicts: Verdicts

    @property
    def sound(self) -> list[FilmClip]:
        """All clips, without films that failed as a whole."""
        return [clip for clip in self.clips if clip.error is None]

    @property
    def kept(self) -> list[FilmClip]:
        return [clip for clip, drops in zip(self.clips, self.verdicts.drops, strict=True) if not drops]

    @property
    def failed(self) -> list[Film]:
        """Films without clips."""
        return [film for film in self.films if film.error is not None]


def curate(
    sources: Sequence[SourceFilm],
    plan: Plan,
    folder: Path,
    config: ExecutorConfig,
    *,
    against: Sequence[SourceFilm] = (),
    given: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> Curation:
    """Measure what is not in the journal, then write the table.

    Args:
        sources: the films, see `cineloop.discovery.discover`.
        plan: steps and limits.
        folder: of the table; locked by the caller.
        config: workers or cluster, limits and cache.
        against: films of a held-out set, of which no id is one of theirs; measured too, but not in the table.
        given: what a manifest says of films, by id; `license` and `source` are carried, the latter as `origin`.
        stop: polled between films.

    Raises:
        MissingDependencyError: no decoder, no PySceneDetect, no room on the disk, no cluster.
        KeyboardInterrupt: `stop` returned true before all was measured.
    """
    folder.mkdir(parents=True, exist_ok=True)
    films = _films([*sources, *against], plan, folder, config, stop, show_progress)
    ordered = [films[each.id] for each in sources]
    clips = [clip for film in ordered for clip in film.clips or [_failed_row(film)]]
    for clip in clips if given else ():
        stated = given.get(clip.film, {})
        clip.license, clip.origin = stated.get("license"), stated.get("source")
    files = {each.id: each.file for each in [*sources, *against]}
    pictures = Pictures(files=files, config=config, stop=stop, show_progress=show_progress)
    held_out = [clip for each in against for clip in films[each.id].clips]
    work = Work(folder=folder, evidence=pictures.evidence, file=pictures.file, held_out=held_out)
    return Curation(films=ordered, clips=clips, verdicts=_table(plan, clips, work, config.cache))


def _films(
    every: Sequence[SourceFilm],
    plan: Plan,
    folder: Path,
    config: ExecutorConfig,
    stop: Callable[[], bool],
    show_progress: bool,
) -> dict[str, Film]:
    """The films by id, from the journal or measured. Raises as `curate` does."""
    films = known_films(every, plan, folder)
    left = [clip for clip in every if clip.id not in films]
    with (
        Journal(folder / JOURNAL) as journal,
        EvidenceCache(config.cache) as cache,
        Executor([FilmSurvey()], config.limits, cache, config.place_for(len(left))) as executor,
        Progress(len(left), "films", enabled=show_progress) as bar,
    ):
        for film in _survey_films(left, plan, executor, stop):
            if film.error is None or film.error["code"] not in _PASSING:
                append(journal, film)
            films[film.id] = film
            bar.advance(1)
    if stop() and len(films) < len(every):
        logger.warning("stopped after %d of %d films; the same command continues from there", len(films), len(every))
        raise KeyboardInterrupt
    return films


def _table(plan: Plan, clips: list[FilmClip], work: Work, cache: Path | None) -> Verdicts:
    """Examine the clips, ask for the set and write it."""
    examine(plan, [clip for clip in clips if clip.error is None], work, cache)
    verdicts = apply_limits(plan, clips)
    about = {"recipe": to_dict(plan.recipe), "limits": as_tree(verdicts.limits), "funnel": as_tree(verdicts.funnel)}
    write_table(work.folder, clips, verdicts, about)
    return verdicts


def held_out_films(folder: Path) -> list[SourceFilm]:
    """The films of a held-out set, a folder or manifest, with ids of no film in the set. Raises as `discover` does."""
    return [replace(clip, id=f"held-out:{folder.name}/{clip.id}") for clip in discover([str(folder)])]


def read_origins(films: Path) -> dict[str, dict[str, Any]]:
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


def known_films(sources: Sequence[SourceFilm], plan: Plan, folder: Path) -> dict[str, Film]:
    """The films of the journal that are still as they were measured, by id."""
    films = read_films(folder)
    return {
        each.id: films[each.id]
        for each in sources
        if each.id in films and films[each.id].is_of(each.size, each.mtime_ns, plan.print)
    }


def _survey_films(
    every: Sequence[SourceFilm], plan: Plan, executor: Executor, stop: Callable[[], bool]
) -> Iterator[Film]:
    """Every film as it is finished; copies at the end, when their original is in the cache."""
    by_id = {each.id: each for each in every}
    copies: list[SourceFilm] = []
    begun: set[str] = set()

    def open_jobs(sources: Sequence[SourceFilm], *, hold: bool) -> Iterator[Job]:
        for source in sources:
            clip = SampleClip(content="", path=Path(source.file), start_s=source.start_s, end_s=source.end_s)
            job = Job(sample=Sample(id=source.id, clip=clip))
            if source.problem is not None:
                job.error = source.problem.record()
            else:
                job = executor.open(job.sample, [0])
            if hold and clip.content in begun:
                copies.append(source)
                continue
            begun.update({clip.content} - {""})
            yield job

    for sources in (every, copies):
        for job in executor.run(open_jobs(sources, hold=sources is every), stop):
            executor.cache.save()  # before the journal says that it is done: its copies look for it here
            yield _film(by_id[job.sample.id], job, plan)


def _film(source: SourceFilm, job: Job, plan: Plan) -> Film:
    clip = job.sample.clip
    film = Film(id=source.id, size=source.size, mtime_ns=source.mtime_ns, print=plan.print)
    film.error = job.error or next(iter(job.errors.values()), None)
    sha = clip.content.split()[0].removeprefix("file:") if clip is not None and clip.content else ""
    try:
        if film.error is None:
            check(source)
            film.clips = clips_of(source, sha, read_survey(job.evidence[0]), plan.steps)
    except ItemError as error:
        film.error = error.record()
    if film.error is not None:
        logger.warning("%s: %s: %s", printable(source.id), film.error["code"], printable(film.error["message"]))
    return film


def clips_of(source: SourceFilm, sha: str, survey: Survey, steps: Sequence[BaseStep]) -> list[FilmClip]:
    """The clips of a film with their columns.

    Raises:
        ItemError: STEP_ERROR, a step failed or gave what is no number.
    """
    info = survey.info
    whole = Piece(start_s=source.start_s or 0.0, end_s=min(source.end_s or math.inf, info.duration_s))
    pieces: Sequence[Piece] = [whole]
    for step in steps:
        pieces = _run(step, step.cut, survey, pieces)
    clips = []
    for piece in pieces:
        # Inwards to whole milliseconds, as in the address, so that no frame of the neighbour comes in.
        start_s, end_s = math.ceil(piece.start_s * 1000 - 1e-6) / 1000, math.floor(piece.end_s * 1000 + 1e-6) / 1000
        window = Window(survey, start_s, max(end_s, start_s + 0.001))
        scores, crop, crop_reason = _measure(window, steps)
        clips.append(
            FilmClip(
                id=f"{source.id}#t={window.start_s:.3f},{window.end_s:.3f}",
                source=source.path,
                source_sha=sha,
                start_s=window.start_s,
                end_s=window.end_s,
                width=info.width,
                height=info.height,
                fps=round(info.fps, 6),
                codec=info.codec,
                begins=piece.begins,
                ends=piece.ends,
                crop=crop,
                crop_reason=crop_reason,
                warnings=sorted({warning.code for warning in info.warnings}),
                scores=scores,
            )
        )
    return clips


def _measure(window: Window, steps: Sequence[BaseStep]) -> tuple[dict[str, float | None], list[int] | None, str | None]:
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
    return scores, crop, reason


def _run(step: BaseStep, work: Callable[..., Any], *given: Any) -> Any:
    try:
        return work(*given)
    except Exception as error:  # a failing step of a user's own loses the film, not the run
        logger.debug("step %s", step.name, exc_info=error)
        raise ItemError(f"step {step.name}: {error_of(error)['message']}", code="STEP_ERROR") from error


def _failed_row(film: Film) -> FilmClip:
    """The row of a film without clips."""
    error: Error = film.error or {}
    return FilmClip(id=film.id, source=film.id, error=error.get("code", "METRIC_ERROR"))
