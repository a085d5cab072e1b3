"""Camera motion: words, paths, and clips whose camera is known exactly."""

from __future__ import annotations

import random

import cv2
import numpy as np
import pytest

from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import inflect
from v2t_eval.audit.faults import plant
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.metrics.camera_motion import CameraPath, steps_of, visible_motions
from v2t_eval.semantics.camera import MOTIONS, motions_in, motions_of

PATHS = {
    "static": (0.0, 0.0, 0.0),
    "pan left": (0.25, 0.0, 0.0),
    "pan right": (-0.25, 0.0, 0.0),
    "tilt up": (0.0, 0.25, 0.0),
    "tilt down": (0.0, -0.25, 0.0),
    "zoom in": (0.0, 0.0, 0.3),
    "zoom out": (0.0, 0.0, -0.3),
}


def film(x: float, y: float, zoom: float, num: int = 17, size: tuple[int, int] = (90, 160)) -> Frames:
    """A textured picture film_of at 8 Hz by a camera that shifts it by x, y of its sides and makes it grow."""
    height, width = size
    noise = np.random.default_rng(5).normal(0, 1, (3 * height, 3 * width, 3)).astype(np.float32)
    canvas = cv2.GaussianBlur(noise, (0, 0), 3)
    canvas = np.clip(128 + canvas / canvas.std() * 40, 0, 255).astype(np.uint8)
    middle = np.array([1.5 * width, 1.5 * height])
    frames = []
    for p in np.linspace(-0.5, 0.5, num):
        scale = np.exp(p * zoom)
        offset = np.array([width / 2, height / 2]) + (p * x * width, p * y * height) - scale * middle
        matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
        frames.append(cv2.warpAffine(canvas, matrix, (width, height), flags=cv2.INTER_LINEAR))
    return Frames.from_pixels(np.stack(frames), 8)


def seen(frames: Frames, **row: object) -> dict[str, object]:
    metric = load_metric("camera_motion")()
    return dict(metric.measure(Sample(id="a", clip=SampleClip.from_frames(frames), row={"camera": "static", **row})))


@pytest.mark.parametrize("motion", PATHS)
def test_every_motion_of_a_known_camera_is_seen_and_measured(motion: str) -> None:
    measured = seen(film(*PATHS[motion]), camera=motion)
    assert measured["seen"] == [motion] and measured["value"] == 1.0
    for name, wanted in zip(("x", "y", "zoom"), PATHS[motion], strict=True):
        assert measured[name] == pytest.approx(wanted, abs=0.03)


def test_the_other_way_is_wrong_and_a_mirrored_clip_pans_the_other_way() -> None:
    panned = film(*PATHS["pan left"])
    assert seen(panned, camera="pan right")["value"] == 0.0
    assert seen(plant(panned, "mirror"), camera="pan right")["value"] == 1.0
    assert seen(plant(panned, "reverse"), camera="pan right")["value"] == 1.0
    drifting = plant(film(0, 0, 0), "drift", 4)
    assert seen(drifting, camera="static")["seen"] == ["pan left"]


def test_a_camera_that_returns_shakes_and_a_cut_spoils_one_step() -> None:
    still = film(0, 0, 0, num=17)
    shaking = np.stack([np.roll(frame, 5 * (t % 2) - 2, axis=1) for t, frame in enumerate(still.pixels)])
    assert seen(Frames.from_pixels(shaking, 8))["seen"] == ["shake"]
    other = np.ascontiguousarray(np.flip(film(0, 0, 0, num=9).pixels, (1, 2)))
    cut = Frames.from_pixels(np.concatenate([still.pixels[:9], other]), 8)
    measured = seen(cut)
    assert measured["seen"] == ["static"] and 0.9 < float(str(measured["read"])) < 1


def test_the_rule_by_numbers() -> None:
    def path(x: float = 0, y: float = 0, zoom: float = 0, way: float | None = None) -> CameraPath:
        return CameraPath(x=x, y=y, zoom=zoom, way=abs(x) + abs(y) if way is None else way, read=1.0)

    assert visible_motions(path(x=0.039), 2) == ["static"] and visible_motions(path(x=0.041), 2) == ["pan left"]
    assert visible_motions(path(x=0.2, zoom=0.19), 2) == ["pan left"]
    assert visible_motions(path(x=0.2, zoom=0.21), 2) == ["pan left", "zoom in"]
    assert visible_motions(path(x=0.02, way=0.5), 2) == ["shake"] and visible_motions(path(x=0.3, way=0.5), 2) != [
        "shake"
    ]
    assert steps_of(np.arange(20) / 24) == [0, 3, 6, 9, 12, 15, 18] and steps_of(np.arange(3) / 5) == [0, 1, 2]


def test_words_ask_for_what_they_say() -> None:
    for motion, verbs in lex.CAMERA_VERBS.items():
        for verb in verbs:
            for text in (
                f"A dog runs. The camera {inflect(verb, 's')}.",
                f"A dog, with the camera {inflect(verb, 'ing')}",
            ):
                assert motions_in(text) == [motion], text
    for text, wanted in {
        "A beach, camera pans left": ["pan left"],
        "a city, camera tilts down": ["tilt down"],
        "zoom_in": ["zoom in"],
        "camera static": ["static"],
        "a slow zoom out from the house": ["zoom out"],
        "the camera pans right, then zooms in": ["pan right", "zoom in"],
        "handheld footage of a market": ["shake"],
        "a dog moves away from a still cat": [],
        "she turns to the left and looks at the pan": [],
        "": [],
    }.items():
        assert motions_in(text) == wanted, text
    assert motions_of({"shots": [{"camera": "pan left"}, {"camera": "static"}]}) == ["static", "pan left"]
    assert motions_of({"shots": "none"}) == [] and set(MOTIONS) >= set(lex.CAMERA_VERBS)


def test_what_asks_for_nothing_or_shows_nothing_has_no_value() -> None:
    frames = film(0, 0, 0, num=5)
    metric = load_metric("camera_motion")()
    grey = Frames.from_pixels(np.full((5, 64, 64, 3), 90, np.uint8), 8)
    cases = {
        "NOTHING_ASKED": [
            Sample(id="a", clip=SampleClip.from_frames(frames), prompt="a dog"),
            Sample(id="b", clip=SampleClip.from_frames(frames), prompt="the camera pans left and tilts up"),
        ],
        "UNREAD": [Sample(id="c", clip=SampleClip.from_frames(grey), row={"camera": "static"})],
        "TOO_SHORT": [Sample(id="d", clip=SampleClip.from_frames(film(0, 0, 0, 1)), row={"camera": "static"})],
    }
    for code, samples in cases.items():
        for sample in samples:
            with pytest.raises(ItemError) as error:
                metric.measure(sample)
            assert error.value.code == code
    metric.update(cases["NOTHING_ASKED"])
    metric.update(Sample(id="e", clip=SampleClip.from_frames(frames), prompt="the camera stays still"))
    result = metric.compute()
    assert (result.n, result.coverage, result.value, set(result.figures)) == (1, 1.0, 1.0, {"camera_motion", "static"})


@pytest.mark.slow
def test_cameras_of_the_cartoon_world_are_read_far_above_chance() -> None:
    """Chance is one in six; docs/figures/camera.json has the figure of many more."""
    from cineloop.world.scenes.render import render
    from cineloop.world.scenes.sampler import sample_scene

    rng, right, num = random.Random(3), 0, 0
    for index in rng.sample(range(4000), 400):
        scene = sample_scene("unseen", 3, index)
        if len(scene.shots) > 1 or scene.duration_s > 4 or scene.style == "pencil" or scene.shots[0].camera == "static":
            continue
        times = np.arange(round(scene.duration_s * 8)) / 8
        shown = Frames.from_pixels(render(scene, (96, 96), times_s=times), 8)
        right += int(float(str(seen(shown, camera=scene.shots[0].camera)["value"])))
        num += 1
    assert num >= 20 and right / num > 0.7
