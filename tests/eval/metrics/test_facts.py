"""Facts: true captions are all right, what is missing is missed, and facts of one clip belong together."""

from __future__ import annotations

from functools import cache

import pytest

from cineloop.errors import UsageError
from cineloop.intervals import wilson
from cineloop.world.scenes.corpus import WorldConfig, manifest_row
from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.facts import Metric

NUM = 40


@cache
def world() -> list[dict]:
    config = WorldConfig(num=NUM, seed=31, split="seen")
    return [manifest_row(config, index) for index in range(NUM)]


def told(style: str = "short", shift: int = 0, said: str = "") -> list[Sample]:
    return [
        Sample(
            id=one["id"],
            caption=world()[(number + shift) % NUM]["captions"][style][0],
            row={"facts": one["facts"], "style": said or style},
        )
        for number, one in enumerate(world())
    ]


def held_to_facts(samples, **settings):
    return result_of(Metric, *samples, **settings)


@pytest.mark.parametrize("style", ["short", "detailed", "timed"])
def test_true_captions_are_all_right(style: str) -> None:
    result = held_to_facts(told(style))
    assert {figure.value for figure in result.figures.values()} == {1.0} and result.coverage == 1.0
    assert ("time" in result.figures) == (style == "timed")
    assert held_to_facts(told(style), style=style).figures == result.figures
    assert held_to_facts(reversed(told(style))) == result
    assert {item["value"] for item in result.items} == {1.0}


def test_the_style_decides_what_had_to_be_said() -> None:
    short = told("short")
    assert held_to_facts(short, style="short").value == 1.0
    strict = held_to_facts(short, style="detailed")
    assert strict.value < 0.3 and strict.figures["camera"].detail["missed"] > 0 and "style=detailed" in strict.name
    unsaid = [Sample(id=one.id, caption=one.caption, row={"facts": one.row["facts"]}) for one in short]
    assert (
        held_to_facts(unsaid).figures
        == held_to_facts(told("short", said="chatty")).figures
        == held_to_facts(short).figures
    )
    with pytest.raises(UsageError, match="style"):
        Metric(style="long")


def test_captions_of_other_clips_score_low() -> None:
    assert held_to_facts(told(shift=1)).value < 0.1


def test_left_and_right_are_told_apart() -> None:
    turned = told()
    for sample in turned:
        swapped = sample.caption.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        sample.caption = swapped
    result = held_to_facts(turned)
    assert result.figures["direction"].value < 0.3 and result.figures["actor"].value > 0.95


def test_absent_captions_miss_everything() -> None:
    samples = told()
    for number, sample in enumerate(samples[:8]):
        sample.caption = None
        sample.row = {**sample.row, **({"error": {"code": "TRUNCATED"}} if number < 3 else {})}
    result = held_to_facts(samples)
    assert result.value == (NUM - 8) / NUM and result.coverage == 1 and result.n == NUM and not result.failures
    assert {name: result.counts[name] for name in ("captioned", "failed", "missing")} == {
        "captioned": NUM - 8, "failed": 3, "missing": 5,
    }  # fmt: skip
    missed = sum(len(one["facts"]["actors"]) for one in world()[:8])
    assert result.figures["actor"].detail["missed"] == missed and result.figures["actor"].detail["wrong"] == 0


def test_what_is_made_up_spoils_joint_only() -> None:
    samples = told()
    for sample in samples:
        sample.caption = f"{sample.caption} A pink elephant sits there."
    result = held_to_facts(samples)
    assert result.figures["actor"].value == 1.0 and result.value == 0.0 and result.counts["made_up"] >= NUM


def test_intervals_count_clips_and_not_facts() -> None:
    result = held_to_facts(told())
    num = NUM if result.figures["actor"].n > NUM else 0
    assert result.figures["actor"].low == pytest.approx(wilson(num, num).low)
    copies = [
        Sample(id=f"{one.id}/{seed}", caption=one.caption, row=one.row, cluster=one.id)
        for one in told(shift=0)[:20] + told(shift=1)[20:]
        for seed in range(5)
    ]
    low, high = wilson(20, NUM)
    joint = held_to_facts(copies).figures["joint"]
    # As wide as the interval of single clips or a little wider: the design effect is an estimate.
    assert joint.value == 0.5 and low - 0.02 < joint.low <= low and high <= joint.high < high + 0.02


def test_facts_of_another_kind_are_a_failure() -> None:
    result = held_to_facts(
        [*told()[:2], Sample(id="x", caption="A dog.", row={"facts": {"who": "dog"}}), Sample(id="y")]
    )
    assert {one["id"]: one["code"] for one in result.failures} == {"x": "BAD_FACTS", "y": "NO_FACTS"}
    assert result.value == 1.0 and result.coverage == 0.5
