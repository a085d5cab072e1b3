"""The cartoon world as a generator: what a prompt says is what the clip shows, and what it cannot show is refused."""

from __future__ import annotations

import random

import numpy as np
import pytest

from cineloop.errors import ItemError, UsageError
from cineloop.world.language.comparison import compare
from cineloop.world.language.read_text import parse
from cineloop.world.language.words import caption
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import NUM_FRAMES, SECONDS, prompt, sample_solo
from t2v.generators import ClipRequest, open_generator
from t2v.obedience import judge
from t2v.settings import GenerateSettings

WORLD = open_generator("world")
PLAIN = GenerateSettings()


def scene_of(text, seed=0, settings=PLAIN):
    return WORLD.scene(ClipRequest(prompt=text, seed=seed), settings)


def untrue(text, scene):
    """What of a text is not true of a scene."""
    compared = compare(parse(text), scene.facts())
    return [kind for kind, tally in compared.tallies.items() if tally.wrong] + ["made up"] * compared.made_up


@pytest.mark.slow
def test_every_solo_prompt_is_shown_and_read_back():
    wrong = []
    for index in range(40):
        facts = sample_solo("seen", 5, index).facts()
        text = prompt(facts, random.Random(index), unseen_wording=index % 4 == 0)
        scene = scene_of(text, seed=index)
        assert not untrue(text, scene) and scene.duration_s == SECONDS, text
        (frames,) = WORLD.generate([ClipRequest(prompt=text, seed=index)], PLAIN)
        assert frames.pixels.shape == (NUM_FRAMES, 64, 64, 3)
        verdict = judge(frames.pixels, frames.times_s, None, text)
        wrong += [(text, factor) for factor, right in verdict.items() if not right and factor != "joint"]
    assert len(wrong) <= 2, wrong  # of some 200 facts; the referee is not perfect


def test_stories_with_two_figures_cuts_and_relations_are_shown():
    for index in range(150):
        facts = sample_scene("train", 3, index).facts()
        for style in ("short", "detailed"):
            text = caption(facts, style, random.Random(index))
            scene = scene_of(text, seed=index)
            assert not untrue(text, scene), text
            times = [(e.start_s, e.end_s) for e in scene.events]
            assert all(0 <= start < end <= scene.duration_s + 1e-9 for start, end in times), text


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "A red car chases a blue bus through the city.",
        "A small dog hides behind a large box.",
        "A bird bumps into a cat.",
        "A red ball is inside a large yellow box and spins.",
        "A white rabbit stands still.",
        "Two birds fly up while a boy jumps.",
        "A dog runs to the left, then turns around and goes back.",
        "A pencil drawing of a green star bouncing while the camera zooms in.",
        "A car drives to the left in the city, then the scene cuts to a beach, where a boat sails slowly.",
    ],
)
def test_what_is_told_is_true_and_stays_in_the_frame(text):
    for seed in range(8):
        scene = scene_of(text, seed)
        assert not untrue(text, scene)
        pixels = WORLD.generate([ClipRequest(prompt=text, seed=seed)], GenerateSettings(height=48, width=48))[0].pixels
        assert pixels.shape[1:] == (48, 48, 3) and pixels.std() > 5
        from cineloop.world.scenes.motion import track

        for index in range(len(scene.actors)):
            x = track(scene, index, np.linspace(0, scene.duration_s, 9)).x
            assert (x > -0.05).all() and (x < 1.05).all(), (text, seed, x)


def test_whoever_turns_around_goes_back():
    first, second = scene_of("A dog runs to the left, then turns around.").events
    assert (first.direction, second.direction) == ("left", "right") and second.start_s >= first.end_s
    with pytest.raises(ItemError, match="goes right"):
        scene_of("A dog runs to the left, then turns around to the left.")


def test_the_untold_is_drawn_by_the_seed():
    scenes = [scene_of("A rabbit.", seed) for seed in range(40)]
    assert len({scene.actors[0].color for scene in scenes}) > 5 and len({s.shots[0].place for s in scenes}) > 4
    assert len({scene.events[0].action for scene in scenes}) > 3
    assert scenes[3] == scene_of("A rabbit.", 3) != scene_of("A rabbit jumps.", 3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("A dragon eats the castle.", "'dragon', 'eats', 'castle'"),
        ("The beach.", "names no figure"),
        ("A dog flies to the left.", "does not fly"),
        ("A dog runs up.", "does not go up"),
        ("A red ball jumps.", "does not jump"),
        ("A cat, a dog and a boy jump.", "3 groups"),
        ("A dog stops.", "wants a way"),
        ("A red ball turns red.", "red already"),
        ("A star spins to the left.", "goes nowhere"),
        ("A cat is to the left of a dog and walks to the right.", "keep their places"),
        ("Two dogs chase a cat.", "single figures"),
        ("0.5-1.5s: a red ball rolls to the left.", "gives times"),
    ],
)
def test_what_the_world_cannot_show_is_refused_by_name(text, told):
    with pytest.raises(ItemError, match=told) as caught:
        scene_of(text)
    assert caught.value.code == "PROMPT_REFUSED"


def test_a_negative_prompt_is_refused():
    with pytest.raises(ItemError, match="negative"):
        WORLD.generate([ClipRequest(prompt="A red ball.", negative_prompt="blue")], PLAIN)


def test_length_rate_and_size_are_kept():
    text = "A red ball rolls quickly to the left."
    short = GenerateSettings(num_frames=9, fps=16, height=32, width=48)
    (frames,) = WORLD.generate([ClipRequest(prompt=text)], short)
    assert frames.pixels.shape == (9, 32, 48, 3) and frames.fps == 16
    assert len(WORLD.generate([ClipRequest(prompt=text)], GenerateSettings(num_frames=40))[0]) == 40

    def pace(settings):
        event = scene_of(text, 0, settings).events[0]
        return event.travel / (event.end_s - event.start_s)

    assert pace(short) == pytest.approx(pace(PLAIN)) and pace(GenerateSettings(num_frames=40)) == pytest.approx(
        pace(PLAIN)
    )
    story = WORLD.generate([ClipRequest(prompt="A dog jumps, then spins, then vanishes.")], PLAIN)[0]
    assert len(story) > NUM_FRAMES


def test_shape_is_even_and_within_bounds(caplog):
    assert WORLD.valid_shape(None, 33, None).height == 34
    with pytest.raises(UsageError, match="16 to 4096"):
        WORLD.valid_shape(None, 8, 8)
    with pytest.raises(UsageError, match="has no model"):
        open_generator("world", model="x")
    with pytest.raises(UsageError, match="no option 'lora'"):
        open_generator("world", options={"lora": ("a",)})
    with pytest.raises(UsageError, match="did you mean 'world'"):
        open_generator("wrld")
