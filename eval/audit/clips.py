"""Clips of an audit, clean and with faults, rendered or decoded on demand.

In: scenes of the cartoon world by number, or samples of a folder. Out: `Source`s, and samples whose clips (`LazyClip`)
make their frames on access; each clip carries a key of its content, so cached evidence is found without rendering.
Only the last few clips are in memory. Faults that need the truth (another colour, a figure less) are rendered anew.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cineloop.errors import ItemError
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from cineloop.world.scenes.augment import with_artifacts
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.scene import Event, Scene
from cineloop.world.scenes.solo import FPS, NUM_FRAMES, sample_solo
from v2t_eval.audit.faults import plant, swapped_color, without_figures, without_last_figure
from v2t_eval.core import models
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.worker import ClipLimits, MeasurementWorker
from v2t_eval.judge.grammar.wording import LISTS, listed_values

SIZE = (64, 64)  # pixels, as the bundled generator makes them
MOST_MB = 512  # of decoded frames of one clip
PLANTED_VERSION = 1  # raised whenever the world or a fault may give other pixels for the same seed
_KEPT = 2  # sets of frames in memory: the clip as it was decoded, and with a fault
_STORY_S = 5.0
_WORLDS: tuple[Literal["every", "story", "crowd"], ...] = ("every", "story", "crowd")


@dataclass(frozen=True, kw_only=True)
class WorldAuditClip:
    """A clip of the world, by default of its held-out combinations: of one figure with the motions that the generator
    is trained on (`solo`) or any motion (`every`), of a story (`story`), or of five figures and more (`crowd`);
    `is_degraded`: with the artifacts of a weak generator."""

    world: Literal["solo", "every", "story", "crowd"]
    seed: int
    index: int
    is_degraded: bool = False
    split: str = "unseen"

    @property
    def content(self) -> str:
        """Key of its pixels."""
        split = "" if self.split == "unseen" else f"{self.split}-"
        return f"drawn:{split}{self.world}-{self.seed}-{self.index}{'-melted' if self.is_degraded else ''}"

    def scene(self) -> Scene:
        if self.world == "story":
            return sample_scene(self.split, self.seed, self.index)
        scene = sample_solo(self.split, self.seed, self.index, every_motion=self.world != "solo")
        return scene if self.world != "crowd" else _crowd(scene, self.index)

    def draw(self, scene: Scene, size: tuple[int, int] = SIZE) -> Frames:
        """Frames of `size` (H, W) of the scene, or of a variant of it."""
        num = max(2, round(scene.duration_s * FPS)) if self.world == "story" else NUM_FRAMES
        times = np.arange(num) / FPS
        pixels = render(scene, size, times_s=times)
        if self.is_degraded:
            pixels = with_artifacts(scene, pixels, times, np.random.default_rng([self.seed, self.index]))
        return Frames.from_pixels(pixels, FPS, decoder="world")

    def corrupt(self, fault: str, severity: int) -> Frames:
        """Frames with a fault; `color` and `drop` are rendered anew."""
        clean = self.draw(self.scene())
        if fault == "color":
            return self.draw(swapped_color(self.scene()))
        if fault == "drop":
            gone = np.arange(len(clean)) >= len(clean) * (1 - severity / 5)  # (T,)
            less = without_figures if self.world in ("solo", "every") else without_last_figure
            empty = self.draw(less(self.scene())).pixels
            return replace(clean, pixels=np.where(gone[:, None, None, None], empty, clean.pixels))
        return plant(clean, fault, severity, seed=self.index) if fault else clean


def _crowd(scene: Scene, index: int) -> Scene:
    """Two rows of small figures of one kind, which stand still: the world's stories have four figures at most."""
    (first,) = scene.actors
    rows = ((3, 2), (2, 3), (3, 3))[index % 3]
    actors = tuple(replace(first, size="small", count=rows[n], x=0.5, y=(0.5, 0.86)[n]) for n in (0, 1))
    standing = Event(actor=0, action="stand", start_s=0.0, end_s=scene.duration_s)
    return replace(scene, actors=actors, events=(standing,))


@dataclass(frozen=True, kw_only=True)
class SampleAuditClip:
    """A clip in a file, whose bytes have the hash `sha256`."""

    path: Path
    sha256: str
    start_s: float | None = None
    end_s: float | None = None

    @property
    def content(self) -> str:
        return f"file:{self.sha256} {self.start_s}-{self.end_s}"

    def corrupt(self, fault: str, severity: int) -> Frames:
        """Frames with a fault of `v2t_eval.audit.faults`.

        Raises:
            ItemError: it cannot be decoded.
        """
        clip = SampleClip(content="", path=self.path, start_s=self.start_s, end_s=self.end_s)
        frames = _from_memory((self.path, self.start_s, self.end_s), lambda: _decoder().frames(clip))
        return plant(frames, fault, severity, seed=int(self.sha256[:8], 16)) if fault else frames


Source = WorldAuditClip | SampleAuditClip


@dataclass(frozen=True, kw_only=True)
class AuditClip:
    """A clean clip: `row` as in `Sample`; `facts` only where they are true of it; `cluster` of its prompt."""

    id: str
    source: Source
    prompt: str | None = None
    facts: dict[str, Any] | None = None
    row: dict[str, Any] = field(default_factory=dict)

    @property
    def cluster(self) -> str:
        """Clips of one prompt are not independent."""
        return self.prompt or self.id

    def sample(self, fault: str = "", severity: int = 0, *, codec: bool = False, prompt: str | None = None) -> Sample:
        """The clip with a fault ("" for none), through an mp4 file where `codec`, labelled with another prompt."""
        fault_name = " with another prompt" if prompt is not None else f" with {fault} {severity}" if fault else ""
        name = f"{self.id}{fault_name}{' through mp4' if codec else ''}"
        row = self.row if self.facts is None else {**self.row, "facts": self.facts}
        clip = LazyClip(self.source, fault, severity if fault else 0, codec=codec)
        # As if the clip had been made of a picture: its first frame, as it is without a fault.
        return Sample(id=name, clip=clip, first_frame=FirstFrame(self.source), prompt=prompt or self.prompt, row=row,
                      cluster=self.cluster)  # fmt: skip


class LazyClip(SampleClip):
    """A clip that makes its frames on access; pickled to another process as its recipe."""

    def __init__(self, source: Source, fault: str = "", severity: int = 0, *, codec: bool = False) -> None:
        self.recipe = (source, fault, severity, codec)
        self.content = f"planted/{PLANTED_VERSION}: {source.content} {fault} {severity} {codec}"
        self.path = None
        self.start_s = self.end_s = None

    @property
    def frames(self) -> Frames | None:  # type: ignore[override]
        """Every frame.

        Raises:
            ItemError: the file cannot be decoded.
        """
        return self._make()

    @frames.setter
    def frames(self, frames: Frames | None) -> None:
        raise AttributeError("a planted clip makes its own frames")

    def _make(self) -> Frames:
        return _frames(*self.recipe)


class FirstFrame(LazyClip):
    """The first frame of the clean clip, kept apart from the clips: it is wanted beside each fault."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.content += " first frame"

    def _make(self) -> Frames:
        source = self.recipe[0]
        if source not in _FIRST:
            whole = source.corrupt("", 0)
            _FIRST[source] = replace(whole, pixels=whole.pixels[:1].copy(), times_s=whole.times_s[:1])
        return _FIRST[source]


_FIRST: dict[Source, Frames] = {}
models.on_release(_FIRST.clear)
_RECENT: OrderedDict[Any, Frames | ItemError] = OrderedDict()
models.on_release(_RECENT.clear)


def _frames(source: Source, fault: str, severity: int, codec: bool) -> Frames:
    """The frames, cached so that several metrics share one object."""

    def make() -> Frames:
        frames = source.corrupt(fault, severity)
        return through_mp4(frames) if codec else frames

    return _from_memory((source, fault, severity, codec), make)


def _from_memory(key: Any, make: Callable[[], Frames]) -> Frames:
    if key not in _RECENT:
        try:
            _RECENT[key] = make()
        except ItemError as error:
            _RECENT[key] = error
        while len(_RECENT) > _KEPT:
            _RECENT.popitem(last=False)
    _RECENT.move_to_end(key)
    kept = _RECENT[key]
    if isinstance(kept, ItemError):
        raise kept
    return kept


@cache
def _decoder() -> MeasurementWorker:
    """One decoder for the process: a planted clip makes its frames in the process that measures it."""
    import atexit

    worker = MeasurementWorker([], ClipLimits(max_clip_mb=MOST_MB))
    atexit.register(worker.close)
    return worker


def through_mp4(frames: Frames) -> Frames:
    """The frames after the codec."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        encode(frames.pixels, path, Fraction(frames.fps).limit_denominator(1001))
        return _decoder().frames(SampleClip(content="", path=path))


def solo_clips(num: int, seed: int, *, every_motion: bool = False, is_degraded: bool = False) -> list[AuditClip]:
    """The first clips of one figure, with prompts: of the generator's part of the world, or of every motion."""
    world: Literal["solo", "every"] = "every" if every_motion else "solo"
    return [
        world_clip(WorldAuditClip(world=world, seed=seed, index=index, is_degraded=is_degraded)) for index in range(num)
    ]


def story_clips(num: int, seed: int, *, is_degraded: bool = False) -> list[AuditClip]:
    """The first short clips with two figures or more, a still camera and no cut."""
    clips: list[AuditClip] = []
    index = 0
    while len(clips) < num:
        scene = sample_scene("unseen", seed, index)
        shots, figures = scene.shots, sum(actor.count for actor in scene.actors)
        if len(shots) == 1 and shots[0].camera == "static" and figures > 1 and scene.duration_s < _STORY_S:
            clips.append(world_clip(WorldAuditClip(world="story", seed=seed, index=index, is_degraded=is_degraded)))
        index += 1
    return clips


def world_clip(source: WorldAuditClip) -> AuditClip:
    """The clip of a scene of the world, with a prompt for it."""
    import random

    from cineloop.world.language.words import caption
    from cineloop.world.scenes.solo import prompt

    facts, rng = source.scene().facts(), random.Random(f"audit|{source.content}")
    text = prompt(facts, rng) if source.world in ("solo", "every") else caption(facts, "short", rng)
    return AuditClip(id=source.content.removeprefix("drawn:"), source=source, prompt=text, facts=facts)


def sample_clip(sample: Sample) -> AuditClip:
    """The clean clip of a user's sample.

    Raises:
        ItemError: its file cannot be read.
    """
    from cineloop.clip import reading

    clip = sample.clip
    if clip is None or clip.path is None:
        raise ItemError(f"{sample.id} has no file", code="NO_FRAMES")
    with reading(clip.path), open(clip.path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    source = SampleAuditClip(path=clip.path, sha256=digest, start_s=clip.start_s, end_s=clip.end_s)
    row = dict(sample.row)
    facts = row.pop("facts", None)
    # Facts of a generated clip are what was requested, not what it shows; the world's own renderings are exact.
    is_requested = row.get("generator") not in (None, "world")
    return AuditClip(id=sample.id, source=source, prompt=sample.prompt, row=row,
                     facts=facts if isinstance(facts, dict) and not is_requested else None)  # fmt: skip


def check(clip: AuditClip) -> None:
    """Decode a file once.

    Raises:
        ItemError: it cannot be decoded.
    """
    if isinstance(clip.source, SampleAuditClip):
        clip.source.corrupt("", 0)


def world_clips(split: str, seed: int, num: int) -> list[WorldAuditClip]:
    """The first `num` clips; a smaller set is a prefix of a larger one."""
    clips: list[WorldAuditClip] = []
    for each in _balanced_clips(split, seed):
        if len(clips) == num:
            break
        clips.append(each)
    return clips


def answers_of(clip: WorldAuditClip) -> dict[str, str]:
    """What is true of a clip, by factor of `v2t_eval.judge.grammar.wording.LISTS`."""
    return listed_values(clip.scene().facts())


def _balanced_clips(split: str, seed: int) -> Iterator[WorldAuditClip]:
    cases = Counter({(factor, value): 0 for factor, plain in LISTS.items() for value in plain.answers})
    level = 1
    for index in count():
        for world in _WORLDS:
            clip = WorldAuditClip(world=world, seed=seed, index=index, split=split)
            scene = clip.scene()
            if world == "story" and (len(scene.shots) > 1 or scene.duration_s >= _STORY_S):
                continue
            true = set(listed_values(scene.facts()).items())
            if any(cases[each] < level for each in true):
                cases.update(true)
                yield clip
        while min(cases.values()) >= level:
            level += 1
