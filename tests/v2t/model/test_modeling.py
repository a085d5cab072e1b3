"""The captioner: loss, generation, batches, caches, saving, Auto classes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, GPT2Config, LlamaConfig

from cineloop.errors import UsageError
from tiny_captioner import tiny_captioner
from v2t.model import CineloopConfig, CineloopForConditionalGeneration, CineloopModel

VIDEO = 3


@pytest.fixture(scope="module")
def model():
    return tiny_captioner()[0]


def prompts(lengths=(5, 9), segments=(1, 2), seed=0) -> dict[str, torch.Tensor]:
    """A left-padded batch; prompt i has `segments[i]` segments of eight placeholders and `lengths[i]` words."""
    g = torch.Generator().manual_seed(seed)
    rows = [
        torch.cat([torch.full((8 * s,), VIDEO), torch.randint(10, 250, (n,), generator=g)])
        for n, s in zip(lengths, segments, strict=True)
    ]
    width = max(map(len, rows))
    ids, mask = torch.zeros(len(rows), width, dtype=torch.long), torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :], mask[i, width - len(row) :] = row, 1
    total = sum(segments)
    frames = torch.ones(total, 4, dtype=torch.bool)
    frames[-1, 3:] = False
    return {
        "input_ids": ids,
        "attention_mask": mask,
        "pixel_values_videos": torch.randn(total, 4, 3, 32, 32, generator=g),
        "frame_times_s": torch.arange(4.0).repeat(total, 1) * 0.2,
        "frame_mask": frames,
    }


def alone(batch: dict[str, torch.Tensor], row: int, segments=(1, 2)) -> dict[str, torch.Tensor]:
    """Prompt `row` without padding and with its own segments."""
    keep = batch["attention_mask"][row].bool()
    first = sum(segments[:row])
    out = {name: batch[name][row : row + 1, keep] for name in ("input_ids", "attention_mask")}
    for name in ("pixel_values_videos", "frame_times_s", "frame_mask"):
        out[name] = batch[name][first : first + segments[row]]
    return out


def write(model, batch, **options) -> torch.Tensor:
    return model.generate(**batch, max_new_tokens=6, do_sample=False, **options)[:, batch["input_ids"].shape[1] :]


@pytest.mark.slow
def test_loss_falls_and_every_part_learns():
    model = tiny_captioner()[0].train()
    batch = prompts()
    labels = batch["input_ids"].masked_fill((batch["input_ids"] == VIDEO) | (batch["attention_mask"] == 0), -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(12):
        loss = model(**batch, labels=labels).loss
        loss.backward()
        if step == 0:
            idle = [n for n, p in model.named_parameters() if p.grad is None]
            assert idle == []
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_loss_is_the_same_padded_left_or_not_at_all(model):
    batch = prompts()
    labels = batch["input_ids"].masked_fill((batch["input_ids"] == VIDEO) | (batch["attention_mask"] == 0), -100)
    together = model(**batch, labels=labels).loss
    apart, counts = [], []
    for row in range(2):
        one = alone(batch, row)
        own = one["input_ids"].masked_fill(one["input_ids"] == VIDEO, -100)
        apart.append(model(**one, labels=own).loss)
        counts.append(int((own[:, 1:] != -100).sum()))
    mean = sum(a * c for a, c in zip(apart, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(together, mean, rtol=1e-4, atol=1e-5)


def test_a_batch_of_four_writes_what_four_singles_write(model):
    segments = (1, 2, 1, 3)
    batch = prompts(lengths=(3, 8, 12, 5), segments=segments)
    together = write(model, batch)
    singles = torch.cat([write(model, alone(batch, row, segments)) for row in range(4)])
    assert torch.equal(together, singles)
    assert len({tuple(row) for row in together.tolist()}) == 4  # else the comparison would show nothing


def test_generation_with_and_without_cache_agree(model):
    batch = prompts()
    assert torch.equal(write(model, batch), write(model, batch, use_cache=False))


def test_tokens_depend_on_the_video(model):
    batch = prompts()
    other = {**batch, "pixel_values_videos": batch["pixel_values_videos"].flip(1) * 2}
    first, second = model(**batch).logits[:, -1], model(**other).logits[:, -1]
    assert (first - second).abs().max() > 1e-2


def test_several_answers_each_carry_their_own_videos(model):
    batch = prompts()
    plain = write(model, batch)
    copies = write(model, batch, num_beams=2, num_return_sequences=2)
    torch.manual_seed(0)
    sampled = model.generate(**batch, max_new_tokens=6, do_sample=True, top_k=1, num_return_sequences=2)
    assert copies.shape[0] == 4
    assert torch.equal(sampled[:, batch["input_ids"].shape[1] :], plain.repeat_interleave(2, 0))


def test_kept_tokens_give_what_pixels_give(model):
    batch = prompts()
    direct = model(**batch)
    video = {n: batch[n] for n in ("pixel_values_videos", "frame_times_s", "frame_mask")}
    text = {n: batch[n] for n in ("input_ids", "attention_mask")}
    tokens = model.get_video_features(**video)
    assert tokens.shape == (3, 8, 64)
    kept = model(**text, visual_tokens=tokens)
    torch.testing.assert_close(kept.logits, direct.logits)
    assert torch.equal(write(model, {**text, "visual_tokens": tokens}), write(model, batch))
    queries = model.get_query_tokens(**video)
    assert queries.shape == (3, 8, 32)
    torch.testing.assert_close(model.model.projector(queries), tokens)
    as_engines_ask = model.get_video_features(**video, return_dict=True)
    torch.testing.assert_close(as_engines_ask.pooler_output, tokens)


def test_patch_tokens_of_a_frozen_tower_can_be_kept(model):
    from v2t.model.vision import encode_frames

    batch = prompts()
    pixels, mask = batch["pixel_values_videos"], batch["frame_mask"]
    with torch.no_grad():
        patches = encode_frames(model.model.vision_tower, pixels, mask, chunk_frames=2)
    assert patches.shape == (3, 4, 16, 32)
    assert not patches[-1, 3].any()
    kept = model.get_video_features(None, batch["frame_times_s"], mask, vision_hidden_states=patches)
    direct = model.get_video_features(pixels, batch["frame_times_s"], mask)
    torch.testing.assert_close(kept, direct, rtol=1e-4, atol=1e-5)


def test_padding_frames_change_nothing(model):
    batch = prompts()
    before = model(**batch).logits
    batch["pixel_values_videos"][-1, 3:] = float("nan")
    batch["frame_times_s"][-1, 3:] = 1e6
    torch.testing.assert_close(model(**batch).logits, before, rtol=0, atol=0)


def test_other_picture_sizes_are_read_too(model):
    batch = prompts()
    wide = torch.randn(3, 4, 3, 24, 48)
    assert torch.isfinite(model(**{**batch, "pixel_values_videos": wide}).logits).all()


def test_placeholders_of_one_prompt_that_went_to_another_are_an_error(model):
    batch = prompts(lengths=(9, 9), segments=(1, 1))
    batch["input_ids"][0, -1], batch["input_ids"][1, 0] = VIDEO, 11  # sixteen in all, as the videos give
    with pytest.raises(UsageError, match="prompt 0 holds 9 video placeholders, not a multiple of the 8 of a segment"):
        model(**batch)


def test_counts_that_differ_are_an_error_with_both_numbers(model):
    batch = prompts()
    batch["input_ids"][0, -1] = VIDEO
    with pytest.raises(UsageError, match="25 video placeholders.*24 visual tokens"):
        model(**batch)
    text = {n: batch[n] for n in ("input_ids", "attention_mask")}
    with pytest.raises(UsageError, match="25 video placeholders.*0 visual tokens"):
        model(**text)


def test_text_alone_needs_no_video(model):
    ids = torch.randint(10, 250, (2, 7))
    assert model(input_ids=ids).logits.shape == (2, 7, 260)


def test_only_the_asked_logits_are_made(model):
    batch = prompts()
    full, last = model(**batch).logits, model(**batch, logits_to_keep=1).logits
    torch.testing.assert_close(last, full[:, -1:])


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"queries": "free"}, {"kind": "pool"}], ids=str)
def test_saved_and_loaded_it_writes_the_same(tmp_path, changes):
    model, _ = tiny_captioner(**changes)
    batch = prompts()
    if changes.get("kind") == "pool":
        batch["input_ids"] = torch.cat([torch.full((2, 16), VIDEO), batch["input_ids"][:, -5:]], 1)
        batch["attention_mask"] = torch.ones_like(batch["input_ids"])
        batch = {n: v[:2] for n, v in batch.items()}
    model.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert isinstance(again, CineloopForConditionalGeneration)
    assert torch.equal(write(again, batch), write(model, batch))
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert isinstance(AutoConfig.from_pretrained(tmp_path), CineloopConfig)
    assert AutoConfig.from_pretrained(tmp_path).to_diff_dict() == model.config.to_diff_dict()
    assert isinstance(AutoModel.from_pretrained(tmp_path), CineloopModel)


def test_tied_head_is_stored_once_and_tied_again(tmp_path):
    from safetensors import safe_open

    model, _ = tiny_captioner()
    model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert "lm_head.weight" not in names
    assert {name.split(".")[1] for name in names} == {"vision_tower", "resampler", "projector", "language_model"}
    again = CineloopForConditionalGeneration.from_pretrained(tmp_path)
    assert again.lm_head.weight is again.get_input_embeddings().weight


@pytest.mark.slow
@pytest.mark.parametrize(
    "text_config",
    [
        GPT2Config(vocab_size=260, n_embd=32, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=2),
        LlamaConfig(vocab_size=260, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2),
    ],
    ids=["gpt2-tied", "llama-untied"],
)
def test_any_family_of_llm_serves(tmp_path, text_config):
    model, _ = tiny_captioner(text_config=text_config)
    tied = model.lm_head.weight is model.get_input_embeddings().weight
    assert tied == bool(text_config.tie_word_embeddings)
    batch = prompts()
    model.save_pretrained(tmp_path)
    again = CineloopForConditionalGeneration.from_pretrained(tmp_path)
    assert torch.equal(write(again, batch), write(model, batch))


@pytest.mark.slow
def test_gradient_checkpointing_gives_the_same_gradients():
    batch = prompts()
    grads = []
    for checkpointing in (False, True):
        model = tiny_captioner()[0].train()
        if checkpointing:
            model.gradient_checkpointing_enable()
            assert model.model.resampler.blocks[0].gradient_checkpointing
        model(**batch, labels=batch["input_ids"]).loss.backward()
        grads.append({n: p.grad for n, p in model.named_parameters()})
    for name, grad in grads[0].items():
        torch.testing.assert_close(grad, grads[1][name], rtol=1e-4, atol=1e-6, msg=name)


def test_videos_go_in_with_the_first_step_only(model, monkeypatch):
    calls = []
    seen = CineloopModel.get_video_features
    monkeypatch.setattr(
        CineloopModel, "get_video_features", lambda self, *a, **k: calls.append(1) or seen(self, *a, **k)
    )
    write(model, prompts())
    assert calls == [1]
