"""Rotary tables, norms and plain attention, each against the straightforward way."""

from __future__ import annotations

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as nnf

from t2v.model.attention import plain_attention
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


def test_a_convolution_in_the_feed_forward_sees_neighbours_of_its_frame_alone():
    from t2v.model.dit_blocks import ConvFeedForward

    torch.manual_seed(0)
    ffn = ConvFeedForward(8, 16, "gelu").eval()
    grid = (2, 4, 4)
    x = torch.randn(1, 32, 8)
    with torch.no_grad():
        before = ffn(x, grid)
        moved = x.clone()
        moved[0, 5] += 1  # frame 0, row 1, column 1
        changed = (ffn(moved, grid) - before).abs().sum(-1)[0].reshape(grid) > 1e-6
    expected = torch.zeros(grid, dtype=torch.bool)
    expected[0, 0:3, 0:3] = True
    assert torch.equal(changed, expected)


def test_a_fresh_transformer_with_convolutions_starts_as_without_them():
    from t2v.model.dit import CineloopTransformer3DModel

    shape = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 8,
             "ffn_dim": 32, "num_layers": 2, "zero_init": False}  # fmt: skip
    torch.manual_seed(0)
    plain = CineloopTransformer3DModel(**shape).eval()
    conv = CineloopTransformer3DModel(**shape, ffn_conv=True).eval()
    missing = conv.load_state_dict(plain.state_dict(), strict=False)
    assert not missing.unexpected_keys and {name.split(".")[3] for name in missing.missing_keys} == {"conv"}
    given = (torch.randn(2, 4, 2, 4, 4), torch.tensor([500.0, 10.0]), torch.randn(2, 3, 8))
    with torch.no_grad():
        assert torch.allclose(plain(*given).sample, conv(*given).sample, atol=1e-6)
