"""The plug-in as vLLM meets it: found by its entry point, light, callable again, made for a window of versions."""

from __future__ import annotations

import logging
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from cineloop.errors import MissingDependencyError
from v2t.serve import plugin

ROOT = Path(__file__).resolve().parents[4]


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=240
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("version", ["0.32.0", "0.32.9", "0.32.1.dev3+cpu"])
def test_versions_inside_the_window_pass(version):
    plugin.check_window(version)


@pytest.mark.parametrize("version", ["0.31.2", "0.33.0", "1.32.0", "dev", ""])
def test_a_version_outside_is_told_plainly(version):
    with pytest.raises(MissingDependencyError) as caught:
        plugin.check_window(version)
    assert plugin.WINDOW in str(caught.value) and version in str(caught.value)
    assert "scripts/serve-env" in caught.value.hint


def test_outside_the_window_nothing_is_registered_and_the_log_says_why(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace(__version__="0.40.1"))  # no ModelRegistry to be found
    with caplog.at_level(logging.ERROR, logger="vllm"):
        plugin.register()
    assert "0.40.1" in caplog.text and plugin.WINDOW in caplog.text


def test_importing_the_plugin_imports_nothing_heavy():
    heavy = {"torch", "transformers", "vllm", "numpy"}
    assert run(f"import sys, v2t.serve.plugin\nprint(sorted({heavy!r} & set(sys.modules)))") == "[]"


def test_the_entry_point_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["vllm.general_plugins"] == {"cineloop": "v2t.serve.plugin:register"}


@pytest.mark.vllm
def test_the_entry_point_is_installed():
    from importlib.metadata import entry_points

    (found,) = entry_points(group="vllm.general_plugins", name="cineloop")
    assert found.load() is plugin.register


@pytest.mark.vllm
def test_registering_twice_is_registering_once_and_imports_no_model():
    answer = run(
        "import sys\n"
        "from vllm.plugins import load_general_plugins\n"
        "load_general_plugins()\n"
        "from v2t.serve.plugin import register\n"
        "register()\n"
        "from vllm import ModelRegistry\n"
        "from vllm.multimodal.video import VIDEO_LOADER_REGISTRY\n"
        "from vllm.transformers_utils.processor import get_video_processor_cls_name_from_config as name_of\n"
        "from v2t.backends.local import STARTER\n"
        "known = 'CineloopForConditionalGeneration' in ModelRegistry.get_supported_archs()\n"
        "loader = VIDEO_LOADER_REGISTRY.get_backend_for_video_processor(name_of(str(STARTER)))\n"
        "print(known, loader, 'v2t.serve.plugin.model' in sys.modules)"
    )
    assert answer == "True cineloop False"
