"""Which figure stands where: analysis by synthesis of kind, colour, size and facing.

In: frames and the cost of each pixel as background. Out: `Match`es: hypotheses with the nats they gain over "all is
background". A hypothesis paints each part of a kind in its own colour; a pixel gains what the background pays for it
minus what the figure pays. All kinds, sizes and facings are tried everywhere at once, by correlation in the Fourier
domain at half resolution, the best ones again at full resolution with several poses of their limbs.
Letters: H W pixels, R colour roles, M templates, K colours, C channels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from v2t.world import vocabulary as words
from v2t.world.actors import FIXED, figure, posed
from v2t.world.read_back_place import CAP, SIGMA

ROLES: tuple[str, ...] = ("main", "dark", "light", "edge", *FIXED)
COLORS = np.array(list(words.COLORS.values()), dtype=np.float32)  # (K, C)
KINDS: tuple[str, ...] = tuple(words.KINDS)
_FINE = 4  # a template is drawn so many times larger, then averaged
_FLAPS, _SWINGS = (0.0, 0.6, 1.2, 1.85, 2.5, 3.1), (0.0, 1.57, 4.71)  # steps that show every pose, nearly


@dataclass(frozen=True)
class Template:
    """The parts of one figure: `weights` (R', h, w) of the roles `roles` (R',); its centre is pixel (cx, cy)."""

    roles: np.ndarray
    weights: np.ndarray
    cx: int
    cy: int

    @property
    def area(self) -> float:
        """Pixels covered."""
        return float(self.weights.sum())


@dataclass(frozen=True)
class Match:
    """A hypothesis: kind, colour (numbers), height of the figure's unit in pixels, facing, centre, nats gained."""

    kind: int
    color: int
    scale: float
    facing: int
    x: float
    y: float
    gain: float


@cache
def template(kind: int, scale: float, facing: int, step: float = 0.0, angle: float = 0.0) -> Template:
    """Draw one figure of `scale` pixels a unit."""
    reach = math.ceil(0.68 * scale) + 2
    side = (2 * reach + 1) * _FINE
    label = np.full((side, side), -1, np.int16)
    shapes = []
    c, s = math.cos(angle), math.sin(angle)
    for part in figure(KINDS[kind]):
        points = posed(part, np.array([step]))[0] * scale  # (V, 2)
        px, py = points[:, 0] * facing, points[:, 1]
        turned = np.stack([px * c - py * s, px * s + py * c], axis=1) + reach + 0.5
        shapes.append((np.rint(turned * _FINE * 16).astype(np.int32), ROLES.index(part.role)))
    cv2.polylines(label, [p for p, _ in shapes], True, ROLES.index("edge"), _FINE, cv2.LINE_8, 4)
    for points, role in shapes:
        cv2.fillPoly(label, [points], role, cv2.LINE_8, 4)
    roles = np.unique(label[label >= 0])
    masks = (label[None] == roles[:, None, None]).astype(np.float32)  # (R', side, side)
    weights = masks.reshape(len(roles), 2 * reach + 1, _FINE, 2 * reach + 1, _FINE).mean(axis=(2, 4))
    return Template(roles=roles, weights=weights, cx=reach, cy=reach)


@cache
def phases(kind: int) -> tuple[float, ...]:
    """Step phases that between them come near every pose of a kind."""
    motions = {part.motion for part in figure(KINDS[kind])}
    return _FLAPS if "flap" in motions else _SWINGS if "swing" in motions else (0.0,)


@cache
def role_colors() -> np.ndarray:
    """Colour of each role for each colour of the world: float32 (K, R, C)."""
    fixed = np.tile(np.array(list(FIXED.values()), np.float32), (len(COLORS), 1, 1))  # (K, R - 4, C)
    shades = np.stack([COLORS, COLORS * 0.68, COLORS * 0.55 + 255 * 0.45, COLORS * 0.42], axis=1)
    return np.concatenate([shades, fixed], axis=1)


def role_costs(frame: np.ndarray, color: np.ndarray) -> np.ndarray:
    """What each pixel of a frame (H, W, C) costs in each role of roles' colours (R, C): float32 (R, H, W), to CAP."""
    pixels = frame.reshape(-1, 3).astype(np.float32)
    square = (pixels**2).sum(1)[None] - 2 * color @ pixels.T + (color**2).sum(1)[:, None]  # (R, H·W)
    return np.minimum(square / (2 * SIGMA**2), CAP).reshape(len(color), *frame.shape[:2])


@dataclass(frozen=True)
class _Bank:
    """Templates of all kinds, sizes and facings at half resolution, in the Fourier domain."""

    labels: list[tuple[int, str, int]]  # kind, size, facing
    owner: np.ndarray  # template of each role entry, sorted
    roles: np.ndarray
    spectra: np.ndarray  # (entries, H', W'/2 + 1)
    starts: np.ndarray
    inside: np.ndarray  # (M, H', W') centres at which the figure lies within the frame


def _padded(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the coarse canvas: room beyond the frame, so that what sticks out does not wrap around."""
    return height // 2 + height // 8, width // 2 + height // 4


@cache
def _bank(height: int, width: int) -> _Bank:
    rows, columns = _padded(height, width)
    labels: list[tuple[int, str, int]] = []
    owner, roles, images, inside = [], [], [], []
    for kind in range(len(KINDS)):
        for size, part in words.SIZES.items():
            for facing in (1, -1):
                drawn = template(kind, part * height, facing)
                for role, weight in zip(drawn.roles, drawn.weights, strict=True):
                    image = np.zeros((rows, columns), np.float32)
                    full = np.zeros((2 * (weight.shape[0] // 2 + 2),) * 2, np.float32)
                    # The centre pixel of the template shall lie in the coarse pixel (0, 0).
                    odd_y, odd_x = drawn.cy % 2, drawn.cx % 2
                    full[odd_y : odd_y + weight.shape[0], odd_x : odd_x + weight.shape[1]] = weight
                    small = full.reshape(full.shape[0] // 2, 2, -1, 2).sum(axis=(1, 3))
                    cy, cx = (drawn.cy + odd_y) // 2, (drawn.cx + odd_x) // 2
                    y, x = (np.arange(small.shape[0]) - cy) % rows, (np.arange(small.shape[1]) - cx) % columns
                    np.add.at(image, (y[:, None], x[None]), small)
                    owner.append(len(labels))
                    roles.append(int(role))
                    images.append(image)
                ys, xs = np.nonzero(drawn.weights.sum(0) > 0.5)
                ok = np.zeros((rows, columns), bool)
                # A figure may stick out by 0.3 of itself sideways, 0.2 up or down.
                out_y, out_x = round(0.2 * (ys.max() - ys.min())), round(0.3 * (xs.max() - xs.min()))
                low_y, high_y = (drawn.cy - ys.min() - out_y) // 2, (height - (ys.max() - drawn.cy - out_y)) // 2
                low_x, high_x = (drawn.cx - xs.min() - out_x) // 2, (width - (xs.max() - drawn.cx - out_x)) // 2
                ok[max(0, low_y) : high_y, max(0, low_x) : high_x] = True
                inside.append(ok)
                labels.append((kind, size, facing))
    owners = np.array(owner)
    return _Bank(
        labels=labels,
        owner=owners,
        roles=np.array(roles),
        spectra=np.conj(np.fft.rfft2(np.stack(images))),
        starts=np.flatnonzero(np.diff(owners, prepend=-1)),
        inside=np.stack(inside),
    )


def coarse(frame: np.ndarray, background: np.ndarray, colors: list[int], keep: int = 10) -> list[Match]:
    """The best hypotheses over the whole frame, at most one place per kind, size, facing and colour; best first."""
    height, width = background.shape
    bank = _bank(height, width)
    found: list[Match] = []
    for color in colors:
        gain = background[None] - role_costs(frame, role_colors()[color])  # (R, H, W)
        small = np.zeros((len(gain), *_padded(height, width)), np.float32)
        small[:, : height // 2, : width // 2] = gain.reshape(len(gain), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
        image = np.fft.rfft2(small)  # (R, H', W'/2 + 1)
        product = np.add.reduceat(bank.spectra * image[bank.roles], bank.starts, axis=0)
        score = np.where(bank.inside, np.fft.irfft2(product, s=small.shape[1:]), -np.inf)  # (M, H', W')
        flat = score.reshape(len(score), -1)
        best = flat.argmax(axis=1)
        top = flat[np.arange(len(flat)), best]
        for number in np.argsort(-top)[:keep]:
            kind, size, facing = bank.labels[number]
            y, x = divmod(int(best[number]), small.shape[2])
            scale = words.SIZES[size] * height
            found.append(Match(kind, color, scale, facing, 2 * x + 0.5, 2 * y + 0.5, float(top[number])))
    found.sort(key=lambda m: -m.gain)
    return found[:keep]


def likely_colors(frame: np.ndarray, background: np.ndarray, keep: int = 4) -> list[int]:
    """Numbers of the colours that somewhere fill a patch the background leaves unexplained; most likely first."""
    gain = np.clip(background[None] - role_costs(frame, COLORS), -CAP / 2, CAP)  # (K, H, W)
    side = max(3, background.shape[0] // 12) | 1
    filled = np.array([cv2.blur(g, (side, side)).max() for g in gain])  # (K,)
    order = np.argsort(-filled)[:keep]
    return [int(k) for k in order if filled[k] > 0.5 * filled[order[0]] and filled[k] > 0.3]


def refine(
    frame_gain: dict[int, np.ndarray], matches: list[Match], reach: int = 2, steps: tuple[float, ...] = (0.0,)
) -> list[Match]:
    """The hypotheses at full resolution, each moved by up to `reach` pixels, best first.

    `frame_gain` holds, per colour number, what each pixel gains in each role: (R, H, W).
    """
    out = []
    for match in matches:
        gain = frame_gain[match.color]
        best = None
        for step in steps:
            drawn = template(match.kind, match.scale, match.facing, step)
            score = slide(gain, drawn, round(match.x), round(match.y), reach)
            at = int(score.argmax())
            if best is None or score.flat[at] > best[0]:
                best = float(score.flat[at]), *divmod(at, 2 * reach + 1)
        assert best is not None
        value, dy, dx = best
        x, y = round(match.x) + dx - reach, round(match.y) + dy - reach
        out.append(Match(match.kind, match.color, match.scale, match.facing, float(x), float(y), value))
    return sorted(out, key=lambda m: -m.gain)


def slide(gain: np.ndarray, drawn: Template, x: int, y: int, reach: int) -> np.ndarray:
    """Nats gained by a template centred within `reach` pixels of (x, y): (2 reach + 1, 2 reach + 1) rows, columns."""
    height, width = drawn.weights.shape[1:]
    top, left = y - reach - drawn.cy, x - reach - drawn.cx
    box = np.zeros((len(drawn.roles), height + 2 * reach, width + 2 * reach), np.float32)
    y0, y1 = max(0, top), min(gain.shape[1], top + box.shape[1])
    x0, x1 = max(0, left), min(gain.shape[2], left + box.shape[2])
    if y1 > y0 and x1 > x0:
        box[:, y0 - top : y1 - top, x0 - left : x1 - left] = gain[drawn.roles, y0:y1, x0:x1]
    views = np.lib.stride_tricks.sliding_window_view(box, (height, width), axis=(1, 2))
    return np.einsum("rabhw,rhw->ab", views, drawn.weights)
