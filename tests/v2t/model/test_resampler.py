"""The resampler: shapes for any grid, time and order, padding, the frame level, gradients."""

from __future__ import annotations

import pytest
import torch

from cineloop.errors import UsageError
from v2t.model.configuration import CineloopConfig, CineloopResamplerConfig
from v2t.model.resampler import CineloopResampler, spatial_features, time_features

FORMS = {
    "two-level": {},
    "one query for two frames": {"num_queries": 2},
    "swiglu on pooled patches": {"ffn": "swiglu", "frame_grid": 2},
    "free": {"queries": "free"},
    "pool": {"kind": "pool", "pool_grid": 2},
    "pool without blocks": {"kind": "pool", "pool_grid": 1, "num_layers": 0},
}


def build(**changes) -> CineloopResampler:
    torch.manual_seed(0)
    shape = {"segment_frames": 4, "num_queries": 8, "hidden_size": 16, "num_layers": 2, "num_heads": 2, **changes}
    return CineloopResampler(CineloopResamplerConfig(**shape), vision_size=12).eval()


def segment_tokens(segments: int = 2, patches: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(segments, 4, patches, 12), torch.tensor([[0.0, 0.2, 0.4, 0.6]]).repeat(segments, 1)


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("grid", [(1, 1), (3, 3), (2, 5)], ids=str)
def test_any_grid_gives_the_promised_number_of_tokens(form, grid):
    model = build(**FORMS[form])
    tokens, times = segment_tokens(patches=grid[0] * grid[1])
    out = model(tokens, times, grid=grid)
    assert out.shape == (2, model.config.tokens_per_segment, 16)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("real", [1, 3])
def test_what_stands_in_padding_frames_changes_nothing(form, real):
    model = build(**FORMS[form])
    tokens, times = segment_tokens()
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[1, real:] = False
    first = model(tokens, times, mask)
    tokens[1, real:], times[1, real:] = 1e3, 77.0
    torch.testing.assert_close(model(tokens, times, mask), first, rtol=0, atol=0)
    # A full segment reads the same beside a padded one as alone.
    torch.testing.assert_close(model(tokens[:1], times[:1]), first[:1], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(first).all()


@pytest.mark.parametrize(
    "changes",
    [{"queries": "free"}, {"num_layers": 1, "frame_layers": 1}, {"kind": "pool"}],
    ids=["free", "frame", "pool"],
)
def test_padded_frames_are_not_attended(changes):
    """Two real frames of four read exactly as two frames of a segment of two."""
    long, short = build(**changes), build(**changes, segment_frames=2, num_queries=8 if "queries" in changes else 4)
    short.load_state_dict(long.state_dict())
    tokens, times = segment_tokens()
    mask = torch.tensor([[True, True, False, False]]).repeat(2, 1)
    whole = short(tokens[:, :2], times[:, :2])
    torch.testing.assert_close(long(tokens, times, mask)[:, : whole.shape[1]], whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("form", ["two-level", "free", "pool"])
def test_order_speed_and_place_reach_the_tokens(form):
    model = build(**FORMS[form])
    tokens, times = segment_tokens(segments=1)
    base = model(tokens, times)
    changed = {
        "order": model(tokens.flip(1), times),
        "speed": model(tokens, times * 3),
        "place": model(tokens.flip(2), times),
    }
    for name, other in changed.items():
        assert (other - base).abs().max() > 1e-2, name


def test_a_segment_reads_the_same_wherever_it_lies_in_the_clip():
    model = build()
    tokens, times = segment_tokens(segments=1)
    torch.testing.assert_close(model(tokens, times + 3600), model(tokens, times), rtol=1e-2, atol=2e-2)


def test_queries_of_a_frame_see_that_frame_alone_at_frame_level():
    model = build(num_layers=1, frame_layers=1)
    tokens, times = segment_tokens(segments=1)
    base = model(tokens, times)
    tokens[0, 2] += 1.0
    difference = (model(tokens, times) - base).abs().amax(-1)[0]  # (Q,)
    assert (difference > 1e-4).tolist() == [False] * 4 + [True] * 2 + [False] * 2


def test_every_weight_learns():
    # A single query of a frame has only itself to attend, and nothing to learn from that.
    for changes in (FORMS[name] for name in FORMS if name != "one query for two frames"):
        model = build(**changes)
        tokens, times = segment_tokens()
        (model(tokens, times) ** 2 * torch.randn(16)).sum().backward()
        idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().any()]
        # Softmax does not feel a constant added to all its scores, so key biases have no gradient worth the name.
        assert [name for name in idle if not name.endswith("k_proj.bias")] == []


def test_time_features_are_continuous_and_know_no_length():
    times = torch.tensor([[0.0, 10.0, 20.0, 30.0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    near, moved = (time_features(times + torch.tensor([0, d, 0, 0]), mask, 8) for d in (0.0, 1e-3))
    assert 0 < (near - moved).abs().max() < 0.05
    assert torch.isfinite(time_features(torch.full((1, 4), 5.0), mask, 8)).all()  # no span at all
    assert time_features(torch.arange(1000.0)[None], torch.ones(1, 1000, dtype=torch.bool), 8).shape == (1, 1000, 17)


def test_places_of_all_cells_differ():
    places = spatial_features((27, 27), 16, torch.device("cpu"))
    assert torch.pdist(places).min() > 0.02


def test_wrong_frame_counts_and_settings_are_refused():
    tokens, times = segment_tokens()
    with pytest.raises(UsageError, match="4 frames"):
        build()(tokens[:, :3], times[:, :3])
    with pytest.raises(UsageError, match="frame_times_s"):
        build()(tokens, times[:, :3])
    with pytest.raises(UsageError, match="not a square"):
        build()(tokens[:, :, :7], times)
    for changes in ({"kind": "conv"}, {"num_heads": 3}, {"frame_layers": 9}, {"time_features": 3}, {"num_queries": 0}):
        with pytest.raises(UsageError):
            build(**changes)


def test_token_count_formula():
    config = CineloopConfig(resampler_config={"segment_frames": 16, "num_queries": 32})
    assert [config.num_visual_tokens(n) for n in (1, 16, 17, 160)] == [32, 32, 64, 320]
    pool = CineloopResamplerConfig(kind="pool", segment_frames=8, pool_grid=2)
    assert pool.num_visual_tokens(9) == 64
    with pytest.raises(UsageError):
        config.num_visual_tokens(0)
