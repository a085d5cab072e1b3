"""The two sides of a gate or a comparison, from what a user names.

In: clips, or the results of an earlier scoring (`scores.json`, its folder, or a baseline). Out: `Scores`, or the
verdict of a gate. Results are taken as they are; clips are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.log import printable
from v2t_eval.audit.record import Audit, audit_of, read_audit
from v2t_eval.core.inputs import Inputs, read_inputs
from v2t_eval.core.metric import BaseMetric
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import RESULTS, Scores, read_scores
from v2t_eval.correction.gating import scores_for_gate
from v2t_eval.correction.scoring import set_of
from v2t_eval.gate.policy import Policy
from v2t_eval.gate.run import gate
from v2t_eval.gate.verdict import Verdict
from v2t_eval.suites.suite import Suite, read_suite


def read(place: Path) -> Scores | Inputs:
    """The content of `place`: results, or clips that are still to be scored.

    Raises:
        NothingMatchedError: there is nothing. UsageError: a JSON file that is neither scores nor a baseline.
    """
    if not place.exists():
        raise NothingMatchedError(f"no file or folder {printable(str(place))}")
    file = place / RESULTS if place.is_dir() else place
    return read_scores(file) if file.suffix == ".json" and file.exists() else read_inputs(place)


def scores_of(
    side: Scores | Inputs,
    metrics: list[BaseMetric] | None,
    config: ScoreConfig | None = None,
    stop: Callable[[], bool] = lambda: False,
    *,
    decides: Sequence[str] = (),
    show_progress: bool = False,
) -> Scores:
    """Results as they are; scores of clips, with the generator that made them. `decides`: see `ScoreConfig`.

    Raises:
        UsageError: clips, and no metrics to score them by. Else what `v2t_eval.core.score.score` raises.
    """
    if isinstance(side, Scores):
        return side
    if not metrics:
        what = "give --suite SUITE to score them by" if metrics is None else "its metrics are those of score --results"
        raise UsageError(f"{side.sources['clips']} holds clips and no {RESULTS}", hint=what)
    config = replace(config or ScoreConfig(), is_suite=True, decides=tuple(decides))
    scores = score(side, metrics, config, stop=stop, show_progress=show_progress)
    made_by = "" if side.clips_root is None else generator_of(side.clips_root)
    return replace(scores, environment=scores.environment | {"generator": made_by}) if made_by else scores


def corrected_scores(scores: Scores, side: Scores | Inputs, rules: Policy, audit: Audit | None) -> Scores:
    """The scores, with judged values corrected where the rules say so; `side` they are of."""
    if not rules.corrected:
        return scores
    if isinstance(side, Scores):
        name, why = ("generated", "") if scores.environment.get("generator") else ("yours", "")
    else:
        name, why = set_of(side.samples)
    return scores_for_gate(scores, rules.decides, audit, name, why)


def generator_of(folder: Path) -> str:
    """What made the clips of a run folder of `t2v generate`: generator, model, first digits of its weights' hash; ""
    where that is not known."""
    try:
        tree = read_json(folder / "run.json")
    except (OSError, ValueError):
        return ""
    if not isinstance(tree, dict):
        return ""
    parts = [tree.get("generator"), tree.get("model"), str(tree.get("weights_sha256") or "")[:12]]
    return " ".join(part for part in parts if isinstance(part, str) and part)


@dataclass(frozen=True, kw_only=True)
class GateInputs:
    """What a gate needs, read before hours of scoring: the suite, the candidate, the baseline, the audit."""

    suite: Suite
    candidate: Scores | Inputs
    baseline: Scores | None
    audit: Audit | None

    @classmethod
    def read(
        cls, candidate: Path | Scores, suite: Path, baseline: Path | Scores | None = None, audit: Path | None = None
    ) -> GateInputs:
        """See `gate_verdict`. `audit`: its file, instead of the one that the suite names."""
        asked = read_suite(suite)
        return cls(
            suite=asked,
            baseline=read_scores(baseline) if isinstance(baseline, Path) else baseline,
            audit=read_audit(audit) if audit else audit_of(asked.rules.audit),
            candidate=read(candidate) if isinstance(candidate, Path) else candidate,
        )

    def scores(self, config: ScoreConfig | None = None, **options: Any) -> Scores:
        """The candidate's scores, see `scores_of` and `corrected_scores`."""
        scores = scores_of(self.candidate, self.suite.metrics, config, decides=self.suite.rules.decides, **options)
        return corrected_scores(scores, self.candidate, self.suite.rules, self.audit)

    def verdict(self, scores: Scores, **about: Any) -> Verdict:
        """The verdict on these scores; `about`: see `v2t_eval.gate.run.gate`."""
        return gate(scores, self.suite.rules, baseline=self.baseline, audit=self.audit, **about)


def gate_verdict(
    candidate: Path | Scores, suite: Path, baseline: Path | Scores | None = None, config: ScoreConfig | None = None
) -> Verdict:
    """The verdict of a suite's gate.

    Args:
        candidate: clips or results, see `read`; or scores by the metrics of the suite.
        suite: see `v2t_eval.suites.suite.read_suite`.
        baseline: the file of a baseline, or scores to compare the candidate with.
        config: how clips are scored.

    Raises:
        UsageError: the suite has no gate. Else what `read`, `scores_of`, `v2t_eval.core.scores.read_scores` and
            `v2t_eval.gate.run.gate` raise.
    """
    sides = GateInputs.read(candidate, suite, baseline)
    return sides.verdict(sides.scores(config), suite=suite.name)
