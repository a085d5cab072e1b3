import numpy as np
import pytest

from cineloop.world.referee.read import read_back
from cineloop.world.scenes.augment import augmented_frames, with_artifacts
from cineloop.world.scenes.render import frame_times, render
from cineloop.world.scenes.solo import sample_solo
from v2t.data.world import ClipsConfig, ClipSource


def test_melting_spoils_the_figure_and_leaves_the_place_as_it_was():
    scene = sample_solo("train", 5, 6)
    times = frame_times(scene.duration_s, 8.0)
    clean = render(scene, (64, 64), times_s=times)
    made = with_artifacts(scene, clean, times, np.random.default_rng(0))
    assert made.shape == clean.shape and made.dtype == np.uint8
    off = np.abs(made.astype(int) - clean).max(-1)  # (T, H, W)
    assert (off > 20).any(axis=(1, 2)).all(), "some of the figure is wrong in every frame"
    far = off[:, :20].max()  # the figure stands on the ground, the sky is the place's alone
    assert far <= 2
    again = with_artifacts(scene, clean, times, np.random.default_rng(0))
    assert (again == made).all()


@pytest.mark.slow
def test_colour_place_and_way_are_still_read_in_melted_clips():
    right = num = 0
    for index in range(24):
        scene = sample_solo("train", 8, index)
        facts, times = scene.facts(), frame_times(scene.duration_s, 8.0)
        made = with_artifacts(scene, render(scene, (64, 64), times_s=times), times, np.random.default_rng(index))
        read = read_back(made, times)
        assert read.place == facts["shots"][0]["place"]
        if read.figures:
            num += 1
            right += read.figures[0].color == facts["actors"][0]["color"]
    assert num >= 8 and right / num > 0.8


def test_wear_keeps_the_shape():
    scene = sample_solo("train", 5, 1)
    times = frame_times(scene.duration_s, 8.0)
    for seed in range(12):
        assert augmented_frames(scene, (64, 64), times, np.random.default_rng(seed)).shape == (len(times), 64, 64, 3)


def test_a_share_of_the_stream_are_clips_of_one_figure_with_texts_of_their_own():
    config = ClipsConfig(texts=("questions",), solo_share=0.5, solo_texts=("short", "plain", "claims"))
    source = ClipSource(config=config, split="train", seed=4, segment_frames=16, tokens_per_segment=8)
    solos = [index for index in range(200) if source.is_solo(index)]
    assert 70 < len(solos) < 130
    assert all(source.scene(index) == sample_solo("train", 4, index) for index in solos[:5])
    first = source.cut(solos[0])[0]
    assert (first == source.cut(solos[0])[0]).all(), "a pure function of the index"
