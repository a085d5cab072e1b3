"""Copies are told from like clips by laying their pictures over each other."""

from __future__ import annotations

import numpy as np

from planted_films import picture
from v2t_eval.near.overlay import SIZE, same_pictures


def frames(seed: int, square: tuple[int, int, int] = (250, 40, 40)) -> np.ndarray:
    """Five small pictures in which a square moves."""
    found = np.stack([picture(seed, SIZE)] * 5)
    for n, frame in enumerate(found):
        frame[20:26, 10 + 15 * n : 16 + 15 * n] = square
    return found


def test_another_thing_in_the_same_place_is_another_clip():
    assert same_pictures(frames(1), frames(1))
    assert not same_pictures(frames(1), frames(1, (40, 40, 250)))
    assert not same_pictures(frames(1), frames(2))


def test_a_logo_in_a_corner_a_crop_and_a_mirror_image_are_the_same_pictures():
    import cv2

    one = frames(3)
    logo = one.copy()
    logo[:, 2:9, 2:16] = 255
    assert same_pictures(one, logo)
    middle = one.copy()
    middle[:, 22:30, 40:56] = 255
    assert not same_pictures(one, middle)
    height, width = SIZE
    crop = np.stack([cv2.resize(frame[3:-3, 5:-5], (width, height)) for frame in one])
    assert same_pictures(one, crop)
    mirror = np.ascontiguousarray(one[:, :, ::-1])
    assert same_pictures(one, mirror, is_mirrored=True) and not same_pictures(one, mirror)
