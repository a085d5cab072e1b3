"""The contact sheet: frames of every clip side by side with the prompt beneath, to be judged at a glance.

In: manifest rows and their folder. Out: a PNG: two columns of strips, each the clip's frames from first to last, read
back from its file (what is seen is what came out of the codec). Letters: T frames, H W pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import ItemError
from cineloop.files import unescape_name, write_atomic
from cineloop.log import logger, printable

MOST = 96  # clips on a sheet
_FRAMES, _HEIGHT, _GAP, _LINE, _LINES, _COLUMNS = 6, 96, 4, 18, 2, 2
_MARGIN = 12


def write_sheet(rows: Sequence[dict[str, Any]], folder: Path, path: Path) -> None:
    """Write the sheet of the first `MOST` clips; no clips, no sheet."""
    from PIL import Image, ImageDraw, ImageFont

    if not rows:
        path.unlink(missing_ok=True)
        return
    if len(rows) > MOST:
        logger.info("the contact sheet shows the first %d of %d clips", MOST, len(rows))
    read = [(row, each) for row in rows[:MOST] if (each := _strip_of(row, folder)) is not None]
    if not read:
        path.unlink(missing_ok=True)
        return
    strips = [each for _, each in read]
    cell_width = max(each.shape[1] for each in strips) + _MARGIN
    cell_height = max(each.shape[0] for each in strips) + _LINES * _LINE + _MARGIN
    columns = min(_COLUMNS, len(strips))
    num_down = -(-len(strips) // columns)
    sheet = Image.new("RGB", (columns * cell_width + _MARGIN, num_down * cell_height + _MARGIN), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for number, (row, each) in enumerate(read):
        x = _MARGIN + number % columns * cell_width
        y = _MARGIN + number // columns * cell_height
        sheet.paste(Image.fromarray(each), (x, y))
        label = f"{row['prompt']} (seed {row['seed']})"
        for line, text in enumerate(_wrap(printable(label), cell_width - _MARGIN, font.getlength)):
            draw.text((x, y + each.shape[0] + 1 + line * _LINE), text, fill="black", font=font)
    data = io.BytesIO()
    sheet.save(data, "PNG", optimize=True)
    write_atomic(path, data.getvalue())


def _strip_of(row: dict[str, Any], folder: Path) -> np.ndarray | None:
    """The strip of a row's clip; None, with a warning, where its file cannot be read."""
    try:
        return strip(folder / unescape_name(row["path"]))
    except ItemError as error:
        logger.warning("the contact sheet leaves out %s: %s: %s", printable(row["path"]), error.code, error)
        return None


def strip(path: Path) -> np.ndarray:
    """Frames of a clip from first to last side by side: uint8 (H, W, 3).

    Raises:
        ItemError: the file cannot be read.
    """
    from cineloop.video.canvas import resize_picture
    from cineloop.video.decode import Request, decode
    from cineloop.video.sample import SampleSpec

    pixels = decode(path, Request(spec=SampleSpec(num_frames=_FRAMES))).pixels  # (T, h, w, 3)
    width = max(1, round(pixels.shape[2] * _HEIGHT / pixels.shape[1]))
    frames = [resize_picture(frame, (_HEIGHT, width)) for frame in pixels]  # (H, W, 3) each
    gap = np.full((_HEIGHT, _GAP, 3), 255, np.uint8)
    missing = np.full((_HEIGHT, (width + _GAP) * (_FRAMES - len(frames)), 3), 255, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)]
    return np.concatenate([*parts, missing], axis=1)  # (H, 6 (W + gap), 3)


def _wrap(text: str, width: float, length: Any) -> list[str]:
    """`text` in at most `_LINES` lines that fit, the last one cut with an ellipsis."""
    lines: list[str] = []
    words = text.split(" ")
    while words and len(lines) < _LINES:
        count = 1
        while count < len(words) and length(" ".join(words[: count + 1])) <= width:
            count += 1
        line, words = " ".join(words[:count]), words[count:]
        if words and len(lines) == _LINES - 1:
            line += " …"
        while length(line) > width and len(line) > 2:
            line = line[:-2] + "…"
        lines.append(line)
    return lines
