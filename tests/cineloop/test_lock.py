"""Who holds a folder is asked of the kernel: a number in a file outlives its process."""

from __future__ import annotations

import json
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
