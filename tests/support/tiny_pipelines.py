"""Text-to-video pipelines of random weights, our own and Wan's, small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanPipeline, WanTransformer3DModel
from transformers import UMT5Config, UMT5EncoderModel

from t2v.model.dit import CineloopTransformer3DModel
from t2v.model.text import CineloopTextConfig, CineloopTextModel, build_tokenizer
from t2v.model.vae import AutoencoderKLCineloop
from t2v.pipeline import CineloopPipeline

WORDS = "a red ball rolls blue box jumps".split()


def save_ours(folder: Path, *, zero_init: bool = False) -> Path:
    """Our own, of 5 frames of 32 × 32 pixels and the prompts of `WORDS`. `zero_init`: its velocity is 0 at first."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS)
    text = CineloopTextModel(CineloopTextConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_layers=1, num_heads=2
    ))  # fmt: skip
    transformer = CineloopTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16, pooled_dim=16,
        freq_dim=16, ffn_dim=32, num_layers=2, zero_init=zero_init,
    )  # fmt: skip
    vae = AutoencoderKLCineloop(latent_channels=4, widths=(8, 8, 8), depth=1)
    CineloopPipeline(vae, transformer, FlowMatchEulerDiscreteScheduler(), text, tokenizer).save_pretrained(folder)
    return folder


def save_wan(folder: Path) -> Path:
    """Wan 2.1's."""
    torch.manual_seed(0)
    tokenizer = build_tokenizer(WORDS)
    tokenizer.model_max_length = 512
    text = UMT5EncoderModel(UMT5Config(
        vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2
    ))  # fmt: skip
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=16, freq_dim=16,
        ffn_dim=32, num_layers=1,
    )  # fmt: skip
    vae = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True],
        latents_mean=[0.1, 0.2, 0.3, 0.4], latents_std=[0.5, 0.6, 0.7, 0.8],
    )  # fmt: skip
    WanPipeline(tokenizer, text, vae, FlowMatchEulerDiscreteScheduler(), transformer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def ours(tmp_path_factory) -> Path:
    """A folder of `save_ours`, which no test changes."""
    return save_ours(tmp_path_factory.mktemp("ours"))


@pytest.fixture(scope="session")
def wan(tmp_path_factory) -> Path:
    """A folder of `save_wan`, which no test changes."""
    return save_wan(tmp_path_factory.mktemp("wan"))
