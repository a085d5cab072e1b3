"""A folder of cartoon clips with their truth: what `v2t world` writes.

In: how many, which seed and split, size, frame rate, length. Out: one mp4 a clip and `manifest.jsonl` (id, path,
captions in three styles, a conversation, facts; relative paths), and `world.json` with the settings. A pure function
of the settings, clip by clip: a run that was stopped goes on with the clips that are not there yet.
"""

from __future__ import annotations

import json
import multiprocessing
import random
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.files import write_atomic
from cineloop.manifest import write_manifest
from cineloop.run_folder import other_settings, refuse_existing
from cineloop.world.language.questions import conversations, questions
from cineloop.world.language.words import captions
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.scene import Scene

SPLITS = ("train", "seen", "unseen")
FORMAT = 1  # raised whenever the same settings would give other clips or words

LONGEST_S = 4 * 3600


@dataclass(frozen=True, kw_only=True)
class WorldConfig:
    """Settings that fix every clip.

    `size` is (height, width) in pixels; `seconds` the range a clip's length lies in, None lets the story decide;
    `fps` frames a second as text ("12", "30000/1001"); `turns` questions in a clip's conversation.
    """

    num: int
    seed: int
    split: str = "train"
    size: tuple[int, int] = (256, 256)
    fps: str = "12"
    seconds: tuple[float, float] | None = None
    paraphrases: int = 3
    turns: int = 6

    def __post_init__(self) -> None:
        if self.num < 1:
            raise UsageError(f"num must be at least 1, not {self.num}")
        if self.split not in SPLITS:
            raise UsageError(f"split must be one of {', '.join(SPLITS)}, not {self.split!r}")
        if min(self.size) < 16 or max(self.size) > 4096:
            raise UsageError(f"size must be from 16 to 4096 pixels a side, not {self.size[1]}x{self.size[0]}")
        try:
            rate = Fraction(self.fps)
        except (ValueError, ZeroDivisionError) as error:
            raise UsageError(f"fps must be a number such as 12 or 30000/1001, not {self.fps!r}") from error
        if not 0 < rate <= 240:
            raise UsageError(f"fps must be above 0 and at most 240, not {self.fps}")
        if self.seconds is not None and not 0.5 <= self.seconds[0] <= self.seconds[1] <= LONGEST_S:
            raise UsageError(f"seconds must be a range within 0.5 and {LONGEST_S}, not {self.seconds}")
        if self.paraphrases < 1 or self.turns < 1:
            raise UsageError("paraphrases and turns must be at least 1")


@dataclass(frozen=True, kw_only=True)
class WorldSummary:
    """What a run did: clips in the folder, how many of them were written now, where the manifest is."""

    num: int
    written: int
    manifest: Path


def write_world(
    num: int,
    seed: int,
    split: str = "train",
    size: tuple[int, int] = (256, 256),
    fps: float | Fraction | str = 12,
    seconds: tuple[float, float] | None = None,
    out: str | Path = "world",
    *,
    overwrite: bool = False,
    workers: int = 1,
    advance: Callable[[int], None] | None = None,
) -> WorldSummary:
    """Write `num` clips of the cartoon world and their manifest into `out`.

    Args:
        num: clips 0 to num - 1 of the stream.
        seed: seed of the stream.
        split: train, seen or unseen, see `sample_scene`.
        size: (height, width) in pixels; mp4 pads odd sizes to even ones.
        fps: frames a second.
        seconds: shortest and longest clip; None for the story's own length (about 1.5 to 7 s).
        out: folder, made when absent.
        overwrite: write every clip again and replace a folder of other settings.
        workers: processes that draw and encode.
        advance: called with 1 after each clip.

    Raises:
        UsageError: a setting out of range, or `out` holds clips of other settings and `overwrite` is not given.
        ItemError: a clip could not be written.
    """
    rate = str(Fraction(str(fps)).limit_denominator(1001)) if not isinstance(fps, Fraction) else str(fps)
    config = WorldConfig(num=num, seed=seed, split=split, size=size, fps=rate, seconds=seconds)
    folder = Path(out)
    _claim(folder, config, overwrite=overwrite)
    missing = [i for i in range(num) if overwrite or not (folder / clip_name(config, i)).exists()]
    for _ in _write_clips(config, folder, missing, workers):
        if advance is not None:
            advance(1)
    manifest = folder / "manifest.jsonl"
    write_manifest((manifest_row(config, i) for i in range(num)), manifest)
    return WorldSummary(num=num, written=len(missing), manifest=manifest)


def clip_name(config: WorldConfig, index: int) -> str:
    """File name and id of a clip."""
    return f"{config.split}-{config.seed}-{index:06d}.mp4"


def scene_of(config: WorldConfig, index: int) -> Scene:
    """The scene of a clip."""
    return sample_scene(config.split, config.seed, index, seconds=config.seconds)


def manifest_row(config: WorldConfig, index: int) -> dict[str, Any]:
    """The manifest row of a clip: id, path, captions, conversations, facts."""
    facts = scene_of(config, index).facts()
    stream = random.Random(f"words|{config.split}|{config.seed}|{index}")
    name = clip_name(config, index)
    return {
        "id": name,
        "path": name,
        "captions": captions(facts, stream, config.paraphrases),
        "conversations": conversations(facts, stream, config.turns),
        "questions": questions(facts, stream),
        "facts": facts,
    }


def _claim(folder: Path, config: WorldConfig, *, overwrite: bool) -> None:
    """Make sure that the clips in `folder` are of these settings; more clips of the same stream may be added."""
    note = folder / "world.json"
    ours = {**asdict(config), "format": FORMAT}
    ours.pop("num")
    text = json.dumps(ours, sort_keys=True, indent=1) + "\n"
    if note.exists() and not overwrite:
        try:
            theirs = read_json(note)
        except ValueError as error:
            raise UsageError(f"{note} is not JSON: {error}", hint="--overwrite replaces the folder's clips") from error
        if theirs != json.loads(text):
            raise other_settings(f"the clips of {folder} were", theirs, json.loads(text))
    elif not note.exists():
        refuse_existing([folder / "manifest.jsonl"], overwrite=overwrite, hint="it is of something else: another -o")
    write_atomic(note, text.encode("utf-8"))


def _write_clips(config: WorldConfig, folder: Path, indices: list[int], workers: int) -> Iterator[None]:
    if workers <= 1 or len(indices) < 2:
        for index in indices:
            _write_clip((config, folder, index))
            yield
        return
    context = multiprocessing.get_context("spawn")  # OpenCV's threads do not survive a fork
    with ProcessPoolExecutor(max_workers=workers, mp_context=context) as pool:
        jobs: Iterable[tuple[WorldConfig, Path, int]] = ((config, folder, index) for index in indices)
        yield from pool.map(_write_clip, jobs, chunksize=4)


def _write_clip(job: tuple[WorldConfig, Path, int]) -> None:
    config, folder, index = job
    from cineloop.video.encode import encode
    from cineloop.world.scenes.render import render_film

    frames = render_film(scene_of(config, index), config.size, float(Fraction(config.fps)))
    encode(frames, folder / clip_name(config, index), Fraction(config.fps))
