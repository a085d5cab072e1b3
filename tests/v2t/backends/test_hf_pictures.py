"""Captioners that take one picture, of six families as transformers ships them: the middle frame, and a word on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError
from cineloop.video.frames import Frames
from small_clips import write_grey
from tiny_video_models import (
    blip,
    florence2,
    git,
    git_video,
    instructblip,
    kosmos2,
    llava,
    paligemma,
)
from v2t.backends import Decoding, user_turn
from v2t.backends.hf import Backend
from v2t.cli import main

ONE_PICTURE = [blip, git, kosmos2, instructblip, florence2, paligemma]
WORDS, SHORT = "what happens in the video ?", Decoding(max_new_tokens=6)


def saved(builder: Any, folder: Path) -> Path:
    import torch

    torch.manual_seed(1)
    model, processor = builder()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """`loaded(builder)`: its captioner, loaded once."""
    made: dict[Any, Backend] = {}

    def captioner(builder: Any) -> Backend:
        if builder not in made:
            folder = saved(builder, tmp_path_factory.mktemp("hf") / builder.__name__)
            made[builder] = Backend(str(folder), device="cpu")
            made[builder].load()
        return made[builder]

    return captioner


def halves(seed: int = 0, num: int = 8) -> Frames:
    colors = np.random.default_rng(seed).integers(0, 256, (num, 1, 1, 3), dtype=np.uint8)
    pixels = np.broadcast_to(colors, (num, 40, 60, 3)).copy()
    pixels[:, :, 30:] = 255 - pixels[:, :, 30:]
    return Frames(pixels, np.arange(num) / 2, duration_s=num / 2, fps=2.0)


def still(frames: Frames, number: int) -> Frames:
    return Frames(frames.pixels[number : number + 1], np.zeros(1), duration_s=0.0, fps=1.0)


@pytest.mark.slow
@pytest.mark.parametrize("builder", ONE_PICTURE, ids=lambda builder: builder.__name__)
def test_a_model_for_one_picture_sees_the_middle_frame_and_says_so(loaded, builder):
    captioner, frames = loaded(builder), halves()
    (output,) = captioner.answer([user_turn(WORDS, frames)], SHORT)
    assert output.warnings[0].code == "ONE_PICTURE"
    seen, *stills = (
        captioner.prompter.encode([user_turn(WORDS, one)])["pixel_values"]
        for one in (frames, *(still(frames, number) for number in range(8)))
    )
    assert [number for number, pixels in enumerate(stills) if pixels.equal(seen)] == [4]
    (alone,) = captioner.answer([user_turn(WORDS, still(frames, 4))], SHORT)
    assert (alone.text, alone.warnings) == (output.text, ())
    seeds = range(1, 9)
    batch = captioner.answer([user_turn(WORDS, halves(seed)) for seed in seeds], SHORT)
    assert batch == [captioner.answer([user_turn(WORDS, halves(seed))], SHORT)[0] for seed in seeds]
    *pieces, last = captioner.stream(user_turn(WORDS, frames), SHORT)
    assert last == output


@pytest.mark.slow
def test_models_for_several_pictures_still_get_them_all(loaded):
    captioner = loaded(llava)
    assert captioner.prompter.fixed_frames is None
    (output,) = captioner.answer([user_turn(WORDS, halves())], SHORT)
    assert (
        output.warnings == () and captioner.prompter.encode([user_turn(WORDS, halves())])["pixel_values"].shape[0] == 8
    )


@pytest.mark.slow
def test_git_for_videos_sees_as_many_frames_as_it_was_trained_on(loaded):
    captioner = loaded(git_video)
    assert captioner.spec.num_frames == 6
    frames = halves(num=6)
    encoded = captioner.prompter.encode([user_turn(WORDS, frames), user_turn(WORDS, halves(1, num=6))])
    assert encoded["pixel_values"].shape == (2, 6, 3, 16, 16)
    pictures = captioner.prompter.processor(text="x", images=list(frames.pixels), return_tensors="pt")["pixel_values"]
    assert encoded["pixel_values"][0].equal(pictures)
    del encoded["token_type_ids"]
    stock = captioner._model.generate(**encoded, max_new_tokens=6, num_beams=1, do_sample=False)
    (output,) = captioner.answer([user_turn(WORDS, frames)], SHORT)
    assert (
        captioner.prompter.processor.tokenizer.decode(stock[0, -6:], skip_special_tokens=True) == output.text
        and output.warnings == ()
    )


@pytest.mark.slow
def test_blip_says_what_stock_transformers_says_without_the_prompt(loaded):
    captioner, frames = loaded(blip), halves()
    processor = captioner.prompter.processor
    inputs = processor(images=frames.pixels[4], text=WORDS, return_tensors="pt")
    stock = captioner._model.generate(**inputs, max_new_tokens=6, num_beams=1, do_sample=False)[0]
    whole = processor.tokenizer.decode(stock, skip_special_tokens=True)
    said = f"{WORDS} {captioner.answer([user_turn(WORDS, frames)], SHORT)[0].text}"
    assert whole.replace(" ", "") == said.replace(" ", "").replace("##", "") and len(said) > len(WORDS) + 3


@pytest.mark.slow
def test_a_model_that_answers_about_no_picture_is_refused_before_the_first_clip(tmp_path, monkeypatch, capsys):
    folder = saved(git, tmp_path / "model")

    def broken(self, *args, **options):
        raise RuntimeError("a tensor of the wrong shape")

    monkeypatch.setattr("transformers.GitForCausalLM.generate", broken)
    captioner = Backend(str(folder), device="cpu")
    with pytest.raises(MissingDependencyError, match="wrong shape") as caught:
        captioner.load()
    assert caught.value.code == "MODEL"
    write_grey(tmp_path / "clip.mp4", 0, 8, size=(32, 32), fps=4)
    out = tmp_path / "out"
    assert main(["caption", str(tmp_path / "clip.mp4"), "-o", str(out), "--model", str(folder)]) == 5
    assert "wrong shape" in capsys.readouterr().err and not (out / "clip.txt").exists()
