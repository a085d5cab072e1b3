"""The scheduler of sampling, its table of noise levels given and checked.

In: a list of σ. Out: diffusers' `FlowMatchEulerDiscreteScheduler` with exactly that table. The scheduler shifts the
levels it is given, and twice where it makes its own list; `set_sigmas` makes the table exactly the list, or refuses.
`PathScheduler` takes its place where the steps are to be kept, or noise is wanted in every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffusers
import torch
from torch import Tensor

from cineloop.errors import UsageError
from t2v import flow

_TABLE_TOLERANCE = 1e-5


def set_sigmas(scheduler: Any, sigmas: Sequence[float], device: torch.device | str | None = None) -> None:
    """Make the scheduler's table of noise levels exactly `sigmas`, whatever shift the scheduler has of its own.

    Args:
        scheduler: diffusers' `FlowMatchEulerDiscreteScheduler`.
        sigmas: strictly falling, in (0, 1]; the scheduler adds the final 0.
        device: of its tensor of timesteps.

    Raises:
        UsageError: an invalid list, another scheduler, or one that makes another table of it.
    """
    wanted = torch.tensor(list(sigmas), dtype=torch.float64)
    if not len(wanted) or not 0 < wanted[-1] <= wanted[0] <= 1 or (wanted.diff() >= 0).any():
        raise UsageError(f"sigmas must fall strictly within (0, 1], not {[round(s, 4) for s in sigmas]}")
    if not isinstance(scheduler, diffusers.FlowMatchEulerDiscreteScheduler):
        raise UsageError(f"the scheduler must be FlowMatchEulerDiscreteScheduler, got {type(scheduler).__name__}")
    if scheduler.config.use_dynamic_shifting:
        raise UsageError("a scheduler with dynamic shifting makes a table of its own", hint="set it to false")
    own = scheduler.shift
    scheduler.set_timesteps(sigmas=(wanted / (own - (own - 1) * wanted)).tolist(), device=device)
    made = torch.tensor([sigma_at(scheduler, t) for t in scheduler.timesteps], dtype=torch.float64)
    if len(made) != len(wanted) or not torch.allclose(made, wanted, rtol=0, atol=_TABLE_TOLERANCE):
        raise UsageError(f"the scheduler made another table of the sigmas given: {scheduler}")
    scheduler.set_begin_index(0)


def sigma_at(scheduler: Any, timestep: Tensor) -> float:
    """σ of one of the scheduler's timesteps."""
    return float(timestep) / scheduler.config.num_train_timesteps


class PathScheduler(diffusers.FlowMatchEulerDiscreteScheduler):
    """Keeps the latents of every step; adds noise in every step but the last one, keeping the marginals (see
    `t2v.flow.stochastic_step`).

    Attributes:
        level: how much noise, a ≥ 0; 0 leaves the steps as they are.
        generators: one for each clip of the batch, on the CPU; the noise of a clip is the same in any batch.
        path: latents (B, c, t, h, w) before the first step and after each, on the CPU.
    """

    level = 0.0
    generators: Sequence[torch.Generator] = ()
    path: list[Tensor]

    def begin(self, seeds: Sequence[int]) -> None:
        """Forget what was; seed the noise of the next batch's clips."""
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self.path = []

    def step(self, model_output: Tensor, timestep: Any, sample: Tensor, *args: Any, **options: Any) -> Any:
        """As of the base class."""
        if not self.path:
            self.path.append(sample.detach().float().cpu())
        made = super().step(model_output, timestep, sample, *args, **options)
        after = made[0] if isinstance(made, tuple) else made.prev_sample
        place = self.step_index - 1
        sigma, sigma_next = (self.sigmas[i].expand(len(sample)) for i in (place, place + 1))
        if self.level and float(sigma_next[0]) > 0:
            level = torch.full((len(sample),), self.level)
            mean, deviation = flow.stochastic_step(sample.float(), model_output.float(), sigma, sigma_next, level)
            noise = torch.stack([torch.randn(sample.shape[1:], generator=each) for each in self.generators])
            after = (mean + deviation * noise.to(mean.device)).to(after.dtype)
        self.path.append(after.detach().float().cpu())
        if isinstance(made, tuple):
            return (after, *made[1:])
        made.prev_sample = after
        return made
