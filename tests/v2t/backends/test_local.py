"""The true model classes at tiny width, from a folder through `v2t/backends/local.py` and through the command line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from v2t import cli
from v2t.backends import AnswerPenalties, Decoding, choose, domain, user_turn
from v2t.backends.local import Backend, pieces

PROMPT = "Describe the video in one sentence."


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, PreTrainedTokenizerFast, SiglipVisionConfig

    from v2t.model import (
        CineloopConfig,
        CineloopForConditionalGeneration,
        CineloopProcessor,
        CineloopVideoProcessor,
    )

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    special = ["<pad>", "<|im_start|>", "<|im_end|>", "<video>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        [PROMPT], trainers.BpeTrainer(vocab_size=300, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token="<pad>", eos_token="<|im_end|>", additional_special_tokens=["<video>"]
    )
    torch.manual_seed(3)
    vision = SiglipVisionConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=32, patch_size=16,
        vision_use_head=False,
    )  # fmt: skip
    text = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, pad_token_id=0, eos_token_id=2,
    )  # fmt: skip
    resampler = {"hidden_size": 32, "num_layers": 2, "num_heads": 2, "num_queries": 4, "segment_frames": 4}
    config = CineloopConfig(
        vision_config=vision,
        resampler_config=resampler,
        text_config=text,
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
    )
    model = CineloopForConditionalGeneration(config)
    with torch.no_grad():  # fresh weights hardly look at the video; these do, so that a mixed-up batch would show
        for parameter in model.parameters():
            parameter.mul_(4)
    video = CineloopVideoProcessor(size={"height": 32, "width": 32}, num_frames=6, segment_frames=4)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    model.save_pretrained(folder)
    CineloopProcessor(video, tokenizer, tokens_per_segment=4).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def captioner(model_folder) -> Backend:
    made = Backend(str(model_folder), device="cpu")
    made.load()
    return made


def dim_noise(seed: int, num: int = 6) -> Frames:
    pixels = np.random.default_rng(seed).integers(0, 255, (num, 32, 32, 3), dtype=np.uint8) // (1 + seed % 5)
    return Frames.from_pixels(pixels, fps=2.0)


def ask(captioner: Backend, clips: list[Frames]) -> list:
    return captioner.answer([user_turn(PROMPT, one) for one in clips], Decoding(max_new_tokens=8))


@pytest.mark.slow
def test_a_batch_gives_what_single_clips_give(captioner):
    clips = [dim_noise(seed) for seed in range(6)]
    together = ask(captioner, clips)
    assert together == [ask(captioner, [one])[0] for one in clips]
    assert len({output.text for output in together}) > 1
    assert all(0 < output.tokens <= 8 for output in together)
    assert all((output.finish == "length") == (output.tokens == 8) for output in together)


@pytest.mark.slow
def test_clips_of_other_lengths_stay_apart_in_a_batch(captioner):
    clips = [dim_noise(1, 6), dim_noise(2, 1), dim_noise(3, 9)]
    assert ask(captioner, clips) == [ask(captioner, [one])[0] for one in clips]


def test_the_captions_are_those_of_plain_transformers(captioner, model_folder):
    import torch

    from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

    model = CineloopForConditionalGeneration.from_pretrained(model_folder).eval()
    processor = CineloopProcessor.from_pretrained(model_folder)
    one = dim_noise(4)
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": PROMPT}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], videos=[one], return_tensors="pt")
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == ask(captioner, [one])[0].text


def test_the_checkpoint_says_what_frames_it_wants(captioner, model_folder):
    assert captioner.spec.num_frames == 6 and captioner.frame_size == (32, 32)
    assert choose(str(model_folder)) == "local" and choose("starter") == "local" and choose("Org/Model") == "hf"


def test_the_revision_follows_the_weights(model_folder, tmp_path):
    copy = tmp_path / "tiny"
    shutil.copytree(model_folder, copy)
    before = Backend(str(copy)).revision
    assert before == Backend(str(model_folder)).revision
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert Backend(str(copy)).revision != before


def test_a_folder_without_a_model_is_refused_before_any_work(tmp_path, model_folder):
    with pytest.raises(MissingDependencyError, match="config.json"):
        Backend(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(UsageError, match="llava"):
        Backend(str(tmp_path))
    with pytest.raises(UsageError, match="dtype"):
        Backend(str(model_folder), dtype="int4")
    shutil.copytree(model_folder, tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(MissingDependencyError, match="cannot load"):
        Backend(str(tmp_path / "broken")).load()


@pytest.mark.slow
def test_a_clip_unlike_the_fitted_ones_is_warned_about(captioner, model_folder, tmp_path):
    def plain(level: int) -> Frames:
        noise = np.random.default_rng(level).integers(0, 20, (6, 32, 32, 3), dtype=np.uint8)
        return Frames.from_pixels(noise + np.uint8(level % 40), fps=2.0)

    features = np.concatenate([captioner.features([plain(i) for i in range(k, k + 50)]) for k in range(0, 400, 50)])
    folder = tmp_path / "tiny"
    shutil.copytree(model_folder, folder)
    domain.save(domain.fit(features[:300], features[300:], quantile=0.98, description="dim noise"), folder)
    homed = Backend(str(folder), device="cpu")
    assert homed.revision == captioner.revision  # where it is at home does not change what it says
    homed.load()
    inside, outside = ask(homed, [plain(1000), dim_noise(5)])
    assert inside.warnings == () and str(outside.warnings[0]).startswith("OUT_OF_DOMAIN: unlike dim noise")


@pytest.mark.slow
def test_the_command_captions_a_folder(model_folder, tmp_path, capsys):
    (tmp_path / "clips").mkdir()
    for seed in range(3):
        encode(dim_noise(seed).pixels, tmp_path / "clips" / f"{seed}.mp4", fps=4)
    (tmp_path / "clips" / "bad.mp4").write_text("no film")
    command = ["caption", str(tmp_path / "clips"), "-o", str(tmp_path / "out"), "--model", str(model_folder)]
    command += ["--max-new-tokens", "6", "--device", "cpu", "--json"]
    assert cli.main(command) == 3
    shown = capsys.readouterr()
    lines = [json.loads(line) for line in shown.out.splitlines()]
    assert sorted(line["id"] for line in lines[:-1]) == ["0.mp4", "1.mp4", "2.mp4", "bad.mp4"]
    assert lines[-1]["type"] == "summary" and lines[-1]["captioned"] == 3 and lines[-1]["tokens_per_s"] > 0
    assert "NOT_MEDIA" in shown.err and re.search(r"videos/s|s a video", shown.err)
    good = [line for line in lines if line.get("status") == "ok"]
    assert all((tmp_path / "out" / f"{line['id'][0]}.txt").read_text() == line["caption"] + "\n" for line in good)
    assert cli.main([*command[:-1], "--style", "timed"]) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.slow
def test_help_is_quick_and_imports_nothing_heavy():
    script = (
        "import sys\nfrom v2t.cli import main\n"
        "try:\n    main([*sys.argv[1:], '--help'])\nexcept SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'transformers', 'numpy', 'av', 'cv2', 'decord', 'yaml', 'rich'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    for verb in ([], ["caption"], ["world"], ["train"], ["doctor"]):
        done = subprocess.run([sys.executable, "-c", script, *verb], capture_output=True, text=True)
        assert done.returncode == 0 and "usage: v2t" in done.stdout, done.stderr


def test_a_stream_joined_is_the_answer_and_a_stopped_one_ends_its_writer(captioner):
    import threading

    conversation, decoding = user_turn(PROMPT, dim_noise(3)), Decoding(max_new_tokens=8)
    (whole,) = captioner.answer([conversation], decoding)
    *written, output = captioner.stream(conversation, decoding)
    assert "".join(written).strip() == whole.text.strip() and output == whole
    before = threading.active_count()
    stream = captioner.stream(conversation, Decoding(max_new_tokens=400))
    next(stream)
    stream.close()
    assert threading.active_count() == before


def test_an_error_while_streaming_reaches_the_reader(captioner):
    with pytest.raises(ValueError, match="too much"):
        for _ in pieces(lambda streamer: (_ for _ in ()).throw(ValueError("too much")), captioner._processor.tokenizer):
            pass


@pytest.mark.slow
def test_frames_that_are_not_square_are_captioned_as_plain_transformers_would(tmp_path):
    from tiny_captioner import tiny_captioner

    model, processor = tiny_captioner()
    processor.video_processor.size = {"height": 24, "width": 48}  # 3 rows of 6 patches
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 24, 48, 3), dtype=np.uint8)
    frames = Frames.from_pixels(pixels, 4.0)
    captioner = Backend(str(tmp_path))
    captioner.load()
    (output,) = captioner.answer([user_turn(PROMPT, frames)], Decoding(max_new_tokens=8))
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": PROMPT}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], videos=[frames], return_tensors="pt")
    inputs.pop("num_segments", None)
    ids = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
    assert output.text == processor.tokenizer.decode(ids, skip_special_tokens=True)


def test_prompts_hold_no_mark_that_training_did_not(tmp_path):
    """A tokenizer that puts a token of its own before every text: training writes none, so neither does asking."""
    from tokenizers.processors import TemplateProcessing

    from tiny_captioner import tiny_captioner

    model, processor = tiny_captioner()
    tokenizer = processor.tokenizer
    first = tokenizer.convert_ids_to_tokens(9)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single=f"{first} $A", special_tokens=[(first, 9)])
    assert tokenizer("ab")["input_ids"][0] == 9
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    captioner = Backend(str(tmp_path))
    captioner.load()
    frames = Frames.from_pixels(np.zeros((4, 32, 32, 3), np.uint8), 4.0)
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": PROMPT}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    text = text.replace("<video>", processor.clip_text(frames.times_s.tolist()))
    trained_on = tokenizer.encode(text, add_special_tokens=False)
    assert captioner._inputs([user_turn(PROMPT, frames)])["input_ids"][0].tolist() == trained_on
    assert captioner._prompt(captioner.encode_clip(frames), PROMPT) == trained_on


@pytest.mark.slow
def test_draws_come_from_the_whole_distribution_whatever_the_checkpoint_prefers(model_folder):
    made = Backend(str(model_folder), device="cpu")
    made.load()
    conversations = [user_turn(PROMPT, dim_noise(0))] * 400

    def drawn(**decoding) -> list[str]:
        outputs = made.answer(conversations, Decoding(max_new_tokens=1, temperature=50.0, **decoding))
        return [repr(output) for output in outputs]

    free = drawn()
    for name, value in (("top_k", 2), ("top_p", 0.1), ("min_p", 0.9), ("typical_p", 0.1), ("epsilon_cutoff", 0.5)):
        setattr(made._model.generation_config, name, value)
    assert drawn() == free and len(set(free)) > 60  # a top_k of 50 lets through 50 tokens at most
    assert len(set(drawn(top_p=0.1))) < len(set(drawn(top_p=0.5))) < len(set(free))
    made._model.generation_config.top_k = None
    (greedy,) = made.answer(conversations[:1], Decoding(max_new_tokens=1))
    assert set(drawn(top_p=1e-9)) == {repr(greedy)}
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(UsageError, match="top_p"):
            Decoding(top_p=wrong)


@pytest.mark.parametrize(("presence", "frequency"), [(0.5, 0.0), (0.0, 0.25), (1.5, -0.75)])
def test_penalties_count_the_tokens_of_the_answer_and_not_the_prompt(presence, frequency):
    penalties = AnswerPenalties(presence, frequency)
    logits = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))  # (B, vocabulary)
    prompt = torch.tensor([[1, 1, 2], [0, 3, 3]])
    assert torch.equal(penalties(prompt, logits), logits)
    counts = torch.tensor([[0, 1, 0, 0, 2, 0], [1, 0, 0, 0, 0, 2]])
    after = penalties(torch.cat([prompt, torch.tensor([[4, 1, 4], [5, 5, 0]])], dim=1), logits)
    torch.testing.assert_close(after, logits - presence * counts.clamp(max=1) - frequency * counts)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_penalties_change_the_answer_alike_alone_in_a_batch_and_in_pieces(model_folder, name):
    made = Backend(str(model_folder), device="cpu")
    made.load()
    conversations = [user_turn(PROMPT, dim_noise(seed)) for seed in range(3)]
    plain, most = Decoding(max_new_tokens=24), Decoding(max_new_tokens=24, **{name: 2.0})
    batch = made.answer(conversations, most)
    assert [output.text for output in batch] != [output.text for output in made.answer(conversations, plain)]
    assert batch == [made.answer([one], most)[0] for one in conversations]
    assert list(made.stream(conversations[0], most))[-1] == batch[0]
    for wrong in (-2.1, 2.1, float("nan")):
        with pytest.raises(UsageError, match=name):
            Decoding(**{name: wrong})
