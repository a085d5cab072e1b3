"""The engine in process answers what the local captioner answers: batches, pieces, several videos, windows, limits."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from v2t.backends import Decoding, Message, open_backend, user_turn
from v2t.backends import vllm as module
from vllm_engine import ENVIRONMENT

GREEDY = Decoding(max_new_tokens=48)


def test_without_vllm_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError) as caught:
        open_backend("starter", captioner="vllm")
    assert "scripts/serve-env" in caught.value.hint


def test_wrong_settings_are_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    for wrong in ({"num_seqs": 0}, {"tensor_parallel": 0}, {"max_model_len": 0}):
        with pytest.raises(UsageError):
            open_backend("starter", captioner="vllm", options=wrong)
    with pytest.raises(UsageError):
        open_backend("starter", captioner="vllm", dtype="int3")


def test_what_vllm_reads_from_the_environment_is_there_while_it_loads_and_gone_after(monkeypatch):
    seen: dict[str, str] = {}

    class Engine:
        def __init__(self, **options) -> None:
            seen.update(os.environ)
            raise RuntimeError("no weights")

    platforms = SimpleNamespace(current_platform=SimpleNamespace(device_type="cpu"))
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.32.0", LLM=Engine, platforms=platforms))
    monkeypatch.setitem(sys.modules, "vllm.platforms", platforms)
    monkeypatch.setattr("v2t.serve.plugin.register", lambda: None)
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    monkeypatch.setenv("VLLM_LOGGING_LEVEL", "DEBUG")
    before = {name: value for name, value in os.environ.items() if name.startswith("VLLM")}
    with pytest.raises(MissingDependencyError, match="no weights"):
        open_backend("starter", captioner="vllm", options={"kv_cache_gb": 3}).load()
    assert {name: value for name, value in os.environ.items() if name.startswith("VLLM")} == before
    assert seen["VLLM_CPU_KVCACHE_SPACE"] == "3" and seen["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
    assert seen["VLLM_LOGGING_LEVEL"] == "DEBUG"  # what the user set stays


def scene_frames(index: int, num: int = 16, start_s: float = 0.0) -> Frames:
    times = np.linspace(0, 3.1, num)
    pixels = render(sample_scene("seen", 5, index, seconds=(3.2, 3.2)), (64, 64), times_s=times)
    return Frames(pixels, times + start_s, duration_s=3.2, fps=12.0, start_s=start_s)


def noise() -> Frames:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 64, 64, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(16.0), duration_s=16.0, fps=1.0)


@pytest.fixture(scope="module")
def both():
    patch = pytest.MonkeyPatch()
    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    ours = open_backend("starter")
    ours.load()
    engine = module.Backend("starter", num_seqs=4)
    try:
        engine.load()
        yield ours, engine
    finally:
        engine.close()
        patch.undo()


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_it_answers_as_the_local_captioner(both):
    ours, engine = both
    talk = (
        Message(role="user", text="Describe the video.", videos=(scene_frames(3),)),
        Message(role="assistant", text="A robot spins."),
        Message(role="user", text="And here?", videos=(scene_frames(4, 5),)),
    )
    chats = [user_turn("Describe the video.", scene_frames(i, num)) for i, num in ((0, 16), (1, 1), (2, 40))]
    chats += [
        talk,
        user_turn("Hello."),
        user_turn("What happens?", scene_frames(6, 9, start_s=600.0)),
        user_turn("What?", noise()),
    ]
    wanted = [ours.answer([chat], GREEDY)[0] for chat in chats]
    assert engine.answer(chats, GREEDY) == wanted
    assert wanted[-1].warnings, "noise is foreign to the starter"
    short = Decoding(max_new_tokens=2)
    assert engine.answer(chats[:1], short) == ours.answer(chats[:1], short)
    assert (engine.name, engine.revision, engine.spec) == (ours.name, ours.revision, ours.spec)


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_pieces_are_the_answer_and_an_abandoned_answer_is_ended(both):
    _, engine = both
    chat = user_turn("Describe the video.", scene_frames(0))
    (whole,) = engine.answer([chat], GREEDY)
    *pieces, output = engine.stream(chat, GREEDY)
    assert len(pieces) > 2 and "".join(pieces) == whole.text and output == whole
    left = engine.stream(chat, GREEDY)
    assert whole.text.startswith(next(left))
    left.close()
    assert not engine._engine.llm_engine.has_unfinished_requests()
    assert engine.answer([chat], GREEDY) == [whole]


@pytest.mark.vllm
@pytest.mark.timeout(600)
def test_a_prompt_that_is_too_long_is_an_item_error_and_others_go_on(both):
    _, engine = both
    with pytest.raises(ItemError) as caught:
        engine.answer([user_turn("Hello."), user_turn("word " * 9000)], GREEDY)
    assert caught.value.code == "PROMPT_TOO_LONG"
    assert engine.answer([user_turn("What?", scene_frames(1))], GREEDY)[0].text
