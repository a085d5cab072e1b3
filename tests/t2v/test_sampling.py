import math

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cineloop.errors import UsageError
from t2v import diffusion
from t2v.flow import FlowConfig, inference_sigmas
from t2v.sampling import EPSILON_CLIP, make_scheduler, set_sigmas, sigma_at

DDPM = [FlowConfig(prediction=p, schedule=s) for p in ("epsilon", "v_prediction") for s in diffusion.SCHEDULES]
MEAN, SPREAD = 0.7, 0.4


def _name(config):
    return f"{config.prediction}-{config.schedule}"


def _noise(seed=0, shape=(3, 2, 2, 3, 3), dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@torch.no_grad()
def sample(predict, noise, scheduler, sigmas, seen=None, **step_options):
    """Follow `predict(latents, σ)` from noise at `sigmas[0]` down to 0, as the pipeline does."""
    set_sigmas(scheduler, sigmas, noise.device)
    latents = noise
    for timestep in scheduler.timesteps:
        prediction = predict(latents, sigma_at(scheduler, timestep))
        latents = scheduler.step(prediction, timestep, latents, return_dict=False, **step_options)[0]
        if seen is not None:
            seen.append(float(latents.abs().max()))
    return latents


def _ddpm_scales(sigma, config):
    left = diffusion.alpha_bar(torch.tensor(sigma, dtype=torch.float64), config.schedule)
    return float(left.sqrt()), float((1 - left).sqrt())


def _gaussian_velocity(latents, sigma):
    """The true velocity where clips are N(m, s²): (x - (1 - σ) m) (σ - (1 - σ) s²) / ((1 - σ)² s² + σ²) - m."""
    variance = (1 - sigma) ** 2 * SPREAD**2 + sigma**2
    return (latents - (1 - sigma) * MEAN) * (sigma - (1 - sigma) * SPREAD**2) / variance - MEAN


def _gaussian_ddpm(config):
    """The true prediction of ε or v where clips are N(m, s²)."""

    def predict(latents, sigma):
        signal, spread = _ddpm_scales(sigma, config)
        variance = signal**2 * SPREAD**2 + spread**2
        clean = MEAN + signal * SPREAD**2 * (latents - signal * MEAN) / variance
        noise = (latents - signal * clean) / spread
        return noise if config.prediction == "epsilon" else signal * noise - spread * clean

    return predict


# --- where the sampler lands on a known field
@pytest.mark.parametrize("sampler", ["euler", "heun"])
@pytest.mark.parametrize("steps", [1, 2, 7, 24])
@pytest.mark.parametrize("shift", [1.0, 2.2])
def test_one_clip_is_reached_exactly_in_any_number_of_steps(sampler, steps, shift):
    """Towards a single clip c the velocity (x - c) / σ is constant along the path: every step is exact."""
    clip = _noise(1)
    found = sample(lambda x, s: (x - clip) / s, _noise(), make_scheduler(sampler), inference_sigmas(steps, shift))
    torch.testing.assert_close(found, clip, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler, order", [("euler", 1), ("heun", 2)])
def test_a_gaussian_is_reached_at_the_order_of_the_sampler(sampler, order):
    """Where clips are N(m, s²) the flow takes noise z to m + s z; doubling the steps divides the error by 2^order."""
    noise = _noise()
    errors = []
    for steps in (16, 32, 64):
        found = sample(_gaussian_velocity, noise, make_scheduler(sampler), inference_sigmas(steps))
        errors.append(float((found - (MEAN + SPREAD * noise)).abs().max()))
    assert errors[-1] < (0.05 if order == 1 else 1e-3)
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse / fine == pytest.approx(2**order, rel=0.2)


@pytest.mark.parametrize("config", DDPM, ids=_name)
def test_ddim_reaches_one_clip_exactly(config):
    clip = _noise(1)

    def predict(latents, sigma):
        signal, spread = _ddpm_scales(sigma, config)
        noise = (latents - signal * clip) / spread
        return noise if config.prediction == "epsilon" else signal * noise - spread * clip

    for steps in (1, 10, 25):
        if steps == 1 and config.prediction == "epsilon":
            continue  # the one step divides float32's rounding by √ᾱ of pure noise
        found = sample(predict, _noise(), make_scheduler("ddim", config), inference_sigmas(steps))
        torch.testing.assert_close(found, clip, rtol=0, atol=1e-4)


@pytest.mark.parametrize("config", DDPM, ids=_name)
def test_ddim_reaches_a_gaussian(config):
    noise = _noise()
    wanted = MEAN + SPREAD * noise
    errors = []
    for steps in (50, 100, 200):
        found = sample(_gaussian_ddpm(config), noise, make_scheduler("ddim", config), inference_sigmas(steps))
        errors.append(float((found - wanted).abs().max()))
    # The linear schedule ends with a trace of the clip in its noise, which pure noise lacks: √ᾱ m / s at most.
    assert errors[-1] < 0.05 and errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("schedule", diffusion.SCHEDULES)
def test_a_small_error_of_epsilon_does_not_end_everything(schedule):
    """At pure noise of the cosine schedule an error of ε is blown up 20,000 times; see `EPSILON_CLIP`."""
    config = FlowConfig(prediction="epsilon", schedule=schedule)
    clip = _noise(1)

    def predict(latents, sigma):
        signal, spread = _ddpm_scales(sigma, config)
        return (latents - signal * clip) / spread * 0.98 + 0.02

    seen: list[float] = []
    found = sample(predict, _noise(), make_scheduler("ddim", config), inference_sigmas(25), seen)
    assert max(seen) <= EPSILON_CLIP  # a network has never seen latents far beyond noise and clips
    assert float((found - clip).abs().mean()) < 1.0


def test_ddim_with_eta_spreads_as_the_data_does():
    """With η = 1 DDIM is DDPM: fresh noise in every step, and still clips of mean m and deviation s."""
    config = FlowConfig(prediction="v_prediction")
    noise, generator = _noise(shape=(1, 4000)), torch.Generator().manual_seed(1)
    found = sample(
        _gaussian_ddpm(config),
        noise,
        make_scheduler("ddim", config),
        inference_sigmas(100),
        eta=1.0,
        generator=generator,
    )
    assert float(found.mean()) == pytest.approx(MEAN, abs=0.03)
    assert float(found.std()) == pytest.approx(SPREAD, abs=0.03)
    plain = sample(_gaussian_ddpm(config), noise, make_scheduler("ddim", config), inference_sigmas(100))
    assert (found - plain).abs().mean() > 0.1


# --- the table of noise levels that is really used
@settings(max_examples=25)
@given(st.integers(1, 60), st.floats(0.3, 12), st.sampled_from([1.0, 2.2, 5.0]))
def test_the_table_is_the_list_whatever_the_schedulers_own_shift(steps, shift, own):
    wanted = torch.tensor(inference_sigmas(steps, shift))
    euler = diffusers.FlowMatchEulerDiscreteScheduler(shift=own)
    set_sigmas(euler, wanted.tolist())
    torch.testing.assert_close(euler.sigmas, torch.cat((wanted, torch.zeros(1))), rtol=0, atol=1e-5)
    torch.testing.assert_close(euler.timesteps, 1000 * wanted, rtol=0, atol=1e-2)
    heun = diffusers.FlowMatchHeunDiscreteScheduler(shift=own)
    set_sigmas(heun, wanted.tolist())
    assert len(heun.timesteps) == 2 * steps - 1 and len(heun.sigmas) == 2 * steps
    torch.testing.assert_close(heun.timesteps[::2], 1000 * wanted, rtol=0, atol=1e-2)


def test_the_schedulers_own_lists_are_the_trap_we_avoid():
    """Diffusers shifts twice where it makes its own list (its issue 13243); when this fails, the trap is gone."""
    own = diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0)
    own.set_timesteps(8)
    wanted = torch.tensor(inference_sigmas(8, 5.0))
    assert (own.sigmas[:-1] - wanted).abs().max() > 0.1
    set_sigmas(own, wanted.tolist())
    torch.testing.assert_close(own.sigmas[:-1], wanted)


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_the_network_is_asked_at_the_levels_of_the_list(sampler):
    wanted = inference_sigmas(6, 2.2)
    asked = []

    def predict(latents, sigma):
        asked.append(sigma)
        return torch.zeros_like(latents)

    sample(predict, _noise(), make_scheduler(sampler), wanted)
    expected = wanted if sampler == "euler" else [wanted[0], *(s for s in wanted[1:] for _ in range(2))]
    assert asked == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("config", DDPM, ids=_name)
def test_ddim_is_asked_at_the_levels_of_training(config):
    asked = []

    def predict(latents, sigma):
        asked.append(sigma)
        return torch.zeros_like(latents)

    scheduler = make_scheduler("ddim", config)
    sample(predict, _noise(), scheduler, inference_sigmas(20))
    assert asked == pytest.approx([1 - i / 20 for i in range(20)])
    for timestep in scheduler.timesteps:  # what the scheduler thinks is left is what training left
        ours = diffusion.alpha_bar(torch.tensor(sigma_at(scheduler, timestep)), config.schedule)
        torch.testing.assert_close(scheduler.alphas_cumprod[timestep], ours, rtol=1e-3, atol=1e-9)


def test_ddim_refuses_steps_it_would_round():
    scheduler = make_scheduler("ddim", DDPM[0])
    with pytest.raises(UsageError, match="take 10, 20, 25 steps and shift 1"):
        set_sigmas(scheduler, inference_sigmas(24))
    with pytest.raises(UsageError, match="evenly"):
        set_sigmas(scheduler, inference_sigmas(25, 2.0))
    with pytest.raises(UsageError, match="trailing"):
        set_sigmas(diffusers.DDIMScheduler(), inference_sigmas(25))


@pytest.mark.parametrize(
    "sigmas", [[], [0.5, 0.5], [0.2, 0.8], [1.0, 0.0], [1.2, 0.5], [math.nan, 0.5], [0.5, math.nan]]
)
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_lists_that_do_not_fall_are_refused(sampler, sigmas):
    with pytest.raises(UsageError, match="fall strictly"):
        set_sigmas(make_scheduler(sampler), sigmas)


@pytest.mark.parametrize(
    "options", [{"use_dynamic_shifting": True}, {"use_karras_sigmas": True}, {"shift_terminal": 0.1}]
)
def test_schedulers_that_change_the_list_are_refused(options):
    with pytest.raises(UsageError, match="table"):
        set_sigmas(diffusers.FlowMatchEulerDiscreteScheduler(**options), inference_sigmas(8, 2.0))


def test_unknown_schedulers_and_samplers_are_refused():
    with pytest.raises(UsageError, match="knows the schedulers"):
        set_sigmas(diffusers.DDPMScheduler(), inference_sigmas(10))
    with pytest.raises(UsageError, match="euler, heun, ddim"):
        make_scheduler("dpm")
    for sampler, config in (("ddim", FlowConfig()), ("euler", DDPM[0]), ("heun", DDPM[0])):
        with pytest.raises(UsageError, match="does not go with"):
            make_scheduler(sampler, config)


def test_the_schedulers_config_carries_the_shift_of_sampling():
    config = FlowConfig(shift=2.2)
    for sampler in ("euler", "heun"):
        assert make_scheduler(sampler, config).config.shift == 2.2
        assert make_scheduler(sampler, config, shift=3.0).config.shift == 3.0


# --- the loop
@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_second_run_on_the_same_scheduler_is_the_first(sampler):
    scheduler = make_scheduler(sampler)
    runs = [sample(_gaussian_velocity, _noise(), scheduler, inference_sigmas(5)) for _ in range(2)]
    assert torch.equal(*runs)
    with pytest.raises(ZeroDivisionError):  # a run that broke off in the middle of a step
        sample(lambda x, s: x * (1 / (s > 0.9)), _noise(), scheduler, inference_sigmas(5))
    assert torch.equal(runs[0], sample(_gaussian_velocity, _noise(), scheduler, inference_sigmas(5)))


@pytest.mark.parametrize("sampler", ["euler", "heun"])
def test_a_batch_is_its_clips(sampler):
    noise = _noise()
    batch = sample(_gaussian_velocity, noise, make_scheduler(sampler), inference_sigmas(6))
    for row in range(3):
        one = sample(_gaussian_velocity, noise[row : row + 1], make_scheduler(sampler), inference_sigmas(6))
        assert torch.equal(batch[row : row + 1], one)


def test_sampling_may_begin_below_pure_noise():
    clip = _noise(1)
    start = 0.4 * clip + 0.6 * _noise()
    found = sample(lambda x, s: (x - clip) / s, start, make_scheduler("euler"), [0.6, 0.3])
    torch.testing.assert_close(found, clip, rtol=0, atol=1e-5)


def test_schedulers_survive_saving(tmp_path):
    for sampler, config in (("euler", FlowConfig()), ("heun", FlowConfig()), ("ddim", DDPM[0])):
        scheduler = make_scheduler(sampler, config)
        scheduler.save_pretrained(tmp_path / sampler)
        loaded = type(scheduler).from_pretrained(tmp_path / sampler)
        predict = _gaussian_velocity if sampler != "ddim" else _gaussian_ddpm(config)
        runs = [sample(predict, _noise(), s, inference_sigmas(10)) for s in (scheduler, loaded)]
        assert torch.equal(*runs)
