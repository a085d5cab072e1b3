"""Targets of the auxiliary heads, and the stage that teaches the text encoder: what prompts ask for, what is where."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch

from cineloop.world import vocabulary as words
from cineloop.world.language.read_text import parse
from cineloop.world.scenes.render import label_masks
from cineloop.world.scenes.solo import FPS, prompt, sample_solo
from t2v import train
from t2v.data import latents
from t2v.data.facts import UNASKED, VALUES, labels
from t2v.obedience import FACTORS, motion_of
from t2v.train.heads import FactHead, StateHead


def test_labels_name_what_the_prompt_asks_for_and_nothing_else():
    for index in range(60):
        facts = sample_solo("train", 5, index).facts()
        text = prompt(facts, random.Random(index))
        found = dict(zip(FACTORS, labels(facts, text), strict=True))
        actor, event = facts["actors"][0], facts["events"][0]
        assert VALUES["kind"][found["kind"]] == actor["kind"] and VALUES["color"][found["color"]] == actor["color"]
        assert VALUES["action"][found["action"]] == motion_of(event["action"])
        assert (found["size"] == UNASKED) == (parse(text).actors[0].size is None)
        assert (found["to_color"] == UNASKED) == (event["action"] != "recolor")
    assert set(labels(facts, "")) == {UNASKED}


def test_occupancy_is_the_mask_in_cells_and_names_the_colour_of_its_time():
    scenes = (sample_solo("train", 5, index) for index in range(400))
    scene = next(each for each in scenes if each.events[0].action == "recolor")
    share, color = latents.occupancy(scene, 17, (64, 64))
    masks = label_masks(scene, np.arange(17) / FPS, (64, 64))[0] >= 0
    assert share.shape == (5, 4, 32, 32) and color.shape == (5,)
    assert np.isclose(share[1:].reshape(16, 32, 32).mean((1, 2)) / 255, masks[1:].mean((1, 2)), atol=2e-3).all()
    assert (share[0] == share[0, 0]).all()  # the first latent frame holds one frame
    names = list(words.COLORS)
    assert (names[color[0]], names[color[-1]]) == (scene.actors[0].color, scene.events[0].to_color)


@pytest.mark.slow
def test_the_state_head_can_say_all_of_it_and_is_asked_names_only_where_the_figure_is():
    """Tokens that carry the truth reach a loss of nearly zero; names wrong where no figure is cost nothing."""
    torch.manual_seed(0)
    occupancy = torch.zeros(2, 1, 4, 8, 8)
    occupancy[:, :, :, :4, :4] = 1.0  # the first of four tokens of 4 × 4 cells
    batch = {
        "occupancy": occupancy, "color": torch.tensor([[3], [1]]), "kind": torch.tensor([2, 9]),
        "facing": torch.tensor([0, 1]),
    }  # fmt: skip
    head = StateHead(16, (1, 4, 4))
    tokens = torch.randn(2, 4, 16, requires_grad=True)
    optimizer = torch.optim.Adam([tokens, *head.parameters()], lr=0.05)
    for _ in range(300):
        loss = head(tokens, batch).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.02
    names = [head.kind, head.color, head.facing]
    before = head(tokens, batch).detach()
    for each in names:
        each.bias.grad = None
    wrong = {**batch, "kind": batch["kind"] + 1}
    assert (head(tokens, wrong) > before + 0.1).all()  # the figure's own token is asked
    empty = {**batch, "occupancy": torch.zeros_like(occupancy)}
    assert torch.equal(head(tokens, empty), head(tokens, {**empty, "kind": wrong["kind"]}))


def test_the_fact_head_counts_only_what_is_asked():
    torch.manual_seed(0)
    head = FactHead(8)

    class Text:
        last_hidden_state, pooler_output = torch.randn(2, 5, 8), torch.randn(2, 8)

    mask = torch.ones(2, 5)
    facts = torch.full((2, len(FACTORS)), UNASKED)
    assert torch.equal(head(Text, mask, facts), torch.zeros(2))
    facts[0, 1] = 3
    loss = head(Text, mask, facts)
    assert loss[0] > 0 and loss[1] == 0
    assert set(head.right(Text, mask, facts)) == {"joint", FACTORS[1]}


@pytest.mark.slow
def test_the_text_stage_learns_and_is_what_the_transformer_begins_from(tmp_path):
    recipe = {
        "stage": "text", "out": str(tmp_path / "text"), "text": {"hidden_size": 32, "num_heads": 2, "num_layers": 1},
        "eval_prompts": 32, "runtime": {"precision": "fp32", "threads": 1},
        "loop": {"steps": 60, "batch_size": 32, "workers": 0, "tensorboard": False, "log_every": 1,
                 "optim": {"base_lr": 5e-3, "warmup_steps": 5}},
    }  # fmt: skip
    path = tmp_path / "text.yaml"
    path.write_text(json.dumps(recipe))
    assert train.run(path) == 0
    rows = [json.loads(line) for line in (tmp_path / "text/log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if "loss" in row]
    assert losses[-1] < 0.8 * losses[0]
    scores = json.loads((tmp_path / "text/final/scores.json").read_text())
    assert scores["place"] > 3 / len(words.PLACES)  # named from held-out wordings, far above chance
    from transformers import AutoModel, AutoTokenizer

    encoder = AutoModel.from_pretrained(tmp_path / "text/final")
    tokens = AutoTokenizer.from_pretrained(tmp_path / "text/final")(["A red ball."], return_tensors="pt")
    assert encoder(**tokens).last_hidden_state.shape == (1, 6, 32)


def test_pictures_too_small_for_the_referee_are_refused_before_training(tmp_path):
    from t2v.train.dit import Config

    loop = {"out": tmp_path, "stage": "dit", "vae": tmp_path}
    with pytest.raises(ValueError, match="48 pixels a side: set eval_prompts to 0"):
        Config(loop=None, size=(32, 32), **loop)
    assert Config(loop=None, size=(32, 32), eval_prompts=0, **loop).eval_prompts == 0


@pytest.mark.parametrize("num_frames", [1, 5])
def test_a_batch_holds_the_truth_of_its_clips(num_frames):
    from t2v.model.text import build_tokenizer, world_words
    from t2v.model.vae import AutoencoderKLCineloop

    vae = AutoencoderKLCineloop(latent_channels=4, widths=(8, 16, 16), depth=1).eval()
    source = latents.LatentSource(
        vae=vae, tokenizer=build_tokenizer(world_words(50)), split="train", seed=3, size=(32, 32),
        num_frames=num_frames, num_clips=0, cache=None, text_dropout=0.5,
    )  # fmt: skip
    batch = source(2, 6)
    t = 1 + (num_frames - 1) // 4
    assert batch["latents"].shape == (6, 4, t, 4, 4) and batch["occupancy"].shape == (6, t, 4, 16, 16)
    assert batch["color"].shape == (6, t) and batch["facts"].shape == (6, len(FACTORS))
    for row, index in enumerate(range(2, 8)):
        actor = source.scene(index).actors[0]
        assert list(words.KINDS)[batch["kind"][row]] == actor.kind
        assert batch["facing"][row] == (actor.facing > 0)
        empty = int(batch["attention_mask"][row].sum()) == 2  # the prompt was dropped: begin and end alone
        assert empty == bool((batch["facts"][row] == UNASKED).all())
