"""Chunks of time = the whole, slices = the whole, tiles ≈ the whole, and what that saves."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch

from t2v.model.vae_layers import CausalConv3d, FrameCache
from t2v.model.vae_tiling import Tiles, in_tiles, starts
from tiny_vae import close, in_chunks, parameters_of, tiny, video

# Chunks of time.


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 2, 3])
@pytest.mark.parametrize("frames", [1, 5, 9, 21])
@torch.no_grad()
def test_chunks_equal_the_whole(frames, step):
    model, x = tiny(), video(2, frames, 16, 8)
    encoded = parameters_of(model, x)
    decoded = model.decode(encoded[:, :4]).sample
    in_chunks(model, step)
    close(parameters_of(model, x), encoded)
    close(model.decode(encoded[:, :4]).sample, decoded)


@torch.no_grad()
def test_the_first_frame_goes_alone_then_groups():
    model = in_chunks(tiny(), 1)
    seen: dict[str, list[int]] = {"encoder": [], "decoder": []}
    for name, frames in seen.items():
        getattr(model, name).register_forward_pre_hook(lambda _, args, frames=frames: frames.append(args[0].shape[2]))
    model(video(1, 13, 8, 8))
    assert seen == {"encoder": [1, 4, 4, 4], "decoder": [1, 1, 1, 1]}


def test_gradients_flow_through_chunks():
    def gradients(model):
        x = video(1, 9, 8, 8).requires_grad_()
        model(x, sample_posterior=False).sample.square().mean().backward()
        return [x.grad, *(parameter.grad for parameter in model.parameters())]

    for a, b in zip(gradients(tiny()), gradients(in_chunks(tiny(), 1)), strict=True):
        close(a, b)


@pytest.fixture(scope="module")
def live_bytes():
    """The counter of `scripts/measure_vae.py`."""
    path = Path(__file__).resolve().parents[3] / "scripts/measure_vae.py"
    spec = importlib.util.spec_from_file_location("measure_vae", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LiveBytes


def test_the_counter_of_bytes_counts(live_bytes):
    kept = torch.zeros(1000)
    with live_bytes() as live:
        a = kept + 1  # 4000 bytes
        b = a.view(10, 100).t()  # none
        c = (b * 2).sum()  # 4000 more, and 4 while those are there
        a += 1  # none
        del a, b
        d = torch.cat([kept, kept]).double()  # 8000, then 16000 more
    assert live.peak == 4 + 8000 + 16000
    assert live.now == 4 + 16000
    assert (c.numel(), d.numel()) == (1, 2000)


@pytest.mark.slow
@torch.no_grad()
def test_memory_of_chunks_does_not_grow_with_the_length(live_bytes):
    def beyond_the_result(model, latent_frames):
        z = torch.randn(1, 4, latent_frames, 2, 2)
        x = video(1, 4 * latent_frames - 3, 16, 16)
        peaks = []
        for run in (lambda: model.decode(z).sample, lambda: parameters_of(model, x)):
            with live_bytes() as live:
                result = run()
            peaks.append(live.peak - result.untyped_storage().nbytes())
        return peaks

    model = in_chunks(tiny(), 1)
    short, long = beyond_the_result(model, 4), beyond_the_result(model, 16)
    assert all(b < 1.1 * a for a, b in zip(short, long, strict=True))
    whole = tiny()
    short_whole, long_whole = beyond_the_result(whole, 4), beyond_the_result(whole, 16)
    assert all(b > 3 * a for a, b in zip(short_whole, long_whole, strict=True))
    assert all(4 * a < b for a, b in zip(long, long_whole, strict=True))


def test_a_cache_keeps_only_the_frames_that_are_looked_back_on():
    for stride, kept in ((1, 2), (2, 1)):
        conv, cache = CausalConv3d(4, 4, (3, 3, 3), (stride, 1, 1)), FrameCache()
        conv(torch.zeros(1, 4, 9, 2, 2), cache)
        (frames,) = cache.frames.values()
        assert frames.shape == (1, 4, kept, 2, 2)
        assert frames.untyped_storage().nbytes() == frames.nbytes  # no view of all that went through


# Slices and tiles.


@torch.no_grad()
def test_slices_equal_the_whole():
    model, x = tiny(), video(3, 5, 16, 16)
    before = parameters_of(model, x)
    decoded = model.decode(before[:, :4]).sample
    model.enable_slicing()
    close(parameters_of(model, x), before)
    close(model.decode(before[:, :4]).sample, decoded)
    model.disable_slicing()
    assert torch.equal(model.decode(before[:, :4]).sample, decoded)


@torch.no_grad()
def test_tiles_are_close_to_the_whole_and_can_be_turned_off():
    model, x = tiny(), video(1, 1, 16, 320)
    encoded = parameters_of(model, x)
    z = encoded[:, :4]
    decoded = model.decode(z).sample
    model.enable_tiling(256, 256, 192, 192)  # two tiles, one from 0 to 256, the other from 64 to 320
    for whole, tiled, unit in ((encoded, parameters_of(model, x), 1), (decoded, model.decode(z).sample, 8)):
        assert tiled.shape == whole.shape
        error = (tiled - whole).abs()
        assert error[..., 8 * unit : -8 * unit].max() > 1e-4  # it did cut
        assert error.max() < 0.5  # as diffusers' own tests ask
        assert error.mean() < 0.05 * whole.std()
        # Away from the other tile, and further from one's own edge than a layer sees, nothing changes.
        close(tiled[..., : 8 * unit], whole[..., : 8 * unit])
        close(tiled[..., -8 * unit :], whole[..., -8 * unit :])
    model.disable_tiling()
    assert torch.equal(model.decode(z).sample, decoded)
    model.enable_tiling(320, 320)  # a picture that fits into a tile is not cut
    assert torch.equal(model.decode(z).sample, decoded)


@pytest.mark.parametrize("sizes", [(24, 16, 16, 8), (16, 40, 8, 32)])
@torch.no_grad()
def test_tiles_of_a_network_that_looks_nowhere_else_are_the_whole(sizes):
    """With 1×1 kernels there is no edge, so any error would be of the cutting and joining itself."""
    model = tiny()
    for module in model.modules():
        if isinstance(module, torch.nn.Conv3d):
            kept = torch.zeros_like(module.weight)
            at = (..., module.kernel_size[1] // 2, module.kernel_size[2] // 2)
            kept[at] = module.weight[at]
            module.weight.data = kept
    x = video(1, 5, 40, 48)
    encoded = parameters_of(model, x)
    decoded = model.decode(encoded[:, :4]).sample
    model.enable_tiling(*sizes)
    close(parameters_of(model, x), encoded)
    close(model.decode(encoded[:, :4]).sample, decoded)


@pytest.mark.parametrize(
    ("length", "size", "stride"), [(9, 4, 3), (8, 4, 3), (8, 4, 2), (3, 4, 2), (4, 4, 1), (11, 5, 1)]
)
def test_tiles_cover_a_side_and_end_flush(length, size, stride):
    places = starts(length, size, stride)
    assert places[0] == 0
    assert places[-1] + size == max(length, size)
    assert all(0 < b - a <= stride for a, b in zip(places, places[1:], strict=False))


def test_the_seam_between_tiles_is_a_slope():
    """Tiles that disagree by 1 meet in steps no larger than the overlap allows."""
    values = iter([0.0, 1.0])
    joined = in_tiles(
        lambda x: torch.full_like(x, next(values)),
        torch.zeros(1, 1, 1, 6, 10),
        Tiles(size=(6, 6), stride=(1, 4)),
        unit_in=1,
        unit_out=1,
    )
    row = joined[0, 0, 0, 0]
    close(row, torch.tensor([0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1, 1, 1]), 1e-6)
    close(joined, row.expand_as(joined), 1e-6)


@torch.no_grad()
def test_slices_then_tiles_then_chunks():
    model = in_chunks(tiny(), 1)
    model.enable_slicing()
    model.enable_tiling(16, 24, 8, 16)
    seen: list[tuple[int, ...]] = []
    model.decoder.register_forward_pre_hook(lambda _, args: seen.append(tuple(args[0].shape)))
    model.decode(torch.randn(2, 4, 2, 3, 5))
    # 2 clips × (2 rows of tiles × 2 columns) × 2 chunks, each of one clip, one tile, one latent frame
    assert seen == [(1, 4, 1, 2, 3)] * 16


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((20, 16), "multiples of 8 pixels"),
        ((16, 16, 16, 8), "overlap"),
        ((16, 16, 8, 0), "overlap"),
        ((8, 8), "overlap"),
    ],
)
def test_tiles_refused(sizes, message):
    model = tiny()
    with pytest.raises(ValueError, match=message):
        model.enable_tiling(*sizes)
    assert not model.use_tiling


def test_chunk_sizes_refused():
    model = in_chunks(tiny(), 1)
    model.num_sample_frames_batch_size, model.num_latent_frames_batch_size = 6, 0
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        model.encode(video(1, 5, 8, 8))
    with pytest.raises(ValueError, match="at least 1, got 0"):
        model.decode(torch.zeros(1, 4, 2, 1, 1))
