"""The autoencoder as diffusers tests one: outputs, statistics, files, dtypes, hooks, gradients, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput

from t2v.model.vae import AutoencoderKLCineloop
from tiny_vae import TINY, close, in_chunks, parameters_of, tiny, video


@pytest.fixture(scope="module")
def model() -> AutoencoderKLCineloop:
    return tiny()


def different(a, b):
    assert not torch.allclose(a, b, atol=1e-3)


# What comes out, and in what form.


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 8, 8), (5, 16, 24), (17, 8, 16)])
@torch.no_grad()
def test_shapes(model, frames, height, width):
    x = video(2, frames, height, width)
    mean = model.encode(x).latent_dist.mode()
    assert mean.shape == (2, 4, 1 + (frames - 1) // 4, height // 8, width // 8)
    assert model.decode(mean).sample.shape == x.shape
    assert model(x).sample.shape == x.shape


@pytest.mark.parametrize(
    "changes", [{"patch_size": 2}, {"widths": (8, 8, 4)}, {"widths": (4, 32, 64), "depth": 3}, {"latent_channels": 7}]
)
@torch.no_grad()
def test_other_configs_keep_their_ratio(changes):
    model = tiny(**changes)
    unit = model.config.spatial_compression_ratio
    assert (unit, model.config.temporal_compression_ratio) == (2 * changes.get("patch_size", 4), 4)
    assert (model.spatial_compression_ratio, model.temporal_compression_ratio) == (unit, 4)
    x = video(1, 5, 3 * unit, 2 * unit)
    latents = model.encode_normalized(x)
    assert latents.shape == (1, model.config.latent_channels, 2, 3, 2)
    assert model.decode_normalized(latents).shape == x.shape


@torch.no_grad()
def test_tuples_hold_what_the_outputs_hold(model):
    x = video(1, 5, 16, 16)
    encoded, decoded = model.encode(x), model(x)
    assert isinstance(encoded, AutoencoderKLOutput)
    assert isinstance(decoded, DecoderOutput)
    (posterior,) = model.encode(x, return_dict=False)
    assert torch.equal(posterior.parameters, encoded.latent_dist.parameters)
    (sample,) = model.decode(posterior.mode(), return_dict=False)
    assert torch.equal(sample, decoded.sample)
    assert torch.equal(model(x, return_dict=False)[0], decoded.sample)


@torch.no_grad()
def test_forward_is_deterministic_and_samples_on_request(model):
    x = video(1, 5, 16, 16)
    assert torch.equal(model(x).sample, model(x).sample)
    drawn = [model(x, sample_posterior=True, generator=torch.Generator().manual_seed(s)).sample for s in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1])
    different(drawn[0], drawn[2])
    different(drawn[0], model(x).sample)


@torch.no_grad()
def test_batch_equals_singles(model):
    x = video(3, 5, 16, 16)
    encoded = parameters_of(model, x)
    decoded = model.decode(encoded[:, :4]).sample
    for i in range(3):
        close(encoded[i : i + 1], parameters_of(model, x[i : i + 1]))
        close(decoded[i : i + 1], model.decode(encoded[i : i + 1, :4]).sample)


@torch.no_grad()
def test_no_frame_sees_a_later_one(model):
    x = video(1, 13, 16, 16)
    changed = torch.cat([x[:, :, :9], -x[:, :, 9:]], dim=2)
    a, b = parameters_of(model, x), parameters_of(model, changed)
    close(a[:, :, :3], b[:, :, :3])
    different(a[:, :, 3], b[:, :, 3])
    close(a[:, :, :1], parameters_of(model, x[:, :, :1]))  # a picture is a video of one frame
    z = a[:, :4]
    changed = torch.cat([z[:, :, :2], -z[:, :, 2:]], dim=2)
    a, b = model.decode(z).sample, model.decode(changed).sample
    close(a[:, :, :5], b[:, :, :5])
    different(a[:, :, 5:9], b[:, :, 5:9])


@torch.no_grad()
def test_a_still_clip_stays_still(model):
    """The first frame stands in for the time before it: to repeat it changes nothing, in latents and in pictures."""
    x = video(1, 1, 16, 16)
    encoded = parameters_of(model, x.expand(-1, -1, 9, -1, -1))
    close(encoded, parameters_of(model, x).expand_as(encoded))


# Statistics.


@torch.no_grad()
def test_normalised_latents_have_mean_0_and_deviation_1():
    model, x = tiny(), video(4, 9, 16, 16)
    mode = model.encode(x).latent_dist.mode()
    assert torch.equal(model.encode_normalized(x), mode)  # no statistics yet: 0 and 1
    model.set_latents_statistics(mode.mean((0, 2, 3, 4)).tolist(), mode.std((0, 2, 3, 4)).tolist())
    latents = model.encode_normalized(x)
    close(latents.mean((0, 2, 3, 4)), torch.zeros(4))
    close(latents.std((0, 2, 3, 4)), torch.ones(4))
    different(latents, mode)
    close(model.decode_normalized(latents), model.decode(mode).sample.clamp(-1, 1))
    assert model.decode_normalized(100 * latents).abs().max() == 1


@torch.no_grad()
def test_normalised_samples_come_from_the_distribution():
    model, x = tiny(latents_mean=[1.0] * 4, latents_std=[2.0] * 4), video(2, 5, 16, 16)
    generators = [torch.Generator().manual_seed(s) for s in (1, 2)]
    drawn = model.encode_normalized(x, generator=generators, sample=True)
    single = model.encode_normalized(x[1:], generator=torch.Generator().manual_seed(2), sample=True)
    close(drawn[1:], single)  # a seed per clip: the batch does not matter
    posterior = model.encode(x[1:]).latent_dist
    close(single * 2 + 1, posterior.sample(torch.Generator().manual_seed(2)))
    different(drawn, model.encode_normalized(x))


def test_statistics_stay_with_the_config(tmp_path):
    mean, std = [0.5, -1.0, 2.0, 0.0], [0.5, 1.0, 2.0, 3.0]
    model = tiny()
    model.set_latents_statistics(mean, std)
    model.save_pretrained(tmp_path)
    for copy in (
        AutoencoderKLCineloop.from_pretrained(tmp_path),
        AutoencoderKLCineloop.from_config(model.config),
        AutoencoderKLCineloop(**TINY, latents_mean=mean, latents_std=std),
    ):
        assert (copy.config.latents_mean, copy.config.latents_std) == (mean, std)


# Files, dtypes, hooks, gradients.


@torch.no_grad()
def test_save_and_load(model, tmp_path):
    x = video(1, 5, 16, 16)
    model.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.glob("*.safetensors")] == ["diffusion_pytorch_model.safetensors"]
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["spatial_compression_ratio"], config["temporal_compression_ratio"]) == (8, 4)
    again = AutoencoderKLCineloop.from_pretrained(tmp_path)
    assert torch.equal(again(x).sample, model(x).sample)
    assert {k: v for k, v in again.config.items() if k[0] != "_"} == {
        k: list(v) if isinstance(v, tuple) else v for k, v in model.config.items() if k[0] != "_"
    }
    model.save_pretrained(tmp_path / "shards", max_shard_size="20KB")
    assert len(list((tmp_path / "shards").glob("*.safetensors"))) > 2
    assert torch.equal(AutoencoderKLCineloop.from_pretrained(tmp_path / "shards")(x).sample, model(x).sample)
    model.save_pretrained(tmp_path / "half", variant="fp16")
    assert torch.equal(
        AutoencoderKLCineloop.from_pretrained(tmp_path / "half", variant="fp16")(x).sample, model(x).sample
    )
    with pytest.raises(OSError, match="no file named"):
        AutoencoderKLCineloop.from_pretrained(tmp_path / "half")


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@torch.no_grad()
def test_dtypes(tmp_path, dtype):
    model, x = tiny(latents_mean=[1.0] * 4, latents_std=[2.0] * 4), video(1, 9, 16, 16)
    expected = model.encode_normalized(x)
    model.save_pretrained(tmp_path)
    cast = AutoencoderKLCineloop.from_pretrained(tmp_path, torch_dtype=dtype)
    assert cast.dtype == dtype
    for chunked in (cast, in_chunks(cast, 1)):
        latents = chunked.encode_normalized(x)  # the caller need not know the model's dtype
        given = chunked.decode_normalized(latents.float())
        assert (latents.dtype, given.dtype) == (dtype, dtype)
        close(latents.float(), expected, 1e-5 if dtype.itemsize > 2 else 0.1)
        close(given.float(), model.decode_normalized(expected), 1e-5 if dtype.itemsize > 2 else 0.1)
    cast.enable_tiling(16, 16)
    assert cast.decode(cast.encode(x.to(dtype)).latent_dist.mode()).sample.dtype == dtype


@torch.no_grad()
def test_chunks_survive_offload_hooks(model):
    x = video(1, 9, 16, 16)
    expected = model(x).sample
    offloaded = in_chunks(tiny(), 1)
    cpu_offload(offloaded, execution_device=torch.device("cpu"))
    close(offloaded(x).sample, expected)
    grouped = in_chunks(tiny(), 1)
    grouped.enable_group_offload(torch.device("cpu"), torch.device("cpu"), offload_type="leaf_level")
    close(grouped(x).sample, expected)


@torch.no_grad()
def test_model_offload_hooks_see_encode_and_decode():
    class Seen(ModelHook):
        times = 0

        def pre_forward(self, module, *args, **kwargs):
            self.times += 1
            return args, kwargs

    model, hook = tiny(), Seen()
    add_hook_to_module(model, hook)
    model.decode_normalized(model.encode_normalized(video(1, 1, 8, 8)))
    assert hook.times == 2


@torch.no_grad()
def test_layerwise_casting(model):
    x = video(1, 5, 16, 16)
    cast = tiny()
    cast.enable_layerwise_casting(storage_dtype=torch.bfloat16, compute_dtype=torch.float32)
    assert cast.encoder.conv_in.weight.dtype == torch.bfloat16
    close(cast(x).sample, model(x).sample, 0.1)


@pytest.mark.slow
def test_gradient_checkpointing_gives_the_same_gradients():
    def gradients(model):
        calls = []
        for block in (model.encoder.down0, model.decoder.blocks0[0]):
            block.register_forward_pre_hook(lambda *_: calls.append(1))
        model.train()
        model(video(1, 5, 16, 16)).sample.square().mean().backward()
        return len(calls), [parameter.grad for parameter in model.parameters()]

    def checkpointed():
        model = tiny()
        model.enable_gradient_checkpointing()
        return model

    calls, plain = gradients(tiny())
    again, same = gradients(checkpointed())
    assert (calls, again) == (2, 4)  # going back it goes forward again
    # Chunks fill a cache, which going through twice would spoil: there checkpointing stands aside.
    chunked_calls, chunked = gradients(in_chunks(checkpointed(), 1))
    assert chunked_calls == 4  # two chunks each
    for gradient, *others in zip(plain, same, chunked, strict=True):
        for other in others:
            close(gradient, other)


# What is refused.


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.zeros(1, 3, 16, 16), "one frame: x.unsqueeze"),
        (torch.zeros(3, 5, 16), r"\(B, 3, T, H, W\), got \(3, 5, 16\)"),
        (torch.zeros(1, 4, 5, 16, 16), r"\(B, 3, T, H, W\), got \(1, 4"),
        (torch.zeros(0, 3, 5, 16, 16), r"got \(0, 3"),
        (torch.zeros(1, 3, 4, 16, 16), "4k \\+ 1 frames .* got 4 frames"),
        (torch.zeros(1, 3, 5, 16, 20), "divide by 8, got 5 frames of 16×20"),
        (torch.zeros(1, 3, 5, 16, 16, dtype=torch.uint8), "bytes are x / 127.5 - 1"),
    ],
)
def test_videos_refused(model, x, message):
    for method in (model.encode, model.encode_normalized, model):
        with pytest.raises(ValueError, match=message):
            method(x)


@pytest.mark.parametrize(
    ("z", "message"),
    [
        (torch.zeros(1, 4, 2, 2), r"\(B, 4, t, h, w\), got \(1, 4, 2, 2\)"),
        (torch.zeros(1, 16, 2, 2, 2), r"\(B, 4, t, h, w\), got \(1, 16"),
        (torch.zeros(1, 4, 0, 2, 2), r"got \(1, 4, 0"),
        (torch.zeros(1, 4, 2, 2, 2, dtype=torch.long), "floating point"),
    ],
)
def test_latents_refused(model, z, message):
    for method in (model.decode, model.decode_normalized):
        with pytest.raises(ValueError, match=message):
            method(z)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (8, 16)}, "three widths"),
        ({"widths": (8, 24, 16)}, "b must divide 8a"),
        ({"widths": (8, 16, 24)}, "c must divide 2b"),
        ({"depth": -1}, "depth of at least 0"),
        ({"latents_mean": [0.0] * 3}, "latents_mean must be 4 finite numbers"),
        ({"latents_mean": [float("nan")] * 4}, "latents_mean must be 4 finite numbers"),
        ({"latents_std": [1.0, 0.0, 1.0, 1.0]}, "latents_std must be above 0"),
        ({"spatial_compression_ratio": 16}, "compression ratios are"),
        ({"temporal_compression_ratio": 8}, "compression ratios are"),
    ],
)
def test_configs_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderKLCineloop(**{**TINY, **changes})


def test_statistics_refused(model):
    with pytest.raises(ValueError, match="latents_std must be above 0"):
        model.set_latents_statistics([0.0] * 4, [1.0, 1.0, -1.0, 1.0])
