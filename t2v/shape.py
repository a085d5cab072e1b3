"""Which lengths and sizes a generator can make: k·step + 1 frames, sides that are multiples of a step.

In: the frames, height and width a person asked for. Out: the nearest `Shape` the model can make, with a warning when
that is another one. A causal video autoencoder codes the first frame alone and the others in groups (hence the + 1);
sides must divide by the autoencoder's and the transformer's steps (8 and 2 for the bundled generator). Light on
purpose: no torch, so that a command can check its arguments before it loads a model.
"""

from __future__ import annotations

from dataclasses import dataclass

from cineloop.errors import UsageError
from cineloop.log import logger


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Frames, and pixels down and across, of a clip; each at least 1."""

    num_frames: int
    height: int
    width: int

    def __post_init__(self) -> None:
        if min(self.num_frames, self.height, self.width) < 1:
            raise UsageError(f"a clip needs at least one frame of 1x1 pixels, got {self}")

    def __str__(self) -> str:
        return f"{self.num_frames} frames of {self.width}x{self.height}"


def valid_shape(num_frames: int, height: int, width: int, *, frame_step: int = 4, size_step: int = 16) -> Shape:
    """The nearest shape a model can make; ties go to the longer or larger one; says so when it differs.

    Args:
        num_frames: frames asked for, at least 1.
        height, width: pixels asked for, at least 1.
        frame_step: frames of one group behind the first frame: 4 for Wan and our own, 8 for LTX, 6 for Mochi,
            1 where any length will do.
        size_step: what both sides must divide by: 16 for Wan and our own, 32 for LTX.

    Raises:
        UsageError: a number asked for is below 1.
    """
    asked = Shape(num_frames=num_frames, height=height, width=width)
    groups = (num_frames - 1 + frame_step // 2) // frame_step
    down, across = (max(1, (side + size_step // 2) // size_step) * size_step for side in (height, width))
    made = Shape(num_frames=groups * frame_step + 1, height=down, width=across)
    if made != asked:
        rules = [f"{frame_step}k + 1 frames"] if made.num_frames != num_frames else []
        rules += [f"sides that divide by {size_step}"] if (down, across) != (height, width) else []
        logger.warning("asked for %s, making %s: the model wants %s", asked, made, " and ".join(rules))
    return made
