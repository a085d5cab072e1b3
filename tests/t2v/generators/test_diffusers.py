"""Six tiny random video pipelines of diffusers, saved to disk and generated through the command `t2v generate`."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    AutoencoderKLLTXVideo,
    AutoencoderKLMochi,
    AutoencoderKLWan,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
    LTXImageToVideoPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    MochiPipeline,
    MochiTransformer3DModel,
    MotionAdapter,
    UNet2DConditionModel,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from cineloop.errors import ItemError, MissingDependencyError, NothingMatchedError, UsageError
from cineloop.video.decode import decode
from t2v.cli import main
from t2v.generators import ClipRequest, open_generator
from t2v.generators.diffusers import Generator
from t2v.settings import GenerateSettings

PROMPTS = ["a red ball", "a blue box"]


# fmt: off
def tokenizer(most: int = 32) -> PreTrainedTokenizerFast:
    words = ["<pad>", "</s>", "<unk>", "<s>", "a", "red", "ball", "blue", "box"]
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", bos_token="<s>",
        model_max_length=most,
    )


def t5() -> dict:
    config = T5Config(vocab_size=16, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2, tie_word_embeddings=False)
    return {"text_encoder": T5EncoderModel(config).eval(), "tokenizer": tokenizer()}


def text_encoder(width: int = 16) -> CLIPTextModel:
    config = CLIPTextConfig(
        vocab_size=16, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=77, eos_token_id=1, pad_token_id=0, bos_token_id=3,
    )
    return CLIPTextModel(config).eval()


def cogvideox() -> CogVideoXPipeline:
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=2,
        text_embed_dim=16, num_layers=1, sample_width=4, sample_height=4, sample_frames=9, max_text_seq_length=226,
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )
    return CogVideoXPipeline(transformer=transformer, vae=vae, scheduler=CogVideoXDDIMScheduler(), **t5())


def wan() -> WanPipeline:
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16, freq_dim=16,
        ffn_dim=16, num_layers=1, rope_max_seq_len=32,
    )
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.0] * 4, latents_std=[1.0] * 4,
    )
    return WanPipeline(transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(), **t5())


def ltx() -> LTXPipeline:
    transformer = LTXVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, cross_attention_dim=16,
        num_layers=1, caption_channels=16,
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=4, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
    )
    return LTXPipeline(transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(), **t5())


def hunyuan() -> HunyuanVideoPipeline:
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1,
        num_single_layers=1, num_refiner_layers=1, text_embed_dim=16, pooled_projection_dim=16, rope_axes_dim=(2, 4, 4),
    )
    vae = AutoencoderKLHunyuanVideo(
        down_block_types=("HunyuanVideoDownBlock3D",) * 4, up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2,
    )
    llama = LlamaConfig(
        vocab_size=16, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        pad_token_id=0, bos_token_id=3, eos_token_id=1,
    )
    return HunyuanVideoPipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(),
        text_encoder=LlamaModel(llama).eval(), tokenizer=tokenizer(512),
        text_encoder_2=text_encoder(), tokenizer_2=tokenizer(77),
    )


def mochi() -> MochiPipeline:
    transformer = MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16, in_channels=12,
        text_embed_dim=16, time_embed_dim=4, max_sequence_length=16,
    )
    vae = AutoencoderKLMochi(
        latent_channels=12, encoder_block_out_channels=(32, 32, 32, 32), decoder_block_out_channels=(32, 32, 32, 32),
        layers_per_block=(1, 1, 1, 1, 1),
    )
    return MochiPipeline(transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(), **t5())


def animatediff() -> AnimateDiffPipeline:
    unet = UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=8, in_channels=4, out_channels=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=4, norm_num_groups=2,
    )
    adapter = MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=2, motion_num_attention_heads=2
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 4, 4, 4), down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4, latent_channels=4, norm_num_groups=2,
    )
    return AnimateDiffPipeline(
        vae=vae, text_encoder=text_encoder(), tokenizer=tokenizer(77), unet=unet, motion_adapter=adapter,
        scheduler=DDIMScheduler(beta_schedule="linear", clip_sample=False),
    )


def ltx_from_picture() -> LTXImageToVideoPipeline:
    return LTXImageToVideoPipeline(**ltx().components)
# fmt: on


# maker -> (frames and side asked for, frames and side made, frames a second)
KINDS = {
    cogvideox: ((8, 14), (9, 16), 8),
    wan: ((8, 14), (9, 16), 16),
    ltx: ((8, 30), (9, 32), 25),
    hunyuan: ((8, 14), (9, 16), 15),
    mochi: ((8, 14), (7, 16), 16),
    animatediff: ((8, 14), (8, 16), 16),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """`saved(maker)`: the folder of a tiny pipeline, made once."""
    folders: dict = {}

    def of(maker):
        if maker not in folders:
            folders[maker] = tmp_path_factory.mktemp(maker.__name__)
            torch.manual_seed(0)
            maker().save_pretrained(folders[maker])
        return folders[maker]

    return of


@pytest.fixture(scope="module")
def tiny_wan(saved):
    """A loaded generator of the tiny Wan."""
    return open_generator("diffusers", model=str(saved(wan)), device="cpu")


SMALL = GenerateSettings(num_frames=5, height=16, width=16, steps=2)


def rows_of(folder):
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.parametrize("maker", KINDS, ids=lambda maker: maker.__name__)
def test_a_pipeline_generates_through_the_command(saved, tmp_path, capsys, maker):
    (frames, side), (num_made, side_made), fps = KINDS[maker]
    out = tmp_path / "out"
    command = ["generate", *PROMPTS, "-o", str(out), "--generator", "diffusers", "--model", str(saved(maker))]
    command += ["--num-frames", str(frames), "--height", str(side), "--width", str(side), "--steps", "2", "-q"]
    assert main([*command, "--batch-size", "2"]) == 0
    assert f"making {num_made} frames of {side_made}x{side_made}" in capsys.readouterr().err
    rows = rows_of(out)
    assert [row["prompt"] for row in rows] == PROMPTS
    clips = [decode(out / row["path"]).pixels for row in rows]
    for row, clip_ in zip(rows, clips, strict=True):
        assert row["shape"] == {"num_frames": num_made, "height": side_made, "width": side_made}
        assert row["fps"] == fps and len(row["weights_sha256"]) == 64 and row["settings"]["steps"] == 2
        assert clip_.shape == (num_made, side_made, side_made, 3) and clip_.std() > 0


def test_a_pipelines_own_values_stay_unless_asked(tiny_wan):
    own = tiny_wan.effective(GenerateSettings())
    assert (own["num_frames"], own["height"], own["width"], own["steps"], own["guidance"]) == (81, 480, 832, 50, 5.0)
    words = tiny_wan._words([ClipRequest(prompt="a")], GenerateSettings(guidance=2.0))
    assert words == {"prompt": ["a"], "guidance_scale": 2.0, "output_type": "np"}
    words = tiny_wan._words(
        [ClipRequest(prompt="a"), ClipRequest(prompt="b", negative_prompt="c")], GenerateSettings(steps=3)
    )
    assert words["negative_prompt"] == ["", "c"] and words["num_inference_steps"] == 3


@pytest.mark.slow
def test_a_seed_gives_its_clip_alone_and_in_a_batch(tiny_wan):
    steps = []
    requests = [ClipRequest(prompt="a red ball", seed=seed) for seed in (3, 4)]
    both = tiny_wan.generate(requests, SMALL, lambda done, total: steps.append((done, total)))
    alone = tiny_wan.generate(requests[1:], SMALL)[0].pixels
    assert steps == [(1, 2), (2, 2)]
    assert np.abs(both[1].pixels.astype(int) - alone).max() <= 1
    assert np.abs(both[0].pixels.astype(int) - alone).max() > 8


def lora_file(folder, layers, width=24):
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(0)
    keys = {}
    for layer in layers:
        keys[f"transformer.{layer}.lora_A.weight"] = torch.randn(2, width, generator=generator)
        keys[f"transformer.{layer}.lora_B.weight"] = torch.randn(width, 2, generator=generator)
    save_file(keys, folder / "lora.safetensors")
    return folder / "lora.safetensors"


@pytest.mark.slow
def test_a_lora_changes_the_clip_and_its_record(saved, tiny_wan, tmp_path):
    file = lora_file(tmp_path, ["blocks.0.attn1.to_q", "blocks.0.attn1.to_v"])
    request = ClipRequest(prompt="a red ball")

    def made(lora):
        return open_generator("diffusers", model=str(saved(wan)), device="cpu", options={"lora": [lora]})

    changed, unchanged = made(f"{file}:2"), made(f"{file}:0")
    plain = tiny_wan.generate([request], SMALL)[0].pixels.astype(int)
    assert np.abs(changed.generate([request], SMALL)[0].pixels - plain).max() > 2
    assert np.abs(unchanged.generate([request], SMALL)[0].pixels - plain).max() <= 1
    (record,) = changed.fingerprint()["lora"]
    assert record["weight"] == 2.0 and len(record["sha256"]) == 64
    assert "lora" not in tiny_wan.fingerprint()


def test_a_lora_of_another_model_is_refused_with_counts(saved, tmp_path):
    file = lora_file(tmp_path, ["transformer_blocks.7.attn.to_q", "transformer_blocks.8.attn.to_q"])
    other = open_generator("diffusers", model=str(saved(wan)), device="cpu", options={"lora": [str(file)]})
    with pytest.raises(NothingMatchedError, match="0 of 4 keys"):
        other.generate([ClipRequest(prompt="a")], SMALL)


def test_tiling_is_switched_on_and_offload_wants_a_gpu(saved):
    tiled = open_generator("diffusers", model=str(saved(wan)), device="cpu", options={"tiling": True})
    assert tiled.pipeline.vae.use_tiling and tiled.pipeline.vae.use_slicing
    offloaded = open_generator("diffusers", model=str(saved(wan)), device="cpu", options={"offload": "model"})
    with pytest.raises(MissingDependencyError, match="GPU"):
        offloaded.generate([ClipRequest(prompt="a")], SMALL)


@pytest.mark.slow
@pytest.mark.parametrize("maker", [wan, animatediff], ids=["wan", "animatediff"])
def test_dtype_is_that_of_the_weights(saved, maker):
    made = open_generator("diffusers", model=str(saved(maker)), device="cpu", dtype="bfloat16")
    assert made.pipeline.vae.dtype == torch.bfloat16
    clip_ = made.generate([ClipRequest(prompt="a")], GenerateSettings(num_frames=5, height=16, width=16, steps=1))[0]
    assert clip_.pixels.shape == (5, 16, 16, 3)


def test_a_first_frame_is_refused_by_a_text_to_video_model(saved, tiny_wan, tmp_path):
    from PIL import Image

    Image.new("RGB", (16, 16)).save(tmp_path / "first.png")
    with pytest.raises(ItemError, match="no first frame"):
        tiny_wan.generate([ClipRequest(prompt="a", image=tmp_path / "first.png")], SMALL)


@pytest.mark.slow
def test_an_image_to_video_pipeline_wants_and_uses_its_picture(saved, tmp_path):
    from PIL import Image

    made = open_generator("diffusers", model=str(saved(ltx_from_picture)), device="cpu")
    settings = GenerateSettings(num_frames=9, height=32, width=32, steps=1)
    with pytest.raises(UsageError, match="--image"):
        made.generate([ClipRequest(prompt="a")], settings)
    for name, shade in (("dark.png", 10), ("light.png", 240)):
        Image.new("L", (50, 40), shade).save(tmp_path / name)
    requests = [ClipRequest(prompt="a", image=tmp_path / "dark.png")] * 2 + [
        ClipRequest(prompt="a", image=tmp_path / "light.png")
    ]
    dark, same = made.generate(requests[:2], settings)
    (light,) = made.generate(requests[2:], settings)
    assert (dark.pixels == same.pixels).all() and np.abs(dark.pixels.astype(int) - light.pixels).max() > 2
    (tmp_path / "dark.png").write_text("no picture")
    with pytest.raises(ItemError, match="is no picture"):
        made.generate(requests[:1], settings)


def test_a_failure_of_the_model_is_one_of_the_request(tiny_wan, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nmore")

    monkeypatch.setattr(tiny_wan.pipeline.transformer, "forward", broken)
    with pytest.raises(ItemError, match="mat1 and mat2") as caught:
        tiny_wan.generate([ClipRequest(prompt="a")], SMALL)
    assert caught.value.code == "MODEL_ERROR"


def test_a_modular_pipeline_is_refused_by_name(tmp_path):
    (tmp_path / "modular_model_index.json").write_text("{}")
    with pytest.raises(MissingDependencyError, match="is a modular pipeline.*model_index.json"):
        Generator(str(tmp_path)).find()


def test_no_code_and_no_pickle_is_loaded_from_a_folder(saved, tmp_path):
    folder = tmp_path / "bad"
    shutil.copytree(saved(ltx), folder)
    proof = tmp_path / "ran"
    (folder / "pipeline.py").write_text(f"import pathlib\npathlib.Path({str(proof)!r}).touch()\n")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "_class_name": ["pipeline", "Bad"]}))
    with pytest.raises(MissingDependencyError):
        open_generator("diffusers", model=str(folder), device="cpu").pipeline  # noqa: B018
    assert not proof.exists()
    (folder / "model_index.json").write_text(json.dumps(index))
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".bin"))
    with pytest.raises(MissingDependencyError, match="safetensors"):
        open_generator("diffusers", model=str(folder), device="cpu").pipeline  # noqa: B018


def test_a_model_must_be_named_and_be_there(tmp_path):
    with pytest.raises(UsageError, match="needs a model"):
        open_generator("diffusers")
    with pytest.raises(MissingDependencyError, match="model_index.json"):
        open_generator("diffusers", model=str(tmp_path)).fingerprint()
    with pytest.raises(UsageError, match="dtype"):
        open_generator("diffusers", model="x/y", dtype="int8")


def test_the_hash_is_that_of_names_and_weights(saved, tmp_path):
    first = open_generator("diffusers", model=str(saved(ltx))).fingerprint()["weights_sha256"]
    copy = tmp_path / "copy"
    shutil.copytree(saved(ltx), copy)
    (copy / "README.md").write_text("a card")
    assert open_generator("diffusers", model=str(copy)).fingerprint()["weights_sha256"] == first
    scheduler = copy / "scheduler" / "scheduler_config.json"
    scheduler.write_text(scheduler.read_text().replace('"shift": 1.0', '"shift": 3.0'))
    assert open_generator("diffusers", model=str(copy)).fingerprint()["weights_sha256"] != first
