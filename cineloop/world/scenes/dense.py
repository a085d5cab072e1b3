"""Dense truth of single frames: what every patch of a picture shows. The vision tower learns from it.

In: a split, a seed, a range of positions in the stream. Out: frames and, per patch, the kind, colour, size and facing
of the figure on it and the way to that figure's centre; per frame, place and drawing style.
Letters: n frames, P patches (row by row), H W size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cineloop.world import vocabulary as words
from cineloop.world.scenes.augment import augmented_frames
from cineloop.world.scenes.motion import track
from cineloop.world.scenes.render import label_masks
from cineloop.world.scenes.sampler import sample_crowd, sample_scene
from cineloop.world.scenes.scene import Scene

IGNORE = -100
COVERED = 0.12  # share of a patch a figure must cover to name it
PATCH = 8
_PALETTE = np.array(list(words.COLORS.values()), dtype=np.float64)
_KINDS, _SIZES = list(words.KINDS), list(words.SIZES)


@dataclass(frozen=True)
class Target:
    """A training target: `level` patch or frame; `classes` 0 means a regression of `width` numbers."""

    level: str
    classes: int
    width: int = 1


# Kind 0 is background; the other patch targets are IGNORE (class targets) or NaN (offset) on background.
TARGETS: dict[str, Target] = {
    "kind": Target("patch", len(words.KINDS) + 1),
    "color": Target("patch", len(words.COLORS)),
    "size": Target("patch", len(words.SIZES)),
    "facing": Target("patch", 2),
    "offset": Target("patch", 0, 2),  # to the figure's centre, in fractions of the frame's height
    "place": Target("frame", len(words.PLACES)),
    "style": Target("frame", len(words.STYLES)),
}


def frame_batch(split: str, seed: int, start: int, n: int, size: tuple[int, int] = (64, 64)) -> dict[str, np.ndarray]:
    """`n` single frames of scenes `start` … `start + n - 1` of a stream, with their dense truth.

    Returns:
        `pixels` uint8 (n, H, W, 3) and one array per name in `TARGETS`: patch classes int64 (n, P), frame classes
        int64 (n,), offset float32 (n, P, 2).
    """
    height, width = size
    num_patches = (height // PATCH) * (width // PATCH)
    out: dict[str, np.ndarray] = {"pixels": np.empty((n, height, width, 3), np.uint8)}
    for name, target in TARGETS.items():
        if target.level == "frame":
            out[name] = np.empty(n, np.int64)
        elif target.classes:
            out[name] = np.full((n, num_patches), 0 if name == "kind" else IGNORE, np.int64)
        else:
            out[name] = np.full((n, num_patches, target.width), np.nan, np.float32)
    for row in range(n):
        # Three training frames in four are crowded: more figures to a frame teach faster. Held-out frames are stories.
        crowded = split == "train" and (start + row) % 4 != 0
        scene = (sample_crowd if crowded else sample_scene)(split, seed, start + row)
        rng = np.random.default_rng([seed, start + row, 1])
        time_s = np.array([rng.random() * scene.duration_s])
        out["pixels"][row] = augmented_frames(scene, size, time_s, rng)[0]
        _label(out, row, scene, time_s, size)
    return out


def _label(out: dict[str, np.ndarray], row: int, scene: Scene, time_s: np.ndarray, size: tuple[int, int]) -> None:
    height, width = size
    shot = max(i for i, s in enumerate(scene.shots) if s.start_s <= time_s[0])
    out["place"][row] = words.PLACES.index(scene.shots[shot].place)
    out["style"][row] = words.STYLES.index(scene.style)
    masks, centres, colors = label_masks(scene, time_s, size)
    rows, columns = height // PATCH, width // PATCH
    cells = masks[0][: rows * PATCH, : columns * PATCH].reshape(rows, PATCH, columns, PATCH)
    cells = cells.transpose(0, 2, 1, 3).reshape(rows * columns, PATCH * PATCH)  # (P, pixels)
    best_share = np.full(rows * columns, COVERED)
    for label, centre in centres.items():
        share = (cells == label).mean(axis=1)
        mine = share > best_share
        best_share[mine] = share[mine]
        actor = scene.actors[label // 4]
        out["kind"][row, mine] = 1 + _KINDS.index(actor.kind)
        out["color"][row, mine] = np.abs(_PALETTE - colors[label // 4][0]).sum(axis=1).argmin()
        out["size"][row, mine] = _SIZES.index(actor.size)
        out["facing"][row, mine] = int(track(scene, label // 4, time_s).facing[0] > 0)
        where = np.flatnonzero(mine)
        middle = np.stack([where % columns, where // columns], axis=1) * PATCH + PATCH / 2
        out["offset"][row, mine] = (centre[0] - middle) / height
