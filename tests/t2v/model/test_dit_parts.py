"""Rotary tables, token groups, norms and plain attention, each against the straightforward way."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as nnf

from t2v.model.attention import CineloopAttention, TokenGroups, plain_attention, token_groups
from t2v.model.norms import LayerNorm, RMSNorm, gated_sum, modulated_norm
from t2v.model.rotary import RotaryEmbedding3D, rotate

SIDES = st.integers(1, 5)
SIZES = st.tuples(SIDES, SIDES, SIDES)


@pytest.mark.parametrize("head_dim", [12, 16, 64, 128])
def test_angles_are_wans(head_dim):
    cos, sin = RotaryEmbedding3D(head_dim)((5, 3, 4))
    expected_cos, expected_sin = WanRotaryPosEmbed(head_dim, (1, 2, 2), 64)(torch.zeros(1, 4, 5, 6, 8))
    assert torch.equal(cos.repeat_interleave(2, dim=-1), expected_cos)
    assert torch.equal(sin.repeat_interleave(2, dim=-1), expected_sin)


def test_axes_may_be_split_otherwise():
    cos, _ = RotaryEmbedding3D(16, axes_dim=(0, 10, 6))((2, 3, 4))
    cos = cos.view(2, 3, 4, 8)
    assert torch.equal(cos[0], cos[1])  # time turns nothing
    assert (cos[:, 1, :, :5] != cos[:, 0, :, :5]).all() and torch.equal(cos[:, 1, :, 5:], cos[:, 0, :, 5:])


def test_rotation_keeps_lengths_and_knows_only_differences():
    turns = torch.complex(*RotaryEmbedding3D(12)((4, 4, 4)))
    torch.manual_seed(0)
    query, key = torch.randn(2, 1, 1, 1, 12).expand(2, 1, 64, 1, 12)
    query, key = rotate(query, turns), rotate(key, turns)
    torch.testing.assert_close(query.norm(dim=-1), query.norm(dim=-1)[:, :1].expand(1, 64, 1))
    scores = torch.einsum("bqhd,bkhd->bqk", query, key)[0].view(4, 4, 4, 4, 4, 4)
    torch.testing.assert_close(scores[0, 1, 2, 1, 3, 2], scores[2, 0, 1, 3, 2, 1], atol=1e-5, rtol=1e-5)
    assert abs(scores[0, 1, 2, 1, 3, 2] - scores[0, 1, 2, 2, 3, 2]) > 1e-3


@given(grid=SIZES, window=SIZES, shifted=st.booleans())
def test_groups_hold_every_token_once(grid, window, shifted):
    window = tuple(min(w, g) for w, g in zip(window, grid, strict=True))
    shift = tuple(w // 2 if shifted else 0 for w in window)
    groups = TokenGroups(grid=grid, window=window, shift=shift)
    tokens = torch.arange(1.0, 1 + 2 * grid[0] * grid[1] * grid[2]).view(2, -1, 1)  # no token is 0, padding is
    split = groups.split(tokens)
    assert torch.equal(groups.merge(split), tokens)
    mask = groups.mask(2, tokens.device)
    real = split[..., 0] != 0
    assert torch.equal(mask[:, 0, 0], real) if mask is not None else real.all()
    assert real.any(dim=1).all()  # a group without a token would give attention nothing to look at


@pytest.mark.parametrize(("kind", "index"), [("factorised", 0), ("factorised", 1), ("windowed", 0), ("windowed", 1)])
def test_attention_in_groups_equals_full_attention_under_a_mask(kind, index):
    grid, window = (3, 5, 4), (2, 2, 3)
    torch.manual_seed(0)
    attention, rope = CineloopAttention(24, 2, 1e-6), RotaryEmbedding3D(12)
    x = torch.randn(2, 60, 24)
    groups = token_groups(kind, grid, window, index)
    grouped = attention(groups.split(x), None, groups.mask(2, x.device), torch.complex(*rope(groups.window)))
    place = torch.cartesian_prod(*(torch.arange(n) for n in grid))  # (N, 3)
    box = (place + torch.tensor(groups.shift)) // torch.tensor(groups.window)
    together = (box[:, None] == box[None]).all(-1)  # (N, N)
    full = attention(x, None, together[None, None], torch.complex(*rope(grid)))
    torch.testing.assert_close(groups.merge(grouped), full, atol=1e-5, rtol=1e-5)
    assert not together.all()


def test_every_second_windowed_block_is_shifted_unless_the_window_covers_the_axis():
    even, odd = (token_groups("windowed", (4, 8, 8), (9, 4, 4), index) for index in (0, 1))
    assert (even.window, even.shift) == ((4, 4, 4), (0, 0, 0))
    assert (odd.window, odd.shift) == ((4, 4, 4), (0, 2, 2))


def reference_norm(x: Tensor, weight: Tensor) -> Tensor:
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight


def test_rms_norm_and_its_gradient():
    torch.manual_seed(0)
    norm = RMSNorm(24, eps=1e-6)
    nn.init.normal_(norm.weight)
    x, seen = torch.randn(3, 5, 24, requires_grad=True), torch.randn(3, 5, 24)
    kept = seen.clone()
    ours = (norm(x), *torch.autograd.grad(norm(x), (x, norm.weight), seen))
    y = reference_norm(x, norm.weight)
    for mine, expected in zip(ours, (y, *torch.autograd.grad(y, (x, norm.weight), seen)), strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(seen, kept)  # the incoming gradient is not written to
    zero = torch.zeros(1, 24, requires_grad=True)
    norm(zero).sum().backward()
    assert zero.grad.isfinite().all()


def test_rms_norm_in_bfloat16_rounds_once():
    torch.manual_seed(0)
    norm, x = RMSNorm(256, eps=1e-6), 30 * torch.randn(4, 256).bfloat16()
    with torch.no_grad():
        assert torch.equal(norm(x), reference_norm(x.float(), norm.weight).bfloat16())


@pytest.mark.parametrize("affine", [False, True])
def test_layer_norm_takes_statistics_in_float32(affine):
    torch.manual_seed(0)
    norm, x = LayerNorm(256, 1e-6, elementwise_affine=affine), (100 + torch.randn(4, 256)).bfloat16()
    with torch.no_grad():
        torch.testing.assert_close(norm(x).float(), nnf.layer_norm(x.float(), (256,), eps=1e-6), atol=0.01, rtol=0.01)
        assert norm(x).dtype == torch.bfloat16


def test_modulation_and_gate_are_their_formulas():
    torch.manual_seed(0)
    x, update, shift, scale = torch.randn(4, 2, 5, 24)
    norm = LayerNorm(24, 1e-6, elementwise_affine=False)
    expected = nnf.layer_norm(x, (24,), eps=1e-6) * (1 + scale) + shift
    torch.testing.assert_close(modulated_norm(norm, x, shift, scale), expected)
    torch.testing.assert_close(gated_sum(x, update, scale), x + update * scale)


def test_plain_attention_equals_the_fused_kernel():
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, length, 3, 8) for length in (6, 9, 9))
    mask = torch.rand(2, 1, 1, 9) > 0.3
    heads = [x.transpose(1, 2) for x in (query, key, value)]
    for chosen in (None, mask):
        expected = nnf.scaled_dot_product_attention(*heads, attn_mask=chosen).transpose(1, 2)
        torch.testing.assert_close(plain_attention(query, key, value, chosen), expected)
