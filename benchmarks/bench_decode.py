"""How much the isolated decoder costs: 16 uniform frames from H.264 files, against bare decord and installed peers.

    python benchmarks/bench_decode.py [--full] [--rounds 15] [--files 4] [--seconds 10]

Makes clips of 320x240 and 1280x720, then reads every file with every reader in turn, round after round. The goal is at
most 1.15 of bare decord's time for the isolated worker over the whole folder; peers are called as their own
documentation does, in this process, unprotected and unchecked. Pixels of worker and bare decord must be equal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import cycle
from pathlib import Path

import numpy as np

from harness import Options, Row, Size, main, rows_of, turns

NUM_FRAMES = 16
SIZES = {"320x240": (240, 320), "1280x720": (720, 1280)}
BARE = "decord, bare"
Reader = Callable[[str], np.ndarray]


def moving(height: int, width: int, num: int, seed: int) -> Iterator[np.ndarray]:
    """A textured ground that drifts with a patch crossing it: neither trivial nor noise to an encoder."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 32, width // 8 + 64, 3), dtype=np.uint8)
    ground = small.repeat(8, axis=0).repeat(8, axis=1)  # (H + 256, W + 512, 3)
    for i in range(num):
        frame = ground[i % 256 : i % 256 + height, (2 * i) % 512 : (2 * i) % 512 + width].copy()
        left = (5 * i) % (width - width // 8)
        frame[height // 3 : height // 2, left : left + width // 8] = (250, 40, 60)
        yield frame


def bare_decord(path: str) -> np.ndarray:
    """Bare decord, as its README does it."""
    import decord

    reader = decord.VideoReader(path, ctx=decord.cpu(0))
    return reader.get_batch(np.linspace(0, len(reader) - 1, NUM_FRAMES).astype(int)).asnumpy()


def bare_pyav(path: str) -> np.ndarray:
    """PyAV with its threads on, decoding through and keeping the expected frames."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        kept = set(np.linspace(0, stream.frames - 1, NUM_FRAMES).astype(int).tolist())
        return np.stack([f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(stream)) if i in kept])


def bare_opencv(path: str) -> np.ndarray:
    """OpenCV, grabbing through and retrieving the expected frames."""
    import cv2

    capture = cv2.VideoCapture(path)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    kept, frames = set(np.linspace(0, count - 1, NUM_FRAMES).astype(int).tolist()), []
    for i in range(count):
        capture.grab()
        if i in kept:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return np.stack(frames)


def bare_torchcodec(path: str) -> np.ndarray:
    """Bare torchcodec, with its exact seeking."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, dimension_order="NHWC", num_ffmpeg_threads=0)
    indices = np.linspace(0, len(decoder) - 1, NUM_FRAMES).astype(int).tolist()
    return decoder.get_frames_at(indices=indices).data.numpy()


def usable(readers: dict[str, Reader], path: str) -> dict[str, Reader]:
    """The readers that work here; the others are named on stderr with their reason."""
    working = {}
    for name, reader in readers.items():
        try:
            reader(path)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"left out {name}: {type(error).__name__}: {str(error).splitlines()[0]}", file=sys.stderr)
        else:
            working[name] = reader
    return working


def decoding(options: Options, folder: Path) -> Iterator[Row]:
    """Every reader on every file, file by file; rows by size of the files and for all of them."""
    from cineloop.video.encode import encode
    from cineloop.video.sample import SampleSpec
    from cineloop.video.worker import DecoderPool

    files: list[tuple[str, str]] = []
    for name, (height, width) in SIZES.items():
        for index in range(options.files):
            files.append((name, str(folder / f"{name}-{index}.mp4")))
            pixels = moving(height, width, round(30 * options.seconds), seed=index)
            encode(pixels, Path(files[-1][1]), Fraction(30), threads=0)
    spec = SampleSpec(num_frames=NUM_FRAMES)
    with DecoderPool(num_workers=1) as pool:
        readers: dict[str, Reader] = {
            BARE: bare_decord,
            "isolated worker": lambda path: pool.decode(path, spec).pixels,
            "isolated worker, to 224x224": lambda path: pool.decode(path, spec, (224, 224)).pixels,
            "PyAV": bare_pyav,
            "OpenCV": bare_opencv,
            "torchcodec": bare_torchcodec,
        }
        same = all(np.array_equal(readers["isolated worker"](path), bare_decord(path)) for _, path in files)
        readers = usable(readers, files[0][1])
        order = {name: cycle(path for _, path in files) for name in readers}  # a file a turn
        runs = {name: lambda name=name: readers[name](next(order[name])) is None for name in readers}
        taken = turns("", runs, options.rounds * len(files), warm_up=False)
    for size in (*SIZES, "all files"):
        picks = [i for i, (name, _) in enumerate(files) if size in (name, "all files")]
        starts = range(0, options.rounds * len(files), len(files))
        seconds = [
            {row.name: [sum(getattr(row, clock)[start + i] for i in picks) for start in starts] for row in taken}
            for clock in ("wall_s", "cpu_s")
        ]
        rows = rows_of(size, *seconds, base=BARE)
        rows[1].goal = "<= 1.15" if size == "all files" else ""
        rows[1].wrong = "" if same else "its pixels differ from bare decord's"
        yield from rows


if __name__ == "__main__":
    sizes = Size("files", 2, 4, "files of each size"), Size("seconds", 4.0, 10.0, "length of each file")
    sys.exit(main(__doc__, {"decoding": decoding}, *sizes, rounds=(5, 15)))
