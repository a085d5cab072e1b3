"""Clips in which nothing happens: the frozen rule and VBench's static filter.

In: frames. Out: whether the clip is frozen (one picture all along) or static (the camera and the subject rest, as
VBench's flicker needs its clips). A frozen clip is perfectly consistent, smooth and free of flicker, which is no merit
(defect D9): the metrics name it. All frames are read, so a clip that ends as it began is not mistaken for one.
Letters: T frames, H W pixels. The frozen rule itself is `v2t_eval.frames.still`.
"""

from __future__ import annotations

from cineloop.errors import ItemError
from v2t_eval.core.sample import Sample
from v2t_eval.frames.still import frozen
from v2t_eval.vbench.flow import Flow, pair_motion


def is_frozen(sample: Sample) -> bool:
    """`frozen` of the sample's clip, computed once for all metrics."""
    return sample.once("frozen", lambda: frozen(sample.frames.pixels))


def static_parameters(size: tuple[int, int], num: int) -> tuple[float, int]:
    """(threshold in pixels, pairs that may exceed it) for frames of (H, W) and T = `num`; half is rounded to even."""
    return 3.0 * min(size) / 256, round(2 * num / 16)


def static_by(between: list[float], ends: tuple[float, float], size: tuple[int, int]) -> bool:
    """The static filter's verdict. `between`: of each two neighbours the mean of the greatest 2 % of the flow; `ends`:
    the same from the first frame to the last and back.
    """
    threshold, allowed = static_parameters(size, len(between) + 1)
    return sum(s > threshold for s in between) <= allowed and all(s <= 2 * threshold * allowed for s in ends)


def is_static(sample: Sample, flow: Flow) -> bool:
    """VBench's static filter on all frames of the sample's clip.

    Raises:
        ItemError: TOO_SHORT, a single frame; else as `Flow.between`.
    """
    last = len(sample.frames) - 1
    if last < 1:
        raise ItemError(f"{sample.id} has one frame: nothing can move", code="TOO_SHORT")
    between = [pair_motion(sample, flow, t, t + 1).top2 for t in range(last)]
    ends = pair_motion(sample, flow, 0, last).top2, pair_motion(sample, flow, last, 0).top2
    return static_by(between, ends, sample.frames.size)
