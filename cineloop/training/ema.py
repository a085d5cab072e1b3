"""Averages of weights whose length is chosen after the run (post-hoc EMA).

In: a model while it trains. Out: two or more running averages ("tracks") whose snapshots lie in the run folder, and
from these the average of any other length at any step, without training again. A track with relative width σ_rel
weighs the weights of step t as a power of t, t^γ, so its width is a share of the run so far, not a number of steps.
Follows Karras et al. 2024, arXiv:2312.02696 (EDM2), section 3 and appendix C.
Letters: t step counted from 1, γ exponent of a profile, p(t) profile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.training import checkpoint

Tensors = dict[str, torch.Tensor]
WIDEST = 12**-0.5  # σ_rel of γ = 0, the plain mean of all steps


def exponent(sigma_rel: float) -> float:
    """γ of the profile whose standard deviation is `sigma_rel` of its length (equation 127 of the paper).

    Raises:
        ValueError: `sigma_rel` is not in (0, 0.288].
    """
    if not 0 < sigma_rel <= WIDEST:
        raise ValueError(f"relative widths must be in (0, {WIDEST:.3f}], got {sigma_rel}")
    square = sigma_rel**-2
    return float(np.roots([1, 7, 16 - square, 12 - square]).real.max())


class PowerTracks:
    """Running averages of a model's trainable weights, in fp32 beside them.

    Args:
        model: whose weights.
        sigma_rels: relative width of each track; two that lie apart (0.05, 0.10) span the widths around them.
    """

    def __init__(self, model: nn.Module, sigma_rels: Sequence[float]) -> None:
        self.model, self.exponents = model, [exponent(width) for width in sigma_rels]
        weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self.tensors = {
            f"{track}|{name}": weight.detach().float().clone()
            for track in range(len(self.exponents))
            for name, weight in weights.items()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the weights after 0-based `step`; the first step sets them."""
        for track, power in enumerate(self.exponents):
            share = 1 - (1 - 1 / (step + 1)) ** (power + 1)
            for name, weight in self.model.named_parameters():
                if weight.requires_grad:
                    self.tensors[f"{track}|{name}"].lerp_(weight.detach().float(), share)

    def snapshot(self, run: Path, step: int, *, main: bool = True) -> None:
        """Keep the averages after `step` steps in half precision. Every process must call it, `main` writes."""
        groups: dict[str, Tensors] = {}
        for full, tensor in checkpoint.gather(self.tensors).items():
            track, _, name = full.partition("|")
            groups.setdefault(f"track{track}", {})[name] = tensor.half()
        folder = _folder(run, step)
        if main and not folder.exists():
            checkpoint.write(folder, groups, {"step": step, "exponents": self.exponents})


def snapshots(run: Path) -> list[int]:
    """Steps with a snapshot, ascending."""
    return sorted(int(path.parent.name.rpartition("-")[2]) for path in (run / "ema").glob("step-*/state.json"))


def forget_after(run: Path, step: int) -> None:
    """Delete snapshots beyond `step`: a run resumed there makes them anew."""
    import shutil

    for later in snapshots(run):
        if later > step:
            shutil.rmtree(_folder(run, later))


def reconstruct(run: Path, sigma_rel: float, step: int | None = None) -> Tensors:
    """The average of relative width `sigma_rel` after `step` steps: the trainable weights, fp32.

    The snapshots' profiles are added up so that their sum is nearest to the asked one (least squares over time).

    Args:
        run: the run folder.
        sigma_rel: in (0, 0.288]; best between the tracks' own widths and not much beyond.
        step: that of a snapshot; the last one's when None.

    Raises:
        UsageError: there is no snapshot, or none of `step`: what came after the last one before it is not known.
    """
    there = snapshots(run)
    if not there or (step is not None and step not in there):
        steps = f" of steps {', '.join(map(str, there))}" if there else ""
        raise UsageError(
            f"{run} holds {len(there)} snapshots of averages{steps}" + (f", none of {step}" if step else ""),
            hint="train with optim.tracks: [0.05, 0.10]",
        )
    wanted = there[-1] if step is None else step
    used = [each for each in there if each <= wanted]
    states = [checkpoint.read(_folder(run, each)) for each in used]
    places = [(each, power) for each, (_, state) in zip(used, states, strict=True) for power in state["exponents"]]
    shares = weights_of(places, (wanted, exponent(sigma_rel)))
    total: Tensors = {}
    flat = [groups[f"track{track}"] for groups, state in states for track in range(len(state["exponents"]))]
    for share, tensors in zip(shares, flat, strict=True):
        for name, tensor in tensors.items():
            total[name] = total.get(name, torch.zeros((), dtype=torch.float64)) + share * tensor.double()
    return {name: tensor.float() for name, tensor in total.items()}


def weights_of(snapshots: Sequence[tuple[int, float]], wanted: tuple[int, float]) -> list[float]:
    """What each snapshot (step, γ) counts in the average nearest to `wanted` (step, γ)."""
    gram = np.array([[_overlap(one, other) for other in snapshots] for one in snapshots])
    shares = np.linalg.solve(gram, np.array([_overlap(one, wanted) for one in snapshots]))
    return [float(share) for share in shares]


def choose(
    run: Path, sigma_rels: Sequence[float], score: Callable[[Tensors], float], step: int | None = None
) -> tuple[float, dict[float, float]]:
    """The relative width whose average scores best, and every width's score.

    Args:
        run: the run folder.
        sigma_rels: widths to try.
        score: of the averaged weights; higher is better. On data that is not the test's.
        step: see `reconstruct`.
    """
    scores = {width: score(reconstruct(run, width, step)) for width in sigma_rels}
    return max(scores, key=lambda width: scores[width]), scores


def load(model: nn.Module, tensors: Tensors) -> None:
    """Put averaged weights into the model they were taken from.

    Raises:
        CineloopError: names or shapes differ.
    """
    own: dict[str, Any] = checkpoint.model_tensors(model)
    checkpoint.load_model_tensors(model, {**own, **tensors})


def _overlap(one: tuple[int, float], other: tuple[int, float]) -> float:
    """∫ p_one p_other: both profiles are (γ + 1) t^γ / T^(γ + 1) up to their own step T."""
    (t_one, power_one), (t_other, power_other) = one, other
    ratio: float = (t_one / t_other) ** (power_other if t_one < t_other else -power_one)
    return (power_one + 1) * (power_other + 1) * ratio / ((power_one + power_other + 1) * max(t_one, t_other))


def _folder(run: Path, step: int) -> Path:
    return run / "ema" / f"step-{step:08d}"
