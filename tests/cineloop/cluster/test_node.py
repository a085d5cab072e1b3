"""What a worker finds on its machine is compared with the driver's."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from cineloop.cluster.node import Driver, Host, check
from cineloop.errors import MissingDependencyError, UsageError


def test_the_same_machine_agrees(tmp_path):
    (tmp_path / "clip").write_bytes(b"1234")
    assert check(Driver.here([tmp_path, tmp_path / "clip"]), "n1") == []


@pytest.mark.parametrize("change", ["gone", "other"])
def test_a_file_that_is_not_shared_is_named(tmp_path, change):
    clip = tmp_path / "clip"
    clip.write_bytes(b"1234")
    driver = Driver.here([clip])
    clip.unlink() if change == "gone" else clip.write_bytes(b"12")
    with pytest.raises(UsageError, match="node n1 does not see .*clip") as caught:
        check(driver, "n1")
    assert caught.value.code == "NOT_SHARED"


def test_versions_are_named():
    driver = Driver.here(())
    other = dataclasses.replace(driver, versions={**driver.versions, "torch": "1.0"})
    (difference,) = check(other, "n1")
    assert difference == f"torch {driver.versions['torch']}, the driver 1.0"
    other = dataclasses.replace(driver, versions={**driver.versions, "cineloop": "9.9"})
    with pytest.raises(MissingDependencyError, match="node n1 has cineloop .*, the driver 9.9"):
        check(other, "n1")


def test_errors_of_a_step_travel_as_values():
    def failing(name):
        raise MissingDependencyError("no model", code="MODEL")

    error, _, _ = Host(failing, "model-1", Driver.here(())).ready()
    assert error is not None and error.code == "MODEL" and error.message.endswith(": no model")


def test_relative_paths_begin_where_the_driver_works(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    driver = Driver.here(())
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert Host(lambda name: None, "model-1", driver).ready()[0] is None and Path.cwd() == tmp_path
    gone = dataclasses.replace(driver, folder=str(tmp_path / "gone"))
    assert Host(lambda name: None, "model-1", gone).ready()[0] is None and Path.cwd() == tmp_path


def test_a_step_in_this_process_leaves_ctrl_c_alone():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        Host(lambda name: None, "model-1", Driver.here(()))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
