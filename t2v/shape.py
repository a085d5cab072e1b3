"""Which lengths and sizes a generator can make: k·step + 1 frames, sides that are multiples of a step.

In: the frames, height and width a person asked for. Out: the nearest `Shape` the model can make, with a warning when
that is another one. A causal video autoencoder codes the first frame alone and the others in groups (hence the + 1);
sides must divide by the autoencoder's and the transformer's steps (8 and 2 for the bundled generator). Light on
purpose: no torch, so that a command can check its arguments before it loads a model.
"""

from __future__ import annotations

from typing import NamedTuple

from v2t.base.errors import UsageError
from v2t.base.log import logger


class Shape(NamedTuple):
    """Frames, and height and width in pixels."""

    num_frames: int
    height: int
    width: int


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
    asked = Shape(num_frames, height, width)
    if min(asked) < 1:
        raise UsageError(f"frames, height and width must be at least 1, got {tuple(asked)}")
    groups = (num_frames - 1 + frame_step // 2) // frame_step
    sides = (max(1, (side + size_step // 2) // size_step) * size_step for side in (height, width))
    made = Shape(groups * frame_step + 1, *sides)
    if made != asked:
        rules = [f"{frame_step}k + 1 frames"] if made.num_frames != num_frames else []
        rules += [f"sides that divide by {size_step}"] if made[1:] != asked[1:] else []
        logger.warning(
            "asked for %d frames of %d×%d (height × width), making %d frames of %d×%d: the model wants %s",
            *asked,
            *made,
            " and ".join(rules),
        )
    return made
