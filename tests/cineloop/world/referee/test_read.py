"""The referee reads what was rendered, loses exactly the fact that was spoilt, and reads nothing into rubbish."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import cv2
import numpy as np
import pytest

from cineloop.world import vocabulary as words
from cineloop.world.referee.figure import KINDS, Look, template
from cineloop.world.referee.place import explain
from cineloop.world.referee.read import MUDDY, ReadBack, read_back
from cineloop.world.scenes.render import label_masks, render
from cineloop.world.scenes.scene import Actor, Event, Scene, Shot
from cineloop.world.scenes.solo import FPS, NUM_FRAMES, sample_solo

TIMES_S = np.arange(NUM_FRAMES) / FPS
FACTORS = ("place", "kind", "color", "size", "action", "direction", "speed", "to_color")


@cache
def pixels_of(scene: Scene) -> np.ndarray:
    return render(scene, times_s=TIMES_S)


def truth(scene: Scene) -> dict[str, str | None]:
    actor, event = scene.actors[0], scene.events[0]
    return {
        "place": scene.shots[0].place,
        "kind": actor.kind,
        "color": actor.color,
        "size": actor.size,
        "action": event.action,
        "direction": event.direction,
        "speed": event.speed or {"walk": "slow", "run": "fast"}.get(event.action),
        "to_color": event.to_color,
    }


def facts(read: ReadBack) -> dict[str, str | None]:
    figure = read.figures[0] if read.figures else None
    return {f: read.place if f == "place" else getattr(figure, f, None) for f in FACTORS}


def wrong(scene: Scene, frames: np.ndarray) -> set[str]:
    """Names of the facts that are not read from `frames` as they are in `scene`."""
    read = facts(read_back(frames, TIMES_S))
    return {name for name, value in truth(scene).items() if read[name] != value}


def spoilt(frames: np.ndarray) -> np.ndarray:
    """Blurred by 0.7 pixels, and noisy by 6 levels."""
    soft = np.stack([cv2.GaussianBlur(frame, (0, 0), 0.7) for frame in frames])
    return np.clip(soft + np.random.default_rng(0).normal(0, 6, frames.shape), 0, 255).astype(np.uint8)


def scene_of(kind: str, color: str, event: Event, place: str = "meadow", **actor) -> Scene:
    figure = Actor(kind=kind, color=color, **({"size": "medium", "x": 0.5, "y": 0.6} | actor))
    shot = Shot(start_s=0.0, end_s=NUM_FRAMES / FPS, place=place)
    return Scene(seed=5, style="flat", shots=(shot,), actors=(figure,), events=(event,))


DRIVE = Event(actor=0, action="drive", start_s=0.0, end_s=1.6, direction="right", speed="fast", travel=0.55)
STAND = Event(actor=0, action="stand", start_s=0.0, end_s=2.0)
CAR = scene_of("car", "red", DRIVE, x=0.23)


# --- what was rendered is read
@pytest.mark.slow
def test_every_fact_of_real_clips_is_read():
    scenes = [sample_solo(split, 3, index) for split in ("seen", "unseen") for index in range(25)]
    missed = [(index, wrong(scene, pixels_of(scene))) for index, scene in enumerate(scenes)]
    assert [each for each in missed if each[1]] == []


@pytest.mark.slow
def test_soft_and_noisy_clips_are_read():
    scenes = [sample_solo("seen", 4, index) for index in range(20)]
    assert sum(bool(wrong(scene, spoilt(pixels_of(scene)))) for scene in scenes) <= 1


@pytest.mark.parametrize("kind", words.KINDS)
def test_every_kind_is_told_from_the_others(kind):
    event = Event(actor=0, action="vanish", start_s=0.8, end_s=1.4)
    scene = scene_of(kind, "blue", event, place="desert", size="large", y=0.5)
    assert wrong(scene, pixels_of(scene)) == set()


def test_another_size_of_frame_reads_the_same():
    assert facts(read_back(render(CAR, (96, 96), times_s=TIMES_S), TIMES_S)) == facts(
        read_back(pixels_of(CAR), TIMES_S)
    )


def test_pace_is_measured_and_place_and_height_too():
    figure = read_back(pixels_of(CAR), TIMES_S).figures[0]
    assert figure.pace == pytest.approx(0.55 / 1.6, abs=0.02)
    assert (figure.x, figure.y) == pytest.approx((0.23, 0.6), abs=0.02)
    assert figure.end_s == pytest.approx(1.6, abs=0.13)
    assert figure.persists is True


# --- a fact that is spoilt is the one that is missed
def other(scene: Scene = CAR, *, event: dict | None = None, place: str | None = None, **actor) -> np.ndarray:
    """Frames of `scene` with something else in it."""
    changed = replace(
        scene,
        actors=(replace(scene.actors[0], **actor),),
        events=(replace(scene.events[0], **(event or {})),),
        shots=(replace(scene.shots[0], place=place or scene.shots[0].place),),
    )
    return pixels_of(changed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("missed", "make"),
    [
        ({"place"}, lambda: other(place="snow")),
        ({"color"}, lambda: other(color="blue")),
        ({"kind"}, lambda: other(kind="truck")),
        ({"size"}, lambda: other(size="small")),
        ({"speed"}, lambda: other(event={"travel": 0.18, "speed": "slow"})),
        ({"direction"}, lambda: pixels_of(CAR)[:, :, ::-1]),
        ({"direction"}, lambda: pixels_of(CAR)[::-1]),
        ({"action", "direction", "speed"}, lambda: np.repeat(pixels_of(CAR)[:1], NUM_FRAMES, axis=0)),
        (
            {"action", "direction", "speed"},
            lambda: other(event={"action": "grow", "start_s": 0.3, "direction": None, "speed": None}, x=0.5),
        ),
    ],
)
def test_only_the_spoilt_fact_is_missed(missed, make):
    assert wrong(CAR, np.ascontiguousarray(make())) == missed


@pytest.mark.slow
def test_the_colour_after_a_change_is_read():
    event = Event(actor=0, action="recolor", start_s=0.5, end_s=1.1, to_color="green")
    scene = scene_of("elephant", "pink", event, size="large", y=0.62)
    assert wrong(scene, pixels_of(scene)) == set()
    changed = pixels_of(replace(scene, events=(replace(event, to_color="purple"),)))
    assert wrong(scene, changed) == {"to_color"}
    assert wrong(scene, np.repeat(pixels_of(scene)[:1], NUM_FRAMES, axis=0)) == {"action", "to_color"}


def test_a_figure_that_is_lost_for_a_while_does_not_persist():
    frames = pixels_of(CAR).copy()
    frames[8:11] = pixels_of(replace(CAR, actors=(), events=()))[8:11]
    assert read_back(frames, TIMES_S).figures[0].persists is False


# --- nothing is read into rubbish
@pytest.mark.slow
def test_an_empty_place_has_no_figure():
    for place in words.PLACES:
        scene = Scene(seed=9, style="flat", shots=(Shot(start_s=0, end_s=2.2, place=place),), actors=(), events=())
        for frames in (pixels_of(scene), spoilt(pixels_of(scene))):
            read = read_back(frames, TIMES_S)
            assert (read.place, read.figures, read.num_figures) == (place, (), 0)


def test_noise_is_no_place():
    draw = np.random.default_rng(0)
    coarse = draw.normal(128, 60, (NUM_FRAMES, 5, 5, 3)).astype(np.float32)
    smooth = np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_CUBIC) for frame in coarse])
    for frames in (draw.integers(0, 255, (NUM_FRAMES, 64, 64, 3)), np.clip(smooth, 0, 255)):
        read = read_back(frames.astype(np.uint8), TIMES_S)
        assert read.place is None and not read.figures and set(read.unread) == {"place", "figure"}


@pytest.mark.slow
def test_a_blob_of_the_right_colour_is_not_the_kind():
    told = named = 0
    for index in range(12):
        scene = sample_solo("seen", 6, index)
        empty = pixels_of(replace(scene, actors=(), events=())).astype(np.float32)
        masks, _, _ = label_masks(scene, TIMES_S, (64, 64))
        for t in range(NUM_FRAMES):
            ys, xs = np.nonzero(masks[t] >= 0)
            if len(ys) > 4:
                radius = float(np.sqrt(len(ys) / np.pi))
                color = words.COLORS[scene.actors[0].color]
                center = round(xs.mean() * 16), round(ys.mean() * 16)
                cv2.circle(empty[t], center, round(radius * 16), color, -1, cv2.LINE_AA, 4)
        read = read_back(empty.astype(np.uint8), TIMES_S)
        told += bool(read.figures) and read.figures[0].kind == scene.actors[0].kind
        named += bool(read.figures) and read.figures[0].color == scene.actors[0].color
    assert (told, named) == (0, 12)


@pytest.mark.slow
def test_colours_nobody_paints_are_muddy():
    frames = pixels_of(CAR)
    assert read_back(frames, TIMES_S).muddiness < MUDDY
    muddy = frames.copy()
    muddy[:, 5:25, 5:40] = (150, 20, 160)
    assert read_back(muddy, TIMES_S).muddiness > 2 * MUDDY


# --- what is beyond it is left unread, two figures are read
@pytest.mark.slow
def test_a_moving_camera_is_left_unread():
    for camera in ("pan left", "zoom in"):
        scene = replace(CAR, shots=(replace(CAR.shots[0], camera=camera),))
        read = read_back(pixels_of(scene), TIMES_S)
        assert read.place == "meadow" and not read.figures and "camera" in read.unread["figure"]


def test_another_style_is_left_unread():
    for style in ("outline", "pencil", "pixel"):
        read = read_back(pixels_of(replace(CAR, style=style)), TIMES_S)
        assert all(figure.kind in (None, "car") for figure in read.figures)
        assert read.place in (None, "meadow")


@pytest.mark.parametrize("action", ["appear", "fall"])
def test_a_figure_that_comes_later_is_read_backwards(action):
    later = Event(actor=0, action=action, start_s=0.2, end_s=1.2)
    figure = read_back(pixels_of(replace(CAR, events=(later,))), TIMES_S).figures[0]
    assert (figure.kind, figure.color, figure.action, figure.motion) == ("car", "red", action, action)
    assert figure.path[0] is None and figure.path[-1] is not None
    assert 0.0 <= (figure.start_s or -1) <= (figure.end_s or -1) <= 1.3


@pytest.mark.slow
@pytest.mark.parametrize("action", ["spin", "shake", "stand"])
@pytest.mark.parametrize("kind", ["dog", "car", "star", "box"])
def test_what_a_figure_does_on_the_spot(kind, action):
    event = Event(actor=0, action=action, start_s=0.1, end_s=2.0, speed="slow" if action == "spin" else None)
    assert read_back(pixels_of(scene_of(kind, "red", event)), TIMES_S).figures[0].action == action


@pytest.mark.slow
def test_groups_of_equal_figures_are_counted_or_left_unread():
    read = {}
    for kind in ("ball", "cat", "boat", "dog"):
        for count in (2, 3, 4):
            found = read_back(pixels_of(scene_of(kind, "red", STAND, count=count, size="small")), TIMES_S)
            kinds = {figure.kind for figure in found.figures}
            sure = found.num_figures is not None and None not in kinds
            assert not sure or (found.num_figures, kinds) == (count, {kind})
            read[kind, count] = sure
    assert sum(read.values()) >= 6, read


def two(a: dict, b: dict, events: tuple[Event, ...]) -> Scene:
    actors = tuple(Actor(**({"size": "medium"} | each)) for each in (a, b))
    return replace(CAR, actors=actors, events=events)


@pytest.mark.slow
def test_two_figures_their_relation_and_their_order():
    first = Event(actor=0, action="vanish", start_s=0.2, end_s=0.7)
    second = Event(actor=1, action="recolor", start_s=1.1, end_s=1.6, to_color="black")
    dog, ball = {"kind": "dog", "color": "red", "x": 0.25, "y": 0.7}, {"kind": "ball", "color": "blue", "x": 0.75}
    read = read_back(pixels_of(two(dog, ball | {"y": 0.7}, (first, second))), TIMES_S)
    by_kind = {figure.kind: number for number, figure in enumerate(read.figures)}
    assert (read.num_figures, set(by_kind)) == (2, {"dog", "ball"})
    assert read.relation == (by_kind["dog"], "left of", by_kind["ball"])
    assert read.order == (by_kind["dog"], by_kind["ball"])
    assert [read.figures[by_kind[k]].action for k in ("dog", "ball")] == ["vanish", "recolor"]
    read = read_back(pixels_of(two(dog | {"x": 0.5, "y": 0.22}, ball | {"x": 0.5, "y": 0.74}, (first,))), TIMES_S)
    assert read.relation is not None and [read.figures[i].kind for i in read.relation[::2]] == ["dog", "ball"]
    assert read.relation[1] == "above" and read.order == ()


# --- parts
def test_places_are_told_by_their_colours():
    for number, place in enumerate(words.PLACES):
        scene = Scene(seed=77, style="flat", shots=(Shot(start_s=0, end_s=2.2, place=place),), actors=(), events=())
        cost, share = explain(pixels_of(scene)[:1])
        assert int(cost.argmin()) == number and share[number] > 0.9


def test_a_template_is_what_the_renderer_draws():
    scene = scene_of("bus", "orange", STAND, place="snow", size="large", x=0.5, y=0.5)
    empty = pixels_of(replace(scene, actors=(), events=()))[0].astype(np.float32)
    look = Look(pixels_of(scene)[0].astype(np.float32), empty)
    drawn = template(KINDS.index("bus"), words.SIZES["large"] * 64, 1)
    gain, share, x, y = look.fit(drawn, np.array(words.COLORS["orange"], np.float32), 31, 32, 2)
    assert (x, y) == (32, 32) and share > 0.8
    assert look.fit(drawn, np.array(words.COLORS["blue"], np.float32), 31, 32, 2)[0] < 0.5 * gain
    assert look.fit(drawn, np.array(words.COLORS["orange"], np.float32), 4000, 32)[0] == 0.0


@pytest.mark.parametrize(
    ("frames", "times_s"),
    [
        (np.zeros((17, 64, 64), np.uint8), TIMES_S),
        (np.zeros((17, 64, 64, 3), np.float32), TIMES_S),
        (np.zeros((17, 64, 64, 3), np.uint8), TIMES_S[:5]),
        (np.zeros((17, 64, 64, 3), np.uint8), TIMES_S[::-1]),
        (np.zeros((2, 64, 64, 3), np.uint8), TIMES_S[:2]),
        (np.zeros((17, 32, 64, 3), np.uint8), TIMES_S),
    ],
)
def test_what_is_no_clip_is_refused(frames, times_s):
    with pytest.raises(ValueError, match="frames|times_s"):
        read_back(frames, times_s)
