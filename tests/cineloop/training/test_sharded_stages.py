"""The captioner and the generator's transformer with sharded weights (FSDP2, two processes on gloo) train as with whole
ones (DDP), blocks checkpointed or not; what they export loads, and one process goes on from their checkpoint."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cineloop.training import checkpoint
from started_python import TRAINING, Starter
from started_ranks import SHARDED, modules_folder, run_ranks
from tiny_captioner import tiny_captioner

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SCRIPT = textwrap.dedent("""
    import sys
    from importlib import import_module
    from pathlib import Path
    package, recipe, out, *sets = sys.argv[1:]
    resume = "resume" in sets
    sets = [each for each in sets if each != "resume"]
    sys.exit(import_module(package).run(Path(recipe), sets=sets, out=Path(out), resume=resume))
""")
LOOP = {"steps": 4, "batch_size": 4, "micro_batch": 1, "save_every": 2, "log_every": 1, "workers": 0,
        "tensorboard": False, "optim": {"warmup_steps": 0, "ema": 0.9}}  # fmt: skip
RUNTIME = {"device": "cpu", "precision": "fp32", "threads": 1}


@pytest.fixture(scope="module")
def launch():
    modules = [*TRAINING, "torch.distributed.fsdp", "v2t.train.instruct", "v2t.model.weights", "t2v.train.dit",
               "t2v.pipeline", "transformers.models.qwen3.modeling_qwen3"]  # fmt: skip
    modules += ["transformers.models.siglip.modeling_siglip", "peft"]
    with Starter(modules, modules_folder()) as starter:

        def start(recipe: Path, out: Path, *sets: str, env=None, processes: int = 2) -> Path:
            package = "t2v.train" if recipe.stem == "dit" else "v2t.train"
            arguments = [package, str(recipe), str(out), *sets]
            assert run_ranks(starter, processes, SCRIPT, arguments, env) == [0] * processes
            return out

        yield start


@pytest.fixture(scope="module")
def captioner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    model, processor = tiny_captioner()
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    # Clips with one, two or three conversations: processes hold unequal numbers of rows.
    clips = {"num_frames": 4, "size": 32, "texts": ["short", "questions", "film"], "film_share": 0.5}
    rates = {"vision_tower": 0.0, "language_model": 1e-3}
    recipe = {"stage": "instruct", "model": str(folder / "model"), "clips": clips, "save_dtype": "float32",
              "eval_clips": 4, "runtime": RUNTIME, "loop": LOOP | {"optim": LOOP["optim"] | {"lr": rates}}}  # fmt: skip
    (folder / "instruct.yaml").write_text(yaml.safe_dump({**recipe, "out": "unused"}))
    return folder / "instruct.yaml"


@pytest.fixture(scope="module")
def dit(tmp_path_factory):
    from t2v.model.vae import AutoencoderKLCineloop

    folder = tmp_path_factory.mktemp("dit")
    with torch.random.fork_rng(devices=[]):
        AutoencoderKLCineloop(latent_channels=4, widths=[8, 16, 16], depth=1).save_pretrained(folder / "vae")
    recipe = {
        "stage": "dit", "vae": str(folder / "vae"), "size": [32, 32], "num_frames": 5, "eval_prompts": 0,
        "transformer": {"num_attention_heads": 2, "attention_head_dim": 12, "ffn_dim": 32, "num_layers": 3},
        "text": {"hidden_size": 16, "num_heads": 2, "num_layers": 1}, "state_weight": 0.2, "facts_weight": 0.1,
        "eval_clips": 16, "runtime": RUNTIME, "loop": LOOP, "out": "unused",
    }  # fmt: skip
    (folder / "dit.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "dit.yaml"


def figures(run: Path) -> list[float]:
    rows = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [row[key] for row in rows if "loss" in row for key in ("loss", "grad_norm")]


def same(run: Path, other: Path, group: str = "weights") -> None:
    theirs = load_file(checkpoint.step_folder(other, 4) / f"{group}.safetensors")
    for name, value in load_file(checkpoint.step_folder(run, 4) / f"{group}.safetensors").items():
        if name.endswith("k_proj.bias"):
            continue  # it moves no attention: its gradient is rounding alone, and AdamW makes full steps of that
        torch.testing.assert_close(theirs[name], value, rtol=1e-4, atol=1e-5, msg=f"{group} {name}")


def whole_and_sharded(launch, stage, tmp_path: Path) -> tuple[Path, Path]:
    """The runs of a stage with whole and with sharded weights, which are equal."""
    whole = launch(stage, tmp_path / "whole")
    sharded = launch(stage, tmp_path / "sharded", "runtime.checkpointing=full", env=SHARDED)
    assert len(figures(whole)) == 8 and figures(sharded) == pytest.approx(figures(whole), rel=1e-5)
    for group in ("weights", "ema"):
        same(whole, sharded, group)
    return whole, sharded


@pytest.mark.long
def test_the_captioner_sharded_equals_whole_and_is_resumed_by_one_process(launch, captioner, tmp_path):
    from v2t.model import CineloopForConditionalGeneration

    whole, sharded = whole_and_sharded(launch, captioner, tmp_path)
    exported = CineloopForConditionalGeneration.from_pretrained(sharded / "final")
    best = load_file(checkpoint.best_folder(sharded, 4) / "weights.safetensors")
    held = dict(exported.named_parameters())
    assert best and all(torch.equal(held[name.removeprefix("model.")], value) for name, value in best.items())
    launch(captioner, tmp_path / "cut", "loop.max_seconds=0", env=SHARDED)
    assert checkpoint.steps(tmp_path / "cut") == [1]
    launch(captioner, tmp_path / "cut", "resume", processes=1)
    assert figures(tmp_path / "cut") == pytest.approx(figures(whole), rel=1e-5)


@pytest.mark.long
def test_the_transformer_sharded_equals_whole(launch, dit, tmp_path):
    from t2v.pipeline import CineloopPipeline

    _, sharded = whole_and_sharded(launch, dit, tmp_path)
    pipe = CineloopPipeline.from_pretrained(sharded / "final")
    best = load_file(checkpoint.best_folder(sharded, 4) / "weights.safetensors")
    weight = dict(pipe.transformer.named_parameters())["blocks.0.attn1.to_q.weight"]
    assert torch.equal(weight, best["transformer.blocks.0.attn1.to_q.weight"])
