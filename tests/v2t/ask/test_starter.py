"""Asking the shipped starter about clips of its world: what `ask` puts to it is what it would be asked by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cineloop.video.encode import encode
from cineloop.video.worker import DecoderPool
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from v2t.ask.answer import ask, when
from v2t.ask.settings import AskConfig
from v2t.backends import Decoding, open_backend, user_turn
from v2t.cli import main
from v2t.data.notes import Note, notes_prompt
from v2t.long.spans import read_spans


@pytest.fixture(scope="module")
def starter():
    made = open_backend("starter", device="cpu")
    made.load()
    return made


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """Three scenes, 13 s."""
    path = tmp_path_factory.mktemp("world") / "film.mp4"
    encode(render(sample_scene("seen", 77, 3, seconds=(13.0, 13.0)), (96, 96), fps=12.0), path, 12)
    return path


def by_hand(starter, question: str, *videos) -> str:
    return starter.answer([user_turn(question, *videos)], Decoding())[0].text


@pytest.mark.slow
def test_a_moment_is_put_to_the_starter_as_a_clip_of_its_own(starter, film):
    found = ask(film, "What happens at 0:06?", AskConfig(), captioner=starter)
    (start, end), *others = found.windows
    assert not others and start <= 6.0 <= end and end - start <= starter.abilities.window_s == 8.0
    with DecoderPool() as pool:
        frames = pool.decode(film, replace(starter.spec, start_s=start, end_s=end), starter.frame_size)
    assert found.raw == by_hand(starter, f"What happens at {6.0 - start:.1f} seconds?", frames) != ""


@pytest.mark.slow
def test_the_film_is_noted_and_asked_about(starter, film, tmp_path, capsys):
    memory = tmp_path / "notes.jsonl"
    config = AskConfig(notes=memory, style="timed")
    found = ask(film, "What happens first?", config, captioner=starter)
    assert found.look == "notes" and 2 <= len(found.notes) <= 30
    assert all(0 <= note.start_s <= note.end_s <= 13.1 and note.text for note in found.notes)
    assert found.notes[-1].end_s > 8.5, "the last scene is noted, in the film's seconds"
    lines = [Note(start_s=n.start_s, end_s=n.end_s, text=n.text) for n in found.notes]
    assert found.raw == by_hand(starter, notes_prompt(lines, "What happens first?"))
    spans = when(film, found.notes[0].text, config, captioner=starter)
    assert all(0 <= span.start_s <= span.end_s <= 13.1 for span in spans.spans) and spans.windows[0][0] == 0
    command = ["ask", str(film), "--set", "style=timed", "--notes", str(memory), "-q", "--json"]
    assert main([*command, "--when", "a zebra sleeps"]) == 4
    assert json.loads(capsys.readouterr().out)["model"] == f"cineloop-starter@{starter.revision}"


@pytest.mark.slow
def test_a_short_clip_is_asked_when(starter, tmp_path):
    encode(render(sample_scene("seen", 77, 3), (96, 96), fps=12.0), tmp_path / "clip.mp4", 12)
    found = when(tmp_path / "clip.mp4", "the car falls", AskConfig(), captioner=starter)
    with DecoderPool() as pool:
        frames = pool.decode(tmp_path / "clip.mp4", starter.spec, starter.frame_size)
    text = by_hand(starter, "When does this happen: the car falls?", frames)
    assert tuple(span.span for span in found.spans) == read_spans(text, frames.duration_s, bare=True).spans
