"""The folder of a run: journal and lock together, and the two refusals."""

from __future__ import annotations

from pathlib import Path
from threading import Timer

import pytest

from cineloop import run_folder
from cineloop.errors import UsageError
from cineloop.lock import FolderLock
from cineloop.run_folder import RunFolder, other_settings, refuse_existing


def test_a_later_run_reads_what_an_earlier_one_noted(tmp_path: Path):
    for number in range(2):
        with RunFolder(tmp_path / "out", journal="run.jsonl") as folder:
            assert [entry["n"] for entry in folder.replay()] == list(range(number))
            folder.append([{"n": number}])
            folder.beat()
    with RunFolder(tmp_path / "out", journal="run.jsonl", writable=False) as folder:
        assert [entry["n"] for entry in folder.replay()] == [0, 1]


def test_looking_makes_nothing(tmp_path: Path):
    with RunFolder(tmp_path / "out", journal="run.jsonl", writable=False) as folder:
        assert list(folder.replay()) == []
    assert not (tmp_path / "out").exists()


def test_one_run_at_a_time(tmp_path: Path):
    with (
        RunFolder(tmp_path),
        pytest.raises(UsageError) as caught,
        RunFolder(tmp_path),
    ):
        pass
    assert caught.value.code == "LOCKED" and str(tmp_path) in caught.value.message


def test_a_run_can_wait_for_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(run_folder, "_WAIT_S", 0.01)
    other = FolderLock(tmp_path / run_folder.STATE / "lock")
    other.__enter__()
    timer = Timer(0.1, other.__exit__, (None,))
    timer.start()
    with RunFolder(tmp_path, waits=True):
        assert not timer.is_alive() or timer.finished.is_set()


def test_a_run_that_fails_before_it_wrote_leaves_no_folder(tmp_path: Path):
    class Failing(RunFolder):
        def _open(self, stack: object) -> None:
            raise UsageError("no")

    with pytest.raises(UsageError, match="no"), Failing(tmp_path / "a" / "out"):
        pass
    assert not (tmp_path / "a").exists()


def test_other_settings_names_what_differs():
    error = other_settings("2 clips of OUT were", {"steps": 4, "more": {"n": 1}}, {"steps": 8, "more": {"n": 1}})
    assert error.code == "OTHER_SETTINGS" and error.exit_code == 2
    assert error.message == "2 clips of OUT were made with other settings: steps: 4 → 8"
    many = other_settings("x was", {}, {str(n): n for n in range(12)})
    assert many.message.endswith("9: None → 9; and 2 more")


def test_existing_files_are_refused(tmp_path: Path):
    (tmp_path / "b").touch()
    paths = [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(UsageError) as caught:
        refuse_existing(paths)
    assert caught.value.code == "EXISTS" and str(paths[1]) in caught.value.message
    refuse_existing(paths, overwrite=True)
    refuse_existing(paths[:1])
