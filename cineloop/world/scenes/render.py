"""Draw a scene: anti-aliased vector figures over painted places, in one of four drawing styles.

In: a `Scene`, a size, the seconds wanted. Out: uint8 frames (T, H, W, 3) RGB, a pure function of them.
Coordinates are rounded to 1/16 pixel before OpenCV's integer rasteriser sees them, so that the last bit of a machine's
sine cannot change a picture. Letters: T frames, V points of a part, H W size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.scenes.actors import FIXED, figure, poses
from cineloop.world.scenes.backdrops import MARGIN, SHIFT, paint
from cineloop.world.scenes.motion import Track, camera, track
from cineloop.world.scenes.scene import Actor, Scene

_FRAMES_AT_ONCE = 256
GROUP_STEP = 0.85  # between the figures of a group, in sizes of one
PIXEL_ROWS = 40  # rows of the pixel style's coarse picture


@dataclass
class ActorSprite:
    """One actor ready to be drawn: per part, points (T, count, V, 2) int32 fixed-point and a colour per frame."""

    depth: float
    visible: np.ndarray  # (T,)
    parts: list[np.ndarray]
    colors: list[np.ndarray]  # each (T, 3)
    edge: np.ndarray  # (T, 3)
    index: int
    centres: np.ndarray  # (T, count, 2) pixels
    color: np.ndarray  # (T, 3)


def frame_times(duration_s: float, fps: float) -> np.ndarray:
    """Presentation times of a clip of `duration_s` at `fps`: 0, 1/fps, … (at least one frame)."""
    return np.arange(max(1, round(duration_s * fps))) / fps


def render(
    scene: Scene,
    size: tuple[int, int] = (64, 64),
    *,
    fps: float | None = None,
    times_s: np.ndarray | None = None,
) -> np.ndarray:
    """Frames of `scene`.

    Args:
        scene: what to draw.
        size: (height, width) in pixels, each at least 8.
        fps: draw the whole clip at this rate; or
        times_s: draw at these seconds, clamped to the clip.

    Returns:
        uint8 array (T, H, W, 3), RGB.

    Raises:
        ValueError: when neither or both of fps and times_s are given, or the size is too small.
    """
    if (fps is None) == (times_s is None):
        raise ValueError("give either fps or times_s")
    if min(size) < 8:
        raise ValueError(f"size must be at least 8×8, not {size}")
    times = frame_times(scene.duration_s, fps) if fps is not None else np.asarray(times_s, dtype=np.float64)
    times = np.clip(times, 0.0, scene.duration_s)
    out = np.empty((len(times), *size, 3), np.uint8)  # (T, H, W, 3)
    for number, which in _by_shot(scene, times):
        out[which] = _draw_shot(scene, number, times[which], size)
    return out


def render_film(scene: Scene, size: tuple[int, int], fps: float) -> Iterator[np.ndarray]:
    """The frames (H, W, 3) of `render(scene, size, fps)` one by one; memory does not grow with the scene's length."""
    times = frame_times(scene.duration_s, fps)  # (T,)
    for start in range(0, len(times), _FRAMES_AT_ONCE):
        yield from render(scene, size, times_s=times[start : start + _FRAMES_AT_ONCE])


def _by_shot(scene: Scene, times: np.ndarray) -> list[tuple[int, np.ndarray]]:
    starts = np.array([shot.start_s for shot in scene.shots])
    owner = np.searchsorted(starts, times, side="right") - 1
    return [(int(n), np.flatnonzero(owner == n)) for n in np.unique(owner)]


def _draw_shot(scene: Scene, number: int, times: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    if scene.style == "pixel":
        rows = min(PIXEL_ROWS, height)
        small = (rows, max(8, round(width * rows / height)))
        coarse = _draw_plain(scene, number, times, small)
        return np.stack([cv2.resize(f, (width, height), interpolation=cv2.INTER_NEAREST) for f in coarse])
    frames = _draw_plain(scene, number, times, size)
    if scene.style == "pencil":
        paper = _paper(size, scene.seed)
        for frame in frames:
            cv2.addWeighted(frame, 0.62, paper, 0.38, 0, dst=frame)
    return frames


def _draw_plain(scene: Scene, number: int, times: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    shot = scene.shots[number]
    smooth = scene.style != "pixel"
    canvas = paint(shot.place, scene.seed + number, height, width, smooth=smooth)
    if scene.style == "outline":
        canvas = cv2.addWeighted(canvas, 0.45, np.full_like(canvas, 255), 0.55, 0)
    moves = camera(scene, shot, times)  # (T, 3)
    frames = _film(canvas, moves, size, still=shot.camera == "static")
    figures = [_figure(scene, i, a, times, moves, size) for i, a in enumerate(scene.actors) if a.shot == number]
    figures.sort(key=lambda f: f.depth)
    line = cv2.LINE_AA if smooth else cv2.LINE_8
    thick = max(1, round(height * (0.022 if scene.style == "outline" else 0.013)))
    for t, frame in enumerate(frames):
        for each in figures:
            _draw_figure(frame, each, t, thick, line)
    return frames


def _film(canvas: np.ndarray, moves: np.ndarray, size: tuple[int, int], *, still: bool) -> np.ndarray:
    height, width = size
    top, left = round(height * MARGIN), round(width * MARGIN)
    frames = np.empty((len(moves), height, width, 3), np.uint8)
    if still:
        frames[:] = canvas[top : top + height, left : left + width]
        return frames
    for t, (zoom, dx, dy) in enumerate(moves):
        x0 = left + width / 2 - (0.5 + dx) * width / zoom
        y0 = top + height / 2 - (0.5 + dy) * height / zoom
        matrix = np.array([[1 / zoom, 0, x0], [0, 1 / zoom, y0]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        cv2.warpAffine(canvas, matrix, (width, height), dst=frames[t], flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return frames


def _figure(
    scene: Scene, index: int, actor: Actor, times: np.ndarray, moves: np.ndarray, size: tuple[int, int]
) -> ActorSprite:
    height, width = size
    state = track(scene, index, times)
    zoom, dx, dy = moves.T
    scale = words.SIZES[actor.size] * height * state.scale * zoom  # (T,)
    x = (0.5 + (state.x - 0.5) * zoom + dx) * width  # (T,)
    y = (0.5 + (state.y - 0.5) * zoom + dy) * height
    spread = (np.arange(actor.count) - (actor.count - 1) / 2) * GROUP_STEP * words.SIZES[actor.size] * height  # (C,)
    sway = np.array([0.0, 0.06, -0.03, 0.03])[: actor.count] * words.SIZES[actor.size] * height
    cx = x[:, None] + spread[None] * zoom[:, None]  # (T, C)
    cy = y[:, None] + sway[None] * zoom[:, None]
    base, dark, light, edge = _shades(state.color, scene.style)
    parts, colors = [], []
    for part in figure(actor.kind):
        points = _place(poses(part, state.step), state, scale, cx, cy)
        parts.append(np.rint(points * (1 << SHIFT)).astype(np.int32))  # (T, C, V, 2)
        plain = {"main": base, "dark": dark, "light": light}.get(part.role)
        colors.append(np.tile(FIXED[part.role], (len(times), 1)) if plain is None else plain)
    return ActorSprite(
        depth=actor.depth,
        visible=state.visible,
        parts=parts,
        colors=colors,
        edge=edge,
        index=index,
        centres=np.stack([cx, cy], axis=-1),
        color=state.color,
    )


def _place(points: np.ndarray, state: Track, scale: np.ndarray, cx: np.ndarray, cy: np.ndarray) -> np.ndarray:
    """Figure units (T, V, 2) to pixels (T, C, V, 2): face, squash, turn, scale, move."""
    px = points[..., 0] * state.facing[:, None]  # (T, V)
    py = points[..., 1] * state.squash[:, None]
    c, s = np.cos(state.angle)[:, None] * scale[:, None], np.sin(state.angle)[:, None] * scale[:, None]
    rx, ry = px * c - py * s, px * s + py * c  # (T, V)
    return np.stack([rx[:, None] + cx[..., None], ry[:, None] + cy[..., None]], axis=-1)  # (T, C, V, 2)


def _shades(color: np.ndarray, style: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Main, dark, light and edge colours (T, 3) of an actor's colour (T, 3)."""
    dark, light = color * 0.68, color * 0.55 + 255 * 0.45
    edge = color * 0.0 + 25 if style in ("outline", "pencil") else color * 0.42
    return color, dark, light, edge


def _draw_figure(frame: np.ndarray, each: ActorSprite, t: int, thick: int, line: int) -> None:
    opacity = float(each.visible[t])
    if opacity <= 0.02:
        return
    target = frame if opacity > 0.98 else frame.copy()
    edge = each.edge[t].tolist()
    for copy in range(each.parts[0].shape[1]):
        shapes = [p[t, copy] for p in each.parts]
        cv2.polylines(target, shapes, True, edge, thick, line, SHIFT)
        for shape, color in zip(shapes, each.colors, strict=True):
            cv2.fillPoly(target, [shape], color[t].tolist(), line, SHIFT)
    if target is not frame:
        cv2.addWeighted(target, opacity, frame, 1 - opacity, 0, dst=frame)


def _paper(size: tuple[int, int], seed: int) -> np.ndarray:
    """Cream paper with slanted pencil strokes, uint8 (H, W, 3)."""
    height, width = size
    row, column = np.mgrid[0:height, 0:width]
    stroke = ((column + row * 0.8 + seed % 13) * (64 / height)) % 5 < 1.2
    return np.where(stroke[..., None], np.uint8(196), np.array([250, 246, 236], np.uint8)).astype(np.uint8)


def label_masks(
    scene: Scene, times_s: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, dict[int, np.ndarray], dict[int, np.ndarray]]:
    """Which figure covers each pixel (the pixel style is labelled smoothly).

    Returns:
        masks: int16 (T, H, W), 4 × actor index + copy, -1 where no figure is;
        centres: per figure id, its centre in pixels (T, 2) as (x, y), NaN outside its shot;
        colours: per actor index, its colour (T, 3), NaN outside its shot.
    """
    times = np.clip(np.asarray(times_s, dtype=np.float64), 0.0, scene.duration_s)
    out = np.zeros((len(times), *size), np.uint8)
    centres: dict[int, np.ndarray] = {}
    colors: dict[int, np.ndarray] = {}
    for number, which in _by_shot(scene, times):
        moves = camera(scene, scene.shots[number], times[which])
        mine = [(i, a) for i, a in enumerate(scene.actors) if a.shot == number]
        figures = [_figure(scene, i, a, times[which], moves, size) for i, a in mine]
        for each in sorted(figures, key=lambda f: f.depth):
            colors.setdefault(each.index, np.full((len(times), 3), np.nan))[which] = each.color
            for copy in range(each.centres.shape[1]):
                label = 4 * each.index + copy
                centres.setdefault(label, np.full((len(times), 2), np.nan))[which] = each.centres[:, copy]
                for row, t in enumerate(which):
                    if each.visible[row] >= 0.3:
                        for part in each.parts:
                            cv2.fillPoly(out[t], [part[row, copy]], label + 1, cv2.LINE_8, SHIFT)
    return out.astype(np.int16) - 1, centres, colors
