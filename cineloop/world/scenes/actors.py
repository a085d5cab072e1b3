"""The figures of the world as flat parts: polygons in a unit box, each with a colour role and a way to move.

In: a kind. Out: its `FigurePart`s, back to front. A figure looks to the right, is centred on (0, 0), y down, and about
one unit tall or wide. A part swings about a pivot (limbs, tails), turns (wheels) or flaps (wings) with the step phase.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

# Colour roles that do not follow the actor's colour.
FIXED: dict[str, tuple[int, int, int]] = {
    "skin": (245, 200, 160),
    "hair": (95, 60, 35),
    "ink": (30, 30, 35),
    "paper": (250, 250, 250),
    "glass": (190, 225, 245),
    "steel": (165, 170, 180),
    "flame": (255, 170, 40),
    "beak": (250, 165, 40),
    "wood": (150, 105, 60),
}


@dataclass(frozen=True)
class FigurePart:
    """A polygon (N, 2) in figure units; `role` is main, dark, light or a key of `FIXED`.

    `motion` is still, swing (about `pivot` by `reach` radians), turn (about `pivot` with the step) or flap (scaled
    towards `pivot` across the axis `reach`: 0 x, 1 y); `lag` is the phase it trails the step by.
    """

    points: np.ndarray
    role: str
    motion: str = "still"
    pivot: tuple[float, float] = (0.0, 0.0)
    reach: float = 0.0
    lag: float = 0.0


def _oval(cx: float, cy: float, rx: float, ry: float | None = None, n: int = 14) -> np.ndarray:
    a = np.arange(n) * (2 * math.pi / n)
    return np.stack([cx + rx * np.cos(a), cy + (rx if ry is None else ry) * np.sin(a)], axis=1)  # (N, 2)


def _rect(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _poly(*xy: float) -> np.ndarray:
    return np.array(xy, dtype=np.float64).reshape(-1, 2)


def _limb(x: float, y: float, length: float, width: float, role: str, lag: float, reach: float = 0.55) -> FigurePart:
    return FigurePart(_rect(x - width / 2, y, x + width / 2, y + length), role, "swing", (x, y), reach, lag)


def _wheel(x: float, y: float, r: float) -> list[FigurePart]:
    return [
        FigurePart(_oval(x, y, r), "ink"),
        FigurePart(_rect(x - r * 0.75, y - r * 0.22, x + r * 0.75, y + r * 0.22), "steel", "turn", (x, y)),
    ]


def _eye(x: float, y: float, r: float = 0.035) -> FigurePart:
    return FigurePart(_oval(x, y, r, n=8), "ink")


def _legs(xs: tuple[float, ...], y: float, length: float, width: float, role: str) -> list[FigurePart]:
    return [_limb(x, y, length, width, role, math.pi * (i % 2)) for i, x in enumerate(xs)]


def _boy() -> list[FigurePart]:
    return [
        *_legs((-0.07, 0.08), 0.17, 0.33, 0.11, "dark"),
        _limb(-0.13, -0.12, 0.27, 0.08, "skin", 0.0, 0.7),
        FigurePart(_poly(-0.17, -0.15, 0.17, -0.15, 0.17, 0.22, -0.17, 0.22), "main"),
        FigurePart(_oval(0, -0.3, 0.16, 0.17), "skin"),
        FigurePart(
            _poly(-0.17, -0.33, -0.14, -0.46, 0.0, -0.51, 0.14, -0.46, 0.17, -0.36, 0.3, -0.35, 0.29, -0.31), "main"
        ),
        _eye(0.08, -0.27),
        _limb(0.13, -0.12, 0.27, 0.08, "skin", math.pi, 0.7),
    ]


def _girl() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.19, -0.36, 0.0, -0.52, 0.17, -0.4, 0.1, -0.2, -0.06, 0.1, -0.28, 0.08), "hair"),
        *_legs((-0.07, 0.08), 0.25, 0.25, 0.08, "skin"),
        FigurePart(_poly(-0.08, -0.15, 0.08, -0.15, 0.32, 0.32, -0.32, 0.32), "main"),
        FigurePart(_oval(0.02, -0.3, 0.15, 0.16), "skin"),
        FigurePart(_poly(-0.17, -0.32, -0.1, -0.47, 0.06, -0.5, 0.17, -0.4, 0.0, -0.37), "hair"),
        _eye(0.09, -0.28),
        _limb(0.1, -0.1, 0.26, 0.07, "skin", math.pi, 0.6),
    ]


def _robot() -> list[FigurePart]:
    return [
        *_legs((-0.12, 0.12), 0.24, 0.26, 0.12, "steel"),
        _limb(-0.25, -0.12, 0.3, 0.09, "steel", 0.0, 0.5),
        FigurePart(_rect(-0.24, -0.16, 0.24, 0.28), "main"),
        FigurePart(_rect(-0.1, -0.06, 0.12, 0.12), "light"),
        FigurePart(_rect(-0.015, -0.52, 0.025, -0.4), "ink"),
        FigurePart(_rect(-0.2, -0.43, 0.2, -0.18), "main"),
        FigurePart(_rect(-0.02, -0.37, 0.17, -0.26), "glass"),
        _limb(0.25, -0.12, 0.3, 0.09, "steel", math.pi, 0.5),
    ]


def _dog() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.36, -0.02, -0.54, -0.26, -0.47, -0.28, -0.28, -0.1), "main", "swing", (-0.36, -0.04), 0.3),
        *_legs((-0.27, -0.17, 0.13, 0.23), 0.12, 0.3, 0.09, "dark"),
        FigurePart(_rect(-0.37, -0.12, 0.3, 0.17), "main"),
        FigurePart(_poly(0.16, -0.1, 0.2, -0.38, 0.42, -0.4, 0.44, -0.28, 0.6, -0.25, 0.6, -0.12, 0.36, -0.04), "main"),
        FigurePart(_poly(0.2, -0.38, 0.31, -0.38, 0.27, -0.1, 0.14, -0.12), "dark"),
        _eye(0.39, -0.29),
        FigurePart(_oval(0.59, -0.22, 0.045, n=8), "ink"),
    ]


def _cat() -> list[FigurePart]:
    return [
        FigurePart(
            _poly(-0.33, 0.1, -0.42, -0.45, -0.3, -0.52, -0.33, -0.38, -0.2, 0.0), "main", "swing", (-0.3, 0.1), 0.25
        ),
        *_legs((-0.24, -0.14, 0.12, 0.22), 0.2, 0.24, 0.08, "dark"),
        FigurePart(_oval(-0.03, 0.1, 0.33, 0.19), "main"),
        FigurePart(_poly(0.1, -0.25, 0.1, -0.5, 0.25, -0.35), "main"),
        FigurePart(_poly(0.32, -0.35, 0.46, -0.5, 0.46, -0.22), "main"),
        FigurePart(_oval(0.28, -0.17, 0.22, 0.19), "main"),
        FigurePart(_oval(0.33, -0.1, 0.12, 0.08, n=10), "light"),
        _eye(0.23, -0.22),
        _eye(0.38, -0.22),
    ]


def _rabbit() -> list[FigurePart]:
    return [
        FigurePart(_oval(-0.28, 0.2, 0.1), "paper"),
        FigurePart(_oval(0.06, -0.33, 0.065, 0.21, n=10), "main", "swing", (0.1, -0.16), 0.15),
        FigurePart(_oval(0.22, -0.34, 0.065, 0.21, n=10), "main", "swing", (0.19, -0.16), 0.15, 1.0),
        *_legs((-0.12, 0.1), 0.3, 0.19, 0.14, "dark"),
        FigurePart(_oval(-0.04, 0.18, 0.25, 0.24), "main"),
        FigurePart(_oval(0.17, -0.06, 0.18, 0.16), "main"),
        _eye(0.23, -0.1),
        FigurePart(_oval(0.34, -0.03, 0.035, n=8), "beak"),
    ]


def _elephant() -> list[FigurePart]:
    return [
        *_legs((-0.3, -0.12, 0.08, 0.2), 0.16, 0.3, 0.14, "dark"),
        FigurePart(_oval(-0.1, 0.0, 0.42, 0.29), "main"),
        FigurePart(_oval(0.28, -0.16, 0.22, 0.23), "main"),
        FigurePart(
            _poly(0.36, -0.2, 0.52, -0.1, 0.55, 0.34, 0.45, 0.36, 0.4, 0.02), "main", "swing", (0.44, -0.1), 0.2
        ),
        FigurePart(_poly(0.3, 0.0, 0.42, 0.14, 0.3, 0.1), "paper"),
        FigurePart(_oval(0.14, -0.13, 0.16, 0.21), "light"),
        _eye(0.36, -0.2),
    ]


def _bird() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.3, 0.0, -0.58, -0.12, -0.55, 0.1), "dark"),
        FigurePart(_oval(-0.05, 0.02, 0.3, 0.18), "main"),
        FigurePart(_oval(0.24, -0.12, 0.15), "main"),
        FigurePart(_poly(0.36, -0.17, 0.56, -0.09, 0.36, -0.03), "beak"),
        _eye(0.28, -0.15),
        FigurePart(_poly(-0.2, 0.0, 0.12, 0.0, -0.12, -0.5), "light", "flap", (0.0, 0.0), 1),
    ]


def _butterfly() -> list[FigurePart]:
    return [
        FigurePart(_oval(-0.24, -0.2, 0.24, 0.23), "main", "flap", (0.0, 0.0), 0),
        FigurePart(_oval(0.24, -0.2, 0.24, 0.23), "main", "flap", (0.0, 0.0), 0),
        FigurePart(_oval(-0.2, 0.19, 0.18, 0.18), "dark", "flap", (0.0, 0.0), 0),
        FigurePart(_oval(0.2, 0.19, 0.18, 0.18), "dark", "flap", (0.0, 0.0), 0),
        FigurePart(_oval(-0.24, -0.2, 0.09), "light", "flap", (0.0, 0.0), 0),
        FigurePart(_oval(0.24, -0.2, 0.09), "light", "flap", (0.0, 0.0), 0),
        FigurePart(_oval(0, 0.0, 0.05, 0.33, n=10), "ink"),
    ]


def _fish() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.25, 0.0, -0.56, -0.24, -0.48, 0.0, -0.56, 0.24), "dark", "swing", (-0.25, 0.0), 0.4),
        FigurePart(_poly(-0.12, -0.2, 0.02, -0.4, 0.16, -0.2), "dark"),
        FigurePart(_oval(0.08, 0.0, 0.42, 0.26), "main"),
        FigurePart(_rect(-0.06, -0.2, 0.03, 0.2), "light"),
        FigurePart(_oval(0.32, -0.06, 0.075, n=10), "paper"),
        _eye(0.34, -0.06, 0.04),
        FigurePart(_poly(0.05, 0.04, -0.12, 0.18, 0.12, 0.14), "dark"),
    ]


def _car() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.3, -0.02, -0.2, -0.28, 0.16, -0.28, 0.3, -0.02), "main"),
        FigurePart(_poly(-0.2, -0.04, -0.14, -0.21, -0.02, -0.21, -0.02, -0.04), "glass"),
        FigurePart(_poly(0.03, -0.04, 0.03, -0.21, 0.13, -0.21, 0.22, -0.04), "glass"),
        FigurePart(_poly(-0.56, 0.2, -0.54, -0.04, 0.42, -0.04, 0.57, 0.04, 0.58, 0.2), "main"),
        FigurePart(_rect(0.5, 0.03, 0.58, 0.1), "flame"),
        *_wheel(-0.31, 0.2, 0.13),
        *_wheel(0.31, 0.2, 0.13),
    ]


def _truck() -> list[FigurePart]:
    return [
        FigurePart(_rect(-0.6, -0.36, 0.2, 0.2), "main"),
        FigurePart(_rect(-0.54, -0.28, 0.14, -0.2), "light"),
        FigurePart(_poly(0.24, 0.2, 0.24, -0.16, 0.46, -0.16, 0.6, 0.0, 0.6, 0.2), "dark"),
        FigurePart(_poly(0.32, 0.0, 0.32, -0.1, 0.43, -0.1, 0.51, 0.0), "glass"),
        *_wheel(-0.42, 0.22, 0.13),
        *_wheel(-0.12, 0.22, 0.13),
        *_wheel(0.42, 0.22, 0.13),
    ]


def _bus() -> list[FigurePart]:
    windows = [FigurePart(_rect(x, -0.24, x + 0.15, -0.06), "glass") for x in (-0.55, -0.35, -0.15, 0.05, 0.25)]
    return [
        FigurePart(_poly(-0.62, 0.22, -0.62, -0.34, 0.56, -0.34, 0.62, -0.24, 0.62, 0.22), "main"),
        *windows,
        FigurePart(_rect(0.45, -0.24, 0.6, 0.06), "glass"),
        FigurePart(_rect(-0.62, 0.02, 0.4, 0.08), "paper"),
        *_wheel(-0.36, 0.22, 0.12),
        *_wheel(0.36, 0.22, 0.12),
    ]


def _boat() -> list[FigurePart]:
    return [
        FigurePart(_rect(-0.04, -0.5, 0.02, 0.16), "wood"),
        FigurePart(_poly(0.05, -0.48, 0.42, 0.08, 0.05, 0.08), "paper"),
        FigurePart(_poly(-0.07, -0.4, -0.34, 0.08, -0.07, 0.08), "light"),
        FigurePart(_poly(-0.52, 0.14, 0.56, 0.14, 0.36, 0.42, -0.36, 0.42), "main"),
        FigurePart(_poly(-0.49, 0.2, 0.51, 0.2, 0.47, 0.26, -0.45, 0.26), "dark"),
    ]


def _plane() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.5, -0.04, -0.6, -0.36, -0.44, -0.36, -0.26, -0.06), "dark"),
        FigurePart(_poly(-0.58, -0.06, 0.3, -0.15, 0.5, -0.1, 0.62, 0.03, 0.5, 0.12, -0.2, 0.14), "main"),
        FigurePart(_poly(0.32, -0.12, 0.46, -0.1, 0.54, -0.01, 0.36, -0.01), "glass"),
        FigurePart(_poly(0.12, 0.02, -0.14, 0.02, -0.36, 0.4, -0.22, 0.4), "dark"),
        FigurePart(_oval(-0.12, -0.04, 0.04, n=8), "glass"),
        FigurePart(_oval(0.04, -0.05, 0.04, n=8), "glass"),
        FigurePart(_oval(0.2, -0.06, 0.04, n=8), "glass"),
    ]


def _rocket() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.1, 0.32, 0.1, 0.32, 0.0, 0.56), "flame", "flap", (0.0, 0.3), 1, 0.3),
        FigurePart(_poly(-0.13, 0.05, -0.3, 0.38, -0.12, 0.3), "dark"),
        FigurePart(_poly(0.13, 0.05, 0.3, 0.38, 0.12, 0.3), "dark"),
        FigurePart(
            _poly(0, -0.54, 0.12, -0.34, 0.16, -0.05, 0.14, 0.33, -0.14, 0.33, -0.16, -0.05, -0.12, -0.34), "main"
        ),
        FigurePart(_poly(0, -0.54, 0.12, -0.34, -0.12, -0.34), "dark"),
        FigurePart(_oval(0, -0.14, 0.085), "glass"),
    ]


def _balloon() -> list[FigurePart]:
    return [
        FigurePart(_poly(-0.2, 0.06, -0.09, 0.38, -0.06, 0.38, -0.14, 0.06), "ink"),
        FigurePart(_poly(0.2, 0.06, 0.09, 0.38, 0.06, 0.38, 0.14, 0.06), "ink"),
        FigurePart(_oval(0, -0.18, 0.34, 0.33, n=18), "main"),
        FigurePart(_poly(-0.27, 0.0, 0.27, 0.0, 0.12, 0.2, -0.12, 0.2), "main"),
        FigurePart(_oval(0, -0.18, 0.1, 0.33, n=14), "light"),
        FigurePart(_rect(-0.13, 0.34, 0.13, 0.52), "wood"),
    ]


def _ball() -> list[FigurePart]:
    return [
        FigurePart(_oval(0, 0, 0.47, n=20), "main"),
        FigurePart(_poly(-0.46, -0.08, 0.46, -0.08, 0.46, 0.08, -0.46, 0.08), "paper"),
        FigurePart(_oval(0, -0.3, 0.1, n=10), "dark"),
    ]


def _box() -> list[FigurePart]:
    return [
        FigurePart(_rect(-0.44, -0.44, 0.44, 0.44), "main"),
        FigurePart(_rect(-0.44, -0.44, 0.44, -0.24), "dark"),
        FigurePart(_rect(-0.09, -0.44, 0.09, 0.44), "light"),
    ]


def _star() -> list[FigurePart]:
    a = np.arange(10) * (math.pi / 5) - math.pi / 2
    r = np.where(np.arange(10) % 2 == 0, 0.54, 0.23)
    return [
        FigurePart(np.stack([r * np.cos(a), r * np.sin(a) + 0.03], axis=1), "main"),
        FigurePart(_oval(0, 0.03, 0.1), "light"),
    ]


def _heart() -> list[FigurePart]:
    a = np.arange(22) * (2 * math.pi / 22)
    x = 0.5 * np.sin(a) ** 3
    y = -(0.41 * np.cos(a) - 0.16 * np.cos(2 * a) - 0.06 * np.cos(3 * a) - 0.03 * np.cos(4 * a))
    return [FigurePart(np.stack([x, y], axis=1), "main"), FigurePart(_oval(-0.2, -0.2, 0.08), "light")]


def _triangle() -> list[FigurePart]:
    return [
        FigurePart(_poly(0, -0.48, 0.52, 0.44, -0.52, 0.44), "main"),
        FigurePart(_poly(0, -0.1, 0.18, 0.24, -0.18, 0.24), "light"),
    ]


_FIGURES = {
    "boy": _boy,
    "girl": _girl,
    "robot": _robot,
    "dog": _dog,
    "cat": _cat,
    "rabbit": _rabbit,
    "elephant": _elephant,
    "bird": _bird,
    "butterfly": _butterfly,
    "fish": _fish,
    "car": _car,
    "truck": _truck,
    "bus": _bus,
    "boat": _boat,
    "plane": _plane,
    "rocket": _rocket,
    "balloon": _balloon,
    "ball": _ball,
    "box": _box,
    "star": _star,
    "heart": _heart,
    "triangle": _triangle,
}


@cache
def figure(kind: str) -> tuple[FigurePart, ...]:
    """The parts of `kind`, back to front."""
    return tuple(_FIGURES[kind]())


def poses(part: FigurePart, step: np.ndarray) -> np.ndarray:
    """The part's polygon at T step phases: (T, N, 2) in figure units."""
    points = part.points[None]  # (1, N, 2)
    if part.motion == "still":
        return np.broadcast_to(points, (len(step), *part.points.shape))
    pivot = np.array(part.pivot)
    away = points - pivot
    if part.motion == "flap":
        fold = (0.25 + 0.75 * np.cos(step * 1.7 + part.lag))[:, None]  # (T, 1)
        out = np.repeat(away, len(step), axis=0)
        axis = int(part.reach)
        out[:, :, axis] = out[:, :, axis] * (fold if axis == 1 else np.abs(fold) + 0.12)
        return out + pivot
    angle = step + part.lag if part.motion == "turn" else part.reach * np.sin(step + part.lag)
    c, s = np.cos(angle)[:, None], np.sin(angle)[:, None]  # (T, 1)
    x, y = away[..., 0], away[..., 1]  # (1, N)
    return np.stack([x * c - y * s, x * s + y * c], axis=-1) + pivot  # (T, N, 2)
