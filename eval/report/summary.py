"""Content of every report: metrics as rows, samples that could not be scored and why, worst clips.

In: `Scores`. Out: plain values that `scoring` lays out.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from cineloop.errors import UsageError
from cineloop.log import plural
from v2t_eval.core.metric import Figure, MetricResult, load_metric
from v2t_eval.core.scores import Scores
from v2t_eval.report.cells import decimal_text, decimals, number, percent
from v2t_eval.report.document import Level

_LEVELS: tuple[Level, ...] = (0, 1, 2, 3, 4)
# What a reader asks first of clips and of captions, and the metrics that say it, the best first.
LEADS = {
    "right in every fact": ("facts",),
    "does as asked": ("question_score", "obedience", "vqascore"),
    "moves": ("dynamic_degree", "motion"),
    "does not flicker": ("temporal_flickering",),
}
# Of those whose best value is all that was asked: what clips below it do, and all clips where none is below.
FAULTS = {
    "right in every fact": ("have a fact wrong", "are right in every fact"),
    "does as asked": ("do not do as asked", "do as asked"),
}
_NUM_NAMED = 3  # metrics that were named make the headline where none of those was
DIRECTIONS = {True: "higher is better", False: "lower is better", None: "no preferred direction"}


@dataclass(frozen=True, kw_only=True)
class MetricRow:
    """One metric as a report shows it.

    `figure` is the headline, None when nothing could be scored; `values` are those of single clips by id, empty for a
    score of the whole set; `detects`, `misses` and `level` come from the metric's class where it is available.
    """

    result: MetricResult
    figure: Figure | None
    values: dict[str, float]
    level: str = ""
    detects: str = ""
    misses: str = ""

    @property
    def name(self) -> str:
        return self.result.name

    @property
    def direction(self) -> str:
        """The preferred direction, in words."""
        return DIRECTIONS[self.result.higher_is_better]

    @property
    def scored(self) -> int:
        """Samples behind the figure, of `result.n`."""
        return round(self.result.coverage * self.result.n)


@dataclass(kw_only=True)
class Problem:
    """Samples that failed for one reason: its code, one message, the ids, and the metrics (empty: the clip itself)."""

    code: str
    message: str
    hint: str = ""
    ids: list[str] = field(default_factory=list)
    metrics: list[str] = field(default_factory=list)


def rows(scores: Scores) -> list[MetricRow]:
    """The metrics in the order they were scored."""
    return [_row(result) for result in scores.results]


def leads(figures: Sequence[MetricRow]) -> dict[str, MetricRow]:
    """The metrics that a report begins with, by what each says in plain words; the first ones by their names where
    nothing of `LEADS` was scored."""
    scored = [row for row in figures if row.figure is not None]
    by_metric = {row.name.partition("[")[0]: row for row in reversed(scored)}
    chosen = {
        words: by_metric[name]
        for words, names in LEADS.items()
        for name in [next((name for name in names if name in by_metric), None)]
        if name is not None
    }
    return chosen or {row.name: row for row in scored[:_NUM_NAMED]}


def ranking_row(figures: Sequence[MetricRow]) -> MetricRow | None:
    """The metric whose worst clips a report shows first: of those that lead, else of all, the first with values of
    clips and a preferred direction."""
    valued = [row for row in (*leads(figures).values(), *figures) if row.values]
    directed = [row for row in valued if row.result.higher_is_better is not None]
    return next(iter(directed or valued), None)


def worst_first(row: MetricRow) -> list[str]:
    """Ids of the clips that `row` scored, worst first; highest first without a preferred direction."""
    sign = 1 if row.result.higher_is_better else -1
    return sorted(row.values, key=lambda id: (sign * row.values[id], id))


def fifths(row: MetricRow) -> dict[str, Level]:
    """For each scored clip 0 (worst fifth) to 4 (best fifth) by the middle of its rank among equals; 2 for all without
    a preferred direction."""
    up = row.result.higher_is_better
    if up is None:
        return dict.fromkeys(row.values, 2)
    levels: dict[str, Level] = {}
    ordered = sorted(row.values.values())
    for id, value in row.values.items():
        middle = (bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 / len(ordered)
        levels[id] = _LEVELS[min(4, int(5 * (middle if up else 1 - middle)))]
    return levels


def problems(scores: Scores) -> list[Problem]:
    """Why samples could not be scored, most frequent first; a clip that failed itself is not repeated by metric."""
    by_code: dict[tuple[str, bool], Problem] = {}
    broken = {clip.id: (clip.error or {}).get("code", "FAILED") for clip in scores.clips if clip.status != "ok"}
    for clip in scores.clips:
        if clip.id in broken:
            error = clip.error or {}
            message, hint = error.get("message", "no reason was given"), error.get("hint", "")
            code = broken[clip.id]
            by_code.setdefault((code, True), Problem(code=code, message=message, hint=hint)).ids.append(clip.id)
    seen: dict[tuple[str, bool], set[str]] = {}
    for result in scores.results:
        for failure in result.failures:
            key = (failure["code"], False)
            if broken.get(failure["id"]) == failure["code"]:
                continue
            problem = by_code.setdefault(key, Problem(code=failure["code"], message=failure["message"]))
            ids = seen.setdefault(key, set())
            if failure["id"] not in ids:
                ids.add(failure["id"])
                problem.ids.append(failure["id"])
            if result.name not in problem.metrics:
                problem.metrics.append(result.name)
    return sorted(by_code.values(), key=lambda problem: (-len(problem.ids), problem.code))


def verdict(scores: Scores) -> str:
    """One sentence: whether everything that was asked for could be scored, and what was left open."""
    clips, total = sum(clip.status != "ok" for clip in scores.clips), len(scores.clips)
    partial = [result for result in scores.results if result.coverage < 1]
    parts = []
    broken = [one for one in scores.skipped if not one.found_nothing]
    if broken:
        parts.append(f"{plural(len(broken), 'metric')} could not run")
    if clips:
        parts.append(f"{clips} of {plural(total, 'clip')} failed")
    if partial:
        least = min(partial, key=lambda result: result.coverage)
        which = plural(len(partial), "metric")
        parts.append(f"{which} did not score every sample (least: {least.name}, {percent(least.coverage)})")
    parts = parts or ["every metric that ran scored every sample"]
    if len(scores.skipped) > len(broken):
        parts.append(f"{plural(len(scores.skipped) - len(broken), 'metric')} found nothing to measure")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def title(figures: Sequence[MetricRow]) -> str:
    """The result in a line: "14 of 20 right in every fact", "does as asked 0.83, moves 1.00"."""
    parts = []
    for words, row in leads(figures).items():
        detail = row.figure.detail if row.figure is not None else {}
        if set(detail) == {"right", "wrong"}:
            parts.append(f"{detail['right']} of {sum(detail.values())} {words}")
        elif row.figure is not None:
            parts.append(f"{words} {figure_texts(row.figure)[0]}")
    return ", ".join(parts) or "no figures"


def scope(scores: Scores) -> str:
    """What was scored, in a line."""
    return f"{plural(len(scores.clips), 'clip')}, {plural(len(scores.results), 'metric')}"


def figure_texts(figure: Figure) -> tuple[str, str, str]:
    """Value, low and high end of an interval as text with as many digits as the interval supports."""
    places = decimals(figure.high - figure.low or abs(figure.value))
    return number(figure.value, places), decimal_text(figure.low, places), decimal_text(figure.high, places)


def _row(result: MetricResult) -> MetricRow:
    try:
        metric = load_metric(result.name.split("[")[0])
    except UsageError:  # scores may come from where there were other metrics
        metric = None
    values: dict[str, float] = {}
    for item in result.items:
        value = item.get("value")
        if isinstance(value, int | float) and math.isfinite(value):
            values[item["id"]] = float(value)
    about = {name: str(getattr(metric, name, "") or "") for name in ("level", "detects", "misses")}
    return MetricRow(result=result, figure=result.figures.get(result.headline), values=values, **about)
