"""A film of one colour a scene, and a captioner that tells scenes apart by it and says what a good one would."""

from __future__ import annotations

import re

import numpy as np

from cineloop.video.sample import SampleSpec
from v2t.backends import Decoding, Message, Output, VideoLM
from v2t.backends.abilities import Abilities

SCENE_S, FPS = 5, 8
COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (40, 50, 220), "white": (235, 235, 235)}
SCENES = ("red", "green", "blue", "red", "white", "green", "red", "blue")  # 40 s
JUMPS_S = (1.0, 3.0)  # in every scene, counted from its start


def film_pixels(colors: tuple[str, ...]) -> np.ndarray:
    frames = []
    for number, color in enumerate(colors):
        texture = np.random.default_rng(number).integers(-20, 20, (64, 64, 1))
        frame = np.clip(np.array(COLORS[color]) + texture, 0, 255).astype(np.uint8)
        frames += [frame] * SCENE_S * FPS
    return np.stack(frames)


class Fake(VideoLM):
    """Says that a square of the scene's colour jumps, counted from the start of what it sees; counts in notes."""

    name, revision, about = "fake", "1", ""
    spec, frame_size = SampleSpec(num_frames=8), (64, 64)
    abilities = Abilities(window_s=8.0)

    def __init__(self, concurrency: int = 1) -> None:
        self.concurrency = concurrency
        self.asked: list[tuple[Message, ...]] = []
        self.fail: dict[str, Exception] = {}
        self.when = "from {:.1f} to {:.1f} seconds"

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding: Decoding) -> list[Output]:
        assert self.concurrency == 1 or len(conversations) == 1
        assert len({v.pixels.shape for c in conversations for m in c for v in m.videos}) <= 1
        return [Output(text=self._say(tuple(c)), tokens=5) for c in conversations]

    def _say(self, conversation: tuple[Message, ...]) -> str:
        self.asked.append(conversation)
        question = conversation[-1].text
        for words, error in self.fail.items():
            if words in question:
                raise error
        videos = [video for message in conversation for video in message.videos]
        if not videos:
            lines = question.splitlines()[1:-1]
            return f"{len(lines)} notes, the first at {lines[0].split('-')[0] if lines else '?'}."
        colors = [self._color(frame) for frame in videos[0].pixels]
        color, start = colors[0], float(videos[0].start_s)
        jumps = [t + SCENE_S * (start // SCENE_S) - start for t in JUMPS_S]
        if question.startswith("Note every event"):
            return f"{max(0, jumps[0]):.1f}-{jumps[1]:.1f}s: a {color} square jumps."
        if question.startswith("When"):
            return self.when.format(*jumps) if color in question else "it does not happen"
        if at := re.search(r"at ([\d.]+) seconds", question):
            inside = jumps[0] <= float(at[1]) <= jumps[1]
            return f"a {color} square {'jumps' if inside else 'stands'} from {jumps[0]:.1f} to {jumps[1]:.1f} seconds"
        return f"I see {', '.join(dict.fromkeys(colors))}."

    def _color(self, frame: np.ndarray) -> str:
        mean = frame.reshape(-1, 3).mean(0)
        return min(COLORS, key=lambda name: float(np.abs(mean - COLORS[name]).sum()))
