"""The verdict as a document: metrics, guards, the clips that got worst beside the baseline's.

In: a `Verdict`, folders of the clips. Out: `Document`, rendered as `gate.html`, `gate.md`, GitHub's job
summary and on a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.files import unescape_name
from cineloop.log import plural
from v2t_eval.gate import wording
from v2t_eval.gate.verdict import MetricVerdict, Outcome, Verdict
from v2t_eval.report.document import Banner, Card, Cell, Document, Interval, Section, Table, Tone

_TONES: dict[Outcome, Tone] = {"pass": "good", "fail": "bad", "inconclusive": "unsure", "not_comparable": "unsure"}
_MAX_NAMED = 20  # clips named below a guard


def document(verdict: Verdict, candidate_root: Path | None = None, baseline_root: Path | None = None) -> Document:
    """The report of a verdict.

    Args:
        verdict: what to report.
        candidate_root, baseline_root: what the clips' paths are relative to; None: the `folder` that the verdict names
            for that side, and without one that side's clips are not shown.
    """
    primary, exploratory = wording.parted(verdict)
    share = f"{100 * (1 - float(verdict.policy.get('alpha', 0.05))):g} %"
    drawn = (
        f"The change is candidate minus baseline, paired by clip, between bounds over prompts that hold with {share} "
        "each. On the page worse lies left, the dashed line is no change, and what is shaded lies beyond the margin."
    )
    apart = "They decide nothing; their outcomes are what they would have been."
    sections = (
        Section(title="What makes them not comparable", text=verdict.differences),
        Section(title="Primary metrics", text=(drawn,) if primary else (), tables=_metrics(primary)),
        Section(title="Guards", tables=_guards(verdict)),
        _clips(verdict, _root(candidate_root, verdict.candidate), _root(baseline_root, verdict.baseline)),
        Section(title="Notes", text=verdict.notes),
        Section(
            title=f"Exploratory metrics ({len(exploratory)})", text=(apart,) if exploratory else (),
            tables=_metrics(exploratory), folded=True, brief=_explored(exploratory),
        ),
        Section(title="Policy", facts=_policy(verdict.policy), folded=True),
        Section(title="Environment", facts=tuple(verdict.environment.items()), folded=True),
        Section(title="How to get this verdict again", commands=(wording.command(verdict),)),
    )  # fmt: skip
    return Document(title="Gate", banner=_banner(verdict), sections=sections, data="verdict.json")


def _banner(verdict: Verdict) -> Banner:
    facts = [("exit code", str(verdict.exit_code))]
    for side, told in (("candidate", verdict.candidate), ("baseline", verdict.baseline)):
        if told:
            facts.append((side, wording.side(told)))
    return Banner(
        word=wording.WORDS[verdict.outcome], sentence=verdict.reason, tone=_TONES[verdict.outcome], facts=tuple(facts)
    )


def _metrics(metrics: Sequence[MetricVerdict]) -> tuple[Table, ...]:
    if not metrics:
        return ()
    columns = ("Metric", "Outcome", "Candidate", "Baseline", "Change", "p (adjusted)", "Detectable")
    rows = tuple(
        (
            one.metric,
            (one.outcome.replace("_", " "), _TONES[one.outcome]),
            _candidate(one),
            wording.figure(one.baseline),
            _change(one),
            wording.probabilities(one),
            wording.amount(one.mde),
        )
        for one in metrics
    )
    return (Table(columns=columns, rows=rows, notes=tuple(_said(one) for one in metrics)),)


def _said(metric: MetricVerdict) -> tuple[str, ...]:
    asked = f"Asked for: {wording.asked(metric)}; " if wording.asked(metric) != wording.NOTHING else ""
    blind = (f"Measured to be blind: {'; '.join(metric.blind)}.",) if metric.blind else ()
    rests = f" The change rests on {wording.behind(metric)}." if metric.num_pairs else ""
    return (*metric.reasons, f"{asked}{wording.better(metric)}.{rests}", *blind)


def _candidate(metric: MetricVerdict) -> Cell:
    """The candidate's figure; drawn against its bounds where there are some."""
    found = metric.candidate
    if found is None or (metric.at_least is None and metric.at_most is None):
        return wording.figure(found)
    return Interval(
        value=found.value, low=found.low, high=found.high, text=wording.figure(found), bad_below=metric.at_least,
        bad_above=metric.at_most, mirrored=metric.higher_is_better is False,
    )  # fmt: skip


def _change(metric: MetricVerdict) -> Cell:
    if metric.change is None or metric.low is None or metric.high is None:
        return wording.change(metric)
    margin = metric.margin
    return Interval(
        value=metric.change, low=metric.low, high=metric.high, text=wording.change(metric), zero=0.0,
        bad_below=None if margin is None or metric.higher_is_better is False else -margin,
        bad_above=None if margin is None or metric.higher_is_better is True else margin,
        mirrored=metric.higher_is_better is False,
    )  # fmt: skip


def _guards(verdict: Verdict) -> tuple[Table, ...]:
    if not verdict.guards:
        return ()
    rows, notes = [], []
    for one in verdict.guards:
        rows.append((one.name, (one.outcome.replace("_", " "), _TONES[one.outcome]), one.message))
        rest = len(one.clips) - _MAX_NAMED
        named = [*one.clips[:_MAX_NAMED], *([f"and {rest} more"] if rest > 0 else [])]
        notes.append((f"Clips: {', '.join(named)}",) if named else ())
    return (Table(columns=("Guard", "Outcome", "Found"), rows=tuple(rows), notes=tuple(notes)),)


def _clips(verdict: Verdict, candidate_root: Path | None, baseline_root: Path | None) -> Section:
    cards = tuple(
        Card(
            title=first.id,
            lines=(*map(wording.clip, changes), *([f"Prompt: {first.prompt}"] if first.prompt else [])),
            clip=_file(candidate_root, first.candidate_path),
            beside=_file(baseline_root, first.baseline_path),
        )
        for first, changes in wording.by_clip(verdict)
    )
    said = (f"{plural(len(cards), 'clip')} got worse in a primary metric, worst first.",) if cards else ()
    return Section(title="Clips that got worse", text=said, cards=cards)


def _explored(metrics: Sequence[MetricVerdict]) -> tuple[str, ...]:
    if not metrics:
        return ()
    notable = [f"{one.metric} ({one.outcome.replace('_', ' ')})" for one in metrics if one.outcome != "pass"]
    counts = f"{plural(len(metrics), 'exploratory metric')} (not part of the verdict)"
    return (f"{counts}: {', '.join(notable) or 'all would pass'}",)


def _policy(policy: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """The policy as names and values; each rule by itself."""
    found = []
    for name, value in policy.items():
        if name == "primary" and isinstance(value, list | tuple):
            found += [("primary", _rule(rule)) for rule in value]
        else:
            found.append((name, wording.NOTHING if value is None else str(value)))
    return tuple(found)


def _rule(rule: Any) -> str:
    if not isinstance(rule, dict):
        return str(rule)
    return ", ".join(f"{name} {value}" for name, value in rule.items() if value is not None)


def _root(given: Path | None, side: dict[str, str]) -> Path | None:
    return given if given is not None or "folder" not in side else Path(side["folder"])


def _file(root: Path | None, path: str | None) -> Path | None:
    return None if root is None or path is None else root / unescape_name(path)
