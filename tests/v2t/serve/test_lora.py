"""An adapter that `v2t train` left, served by name beside its base: both answer as they do alone, in one batch."""

from __future__ import annotations

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from cineloop.video.worker import DecoderPool
from cineloop.world.language.words import PROMPTS
from serve_process import serving
from small_clips import world_files
from v2t import train
from v2t.backends import Decoding, open_backend, user_turn
from v2t.backends.local import STARTER

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900)]
TOKENS = 32
RECIPE = """\
stage: instruct
model: {model}
lora: {{r: 4, alpha: 64, dropout: 0.0}}
save_dtype: float32
eval_clips: 4
clips: {{num_frames: 16, size: 64}}
loop:
  steps: 6
  batch_size: 4
  micro_batch: 4
  workers: 0
  tensorboard: false
  optim:
    base_lr: 5e-3
    warmup_steps: 1
    lr: {{vision_tower: 0.0, resampler: 0.0, projector: 0.0, language_model: 5e-3}}
runtime: {{device: cpu, threads: 1}}
"""


@pytest.fixture(scope="module")
def final(tmp_path_factory):
    pytest.importorskip("vllm", reason="adapters are served by vLLM")
    pytest.importorskip("peft", reason="v2t train makes adapters with peft")
    folder = tmp_path_factory.mktemp("train")
    (folder / "lora.yaml").write_text(RECIPE.format(model=json.dumps(str(STARTER))))
    assert train.run(folder / "lora.yaml", out=folder / "run") == 0
    return folder / "run/final"


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    return world_files(tmp_path_factory.mktemp("clips"), 6, 77)


def answers_of(model: str, clips: list[Path]) -> list[str]:
    captioner = open_backend(model, device="cpu", dtype="float32")
    captioner.load()
    with DecoderPool(1, decoders=("pyav",)) as pool:
        frames = [pool.decode(clip, captioner.spec, captioner.frame_size) for clip in clips]
    decoding = Decoding(max_new_tokens=TOKENS)
    return [captioner.answer([user_turn(PROMPTS["short"], one)], decoding)[0].text for one in frames]


def test_adapter_and_base_answer_in_one_batch_as_each_alone(final, clips, tmp_path):
    expected = {"cineloop-starter": answers_of("starter", clips), "mine": answers_of(str(final), clips)}
    assert expected["mine"] != expected["cineloop-starter"], "the adapter changes nothing: nothing would be shown"
    arguments = ["--engine", "vllm", "--port", "0", "--dtype", "float32", "--lora", f"mine={final / 'adapter'}"]
    with serving(tmp_path, *arguments) as process:
        server = process.ready()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=300) as client:
            assert {model.id for model in client.models.list()} == set(expected)

            def ask(job: tuple[str, Path]) -> str:
                name, clip = job
                url = f"data:video/mp4;base64,{base64.b64encode(clip.read_bytes()).decode()}"
                content = [
                    {"type": "video_url", "video_url": {"url": url}},
                    {"type": "text", "text": PROMPTS["short"]},
                ]
                reply = client.chat.completions.create(
                    model=name, messages=[{"role": "user", "content": content}], max_tokens=TOKENS, temperature=0
                )
                return reply.choices[0].message.content

            jobs = [(name, clip) for clip in clips for name in expected]
            with ThreadPoolExecutor(len(jobs)) as threads:
                answers = dict(zip(jobs, threads.map(ask, jobs), strict=True))
    for name, texts in expected.items():
        assert [answers[name, clip] for clip in clips] == texts, name
