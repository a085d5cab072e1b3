"""Reward fine-tuning from end to end at tiny width: clips that a pipeline drew, rewards by hand, every objective."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from cineloop.errors import CineloopError, UsageError
from t2v import train
from t2v.generate.run import run as generate
from t2v.generate.settings import GenerateConfig
from t2v.train.rewarded import read_reward_clips, read_rewards

pytest_plugins = ["tiny_pipelines"]
pytestmark = pytest.mark.slow
PROMPTS = ("a red ball rolls", "a blue box jumps", "a ball jumps")


def draw(model: Path, out: Path, generator: str = "dit", **options) -> Path:
    more = {"options": {"latents": True} | options.pop("options", {})} | options
    config = GenerateConfig(generator=generator, model=str(model), num_videos=4, num_frames=5, height=32, width=32,
                            device="cpu", dtype="float32", **{"steps": 3} | more)  # fmt: skip
    assert generate(PROMPTS, [], out, config).exit_code == 0
    return out


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


def reward(folder: Path, *, where: Path | None = None, of=lambda place, row: row["seed"] % 3 / 2) -> Path:
    rows = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    path = where or folder / "rewards.jsonl"
    path.write_text("".join(json.dumps({"id": row["id"], "reward": of(n, row)}) + "\n" for n, row in enumerate(rows)))
    return path


@pytest.fixture(scope="module")
def drawn(ours, tmp_path_factory) -> Path:
    folder = draw(ours, tmp_path_factory.mktemp("drawn"), guidance=1.0, options={"stochastic": 0.7})
    reward(folder)
    return folder


def recipe(tmp_path: Path, model: Path, clips: Path, **more) -> Path:
    tree = {
        "stage": "reward", "out": str(tmp_path / "run"), "model": str(model), "clips": str(clips),
        "loop": {"steps": 6, "batch_size": 4, "workers": 0, "save_every": 3, "log_every": 1, "tensorboard": False,
                 "optim": {"base_lr": 0.002, "warmup_steps": 0}},
        "runtime": {"device": "cpu", "precision": "fp32"},
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(tree | more))
    return path


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(next((folder / "transformer").glob("*.safetensors")))


def test_what_is_kept_is_what_the_clip_was_decoded_from(ours, drawn):
    from t2v.pipeline import CineloopPipeline

    row = json.loads((drawn / "manifest.jsonl").read_text().splitlines()[0])
    kept = load_file(drawn / row["latents"])
    assert kept["latents"].shape == (4, 2, 4, 4) and kept["path"].shape == (4, 4, 2, 4, 4)
    assert torch.equal(kept["path"][-1], kept["latents"]) and kept["sigmas"].tolist()[0] == 1 and kept["level"] > 0.69
    pipe = CineloopPipeline.from_pretrained(ours)
    plain = pipe(row["prompt"], num_frames=5, height=32, width=32, num_inference_steps=3, guidance_scale=1.0,
                 generator=torch.Generator().manual_seed(row["seed"]), output_type="latent").frames[0]  # fmt: skip
    assert not torch.allclose(plain, kept["latents"])  # the sampler added noise
    assert torch.equal(pipe.prepare_latents(1, pipe._shape(5, 32, 32, None),
                       torch.Generator().manual_seed(row["seed"]), None)[0], kept["path"][0])  # fmt: skip


@pytest.mark.parametrize("objective", ["raft", "nft", "dpo", "grpo", "distil"])
def test_every_objective_changes_the_whole_transformer_and_nothing_else(ours, drawn, tmp_path, objective):
    settings = {"steps": 3} if objective == "distil" else {}  # as many as `drawn` was drawn in
    assert train.run(recipe(tmp_path, ours, drawn, objective=objective, settings=settings)) == 0
    final = tmp_path / "run/final"
    before, after = weights(ours), weights(final)
    assert before.keys() == after.keys() and any(not torch.equal(before[name], after[name]) for name in before)
    for path in (path for path in ours.rglob("*") if path.is_file() and path.parent.name != "transformer"):
        assert (final / path.relative_to(ours)).read_bytes() == path.read_bytes()
    again = draw(final, tmp_path / "again")  # the next round
    assert len(list((again / "clips").glob("*.safetensors"))) == 12


def test_a_run_that_is_resumed_ends_the_same_to_the_bit(ours, drawn, tmp_path):
    (tmp_path / "whole").mkdir()
    assert train.run(recipe(tmp_path / "whole", ours, drawn)) == 0
    half = recipe(tmp_path, ours, drawn)
    assert train.run(half, sets=["loop.steps=3", "loop.optim.schedule=constant"]) == 0
    (tmp_path / "whole2").mkdir()
    assert train.run(recipe(tmp_path / "whole2", ours, drawn), sets=["loop.optim.schedule=constant"]) == 0
    assert train.run(half, sets=["loop.optim.schedule=constant"], resume=True) == 0
    one, two = weights(tmp_path / "run/final"), weights(tmp_path / "whole2/run/final")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_student_is_distilled_without_rewards_and_draws_in_its_steps(ours, tmp_path):
    from t2v.pipeline import CineloopPipeline

    clips = draw(ours, tmp_path / "drawn", guidance=2.0, options={"path": True}, steps=4)
    kept = load_file(next((clips / "clips").glob("*.safetensors")))
    assert kept["path"].shape[0] == 5 and kept["level"] == 0 and torch.equal(kept["path"][-1], kept["latents"])
    plain = draw(ours, tmp_path / "plain", guidance=2.0, steps=4)  # keeping the path changes no clip
    latents = {row["id"]: load_file(plain / row["latents"])["latents"] for row in rows_of(plain)}
    for row in rows_of(clips):
        assert torch.equal(load_file(clips / row["latents"])["latents"], latents[row["id"]])

    assert train.run(recipe(tmp_path, ours, clips, objective="distil", settings={"steps": 2})) == 0
    student = CineloopPipeline.from_pretrained(tmp_path / "run/final")
    assert student.sampling_defaults == {"num_inference_steps": 2, "guidance_scale": 1.0}
    again = draw(tmp_path / "run/final", tmp_path / "again", steps=None)
    assert {(row["settings"]["steps"], row["settings"]["guidance"]) for row in rows_of(again)} == {(2, 1.0)}
    with pytest.raises(UsageError) as caught:  # 4 steps are no 3 segments
        train.run(recipe(tmp_path, ours, clips, objective="distil", settings={"steps": 3}), overwrite=True)
    assert caught.value.code == "REWARDS"


@pytest.mark.long
def test_rewards_by_hand_train_an_adapter_of_wan(wan, tmp_path):
    clips = draw(wan, tmp_path / "drawn", generator="diffusers")
    by_hand = reward(clips, where=tmp_path / "hand.jsonl", of=lambda place, row: [1, 0, None, 0.5][place % 4])
    path = recipe(tmp_path, wan, clips, rank=2, rewards=str(by_hand), objective="nft")
    assert train.run(path) == 0
    file = tmp_path / "run/final/pytorch_lora_weights.safetensors"
    assert any("lora_B" in name and float(value.abs().max()) > 0 for name, value in load_file(file).items())
    # The next round: drawn with the adapter, which goes on.
    more = draw(wan, tmp_path / "more", generator="diffusers", lora=(str(file),))
    reward(more)
    (tmp_path / "next").mkdir()
    assert train.run(recipe(tmp_path / "next", wan, more, rank=2, adapter=str(file))) == 0
    with pytest.raises(UsageError, match="adapter"):
        train.run(recipe(tmp_path / "next", wan, more, rank=2), overwrite=True)


def test_clips_of_another_generator_are_refused(ours, wan, drawn, tmp_path):
    import shutil

    other = shutil.copytree(ours, tmp_path / "other")
    file = next((other / "transformer").glob("*.safetensors"))
    save_file({name: value + 0.01 for name, value in load_file(file).items()}, file)
    with pytest.raises(UsageError, match="another generator"):
        train.run(recipe(tmp_path, other, drawn))


def test_grpo_needs_steps_and_no_guidance(ours, tmp_path):
    guided = draw(ours, tmp_path / "guided", guidance=2.0, options={"stochastic": 0.7})
    reward(guided)
    with pytest.raises(UsageError, match="without guidance"):
        train.run(recipe(tmp_path, ours, guided, objective="grpo"))
    plain = draw(ours, tmp_path / "plain", guidance=1.0)
    reward(plain)
    with pytest.raises(UsageError, match="no steps"):
        train.run(recipe(tmp_path, ours, plain, objective="grpo"), overwrite=True)


@pytest.mark.parametrize(
    "rows, message",
    [
        ("", "teaches nothing"),
        ('{"id": "ID", "reward": NaN}', "REWARDS"),
        ('{"id": "ID", "reward": "good"}', "finite number"),
        ('{"id": "ID", "reward": true}', "finite number"),
        ('{"id": "ID", "reward": 1}\n{"id": "ID", "reward": 0}', "once"),
        ('{"id": "nobody", "reward": 1}', "nobody"),
        ('{"id": "ID", "reward": 1}', "teaches nothing"),
        ('{"reward": 1}', "`id`"),
    ],
)
def test_rewards_that_cannot_teach_are_refused(drawn, tmp_path, rows, message):
    first = json.loads((drawn / "manifest.jsonl").read_text().splitlines()[0])["id"]
    path = tmp_path / "rewards.jsonl"
    path.write_text(rows.replace("ID", first) + "\n" * bool(rows))
    with pytest.raises(CineloopError) as caught:
        read_reward_clips(drawn, path)
    assert message in f"{caught.value.code} {caught.value.message}"


def test_equal_rewards_teach_nothing_and_are_counted(drawn, tmp_path):
    path = reward(drawn, where=tmp_path / "rewards.jsonl",
                  of=lambda place, row: 1.0 if row["prompt"] == PROMPTS[0] else row["seed"] / 4)  # fmt: skip
    found = read_reward_clips(drawn, path)
    assert len(found.groups) == 2 and found.counts == {"clips": 12, "unrewarded": 0, "alone": 0, "equal": 4}
    assert len(read_rewards(path)) == 12


def test_clips_without_latents_are_refused(ours, tmp_path):
    folder = draw(ours, tmp_path / "drawn")
    reward(folder)
    next((folder / "clips").glob("*.safetensors")).unlink()
    with pytest.raises(UsageError, match="no latents"):
        read_reward_clips(folder)
