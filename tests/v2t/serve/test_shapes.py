"""Checkpoints of other shapes behind vLLM: other LLMs, resamplers and frame sizes; LoRA adapters beside their base.

Tiny models with random weights of the true classes. What vLLM writes is held against what the same folder writes
through transformers, token by token; a difference must be a tie.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer

from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from vllm_engine import engine, packed_url, video_url

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
CHAT = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "What?"}]}]


def qwen3(**changes):
    from transformers import Qwen3Config

    # vLLM's attention on a CPU wants heads of 32 or wider.
    return Qwen3Config(**{**SMALL, "head_dim": 32, "tie_word_embeddings": True, **changes})


def llama(**changes):
    from transformers import LlamaConfig

    return LlamaConfig(**{**SMALL, "head_dim": 32, "tie_word_embeddings": False, **changes})


SMALL = dict(
    vocab_size=261,
    hidden_size=128,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=1024,
    bos_token_id=None,
    eos_token_id=2,
    pad_token_id=0,
    initializer_range=0.2,
)
SHAPES = {
    "qwen3, tied, free queries, frames by rate": (
        qwen3,
        {"queries": "free"},
        {"sampler": "fps", "fps": 3.0, "num_frames": 4},
    ),
    "llama, head of its own, pooled, letterboxed": (llama, {"kind": "pool", "num_layers": 2}, {"fit": "letterbox"}),
    "qwen3, wide frames, gated": (qwen3, {"ffn": "swiglu", "frame_grid": 2}, {"size": {"height": 32, "width": 48}}),
}


def save(folder: Path, text_config, resampler: dict, video: dict):
    from tiny_captioner import tiny_captioner
    from v2t.model.video_processing import CineloopVideoProcessor

    model, processor = tiny_captioner(3, text_config, **resampler)
    settings = {"size": {"height": 32, "width": 32}, "segment_frames": 4, "num_frames": 4, **video}
    processor.video_processor = CineloopVideoProcessor(**settings)
    # One token for two signs that meet where a timestamp follows a question.
    state = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    state["model"]["vocab"]["?<"] = 260
    state["model"]["merges"] = [["?", "<"]]
    processor.tokenizer = type(processor.tokenizer)(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)),
        pad_token="<|pad|>",
        eos_token="<|im_end|>",
        extra_special_tokens=["<|im_start|>", "<|im_end|>", "<video>"],
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return model, processor


def frames(num: int, seed: int = 0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (num, 30, 54, 3), dtype=np.uint8)
    return Frames(pixels, np.arange(num) * 0.7, duration_s=num * 0.7, fps=1 / 0.7)


def expected(model, processor, clip):
    """(prompt ids, visual tokens, greedy ids, logits of each step) by transformers; `clip` a path or Frames."""
    import torch

    text = processor.apply_chat_template(CHAT, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], videos=[clip], return_tensors="pt")
    with torch.inference_mode():
        names = processor.video_processor.model_input_names
        tokens = model.get_video_features(**{name: inputs[name] for name in names}).flatten(0, 1)
        given = {name: inputs[name] for name in ("input_ids", "attention_mask", *names)}
        done = model.generate(
            **given, max_new_tokens=12, do_sample=False, output_logits=True, return_dict_in_generate=True
        )
    prompt = inputs["input_ids"][0].tolist()
    return prompt, tokens, done.sequences[0, len(prompt) :].tolist(), torch.cat(done.logits)


def check(answer, prompt, written, logits):
    """Same prompt, same words; where they part, the two candidates are a tie."""
    assert list(answer.prompt_token_ids) == prompt
    said = list(answer.outputs[0].token_ids)
    for step, (ours, theirs) in enumerate(zip(written, said, strict=False)):
        if ours != theirs:
            assert logits[step, ours] - logits[step, theirs] <= 1e-3, (written, said)
            return
    assert len(said) == len(written)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_checkpoint_of_another_shape_is_served_alike(shape, tmp_path):
    from vllm import SamplingParams

    text_config, resampler, video = SHAPES[shape]
    model, processor = save(tmp_path / "model", text_config(), resampler, video)
    encode(np.repeat(frames(9).pixels, 3, axis=0), tmp_path / "clip.mp4", fps=9)
    with engine(tmp_path / "model") as (llm, seen):
        for clip in (frames(1), frames(4, 1), frames(7, 2), tmp_path / "clip.mp4"):
            part = video_url(clip.read_bytes()) if isinstance(clip, Path) else packed_url(clip)
            prompt, tokens, written, logits = expected(model, processor, str(clip) if isinstance(clip, Path) else clip)
            seen.tokens.clear()
            chat = [{"role": "user", "content": [part, {"type": "text", "text": "What?"}]}]
            (answer,) = llm.chat(chat, SamplingParams(temperature=0, max_tokens=12), use_tqdm=False)
            assert seen.tokens[0].shape == tokens.shape
            assert float((seen.tokens[0] - tokens).abs().max()) <= 1e-3
            check(answer, prompt, written, logits)
        # Words first: a timestamp stands right behind them, and must not be cut off from them.
        clips = [frames(2, 7), frames(6, 8)]
        words = {"type": "text", "text": "Which?"}
        chat = [{"role": "user", "content": [words, *map(packed_url, clips[:1]), words, *map(packed_url, clips[1:])]}]
        (answer,) = llm.chat(chat, SamplingParams(temperature=0, max_tokens=1), use_tqdm=False)
        mark = {"type": "video"}
        text = processor.apply_chat_template(
            [{"role": "user", "content": [words, mark, words, mark]}], tokenize=False, add_generation_prompt=True
        )
        wanted = processor(text=[text], videos=clips)["input_ids"][0].tolist()
        assert wanted.count(260) == 2
        assert list(answer.prompt_token_ids) == wanted


def test_adapters_are_served_by_name_beside_their_base(tmp_path):
    import torch
    from vllm import SamplingParams
    from vllm.lora.request import LoRARequest

    from v2t.model.weights import LoraSettings, apply_lora, save_adapter

    model, processor = save(tmp_path / "model", qwen3(), {}, {})
    clip = frames(6, 5)
    plain = expected(model, processor, clip)
    wanted = {None: plain}
    for number, rank in ((1, 4), (2, 16)):
        model, processor = save(tmp_path / "again", qwen3(), {}, {})
        apply_lora(model, LoraSettings(r=rank, alpha=2.0 * rank))
        with torch.random.fork_rng():
            torch.manual_seed(number)
            for name, weight in model.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(weight, std=0.5)
        save_adapter(model, tmp_path / f"adapter{number}", base="tiny", base_revision="0")
        wanted[number] = expected(model.eval(), processor, clip)
    assert len({tuple(written) for _, _, written, _ in wanted.values()}) == 3, "each says something else"
    with engine(tmp_path / "model", enable_lora=True, max_loras=3, max_lora_rank=16) as (llm, _):
        chat = [{"role": "user", "content": [packed_url(clip), {"type": "text", "text": "What?"}]}]
        requests = {n: n and LoRARequest(f"adapter{n}", n, str(tmp_path / f"adapter{n}")) for n in wanted}
        answers = llm.chat(
            [chat] * 3,
            SamplingParams(temperature=0, max_tokens=12),
            use_tqdm=False,
            lora_request=list(requests.values()),
        )
        for number, answer in zip(requests, answers, strict=True):
            prompt, _, written, logits = wanted[number]
            check(answer, prompt, written, logits)
