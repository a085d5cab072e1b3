"""What `v2t serve` is told, and what it will serve: refused before anything is started."""

from __future__ import annotations

import json

import pytest

from cineloop import config
from cineloop.errors import MissingDependencyError, UsageError
from refusals import refusal, refusal_code
from v2t.backends.local import STARTER, revision_of
from v2t.serve import served
from v2t.serve.settings import ServeConfig, UpstreamSettings

KEY = "a-key-of-more-than-16"


def adapter(folder, **told):
    folder.mkdir()
    told = {"peft_type": "LORA", "r": 8, "revision": revision_of(STARTER)} | told
    (folder / "adapter_config.json").write_text(json.dumps(told))
    (folder / "adapter_model.safetensors").touch()
    return folder


def test_only_loopback_goes_without_a_key(monkeypatch):
    monkeypatch.delenv("V2T_SERVE_KEY", raising=False)
    for host in ("127.0.0.1", "::1", "localhost", "127.9.9.9"):
        assert ServeConfig(host=host).is_loopback
    for host in ("0.0.0.0", "::", "10.0.0.1", "example.org"):
        assert refusal_code(ServeConfig, host=host) == (7, "POLICY")
    monkeypatch.setenv("V2T_SERVE_KEY", f"{KEY}, {KEY}2")
    assert ServeConfig(host="0.0.0.0").keys() == (KEY, f"{KEY}2")
    monkeypatch.setenv("V2T_SERVE_KEY", "short")
    error = refusal(ServeConfig, host="0.0.0.0")
    assert error.code == "USAGE" and "short" not in str(error)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": 70000},
        {"key_env": KEY},
        {"name": "a b"},
        {"roots": {"../x": "."}},
        {"roots": {"x": "nowhere"}},
        {"limits.frames": 0},
        {"limits.frame": 3},
        {"engine": "llama"},
        {"upstream.max_pictures": 0},
        {"upstream.max_side": 5},
        {"upstream.read_s": 0.0},
        {"upstream.key_env": KEY},
        {"kv_cache_gb": -1.0},
    ],
)
def test_wrong_values_are_refused(wrong):
    with pytest.raises(UsageError):
        config.load(ServeConfig, flags=wrong)


def test_layers_reach_the_limits(tmp_path):
    made = config.load(
        ServeConfig, sets=["limits.frames=32", f"roots.clips={tmp_path}"], flags={"port": 0, "engine": None}
    )
    assert made.limits.frames == 32 and made.roots["clips"] == tmp_path and made.engine == "auto"


def test_the_starter_is_known_without_its_weights():
    known = served.read(ServeConfig())
    assert known.is_ours and known.frame_size == (64, 64) and known.name == "cineloop-starter"
    assert (known.segment_frames, known.tokens_per_segment) == (16, 32)
    assert served.read(ServeConfig(model="Qwen/Qwen3-VL-2B-Instruct")).segment_frames == 0


def code_of_served(**settings) -> tuple[int, str]:
    return refusal_code(lambda: served.read(ServeConfig(**settings)))


def test_what_cannot_be_served_is_refused(tmp_path):
    assert code_of_served(model="Qwen/Qwen3-VL-2B-Instruct", engine="local") == (2, "USAGE")
    assert code_of_served(model="openai:http://localhost:1/v1") == (2, "USAGE")
    good = adapter(tmp_path / "good")
    assert served.read(ServeConfig(engine="vllm", adapters={"mine": good})).adapters["mine"].rank == 8
    assert code_of_served(adapters={"mine": good}, name="mine") == (2, "USAGE")
    assert code_of_served(engine="local", adapters={"mine": good}) == (2, "USAGE")
    other = adapter(tmp_path / "other", revision="0123456789ab")
    assert code_of_served(adapters={"mine": other}) == (2, "MISMATCH")
    assert refusal_code(served.read_adapter, adapter(tmp_path / "dora", use_dora=True)) == (2, "USAGE")
    (good / "adapter_model.safetensors").rename(good / "adapter_model.bin")
    for folder in (good, tmp_path):
        assert refusal_code(served.read_adapter, folder) == (5, "ADAPTER")


def test_an_engine_that_is_another_server_needs_its_address_and_no_model():
    made = served.read(ServeConfig(engine="openai:http://localhost:1234/v1#eye"))
    assert (made.name, made.is_ours, made.max_side, made.spec.max_frames) == ("eye", False, 512, 32)
    assert served.read(ServeConfig(engine="openai:https://example.org")).name == ""
    for engine, more in (
        ("openai:localhost", {}),
        ("openai:ftp://localhost", {}),
        ("openai:http://user:secret@localhost", {}),
        ("openai:http://localhost", {"model": "Org/Video"}),
        ("openai:http://localhost", {"engine_args": ("--x",)}),
    ):
        with pytest.raises(UsageError) as refused:
            served.read(ServeConfig(engine=engine, **more))
        assert "secret" not in str(refused.value)
    with pytest.raises(UsageError) as refused:
        served.read(ServeConfig(model="openai:http://localhost:1234/v1"))
    assert "--engine openai:http://localhost:1234/v1" in refused.value.hint


def test_a_key_that_is_named_must_be_set(monkeypatch):
    from v2t.serve import engines

    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    config = ServeConfig(engine="openai:http://localhost:1/v1", upstream=UpstreamSettings(key_env="NO_SUCH_KEY"))
    with pytest.raises(MissingDependencyError) as refused:
        engines.create(config, served.read(config))
    assert refused.value.code == "SERVER_KEY"
    assert engines.command_line(config, served.read(config)) == ()
