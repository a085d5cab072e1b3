"""Sharpness of a picture: the variance of its Laplacian, at one size for all, so that a bigger file is not sharper."""

from __future__ import annotations

import numpy as np

SIDE = 256  # pixels of the shorter side


def common_size(height: int, width: int) -> tuple[int, int]:
    """(H, W) of a picture once its shorter side has `SIDE` pixels."""
    scale = SIDE / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def laplacian_variance(grey: np.ndarray) -> float:
    """Variance of the Laplacian (four neighbours) of a uint8 (H, W) picture at the common size, up to 16 * 255^2."""
    import cv2

    height, width = common_size(*grey.shape)
    picture: np.ndarray = grey.astype(np.float64)
    if (height, width) != grey.shape:
        shrinks = height < grey.shape[0] or width < grey.shape[1]
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return float(cv2.Laplacian(picture, cv2.CV_64F, ksize=1).var())
