"""What a pick came to.

In: nothing. Out: `Pick`, of looks and checkpoints.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from cineloop.errors import (
    EXIT_FAILED_ITEMS,
    EXIT_GATE_FAILED,
    EXIT_INCONCLUSIVE,
    EXIT_OK,
    Notice,
)
from cineloop.intervals import Interval
from v2t_eval.core.metric import Figure

Status = Literal["best", "tied", "worse", "copies", "failed", "same"]  # same: as another one, by its weights


@dataclass(frozen=True, kw_only=True)
class CopyCount:
    """Clips of a checkpoint that are near copies: of `num`, drawn for held-out or for training prompts; `pairs`: ids of
    the clip and of the training clip, and the share that differs."""

    num: int = 0
    pairs: tuple[tuple[str, str, float], ...] = ()


@dataclass(frozen=True, kw_only=True)
class LookRecord:
    """One look: prompts so far, clips drawn for it, the level, the checkpoints that were drawn with, those of them that
    were compared, and what was dropped: by name, WORSE or COPIES and how."""

    number: int
    prompts: int
    draws: int
    level: float
    left: tuple[str, ...]
    compared: tuple[str, ...]
    dropped: Mapping[str, Notice] = field(default_factory=dict)

    def entry(self) -> dict[str, Any]:
        """As plain values."""
        dropped = {name: notice.record() for name, notice in self.dropped.items()}
        return {**asdict(self), "dropped": dropped}

    @classmethod
    def read(cls, entry: Mapping[str, Any]) -> LookRecord:
        """From `entry`."""
        values = {one.name: entry[one.name] for one in fields(cls)}
        dropped = {name: Notice.read(notice) for name, notice in entry["dropped"].items()}
        return cls(**{**values, "left": tuple(entry["left"]), "compared": tuple(entry["compared"]), "dropped": dropped})


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a checkpoint stands.

    Attributes:
        step: of its name. prompts: drawn for. lost: clips without a value, which count as the worst.
        figures: of the suite's metrics over its own clips, by name.
        behind: by how much the best is better in the mean of the prompts both have, with its interval of 95 %.
        more: how many more prompts would tell it from the best, if it is as much worse as it looks; None: not worse, or
            more than a million.
        held_out, training: near copies of training clips.
        why: of a status other than best and tied.
    """

    name: str
    path: Path
    step: int | None
    status: Status
    prompts: int = 0
    lost: int = 0
    figures: Mapping[str, Figure] = field(default_factory=dict)
    behind: float | None = None
    interval: Interval | None = None
    more: int | None = None
    held_out: CopyCount | None = None
    training: CopyCount | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Pick:
    """The result.

    Attributes:
        by: title of the metric that decided.
        standings: the best first, those that are not distinguished from it, then by when they were dropped.
        rounds: in order. prompts: there are in all. draws, all_draws: clips drawn for held-out prompts, and of drawing
            all of them for every checkpoint that could be drawn with.
    """

    by: str
    standings: tuple[Standing, ...]
    rounds: tuple[LookRecord, ...]
    prompts: int
    draws: int
    all_draws: int
    notices: tuple[Notice, ...] = ()

    @property
    def best(self) -> Standing | None:
        """None where every checkpoint copies or failed."""
        return next((one for one in self.standings if one.status == "best"), None)

    @property
    def tied(self) -> tuple[Standing, ...]:
        """Those that are not distinguished from the best."""
        return tuple(one for one in self.standings if one.status == "tied")

    @property
    def copies_from(self) -> Standing | None:
        """The first checkpoint, by its step, that copies training clips."""
        copying = [one for one in self.standings if one.status == "copies"]
        return min(copying, key=lambda one: (one.step is None, one.step or 0, one.name), default=None)

    @property
    def more_prompts(self) -> int | None:
        """How many more prompts would decide, as far as that is known; 0 where it is decided."""
        return max((one.more for one in self.tied if one.more is not None), default=None) if self.tied else 0

    @property
    def exit_code(self) -> int:
        """0 one is the best, 3 some could not be drawn with, 6 all that could copy training clips, 8 several are not
        distinguished."""
        if self.best is None:
            return EXIT_GATE_FAILED
        if any(one.status == "failed" for one in self.standings):
            return EXIT_FAILED_ITEMS
        return EXIT_INCONCLUSIVE if self.tied else EXIT_OK
