"""VBench's formulas with and without their mistakes, on made-up detections."""

from __future__ import annotations

import pytest

from v2t_eval.judge.grammar.free_text import Thing
from v2t_eval.judge.grammar.wording import stands
from v2t_eval.semantics import formulas as vbench
from v2t_eval.semantics.formulas import Region


def region(label: str, left: float, top: float, caption: str = "", size: float = 10) -> Region:
    return Region(label=label, box=(left, top, left + size, top + size), caption=caption)


A, B = region("a", 0, 0), region("b", 20, 0)


def test_a11_spatial_boxes():
    """Case A11 of the sheet: (0,0,10,10), (5,0,15,10), "left": .3 in the reference."""
    frame = [region("a", 0, 0), region("b", 5, 0)]
    assert vbench.spatial_score(frame, "a", "on the left of", "b") == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize(
    ("relation", "frame", "fixed"),
    [
        ("on the left of", [A, B], 1),
        ("on the right of", [A, B], 0),  # D1: left is right
        ("left of", [region("a", 20, 0), region("b", 0, 0)], 0),
        ("on the top of", [A, B], 0),
        ("on the top of", [region("a", 0, 0), region("b", 0, 20)], 1),
        ("on the bottom of", [region("a", 0, 0), region("b", 0, 20)], 0),  # D1: top is bottom
        ("above", [region("a", 1, 0), region("b", 0, 20)], 1),
        ("on the left of", [region("a", 0, 0), region("a", 20, 0)], 0),  # D2: two of a, none of b
        ("on the left of", [A], 0),
        ("on the left of", [], 0),
        ("on the left of", [region("a", 0, 0), region("b", 20, 20)], 0),  # as far down as across
    ],
)
def test_d1_d2_fixed_tells_sides_and_things_apart(relation, frame, fixed):
    assert vbench.spatial_score(frame, "a", relation, "b") == fixed


def test_the_best_pair_counts_and_one_box_is_no_pair():
    crowd = [region("b", -20, 0), A, B, region("a", 40, 0)]
    assert vbench.spatial_score(crowd, "a", "left of", "b") == 1
    twins = [region("dog", 0, 0), region("dog", 30, 0)]
    assert vbench.spatial_score(twins, "dog", "left of", "dog") == 1
    assert vbench.spatial_score(twins[:1], "dog", "left of", "dog") == 0


def test_relations_that_boxes_cannot_tell():
    for relation in ("behind", "inside", "", "right next to", "right behind"):
        with pytest.raises(ValueError, match="cannot tell"):
            vbench.spatial_score([A, B], "a", relation, "b")


def test_right_is_a_side_only_where_it_names_one():
    assert vbench.side("right above") == (1, -1) and vbench.side("on the right of") == (0, 1) == vbench.side("right of")
    dog, cat = Thing(noun="dog"), Thing(noun="cat")
    assert stands(dog, "right next to", cat) == "Is the dog right next to the cat?"
    assert stands(dog, "on the right of", cat) == "Is the dog to the right of the cat?"


CAR = Thing(noun="car", color="red")


@pytest.mark.parametrize(
    ("frame", "fixed"),
    [
        ([region("car", 0, 0, "a red car")], (1, 1)),
        ([region("car", 0, 0, "a blue car")], (1, 0)),
        ([region("car", 0, 0, "a colored car")], (1, 0)),  # D3: "red" stands in "colored"
        ([region("car", 0, 0, "a blue car"), region("sky", 9, 9, "a red sky")], (1, 0)),  # D3b
        ([region("sky", 9, 9, "a blue sky"), region("car", 0, 0, "a red car")], (1, 1)),  # D3b: best is no car
        ([region("car", 0, 0, "a car")], (1, 0)),  # D4: leaves the denominator
        ([region("dog", 0, 0, "a red dog")], (1, 1)),  # the only thing there: its kind is another dimension's
        ([region("something", 0, 0, "a red something"), region("dog", 9, 9, "a blue dog")], (1, 1)),
        ([region("dog", 0, 0, "a red dog"), region("cat", 9, 9, "a red cat")], (0, 0)),
        ([region("more", 0, 0)], (0, 0)),
        ([], (0, 0)),
    ],
)
def test_d3_d4_colours(frame, fixed):
    assert vbench.color_counts([frame], CAR) == fixed


def test_colours_have_one_spelling_and_brown_is_one():
    grey = [region("car", 0, 0, "a grey car")]
    assert vbench.color_counts([grey], Thing(noun="car", color="gray")) == (1, 1)
    brown = [[region("car", 0, 0, "a brown car")], [region("car", 0, 0, "a brown and white car")]]
    assert vbench.color_counts(brown, Thing(noun="car", color="brown")) == (2, 2)


def test_counting_things():
    one, two = [A, B], [A, region("a", 50, 0), B]
    wanted = [Thing(noun="a", count=2), Thing(noun="b")]
    assert [vbench.shows_all(frame, wanted) for frame in (one, two)] == [False, True]
    twins = [Thing(noun="a"), Thing(noun="a")]
    assert [vbench.shows_all(frame, twins) for frame in (one, two)] == [False, True]


def test_scenes_are_words_of_their_own():
    assert not vbench.names_scene("a barn by it", "bar")
    assert vbench.names_scene("the gas is at the station", "gas station")
    assert not vbench.names_scene("a station", "gas station")


def test_an_action_counts_among_the_five_best_where_it_is_sure():
    ranked = [("swimming", 0.99), ("riding a bike", 0.86), ("x", 0.84), ("y", 0.8), ("z", 0.7), ("w", 0.6)]
    assert vbench.action_hit("riding a bike", ranked)
    assert not vbench.action_hit("x", ranked), "below .85"
    assert not vbench.action_hit("w", [(name, 0.9) for name, _ in ranked]), "the sixth"
