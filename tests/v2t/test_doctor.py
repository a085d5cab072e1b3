"""`v2t doctor`: the rules on planted packages, one clip through the true decoders, the command's exit codes."""

from __future__ import annotations

import json

import pytest

from v2t import cli, doctor

GOOD = {"decord": "ok", "pyav": "ok"}


def test_a_core_package_missing_or_outside_its_window_is_an_error():
    core = doctor.requirements()[""]
    have = {name: doctor.version(name) for name in core}
    assert core["torch"] and doctor.errors(core, have, "", GOOD) == []
    assert "2.10.1" in doctor.errors(core, have | {"torch": "2.10.1"}, "", GOOD)[0]
    assert "6.0.0" in doctor.errors(core, have | {"transformers": "6.0.0"}, "", GOOD)[0]
    assert "pip install 'numpy>=2'" in doctor.errors(core, have | {"numpy": None}, "", GOOD)[0]
    assert doctor.errors(core, have, "no libcuda.so", GOOD) == ["torch does not import: no libcuda.so"]
    assert "no decoder" in doctor.errors(core, have, "", {"decord": "ok: no", "pyav": "DECODE_ERROR: no"})[0]
    assert doctor.errors(core, have, "", {"decord": "DECODER_CRASH: no", "pyav": "ok"}) == [], "one decoder is enough"


def test_extras_come_from_the_metadata():
    required = doctor.requirements()
    assert "peft" in required["train"] and "uvicorn" in required["serve"] and "dev" not in required


@pytest.mark.parametrize("torch", ["2.14.1", "2.14.1+cpu", "2.13.0"])
def test_a_torchvision_that_imports_is_believed_whatever_its_number(monkeypatch, torch):
    monkeypatch.setattr(doctor, "_import_error", lambda module: "")
    assert doctor.problems({"torch": torch, "torchvision": "0.29.1"}) == []


def test_a_torchvision_that_fails_at_import_is_one_line(monkeypatch):
    monkeypatch.setattr(doctor, "_import_error", lambda module: "operator torchvision::nms does not exist")
    (line,) = doctor.problems({"torch": "2.13.0+cpu", "torchvision": "0.29.1"})
    assert "torchvision::nms" in line and "torchvision 0.28 that is made for torch 2.13.0+cpu, cpu" in line
    assert "uninstall" not in line  # an extra may have installed it, and open_clip needs it
    assert doctor.problems({"torch": "2.14.1", "torchvision": None}) == []
    assert doctor.problems({"torch": "2.14.1", "torchvision": "0.29.1"}, "no libcuda.so") == []


def test_versions_with_known_holes_are_named():
    assert doctor.vulnerable({"vllm": "0.32.0", "torch": "2.14.1+cpu"}) == []
    (line,) = doctor.vulnerable({"vllm": "0.30.1"})
    assert "vllm 0.30.1" in line and "CVE" in line and "0.31" in line


@pytest.mark.slow
def test_each_decoder_reads_the_clip():
    assert doctor.try_decoder("pyav") == "ok"
    assert doctor.try_decoder("decord") == "ok"


def test_a_decoder_that_fails_is_a_verdict(monkeypatch):
    from cineloop.errors import ItemError
    from cineloop.video.worker import DecoderPool

    def crash(self, path, spec):
        raise ItemError("killed", code="DECODER_CRASH")

    monkeypatch.setattr(DecoderPool, "decode", crash)
    assert doctor.try_decoder("pyav") == "DECODER_CRASH: killed"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(doctor, "try_decoder", lambda name: "ok")


def test_the_command_on_this_machine(quick, capsys):
    assert cli.main(["doctor", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["packages"]["torch"] and facts["devices"][0]["cores"] >= 1 and facts["disk"]["here"] >= 0
    assert facts["errors"] == [] and facts["models"]["captioner"]["size_gb"] > 0
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "ready: v2t caption" in out and "extra       train: " in out and facts["python"]["version"] in out


def test_exit_5_when_the_core_cannot_run(quick, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "try_decoder", lambda name: "DECODER_CRASH: killed")
    monkeypatch.setattr(doctor, "hub_models", lambda: [{"id": "a/b", "size_gb": 1.0}])
    assert cli.main(["doctor"]) == 5
    out = capsys.readouterr().out
    assert "! no decoder reads an H.264 mp4" in out and "cannot run here" in out and "a/b (1.0 GB)" in out


def test_missing_extras_and_weights_are_said_and_do_not_fail(quick, monkeypatch, capsys, tmp_path):
    known = doctor.version
    monkeypatch.setattr(doctor, "version", lambda name: None if name == "peft" else known(name))
    monkeypatch.setattr(doctor, "GENERATOR", tmp_path)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "extra       train: missing peft: pip install 'cineloop[train]'" in out
    assert "! bundled   generator: its weights are missing" in out
