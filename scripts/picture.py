"""The README's picture: frames of clips the starter has never seen, its caption and the truth under each row.

v2t world --num 6 --seed 7 --split unseen -o runs/picture
v2t caption runs/picture -o runs/picture-captions
python scripts/picture.py runs/picture runs/picture-captions/captions.jsonl docs/demo.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cv2
import numpy as np

from cineloop.manifest import read_manifest
from cineloop.video.decode import Request, decode
from cineloop.video.sample import SampleSpec

FRAMES, SIDE, BAR = 7, 120, 44


def line(text: str, image: np.ndarray, y: int, color: tuple[int, int, int]) -> None:
    """Write one line, shortened to the width there is."""
    fits = int(image.shape[1] / 6.6)
    shown = text if len(text) <= fits else text[: fits - 3] + "..."
    cv2.putText(image, shown, (6, y), cv2.FONT_HERSHEY_SIMPLEX, 0.41, color, 1, cv2.LINE_AA)


def main(clips: str, captions: str, out: str) -> None:
    """Draw the sheet and write it."""
    folder = Path(clips)
    said = {row["id"]: row for row in map(json.loads, Path(captions).read_text(encoding="utf-8").splitlines())}
    rows = []
    for row in read_manifest(folder / "manifest.jsonl"):
        spec = SampleSpec(num_frames=FRAMES)
        frames = decode(str(folder / row["path"]).encode(), Request(spec=spec, size=(SIDE, SIDE))).pixels
        film = np.concatenate(list(frames), axis=1)  # (SIDE, FRAMES * SIDE, 3)
        bar = np.full((BAR, film.shape[1], 3), 255, np.uint8)
        line(f"starter: {said[row['id']]['caption']}", bar, 17, (20, 90, 160))
        line(f"truth:   {row['captions']['short'][0]}", bar, 36, (110, 110, 110))
        rows += [film, bar]
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(out, cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("clips", help="folder of v2t world")
    parser.add_argument("captions", help="captions.jsonl of v2t caption")
    parser.add_argument("out", help="picture to write, such as docs/demo.png")
    main(**vars(parser.parse_args()))
