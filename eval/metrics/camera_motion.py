"""Camera motion: does the camera move as it was asked to (VBench++, Huang et al. 2024, arXiv:2411.13503)?

In: frames; what is asked stands in the row (`camera`, such as "pan left"), in the prompt ("the camera pans left"), or
in facts of the cartoon world. Out: the share of clips in which the asked motion is among those seen; clips that ask for
none, or for two, have no value. Seen are shift and zoom that the edges of the picture follow, added up over steps of
1/8 s (`v2t_eval.frames.flow.similarity`): a shift of the picture to the right is a pan to the left. The reference
tracks four points at the edges with CoTracker and compares the last frame with the first, with a threshold of half a
per cent; sums over steps also see a camera that comes back (shake), and a cut corrupts one step alone. How often the
rule is right, also on footage it was not made on: docs/figures/camera.json. Letters: S steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

import numpy as np

from cineloop.errors import ItemError
from v2t_eval.core.measurement import NOTHING_ASKED, Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.frames.flow import FLOW_HEIGHT, Similarity, similarity
from v2t_eval.semantics.camera import MOTIONS, SHAKE, STATIC, motions_in, motions_of

LEAST = 0.04  # of a side that the picture's edge travels in all: less is a camera that stands
_BESIDE = 0.5  # a motion is seen beside a stronger one from this share of it on
_ZOOM_AT_EDGE = 0.5  # how far the edge moves, in sides, when the picture grows by e
_SHAKES, _RETURNS = 0.1, 0.4  # sides a second; share of the way that is left at the end
_LEAST_FOLLOW = 0.2  # of the points; below, the pictures are of two shots
_RATE = 8.0  # steps a second


@dataclass(frozen=True, kw_only=True)
class CameraPath:
    """Motion of the camera over a clip: `x`, `y` of the picture's middle in widths and heights, `zoom` as a logarithm,
    `way` that it went in all, sides; `read`: share of the steps that show it."""

    x: float
    y: float
    zoom: float
    way: float
    read: float


class Metric(BaseMetric):
    name = "camera_motion"
    needs = ("frames",)
    uses = ("prompt", "camera", "facts")
    detects = "a camera that pans, tilts, zooms, shakes or stands otherwise than it was asked to"
    misses = (
        "what the picture shows (a frozen clip has a still camera); two motions in turn; tells no dolly from a zoom; "
        "in pictures without texture at the edges a large figure passes for them"
    )

    def measure(self, sample: Sample) -> Evidence:
        """`value`, the motion `asked`, those `seen`, and the path in numbers.

        Raises:
            ItemError: NOTHING_ASKED, no motion is asked for, or several; TOO_SHORT; UNREAD, too little texture.
        """
        asked = asked_motion(sample)
        path = camera_path(sample)
        seen = visible_motions(path, float(sample.frames.times_s[-1] - sample.frames.times_s[0]))
        numbers = {"x": path.x, "y": path.y, "zoom": path.zoom, "way": path.way, "read": path.read}
        return {"value": float(asked in seen), "asked": asked, "seen": seen,
                **{name: round(number, 6) for name, number in numbers.items()}}  # fmt: skip

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Shares of all clips and of each motion that was asked for."""
        figures = {self.name: share_of(rows, [row.evidence["value"] for row in rows])}
        for motion in MOTIONS:
            of = [row for row in rows if row.evidence["asked"] == motion]
            if of:
                figures[motion] = share_of(of, [row.evidence["value"] for row in of])
        return Summary(headline=self.name, figures=figures, items=[{"id": row.id, **row.evidence} for row in rows])


def asked_motion(sample: Sample) -> str:
    """The one motion that is asked for.

    Raises:
        ItemError: NOTHING_ASKED, none or several.
    """
    camera, facts = sample.row.get("camera"), sample.row.get("facts")
    asked = motions_in(camera) if isinstance(camera, str) else motions_in(sample.prompt or "")
    if not asked and not isinstance(camera, str) and isinstance(facts, dict):
        asked = motions_of(facts)
    if len(asked) != 1:
        what = f"several camera motions: {', '.join(asked)}" if asked else "no camera motion"
        raise ItemError(f"{sample.id} asks for {what}", code=NOTHING_ASKED)
    return asked[0]


def camera_path(sample: Sample) -> CameraPath:
    """The path of the camera over the sample's clip.

    Raises:
        ItemError: TOO_SHORT, a single frame; UNREAD, less than half of the steps show it.
    """
    import cv2

    frames = sample.frames
    height, width = frames.size
    wide = max(2 * FLOW_HEIGHT // 3, round(width * FLOW_HEIGHT / height))
    scaling = cv2.INTER_AREA if height > FLOW_HEIGHT else cv2.INTER_CUBIC
    grey = [
        cv2.resize(cv2.cvtColor(frames.pixels[t], cv2.COLOR_RGB2GRAY), (wide, FLOW_HEIGHT), interpolation=scaling)
        for t in steps_of(frames.times_s)
    ]
    if len(grey) < 2:
        raise ItemError(f"{sample.id} has one frame: no camera can move in it", code="TOO_SHORT")
    fits = [similarity(a, b) for a, b in zip(grey, grey[1:], strict=False)]
    kept: list[Similarity] = [each for each in fits if each is not None and each.share >= _LEAST_FOLLOW]
    if 2 * len(kept) < len(fits):
        raise ItemError(f"{sample.id}: {len(fits) - len(kept)} of {len(fits)} steps show no camera", code="UNREAD")
    share = len(kept) / len(fits)
    x, y, zoom = np.array([each[:3] for each in kept], dtype=np.float64).sum(0) / share  # (S, 3)
    way = sum(hypot(each.x, each.y) for each in kept) / share
    return CameraPath(x=float(x), y=float(y), zoom=float(zoom), way=float(way), read=share)


def steps_of(times_s: np.ndarray) -> list[int]:
    """Frames at least 1 / `_RATE` seconds apart, from the first one on."""
    chosen, last = [], -np.inf
    for t, at_s in enumerate(times_s):
        if at_s - last >= 1 / _RATE - 1e-3:
            chosen.append(t)
            last = float(at_s)
    return chosen


def visible_motions(path: CameraPath, seconds: float) -> list[str]:
    """The motions of `MOTIONS` that the path shows: static alone, shake alone, or one or more of the others."""
    net = hypot(path.x, path.y)
    if path.way > _SHAKES * max(seconds, 1 / _RATE) and path.way > LEAST and net < _RETURNS * path.way:
        return [SHAKE]
    strength = {
        "pan left" if path.x > 0 else "pan right": abs(path.x),
        "tilt up" if path.y > 0 else "tilt down": abs(path.y),
        "zoom in" if path.zoom > 0 else "zoom out": abs(path.zoom) * _ZOOM_AT_EDGE,
    }
    least = max(LEAST, _BESIDE * max(strength.values()))
    return [motion for motion in MOTIONS if strength.get(motion, 0.0) >= least] or [STATIC]
