"""Diffusers schedulers whose table of noise levels is given and checked.

In: a sampler's name, the list of σ. Out: a scheduler with exactly that table. Schedulers of diffusers shift, stretch or
round the levels they are asked for, each in its own way (`FlowMatchEulerDiscreteScheduler` shifts twice when it makes
its own list, `FlowMatchHeunDiscreteScheduler` takes no list at all, `DDIMScheduler` steps by a rounded stride);
`set_sigmas` makes the table exactly the list, or refuses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers
import torch
from torch import Tensor

from cineloop.errors import UsageError
from t2v import diffusion
from t2v.flow import RECTIFIED_FLOW, FlowConfig

SAMPLERS = ("euler", "heun", "ddim")
NUM_TIMESTEPS = 1000
# At σ = 1 of the cosine schedule ε-prediction divides by √ᾱ = 5e-5: a small error there would outweigh all later steps.
# So the estimate of the clip is held within as many standard deviations of normalised latents.
EPSILON_CLIP = 8.0
_TABLE_TOLERANCE = 1e-5


def make_scheduler(sampler: str, config: FlowConfig = RECTIFIED_FLOW, *, shift: float | None = None) -> Any:
    """The diffusers scheduler of a sampler: `euler` or `heun` for rectified flow, `ddim` for the DDPM family.

    Args:
        sampler: one of `SAMPLERS`.
        config: what the network was trained on.
        shift: the shift of sampling that the scheduler's config carries, for whoever makes the list of σ (the pipeline
            reads it there); None for that of training. `ddim` has none.

    Raises:
        UsageError: an unknown sampler, or one that does not go with the prediction.
    """
    if sampler not in SAMPLERS:
        raise UsageError(f"sampler must be one of {', '.join(SAMPLERS)}, not {sampler!r}")
    if (sampler == "ddim") != (config.prediction != "flow"):
        raise UsageError(
            f"sampler {sampler!r} does not go with prediction {config.prediction!r}",
            hint="euler and heun sample flow, ddim samples epsilon and v_prediction",
        )
    own = config.shift if shift is None else shift
    if sampler == "euler":
        return diffusers.FlowMatchEulerDiscreteScheduler(num_train_timesteps=NUM_TIMESTEPS, shift=own)
    if sampler == "heun":
        return diffusers.FlowMatchHeunDiscreteScheduler(num_train_timesteps=NUM_TIMESTEPS, shift=own)
    return diffusers.DDIMScheduler(
        num_train_timesteps=diffusion.NUM_STEPS,
        beta_schedule={"cosine": "squaredcos_cap_v2", "linear": "linear"}[config.schedule],
        beta_start=diffusion.LINEAR_BETAS[0],
        beta_end=diffusion.LINEAR_BETAS[1],
        prediction_type=config.prediction,
        timestep_spacing="trailing",  # the one spacing that begins at pure noise (arXiv:2305.08891)
        clip_sample=config.prediction == "epsilon",
        clip_sample_range=EPSILON_CLIP,
    )


def set_sigmas(scheduler: Any, sigmas: Sequence[float], device: torch.device | str | None = None) -> None:
    """Make the scheduler's table of noise levels exactly `sigmas`, whatever shift the scheduler has of its own.

    Args:
        scheduler: of diffusers; flow matching, or `DDIMScheduler`.
        sigmas: strictly falling, in (0, 1]; the final 0 is the scheduler's to add.
        device: where its tensors of timesteps go.

    Raises:
        UsageError: a list that is not of that kind, or a scheduler that makes another table of it.
    """
    wanted = torch.tensor(list(sigmas), dtype=torch.float64)
    if not len(wanted) or not 0 < wanted[-1] <= wanted[0] <= 1 or (wanted.diff() >= 0).any():
        raise UsageError(f"sigmas must fall strictly within (0, 1], not {[round(s, 4) for s in sigmas]}")
    if isinstance(scheduler, diffusers.DDIMScheduler):
        _set_even_steps(scheduler, wanted, device)
    elif isinstance(scheduler, diffusers.FlowMatchHeunDiscreteScheduler):
        _set_heun_steps(scheduler, wanted, device)
    elif isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        if scheduler.config.use_dynamic_shifting:
            raise UsageError("a scheduler with dynamic shifting makes a table of its own", hint="set it to false")
        own = scheduler.shift
        scheduler.set_timesteps(sigmas=(wanted / (own - (own - 1) * wanted)).tolist(), device=device)
    else:
        raise UsageError(
            f"sampling knows the schedulers FlowMatchEulerDiscrete, FlowMatchHeunDiscrete and DDIM, not {scheduler}"
        )
    made = torch.tensor([sigma_at(scheduler, t) for t in scheduler.timesteps], dtype=torch.float64)
    called = wanted if scheduler.order == 1 else torch.cat((wanted[:1], wanted[1:].repeat_interleave(2)))
    if len(made) != len(called) or not torch.allclose(made, called, rtol=0, atol=_TABLE_TOLERANCE):
        raise UsageError(f"the scheduler made another table of the sigmas asked for: {scheduler}")
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)


def _set_even_steps(scheduler: Any, wanted: Tensor, device: torch.device | str | None) -> None:
    """DDIM finds the next level by a rounded stride, so only even steps of a divisor of 1000 are exact."""
    num, total = len(wanted), scheduler.config.num_train_timesteps
    even = torch.arange(num, 0, -1, dtype=torch.float64) / num
    if total % num or not torch.allclose(wanted, even, rtol=0, atol=_TABLE_TOLERANCE):
        fitting = [n for n in range(1, total + 1) if not total % n]
        near = sorted(fitting, key=lambda n: abs(n - num))[:3]
        raise UsageError(
            f"DDIM steps evenly from 1 down, by a divisor of {total} without shift; not in {num} steps from "
            f"{float(wanted[0]):.3f} to {float(wanted[-1]):.3f}",
            hint=f"take {', '.join(map(str, sorted(near)))} steps and shift 1",
        )
    if scheduler.config.timestep_spacing != "trailing":
        raise UsageError("DDIM must space its steps 'trailing'", hint="timestep_spacing in the scheduler's config")
    scheduler.set_timesteps(num, device=device)


def _set_heun_steps(scheduler: Any, wanted: Tensor, device: torch.device | str | None) -> None:
    """The table `set_timesteps` would lay out had it taken sigmas: every level but the first is visited twice."""
    scheduler.set_timesteps(len(wanted), device=device)  # clears what a former run left
    levels = wanted.to(torch.float32)
    twice = levels[1:].repeat_interleave(2)
    scheduler.timesteps = (torch.cat((levels[:1], twice)) * scheduler.config.num_train_timesteps).to(device)
    scheduler.sigmas = torch.cat((levels[:1], twice, levels.new_zeros(1))).to(device)  # (2n,)


def sigma_at(scheduler: Any, timestep: Tensor) -> float:
    """σ of one of the scheduler's timesteps; DDIM counts the noising steps from 0, σ from 1 / 1000."""
    first = 1 if isinstance(scheduler, diffusers.DDIMScheduler) else 0
    return (float(timestep) + first) / scheduler.config.num_train_timesteps
