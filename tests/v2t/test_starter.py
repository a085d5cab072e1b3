"""The embedded starter as its user meets it: a plain transformers script, real mp4 files, batches, its card."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForImageTextToText, AutoProcessor

import v2t.model
from cineloop.video.encode import encode
from cineloop.video.worker import DecoderPool
from cineloop.world.language.comparison import compare
from cineloop.world.language.read_text import parse
from cineloop.world.language.words import PROMPTS
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from v2t.backends import Decoding, user_turn
from v2t.backends.local import STARTER, Backend

assert v2t.model  # the one extra line a plain script needs
NUM = 24


@pytest.fixture(scope="module")
def scenes():
    return [sample_scene("seen", 404, i) for i in range(NUM)]


@pytest.fixture(scope="module")
def clips(scenes, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for number, scene in enumerate(scenes):
        encode(render(scene, (128, 128), fps=12), folder / f"{number:03d}.mp4", 12)
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def parts():
    processor = AutoProcessor.from_pretrained(STARTER)
    return processor, AutoModelForImageTextToText.from_pretrained(STARTER, dtype=torch.float32).eval()


def tokens(processor, model, paths):
    chats = [
        [{"role": "user", "content": [{"type": "video", "path": str(p)}, {"type": "text", "text": PROMPTS["short"]}]}]
        for p in paths
    ]
    inputs = processor.apply_chat_template(
        chats, tokenize=True, return_dict=True, add_generation_prompt=True, return_tensors="pt"
    )
    with torch.inference_mode():
        made = model.generate(**inputs, max_new_tokens=60, do_sample=False)
    return [
        processor.tokenizer.decode(row, skip_special_tokens=True) for row in made[:, inputs["input_ids"].shape[1] :]
    ]


def test_it_fits_the_package_and_has_a_card():
    size = sum(f.stat().st_size for f in STARTER.rglob("*") if f.is_file())
    assert size <= 24e6
    card = (STARTER / "README.md").read_text("utf-8")
    assert "Training" in card and "Figures" in card and "Limits" in card


@pytest.mark.slow
def test_a_plain_script_captions_mp4_files_and_most_facts_are_right(parts, clips, scenes):
    texts = tokens(*parts, clips)
    right = {"place": 0, "actor": 0}
    asked = {"place": 0, "actor": 0}
    for text, scene in zip(texts, scenes, strict=True):
        tallies = compare(parse(text), scene.facts()).tallies
        for kind in right:
            right[kind] += tallies[kind].right
            asked[kind] += tallies[kind].right + tallies[kind].missed + tallies[kind].wrong
    # Far above chance (one in eight, one in twenty-two), far below the card: a guard, not a score.
    assert right["place"] / asked["place"] > 0.7 and right["actor"] / asked["actor"] > 0.4, texts


@pytest.mark.slow
def test_a_batch_of_four_says_what_four_singles_say(parts, clips):
    assert tokens(*parts, clips[:4]) == [tokens(*parts, [path])[0] for path in clips[:4]]


@pytest.mark.slow
def test_saved_and_loaded_again_it_says_the_same(parts, clips, tmp_path):
    processor, model = parts
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert tokens(processor, model, clips[:3]) == tokens(AutoProcessor.from_pretrained(tmp_path), again, clips[:3])


@pytest.mark.long
@pytest.mark.slow
def test_it_warns_of_what_lies_outside_its_world_and_not_of_what_lies_inside(clips):
    captioner = Backend()
    captioner.load()
    with DecoderPool(1) as pool:
        frames = [pool.decode(path, captioner.spec, captioner.frame_size) for path in clips]
    inside = [
        captioner.answer([user_turn(PROMPTS["short"], f)], Decoding(max_new_tokens=4))[0].warnings for f in frames
    ]
    assert sum(bool(w) for w in inside) <= 2
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, frames[0].pixels.shape, generator=generator, dtype=torch.uint8).numpy()
    outside = captioner.answer(
        [user_turn(PROMPTS["short"], type(frames[0]).from_pixels(noise, 8, "noise"))], Decoding(max_new_tokens=4)
    )[0]
    assert any(w.code == "OUT_OF_DOMAIN" for w in outside.warnings)


@pytest.mark.slow
def test_the_card_says_what_it_is_and_its_example_runs(clips, tmp_path, monkeypatch, capsys):
    card = (STARTER / "README.md").read_text("utf-8")
    _, head, _ = card.split("---\n", 2)
    meta = yaml.safe_load(head)
    assert meta["license"] == "apache-2.0" and meta["pipeline_tag"] == "video-text-to-text" and meta["tags"]
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(clips[0], "clip.mp4")
    Path("example.py").write_text(code.replace("v2t/starter", str(STARTER)))
    runpy.run_path("example.py")
    captioner = Backend()
    captioner.load()
    with DecoderPool(1) as pool:
        frames = pool.decode(clips[0], captioner.spec, captioner.frame_size)
    (output,) = captioner.answer([user_turn(PROMPTS["short"], frames)], Decoding(max_new_tokens=64))
    assert capsys.readouterr().out.strip() == output.text.strip()
