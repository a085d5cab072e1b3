"""Division of a video into segments.

In: a `SegmentSpec` (from `--parts`), the length of a video, its scene cuts. Out: `Segment`s in order that cover the
video: the first begins with it, the last ends with it, and none begins after the end of the previous one.

`whole` one segment · `segment` equal steps of the clock; a short remainder joins the previous one · `scene` from cut to
cut, a long scene in equal pieces, one shorter than half a second with the one before it · `window` windows of one
length that may overlap; the last ends with the video.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cineloop.errors import UsageError, did_you_mean

KINDS = ("whole", "segment", "scene", "window")
_FORMS = "whole, segment[:SECONDS], scene[:SECONDS], window:SECONDS[/STRIDE]"
_SHORT = 0.25  # a remainder below this share of a segment joins the previous one
_SHORTEST_SCENE_S = 0.5
MAX_SEGMENT_S = 3600.0
_TICK = 1e-6


class Segment(NamedTuple):
    """From `start_s` to `end_s`, seconds of the file."""

    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class SegmentSpec:
    """How to divide a video.

    Args:
        kind: one of `KINDS`.
        seconds: length of a segment or window, longest piece of a scene; 0.1 to 3600.
        stride_s: from the start of a window to that of the next, at most `seconds`; None for `seconds`.

    Raises:
        UsageError: on a value outside these ranges.
    """

    kind: str = "whole"
    seconds: float = 10.0
    stride_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"parts must be one of {_FORMS}, got {self.kind!r}", hint=did_you_mean(self.kind, KINDS, show=str)
            )
        if not 0.1 <= self.seconds <= MAX_SEGMENT_S:
            raise UsageError(f"a part must last 0.1 to 3600 seconds, got {self.seconds:g}")
        if self.stride_s is not None and (self.kind != "window" or not 0.1 <= self.stride_s <= self.seconds):
            raise UsageError(
                f"a stride belongs to windows and is 0.1 to {self.seconds:g} seconds, got {self.stride_s:g}",
                hint="a longer one would leave seconds out",
            )

    @classmethod
    def parse(cls, text: str) -> SegmentSpec:
        """From its form in `--parts`: `whole`, `segment`, `segment:8`, `scene`, `scene:20`, `window:8`, `window:8/4`.

        Raises:
            UsageError: no such form.
        """
        kind, colon, rest = text.strip().partition(":")
        length, slash, stride = rest.partition("/")
        try:
            seconds = float(length) if colon else None
            stride_s = float(stride) if slash else None
        except ValueError:
            raise UsageError(f"parts must be one of {_FORMS}, got {text!r}") from None
        if (kind == "whole" and colon) or (kind == "window" and not colon):
            raise UsageError(f"parts must be one of {_FORMS}, got {text!r}")
        return (
            cls(kind=kind, stride_s=stride_s) if seconds is None else cls(kind=kind, seconds=seconds, stride_s=stride_s)
        )

    def __str__(self) -> str:
        if self.kind == "whole":
            return self.kind
        stride = "" if self.stride_s is None else f"/{self.stride_s:g}"
        return f"{self.kind}:{self.seconds:g}{stride}"


def plan_segments(
    spec: SegmentSpec, duration_s: float, cuts_s: Sequence[float] = (), start_s: float = 0.0
) -> list[Segment]:
    """The segments of a video, at least one.

    Args:
        spec: how to divide it.
        duration_s: its length, >= 0.
        cuts_s: seconds at which a new scene begins, used by `scene`; those outside the video are ignored.
        start_s: where it begins within the file; segments and cuts are in seconds of the file.
    """
    if spec.kind == "segment":
        edges = _steps(duration_s, spec.seconds)
    elif spec.kind == "scene":
        edges = _scene_pieces(duration_s, [cut - start_s for cut in cuts_s], spec.seconds)
    elif spec.kind == "window":
        return [Segment(start_s + a, start_s + b) for a, b in _windows(duration_s, spec.seconds, spec.stride_s)]
    else:
        edges = [0.0, duration_s]
    return [Segment(start_s + a, start_s + b) for a, b in zip(edges, edges[1:], strict=False)]


def _steps(duration_s: float, seconds: float) -> list[float]:
    """Edges of segments; the last one is at most a quarter longer than the others."""
    count = max(1, math.ceil(duration_s / seconds - _SHORT))
    return [*(round(i * seconds, 6) for i in range(count)), duration_s]


def scenes(duration_s: float, cuts_s: Sequence[float]) -> list[Segment]:
    """Scenes between cuts, first to last second; one shorter than half a second goes with the one before it."""
    edges = [0.0]
    for cut in sorted(cuts_s):
        if cut - edges[-1] >= _SHORTEST_SCENE_S and duration_s - cut >= _SHORTEST_SCENE_S:
            edges.append(cut)
    return [Segment(start, end) for start, end in zip(edges, [*edges[1:], duration_s], strict=True)]


def segment_at(second: float, duration_s: float, cuts_s: Sequence[float], seconds: float) -> Segment:
    """The scene around a second if it is no longer than `seconds`, else so many seconds of it around that second."""
    all_scenes = scenes(duration_s, cuts_s)
    start, end = all_scenes[max(0, bisect_right([scene.start_s for scene in all_scenes], second) - 1)]
    if end - start <= seconds:
        return Segment(start, end)
    begin = min(max(start, second - seconds / 2), end - seconds)
    return Segment(begin, begin + seconds)


def _scene_pieces(duration_s: float, cuts_s: Sequence[float], seconds: float) -> list[float]:
    edges: list[float] = []
    for start, end in scenes(duration_s, cuts_s):
        count = max(1, math.ceil((end - start) / seconds - _TICK))
        edges += [start + (end - start) * i / count for i in range(count)]
    return [*edges, duration_s]


def _windows(duration_s: float, seconds: float, stride_s: float | None) -> list[tuple[float, float]]:
    stride = stride_s or seconds
    count = 1 + max(0, math.ceil((duration_s - seconds) / stride - _TICK))
    starts = [round(i * stride, 6) for i in range(count)]
    # The last window is as long as the others: it reaches back rather than being cut off.
    starts[-1] = min(starts[-1], max(0.0, duration_s - seconds))
    return [(start, duration_s if i == count - 1 else start + seconds) for i, start in enumerate(starts)]
