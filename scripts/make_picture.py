#!/usr/bin/env python
"""The moving picture at the top of the README, from a finished run of scripts/demo.

In: the demo's folder: clips with their captions and facts, generated clips with the judge's answers. Out: an animated
WebP: frames of a clip run while its caption is typed under them, then what is right of it; then a prompt is typed, and
the clip that the generator made of it runs beside the judge's answers. Every word is read from the demo's files.

    python scripts/make_picture.py runs/demo docs/cineloop.webp --caption 0 --prompts 0 1
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

from cineloop.files import write_atomic  # noqa: E402
from cineloop.video.decode import Request, decode  # noqa: E402
from cineloop.video.sample import SampleSpec  # noqa: E402
from v2t_eval.demo.page import FACTOR_OF, facts_line, result, rows_of  # noqa: E402

SIZE = (720, 300)
SIDE = 224  # of the clip, pixels
MARGIN = 24
STEP_MS = 125
TYPED = 2  # characters a step
REST = 14  # steps the finished text stands
COLUMNS = 33
PAPER, INK, FAINT, GOOD, BAD = "#ffffff", "#1f2328", "#656d76", "#1a7f37", "#cf222e"
Line = tuple[str, str]  # text, colour


def frames_of(path: Path) -> list[Image.Image]:
    """Sixteen frames of a clip, even in time, as squares of `SIDE` pixels."""
    pixels = decode(os.fsencode(path), Request(spec=SampleSpec(num_frames=16))).pixels
    return [Image.fromarray(frame).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for frame in pixels]


def scene(heading: str, typed: str, shown: list[Image.Image], verdict: list[Line], *, late: bool) -> list[Image.Image]:
    """The steps of one scene: the clip runs while `typed` is typed, or `late` once it is; then comes the verdict."""
    font, small = ImageFont.load_default(21), ImageFont.load_default(16)
    num_typed = -(-len(typed) // TYPED)
    steps = []
    for step in range(num_typed + REST + len(shown)):
        picture = Image.new("RGB", SIZE, PAPER)
        draw = ImageDraw.Draw(picture)
        draw.text((MARGIN, MARGIN - 6), heading, FAINT, small)
        top = MARGIN + 26
        begun = step - num_typed if late else step
        if begun >= 0:
            picture.paste(shown[begun % len(shown)], (MARGIN, top))
        else:
            draw.rectangle((MARGIN, top, MARGIN + SIDE, top + SIDE), "#f6f8fa", "#d1d9e0")
        written = typed[: TYPED * (step + 1)]
        left, height = 2 * MARGIN + SIDE, top
        for line in textwrap.wrap(written, COLUMNS) or [""]:
            draw.text((left, height), line, INK, font)
            height += 30
        if step >= num_typed + 4:
            height += 12
            for text, colour in verdict:
                for line in textwrap.wrap(text, COLUMNS + 14):
                    draw.text((left, height), line, colour, small)
                    height += 24
        steps.append(picture)
    return steps


def caption_panels(folder: Path, number: int) -> list[Image.Image]:
    """A clip, its caption, and which of its facts are right."""
    item = result(folder / "score", "facts")["items"][number]
    record = next(row for row in rows_of(folder / "captions/captions.jsonl") if row["id"] == item["id"])
    truth = next(row for row in rows_of(folder / "clips/manifest.jsonl") if row["id"] == item["id"])
    line = facts_line(item)
    verdict = [
        (f"Truth: {truth['captions']['short'][0]}", FAINT),
        (f"Facts right: {line}", BAD if ":" in line else GOOD),
    ]
    shown = frames_of(folder / "clips" / truth["path"])
    return scene("v2t caption clips/", record["caption"], shown, verdict, late=False)


def generation_panels(folder: Path, number: int) -> list[Image.Image]:
    """A prompt, the clip that was made of it, and the judge's answers."""
    row = rows_of(folder / "made/manifest.jsonl")[number]
    item = next(item for item in result(folder / "scores", "question_score")["items"] if item["id"] == row["id"])
    verdict = [
        (f"{'+' if asked['right'] else '-'} {FACTOR_OF.get(asked['question'], asked['question'])}: {asked['answer']}"
         + ("" if asked["right"] else f" (asked for: {asked['wanted']})"), GOOD if asked["right"] else BAD)
        for asked in item["questions"]
    ]  # fmt: skip
    verdict.append((f"{sum(asked['right'] for asked in item['questions'])} of {len(verdict)} as asked", INK))
    shown = frames_of(folder / "made" / row["path"])
    return scene("t2v generate, v2t-eval score", row["prompt"], shown, verdict, late=True)


def main(folder: Path, out: Path, caption: int, prompts: list[int]) -> None:
    """Write the picture."""
    steps = [
        step
        for steps in (caption_panels(folder, caption), *(generation_panels(folder, n) for n in prompts))
        for step in steps
    ]
    held = io.BytesIO()
    steps[0].save(held, "WEBP", save_all=True, append_images=steps[1:], duration=STEP_MS, loop=0, quality=70, method=6)
    write_atomic(out, held.getvalue())
    print(f"{out}: {len(steps)} steps, {len(held.getvalue()) / 1e6:.2f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of scripts/demo")
    parser.add_argument("out", type=Path, help="the picture")
    parser.add_argument("--caption", type=int, default=0, help="which of the captioned clips")
    parser.add_argument("--prompts", type=int, nargs="+", default=[0, 1], help="which of the prompts")
    main(**vars(parser.parse_args()))
