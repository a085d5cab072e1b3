"""Questions by a language model, from the command to the file to the metrics; the server is a stand-in."""

from __future__ import annotations

import json

import pytest

from cineloop.errors import UsageError
from metric_results import judged_by
from openai_server import serving
from scripted_captioner import Scripted
from small_clips import grey, sample
from v2t.backends import Output
from v2t_eval.cli import main
from v2t_eval.core.metric import load_metric
from v2t_eval.semantics.sources import open_source

PROMPT = "A stylish woman walks down a Tokyo street."
ROWS = [
    {"id": "1", "question": "Is there a woman?", "parents": [0], "about": "kind"},
    {"id": "2", "question": "Is the woman stylish?", "parents": ["1"], "about": "other"},
    {"id": "3", "question": "Is the woman happy?", "parents": ["1"]},
]
VERDICTS = {"1": "yes", "2": "yes", "3": "unknown"}


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with serving() as made:
        made.replies = [json.dumps(ROWS), json.dumps(VERDICTS)]
        yield made


class Speaker(Scripted):
    """A judge's captioner that says yes to what a table holds."""

    name = "speaker"

    def __init__(self, *yes: str) -> None:
        self.yes = yes

    def answer(self, conversations, decoding):
        text = conversations[0][0].text
        return [Output(text="yes" if any(q in text for q in self.yes) else "no", tokens=1)]


def judged(name: str, captioner: Speaker, prompt: str, **settings):
    return judged_by(captioner, name, sample(grey(num=8, size=(64, 64), fps=8), "a", prompt=prompt), **settings)


def test_a_model_makes_questions_that_are_read_edited_and_taken_by_the_metric(server, tmp_path, capsys):
    file = tmp_path / "questions.jsonl"
    assert main(["questions", PROMPT, "--questions", server.address, "-o", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "Is the woman stylish?  (if 1)" in shown and "Is the woman happy?  dropped: not entailed" in shown
    (row,) = [json.loads(line) for line in file.read_text().splitlines()]
    assert [q["question"] for q in row["questions"]] == ["Is there a woman?", "Is the woman stylish?"]
    assert main(["questions", PROMPT, "--questions", server.address, "-o", str(file)]) == 2, "nothing is overwritten"

    row["questions"].append({"id": "9", "question": "Is the street in Tokyo?"})
    file.write_text(json.dumps(row) + "\n")
    speaker = Speaker("Is there a woman?", "Is the street in Tokyo?")
    result = judged("question_score", speaker, PROMPT, questions=str(file))
    assert result.figures["accuracy"].value == pytest.approx(2 / 3) and result.counts["questions"] == 3
    assert result.fingerprint["questions"].startswith("file ") and len(server.seen) == 2
    other = judged("question_score", speaker, "A dog.", questions=str(file))
    assert [failure["code"] for failure in other.failures] == ["NO_QUESTIONS"]


def test_metrics_ask_what_the_model_wrote_and_ask_it_once(server):
    speaker = Speaker("Is there a woman?")
    result = judged("question_score", speaker, PROMPT, questions=server.address)
    assert (
        result.figures["dsg"].value == pytest.approx(0.5) and result.counts["dropped: not entailed by the prompt"] == 1
    )
    assert result.fingerprint["questions"].startswith("tiny@") and "asked" not in result.figures
    vqa = judged("vqascore", Speaker("Is there a woman?", "Is the woman stylish?"), PROMPT, questions=server.address)
    assert vqa.value == pytest.approx(1.0) and set(vqa.items[0]["questions"]) == {
        "Is there a woman?",
        "Is the woman stylish?",
    }
    assert len(server.seen) == 2, "cached by prompt, model and template"


def test_the_grammar_tells_what_it_asks_nothing_of(capsys):
    assert main(["questions", "A fox naps on a log, moody, 8k."]) == 0
    shown = capsys.readouterr().out
    assert "Is the fox napping on a log?" in shown and "no question about: 8k" in shown
    result = judged("question_score", Speaker("fox"), "A fox naps on a log, moody, 8k.")
    assert result.counts["nothing_asked_parts"] == 2 and 0 < result.figures["asked"].value < 1
    assert result.items[0]["nothing_asked"] == ["moody", "8k"]
    assert any('"moody", "8k"' in note for note in result.notes)
    assert main(["questions", "Moody vibes.", "A dog."]) == 3


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ('{"questions": []}\n', "row 1: its `prompt` is missing"),
        ('{"prompt": "a", "questions": []}\n{"prompt": "a", "questions": []}\n', "row 2: its `prompt` comes twice"),
        ('{"prompt": "a", "questions": [{"id": 1}]}\n', "question 1 has no text"),
    ],
)
def test_a_file_of_another_form_is_refused_by_its_row(tmp_path, text, match):
    (tmp_path / "q.jsonl").write_text(text)
    with pytest.raises(UsageError, match=match):
        open_source(str(tmp_path / "q.jsonl"))


def test_questions_have_no_place_in_vqascores_one_question():
    for settings in ({"mode": "compat"}, {"wording": "figure"}):
        with pytest.raises(UsageError, match="has no effect"):
            load_metric("vqascore")(questions="q.jsonl", **settings)
