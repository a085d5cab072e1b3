"""Plans of the generator's stages: true shapes, nothing allocated, attention without a matrix of scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cineloop.errors import MissingDependencyError
from cineloop.training.plan import LAUNCH_S, make_plan
from t2v import train

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
WAN_1_3B = {  # diffusers' configuration of Wan 2.1 T2V 1.3 B
    "_class_name": "WanTransformer3DModel", "patch_size": [1, 2, 2], "num_attention_heads": 12,
    "attention_head_dim": 128, "in_channels": 16, "out_channels": 16, "text_dim": 4096, "freq_dim": 256,
    "ffn_dim": 8960, "num_layers": 30, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "eps": 1e-6,
    "image_dim": None, "added_kv_proj_dim": None, "rope_max_seq_len": 1024, "pos_embed_seq_len": None,
}  # fmt: skip


@pytest.fixture
def wan(tmp_path) -> Path:
    for part, config in (("transformer", WAN_1_3B), ("vae", {"scale_factor_spatial": 8, "scale_factor_temporal": 4})):
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text(json.dumps(config))
    return tmp_path


def plan_of(path: Path, *sets: str):
    module, config = train.read_recipe(path, sets=sets)
    return make_plan(module, config)


@pytest.mark.long
@pytest.mark.slow
def test_an_adapter_of_wan(wan):
    sets = [f"model={wan}", "data=[clips]", "loop.batch_size=1", "loop.micro_batch=0", "rank=32", "dtype=bfloat16"]
    sets += ["buckets.sizes=[[480, 832]]", "buckets.lengths=[81]", "target=[to_q, to_k, to_v, to_out.0]"]
    sets += ["runtime.precision=bf16"]  # else what this CPU is good at decides how much a step keeps
    plan = plan_of(CONFIGS / "full/t2v-lora.yaml", *sets, "runtime.checkpointing=none")
    (part,) = plan.parts
    assert part.parameters - part.trained == pytest.approx(1.419e9, rel=0.01)
    assert part.trained == 30 * 8 * 32 * 2 * 1536
    assert plan.seconds_per_step["H100 80 GB"] > plan.floor_s > 0  # so large that launches do not count
    tokens = 21 * 30 * 52
    assert plan.tokens_per_step == tokens
    # Sheet 8.2: twice the weights a token passes and the attention's two products; the text's keys and values beside.
    dense = 30 * (6 * 1536**2 + 2 * 1536 * 8960) * tokens + 30 * 2 * 1536**2 * 512
    forward = 2 * dense + 30 * (4 * tokens**2 + 4 * tokens * 512) * 1536
    assert plan.flops_per_step == pytest.approx(2 * forward, rel=0.03)
    held = plan_of(CONFIGS / "full/t2v-lora.yaml", *sets, "runtime.checkpointing=full")
    scores = 2 * 12 * tokens**2
    assert held.memory["activations"] < plan.memory["activations"] < 30 * scores / 10
    assert held.memory["activations"] > 2 * tokens * 1536 * 30
    assert held.flops_per_step == pytest.approx(1.5 * plan.flops_per_step, rel=0.02)


@pytest.mark.long
@pytest.mark.slow
def test_the_starters_stages(tmp_path):
    plan = plan_of(CONFIGS / "t2v/vae.yaml")
    assert {part.part for part in plan.parts} == {"encoder", "decoder"} and plan.flops_per_step > 1e9
    sets = ["init=null", "vae=" + str(tmp_path)]
    with pytest.raises(MissingDependencyError, match="is not there .train the stage before"):
        plan_of(CONFIGS / "t2v/dit-images.yaml", *sets)
    (tmp_path / "config.json").write_text('{"latent_channels": 8}')
    plan = plan_of(CONFIGS / "t2v/dit-images.yaml", *sets, "num_frames=17", "loop.batch_size=1", "loop.micro_batch=0")
    assert plan.tokens_per_step == 80
    width, layers = 256, 6
    dense = 2 * layers * (6 * width**2 + 2 * width * 1024) * 80
    transformer = next(part for part in plan.parts if part.part == "transformer")
    assert transformer.flops == pytest.approx(3 * dense, rel=0.15)
    # One clip of 80 tokens: every device waits for its kernels, a thousand and more.
    assert set(plan.seconds_per_step.values()) == {plan.floor_s} and plan.floor_s > 1000 * LAUNCH_S


@pytest.mark.slow
def test_the_plan_is_printed(wan, capsys):
    (wan / "transformer/config.json").write_text(json.dumps(WAN_1_3B | {"num_layers": 1}))  # counts are not looked at
    recipe = CONFIGS / "full/t2v-lora.yaml"
    sets = [f"model={wan}", "data=[clips]"]
    assert train.run(recipe, sets=sets, plan=True) == 0
    assert "clips of 81×480×832 (the largest bucket), 32760 tokens" in capsys.readouterr().out
    assert train.run(Path("t2v/lora"), sets=["data=[clips]"], plan=True) == 0
    told = capsys.readouterr().out
    assert "on H100 80 GB (bound by launches and data): 0.0" in told and "0.00000" not in told
    assert train.run(recipe, sets=sets, plan=True, as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["stage"] == "lora"
