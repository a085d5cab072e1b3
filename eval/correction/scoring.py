"""Corrected figures of a scoring's judged metrics, beside their own.

In: `Scores`, the samples that were scored, an `Audit` of the same judge, `Labels`. Out: `Scores` in which each judged
metric has, of `dsg` and `accuracy` (question_score) or of `all` (any other: the share of clips of which every claim is
true), the figures NAME_corrected (`estimate`, by the audit) and NAME_by_labels (`powered`); notes say why there is none
(NOT_CORRECTED with a code), what was cut to [0, 1], and what the correction rests on. Nothing else of a result changes.

A correction by an audit holds where the clips are of the kind that the audit has: how many answers are true may differ,
how often the judge errs on a true and a false one may not. So only sets of like clips are taken (`set_of`), and none
where the judge warns that clips are unlike its world.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cineloop.errors import CineloopError
from v2t_eval.audit.record import Audit, Confusion
from v2t_eval.core.changes import finite_values
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.sample import Sample
from v2t_eval.core.scores import Scores
from v2t_eval.correction.estimate import Claims, CorrectedShare, corrected_share
from v2t_eval.correction.labels import Labels
from v2t_eval.correction.powered import LEAST_PROMPTS, powered_mean
from v2t_eval.correction.rates import LEAST_CLAIMS, LEAST_CONTRAST, ErrorRates, error_rates
from v2t_eval.judge.question import Question, dsg

CORRECTED, BY_LABELS, ALL = "_corrected", "_by_labels", "all"
NOT_CORRECTED = "NOT_CORRECTED"
MAX_OUTSIDE = 0.05  # share of clips unlike the judge's world
_SAME = ("judge", "answers", "frames", "dtype", "calibration", "stillness", "vocabulary")
_TRANSFER = (
    "it holds where these clips are of the kind that the audit has: another share of true answers does no harm, other "
    "looks, or other ways to be wrong, do"
)


class UncorrectableError(CineloopError):
    """A figure cannot be corrected; `code` says why."""


@dataclass(frozen=True, kw_only=True)
class JudgedClip:
    """The answered claims of a clip; `value` of the metric."""

    id: str
    cluster: str
    claims: tuple[Mapping[str, Any], ...]
    value: float
    outside: bool

    def counts(self, figure: str, mode: str, right: Mapping[str, bool]) -> float:
        """What `right` of each claim makes of the figure, 0 to 1."""
        if figure == ALL:
            return float(all(right.values()))
        if figure == "dsg":
            questions = [Question(id=str(c["id"]), question="", parents=tuple(c["parents"])) for c in self.claims]
            right = dsg(questions, right, "compat" if mode == "compat" else "transitive")
        return sum(right.values()) / len(right)


def with_corrections(
    scores: Scores, samples: Sequence[Sample], audit: Audit | None, labels: Labels | None = None
) -> Scores:
    """The scores with corrected figures; see the module's head."""
    clusters = {clip.id: clip.cluster for clip in scores.clips}
    name, why = set_of(samples)
    results = []
    for result in scores.results:
        clips = judged_clips(result, clusters)
        if not clips or not result.figures:
            results.append(result)
            continue
        figures, notes = _by_audit(result, clips, audit, name, why)
        if labels is not None:
            more, others = _by_labels(result, clips, labels)
            figures, notes = figures | more, [*notes, *others]
        results.append(replace(result, figures=result.figures | figures, notes=(*result.notes, *notes)))
    return replace(scores, results=results)


def judged_clips(result: MetricResult, clusters: Mapping[str, str]) -> list[JudgedClip]:
    """The clips of a judged metric with their answered claims; none of another metric, or of scores without claims."""
    if "judge" not in result.fingerprint:
        return []
    values, clips = finite_values(result.items), []
    for item in result.items:
        rows: Any = item.get("claims") or item.get("questions")
        claims = [row for row in rows if row.get("right") is not None and "kind" in row] if _is_rows(rows) else []
        if claims and item["id"] in values:
            clips.append(
                JudgedClip(id=item["id"], cluster=clusters.get(item["id"], item["id"]), claims=tuple(claims),
                           value=values[item["id"]], outside=bool(item.get("outside")))
            )  # fmt: skip
    return clips


def _is_rows(rows: Any) -> bool:
    return isinstance(rows, list) and all(isinstance(row, Mapping) for row in rows)


def figures_of(result: MetricResult) -> tuple[str, ...]:
    """The shares that a judged metric's claims give."""
    return tuple(name for name in ("dsg", "accuracy") if name in result.figures) or (ALL,)


def set_of(samples: Sequence[Sample]) -> tuple[str, str]:
    """The audit's set of clips that samples belong to, `world`, `generated` or `yours`, and the reason why there is
    none."""
    made_by = {str(sample.row.get("generator") or "") for sample in samples}
    if len(made_by) > 1:
        return "", f"clips of several sources ({', '.join(sorted(each or 'files' for each in made_by))})"
    (one,) = made_by or {""}
    return ("world" if one == "world" else "generated" if one else "yours"), ""


def _settings(result: MetricResult) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads(result.fingerprint.get("settings", "{}"))
    return tree


# --- by an audit
def _by_audit(
    result: MetricResult, clips: Sequence[JudgedClip], audit: Audit | None, name: str, why: str
) -> tuple[dict[str, Figure], list[str]]:
    try:
        rows = confusion_for(result, clips, audit, name, why)
        shares = corrected_shares(result, clips, rows)
    except UncorrectableError as error:
        return {}, [f"{NOT_CORRECTED} ({error.code}): {error.message}"]
    figures, notes = {}, []
    for figure, (share, rates) in shares.items():
        value, low, high = share.clipped
        detail = {"audited true": sum(t for t, _ in rates.claims.values()),
                  "audited false": sum(f for _, f in rates.claims.values())}  # fmt: skip
        figures[figure + CORRECTED] = Figure(value=value, low=low, high=high, n=len(clips), detail=detail)
        if value != share.value:
            notes.append(f"{figure}{CORRECTED}: {share.value:.3f} by the audit's rates, cut to {value:g}")
    notes.append(
        f"corrected for the judge's errors (Rogan and Gladen), as the audit counted them on its {name} clips; "
        f"{_TRANSFER}" + (f". Judge and clip: {text}" if audit and (text := contradictions(audit)) else "")
    )
    return figures, notes


def confusion_for(
    result: MetricResult, clips: Sequence[JudgedClip], audit: Audit | None, name: str, why: str = ""
) -> tuple[Confusion, ...]:
    """The audit's counts for these clips.

    Raises:
        UncorrectableError: NO_AUDIT, OTHER_JUDGE, OTHER_THRESHOLD, MIXED_CLIPS, NO_SUCH_CLIPS, OUTSIDE.
    """
    if audit is None or not audit.judge:
        raise UncorrectableError(
            "there is no audit of the judge; v2t-eval audit makes one, --audit names it", code="NO_AUDIT"
        )
    mine = {key: (result.fingerprint.get(key), audit.judge.get(key)) for key in _SAME}
    if differ := [f"{key} {theirs!r}, here {ours!r}" for key, (ours, theirs) in mine.items() if ours != theirs]:
        raise UncorrectableError(f"the audit is of another judge: {differ[0]:.300}", code="OTHER_JUDGE")
    if _settings(result).get("threshold", 0.5) != 0.5:
        raise UncorrectableError(
            "an audit counts answers at a chance of 0.5, and threshold is another", code="OTHER_THRESHOLD"
        )
    if why:
        raise UncorrectableError(f"{why}: score those of each alone", code="MIXED_CLIPS")
    if not audit.confusion.get(name):
        has = ", ".join(audit.confusion) or "no counts: make it again with v2t-eval audit"
        raise UncorrectableError(f"the audit has no {name} clips; it has {has}", code="NO_SUCH_CLIPS")
    outside = sum(clip.outside for clip in clips)
    if outside > MAX_OUTSIDE * len(clips):
        text = f"{outside} of {len(clips)} clips are unlike those the judge was trained on: no audit speaks for them"
        raise UncorrectableError(text, code="OUTSIDE")
    return audit.confusion[name]


def corrected_shares(
    result: MetricResult, clips: Sequence[JudgedClip], rows: Sequence[Confusion]
) -> dict[str, tuple[CorrectedShare, ErrorRates]]:
    """Of each figure the corrected share, and the rates it is by.

    Raises:
        UncorrectableError: UNAUDITED_KIND, WEAK_JUDGE, IMPOSSIBLE, TOO_FEW_PROMPTS.
    """
    keys = list(dict.fromkeys((str(c["kind"]), str(c["listed"])) for clip in clips for c in clip.claims))
    if missing := sorted({kind for kind, _ in keys} - {row.kind for row in rows}):
        raise UncorrectableError(f"the audit has no claims of the kind {', '.join(missing)}", code="UNAUDITED_KIND")
    if len({clip.cluster for clip in clips}) < 2:
        raise UncorrectableError("one prompt shows no spread: use 20 and more", code="TOO_FEW_PROMPTS")
    rates = error_rates(rows, keys)
    if rates.weak:
        stated = "; ".join(
            f"{kind}: sensitivity + specificity - 1 is {rates.contrast[kind][0]:.2f}, at least "
            f"{rates.contrast[kind][1]:.2f}, of {' and '.join(map(str, rates.claims[kind]))} true and false claims"
            for kind in rates.weak[:3]
        )
        least = f"{LEAST_CONTRAST:g} at the lower end and {LEAST_CLAIMS} claims of each are needed"
        raise UncorrectableError(f"the judge's answers hold too little: {stated}; {least}", code="WEAK_JUDGE")
    mode, shares = str(_settings(result).get("mode", "")), {}
    for figure in figures_of(result):
        share = corrected_share(_claims(clips, keys, figure, mode), rates)
        if share.is_impossible:
            raise UncorrectableError(
                f"{figure} would be {share.value:.3f} [{share.low:.3f}, {share.high:.3f}]: no share of true answers "
                "gives these by the audit's rates, so the audit is not of such clips", code="IMPOSSIBLE",
            )  # fmt: skip
        shares[figure] = (share, rates)
    return shares


def _claims(clips: Sequence[JudgedClip], keys: Sequence[tuple[str, str]], figure: str, mode: str) -> Claims:
    """The claims of a figure: each alone, each with what it depends on, or all of a clip together."""
    number = {key: n for n, key in enumerate(keys)}
    answer: list[int] = []
    yes: list[bool] = []
    product: list[int] = []
    clip_of: list[int] = []
    weight: list[float] = []
    for n, clip in enumerate(clips):
        by_id = {str(claim["id"]): claim for claim in clip.claims}
        groups = [[*by_id]] if figure == ALL else [_group_of(id, by_id, figure, mode) for id in by_id]
        for group in groups:
            claims = [by_id[id] for id in group]
            answer += [number[str(claim["kind"]), str(claim["listed"])] for claim in claims]
            yes += [bool(claim["right"]) for claim in claims]
            product += [len(weight)] * len(claims)
            clip_of.append(n)
            weight.append(1 / len(groups))
    return Claims(
        answer=np.array(answer), yes=np.array(yes, float), product=np.array(product), clip=np.array(clip_of),
        weight=np.array(weight), clusters=[clip.cluster for clip in clips],
    )  # fmt: skip


def _group_of(id: str, by_id: Mapping[str, Mapping[str, Any]], figure: str, mode: str) -> list[str]:
    """The claims that must be true for one to count: itself, and in `dsg` its answered parents, or all above it."""
    if figure != "dsg":
        return [id]
    needed, todo = [id], [str(each) for each in by_id[id]["parents"]]
    while todo:
        parent = todo.pop()
        if parent in by_id and parent not in needed:
            needed.append(parent)
            todo += [str(each) for each in by_id[parent]["parents"]] if mode != "compat" else []
    return needed


def contradictions(audit: Audit) -> str:
    """How often the audit saw the judge contradict itself on one clip, in words; "" where it did not look."""
    named = {
        "flips_wording": "asked in other words", "flips_order": "with the list reversed",
        "flips_codec": "on the clip encoded again",
        "flips_phase": "half a frame later", "flips_claim": "asked for yes or no",
        "both_held": "two claims that exclude each other both held true",
    }  # fmt: skip
    parts = [
        f"{text} {audit.stability[key]:.1%} of {audit.stability.get(f'{key}_n', 0):.0f}"
        for key, text in named.items() if key in audit.stability
    ]  # fmt: skip
    return f"it contradicts itself {', '.join(parts)}" if parts else ""


# --- by labels
def _by_labels(
    result: MetricResult, clips: Sequence[JudgedClip], labels: Labels
) -> tuple[dict[str, Figure], list[str]]:
    truths, problems = {}, labels.problems.copy()
    for clip in clips:
        truths[clip.id], more = labels.truths(clip.id, clip.claims)
        problems.update(more)
    whole = {clip.id for clip in clips if len(truths[clip.id]) == len({str(c["id"]) for c in clip.claims})}
    partly = sum(bool(truths[clip.id]) and clip.id not in whole for clip in clips)
    notes = [f"{code}: {num} labels were left out" for code, num in sorted(problems.items())]
    notes += [f"LABEL_PARTLY: {partly} clips have labels of some of their questions only, and do not count"] * bool(
        partly
    )
    prompts = len({clip.cluster for clip in clips if clip.id in whole})
    if prompts < LEAST_PROMPTS:
        text = f"labels of all questions of the clips of {prompts} prompts; {LEAST_PROMPTS} are needed"
        return {}, [*notes, f"{NOT_CORRECTED} (TOO_FEW_LABELS): {text}"]
    mode, figures = str(_settings(result).get("mode", "")), {}
    clusters = [clip.cluster for clip in clips]
    for figure in figures_of(result):
        truth = np.array([clip.counts(figure, mode, truths[clip.id]) if clip.id in whole else np.nan for clip in clips])
        judged = np.array([
            clip.value if figure == ALL
            else clip.counts(figure, mode, {str(claim["id"]): bool(claim["right"]) for claim in clip.claims})
            for clip in clips
        ])  # fmt: skip
        mean = powered_mean(judged, truth, clusters)
        figures[figure + BY_LABELS] = Figure(value=mean.value, low=mean.low, high=mean.high, n=len(clips),
                                             detail={"labelled": len(whole)})  # fmt: skip
        notes.append(
            f"{figure}{BY_LABELS}: the judge's answers have a weight of {mean.weight:.2f} beside the labels (PPI++)"
        )
    notes.append("figures by labels hold if the labelled clips were drawn at random from all of them")
    return figures, notes
