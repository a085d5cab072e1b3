"""A whole set of clips in a test: scored by a suite and held against a baseline, as `v2t-eval gate` does.

In: clips, a suite with a gate, a baseline file. Out: the gate's `Verdict`, and the same in words (`told`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import UsageError

if TYPE_CHECKING:
    from v2t_eval.gate.verdict import Verdict

_WORST = 5


def gated(clips: Path, suite: Path, baseline: Path | None, *, cache: Path | None) -> Verdict:
    """The verdict on a folder of clips, a manifest, or the results of an earlier scoring.

    Args:
        cache: folder for evidence, None keeps none.

    Raises:
        CineloopError: as `v2t_eval.score.score`, `v2t_eval.suite.read_suite`, `v2t_eval.gate.baseline.read`,
        `v2t_eval.gate.run.gate`.
    """
    from v2t_eval.audit.record import audit_of
    from v2t_eval.gate import baseline as kept
    from v2t_eval.gate.run import gate
    from v2t_eval.gate.sides import named
    from v2t_eval.score import ScoreConfig
    from v2t_eval.suite import read_suite

    asked = read_suite(suite)
    if asked.policy is None:
        raise UsageError(f"{suite} has no gate", hint="add `gate: {primary: [...]}`, such as `v2t-eval suites gate`")
    against = None if baseline is None else kept.read(baseline)
    audit = audit_of(asked.policy.audit)
    config = ScoreConfig(cache=cache, is_suite=True)
    scores = named(clips).scored(asked.metrics, config, lambda: False, show_progress=False)
    return gate(scores, asked.policy, baseline=against, audit=audit, suite=suite.name)


def told(verdict: Verdict) -> str:
    """The verdict in words: the reason, what deciding metrics and guards have against the set, the worst clips."""
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
        lines.append("if the change is meant, keep a new baseline: v2t-eval gate update --reason ...")
    return "\n  ".join(lines)


def _number(value: float) -> str:
    return f"{value:.4g}"
