"""Training, local inference and vLLM choose the same frames, write the same prompt, see the same and say the same.

Twenty clips of the cartoon world, from one frame to two minutes, as files (vLLM's server samples them) and as frames
that were sampled before (more than one segment); the engine runs in this process, in float32.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from cineloop.video.decode import Request, decode
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from cineloop.video.packed import pack
from cineloop.video.sample import SampleSpec
from cineloop.world.scenes.render import render
from cineloop.world.scenes.sampler import sample_scene
from v2t.backends.local import STARTER
from vllm_engine import engine, packed_url, video_url, write_variable

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
QUESTION = "Describe the video."
NTSC = Fraction(24000, 1001)
# Of each clip: seconds, frames a second, and how it is sampled before it is sent; None: the server does it.
CLIPS = {
    "one frame": (0.1, 10, None),
    "two frames": (0.2, 10, None),
    "three frames": (0.3, 10, None),
    "fewer than wanted": (1.0, 12, None),
    "as many as wanted": (2.0, 8, None),
    "one more than wanted": (1.7, 10, None),
    "short": (2.5, 12, None),
    "film rate": (3.0, NTSC, None),
    "film rate, longer": (9.0, NTSC, None),
    "thirty a second": (4.0, Fraction(30000, 1001), None),
    "one a second": (9.0, 1, None),
    "variable rate": (4.0, "variable", None),
    "variable rate, still end": (6.0, "variable", None),
    "half a minute": (30.0, 6, None),
    "two minutes": (120.0, 4, None),
    "two segments": (5.0, 12, SampleSpec(num_frames=32)),
    "a broken last segment": (6.0, 12, SampleSpec(num_frames=21)),
    "film rate, by rate": (7.0, NTSC, SampleSpec(sampler="fps", fps=4.0)),
    "variable rate, by rate": (8.0, "variable", SampleSpec(sampler="fps", fps=5.0)),
    "two minutes, by segments": (120.0, 4, SampleSpec(sampler="segment", num_frames=4, segment_s=8.0)),
}


def write_clip(path: Path, index: int, seconds: float, fps: float | str) -> None:
    scene = sample_scene("seen", 77, index, seconds=(max(seconds, 1.5), max(seconds, 1.5)))
    if fps == "variable":
        steps = np.random.default_rng(index).integers(20, 400, 200).cumsum()
        times_ms = [0, *steps[steps < seconds * 1000].tolist()]
        write_variable(render(scene, (72, 96), times_s=np.array(times_ms) / 1000), times_ms, path)
    else:
        count = max(1, round(seconds * float(fps)))
        encode(render(scene, (72, 96), times_s=np.arange(count) / float(fps)), path, fps=fps)


@pytest.fixture(scope="module")
def ours():
    from v2t.backends.local import Backend

    captioner = Backend()
    captioner.load()
    return captioner


@pytest.fixture(scope="module")
def served():
    with engine(STARTER) as (llm, seen):
        yield llm, seen


def local_answer(ours, frames: Frames) -> tuple[list[int], list[float], object, list[int]]:
    """Prompt ids, seconds as the model gets them, visual tokens and the greedy answer's ids, all by our own classes."""
    import torch

    processor, model = ours._processor, ours._model
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], videos=[frames], return_tensors="pt")
    with torch.inference_mode():
        tokens = model.get_video_features(
            inputs["pixel_values_videos"], inputs["frame_times_s"], inputs["frame_mask"]
        ).flatten(0, 1)
        given = {k: inputs[k] for k in ("input_ids", "attention_mask", *processor.video_processor.model_input_names)}
        written = model.generate(**given, max_new_tokens=64, do_sample=False)
    times = inputs["frame_times_s"][inputs["frame_mask"].bool()].tolist()
    prompt = inputs["input_ids"][0].tolist()
    return prompt, times, tokens, written[0, len(prompt) :].tolist()


def gap(steps: list[dict], said: list[int], wanted: list[int]) -> float:
    """By how much of logit the engine preferred its token where two answers part."""
    at = next(i for i, (a, b) in enumerate(zip(said, wanted, strict=False)) if a != b)
    chosen, other = steps[at][said[at]].logprob, steps[at].get(wanted[at])
    return float("inf") if other is None else chosen - other.logprob


def test_vllm_sees_and_says_what_the_local_captioner_does(ours, served, tmp_path):
    from vllm import SamplingParams

    llm, seen = served
    sampling = SamplingParams(temperature=0, max_tokens=64, logprobs=5)
    unequal, worst, ties, segments = [], 0.0, [], 0
    for index, (name, (seconds, fps, spec)) in enumerate(CLIPS.items()):
        path = tmp_path / f"{index}.mp4"
        write_clip(path, index, seconds, fps)
        frames = decode(path, Request(spec=spec or ours.spec, size=ours.frame_size))
        part = packed_url(frames) if spec else video_url(path.read_bytes())
        prompt, times, tokens, wanted = local_answer(ours, frames)
        seen.times_s.clear(), seen.tokens.clear()
        chat = [{"role": "user", "content": [part, {"type": "text", "text": QUESTION}]}]
        (answer,) = llm.chat(chat, sampling, use_tqdm=False)
        assert list(answer.prompt_token_ids) == prompt, name
        assert len(seen.tokens) == 1, name
        assert seen.times_s == [times], name
        assert seen.tokens[0].shape == tokens.shape, name
        count = prompt.count(ours._model.config.video_token_id)
        assert len(tokens) == count == ours._model.num_visual_tokens(len(frames)), name
        worst = max(worst, float((seen.tokens[0] - tokens).abs().max()))
        segments += count // ours._processor.tokens_per_segment
        said = list(answer.outputs[0].token_ids)
        if said != wanted:
            unequal.append(name)
            ties.append(gap(answer.outputs[0].logprobs, said, wanted))
    same = len(CLIPS) - len(unequal)
    print(f"\n{len(CLIPS)} clips, {segments} segments: ids, times and token counts equal; embeddings differ by at most")
    print(f"{worst:.2e}; greedy captions equal in {same} of {len(CLIPS)}; gaps where not: {ties} ({unequal})")
    assert worst <= 1e-3
    assert len(unequal) <= len(CLIPS) // 20
    assert all(tie <= 1e-3 for tie in ties), (unequal, ties)


def still(value: int, times: list[float]) -> Frames:
    pixels = np.full((len(times), 64, 64, 3), value, np.uint8)
    return Frames(pixels, np.array(times), duration_s=times[-1] + 1, fps=1.0)


def test_several_videos_and_turns_have_the_prompt_of_training(ours, served):
    from vllm import SamplingParams

    llm, seen = served
    seen.times_s.clear()
    clips = [still(20, [0.0, 1.0]), still(220, [0.0, 0.5, 1.25]), still(90, [2.0])]
    turns = [(clips[:2], "What?<"), ([], "And then?"), (clips[2:], "Now?")]
    served_chat, chat = [], []
    for videos, text in turns:
        # The words go first here: a timestamp then stands right behind them, and tokens must not be cut between.
        words = [{"type": "text", "text": text}]
        served_chat.append({"role": "user", "content": words + [packed_url(video) for video in videos]})
        chat.append({"role": "user", "content": words + [{"type": "video"} for _ in videos]})
        for talk in (served_chat, chat):
            talk.append({"role": "assistant", "content": "A robot."})
    processor = ours._processor
    text = processor.apply_chat_template(chat[:-1], tokenize=False, add_generation_prompt=True)
    wanted = processor(text=[text], videos=clips)["input_ids"][0].tolist()
    (answer,) = llm.chat(served_chat[:-1], SamplingParams(temperature=0, max_tokens=4), use_tqdm=False)
    assert list(answer.prompt_token_ids) == wanted
    assert sorted(seen.times_s) == sorted(clip.times_s.tolist() for clip in clips)


def test_equal_frames_at_other_times_are_another_video(served):
    from vllm import SamplingParams

    llm, seen = served
    seen.tokens.clear()
    prompts = []
    for times in ([0.0, 1.0, 2.0], [0.0, 3.0, 9.0], [0.0, 1.0, 2.0]):
        clip = still(128, times)
        for part in (packed_url(clip), None):
            if part is None:  # as frames, past the loader
                told = {"frame_times_s": times, "fps": 1.0}  # without all that a loader would tell
                prompt = {"prompt": "<video>", "multi_modal_data": {"video": [(clip.pixels, told)]}}
                (answer,) = llm.generate([prompt], SamplingParams(max_tokens=1), use_tqdm=False)
            else:
                chat = [{"role": "user", "content": [part]}]
                (answer,) = llm.chat(chat, SamplingParams(max_tokens=1), use_tqdm=False)
            prompts.append(tuple(answer.prompt_token_ids))
    assert prompts[0] == prompts[4] != prompts[2]
    assert prompts[1] == prompts[5] != prompts[3]
    assert len(seen.tokens) == 4, "two clips in two forms are encoded once each"
    assert not np.allclose(seen.tokens[0], seen.tokens[2])


def test_a_request_cannot_change_how_videos_are_read(served, tmp_path):
    from vllm import SamplingParams

    llm, seen = served
    write_clip(tmp_path / "clip.mp4", 3, 6.0, 12)
    part = video_url((tmp_path / "clip.mp4").read_bytes())
    one = SamplingParams(max_tokens=1)
    seen.times_s.clear()
    llm.chat([{"role": "user", "content": [part]}], one, use_tqdm=False)
    for kwargs in ({"num_frames": 500}, {"max_frames": 9999}, {"size": {"height": 999, "width": 999}}):
        with pytest.raises(ValueError, match="no processor settings"):
            llm.chat([{"role": "user", "content": [part]}], one, use_tqdm=False, mm_processor_kwargs=kwargs)
    assert [len(times) for times in seen.times_s] == [16]


def test_what_is_no_video_is_refused_and_the_engine_goes_on(served):
    from vllm import SamplingParams

    llm, _ = served
    one = SamplingParams(temperature=0, max_tokens=1)
    cut = pack(still(1, [0.0]))[:-9]
    for data in (b"", b"no video at all" * 99, cut):
        with pytest.raises(ValueError, match="EMPTY_FILE|NOT_MEDIA"):
            llm.chat([{"role": "user", "content": [video_url(data)]}], one, use_tqdm=False)
    answers = llm.chat([[{"role": "user", "content": [packed_url(still(5, [0.0]))]}]] * 2, one, use_tqdm=False)
    assert len({tuple(answer.outputs[0].token_ids) for answer in answers}) == 1


def test_a_video_token_is_never_written(ours, served):
    from vllm import SamplingParams

    llm, _ = served
    video_token_id = ours._model.config.video_token_id
    for token, is_written in ((video_token_id, False), (video_token_id + 40, True)):
        # The greatest bias that a request may ask for.
        sampling = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True, logit_bias={token: 100.0})
        (answer,) = llm.generate(["a"], sampling, use_tqdm=False)
        assert (token in answer.outputs[0].token_ids) is is_written
