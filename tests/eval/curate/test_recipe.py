"""Recipes: what may be in one, and how a limit becomes a number."""

from __future__ import annotations

import pytest

from cineloop.errors import UsageError
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.query import apply_limits
from v2t_eval.curate.recipe import STEPS, read_plan, recipes
from v2t_eval.curate.step import CompareResult


def rows(**columns):
    num = len(next(iter(columns.values())))
    return [
        FilmClip(
            id=f"{n}",
            source="x",
            source_sha=f"{n}",
            end_s=3600.0,
            scores={name: values[n] for name, values in columns.items()},
        )
        for n in range(num)
    ]


def test_without_a_recipe_everything_is_measured_and_kept():
    plan = read_plan(None)
    assert [step.name for step in plan.steps] == list(STEPS)
    assert apply_limits(plan, rows(sharpness=[1.0, 2.0])).drops == [[], []]


def test_shipped_recipes_load_and_state_the_source_of_each_number():
    assert set(recipes()) == {"t2v", "t2v-lora", "v2t"}
    for path in recipes().values():
        plan = read_plan(path)
        assert plan.recipe.limits
    text = recipes()["t2v"].read_text("utf-8")
    limits = text.split("limits:\n")[1].splitlines()
    assert all("#" in line for line in limits)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("steps: [prob, split]", "did you mean 'probe'"),
        ("limits: {sharpnes: {least: 1}}", "did you mean 'sharpness'"),
        ("limits: {sharpness: {least: -5}}", "must be at least 0, got -5"),
        ("limits: {black_share: {most: 1.5}}", "at least 0 and at most 1, got 1.5"),
        ("limits: {black_share: {most: -0.1}}", "at least 0 and at most 1, got -0.1"),
        ("limits: {sharpness: {least: 9, most: 2}}", "above most"),
        ("limits: {sharpness: {least: q1.5}}", "quantile from q0 to q1"),
        ("limits: {sharpness: {least: ten}}", "quantile from q0 to q1"),
        ("limits: {sharpness: {lest: 1}}", "did you mean 'limits.sharpness.least'"),
        ("settings: {splitt: {longest_s: 5}}", "did you mean 'split'"),
        ("settings: {split: {longest: 5}}", "did you mean 'settings.split.longest_s'"),
        ("steps: [shape, shape]", "two steps of the recipe are called 'shape'"),
        ("stepps: [shape]", "did you mean 'steps'"),
        ("steps: [split]", "the steps split give no column to measure clips by (add probe)"),
        ("steps: []", "give no column"),
        ("{steps: [probe, text], settings: {text: {detector: none.onnx}}}", "there is no file 'none.onnx'"),
        ("{steps: [probe, caption], settings: {caption: {captions: c.jsonl}}}", "there is no file 'c.jsonl'"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused_with_the_nearest_name(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_plan(path)
    assert message in str(caught.value)


def test_every_rule_against_a_clip_is_named_with_value_and_limit():
    plan = read_plan(None, ["limits.sharpness.least=10", "limits.black_share.most=0.1"])
    found = apply_limits(plan, rows(sharpness=[5.0, 50.0], black_share=[0.5, 0.0]))
    assert found.drops[0] == [
        {"step": "black", "rule": "black_share.most", "value": 0.5, "limit": 0.1},
        {"step": "sharpness", "rule": "sharpness.least", "value": 5.0, "limit": 10.0},
    ]
    assert found.drops[1] == []


def test_a_quantile_is_of_the_clips_that_the_steps_before_left():
    plan = read_plan(None, ["limits.black_share.most=0.1", "limits.sharpness.least=q0.5"])
    found = apply_limits(plan, rows(black_share=[1.0, 1.0, 0.0, 0.0, 0.0], sharpness=[0.0, 0.0, 10.0, 20.0, 30.0]))
    assert [limit.value for limit in found.limits] == [0.1, 20.0]
    assert [bool(drops) for drops in found.drops] == [True, True, True, False, False]


def test_the_funnel_adds_up():
    plan = read_plan(None, ["limits.black_share.most=0.1", "limits.sharpness.least=q0.5"])
    found = apply_limits(plan, rows(black_share=[1.0, 1.0, 0.0, 0.0, None], sharpness=[0.0, 0.0, 10.0, 20.0, 30.0]))
    assert 5 - sum(each.clips for each in found.funnel) == found.funnel[-1].clips_left == 1
    assert sum(each.hours for each in found.funnel) + found.funnel[-1].hours_left == pytest.approx(5.0)
    assert found.drops[4][0]["rule"] == "black_share.unmeasured"


def test_a_changed_limit_changes_only_the_clips_between_the_limits():
    values = rows(sharpness=[float(n) for n in range(20)])
    one, two = (apply_limits(read_plan(None, [f"limits.sharpness.least={n}"]), values) for n in (5, 9))
    changed = [n for n, (a, b) in enumerate(zip(one.drops, two.drops, strict=True)) if bool(a) != bool(b)]
    assert changed == [5, 6, 7, 8]


def test_limits_do_not_change_the_print_and_settings_do():
    plan = read_plan(None)
    assert read_plan(None, ["limits.sharpness.least=5"]).print == plan.print
    assert read_plan(None, ["settings.split.longest_s=9"]).print != plan.print


def test_clips_are_compared_only_with_those_that_keep_the_limits_before():
    table = rows(copy=[None] * 3, black_share=[1.0, 0.0, 0.0])
    for clip in table:
        clip.source_sha = "same"
    limits = ["limits.copy.most=0", "limits.black_share.most=0.5"]
    found = apply_limits(read_plan(None, ["steps=[black, copies]", *limits]), table)
    assert [[drop["rule"] for drop in drops] for drops in found.drops] == [["black_share.most"], [], ["copy.most"]]
    assert table[2].links.duplicate_of == "1" and table[0].scores["copy"] is None


@pytest.mark.parametrize(
    "given", [{"black_share": [1.0]}, CompareResult(links={"twin_of": [None]})], ids=["a mapping", "an unknown link"]
)
def test_what_a_step_says_of_clips_among_one_another_has_one_form(given):
    plan = read_plan(None, ["steps=[copies]"])
    kind = type("Step", (type(plan.steps[0]),), {"compare": lambda self, clips: given})
    plan.steps[0] = kind()
    with pytest.raises(UsageError, match=r"step copies: compare must give a CompareResult"):
        apply_limits(plan, rows(copy=[None]))
