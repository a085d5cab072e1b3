"""Objective draft: the gradient of a reward of the decoded clip, through one evaluation of the transformer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cineloop.errors import UsageError
from t2v import flow
from t2v.generate.run import run as generate
from t2v.generate.settings import GenerateConfig
from t2v.train.families import open_family
from t2v.train.objectives import draft
from t2v.train.reward import RewardTask
from t2v.train.rewarded import RewardedSource, read_rewarded

pytest_plugins = ["tiny_pipelines"]
BRIGHT = """
class Reward:
    def __init__(self, device):
        self.device = device

    def __call__(self, pixels, prompts):
        assert pixels.ndim == 5 and pixels.shape[-1] == 3 and len(prompts) == len(pixels)
        return {value}
"""


def bright(folder: Path, value: str = "pixels.square().flatten(1).mean(1)") -> str:
    path = folder / "bright.py"
    path.write_text(BRIGHT.format(value=value))
    return str(path)


def task_of(model: Path, reward: str) -> RewardTask:
    family, objective = open_family(str(model)), draft.Objective({"reward": reward})
    transformer = family.load_transformer(torch.float32).requires_grad_(True)
    return RewardTask(transformer, family, objective, flow.FlowConfig(), family.load_vae(torch.float32))


def batch_of(model: Path) -> dict:
    generator = torch.Generator().manual_seed(1)
    shape = open_family(str(model)).shape
    text = {"embeds": torch.randn(2, 3, shape["text_dim"], generator=generator), "mask": torch.ones(2, 3).bool()}
    if shape.get("pooled_dim"):
        text["pooled"] = torch.randn(2, shape["pooled_dim"], generator=generator)
    latents = torch.randn(2, 1, 4, 2, 4, 4, generator=generator)
    noise = torch.randn(2, 4, 2, 4, 4, generator=generator)
    return {"latents": latents, "noise": noise, "sigma": torch.tensor([0.3, 0.2]), "weight": torch.ones(2),
            "text": text, "prompts": ["a red ball rolls", "a box jumps"]}  # fmt: skip


def test_the_gradient_is_that_of_finite_differences(ours, tmp_path):
    task, given = task_of(ours, bright(tmp_path)), batch_of(ours)
    weights = list(task.transformer.parameters())
    loss = task.objective.loss(task, given)
    assert loss.shape == (2,)
    found = torch.autograd.grad(loss.sum(), weights, allow_unused=True, materialize_grads=True)
    norm = sum(float(each.square().sum()) for each in found) ** 0.5
    generator = torch.Generator().manual_seed(0)
    any_way = [torch.randn(weight.shape, generator=generator) for weight in weights]
    for ways, size, rel in (([each / norm for each in found], 0.02, 0.01), (any_way, 2e-3, 0.05)):
        slope = sum(float((each * way).detach().sum()) for each, way in zip(found, ways, strict=True))
        ends = []
        with torch.no_grad():
            for step in (size, -2 * size):
                for weight, way in zip(weights, ways, strict=True):
                    weight += step * way
                ends.append(float(task.objective.loss(task, given).double().sum()))
            for weight, way in zip(weights, ways, strict=True):
                weight += size * way
        assert abs(slope) > 1e-4 and (ends[0] - ends[1]) / (2 * size) == pytest.approx(slope, rel=rel)


def test_what_is_rewarded_is_the_clean_clip_that_the_last_step_predicts(ours, tmp_path):
    task, given = task_of(ours, bright(tmp_path)), batch_of(ours)
    clean = given["latents"][:, 0]
    task.now = lambda noisy, sigma, text: flow.velocity(clean, given["noise"])  # a transformer that knows the clip
    wanted = task.family.decode(task.vae, clean)  # (2, T, H, W, 3)
    assert wanted.shape == (2, 5, 32, 32, 3) and 0 <= float(wanted.min()) and float(wanted.max()) <= 1
    found = task.objective.loss(task, given)
    assert torch.allclose(found, -wanted.square().flatten(1).mean(1), atol=1e-5)


def test_the_transformer_is_asked_once_and_decoder_and_text_learn_nothing(ours, tmp_path):
    task, given = task_of(ours, bright(tmp_path)), batch_of(ours)
    asked = []
    task.transformer.register_forward_pre_hook(lambda module, args: asked.append(args[1]))
    task(given)["terms"]["reward"].backward()
    assert len(asked) == 1 and torch.allclose(asked[0].float(), 1000 * given["sigma"])
    assert all(weight.grad is None for weight in task.vae.parameters())
    assert any(weight.grad is not None and weight.grad.abs().max() > 0 for weight in task.transformer.parameters())


def test_the_prediction_of_wan_is_decoded_too(wan, tmp_path):
    task = task_of(wan, bright(tmp_path))
    given = batch_of(wan)
    given["text"] = task.family.collate([{"embeds": one} for one in given["text"]["embeds"]])
    task(given)["terms"]["reward"].backward()
    grads = [weight.grad for weight in task.transformer.parameters() if weight.grad is not None]
    assert grads and all(grad.isfinite().all() for grad in grads) and max(float(g.abs().max()) for g in grads) > 0


@pytest.mark.parametrize(
    "value, message",
    [("pixels.mean()", "one finite reward a clip"), ("pixels.flatten(1).mean(1).detach()", "without a gradient"),
     ("pixels.flatten(1).mean(1) * float('nan')", "finite")],
)  # fmt: skip
def test_rewards_that_cannot_teach_are_refused(ours, tmp_path, value, message):
    with pytest.raises(UsageError, match=message):
        task_of(ours, bright(tmp_path, value))(batch_of(ours))


def test_a_reward_is_a_file(tmp_path):
    with pytest.raises(UsageError, match="path of a Python file"):
        draft.Objective({"reward": "clipsim"})
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(UsageError, match="does not define 'Reward'"):
        draft.Objective({"reward": str(tmp_path / "empty.py")})


@pytest.mark.slow
def test_the_level_is_that_of_the_samplers_last_step(ours, tmp_path):
    config = GenerateConfig(model=str(ours), num_videos=2, num_frames=5, height=32, width=32, steps=4, guidance=1.0,
                            device="cpu", dtype="float32", options={"latents": True})  # fmt: skip
    assert generate(["a red ball rolls"], [], tmp_path / "drawn", config).made == 2
    rows = [json.loads(line) for line in (tmp_path / "drawn/manifest.jsonl").read_text().splitlines()]
    (tmp_path / "drawn/rewards.jsonl").write_text(
        "".join(json.dumps({"id": row["id"], "reward": n}) + "\n" for n, row in enumerate(rows))
    )
    data = read_rewarded(tmp_path / "drawn")
    objective = draft.Objective({"reward": bright(tmp_path)})
    family = open_family(str(ours))
    texts = {"a red ball rolls": {"embeds": torch.zeros(3, 16)}}
    source = RewardedSource(data, objective.examples(data.groups), texts, family.collate, 0, False, True)
    batch = source(0, 3)
    shift = json.loads((ours / "scheduler/scheduler_config.json").read_text())["shift"]
    assert torch.allclose(batch["sigma"], torch.tensor(flow.inference_sigmas(4, shift)[-1]).expand(3), atol=1e-4)
    assert batch["prompts"] == ["a red ball rolls"] * 3 and batch["latents"].shape == (3, 1, 4, 2, 4, 4)
