"""Packed conversations give what each gives by itself: hidden states, loss, gradients; and do not when the rule is
broken."""

from __future__ import annotations

import pytest
import torch

from tiny_captioner import tiny_captioner
from v2t.data.packing import first_fit, pack
from v2t.data.world import ClipsConfig, ClipSource
from v2t.train.caption_task import CaptionTask


@pytest.fixture(scope="module", params=["eager", "sdpa"])
def captioner(request):
    model, processor = tiny_captioner()
    model.model.language_model.set_attn_implementation(request.param)
    texts = ClipsConfig(num_frames=4, size=32, texts=("short", "detailed", "questions", "film"), film_share=0.7)
    source = ClipSource(texts, "train", 1, 4, processor.tokens_per_segment, processor.tokenizer, with_facts=False)
    batch = source(0, 3)
    assert len(batch["row_lengths"]) >= 8 and 0 in batch["row_counts"]  # some conversations show no clip
    return model, batch


def hidden_states(model, batch, packed, order, **changes):
    visual = model.model.projector(CaptionTask(model).query_tokens(batch))
    segments = batch["row_segments"].split(batch["row_counts"].tolist())
    given = {"position_ids": packed["position_ids"], "use_cache": False} | changes
    shown = visual[torch.cat([segments[row] for row in order])]
    return model.model(input_ids=packed["input_ids"], visual_tokens=shown, **given).last_hidden_state


@torch.no_grad()
def furthest(model, batch, **changes) -> float:
    """The largest difference between logits of a conversation in packed rows and by itself."""
    lengths, capacity = batch["row_lengths"].tolist(), 2 * int(batch["row_lengths"].max())
    packed, order = pack(batch, capacity)
    together = model.lm_head(hidden_states(model, batch, packed, order, **changes))
    worst = 0.0
    for row, numbers in enumerate(first_fit(lengths, capacity)):
        begin = 0
        for number in numbers:
            single = {"input_ids": batch["input_ids"][number : number + 1, : lengths[number]], "position_ids": None}
            alone = model.lm_head(hidden_states(model, batch, single, [number]))
            there = together[row, begin : begin + lengths[number]]
            worst, begin = max(worst, float((there - alone[0]).abs().max())), begin + lengths[number]
    return worst


@pytest.mark.slow
def test_logits_of_a_packed_conversation_are_those_of_it_alone(captioner):
    assert furthest(*captioner) < 1e-5


@pytest.mark.slow
def test_the_rule_broken_is_seen(captioner):
    model, batch = captioner
    packed, _ = pack(batch, 2 * int(batch["row_lengths"].max()))
    straight = torch.arange(packed["position_ids"].shape[1]).expand_as(packed["position_ids"])
    assert furthest(model, batch, position_ids=straight) > 1e-2
    assert furthest(model, batch, use_cache=True) > 1e-2  # transformers then sees no packing in the positions


@pytest.mark.long
@pytest.mark.slow
def test_loss_and_gradients_of_packed_rows_are_those_of_padded_ones(captioner):
    model, batch = captioner
    found = []
    for row_tokens in (0, 1024, 1):
        model.zero_grad()
        output = CaptionTask(model, row_tokens=row_tokens)(batch)
        output["terms"]["answers"].backward()
        gradients = {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}
        found.append((output["terms"]["answers"].detach(), output["metrics"]["tokens_right"], gradients))
    padded, *others = found
    size = max(float(grad.abs().max()) for grad in padded[2].values())
    for loss, right, gradients in others:
        torch.testing.assert_close(loss, padded[0], rtol=1e-5, atol=0)
        assert right == padded[1] and gradients.keys() == padded[2].keys()
        for name, grad in gradients.items():
            torch.testing.assert_close(grad, padded[2][name], rtol=0, atol=1e-5 * size, msg=name)


def test_first_fit_is_deterministic_and_leaves_nothing_out():
    assert first_fit([3, 5, 5, 2, 1, 9], 8) == [[5], [1, 0], [2, 3, 4]]
    lengths = torch.randint(1, 500, (200,), generator=torch.Generator().manual_seed(0)).tolist()
    rows = first_fit(lengths, 512)
    assert sorted(number for row in rows for number in row) == list(range(200))
    assert max(sum(lengths[number] for number in row) for row in rows) <= 512
    assert len(rows) <= 11 / 9 * -(-sum(lengths) // 512) + 1
