"""Objectives of reward fine-tuning: their formulas, and a race on a toy of which everything is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from cineloop.errors import UsageError
from t2v import flow
from t2v.train.objectives import distil, dpo, grpo, nft, raft

SHAPE = (6, 1, 3, 2, 4, 4)  # n, k, c, t, h, w


class Linear(nn.Module):
    """A policy whose velocity is a x + b, and the same as it was."""

    def __init__(self, scale: float = 0.3, shift: float = 0.1) -> None:
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.tensor(scale)), nn.Parameter(torch.tensor(shift))
        self.then = (scale, shift)

    def now(self, noisy, sigma, text):
        return self.scale * noisy + self.shift

    def old(self, noisy, sigma, text):
        return self.then[0] * noisy + self.then[1]


def batch(weight: float | torch.Tensor, clips: int = 1) -> dict:
    generator = torch.Generator().manual_seed(3)
    shape = (SHAPE[0], clips, *SHAPE[2:])
    latents, noise = torch.randn(shape, generator=generator), torch.randn(shape[0], *shape[2:], generator=generator)
    sigma = torch.rand(shape[0], generator=generator) * 0.9 + 0.05
    weight = torch.as_tensor(weight).expand(shape[0]).float()
    return {"latents": latents, "noise": noise, "sigma": sigma, "weight": weight, "text": None}


def gradient(policy: Linear, loss: torch.Tensor) -> torch.Tensor:
    return torch.stack(torch.autograd.grad(loss.mean(), [policy.scale, policy.shift]))


def test_nft_of_good_clips_alone_is_the_flow_loss():
    policy, given = Linear(0.5, -0.2), batch(1.0)
    policy.then = (0.1, 0.4)  # of no influence at beta 1
    found = nft.Objective({"beta": 1.0}).loss(policy, given)
    clean, noise, sigma = given["latents"][:, 0], given["noise"], given["sigma"]
    guess = policy.now(flow.add_noise(clean, noise, sigma), sigma, None)
    error = (guess - flow.velocity(clean, noise)).square().flatten(1).mean(1)  # (n,)
    scale = (guess - flow.velocity(clean, noise)).abs().flatten(1).mean(1) * sigma  # of the clean clip's prediction
    assert torch.allclose(found, error * sigma**2 / scale, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("beta", [0.1, 1.0])
def test_nft_of_clips_neither_good_nor_bad_has_no_gradient(beta):
    policy = Linear()
    loss = nft.Objective({"beta": beta}).loss(policy, batch(0.5))
    assert gradient(policy, loss).abs().max() < 1e-6
    assert gradient(policy, nft.Objective({"beta": beta}).loss(policy, batch(0.9))).abs().max() > 1e-2


def test_nft_pushes_away_from_bad_clips_as_far_as_it_pulls_to_good_ones():
    policy = Linear()
    good, bad = (gradient(policy, nft.Objective({}).loss(policy, batch(share))) for share in (0.8, 0.2))
    assert torch.allclose(good, -bad, rtol=1e-4, atol=1e-7)


def test_dpo_begins_at_log_two_and_prefers_the_first_clip():
    policy, given = Linear(), batch(1.0, clips=2)
    objective = dpo.Objective({"beta": 2.0})
    loss = objective.loss(policy, given)
    assert torch.allclose(loss, torch.full_like(loss, math.log(2)))
    error = []
    for clean in given["latents"].unbind(1):
        guess = policy.now(flow.add_noise(clean, given["noise"], given["sigma"]), given["sigma"], None)
        error.append((guess - flow.velocity(clean, given["noise"])).square().flatten(1).mean(1))
    wanted = gradient(policy, (error[0] - error[1]) / 2)  # the gradient of -log sigmoid(-x) at 0 is 1/2
    assert torch.allclose(gradient(policy, loss), wanted, rtol=1e-4)


def step_batch(weight: torch.Tensor | float = 1.0) -> dict:
    given = batch(weight)
    sigma = torch.tensor([1.0, 0.9, 0.7, 0.5, 0.3, 0.1])
    before = flow.add_noise(given["latents"][:, 0], given["noise"], sigma)
    return {"before": before, "after": before * 0.9, "sigma": sigma, "sigma_next": sigma - 0.06,
            "level": torch.full((6,), 0.7), "weight": given["weight"], "text": None}  # fmt: skip


def test_the_ratio_of_grpo_is_one_before_the_first_update():
    advantage = torch.linspace(-2, 2, 6)
    policy, given = Linear(), step_batch(advantage)
    loss = grpo.Objective({}).loss(policy, given)
    assert torch.allclose(loss, -advantage, atol=1e-6)
    assert gradient(policy, loss).abs().max() > 0


def test_grpo_stops_where_the_ratio_leaves_its_range():
    policy, given = Linear(), step_batch(1.0)
    with torch.no_grad():
        policy.scale += 5.0
    ratio = -grpo.Objective({"clip": 0.99}).loss(policy, given)
    policy_loss = grpo.Objective({"clip": 1e-3}).loss(policy, {**given, "weight": torch.full((6,), 1.0)})
    assert (ratio < 0.9).all() and torch.allclose(-policy_loss, ratio)  # worse steps are not cut off for good clips
    bad = grpo.Objective({"clip": 1e-3}).loss(policy, {**given, "weight": torch.full((6,), -1.0)})
    assert (
        torch.allclose(bad, torch.full((6,), 1 - 1e-3), atol=1e-6)
        and not bad.requires_grad
        or (gradient(policy, bad).abs().max() == 0)
    )


def test_the_stochastic_sampler_keeps_gaussian_marginals():
    """Data N(2, .5²): the velocity is known exactly, so the noise that the sampler adds must come out again."""
    mean, deviation, num, steps = 2.0, 0.5, 40_000, 100
    generator = torch.Generator().manual_seed(0)
    x, level = torch.randn(num, 1, generator=generator), torch.full((num,), 0.7)
    levels = [1 - i / steps for i in range(steps)] + [0.0]
    for now, after in zip(levels[:-1], levels[1:], strict=True):
        variance = (1 - now) ** 2 * deviation**2 + now**2
        off = x - (1 - now) * mean
        velocity = now / variance * off - mean - (1 - now) * deviation**2 / variance * off
        ends = torch.full((num,), now), torch.full((num,), after)
        middle, spread = flow.stochastic_step(x, velocity, *ends, level)
        x = middle + spread * torch.randn(num, 1, generator=generator)
    assert abs(float(x.mean()) - mean) < 3 * deviation / math.sqrt(num)
    assert abs(float(x.std()) - deviation) < 3 * deviation / math.sqrt(2 * num)


def test_a_step_without_noise_is_that_of_the_flow():
    given = batch(1.0)
    x, v, sigma = given["noise"], given["latents"][:, 0], torch.tensor([1.0, 0.8, 0.6, 0.4, 0.2, 0.1])
    middle, spread = flow.stochastic_step(x, v, sigma, sigma / 2, torch.zeros(6))
    assert torch.allclose(middle, x - v * (sigma / 2).reshape(-1, 1, 1, 1, 1), atol=1e-6) and float(spread.max()) == 0


GROUPS = [[(0, 0.0), (1, 1.0), (2, 0.5)], [(3, 0.2), (5, 0.1)]]


def test_examples_of_each_objective():
    assert [each.clips for each in raft.Objective({"keep": 2}).examples(GROUPS)] == [(1,), (2,), (3,), (5,)]
    assert [each.clips for each in dpo.Objective().examples(GROUPS)] == [(1, 0), (3, 5)]
    shares = {each.clips[0]: each.weight for each in nft.Objective({"most": 5}).examples(GROUPS)}
    assert shares[2] == pytest.approx(0.5) and shares[0] + shares[1] == pytest.approx(1)
    assert abs(shares[3] - 0.5) < abs(shares[0] - 0.5)  # one deviation for all groups
    advantages = [each.weight for each in grpo.Objective().examples(GROUPS)]
    assert np.mean(advantages) == pytest.approx(0) and np.std(advantages) == pytest.approx(1)


@pytest.mark.parametrize(
    "kind, settings, message",
    [(raft, {"keep": 0}, "keep"), (nft, {"betta": 1}, "beta"),
     (dpo, {"beta": -1}, "beta"), (grpo, {"clip": "x"}, "clip")],
)  # fmt: skip
def test_wrong_settings_are_refused(kind, settings, message):
    with pytest.raises(UsageError, match=message):
        kind.Objective(settings)


# --- the race: eight prompts, each asking for one place on a circle; clips are points of the plane


class Toy(nn.Module):
    """A conditional flow over points (n, 2, 1, 1, 1)."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(2 + 1 + 8, 96), nn.SiLU(), nn.Linear(96, 96), nn.SiLU(), nn.Linear(96, 2))

    def forward(self, x: torch.Tensor, sigma: torch.Tensor, prompt: torch.Tensor) -> torch.Tensor:
        asked = torch.nn.functional.one_hot(prompt, 8).float()
        return self.net(torch.cat([x.flatten(1), sigma[:, None], asked], 1)).reshape(x.shape)


class Race:
    PLACES = 2 * torch.tensor([[math.cos(a), math.sin(a)] for a in torch.arange(8) * math.pi / 4])
    SPREAD = 0.35

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model, self.before = Toy(), Toy()
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=2e-3)
        for _ in range(3000):  # taught a world in which four prompts of ten are obeyed
            prompt = torch.randint(8, (256,))
            told = torch.where(torch.rand(256) < 0.4, prompt, torch.randint(8, (256,)))
            clean = (self.PLACES[told] + self.SPREAD * torch.randn(256, 2)).reshape(-1, 2, 1, 1, 1)
            noise, sigma = torch.randn_like(clean), torch.rand(256)
            guess = self.model(flow.add_noise(clean, noise, sigma), sigma, prompt)
            loss = (guess - flow.velocity(clean, noise)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def now(self, noisy, sigma, text):
        return self.model(noisy, sigma, text)

    @torch.no_grad()
    def old(self, noisy, sigma, text):
        return self.before(noisy, sigma, text)

    @torch.no_grad()
    def draw(self, prompt: torch.Tensor, steps: int = 32) -> torch.Tensor:
        x = torch.randn(len(prompt), 2, 1, 1, 1)
        for i in range(steps):
            x = x - self.model(x, torch.full((len(prompt),), 1 - i / steps), prompt) / steps
        return x

    def measure(self) -> tuple[float, float]:
        """Share of points nearest to the place asked for, and their deviation around it."""
        prompt = torch.arange(8).repeat_interleave(250)
        points = self.draw(prompt)[:, :, 0, 0, 0]
        right = torch.cdist(points, self.PLACES).argmin(1) == prompt
        off = (points - self.PLACES[prompt])[right]
        return float(right.float().mean()), float(off.std(0).mean())

    def learn(self, objective, rounds: int, *, random: bool = False) -> None:
        optimizer = torch.optim.AdamW(self.model.parameters(), lr=5e-4)
        for _ in range(rounds):
            prompt = torch.randint(8, (32,)).repeat_interleave(8)
            points = self.draw(prompt)
            obeys = torch.cdist(points[:, :, 0, 0, 0], self.PLACES).argmin(1) == prompt
            reward = torch.rand(len(prompt)) if random else obeys.float()
            groups = [[(n, float(reward[n])) for n in range(g, g + 8)] for g in range(0, len(prompt), 8)]
            groups = [group for group in groups if len({r for _, r in group}) > 1]
            if not groups:
                return
            examples = objective.examples(groups)
            self.before.load_state_dict(self.model.state_dict())
            for _ in range(8):
                chosen = [examples[n] for n in torch.randperm(len(examples)).tolist()]
                places = torch.tensor([each.clips for each in chosen])
                given = {
                    "latents": points[places],
                    "noise": torch.randn(len(chosen), *points.shape[1:]),
                    "sigma": torch.rand(len(chosen)),
                    "weight": torch.tensor([each.weight for each in chosen]),
                    "text": prompt[places[:, 0]],
                }
                loss = objective.loss(self, given).mean()
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
                optimizer.step()


@pytest.fixture(scope="module")
def taught():
    race = Race()
    return race, {name: value.clone() for name, value in race.model.state_dict().items()}


@pytest.mark.long
@pytest.mark.slow
def test_the_toy_learns_to_obey(taught):
    race, weights = taught
    race.model.load_state_dict(weights)
    torch.manual_seed(1)
    begun, _ = race.measure()
    race.learn(nft.Objective(), rounds=40)
    obeyed, spread = race.measure()
    assert begun < 0.5 and obeyed >= 0.9
    assert abs(spread - Race.SPREAD) < 0.1  # others widen, or shrink with a reward for nearness


@pytest.mark.slow
@pytest.mark.parametrize("kind", [nft, raft])
def test_random_rewards_teach_nothing(taught, kind):
    race, weights = taught
    race.model.load_state_dict(weights)
    torch.manual_seed(2)
    begun, _ = race.measure()
    race.learn(kind.Objective(), rounds=24, random=True)
    assert abs(race.measure()[0] - begun) <= 0.05


def test_distillation_learns_the_straight_line_through_a_segment():
    generator = torch.Generator().manual_seed(5)
    before, slope = (torch.randn(6, 3, 2, 4, 4, generator=generator) for _ in range(2))
    sigma = torch.linspace(1, 0.5, 6)
    side = (sigma / 2).reshape(-1, 1, 1, 1, 1)
    given = {"before": before, "after": before - slope * side, "sigma": sigma, "sigma_next": sigma / 2, "text": None}

    class Exact:
        def now(self, noisy, sigma, text):
            return slope + 0.5

    loss = distil.Objective().loss(Exact(), given)
    assert loss.shape == (6,) and torch.allclose(loss, torch.full((6,), 0.25), atol=1e-4)


def test_the_path_of_a_clip_is_cut_into_the_steps_of_the_student():
    student = distil.Objective({"steps": 4})
    assert student.segments(16) == [(0, 4), (4, 8), (8, 12), (12, 16)] and student.segments(4)[-1] == (3, 4)
    with pytest.raises(UsageError) as caught:
        student.segments(10)
    assert caught.value.code == "REWARDS"
    assert student.sampling() == {"sample_steps": 4, "sample_guidance": 1.0}


@pytest.mark.parametrize(
    "settings, clips", [({}, [0, 1, 2, 3]), ({"keep": 1}, [1, 3]), ({"least": 0.5}, [1, 3]), ({"least": 0.9}, [1])]
)
def test_rewards_choose_the_clips_that_are_distilled(settings, clips):
    groups = [[(0, 0.1), (1, 1.0)], [(2, 0.2), (3, 0.5)]]
    assert sorted(example.clips[0] for example in distil.Objective(settings).examples(groups)) == clips


@pytest.mark.parametrize("settings", [{"steps": 0}, {"keep": -1}, {"most": 1}])
def test_invalid_settings_of_distillation_are_refused(settings):
    with pytest.raises((ValueError, UsageError)):
        distil.Objective(settings)
