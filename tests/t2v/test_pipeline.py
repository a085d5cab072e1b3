from __future__ import annotations

import subprocess
import sys
from functools import partial

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

import t2v.pipeline
from cineloop.errors import MissingDependencyError, UsageError
from t2v.flow import GuidanceConfig, guide
from t2v.model.dit import CineloopTransformer3DModel
from t2v.model.text import CineloopTextConfig, CineloopTextModel, PromptEncoder, build_tokenizer
from t2v.model.vae import AutoencoderKLCineloop
from t2v.pipeline import CineloopPipeline, load_starter

PROMPTS = ["a red ball", "a large blue cube rolls to the left"]
WORDS = "a red large blue ball cube rolls to the left".split()
NEGATIVES = ["blue", ""]
TOLD = ["prompt_embeds", "prompt_attention_mask", "pooled_prompt_embeds"]
TOLD += ["negative_" + name for name in TOLD]
SHAPE = {"height": 16, "width": 32, "num_frames": 9}
close = partial(torch.testing.assert_close, rtol=1e-4, atol=5e-5)


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(n) for n in numbers]


@pytest.fixture
def pipe():
    torch.manual_seed(0)
    tokenizer = build_tokenizer(dict.fromkeys(WORDS))
    transformer = CineloopTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16, freq_dim=16,
        ffn_dim=32, num_layers=2, pooled_dim=16, zero_init=False, sample_height=16, sample_width=16, sample_frames=5,
    )  # fmt: skip
    config = CineloopTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_layers=1, num_heads=2, initializer_range=1
    )
    statistics = {"latents_mean": [0.1, 0.2, 0.3, 0.4], "latents_std": [0.5, 1.0, 1.5, 2.0]}
    made = CineloopPipeline(
        vae=AutoencoderKLCineloop(latent_channels=4, widths=(4, 8, 16), depth=1, **statistics),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=CineloopTextModel(config).eval(),
        tokenizer=tokenizer,
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture
def latents_of(pipe):
    """Latents of a short run."""

    def run(prompt=PROMPTS[0], **options):
        return pipe(prompt, **{"num_inference_steps": 3, "output_type": "latent", **SHAPE, **options}).frames

    return run


def by_hand(pipe, prompts, negatives, noise, steps, guidance: GuidanceConfig):
    """The same clips by formula: two passes a step, Euler on s / (s + (1 - s) / 3), the shifted levels."""
    encoder = PromptEncoder(pipe.tokenizer, pipe.text_encoder)
    levels = [n / steps for n in range(steps, 0, -1)]
    sigmas = [3 * s / (1 + 2 * s) for s in levels] + [0.0]
    x = noise.clone()
    for now, then in zip(sigmas, sigmas[1:], strict=False):

        def velocity(words, now=now, x=x):
            told = encoder.encode(words)
            times = torch.full((len(x),), 1000 * now)
            return pipe.transformer(x, times, told.embeds, told.mask, told.pooled, return_dict=False)[0]

        with torch.no_grad():
            x = x + (then - now) * guide(velocity(prompts), velocity(negatives), guidance, now)
    return x


def test_the_pipeline_does_what_the_formulas_say(latents_of, pipe):
    """One batch of both halves = two passes; the noise levels are those of the shift, once; interval and rescale."""
    noise = torch.randn(2, 4, 3, 2, 4)
    guidance = GuidanceConfig(scale=4.0, interval=(0.2, 0.9), rescale=0.7)
    made = latents_of(
        PROMPTS,
        negative_prompt=NEGATIVES,
        latents=noise,
        num_inference_steps=5,
        guidance_scale=4.0,
        guidance_interval=(0.2, 0.9),
        guidance_rescale=0.7,
    )
    close(made, by_hand(pipe, PROMPTS, NEGATIVES, noise, 5, guidance))
    # and the guidance is not idle in that comparison
    assert (made - by_hand(pipe, PROMPTS, NEGATIVES, noise, 5, GuidanceConfig())).abs().max() > 1e-2


def test_the_transformer_is_told_the_shifted_noise_levels(pipe, latents_of):
    seen = []
    pipe.transformer.register_forward_pre_hook(
        lambda _, __, given: seen.append((len(given["hidden_states"]), given["timestep"][0].item())), with_kwargs=True
    )
    latents_of(num_inference_steps=4, guidance_interval=(0.8, 0.95))
    times = [1000 * 3 * s / (1 + 2 * s) for s in (1, 0.75, 0.5, 0.25)]  # 1000, 900, 750, 500
    assert [time for _, time in seen] == pytest.approx(times, abs=1e-2)
    assert [batch for batch, _ in seen] == [1, 2, 1, 1]  # both halves only where guidance acts
    assert pipe.num_timesteps == 4
    seen.clear()
    latents_of(guidance_scale=1.0)
    assert [batch for batch, _ in seen] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize("by_words", [True, False])
@pytest.mark.parametrize("with_image", [True, False])
def test_a_clip_is_the_same_alone_and_in_any_batch(pipe, latents_of, by_words, with_image):
    """Prompts × videos of each: words or embeddings, with and without a first frame for each prompt."""
    images = torch.rand(2, 3, 16, 32)
    told = {"prompt": PROMPTS, "negative_prompt": NEGATIVES}
    if not by_words:
        told = dict(zip(TOLD, pipe.encode_prompt(PROMPTS, NEGATIVES), strict=True)) | {"prompt": None}
    image = {"image": images} if with_image else {}
    batch = latents_of(**told, **image, num_videos_per_prompt=2, generator=seeds(10, 11, 12, 13))
    assert batch.shape == (4, 4, 3, 2, 4)
    for clip in range(4):
        image = {"image": images[clip // 2]} if with_image else {}
        alone = latents_of(
            PROMPTS[clip // 2], negative_prompt=NEGATIVES[clip // 2], **image, generator=seeds(10 + clip)[0]
        )
        close(batch[clip], alone[0])
    assert (batch[0] - batch[1]).abs().max() > 0.1 and (batch[0] - batch[2]).abs().max() > 0.1


def test_given_latents_are_the_noise_and_decide_the_size(pipe, latents_of):
    noise = torch.randn(4, 4, 2, 4, 6)
    kept = noise.clone()
    options = {"height": None, "width": None, "num_frames": None}
    batch = latents_of(PROMPTS, latents=noise, num_videos_per_prompt=2, **options)
    assert batch.shape == noise.shape and torch.equal(noise, kept)
    close(batch[2], latents_of(PROMPTS[1], latents=noise[2:3], **options)[0])
    drawn = torch.randn(1, 4, 3, 2, 4, generator=seeds(5)[0])
    close(latents_of(latents=drawn), latents_of(generator=seeds(5)[0]))


def test_the_first_frame_is_kept_clean(pipe, latents_of):
    picture = np.random.default_rng(0).random((16, 32, 3)).astype(np.float32)
    seen = []
    pipe.transformer.register_forward_pre_hook(
        lambda _, __, given: seen.append((given["timestep"], given["hidden_states"][:, :, :1])), with_kwargs=True
    )
    made = latents_of(image=picture, generator=seeds(0)[0])
    pixels = torch.from_numpy(picture).permute(2, 0, 1)[None, :, None] * 2 - 1  # (1, 3, 1, H, W)
    with torch.no_grad():
        clean = pipe.vae.encode_normalized(pixels)
        frame = pipe.vae.decode_normalized(clean)[0, :, 0].permute(1, 2, 0) / 2 + 0.5
    close(made[:, :, :1], clean)
    for times, first in seen:
        assert times.shape == (2, 3 * 1 * 2)  # both halves; frames, rows and columns of tokens
        assert (times[:, :2] == 0).all() and (times[:, 2:] > 0).all()
        close(first, clean.expand(2, -1, -1, -1, -1))
    # The autoencoder is causal: the first frame that comes out is the given one, as far as it can say it.
    shown = pipe(PROMPTS[0], image=picture, num_inference_steps=1, **SHAPE).frames[0, 0]
    np.testing.assert_allclose(shown, frame.clamp(0, 1).numpy(), atol=1e-4)
    other = latents_of(image=1 - picture, generator=seeds(0)[0])
    assert (made[:, :, 1:] - other[:, :, 1:]).abs().max() > 1e-3  # and the rest of the clip follows from it


def test_a_picture_comes_in_any_usual_form(latents_of):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 32, 3), np.uint8)
    floats = (pixels / 255).astype(np.float32)
    forms = [PIL.Image.fromarray(pixels), floats, torch.from_numpy(floats).permute(2, 0, 1)]
    first, *rest = [latents_of(image=form, generator=seeds(0)[0]) for form in forms]
    for other in rest:
        close(other, first, atol=1e-4)
    with pytest.raises(UsageError, match=r"values in \[0, 1\]"):
        latents_of(image=pixels)
    with pytest.raises(UsageError, match="3 images for 1 prompts"):
        latents_of(image=[PIL.Image.fromarray(pixels)] * 3)


def test_frames_come_out_in_the_asked_form(pipe):
    run = partial(pipe, PROMPTS, num_inference_steps=1)
    made = {kind: run(output_type=kind, generator=seeds(1, 2)).frames for kind in ("np", "pt", "pil", "latent")}
    assert made["np"].shape == (2, 5, 16, 16, 3) and made["np"].dtype == np.float32  # the trained size
    assert 0 <= made["np"].min() < made["np"].max() <= 1
    np.testing.assert_array_equal(made["pt"].permute(0, 1, 3, 4, 2).numpy(), made["np"])
    np.testing.assert_array_equal(np.asarray(made["pil"][1][4]), (made["np"][1, 4] * 255).round().astype(np.uint8))
    assert made["latent"].shape == (2, 4, 2, 2, 2)
    (plain,) = run(generator=seeds(1, 2), return_dict=False)
    np.testing.assert_array_equal(plain, made["np"])


def test_sizes_that_do_not_fit_are_rounded(pipe):
    assert pipe(PROMPTS[0], height=20, width=41, num_frames=4, num_inference_steps=1).frames.shape == (1, 5, 16, 48, 3)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"prompt": None}, "either prompt or prompt_embeds"),
        ({"prompt_embeds": torch.zeros(1, 3, 16)}, "either prompt or prompt_embeds"),
        ({"prompt": []}, "at least one"),
        ({"prompt": ["a", 3]}, "list of texts"),
        ({"negative_prompt": ["a", "b", "c"]}, "3 negative prompts for 2"),
        ({"negative_prompt": "a", "negative_prompt_embeds": torch.zeros(2, 3, 16)}, "either negative_prompt or"),
        ({"negative_prompt_embeds": torch.zeros(1, 3, 16)}, "1 negative prompts for 2"),
        ({"num_videos_per_prompt": 0}, "at least 1"),
        ({"output_type": "mp4"}, "np, pil, pt, latent"),
        ({"callback_on_step_end_tensor_inputs": ["latent"]}, "callbacks may ask for"),
        ({"guidance_interval": (0.9, 0.1)}, "interval"),
        ({"num_inference_steps": 0}, "at least one step"),
        ({"generator": seeds(1, 2, 3)}, "3 generators for 2 clips"),
        ({"latents": torch.zeros(1, 4, 3, 2, 4)}, r"want latents \(2, 4, 3, 2, 4\)"),
        ({"num_frames": 0}, "at least one frame"),
    ],
)
def test_what_cannot_be_meant_is_refused(pipe, options, complaint):
    pipe.transformer.forward = None  # nothing may be computed before
    with pytest.raises(UsageError, match=complaint):
        pipe(**{"prompt": PROMPTS, **SHAPE, **options})


def test_prompts_encoded_alone_make_the_same_clip_without_a_text_encoder(pipe, latents_of, tmp_path):
    wanted = latents_of(PROMPTS, negative_prompt="blue", num_videos_per_prompt=2, generator=seeds(1, 2, 3, 4))
    told = dict(zip(TOLD, pipe.encode_prompt(PROMPTS, "blue"), strict=True))
    pipe.text_encoder = pipe.tokenizer = None
    pipe.save_pretrained(tmp_path)
    bare = CineloopPipeline.from_pretrained(tmp_path)
    assert bare.text_encoder is None and bare.tokenizer is None and bare.vae is not None
    bare.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 3, "output_type": "latent", "num_videos_per_prompt": 2, **SHAPE}
    close(bare(**told, generator=seeds(1, 2, 3, 4), **options).frames, wanted)
    with pytest.raises(UsageError, match="no text encoder"):
        bare(PROMPTS)
    with pytest.raises(UsageError, match="no text encoder"):  # guidance needs the negative side too
        bare(**{name: told[name] for name in TOLD[:3]})


def test_without_guidance_there_is_no_negative_side(pipe):
    encoded = pipe.encode_prompt(PROMPTS, do_classifier_free_guidance=False, num_videos_per_prompt=3)
    assert encoded[0].shape[0] == 6 and encoded[3:] == (None, None, None)
    torch.testing.assert_close(encoded[0][0], encoded[0][2])
    assert not torch.equal(encoded[0][2], encoded[0][3])


def test_a_callback_sees_and_changes_the_tensors_it_asks_for(pipe, latents_of):
    seen = []

    def at_the_end(pipeline, step, timestep, tensors):
        seen.append((step, float(timestep), sorted(tensors)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

    names = ["latents", "prompt_embeds", "negative_prompt_embeds"]
    made = latents_of(callback_on_step_end=at_the_end, callback_on_step_end_tensor_inputs=names)
    assert [step for step, _, _ in seen] == [0, 1, 2] and seen[0][1] == 1000
    assert all(got == sorted(names) for _, _, got in seen)
    assert not made.any()

    def other_words(pipeline, step, timestep, tensors):
        return {"prompt_embeds": tensors["prompt_embeds"] * 0.5, "latents": tensors["latents"]}

    options = {"callback_on_step_end_tensor_inputs": names, "generator": seeds(0)[0]}
    changed = latents_of(callback_on_step_end=other_words, **options)
    assert (changed - latents_of(generator=seeds(0)[0])).abs().max() > 1e-4


def test_a_callback_may_turn_guidance_up_and_stop_the_loop(pipe, latents_of):
    def run(by):
        def turn(pipeline, step, timestep, tensors):
            pipeline._guidance_scale += by
            pipeline._interrupt = step == 1
            return {}

        calls.clear()
        made = latents_of(callback_on_step_end=turn, guidance_scale=2.0, generator=seeds(0)[0])
        assert pipe.guidance_scale == 2.0 + 2 * by and len(calls) == 2
        return made

    calls = []
    pipe.transformer.register_forward_pre_hook(lambda *_: calls.append(1))
    assert (run(1.0) - run(0.0)).abs().max() > 1e-3


@pytest.mark.long
@pytest.mark.slow
def test_saved_and_loaded_by_a_plain_diffusers_script_it_makes_the_same_clip(pipe, tmp_path):
    wanted = pipe(PROMPTS, num_inference_steps=2, generator=seeds(1, 2)).frames
    pipe.save_pretrained(tmp_path / "model")
    script = f"""
import numpy, torch
import t2v.pipeline
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained({str(tmp_path / "model")!r})
assert all(part is not None for part in pipe.components.values()), pipe
pipe.set_progress_bar_config(disable=True)
seeds = [torch.Generator().manual_seed(n) for n in (1, 2)]
numpy.save({str(tmp_path / "frames.npy")!r}, pipe({PROMPTS!r}, num_inference_steps=2, generator=seeds).frames)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "frames.npy"), wanted, atol=1e-5)
    assert not list((tmp_path / "model").rglob("*.py")) and not list((tmp_path / "model").rglob("*.bin"))


@pytest.mark.slow
def test_half_precision_on_load(pipe, tmp_path):
    pipe.save_pretrained(tmp_path)
    half = CineloopPipeline.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    half.set_progress_bar_config(disable=True)
    assert {part.dtype for part in (half.vae, half.transformer, half.text_encoder)} == {torch.bfloat16}
    run = {"num_inference_steps": 2, "guidance_scale": 2.0, "output_type": "latent"}
    made, wanted = (p(PROMPTS, generator=seeds(1, 2), **run).frames for p in (half, pipe))
    assert made.dtype == torch.float32  # latents are kept in full; only the networks are half
    assert (made - wanted).abs().mean() < 0.05 * wanted.abs().mean()
    frames = half(PROMPTS, generator=seeds(1, 2), num_inference_steps=1).frames
    assert frames.dtype == np.float32 and np.isfinite(frames).all()


def test_the_starter_is_a_folder_of_the_package(pipe, tmp_path, monkeypatch):
    monkeypatch.setattr(t2v.pipeline, "STARTER", tmp_path)
    with pytest.raises(MissingDependencyError, match="no generator starter"):
        load_starter()
    pipe.save_pretrained(tmp_path)
    starter = load_starter("cpu", torch.bfloat16)
    assert isinstance(starter, CineloopPipeline) and starter.transformer.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("device", "way", "options"),
    [
        ("cpu", "enable_model_cpu_offload", {"device": "cpu"}),  # the hooks and their order, without an accelerator
        ("cpu", "enable_group_offload", {"onload_device": torch.device("cpu"), "offload_type": "leaf_level"}),
        pytest.param("cuda", "enable_model_cpu_offload", {}, marks=pytest.mark.gpu),
        pytest.param("cuda", "enable_sequential_cpu_offload", {}, marks=pytest.mark.gpu),
    ],
)
def test_offloaded_it_makes_the_same_clip(pipe, device, way, options):
    run = {"num_inference_steps": 2, "image": torch.rand(3, 16, 16), "guidance_scale": 2.0}
    wanted = pipe.to(device)(PROMPTS, generator=seeds(1, 2), **run).frames
    getattr(pipe.to("cpu"), way)(**options)
    np.testing.assert_allclose(pipe(PROMPTS, generator=seeds(1, 2), **run).frames, wanted, atol=1e-3)
    assert all(part.device.type in ("cpu", "meta") for part in (pipe.vae, pipe.transformer, pipe.text_encoder))


@pytest.mark.slow
def test_a_lora_is_loaded_saved_fused_and_unloaded(pipe, latents_of, tmp_path):
    run = partial(latents_of, PROMPTS[0])
    base = run(generator=seeds(0)[0])
    layer = pipe.transformer.blocks[0].attn1.to_q
    tensors = {
        "transformer.blocks.0.attn1.to_q.lora_A.weight": torch.randn(2, layer.in_features),
        "transformer.blocks.0.attn1.to_q.lora_B.weight": torch.randn(layer.out_features, 2),
    }
    assert pipe.load_lora_weights(tensors, "mine", 0.7).matched == 2
    wanted = run(generator=seeds(0)[0])
    assert (wanted - base).abs().max() > 1e-3
    half = run(generator=seeds(0)[0], attention_kwargs={"scale": 0.5})
    pipe.fuse_lora()
    assert pipe.num_fused_loras == 1
    close(run(generator=seeds(0)[0]), wanted)
    pipe.unfuse_lora()
    file = pipe.save_lora_weights(tmp_path, "mine")
    pipe.unload_lora_weights()
    close(run(generator=seeds(0)[0]), base)
    pipe.load_lora_weights(file, "again", weight=0.7)
    close(run(generator=seeds(0)[0]), wanted)
    pipe.set_adapters("again", 0.35)
    close(run(generator=seeds(0)[0]), half)
