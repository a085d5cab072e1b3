"""Settings of a ranking. Imported for --help: nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cineloop.options import option


@dataclass(frozen=True, kw_only=True)
class RankConfig:
    """What compares the clips, beside people's votes."""

    by: str = option(
        "question_score",
        "metrics that compare two clips by their values, names with settings in brackets, or none (default: "
        "question_score, the judge's calibrated answers about each clip)",
        metavar="A,B",
    )
    judge: str = option(
        "none",
        "model that is shown both clips and asked which fits the prompt better, in both orders: v2t:MODEL, or none "
        "(default); the bundled model watches one clip and compares by question_score",
        metavar="NAME",
    )
    shown: Literal["videos", "beside"] = option(
        "videos", "how the judge gets them: videos (default), two in one message; beside, one with both side by side"
    )
    tie_below: float = option(0.0, "difference of two values up to which a metric of --by calls a tie", metavar="D")

    def __post_init__(self) -> None:
        if not self.tie_below >= 0:
            raise ValueError(f"--tie-below must be 0 or more, got {self.tie_below}")
