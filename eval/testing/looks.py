"""Looking at single clips: each model loaded once, each clip decoded once, what was found kept by content.

In: a file, and what it must show. Out: `Verdict`. One object a test session; several processes may share its cache
folder. A clip whose evidence is kept costs no decoding and no model; a broken file is an `ItemError`, never a verdict.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cineloop.clip import reading
from cineloop.errors import ItemError, UsageError
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from cineloop.world.language.phrases import why_unread
from cineloop.world.language.read_text import parse
from v2t_eval.cache import EvidenceCache, decode, encode, is_whole
from v2t_eval.judge.prompt import of_world
from v2t_eval.measure import ClipLimits, one_thread
from v2t_eval.metric import BaseMetric, Evidence, Measured
from v2t_eval.report import thumbnails
from v2t_eval.sample import Clip, Sample
from v2t_eval.semantics.dimension import JudgedMetric
from v2t_eval.suite import parse_metrics
from v2t_eval.testing.answers import Answers, Stillness
from v2t_eval.testing.verdict import Bound, Verdict, reasons_of

STARTER = "v2t"
_STRIP_FRAMES, _STRIP_BYTES = 6, 1 << 20
Bounds = Mapping[str, float]


class Looks:
    """Clips seen in one session.

    Args:
        cache: folder for evidence, None keeps none.
        limits: what one clip may cost.
    """

    def __init__(self, cache: Path | None = None, limits: ClipLimits | None = None) -> None:
        self.limits = limits or ClipLimits()
        self._cache = EvidenceCache(cache)
        self._pool: DecoderPool | None = None
        self._metrics: dict[str, BaseMetric] = {}
        self._prepared: set[str] = set()
        self._cache.__enter__()

    def close(self) -> None:
        """Bring the evidence to disk and end the decoder."""
        self._cache.__exit__(None, None, None)
        if self._pool is not None:
            self._pool.close()
            self._pool = None

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
    ) -> Verdict:
        """What is to be said of the clip at `path`; see `v2t_eval.pytest_plugin.assert_clip` for the rest.

        Args:
            name: what messages call the clip; the path by default.

        Raises:
            ItemError: the file cannot be read. UsageError: a bound that is none. MissingDependencyError: a model.
        """
        sample = self.sample(path, prompt, questions)
        at_least, at_most = at_least or {}, at_most or {}
        reasons = [] if frozen_ok else self._frozen(sample)
        bounds = [self._bound(sample, each, at_least, at_most, judge) for each in {**at_least, **at_most}]
        reasons += [bound.told for bound in bounds if not bound.holds]
        rows, against, outside, who = self._asked(sample, judge, bounds) if prompt or questions else ([], [], "", "")
        if not outside:
            reasons += against
        return Verdict(path=name or str(path), prompt=prompt, answers=tuple(rows), bounds=tuple(bounds),
                       reasons=tuple(reasons), outside=outside, judge=who)  # fmt: skip

    def sample(self, path: Path, prompt: str | None, questions: Sequence[Any] | None) -> Sample:
        """The clip as metrics see it, not decoded yet.

        Raises:
            ItemError: there is no such file, or nothing in it.
        """
        with reading(path):
            content = f"file:{self._cache.file_sha256(path)}"
        row = {} if questions is None else {"questions": [_row(each) for each in questions]}
        return Sample(id=path.name, clip=Clip(content=content, path=path), prompt=prompt, row=row)

    def frames(self, sample: Sample) -> Frames:
        """Every frame of the clip, decoded at the first call.

        Raises:
            ItemError: it cannot be decoded.
        """
        clip = sample.clip
        if clip is None or clip.path is None:
            return sample.frames
        if clip.frames is None:
            if self._pool is None:
                self._pool = DecoderPool(1, self.limits.of_decoder())
            clip.frames = self._pool.decode(clip.path, SampleSpec.every_frame())
        return clip.frames

    def strip(self, sample: Sample) -> bytes:
        """A few frames side by side, as WebP.

        Raises:
            ItemError: the clip cannot be decoded.
        """
        import cv2
        import numpy as np

        frames = self.frames(sample)
        picked = np.unique(np.linspace(0, len(frames) - 1, _STRIP_FRAMES).round().astype(int))
        size = thumbnails.fitted(frames.size[1], frames.size[0])
        small = [cv2.resize(frames.pixels[i], size[::-1], interpolation=cv2.INTER_AREA) for i in picked]
        return thumbnails.encode(np.stack(small), _STRIP_BYTES).data  # of (T, H, W, 3)

    def evidence(self, sample: Sample, metric: BaseMetric) -> Evidence:
        """What the metric finds, or found before.

        Raises:
            ItemError: the sample lacks what it needs, or cannot be measured. MissingDependencyError: a model.
        """
        metric.check(sample)
        if not isinstance(metric, JudgedMetric):  # a judge is known by its files; others tell only when loaded
            self._prepare(metric)
        reads = tuple(sorted({*metric.needs, *metric.uses}))
        told = json.dumps([metric.title, metric.evidence_fingerprint(), sample.content(reads)], sort_keys=True)
        key = hashlib.sha256(told.encode()).hexdigest()
        kept = self._cache.find([key]).get(key)
        if kept is not None and is_whole(kept):
            return decode(kept)
        self._prepare(metric)
        self.frames(sample)
        with one_thread():
            data = encode(metric.measure(sample))
        self._cache.keep({key: data})
        return decode(data)

    def _prepare(self, metric: BaseMetric) -> None:
        if metric.title not in self._prepared:
            metric.prepare()
            self._prepared.add(metric.title)

    def _frozen(self, sample: Sample) -> list[str]:
        found = self.evidence(sample, self._known("stillness", Stillness))
        if not found["frozen"]:
            return []
        if found["num_frames"] == 1:
            return ["it is a single picture (frozen_ok=True accepts that)"]
        return [f"it is frozen: its {found['num_frames']} frames are one picture (frozen_ok=True accepts that)"]

    def _known(self, key: str, make: Any) -> Any:
        if key not in self._metrics:
            self._metrics[key] = make()
        return self._metrics[key]

    def _bound(self, sample: Sample, name: str, at_least: Bounds, at_most: Bounds, judge: str) -> Bound:
        metric: BaseMetric = self._known(f"{name} {judge}", lambda: clip_metric(name, judge))
        value, why = None, ""
        try:
            metric.reset()
            found = self.evidence(sample, metric)
            metric.add(Measured(id=sample.id, cluster=sample.cluster, evidence=found))
            result = metric.compute()
            figure = result.figures.get(result.headline)
            value, why = (None, "; ".join(result.notes[:1])) if figure is None else (figure.value, "")
        except ItemError as error:
            if sample.clip is None or sample.clip.frames is None:
                raise  # the file is broken, and no metric is to blame
            why = str(error)
        return Bound(metric=name, value=value, at_least=at_least.get(name), at_most=at_most.get(name), why=why)

    def _asked(
        self, sample: Sample, judge: str, bounds: Sequence[Bound]
    ) -> tuple[list[dict[str, Any]], list[str], str, str]:
        """Answers, what they have against the clip, why they do not count, who gave them."""
        if outside := prompt_outside(sample, judge):
            return [], [], outside, judge
        found = self.evidence(sample, self._known(f"answers {judge}", lambda: Answers(judge=judge)))
        rows, who = found["answers"], found["judge"]
        outside = (
            f"the judge {who} has not learnt clips like this one, so its answers say nothing; for other footage name "
            f'another: judge="v2t:MODEL"'
            if found["outside"]
            else ""
        )
        if rows and all(row["status"] == "unaudited" for row in rows):
            outside = f"the judge {who} was not shown to know any answer that is asked for here"
        bounded = any(bound.metric.partition("[")[0] in ("question_score", "vqascore") for bound in bounds)
        return rows, [] if bounded else reasons_of(rows, who), outside, who


def clip_metric(name: str, judge: str) -> BaseMetric:
    """The metric that a bound names, which must give a value for a single clip.

    Raises:
        UsageError: no such metric, several, or one of sets or texts.
    """
    metrics = parse_metrics(name)
    if len(metrics) != 1 or metrics[0].level != "clip":
        levels = ", ".join(f"{metric.title} looks at a {metric.level}" for metric in metrics)
        raise UsageError(f"a bound of one clip needs one metric of clips, and {levels}",
                         hint="sets are held to bounds by the fixture `gate`")  # fmt: skip
    (metric,) = metrics
    if isinstance(metric, JudgedMetric) and "judge=" not in name and judge != STARTER:
        return type(metric)(**{**vars(metric.settings), "judge": judge})
    return metric


def prompt_outside(sample: Sample, judge: str) -> str:
    """Why the starter cannot be asked about this prompt, "" where it can, or another judge is asked."""
    if judge != STARTER or sample.get("questions") is not None or of_world(sample.prompt or "") is not None:
        return ""
    unread = parse(sample.prompt or "").unread
    known = why_unread(unread) if unread else "knows nothing the prompt says"
    return (
        f"the judge {judge} knows a cartoon world alone and {known}; give questions=[...], or a judge of "
        f'other footage: judge="v2t:MODEL"'
    )


def with_strip(verdict: Verdict, data: bytes, path: Path) -> Verdict:
    """The verdict, with its picture written to `path`."""
    from cineloop.files import write_atomic

    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, data)
    return replace(verdict, strip=path)


def _row(question: Any) -> Any:
    """A question as a row: a text is one of yes or no."""
    return {"question": question} if isinstance(question, str) else question
