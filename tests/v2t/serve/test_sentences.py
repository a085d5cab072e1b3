"""The words of what `v2t serve` refuses, before it starts and of a request, each once; other tests hold codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cineloop import config
from cineloop.video.sample import SampleSpec
from cineloop.web.faults import Fault
from refusals import refusal
from v2t.backends.local import STARTER, revision_of
from v2t.serve import engines, served
from v2t.serve.chat import read
from v2t.serve.engines import vllm
from v2t.serve.served import Adapter, ServedModel
from v2t.serve.settings import ServeConfig, ServeLimits

KEY = "a-key-of-more-than-16"
SETTINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"host": "0.0.0.0"}, "POLICY",
     "host 0.0.0.0 is reachable from other machines, so clients need a key (put one of at least 16 characters into the "
     "environment variable V2T_SERVE_KEY)"),
    ({"port": 70000}, "USAGE", "port must be from 0 to 65535, got 70000"),
    ({"key_env": KEY}, "USAGE",
     "key_env must be the NAME of an environment variable, in capitals, never a key itself"),
    ({"name": "a b"}, "USAGE", "name: expected letters, digits and . _ - / :, got 'a b'"),
    ({"roots": {"../x": "."}}, "USAGE", "roots: expected a name of letters, digits and . _ -, got '../x'"),
    ({"roots": {"x": "nowhere"}}, "USAGE", "roots.x: nowhere is not a folder"),
    ({"limits.frames": 0}, "USAGE", "limits.frames must be above 0, got 0"),
    ({"engine": "llama"}, "USAGE",
     "engine must be auto, vllm, local or openai:URL, got 'llama' (did you mean vllm?)"),
    ({"upstream.max_pictures": 0}, "USAGE", "upstream.max_pictures must be from 1 to 4096, got 0"),
    ({"upstream.read_s": 0.0}, "USAGE", "upstream.read_s must be a number of seconds above 0, got 0.0"),
    ({"upstream.key_env": KEY}, "USAGE",
     "upstream.key_env must be the NAME of an environment variable, in capitals, never a key"),
    ({"kv_cache_gb": -1.0}, "USAGE", "kv_cache_gb must be above 0, got -1.0"),
]  # fmt: skip
THERE = "(name its model in the address: --engine openai:URL#model)"
MODELS: list[tuple[dict[str, Any], str, str]] = [
    ({"model": "Qwen/Qwen3-VL-2B-Instruct", "engine": "local"}, "USAGE",
     "--engine local serves this project's own models, not 'Qwen/Qwen3-VL-2B-Instruct' (--engine vllm)"),
    ({"model": "openai:http://localhost:1/v1"}, "USAGE",
     "model 'openai:http://localhost:1/v1' is a server already; name a folder or a hub id (to stand before that "
     "server: --engine openai:http://localhost:1/v1)"),
    ({"adapters": {"mine": "good"}, "name": "mine"}, "USAGE",
     "the model and an adapter are both called 'mine' (--name)"),
    ({"adapters": {"mine": "good"}, "engine": "local"}, "USAGE",
     "--engine local serves no adapters (--engine vllm, or serve the merged captioner)"),
    ({"adapters": {"mine": "other"}}, "MISMATCH",
     f"adapter mine was trained on the captioner 0123456789ab, this one is {revision_of(STARTER)} (serve it with the "
     "folder it was trained on (base_model_name_or_path in its config names it))"),
    ({"adapters": {"mine": "dora"}}, "USAGE",
     "dora is DoRA; engines serve only plain LoRA on a base (serve the merged captioner, the folder final/, instead)"),
    ({"adapters": {"mine": "empty"}}, "ADAPTER", "empty contains no adapter_model.safetensors"),
    ({"engine": "openai:localhost"}, "USAGE",
     "expected openai:URL[#model], such as openai:http://localhost:8000/v1#my-model"),
    ({"engine": "openai:http://localhost", "model": "Org/Video"}, "USAGE",
     f"--engine openai:URL serves the models of that server; no model, adapter or argument is loaded here {THERE}"),
]  # fmt: skip
COMMANDS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"device": "cpu"}, 8, "USAGE",
     "--device cpu: this vLLM is built for GPUs (scripts/serve-env makes one for CPUs)"),
    ({}, 600, "USAGE", "an adapter of rank 600; vLLM serves 512 at most (serve it merged)"),
    ({"engine_args": ("--trust-rem",)}, 8, "POLICY",
     "engine_args: --trust-rem would bypass the checks of the gateway"),
    ({"engine_args": ("--port", "80")}, 8, "USAGE", "engine_args: --port is set by v2t serve itself (--port)"),
]  # fmt: skip
NO_VLLM = ("vLLM is not installed here, and --engine vllm needs it (it pins its own torch: scripts/serve-env creates "
           "an environment for it; run v2t serve from there)")  # fmt: skip
SHOWN = {"type": "video_url", "video_url": {"url": "data:x"}}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


REQUESTS: list[tuple[dict[str, Any], int, str, str]] = [
    ({"model": "gpt-4o"}, 404, "UNKNOWN_MODEL", "unknown model; this server has: base, shop"),
    ({"tools": [1]}, 400, "UNSUPPORTED", "tools: not supported by this server; leave it out, or send []"),
    ({"zzz": 1}, 400, "UNKNOWN_FIELD", "zzz: unknown field"),
    ({"temperature": "hot"}, 400, "BAD_REQUEST", 'temperature: expected a number from 0 to 2; got "hot"'),
    ({"max_tokens": 99}, 400, "BAD_REQUEST", "max_tokens: expected an integer from 1 to 64; got 99"),
    ({"messages": []}, 400, "BAD_REQUEST", "messages: expected a list of at least one message; got a list of 0"),
    ({"messages": [{"role": "assistant", "content": [SHOWN]}]}, 400, "BAD_REQUEST",
     "messages[0].content[0].video_url.url: only the user may send videos"),
    ({"messages": [user("x" * 200)]}, 413, "TOO_LARGE", "messages: 200 characters of text; at most 100"),
    ({"messages": [user([SHOWN] * 3)]}, 413, "TOO_LARGE", "messages: 3 videos and pictures; at most 2"),
    ({"messages": [user("a")] * 6}, 413, "TOO_LARGE", "messages: 6 messages; at most 5"),
]  # fmt: skip


@pytest.fixture(scope="module")
def ours() -> ServedModel:
    return served.read(ServeConfig())


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """Adapters: good, of another captioner, DoRA, without weights; the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("V2T_SERVE_KEY", raising=False)
    good = {"peft_type": "LORA", "r": 8, "revision": revision_of(STARTER)}
    others = {"other": {"revision": "0123456789ab"}, "dora": {"use_dora": True}}
    for name in ("good", "empty", *others):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text(json.dumps(good | others.get(name, {})))
        if name != "empty":
            (tmp_path / name / "adapter_model.safetensors").touch()
    return tmp_path


@pytest.mark.parametrize(("flags", "code", "words"), SETTINGS, ids=[str(flags) for flags, *_ in SETTINGS])
def test_the_words_of_settings_that_are_refused(flags, code, words, folder):
    error = refusal(config.load, ServeConfig, flags=flags)
    assert (error.code, str(error)) == (code, words)


@pytest.mark.parametrize(("settings", "code", "words"), MODELS, ids=[words[:40] for *_, words in MODELS])
def test_the_words_of_a_model_that_cannot_be_served(settings, code, words, folder):
    settings = settings | {"adapters": {name: Path(at) for name, at in settings.get("adapters", {}).items()}}
    error = refusal(lambda: served.read(ServeConfig(**settings)))
    assert (error.code, str(error)) == (code, words)


@pytest.mark.parametrize(("settings", "rank", "code", "words"), COMMANDS, ids=[words[:40] for *_, words in COMMANDS])
def test_the_words_of_an_engine_that_cannot_be_started(settings, rank, code, words, folder, ours, monkeypatch):
    monkeypatch.setattr(vllm, "is_built_for_cpu", lambda: "device" not in settings)
    what = replace(ours, adapters={"a": Adapter(folder=folder, rank=rank, base_revision=None)})
    error = refusal(vllm.command, ServeConfig(**settings), what, "/socket")
    assert (error.code, str(error)) == (code, words)


def test_the_words_of_an_engine_that_is_not_here(ours, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)
    error = refusal(engines.create, ServeConfig(engine="vllm"), ours)
    assert (error.exit_code, str(error)) == (5, NO_VLLM)
    error = refusal(engines.create, ServeConfig(engine="local", tensor_parallel=2), ours)
    assert (error.code, str(error)) == ("USAGE", "tensor_parallel: only supported by vLLM (--engine vllm)")


@pytest.mark.parametrize(("fields", "status", "code", "words"), REQUESTS, ids=[words[:40] for *_, words in REQUESTS])
def test_the_words_of_a_request_that_is_refused(fields, status, code, words):
    model = ServedModel(name="base", source="x", is_ours=True, spec=SampleSpec(), adapters=("shop",))
    limits = ServeLimits(messages=5, text_chars=100, videos=2, max_tokens=64)
    with pytest.raises(Fault) as caught:
        read({"messages": [user("What?")], **fields}, model, limits)
    assert (caught.value.status, caught.value.code, caught.value.message) == (status, code, words)
