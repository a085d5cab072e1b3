"""Strips: the frames a model was shown of a clip, small and side by side, for the page that a person looks at.

In: frames that were decoded for the model, uint8 (T, H, W, 3). Out: one JPEG a clip, or a part of one, in `.v2t/strips`
of the output folder, named by a hash of the clip's id, so that shards and resumed runs find it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cineloop.files import text_key, write_atomic

FOLDER = ".v2t/strips"
NUM_FRAMES = 6
_HEIGHT, _MAX_WIDTH = 80, 160  # of one frame, in pixels
_GAP = 3
_QUALITY = 60


def path_of(output: Path, clip_id: str, start_s: float | None = None) -> Path:
    """Where the strip of a clip is kept, or that of its part which begins at `start_s`."""
    key = clip_id if start_s is None else f"{clip_id}\0{start_s:.4f}"
    return output / FOLDER / f"{text_key(key.encode('utf-8', 'surrogatepass'))}.jpg"


def save(output: Path, pixels: np.ndarray, clip_id: str, start_s: float | None = None) -> None:
    """Keep a JPEG of up to `NUM_FRAMES` of the frames (T, H, W, 3), first and last among them.

    Raises:
        MissingDependencyError: DISK_FULL.
    """
    import cv2

    num, height, width = pixels.shape[:3]
    chosen = sorted({round(i * (num - 1) / (NUM_FRAMES - 1)) for i in range(NUM_FRAMES)})
    size = (max(1, min(_MAX_WIDTH, round(_HEIGHT * width / height))), _HEIGHT)
    strip = np.full((_HEIGHT, len(chosen) * (size[0] + _GAP) - _GAP, 3), 255, np.uint8)  # (80, (w + gap) * n - gap, 3)
    for place, i in enumerate(chosen):
        left = place * (size[0] + _GAP)
        strip[:, left : left + size[0]] = cv2.resize(
            np.ascontiguousarray(pixels[i]), size, interpolation=cv2.INTER_AREA
        )
    data = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    write_atomic(path_of(output, clip_id, start_s), data, durable=False)


def copy(folder: Path, output: Path) -> None:
    """Take over the strips of another output folder; what `output` has stays."""
    for path in sorted((folder / FOLDER).glob("*.jpg")):
        if not (output / FOLDER / path.name).exists():
            write_atomic(output / FOLDER / path.name, path.read_bytes(), durable=False)
