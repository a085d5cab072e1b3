"""Command lines and environments of the engines; nothing is started here."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from cineloop.errors import UsageError
from refusals import refusal, refusal_code
from v2t.serve import engines, served
from v2t.serve.engine_process import EngineCommand
from v2t.serve.engines import vllm
from v2t.serve.served import Adapter
from v2t.serve.settings import ServeConfig, ServeLimits

KEY = "k" * 20
SOCKET = Path("/run/v2t-x/s")
OURS = served.read(ServeConfig(engine="local"))
FOREIGN = served.read(ServeConfig(engine="vllm", model="Org/Video-7B"))
SECRETS = {
    "V2T_SERVE_KEY": KEY, "MY_KEYS": KEY, "OPENAI_API_KEY": "o", "VLLM_API_KEY": "v", "HF_TOKEN": "h",
}  # fmt: skip


@pytest.fixture
def with_vllm(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: object())
    monkeypatch.setattr(vllm, "is_built_for_cpu", lambda: True)


@pytest.fixture
def without_vllm(monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda name: None)


def value(argv: tuple[str, ...], flag: str) -> str:
    assert argv.count(flag) == 1, flag
    return argv[argv.index(flag) + 1]


def made(what: served.ServedModel = OURS, **settings) -> EngineCommand:
    return vllm.command(ServeConfig(**settings), what, SOCKET)


def chosen(what: served.ServedModel = OURS, **settings) -> str:
    return engines.choose(ServeConfig(**settings), what)


def test_without_vllm_our_model_is_answered_here_and_the_rest_is_refused_with_a_way_out(without_vllm, tmp_path):
    assert chosen() == "local"
    adapters = {"a": Adapter(folder=tmp_path, rank=8, base_revision=None)}
    for what, settings in (
        (OURS, {"engine": "vllm"}),
        (FOREIGN, {"model": "Org/Video-7B"}),
        (replace(OURS, adapters=adapters), {}),
    ):
        assert refusal_code(engines.create, ServeConfig(**settings), what) == (5, "ENVIRONMENT")


def test_auto_takes_vllm_where_it_is_and_local_stays_local(with_vllm):
    assert chosen() == made().name == "vllm"
    assert chosen(engine="local") == "local"


def test_the_local_engine_runs_in_this_process_with_the_settings_that_were_asked_for(without_vllm):
    config = ServeConfig(device="cpu", dtype="bfloat16", max_model_len=512, name="mine")
    engine = engines.create(config, OURS)
    assert (engine.name, engine.state) == ("local", "starting")
    captioner = engine._captioner
    assert (captioner.device, captioner.dtype, captioner.max_model_len) == ("cpu", "bfloat16", 512)
    assert str(captioner.folder) == OURS.source and engines.command_line(config, OURS) == ()


def test_vllms_command_line_is_that_of_its_process_and_refused_settings_leave_no_folder(
    with_vllm, monkeypatch, tmp_path
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    argv = engines.command_line(ServeConfig(), OURS)
    assert value(argv, "--uds") == "ENGINE.sock" and not any(tmp_path.iterdir())
    with pytest.raises(UsageError):
        engines.create(ServeConfig(engine_args=("--port=1",)), OURS)
    assert not any(tmp_path.iterdir())
    engine = engines.create(ServeConfig(limits=ServeLimits(in_flight=5)), OURS)
    command = engine.command
    assert (engine.name, engine.state, command.in_flight) == ("vllm", "starting", 5)
    asyncio.run(engine.stop())
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("settings", [{"engine_args": ("--x",)}, {"tensor_parallel": 2}, {"pipeline_parallel": 2}])
def test_what_only_vllm_can_do_is_not_passed_over(settings):
    error = refusal(engines.create, ServeConfig(engine="local", **settings), OURS)
    assert error.code == "USAGE" and error.message.startswith(next(iter(settings)))


def test_no_key_of_anybody_is_in_a_childs_environment_or_arguments(with_vllm, monkeypatch):
    for name, secret in SECRETS.items():
        monkeypatch.setenv(name, secret)
    command = made(key_env="MY_KEYS")
    assert not {"MY_KEYS", "OPENAI_API_KEY", "VLLM_API_KEY", "HF_TOKEN"} & command.env.keys()
    assert "V2T_SERVE_KEY" in command.env  # not the name that was given, so not a key
    assert KEY not in " ".join(command.argv)
    assert KEY not in repr(command) and "V2T_SERVE_KEY" not in made().env
    assert command.env["PATH"] == os.environ["PATH"]


def test_a_hub_model_is_fetched_with_this_users_token_and_a_folder_is_not_fetched(with_vllm, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "h")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert made(FOREIGN, model="Org/Video-7B").env["HF_TOKEN"] == "h"
    assert "HF_HUB_OFFLINE" not in made(FOREIGN, model="Org/Video-7B").env
    ours = made().env
    assert ours["HF_HUB_OFFLINE"] == ours["TRANSFORMERS_OFFLINE"] == "1" and "HF_TOKEN" not in ours


def test_vllm_on_a_cpu(with_vllm):
    command = made(kv_cache_gb=1.5, limits=ServeLimits(videos=3))
    argv, env = command.argv, command.env
    assert argv[:4] == (sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server")
    assert value(argv, "--uds") == str(SOCKET) and value(argv, "--served-model-name") == OURS.name
    assert value(argv, "--dtype") == "float32" and "--enforce-eager" in argv
    assert json.loads(value(argv, "--limit-mm-per-prompt")) == {"video": 3}
    assert json.loads(value(argv, "--override-generation-config")) == {"temperature": 0.0}
    assert (env["VLLM_CPU_KVCACHE_SPACE"], env["VLLM_PLUGINS"]) == ("2", "cineloop")
    assert env["VLLM_NO_USAGE_STATS"] == env["DO_NOT_TRACK"] == "1"
    assert env["VLLM_RPC_BASE_PATH"] == str(SOCKET.parent)
    assert not [word for word in argv if "trust" in word or "local-media" in word or word.startswith("--enable-")]
    assert "--no-enable-log-requests" in argv and "--disable-fastapi-docs" in argv
    assert not {"--max-model-len", "--tensor-parallel-size", "--pipeline-parallel-size", "--host", "--port"} & set(argv)
    assert value(made(dtype="bfloat16", max_model_len=99).argv, "--dtype") == "bfloat16"
    assert value(made(max_model_len=99).argv, "--max-model-len") == "99"


def test_vllm_on_gpus(with_vllm, monkeypatch):
    monkeypatch.setattr(vllm, "is_built_for_cpu", lambda: False)
    command = made(tensor_parallel=2, pipeline_parallel=4, device="cuda:3")
    assert value(command.argv, "--dtype") == "auto" and "--enforce-eager" not in command.argv
    assert value(command.argv, "--tensor-parallel-size") == "2"
    assert value(command.argv, "--pipeline-parallel-size") == "4"
    assert command.env["CUDA_VISIBLE_DEVICES"] == "3" and "VLLM_CPU_KVCACHE_SPACE" not in command.env
    assert refusal_code(made, device="cpu") == (2, "USAGE")


def test_other_peoples_models_get_sampled_frames_and_their_times(with_vllm):
    argv = made(FOREIGN, model="Org/Video-7B", limits=ServeLimits(frames=50)).argv
    assert value(argv, "--model") == "Org/Video-7B"
    assert json.loads(value(argv, "--limit-mm-per-prompt")) == {"video": 8, "image": 50}
    assert json.loads(value(argv, "--media-io-kwargs")) == {"video": {"num_frames": -1}}
    assert "--trust-request-mm-kwargs" in argv and "--trust-remote-code" not in argv


def test_adapters_are_served_by_name_at_the_next_rank(with_vllm, tmp_path):
    folders = [tmp_path / "a=1", tmp_path / "b"]
    beside = {f.name[0]: Adapter(folder=f, rank=r, base_revision=None) for f, r in zip(folders, (4, 33), strict=True)}
    argv = made(replace(OURS, adapters=beside)).argv
    at = argv.index("--lora-modules")
    modules = [json.loads(word) for word in argv[at + 1 : at + 3]]
    assert modules == [{"name": "a", "path": str(folders[0])}, {"name": "b", "path": str(folders[1])}]
    assert argv[at + 3].startswith("--") and "--enable-lora" in argv
    assert (value(argv, "--max-loras"), value(argv, "--max-lora-rank")) == ("3", "64")
    large = replace(OURS, adapters={"a": Adapter(folder=tmp_path, rank=600, base_revision=None)})
    assert refusal_code(made, large) == (2, "USAGE")


def test_switches_that_open_vllm_are_taken_out_of_the_environment(with_vllm, monkeypatch):
    for name in ("VLLM_SERVER_DEV_MODE", "VLLM_ALLOW_RUNTIME_LORA_UPDATING"):
        monkeypatch.setenv(name, "1")
        assert name not in made().env


@pytest.mark.parametrize(
    "words", [["--trust-remote-code"], ["--trust_remote_code=true"], ["--trust-rem"], ["--allowed-local-media-path=/"],
              ["--gpu-memory-utilization", "0.5", "--enable-prompt-embeds"], ["--trust-request-mm-kwargs"]],
)  # fmt: skip
def test_arguments_that_open_the_engine_are_refused_however_they_are_written(words, with_vllm):
    assert refusal_code(made, engine_args=tuple(words)) == (7, "POLICY")


@pytest.mark.parametrize("words", [["--port", "80"], ["--api-key=x"], ["--served_model_name", "x"], ["--config=f"],
                                   ["--ud", "s"], ["--served-model", "x"], ["--api-k=x"], ["--conf=f"]])  # fmt: skip
def test_arguments_that_are_said_already_are_refused(words, with_vllm):
    assert refusal_code(made, engine_args=tuple(words)) == (2, "USAGE")


def test_other_arguments_stand_last(with_vllm):
    words = ("--gpu-memory-utilization", "0.5", "--quantization=fp8", "--no-enable-prefix-caching")
    assert made(engine_args=words).argv[-4:] == words
