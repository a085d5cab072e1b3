"""The values of all checkpoints, as what is compared at a look.

In: the scores of each checkpoint's clips. Out: `PairedTotals` of some of the checkpoints over the first prompts. A clip
that one checkpoint could not make, or that has no value, while another one's has, counts as the worst there is: where
the metric's range is open, the worst value seen. A clip that has no value of any checkpoint counts for none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

from cineloop.intervals import Interval
from v2t_eval.core.changes import MetricPrior, ends, finite_values
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.scores import Scores
from v2t_eval.core.statistics import mean_interval
from v2t_eval.pick.choice import PairedTotals


class ValueField:
    """Values of every checkpoint, clip by clip. `scores` by checkpoint; `by`: the metric; `prompts` in the order in
    which they were drawn for; `expected`: what a suite's gate states of the metric, its worst and best value."""

    def __init__(
        self, scores: Mapping[str, Scores], by: str, prompts: Sequence[str], expected: MetricPrior | None = None
    ) -> None:
        self.expected = expected
        self.scores, self.by, self.places = scores, by, {prompt: n for n, prompt in enumerate(prompts)}
        self.results: dict[str, MetricResult] = {
            name: one.by_name[by] for name, one in scores.items() if by in one.by_name
        }
        self.sign = -1.0 if any(one.higher_is_better is False for one in self.results.values()) else 1.0
        self.values = {name: finite_values(one.items) for name, one in self.results.items()}
        self.place_of = {
            clip.id: self.places[clip.prompt]
            for one in scores.values()
            for clip in one.clips
            if clip.prompt in self.places
        }

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """The worst and the best value that a prompt may have."""
        sides = {name: sorted(values) for name, values in self.values.items() if values}
        clusters = sorted({id for ids in sides.values() for id in ids})
        result = next(iter(self.results.values()))
        if all(math.isfinite(end) for end in result.value_range):
            return ends(result, [], clusters, self.expected)
        per_side = [[self.values[name][id] for id in ids] for name, ids in sides.items()]
        both = [ends(result, [values], [self.place_of[id] for id in ids], self.expected)
                for values, ids in zip(per_side, sides.values(), strict=True)]  # fmt: skip
        pick = (min, max) if self.sign > 0 else (max, min)
        return pick[0](worst for worst, _ in both), pick[1](best for _, best in both)

    @property
    def worst(self) -> float:
        """What a clip without a value counts as."""
        if math.isfinite(next(iter(self.results.values())).value_range[0 if self.sign > 0 else 1]):
            return self._ends[0]
        seen = [value for values in self.values.values() for value in values.values()]
        return min(seen) if self.sign > 0 else max(seen)

    def clips(self, names: Sequence[str], num_prompts: int) -> list[str]:
        """Clips of the first prompts that have a value of one of these checkpoints, sorted."""
        ids = {id for name in names for id in self.values.get(name, {})}
        return sorted(id for id in ids if self.place_of.get(id, num_prompts) < num_prompts)

    def value(self, name: str, id: str) -> float:
        """See the module's head."""
        return self.values.get(name, {}).get(id, self.worst)

    def missing_values(self, name: str, names: Sequence[str], num_prompts: int) -> int:
        """How many of a checkpoint's clips count as the worst."""
        return sum(id not in self.values.get(name, {}) for id in self.clips(names, num_prompts))

    def totals(self, names: Sequence[str], num_prompts: int) -> PairedTotals:
        """What is compared at a look: these checkpoints over the first prompts."""
        ids = self.clips(names, num_prompts)
        at = np.array([self.place_of[id] for id in ids], dtype=np.int64)
        counts = np.bincount(at, minlength=len(self.places)).astype(np.float64)
        totals = [
            np.bincount(at, [self.sign * self.value(name, id) for id in ids], minlength=len(self.places))
            for name in names
        ]
        worst, best = self._ends
        means = np.stack(totals) / np.maximum(counts, 1)  # (M, G)
        seen = float(np.ptp(means, axis=0).max(initial=0.0))  # what is stated may be less than what is there
        return PairedTotals(totals=np.stack(totals), counts=counts, span=max(abs(best - worst), seen))

    def lead(self, best: str, other: str, num_prompts: int) -> tuple[float, Interval]:
        """By how much one checkpoint is better than another in the mean over their clips, and the interval."""
        ids = self.clips([best, other], num_prompts)
        gains = [self.sign * (self.value(best, id) - self.value(other, id)) for id in ids]
        return sum(gains) / len(gains), mean_interval(gains, [self.place_of[id] for id in ids])
