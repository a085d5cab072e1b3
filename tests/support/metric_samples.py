"""Samples for the metrics of the folder: for each a set that it must find better and one that it must find worse.

The clips are of the cartoon world, six of them; samples of `known` and `shared` are the same for all tests.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from cineloop.audio.track import Sound
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from cineloop.world.language.questions import questions
from cineloop.world.language.words import caption
from cineloop.world.scenes.render import render
from cineloop.world.scenes.scene import Actor
from cineloop.world.scenes.solo import prompt, sample_solo
from v2t_eval.audit.faults import plant
from v2t_eval.core.metric import BaseMetric, MetricResult, load_metric
from v2t_eval.core.sample import Sample, SampleClip

NUM = 6
TIMES_S, FPS = np.arange(9) / 4, 4.0  # of a clip's frames: every frame is embedded by half of the metrics
STARTS_JAVA = ("meteor", "dense_captions")
NEEDS_TWO_SETS = "reference_clips"
# The fault that makes a clip worse in the eyes of a metric that looks at frames alone.
FAULT = {
    "temporal_flickering": "flutter",
    "motion_smoothness": "flutter",
    "subject_consistency": "noise",
    "background_consistency": "noise",
    "ssim_consistency": "noise",
    "sharpness": "blur",
    "dynamic_degree": "freeze",
    "motion": "freeze",
    "inception_score": "freeze",
    "warping_error": "flutter",
    "camera_motion": "drift",
}
WORDS = ("rolls past a tree", "waits", "opens its wings over the sea", "turns round twice", "is gone", "sleeps all day")


@cache
def scene(index: int) -> Any:
    """Of the seen stream, those that travel: their direction and speed can be read."""
    travelling = (
        s for s in (sample_solo("seen", 8, i) for i in range(400)) if s.events[0].direction in ("left", "right")
    )
    return [next(travelling) for _ in range(index + 1)][index]


@cache
def frames(index: int) -> Frames:
    return Frames.from_pixels(render(scene(index), (64, 64), times_s=TIMES_S), FPS)


@cache
def asked(index: int) -> str:
    return prompt(scene(index).facts(), random.Random(index))


def sample(
    index: int, *, words_of: int | None = None, fault: str = "", number: int | None = None, **row: Any
) -> Sample:
    """Clip `index` with its prompt, caption, references; `words_of`: those of another clip instead."""
    other = index if words_of is None else words_of
    facts = scene(index).facts()
    shown = frames(index) if not fault else plant(frames(index), fault, seed=index)
    return Sample(
        id=f"s{index if number is None else number:02d}",
        clip=SampleClip.from_frames(shown),
        prompt=asked(other),
        caption=caption(scene(other).facts(), "prompt", random.Random(other)),
        references=tuple(caption(facts, "prompt", random.Random(seed)) for seed in (index, 90 + index)),
        row={"facts": facts, "style": "short", "duration_s": facts["duration_s"], **row},
        cluster=f"prompt {index // 2}",
    )


def pair(index: int, asked_for: dict[str, Any]) -> Sample:
    """Two figures that stand side by side, with what is asked of them in place of a prompt's words."""
    both = tuple(Actor(kind=k, color=c, size="large", x=x, y=0.65) for k, c, x in _PAIRS[index])
    event = replace(scene(index).events[0], action="jump", direction=None, speed=None, travel=0.0)
    shown = replace(scene(index), actors=both, events=(event,))
    made = sample(index, asked=asked_for)
    made.clip = SampleClip.from_frames(Frames.from_pixels(render(shown, (96, 96), times_s=TIMES_S), FPS))
    return made


_PAIRS = [
    (("ball", "red", 0.25), ("star", "blue", 0.75)),
    (("car", "blue", 0.25), ("ball", "green", 0.75)),
    (("star", "red", 0.25), ("heart", "blue", 0.75)),
    (("ball", "blue", 0.25), ("heart", "red", 0.75)),
    (("star", "blue", 0.25), ("car", "red", 0.75)),
    (("heart", "red", 0.25), ("ball", "blue", 0.75)),
]


def _sounding(index: int, make: Callable[[np.ndarray], np.ndarray]) -> Sample:
    """Clip `index` with a second of noise that was changed by `make`."""
    noise = np.random.default_rng(index).normal(0, 0.1, 16_000)
    made = sample(index)
    assert made.clip is not None
    made.clip.sound = Sound(samples=make(noise).astype(np.float32), rate=16_000, start_s=0.0, is_last=True)
    return made


# The sound that a metric of sound must find better, or louder, and one that it must find worse.
SOUNDS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
    "silence": (lambda noise: noise, lambda noise: np.where(np.arange(len(noise)) < 8000, 0, noise)),
    "clipping": (lambda noise: noise, lambda noise: np.clip(40 * noise, -1, 1)),
    "loudness": (lambda noise: noise, lambda noise: noise / 10),
}


def pairs(what: Callable[[str, str], dict[str, Any]]) -> list[Sample]:
    return [pair(i, what(left[0], right[0])) for i, (left, right) in enumerate(_PAIRS)]


def matched(**row: Any) -> list[Sample]:
    return [sample(i, **row) for i in range(NUM)]


def mismatched(**row: Any) -> list[Sample]:
    return [sample(i, words_of=(i + 2) % NUM, **row) for i in range(NUM)]


def rows(make: Callable[[int], dict[str, Any]]) -> list[Sample]:
    return [sample(i, **make(i)) for i in range(NUM)]


@cache
def shared() -> list[Sample]:
    """The matched set, the same samples for all: what metrics keep of a sample (`memo`) is computed once."""
    return matched()


@cache
def known(name: str) -> tuple[list[Sample], list[Sample]]:
    """`sets`, the same samples for every test."""
    return sets(name, shared)


def sets(name: str, good: Callable[[], list[Sample]] = matched) -> tuple[list[Sample], list[Sample]]:
    """A set that the metric must find better, and one that it must find worse; new samples at each call."""
    made = ROWS.get(name)
    if made is not None:
        return rows(made[0]), rows(made[1])
    if name in SOUNDS:
        return [_sounding(i, SOUNDS[name][0]) for i in range(NUM)], [_sounding(i, SOUNDS[name][1]) for i in range(NUM)]
    if name == "multiple_objects":
        return pairs(lambda a, b: {"object": f"{a} and {b}"}), pairs(lambda a, b: {"object": f"{a} and elephant"})
    if name == "spatial_relationship":
        told = {"relationship": "on the left of"}
        return (
            pairs(lambda a, b: {"object_a": a, "object_b": b, **told}),
            pairs(lambda a, b: {"object_a": b, "object_b": a, **told}),
        )
    if name == "appearance_style":  # the phrase is what the dual encoder is asked; any that fits the frames will do
        return rows(lambda i: {"asked": {"appearance_style": asked(i)}}), rows(
            lambda i: {"asked": {"appearance_style": asked((i + 2) % NUM)}}
        )
    if name in ("prompt_facts", "caption_questions"):  # the caption of another clip beside a clip's own prompt
        wrong = mismatched()
        for index, one in enumerate(wrong):
            one.prompt = asked(index)
        return matched(), wrong
    if name == "distinct_n":
        varied = [sample(i) for i in range(NUM)]
        for one, words in zip(varied, WORDS, strict=True):
            one.caption = words
        same = [sample(i) for i in range(NUM)]
        for one in same:
            one.caption = WORDS[0]
        return varied, same
    if name == "diversity":  # two clips a prompt: different ones, and one twice
        return good(), [sample(i - i % 2, number=i) for i in range(NUM)]
    if "reference_video" in load_metric(name).needs:
        clean = [SampleClip.from_frames(frames(i)) for i in range(NUM)]
        same, worse = (
            [replace(sample(i, fault=f), reference_video=clean[i]) for i in range(NUM)] for f in ("", "noise")
        )
        return same, worse
    if name == "near_copies":  # the second set, mirrored, beside clips of its own
        return good(), [sample(NUM + i, number=i, fault="mirror") for i in range(NUM)]
    if name == "first_frame_fidelity":  # the clip's own first frame, and that of another clip
        firsts = [SampleClip.from_frames(frames(i)) for i in range(NUM)]
        return tuple(  # type: ignore[return-value]
            [replace(sample(i), first_frame=firsts[(i + step) % NUM]) for i in range(NUM)] for step in (0, 2)
        )
    if name in FAULT or NEEDS_TWO_SETS in load_metric(name).needs:
        fault = FAULT.get(name, "noise")
        return good(), [sample(i, fault=fault) for i in range(NUM)]
    return good(), mismatched()


def _answers(index: int, *, right: bool) -> dict[str, Any]:
    asked_of = [q for q in questions(scene(index).facts(), random.Random(index)) if q["kind"] == "color"]
    turn = asked_of[0]
    return {"kind": turn["kind"], "question": turn["question"], "reference": turn["answer"],
            "answer": turn["answer"] if right else "I see nothing"}  # fmt: skip


def _spans(index: int, shift: float) -> dict[str, Any]:
    return {"spans": [[0.2 + shift, 1.0 + shift]], "reference_spans": [[0.2, 1.0]], "question": "when"}


def _events(words: tuple[str, str]) -> Callable[[int], dict[str, Any]]:
    def make(index: int) -> dict[str, Any]:
        told = [{"start_s": 0.0, "end_s": 1.0, "caption": f"a {WORDS[index]} dog"}]
        told.append({"start_s": 1.0, "end_s": 2.0, "caption": f"the cat {WORDS[-1 - index]}"})
        said = told if words == ("", "") else [{**e, "caption": w} for e, w in zip(told, words, strict=True)]
        return {"events": said, "reference_events": told}

    return make


ROWS: dict[str, tuple[Callable[[int], dict[str, Any]], Callable[[int], dict[str, Any]]]] = {
    "answers": (lambda i: _answers(i, right=True), lambda i: _answers(i, right=False)),
    "spans": (lambda i: _spans(i, 0.0), lambda i: _spans(i, 0.5)),
    "squad": (
        lambda i: {"answer": "the Red car", "answers": ["a red car", "car"]},
        lambda i: {"answer": "a blue boat", "answers": ["a red car", "car"]},
    ),
    "multiple_choice": (
        lambda i: {"choices": ["red", "blue", "green"], "answer": "B", "reference": "blue"},
        lambda i: {"choices": ["red", "blue", "green"], "answer": "(C) green", "reference": "B"},
    ),
    "highlights": (
        lambda i: {"saliency": [0.1, 0.9, 0.3, 0.2], "relevance": [0, 4, 1, 0]},
        lambda i: {"saliency": [0.9, 0.1, 0.3, 0.2], "relevance": [0, 4, 1, 0]},
    ),
    "dense_captions": (_events(("", "")), _events(("nobody here", "fog"))),
}  # fmt: skip


@cache
def ready(name: str) -> str:
    """Why the metric cannot run here, "" where it can."""
    try:
        load_metric(name)().prepare()
    except (MissingDependencyError, UsageError) as error:  # a judge that cannot be asked this is as good as none
        return str(error)
    return ""


def run(name: str, given: list[Sample], references: list[Sample] | None = None) -> MetricResult:
    metric: BaseMetric = load_metric(name)()
    metric.prepare()
    metric.update(given)
    if NEEDS_TWO_SETS in metric.needs:
        metric.update(others() if references is None else references, reference=True)
    return metric.compute()


@cache
def _others() -> tuple[Sample, ...]:
    return tuple(sample(i, number=i) for i in range(NUM, 2 * NUM))


def others() -> list[Sample]:
    return list(_others())


def asked_at_once(name: str, given: list[Sample]) -> None:
    """A Java program takes seconds to start and remembers in this process what it was asked: one start for all."""
    if name in STARTS_JAVA:
        run(name, [replace(one, id=f"s{number:02d}") for number, one in enumerate(given)])


def plain(result: MetricResult) -> str:
    """All of a result, as it is written; fails where a number is not finite."""
    return json.dumps(result.as_dict(), sort_keys=True, allow_nan=False, default=list)
