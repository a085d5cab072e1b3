"""A random stream with a name: every choice of the world is drawn from one.

In: a string. Out: numbers and picks, the same on every machine and version: only `random.random()` is called.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


class Draw:
    """A random stream named by a string; the same on every machine (only `random.random()` is used)."""

    def __init__(self, name: str) -> None:
        self._random = random.Random(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")).random

    def uniform(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self._random()

    def integer(self, below: int) -> int:
        """A whole number from 0 to below - 1."""
        return int(self._random() * below)

    def pick(self, items: Sequence[T]) -> T:
        """One of `items`, each equally likely."""
        return items[self.integer(len(items))]

    def weighted_choice(self, weights: Mapping[T, float]) -> T:
        """One of the keys, by weight."""
        left = self._random() * sum(weights.values())
        for item, weight in weights.items():
            left -= weight
            if left < 0:
                return item
        return next(reversed(list(weights)))
