"""Asking about a film of coloured scenes: moments, notes, when, memory, the command."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cineloop.errors import ItemError, NothingMatchedError, Notice, UsageError
from cineloop.journal import Journal
from square_film import SCENES, Fake
from v2t.ask.answer import ask, when
from v2t.ask.settings import AskConfig
from v2t.ask.viewer import Viewer
from v2t.backends import Decoding, Output
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig
from v2t.cli import main
from v2t.long.notebook import Notebook, default_path

pytestmark = pytest.mark.usefixtures("one_decoder")


# --- one question
def test_a_short_video_is_looked_at(clip, config):
    fake = Fake()
    found = ask(clip, "What is there?", config, captioner=fake)
    assert found.answer == "I see blue." and found.look == "whole" and found.model == "fake@1"
    assert len(fake.asked) == 1 and not config.notes.exists()
    found = ask(clip, "What happens at 0:02?", config, captioner=fake)
    assert fake.asked[-1][-1].text == "What happens at 2.0 seconds?"
    assert [span.span for span in found.spans] == [(1.0, 3.0)]


def test_a_moment_is_looked_at_in_its_scene_and_told_in_the_films_seconds(film, config):
    fake = Fake()
    found = ask(film, "What happens at 0:22?", config, captioner=fake)
    assert found.look == "window" and found.windows == ((20.0, 25.0),)
    assert fake.asked[-1][-1].text == "What happens at 2.0 seconds?"
    assert found.answer == "a white square jumps from 21.0 to 23.0 seconds"
    assert [span.span for span in found.spans] == [(21.0, 23.0)]
    assert "stands" in ask(film, "What happens at 24.5 seconds?", config, captioner=fake).answer
    found = ask(film, "What is there between 0:11 and 0:14?", config, captioner=fake)
    assert found.answer == "I see blue." and found.windows == ((11.0, 14.0),)
    assert fake.asked[-1][-1].text == "What is there?"


def test_a_long_film_is_answered_from_all_notes_that_match(film, config):
    fake = Fake()
    found = ask(film, "How many red squares jump?", config, captioner=fake)
    assert found.look == "notes" and found.answer == "3 notes, the first at 0:01."
    assert [(n.start_s, n.end_s, n.text) for n in found.notes] == [
        (s + 1.0, s + 3.0, "a red square jumps.") for s in (0.0, 15.0, 30.0)
    ]
    assert found.spans[0].start_s == 1.0
    assert fake.asked[-1][-1].text.startswith("Notes:\n0:01-0:03 a red square jumps.\n0:16-0:18 a red")
    looked = sum(bool(message.videos) for turn in fake.asked for message in turn)
    assert looked == len(SCENES)
    ask(film, "How many blue squares jump?", config, captioner=fake)
    assert sum(bool(m.videos) for turn in fake.asked for m in turn) == looked, "the notes were taken twice"


def test_a_stretch_too_long_for_one_look_is_answered_from_its_own_notes(film, config):
    fake = Fake()
    found = ask(film, "What does the red square do between 0:10 and 0:22?", config, captioner=fake)
    assert [note.start_s for note in found.notes] == [16.0]
    assert sum(bool(m.videos) for turn in fake.asked for m in turn) == 3, "only the stretch is noted"


def test_looks_that_are_asked_for(film, config):
    fake = Fake()
    whole = ask(film, "What is there?", replace(config, look="whole"), captioner=fake)
    assert whole.answer == "I see red, green, blue, white." and len(fake.asked) == 1
    notes = ask(film, "What happens at 0:22?", replace(config, look="notes"), captioner=fake)
    assert notes.look == "notes" and [note.start_s for note in notes.notes] == [21.0]


def test_few_tokens_leave_notes_out_and_say_so(film, config):
    found = ask(film, "How many squares jump?", replace(config, notes_tokens=64), captioner=Fake())
    assert 1 <= len(found.notes) < len(SCENES)
    assert any(warning.code == "NOTES_LEFT_OUT" for warning in found.warnings)


def test_what_the_film_is_about_is_summed_up_to_fit(film, config):
    fake = Fake()
    found = ask(film, "Tell me about it.", replace(config, notes_tokens=64), captioner=fake)
    assert [note.text for note in found.notes] == ["8 notes, the first at 0:01."]
    assert (found.notes[0].start_s, found.notes[0].end_s) == (1.0, 38.0)
    before = len(fake.asked)
    ask(film, "Tell me about it.", replace(config, notes_tokens=64), captioner=fake)
    assert len(fake.asked) == before + 1, "the summary was not kept"


@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_captioner_is_asked_as_it_allows(film, config, concurrency):
    found = ask(film, "How many red squares jump?", config, captioner=Fake(concurrency))
    assert found.answer == "3 notes, the first at 0:01."


# --- when
def test_when_in_a_long_film(film, config):
    found = when(film, "a red square jumps.", config, captioner=Fake())
    assert [span.span for span in found.spans] == [(1.0, 3.0), (16.0, 18.0), (31.0, 33.0)]
    assert all(span.is_seen and span.score == 1.0 and "red" in span.note for span in found.spans)
    asked = ask(film, "When does the blue square jump?", config, captioner=Fake())
    assert asked.look == "when" and asked.answer == "0:11.0-0:13.0, 0:36.0-0:38.0"
    assert when(film, "a zebra sleeps", config, captioner=Fake()).spans == ()


def test_when_looks_at_the_best_windows_only_and_says_that_there_are_more(film, config):
    fake = Fake()
    ask(film, "How many?", config, captioner=fake)
    fake.asked.clear()
    found = when(film, "a red square jumps", replace(config, top=2), captioner=fake)
    assert len(found.spans) == 2 and len(fake.asked) == 2
    assert found.warnings == (Notice("MORE_MATCH", "1 more windows may show it; top=3 looks at them too"),)
    assert len(when(film, "a zebra sleeps", replace(config, top=0), captioner=fake).windows) == len(SCENES)


def test_an_answer_without_a_time_is_told_and_the_note_stands(film, config):
    fake = Fake()
    fake.when = "yes, quite early"
    found = when(film, "a white square jumps", replace(config, top=1), captioner=fake)
    assert [(span.span, span.is_seen) for span in found.spans] == [((21.0, 23.0), False)]
    assert str(found.warnings[0]).startswith("NO_TIME: asked about 0:20.0-0:25.0, the model named no time: 'yes, quite")


def test_when_in_a_short_video(clip, config):
    assert [s.span for s in when(clip, "a blue square jumps", config, captioner=Fake()).spans] == [(1.0, 3.0)]
    assert when(clip, "a red square jumps", config, captioner=Fake()).answer == "it does not happen"


# --- memory
def test_notes_are_taken_where_a_killed_run_stopped(film, config):
    class Killed(BaseException):
        pass

    fake = Fake()
    with Viewer(config, fake) as viewer:
        notebook = Notebook(viewer.video(film), viewer.captioner, path=config.notes, batch_size=config.batch_size)

        def advance(done: int, total: int) -> None:
            if done == 6:
                raise Killed

        with pytest.raises(Killed):
            notebook.notes(notebook.video.windows(), advance)
    with open(config.notes, "ab") as file:
        file.write(b'{"kind":"part","start_s":30.0,"en')  # a line torn by the kill
    assert len(fake.asked) == 6
    again = Fake()
    found = ask(film, "How many red squares jump?", config, captioner=again)
    assert sum(bool(m.videos) for turn in again.asked for m in turn) == 2 and found.answer.startswith("3 notes")
    with Journal(config.notes, writable=False) as journal:
        kinds = [entry["kind"] for entry, _ in journal.replay()]
    assert kinds == ["notebook", "cuts", *["part"] * 8]


def test_notes_on_something_else_are_refused(film, clip, config, tmp_path):
    ask(film, "How many?", config, captioner=Fake())
    for other in (replace(config, window_s=4.0), replace(config, style="timed")):
        with pytest.raises(UsageError, match="other settings"):
            ask(film, "How many?", other, captioner=Fake())
    poem = tmp_path / "poem.txt"
    poem.write_text("roses are red\n")
    with pytest.raises(UsageError, match="already exists"):
        ask(film, "How many?", replace(config, notes=poem), captioner=Fake())
    assert poem.read_text() == "roses are red\n"


def test_notes_have_a_place_of_their_own_for_each_video_and_model(film, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    ask(film, "How many?", AskConfig(), captioner=Fake())
    assert len(list((tmp_path / "cache/cineloop/notes").glob("*.jsonl"))) == 1
    one = {"video": "a", "revision": "1"}
    assert default_path(one) != default_path({**one, "revision": "2"}) and default_path(one) == default_path(dict(one))


def test_a_window_that_fails_is_told_and_tried_again_later(film, config):
    fake = Fake()
    fake.fail["Note every event"] = ItemError("too bright", code="MODEL_ERROR")
    found = ask(film, "How many red squares jump?", config, captioner=fake)
    assert found.notes == () and str(found.warnings[0]).startswith(
        "MODEL_ERROR: no notes on 0.0-5.0 s: too bright (and 7"
    )
    assert ask(film, "How many red squares jump?", config, captioner=Fake()).answer.startswith("3 notes")


@pytest.mark.slow
def test_the_captions_of_a_run_are_notes(film, clip, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    captions = tmp_path / "captions"
    caption.run([str(film)], captions, CaptionConfig(parts="scene:8", style="notes"), captioner=Fake())
    before = {path: path.read_bytes() for path in captions.rglob("*") if path.is_file()}
    renamed = Path(shutil.copy(film, tmp_path / "renamed.mp4"))
    config, fake = AskConfig(notes=captions), Fake()
    found = ask(renamed, "How many red squares jump?", config, captioner=fake)
    assert found.answer == "3 notes, the first at 0:01." and found.look == "notes"
    for _ in range(2):
        found = ask(film, "Tell me about it.", replace(config, notes_tokens=64), captioner=fake)
        assert found.notes[0].text == "8 notes, the first at 0:01."
    assert not any(message.videos for turn in fake.asked for message in turn), "the film was watched again"
    assert len(fake.asked) == 1 + 2 + 1, "the summary was not kept"
    found = when(film, "a red square jumps", replace(config, top=3), captioner=fake)
    assert [(span.span, span.is_seen) for span in found.spans] == [((s + 1, s + 3), True) for s in (0, 15, 30)]
    assert len(found.windows) == 3, "only windows whose notes fit are watched again"
    with pytest.raises(NothingMatchedError, match="holds no captions of .*clip.mp4"):
        ask(clip, "What is there?", replace(config, look="notes"), captioner=fake)
    with pytest.raises(NothingMatchedError, match="there is no folder of captions .*captons"):
        ask(film, "What is there?", AskConfig(notes=tmp_path / "captons"), captioner=fake)
    assert {path: path.read_bytes() for path in captions.rglob("*") if path.is_file()} == before


@pytest.mark.slow
def test_one_caption_of_a_whole_film_is_one_note(film, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    caption.run([str(film)], tmp_path / "captions", CaptionConfig(), captioner=Fake())
    found = ask(film, "What is seen between 0:10 and 0:35?", AskConfig(notes=tmp_path / "captions"), captioner=Fake())
    assert [(note.start_s, note.end_s, note.text) for note in found.notes] == [
        (0.0, 40.0, "I see red, green, blue, white.")
    ]


# --- bad input
def test_bad_input_is_said_in_plain_words(film, clip, config, tmp_path):
    with pytest.raises(UsageError, match="the video is 0:40.0 long, so there is nothing at 34:22"):
        ask(film, "What happens at 34:22?", config, captioner=Fake())
    for question in ("", "  \n"):
        with pytest.raises(UsageError, match="the question is empty"):
            ask(clip, question, config, captioner=Fake())
    with pytest.raises(UsageError, match="statement is empty"):
        when(clip, " . ", config, captioner=Fake())
    with pytest.raises(NothingMatchedError, match="there is no file"):
        ask(tmp_path / "none.mp4", "Who?", config, captioner=Fake())
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(ItemError):
        ask(tmp_path / "text.mp4", "Who?", config, captioner=Fake())
    for wrong in ({"top": -1}, {"window_s": 0.1}, {"look": "twice"}, {"notes_tokens": 1}):
        with pytest.raises(UsageError):
            AskConfig(**wrong)


# --- the command
@pytest.fixture
def fake_command(monkeypatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr("v2t.ask.viewer.open_backend", lambda model, **options: fake)
    return fake


@pytest.mark.slow
def test_the_command_prints_answers_and_spans(film, clip, tmp_path, capsys, fake_command):
    memory = ["--notes", str(tmp_path / "notes.jsonl"), "-q"]
    assert main(["ask", str(clip), "What is there?"]) == 0
    assert capsys.readouterr().out == "I see blue.\n"
    assert main(["ask", str(clip), "--look", "whole", "What is there?"]) == 0, "options before the question"
    assert capsys.readouterr().out == "I see blue.\n"
    assert main(["ask", str(film), "--when", "a blue square jumps", *memory]) == 0
    assert capsys.readouterr().out == "0:11.0-0:13.0\ta blue square jumps.\n0:36.0-0:38.0\ta blue square jumps.\n"
    assert main(["ask", str(clip), "--when", "a red square jumps", "--json"]) == 4
    assert json.loads(capsys.readouterr().out)["spans"] == []
    assert main(["ask", str(film), "What happens at 0:22?", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert row["spans"] == [{"start_s": 21.0, "end_s": 23.0, "text": "0:21.0-0:23.0"}] and row["model"] == "fake@1"


@pytest.mark.slow
def test_a_file_of_questions_is_answered_by_one_start(film, clip, tmp_path, capsys, monkeypatch, fake_command):
    questions = tmp_path / "questions.txt"
    questions.write_text("\ufeffWhat is there?\n\n  What happens at 59:00?\r\nWhat else?\n", encoding="utf-8")
    loads = []
    monkeypatch.setattr(fake_command, "load", lambda: loads.append(1))
    assert main(["ask", str(clip), "--questions", str(questions)]) == 3
    out, err = capsys.readouterr()
    assert out == "What is there?\tI see blue.\nWhat happens at 59:00?\t\nWhat else?\tI see blue.\n"
    assert "59:00" in err and len(loads) == 1
    assert main(["ask", str(clip), "--questions", str(questions), "--json"]) == 3
    first, failed, last = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["answer"] == last["answer"] == "I see blue."
    assert failed["question"] == "What happens at 59:00?" and failed["error"]["code"] == "BEYOND_END"
    questions.write_text("What is there?\n")
    assert main(["ask", str(clip), "--questions", str(questions), "-q"]) == 0


# --- a model that fails
class Full(Fake):
    """Has memory for one window at once."""

    def answer(self, conversations, decoding: Decoding) -> list[Output]:
        if len(conversations) > 1:
            raise MemoryError("CUDA out of memory")
        return super().answer(conversations, decoding)


def test_windows_that_do_not_fit_together_are_looked_at_one_by_one(film, config):
    expected = ask(film, "What is this film about?", replace(config, notes=None), captioner=Fake())
    found = ask(film, "What is this film about?", config, captioner=Full())
    assert found == expected and len(found.notes) > 4 and found.warnings == ()
    found = when(film, "a green square jumps", config, captioner=Full())
    assert [span.span for span in found.spans] == [(6.0, 8.0), (26.0, 28.0)]


def test_a_model_that_fails_on_a_question_is_an_error_with_a_code(film, clip, config):
    fake = Fake()
    fake.fail["What is there"] = MemoryError("CUDA out of memory")
    fake.fail["Note every event"] = RuntimeError("index out of range")
    with pytest.raises(ItemError, match="out of memory") as caught:
        ask(clip, "What is there?", config, captioner=fake)
    assert caught.value.code == "OUT_OF_MEMORY"
    found = ask(film, "What is this film about?", config, captioner=fake)
    assert not found.notes and any(w.code == "MODEL_ERROR" for w in found.warnings)
