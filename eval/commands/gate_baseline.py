"""The forms of the verb `v2t-eval gate` that write a baseline: `gate init` and `gate update`.

In: the arguments of `gate`, and what is to be the baseline. Out: the baseline's file and an exit code.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import UsageError
from v2t_eval.commands.gate_asked import planned, scored, suite_of

if TYPE_CHECKING:
    from v2t_eval.gate.advice import Advice
    from v2t_eval.gate.baseline import Baseline
    from v2t_eval.gate.policy import Policy
    from v2t_eval.scores import Scores


def init(place: Path, args: argparse.Namespace) -> int:
    """Make a baseline; returns the exit code."""
    from v2t_eval.gate import baseline as file
    from v2t_eval.gate.advice import advise
    from v2t_eval.gate.run import plain_policy, require
    from v2t_eval.gate.sides import named

    path: Path | None = args.output
    if path is None or path.is_dir():
        raise UsageError("where is the baseline to be kept?", hint="-o baseline.json, a file for your repository")
    suite = suite_of(args)
    policy = suite.rules
    _refuse_baseline(path, args)
    _look_for_audit(policy)
    found = named(place)
    if args.dry_run:
        return planned(found, suite, args, None)
    with ExitStack() as stack:
        scores = scored(found, suite, args, stack)
        require(scores, policy)
        made = file.made_of(scores, suite.name, plain_policy(policy))
        stack.enter_context(file.lock(path))
        _refuse_baseline(path, args)  # another run may have been faster
        file.write(made, path)
    _warn(scores, policy)
    _tell_baseline(made, path, advise(scores, policy), as_json=args.json)
    return 0


def _refuse_baseline(path: Path, args: argparse.Namespace) -> None:
    if path.exists() and not args.overwrite:
        hint = "`gate update --reason` replaces it and keeps its history; --overwrite forgets that"
        raise UsageError(f"{path} exists", code="EXISTS", hint=hint)


def _look_for_audit(policy: Policy) -> None:
    """Before hours of scoring: an audit that later verdicts cannot read is an error now, a missing one a warning."""
    from cineloop.log import logger
    from v2t_eval.audit.record import audit_of

    if audit_of(policy.audit) is None and policy.audit is not None:
        logger.warning("there is no audit %s: verdicts will not show what the metrics cannot see", policy.audit)


def update(place: Path, args: argparse.Namespace) -> int:
    """Replace a baseline, with a reason; returns the exit code."""
    from v2t_eval.gate import baseline as file
    from v2t_eval.gate.advice import advise
    from v2t_eval.gate.comparable import compared
    from v2t_eval.gate.run import plain_policy, require
    from v2t_eval.gate.sides import named

    if args.baseline is None:
        raise UsageError("which baseline is to be updated?", hint="--baseline FILE")
    if not (args.reason or "").strip():
        raise UsageError("an update needs a reason", hint='--reason "the sampler takes 20 steps now"')
    suite = None if args.suite is None else suite_of(args)
    policy = None if suite is None else suite.rules
    file.read(args.baseline)  # before hours of scoring
    found = named(place)
    if args.dry_run:
        return planned(found, suite, args, file.read(args.baseline))
    with ExitStack() as stack:
        scores = scored(found, suite, args, stack)
        if policy is not None:
            require(scores, policy)
        stack.enter_context(file.lock(args.baseline))
        old = file.read(args.baseline)
        made = file.updated(
            old, scores, args.reason,
            suite=old.suite if suite is None else suite.name,
            policy=old.policy if policy is None else plain_policy(policy),
            differences=compared(scores, old.scores).differences,
        )  # fmt: skip
        file.write(made, args.baseline)
    if policy is not None:
        _warn(scores, policy)
    advice = [] if policy is None else advise(scores, policy)
    _tell_baseline(made, args.baseline, advice, as_json=args.json)
    return 0


def _warn(scores: Scores, policy: Policy) -> None:
    """What a baseline would let pass from now on."""
    from cineloop.log import logger
    from v2t_eval.gate.guards import guards

    for guard in guards(scores, None, policy):
        if guard.outcome != "pass":
            logger.warning("%s: %s; what is so in the baseline is not held against a candidate", guard.name,
                           guard.message)  # fmt: skip
    for one in scores.skipped:
        logger.warning("the baseline lacks %s: %s", one.metric, one.reason)


def _tell_baseline(made: Baseline, path: Path, advice: Sequence[Advice], *, as_json: bool) -> None:
    from cineloop.log import printable

    last = made.history[-1]
    if as_json:
        told = {"file": printable(str(path)), "clips": last.num_clips, "reason": last.reason, "figures": last.figures,
                "differences": list(last.differences), "history": len(made.history),
                "advice": [asdict(one) for one in advice]}  # fmt: skip
        print(json.dumps(told, allow_nan=False))
        return
    print(f"{printable(str(path))}: {last.num_clips} clips, {printable(last.reason, 200)}")
    for name, (old, new) in last.figures.items():
        now = "gone" if new is None else f"{new:.4g}"
        print(f"  {name}: {now}" + ("" if old is None else f" (was {old:.4g})"))
    for one in advice:
        print(f"  {one.metric}: {one.text}")
    for line in last.differences:
        print(f"  not comparable with what was before: {printable(line)}")
