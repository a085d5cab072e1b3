import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import UsageError
from t2v.flow import (
    FlowConfig,
    GuidanceConfig,
    add_noise,
    guide,
    inference_sigmas,
    sample_sigmas,
    shift_time,
    velocity,
)

unit, shifts = st.floats(0, 1), st.floats(0.1, 12)


def _pair(seed=0, shape=(4, 3, 2, 5, 5), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=dtype).unbind(0)


# --- noise
@pytest.mark.slow
@given(unit)
def test_rectified_flow_mixes_on_a_straight_line(level):
    clean, noise = _pair(dtype=torch.float64)
    sigma = torch.full((4,), level)
    wanted = (1 - float(sigma[0])) * clean + float(sigma[0]) * noise
    torch.testing.assert_close(add_noise(clean, noise, sigma), wanted, rtol=0, atol=1e-6)


def test_noise_is_clip_by_clip():
    clean, noise = _pair()
    sigma = torch.tensor([0.0, 0.3, 0.7, 1.0])
    noisy = add_noise(clean, noise, sigma)
    for row in range(4):
        one = slice(row, row + 1)
        torch.testing.assert_close(noisy[one], add_noise(clean[one], noise[one], sigma[one]))
    assert torch.equal(noisy[0], clean[0]) and torch.equal(noisy[3], noise[3])
    assert add_noise(clean.bfloat16(), noise.bfloat16(), sigma).dtype == torch.bfloat16


def test_the_true_velocity_gives_the_clean_clip_back():
    clean, noise = _pair(dtype=torch.float64)
    sigma = torch.tensor([0.05, 0.3, 0.7, 0.95])
    found = add_noise(clean, noise, sigma) - sigma.double().view(-1, 1, 1, 1, 1) * velocity(clean, noise)
    torch.testing.assert_close(found, clean, rtol=0, atol=1e-6)


def test_velocity_is_the_derivative_of_the_path():
    clean, noise = _pair(dtype=torch.float64)
    step = 2**-10  # exact in float32
    low, high = (add_noise(clean, noise, torch.full((4,), s)) for s in (0.5, 0.5 + step))
    torch.testing.assert_close((high - low) / step, velocity(clean, noise))


# --- noise levels in training
def test_sigmas_repeat_by_seed_and_differ_by_draw():
    config = FlowConfig(uniform_floor=0.1, shift=2.2)
    generator = torch.Generator().manual_seed(3)
    first, second = sample_sigmas(64, config, generator), sample_sigmas(64, config, generator)
    assert torch.equal(first, sample_sigmas(64, config, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, second)
    assert first.dtype == torch.float32 and first.shape == (64,)


def test_the_generator_moves_on_alike_whatever_the_configuration():
    after = []
    for config in (FlowConfig(), FlowConfig(sigma_sampling="uniform"), FlowConfig(uniform_floor=1.0, shift=3.0)):
        generator = torch.Generator().manual_seed(0)
        sample_sigmas(5, config, generator)
        after.append(torch.rand(1, generator=generator).item())
    assert len(set(after)) == 1


@pytest.mark.parametrize("mean, std, shift", [(0.0, 1.0, 1.0), (-0.5, 0.7, 1.0), (0.0, 1.0, 2.2), (0.4, 1.0, 5.0)])
def test_logit_normal_has_its_quantiles(mean, std, shift):
    drawn = sample_sigmas(40_000, FlowConfig(mean=mean, std=std, shift=shift), torch.Generator().manual_seed(0))
    for share in (0.1, 0.25, 0.5, 0.75, 0.9):
        normal = torch.special.ndtri(torch.tensor(share, dtype=torch.float64))
        wanted = torch.sigmoid(mean + std * normal + math.log(shift))  # the shift adds log s to the logit
        assert float((drawn <= wanted).float().mean()) == pytest.approx(share, abs=0.01)


def test_the_uniform_floor_reaches_the_ends():
    tight = {"std": 0.05, "shift": 3.0}
    drawn = sample_sigmas(20_000, FlowConfig(uniform_floor=0.1, **tight), torch.Generator().manual_seed(0))
    outside = (drawn < 0.5) | (drawn > 0.9)  # the logit-normal part lies close about .75
    assert float(outside.float().mean()) == pytest.approx(0.1 * 0.6, abs=0.01)
    assert drawn.min() < 0.01 and drawn.max() > 0.99
    none = sample_sigmas(20_000, FlowConfig(**tight), torch.Generator().manual_seed(0))
    assert none.min() > 0.5


def test_uniform_is_uniform_and_may_be_shifted():
    generator = torch.Generator().manual_seed(0)
    drawn = sample_sigmas(20_000, FlowConfig(sigma_sampling="uniform", shift=3.0), generator)
    assert float((drawn <= shift_time(0.5, 3.0)).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_training_levels_are_not_those_of_a_schedulers_table():
    """A continuous distribution: no two of 2,000 draws fall on the same of a thousand steps more than by chance."""
    drawn = sample_sigmas(2000, FlowConfig(), torch.Generator().manual_seed(0))
    assert len(drawn.unique()) > 1990
    assert ((drawn * 1000 - (drawn * 1000).round()).abs() > 1e-2).float().mean() > 0.9


@given(unit, shifts, shifts)
def test_shift_composes_keeps_order_and_ends(sigma, first, second):
    assert shift_time(shift_time(sigma, first), second) == pytest.approx(shift_time(sigma, first * second), abs=1e-9)
    assert shift_time(0.0, first) == 0 and shift_time(1.0, first) == pytest.approx(1)
    towards_noise = shift_time(sigma, first) - sigma
    assert towards_noise >= -1e-12 if first >= 1 else towards_noise <= 1e-12
    assert shift_time(shift_time(sigma, first), 1 / first) == pytest.approx(sigma, abs=1e-9)


@given(st.integers(1, 100), shifts)
def test_sigmas_of_sampling_begin_at_one_and_fall(steps, shift):
    sigmas = inference_sigmas(steps, shift)
    assert len(sigmas) == steps and sigmas[0] == pytest.approx(1) and sigmas[-1] > 0
    assert all(a > b for a, b in zip(sigmas, sigmas[1:], strict=False))
    assert sigmas[-1] == pytest.approx(shift / (steps + shift - 1))


@pytest.mark.parametrize("steps, shift", [(0, 1.0), (-1, 1.0), (4, 0.0), (4, math.inf), (4, math.nan)])
def test_sigmas_of_sampling_refuse_nonsense(steps, shift):
    with pytest.raises(UsageError):
        inference_sigmas(steps, shift)


# --- guidance
def test_guidance_goes_past_the_conditional():
    conditional, unconditional = _pair()
    found = guide(conditional, unconditional, GuidanceConfig(scale=3.0), 0.5)
    torch.testing.assert_close(found, 3 * conditional - 2 * unconditional)
    for scale, wanted in ((0.0, unconditional), (1.0, conditional)):
        torch.testing.assert_close(guide(conditional, unconditional, GuidanceConfig(scale=scale), 0.5), wanted)


def test_guidance_acts_within_its_interval_only():
    conditional, unconditional = _pair()
    guidance = GuidanceConfig(scale=3.0, interval=(0.25, 0.75))
    for sigma, acts in ((0.2, False), (0.25, True), (0.5, True), (0.75, True), (0.8, False)):
        assert guidance.acts_at(sigma) == acts
        found = guide(conditional, unconditional if acts else None, guidance, sigma)
        assert torch.equal(found, conditional) == (not acts)
    with pytest.raises(UsageError, match="unconditional"):
        guide(conditional, None, guidance, 0.5)
    assert not GuidanceConfig(scale=1.0).acts_at(0.5)


@pytest.mark.slow
@given(unit, st.floats(1.5, 9))
def test_rescale_draws_the_deviation_back(rescale, scale):
    conditional, unconditional = _pair(dtype=torch.float64)
    plain = guide(conditional, unconditional, GuidanceConfig(scale=scale), 0.5)
    found = guide(conditional, unconditional, GuidanceConfig(scale=scale, rescale=rescale), 0.5)
    for row in range(4):  # clip by clip
        wanted = rescale * conditional[row].std() + (1 - rescale) * plain[row].std()
        torch.testing.assert_close(found[row].std(), wanted)
        torch.testing.assert_close(found[row] / found[row].std(), plain[row] / plain[row].std())


def test_rescale_is_that_of_the_paper():
    """Equations 15 and 16 of Lin et al., as `rescale_noise_cfg` of diffusers has them."""
    conditional, unconditional = _pair()
    plain = guide(conditional, unconditional, GuidanceConfig(scale=6.0), 0.5)
    ours = guide(conditional, unconditional, GuidanceConfig(scale=6.0, rescale=0.7), 0.5)
    for row in range(4):
        rescaled = plain[row] * conditional[row].std() / plain[row].std()
        torch.testing.assert_close(ours[row], 0.7 * rescaled + 0.3 * plain[row])


def test_rescale_bears_a_prediction_without_deviation():
    flat = torch.zeros(1, 2, 3)
    assert torch.isfinite(guide(flat, flat, GuidanceConfig(scale=3.0, rescale=1.0), 0.5)).all()


@pytest.mark.parametrize(
    "config, changes",
    [
        (FlowConfig, {"sigma_sampling": "mode"}),
        (FlowConfig, {"shift": 0.0}),
        (FlowConfig, {"std": math.nan}),
        (FlowConfig, {"mean": math.inf}),
        (FlowConfig, {"uniform_floor": 1.1}),
        (GuidanceConfig, {"scale": math.nan}),
        (GuidanceConfig, {"interval": (0.5, 0.4)}),
        (GuidanceConfig, {"interval": (-0.1, 0.4)}),
        (GuidanceConfig, {"rescale": 1.5}),
    ],
)
def test_configurations_refuse_nonsense(config, changes):
    with pytest.raises(UsageError):
        config(**changes)
