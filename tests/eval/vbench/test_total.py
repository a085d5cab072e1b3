"""VBench's totals: parity case A10, what the reference does with odd input (D9, D10), and what `fixed` makes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cineloop.errors import UsageError
from v2t_eval.core.metric import Figure, MetricResult, load_metric
from v2t_eval.vbench.total import QUALITY, SEMANTIC, VBenchTotal, total, vbench_total

NAMES = [*QUALITY, *SEMANTIC]
# Per cent, as on the leaderboard: LaVie.
LAVIE = dict(
    zip(
        NAMES,
        [91.41, 97.47, 98.30, 96.38, 49.72, 54.94, 61.90, 91.82, 33.32, 96.8, 86.39, 34.09, 52.69, 23.56, 25.93, 26.41],
        strict=True,
    )
)


def measured(raw, half=0.0, n=10):
    return {
        name: MetricResult(
            name=name,
            headline=name,
            figures={name: Figure(value=x, low=x - half, high=x + half, n=n)},
            n=n,
            coverage=1.0,
            fingerprint={"definition": name},
            notes=(f"backbone: toy of {name}",),
        )
        for name, x in raw.items()
    }


@pytest.mark.parametrize("mode", ["compat", "fixed"])
def test_a10_lavie(mode):
    found = total({name: x / 100 for name, x in LAVIE.items()}, mode)
    result = vbench_total(measured({name: x / 100 for name, x in LAVIE.items()}), mode)
    assert result.value == pytest.approx(found.total, abs=1e-12) and result.coverage == 1
    assert result.figures["raw.scene"].value == LAVIE["scene"] / 100
    assert result.figures["normalised.scene"].value == pytest.approx(0.5269 / 0.8222)


@pytest.mark.parametrize("mode", ["compat", "fixed"])
def test_a10_all_at_the_greatest_and_at_the_least(mode):
    scales = {**QUALITY, **SEMANTIC}
    assert total({name: s.most for name, s in scales.items()}, mode)[1:] == pytest.approx((1, 1, 1))
    assert total({name: s.least for name, s in scales.items()}, mode)[1:] == pytest.approx((0, 0, 0))


def test_d9_a_frozen_picture_beats_lavie_in_quality():
    frozen = dict.fromkeys(NAMES, 1.0) | {"dynamic_degree": 0.0, "aesthetic_quality": 0.6, "imaging_quality": 0.7}
    found = total(frozen, "compat")
    assert found.normalised["motion_smoothness"] == pytest.approx(1.0086, abs=1e-4)
    assert found.quality == pytest.approx(0.8167, abs=1e-4)
    notes = " ".join(vbench_total(measured(frozen), "compat").notes)
    assert "nothing moves" in notes and "outside the reference's scale and not clipped" in notes


def test_d10_beyond_the_scale():
    assert total(dict.fromkeys(NAMES, 1.0), "compat").total == pytest.approx(1.1393, abs=1e-4)
    assert total(dict.fromkeys(NAMES, 0.0), "compat").total == pytest.approx(-0.5717, abs=1e-4)
    assert total(dict.fromkeys(NAMES, 1.0), "compat").normalised["scene"] == pytest.approx(1.216, abs=1e-3)
    assert total(dict.fromkeys(NAMES, 1.0)).total == 1.0 and total(dict.fromkeys(NAMES, 0.0)).total == 0.0
    both = vbench_total(measured(dict.fromkeys(NAMES, 1.0)))
    assert both.figures["raw.scene"].value == 1.0 == both.figures["normalised.scene"].value  # raw 1.0 of .8222


def test_a_missing_dimension_is_refused_or_counts_as_zero():
    raw = {name: x / 100 for name, x in LAVIE.items() if name != "scene"}
    with pytest.raises(UsageError, match="missing: scene"):
        total(raw)
    with pytest.raises(UsageError, match="missing: scene"):
        vbench_total(measured(raw))
    empty = measured({"scene": 0.5})["scene"]
    nothing = MetricResult(**{**vars(empty), "figures": {}})
    with pytest.raises(UsageError, match="missing: scene"):
        vbench_total(measured(raw) | {"scene": nothing})
    result = vbench_total(measured(raw), "compat")
    assert result.value == pytest.approx(0.7708494 - 0.2 / 9 * 0.5269 / 0.8222, abs=1e-7)
    assert (
        result.counts == {"missing_dimensions": 1} and result.coverage == 15 / 16 and "scene" in " ".join(result.notes)
    )
    with pytest.raises(UsageError, match="no dimension is called"):
        total(raw | {"scene": 0.5, "beauty": 0.1})
    with pytest.raises(UsageError, match="mode"):
        total(raw, "strict")


def test_intervals_are_those_of_the_parts():
    one = measured({name: x / 100 for name, x in LAVIE.items()})
    wide = measured({"dynamic_degree": 0.4972}, half=0.1)
    result = vbench_total(one | wide)
    half = 0.8 * 0.5 / 6.5 * 0.1
    assert result.figures["total"].high - result.value == pytest.approx(half)
    assert result.figures["quality"].high - result.figures["quality"].value == pytest.approx(0.5 / 6.5 * 0.1)
    assert result.figures["semantic"].low == result.figures["semantic"].value
    assert "backbone: toy of scene" in " ".join(result.notes)
    assert vbench_total(one).fingerprint != vbench_total(one | {"scene": MetricResult(
        **{**vars(one["scene"]), "fingerprint": {"definition": "other"}})}).fingerprint  # fmt: skip


def test_two_dimensions_that_are_one_number_are_counted_once():
    raw = {name: x / 100 for name, x in LAVIE.items()} | {"temporal_style": 0.3, "overall_consistency": 0.3}
    apart, same = measured(raw), measured(raw)
    for name, shift in (("temporal_style", 0.0), ("overall_consistency", 0.1)):
        apart[name] = replace(apart[name], items=[{"id": "a", "value": 0.3 - shift}, {"id": "b", "value": 0.3 + shift}])
        same[name] = replace(same[name], items=[{"id": "a", "value": 0.2}, {"id": "b", "value": 0.4}])
    normalised = {n: vbench_total(same).figures[f"normalised.{n}"].value for n in SEMANTIC}
    assert vbench_total(apart).figures["semantic"].value == pytest.approx(sum(normalised.values()) / 9)
    del normalised["temporal_style"]
    assert vbench_total(same).figures["semantic"].value == pytest.approx(sum(normalised.values()) / 8)
    assert any("counted once" in note for note in vbench_total(same).notes)
    assert vbench_total(same, "compat").value == vbench_total(apart, "compat").value, "as the reference does"


def test_a_total_of_measured_dimensions_is_refused_in_compat_and_says_that_fixed_is_the_mode_for_all():
    metrics = {name: load_metric(name)() for name in NAMES}
    metrics["temporal_flickering"] = load_metric("temporal_flickering")(mode="compat")
    with pytest.raises(UsageError, match="temporal_flickering") as refused:
        VBenchTotal.compute(metrics, {})
    assert refused.value.hint.startswith("mode=fixed for all")
