"""Which frames of a clip to look at: pure arithmetic on seconds, no decoding.

In: a `SampleSpec` and the presentation times of a clip's frames (N,), seconds. Out: strictly increasing positions of
the frames to read. Every sampler reaches from the first to the last second of the window, for any length of one frame
or more (a single frame is taken from the middle), and never gives a frame twice: where fewer frames exist than were
asked for, fewer are returned.

`uniform` equal steps in time, both ends included · `fps` a fixed rate · `segment` so many frames for every started
`segment_s` seconds (bounded cost per second, unbounded length) · `keyframe` the codec's intra frames first, the widest
gaps filled · `motion` equal steps of accumulated change, mixed with equal steps of time so that still stretches stay
covered. Letters: N frames of the clip, n frames asked for.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from cineloop.errors import ItemError, UsageError

SAMPLERS = ("uniform", "fps", "segment", "keyframe", "motion")
_STILL_SHARE = 0.5  # share of `motion`'s budget that is spread evenly over time whatever moves
_TICK = 1e-6  # seconds; container times are rounded, so "shown at t" needs a little slack


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """What to take from a clip.

    Args:
        sampler: one of `SAMPLERS`.
        num_frames: frames wanted, >= 1 (per segment for `segment`; unused by `fps`).
        fps: frames per second of video, > 0; required by `fps` and unused elsewhere.
        segment_s: greatest length of a segment in seconds, > 0 (`segment` only).
        max_frames: upper bound for every sampler, >= 1; beyond it the frames are spread evenly over the window.
        start_s, end_s: window in seconds from the file's first frame; None for the whole file.

    Raises:
        UsageError: on a value outside these ranges.
    """

    sampler: str = "uniform"
    num_frames: int = 16
    fps: float | None = None
    segment_s: float = 4.0
    max_frames: int = 768
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise UsageError(f"sampler must be one of {', '.join(SAMPLERS)}, got {self.sampler!r}")
        for name in ("num_frames", "max_frames"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise UsageError(f"{name} must be a whole number >= 1, got {value!r}")
        if self.sampler == "fps" and self.fps is None:
            raise UsageError("sampler 'fps' needs fps=, the frames to take per second of video")
        for name in ("fps", "segment_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UsageError(f"{name} must be a finite number > 0, got {value!r}")
        for name in ("start_s", "end_s"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise UsageError(f"{name} must be a finite number of seconds >= 0, got {value!r}")
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise UsageError(f"end_s must be greater than start_s, got {self.start_s!r} to {self.end_s!r}")

    @classmethod
    def every_frame(cls, start_s: float | None = None, end_s: float | None = None) -> SampleSpec:
        """All frames of the window."""
        return cls(num_frames=1 << 30, max_frames=1 << 30, start_s=start_s, end_s=end_s)


def positions_at(times_s: np.ndarray, targets_s: np.ndarray) -> np.ndarray:
    """Positions int64 (n,) of the frames on screen at `targets_s` (n,), given frame times (N,); clamped to the clip."""
    positions = np.searchsorted(times_s, np.asarray(targets_s, dtype=np.float64) + _TICK, side="right") - 1
    return np.clip(positions, 0, len(times_s) - 1).astype(np.int64)


def window(times_s: np.ndarray, duration_s: float, start_s: float | None, end_s: float | None) -> tuple[int, int]:
    """Half-open range of positions of the frames on screen within [start_s, end_s).

    Raises:
        ItemError: NO_FRAMES when the window starts behind the end of the clip or there is no frame at all.
    """
    if len(times_s) == 0:
        raise ItemError("the clip has no frame", code="NO_FRAMES")
    start = 0.0 if start_s is None else start_s
    if start > 0 and start >= duration_s - _TICK:
        raise ItemError(
            f"the window starts at {start:.3f} s but the clip ends at {duration_s:.3f} s",
            code="NO_FRAMES",
            hint="correct start_s in the manifest",
        )
    first = int(positions_at(times_s, np.array([start]))[0])
    stop = len(times_s) if end_s is None else int(np.searchsorted(times_s, end_s - _TICK, side="left"))
    return first, max(stop, first + 1)


def choose(
    spec: SampleSpec,
    times_s: np.ndarray,
    duration_s: float,
    *,
    keyframe_times_s: np.ndarray | None = None,
    motion_times_s: np.ndarray | None = None,
    motion_energy: np.ndarray | None = None,
) -> np.ndarray:
    """Positions int64 (n,), strictly increasing, of the frames to read.

    Args:
        spec: what to take.
        times_s: float64 (N,) strictly increasing presentation seconds of all frames.
        duration_s: seconds from the first frame to the end of the last.
        keyframe_times_s: (K,) seconds of the intra frames; needed by `keyframe`, may be empty.
        motion_times_s, motion_energy: (M,) any grid of seconds, and the change since the grid point before, >= 0;
            needed by `motion`, may be empty.

    Raises:
        ItemError: NO_FRAMES when the window holds no frame.
        UsageError: when the array a sampler needs is missing.
    """
    times_s = np.asarray(times_s, dtype=np.float64)
    first, stop = window(times_s, duration_s, spec.start_s, spec.end_s)
    inside = times_s[first:stop]  # (N_window,)
    if spec.sampler == "fps":
        picked = _at_rate(inside, float(spec.fps or 1.0), spec.max_frames)
    else:
        num = spec.num_frames
        if spec.sampler == "segment":
            end = min(duration_s, math.inf if spec.end_s is None else spec.end_s)
            num *= max(1, math.ceil((end - inside[0]) / spec.segment_s - 1e-9))
        num = min(num, spec.max_frames, len(inside))
        if spec.sampler == "keyframe":
            if keyframe_times_s is None:
                raise UsageError("sampler 'keyframe' needs keyframe_times_s")
            picked = _at_keyframes(inside, num, np.asarray(keyframe_times_s, dtype=np.float64))
        elif spec.sampler == "motion":
            if motion_times_s is None or motion_energy is None:
                raise UsageError("sampler 'motion' needs motion_times_s and motion_energy")
            picked = _at_motion(inside, num, np.asarray(motion_times_s, float), np.asarray(motion_energy, float))
        else:
            picked = _evenly(inside, num)
    return picked + first


def motion_energy(gray: np.ndarray) -> np.ndarray:
    """Change since the frame before: float64 (T,) in [0, 1], first entry 0, from uint8 luma (T, h, w).

    A mean over pixels, so resolution does not matter; accumulated over the clip, so neither the sampling gap nor a loop
    that ends where it began hides motion.
    """
    if len(gray) == 0:
        return np.zeros(0)
    steps = np.abs(np.diff(gray.astype(np.int16), axis=0)).mean(axis=(1, 2)) / 255.0  # (T-1,)
    return np.concatenate([[0.0], steps])


def _even_targets(times_s: np.ndarray, num: int) -> np.ndarray:
    """Target seconds (num,): both ends and equal steps between; the middle when only one is wanted."""
    if num == 1:
        return np.array([(times_s[0] + times_s[-1]) / 2])
    return np.linspace(times_s[0], times_s[-1], num)


def _distinct(positions: np.ndarray, total: int) -> np.ndarray:
    """The nearest strictly increasing positions (n,) below `total`, for non-decreasing ones; needs n <= total."""
    steps = np.arange(len(positions))
    spread = np.maximum.accumulate(positions - steps) + steps
    return np.minimum(spread, total - len(positions) + steps)


def _evenly(times_s: np.ndarray, num: int) -> np.ndarray:
    return _distinct(positions_at(times_s, _even_targets(times_s, num)), len(times_s))


def _at_rate(times_s: np.ndarray, fps: float, max_frames: int) -> np.ndarray:
    span = times_s[-1] - times_s[0]
    # Ask for no more targets than frames can answer: an absurd rate must not allocate an absurd array.
    if span * fps + 1 >= max(2 * max_frames, 2 * len(times_s)):
        return _evenly(times_s, min(len(times_s), max_frames))
    targets = times_s[0] + np.arange(math.floor(span * fps + _TICK) + 1) / fps
    if times_s[-1] - targets[-1] > 1.0:  # slower than a frame a second: the end would go unseen
        targets = np.append(targets, times_s[-1])
    picked = np.unique(positions_at(times_s, targets))
    return picked if len(picked) <= max_frames else _evenly(times_s, max_frames)


def _at_keyframes(times_s: np.ndarray, num: int, keyframe_times_s: np.ndarray) -> np.ndarray:
    total = len(times_s)
    within = keyframe_times_s[(keyframe_times_s >= times_s[0] - _TICK) & (keyframe_times_s <= times_s[-1] + _TICK)]
    ends = [0, total - 1] if num > 1 else []
    candidates = np.unique(np.concatenate([np.array(ends, dtype=np.int64), positions_at(times_s, within)]))
    if len(candidates) == 0:  # one frame wanted and no intra frame in the window
        return _evenly(times_s, num)
    if len(candidates) >= num:
        # The candidate nearest to each of `num` even targets, so that crowded cuts do not eat the whole budget.
        at = times_s[candidates]  # (C,)
        middles = (at[1:] + at[:-1]) / 2
        nearest = np.searchsorted(middles, _even_targets(times_s, num))
        chosen: np.ndarray = candidates[_distinct(nearest, len(candidates))]
        return chosen
    return _fill_gaps(times_s, candidates.tolist(), num)


def _fill_gaps(times_s: np.ndarray, chosen: list[int], num: int) -> np.ndarray:
    """`chosen` plus frames at the middle of the widest gaps until there are `num` (num <= N, both ends chosen)."""
    heap = [(-(times_s[b] - times_s[a]), a, b) for a, b in zip(chosen, chosen[1:], strict=False) if b - a > 1]
    heapq.heapify(heap)
    while len(chosen) < num and heap:
        _, a, b = heapq.heappop(heap)
        middle = int(positions_at(times_s, np.array([(times_s[a] + times_s[b]) / 2]))[0])
        middle = min(max(middle, a + 1), b - 1)
        chosen.append(middle)
        for left, right in ((a, middle), (middle, b)):
            if right - left > 1:
                heapq.heappush(heap, (-(times_s[right] - times_s[left]), left, right))
    return np.array(sorted(chosen), dtype=np.int64)


def _at_motion(times_s: np.ndarray, num: int, grid_s: np.ndarray, energy: np.ndarray) -> np.ndarray:
    if grid_s.shape != energy.shape or grid_s.ndim != 1:
        raise UsageError(f"motion_times_s and motion_energy must be equally long, got {grid_s.shape}, {energy.shape}")
    if not np.isfinite(energy).all() or (energy < 0).any() or (np.diff(grid_s) < 0).any():
        raise UsageError("motion_energy must be finite and >= 0, on a grid of seconds that does not go back")
    if num == 1 or len(grid_s) < 2:
        return _evenly(times_s, num)
    total = np.interp(times_s, grid_s, np.cumsum(energy))  # (N,) change accumulated until each frame
    total = total - total[0]
    span = times_s[-1] - times_s[0]
    if total[-1] <= 0 or span <= 0:
        return _evenly(times_s, num)
    progress = _STILL_SHARE * (times_s - times_s[0]) / span + (1 - _STILL_SHARE) * total / total[-1]  # (N,) 0..1
    positions = np.searchsorted(progress, np.linspace(0.0, 1.0, num) - 1e-12, side="left")
    return _distinct(np.clip(positions, 0, len(times_s) - 1), len(times_s))
