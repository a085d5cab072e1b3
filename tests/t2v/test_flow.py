import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import UsageError
from t2v import diffusion
from t2v.flow import (
    PREDICTIONS,
    FlowConfig,
    GuidanceConfig,
    add_noise,
    guided,
    inference_sigmas,
    loss_weights,
    sample_sigmas,
    shifted,
    target,
)

DDPM = [FlowConfig(prediction=p, schedule=s) for p in PREDICTIONS[1:] for s in diffusion.SCHEDULES]
ALL = [FlowConfig(), *DDPM]
unit, shifts = st.floats(0, 1), st.floats(0.1, 12)


def _name(config):
    return config.prediction if config.prediction == "flow" else f"{config.prediction}-{config.schedule}"


def _pair(seed=0, shape=(4, 3, 2, 5, 5), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, *shape, generator=generator, dtype=dtype).unbind(0)


def clean_estimate(prediction, noisy, sigma, config):
    """The clean latents (B, ...) that a prediction implies: x_σ = a x_0 + b ε solved for x_0."""
    sigma = sigma.double().reshape(-1, *[1] * (noisy.ndim - 1))
    if config.prediction == "flow":
        return noisy - sigma * prediction
    left = diffusion.alpha_bar(sigma, config.schedule)
    signal, spread = left.sqrt(), (1 - left).sqrt()
    if config.prediction == "epsilon":
        return (noisy - spread * prediction) / signal
    return signal * noisy - spread * prediction


# --- the schedules of the DDPM family
def test_cosine_schedule_is_nichol_and_dhariwals():
    """The quantity is ᾱ_t = f(t) / f(0), f(t) = cos²((t / 1000 + .008) / 1.008 · π / 2), at t counted from 1."""
    sigma = torch.tensor([0.1, 0.2, 0.5], dtype=torch.float64)
    found = diffusion.alpha_bar(sigma, "cosine")
    assert [round(float(v), 3) for v in found] == [0.972, 0.899, 0.494]
    left = torch.cos((sigma + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(found, left, rtol=1e-12, atol=0)


def test_cosine_schedule_is_not_accumulated_twice():
    """A published book takes the cumulative product of ᾱ: .36, 6e-4 and 3e-50 stand where .972, .899, .494 belong."""
    once = torch.cumprod(1 - diffusion.betas("cosine"), 0)
    twice = torch.cumprod(once, 0)
    at = torch.tensor([100, 200, 500]) - 1
    torch.testing.assert_close(twice[at], torch.tensor([0.36, 6.2e-4, 3.2e-50], dtype=torch.float64), rtol=0.02, atol=0)
    torch.testing.assert_close(diffusion.alpha_bar((at + 1).double() / 1000, "cosine"), once[at], rtol=1e-12, atol=0)


@pytest.mark.parametrize("schedule", diffusion.SCHEDULES)
def test_schedules_are_those_of_diffusers(schedule):
    from diffusers import DDPMScheduler

    name = {"cosine": "squaredcos_cap_v2", "linear": "linear"}[schedule]
    theirs = DDPMScheduler(beta_schedule=name).alphas_cumprod.double()
    ours = diffusion.alpha_bar(torch.arange(1, 1001).double() / 1000, schedule)
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-9)


@pytest.mark.parametrize("schedule", diffusion.SCHEDULES)
def test_schedules_fall_from_all_to_nothing(schedule):
    left = diffusion.alpha_bar(torch.linspace(0, 1, 3001, dtype=torch.float64), schedule)
    assert left[0] == 1 and 0 < left[-1] < 1e-4
    assert (left.diff() < 0).all()
    betas = diffusion.betas(schedule)
    assert (betas > 0).all() and betas.max() <= diffusion.MAX_BETA


def test_linear_schedule_by_hand():
    left = diffusion.alpha_bar(torch.tensor([0.001, 0.002], dtype=torch.float64), "linear")
    step = (0.02 - 1e-4) / 999
    torch.testing.assert_close(left, torch.tensor([1 - 1e-4, (1 - 1e-4) * (1 - 1e-4 - step)], dtype=torch.float64))
    with pytest.raises(ValueError, match="cosine, linear"):
        diffusion.betas("sigmoid")


# --- noise
@pytest.mark.parametrize("config", DDPM, ids=_name)
def test_add_noise_keeps_the_variance_of_the_ddpm_family(config):
    """With ᾱ in place of √ᾱ, as in a published book, the variance falls to .75 at t = 500 of the cosine schedule."""
    clean, noise = _pair(shape=(200_000,), dtype=torch.float64)
    for level in (0.0, 0.1, 0.5, 0.9, 1.0):
        noisy = add_noise(clean[None], noise[None], torch.tensor([level]), config)
        assert float(noisy.var()) == pytest.approx(1, abs=0.01)
    left = float(diffusion.alpha_bar(torch.tensor(0.5, dtype=torch.float64), "cosine"))
    assert left**2 + (1 - left) == pytest.approx(0.75, abs=1e-3)


@given(unit)
def test_rectified_flow_mixes_on_a_straight_line(level):
    clean, noise = _pair(dtype=torch.float64)
    sigma = torch.full((4,), level)
    wanted = (1 - float(sigma[0])) * clean + float(sigma[0]) * noise
    torch.testing.assert_close(add_noise(clean, noise, sigma), wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", ALL, ids=_name)
def test_noise_and_target_are_clip_by_clip(config):
    clean, noise = _pair()
    sigma = torch.tensor([0.0, 0.3, 0.7, 1.0])
    noisy, wanted = add_noise(clean, noise, sigma, config), target(clean, noise, sigma, config)
    for row in range(4):
        one = slice(row, row + 1)
        torch.testing.assert_close(noisy[one], add_noise(clean[one], noise[one], sigma[one], config))
        torch.testing.assert_close(wanted[one], target(clean[one], noise[one], sigma[one], config))
    assert torch.equal(noisy[0], clean[0])
    torch.testing.assert_close(noisy[3], noise[3], rtol=0, atol=0.1)  # the linear schedule leaves √4e-5 of the clip
    assert add_noise(clean.bfloat16(), noise.bfloat16(), sigma, config).dtype == torch.bfloat16


@pytest.mark.parametrize("config", ALL, ids=_name)
def test_the_true_prediction_gives_the_clean_clip_back(config):
    clean, noise = _pair(dtype=torch.float64)
    sigma = torch.tensor([0.05, 0.3, 0.7, 0.95])
    noisy = add_noise(clean, noise, sigma, config)
    found = clean_estimate(target(clean, noise, sigma, config), noisy, sigma, config)
    torch.testing.assert_close(found, clean, rtol=0, atol=1e-6)


def test_velocity_is_the_derivative_of_the_path():
    clean, noise = _pair(dtype=torch.float64)
    step = 2**-10  # exact in float32
    low, high = (add_noise(clean, noise, torch.full((4,), s)) for s in (0.5, 0.5 + step))
    torch.testing.assert_close((high - low) / step, target(clean, noise, torch.full((4,), 0.5)))


def test_v_of_the_ddpm_family_is_the_derivative_in_the_angle():
    """With √ᾱ = cos φ and √(1 - ᾱ) = sin φ, v is dx/dφ (arXiv:2202.00512, appendix D)."""
    config = FlowConfig(prediction="v_prediction")
    clean, noise = _pair(dtype=torch.float64)
    sigma = torch.full((4,), 0.375, dtype=torch.float64)
    angle = torch.acos(diffusion.alpha_bar(sigma, "cosine").sqrt())[0]
    turned = -clean * angle.sin() + noise * angle.cos()
    torch.testing.assert_close(target(clean, noise, sigma, config), turned)


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
    assert float((drawn <= shifted(0.5, 3.0)).float().mean()) == pytest.approx(0.5, abs=0.02)


def test_training_levels_are_not_those_of_a_schedulers_table():
    """A continuous distribution: no two of 2,000 draws fall on the same of a thousand steps more than by chance."""
    drawn = sample_sigmas(2000, FlowConfig(), torch.Generator().manual_seed(0))
    assert len(drawn.unique()) > 1990
    assert ((drawn * 1000 - (drawn * 1000).round()).abs() > 1e-2).float().mean() > 0.9


@given(unit, shifts, shifts)
def test_shift_composes_keeps_order_and_ends(sigma, first, second):
    assert shifted(shifted(sigma, first), second) == pytest.approx(shifted(sigma, first * second), abs=1e-9)
    assert shifted(0.0, first) == 0 and shifted(1.0, first) == pytest.approx(1)
    towards_noise = shifted(sigma, first) - sigma
    assert towards_noise >= -1e-12 if first >= 1 else towards_noise <= 1e-12
    assert shifted(shifted(sigma, first), 1 / first) == pytest.approx(sigma, abs=1e-9)


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


# --- weights
@pytest.mark.parametrize("prediction", PREDICTIONS)
@given(st.floats(0.001, 0.999), st.floats(0.5, 20))
def test_min_snr_is_a_bounded_weight_on_the_clean_clip(prediction, level, gamma):
    """However it is predicted, an error of x_0 costs min(SNR, γ)."""
    config = FlowConfig(prediction=prediction, min_snr_gamma=gamma)
    clean, noise = _pair(shape=(1, 1, 2, 2), dtype=torch.float64)
    sigma = torch.tensor([level], dtype=torch.float64)
    noisy = add_noise(clean[None], noise[None], sigma, config)
    wanted = target(clean[None], noise[None], sigma, config)
    wrong = wanted + 0.01
    off = clean_estimate(wrong, noisy, sigma, config) - clean_estimate(wanted, noisy, sigma, config)
    share = 1 - level if prediction == "flow" else float(diffusion.alpha_bar(sigma, "cosine").sqrt())
    spread = level if prediction == "flow" else math.sqrt(1 - share**2)
    snr = (share / spread) ** 2
    cost = float(loss_weights(sigma, config)) * float((wrong - wanted).square().mean())
    assert cost == pytest.approx(min(snr, gamma) * float(off.square().mean()), rel=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_min_snr_is_finite_where_nothing_or_all_is_left(prediction):
    """A published book divides 0 by 0 at ᾱ = 0."""
    weights = diffusion.min_snr_weights(torch.tensor([0.0, 1.0, 0.5]), prediction, 5.0)
    assert torch.isfinite(weights).all()
    # At ᾱ = 0 ε counts in full, and v, which then says x_0 of which nothing can be seen, not at all.
    assert weights.tolist() == ([1.0, 0.0, 1.0] if prediction == "epsilon" else [0.0, 0.0, 0.5])


@pytest.mark.parametrize("config", ALL, ids=_name)
def test_weights_are_ones_without_min_snr_and_finite_with_it(config):
    sigma = torch.linspace(0, 1, 11)
    assert torch.equal(loss_weights(sigma, config), torch.ones(11))
    weights = loss_weights(sigma, replace(config, min_snr_gamma=5.0))
    assert torch.isfinite(weights).all() and (weights >= 0).all() and weights.dtype == torch.float32


# --- guidance
def test_guidance_goes_past_the_conditional():
    conditional, unconditional = _pair()
    found = guided(conditional, unconditional, GuidanceConfig(scale=3.0), 0.5)
    torch.testing.assert_close(found, 3 * conditional - 2 * unconditional)
    for scale, wanted in ((0.0, unconditional), (1.0, conditional)):
        torch.testing.assert_close(guided(conditional, unconditional, GuidanceConfig(scale=scale), 0.5), wanted)


def test_guidance_acts_within_its_interval_only():
    conditional, unconditional = _pair()
    guidance = GuidanceConfig(scale=3.0, interval=(0.25, 0.75))
    for sigma, acts in ((0.2, False), (0.25, True), (0.5, True), (0.75, True), (0.8, False)):
        assert guidance.acts_at(sigma) == acts
        found = guided(conditional, unconditional if acts else None, guidance, sigma)
        assert torch.equal(found, conditional) == (not acts)
    with pytest.raises(UsageError, match="unconditional"):
        guided(conditional, None, guidance, 0.5)
    assert not GuidanceConfig(scale=1.0).acts_at(0.5)


@given(unit, st.floats(1.5, 9))
def test_rescale_draws_the_deviation_back(rescale, scale):
    conditional, unconditional = _pair(dtype=torch.float64)
    plain = guided(conditional, unconditional, GuidanceConfig(scale=scale), 0.5)
    found = guided(conditional, unconditional, GuidanceConfig(scale=scale, rescale=rescale), 0.5)
    for row in range(4):  # clip by clip
        wanted = rescale * conditional[row].std() + (1 - rescale) * plain[row].std()
        torch.testing.assert_close(found[row].std(), wanted)
        torch.testing.assert_close(found[row] / found[row].std(), plain[row] / plain[row].std())


def test_rescale_is_that_of_the_paper():
    """Equations 15 and 16 of Lin et al., as `rescale_noise_cfg` of diffusers has them."""
    conditional, unconditional = _pair()
    plain = guided(conditional, unconditional, GuidanceConfig(scale=6.0), 0.5)
    ours = guided(conditional, unconditional, GuidanceConfig(scale=6.0, rescale=0.7), 0.5)
    for row in range(4):
        rescaled = plain[row] * conditional[row].std() / plain[row].std()
        torch.testing.assert_close(ours[row], 0.7 * rescaled + 0.3 * plain[row])


def test_rescale_bears_a_prediction_without_deviation():
    flat = torch.zeros(1, 2, 3)
    assert torch.isfinite(guided(flat, flat, GuidanceConfig(scale=3.0, rescale=1.0), 0.5)).all()


@pytest.mark.parametrize(
    "config, changes",
    [
        (FlowConfig, {"sigma_sampling": "mode"}),
        (FlowConfig, {"prediction": "sample"}),
        (FlowConfig, {"schedule": "scaled_linear"}),
        (FlowConfig, {"shift": 0.0}),
        (FlowConfig, {"std": math.nan}),
        (FlowConfig, {"mean": math.inf}),
        (FlowConfig, {"uniform_floor": 1.1}),
        (FlowConfig, {"min_snr_gamma": 0.0}),
        (GuidanceConfig, {"scale": math.nan}),
        (GuidanceConfig, {"interval": (0.5, 0.4)}),
        (GuidanceConfig, {"interval": (-0.1, 0.4)}),
        (GuidanceConfig, {"rescale": 1.5}),
    ],
)
def test_configurations_refuse_nonsense(config, changes):
    with pytest.raises(UsageError):
        config(**changes)
