"""The frame metrics on small moving clips: exact cells of the corruption table, frozen clips, rates, short clips."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.video.frames import Frames
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from v2t_eval.audit.faults import plant
from v2t_eval.audit.sensitivity import cell
from v2t_eval.core.metric import MetricResult, load_metric
from v2t_eval.core.sample import Sample, SampleClip

PLAIN = ("temporal_flickering", "motion_smoothness", "dynamic_degree", "ssim_consistency", "sharpness", "motion")
FOOLED = ("temporal_flickering", "motion_smoothness", "ssim_consistency")
MODES = ("fixed", "compat")


@cache
def scene_frames(index: int, fps: float = 8, num: int = 14) -> Frames:
    """A small moving clip of the cartoon world; at twice the rate every frame stands twice."""
    pixels = render(sample_scene("seen", 11, index), size=(48, 64), fps=8)[:num]
    return Frames.from_pixels(np.repeat(np.ascontiguousarray(pixels), round(fps / 8), 0), fps)


def sample_of(frames: Frames, id: str = "a", cluster: str = "") -> Sample:
    return Sample(id=id, clip=SampleClip.from_frames(frames), cluster=cluster)


def scored(name: str, *clips: Frames, **settings) -> MetricResult:
    metric = load_metric(name)(**settings)
    metric.prepare()
    metric.update(sample_of(frames, f"clip {number}") for number, frames in enumerate(clips))
    return metric.compute()


def value(name: str, frames: Frames, **settings) -> float:
    return scored(name, frames, **settings).items[0]["value"]


def modes(name: str) -> list[dict[str, str]]:
    return [{"mode": mode} for mode in MODES] if name in ("temporal_flickering", "ssim_consistency") else [{}]


@pytest.mark.parametrize("mode", MODES)
def test_flicker_is_the_same_to_the_bit_backwards_and_mirrored(mode):
    frames = [scene_frames(i) for i in range(3)] + [
        replace(scene_frames(0), fps=16.0, times_s=scene_frames(0).times_s / 2)
    ]
    for each in frames:
        for fault in ("reverse", "mirror"):
            spoiled = plant(each, fault)
            assert value("temporal_flickering", spoiled, mode=mode) == value("temporal_flickering", each, mode=mode)
        assert value("ssim_consistency", plant(each, "reverse"), mode=mode) == value(
            "ssim_consistency", each, mode=mode
        )


def test_sharpness_does_not_see_order():
    for fault in ("reverse", "shuffle"):
        assert value("sharpness", plant(scene_frames(1), fault)) == value("sharpness", scene_frames(1))


def test_flicker_is_the_plain_formula():
    pixels = scene_frames(0).pixels.astype(np.int64)
    plain = (255 - np.mean([np.abs(a - b).mean() for a, b in zip(pixels, pixels[1:], strict=False)])) / 255
    for mode in MODES:
        assert value("temporal_flickering", scene_frames(0), mode=mode) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("name", FOOLED)
def test_a_frozen_clip_is_named_and_never_a_pass(name):
    still = plant(scene_frames(0), "freeze")
    fixed = scored(name, scene_frames(0), still)
    assert fixed.counts["frozen"] == 1
    moving, frozen = fixed.items
    assert (frozen["frozen"], frozen["value"], frozen["raw"]) == (True, None, 1.0) and not moving["frozen"]
    assert fixed.value == moving["value"] and fixed.coverage == 0.5 and "frozen" in " ".join(fixed.notes)
    if name != "motion_smoothness":
        compat = scored(name, scene_frames(0), still, mode="compat")
        assert compat.items[1]["value"] == 1.0 and compat.items[1]["frozen"] and compat.value > moving["value"]
    nothing = scored(name, still)
    with pytest.raises(NothingMatchedError):
        nothing.value  # noqa: B018 - asking for it is the test
    assert nothing.coverage == 0 and nothing.figures == {}


def test_a_frozen_clip_does_not_move():
    still = plant(scene_frames(0), "freeze")
    assert scored("motion", still).items[0] == {"id": "clip 0", "value": 0.0, "still_share": 1.0, "frozen": True}
    assert value("dynamic_degree", still) == 0.0
    looped = Frames.from_pixels(
        np.concatenate([scene_frames(0).pixels, scene_frames(0).pixels[::-1]]), 8
    )  # ends as it began
    assert not scored("motion", looped).items[0]["frozen"] and value("motion", looped) > 0
    half = scored("motion", plant(scene_frames(0), "freeze", 3)).items[0]
    assert not half["frozen"] and 0.5 < half["still_share"] < 1


@pytest.mark.parametrize("name", PLAIN)
def test_fixed_does_not_depend_on_the_frame_rate(name):
    once, twice = scored(name, scene_frames(3)).items[0], scored(name, scene_frames(3, fps=16)).items[0]
    if name == "motion":  # half as far apart, half of them equal, and a little more time at the end
        assert twice["value"] == pytest.approx(once["value"], rel=0.1)
    elif name == "sharpness":
        assert twice["value"] == pytest.approx(once["value"], rel=1e-12)
    else:
        assert twice["value"] == once["value"]
    if name in ("temporal_flickering", "ssim_consistency"):  # defect D12: compat takes doubled frames for a better clip
        assert value(name, scene_frames(3, fps=16), mode="compat") > once["value"]


def test_a_flutter_faster_than_the_pairs_is_seen():
    flutter = plant(scene_frames(1, fps=16), "flutter", 3)
    assert value("temporal_flickering", flutter) < value("temporal_flickering", scene_frames(1, fps=16)) - 0.03


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "fault", "sign"),
    [
        ("temporal_flickering", "noise", -1),
        ("temporal_flickering", "flutter", -1),
        ("temporal_flickering", "shuffle", -1),
        ("temporal_flickering", "blur", 1),
        ("motion_smoothness", "noise", -1),
        ("motion_smoothness", "flutter", -1),
        ("motion_smoothness", "shuffle", -1),
        ("ssim_consistency", "noise", -1),
        ("ssim_consistency", "shuffle", -1),
        ("sharpness", "blur", -1),
        ("sharpness", "noise", 1),
        ("motion", "freeze", -1),
    ],
)
def test_faults_move_scores_the_way_the_table_says(name, fault, sign):
    clips = [scene_frames(i, num=10) for i in range(4)]
    clean = [value(name, each) for each in clips]
    found = cell(clean, [[value(name, plant(each, fault, s)) for each in clips] for s in (1, 3, 5)])
    assert found.tau * sign >= 0.8 and found.change * sign > 0


@pytest.mark.parametrize("name", PLAIN)
def test_clips_of_one_two_and_three_frames(name):
    for settings in modes(name):
        for num in (1, 2, 3):
            result = scored(name, scene_frames(0, num=num), **settings)
            least = {"motion_smoothness": 3, "sharpness": 1}.get(name, 2)
            if num < least:
                assert result.failures[0]["code"] == "TOO_SHORT" and result.figures == {}
            else:
                assert np.isfinite(result.items[0]["value"])


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_order_and_batches_do_not_matter(name):
    samples = [sample_of(scene_frames(i), f"{i}", cluster=f"{i // 2}") for i in range(4)]
    one, other = load_metric(name)(), load_metric(name)()
    one.update(samples)
    for sample in reversed(samples):
        other.update(Sample(id=sample.id, clip=sample.clip, cluster=sample.cluster))
    assert one.compute().as_dict() == other.compute().as_dict()
    figure = one.compute().figures[name]
    assert figure.low <= figure.value <= figure.high and figure.n == 4


def test_static_filter_leaves_moving_clips_out():
    still = plant(plant(scene_frames(0), "freeze"), "flutter", 1)
    moving = Frames.from_pixels(np.stack([np.roll(scene_frames(0).pixels[0], 4 * t, 1) for t in range(14)]), 8)
    result = scored("temporal_flickering", moving, still, static_filter=True)
    assert [item["static"] for item in result.items] == [False, True] and result.counts["moving"] == 1
    assert result.items[0]["value"] is None and result.value == result.items[1]["value"] and result.coverage == 1
    assert "static filter by DIS" in " ".join(result.notes)
    none = scored("temporal_flickering", moving, static_filter=True)
    assert none.figures == {} and none.coverage == 0  # an empty filter is told, not a crash


def test_dynamic_degree_tells_motion_from_rest():
    moving = Frames.from_pixels(np.stack([np.roll(scene_frames(0).pixels[0], 4 * t, 1) for t in range(14)]), 8)
    slow = Frames.from_pixels(np.stack([np.roll(scene_frames(0).pixels[0], t // 4, 1) for t in range(14)]), 8)
    result = scored("dynamic_degree", moving, slow, plant(scene_frames(0), "freeze"))
    assert [item["value"] for item in result.items] == [1.0, 0.0, 0.0]
    assert result.items[0]["threshold_px"] == 6 * 48 / 256 and result.items[0]["needed"] == 4
    figure = result.figures["dynamic_degree"]
    assert figure.value == pytest.approx(1 / 3) and 0 < figure.low < figure.high < 1
    one = scored("dynamic_degree", plant(scene_frames(0), "freeze"))
    assert one.value == 0 and one.figures["dynamic_degree"].high > 0.5  # of one clip little is known
    assert "DIS" in " ".join(one.notes) and "RAFT" in " ".join(one.notes)


def test_dynamic_degree_reads_speed_and_not_pixels_per_pair():
    """Two pixels a frame: at 4 frames a second that is 1 in an eighth second, below the threshold of 1.125."""
    import cv2

    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 110, 3), np.uint8), (0, 0), 2)
    wide = cv2.normalize(wide, None, 0, 255, cv2.NORM_MINMAX)
    pixels = np.stack([wide[:, 2 * t : 2 * t + 64] for t in range(14)])
    at_4, at_8 = Frames.from_pixels(pixels, 4), Frames.from_pixels(pixels, 8)
    assert [value("dynamic_degree", each) for each in (at_4, at_8)] == [0.0, 1.0]


def test_long_clips_are_cut_and_averaged():
    frames = scene_frames(4, num=20)
    long = scored("temporal_flickering", frames, long=True)
    pieces = [Frames.from_pixels(frames.pixels[a:b], 8) for a, b in ((0, 16), (4, 20))]
    parts = [value("temporal_flickering", piece) for piece in pieces]
    assert long.items[0]["pieces"] == parts and long.value == pytest.approx(np.mean(parts), abs=1e-15)
    six_s = Frames.from_pixels(np.concatenate([scene_frames(4).pixels] * 4), 8)
    assert "VBench-Long" in " ".join(scored("temporal_flickering", six_s).notes)


def test_settings_are_checked():
    with pytest.raises(UsageError, match="fps"):
        load_metric("temporal_flickering")(fps=-1)
    with pytest.raises(UsageError, match="compat"):
        load_metric("temporal_flickering")(mode="strict")
    with pytest.raises(UsageError, match="unknown configuration key 'subject_consistency.between'"):
        load_metric("subject_consistency")(between=0.5)
