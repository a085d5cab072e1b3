"""Any video model of transformers, on tiny ones built here: true times in the prompt, a batch answers as singles.

Eight types as their families ship them: all need torchvision (transformers' base class for videos does), SmolVLM needs
num2words too; a type whose packages are absent is skipped and says so. LLaVA stands for models of pictures alone.
"""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers as t

from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from tiny_video_models import (
    PROMPT,
    chat_template,
    instructblipvideo,
    internvl,
    llava,
    llava_onevision,
    qwen2_5_vl,
    qwen3_5,
    qwen3_vl,
    smolvlm,
    video_llama_3,
    video_llava,
)
from v2t.backends import TEXT, Decoding, GenerateRequest, Message, effects, user_turn
from v2t.backends.batching import Batcher
from v2t.backends.hf import Backend


def of_pairs(times: list[float]) -> list[str]:
    times = times + times[-1:] * (len(times) % 2)
    return [f"{(a + b) / 2:.1f}" for a, b in zip(times[::2], times[1::2], strict=True)]


def at_rate(fps: float, most: int) -> SampleSpec:
    return SampleSpec(sampler="fps", fps=fps, max_frames=most)


# Of each type: how its prompt writes times and what the true times must look like there; the frames it wants.
WORDS = (r"([\d.]+ s)\b[,.]", lambda times: [f"{time:.2f} s" for time in times])
PROMPTS = {
    qwen2_5_vl: (*WORDS, at_rate(2.0, 99)),
    qwen3_vl: (r"<([\d.]+) seconds>", of_pairs, at_rate(2.0, 192)),
    qwen3_5: (r"<([\d.]+) seconds>", of_pairs, at_rate(2.0, 192)),
    llava_onevision: (*WORDS, SampleSpec(num_frames=8)),
    video_llava: (*WORDS, SampleSpec(num_frames=8)),
    smolvlm: (r"Frame from ([\d:]+):", lambda times: [f"00:{int(time):02d}" for time in times], at_rate(1.0, 6)),
    internvl: (*WORDS, SampleSpec(num_frames=5)),
    video_llama_3: (r"Time ([\d.]+)s:", lambda times: [f"{time:.1f}" for time in times], at_rate(2.0, 9)),
    instructblipvideo: (*WORDS, SampleSpec(num_frames=4)),
}
NEEDS = {smolvlm: ("torchvision", "num2words"), llava: ()}
NTSC = [k * 1001 / 24000 for k in (0, 11, 24, 37, 51)]  # 23.976 frames a second
VARIABLE = [0.0, 0.0333, 0.7304, 2.0041, 2.5132]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """`tiny(builder)`: the folder of that tiny model, made once."""
    made: dict[Any, Path] = {}

    def folder(builder: Any) -> Path:
        missing = [name for name in NEEDS.get(builder, ("torchvision",)) if find_spec(name) is None]
        if missing:
            pytest.skip(f"transformers runs {builder.__name__} only with {' and '.join(missing)}")
        if builder not in made:
            import torch

            torch.manual_seed(1)
            model, processor = builder()
            with torch.no_grad():  # fresh weights hardly look at the video; these do, so a mixed-up batch would show
                for parameter in model.parameters():
                    parameter.mul_(4)
            path = tmp_path_factory.mktemp("hf") / builder.__name__
            model.save_pretrained(path)
            processor.save_pretrained(path)
            made[builder] = path
        return made[builder]

    return folder


@pytest.fixture(scope="session")
def loaded(tiny):
    """`loaded(builder)`: its captioner, loaded once."""
    made: dict[Any, Backend] = {}

    def captioner(builder: Any) -> Backend:
        if builder not in made:
            made[builder] = Backend(str(tiny(builder)), device="cpu")
            made[builder].load()
        return made[builder]

    return captioner


def noise_at(times: list[float] = NTSC, seed: int = 0, start_s: float = 0.0) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 256, (len(times), 20, 28, 3), dtype=np.uint8)
    return Frames(pixels, np.array(times), duration_s=2.6, fps=24000 / 1001, start_s=start_s)


def prompt(captioner: Backend, *conversations: Any) -> str:
    """What the model reads, placeholders expanded."""
    ids = captioner.prompter.encode(conversations)["input_ids"][0]
    return captioner.prompter.processor.tokenizer.decode(ids)


@pytest.mark.slow
@pytest.mark.parametrize("builder", PROMPTS, ids=lambda builder: builder.__name__)
def test_a_batch_of_four_answers_as_four_singles(loaded, builder):
    captioner, decoding = loaded(builder), Decoding(max_new_tokens=6)
    num = captioner.prompter.fixed_frames or 5
    conversations = [user_turn("What now" + "?" * seed, noise_at(NTSC[:num], seed)) for seed in range(4)]
    four = captioner.answer(conversations, decoding)
    assert four == [captioner.answer([one], decoding)[0] for one in conversations]
    assert len({output.text for output in four}) > 1
    assert all(output.tokens == 6 and output.finish == "length" and not output.warnings for output in four)
    *pieces, output = captioner.stream(conversations[1], decoding)
    assert "".join(pieces) == four[1].text and output == four[1]


@pytest.mark.slow
@pytest.mark.parametrize("times", [NTSC, VARIABLE], ids=["23.976", "vfr"])
@pytest.mark.parametrize("builder", PROMPTS, ids=lambda builder: builder.__name__)
def test_times_in_the_prompt_are_the_frames_own(loaded, builder, times):
    captioner = loaded(builder)
    find, written, _ = PROMPTS[builder]
    seen = times if captioner.prompter.fixed_frames is None else [times[i] for i in (0, 1, 3, 4)]
    assert re.findall(find, prompt(captioner, user_turn(PROMPT, noise_at(times)))) == written(seen)
    # A window is a clip of its own; the frame on screen when it opens began a little before.
    window = noise_at([59.99, *[60 + time for time in times[1:]]], start_s=60.0)
    assert re.findall(find, prompt(captioner, user_turn(PROMPT, window))) == written(seen)


@pytest.mark.slow
@pytest.mark.parametrize("builder", PROMPTS, ids=lambda builder: builder.__name__)
def test_any_number_of_frames_is_answered_and_one_is_wanted(loaded, builder):
    captioner = loaded(builder)
    find, written, wanted = PROMPTS[builder]
    assert captioner.spec == wanted
    assert captioner.frame_size == ((16, 16) if builder in (llava_onevision, internvl, instructblipvideo) else None)
    for num in (1, 2, 3):
        conversation = user_turn(PROMPT, noise_at(NTSC[:num]))
        assert captioner.answer([conversation], Decoding(max_new_tokens=2))[0].tokens
        found = re.findall(find, prompt(captioner, conversation))
        assert sorted(set(found)) == sorted(set(written(NTSC[:num])))


@pytest.mark.slow
def test_positions_of_qwen2_5_vl_follow_the_true_rate(loaded):
    encoded = loaded(qwen2_5_vl).prompter.encode([user_turn(PROMPT, noise_at(NTSC))])
    assert encoded["second_per_grid_ts"].tolist() == pytest.approx([2 * NTSC[-1] / 4], rel=1e-3)
    assert encoded["video_grid_thw"][0, 0] == 3  # five frames in pairs, none sampled away


@pytest.mark.slow
def test_the_answers_are_those_of_plain_transformers(loaded, tiny):
    from transformers.video_utils import VideoMetadata

    folder, one = tiny(qwen3_vl), noise_at([0.0, 0.5, 1.0, 1.5])
    processor = t.AutoProcessor.from_pretrained(folder)
    model = t.AutoModelForImageTextToText.from_pretrained(folder).eval()
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": PROMPT}]}]
    text = processor.apply_chat_template(chat, add_generation_prompt=True)
    metadata = VideoMetadata(total_num_frames=4, fps=2.0, duration=2.0, frames_indices=[0, 1, 2, 3])
    how = {"video_metadata": [metadata], "do_sample_frames": False, "return_tensors": "pt"}
    inputs = processor(text=[text], videos=[one.pixels], **how)
    ids = model.generate(**inputs, max_new_tokens=6, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    answer = loaded(qwen3_vl).answer([user_turn(PROMPT, one)], Decoding(max_new_tokens=6))[0]
    assert answer.text == processor.tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.slow
def test_a_model_for_pictures_gets_frames_with_their_times_before_them(loaded):
    captioner = loaded(llava)
    assert not captioner.prompter.takes_video and captioner.spec.num_frames == 8
    before = "".join(f"{time:.2f} s: " + "<image>" * 4 for time in VARIABLE)
    assert f"{before}{PROMPT}" in prompt(captioner, user_turn(PROMPT, noise_at(VARIABLE)))
    conversations = [user_turn(PROMPT, noise_at(seed=seed)) for seed in range(3)]
    three = captioner.answer(conversations, Decoding(max_new_tokens=4))
    assert three == [captioner.answer([one], Decoding(max_new_tokens=4))[0] for one in conversations]


@pytest.mark.slow
@pytest.mark.parametrize("builder", [qwen3_vl, smolvlm, llava_onevision, llava], ids=lambda builder: builder.__name__)
def test_several_turns_several_videos_or_none(loaded, builder):
    captioner = loaded(builder)
    turns = (
        Message(role="system", text="Be brief."),
        Message(role="user", text="Compare.", videos=(noise_at(seed=1), noise_at(seed=2))),
        Message(role="assistant", text="They differ."),
        Message(role="user", text="And this?", videos=(noise_at(seed=3),)),
    )
    text = prompt(captioner, turns)
    assert [text.index(m.text) for m in turns] == sorted(text.index(m.text) for m in turns)
    mixed = [
        turns,
        user_turn("Hello?"),
        user_turn(PROMPT, noise_at(seed=4)),
        user_turn("And you?"),
        user_turn(PROMPT, noise_at(NTSC[:3])),
    ]
    requests = [GenerateRequest(messages=one, decoding=Decoding(max_new_tokens=4)) for one in mixed]
    together = Batcher(captioner).generate_many(requests)
    assert together == [captioner.answer([one], Decoding(max_new_tokens=4))[0] for one in mixed]
    assert len({output.text for output in together}) > 2


@pytest.mark.slow
def test_what_a_model_cannot_hold_is_an_error_of_the_item(loaded):
    captioner = loaded(instructblipvideo)
    for conversation in (user_turn("Hello?"), user_turn("Compare.", noise_at(), noise_at())):
        with pytest.raises(ItemError) as caught:
            captioner.answer([conversation], Decoding())
        assert caught.value.code == "PROMPT_REFUSED"
    with pytest.raises(ItemError) as caught:
        captioner.answer([user_turn("word " * 400, noise_at())], Decoding())
    assert caught.value.code == "PROMPT_TOO_LONG" and "256" in str(caught.value)
    few = captioner.answer([user_turn(PROMPT, noise_at([i / 8 for i in range(9)]))], Decoding(max_new_tokens=400))[0]
    assert few.warnings[0].code == "FRAMES_LEFT_OUT" and few.finish == "length" and few.tokens < 256
    assert "lasts" not in prompt(
        captioner, user_turn(PROMPT, Frames(noise_at().pixels[:1], np.zeros(1), 0.0, 1.0))
    )  # a still


@pytest.mark.slow
def test_a_model_that_may_reason_does_so_only_where_it_is_wanted(tiny):
    folder = str(tiny(qwen3_5))
    assert prompt(Backend(folder), user_turn(PROMPT, noise_at())).endswith("<think>\n\n</think>\n\n")
    assert prompt(Backend(folder, thinking=True), user_turn(PROMPT, noise_at())).endswith("assistant\n<think>\n")
    assert effects(Backend)["thinking"] is TEXT  # other captions
    assert prompt(Backend(str(tiny(qwen3_vl))), user_turn(PROMPT, noise_at())).endswith("assistant\n")


@pytest.mark.slow
def test_a_template_without_videos_gets_pictures(tiny, tmp_path):
    folder = shutil.copytree(tiny(qwen3_vl), tmp_path / "pictures")
    (folder / "chat_template.jinja").write_text(chat_template("", "<|vision_start|><|image_pad|><|vision_end|>"))
    captioner = Backend(str(folder))
    assert not captioner.prompter.takes_video
    assert "0.73 s: <|vision_start|><|image_pad|>" in prompt(captioner, user_turn(PROMPT, noise_at(VARIABLE)))
    strings = "{% for m in messages %}{{ m.role + ': ' + m.content }}\n{% endfor %}"
    (folder / "chat_template.jinja").write_text(strings)
    captioner = Backend(str(folder))
    assert captioner.prompter.form == "text" and "<2.5 seconds>" in prompt(
        captioner, user_turn(PROMPT, noise_at(VARIABLE))
    )


@pytest.mark.slow
@pytest.mark.parametrize("builder", [qwen3_vl, llava_onevision], ids=lambda builder: builder.__name__)
def test_a_folder_of_videos_is_captioned(tiny, tmp_path, builder):
    from cineloop.video.encode import encode
    from cineloop.world.scenes.render import render
    from cineloop.world.scenes.sampler import sample_scene
    from v2t.caption.run import run
    from v2t.caption.settings import CaptionConfig

    (tmp_path / "clips").mkdir()
    for i in range(4):
        scene = sample_scene("train", 5, i)
        encode(render(scene, size=(32, 48), fps=12)[:14], tmp_path / "clips" / f"{i}.mp4", 24000 / 1001)
    rows: dict[int, list[dict[str, Any]]] = {}
    for batch in (1, 4):
        how = {"prompt": PROMPT, "max_new_tokens": 6, "batch_size": batch, "workers": 1, "device": "cpu"}
        config = CaptionConfig(model=str(tiny(builder)), **how)
        found = rows.setdefault(batch, [])
        run([str(tmp_path / "clips")], tmp_path / str(batch), config, emit=found.append)
    kept = ("id", "status", "caption", "frame_times_s", "model", "revision")
    one, four = ([{key: row[key] for key in kept} for row in sorted(rows[n], key=lambda r: r["id"])] for n in (1, 4))
    assert one == four and [row["status"] for row in one] == ["ok"] * 4
    assert one[0]["model"] == builder.__name__ and len(one[0]["revision"]) == 12
    second = 11 if builder is qwen3_vl else 1  # on screen half a second in, or one of eight evenly over 14
    assert one[0]["frame_times_s"][1] == pytest.approx(second * 1001 / 24000, abs=1e-4)


@pytest.mark.long
@pytest.mark.slow
def test_draws_come_from_the_whole_distribution_whatever_the_checkpoint_prefers(loaded):
    captioner, question = loaded(llava), [user_turn("What?", noise_at(NTSC[:1]))]

    def drawn(**decoding) -> list[str]:
        options = {"max_new_tokens": 1, "temperature": 50.0, **decoding}
        return [repr(captioner.answer(question, Decoding(seed=seed, **options))[0]) for seed in range(150)]

    free = drawn()
    own, captioner._model.generation_config = captioner._model.generation_config, t.GenerationConfig(top_k=2, min_p=0.9)
    try:
        assert drawn() == free and len(set(free)) > 55
        assert set(drawn(top_p=1e-9)) == {repr(captioner.answer(question, Decoding(max_new_tokens=1))[0])}
    finally:
        captioner._model.generation_config = own
