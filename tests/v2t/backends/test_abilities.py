"""What models declare of themselves, and what caption and ask make of it, whichever way the model is run."""

from __future__ import annotations

import json
import shutil

import pytest

from cineloop.errors import MissingDependencyError, UsageError
from v2t.backends import abilities, open_backend
from v2t.backends.abilities import Abilities
from v2t.backends.local import STARTER, revision_of
from v2t.caption.run import ask
from v2t.caption.settings import CaptionConfig

STYLES = ("short", "detailed", "timed", "notes")
SMALL = Abilities(window_s=8.0, can_summarise=False, styles=STYLES, needs_video=True, vocabulary="world")


def serves(monkeypatch, card: dict) -> str:
    """The address of a server with this model."""
    monkeypatch.setattr("v2t.backends.endpoint.Endpoint.card", lambda self, model: card)
    return "openai:http://127.0.0.1:1/v1"


def test_the_starter_declares_the_same_however_it_is_run(tmp_path, monkeypatch):
    url = serves(monkeypatch, {"id": "served", "cineloop": {"abilities": SMALL.to_dict()}})
    monkeypatch.setattr("v2t.backends.vllm.find_spec", lambda name: True)
    copy = shutil.copytree(STARTER, tmp_path / "copy", ignore=shutil.ignore_patterns("dual"))
    for captioner in (
        open_backend("starter"),
        open_backend("starter", captioner="vllm"),
        open_backend(str(copy)),
        open_backend(url),
    ):
        assert captioner.abilities == SMALL
        assert captioner.abilities.window_s == 8.0
        for summary, sums_up in (("auto", False), ("join", False), ("model", True)):
            config = CaptionConfig(model="whatever it is called", parts="scene", summary=summary)
            assert ask(captioner, config).sums_up is sums_up


def test_a_server_that_declares_nothing_is_taken_for_a_large_model(monkeypatch, caplog):
    captioner = open_backend(serves(monkeypatch, {"id": "large"}))
    assert captioner.abilities == Abilities() and captioner.abilities.window_s == 60.0
    assert ask(captioner, CaptionConfig(parts="scene")).sums_up
    odd = open_backend(serves(monkeypatch, {"id": "odd", "cineloop": {"abilities": {"window_s": -1}}}))
    assert odd.abilities == Abilities() and "window_s" in caplog.text


def test_a_full_size_model_of_ours_has_the_window_its_folder_declares(tmp_path):
    copy = shutil.copytree(STARTER, tmp_path / "copy", ignore=shutil.ignore_patterns("dual"))
    before = revision_of(copy)
    (copy / abilities.FILE_NAME).write_text(json.dumps({"window_s": 120, "can_summarise": True, "newer": 1}))
    captioner = open_backend(str(copy))
    assert captioner.abilities == Abilities(window_s=120)
    assert revision_of(copy) == before  # it changes no caption
    (copy / abilities.FILE_NAME).unlink()
    assert open_backend(str(copy)).abilities == abilities.OURS
    for wrong in ("[]", '{"window_s": 0}', '{"window_s": "8"}', '{"styles": [1]}', '{"can_summarise": 1}', "{"):
        (copy / abilities.FILE_NAME).write_text(wrong)
        with pytest.raises(MissingDependencyError, match=r"abilities\.json"):
            open_backend(str(copy))


def test_a_style_the_model_was_not_trained_on_is_refused_and_other_words_warned_of(caplog):
    starter = open_backend("starter")
    for style in ("tags", "structured"):
        with pytest.raises(UsageError, match="short, detailed, timed, notes") as caught:
            ask(starter, CaptionConfig(style=style))
        assert caught.value.code == "UNTRAINED_STYLE" and "--model" in caught.value.hint
    assert ask(starter, CaptionConfig(style="timed")).warnings == ()
    (warning,) = ask(starter, CaptionConfig(prompt="What colour is the bus?")).warnings
    assert str(warning).startswith("UNTRAINED_PROMPT: cineloop-starter was trained on")
