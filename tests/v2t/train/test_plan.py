"""The plan counts without allocating; its FLOPs are those of the formula."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from cineloop.errors import MissingDependencyError
from cineloop.training.plan import make_plan
from tiny_captioner import save_tiny_parts
from v2t import STARTER, train

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def plan_of(path: Path, *sets: str):
    module, config = train.read_recipe(path, sets=sets)
    return make_plan(module, config)


def test_tower_flops_follow_the_formula(tmp_path):
    shape = ", ".join(
        ["hidden_size: 64", "intermediate_size: 256", "num_hidden_layers: 2", "num_attention_heads: 2",
         "image_size: 64", "patch_size: 8"]
    )  # fmt: skip
    plan = plan_of(CONFIGS / "starter/tower.yaml", f"vision={{{shape}}}", "loop.batch_size=10", "loop.micro_batch=0")
    (part,) = plan.parts
    tokens, width = 64, 64
    linear = 2 * (4 * width * width + 2 * width * 256) * tokens + 4 * tokens * tokens * width
    forward = 2 * linear + 2 * tokens * (3 * 8 * 8) * width
    assert part.flops == pytest.approx(10 * 3 * forward, rel=0.02)
    assert part.tokens == plan.tokens_per_step == 640
    assert part.trained == part.parameters and plan.memory["optimiser"] == 8 * part.parameters


@pytest.mark.slow
def test_a_model_too_large_for_the_machine_is_planned(tmp_path):
    """A hundred billion parameters: nothing may be allocated."""
    shape = ", ".join(
        ["model_type: qwen3", "hidden_size: 12288", "intermediate_size: 49152", "num_hidden_layers: 40",
         "num_attention_heads: 96", "num_key_value_heads: 96", "head_dim: 128"]
    )  # fmt: skip
    plan = plan_of(CONFIGS / "starter/language.yaml", f"llm={{{shape}}}", "loop.batch_size=1", "loop.micro_batch=0")
    assert sum(part.parameters for part in plan.parts) > 9e10
    assert plan.memory["weights"] > 3.5e11
    assert torch.zeros(1).device.type == "cpu"  # the meta device was for the plan alone


@pytest.mark.slow
def test_a_checkpoint_saved_in_bfloat16_is_planned(tmp_path):
    """As the starter is: every training counts its step by this plan."""
    recipe = tmp_path / "lora.yaml"
    recipe.write_text(
        f"stage: instruct\nout: {tmp_path / 'out'}\nlora: {{r: 4}}\n"
        "loop: {steps: 1, batch_size: 1, optim: {base_lr: 1e-3, lr: {language_model: 1e-3}}}\n"
    )
    assert sum(part.flops for part in plan_of(recipe, f"model={STARTER}").parts) > 0


def test_a_recipe_whose_parts_are_not_there_yet_says_so(tmp_path):
    with pytest.raises(
        MissingDependencyError, match="cannot load nowhere/tower and nowhere/llm.*train the stage before"
    ):
        plan_of(CONFIGS / "starter/align-heads.yaml", "vision=nowhere/tower", "llm=nowhere/llm")


@pytest.mark.slow
def test_full_size_recipe_is_planned_with_its_adapters(tmp_path, capsys):
    tower, llm = save_tiny_parts(tmp_path)
    sets = [f"vision={tower}", f"llm={llm}"]
    plan = plan_of(CONFIGS / "full/instruct.yaml", *sets)
    parts = {part.part: part for part in plan.parts}
    assert list(parts) == ["vision_tower", "resampler", "projector", "language_model"]
    assert parts["vision_tower"].trained == 0 and parts["resampler"].trained == parts["resampler"].parameters
    assert 0 < parts["language_model"].trained < parts["language_model"].parameters
    assert set(plan.seconds_per_step) >= {"2 CPU cores", "H100 80 GB"}
    train.run(CONFIGS / "full/instruct.yaml", sets=sets, plan=True, as_json=True)
    assert json.loads(capsys.readouterr().out)["stage"] == "instruct"
    train.run(CONFIGS / "full/instruct.yaml", sets=sets, plan=True)
    out = capsys.readouterr().out
    assert "frozen" in out and "GFLOP a step" in out and "on H100 80 GB" in out
    assert not (tmp_path / "runs").exists()
