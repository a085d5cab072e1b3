"""Settings of `t2v generate`: what only one generator knows reaches it, and decides over its clips."""

from __future__ import annotations

import pytest

from cineloop.errors import UsageError
from t2v.generate import run as run_module
from t2v.generate.run import run
from t2v.generate.settings import GenerateConfig
from t2v.generators import open_generator

BALL = "A red ball rolls to the left on the beach."


def test_options_of_a_generators_own_reach_its_class_and_decide_over_the_clip(monkeypatch, tmp_path):
    given = {}
    drawn = open_generator("world")
    monkeypatch.setattr(run_module, "open_generator", lambda *args, options, **rest: given.update(options) or drawn)
    run([BALL], [], tmp_path, GenerateConfig(options={"temperature": 0.9}, lora=("a.safetensors",)))
    assert given == {"lora": ("a.safetensors",), "temperature": 0.9}
    with pytest.raises(UsageError, match="temperature"):
        run([BALL], [], tmp_path, GenerateConfig(options={"temperature": 0.5}))


def test_an_option_that_the_generator_does_not_know_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no option 'temperature'"):
        run([BALL], [], tmp_path, GenerateConfig(generator="world", options={"temperature": 0.5}))
