"""Whether two clips show the same pictures, up to a codec, a crop and a logo.

In: the small frames of two clips, uint8 (T, h, w, 3), at the same shares of their lengths. Out: yes or no, or the share
that differs. Where they differ as they are, the second is laid over the first by an affine map (ECC,
`cv2.findTransformECC`). A pixel differs where the other picture has no such colour next to it. Letters: T frames, h w
their size.
"""

from __future__ import annotations

import numpy as np

SIZE = (54, 96)  # h, w
_LEVELS = 20  # of 255 by which a pixel differs
_MOST = 0.001  # share of a picture that differs in copies: of 1,809 like pairs of different clips, 0.045 at least
_CORNER = 0.35  # of height and width, in which a logo may stand
_MOST_MOVED = 0.12  # of a side, by the map of a corner: more is no crop


def same_pictures(one: np.ndarray, two: np.ndarray, is_mirrored: bool = False) -> bool:
    """Whether `two`, mirrored before where that is asked, shows what `one` shows."""
    return share_that_differs(one, two, is_mirrored, enough=_MOST) <= _MOST


def share_that_differs(one: np.ndarray, two: np.ndarray, is_mirrored: bool = False, *, enough: float = 0.0) -> float:
    """Share of the pictures that differs, 0 to 1, as they are or after the map that fits best, whichever is less; not
    looked for further where it is `enough` as they are."""
    two = np.ascontiguousarray(two[:, :, ::-1]) if is_mirrored else two
    share = share_other(one, two, np.ones(one.shape[1:3], dtype=bool))
    return share if share <= enough else min(share, _share_after_registration(one, two))


def share_other(one: np.ndarray, two: np.ndarray, inside: np.ndarray) -> float:
    """Share of the pixels of `inside` (h, w) that differ, in the frame of the second most; without the one corner that
    differs in all frames, as a logo does."""
    other = np.stack([_differs(a, b) for a, b in zip(one, two, strict=True)]) & inside  # (T, h, w)
    logo = other.all(0)  # (h, w)
    height, width = (round(_CORNER * side) for side in logo.shape)
    corners = [(y, x) for y in (slice(height), slice(-height, None)) for x in (slice(width), slice(-width, None))]
    marked = max(corners, key=lambda corner: int(logo[corner].sum()))
    for frame in other:
        frame[marked] &= ~_dilate(logo[marked])
    shares = other.sum((1, 2)) / max(1, int(inside.sum()))  # (T,)
    return float(np.sort(shares)[-2]) if len(shares) > 1 else float(shares[0])


def _differs(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Bool (h, w): pixels of one picture outside the range of colours that the other has around them."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    mask = np.zeros(one.shape[:2], dtype=bool)
    for a, b in ((one, two), (two, one)):
        low, high = cv2.erode(b, kernel).astype(np.int16), cv2.dilate(b, kernel).astype(np.int16)
        off = np.maximum(low - a, a - high).max(2)  # (h, w)
        mask |= off > _LEVELS
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, kernel).astype(bool)  # lines are of codec and scale


def _dilate(mask: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.dilate(mask.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool)


def _share_after_registration(one: np.ndarray, two: np.ndarray) -> float:
    """`share_other` after the affine map that fits best; 1 where there is none near the identity."""
    import cv2

    height, width = one.shape[1:3]
    greys = [np.stack([cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]) for frames in (one, two)]
    n = int(np.argmax(greys[0].std((1, 2))))
    start, every = np.eye(2, 3, dtype=np.float32), np.ones((height, width), np.uint8)
    rule = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 60, 1e-5)
    try:
        _, warp = cv2.findTransformECC(greys[0][n], greys[1][n], start, cv2.MOTION_AFFINE, rule, every, 5)
    except cv2.error:  # it does not converge: a flat picture, or another one
        return 1.0
    corners = np.array([[0, 0, 1], [width, 0, 1], [0, height, 1], [width, height, 1]], dtype=np.float64)
    moved = (corners @ warp.T - corners[:, :2]) / (width, height)
    if np.abs(moved).max() > _MOST_MOVED:
        return 1.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    laid = np.stack([cv2.warpAffine(frame, warp, (width, height), flags=flags) for frame in two])
    inside = cv2.warpAffine(every, warp, (width, height), flags=flags).astype(bool)
    return share_other(one, laid, cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(bool))
