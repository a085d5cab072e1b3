"""Scenes that the generator is taught: which way figures face, and kinds drawn more often."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from t2v.data import latents
from t2v.data.latents import LatentSource, cache_key
from t2v.data.world import solo_scene
from t2v.model.text import build_tokenizer, world_words
from t2v.model.vae import AutoencoderKLCineloop
from t2v.train.dit import Config


def source(**fields):
    vae = AutoencoderKLCineloop(
        latent_channels=4, widths=(8, 16, 16), depth=1, latents_mean=[0.0] * 4, latents_std=[1.0] * 4
    )
    return LatentSource(vae, None, "train", 3, (32, 32), 1, 0, None, **fields)


def test_only_who_goes_left_faces_left():
    scenes = [solo_scene("seen", 2, index) for index in range(200)]
    ways = Counter((scene.events[0].direction, scene.actors[0].facing) for scene in scenes)
    assert {way for way, facing in ways if facing < 0} == {"left"}
    assert {facing for way, facing in ways if way == "left"} == {-1}
    assert {None, "up", "down", "right"} <= {way for way, facing in ways if facing > 0}


def test_without_weights_the_stream_is_that_of_solo_scenes():
    assert [source().scene(n) for n in range(20)] == [solo_scene("train", 3, n) for n in range(20)]


@pytest.mark.slow
def test_weights_draw_kinds_so_many_times_as_often():
    weighted = source(kind_weights={"fish": 4.0, "boat": 0.5})
    kinds = Counter(weighted.scene(n).actors[0].kind for n in range(1200))
    others = sum(kinds.values()) - kinds["fish"] - kinds["boat"]  # 20 kinds
    share = others / 20  # about 49 in 1,200 draws of weights 4, 0.5 and 20 times 1
    assert kinds["fish"] / share == pytest.approx(4.0, rel=0.35)
    assert kinds["boat"] / share == pytest.approx(0.5, rel=0.6)
    assert weighted.scene(7) == weighted.scene(7)
    assert cache_key(weighted) != cache_key(source())


@pytest.mark.parametrize(
    ("weights", "message"), [({"whale": 2.0}, "called whale; there are"), ({"fish": 0.0}, "above 0")]
)
def test_weights_that_mean_nothing_are_refused(tmp_path, weights, message):
    with pytest.raises(ValueError, match=message):
        Config(stage="dit", out=tmp_path, loop=None, vae=tmp_path, kind_weights=weights)


def test_a_batch_across_the_end_of_an_epoch_holds_the_clips_of_its_texts():
    vae = source().vae.eval()
    held = LatentSource(vae, build_tokenizer(world_words(50)), "train", 3, (32, 32), 1, 5)
    across, first, last = held(3, 4), held(0, 2), held(3, 2)  # of epochs of five clips
    for name in ("latents", "occupancy", "color", "kind"):
        torch.testing.assert_close(across[name], torch.cat([last[name], first[name]]), rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_cached_latents_are_those_that_are_encoded(tmp_path, monkeypatch):
    vae = source().vae.eval()
    plain = LatentSource(vae, build_tokenizer(world_words(50)), "train", 3, (32, 32), 1, 40)
    latents.with_cache(plain, tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(latents, "encode", lambda *_: pytest.fail("encoded again"))
        cached = latents.with_cache(plain, tmp_path)
        assert cached.cache is not None and cached.cache.size()[0] == 2  # passes of 32 clips
        batch = cached(32, 8)
    whole = latents.encode(plain, range(32, 64))
    assert torch.equal(batch["latents"], whole["latents"][:8].float())
    assert torch.equal(batch["occupancy"], whole["occupancy"][:8].float() / 255)
    assert batch["input_ids"].tolist() == plain(32, 8)["input_ids"].tolist()
