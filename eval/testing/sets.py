"""Whole sets of clips in tests: the gate and the comparison of engines, and their reports.

In: files. Out: `Verdict`. Loaded by the first test that uses it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from v2t_eval.core.score import ScoreConfig
from v2t_eval.engine import report as engine_report
from v2t_eval.engine.equivalence import EngineInputs
from v2t_eval.gate import report as gate_report
from v2t_eval.gate.sides import gate_verdict
from v2t_eval.gate.verdict import Verdict
from v2t_eval.report import terminal
from v2t_eval.suites.suite import suites

_REPORTS = {"gate": gate_report.document, "engine": engine_report.document}


def suite_of(suite: str | Path, find: Callable[[str | Path], Path]) -> Path:
    """The name of a shipped suite as it is, and a file where `find` finds it."""
    return Path(suite) if str(suite) in suites() else find(suite)


def gate_verdict_of(clips: Path, suite: Path, baseline: Path | None, cache: Path | None) -> Verdict:
    """See `v2t_eval.gate.sides.gate_verdict`."""
    return gate_verdict(clips, suite, baseline, ScoreConfig(cache=cache))


def engine_verdict(places: Sequence[Path], suite: Path, known_bad: Path | None, cache: Path | None) -> Verdict:
    """The verdict on an engine. `places`: of the reference's clips, the candidate's, the margins."""
    reference, candidate, margins = places
    sides = EngineInputs.read(reference, candidate, margins, suite, known_bad)
    return sides.verdict(ScoreConfig(cache=cache))[1]


def report_text(verdict: Verdict, verb: str) -> str:
    """The report of a verb, gate or engine, as a terminal shows it."""
    return terminal.render(_REPORTS[verb](verdict))
