"""How much the isolated decoder costs: 16 uniform frames from H.264 files, against bare decord and installed peers.

    python scripts/bench_decode.py [--rounds 15] [--files 4] [--seconds 10] [--json]

Makes a folder of 320x240 and 1280x720 clips, then reads every file with every reader in turn, round after round, so
that a busy moment of the machine falls on all of them alike. Prints medians in milliseconds and, for each reader, the
median over rounds of its time for the whole folder over bare decord's in the same round. The goal is at most 1.15 for
the isolated worker; peers are called as their own documentation does, in this process, unprotected and unchecked.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.video.encode import encode  # noqa: E402
from cineloop.video.sample import SampleSpec  # noqa: E402
from cineloop.video.worker import DecoderPool  # noqa: E402

NUM_FRAMES = 16
SIZES = {"320x240": (240, 320), "1280x720": (720, 1280)}
Reader = Callable[[str], np.ndarray]


def make_folder(folder: Path, num_files: int, seconds: float) -> list[tuple[str, Path]]:
    """Write `num_files` clips of each size at 30 frames a second; returns (size name, path)."""
    made = []
    for name, (height, width) in SIZES.items():
        for index in range(num_files):
            path = folder / f"{name}-{index}.mp4"
            encode(_moving(height, width, round(30 * seconds), seed=index), path, Fraction(30), threads=0)
            made.append((name, path))
    return made


def _moving(height: int, width: int, num: int, seed: int):
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
    """PyAV with its threads on, decoding through and keeping the wanted frames."""
    import av

    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        wanted = set(np.linspace(0, stream.frames - 1, NUM_FRAMES).astype(int).tolist())
        return np.stack([f.to_ndarray(format="rgb24") for i, f in enumerate(container.decode(stream)) if i in wanted])


def bare_opencv(path: str) -> np.ndarray:
    """OpenCV, grabbing through and retrieving the wanted frames."""
    import cv2

    capture = cv2.VideoCapture(path)
    count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted, frames = set(np.linspace(0, count - 1, NUM_FRAMES).astype(int).tolist()), []
    for i in range(count):
        capture.grab()
        if i in wanted:
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


def measure(files: list[tuple[str, Path]], readers: dict[str, Reader], rounds: int) -> dict[str, list[list[float]]]:
    """Milliseconds [round][file] for each reader, readers taking turns on every file."""
    taken: dict[str, list[list[float]]] = {name: [] for name in readers}
    names = list(readers)
    for turn in range(rounds):
        for name in names:
            taken[name].append([])
        for _, path in files:
            for name in names[turn % len(names) :] + names[: turn % len(names)]:
                began = time.perf_counter()
                readers[name](str(path))
                taken[name][-1].append(1000 * (time.perf_counter() - began))
    return taken


def summarise(files: list[tuple[str, Path]], taken: dict[str, list[list[float]]]) -> dict[str, dict[str, float]]:
    """Median milliseconds per size and for the folder, and the median paired ratio to bare decord."""
    results = {}
    for name, rounds in taken.items():
        row = {
            size: statistics.median(ms for r in rounds for (s, _), ms in zip(files, r, strict=True) if s == size)
            for size in SIZES
        }
        row["folder"] = statistics.median(sum(r) for r in rounds)
        pairs = zip(rounds, taken["decord, bare"], strict=True)
        row["ratio"] = statistics.median(sum(ours) / sum(bare) for ours, bare in pairs)
        results[name] = row
    return results


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--files", type=int, default=4, help="files of each size")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each file")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    spec = SampleSpec(num_frames=NUM_FRAMES)
    with tempfile.TemporaryDirectory() as folder, DecoderPool(num_workers=1) as pool:
        files = make_folder(Path(folder), arguments.files, arguments.seconds)
        same = all(np.array_equal(pool.decode(path, spec).pixels, bare_decord(str(path))) for _, path in files)
        readers: dict[str, Reader] = {
            "decord, bare": bare_decord,
            "isolated worker": lambda path: pool.decode(path, spec).pixels,
            "isolated worker, to 224x224": lambda path: pool.decode(path, spec, (224, 224)).pixels,
            "PyAV": bare_pyav,
            "OpenCV": bare_opencv,
            "torchcodec": bare_torchcodec,
        }
        readers = usable(readers, str(files[0][1]))
        results = summarise(files, measure(files, readers, arguments.rounds))
    if arguments.json:
        print(json.dumps({"rounds": arguments.rounds, "files": len(files), "equal_pixels": same, "ms": results}))
        return
    print(f"16 uniform frames, {len(files)} files of {arguments.seconds:g} s, {arguments.rounds} rounds; medians in ms")
    print(f"worker and bare decord give equal pixels: {'yes' if same else 'NO'}")
    print(f"{'reader':<28} {'320x240':>9} {'1280x720':>9} {'folder':>9}  ratio to bare decord")
    for name, row in results.items():
        print(f"{name:<28} {row['320x240']:9.1f} {row['1280x720']:9.1f} {row['folder']:9.0f}  {row['ratio']:.3f}")


if __name__ == "__main__":
    main()
