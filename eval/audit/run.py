"""Run an audit of metrics and a judge, reusing cached measurements and answers.

In: metrics, a judge, `Material` (the user's clips, generated clips). Out: `Audit`. Metrics are tested with faults
planted in the user's clips, or else in the cartoon world's; the judge is compared with the truth on the world's clips,
clean and degraded, on generated ones by the referee, and on the user's with facts or questions with answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cineloop.errors import NothingMatchedError
from cineloop.log import Progress, logger
from v2t_eval.audit.binding import notice_compositions
from v2t_eval.audit.clips import AuditClip, SampleAuditClip, solo_clips, story_clips, world_clip, world_clips
from v2t_eval.audit.compositions import NAMES
from v2t_eval.audit.judge_cache import CachedJudge
from v2t_eval.audit.judging import BREAKS, ClaimAnswers, Truth, agree, notice, others, truth_values, value_questions
from v2t_eval.audit.material import Material, content_of, is_known, known_truth, referee
from v2t_eval.audit.record import Agreement, Audit, ByAnswer, Confusion, FaultDetection, FaultResponse
from v2t_eval.audit.stability import stability
from v2t_eval.audit.table import Case, cases, rows
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.metric import BaseMetric
from v2t_eval.core.score import ScoreConfig, environment, score
from v2t_eval.core.worker import ClipLimits
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question


@dataclass(frozen=True, kw_only=True)
class AuditConfig:
    """Settings of an audit: `num` clips in which faults are planted, as many of the user's; for the judge
    `planted_clips` of the world, such that every answer of every closed list is true of some, and `judge_clips` of one
    figure, degraded and with faults, and a third as many with several figures.
    """

    num: int = 40
    planted_clips: int = 600
    judge_clips: int = 120
    stable_clips: int = 24
    codec: bool = False
    seed: int = 2026
    workers: int | None = 1
    cache: Path | None = None

    def __post_init__(self) -> None:
        if min(self.num, self.planted_clips, self.judge_clips, self.stable_clips) < 2:
            raise ValueError("an audit needs two clips or more")


def table_clips(material: Material, config: AuditConfig) -> list[AuditClip]:
    """The clips in which faults are planted."""
    return list(material.yours) or solo_clips(config.num, config.seed)


def audit(
    metrics: Sequence[BaseMetric],
    judge: Judge | None,
    material: Material,
    config: AuditConfig,
    *,
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> Audit:
    """Audit metrics and judge.

    Raises:
        NothingMatchedError: neither a metric nor a judge is to be audited.
        KeyboardInterrupt: `stop` returned true; results are cached, and the same call continues from there.
    """
    if not metrics and judge is None:
        raise NothingMatchedError("neither metrics nor a judge to audit", hint="name --metrics, or a --judge")
    clips = table_clips(material, config)
    sources = {"faults planted in": "your clips" if material.yours else _source_of(clips, config), **material.sources}
    if judge is not None:
        sources["judge compared with"] = (
            f"{config.planted_clips} clips in which every answer is planted, {config.judge_clips} of one figure and "
            f"{config.judge_clips // 3} of several that are degraded, seed {config.seed}"
        )
    record = Audit(clips=sources, notes=material.notes, failures=material.failures, environment=environment())
    if metrics:
        record = _with_table(record, clips, metrics, config, stop, show_progress)
    if judge is not None:
        record = _with_judge(record, judge, material, config, stop, show_progress)
    return record


def _with_table(
    record: Audit, clips: list[AuditClip], metrics: Sequence[BaseMetric], config: AuditConfig,
    stop: Callable[[], bool], show_progress: bool,
) -> Audit:  # fmt: skip
    usable = [metric for metric in metrics if metric.level == "clip"]
    notes = [f"{m.title} is left out: it scores a {m.level}, not a clip" for m in metrics if m.level != "clip"]
    planned: list[Case] = cases(clips, codec=config.codec)
    table: list[FaultResponse] = []
    failures: list[dict[str, str]] = []
    prints: dict[str, dict[str, str]] = {}
    if usable:
        settings = ScoreConfig(workers=config.workers, cache=config.cache, is_suite=True)
        inputs = Inputs(samples=[case.sample for case in planned])
        scores = score(inputs, usable, settings, stop=stop, show_progress=show_progress)
        table, more_notes = rows(scores, planned)
        notes += more_notes
        prints = {result.name: result.fingerprint for result in scores.results}
        for one in scores.skipped:
            if one.found_nothing:
                notes.append(f"{one.metric} is left out: {one.reason}")
            else:
                failures.append({"id": one.metric, "code": one.code, "message": f"{one.reason} {one.hint}".strip()})
    if not isinstance(clips[0].source, SampleAuditClip):
        notes.append("color and drop are rendered anew from the scene, the others are planted in the frames")
    else:
        notes.append("on your clips the whole picture changes its hue in place of one figure's color, and no figure is "
                     "removed: both need the figures' pixels")  # fmt: skip
        if not all(clip.prompt for clip in clips):
            notes.append("without prompts no clip was compared with a wrong one (--prompts)")
    return _more(record, table=tuple(table), fingerprints=prints, notes=tuple(notes), failures=tuple(failures))


def _with_judge(
    record: Audit, judge: Judge, material: Material, config: AuditConfig, stop: Callable[[], bool],
    show_progress: bool,
) -> Audit:  # fmt: skip
    num = config.judge_clips
    clips = [world_clip(each) for each in world_clips("unseen", config.seed, config.planted_clips)]
    solo, stories = solo_clips(num, config.seed, every_motion=True), story_clips(num // 3, config.seed)
    degraded = [*solo_clips(num, config.seed, every_motion=True, is_degraded=True),
            *story_clips(num // 3, config.seed, is_degraded=True)]  # fmt: skip
    yours = [clip for clip in material.yours if is_known(clip)]
    faults = (1 + len(BREAKS)) * num + 2 * (num // 3) + len(NAMES) * (num // 6) + config.stable_clips
    total = faults + len(clips) + len(material.generated) + len(yours)
    with (
        EvidenceCache(config.cache) as cache,
        Executor([], ClipLimits(), cache) as executor,
        Progress(total, "judge", enabled=show_progress) as bar,
    ):
        cached = CachedJudge(judge, executor)

        def advance() -> None:
            bar.advance(1, f"{cached.num_asked} questions asked")
            if stop():
                cache.save()
                logger.warning("stopped; answers are cached: the same command continues from there")
                raise KeyboardInterrupt

        sets: dict[str, ClaimAnswers] = {}
        wrong = others(solo)
        closed = judge.has_likelihoods

        def later(clip: AuditClip) -> Sequence[Question]:
            return value_questions(clip, wrong.get(clip.id, {}), closed=closed)

        sets["world"] = agree(cached, clips, _facts, advance, later)
        sets["degraded"] = agree(cached, degraded, _facts, advance)
        if material.generated:
            sets["generated"] = agree(cached, material.generated, lambda clip: referee(clip, cache), advance)
        if yours:
            sets["yours"] = agree(cached, yours, lambda clip: known_truth(clip, cache), advance)
        noticed = notice(cached, solo, stories, advance)
        noticed += notice_compositions(cached, num // 6, config.seed, advance)
        steady = stability(cached, solo[: config.stable_clips], advance)
    return _audit_of(record, judge, sets, noticed, steady)


def _audit_of(
    record: Audit,
    judge: Judge,
    sets: dict[str, ClaimAnswers],
    noticed: tuple[FaultDetection, ...],
    steady: dict[str, float],
) -> Audit:
    agreement: dict[str, tuple[Agreement, ...]] = {}
    answers: dict[str, tuple[ByAnswer, ...]] = {}
    confusion: dict[str, tuple[Confusion, ...]] = {}
    notes, failures, codes = [], [], Counter[str]()
    for name, part in sets.items():
        codes.update(part.codes)
        failures += part.failures
        if part.claims:
            agreement[name], answers[name] = part.agreement(), part.answers()
            confusion[name] = part.confusion()
        else:
            notes.append(f"{name}: no truth to compare the judge with")
        if part.unread:
            unread = ", ".join(f"{kind} {count}" for kind, count in sorted(part.unread.items()))
            notes.append(f"{name}: clips with facts that the referee cannot read, left out: {unread}")
        if part.num_open:
            notes.append(f"{name}: {part.num_open} questions with open answers are left out")
    asked = sum(codes.values())
    shares = ("refused", "unparsable", "failed", "unaudited")
    steady = steady | {name: codes[name] / asked for name in shares if asked}
    return _more(
        record, judge=judge.fingerprint(), agreement=agreement, answers=answers, confusion=confusion,
        noticed=noticed, stability=steady | {"asked_n": float(asked)}, notes=tuple(notes), failures=tuple(failures),
    )  # fmt: skip


def _more(record: Audit, **more: object) -> Audit:
    """The audit with further parts; notes and failures are appended."""
    joined = {name: (*getattr(record, name), *more.pop(name)) for name in ("notes", "failures")}  # type: ignore[misc]
    return replace(record, **joined, **more)  # type: ignore[arg-type]


def _facts(clip: AuditClip) -> Truth:
    return Truth(values=truth_values(clip))


def _source_of(clips: Sequence[AuditClip], config: AuditConfig) -> str:
    return f"{len(clips)} clips of the cartoon world, held-out combinations, seed {config.seed}, {content_of(clips)}"
