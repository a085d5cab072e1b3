"""Captions of clips: by a model of v2t caption, or from a file; what is wrong with them; the second try."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pyarrow import parquet

from cineloop.discovery import discover
from cineloop.errors import UsageError
from planted_films import FPS, SIZE, write
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.curate.clip import FilmClip, Links
from v2t_eval.curate.recipe import read_plan
from v2t_eval.curate.run import curate
from v2t_eval.curate.step import Work
from v2t_eval.curate.steps import caption, caption_check
from v2t_eval.curate.table import PARQUET
from v2t_eval.text.caption_faults import LANGUAGES, faults, is_refusal, other_language, other_script, repetition

BACKEND = """
from pathlib import Path
from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities

class Backend(VideoLM):
    name, revision, frame_size, concurrency = "levels", "1", None, 1
    abilities = Abilities()
    spec = SampleSpec(num_frames=2)

    def __init__(self, model, *, device="auto", dtype="auto"):
        pass

    def load(self):
        pass

    def answer(self, conversations, decoding):
        found = []
        for turns in conversations:
            level = 10 * round(float(turns[-1].videos[0].pixels.mean()) / 10)
            with open(Path(__file__).with_suffix(".asked"), "a") as log:
                print(level, decoding.temperature, decoding.seed, file=log)
            shy = level < 100 and not decoding.temperature
            found.append(Output(text="I'm sorry, I cannot see it." if shy else f"A wall of grey {level}.", tokens=4))
        return found
"""


def grey(level: int, num: int = 30) -> np.ndarray:
    return np.full((num, *SIZE, 3), level, np.uint8)


@pytest.fixture
def films(tmp_path):
    folder = tmp_path / "films"
    write(folder / "bright.mp4", grey(200), grey(120, round(2.5 * FPS)))
    write(folder / "dark.mp4", grey(50))
    return folder


def curated(films, out, *sets):
    plan = read_plan(
        None, ["steps=[probe, split, shape, caption, caption_check]", "settings.split.shortest_s=1", *sets]
    )
    curate(discover([str(films)]), plan, out, ExecutorConfig(cache=out / ".cineloop"))
    return {row["id"]: row for row in parquet.read_table(out / PARQUET).to_pylist()}


@pytest.mark.slow
def test_each_clip_that_is_left_is_captioned_once_and_a_faulty_caption_is_asked_again(films, tmp_path):
    backend = tmp_path / "levels.py"
    backend.write_text(BACKEND)
    model = ["settings.caption.model=x", f"settings.caption.captioner={backend}"]
    found = curated(films, tmp_path / "set", *model, "limits.duration_s.least=1.1", "limits.caption_refusal.most=0")
    captions = sorted((row["source"], row["caption"], row["scores"]["caption_tries"]) for row in found.values())
    assert captions == [
        ("bright.mp4", "A wall of grey 120.", 1), ("bright.mp4", "A wall of grey 200.", 1),
        ("dark.mp4", "A wall of grey 50.", 2),
    ]  # fmt: skip
    asked = backend.with_suffix(".asked").read_text().splitlines()
    assert sorted(asked) == ["120 0.0 0", "200 0.0 0", "50 0.0 0", "50 0.7 1"]
    curated(films, tmp_path / "set", *model, "limits.duration_s.least=1.2")  # another limit: nothing is asked again
    assert backend.with_suffix(".asked").read_text().splitlines() == asked
    assert all(row["kept"] for row in found.values())


@pytest.mark.slow
def test_captions_of_a_file_are_taken_by_id_and_unknown_ids_are_reported(films, tmp_path, caplog):
    given = tmp_path / "mine.jsonl"
    lines = [("dark.mp4", "Night  over a wall."), ("bright.mp4", "Of several clips."), ("gone.mp4", "Nothing.")]
    given.write_text("".join(json.dumps({"id": id, "captions": [text]}) + "\n" for id, text in lines))
    found = curated(films, tmp_path / "set", f"settings.caption.captions={given}", "limits.caption_words.least=1")
    assert sorted(row["caption"] or "" for row in found.values()) == ["", "", "Night over a wall."]
    assert [drop["rule"] for row in found.values() for drop in row["drops"]] == ["caption_words.least"] * 2
    assert [record.getMessage() for record in caplog.records if "mine" in record.getMessage()] == [
        "mine.jsonl holds 1 caption of no clip, for example of gone.mp4",
        "mine.jsonl holds 1 caption of films with several clips, for example of bright.mp4",
    ]


@pytest.mark.parametrize(
    "text",
    ["I'm sorry, but I can't help with that.", "As an AI language model, I see frames.", "Please upload a video.",
     "I cannot view the clip.", "There is no video attached."],
)  # fmt: skip
def test_refusals_are_told(text):
    assert is_refusal(text) and faults(text) == ["refusal"]


@pytest.mark.parametrize("text", ["A woman cannot see the dog behind her.", "A sorry figure walks off.", "The AI lab."])
def test_captions_about_people_are_no_refusals(text):
    assert faults(text) == []


def test_repetition_length_and_script():
    assert repetition("a dog runs " * 10) > 0.8 and faults("a dog runs " * 10) == ["repeats"]
    assert repetition("A dog runs to the left, and a cat to the right.") == 0.0
    assert faults("A dog.") == ["short"]
    assert other_script("Ein Hund läuft", "latin") == 0.0 and other_script("собака dog", "latin") == pytest.approx(
        2 / 3
    )
    assert other_script("1 2 3", "latin") == 0.0


SENTENCES = {
    "de": "Ein roter Ball rollt über die Wiese und ein Hund läuft mit dem Kind.",
    "en": "A red ball rolls over the meadow and a dog runs with the child.",
    "es": "Una pelota roja rueda por el prado y un perro corre con el niño.",
    "fr": "Une balle rouge roule dans le pré et un chien court avec la fille.",
    "it": "Una palla rossa rotola sul prato e un cane corre con il bambino.",
    "nl": "Een rode bal rolt over het gras en een hond rent met het kind.",
    "pt": "Uma bola vermelha rola no gramado e um cão corre com o menino.",
}


@pytest.mark.parametrize("asked", LANGUAGES)
def test_captions_in_another_language_of_the_same_script_are_known(asked):
    assert {name: other_language(text, asked) for name, text in SENTENCES.items()} == {
        name: float(name != asked) for name in LANGUAGES
    }
    assert other_language("Red ball. Green hill.", asked) == 0.0  # nothing tells
    with pytest.raises(UsageError, match="language must be one of de, en"):
        caption_check.Step(language="english")


def test_model_and_judge_are_asked_of_clips_with_captions_alone(tmp_path):
    asked = []

    def evidence(metric, clips, sampling):
        asked.append((metric.name, [clip.id for clip in clips]))
        return {"a": {"value": 0.25}}

    step = caption_check.Step(model="starter", judge="v2t")
    step.work = Work(folder=tmp_path, evidence=evidence, file=None)
    clips = [FilmClip(id="a", source="x", links=Links(caption="A red ball rolls.")), FilmClip(id="b", source="x")]
    found = step.compare(clips).columns
    assert asked == [("clipsim", ["a"]), ("vqascore", ["a"])]
    assert (
        found["caption_match"] == found["caption_true"] == [0.25, None] == [found["caption_repeats"][0] or 0.25, None]
    )
    assert caption_check.Step().compare(clips[:1]).columns["caption_match"] == [None]


@pytest.mark.parametrize(
    "row",
    [
        {"caption": "A ball."},
        {"captions": "A ball."},
        {"captions": ["A ball.", "A red ball."]},
        {"captions": {"short": ["A ball."], "long": ["A red ball rolls."]}},
    ],
)
def test_captions_have_the_forms_of_a_manifest_and_of_a_record(tmp_path, row):
    path = tmp_path / "c.jsonl"
    path.write_text(json.dumps({"id": "a", **row}) + "\n" + '{"id": "b", "captions": {}}\n{"id": "c", "captions": 3}\n')
    assert caption.read_captions(path) == {"a": "A ball."}


def test_a_caption_without_an_id_is_refused(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"caption": "x"}\n')
    with pytest.raises(Exception, match="line 1: expected an id, got None"):
        caption.read_captions(path)


def test_a_rejected_caption_is_none(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"id": "a", "caption": "x", "review": "rejected"}\n{"id": "b", "caption": "y"}\n')
    assert caption.read_captions(path) == {"b": "y"}
