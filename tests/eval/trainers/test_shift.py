"""The test for shifted captions: found where it is, no alarm where captions are right, alike, or not understood."""

from __future__ import annotations

import numpy as np
import pytest

from cineloop.manifest import read_manifest
from cineloop.world.scenes.corpus import write_world
from trainer_sets import SMALL
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.trainers.check import check_set
from v2t_eval.trainers.rules import load_rules
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.shift import FEWEST, shift_of


def embedded(num: int, seed: int, *, knows: float = 1.0, films: int = 1, hubs: float = 0.0):
    """Embeddings of clips and captions, `films` clips in a row being alike; `knows`: how much an encoder sees."""
    rng = np.random.default_rng(seed)
    content = np.repeat(rng.normal(size=(-(-num // films), 64)), films, 0)[:num]
    content += 0.5 * rng.normal(size=(num, 64)) if films > 1 else 0
    clips, words = (knows * content + rng.normal(size=(num, 64)) for _ in range(2))
    words += hubs * rng.standard_t(2, size=(num, 1)) * rng.normal(size=(1, 64))
    return tuple(each / np.linalg.norm(each, axis=1, keepdims=True) for each in (clips, words))


@pytest.mark.slow
@pytest.mark.parametrize("shape", [{}, {"films": 5}, {"hubs": 1.0}, {"knows": 0.0}], ids=str)
def test_right_captions_and_a_blind_encoder_raise_no_alarm(shape):
    tests = [shift_of(*embedded(60, seed, **shape), seed=seed) for seed in range(20)]
    assert [test.offset for test in tests] == [0] * 20
    assert {test.knows for test in tests} == {shape != {"knows": 0.0}}


@pytest.mark.slow
@pytest.mark.parametrize("shape", [{}, {"films": 5}, {"hubs": 1.0}], ids=str)
@pytest.mark.parametrize("gone", [0, 20])
def test_a_clip_left_out_is_found_with_its_place(shape, gone):
    """As of a trainer that leaves a clip out and keeps its caption."""
    for seed in range(10):
        clips, words = embedded(80, seed, **shape)
        test = shift_of(np.delete(clips, gone, 0), words[:-1], seed=seed)
        assert test.offset == 1 and abs(test.first - gone) <= 3 and test.p <= 0.01, (seed, test)


def test_a_caption_left_out_moves_them_the_other_way():
    clips, words = embedded(60, 1)
    test = shift_of(clips[:-1], np.delete(words, 30, 0))
    assert (test.offset, test.knows) == (-1, True) and abs(test.first - 30) <= 2
    test = shift_of(clips, np.insert(words, 10, words[5], 0)[:-1])
    assert test.offset == 1 and abs(test.first - 10) <= 2


def test_few_clips_behind_a_shift_prove_nothing():
    clips, words = embedded(60, 2)
    assert shift_of(np.delete(clips, 60 - FEWEST // 2, 0), words[:-1]).offset == 0
    assert shift_of(clips[:10], words[:10]).offset == 0


@pytest.mark.slow
def test_clips_of_the_world_with_captions_moved_by_one_are_named_from_there_on(tmp_path):
    how = {"num": 32, "seed": 3, "split": "unseen", "size": (96, 96), "seconds": (1.5, 2.0)}
    write_world(**how, out=tmp_path / "world")
    rows = sorted(read_manifest(tmp_path / "world" / "manifest.jsonl"), key=lambda row: row["path"])
    texts = [row["captions"]["detailed"][0] for row in rows]
    clips = tmp_path / "clips"
    clips.mkdir()
    for number, row in enumerate(rows[:-1]):
        (tmp_path / "world" / row["path"]).rename(clips / f"{number:02}.mp4")
        (clips / f"{number:02}.txt").write_text(texts[number + (number >= 8)])
    rules = load_rules("musubi", None, SMALL["musubi"])
    checked = check_set(clips, rules, CheckSetConfig(), ExecutorConfig(cache=tmp_path))
    moved = [clip.path for clip in checked.clips if "SHIFTED_CAPTION" in clip.codes]
    assert checked.shift.offset == -1 and moved[-1] == "30.mp4" and abs(int(moved[0][:2]) - 8) <= 2
