"""A tiny captioner with random weights and its processor: the true classes at small width, made in milliseconds.

In: a seed and changes to the resampler. Out: model and processor, or folders that stand in for a tower and an LLM.
For tests, for trying a recipe before its real models are there, and for measuring everything but the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from v2t.model.configuration import CineloopConfig, CineloopResamplerConfig
from v2t.model.modeling import CineloopForConditionalGeneration
from v2t.model.processing import VIDEO_TOKEN, CineloopProcessor
from v2t.model.video_processing import CineloopVideoProcessor

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerFast

IMAGE_SIZE = 32
SPECIAL_TOKENS = ("<|pad|>", "<|im_start|>", "<|im_end|>", VIDEO_TOKEN)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, and the special tokens of the chat template: 260 tokens, any text round trips."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=SPECIAL_TOKENS[0],
        eos_token=SPECIAL_TOKENS[2],
        extra_special_tokens=list(SPECIAL_TOKENS[1:]),
    )


def tiny_vision_config() -> PreTrainedConfig:
    """SigLIP of width 32: 16 patches of an image of 32 x 32."""
    from transformers import SiglipVisionConfig

    return SiglipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=IMAGE_SIZE,
        patch_size=8,
        vision_use_head=False,
    )


def tiny_text_config() -> PreTrainedConfig:
    """Qwen3 of width 64 with tied embeddings; widths are multiples of 64, as four-bit kernels want them."""
    from transformers import Qwen3Config

    return Qwen3Config(
        vocab_size=256 + len(SPECIAL_TOKENS),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,  # large enough that random weights do not all write the same token
    )


def tiny_captioner(
    seed: int = 0, text_config: PreTrainedConfig | None = None, **resampler: Any
) -> tuple[CineloopForConditionalGeneration, CineloopProcessor]:
    """A captioner in evaluation mode with random weights, and its processor (segments of 4 frames, 8 tokens each).

    Args:
        seed: of the weights; torch's global generator is left as it was.
        text_config: another LLM family.
        resampler: changes to the resampler's configuration.
    """
    shape = {"segment_frames": 4, "num_queries": 8, "hidden_size": 32, "num_layers": 3, "num_heads": 2, **resampler}
    config = CineloopConfig(
        vision_config=tiny_vision_config(),
        resampler_config=CineloopResamplerConfig(**shape),
        text_config=text_config or tiny_text_config(),
        video_token_id=SPECIAL_TOKENS.index(VIDEO_TOKEN),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CineloopForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = 2, 0
    model.generation_config.suppress_tokens = [config.video_token_id]
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    videos = CineloopVideoProcessor(size=size, segment_frames=shape["segment_frames"], num_frames=4)
    tokens = config.resampler_config.tokens_per_segment
    return model, CineloopProcessor(videos, tiny_tokenizer(), tokens_per_segment=tokens)


def save_tiny_parts(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """Folders that stand in for a SigLIP tower and an LLM with its tokenizer: (tower, LLM)."""
    from transformers import AutoModelForCausalLM, SiglipVisionModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        SiglipVisionModel(tiny_vision_config()).save_pretrained(folder / "tower")
        AutoModelForCausalLM.from_config(tiny_text_config()).save_pretrained(folder / "llm")
    tiny_tokenizer().save_pretrained(folder / "llm")
    return folder / "tower", folder / "llm"
