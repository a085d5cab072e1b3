"""The verdict as a document: metrics, guards, the worst clips next to the baseline's.

In: a `Verdict`, folders of the clips. Out: `Document`, rendered as `gate.html`, `gate.md`, `junit.xml`, GitHub's job
summary and annotations, and on a terminal. Untrusted text (prompts, ids, reasons) is passed on unchanged: each
renderer escapes it in its own way.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.files import unescape_name
from cineloop.log import plural
from v2t_eval.core.changes import ClipChange
from v2t_eval.core.metric import Figure
from v2t_eval.gate.verdict import OUTCOMES, MetricVerdict, Outcome, ValueSentence, Verdict
from v2t_eval.report.cells import decimals, number
from v2t_eval.report.document import Banner, Card, Cell, Check, Document, IntervalCell, Section, Table
from v2t_eval.report.summary import DIRECTIONS, figure_texts

NOTHING = "–"
_MAX_NAMED = 20  # clips named below a guard


def document(verdict: Verdict, candidate_root: Path | None = None, baseline_root: Path | None = None) -> Document:
    """The report of a verdict. The clips' paths are relative to the roots, by default the `folder` that the verdict
    names for that side; without one its clips are not shown.
    """
    ranked = sorted(verdict.metrics, key=lambda metric: (list(OUTCOMES).index(metric.outcome), -_harm(metric)))
    primary, exploratory = ([one for one in ranked if one.role == role] for role in ("primary", "exploratory"))
    share = f"{100 * (1 - float(verdict.policy.get('alpha', 0.05))):g} %"
    drawn = (
        f"The change is candidate minus baseline, paired by clip, with bounds over prompts that hold with {share} "
        "each. On the page worse is left, the dashed line is no change, and the shaded area is beyond the margin."
    )
    apart = "They decide nothing; their outcomes are what they would have been."
    sections = (
        Section(title="Why they are not comparable", text=(*verdict.differences, *_advice(verdict))),
        Section(title="Primary metrics", text=(drawn,) if primary else (), tables=_metrics(primary)),
        Section(title="Of several of these", text=_of_several(primary)),
        Section(title="Guards", tables=_guards(verdict)),
        _clips(
            _by_metric(verdict.clips, primary),
            _root(candidate_root, verdict.candidate),
            _root(baseline_root, verdict.baseline),
        ),
        Section(title="Notes", text=verdict.notes),
        Section(
            title=f"Exploratory metrics ({len(exploratory)})",
            text=(apart, *_of_several(exploratory)) if exploratory else (),
            tables=_metrics(exploratory), folded=True, brief=_exploratory_summary(exploratory),
        ),
        Section(title="Policy", facts=_policy(verdict.policy), folded=True),
        Section(title="Environment", facts=tuple(verdict.environment.items()), folded=True),
        Section(title="How to reproduce this verdict", commands=(_command(verdict),)),
    )  # fmt: skip
    return Document(title="Gate", banner=_banner(verdict), sections=sections, data="verdict.json")


def _banner(verdict: Verdict) -> Banner:
    word, tone, code = OUTCOMES[verdict.outcome]
    facts = [("exit code", str(code))]
    for side, about in (("candidate", verdict.candidate), ("baseline", verdict.baseline)):
        named = [about["name"]] if about.get("name") else []
        if about:
            rest = [f"{name} {value}" for name, value in about.items() if value and name != "name"]
            facts.append((side, ", ".join([*named, *rest])))
    return Banner(word=word.upper(), sentence=verdict.reason, tone=tone, facts=tuple(facts))


def _advice(verdict: Verdict) -> tuple[str, ...]:
    return ("If the change is intended, make a new baseline: v2t-eval gate update",) if verdict.differences else ()


def _check(outcome: Outcome, why: str) -> Check:
    return Check(OUTCOMES[outcome].word, OUTCOMES[outcome].tone, why)


# --- metrics


def _metrics(metrics: Sequence[MetricVerdict]) -> tuple[Table, ...]:
    if not metrics:
        return ()
    columns = ("Metric", "Outcome", "Candidate", "Baseline", "Change", "p (adjusted)", "Detectable")
    rows = tuple(
        (
            one.metric,
            _check(one.outcome, one.reasons[0] if one.reasons else f"change {change_text(one)}"),
            _candidate(one),
            figure_text(one.baseline),
            _change(one),
            NOTHING if one.p is None else f"{p_text(one.p)} ({p_text(one.p_adjusted)})",
            NOTHING if one.mde is None else number(one.mde, decimals(abs(one.mde))),
        )
        for one in metrics
    )
    several = {note for group in _common_notes(metrics).values() for _, note in group}
    notes = tuple(tuple(note for note in _notes(one) if note not in several) for one in metrics)
    return (Table(columns=columns, rows=rows, notes=notes),)


def _harm(metric: MetricVerdict) -> float:
    """How much worse it got, in margins; 0 where there is no margin."""
    sign = {True: -1.0, False: 1.0, None: 0.0}[metric.higher_is_better]
    return sign * (metric.change or 0.0) / metric.margin if metric.margin else 0.0


def _notes(metric: MetricVerdict) -> tuple[str, ...]:
    asked = f"Asked for: {asked_text(metric)}; " if asked_text(metric) else ""
    behind = f"{plural(metric.num_pairs, 'pair')} in {plural(metric.num_clusters, 'cluster')}"
    rests = (f"The change rests on {behind}.",) if metric.num_pairs else ()
    blind = (f"Blind spots found by the audit: {'; '.join(metric.blind)}.",) if metric.blind else ()
    return (*metric.reasons, f"{asked}{DIRECTIONS[metric.higher_is_better]}.", *rests, *blind)


def _common_notes(metrics: Sequence[MetricVerdict]) -> dict[str, list[tuple[str, str]]]:
    """Notes that several metrics have, after their deciding reason: metric and note, by the note or its start."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for one in metrics:
        for note in _notes(one)[1:]:
            start = note.start if isinstance(note, ValueSentence) else note
            groups.setdefault(start, []).append((one.metric, note))
    return {start: group for start, group in groups.items() if len(group) > 1}


def _of_several(metrics: Sequence[MetricVerdict]) -> tuple[str, ...]:
    """Each note that several metrics have, once."""
    lines = []
    for start, group in _common_notes(metrics).items():
        names = ", ".join(name for name, _ in group)
        who = "All of these" if len(group) == len(metrics) else names
        values = [f"{note.removeprefix(start)} ({name})" for name, note in group if note != start]
        lines.append(f"{who}: {start}{', '.join(values)}")
    return tuple(lines)


def figure_text(figure: Figure | None) -> str:
    """Value and interval: "0.812 [0.790, 0.835]"."""
    if figure is None:
        return NOTHING
    value, low, high = figure_texts(figure)
    return f"{value} [{low}, {high}]"


def change_text(metric: MetricVerdict) -> str:
    """Candidate minus baseline with its interval, signed: "-0.051 [-0.070, -0.031]"."""
    if metric.change is None:
        return NOTHING
    if metric.low is None or metric.high is None:
        return _signed_number(metric.change, decimals(abs(metric.change)))
    places = decimals(metric.high - metric.low or abs(metric.change))
    value, low, high = (_signed_number(one, places) for one in (metric.change, metric.low, metric.high))
    return f"{value} [{low}, {high}]"


def _signed_number(value: float, places: int) -> str:
    text = number(value, places)
    return text if value < 0 or float(text) == 0 else f"+{text}"


def asked_text(metric: MetricVerdict) -> str:
    """What was asked for: "less than 0.05 worse, at least 0.6"; "" for nothing."""
    parts = [
        (metric.margin, "less than {:g} worse"), (metric.at_least, "at least {:g}"), (metric.at_most, "at most {:g}"),
    ]  # fmt: skip
    return ", ".join(text.format(bound) for bound, text in parts if bound is not None)


def p_text(p: float | None) -> str:
    """A p-value: three places, "< 0.001" below."""
    if p is None:
        return NOTHING
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def _candidate(metric: MetricVerdict) -> Cell:
    """The candidate's figure; drawn against its bounds where there are some."""
    figure = metric.candidate
    if figure is None or (metric.at_least is None and metric.at_most is None):
        return figure_text(figure)
    return IntervalCell(
        value=figure.value, low=figure.low, high=figure.high, text=figure_text(figure), bad_below=metric.at_least,
        bad_above=metric.at_most, mirrored=metric.higher_is_better is False,
    )  # fmt: skip


def _change(metric: MetricVerdict) -> Cell:
    if metric.change is None or metric.low is None or metric.high is None:
        return change_text(metric)
    margin = metric.margin
    return IntervalCell(
        value=metric.change, low=metric.low, high=metric.high, text=change_text(metric), zero=0.0,
        bad_below=None if margin is None or metric.higher_is_better is False else -margin,
        bad_above=None if margin is None or metric.higher_is_better is True else margin,
        mirrored=metric.higher_is_better is False,
    )  # fmt: skip


def _exploratory_summary(metrics: Sequence[MetricVerdict]) -> tuple[str, ...]:
    if not metrics:
        return ()
    notable = [f"{one.metric} ({OUTCOMES[one.outcome].word})" for one in metrics if one.outcome != "pass"]
    counts = f"{plural(len(metrics), 'exploratory metric')} (not part of the verdict)"
    return (f"{counts}: {', '.join(notable) or 'all would pass'}",)


# --- guards, clips, policy


def _guards(verdict: Verdict) -> tuple[Table, ...]:
    if not verdict.guards:
        return ()
    rows, notes = [], []
    for one in verdict.guards:
        rows.append((one.name, _check(one.outcome, one.message), one.message))
        rest = len(one.clips) - _MAX_NAMED
        named = [*one.clips[:_MAX_NAMED], *([f"and {rest} more"] if rest > 0 else [])]
        notes.append((f"Clips: {', '.join(named)}",) if named else ())
    return (Table(columns=("Guard", "Outcome", "Found"), rows=tuple(rows), notes=tuple(notes)),)


def _by_metric(clips: Sequence[ClipChange], metrics: Sequence[MetricVerdict]) -> list[ClipChange]:
    """Clips in the order of the metrics that they got worse in: what decides comes first."""
    place = {one.metric: number for number, one in enumerate(metrics)}
    return sorted(clips, key=lambda change: place.get(change.metric, len(place)))


def _clips(clips: Sequence[ClipChange], candidate_root: Path | None, baseline_root: Path | None) -> Section:
    """A card for each clip that got worse, with every change that is listed for it; in the order given."""
    grouped: dict[str, list[ClipChange]] = {}
    for change in clips:
        grouped.setdefault(change.id, []).append(change)
    cards = tuple(
        Card(
            title=id,
            lines=(*map(clip_text, changes), *([f"Prompt: {changes[0].prompt}"] if changes[0].prompt else [])),
            clip=_file(candidate_root, changes[0].candidate_path),
            other=_file(baseline_root, changes[0].baseline_path),
        )
        for id, changes in grouped.items()
    )
    order = "in the order of the metrics above, worst first"
    text = (f"{plural(len(cards), 'clip')} got worse in a primary metric, {order}.",) if cards else ()
    return Section(title="Clips that got worse", text=text, cards=cards)


def clip_text(change: ClipChange) -> str:
    """One clip under one metric: "question_score: 0.92 to 0.41, 0.51 worse"."""
    values = [value for value in (change.baseline, change.candidate) if value is not None]
    if change.worse is None or len(values) < 2:
        both = [number(value, decimals(abs(value))) for value in values]
        return f"{change.metric}: {' to '.join(both) or NOTHING}"
    places = decimals(abs(change.worse))
    before, after, by = (number(value, places) for value in (*values, abs(change.worse)))
    return f"{change.metric}: {before} to {after}, {by} {'worse' if change.worse >= 0 else 'better'}"


def _policy(policy: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The policy as names and values; each rule by itself."""
    pairs = []
    for name, value in policy.items():
        if name == "primary" and isinstance(value, list | tuple):
            pairs += [("primary", _rule(rule)) for rule in value]
        else:
            pairs.append((name, NOTHING if value is None else str(value)))
    return tuple(pairs)


def _rule(rule: Any) -> str:
    if not isinstance(rule, dict):
        return str(rule)
    return ", ".join(f"{name} {value}" for name, value in rule.items() if value is not None)


def _command(verdict: Verdict) -> str:
    """The command that reproduces this verdict, as far as the verdict records it."""
    clips = verdict.candidate.get("folder", "CLIPS")
    suite = str(verdict.policy.get("suite", "SUITE"))
    baseline = verdict.baseline.get("file", "BASELINE")
    return shlex.join(["v2t-eval", "gate", clips, "--suite", suite, "--baseline", baseline])


def _root(given: Path | None, side: dict[str, str]) -> Path | None:
    return given if given is not None or "folder" not in side else Path(side["folder"])


def _file(root: Path | None, path: str | None) -> Path | None:
    return None if root is None or path is None else root / unescape_name(path)
