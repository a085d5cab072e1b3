"""Folders of clips and captions for trainers: sound ones that fit a small bucket, and one clip a planted fault."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av

from planted_films import picture

# Settings of each trainer by which the sound clips fit a bucket exactly: 17 frames of 320x192 at 16 a second.
SIZE, COUNT, FPS = (192, 320), 17, 16
SMALL = {
    "musubi": ("frames=[17]", "resolution=[320,192]"),
    "diffusion-pipe": ("frames=[17]", "resolution=[256]"),
    "ltx2": ("frames=[17]", "sizes=[[320,192]]"),
    "finetrainers": ("frames=[17]", "sizes=[[320,192]]"),
    "ai-toolkit": ("frames=[17]", "resolution=[256]"),
}
SUFFIXES = {"unlisted_case": ".Mp4", "unlisted_suffix": ".mts"}
SENTENCES = (
    "A red boat drifts slowly across a calm lake at dawn.",
    "Two children build a tower of wooden blocks on the carpet.",
    "An old man in a grey coat feeds pigeons in the park.",
    "Steam rises from a cup of coffee beside an open window.",
    "A cyclist turns into a narrow street and rings the bell.",
    "Waves break against dark rocks while gulls circle above.",
    "A cat jumps from the sofa to the shelf and looks around.",
    "Rain runs down the window of a tram at night.",
)


def write_clip(
    path: Path,
    seed: int = 1,
    *,
    size: tuple[int, int] = SIZE,
    num: int = COUNT,
    fps: Fraction | float = FPS,
    codec: str = "libx264",
    ticks: Sequence[int] | None = None,
    pixel: Fraction | None = None,
    turn: int = 0,
    form: str = "yuv420p",
    front: bool = False,
) -> Path:
    """A video of a square that crosses a picture. `ticks`: its times in steps of 1/fps; `pixel`: width over height of a
    pixel; `turn`: degrees that players turn it by; `front`: the index lies before the frames,
    each of which stands alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rate, (height, width) = Fraction(fps).limit_denominator(1001), size
    back = picture(seed, size)
    kind = {".Mp4": "mp4", ".mts": "mpegts"}.get(path.suffix)
    with av.open(str(path), "w", format=kind, options={"movflags": "+faststart"} if front else {}) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, form
        stream.codec_context.thread_count, stream.codec_context.gop_size = 1, 1 if front else 12
        if pixel is not None:
            stream.codec_context.sample_aspect_ratio = pixel
        if turn:
            stream.set_display_rotation(turn)
        for number in range(num):
            pixels, side = back.copy(), height // 5
            left = round((width - side) * number / max(num, 2))
            pixels[height // 3 : height // 3 + side, left : left + side] = (250, 30, 30)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=form)
            frame.pts, frame.time_base = number if ticks is None else ticks[number], 1 / rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def sound_set(folder: Path, num: int = 8) -> Path:
    """A folder of clips that fit, each with a caption of its own."""
    for number in range(num):
        write_clip(folder / f"clip{number:03}.mp4", seed=number)
        text = SENTENCES[number % len(SENTENCES)]
        (folder / f"clip{number:03}.txt").write_text(text if number < len(SENTENCES) else f"Take {number}: {text}")
    return folder


def plant(folder: Path, faults: Iterable[str]) -> dict[str, str]:
    """Add a clip for each fault to a folder of sound ones; returns the clip's path by fault."""
    paths = {}
    for number, fault in enumerate(faults):
        name, text = f"x_{fault}", f"A blue kite number {number} flies over the dunes near the sea."
        path, options = folder / f"{name}{SUFFIXES.get(fault, '.mp4')}", dict(_CLIPS.get(fault, {}))
        if fault == "in_subfolder":
            path = folder / "more" / f"{name}.mp4"
        write_clip(path, seed=100 + number, **options)
        if fault == "damaged":
            shutil.copyfile(path, f"{path}.whole")
            data = Path(f"{path}.whole").read_bytes()
            Path(f"{path}.whole").unlink()
            path.write_bytes(data[: len(data) * 3 // 5])
        if fault == "empty_file":
            path.write_bytes(b"")
        if fault == "same_stem":
            write_clip(folder / f"{name}.mov", seed=90)
        data = _CAPTIONS.get(fault, text.encode() + b"\n")
        if data is not None:
            path.with_suffix(".txt").write_bytes(data)
        paths[fault] = path.relative_to(folder).as_posix()
    return paths


# What is planted in the clip, and in its caption (None: there is none).
_CLIPS = {
    "wrong_fps": {"fps": 30, "num": 40},
    "too_short": {"num": 16},
    "too_long": {"num": 60},
    "too_small": {"size": (96, 160)},
    "portrait": {"size": (320, 192)},
    "variable_rate": {"ticks": [*range(8), *range(10, 36, 2)][:COUNT]},
    "turned": {"turn": 90},
    "pixel_aspect": {"pixel": Fraction(4, 3)},
    "damaged": {"num": 40, "front": True},
}
_CAPTIONS: dict[str, bytes | None] = {
    "no_caption": None,
    "empty_caption": b"\n",
    "repeated": SENTENCES[0].encode(),
    "refused": b"I'm sorry, but I cannot view this video.",
    "cut_off": b"A woman in a long green dress walks along the beach and",
    "other_language": "Ein Mann mit einem Hut steht auf der Straße und wartet nicht auf den Bus.".encode(),
    "other_script": "Мужчина идёт по улице и смотрит на часы.".encode(),
    "loops": b"The dog runs fast. " + b"the dog runs and the dog runs and " * 6 + b"stops.",
    "over_limit": b"A long tale of a small town by the sea. " + b" ".join(b"word%d" % n for n in range(900)) + b".",
    "times": b"At 0.5 s a ball appears, and at 9.5 seconds it rolls out of the picture.",
    "mark": b"\xef\xbb\xbfA drum rolls over the floor of a hall.\n",
    "returns": b"A ball rolls over the floor of a hall.\r\n",
    "latin1": "Ein Café in Zürich, a small table by the door.".encode("latin-1"),
}
