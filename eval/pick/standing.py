"""Where each checkpoint stands after the last look.

In: looks, values, copies. Out: `Standing`s in their order: the best of those that are left by the mean over the prompts
that all of them have, those that are not distinguished from it, then what was dropped, the last first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from v2t_eval.pick.checkpoints import BadCheckpoint, Checkpoint
from v2t_eval.pick.choice import prompts_to_decide
from v2t_eval.pick.field import ValueField
from v2t_eval.pick.result import CopyCount, LookRecord, Standing, Status


def standings_of(
    checkpoints: Mapping[str, Checkpoint],
    bad: Mapping[str, BadCheckpoint],
    rounds: Sequence[LookRecord],
    field: ValueField,
    copies: Mapping[str, Mapping[str, CopyCount]],
) -> tuple[Standing, ...]:
    """See the module's head."""
    gone = {name: notice for look in rounds for name, notice in look.dropped.items()}
    left = [name for name in checkpoints if name not in gone and name not in bad]
    last = rounds[-1]
    best = None
    if left:
        totals = field.totals(left, last.prompts)
        best = left[int(np.argmax(totals.means))]
    standings = []
    for name in checkpoints:
        about: dict[str, Any] = {"name": name, "path": checkpoints[name].path, "step": checkpoints[name].step,
                                 **copies.get(name, {})}  # fmt: skip
        if name in bad:
            standings.append(_of_bad(bad[name], about["step"]))
            continue
        num = max(look.prompts for look in rounds if name in look.left)
        about |= {"prompts": num, "lost": field.missing_values(name, list(field.values), num),
                  "figures": {one.name: one.figures[one.headline] for one in field.scores[name].results
                              if one.headline in one.figures}}  # fmt: skip
        if best is not None and name != best:
            about["behind"], about["interval"] = field.lead(best, name, num)
        status: Status = "best" if name == best else "tied"
        if name in gone:
            about["why"] = gone[name].message
            status = "copies" if gone[name].code == "COPIES" else "worse"
        elif best is not None and name != best:
            wanted = prompts_to_decide(totals, left.index(best), left.index(name), last.level)
            about["more"] = None if wanted is None else max(1, wanted - num)
        standings.append(Standing(**about, status=status))
    standings += [_of_bad(one, None) for name, one in bad.items() if name not in checkpoints]
    order: tuple[Status, ...] = ("best", "tied", "worse", "copies", "same", "failed")
    return tuple(sorted(standings, key=lambda one: (order.index(one.status), -one.prompts, one.behind or 0.0)))


def _of_bad(one: BadCheckpoint, step: int | None) -> Standing:
    status: Status = "same" if one.code == "SAME_WEIGHTS" else "failed"
    return Standing(name=one.name, path=one.path, step=step, status=status, why=f"{one.code}: {one.message}")
