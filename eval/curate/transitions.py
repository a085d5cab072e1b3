"""Changes of shots that the cut detector misses: fades, dissolves, faint cuts; from the pictures of a survey.

In: a `Survey`. Out: `Transition`s. A fade holds a dark stretch. In a dissolve every picture lies on the straight line
from the picture before it to the one after it, all over the frame, and neither light nor a motion of the camera
explains how the two differ. Between the ends of a pan the picture is not on that line, unless it is so small that
nothing but smooth shades is left of it. A faint cut stands out from the frames around it alone. Letters: N frames, P
pixels, G pictures at 12 a second, k half a window.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from v2t_eval.curate.wipes import wipes
from v2t_eval.frames.survey import PICTURE, PICTURE_FPS, THUMB, Survey

_HALVES = (3, 5, 8, 12)  # k: windows of 0.5 to 2 seconds; in shorter ones a moving camera passes for a dissolve
_MOST_OFF, _MOST_OFF_MIDDLE = 0.28, 0.19  # mean distance from the line, in lengths of it
_SPREAD = 0.33  # share of the pixels that change, and by how many levels
_SPREAD_LEVELS = 3.0
_LEAST_NEW = 6.0  # grey levels, and share of all change, that no light and no motion of the camera explain
_LEAST_SHARE = 0.5
_FLAT = 3.0  # deviation in grey levels of a picture of one colour
_AROUND = 4  # frames on each side of a faint cut, which change the picture by this share of it at most
_MOST_AROUND = 0.25
_FADE_LEVELS = 0.4  # of brightness from frame to frame; what fades changes by more
_LONGEST_FADE_S = 3.0
_MOST_JUMP = 0.5  # of the whole change, between two pictures: more is a cut
_MOST_BACK, _MOST_OTHER = 0.35, 0.5  # of the change by a flash, and of the picture's contrast, left when it is back


@dataclass(frozen=True)
class Transition:
    """A change of shots between two seconds of the file, by "cut" (at one moment), "fade", "dissolve", "wipe" (also of
    other shapes, and slides), "black" (an edge of a long dark stretch)."""

    start_s: float
    end_s: float
    kind: str


def dark_stretches(survey: Survey, level: int, num: int) -> list[tuple[float, float]]:
    """(first second, second after the last) of `num` or more dark frames in a row."""
    dark = np.concatenate([[False], survey.bright < level, [False]])
    edges = np.flatnonzero(np.diff(dark.astype(np.int8)))  # starts and stops by turns
    times = np.append(survey.times_s, survey.info.duration_s)
    return [(float(times[a]), float(max(times[b], times[b - 1]))) for a, b in edges.reshape(-1, 2) if b - a >= num]


def with_fades(survey: Survey, start_s: float, end_s: float) -> tuple[float, float]:
    """A dark stretch with the fades before and after it: as long as the brightness falls towards it."""
    times, levels = survey.times_s, survey.thumbs.mean((1, 2))  # (N,)
    first = int(np.searchsorted(times, start_s - 1e-6))
    last = min(int(np.searchsorted(times, end_s - 1e-6)), len(times) - 1)
    while first > 0 and levels[first - 1] > levels[first] + _FADE_LEVELS and start_s - times[first] < _LONGEST_FADE_S:
        first -= 1
    while (
        last + 1 < len(times)
        and levels[last + 1] > levels[last] + _FADE_LEVELS
        and (times[last] - end_s < _LONGEST_FADE_S)
    ):
        last += 1
    return min(start_s, float(times[first])), max(end_s, float(times[last]) if levels[last] > 0 else end_s)


def faint_cuts(survey: Survey, least_change: float) -> list[float]:
    """Seconds of the first frames of shots that differ from the frame before by `least_change` grey levels or more,
    where the frames around hardly change. The detector asks for a change of colours that dim or like pictures lack."""
    thumbs = survey.thumbs.reshape(len(survey.thumbs), -1).astype(np.float32)  # (N, P)
    steps = np.abs(np.diff(thumbs, axis=0))  # (N - 1, P)
    change = steps.mean(1)
    seconds = []
    for n in np.flatnonzero((change >= least_change) & ((steps > _SPREAD_LEVELS).mean(1) >= _SPREAD)):
        around = np.concatenate([change[max(0, n - _AROUND) : n], change[n + 1 : n + 1 + _AROUND]])
        if len(around) and around.max() <= _MOST_AROUND * change[n] and _is_new(thumbs[n], thumbs[n + 1], THUMB):
            seconds.append(float(survey.times_s[n + 1]))
    return seconds


def dissolves(survey: Survey, least_change: float) -> list[tuple[float, float]]:
    """(start, end) in seconds of each gradual change of the whole picture by `least_change` grey levels or more."""
    grid, shown = _even(survey)
    pictures = shown.reshape(len(shown), -1).astype(np.float32)  # (G, P)
    spans: list[tuple[float, float]] = []
    for half in _HALVES:
        if len(pictures) > 2 * half:
            for middle in _middles(pictures, half, least_change):
                spans.append(_trim(pictures, grid, middle, half))
    return merge([_extend(survey, *span) for span in merge(spans)])


def edges(survey: Survey, least_change: float) -> list[tuple[float, float]]:
    """(start, end) in seconds of each change by a moving edge, see `v2t_eval.curate.wipes`."""
    grid, shown = _even(survey)
    return [(float(grid[first]), float(grid[last])) for first, last in wipes(shown, least_change)]


def flash_end(survey: Survey, at_s: float, most_s: float, alike_levels: float) -> float | None:
    """The second at which the picture before `at_s` is back, within `most_s` seconds: what lies between is a flash.
    None where it does not come back. The camera may have moved on meanwhile, so that most of the change is gone."""
    first = int(np.searchsorted(survey.times_s, at_s - 1e-3))
    stop = int(np.searchsorted(survey.times_s, at_s + most_s + 1e-3))
    if first < 1 or first + 1 >= stop:
        return None
    thumbs = survey.thumbs[first - 1 : stop].astype(np.float32)  # (n + 1, 9, 16)
    change = np.abs(thumbs[1:] - thumbs[0]).mean((1, 2))  # (n,)
    least = max(alike_levels, _MOST_OTHER * float(thumbs[0].std()))
    back = np.flatnonzero(change <= np.minimum(least, _MOST_BACK * np.maximum.accumulate(change)))
    return float(survey.times_s[first + back[0]]) if len(back) else None


def _even(survey: Survey) -> tuple[np.ndarray, np.ndarray]:
    """Seconds (G,) at an even rate, and the pictures (G, 18, 32) shown then."""
    times = survey.picture_s
    grid = np.arange(times[0], times[-1] + 1e-9, 1 / PICTURE_FPS)
    at = np.clip(np.searchsorted(times, grid + 0.5 / PICTURE_FPS) - 1, 0, len(times) - 1)
    return grid, survey.pictures[at]


def _extend(survey: Survey, start_s: float, end_s: float) -> tuple[float, float]:
    """A dissolve to both sides as long as the pictures go on along its line, at half of its pace or more."""
    times, thumbs = survey.times_s, survey.thumbs.reshape(len(survey.thumbs), -1).astype(np.float32)  # (N, P)
    first, last = (int(np.argmin(np.abs(times - at_s))) for at_s in (start_s, end_s))
    line = thumbs[last] - thumbs[first]
    pace = np.diff(thumbs, axis=0) @ line  # (N - 1,)
    least = 0.5 * float(np.median(pace[first:last])) if last > first else np.inf
    while first > 0 and pace[first - 1] > max(least, 0.0):
        first -= 1
    while last < len(pace) and pace[last] > max(least, 0.0):
        last += 1
    return min(start_s, float(times[first])), max(end_s, float(times[last]))


def merge(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that touch, joined; in order."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(spans):
        if joined and start <= joined[-1][1] + 1 / PICTURE_FPS:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined


def _middles(pictures: np.ndarray, half: int, least_change: float) -> list[int]:
    """Positions in (G, P) about which a window of 2 k + 1 pictures is a dissolve."""
    before, after = pictures[: -2 * half], pictures[2 * half :]  # (G - 2k, P)
    line = after - before
    change = np.abs(line).mean(1)  # (G - 2k,)
    maybe = np.flatnonzero((change >= least_change) & ((np.abs(line) > _SPREAD_LEVELS).mean(1) >= _SPREAD))
    middles = []
    for start in maybe:
        part = pictures[start : start + 2 * half + 1]  # (2k + 1, P)
        share = np.linspace(0, 1, len(part))[:, None]
        off = np.abs(part - (before[start] + line[start] * share)).mean(1) / change[start]  # (2k + 1,)
        jump = np.abs(np.diff(part, axis=0)).mean(1).max() / change[start]
        if off[half] > _MOST_OFF_MIDDLE or off.max() > _MOST_OFF or jump > _MOST_JUMP:
            continue
        if _is_new(part[0], part[-1], PICTURE):
            middles.append(int(start) + half)
    return middles


def _is_new(before: np.ndarray, after: np.ndarray, size: tuple[int, int]) -> bool:
    """Whether a picture (P,) of a size is more than the other one with more or less light, moved, turned or zoomed.
    Such changes lie within brightness, contrast and an affine flow along the gradients: the difference is fitted by
    these."""
    deviations = float(before.std()), float(after.std())
    if min(deviations) < _FLAT:  # to or from one colour
        return max(deviations) >= _LEAST_NEW
    if max(deviations) >= 2 * min(deviations):  # the fainter picture's own content decides: the other outweighs it
        faint, strong = (before, after) if deviations[0] < deviations[1] else (after, before)
        return _residual(faint, strong, size) >= _LEAST_SHARE * _spread(faint)
    line = after - before
    # Means, not squares: an object that crosses the picture changes few of the pixels, by much.
    return _residual(line, (before + after) / 2, size) >= max(_LEAST_NEW, _LEAST_SHARE * _spread(line))


def _spread(values: np.ndarray) -> float:
    return float(np.abs(values - values.mean()).mean())


def _residual(values: np.ndarray, picture: np.ndarray, size: tuple[int, int]) -> float:
    """Mean of what light on a picture (P,) and motion of it leave of `values` (P,)."""
    ys, xs = np.mgrid[-1 : 1 : size[0] * 1j, -1 : 1 : size[1] * 1j]
    dy, dx = np.gradient(picture.reshape(size))
    flow = [dx, dy, xs * dx, ys * dx, xs * dy, ys * dy]
    basis = np.stack([np.ones(size), picture.reshape(size), *flow]).reshape(8, -1).T.astype(np.float64)  # (P, 8)
    rest = values - basis @ np.linalg.lstsq(basis, values.astype(np.float64), rcond=None)[0]  # (P,)
    return float(np.abs(rest).mean())


def _trim(pictures: np.ndarray, grid: np.ndarray, middle: int, half: int) -> tuple[float, float]:
    """The seconds of a window in which the change takes place."""
    part = pictures[middle - half : middle + half + 1]
    line = part[-1] - part[0]
    share = (part - part[0]) @ line / float(line @ line)  # (2k + 1,) from 0 to 1
    inside = np.flatnonzero((share > 0.08) & (share < 0.92))
    first, last = (max(0, inside[0] - 1), min(len(part) - 1, inside[-1] + 1)) if len(inside) else (0, len(part) - 1)
    return float(grid[middle - half + first]), float(grid[middle - half + last])
