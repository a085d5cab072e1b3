"""Settings over a recipe, and what a step costs: in the log by the plan's count and the seconds it took."""

from __future__ import annotations

import json

import pytest
import torch

from cineloop.errors import UsageError
from cineloop.training import plan, runtime
from cineloop.training.recipe import read_recipe
from t2v import train

RECIPE = """
stage: vae
model: {latent_channels: 4, widths: [8, 16, 16], depth: 1}
size: [32, 32]
lengths: [1]
eval_clips: 2
statistics_clips: 32
runtime: {precision: fp32, threads: 1}
loop: {steps: 2, batch_size: 2, workers: 0, tensorboard: false, log_every: 1}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "vae.yaml"
    path.write_text(f"{RECIPE}out: {tmp_path / 'run'}\n")
    return path


def test_files_of_settings_go_over_the_recipe_and_under_set(recipe, tmp_path):
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("loop: {batch_size: 8, log_every: 5}\n")
    second.write_text("loop: {log_every: 7}\n")
    _, config = read_recipe("t2v.train", recipe, over=[first, second], sets=["loop.batch_size=4"])
    assert (config.loop.batch_size, config.loop.log_every, config.loop.steps) == (4, 7, 2)


def test_the_shipped_settings_for_a_gpu_fit_a_recipe(recipe):
    _, config = read_recipe("t2v.train", recipe, over=["gpu"])
    assert (config.runtime.device, config.runtime.precision) == ("cuda", "bf16") and config.loop.steps == 2
    with pytest.raises(UsageError, match="no file of settings is called 'gpus'"):
        read_recipe("t2v.train", recipe, over=["gpus"])


@pytest.mark.slow
def test_the_log_holds_what_a_step_cost(recipe, tmp_path):
    assert train.run(recipe) == 0
    module, config = read_recipe("t2v.train", recipe)
    counted = plan.make_plan(module, config)
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    rows = [row for row in rows if "loss" in row]
    assert len(rows) == 2
    for row in rows:
        assert row["tokens_per_s"] == pytest.approx(row["clips_per_s"] / 2 * counted.tokens_per_step)
        assert row["tflops"] == pytest.approx(row["clips_per_s"] / 2 * counted.flops_per_step / 1e12)
        assert "mfu" not in row  # nobody knows the peak of a CPU


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H200", 989e12), ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA GeForce RTX 4090", 165e12),
     ("NVIDIA RTX A6000", 0.0), ("Tesla T4", 0.0)],
)  # fmt: skip
def test_the_peak_is_known_by_the_chip(monkeypatch, name, peak):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert plan.peak_flops(torch.device("cuda")) == peak


@pytest.mark.slow
def test_a_compiled_task_learns_the_same(recipe, tmp_path, monkeypatch):
    """The compiler itself is replaced by one that leaves the graph as it is: what is tested is that it is asked, and
    that names of weights and results stay."""
    asked = []
    compile_task = torch.nn.Module.compile

    def eager(self, **options):
        asked.append(type(self).__name__)
        compile_task(self, backend="eager", **options)

    monkeypatch.setattr(torch.nn.Module, "compile", eager)
    assert train.run(recipe, out=tmp_path / "plain") == 0
    assert train.run(recipe, out=tmp_path / "compiled", sets=["runtime.compile=true"]) == 0
    assert asked == ["ReconstructionTask"]
    files = [tmp_path / name / "final/diffusion_pytorch_model.safetensors" for name in ("plain", "compiled")]
    from safetensors.torch import load_file

    plain, compiled = map(load_file, files)
    assert plain.keys() == compiled.keys()
    for name, weight in plain.items():
        torch.testing.assert_close(compiled[name], weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_blocks_are_compiled_for_any_length_and_give_what_they_gave(monkeypatch):
    """The compiler is replaced by one that counts the graphs it is asked for."""
    from transformers import AutoModelForCausalLM, Qwen3Config

    graphs = []

    def count(graph, inputs):
        graphs.append(len(inputs))
        return graph

    compile_block = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **options: compile_block(self, backend=count, **options)
    )
    shape = Qwen3Config(vocab_size=40, hidden_size=32, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
                        num_key_value_heads=2, head_dim=16)  # fmt: skip
    task = torch.nn.ModuleList([AutoModelForCausalLM.from_config(shape, attn_implementation="eager")])
    ids = [torch.arange(length)[None] for length in (12, 17, 30)]
    plain = [task[0](each, use_cache=False).logits for each in ids]
    runtime.compile_task(task, "blocks")
    for each, logits in zip(ids, plain, strict=True):
        torch.testing.assert_close(task[0](each, use_cache=False).logits, logits)
    asked = len(graphs)
    assert asked
    with torch.compiler.set_stance("force_eager"):
        task[0](ids[0], use_cache=True)
    assert len(graphs) == asked <= 3  # not one for each length
    with pytest.raises(UsageError, match="names its blocks"):
        runtime.compile_task(torch.nn.Linear(2, 2), "blocks")
