"""The stages end to end at tiny width: recipes, tower, language, align, instruct, resume."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from cineloop.errors import ItemError, UsageError
from cineloop.manifest import write_manifest
from cineloop.training.loader import stream
from cineloop.training.recipe import read_recipe
from same_checkpoints import assert_same_checkpoints
from small_clips import noise, write
from tiny_captioner import save_tiny_parts, tiny_captioner
from v2t import train
from v2t.backends.local import revision_of
from v2t.data import manifest_clips
from v2t.data.collate import num_targets
from v2t.data.manifest_clips import ManifestSource, permutation, read_clips
from v2t.model import CineloopForConditionalGeneration, CineloopProcessor
from v2t.model.weights import save_model

LOOP = {"steps": 2, "batch_size": 4, "save_every": 1, "log_every": 1, "workers": 0, "tensorboard": False}
RUNTIME = {"device": "cpu", "precision": "fp32", "threads": 1}
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2,
         "image_size": 32, "patch_size": 8}  # fmt: skip
RESAMPLER = {"segment_frames": 4, "num_queries": 8, "hidden_size": 32, "num_layers": 2, "num_heads": 2}


def recipe(folder: Path, **fields) -> Path:
    path = folder / f"{fields['stage']}.yaml"
    loop = LOOP | fields.pop("loop", {})
    path.write_text(yaml.safe_dump({"out": str(folder / "run"), "loop": loop, "runtime": RUNTIME} | fields))
    return path


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    tower, llm = save_tiny_parts(tmp_path_factory.mktemp("parts"))
    return {"vision": str(tower), "llm": str(llm), "resampler": RESAMPLER}


def test_recipe_errors_name_the_nearest(tmp_path):
    path = recipe(tmp_path, stage="tower", vision=TOWER)
    with pytest.raises(UsageError, match=r"unknown configuration key 'loop.step'.*'loop.steps'"):
        train.run(path, sets=["loop.step=3"])
    with pytest.raises(UsageError, match="no train is called 'towr': did you mean 'tower'.*choices: .*tower"):
        train.run(path, sets=["stage=towr"])
    with pytest.raises(UsageError, match="does not name its stage"):
        (tmp_path / "empty.yaml").write_text("out: x\n")
        train.run(tmp_path / "empty.yaml")


@pytest.mark.slow
def test_every_recipe_that_ships_is_valid():
    stages: dict[str, set[str]] = {"v2t": set(), "t2v": set()}
    for path in sorted((Path(__file__).resolve().parents[3] / "configs").rglob("*.yaml")):
        if path.parent.name in ("eval", "ci", "serve", "train", "curate") or path.name in ("gate.yaml", "gpu.yaml"):
            continue  # suites of metrics, workflows, containers, settings over recipes: read by tests of their own
        (package,) = set(re.findall(r"\b(v2t|t2v) train ", path.read_text().split("stage:")[0]))
        stages[package].add(read_recipe(f"{package}.train", path)[1].stage)
    assert stages["v2t"] >= {"tower", "language", "align", "instruct", "contrastive"}
    assert stages["t2v"] == {"vae", "text", "dit", "clips", "lora", "reward"}


@pytest.mark.slow
def test_tower_learns_and_leaves_a_siglip_tower(tmp_path):
    from transformers import SiglipVisionModel

    path = recipe(tmp_path, stage="tower", vision=TOWER, eval_frames=8, loop={"steps": 30, "save_every": 0})
    assert train.run(path, sets=["loop.optim.base_lr=5e-3", "loop.optim.warmup_steps=5"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:3])
    scores = rows[-1]["eval"]
    assert {"kind", "color", "place", "offset", "background"} <= scores.keys()
    tower = SiglipVisionModel.from_pretrained(tmp_path / "run/final")
    assert tower(torch.zeros(1, 3, 32, 32)).last_hidden_state.shape == (1, 16, 32)
    assert not any("head" in name for name, _ in tower.named_parameters())


@pytest.fixture(scope="module")
def language_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("language")
    llm = {"model_type": "qwen3", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
           "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True}  # fmt: skip
    path = recipe(folder, stage="language", llm=llm, vocab_size=400, tokenizer_scenes=60, sequence_length=256,
                  eval_sequences=8)  # fmt: skip
    assert train.run(path) == 0
    return path


@pytest.mark.slow
def test_language_leaves_an_llm_and_a_lossless_tokenizer(language_run):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    final = language_run.parent / "run/final"
    tokenizer = AutoTokenizer.from_pretrained(final)
    for text in ("A red cat runs to the left.", "0.2-1.7s: <odd> ünïcode\n  two  spaces"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text
    assert len(tokenizer.encode("<video><|im_start|>", add_special_tokens=False)) == 2
    assert len(tokenizer.encode("12.5", add_special_tokens=False)) == 4  # digits stand apart
    assert AutoModelForCausalLM.from_pretrained(final).config.vocab_size == len(tokenizer) == 400


@pytest.mark.slow
def test_packed_conversations_do_not_see_each_other(language_run):
    module, config = train.read_recipe(language_run)
    stage = module.build_stage(config)
    task = stage.build().eval()
    batch = stage.source()(0, 1)
    starts = (batch["position_ids"][0] == 0).nonzero().flatten().tolist()
    assert len(starts) >= 2
    first, second = starts[0], starts[1]
    arguments = {name: batch[name] for name in ("input_ids", "position_ids")}
    whole = task.llm.model(**arguments, use_cache=False).last_hidden_state
    end = starts[2] if len(starts) > 2 else None
    alone = task.llm.model(input_ids=batch["input_ids"][:, second:end]).last_hidden_state
    torch.testing.assert_close(whole[:, second:end], alone, rtol=1e-4, atol=1e-4)
    assert batch["labels"][0, second] == -100 and first == 0


@pytest.mark.long
@pytest.mark.slow
def test_align_in_two_phases_then_resume_to_the_bit(tmp_path, parts):
    clips, frozen = {"num_frames": 4, "size": 32}, {"optim": {"lr": {"vision_tower": 0}}}
    heads = recipe(tmp_path, stage="align", speaks=False, eval_clips=4, out=str(tmp_path / "heads"), clips=clips,
                   loop=frozen, **parts)  # fmt: skip
    assert train.run(heads) == 0
    before = load_file(Path(parts["vision"]) / "model.safetensors")
    after = load_file(tmp_path / "heads/final/model.safetensors")
    frozen = {name: value for name, value in after.items() if "vision_tower" in name}
    assert len(frozen) == len(before) and all(any(torch.equal(v, w) for w in before.values()) for v in frozen.values())
    speaking = {"stage": "align", "model": str(tmp_path / "heads/final"), "eval_clips": 4, "eval_captions": 2,
                "clips": clips, "loop": {"steps": 3}}  # fmt: skip
    whole = recipe(tmp_path, **speaking, out=str(tmp_path / "whole"))
    assert train.run(whole) == 0
    assert train.run(whole, sets=["loop.max_seconds=0"], out=tmp_path / "cut") == 0
    assert train.run(whole, out=tmp_path / "cut", resume=True) == 0
    assert_same_checkpoints(tmp_path / "whole", tmp_path / "cut", 3)
    figures = json.loads((tmp_path / "whole/final/scores.json").read_text())
    assert {"heads", "event0_action", "tokens_right", "caption_actor"} <= figures.keys()
    model = CineloopForConditionalGeneration.from_pretrained(tmp_path / "whole/final")
    assert not any("heads" in name for name, _ in model.named_parameters())


@pytest.fixture(scope="module")
def footage(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    rows = []
    for n in range(4):
        write(noise(n, fps=6), folder / f"{n}.mp4")
        talk = [{"from": "human", "value": "<video>\nWhat is it?"}, {"from": "gpt", "value": f"noise number {n}"}]
        rows.append({"id": str(n), "path": f"{n}.mp4", "conversations": talk})
    rows[3] = {"id": "3", "path": "3.mp4", "captions": {"short": ["noise"]}, "prompt": "Say it."}
    write_manifest(rows, folder / "manifest.jsonl")
    return folder / "manifest.jsonl"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["lora", "dora", "qlora"])
def test_instruct_with_adapters_on_a_manifest(tmp_path, parts, footage, how):
    """The full-size recipe, its tower and LLM replaced by tiny ones: adapters learn, merge, and the whole is saved."""
    path = Path(__file__).resolve().parents[3] / "configs/full/instruct.yaml"
    sets = [f"vision={parts['vision']}", f"llm={parts['llm']}", f"manifests=[{footage}]", "max_length=256",
            "resampler={segment_frames: 4, num_queries: 8, hidden_size: 32, num_layers: 2, num_heads: 2}",
            "video={num_frames: 4}", "loop.steps=2", "loop.batch_size=2", "loop.micro_batch=1", "loop.workers=0",
            "loop.optim.warmup_steps=0", "loop.optim.lr.language_model=0.01", "runtime.device=cpu",
            "runtime.threads=1", f"out={tmp_path / 'run'}", "loop.tensorboard=false", "model=null",
            "save_dtype=float32", "runtime.checkpointing=none"]  # fmt: skip
    sets += {"lora": ["quantize=null"], "dora": ["quantize=null", "lora.dora=true"], "qlora": ["quantize=nf4"]}[how]
    if how == "qlora":
        pytest.importorskip("bitsandbytes", reason="QLoRA packs weights with bitsandbytes")
    assert train.run(path, sets=sets) == 0
    model = CineloopForConditionalGeneration.from_pretrained(tmp_path / "run/final")
    CineloopProcessor.from_pretrained(tmp_path / "run/final")
    before = load_file(Path(parts["llm"]) / "model.safetensors")
    name = "layers.0.mlp.down_proj.weight"
    moved = (model.model.language_model.get_parameter(name) - before[f"model.{name}"]).abs().max()
    assert 1e-5 < moved < 1.0
    tower = load_file(Path(parts["vision"]) / "model.safetensors")
    kept = dict(model.model.vision_tower.named_parameters())
    assert len(kept) == len(tower)
    weights = load_file(next((tmp_path / "run/checkpoints").glob("best-*/weights.safetensors")))
    assert any("lora_A" in key for key in weights)
    assert not any("vision_tower" in key or "base_layer.weight" in key for key in weights)


@pytest.mark.slow
def test_adapters_are_saved_by_themselves_where_nothing_else_learned(tmp_path, footage):
    """Put on the base, they make the merged model; peft reads them, and their layers are the LLM's alone."""
    from peft import PeftModel

    model, processor = tiny_captioner()
    save_model(model, tmp_path / "base", processor, dtype=torch.float32)
    sets = {"manifests": [str(footage)], "model": str(tmp_path / "base"), "lora": {"r": 4}, "save_dtype": "float32"}
    rates = {"vision_tower": 0.0, "resampler": 0.0, "projector": 0.0, "language_model": 0.05}
    path = recipe(tmp_path, stage="instruct", **sets)
    assert train.run(path, sets=[f"loop.optim.lr={json.dumps(rates)}"]) == 0
    final = next(tmp_path.rglob("final"))
    merged = CineloopForConditionalGeneration.from_pretrained(final)
    base = CineloopForConditionalGeneration.from_pretrained(tmp_path / "base")
    told = json.loads((final / "adapter/adapter_config.json").read_text())
    assert told["revision"] == revision_of(tmp_path / "base") and told["r"] == 4
    put_on = PeftModel.from_pretrained(base, str(final / "adapter")).merge_and_unload()
    after = dict(merged.named_parameters())
    for name, weight in put_on.named_parameters():
        torch.testing.assert_close(weight, after[name], atol=1e-5, rtol=1e-5, msg=name)
    moved = {name for name, weight in after.items() if (model.get_parameter(name) - weight).abs().max() > 1e-4}
    assert moved and all(name.startswith("model.language_model.") for name in moved)


@pytest.mark.slow
def test_adapters_are_not_saved_alone_where_other_parts_learned_too(tmp_path, footage):
    model, processor = tiny_captioner()
    save_model(model, tmp_path / "base", processor)
    path = recipe(tmp_path, stage="instruct", manifests=[str(footage)], model=str(tmp_path / "base"), lora={"r": 4})
    assert train.run(path) == 0
    assert not (next(tmp_path.rglob("final")) / "adapter").exists()


@pytest.mark.slow
def test_lora_that_matches_nothing_is_an_error(tmp_path, parts, footage):
    from cineloop.errors import NothingMatchedError

    path = recipe(tmp_path, stage="instruct", manifests=[str(footage)], lora={"targets": ["qqq_proj"]},
                  video={"num_frames": 4}, **parts)  # fmt: skip
    with pytest.raises(NothingMatchedError, match="qqq_proj"):
        train.run(path)


def test_a_bad_file_stops_or_is_skipped_without_a_substitute(tmp_path, footage):
    processor = tiny_captioner()[1]
    (tmp_path / "bad.mp4").write_text("no video")
    row = {"id": "bad", "path": "bad.mp4", "captions": ["x"]}
    write_manifest([row], tmp_path / "manifest.jsonl")
    source = ManifestSource(read_clips([tmp_path / "manifest.jsonl"]), processor, 0, 128)
    with pytest.raises(ItemError, match="row 'bad'"):
        source(0, 1)
    assert num_targets(replace(source, on_bad="skip")(0, 1)) == 0


def test_manifest_order_is_new_each_pass_and_complete(footage):
    processor = tiny_captioner()[1]
    source = ManifestSource(read_clips([footage]), processor, 3, 256)
    passes = [[source.sample(4 * turn + n).rows[0].ids for n in range(4)] for turn in range(3)]
    assert all(sorted(map(tuple, one)) == sorted(map(tuple, passes[0])) for one in passes)
    assert any(one != passes[0] for one in passes[1:])


def test_an_order_is_made_once_a_pass(footage, monkeypatch):
    source = ManifestSource(read_clips([footage]), tiny_captioner()[1], 3, 256)
    made = []
    monkeypatch.setattr("v2t.data.manifest_clips.permutation", lambda *words: made.append(words) or permutation(*words))
    places = [source.place(number) for number in range(20)]  # 4 rows: five passes
    assert len(made) == 5
    assert [sorted(places[first : first + 4]) for first in range(0, 20, 4)] == [[0, 1, 2, 3]] * 5
    # The order is the one that runs of earlier versions had, so that they can be resumed.
    assert places[4:8] == np.random.default_rng([3, 1]).permutation(4).tolist()
    assert [replace(source, seed=4).place(n) for n in range(4)] == np.random.default_rng([4, 0]).permutation(4).tolist()


class Threads:
    """A source that says with how many threads its worker decodes."""

    def __call__(self, start, count):
        return manifest_clips._pool()._threads


@pytest.mark.slow
def test_loader_workers_share_the_cpus_out_for_decoding(monkeypatch):
    monkeypatch.setattr(manifest_clips, "usable_cpus", lambda: 12)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    wanted = [(number, 1) for number in range(4)]
    assert list(stream(Threads(), wanted, workers=2)) == [3, 3, 3, 3]
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert list(stream(Threads(), wanted, workers=2)) == [1, 1, 1, 1]
    monkeypatch.setattr(manifest_clips, "_POOLS", {})
    assert list(stream(Threads(), wanted, workers=0)) == [1, 1, 1, 1]


@pytest.mark.slow
def test_answer_loss_is_the_plain_one():
    from v2t.train.caption_task import answer_loss

    torch.manual_seed(0)
    hidden, head = torch.randn(2, 6, 8), torch.nn.Linear(8, 11)
    labels = torch.randint(0, 11, (2, 6))
    labels[0, :3] = labels[1, 4] = -100
    loss, right, count = answer_loss(hidden, labels, head)
    logits = head(hidden)[:, :-1]
    plain = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")
    torch.testing.assert_close(loss, plain)
    assert count == int((labels[:, 1:] != -100).sum()) == 7
    assert int(right) == int((logits.argmax(-1) == labels[:, 1:]).sum())
