"""A clip is held to what its prompt asks for, each factor apart; shares come with intervals and with chance."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cineloop.intervals import wilson
from cineloop.world.referee.read import FigureRead, ReadBack, read_back
from cineloop.world.scenes.render import render
from cineloop.world.scenes.scene import Actor, Event, Scene, Shot
from cineloop.world.scenes.solo import FPS, NUM_FRAMES, prompt, sample_solo
from t2v.obedience import (
    FACTORS,
    FactorRow,
    FactorVerdict,
    PromptFactors,
    chance,
    compare,
    judge,
    prompt_factors,
    table,
)

TIMES_S = np.arange(NUM_FRAMES) / FPS
PROMPT = "A big blue dog is running to the left in a forest."
RUN = Event(actor=0, action="run", start_s=0.0, end_s=1.5, direction="left", travel=0.55)
DOG = Actor(kind="dog", color="blue", size="large", x=0.75, y=0.62, facing=-1)
SHOT = Shot(start_s=0.0, end_s=NUM_FRAMES / FPS, place="forest")
SCENE = Scene(seed=4, style="flat", shots=(SHOT,), actors=(DOG,), events=(RUN,))


@cache
def pixels_of(scene: Scene = SCENE) -> np.ndarray:
    return render(scene, times_s=TIMES_S)


def missed(frames: np.ndarray, text: str | None = PROMPT) -> set[str]:
    """Factors asked of `SCENE` that `frames` do not show."""
    return {factor for factor, right in judge(frames, TIMES_S, SCENE.facts(), text).items() if not right}


@pytest.mark.slow
def test_real_clips_obey():
    for index in range(12):
        scene = sample_solo("unseen", 8, index)
        verdict = judge(pixels_of(scene), TIMES_S, scene.facts(), prompt(scene.facts(), random.Random(index)))
        assert all(verdict.values()), (index, verdict)
        assert {"place", "color", "kind", "action", "joint"} <= set(verdict)


def test_a_prompt_says_what_is_asked_and_facts_what_value():
    want = prompt_factors(SCENE.facts(), PROMPT)
    assert want == PromptFactors(
        place="forest", color="blue", kind="dog", size="large", action="run", direction="left", speed=None
    )
    assert prompt_factors(None, PROMPT) == want
    assert prompt_factors(SCENE.facts()) == want
    bare = prompt_factors(SCENE.facts(), "A dog is running.")
    assert bare == PromptFactors(kind="dog", action="run")
    assert set(judge(pixels_of(), TIMES_S, None, "A dog is running.")) == {"kind", "action", "joint"}
    with pytest.raises(ValueError, match="facts"):
        prompt_factors(None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("factors", "frames"),
    [
        ({"place"}, lambda: pixels_of(replace(SCENE, shots=(replace(SHOT, place="desert"),)))),
        ({"color"}, lambda: pixels_of(replace(SCENE, actors=(replace(DOG, color="orange"),)))),
        ({"kind"}, lambda: pixels_of(replace(SCENE, actors=(replace(DOG, kind="cat"),)))),
        ({"size"}, lambda: pixels_of(replace(SCENE, actors=(replace(DOG, size="small"),)))),
        ({"direction"}, lambda: pixels_of()[::-1]),
        ({"action"}, lambda: pixels_of(replace(SCENE, events=(replace(RUN, travel=0.2),)))),  # walks
        ({"action", "direction"}, lambda: np.repeat(pixels_of()[:1], NUM_FRAMES, axis=0)),
    ],
)
def test_what_is_not_shown_is_missed_and_nothing_else(factors, frames):
    assert missed(np.ascontiguousarray(frames())) == factors | {"joint"}


def test_what_is_not_asked_is_not_judged():
    small = pixels_of(replace(SCENE, actors=(replace(DOG, size="small"),)))
    assert missed(small, "A blue dog is running to the left in a forest.") == set()


def test_an_action_is_a_class_of_motion():
    wants = [PromptFactors(action=action) for action in ("run", "walk", "fly", "jump", "bounce", "vanish")]
    runs = ReadBack(place="forest", figures=(FigureRead(motion="travel", speed="fast"),))
    hops = ReadBack(place="forest", figures=(FigureRead(motion="hop"),))
    assert [compare(runs, want)["action"] for want in wants] == [True, False, True, False, False, False]
    assert [compare(hops, want)["action"] for want in wants] == [False, False, False, True, True, False]


def test_what_cannot_be_read_is_wrong_and_counted_apart():
    nothing = ReadBack(place=None)
    verdict = compare(nothing, prompt_factors(SCENE.facts()))
    assert not any(verdict.factors.values())
    assert set(verdict.unread) == {"place", "color", "kind", "size", "action", "direction"}
    shapeless = ReadBack(place="forest", figures=(FigureRead(color="blue", size="large", motion="travel"),))
    verdict = compare(shapeless, PromptFactors(place="forest", color="blue", kind="dog"))
    assert verdict.factors == {f: {"place": True, "color": True, "kind": False}.get(f) for f in FACTORS} | {
        "joint": False
    }
    assert verdict.unread == ("kind",)
    rows = {row.factor: row for row in table([verdict])}
    assert (rows["kind"].num, rows["kind"].right, rows["kind"].unread) == (1, 0, 1)
    assert rows["color"].unread == 0


@pytest.mark.slow
def test_shuffled_prompts_fall_to_chance():
    scenes = [sample_solo("seen", 9, index) for index in range(24)]
    reads = [read_back(pixels_of(scene), TIMES_S) for scene in scenes]
    wants = [prompt_factors(scene.facts()) for scene in scenes]
    own = table([compare(read, want) for read, want in zip(reads, wants, strict=True)], chance(reads, wants))
    rows = {row.factor: row for row in own}
    assert all(row.share == 1.0 for row in own)
    assert rows["kind"].chance < 0.3 and rows["color"].chance < 0.4 and rows["joint"].chance == 0.0
    assert list(rows)[-1] == "joint"


def test_a_table_counts_what_was_asked():
    some = [{"color": True}, {"color": False}, {"color": True, "speed": True}]
    verdicts = [
        FactorVerdict(factors={f: each.get(f) for f in FACTORS} | {"joint": all(each.values())}, unread=())
        for each in some
    ]
    rows = {row.factor: row for row in table(verdicts, verdicts[1:])}
    assert set(rows) == {"color", "speed", "joint"}
    low, high = wilson(2, 3)
    assert rows["color"] == FactorRow(factor="color", num=3, right=2, unread=0, low=low, high=high, chance=0.5)
    assert rows["speed"].share == 1.0
