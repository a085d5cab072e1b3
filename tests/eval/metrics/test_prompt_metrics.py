"""What comes back of a prompt, as metrics: in the caption (facts, questions) and in the clip (the referee)."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import ItemError
from cineloop.manifest import write_manifest
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from cineloop.world.referee.read import read_back
from cineloop.world.scenes.render import render
from cineloop.world.scenes.solo import FPS, NUM_FRAMES, prompt, sample_solo
from scripted_captioner import Scripted
from t2v.obedience import chance, compare, prompt_factors, table
from v2t.backends import Output
from v2t_eval.cli import main
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip

NUM = 6
TIMES = np.arange(NUM_FRAMES) / FPS
BALL = "A red ball rolls slowly to the right on the beach."


def scene(index):
    return sample_solo("seen", 5, index)


def words(index):
    return prompt(scene(index).facts(), random.Random(index))


def shown(index):
    return Frames.from_pixels(render(scene(index), (64, 64), times_s=TIMES), FPS)


@pytest.mark.slow
def test_obedience_is_that_of_the_generators_table():
    """Every second clip is shown under the prompt of the next one."""
    told = [words(index if index % 2 else (index + 1) % NUM) for index in range(NUM)]
    metric = load_metric("obedience")()
    metric.update([Sample(id=f"c{n}", clip=SampleClip.from_frames(shown(n)), prompt=told[n]) for n in range(NUM)])
    result = metric.compute()
    reads = [read_back(shown(n).pixels, TIMES) for n in range(NUM)]
    wants = [prompt_factors(None, text) for text in told]
    rows = table([compare(read, want) for read, want in zip(reads, wants, strict=True)], chance(reads, wants))
    for row in rows:
        assert result.figures[row.factor].value == pytest.approx(row.share), row.factor
    assert result.figures["chance"].value == pytest.approx(rows[-1].chance)
    assert 0 < result.value < 1


@pytest.mark.parametrize("text", ["A barista pours milk.", "A red dog chases a blue cat."])
def test_prompts_that_the_referee_cannot_read_are_not_expected(text):
    metric = load_metric("obedience")()
    with pytest.raises(ItemError, match="nothing that the referee reads"):
        metric.measure(Sample(id="a", clip=SampleClip.from_frames(shown(0)), prompt=text))


def test_facts_and_questions_of_a_caption():
    said = "A red ball rolls slowly to the left on the beach. A cat sleeps."
    facts = load_metric("prompt_facts")().measure(Sample(id="a", prompt=BALL, caption=said))
    assert facts["value"] == pytest.approx(6 / 7) and facts["made_up"] == 1
    assert ["direction", "right", "left"] in facts["facts"]
    questions = load_metric("caption_questions")().measure(Sample(id="a", prompt=BALL, caption=said))
    wrong = [row for row in questions["questions"] if not row["right"]]
    assert [(row["kind"], row["wanted"], row["answer"]) for row in wrong] == [("direction", "right", "left")]


class Reader(Scripted):
    """Says what it is given, question by question."""

    name = "reader"

    def __init__(self, *replies):
        self.replies = replies

    def answer(self, conversations, decoding):
        replies = self.replies if len(conversations) > 1 else self.replies[-1:]
        if "503" in replies:
            raise ItemError("the server is down", code="SERVER_ERROR")
        return [Output(text=text, tokens=1) for text, _ in zip(replies, conversations, strict=True)]


def test_a_reader_answers_from_plain_english(tmp_path: Path):
    file = tmp_path / "questions.jsonl"
    listed = [{"id": str(n), "question": f"Is it {n}?"} for n in range(4)]
    file.write_text(json.dumps({"prompt": "A barista.", "questions": listed}))
    metric = load_metric("caption_questions")(questions=str(file))
    sample = Sample(id="a", prompt="A barista.", caption="Somebody.")
    with pytest.raises(ItemError) as error:
        metric.measure(sample)
    assert error.value.code == "NO_READER"
    metric.reader = Reader("Yes.", "no", "unknown", "I cannot help with that request.")
    found = metric.measure(sample)
    assert [row["right"] for row in found["questions"]] == [True, False, False, None]
    assert (found["value"], found["answered"]) == (pytest.approx(1 / 3), 0.75)
    metric.reader = Reader("Yes.", "no", "unknown", "503")
    with pytest.raises(ItemError) as error:
        metric.measure(sample)
    assert (
        error.value.code == "SERVER_ERROR"
    )  # it says nothing of the caption: nothing is kept, the next run asks again
    metric.reader = Reader(*["I cannot help with that request."] * 4)
    with pytest.raises(ItemError) as error:
        metric.measure(sample)
    assert error.value.code == "REFUSED"  # no answer, and never a no


@pytest.mark.slow
def test_a_folder_of_made_clips_is_scored_by_command(tmp_path: Path, capsys):
    rows = []
    for index in range(2):
        encode(shown(index).pixels, tmp_path / f"c{index}.mp4", fps=FPS)
        rows.append({"id": f"c{index}", "path": f"c{index}.mp4", "prompt": words(index)})
    write_manifest(rows, tmp_path / "manifest.jsonl")
    captions = tmp_path / "captions.jsonl"
    captions.write_text(
        "".join(json.dumps({"id": f"c{n}", "caption": words(n), "status": "ok"}) + "\n" for n in (0, 1))
    )
    names = "obedience,prompt_facts,caption_questions,question_score[wording=plain]"
    assert main(["score", str(tmp_path), "--captions", str(captions), "--metrics", names, "--json", "-q"]) == 0
    results = {one["name"]: one for one in json.loads(capsys.readouterr().out)["results"]}
    assert results["prompt_facts"]["figures"]["recall"]["value"] == 1
    assert results["caption_questions"]["figures"]["score"]["value"] == 1
    assert results["obedience"]["figures"]["read"]["value"] > 0.9
    assert results["question_score[wording=plain]"]["figures"]["answered"]["value"] > 0.5
