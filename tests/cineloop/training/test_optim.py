"""Optimisers, schedule, weight averaging, layout of gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cineloop.errors import UsageError
from cineloop.training import optim
from cineloop.training.optim import WeightAverage, build_optimizers, lr_factor
from cineloop.training.rates import OptimConfig
from cineloop.training.runtime import align_gradients


def test_schedule_rises_then_falls_to_its_floor():
    config = OptimConfig(warmup_steps=4, min_lr_ratio=0.1)
    factors = [lr_factor(step, 20, config) for step in range(21)]
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert factors[20] == pytest.approx(0.1)


def test_muon_takes_hidden_matrices_only_and_every_group_its_rate():
    model = nn.ModuleDict({"embed": nn.Linear(32, 32), "mid": nn.Linear(32, 32), "head": nn.Linear(32, 20)})
    adamw, muon = build_optimizers(model, {"all": [model]}, OptimConfig(base_lr=0.5, optimizer="muon"))
    assert [weight is model["mid"].weight for group in muon.param_groups for weight in group["params"]] == [True]
    assert sum(len(group["params"]) for group in adamw.param_groups) == 5
    assert {group["peak_lr"] for group in (*adamw.param_groups, *muon.param_groups)} == {0.5}
    assert {weight.ndim for g in adamw.param_groups if g["weight_decay"] == 0 for weight in g["params"]} == {1}
    with pytest.raises(UsageError, match=r"'mid.weight' belongs to no part"):
        build_optimizers(nn.ModuleDict({"mid": model["mid"]}), {"head": [model["head"]]}, OptimConfig())


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (16, 8, 3, 3)])
@pytest.mark.parametrize("is_fast", [True, False])
def test_muon_steps_as_pytorchs_and_in_float32_where_bfloat16_is_slow(shape, is_fast, monkeypatch):
    monkeypatch.setattr(optim, "has_fast_bf16", lambda device: is_fast)
    torch.manual_seed(0)
    ours = nn.Parameter(torch.randn(shape))
    theirs = nn.Parameter(ours.detach().reshape(shape[0], -1).clone())
    group = {"params": [ours], "lr": 0.01, "weight_decay": 0.1}
    steppers = (
        optim.Muon([group], momentum=0.95),
        torch.optim.Muon([theirs], lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    )
    begun = theirs.detach().clone()
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.reshape(shape[0], -1).clone()
        for stepper in steppers:
            stepper.step()
    moved, expected = (weight.detach().reshape(shape[0], -1) - begun for weight in (ours, theirs))
    assert torch.equal(moved, expected) == is_fast
    assert (moved - expected).norm() < 0.02 * expected.norm()
    update = optim.orthogonal_factor(ours.grad.reshape(shape[0], -1), (3.4445, -4.775, 2.0315), 5, torch.float32)
    assert 0.5 < torch.linalg.svdvals(update).min() and torch.linalg.svdvals(update).max() < 1.3


def test_weight_average_follows_its_formula_and_gives_the_weights_back():
    model = nn.Linear(2, 1, bias=False)
    average = WeightAverage(model, 0.5)
    first = model.weight.detach().clone()
    with torch.no_grad():
        model.weight.add_(1.0)
    average.update(0)  # decay min(0.5, 1/10)
    torch.testing.assert_close(average.tensors["weight"], first * 0.1 + (first + 1) * 0.9)
    with average.swap_in():
        torch.testing.assert_close(model.weight.detach(), average.tensors["weight"])
    torch.testing.assert_close(model.weight.detach(), first + 1)


def test_gradients_of_a_depthwise_convolution_have_the_strides_of_its_weight():
    def strides(aligned: bool) -> tuple[int, ...]:
        conv = nn.Conv2d(16, 16, 3, groups=16)
        if aligned:
            align_gradients(conv)
        conv(torch.randn(2, 16, 6, 6).to(memory_format=torch.channels_last)).square().sum().backward()
        return conv.weight.grad.stride()

    assert strides(aligned=True) == (9, 9, 3, 1) != strides(aligned=False)
