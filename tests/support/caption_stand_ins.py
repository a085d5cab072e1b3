"""A small true captioner and a decoder in this process, for tests of the captioning job."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np

import decoder_here
from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig


class FrameCaptioner(VideoLM):
    """Says of each clip what `say` makes of its frames."""

    name, revision, concurrency, abilities = "frames", "1", 1, Abilities()

    def __init__(self, say: Callable[[Frames], str], num_frames: int = 2, size: tuple[int, int] | None = (16, 16)):
        self.say, self.spec, self.frame_size = say, SampleSpec(num_frames=num_frames), size

    def load(self) -> None:
        """Nothing to load."""

    def answer(self, conversations, decoding):
        return [Output(text=self.say(conversation[0].videos[0]), tokens=2) for conversation in conversations]


class TextCaptioner(VideoLM):
    """Says what the decoder below found in the file. Counts batches; fails on clips that say BAD."""

    name, revision = "fake", "r1"
    spec = SampleSpec(num_frames=4)
    frame_size, concurrency = (8, 8), 1
    abilities = Abilities()

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.prompts: set[str] = set()
        self.loads = 0

    def load(self) -> None:
        self.loads += 1

    def answer(self, conversations, decoding):
        batch = [conversation[0].videos[0] for conversation in conversations]
        self.batches.append(len(batch))
        self.prompts |= {conversation[0].text for conversation in conversations}
        assert len({frames.pixels.shape for frames in batch}) == 1
        texts = [frames.decoder for frames in batch]
        if any("BAD" in text for text in texts):
            raise RuntimeError("index out of range")
        return [Output(text="" if "EMPTY" in text else f"A clip of {text}.", tokens=len(text)) for text in texts]


class TextPool(decoder_here.Pool):
    """Decodes a text file as a clip: its words become `decoder`, its length the number of frames."""

    def decode(self, path, spec, size) -> Frames:
        text = Path(path).read_text()
        if "BROKEN" in text:
            raise ItemError("cannot be decoded", code="DECODE_ERROR", hint="make it again")
        return Frames.from_pixels(np.zeros((2 if "SHORT" in text else 4, *size, 3), np.uint8), 2.0, decoder=text)


def go(source: Path, out: Path | None, captioner=None, **settings):
    rows = []
    captioner = captioner or TextCaptioner()
    summary = caption.run([str(source)], out, CaptionConfig(**settings), captioner=captioner, emit=rows.append)
    return summary, captioner, rows


def rows_of(out: Path) -> dict[str, dict]:
    lines = (out / "captions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)
    assert len({row["id"] for row in rows}) == len(rows)
    return {row["id"]: row for row in rows}


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
