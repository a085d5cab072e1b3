#!/usr/bin/env python
"""A sheet of captioned clips from a finished run of scripts/demo: six frames of each clip, its caption, what is right.

scripts/demo --num 24 && python scripts/make_sheet.py runs/demo docs/captions.png
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import textwrap
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

from make_picture import BAD, FAINT, GOOD, INK, PAPER  # noqa: E402

from cineloop.files import write_atomic  # noqa: E402
from cineloop.video.decode import Request, decode  # noqa: E402
from cineloop.video.sample import SampleSpec  # noqa: E402
from v2t_eval.demo.page import captions  # noqa: E402

COLUMNS, FRAMES, SIDE, GAP = 3, 6, 64, 14
LINE, LETTERS = 16, 56  # pixels of a line, letters in it


def cell(clip: Path, texts: list[tuple[str, str]]) -> Image.Image:
    """One clip: a strip of frames and wrapped texts (words, colour)."""
    lines = [(line, color) for text, color in texts for line in textwrap.wrap(text, LETTERS)]
    picture = Image.new("RGB", (FRAMES * SIDE, SIDE + 4 + LINE * len(lines)), PAPER)
    pixels = decode(os.fsencode(clip), Request(spec=SampleSpec(num_frames=FRAMES))).pixels
    for number, frame in enumerate(pixels):
        picture.paste(Image.fromarray(frame).resize((SIDE, SIDE)), (number * SIDE, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for number, (line, color) in enumerate(lines):
        draw.text((0, SIDE + 2 + LINE * number), line, color, font)
    return picture


def main(folder: Path, out: Path) -> None:
    """Write the sheet."""
    rows, cards, _ = captions(folder)
    cells = []
    for (caption, truth, facts), card in zip(rows, cards, strict=True):
        is_right = ":" not in facts
        texts = [(caption, INK), (f"Facts right: {facts}", GOOD if is_right else BAD)]
        cells.append(cell(card.clip, texts if is_right else [*texts, (f"Truth: {truth}", FAINT)]))
    lines = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    heights = [max(one.height for one in line) + GAP for line in lines]
    sheet = Image.new("RGB", (COLUMNS * (FRAMES * SIDE + GAP) + GAP, sum(heights) + GAP), PAPER)
    for number, line in enumerate(lines):
        for column, one in enumerate(line):
            sheet.paste(one, (GAP + column * (FRAMES * SIDE + GAP), GAP + sum(heights[:number])))
    held = io.BytesIO()
    sheet.quantize(256).save(held, "PNG", optimize=True)
    write_atomic(out, held.getvalue())
    print(f"{out}: {len(cells)} clips, {len(held.getvalue()) / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of scripts/demo")
    parser.add_argument("out", type=Path, help="the picture")
    main(**vars(parser.parse_args()))
