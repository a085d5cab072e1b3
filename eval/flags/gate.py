"""Words and work that the verbs of the gate share: their flags, what would be measured, a baseline kept."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from v2t_eval.flags.scoring import dry_run, score_options

if TYPE_CHECKING:
    from v2t_eval.core.inputs import Inputs
    from v2t_eval.core.metric import BaseMetric
    from v2t_eval.core.scores import Scores
    from v2t_eval.gate.advice import Advice
    from v2t_eval.gate.policy import Policy
    from v2t_eval.suites.suite import Suite

CLIPS = (
    "a folder of videos, a run folder or a manifest.jsonl, which are scored by the suite; or a scores.json, its folder "
    "or a baseline, taken as they are"
)
SUITE = "metrics and rules: gate (shipped), or a YAML file of yours"
ENGINE_SUITE = "metrics: engine (shipped), or a YAML file of yours"
DRY_RUN = "read all inputs, print what would be measured; write nothing"


def plan(candidate: Scores | Inputs, metrics: list[BaseMetric] | None, args: argparse.Namespace) -> int:
    """Print what would be measured; returns the exit code.

    Raises:
        UsageError: clips without metrics.
    """
    from v2t_eval.core.scores import Scores
    from v2t_eval.gate import sides

    if not isinstance(candidate, Scores) and metrics is not None:
        return dry_run(candidate, metrics, args)
    scores = sides.scores_of(candidate, None)
    names = list(scores.by_name)
    counts = {"clips": len(scores.clips), "metrics": names}
    print(json.dumps(counts) if args.json else f"{len(scores.clips)} clips with scores by {', '.join(names)}")
    return 0


def keep(
    args: argparse.Namespace, suite: Suite | None, path: Path, old: Callable[[], Scores | None], **update: str
) -> int:
    """Score the clips and store the scores as the baseline `path`; returns the exit code.

    Args:
        suite: None: results are taken as they are, under the rules of `old`.
        old: called once the file is locked, since another run may have been faster: the baseline that is replaced.
        update: the reason.
    """
    from v2t_eval.audit.record import audit_of
    from v2t_eval.gate import baseline as file
    from v2t_eval.gate import sides
    from v2t_eval.gate.comparable import comparison
    from v2t_eval.gate.run import plain_policy, require

    given = sides.read(args.clips)
    metrics, rules = (suite.metrics, suite.rules) if suite else (None, None)
    if args.dry_run:
        return plan(given, metrics, args)
    with ExitStack() as stack:
        scores = sides.scores_of(
            given, metrics, decides=rules.decides if rules else (), **score_options(args, stack, args.cache)
        )
        if rules is not None:
            require(scores, rules)
            scores = sides.corrected_scores(scores, given, rules, audit_of(rules.audit))
        stack.enter_context(file.lock(path))
        before = old()
        name, policy = (before.suite, before.policy) if before else ("", {})
        if suite is not None and rules is not None:
            name, policy = suite.name, plain_policy(rules)
        differences = comparison(scores, before).differences if before else ()
        made = file.baseline_of(scores, name, policy, old=before, differences=differences, **update)
        file.write(made, path)
    _show(made, scores, rules, path, as_json=args.json)
    return 0


def _show(made: Scores, scores: Scores, policy: Policy | None, path: Path, *, as_json: bool) -> None:
    """Print what a baseline holds and which margins it can hold, and warn of the faults it would allow."""
    from cineloop.log import logger, printable
    from v2t_eval.gate.advice import advise
    from v2t_eval.gate.decide import guard_outcomes
    from v2t_eval.gate.guards import guard_checks
    from v2t_eval.gate.sentences import guard as in_words
    from v2t_eval.gate.sentences import of_correction

    checks = guard_checks(scores, None, policy) if policy else []
    for check, outcome in zip(checks, guard_outcomes(checks, (), policy.alpha if policy else 0.0), strict=True):
        guard = in_words(check, *outcome)
        if guard.outcome != "pass":
            logger.warning(
                "%s: %s; the baseline's own share does not count against a candidate", guard.name, guard.message
            )
    for note in of_correction(scores, {}) if policy and policy.corrected else ():
        logger.warning("%s", note)
    for one in scores.skipped if policy else ():
        logger.warning("the baseline lacks %s: %s", one.metric, one.reason)
    last, advice = made.history[-1], advise(scores, policy) if policy else []
    if as_json:
        tree = {"file": printable(str(path)), "clips": last.num_clips, "reason": last.reason, "figures": last.figures,
                "differences": list(last.differences), "history": len(made.history),
                "advice": [asdict(one) for one in advice]}  # fmt: skip
        print(json.dumps(tree, allow_nan=False))
    else:
        print("\n".join(_lines(made, path, advice)))


def _lines(made: Scores, path: Path, advice: Sequence[Advice]) -> list[str]:
    from cineloop.log import printable

    last = made.history[-1]
    lines = [f"{printable(str(path))}: {last.num_clips} clips, {printable(last.reason, 200)}"]
    for name, (old, new) in last.figures.items():
        now = f"{new:.4g}" if new is not None else "no value" if old is None else "gone"
        lines.append(f"  {name}: {now}" + ("" if old is None else f" (was {old:.4g})"))
    lines += [f"  {one.metric}: {one.text}" for one in advice]
    return lines + [f"  not comparable with what was before: {printable(line)}" for line in last.differences]
