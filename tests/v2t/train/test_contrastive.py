"""The dual encoder: negatives that differ in one fact, warm start, losses, and the way into open_clip."""

from __future__ import annotations

import textwrap

import numpy as np
import pytest
import torch
import yaml

from cineloop.world.language.read_text import parse
from cineloop.world.scenes.sampler import sample_scene
from started_python import TRAINING, Starter
from started_ranks import modules_folder, run_ranks
from tiny_captioner import save_tiny_parts
from v2t import train
from v2t.data.collate import normalise
from v2t.data.near_miss import KINDS, change_one, pair

open_clip = pytest.importorskip("open_clip", reason="the contrastive stage needs open_clip (cineloop[eval])")

VISION = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16, "mlp_ratio": 2.0}


def test_a_near_miss_differs_in_one_fact_and_in_its_words():
    import random

    seen = set()
    for index in range(60):
        facts = sample_scene("train", 5, index).facts()
        for kind in KINDS:
            changed = change_one(facts, kind, random.Random(index))
            if changed is not None:
                flat = [str(facts), str(changed)]
                assert flat[0] != flat[1]
                part = {"place": "shots"} | dict.fromkeys(("direction", "action", "order"), "events")
                assert {k for k in facts if facts[k] != changed[k]} == {part.get(kind, "actors")}
        true, wrong, number = pair(facts, "short", f"s{index}", ("color", "place"))
        if number >= 0:
            seen.add(number)
            said, missed = parse(true), parse(wrong)
            same_place = [s.place for s in said.shots] == [s.place for s in missed.shots]
            same_color = [a.color for a in said.actors] == [a.color for a in missed.actors]
            assert (same_place, same_color) == ((True, False) if number == 0 else (False, True)), (true, wrong)
    assert seen == {0, 1}


def test_a_wrong_action_is_told_of_one_event_and_a_wrong_order_of_two():
    told = {"action": 0, "order": 0}
    for index in range(120):
        facts = sample_scene("train", 6, index).facts()
        for kind in told:
            true, wrong, number = pair(facts, "timed", f"s{index}", (kind,))  # a style that tells every event
            if number < 0:
                assert true == wrong
                continue
            told[kind] += 1
            said, missed = (
                [(read.actors[event.actor].kind, event.action) for event in read.events]
                for read in map(parse, (true, wrong))
            )
            different = [i for i, (one, other) in enumerate(zip(said, missed, strict=True)) if one != other]
            if kind == "action":
                assert len(different) == 1, (true, wrong)
            else:  # two figures of one kind may do the same, in two colours
                assert sorted(said) == sorted(missed) and len(different) in (0, 2), (true, wrong)
    assert told["action"] > 60 and told["order"] > 15


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dual")
    tower, llm = save_tiny_parts(folder)
    recipe = {
        "stage": "contrastive", "out": str(folder / "run"), "tokenizer": str(llm), "tower": str(tower),
        "embed_dim": 24, "vision_cfg": VISION, "text_cfg": {"context_length": 48, "width": 32, "heads": 2, "layers": 1},
        "num_frames": 2, "eval_clips": 8,
        "runtime": {"device": "cpu", "precision": "fp32", "threads": 1},
        "loop": {"steps": 2, "batch_size": 4, "workers": 0, "tensorboard": False, "log_every": 1},
    }  # fmt: skip
    (folder / "c.yaml").write_text(yaml.safe_dump(recipe))
    assert train.run(folder / "c.yaml") == 0
    return folder


@pytest.mark.slow
def test_tower_weights_go_over(trained):
    """With the class token cut out of attention, open_clip's tower computes what the SigLIP tower computes."""
    from transformers import SiglipVisionModel

    module, config = train.read_recipe(trained / "c.yaml")
    task = module.build_stage(config).build().eval()
    tower = SiglipVisionModel.from_pretrained(trained / "tower").eval()
    pixels = normalise(torch.from_numpy(np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3), np.uint8)))
    visual = task.clip.visual
    x = visual.conv1(pixels).flatten(2).transpose(1, 2) + visual.positional_embedding[1:]
    x = visual.ln_post(visual.transformer(visual.ln_pre(x)))
    torch.testing.assert_close(x, tower(pixels).last_hidden_state, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_open_clip_loads_the_export_and_gives_the_same_embeddings(trained):
    name = f"local-dir:{trained / 'run/final'}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    module, config = train.read_recipe(trained / "c.yaml")
    stage = module.build_stage(config)
    task = stage.build()
    task.clip.load_state_dict(model.state_dict())
    task, model = task.eval(), model.eval()
    texts = ["A red cat runs.", "We see two dogs."]
    ids = tokenizer(texts)
    assert torch.equal(ids, stage.source()._ids(texts))
    clip = torch.from_numpy(np.random.default_rng(1).integers(0, 255, (1, 1, 32, 32, 3), np.uint8))
    with torch.no_grad():
        torch.testing.assert_close(task.embed_texts(ids), model.encode_text(ids, normalize=True))
        ours, theirs = task.embed_clips({"pixels": clip}), model.encode_image(normalise(clip[:, 0]), normalize=True)
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    from PIL import Image

    torch.testing.assert_close(preprocess(Image.fromarray(clip[0, 0].numpy()))[None], normalise(clip[:, 0]))


@pytest.mark.slow
def test_equal_captions_are_never_negatives(trained):
    module, config = train.read_recipe(trained / "c.yaml")
    stage = module.build_stage(config)
    task = stage.build().eval()
    batch = stage.source()(0, 2)
    twins = {
        **batch,
        "pixels": batch["pixels"][[0, 0]],
        "texts": batch["texts"][[0, 0]],
        "wrong": batch["wrong"][[0, 0]],
    }
    one = {name: value[:1] for name, value in twins.items()}
    with torch.no_grad():
        logits = [task(b)["terms"]["contrast"] for b in (one, twins)]
    # Alone: one positive and one wrong caption. Twins: each image meets the same two texts twice over.
    torch.testing.assert_close(logits[1], 4 * logits[0], rtol=1e-4, atol=1e-4)


def test_a_share_of_the_clips_is_of_one_figure_under_a_prompt(trained):
    from transformers import AutoTokenizer

    from cineloop.world.scenes.solo import sample_solo
    from v2t.train.contrastive import PairSource

    tokenizer = AutoTokenizer.from_pretrained(trained / "run" / "final")
    texts = {}
    for share in (0.0, 1.0):
        source = PairSource("train", 1, 2, 32, "short", share, ("color",), tokenizer, 48)
        texts[share] = source(0, 6)["texts"]
        assert torch.equal(texts[share], torch.cat([source(i, 1)["texts"] for i in range(6)]))
    for ids, index in zip(texts[1.0], range(6), strict=True):
        said = parse(tokenizer.decode(ids, skip_special_tokens=True))
        assert [a.kind for a in said.actors] == [sample_solo("train", 1, index).actors[0].kind]
    assert not torch.equal(texts[0.0], texts[1.0])


@pytest.mark.long
@pytest.mark.slow
def test_two_processes_contrast_as_one_large_batch():
    """Losses and gradients of both add up to those of all pairs; captions that both hold are no negatives."""
    script = textwrap.dedent("""
        import torch
        from torch import distributed as group, nn
        from v2t.train.contrastive import DualTask

        torch.manual_seed(0)
        clip = nn.Module()
        clip.visual = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 8))
        clip.encode_text = nn.EmbeddingBag(20, 8)
        clip.logit_scale, clip.logit_bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(-1.0))
        task = DualTask(clip)
        texts = torch.randint(0, 20, (8, 5))
        texts[6] = texts[1]
        batch = {"pixels": torch.randint(0, 255, (8, 2, 4, 4, 3), dtype=torch.uint8), "texts": texts,
                 "wrong": torch.randint(0, 20, (8, 5)), "changed": torch.tensor([0, -1, 1, 0, 0, -1, 1, 0])}

        def learn(batch):
            task.zero_grad()
            output = task(batch)
            output["terms"]["contrast"].backward()
            near = output["metrics"]["near_right"]
            return [output["terms"]["contrast"].detach(), *near, *(weight.grad.clone() for weight in task.parameters())]

        expected = learn(batch)
        group.init_process_group("gloo")
        found = learn({name: value.chunk(2)[group.get_rank()] for name, value in batch.items()})
        for mine, wanted in zip(found, expected, strict=True):
            group.all_reduce(mine)
            torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-5)
        group.destroy_process_group()
    """)
    with Starter([*TRAINING, "v2t.train.contrastive"], modules_folder()) as starter:
        assert run_ranks(starter, 2, script, []) == [0, 0]
