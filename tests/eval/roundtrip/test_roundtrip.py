"""The round trip on planted captions and answers: calibration, cells, guards, stops and failures, end to end."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from cineloop.errors import ItemError, MissingDependencyError, NothingMatchedError, UsageError
from cineloop.manifest import write_manifest
from cineloop.video.encode import encode
from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from scripted_captioner import Scripted
from v2t.backends import Output
from v2t_eval.judge.answer import Answer
from v2t_eval.metrics import caption_questions, event_f1
from v2t_eval.roundtrip.run import plan, run
from v2t_eval.roundtrip.settings import RoundtripConfig

pytestmark = pytest.mark.slow  # every test goes through all stages
COLORS = ("red", "blue", "green", "yellow")
KINDS = ("ball", "dog", "car")
PROMPTS = [f"A {color} {kind} moves slowly to the left on the beach." for kind in KINDS for color in COLORS]
PLAIN = [f"A barista pours {what} in a {where}." for what in ("milk", "tea") for where in ("cafe", "kitchen", "bar")]


def number_of(frames):
    """Which prompt a gray clip stands for."""
    return round(float(frames.pixels.mean()) / 20)


class Planted(Scripted):
    """A captioner that knows gray levels, and nothing else: `captions` by number, an empty one refuses."""

    name, spec = "planted", SampleSpec(num_frames=2)

    def __init__(self, captions):
        self.captions, self.asked = captions, 0

    def load(self):
        """Nothing to load."""

    def answer(self, conversations, decoding):
        self.asked += len(conversations)
        return [Output(text=self.captions[number_of(turns[-1].videos[0])], tokens=3) for turns in conversations]


class PlantedJudge:
    """A judge that holds that clip n shows `shown[n]`: by kind of fact the answer, else no answer."""

    name = "planted"

    def __init__(self, shown):
        self.shown, self.asked = shown, 0

    def load(self):
        """Nothing to load."""

    def fingerprint(self):
        return {"judge": "planted@1", "answers": "as planted"}

    def is_outside(self, subject):
        return False

    def why_unread(self, prompt):
        return ""

    def askable(self, subject, questions):
        return questions

    def answer(self, subject, questions):
        self.asked += len(questions)
        told = self.shown[number_of(subject.frames)]
        found = []
        for question in questions:
            said = told.get(question.id)
            if said is None:
                found.append(Answer(question=question, status="refused", lost=1, code="REFUSED"))
            else:
                found.append(Answer(question=question, text=said, chance=float(said == question.answer)))
        return found


def clips_of(folder, prompts, names=None, **more):
    """A folder with one gray clip a prompt and their manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for number, prompt in enumerate(prompts):
        name = names[number] if names else f"c{number:02d}.mp4"
        encode(np.full((4, 16, 16, 3), 20 * number, np.uint8), folder / name, fps=4)
        rows.append({"id": f"c{number:02d}", "path": name, "prompt": prompt, **more})
    write_manifest(rows, folder / "manifest.jsonl")
    return folder


def config(folder, **more):
    given = {"sentence": "none", "ceiling": False, "judge": "none", **more}
    return RoundtripConfig(clips=folder, **given)


def family(found, name):
    return next(one for one in found.families if one.name == name).figures


def cells(found, side="generator", who="judge", kind="all"):
    return next(one for one in found.cells if (one.side, one.who, one.kind) == (side, who, kind))


@pytest.fixture(scope="module")
def gray(tmp_path_factory):
    return clips_of(tmp_path_factory.mktemp("gray") / "clips", PROMPTS)


def test_perfect_captions_are_at_the_ceiling(gray, tmp_path):
    found = run(config(gray, ceiling=True, reference_clips=gray), tmp_path / "o", captioner=Planted(PROMPTS))
    for name in ("facts", "facts_f1", "questions", "events", "cider"):
        told = family(found, name)
        assert told.corrected.value == pytest.approx(1), name
        assert told.ceiling_corrected.value == pytest.approx(1), name
        assert told.auroc.value == told.ceiling_auroc.value == 1, name
        assert abs(told.deranged.value) < 0.1, name
    assert family(found, "facts").deranged.low <= 0 <= family(found, "facts").deranged.high
    assert found.exit_code == 0
    assert found.counts["mismatched_pairs"] == 8 * 12


def test_captions_of_other_prompts_are_at_chance(gray, tmp_path):
    wrong = [PROMPTS[(5 * number + 3) % 12] for number in range(12)]
    found = run(config(gray), tmp_path / "o", captioner=Planted(wrong))
    told = family(found, "facts")
    assert told.corrected.low <= 0.1
    assert told.auroc.low <= 0.5 <= told.auroc.high
    assert any("no ceiling" in note for note in found.notes)


def test_planted_cells_come_out(gray, tmp_path):
    """Of each clip the judge sees the colour of the prompt, or blue; the caption tells that colour, or green."""
    captions = [re.sub(r"A \w+", "A red" if number % 2 else "A green", text) for number, text in enumerate(PROMPTS)]
    shown = [{"color": "red" if number < 6 else "blue"} for number in range(12)]
    judge = PlantedJudge(shown)
    found = run(config(gray), tmp_path / "o", captioner=Planted(captions), judge=judge)
    wanted = [COLORS[number % 4] for number in range(12)]
    clip = [shown[number]["color"] == wanted[number] for number in range(12)]
    told = [("red" if number % 2 else "green") == wanted[number] for number in range(12)]
    expected = {
        "kept": sum(c and t for c, t in zip(clip, told, strict=True)),
        "lost_by_captioner": sum(c and not t for c, t in zip(clip, told, strict=True)),
        "made_up_by_captioner": sum(t and not c for c, t in zip(clip, told, strict=True)),
        "lost_by_generator": sum(not c and not t for c, t in zip(clip, told, strict=True)),
    }
    color = cells(found, kind="color")
    assert {name: round(share.value * 12) for name, share in color.shares.items()} == expected
    assert (color.n, color.unanswered) == (12, 0)
    assert cells(found, kind="kind").unanswered == 12  # refused: counted apart, never a no
    assert cells(found).n == 12
    assert family(found, "clip_judge").generator.value == pytest.approx(sum(clip) / 12)
    worst = found.clips[0]
    assert any(line.startswith("color, ") and "judge:" in line for line in worst.lost)


def test_nothing_is_asked_twice(gray, tmp_path):
    captioner, judge = Planted(PROMPTS), PlantedJudge([{"color": "red"}] * 12)
    first = run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    asked = captioner.asked, judge.asked
    assert asked[0] == 12
    second = run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    assert (captioner.asked, judge.asked) == asked
    assert second.families == first.families
    assert second.cells == first.cells
    more = run(config(gray, limit=4), tmp_path / "o", captioner=captioner, judge=judge)
    assert captioner.asked == 12
    assert more.counts["prompts"] == 4


class Hiccups(PlantedJudge):
    """A judge whose server is down at first."""

    down = True

    def answer(self, subject, questions):
        found = super().answer(subject, questions)
        failed = [Answer(question=one.question, status="failed", lost=1, code="SERVER_ERROR") for one in found]
        return failed if self.down else found


@pytest.mark.long
def test_what_failed_for_now_is_asked_again(gray, tmp_path, monkeypatch):
    """A server that was down and a decoder that was slow once say nothing about the clip; a refusal does."""
    judge = Hiccups([{"color": "red"}] * 12)
    captioner = Planted(PROMPTS)
    run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    judge.down = False
    real, slow = DecoderPool.decode, iter([True])
    monkeypatch.setattr(
        DecoderPool, "decode", lambda *args, **more: _timeout() if next(slow, False) else real(*args, **more)
    )
    run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    second = run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    fresh = run(config(gray), tmp_path / "fresh", captioner=captioner, judge=PlantedJudge([{"color": "red"}] * 12))
    assert second.cells == fresh.cells and second.families == fresh.families
    asked = judge.asked
    run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    assert judge.asked == asked


def _no_judge(name):
    raise MissingDependencyError("no judge of events")


def _timeout():
    raise ItemError("decoding took more than 1 s", code="DECODE_TIMEOUT")


def test_a_reader_that_failed_is_asked_again(tmp_path, monkeypatch):
    class Down(Reader):
        down = True

        def answer(self, conversations, decoding):
            if self.down:
                raise ItemError("503", code="SERVER_ERROR")
            return super().answer(conversations, decoding)

    reader = Down([])
    monkeypatch.setattr(caption_questions, "open_backend", lambda name, device: reader)
    monkeypatch.setattr(event_f1, "open_judge", _no_judge)
    given = config(clips_of(tmp_path / "clips", PLAIN), reader="planted")
    run(given, tmp_path / "o", captioner=Planted(PLAIN))
    reader.down = False
    assert family(run(given, tmp_path / "o", captioner=Planted(PLAIN)), "questions").generator.value == 1


def test_a_broken_clip_and_an_empty_caption_are_counted_and_no_zero(gray, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(gray, folder)
    (folder / "c03.mp4").write_bytes(b"no video")
    (folder / "c05.mp4").unlink()
    found = run(config(folder), tmp_path / "o", captioner=Planted([*PROMPTS[:7], "", *PROMPTS[8:]]))
    assert found.exit_code == 3
    assert (found.counts["captioned"], found.counts["failed"]) == (9, 3)
    told = next(one for one in found.families if one.name == "facts")
    assert (told.scored, told.expected, told.figures.prompts) == (9, 12, 9)
    assert told.figures.generator.value == 1
    failed = {row.id: row.error["code"] for row in found.clips if row.error}
    assert failed == {"c03": "NOT_MEDIA", "c05": "NOT_FOUND", "c07": "BAD_CAPTION"}
    assert r"NOT\_MEDIA" in (tmp_path / "o" / "report.md").read_text()


def test_a_file_named_after_its_prompt_is_renamed_and_told(tmp_path):
    names = [f"{prompt.rstrip('.')}.mp4" for prompt in PROMPTS[:4]]
    folder = clips_of(tmp_path / "clips", PROMPTS[:4], names)
    found = run(config(folder), tmp_path / "o", captioner=Planted(PROMPTS))
    assert any(note.startswith("4 of 4 file names share") for note in found.notes)
    assert all(re.fullmatch(r"made/clips/[0-9a-f]{12}\.mp4", row.path) for row in found.clips)
    shown = (tmp_path / "o" / "shown.jsonl").read_text()
    assert "ball" not in shown


def test_prompts_of_a_file_are_joined_to_clips(gray, tmp_path):
    folder = tmp_path / "clips"
    shutil.copytree(gray, folder)
    (folder / "manifest.jsonl").unlink()
    (tmp_path / "prompts.txt").write_text("\n".join(PROMPTS))
    given = config(folder, prompts=(str(tmp_path / "prompts.txt"),))
    found = run(given, tmp_path / "o", captioner=Planted(PROMPTS))
    assert family(found, "facts").generator.value == 1
    assert [row["action"] for row in plan(given, tmp_path / "o")] == ["bring"] * 12
    with pytest.raises(NothingMatchedError, match="no clip has a prompt"):
        run(config(folder), tmp_path / "p", captioner=Planted(PROMPTS))


def test_plain_english_is_skipped_with_reasons(tmp_path):
    folder = clips_of(tmp_path / "clips", PLAIN)
    found = run(config(folder, judge="auto", sentence="auto", ceiling=True), tmp_path / "o", captioner=Planted(PLAIN))
    assert not found.families
    skipped = {one.metric: one.hint for one in found.skipped}
    assert "--reader" in skipped["questions"]
    assert "--reader" in skipped["events"]
    assert "--sentence" in skipped["sentence"]
    assert "--corpus" in skipped["cider"]
    assert "--judge" in skipped["clip_judge"]
    assert "facts" in skipped
    assert "clip_referee" in skipped
    assert any("no ceiling" in note for note in found.notes)
    assert "Skipped" in (tmp_path / "o" / "report.md").read_text()


class Reader(Planted):
    """Reads yes out of a caption that holds the last word of the question."""

    def answer(self, conversations, decoding):
        self.asked += len(conversations)
        found = []
        for (turn,) in conversations:
            text, question = turn.text.split("\n")
            caption, word = text.split(": ", 1)[1].lower(), question.split("?")[0].split()[-1]
            found.append(Output(text="Yes." if word in caption else "unknown", tokens=1))
        return found


def test_a_language_model_reads_captions_in_plain_english(tmp_path, monkeypatch):
    reader = Reader([])
    monkeypatch.setattr(caption_questions, "open_backend", lambda name, device: reader)
    monkeypatch.setattr(event_f1, "open_judge", _no_judge)
    folder = clips_of(tmp_path / "clips", PLAIN)
    given = config(folder, reader="planted")
    told = family(run(given, tmp_path / "o", captioner=Planted(PLAIN)), "questions")
    assert told.generator.value == 1
    assert told.floor.value < 1
    asked = reader.asked
    run(given, tmp_path / "o", captioner=Planted(PLAIN))
    assert reader.asked == asked


def test_questions_of_a_file_are_asked_instead_of_the_grammars_and_those_that_lack_are_told(tmp_path, monkeypatch):
    reader = Reader([])
    monkeypatch.setattr(caption_questions, "open_backend", lambda name, device: reader)
    monkeypatch.setattr(event_f1, "open_judge", _no_judge)
    file = tmp_path / "questions.jsonl"
    rows = [{"prompt": p, "questions": [{"question": f"Is it {p.rstrip('.').split()[-1]}?"}]} for p in PLAIN[1:]]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    folder = clips_of(tmp_path / "clips", PLAIN)
    given = config(folder, reader="planted", questions=str(file))
    found = run(given, tmp_path / "o", captioner=Planted(PLAIN))
    assert family(found, "questions").generator.value == 1
    assert any("1 of" in note and "have no questions" in note for note in found.notes)
    assert any(f"made by {file}" in note for note in found.notes)


def test_two_prompts_have_no_floor_and_say_so(tmp_path):
    folder = clips_of(tmp_path / "clips", PROMPTS[:2])
    found = run(config(folder), tmp_path / "o", captioner=Planted(PROMPTS))
    assert any("fewer than three prompts" in note for note in found.notes)
    assert family(found, "facts").generator.value == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "no prompts given"),
        ({"world": 3, "prompts": ("a",)}, "--world"),
        ({"clips": Path("x"), "steps": 3}, "--steps"),
        ({"world": 0}, "at least 1"),
        ({"world": 2, "split": "other"}, "split"),
        ({"world": 2, "judge": "gpt"}, "judge"),
    ],
)
def test_settings_that_do_not_fit_are_refused(given, said):
    with pytest.raises(UsageError, match=said):
        RoundtripConfig(**given)


class Stops:
    """Asks the process to stop in the middle of its first answers."""

    def answer(self, *args):
        found = super().answer(*args)
        if not self.stopped:
            self.stopped = True
            os.kill(os.getpid(), signal.SIGINT)
        return found


class StopsJudging(Stops, PlantedJudge):
    """A judge at whose first clip somebody presses Ctrl-C."""

    stopped = False


class StopsCaptioning(Stops, Planted):
    """The same of a captioner."""

    stopped = False


def test_stopped_in_the_middle_it_goes_on_from_there(gray, tmp_path):
    captioner, judge = StopsCaptioning(PROMPTS), StopsJudging([{"color": "red"}] * 12)
    with pytest.raises(KeyboardInterrupt):
        run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    assert (captioner.stopped, judge.stopped) == (True, False)
    with pytest.raises(KeyboardInterrupt):
        run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    assert judge.stopped and 0 < judge.asked
    assert not (tmp_path / "o" / "roundtrip.json").exists()
    found = run(config(gray), tmp_path / "o", captioner=captioner, judge=judge)
    assert found.counts["captioned"] == 12
    assert captioner.asked == 12  # each clip once, over all three runs
    whole = PlantedJudge([{"color": "red"}] * 12)
    run(config(gray), tmp_path / "whole", captioner=Planted(PROMPTS), judge=whole)
    assert judge.asked == whole.asked  # what was answered before the stop was not asked again
