"""When learning has turned into pleasing the judge: by measures that are not in the reward.

In: the measures so far, the first of them of the model as it was. Out: why to stop, or None. The rules, each against
the start and on the same prompts and seeds:
- a judge or the referee is lower than at the start, beyond chance (the 95 % interval of the paired change), while the
  reward is higher;
- it is lower than at the measure before, and was then lower than at the one before that, while the reward rose;
- a guard is beyond its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2t_eval.learn.measures import REWARD, Measure, change
from v2t_eval.learn.settings import Guard


@dataclass(frozen=True, kw_only=True)
class Divergence:
    """The measure that diverged from the reward, and how."""

    measure: str
    reason: str


def divergence(history: Sequence[Measure], guards: Sequence[Guard]) -> Divergence | None:
    """Why to stop after the last measure, or None."""
    if len(history) < 2:
        return None
    start, now = history[0], history[-1]
    rose = change(now, start, REWARD) if REWARD in now.figures else None
    if rose is not None and rose.value > 0:
        for name, figure in now.figures.items():
            if figure.role not in ("judge", "referee"):
                continue
            fell = change(now, start, name)
            if fell is not None and fell.high < 0:
                text = f"{name} fell by {-fell.value:.3f} [{-fell.high:.3f}, {-fell.low:.3f}] since the start"
                return Divergence(measure=name, reason=f"{text}, while the reward rose by {rose.value:.3f}")
            if _fell_twice(history, name):
                text = f"{name} fell twice in a row, to {figure.value:.3f}"
                return Divergence(measure=name, reason=f"{text}, while the reward rose by {rose.value:.3f}")
    for guard in guards:
        if guard.metric not in now.figures:
            continue
        value, first = now.figures[guard.metric].value, start.figures[guard.metric].value
        for limit, is_beyond in ((guard.least, value < (guard.least or 0) * first),
                                 (guard.most, value > (guard.most or 0) * first)):  # fmt: skip
            if limit is not None and is_beyond:
                reason = f"{guard.metric} is {value:.4g}, beyond {limit:g} times its {first:.4g} at the start"
                return Divergence(measure=guard.metric, reason=reason)
    return None


def _fell_twice(history: Sequence[Measure], name: str) -> bool:
    if len(history) < 3:
        return False
    steps = [(change(b, a, name), change(b, a, REWARD)) for a, b in zip(history[-3:], history[-2:], strict=False)]
    return all(one is not None and up is not None and one.value < 0 < up.value for one, up in steps)
