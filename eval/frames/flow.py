"""Motion between two frames, of the camera and of what moves in the picture apart.

In: pairs of points: the codec's motion vectors, or dense flow (DIS, Kroeger et al. 2016, arXiv:1603.03590) where a
codec gives none. Out: `Motion` in heights of the picture a second, so that size and frame rate do not matter. The
camera is the homography that most points follow (RANSAC); what is left moves by itself. `similarity` says which way the
camera went: the shift and zoom that the points near the edges follow, where things seldom stand. Letters: n points.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

# FFmpeg exports vectors of these (`flags2=+export_mvs`); of HEVC, VP9 and AV1 it has none.
VECTOR_CODECS = frozenset("h264 mpeg4 mpeg2video mpeg1video h263 msmpeg4v2 msmpeg4v3 flv1".split())
FLOW_HEIGHT = 144  # pixels of the frames that the dense flow sees
_STEP = 8  # between the points of the dense flow
_MOST_POINTS = 600  # of a fit
_LEAST_POINTS = 12
_LEAST_INLIERS = 0.35  # below, no camera explains the points
_NOISE_PX = 0.75  # of a vector; a codec stores quarters of a pixel and saves bits
STILL = 0.02  # heights a second; what a codec moves is below
_RIM = 0.25  # of each side, where a camera is read: VBench++ reads points at the edges too
_RIM_STEP = 6  # between its points
_RIM_STILL = 0.35  # pixels
_TEXTURE, _TEXTURED = 7, 1e-5  # window and least of the smaller eigenvalue: elsewhere no flow can be known


class Motion(NamedTuple):
    """Mean speed of the camera's motion and of the rest over the picture, heights a second; `share` of the picture that
    moves by itself."""

    camera: float
    object: float
    share: float


def of_vectors(vectors: np.ndarray, height: int, step_s: float) -> Motion | None:
    """The motion in the vectors of one frame that point back over `step_s` seconds; None where they say too little.

    Args:
        vectors: FFmpeg's structured array; those that point forward are left out.
        height: of the picture as it is shown, in pixels.
        step_s: seconds since the frame they point to.
    """
    vectors = vectors[(vectors["source"] < 0) & (vectors["motion_scale"] > 0)]
    if len(vectors) < _LEAST_POINTS:
        return None
    now = np.stack([vectors["dst_x"], vectors["dst_y"]], 1).astype(np.float64)  # (n, 2)
    moved = np.stack([vectors["motion_x"], vectors["motion_y"]], 1) / vectors["motion_scale"][:, None]  # (n, 2)
    return _apart(now + moved, now, vectors["w"] * vectors["h"].astype(np.float64), height, step_s)


def of_pictures(first: np.ndarray, second: np.ndarray, step_s: float) -> Motion:
    """The motion between two uint8 (H, W) pictures, as upright or as stored: lengths alone count."""
    before, moved = _flow_at(first, second, _STEP)
    return _apart(before, before + moved, np.ones(len(before)), first.shape[0], step_s)


class Similarity(NamedTuple):
    """What the camera did between two pictures: the shift of the picture's middle in widths to the right and heights
    down, the logarithm of its growth, and the share of the points that follow."""

    x: float
    y: float
    zoom: float
    share: float


def similarity(first: np.ndarray, second: np.ndarray) -> Similarity | None:
    """The camera's motion between two uint8 (H, W) pictures; None where too little texture shows it."""
    import cv2

    height, width = first.shape
    before, moved = _flow_at(first, second, _RIM_STEP)
    share = before / (width, height)  # (n, 2)
    rim = ((share < _RIM) | (share > 1 - _RIM)).any(1)
    texture = cv2.cornerMinEigenVal(first, _TEXTURE)[before[:, 1].astype(int), before[:, 0].astype(int)]  # (n,)
    if not rim.any():
        return None
    chosen = rim & (texture >= max(_TEXTURED, float(np.median(texture[rim]))))
    before, moved = before[chosen], moved[chosen]
    if len(before) < _LEAST_POINTS:
        return None
    if (is_still := np.linalg.norm(moved, axis=1) <= _RIM_STILL).mean() > 0.5:
        return Similarity(0.0, 0.0, 0.0, float(is_still.mean()))
    matrix, inliers = cv2.estimateAffinePartial2D(before, before + moved, ransacReprojThreshold=1.0, maxIters=500)
    if matrix is None or inliers is None or not np.isfinite(matrix).all():
        return None
    middle = np.array([width / 2, height / 2])
    x, y = matrix[:, :2] @ middle + matrix[:, 2] - middle
    growth = float(np.log(max(1e-6, np.hypot(matrix[0, 0], matrix[1, 0]))))
    return Similarity(float(x) / width, float(y) / height, growth, float(inliers.mean()))


def _flow_at(first: np.ndarray, second: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (n, 2), x and y, a step apart, and how far the dense flow moves each of them."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the flow's last bits depend on the number of threads
    try:
        flow: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(first, second, None)  # type: ignore[call-overload]
    finally:
        cv2.setNumThreads(threads)
    ys, xs = np.mgrid[step // 2 : first.shape[0] : step, step // 2 : first.shape[1] : step]
    points = np.stack([xs.ravel(), ys.ravel()], 1).astype(np.float64)  # (n, 2)
    return points, flow[ys.ravel(), xs.ravel()].astype(np.float64)


def _apart(before: np.ndarray, now: np.ndarray, area: np.ndarray, height: int, step_s: float) -> Motion:
    """Points (n, 2) before and now, and the area (n,) each stands for."""
    scale = height * step_s
    camera = _camera(before, now)  # (n, 2)
    rest = np.linalg.norm(now - before - camera, axis=1)  # (n,) pixels
    weight = area / area.sum()
    rest = np.where(rest > max(_NOISE_PX, STILL * scale), rest, 0.0)
    speed = float((np.linalg.norm(camera, axis=1) * weight).sum()) / scale
    return Motion(speed, float((rest * weight).sum()) / scale, float(weight[rest > 0].sum()))


def _camera(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """How far the camera alone moves each point: (n, 2) pixels."""
    import cv2

    moved = now - before
    is_still = np.linalg.norm(moved, axis=1) <= _NOISE_PX
    if is_still.mean() > 0.5:  # a camera that moves leaves few points where they are
        return np.zeros_like(moved)
    chosen = slice(None, None, -(-len(before) // _MOST_POINTS))
    matrix, inliers = cv2.findHomography(before[chosen], now[chosen], cv2.RANSAC, 1.5)
    if matrix is None or inliers is None or float(inliers.mean()) < _LEAST_INLIERS:
        return np.broadcast_to(np.median(moved, axis=0), moved.shape)
    shifted = cv2.perspectiveTransform(before[:, None], matrix)[:, 0]  # (n, 2)
    camera: np.ndarray = shifted - before
    if not np.isfinite(camera).all() or np.abs(camera).max() > 4 * np.abs(moved).max() + 1:
        return np.broadcast_to(np.median(moved, axis=0), moved.shape)  # a fit that bends the picture
    return camera
