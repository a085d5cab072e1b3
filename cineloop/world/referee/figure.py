"""Which figure stands where: analysis by synthesis of kind, colour, size and facing.

In: a frame and the still picture behind it. Out: `Match`es: hypotheses with the squared error they explain. Every kind,
size and facing is tried everywhere at once, by correlation in the Fourier domain at half resolution (a squared error is
a sum of correlations, and the figure's colour enters as a quadratic, so that one pass tells of all colours); the best
ones are painted at full resolution, blended with the picture, and compared under a robust error.
Letters: H W pixels, M templates, K colours, C channels; h w pixels of a template, N offsets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache, lru_cache

import cv2
import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.scenes.actors import FIXED, figure, poses
from cineloop.world.scenes.backdrops import SHIFT

COLORS = np.array(list(words.COLORS.values()), dtype=np.float32)  # (K, C)
KINDS: tuple[str, ...] = tuple(words.KINDS)
# How a role's colour follows from the figure's: fixed part, factor of the colour (as in `render`).
ROLES: dict[str, tuple[tuple[float, float, float], float]] = {
    "main": ((0.0, 0.0, 0.0), 1.0),
    "dark": ((0.0, 0.0, 0.0), 0.68),
    "light": ((255 * 0.45,) * 3, 0.55),
    "edge": ((0.0, 0.0, 0.0), 0.42),
    **{role: ((float(r), float(g), float(b)), 0.0) for role, (r, g, b) in FIXED.items()},
}
OUTLIER = 70.0  # levels: an error much larger counts no more than this
SHARP, SOFT = (0.35, 0.8)  # pixels: sigma of a template's own blur, for sharp clips and for soft ones
_FLAPS, _SWINGS = ((0.0, 0.6, 1.2, 1.85, 2.5, 3.1), (0.0, 1.57, 4.71))  # steps that show every pose, nearly


@dataclass(frozen=True, eq=False)
class Template:
    """One drawn figure whose centre is pixel (cx, cy): paint = `base` + `tint` × colour, both times `cover`.

    `cover` (h, w) is 0 to 1, `base` (h, w, C), `tint` (h, w).
    """

    cover: np.ndarray
    base: np.ndarray
    tint: np.ndarray
    cx: int
    cy: int

    def paint(self, color: np.ndarray) -> np.ndarray:
        """The figure in `color` (C,), times its cover: float32 (h, w, C)."""
        return self.base + self.tint[..., None] * color


@dataclass(frozen=True)
class Match:
    """A hypothesis: number of kind and colour, pixels of the figure's unit, facing, centre in pixels.

    `gain` is the robust squared error it explains (units of `OUTLIER` squared, so about pixels), `share` of what there
    was to explain in and around the figure (1: all).
    """

    kind: int
    color: int
    scale: float
    facing: int
    x: float
    y: float
    gain: float
    share: float = 0.0
    spread: float = SHARP

    def template_at(
        self, scale: float = 1.0, step: float = 0.0, angle: float = 0.0, *, plain: bool = False
    ) -> Template:
        """Its template, `scale` times as large, at a step of the limbs, turned."""
        return template(self.kind, self.scale * scale, self.facing, step, angle, self.spread, plain)


@lru_cache(maxsize=8192)
def template(
    kind: int,
    scale: float,
    facing: int,
    step: float = 0.0,
    angle: float = 0.0,
    spread: float = SHARP,
    plain: bool = False,
    shift: tuple[float, float] = (0.0, 0.0),
) -> Template:
    """Draw one figure of `scale` pixels a unit, blurred by `spread` pixels, its centre `shift` (x, y) off the pixel's.

    `plain`: all parts in its main colour.
    """
    reach = math.ceil(0.68 * scale) + 2
    shapes, roles = [], []
    c, s = math.cos(angle), math.sin(angle)
    for part in figure(KINDS[kind]):
        points = poses(part, np.array([step]))[0] * scale  # (V, 2)
        px, py = points[:, 0] * facing, points[:, 1]
        turned = np.stack([px * c - py * s, px * s + py * c], axis=1) + reach + shift
        shapes.append(np.rint(turned * (1 << SHIFT)).astype(np.int32))
        roles.append("main" if plain else part.role)
    # The renderer's own strokes, once with cover and factor of the colour, once with the fixed part; on black each
    # comes out times its cover.
    layers = []
    for shade in (lambda role: (255.0, 255 * ROLES[role][1], 0.0), lambda role: ROLES[role][0]):
        canvas = np.zeros((2 * reach + 1, 2 * reach + 1, 3), np.uint8)
        cv2.polylines(canvas, shapes, True, shade("edge"), 1, cv2.LINE_AA, SHIFT)
        for points, role in zip(shapes, roles, strict=True):
            cv2.fillPoly(canvas, [points], shade(role), cv2.LINE_AA, SHIFT)
        layers.append(canvas)
    paint = np.dstack([layers[0][..., :2] / 255.0, layers[1]]).astype(np.float32)
    small = cv2.GaussianBlur(paint, (5, 5), spread)  # (h, w, 2 + C)
    ys, xs = np.nonzero(small[..., 0] > 0.01)
    box = small[ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]  # (h, w, 2 + C)
    cx, cy = reach - int(xs.min()), reach - int(ys.min())
    return Template(cover=box[..., 0].copy(), tint=box[..., 1].copy(), base=box[..., 2:].copy(), cx=cx, cy=cy)


@cache
def phases(kind: int) -> tuple[float, ...]:
    """Step phases that between them come near every pose of a kind."""
    motions = {part.motion for part in figure(KINDS[kind])}
    return _FLAPS if "flap" in motions else _SWINGS if "swing" in motions else (0.0,)


@dataclass(frozen=True, eq=False)
class _Bank:
    """Templates of all kinds, sizes and facings at half resolution, in the Fourier domain (conjugated)."""

    labels: list[tuple[int, str, int]]  # kind, size, facing
    cover: np.ndarray  # (M, H', W'/2 + 1)
    base: np.ndarray  # (M, C, H', W'/2 + 1)
    tint: np.ndarray  # (M, H', W'/2 + 1)
    own: np.ndarray  # (M, H', W') sum of base squared / cover over what lies in the frame, centred there
    mixed: np.ndarray  # (M, C, H', W') the same of base × tint / cover
    square: np.ndarray  # (M, H', W') the same of tint squared / cover
    inside: np.ndarray  # (M, H', W') centres at which enough of the figure lies within the frame


def _padded_size(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of the coarse canvas: room beyond the frame, so that what sticks out does not wrap around."""
    return height // 2 + height // 16, width // 2 + height // 8


def _halve(image: np.ndarray, canvas: tuple[int, int]) -> np.ndarray:
    """Blocks of 2 × 2 averaged, in the corner of an empty canvas: (H, W, ...) to (H', W', ...)."""
    height, width = image.shape[0] // 2, image.shape[1] // 2
    out = np.zeros((*canvas, *image.shape[2:]), np.float32)
    out[:height, :width] = image.reshape(height, 2, width, 2, *image.shape[2:]).mean(axis=(1, 3))
    return out


def _alike(a: Template, b: Template) -> bool:
    """Whether two templates are nearly the same picture."""
    return a.cover.shape == b.cover.shape and (a.cx, a.cy) == (b.cx, b.cy) and float(np.abs(a.base - b.base).max()) < 40


@cache
def _bank(height: int, width: int) -> _Bank:
    canvas = _padded_size(height, width)
    frame = _halve(np.ones((height, width), np.float32), canvas)
    frame_spectrum = np.fft.rfft2(frame)
    labels: list[tuple[int, str, int]] = []
    layers, inside = [], []
    for kind in range(len(KINDS)):
        for size, part in words.SIZES.items():
            for facing in (1, -1):
                drawn = template(kind, part * height, facing)
                if facing == -1 and _alike(drawn, template(kind, part * height, 1)):
                    continue
                # Coarse pixel (0, 0) of the rolled canvas holds the template's centre in its upper left quarter.
                odd_y, odd_x = drawn.cy % 2, drawn.cx % 2
                stack = np.dstack([drawn.cover, drawn.tint, drawn.base])  # (h, w, 2 + C)
                stack = np.pad(stack, ((odd_y, 1), (odd_x, 1), (0, 0)))
                stack = stack[: stack.shape[0] // 2 * 2, : stack.shape[1] // 2 * 2]
                shift = -((drawn.cy + odd_y) // 2), -((drawn.cx + odd_x) // 2)
                layers.append(np.roll(_halve(stack, canvas), shift, axis=(0, 1)) * 4)  # sums of 4 pixels
                covered = np.fft.irfft2(np.conj(np.fft.rfft2(layers[-1][..., 0])) * frame_spectrum, s=canvas)
                inside.append((covered > 0.72 * drawn.cover.sum()) & (_halve(np.ones((height, width)), canvas) > 0))
                labels.append((kind, size, facing))
    stacked = np.moveaxis(np.stack(layers), -1, 1).astype(np.float32)  # (M, 2 + C, H', W')
    spectra = np.conj(np.fft.rfft2(stacked))
    cover, tint, base = stacked[:, 0], stacked[:, 1], stacked[:, 2:]
    safe = np.maximum(cover, 1e-3)
    parts = [(base**2).sum(1) / safe, tint**2 / safe, *(base[:, i] * tint / safe for i in range(3))]
    sums = [np.fft.irfft2(np.conj(np.fft.rfft2(part)) * frame_spectrum, s=canvas).astype(np.float32) for part in parts]
    return _Bank(
        labels=labels,
        cover=spectra[:, 0],
        tint=spectra[:, 1],
        base=spectra[:, 2:],
        own=sums[0],
        square=np.maximum(sums[1], 1e-3),
        mixed=np.stack(sums[2:], axis=1),
        inside=np.stack(inside),
    )


def coarse(frame: np.ndarray, picture: np.ndarray, keep: int = 10) -> list[Match]:
    """The best hypotheses over the whole frame, at most one place per kind, size and facing, best first.

    Args:
        frame, picture: float32 (H, W, C), the frame and what it would be without the figure.
        keep: how many are returned.
    """
    height, width, _ = frame.shape
    canvas = _padded_size(height, width)
    bank = _bank(height, width)
    without = ((frame - picture) ** 2).sum(2) - (frame**2).sum(2)  # (H, W)
    seen = np.fft.rfft2(_halve(frame, canvas), axes=(0, 1))  # (H', W'/2 + 1, C)
    product = bank.cover * np.fft.rfft2(_halve(without, canvas))
    for channel in range(3):
        product += 2 * bank.base[:, channel] * seen[..., channel]
    level = np.fft.irfft2(product, s=canvas) - bank.own  # (M, H', W')
    slope = np.stack([np.fft.irfft2(bank.tint * seen[..., c], s=canvas) for c in range(3)], axis=1) - bank.mixed
    score = level + (slope**2).sum(1) / bank.square  # of the best colour there is
    score[~bank.inside] = -np.inf
    best = score.reshape(len(score), -1).argmax(axis=1)  # (M,)
    number = np.arange(len(best))
    level, square = (a.reshape(len(best), -1)[number, best] for a in (level, bank.square))  # (M,)
    slope = slope.reshape(len(best), 3, -1)[number, :, best]  # (M, C)
    gain = level[:, None] + 2 * slope @ COLORS.T - square[:, None] * (COLORS**2).sum(1)  # (M, K)
    candidates = []
    for flat in np.argsort(-gain, axis=None)[:keep]:
        which, color = divmod(int(flat), len(COLORS))
        kind, size, facing = bank.labels[which]
        y, x = divmod(int(best[which]), canvas[1])
        scale = words.SIZES[size] * height
        candidates.append(Match(kind, color, scale, facing, 2 * x + 0.5, 2 * y + 0.5, float(gain[which, color])))
    return candidates


def robust(difference: np.ndarray) -> np.ndarray:
    """Errors (..., C) in levels as 0 (none) to 1 (far more than `OUTLIER`)."""
    square = np.einsum("...c,...c->...", difference, difference) * np.float32(1 / OUTLIER**2)
    return square / (1.0 + square)


class Look:
    """One frame before its picture, with room around both: what templates are fitted to.

    Args:
        frame, picture: float32 (H, W, C).
    """

    def __init__(self, frame: np.ndarray, picture: np.ndarray) -> None:
        self.room = room = frame.shape[0]
        inner = np.s_[room : room + frame.shape[0], room : room + frame.shape[1]]
        shape = frame.shape[0] + 2 * room, frame.shape[1] + 2 * room
        self.frame, self.picture = np.zeros((*shape, 3), np.float32), np.zeros((*shape, 3), np.float32)
        self.before = np.zeros(shape, np.float32)
        self.frame[inner], self.picture[inner], self.before[inner] = frame, picture, robust(frame - picture)

    def fit(
        self, drawn: Template, color: np.ndarray, x: float, y: float, reach: int = 1
    ) -> tuple[float, float, int, int]:
        """The best place for a template within `reach` pixels of (x, y): gain, share, its centre's column and row.

        A place far outside the frame gains nothing.
        """
        cx, cy = round(x), round(y)
        high, wide = drawn.cover.shape
        top, left = cy - drawn.cy - reach + self.room, cx - drawn.cx - reach + self.room
        bottom, right = top + high + 2 * reach, left + wide + 2 * reach
        if min(top, left) < 0 or bottom > self.frame.shape[0] or right > self.frame.shape[1]:
            return 0.0, 0.0, cx, cy
        span = 2 * reach + 1
        real, behind, before = (  # windows of every offset: (span, span, h, w, C) twice, (span, span, h, w)
            np.ndarray(
                (span, span, high, wide, *of.shape[2:]),
                np.float32,
                of,  # type: ignore[arg-type]
                top * of.strides[0] + left * of.strides[1],
                (*of.strides[:2], *of.strides),
            )
            for of in (self.frame, self.picture, self.before)
        )
        after = robust(real - drawn.paint(color) - behind * (1.0 - drawn.cover[..., None]))
        gains = before.sum(axis=(2, 3)) - after.sum(axis=(2, 3))  # (span, span)
        dy, dx = divmod(int(gains.argmax()), span)
        there = np.where(drawn.cover > 0.05, np.maximum(before[dy, dx], drawn.cover), before[dy, dx])
        share = 1.0 - float(after[dy, dx].sum()) / max(float(there.sum()), 1e-6)
        return float(gains[dy, dx]), share, cx + dx - reach, cy + dy - reach


def refine(look: Look, matches: list[Match]) -> list[Match]:
    """The hypotheses painted at full resolution, best first; the best ones also soft and in every colour."""

    def repaint(match: Match, reach: int = 1) -> Match:
        gain, share, x, y = look.fit(match.template_at(), COLORS[match.color], match.x, match.y, reach)
        return replace(match, x=float(x), y=float(y), gain=gain, share=share)

    ranked = sorted((repaint(m) for m in matches), key=lambda m: -m.gain)
    soft = [repaint(replace(m, spread=SOFT), 0) for m in ranked[:3]]
    if soft[0].gain > ranked[0].gain:
        ranked = sorted([*soft, *ranked[3:]], key=lambda m: -m.gain)
    best = max((repaint(replace(ranked[0], color=k), 0) for k in range(len(COLORS))), key=lambda m: m.gain)
    return [best, *ranked[1:]] if best.color != ranked[0].color else ranked
