"""`v2t doctor --model`: what fits is counted from the configuration alone; nothing is downloaded."""

from __future__ import annotations

import json
import shutil

import pytest

from cineloop.errors import MissingDependencyError, UsageError
from v2t import STARTER, cli, doctor, doctor_model

DISK = {"here": 10.0, "hub": 10.0, "temporary": 10.0}


def devices(free_gb: float) -> list[dict]:
    return [{"device": "cpu", "name": "a processor", "memory_free_gb": free_gb}]


@pytest.fixture
def starter_config(tmp_path):
    """The starter's configuration without its weights."""
    shutil.copy(STARTER / "config.json", tmp_path)
    return str(tmp_path)


def test_parameters_are_counted_without_weights(starter_config):
    facts = doctor_model.check(starter_config, devices(8.0), DISK)
    stored = sum((STARTER / "model.safetensors").stat().st_size for _ in (0,))
    assert facts["errors"] == [] and facts["local"] and facts["fits"]["cpu"]["fits"]
    assert stored / 4 <= facts["parameters"] <= stored  # stored in four bytes a parameter or fewer


def test_a_model_that_is_too_large_is_an_error(starter_config):
    facts = doctor_model.check(starter_config, devices(0.001), DISK)
    assert not facts["fits"]["cpu"]["fits"] and "no device here has free" in facts["errors"][0]
    assert [line[0] for line in doctor_model.lines(facts)] == ["m", "!", "!"]


def test_a_download_larger_than_the_disk_is_an_error(starter_config, monkeypatch):
    from pathlib import Path

    monkeypatch.setattr(doctor_model, "_fetch_config", lambda model: Path(starter_config))
    monkeypatch.setattr(doctor_model, "_weights_gb", lambda model: 20.0)
    facts = doctor_model.check("owner/name", devices(8.0), DISK)
    assert facts["download_gb"] == 20.0 and "does not fit into the 10 GB free" in facts["errors"][0]


def test_a_model_that_writes_no_text_is_an_error(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit"}))
    facts = doctor_model.check(str(tmp_path), devices(8.0), DISK)
    assert facts["parameters"] is None and "writes no text" in facts["errors"][0]


def test_offline_and_wrong_names_are_clear(monkeypatch):
    import huggingface_hub

    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    with pytest.raises(MissingDependencyError, match="the hub gives none") as caught:
        doctor_model.check("owner/name", devices(8.0), DISK)
    assert caught.value.code == "MODEL" and "config.json" in str(caught.value)
    with pytest.raises(UsageError, match="does not exist"):
        doctor_model.check("./absent", devices(8.0), DISK)


@pytest.mark.slow
def test_the_command_ends_with_5_where_the_model_cannot_run(starter_config, monkeypatch, capsys):
    facts = doctor.check() | {"devices": devices(8.0)}
    monkeypatch.setattr(doctor, "check", lambda: dict(facts))
    assert cli.main(["doctor", "--model", starter_config, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["model"]["fits"]["cpu"]["fits"] is True
    monkeypatch.setattr(doctor, "check", lambda: dict(facts | {"devices": devices(0.001)}))
    assert cli.main(["doctor", "--model", starter_config]) == 5
    assert "! on        cpu" in capsys.readouterr().out
