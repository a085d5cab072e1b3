"""The gate's verdict on the model that learning ended with, against the one it began from.

In: clips of both for the held-out prompts, a suite. Out: outcome and reason.
"""

from __future__ import annotations

from pathlib import Path

from v2t_eval.audit.record import audit_of
from v2t_eval.gate.run import gate
from v2t_eval.inputs import read_inputs
from v2t_eval.score import ScoreConfig, score
from v2t_eval.suite import read_suite


def gated(suite: str | None, before: Path, after: Path, config: ScoreConfig) -> dict[str, str]:
    """`outcome` and `reason`; {} without a suite.

    Raises:
        UsageError: no such suite, or one without a gate. MissingDependencyError: a metric cannot run.
    """
    if suite is None:
        return {}
    read = read_suite(Path(suite))
    first, last = (score(read_inputs(folder), read.metrics, config) for folder in (before, after))
    verdict = gate(last, read.rules, baseline=first, audit=audit_of(read.rules.audit), suite=suite)
    return {"outcome": verdict.outcome, "reason": verdict.reason}
