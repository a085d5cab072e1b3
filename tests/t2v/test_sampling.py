import math

import diffusers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cineloop.errors import UsageError
from t2v.flow import inference_sigmas
from t2v.sampling import set_sigmas, sigma_at

euler = diffusers.FlowMatchEulerDiscreteScheduler
MEAN, SPREAD = 0.7, 0.4


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


def _gaussian_velocity(latents, sigma):
    """The true velocity where clips are N(m, s²): (x - (1 - σ) m) (σ - (1 - σ) s²) / ((1 - σ)² s² + σ²) - m."""
    variance = (1 - sigma) ** 2 * SPREAD**2 + sigma**2
    return (latents - (1 - sigma) * MEAN) * (sigma - (1 - sigma) * SPREAD**2) / variance - MEAN


# --- where the sampler lands on a known field
@pytest.mark.parametrize("steps", [1, 2, 7, 24])
@pytest.mark.parametrize("shift", [1.0, 2.2])
def test_one_clip_is_reached_exactly_in_any_number_of_steps(steps, shift):
    """Towards a single clip c the velocity (x - c) / σ is constant along the path: every step is exact."""
    clip = _noise(1)
    found = sample(lambda x, s: (x - clip) / s, _noise(), euler(), inference_sigmas(steps, shift))
    torch.testing.assert_close(found, clip, rtol=0, atol=1e-5)


def test_a_gaussian_is_reached_at_first_order():
    """Where clips are N(m, s²) the flow takes noise z to m + s z; doubling the steps halves the error."""
    noise = _noise()
    errors = []
    for steps in (16, 32, 64):
        found = sample(_gaussian_velocity, noise, euler(), inference_sigmas(steps))
        errors.append(float((found - (MEAN + SPREAD * noise)).abs().max()))
    assert errors[-1] < 0.05
    for coarse, fine in zip(errors, errors[1:], strict=False):
        assert coarse / fine == pytest.approx(2, rel=0.2)


# --- the table of noise levels that is really used
@settings(max_examples=25)
@given(st.integers(1, 60), st.floats(0.3, 12), st.sampled_from([1.0, 2.2, 5.0]))
def test_the_table_is_the_list_whatever_the_schedulers_own_shift(steps, shift, own):
    wanted = torch.tensor(inference_sigmas(steps, shift))
    made = euler(shift=own)
    set_sigmas(made, wanted.tolist())
    torch.testing.assert_close(made.sigmas, torch.cat((wanted, torch.zeros(1))), rtol=0, atol=1e-5)
    torch.testing.assert_close(made.timesteps, 1000 * wanted, rtol=0, atol=1e-2)


def test_the_schedulers_own_lists_are_the_trap_we_avoid():
    """Diffusers shifts twice where it makes its own list (its issue 13243); when this fails, the trap is gone."""
    own = diffusers.FlowMatchEulerDiscreteScheduler(shift=5.0)
    own.set_timesteps(8)
    wanted = torch.tensor(inference_sigmas(8, 5.0))
    assert (own.sigmas[:-1] - wanted).abs().max() > 0.1
    set_sigmas(own, wanted.tolist())
    torch.testing.assert_close(own.sigmas[:-1], wanted)


def test_the_network_is_asked_at_the_levels_of_the_list():
    wanted = inference_sigmas(6, 2.2)
    asked = []

    def predict(latents, sigma):
        asked.append(sigma)
        return torch.zeros_like(latents)

    sample(predict, _noise(), euler(), wanted)
    assert asked == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    "sigmas", [[], [0.5, 0.5], [0.2, 0.8], [1.0, 0.0], [1.2, 0.5], [math.nan, 0.5], [0.5, math.nan]]
)
def test_lists_that_do_not_fall_are_refused(sigmas):
    with pytest.raises(UsageError, match="fall strictly"):
        set_sigmas(euler(), sigmas)


@pytest.mark.parametrize(
    "options", [{"use_dynamic_shifting": True}, {"use_karras_sigmas": True}, {"shift_terminal": 0.1}]
)
def test_schedulers_that_change_the_list_are_refused(options):
    with pytest.raises(UsageError, match="table"):
        set_sigmas(diffusers.FlowMatchEulerDiscreteScheduler(**options), inference_sigmas(8, 2.0))


def test_other_schedulers_are_refused():
    for scheduler in (diffusers.DDPMScheduler(), diffusers.FlowMatchHeunDiscreteScheduler()):
        with pytest.raises(UsageError, match="must be FlowMatchEuler"):
            set_sigmas(scheduler, inference_sigmas(10))


# --- the loop
def test_a_second_run_on_the_same_scheduler_is_the_first():
    scheduler = euler()
    runs = [sample(_gaussian_velocity, _noise(), scheduler, inference_sigmas(5)) for _ in range(2)]
    assert torch.equal(*runs)
    with pytest.raises(ZeroDivisionError):  # a run that broke off in the middle of a step
        sample(lambda x, s: x * (1 / (s > 0.9)), _noise(), scheduler, inference_sigmas(5))
    assert torch.equal(runs[0], sample(_gaussian_velocity, _noise(), scheduler, inference_sigmas(5)))


def test_a_batch_is_its_clips():
    noise = _noise()
    batch = sample(_gaussian_velocity, noise, euler(), inference_sigmas(6))
    for row in range(3):
        one = sample(_gaussian_velocity, noise[row : row + 1], euler(), inference_sigmas(6))
        assert torch.equal(batch[row : row + 1], one)


def test_sampling_may_begin_below_pure_noise():
    clip = _noise(1)
    start = 0.4 * clip + 0.6 * _noise()
    found = sample(lambda x, s: (x - clip) / s, start, euler(), [0.6, 0.3])
    torch.testing.assert_close(found, clip, rtol=0, atol=1e-5)


def test_the_scheduler_survives_saving(tmp_path):
    euler(shift=2.2).save_pretrained(tmp_path)
    loaded = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(tmp_path)
    runs = [sample(_gaussian_velocity, _noise(), each, inference_sigmas(10)) for each in (euler(shift=2.2), loaded)]
    assert loaded.config.shift == 2.2 and torch.equal(*runs)
