"""Who holds a folder is asked of the kernel: a number in a file outlives its process."""

from __future__ import annotations

import json
import os
import threading

import pytest

from cineloop.errors import UsageError
from cineloop.lock import FolderLock, me


def test_a_killed_run_whose_number_another_process_has_now_holds_nothing(tmp_path):
    (tmp_path / "lock").write_text(json.dumps(me()))  # its process number is that of a live process, ours
    assert FolderLock(tmp_path / "lock").holder() == {}
    with FolderLock(tmp_path / "lock"):
        pass


def test_a_holder_is_named_while_it_holds(tmp_path):
    assert FolderLock(tmp_path / "lock").holder() == {}
    with FolderLock(tmp_path / "lock"):
        assert FolderLock(tmp_path / "lock").holder()["pid"] == me()["pid"]
        with pytest.raises(UsageError, match="another run holds"):
            FolderLock(tmp_path / "lock").__enter__()
    assert FolderLock(tmp_path / "lock").holder() == {}


def test_a_run_that_fails_before_it_wrote_anything_leaves_no_folder(tmp_path):
    lock = tmp_path / "new" / "out" / ".state" / "lock"
    with pytest.raises(ValueError, match="refused"), FolderLock(lock):
        (lock.parent / "journal").touch()
        raise ValueError("refused")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="later"), FolderLock(lock):
        (lock.parent / "journal").write_text("1")
        raise ValueError("later")
    assert (lock.parent / "journal").read_text() == "1"
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match="refused"), FolderLock(tmp_path / "mine" / "lock"):
        raise ValueError("refused")
    assert (tmp_path / "mine").is_dir()  # it was there before


def test_who_waits_for_a_run_that_takes_its_folder_away_holds_a_new_one(tmp_path):
    path = tmp_path / "out" / "lock"
    failing = FolderLock(path)
    failing.__enter__()
    waiting = threading.Thread(target=lambda: seen.append(_held(path)))
    seen: list[dict] = []
    with pytest.MonkeyPatch.context() as patch:
        asleep = threading.Event()
        patch.setattr("cineloop.lock.time.sleep", lambda seconds: asleep.set())
        patch.setattr("cineloop.lock._LOOK_S", 60)
        waiting.start()
        assert asleep.wait(60)
        failing.__exit__(ValueError, ValueError("refused"), None)
        waiting.join(60)
    assert seen == [me()["pid"]]


def _held(path):
    with FolderLock(path):
        return json.loads(path.read_text())["pid"]


def test_another_machine_counts_while_it_is_heard_of(tmp_path):
    theirs = {**me(), "host": "elsewhere", "machine": "elsewhere"}
    (tmp_path / "lock").write_text(json.dumps(theirs))
    assert FolderLock(tmp_path / "lock").holder() == theirs


def test_asking_for_the_holder_keeps_nobody_out(tmp_path):
    (tmp_path / "lock").write_text(json.dumps(me()))
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            FolderLock(tmp_path / "lock").holder()

    asking = [threading.Thread(target=ask) for _ in range(2)]
    for thread in asking:
        thread.start()
    try:
        for _ in range(200):
            with FolderLock(tmp_path / "lock"):
                pass
    finally:
        done.set()
        for thread in asking:
            thread.join()


def test_a_patient_run_outwaits_a_dead_owner_on_another_machine_and_yields_to_a_live_one(tmp_path, monkeypatch):
    path, theirs, waited = tmp_path / "lock", {**me(), "host": "elsewhere", "machine": "elsewhere"}, []

    def pass_time(seconds: float) -> None:  # the heartbeat is as old as if so much time had passed
        waited.append(seconds)
        monkeypatch.setattr("cineloop.lock.HEARTBEAT_STALE_S", 60.0 - sum(waited))

    path.write_text(json.dumps(theirs))
    with pytest.raises(UsageError, match="elsewhere"), FolderLock(path):
        pass  # a person is not kept waiting
    monkeypatch.setattr("cineloop.lock.HEARTBEAT_STALE_S", 60.0)
    monkeypatch.setattr("cineloop.lock.time.sleep", pass_time)
    with FolderLock(path, patient=True):
        assert json.loads(path.read_text())["pid"] == me()["pid"] and sum(waited) >= 59
    monkeypatch.setattr("cineloop.lock.HEARTBEAT_STALE_S", 60.0)
    monkeypatch.setattr("cineloop.lock.time.sleep", lambda seconds: os.utime(path))
    path.write_text(json.dumps(theirs))
    with pytest.raises(UsageError, match="elsewhere"), FolderLock(path, patient=True):
        pass
