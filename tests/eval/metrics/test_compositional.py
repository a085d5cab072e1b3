"""The metric `compositional`: a figure a kind, by a judge that answers from a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.judge.judge import Judge
from v2t_eval.metrics.compositional import Metric
from v2t_eval.semantics.composition import CONSISTENT, INTERACTION, NUMERACY, SPATIAL


class Denies(VideoLM):
    """Yes to everything but questions that hold one of some words."""

    name, revision, spec, frame_size, concurrency = "denies", "1", SampleSpec(num_frames=4), None, 1

    def __init__(self, *words: str) -> None:
        self.words = words

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding):
        said = [any(word in message.text for word in self.words) for (message,) in conversations]
        return [Output(text="no" if denied else "yes", tokens=1) for denied in said]


def clip(name: str, prompt: str, **row) -> Sample:
    frames = Frames.from_pixels(np.zeros((6, 32, 32, 3), np.uint8), fps=8)
    return Sample(id=name, clip=SampleClip.from_frames(frames), prompt=prompt, row=row)


def metric_of(*words: str, **settings) -> Metric:
    metric = Metric(judge="v2t:table", **settings)
    metric.judge = Judge(Denies(*words))
    return metric


BALL, DOGS = "A red ball is to the left of a blue box.", "Three dogs and two cats in the park"


def test_each_kind_has_its_figure() -> None:
    metric = metric_of("blue", "exactly two")
    metric.update([clip("a", BALL), clip("b", DOGS), clip("c", "A dog walks.")])
    result = metric.compute()
    values = {name: figure.value for name, figure in result.figures.items()}
    assert values == {"compositional": 0.625, CONSISTENT: 0.5, SPATIAL: 1.0, NUMERACY: 0.5}
    assert result.n == 2 and result.counts["nothing_asked"] == 1, "a prompt of no kind is no failure"
    by_id = {item["id"]: item for item in result.items}
    assert by_id["a"]["value"] == 0.75 and by_id["a"]["kinds"][SPATIAL]["score"] == 1.0
    assert [one["right"] for one in by_id["b"]["kinds"][NUMERACY]["questions"]] == [True, True, True, False]


def test_nothing_is_right_of_a_thing_that_is_not_there() -> None:
    metric = metric_of("Is there a box")
    metric.update([clip("a", BALL)])
    values = {name: figure.value for name, figure in metric.compute().figures.items()}
    assert values[SPATIAL] == 0.0 and values[CONSISTENT] == 0.5


def test_the_kind_of_a_row_or_a_file_is_the_only_one(tmp_path: Path) -> None:
    metric = metric_of()
    metric.update([clip("a", BALL, kind=SPATIAL)])
    assert set(metric.compute().figures) == {"compositional", SPATIAL}
    (tmp_path / "6_interaction.txt").write_text(f"{BALL}\nA red dog chases a blue cat.\n", encoding="utf-8")
    metric = metric_of(prompts=str(tmp_path))
    metric.update([clip("a", BALL), clip("b", "A red dog chases a blue cat.")])
    result = metric.compute()
    assert set(result.figures) == {"compositional", INTERACTION} and result.n == 1


def test_questions_of_the_row_are_asked() -> None:
    questions = [{"id": "1", "question": "Is there a leaf?", "about": "kind"},
                 {"id": "2", "question": "Is the leaf above it?", "about": "relation", "parents": ["1"]}]  # fmt: skip
    metric = metric_of("above")
    metric.update([clip("a", "whatever it says", questions=questions)])
    assert metric.compute().figures[SPATIAL].value == 0.0


@pytest.mark.slow
def test_the_starter_is_asked_in_its_own_words() -> None:
    """Planted: the same clip under a prompt with the ways exchanged is told apart."""
    from v2t_eval.audit.binding import composed_clips
    from v2t_eval.semantics.composition import MOTION

    (one,) = composed_clips(MOTION, 1, 5)
    metric = Metric()
    metric.prepare()
    clean, broken = (metric.measure(one.sample(fault, 5 * bool(fault)))["kinds"][MOTION] for fault in ("", "backwards"))
    assert clean["chance"] > broken["chance"]
    assert any(each["question"].startswith("Which way") for each in clean["questions"])
