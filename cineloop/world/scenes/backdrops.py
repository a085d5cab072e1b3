"""Places of the world: painted once per shot on a canvas a little larger than the frame, so that a camera can move.

In: a place, a seed, a size. Out: an RGB image that covers the frame and `MARGIN` of its size beyond each edge.
Coordinates while painting are fractions of the frame: (0, 0) top left, (1, 1) bottom right.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import cv2
import numpy as np

MARGIN = 0.2
HORIZON = 0.66
SHIFT = 4  # sub-pixel bits of OpenCV's fixed-point coordinates
Color = tuple[int, int, int]


class Painter:
    """Polygons and discs on a canvas, in fractions of the frame. `noise` draws from the scene's own seed."""

    def __init__(self, height: int, width: int, seed: int, *, smooth: bool) -> None:
        self.height, self.width = height, width
        rows, columns = round(height * (1 + 2 * MARGIN)), round(width * (1 + 2 * MARGIN))
        self.image = np.zeros((rows, columns, 3), np.uint8)
        self.line = cv2.LINE_AA if smooth else cv2.LINE_8
        self.random = random.Random(seed).random

    def noise(self, low: float, high: float) -> float:
        """A number in [low, high)."""
        return low + (high - low) * self.random()

    def poly(self, points: list[tuple[float, float]], color: Color) -> None:
        """Fill a polygon."""
        xy = (np.array(points) + MARGIN) * (self.width, self.height) * (1 << SHIFT)
        cv2.fillPoly(self.image, [np.rint(xy).astype(np.int32)], color, self.line, SHIFT)

    def rect(self, x0: float, y0: float, x1: float, y1: float, color: Color) -> None:
        """Fill a rectangle."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], color)

    def disc(self, x: float, y: float, radius: float, color: Color, flat: float = 1.0) -> None:
        """Fill a disc whose radius is a fraction of the frame's height; `flat` squeezes it."""
        angle = np.arange(16) * (np.pi / 8)
        ratio = self.height / self.width
        self.poly(list(zip(x + ratio * radius * np.cos(angle), y + flat * radius * np.sin(angle), strict=True)), color)

    def ground(self, sky: Color, earth: Color, horizon: float = HORIZON) -> None:
        """Sky above and earth below the horizon, over the whole canvas."""
        self.image[:] = sky
        self.rect(-MARGIN, horizon, 1 + MARGIN, 1 + MARGIN, earth)

    def cloud(self, x: float, y: float, color: Color = (250, 250, 252)) -> None:
        """A small cloud."""
        self.disc(x - 0.07, y, 0.045, color)
        self.disc(x, y - 0.02, 0.06, color)
        self.disc(x + 0.08, y, 0.045, color)


def _beach(p: Painter) -> None:
    p.ground((140, 210, 245), (240, 218, 160), 0.72)
    p.rect(-MARGIN, 0.52, 1 + MARGIN, 0.72, (50, 150, 200))
    for _ in range(4):
        x, y = p.noise(-0.1, 1), p.noise(0.55, 0.68)
        p.rect(x, y, x + 0.16, y + 0.012, (150, 215, 235))
    p.disc(p.noise(0.1, 0.9), 0.14, 0.09, (255, 235, 120))
    x = p.noise(-0.05, 1.05)  # a parasol
    p.rect(x - 0.01, 0.56, x + 0.01, 0.82, (240, 240, 240))
    p.poly([(x - 0.13, 0.6), (x, 0.48), (x + 0.13, 0.6)], (235, 110, 90))


def _forest(p: Painter) -> None:
    p.ground((170, 215, 190), (95, 130, 70), 0.7)
    for i in range(7):
        x = -0.15 + 0.21 * i + p.noise(-0.05, 0.05)
        top = p.noise(0.1, 0.3)
        p.rect(x - 0.02, 0.5, x + 0.02, 0.74, (95, 65, 45))
        p.poly([(x - 0.14, 0.66), (x, top), (x + 0.14, 0.66)], (35, 95 + int(p.noise(0, 25)), 60))


def _city(p: Painter) -> None:
    p.ground((185, 205, 225), (105, 105, 112), 0.74)
    x = -0.2
    while x < 1.2:
        width, top = p.noise(0.12, 0.2), p.noise(0.08, 0.42)
        shade = int(p.noise(130, 175))
        p.rect(x, top, x + width - 0.02, 0.74, (shade - 10, shade - 15, shade + 5))
        for row in range(4):
            for column in range(2):
                wx, wy = x + 0.02 + column * width * 0.42, top + 0.04 + row * 0.1
                if wy < 0.66:
                    p.rect(wx, wy, wx + 0.035, wy + 0.05, (250, 240, 170))
        x += width
    for i in range(8):
        p.rect(-0.2 + 0.2 * i, 0.87, -0.08 + 0.2 * i, 0.89, (235, 235, 225))


def _desert(p: Painter) -> None:
    p.ground((250, 215, 165), (225, 175, 105), 0.7)
    p.disc(p.noise(0.1, 0.9), 0.16, 0.1, (255, 245, 200))
    for _ in range(3):
        x, w = p.noise(-0.2, 1.1), p.noise(0.3, 0.5)
        p.poly([(x - w, 0.71), (x, p.noise(0.5, 0.6)), (x + w, 0.71)], (235, 190, 125))
    for _ in range(3):
        x, y = p.noise(-0.1, 1.1), p.noise(0.68, 0.74)
        for x0, y0, x1, y1 in (
            (-0.02, -0.2, 0.02, 0),
            (-0.07, -0.14, -0.04, -0.06),
            (-0.07, -0.08, 0, -0.05),
            (0, -0.1, 0.07, -0.07),
            (0.04, -0.17, 0.07, -0.07),
        ):
            p.rect(x + x0, y + y0, x + x1, y + y1, (70, 125, 75))


def _snow(p: Painter) -> None:
    p.ground((200, 220, 240), (232, 238, 246), 0.7)
    for i in range(4):
        x, h = -0.1 + 0.36 * i + p.noise(-0.08, 0.08), p.noise(0.2, 0.38)
        p.poly([(x - 0.26, 0.7), (x, h), (x + 0.26, 0.7)], (150, 170, 200))
        p.poly([(x - 0.09, h + 0.15), (x, h), (x + 0.09, h + 0.15)], (250, 252, 255))
    for _ in range(14):
        p.disc(p.noise(-0.2, 1.2), p.noise(-0.1, 0.65), 0.012, (255, 255, 255))


def _meadow(p: Painter) -> None:
    p.ground((135, 200, 250), (120, 195, 90))
    p.poly([(-0.2, 0.7), (0.15, 0.56), (0.5, 0.68), (0.85, 0.54), (1.2, 0.7)], (140, 210, 110))
    for _ in range(3):
        p.cloud(p.noise(-0.1, 1.1), p.noise(0.08, 0.32))
    for _ in range(14):
        color = ((250, 120, 150), (255, 240, 120), (250, 250, 250))[int(p.noise(0, 3))]
        p.disc(p.noise(-0.2, 1.2), p.noise(0.7, 1.1), 0.014, color)


def _room(p: Painter) -> None:
    p.ground((225, 200, 175), (165, 115, 80), 0.74)
    p.rect(-MARGIN, 0.72, 1 + MARGIN, 0.75, (245, 240, 230))
    x = p.noise(0.05, 0.3)
    p.rect(x, 0.14, x + 0.28, 0.46, (245, 245, 245))
    p.rect(x + 0.02, 0.16, x + 0.26, 0.44, (165, 215, 245))
    p.rect(x + 0.13, 0.14, x + 0.15, 0.46, (245, 245, 245))
    x = p.noise(0.6, 0.85)
    p.rect(x, 0.2, x + 0.18, 0.4, (120, 80, 60))
    p.rect(x + 0.02, 0.22, x + 0.16, 0.38, (235, 180, 120))
    for i in range(8):
        p.rect(-0.2 + 0.2 * i, 0.75, -0.19 + 0.2 * i, 1.2, (145, 98, 66))


def _space(p: Painter) -> None:
    p.ground((22, 20, 48), (120, 118, 130), 0.8)
    for _ in range(26):
        p.disc(p.noise(-0.2, 1.2), p.noise(-0.2, 0.78), p.noise(0.005, 0.012), (245, 245, 220))
    x, y = p.noise(0.1, 0.9), p.noise(0.12, 0.3)
    p.disc(x, y, 0.1, (205, 140, 95))
    p.disc(x, y, 0.17, (225, 195, 150), 0.2)
    p.disc(x, y - 0.03, 0.075, (205, 140, 95), 0.7)
    for _ in range(5):
        p.disc(p.noise(-0.2, 1.2), p.noise(0.84, 1.1), p.noise(0.03, 0.06), (95, 93, 105), 0.4)


_PLACES: dict[str, Callable[[Painter], None]] = {
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "desert": _desert,
    "snow": _snow,
    "meadow": _meadow,
    "room": _room,
    "space": _space,
}


def paint(place: str, seed: int, height: int, width: int, *, smooth: bool = True) -> np.ndarray:
    """The canvas of `place`: uint8 (round(1.4 height), round(1.4 width), 3) RGB."""
    painter = Painter(height, width, seed, smooth=smooth)
    _PLACES[place](painter)
    return painter.image
