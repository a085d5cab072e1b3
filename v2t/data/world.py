"""Clips of the cartoon world as training samples, rendered and worded on the fly.

In: a split, a seed, the numbers of samples. Out: batches of clips with their conversations and facts, a pure function
of the numbers. Frames are chosen the way a file's frames are (`cineloop.video.sample` on the frame grid of a frame rate
drawn per clip), so training sees the times that captioning sees.
Letters: S segments, F frames of a segment.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from cineloop.video.sample import SampleSpec, choose
from cineloop.world.language.plain_questions import claim_turns, open_turns
from cineloop.world.language.questions import ABOUT_TIME, ALL_KINDS, YES_NO, questions
from cineloop.world.language.words import PROMPTS, caption
from cineloop.world.scenes.augment import augmented_frames, with_artifacts
from cineloop.world.scenes.render import frame_times, render
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import sample_solo
from v2t.data.chat import LabelledTokens, Turn, encode
from v2t.data.collate import Batch, ClipSample, clip_batch
from v2t.data.film import film_turns
from v2t.model.clips import cut_segments
from v2t.model.processing import segment_text

Text = Literal["short", "detailed", "timed", "notes", "any", "questions", "film", "plain", "claims"]
FOLLOW_UPS = tuple(kind for kind in ALL_KINDS if kind != "what")
# A caption that tells what came later first: "before it spins, a dog runs", "a dog spins after running".
BACKWARDS = re.compile(r"(?:^|, )before |\w after (?!that\b|a cut\b)", re.IGNORECASE)
FRAME_RATES = (8.0, 10.0, 12.0, 15.0, 24.0, 25.0, 30.0)


@dataclass(frozen=True, kw_only=True)
class ClipsConfig:
    """What a clip of the stream is.

    `texts` names the conversations each clip carries: `short`, `detailed`, `timed`, `notes` (captions), `any` (a
    caption in one of these styles), `questions` (a conversation of `questions` questions, a share `times_share` of
    them about time only, a share `claims_share` yes/no questions only), `film` (a conversation on notes of a film, in
    a share `film_share` of the clips). Of `wordings` drawn for a caption the plainest is taken: first those in order of
    time, of them the shortest. `follow_ups` questions come after each caption, the first about what someone does.
    A share `solo_share` are clips of one figure with the texts `solo_texts`; a
    share `every_motion_share` of these draws from all motions of a figure, not only those of the bundled generator.
    `num_frames` are sampled, evenly; in a share `fewer_share` of the clips fewer are, down to one. `augment` adds what
    resizing, codecs and cameras do to frames.
    """

    num_frames: int = 16
    size: int = 64
    texts: tuple[Text, ...] = ("short", "any", "questions")
    solo_share: float = 0.0
    solo_texts: tuple[Text, ...] = ("short", "plain", "claims")
    every_motion_share: float = 0.0
    questions: int = 6
    wordings: int = 1
    follow_ups: int = 0
    times_share: float = 0.0
    claims_share: float = 0.0
    film_share: float = 0.3
    fewer_share: float = 0.05
    seconds: tuple[float, float] | None = None
    augment: bool = True

    def __post_init__(self) -> None:
        shares = (
            self.fewer_share,
            self.film_share,
            self.solo_share,
            self.every_motion_share,
            self.times_share,
            self.claims_share,
        )
        about = self.times_share + self.claims_share
        if min(self.num_frames, self.questions, self.wordings) < 1 or self.follow_ups < 0:
            raise ValueError("num_frames, questions and wordings must be at least 1, follow_ups at least 0")
        if min(shares) < 0 or max(*shares, about) > 1:
            raise ValueError("shares and their sum must be in [0, 1]")


@dataclass(frozen=True)
class ClipSource:
    """Clips `start` … of a stream, with conversations (where there is a tokenizer) and facts (where asked)."""

    config: ClipsConfig
    split: str
    seed: int
    segment_frames: int
    tokens_per_segment: int
    tokenizer: Any = None
    with_facts: bool = True

    def __call__(self, start: int, count: int) -> Batch:
        samples = [self.sample(index) for index in range(start, start + count)]
        return clip_batch(samples, self.pad_id)

    @property
    def pad_id(self) -> int:
        """What fills short rows."""
        return 0 if self.tokenizer is None else self.tokenizer.pad_token_id

    def sample(self, index: int) -> ClipSample:
        segments, times, mask = self.cut(index)
        return ClipSample(segments, times, mask, self.rows(index, times, mask), self.facts(index))

    def cut(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Its frames in segments: uint8 (s, F, H, W, 3), seconds and mask (s, F)."""
        rng = np.random.default_rng([self.seed, index, 2])
        pixels, times_s = self.frames(self.scene(index), rng)
        if self.config.augment and self.is_solo(index) and rng.random() < 0.5:
            pixels = with_artifacts(self.scene(index), pixels, times_s, rng)
        return cut_segments(pixels, times_s, self.segment_frames)

    def rows(self, index: int, times: np.ndarray, mask: np.ndarray, paraphrase: int = 0) -> list[LabelledTokens]:
        """Its conversations, in other words for each `paraphrase`."""
        if self.tokenizer is None:
            return []
        shown = [(t[m][0], t[m][-1]) for t, m in zip(times, mask, strict=True)]
        clip_text = "".join(segment_text(a, b, self.tokens_per_segment) for a, b in shown)
        rng_words = random.Random(f"clip|{self.split}|{self.seed}|{index}|{paraphrase}")
        facts = self.scene(index).facts()
        rows = []
        for kind in self.config.solo_texts if self.is_solo(index) else self.config.texts:
            if kind != "film":
                rows.append(encode(self.tokenizer, conversation(facts, kind, rng_words, self.config), [clip_text]))
            elif rng_words.random() < self.config.film_share:
                rows.append(encode(self.tokenizer, film_turns(self.split, self.seed, rng_words)))
        return rows

    def scene(self, index: int) -> Scene:
        if self.is_solo(index):
            every = random.Random(f"motion|{self.seed}|{index}").random() < self.config.every_motion_share
            return sample_solo(self.split, self.seed, index, every_motion=every)
        return sample_scene(self.split, self.seed, index, seconds=self.config.seconds)

    def is_solo(self, index: int) -> bool:
        """Whether clip `index` is one of the bundled generator's world."""
        return random.Random(f"solo|{self.seed}|{index}").random() < self.config.solo_share

    def frames(self, scene: Scene, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (T, H, W, 3) and seconds (T,), sampled from the frame grid of a random frame rate."""
        config = self.config
        wanted = config.num_frames
        if rng.random() < config.fewer_share:
            wanted = int(rng.integers(1, config.num_frames + 1))
        grid = frame_times(scene.duration_s, float(rng.choice(FRAME_RATES)))
        times_s = grid[choose(SampleSpec(num_frames=wanted), grid, scene.duration_s)]  # (T,)
        size = (config.size, config.size)
        return (
            augmented_frames(scene, size, times_s, rng) if config.augment else render(scene, size, times_s=times_s)
        ), times_s

    def facts(self, index: int) -> dict[str, int]:
        """Its facts as class numbers."""
        if not self.with_facts:
            return {}
        from cineloop.world.scenes.targets import fact_targets

        return fact_targets(self.scene(index))


def conversation(facts: dict[str, Any], kind: str, rng: random.Random, config: ClipsConfig) -> list[Turn]:
    """One conversation about a clip, its first turn carrying the video."""
    if kind == "questions":
        draw = rng.random()
        kinds = ABOUT_TIME if draw < config.times_share else YES_NO if draw > 1 - config.claims_share else ALL_KINDS
        made = questions(facts, rng, config.questions, kinds)
        if kinds is YES_NO:  # the plainest first: yes and no are learnt by it
            made = [*questions(facts, rng, 1, ("yesno-exists",)), *made[: config.questions - 1]]
        asked = [(q["question"], q["answer"]) for q in made]
    elif kind in ("plain", "claims"):
        asked = (open_turns if kind == "plain" else claim_turns)(facts, rng)
    else:
        style = list(PROMPTS)[int(rng.random() * len(PROMPTS))] if kind == "any" else kind
        drawn = [caption(facts, style, rng) for _ in range(config.wordings)]
        asked = [(PROMPTS[style], min(drawn, key=lambda text: (BACKWARDS.search(text) is not None, len(text))))]
        if config.follow_ups:
            made = [*questions(facts, rng, 1, ("what",)), *questions(facts, rng, config.follow_ups, FOLLOW_UPS)]
            asked += [(q["question"], q["answer"]) for q in made[: config.follow_ups]]
    turns: list[Turn] = []
    for question, answer in asked:
        turns += [Turn("user", question, clips=0 if turns else 1), Turn("assistant", answer)]
    return turns
