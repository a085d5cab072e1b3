"""Stage reinforce: what a caption earns, the baseline, which way the loss moves captions, a run and its resumption."""

from __future__ import annotations

import json
import random

import pytest
import torch
import yaml

from cineloop.errors import UsageError
from cineloop.world.language.words import PROMPTS, caption
from cineloop.world.scenes.sampler import sample_scene
from same_checkpoints import assert_same_checkpoints
from tiny_captioner import tiny_captioner
from v2t import train
from v2t.data.chat import Turn, encode
from v2t.data.collate import text_batch
from v2t.model.weights import save_model
from v2t.train import reinforce

CLIPS = {"num_frames": 4, "size": 32, "texts": ["questions"], "fewer_share": 0.0}
LOOP = {"steps": 2, "batch_size": 4, "save_every": 1, "log_every": 1, "workers": 0, "tensorboard": False,
        "optim": {"base_lr": 1e-3, "warmup_steps": 0, "lr": {"vision_tower": 0.0}}}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioner")
    made, processor = tiny_captioner()
    save_model(made, folder, processor, dtype=torch.float32)
    return folder


def recipe(folder, model, **fields):
    path = folder / "reinforce.yaml"
    tree = {"stage": "reinforce", "out": str(folder / "run"), "model": str(model), "clips": CLIPS, "loop": LOOP,
            "eval_clips": 2, "eval_captions": 2, "max_new_tokens": 8,
            "runtime": {"device": "cpu", "precision": "fp32", "threads": 1}}  # fmt: skip
    path.write_text(yaml.safe_dump(tree | fields))
    return path


def built(folder, model, **fields):
    module, config = train.read_recipe(recipe(folder, model, **fields))
    stage = module.build_stage(config)
    return stage, stage.build().eval()


@pytest.fixture
def rng_words():
    return random.Random(0)


def facts_of(index):
    return sample_scene("train", 5, index).facts()


def test_a_caption_right_in_everything_earns_most(rng_words):
    for index in range(8):
        facts = facts_of(index)
        text = caption(facts, "short", rng_words)
        best = reinforce.reward(text, facts, "short", 0.5)
        assert best == pytest.approx(1.5), text
        assert reinforce.reward("", facts, "short", 0.5) == pytest.approx(0.0)
        made_up = text + " Then a purple whale explodes nearby while a green dog jumps."
        assert reinforce.reward(made_up, facts, "short", 0.5) < best
        wrong = caption(facts_of(index + 100), "short", rng_words)
        assert reinforce.reward(wrong, facts, "short", 0.5) < 1


def test_advantages_are_against_the_others_of_the_clip():
    found = reinforce.advantages(torch.tensor([[1.0, 0.0, 0.5], [2.0, 2.0, 2.0]]))
    torch.testing.assert_close(found, torch.tensor([[0.75, -0.75, 0.0], [0.0, 0.0, 0.0]]))


def log_probs_of(task, batch, drawn):
    """The log-probability of each of `drawn` under the task, by a pass of its own for each."""
    tokenizer, values = task.processor.tokenizer, []
    with torch.no_grad():
        tokens = task.query_tokens(batch)
        for number, text in enumerate(drawn):
            clip = number // task.config.samples
            shown = task.processor.clip_text(batch["times_s"][clip][batch["mask"][clip]].tolist())
            turns = [Turn("user", PROMPTS[batch["style"]], clips=1), Turn("assistant", text)]
            said = text_batch([encode(tokenizer, turns, [shown])], tokenizer.pad_token_id)
            said |= {"row_segments": torch.tensor([clip]), "row_counts": torch.tensor([1])}
            values.append(float(task.log_probs(said, tokens)[0]))
    return values


@pytest.mark.slow
def test_the_step_makes_better_captions_likelier_and_worse_ones_less(tmp_path, model, monkeypatch, rng_words):
    stage, task = built(tmp_path, model, samples=2)
    batch = stage.source()(0, 2)
    good = [caption(facts, "short", rng_words) for facts in batch["truth"]]
    drawn = [good[0], "a cube", "a cube", good[1]]
    monkeypatch.setattr(reinforce, "write_captions", lambda *args, **how: list(drawn))
    before = log_probs_of(task, batch, drawn)
    loss, metrics = task.captions(batch, task.query_tokens(batch))
    rewards = [reinforce.reward(text, batch["truth"][n // 2], "short", 0.5) for n, text in enumerate(drawn)]
    each = reinforce.advantages(torch.tensor(rewards).view(2, 2)).flatten()
    assert loss.item() == pytest.approx(-float((each * torch.tensor(before)).sum()), rel=1e-4)
    assert float(metrics["whole"][0]) == 2
    loss.backward()
    with torch.no_grad():
        for weight in task.parameters():
            if weight.grad is not None:
                weight -= 1e-4 * weight.grad / (1 + weight.grad.norm())
    moved = [after - was for was, after in zip(before, log_probs_of(task, batch, drawn), strict=True)]
    assert moved[0] > moved[1] and moved[3] > moved[2]


@pytest.mark.slow
def test_captions_that_earn_the_same_teach_nothing(tmp_path, model, monkeypatch):
    stage, task = built(tmp_path, model, samples=2)
    batch = stage.source()(0, 2)
    monkeypatch.setattr(reinforce, "write_captions", lambda *args, **how: ["a cube"] * 4)
    loss, _ = task.captions(batch, task.query_tokens(batch))
    loss.backward()
    assert loss.item() == 0.0
    assert all(weight.grad is None or not weight.grad.any() for weight in task.parameters())


@pytest.mark.long
@pytest.mark.slow
def test_a_run_leaves_a_captioner_and_resumes_to_the_bit(tmp_path, model):
    path = recipe(tmp_path, model, styles={"short": 0.5, "detailed": 0.5})
    assert train.run(path) == 0
    assert train.run(path, sets=["loop.max_seconds=0"], out=tmp_path / "cut") == 0
    assert train.run(path, out=tmp_path / "cut", resume=True) == 0
    assert_same_checkpoints(tmp_path / "run", tmp_path / "cut", 2)
    rows = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert any("reward" in row for row in rows)
    assert "caption_joint" in json.loads((tmp_path / "run/final/scores.json").read_text())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"samples": 1}, "samples must be at least 2"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"styles": {"poem": 1.0}}, "styles must give chances above 0 to some of short"),
        ({"speaks": False, "heads_weight": 1.0}, "speaks must be true"),
        ({"rounds": 2}, "rounds and cache do not go"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(tmp_path, model, fields, message):
    with pytest.raises(UsageError, match=message):
        train.read_recipe(recipe(tmp_path, model, **fields))


def test_clips_of_several_segments_are_refused(tmp_path, model):
    stage, _ = built(tmp_path, model, clips=CLIPS | {"num_frames": 8})
    with pytest.raises(UsageError, match="clips of one segment"):
        stage.source()(0, 2)
