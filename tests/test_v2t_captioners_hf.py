"""Any model of transformers, on tiny ones of eight types built here: true times in the prompt, batches like singles.

The processors for video of all eight types need torchvision (their base class does); SmolVLM's needs num2words too.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from v2t.base.errors import ItemError, MissingDependencyError, PolicyError, UsageError
from v2t.captioners import Decoding, Message, asked, open_captioner
from v2t.captioners.hf import Captioner
from v2t.video.frames import Frames

PROMPT = "What happens in the video?"
VISION = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
TEXT = {**VISION, "num_key_value_heads": 2, "max_position_embeddings": 2048, "vocab_size": 300}
SQUARE = {"height": 16, "width": 16}
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>", "<unk>"]


def chat_template(video: str, image: str) -> str:
    """ChatML with the placeholders of a family."""
    part = "{% if c.type == 'video' %}" + video + "{% elif c.type == 'image' %}" + image + "{% else %}{{ c.text }}"
    return (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{% if m.content is string %}{{ m.content }}{% else %}"
        "{% for c in m.content %}" + part + "{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tiny_tokenizer(template: str | None, extra: dict[str, str]) -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = [*SPECIAL, *extra.values()]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        [PROMPT], trainers.BpeTrainer(vocab_size=290, special_tokens=special, initial_alphabet=alphabet)
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<|im_end|>", unk_token="<unk>", bos_token="<|im_start|>",
        extra_special_tokens=extra, chat_template=template, model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def _qwen_tokenizer() -> Any:
    names = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>", "vision_start_token": "<|vision_start|>"}
    names["vision_end_token"] = "<|vision_end|>"
    around = "<|vision_start|>{}<|vision_end|>".format
    return tiny_tokenizer(chat_template(around("<|video_pad|>"), around("<|image_pad|>")), names)


def _qwen_ids(tokenizer: Any) -> dict[str, int]:
    names = ("image_token", "video_token", "vision_start_token", "vision_end_token")
    return {f"{name}_id": tokenizer.convert_tokens_to_ids(getattr(tokenizer, name)) for name in names}


def qwen2_5_vl() -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _qwen_tokenizer()
    vision = {
        "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "patch_size": 4, "window_size": 16,
        "out_hidden_size": 32, "fullatt_block_indexes": [0],
    }  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    config = t.Qwen2_5_VLConfig(
        text_config={**TEXT, "rope_parameters": rope}, vision_config=vision, **_qwen_ids(tokenizer)
    )
    sizes = {"patch_size": 4, "size": {"shortest_edge": 64, "longest_edge": 256}}
    processor = t.Qwen2_5_VLProcessor(
        t.Qwen2VLImageProcessor(**sizes), tokenizer, t.Qwen2VLVideoProcessor(**sizes),
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return t.Qwen2_5_VLForConditionalGeneration(config), processor


def qwen3_vl() -> tuple[Any, Any]:
    import transformers as t

    tokenizer = _qwen_tokenizer()
    vision = {
        "depth": 1, "hidden_size": 32, "intermediate_size": 32, "num_heads": 2, "patch_size": 4, "out_hidden_size": 32,
        "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
    }  # fmt: skip
    rope = {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e4}
    text = {**TEXT, "rope_parameters": rope, "head_dim": 16}
    config = t.Qwen3VLConfig(text_config=text, vision_config=vision, **_qwen_ids(tokenizer))
    image = t.Qwen2VLImageProcessor(patch_size=4, size={"shortest_edge": 64, "longest_edge": 256})
    video = t.Qwen3VLVideoProcessor(patch_size=4, size={"shortest_edge": 64, "longest_edge": 1024}, fps=2)
    processor = t.Qwen3VLProcessor(image, tokenizer, video, chat_template=tokenizer.chat_template)
    return t.Qwen3VLForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    import transformers as t

    tokenizer = tiny_tokenizer(chat_template("<video>", "<image>"), {"image_token": "<image>", "video_token": "<video>"})
    config = t.LlavaOnevisionConfig(
        vision_config={**VISION, "model_type": "siglip_vision_model", "image_size": 16, "patch_size": 4,
                       "vision_use_head": False},
        text_config={**TEXT, "model_type": "qwen2"}, image_grid_pinpoints=[[16, 16]],
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
    )  # fmt: skip
    processor = t.LlavaOnevisionProcessor(
        t.LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=[[16, 16]]), tokenizer,
        t.LlavaOnevisionVideoProcessor(size=SQUARE), num_image_tokens=16, vision_feature_select_strategy="full",
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return t.LlavaOnevisionForConditionalGeneration(config), processor


def video_llava() -> tuple[Any, Any]:
    import transformers as t

    tokenizer = tiny_tokenizer(chat_template("<video>", "<image>"), {"image_token": "<image>", "video_token": "<video>"})
    config = t.VideoLlavaConfig(
        vision_config={**VISION, "model_type": "clip_vision_model", "image_size": 16, "patch_size": 8},
        text_config={**TEXT, "model_type": "llama"}, image_seq_length=4, video_seq_length=40,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
    )  # fmt: skip
    sizes = {"size": {"shortest_edge": 16}, "crop_size": SQUARE}
    processor = t.VideoLlavaProcessor(
        t.VideoLlavaImageProcessor(**sizes), t.VideoLlavaVideoProcessor(**sizes), tokenizer, patch_size=8,
        vision_feature_select_strategy="default", chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return t.VideoLlavaForConditionalGeneration(config), processor


def llava_next_video() -> tuple[Any, Any]:
    import transformers as t

    tokenizer = tiny_tokenizer(chat_template("<video>", "<image>"), {"image_token": "<image>", "video_token": "<video>"})
    config = t.LlavaNextVideoConfig(
        vision_config={**VISION, "model_type": "clip_vision_model", "image_size": 16, "patch_size": 4},
        text_config={**TEXT, "model_type": "llama"}, image_grid_pinpoints=[[16, 16]], image_seq_length=16,
        video_seq_length=16, image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
    )  # fmt: skip
    sizes = {"size": {"shortest_edge": 16}, "crop_size": SQUARE}
    processor = t.LlavaNextVideoProcessor(
        t.LlavaNextVideoVideoProcessor(**sizes), t.LlavaNextImageProcessor(**sizes, image_grid_pinpoints=[[16, 16]]),
        tokenizer, patch_size=4, vision_feature_select_strategy="default", num_additional_image_tokens=1,
        chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return t.LlavaNextVideoForConditionalGeneration(config), processor


def smolvlm() -> tuple[Any, Any]:
    import transformers as t

    extra = {"image_token": "<image>", "fake_image_token": "<fake_token_around_image>", "video_token": "<video>"}
    extra |= {"global_image_token": "<global-img>", "end_of_utterance_token": "<end_of_utterance>"}
    tokenizer = tiny_tokenizer(chat_template("<video>", "<image>"), extra)
    config = t.SmolVLMConfig(
        vision_config={**VISION, "image_size": 16, "patch_size": 4}, text_config={**TEXT, "model_type": "llama"},
        scale_factor=2, image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
    )  # fmt: skip
    edge = {"longest_edge": 16}
    processor = t.SmolVLMProcessor(
        t.SmolVLMImageProcessor(size=edge, max_image_size=edge), tokenizer,
        t.SmolVLMVideoProcessor(
            size=edge, max_image_size=edge, video_sampling={"fps": 1, "max_frames": 6, "video_size": edge}
        ),
        image_seq_len=4, chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return t.SmolVLMForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    import transformers as t

    extra = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
    tokenizer = tiny_tokenizer(chat_template("<video>", "<IMG_CONTEXT>"), {**extra, "video_token": "<video>"})
    config = t.InternVLConfig(
        vision_config={**VISION, "image_size": [16, 16], "patch_size": [4, 4]},
        text_config={**TEXT, "model_type": "qwen2"}, image_seq_length=4,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
    )  # fmt: skip
    processor = t.InternVLProcessor(
        t.GotOcr2ImageProcessor(size=SQUARE), tokenizer, t.InternVLVideoProcessor(size=SQUARE, num_frames=5),
        image_seq_length=4, chat_template=tokenizer.chat_template,
    )  # fmt: skip
    return t.InternVLForConditionalGeneration(config), processor


def video_llama_3() -> tuple[Any, Any]:
    import transformers as t

    names = {"image_token": "<|image_pad|>", "video_token": "<|video_pad|>"}
    tokenizer = tiny_tokenizer(chat_template("<|video_pad|>", "<|image_pad|>"), names)
    config = t.VideoLlama3Config(
        vision_config={**VISION, "patch_size": 4}, text_config={**TEXT, "model_type": "qwen2"},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
    )  # fmt: skip
    image = t.VideoLlama3ImageProcessor(patch_size=4, size={"shortest_edge": 64, "longest_edge": 256})
    video = t.VideoLlama3VideoProcessor(patch_size=4, size={"shortest_edge": 64, "longest_edge": 1024}, max_frames=9)
    processor = t.VideoLlama3Processor(image, tokenizer, video, chat_template=tokenizer.chat_template)
    return t.VideoLlama3ForConditionalGeneration(config), processor


def instructblipvideo() -> tuple[Any, Any]:
    import transformers as t

    tokenizer, second = tiny_tokenizer(None, {}), tiny_tokenizer(None, {})
    processor = t.InstructBlipVideoProcessor(
        t.InstructBlipVideoVideoProcessor(size=SQUARE), tokenizer, second, num_query_tokens=2
    )
    opt = {
        "model_type": "opt", "hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 32, "num_hidden_layers": 1,
        "num_attention_heads": 2, "vocab_size": 300, "max_position_embeddings": 256,
    }  # fmt: skip
    config = t.InstructBlipVideoConfig(
        vision_config={**VISION, "image_size": 16, "patch_size": 4},
        qformer_config={**VISION, "vocab_size": 300, "max_position_embeddings": 256}, text_config=opt,
        num_query_tokens=2, video_token_index=tokenizer.convert_tokens_to_ids("<video>"),
    )  # fmt: skip
    return t.InstructBlipVideoForConditionalGeneration(config), processor
