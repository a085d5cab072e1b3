"""Single clips in tests: models loaded once a session, clips decoded once, evidence cached by content.

In: a file, and what it must show. Out: `ClipVerdict`. One object a session of `v2t_eval.testing.plugin`, over one
`v2t_eval.core.executor.Executor`; several processes may share its cache folder. A clip with cached evidence needs no
decoding and no model; a broken file is an `ItemError`, never a verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cineloop.errors import ItemError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.core.executor import Executor
from v2t_eval.core.measurement import UNAUDITED, Evidence, Measurement, Observation
from v2t_eval.core.metric import BaseMetric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.worker import ClipLimits, Error, Job
from v2t_eval.judge.judge import Judge
from v2t_eval.metrics import question_score
from v2t_eval.report import thumbnails
from v2t_eval.semantics.dimension import JudgedMetric
from v2t_eval.suites.suite import parse_metrics
from v2t_eval.vbench.still import is_frozen

Outcome = Literal["pass", "fail", "outside"]
Row = Mapping[str, Any]
Bounds = Mapping[str, float]
STARTER = "v2t"
_STRIP_FRAMES, _STRIP_BYTES = 6, 1 << 20


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A metric's value for the clip and its bounds; where `value` is None, `why` states the reason and `code` its
    code."""

    metric: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    why: str = ""
    code: str = ""

    @property
    def holds(self) -> bool:
        if self.value is None:
            return False
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def description(self) -> str:
        bounds = [f"at least {self.at_least:g}"] if self.at_least is not None else []
        bounds += [f"at most {self.at_most:g}"] if self.at_most is not None else []
        value = f"has no value ({self.why})" if self.value is None else f"is {self.value:.4g}"
        return f"{self.metric} {value}, must be {' and '.join(bounds)}"


@dataclass(frozen=True, kw_only=True)
class ClipVerdict:
    """The verdict on one clip; true where it passed. `answers` has one row a question: question, wanted, answer, chance
    (of that answer), right (None without); `outside` says why they do not count here, "" where they do.
    """

    path: str
    prompt: str | None = None
    answers: tuple[Row, ...] = ()
    bounds: tuple[Bound, ...] = ()
    reasons: tuple[str, ...] = ()
    outside: str = ""
    judge: str = ""
    strip: Path | None = None

    @property
    def outcome(self) -> Outcome:
        """pass; fail, for a reason independent of the judge or by a judge of this domain; else outside."""
        return "fail" if self.reasons else "outside" if self.outside else "pass"

    def __bool__(self) -> bool:
        return self.outcome == "pass"

    def __str__(self) -> str:
        return self.message

    @property
    def message(self) -> str:
        word = {
            "pass": "passes",
            "fail": "does not pass",
            "outside": "cannot be judged",
        }[self.outcome]
        lines = [f"{self.path} {word}" + (f', asked for "{self.prompt}"' if self.prompt else "")]
        lines += [f"  {reason}" for reason in self.reasons]
        if self.outside:
            lines.append(f"  {self.outside}")
        held = [bound.description for bound in self.bounds if bound.holds]
        if not self and held:
            lines.append(f"  holds: {'; '.join(held)}")
        if self.strip is not None:
            lines.append(f"  frames: {self.strip}")
        return "\n".join(lines)


def reasons_of(answers: Sequence[Row], judge: str) -> list[str]:
    """Reasons against the clip: questions answered otherwise than wanted, listed under the question they depend on, and
    those without an answer. Empty where all are as wanted, or unaudited."""
    wrong = {row["id"] for row in answers if not row["right"] and row["status"] != "unaudited"}
    if not wrong:
        return []
    lines = [f"{len(wrong)} of {len(answers)} questions are not answered as asked for (judge {judge}):"]
    for row in answers:
        if row["id"] in wrong and not wrong & set(row["parents"]):
            lines.append(f"  {row['question']} {_against(row)}")
    hanging = [row["question"] for row in answers if row["id"] in wrong and wrong & set(row["parents"])]
    if hanging:
        lines.append(f"  and their dependent questions: {' '.join(hanging)}")
    return lines


def _against(row: Row) -> str:
    if row["status"] != "answered":
        return f"asked for: {row['wanted']}; no answer ({row['status']}: {row['message']})"
    chance = "" if row["chance"] is None else f" (chance {_share(row['chance'])})"
    if row["answer"] == row["wanted"]:  # the likeliest of many answers, below the threshold
        return f"asked for: {row['wanted']}; the judge is not sure of it{chance}"
    return f"asked for: {row['wanted']}; seen: {row['answer']}{chance}"


def _share(chance: float) -> str:
    """.97; never a full 1 or 0 by rounding."""
    return ".99+" if 0.995 <= chance < 1 else "under .01" if 0 < chance < 0.005 else f"{chance:.2f}".lstrip("0")


class ClipEvaluator:
    """Evaluates the clips of one session. `cache`: folder for evidence."""

    def __init__(self, cache: Path | None = None) -> None:
        self._folder = cache
        self._executor = Executor([], ClipLimits(), EvidenceCache(cache).__enter__())
        self._numbers: dict[str, int] = {}  # of the executor's measurements
        self._prepared: set[int] = set()

    def close(self) -> None:
        """Write the evidence to disk and stop the decoder."""
        self._executor.worker.close()
        self._executor.cache.__exit__(None, None, None)

    def verdict(
        self,
        path: Path,
        *,
        prompt: str | None = None,
        questions: Sequence[Any] | None = None,
        at_least: Bounds | None = None,
        at_most: Bounds | None = None,
        judge: str = STARTER,
        frozen_ok: bool = False,
        name: str = "",
    ) -> ClipVerdict:
        """The verdict on the clip at `path`; see `v2t_eval.testing.plugin.assert_clip` for the rest. `name`: of the
        clip in messages.

        Raises:
            ItemError: the file cannot be read. UsageError: an invalid bound. MissingDependencyError: a model.
        """
        row = {} if questions is None else {"questions": [_row(each) for each in questions]}
        sample = Sample(id=path.name, clip=SampleClip(content="", path=path), prompt=prompt, row=row)
        at_least, at_most = at_least or {}, at_most or {}
        frozen = self._frozen(sample)  # always measured, so that an unreadable clip never passes
        reasons = [] if frozen_ok else frozen
        bounds = [self._bound(sample, each, at_least, at_most, judge) for each in {**at_least, **at_most}]
        rows, against, outside, who = (
            self._ask_judge(sample, judge, bounds) if prompt or questions else ([], [], "", "")
        )
        reasons += [each.description for each in bounds if not each.holds and not (outside and each.code == UNAUDITED)]
        if not outside:
            reasons += against
        return ClipVerdict(path=name or str(path), prompt=prompt, answers=tuple(rows), bounds=tuple(bounds),
                       reasons=tuple(reasons), outside=outside, judge=who)  # fmt: skip

    def frames(self, path: Path) -> Frames:
        """Every frame of a file.

        Raises:
            ItemError: it cannot be decoded.
        """
        return self._executor.worker.frames(SampleClip(content="", path=path))

    def strip(self, path: Path) -> bytes | None:
        """A few frames side by side, as WebP; None if that fails."""
        part: thumbnails.Part = (path, None)
        picture = thumbnails.of_parts([part], _STRIP_BYTES, _STRIP_FRAMES, self._folder).get(part)
        return None if picture is None else picture.data

    def _number(self, key: str, make: Callable[[], Measurement]) -> int:
        if key not in self._numbers:
            self._executor.measurements.append(make())
            self._numbers[key] = len(self._executor.measurements) - 1
        return self._numbers[key]

    def _job(self, sample: Sample, n: int) -> Job:
        if not isinstance(self._executor.measurements[n], JudgedMetric):  # judges have fingerprints before loading
            self._prepare(n)
        job = self._executor.open(sample, [n])
        if job.todo:
            self._prepare(n)
            self._executor.measure(job)
        if job.error is not None:
            raise _as_error(job.error)
        if n in job.errors and job.errors[n]["code"] == "METRIC_ERROR":
            raise RuntimeError(job.errors[n]["message"])
        return job

    def _evidence(self, sample: Sample, n: int) -> Evidence:
        job = self._job(sample, n)
        if n in job.errors:
            raise _as_error(job.errors[n])
        return job.evidence[n]

    def _prepare(self, n: int) -> None:
        if n not in self._prepared:
            self._executor.measurements[n].prepare()
            self._prepared.add(n)

    def _frozen(self, sample: Sample) -> list[str]:
        evidence = self._evidence(sample, self._number("stillness", Stillness))
        if not evidence["frozen"]:
            return []
        if evidence["num_frames"] == 1:
            return ["it is a single picture (frozen_ok=True accepts that)"]
        return [f"it is frozen: its {evidence['num_frames']} frames are one picture (frozen_ok=True accepts that)"]

    def _bound(self, sample: Sample, name: str, at_least: Bounds, at_most: Bounds, judge: str) -> Bound:
        n = self._number(f"{name} {judge}", lambda: clip_metric(name, judge))
        metric, job = self._executor.measurements[n], self._job(sample, n)
        value, why, code = None, "", ""
        if n in job.errors:
            why, code = str(_as_error(job.errors[n])), job.errors[n]["code"]
        else:
            assert isinstance(metric, BaseMetric)
            metric.reset()
            metric.add(Observation(id=sample.id, cluster=sample.cluster, evidence=job.evidence[n]))
            result = metric.compute()
            figure = result.figures.get(result.headline)
            value, why = (None, "; ".join(result.notes[:1])) if figure is None else (figure.value, "")
        least, most = at_least.get(name), at_most.get(name)
        return Bound(metric=name, value=value, at_least=least, at_most=most, why=why, code=code)

    def _ask_judge(
        self, sample: Sample, judge: str, bounds: Sequence[Bound]
    ) -> tuple[list[dict[str, Any]], list[str], str, str]:
        """Answers, reasons against the clip, why the answers do not count, the judge."""
        try:
            evidence = self._evidence(sample, self._number(f"answers {judge}", lambda: PromptAnswers(judge=judge)))
        except ItemError as problem:
            if problem.code != UNAUDITED:
                raise
            advice = 'give questions=[...] in words that it knows, or a judge for other footage: judge="v2t:MODEL"'
            return [], [], f"{problem.message.removeprefix(f'{sample.id}: ')}; {advice}", judge
        rows, who = evidence["answers"], evidence["judge"]
        outside = (
            f"the judge {who} was not trained on clips like this one, so its answers do not count; for other footage "
            f'use another: judge="v2t:MODEL"'
            if evidence["outside"]
            else ""
        )
        bounded = any(bound.metric.partition("[")[0] in ("question_score", "vqascore") for bound in bounds)
        return rows, [] if bounded else reasons_of(rows, who), outside, who


def clip_metric(name: str, judge: str) -> BaseMetric:
    """The metric that a bound names, which must give a value for a single clip.

    Raises:
        UsageError: no such metric, several, or one of sets or texts.
    """
    metrics = parse_metrics(name)
    if len(metrics) != 1 or metrics[0].level != "clip":
        levels = ", ".join(f"{metric.title} measures a {metric.level}" for metric in metrics)
        raise UsageError(f"a bound on one clip needs one metric of single clips, but {levels}",
                         hint="for bounds on sets use the fixture `gate`")  # fmt: skip
    (metric,) = metrics
    if isinstance(metric, JudgedMetric) and "judge=" not in name and judge != STARTER:
        return type(metric)(**{**vars(metric.settings), "judge": judge})
    return metric


def _as_error(error: Error) -> ItemError:
    return ItemError(error["message"], code=error["code"], hint=error["hint"])


def _row(question: Any) -> Any:
    """A question as a row: a text is a yes/no question."""
    return {"question": question} if isinstance(question, str) else question


class PromptAnswers(question_score.Metric):
    """Every question of the prompt, or of the row, with the judge's answer; asked as `question_score` asks."""

    name = "answers_in_words"
    version = 3

    def measure(self, sample: Sample) -> Evidence:
        """`answers`, one row a question; `judge`; whether the clip is `outside` the judge's domain.

        Raises:
            ItemError: NOTHING_ASKED, BAD_QUESTIONS or UNAUDITED, as `question_score`; the clip cannot be read.
        """
        judge = self.ready()
        if not isinstance(judge, Judge):
            raise ItemError(f"{judge!r} gives no answers in words", code="BAD_QUESTIONS")
        rows: list[dict[str, Any]] = []
        questions = self.question_set(sample).questions
        judge.askable(sample, questions)
        for answer in judge.answer(sample, questions):
            asked = answer.question
            rows.append({
                "id": asked.id, "question": asked.question, "wanted": asked.answer, "parents": list(asked.parents),
                "right": answer.right, "answer": answer.text, "chance": _chance_of(answer.text, answer.chances),
                "status": answer.status, "message": answer.message,
            })  # fmt: skip
        return {"answers": rows, "judge": judge.fingerprint()["judge"], "outside": judge.is_outside(sample)}


class Stillness(Measurement):
    """Whether every frame is the first one, up to what a codec does to it."""

    name = "stillness"
    needs = ("frames",)

    def measure(self, sample: Sample) -> Evidence:
        return {"frozen": is_frozen(sample), "num_frames": len(sample.frames)}


def _chance_of(text: str | None, chances: dict[str, float]) -> float | None:
    """The judge's probability of its own answer."""
    return chances.get(text) if text is not None else None
