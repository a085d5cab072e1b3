"""The distance that says whether a clip is like those a model was trained on."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError, UsageError
from v2t.backends import domain
from v2t.styles import timed

D = 24


def world(num: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    mix = np.random.default_rng(0).normal(size=(6, D))  # the world moves in 6 of 24 directions
    return rng.normal(size=(num, 6)) @ mix + 3.0 + 0.01 * rng.normal(size=(num, D))


@pytest.fixture(scope="module")
def fitted() -> domain.Domain:
    return domain.fit(world(2000, 1), world(2000, 2), quantile=0.99, description="cartoons")


def test_the_share_warned_about_by_mistake_is_the_stated_one(fitted):
    share = float((fitted.score(world(5000, 3)) > fitted.threshold).mean())
    assert abs(share - 0.01) < 0.006


def test_clips_off_the_world_are_outside(fitted):
    fresh = world(500, 4)
    shifted = fresh + 0.5 * np.eye(D)[0]  # a little, in a direction the world hardly knows
    louder = (fresh - 3.0) * 6 + 3.0
    other = np.random.default_rng(5).normal(size=(500, D)) * 3
    for features in (shifted, louder, other):
        assert (fitted.score(features) > fitted.threshold).mean() > 0.9
    inside, outside = fitted.warnings(np.stack([fitted.mean, other[0]]))
    assert inside is None and str(outside).startswith("OUT_OF_DOMAIN: unlike cartoons")
    assert np.isinf(fitted.score(np.full((1, D), np.nan)))[0]


def test_the_score_is_the_mahalanobis_distance():
    features = np.random.default_rng(7).normal(size=(400, 3)) @ np.array([[2.0, 0, 0], [1, 1, 0], [0, 0, 0.3]])
    fitted = domain.fit(features, features, quantile=0.9, shrinkage=0.0)
    point = np.array([1.0, -2.0, 0.5])
    centred = point - features.mean(0)
    exact = np.sqrt(centred @ np.linalg.inv(np.cov(features, rowvar=False)) @ centred / 3)
    assert fitted.score(point[None])[0] == pytest.approx(exact, rel=1e-4)


def test_a_domain_comes_back_as_it_was_saved(fitted, tmp_path):
    domain.save(fitted, tmp_path)
    again = domain.load(tmp_path)
    probe = world(10, 9)
    assert np.array_equal(again.score(probe), fitted.score(probe))
    assert (again.threshold, again.description, again.num_fit) == (fitted.threshold, "cartoons", 2000)
    (tmp_path / domain.FILE_NAME).write_bytes(b"torn")
    with pytest.raises(MissingDependencyError):
        domain.load(tmp_path)


def test_too_little_data_is_refused():
    with pytest.raises(UsageError, match="too few"):
        domain.fit(world(20, 1), world(1000, 2))
    with pytest.raises(UsageError, match="held out"):
        domain.fit(world(1000, 1), world(50, 2), quantile=0.995)
    with pytest.raises(UsageError, match="shape|needs features"):
        domain.fit(world(1000, 1), np.zeros((1000, 3)))


def test_timed_captions_are_read_into_segments():
    text = "0.2-1.7s: a cat runs left in the snow.\n- 1.7 - 9.5 s: it stops.\nno time here\n2-3s: the camera pans."
    assert timed.segments(text, 4.0) == [
        {"start_s": 0.2, "end_s": 1.7, "caption": "a cat runs left in the snow."},
        {"start_s": 1.7, "end_s": 4.0, "caption": "it stops."},
        {"start_s": 2.0, "end_s": 3.0, "caption": "the camera pans."},
    ]


def test_the_styles_ask_in_the_words_the_world_teaches():
    from cineloop import plugin
    from cineloop.world.language.words import PROMPTS

    styles = {name: plugin.load("v2t.styles", name, "PROMPT").PROMPT for name in PROMPTS}
    assert styles == PROMPTS


def test_timed_captions_of_the_world_are_read_whole():
    import random

    from cineloop.world.language.words import caption
    from cineloop.world.scenes.sampler import sample_scene

    for index in range(20):
        facts = sample_scene("train", 3, index).facts()
        text = caption(facts, "timed", random.Random(index))
        assert len(timed.segments(text, 60.0)) == len(text.splitlines())
