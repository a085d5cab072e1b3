"""What serving a model takes, against models that are built and counted."""

from __future__ import annotations

import json

import pytest
import torch

from cineloop.errors import MissingDependencyError, UsageError
from tiny_captioner import tiny_captioner
from v2t import cli
from v2t.captioners.local import STARTER
from v2t.doctor import machine
from v2t.doctor.sizing import cache_bytes, cache_tokens, num_parameters, sizing
from v2t.model import CineloopForConditionalGeneration


def test_the_cache_is_what_transformers_keeps():
    model, _ = tiny_captioner()
    ids = torch.arange(8, 15)[None]
    cache = model(input_ids=ids, use_cache=True).past_key_values
    kept = sum(layer.keys.nbytes + layer.values.nbytes for layer in cache.layers)
    assert kept == ids.shape[1] * cache_bytes(model.config.to_dict(), "float32")


def test_parameters_are_those_of_the_loaded_starter():
    model = CineloopForConditionalGeneration.from_pretrained(STARTER)
    assert num_parameters(STARTER) == sum(p.numel() for p in set(model.parameters()))


def test_tokens_come_in_whole_blocks():
    assert cache_tokens(1 << 30, 6144, 128) == 174_720  # vLLM 0.32's own log for the starter in float32
    assert cache_tokens(-5, 6144, 128) == 0


def test_other_shapes_of_configuration():
    plain = {"num_attention_heads": 8, "hidden_size": 512, "num_hidden_layers": 2}
    assert cache_bytes(plain, "float16") == 2 * 2 * 8 * 64 * 2
    assert cache_bytes({"llm_config": plain | {"num_key_value_heads": 2}}, "float16") == 2 * 2 * 2 * 64 * 2
    with pytest.raises(UsageError, match="no LLM"):
        cache_bytes({"vision_config": {}})


def test_the_command(capsys, tmp_path):
    assert cli.main(["doctor", "--serve", "starter", "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    assert table["devices"][0]["conversations"] > 100 and table["visual_tokens_per_minute"] == 32
    assert cli.main(["doctor", "--serve", "starter", "--dtype", "float32"]) == 0
    assert "174,720 tokens a GiB" in capsys.readouterr().out
    assert cli.main(["doctor", "--serve", str(tmp_path)]) == 5
    assert cli.main(["doctor", "--serve", "starter", "--dtype", "int3"]) == 2


def test_damaged_weights_are_named(tmp_path):
    (tmp_path / "config.json").write_bytes((STARTER / "config.json").read_bytes())
    with pytest.raises(MissingDependencyError, match="no weights"):
        sizing(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(MissingDependencyError, match=r"model\.safetensors"):
        sizing(str(tmp_path))


def test_versions_with_known_holes_are_named():
    torch_facts = {"error": None}
    found = {"vllm": "0.30.1", "torch": "2.11.0", "python-multipart": "0.0.34"}
    lines = [line for line in machine.problems(found, torch_facts) if "known hole" in line]
    assert len(lines) == 1 and lines[0].startswith("vllm 0.30.1")
