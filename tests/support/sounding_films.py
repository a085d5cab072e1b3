"""Films with sound at planted seconds, and files of sound, written by PyAV."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

FPS = 25


def sweep(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    """float32 (C, S): tones that rise from 200 Hz, the same for every channel; no two tenths of a second are alike."""
    at_s = np.arange(round(seconds * rate)) / rate
    tone = 0.4 * np.sin(2 * np.pi * (200 * at_s + 40 * at_s**2))
    return np.broadcast_to(tone.astype(np.float32), (channels, len(at_s))).copy()


def clicks(seconds: float, rate: int, *at: float) -> np.ndarray:
    """float32 (1, S): 10 ms of 1 kHz at each second of `at`, silence otherwise."""
    sound = np.zeros((1, round(seconds * rate)), np.float32)
    click = (0.9 * np.sin(2 * np.pi * 1000 * np.arange(rate // 100) / rate)).astype(np.float32)
    for at_s in at:
        first = round(at_s * rate)
        sound[0, first : first + len(click)] = click
    return sound


def write_sound(path: Path, sound: np.ndarray, rate: int, codec: str = "pcm_s16le", layout: str = "mono") -> Path:
    """A file of sound alone; `sound` is (C, S)."""
    return write_film(path, [(sound, rate, 0.0)], codec=codec, layout=layout, seconds=0)


def write_film(
    path: Path,
    tracks: Sequence[tuple[np.ndarray, int, float]],
    *,
    seconds: float = 4.0,
    flash_s: float | None = None,
    codec: str = "aac",
    video: str = "libx264",
    layout: str = "mono",
    base_s: float = 0.0,
    gap_s: tuple[float, float] | None = None,
    languages: Sequence[str] = (),
) -> Path:
    """A grey film with tracks (sound (C, S), rate, second of the film at which it starts).

    Args:
        path: its suffix is the container.
        tracks: of sound.
        seconds: of the picture; 0 for none.
        flash_s: the frame of this second is white.
        codec, video, layout: names of FFmpeg.
        base_s: presentation time of second 0.
        gap_s: seconds of each track whose packets are left out.
        languages: of the tracks.
    """
    import av

    with av.open(str(path), "w") as out:
        todo: list[tuple[float, int, Any, Any]] = []
        if seconds:
            picture = out.add_stream(video, rate=FPS)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
            for number in range(round(seconds * FPS)):
                is_white = flash_s is not None and number == round(flash_s * FPS)
                frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 255 if is_white else 20, np.uint8))
                frame.pts, frame.time_base = number + round(base_s * FPS), Fraction(1, FPS)
                todo.append((frame.pts / FPS, 0, picture, frame))
        for number, (sound, rate, start_s) in enumerate(tracks):
            stream = out.add_stream(codec, rate=rate)
            stream.codec_context.layout = layout
            if languages:
                stream.metadata["language"] = languages[number]
            converter = av.AudioResampler(format=stream.codec_context.format.name, layout=layout, rate=rate)
            for at in range(0, sound.shape[1], 1024):
                if gap_s and gap_s[0] <= at / rate + start_s < gap_s[1]:
                    continue
                piece = np.ascontiguousarray(sound[:, at : at + 1024])
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = at + round((start_s + base_s) * rate)
                for part in converter.resample(frame):
                    todo.append((part.pts / rate, 1 + number, stream, part))
        for _, _, stream, frame in sorted(todo, key=lambda item: item[:2]):
            out.mux(stream.encode(frame))
        for stream in out.streams:
            out.mux(stream.encode(None))
    return path
