"""What a judge looks at: the frames of a clip, and a place to keep what was computed of them.

In: frames. Out: `Subject`, which samples of `eval` are too; `Shown` for those who have nothing but frames.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from cineloop.video.frames import Frames

T = TypeVar("T")


class Subject(Protocol):
    """A clip that is asked about. `memo` holds what was computed of it, shared by all who ask."""

    memo: dict[Hashable, Any]

    @property
    def frames(self) -> Frames:
        """Every frame of the clip."""

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, computed once for all that ask under `key`."""


@dataclass(eq=False, kw_only=True)
class Shown:
    """Frames as a `Subject`."""

    frames: Frames
    memo: dict[Hashable, Any] = field(default_factory=dict)

    def shared(self, key: Hashable, make: Callable[[], T]) -> T:
        """See `Subject.shared`."""
        if key not in self.memo:
            self.memo[key] = make()
        found: T = self.memo[key]
        return found
