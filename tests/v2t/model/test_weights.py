"""Parts and weights: building from folders, LoRA or fail, QLoRA, merging, saving."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from cineloop.errors import NothingMatchedError, UsageError
from cineloop.video.frames import Frames
from tiny_captioner import save_tiny_parts, tiny_captioner, tiny_tokenizer
from v2t.model import CineloopResamplerConfig
from v2t.model.parts import from_parts
from v2t.model.weights import (
    LoraSettings,
    apply_lora,
    is_quantized,
    load_model,
    load_trained,
    lora_layers,
    merge_lora,
    save_model,
    trained_state,
)

RESAMPLER = CineloopResamplerConfig(segment_frames=4, num_queries=8, hidden_size=32, num_layers=2, num_heads=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return save_tiny_parts(tmp_path_factory.mktemp("parts"))


def built(folders, **options):
    return from_parts(vision=folders[0], llm=folders[1], resampler=RESAMPLER, **options)


def batch_of(processor) -> dict[str, torch.Tensor]:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    out = processor(text="<video>\nA red ball rolls.", videos=[Frames.from_pixels(pixels, fps=4)])
    labels = out["input_ids"].masked_fill(out["input_ids"] == processor.video_token_id, -100)
    return {**out, "labels": labels}


def stir_adapters(model) -> None:
    """Fresh adapters do nothing; random ones do."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(std=0.1)


@pytest.mark.slow
def test_parts_come_from_their_folders(folders):
    from transformers import AutoModelForCausalLM, SiglipVisionModel

    model, processor = built(folders)
    tower, llm = SiglipVisionModel.from_pretrained(folders[0]), AutoModelForCausalLM.from_pretrained(folders[1])
    for own, other in ((model.model.vision_tower, tower), (model.model.language_model, llm.model)):
        for (name, a), (_, b) in zip(own.named_parameters(), other.named_parameters(), strict=True):
            assert torch.equal(a, b), name
    assert model.lm_head.weight is model.get_input_embeddings().weight
    assert not any(p.is_meta for p in model.parameters())
    assert not any(b.is_meta for b in model.buffers())
    assert processor.video_processor.size["height"] == 32
    assert processor.num_visual_tokens(5) == model.num_visual_tokens(5) == 16
    assert model.generation_config.suppress_tokens == [processor.video_token_id]
    assert torch.isfinite(model(**batch_of(processor)).loss)


def test_a_tower_inside_a_whole_siglip_checkpoint_is_found(tmp_path, folders):
    from transformers import SiglipConfig, SiglipModel

    from tiny_captioner import tiny_vision_config

    vision = {**tiny_vision_config().to_dict(), "vision_use_head": True}
    text = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    text |= {"vocab_size": 50, "projection_size": 32, "bos_token_id": 1, "eos_token_id": 2}
    whole = SiglipModel(SiglipConfig(vision_config=vision, text_config=text))
    whole.save_pretrained(tmp_path)
    model, _ = from_parts(vision=tmp_path, llm=folders[1], resampler=RESAMPLER)
    patch = whole.vision_model.embeddings.patch_embedding.weight
    assert torch.equal(model.model.vision_tower.embeddings.patch_embedding.weight, patch)
    assert not any(".head." in name for name, _ in model.model.vision_tower.named_parameters())


@pytest.mark.slow
def test_missing_chat_tokens_are_added_and_embeddings_grow(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"a": 0, "ball": 1, "<unk>": 2}, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    plain = PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="<unk>")
    llm = LlamaForCausalLM(
        LlamaConfig(vocab_size=3, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2)
    )
    tower = tiny_captioner()[0].model.vision_tower
    model, processor = from_parts(vision=tower, llm=llm, resampler=RESAMPLER, tokenizer=plain)
    assert model.lm_head.out_features == model.get_input_embeddings().num_embeddings == len(processor.tokenizer) == 6
    save_model(model, tmp_path, processor, dtype=torch.float32)
    again = load_model(tmp_path)
    batch = batch_of(processor)
    torch.testing.assert_close(again(**batch).loss, model(**batch).loss)


def test_heads_this_class_cannot_stand_in_for_are_refused(folders):
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=260,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        head_dim=16,
        num_key_value_heads=1,
    )
    with pytest.raises(UsageError, match="final_logit_softcapping"):
        from_parts(vision=folders[0], llm=Gemma2ForCausalLM(config), resampler=RESAMPLER, tokenizer=tiny_tokenizer())


def train_only(model, *parts: str) -> None:
    model.requires_grad_(False)
    for part in parts:
        model.model.get_submodule(part).requires_grad_(True)


def test_lora_reaches_the_llm_alone():
    model, _ = tiny_captioner()
    train_only(model, "resampler")
    assert apply_lora(model, LoraSettings(r=4, targets=("q_proj", "v_proj"))) == {"q_proj": 2, "v_proj": 2}
    assert len(lora_layers(model)) == 4
    assert all(name.startswith("model.language_model.") for name in lora_layers(model))
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    assert all("lora_" in n or n.startswith("model.resampler.") for n in trained)
    assert any(n.startswith("model.resampler.") for n in trained)
    with pytest.raises(UsageError, match="adapters already"):
        apply_lora(model, LoraSettings())


def test_lora_that_matches_nothing_fails_and_changes_nothing():
    model, _ = tiny_captioner()
    names = [n for n, _ in model.named_parameters()]
    # The resampler has an ffn.up_proj of that name too: only the LLM counts.
    with pytest.raises(NothingMatchedError, match="query, patch_proj.*q_proj"):
        apply_lora(model, LoraSettings(targets=("q_proj", "query", "patch_proj")))
    assert [n for n, _ in model.named_parameters()] == names
    assert sum(apply_lora(model, LoraSettings()).values()) == 14  # all seven kinds of two layers


def test_settings_out_of_range_are_refused():
    for wrong in ({"r": 0}, {"alpha": 0}, {"dropout": 1.0}, {"targets": ()}, {"targets": "q_proj"}):
        with pytest.raises(UsageError):
            LoraSettings(**wrong)


@pytest.mark.slow
@pytest.mark.parametrize("dora", [False, True])
def test_merged_adapters_write_the_same(tmp_path, dora):
    model, processor = tiny_captioner()
    batch = batch_of(processor)
    before = model(**batch).logits
    apply_lora(model, LoraSettings(r=4, dora=dora))
    stir_adapters(model)
    adapted = model(**batch).logits
    assert (adapted - before).abs().max() > 0.1
    with pytest.raises(UsageError, match="unmerged"):
        save_model(model, tmp_path, processor)
    assert merge_lora(model) == 14
    torch.testing.assert_close(model(**batch).logits, adapted, rtol=1e-3, atol=1e-3)
    assert lora_layers(model) == []
    save_model(model, tmp_path, processor, dtype=torch.float32)
    torch.testing.assert_close(load_model(tmp_path)(**batch).logits, adapted, rtol=1e-3, atol=1e-3)
    apply_lora(model, LoraSettings(r=2))  # a second round is possible


@pytest.mark.slow
def test_trained_parts_move_to_another_model(folders):
    source, processor = built(folders)
    train_only(source, "resampler", "projector")
    apply_lora(source, LoraSettings(r=4))
    stir_adapters(source)
    state = {name: tensor.clone() for name, tensor in trained_state(source).items()}
    target, _ = built(folders)
    with pytest.raises(UsageError, match="no place"):
        load_trained(target, state)
    target, _ = built(folders)
    apply_lora(target, LoraSettings(r=4))
    load_trained(target, state)
    batch = batch_of(processor)
    torch.testing.assert_close(target.eval()(**batch).logits, source.eval()(**batch).logits)


@pytest.mark.slow
def test_saved_in_bfloat16_while_memory_keeps_its_precision(tmp_path):
    model, processor = tiny_captioner()
    save_model(model, tmp_path, processor)
    assert model.dtype == torch.float32
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert {file.get_slice(name).get_dtype() for name in file.keys()} == {"BF16"}
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "bfloat16"
    again = load_model(tmp_path)
    assert again.dtype == torch.bfloat16
    assert torch.equal(again.lm_head.weight, model.lm_head.weight.bfloat16())
    assert torch.isfinite(load_model(tmp_path, dtype=torch.float32)(**batch_of(processor)).loss)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_qlora_step_trains_adapters_on_a_packed_llm(folders, tmp_path, kind):
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    model, processor = built(folders, quantize=kind)
    train_only(model, "resampler", "projector")
    apply_lora(model, LoraSettings(r=4, dropout=0.0))
    assert is_quantized(model.model.language_model)
    assert not is_quantized(model.model.resampler)
    model.train()
    batch = batch_of(processor)
    frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(4):
        loss = model(**batch).loss
        loss.backward()
        assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    for name, parameter in model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name
    with pytest.raises(UsageError, match="without loss"):
        merge_lora(model)
    # What was trained goes into the unpacked model, is merged there, and serves.
    state = {name: tensor.clone() for name, tensor in trained_state(model).items()}
    whole, _ = built(folders)
    apply_lora(whole, LoraSettings(r=4, dropout=0.0))
    load_trained(whole, state)
    merge_lora(whole)
    assert whole.eval()(**batch).loss < losses[0]


def test_a_whole_captioner_loads_with_its_llm_packed(tmp_path):
    pytest.importorskip("bitsandbytes", reason="QLoRA needs bitsandbytes")
    model, processor = tiny_captioner()
    save_model(model, tmp_path, processor, dtype=torch.float32)
    packed = load_model(tmp_path, quantize="nf4")
    assert is_quantized(packed.model.language_model)
    for part in (packed.model.vision_tower, packed.model.resampler, packed.model.projector, packed.lm_head):
        assert not is_quantized(part)
    with pytest.raises(UsageError, match="not saved whole"):
        save_model(packed, tmp_path / "again")
