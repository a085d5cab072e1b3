"""The tower's tokens computed in the data worker are those the model would compute, worded anew."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import SiglipVisionConfig, SiglipVisionModel

from v2t.data import patch_tokens
from v2t.data.patch_tokens import PatchTokenSource
from v2t.data.world import ClipsConfig, ClipSource
from v2t.model import CineloopResamplerConfig
from v2t.model.resampler import CineloopResampler
from v2t.model.vision import encode_frames


@pytest.fixture(scope="module")
def source():
    torch.manual_seed(0)
    tower = SiglipVisionModel(
        SiglipVisionConfig(
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=1,
            num_attention_heads=2,
            image_size=64,
            patch_size=8,
            vision_use_head=False,
        )  # fmt: skip
    ).eval()
    clips = ClipSource(
        config=ClipsConfig(num_frames=4, fewer_share=0.5), split="train", seed=1, segment_frames=4, tokens_per_segment=8
    )
    return PatchTokenSource(clips, tower, side=4, block=3, rounds=2)


def test_each_block_comes_round_before_the_next(source):
    assert [source.place(n) for n in range(8)] == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1), (3, 0), (4, 0)]


def test_kept_tokens_give_the_resampler_what_pixels_give(source):
    batch, plain = source(0, 3), source.clips(0, 3)
    config = CineloopResamplerConfig(
        segment_frames=4, num_queries=8, hidden_size=32, num_layers=2, frame_layers=1, num_heads=2, frame_grid=4
    )
    resampler = CineloopResampler(config, 32).eval()
    pixels = plain["pixels"].movedim(-1, -3).float() / 127.5 - 1
    with torch.no_grad():
        direct = resampler(encode_frames(source.tower, pixels, plain["mask"]), plain["times_s"], plain["mask"])
        kept = resampler(batch["patch_tokens"].float(), batch["times_s"], batch["mask"])
    assert batch["patch_tokens"].shape == (3, 4, 16, 32)
    assert not plain["mask"].all()  # a shorter clip is among them
    torch.testing.assert_close(kept, direct, atol=0.05, rtol=0.05)
    assert not torch.allclose(kept[0], kept[1], atol=0.05)


def test_the_same_clip_comes_back_with_the_same_tokens(source):
    first, again = source(0, 3), source(3, 3)
    assert torch.equal(first["patch_tokens"], again["patch_tokens"])
    assert torch.equal(first["fact_place"], again["fact_place"])


def test_a_position_can_be_asked_for_first(source):
    fresh = PatchTokenSource(source.clips, source.tower, side=4, block=3, rounds=2)
    assert torch.equal(fresh(4, 2)["patch_tokens"], source(4, 2)["patch_tokens"])


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4, 5, 7, 13])
def test_a_batch_may_straddle_blocks(source, count):
    """Batches of any size give the samples that one large batch gives: 3 clips a block, told twice."""
    fresh = PatchTokenSource(source.clips, source.tower, side=4, block=3, rounds=2)
    tokens = torch.cat([fresh(start, count)["patch_tokens"] for start in range(0, 3 * count, count)])
    alone = torch.cat([source(number, 1)["patch_tokens"] for number in range(3 * count)])
    assert torch.equal(tokens, alone)
    last = [fresh.place(number)[0] // 3 for number in range(2 * count, 3 * count)]
    assert {index // 3 for index in fresh._kept} == set(last)  # and no others stay in memory


@pytest.mark.slow
def test_a_cache_gives_what_the_tower_gives_and_a_later_run_encodes_nothing(source, tmp_path, monkeypatch):
    old = tmp_path / patch_tokens.cache_key(source)
    old.mkdir()
    (old / "00000.safetensors").write_bytes(b"of an earlier version")  # is left alone
    patch_tokens.with_cache(source, tmp_path, 9)
    with monkeypatch.context() as patched:
        patched.setattr(PatchTokenSource, "encode", lambda *_: pytest.fail("encoded again"))
        kept = replace(patch_tokens.with_cache(source, tmp_path, 6), _kept={})
    assert kept.cache is not None and kept.cache.size()[0] == 9
    plain = replace(source, _kept={})
    for start in (0, 5):
        one, two = kept(start, 5), plain(start, 5)
        assert one.keys() == two.keys() and all(torch.equal(one[name], two[name]) for name in one)


def test_clips_of_several_segments_are_cached_whole(source, tmp_path):
    longer = replace(source.clips, config=replace(source.clips.config, num_frames=10, fewer_share=0.5))
    plain = replace(source, clips=longer, _kept={})
    kept = replace(patch_tokens.with_cache(plain, tmp_path, 3), _kept={})
    batch = plain(0, 3)
    assert len(batch["times_s"]) > 3  # more segments than clips
    assert torch.equal(kept(0, 3)["patch_tokens"], batch["patch_tokens"])


def test_words_may_change_beside_a_cache_and_frames_may_not(source):
    def key(**settings):
        config = replace(source.clips.config, **settings)
        return patch_tokens.cache_key(replace(source, clips=replace(source.clips, config=config)))

    assert key(texts=("short",), wordings=3, film_share=0.1) == key()
    assert len({key(), key(num_frames=3), key(augment=False), key(solo_share=0.5)}) == 4
