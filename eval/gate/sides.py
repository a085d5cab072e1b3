"""The two sides of a gate or a comparison, from what a user names.

In: clips, or the results of an earlier scoring (`scores.json`, its folder, or a baseline). Out: `Scores`, or the
verdict of a gate. Results are taken as they are; clips are scored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from cineloop.documents import read_json
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.log import printable
from v2t_eval.audit.record import audit_of
from v2t_eval.gate import baseline as kept
from v2t_eval.gate.run import gate, plain_policy
from v2t_eval.gate.verdict import Verdict
from v2t_eval.inputs import Inputs, read_inputs
from v2t_eval.metric import BaseMetric
from v2t_eval.score import ScoreConfig, score
from v2t_eval.scores import Scores, read_scores
from v2t_eval.suite import read_suite

RESULTS = "scores.json"


@dataclass(frozen=True, kw_only=True)
class Named:
    """What was named: results that were read, or inputs that are still to be scored; `root` is where clips lie."""

    place: Path
    scores: Scores | None = None
    inputs: Inputs | None = None

    @property
    def root(self) -> Path | None:
        """The folder that paths of clips are relative to, where it is known."""
        return None if self.inputs is None else self.inputs.clips_root

    def scored(
        self, metrics: list[BaseMetric], config: ScoreConfig, stop: Callable[[], bool], *, show_progress: bool
    ) -> Scores:
        """The scores; those of clips say what made them.

        Raises:
            What `v2t_eval.score.score` raises.
        """
        if self.scores is not None:
            return self.scores
        if self.inputs is None:
            raise ValueError(f"{self.place} was not read")
        scores = score(self.inputs, metrics, config, stop=stop, show_progress=show_progress)
        made_by = generator_of(self.place)
        return replace(scores, environment=scores.environment | {"generator": made_by}) if made_by else scores


def named(place: Path) -> Named:
    """Read what lies at `place`, clips or results.

    Raises:
        NothingMatchedError: there is nothing. UsageError: a JSON file that is neither scores nor a baseline.
    """
    if not place.exists():
        raise NothingMatchedError(f"no file or folder {printable(str(place))}")
    file = place / RESULTS if place.is_dir() else place
    if file.suffix == ".json" and file.is_file():
        return Named(place=place, scores=read_results(file))
    return Named(place=place, inputs=read_inputs(place))


def read_results(file: Path) -> Scores:
    """Scores of a `scores.json` or of a baseline.

    Raises:
        UsageError: it is neither, damaged, or of another schema version.
    """
    try:
        tree = read_json(file)
    except (OSError, ValueError):
        tree = None  # the reader of scores says what is wrong with it
    if isinstance(tree, dict) and "metrics" in tree and "history" in tree:
        return kept.read(file).scores
    return read_scores(file)


def generator_of(folder: Path) -> str:
    """What made the clips of a run folder of `t2v generate`: generator, model, first digits of its weights' hash; ""
    where that is not told."""
    try:
        tree = read_json(folder / "run.json")
    except (OSError, ValueError):
        return ""
    if not isinstance(tree, dict):
        return ""
    parts = [tree.get("generator"), tree.get("model"), str(tree.get("weights_sha256") or "")[:12]]
    return " ".join(part for part in parts if isinstance(part, str) and part)


def gated(
    candidate: Path | Scores, suite: Path, baseline: Path | Scores | None = None, config: ScoreConfig | None = None
) -> Verdict:
    """The verdict of a suite's gate.

    Args:
        candidate: clips or results, see `named`; or scores by the metrics of the suite.
        suite: see `v2t_eval.suite.read_suite`.
        baseline: the file of a baseline, or scores to hold the candidate against.
        config: how clips are scored.

    Raises:
        UsageError: the suite has no gate. Else what `named`, `v2t_eval.score.score`, `v2t_eval.gate.baseline.read` and
            `v2t_eval.gate.run.gate` raise.
    """
    asked = read_suite(suite)
    rules, audit = asked.rules, audit_of(asked.rules.audit)
    before = None
    if isinstance(baseline, Scores):
        before = kept.made_of(baseline, asked.name, plain_policy(rules))
    elif baseline is not None:
        before = kept.read(baseline)
    if not isinstance(candidate, Scores):
        config = replace(config or ScoreConfig(), is_suite=True)
        candidate = named(candidate).scored(asked.metrics, config, lambda: False, show_progress=False)
    return gate(candidate, rules, baseline=before, audit=audit, suite=suite.name)


def results_of(found: Named) -> Scores:
    """The results that were named.

    Raises:
        UsageError: clips were named, and there is no suite to score them by.
    """
    if found.scores is None:
        raise UsageError(
            f"{printable(str(found.place))} holds clips and no {RESULTS}", hint="give --suite FILE to score them by"
        )
    return found.scores
