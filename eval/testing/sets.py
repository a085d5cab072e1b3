"""Failure message for the verdict on a set of clips."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from v2t_eval.gate.verdict import Verdict

_WORST = 5


def message_of(verdict: Verdict) -> str:
    """The verdict as text: the reason, failed metrics and guards, the worst clips."""
    lines = [f"{verdict.outcome.replace('_', ' ')}: {verdict.reason}"]
    for metric in verdict.metrics:
        if metric.role == "primary" and metric.outcome != "pass":
            lines += [line for line in (f"{metric.metric}: {why}" for why in metric.reasons) if line != verdict.reason]
    lines += [f"{guard.name}: {guard.message}" for guard in verdict.guards if guard.outcome != "pass"]
    lines += verdict.differences
    for one in verdict.clips[:_WORST]:
        asked = f', asked for "{one.prompt}"' if one.prompt else ""
        values = " -> ".join(_number(value) for value in (one.baseline, one.candidate) if value is not None)
        lines.append(f"got worse: {one.id}, {one.metric} {values}{asked}")
    if verdict.outcome == "not_comparable":
        lines.append("if the change is intended, make a new baseline: v2t-eval gate update --reason ...")
    return "\n  ".join(lines)


def _number(value: float) -> str:
    return f"{value:.4g}"
