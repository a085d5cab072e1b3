"""Whether two engines give the same quality: clips and calibrated margins in, a verdict of the gate out.

In: two folders of clips of the same prompts and seeds, the file that `v2t-eval engine calibrate` wrote, and perhaps
clips that are known to be bad. Out: `Verdict` (`v2t_eval.gate.verdict`): pass, the candidate lies no farther from the
reference engine than the margins allow; fail, it lies farther than what runs of one engine do; inconclusive, not enough
prompts to say; not comparable, other sizes, lengths or definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cineloop.config import from_dict
from cineloop.errors import UsageError
from cineloop.log import printable
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.score import ScoreConfig
from v2t_eval.core.scores import Scores
from v2t_eval.engine.derived import beyond_limits, derived_scores, limits_of
from v2t_eval.engine.margins import calibrate
from v2t_eval.engine.pairs import pair_clips, unrelated_pairs
from v2t_eval.gate import baseline as file
from v2t_eval.gate.policy import Policy
from v2t_eval.gate.run import gate
from v2t_eval.gate.sides import scores_of
from v2t_eval.gate.verdict import Guard, Verdict
from v2t_eval.suites.suite import Suite, read_suite

SUITE = Path("engine")
KNOWN_BAD = "known bad clips"
FAILS = "fails"  # of a row of such clips: the metrics by which it must be beyond its limit


def measure_margins(
    reference: Path, runs: list[Path], suite: Suite, config: ScoreConfig | None = None, **options: Any
) -> Scores:
    """The baseline of an engine from its own runs, see `v2t_eval.engine.margins.calibrate`.

    Args:
        reference: clips of the first run. runs: folders of the others.
        options: see `v2t_eval.gate.sides.scores_of`.

    Raises:
        MissingDependencyError: a metric of the suite cannot run here. Else what `pair_clips` and `calibrate` raise.
    """
    sides = [
        pair_clips(reference, reference),
        unrelated_pairs(reference),
        *(pair_clips(run, reference) for run in runs),
    ]
    own, far, *others = (_scores(each, suite, config, **options) for each in sides)
    return calibrate(own, far, others, suite)


@dataclass(frozen=True, kw_only=True)
class EngineInputs:
    """What a comparison of engines needs, read before anything is scored."""

    suite: Suite
    baseline: Scores
    pairs: Inputs
    known_bad: Inputs | None

    @classmethod
    def read(
        cls, reference: Path, candidate: Path, margins: Path, suite: Path = SUITE, known_bad: Path | None = None
    ) -> EngineInputs:
        """Raises UsageError where a file cannot be read or is of another kind; else what `pair_clips` raises."""
        asked, baseline = read_suite(suite), file.read(margins)
        if not limits_of(baseline, all_metrics=True):
            raise UsageError(
                f"{printable(str(margins))} is the baseline of a gate and holds no margins of an engine",
                hint="make them: v2t-eval engine calibrate RUN RUN RUN -o FILE",
            )
        bad = None
        if known_bad is not None:
            bad = pair_clips(known_bad, reference)
            _check_known_bad(bad, set(limits_of(baseline, all_metrics=True)), known_bad)
        return cls(suite=asked, baseline=baseline, pairs=pair_clips(candidate, reference), known_bad=bad)

    def verdict(self, config: ScoreConfig | None = None, **about: Any) -> tuple[Scores, Verdict]:
        """The candidate's scores and the verdict on them. `about`: see `v2t_eval.gate.run.gate`, and the options of
        `v2t_eval.gate.sides.scores_of`."""
        options = {name: about.pop(name) for name in ("stop", "show_progress") if name in about}
        scores = _scores(self.pairs, self.suite, config, **options)
        bad = None if self.known_bad is None else _scores(self.known_bad, self.suite, config, **options)
        verdict = equivalence(scores, self.baseline, suite=self.suite.name, **about)
        if bad is None or self.known_bad is None:
            return scores, verdict
        wanted = {sample.id: set(sample.row[FAILS]) for sample in self.known_bad.samples}
        guard = known_bad_guard(bad, self.baseline, wanted)
        return scores, _with_guard(verdict, guard)


def equivalence(scores: Scores, baseline: Scores, **about: Any) -> Verdict:
    """The verdict on a candidate's scores against its reference clips. `about`: see `v2t_eval.gate.run.gate`."""
    plain = {name: value for name, value in baseline.policy.items() if name != "suite"}
    verdict = gate(derived_scores(scores, baseline), from_dict(Policy, plain, "policy."), baseline=baseline, **about)
    unlike = next((failure["message"] for result in scores.results for failure in result.failures
                   if failure["code"] == "UNLIKE_REFERENCE"), None)  # fmt: skip
    if unlike is None or verdict.differences:
        return verdict
    return replace(verdict, outcome="not_comparable", reason=unlike, differences=(unlike,))


def known_bad_guard(scores: Scores, baseline: Scores, wanted: Mapping[str, set[str]]) -> Guard:
    """Whether each clip that is known to be bad is beyond exactly the limits that its row lists: a comparison that does
    not see them would pass anything."""
    beyond = beyond_limits(scores, baseline, limits_of(baseline, all_metrics=True))
    wrong = []
    for id, names in wanted.items():
        seen = set(beyond.get(id, ()))
        if id not in beyond or seen != names:
            listed = [", ".join(sorted(each)) or "nothing" for each in (names, seen)]
            wrong.append((id, f"{id} must fail by {listed[0]} and fails by {listed[1]}"))
    message = f"{len(wanted) - len(wrong)} of {len(wanted)} fail by what their rows list"
    message += "".join(f"; {text}" for _, text in wrong[:3])
    return Guard(
        name=KNOWN_BAD, outcome="fail" if wrong else "pass", message=message, clips=tuple(id for id, _ in wrong)
    )


def _with_guard(verdict: Verdict, guard: Guard) -> Verdict:
    verdict = replace(verdict, guards=(*verdict.guards, guard))
    if guard.outcome == "pass" or verdict.outcome in ("fail", "not_comparable"):
        return verdict
    return replace(verdict, outcome="fail", reason=f"{guard.name}: {guard.message}")


def _check_known_bad(bad: Inputs, known: set[str], path: Path) -> None:
    for sample in bad.samples:
        names = sample.row.get(FAILS)
        if not isinstance(names, list) or not names or not set(map(str, names)) <= known:
            raise UsageError(
                f"{printable(str(path))}, {printable(sample.id)}: {FAILS!r} must list one metric or more of "
                f"{', '.join(sorted(known))}, got {names!r:.200}",
                code="MANIFEST",
            )


def _scores(inputs: Inputs, suite: Suite, config: ScoreConfig | None, **options: Any) -> Scores:
    decides = [metric.title for metric in suite.metrics if metric.higher_is_better is not None]
    return scores_of(inputs, suite.metrics, config, decides=decides, **options)
