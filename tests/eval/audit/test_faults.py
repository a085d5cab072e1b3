"""Planted faults, and what a metric sees of them."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from cineloop.world.scenes.solo import FPS, sample_solo
from v2t_eval.audit.faults import FAULTS, plant, swapped_color, without_last_figure
from v2t_eval.audit.sensitivity import auroc, cell, kendall_tau


@pytest.fixture(scope="module")
def rolling() -> Frames:
    """A ball, or the like, on its way across a still place."""
    scene = next(s for s in (sample_solo("seen", 3, i) for i in range(50)) if s.events[0].direction == "right")
    return Frames.from_pixels(render(scene, (48, 64), times_s=np.arange(17) / FPS), FPS)


def test_each_fault_changes_the_clip_and_the_same_seed_the_same_way(rolling: Frames) -> None:
    before = rolling.pixels.copy()
    for name, fault in FAULTS.items():
        for severity in fault.severities:
            spoiled = plant(rolling, name, severity, seed=4)
            assert spoiled.pixels.shape[1:] == rolling.pixels.shape[1:] and spoiled.fps == rolling.fps
            assert len(spoiled) == len(rolling) * (2 * severity if name == "duplicate" else 1)
            assert not np.array_equal(spoiled.pixels[: len(rolling)], rolling.pixels), (name, severity)
            assert np.array_equal(spoiled.pixels, plant(rolling, name, severity, seed=4).pixels)
    assert np.array_equal(rolling.pixels, before)


def test_what_each_fault_keeps(rolling: Frames) -> None:
    pixels = rolling.pixels
    frozen = plant(rolling, "freeze").pixels
    assert (frozen == pixels[0]).all()
    assert (plant(rolling, "freeze", 2).pixels[:10] == pixels[:10]).all()
    assert np.array_equal(plant(rolling, "reverse").pixels[::-1], pixels)
    assert np.array_equal(plant(rolling, "mirror").pixels[:, :, ::-1], pixels)
    shuffled = plant(rolling, "shuffle").pixels
    assert sorted(f.tobytes() for f in shuffled) == sorted(f.tobytes() for f in pixels)
    turned = plant(rolling, "hue").pixels
    assert np.abs(turned.max(-1).astype(int) - pixels.max(-1)).max() <= 2  # as light as before
    assert (turned != pixels).any(-1).mean() > 0.5


def test_stronger_is_further_from_the_clip(rolling: Frames) -> None:
    for name in ("blur", "noise", "flutter", "freeze"):
        far = [
            np.abs(plant(rolling, name, s).pixels.astype(int) - rolling.pixels).mean() for s in FAULTS[name].severities
        ]
        assert far == sorted(far) and far[0] > 0, name


def test_wrong_names_are_told(rolling: Frames) -> None:
    with pytest.raises(UsageError, match="choices: freeze, reverse"):
        plant(rolling, "freezing")
    with pytest.raises(UsageError, match="severities 5"):
        plant(rolling, "mirror", 2)


def test_a_scene_with_another_colour_or_a_figure_less() -> None:
    scene = next(s for s in (sample_scene("seen", 1, i) for i in range(50)) if len(s.actors) == 2 and s.relations)
    other = swapped_color(scene)
    assert other.actors[0].color != scene.actors[0].color and other.actors[1:] == scene.actors[1:]
    fewer = without_last_figure(scene)
    assert fewer.actors == scene.actors[:1] and not fewer.relations
    assert all(event.actor == 0 and event.target is None for event in fewer.events)
    with pytest.raises(ValueError, match="single"):
        without_last_figure(sample_solo("seen", 1, 1))


def test_a_cell_says_what_the_metric_sees() -> None:
    draw = np.random.default_rng(1)
    clean = draw.uniform(0.5, 0.6, 40)
    falls = cell(clean, [clean - 0.1 * s for s in range(1, 6)])
    assert falls.mark(True) == "down" and falls.tau == pytest.approx(-1) and falls.auroc > 0.99 and not falls.equal
    fooled = cell(clean, [clean + 0.1 * s for s in range(1, 6)])
    assert fooled.mark(True) == "up!" and fooled.mark(None) == "up" and fooled.auroc < 0.01
    blind = cell(clean, [clean])
    assert blind.mark(True) == "=" and blind.auroc == 0.5 and blind.tau == 0.0
    nearly = cell(clean, [clean + draw.normal(0, 1e-3, 40) * np.tile([1, -1], 20)])
    assert nearly.mark(True) in ("~", "down", "up!") and not nearly.equal
    with pytest.raises(ValueError, match="expected 40 scores"):
        cell(clean, [clean[:3]])


def test_the_mark_follows_the_paired_test_and_says_when_prompts_are_too_few() -> None:
    draw = np.random.default_rng(1)
    clean = np.array([0.5, 0.6, 0.7])
    few = cell(clean, [clean - 0.4])
    assert few.auroc == few.wins == 1.0 and few.mark(True) == "?" and few.clusters == 3
    assert (few.auroc_low, few.wins_low) < (0.6, 0.6), "three clips prove little"
    one_prompt = cell(clean.repeat(8), [clean.repeat(8) - 0.4], ["p"] * 24)
    assert one_prompt.mark(True) == "?" and one_prompt.auroc_low == 0.0
    wide = draw.uniform(0, 10, 60)
    shifted = cell(wide, [wide - 0.2 - draw.uniform(0, 0.1, 60)])
    assert 0.5 < shifted.auroc < 0.6 and shifted.wins == 1.0
    assert shifted.mark(True) == "down", "clips differ more than the fault, and the gate pairs them"
    nothing = cell(wide, [wide + draw.normal(0, 0.1, 60)])
    assert nothing.mark(True) == "~" and nothing.wins_low < 0.5 < nothing.wins_high


def test_what_is_seen_of_some_clips_only_is_seen_in_part() -> None:
    from v2t_eval.audit.record import Audit, FaultResponse
    from v2t_eval.audit.report import blindness

    clean = np.linspace(0.5, 0.6, 40)
    spoiled = {"blur": clean - 0.2, "flutter": np.where(np.arange(40) % 3 == 0, clean - 0.2, clean)}
    cells = {name: cell(clean, [values]) for name, values in spoiled.items()}
    assert cells["flutter"].wins == pytest.approx(0.675, abs=0.01)
    table = tuple(FaultResponse(metric="m", fault=f, mark=c.mark(True), cell=c) for f, c in cells.items())
    (told,) = blindness(Audit(table=table))
    assert "sees all" not in told and "sees in part flutter" in told and "sees blur" in told
    few = cell(clean[:3], [clean[:3] - 0.3])
    (told,) = blindness(Audit(table=(FaultResponse(metric="m", fault="blur", mark=few.mark(True), cell=few),)))
    assert "too few prompts to decide" in told and "chance" not in told


def test_rank_correlation_with_a_constant() -> None:
    assert kendall_tau((1, 2, 3), (4, 4, 4)) == 0.0


def test_auroc_by_hand_and_its_interval() -> None:
    area, interval = auroc([3, 4, 5], [1, 4, 2])
    wins = sum((a > b) + 0.5 * (a == b) for a in (3, 4, 5) for b in (1, 4, 2)) / 9
    assert area == wins and interval.low <= area <= interval.high
    draw = np.random.default_rng(0)
    same, ends = auroc(draw.normal(size=200), draw.normal(size=200))
    assert ends.low < 0.5 < ends.high and 0.4 < same < 0.6
