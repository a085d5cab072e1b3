"""The journal, the lock, atomic files, names, the manifest and plug-ins: what a run's safety stands on."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop import files, plugin
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.files import content_key, escape_name, unescape_name, write_atomic
from cineloop.journal import Journal, decode_entry, encode_entry
from cineloop.lock import FolderLock
from cineloop.log import printable
from cineloop.manifest import clip_path, read_manifest, write_manifest

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def entries_of(path: Path) -> list[dict]:
    with Journal(path) as journal:
        return [entry for entry, _ in journal.replay()]


@pytest.mark.slow
@given(st.dictionaries(st.text(min_size=1), JSON, min_size=1, max_size=4))
def test_an_entry_survives_its_line(entry):
    line = encode_entry({**entry, "kind": "x"})
    assert line.count(b"\n") == 1
    assert {k: v for k, v in decode_entry(line).items() if k != "kind"} == {
        k: v for k, v in entry.items() if k != "kind"
    }


@pytest.mark.slow
@given(st.integers(0, 500), st.integers(1, 255))
def test_a_line_with_any_changed_byte_is_refused(position, mask):
    line = encode_entry({"kind": "clip", "id": "a/b.mp4", "text": "ein Vogel fliegt nach links"})
    position %= len(line) - 1
    damaged = bytearray(line)
    damaged[position] ^= mask
    with pytest.raises(ValueError):
        decode_entry(bytes(damaged))


def test_a_journal_cut_at_any_byte_keeps_every_whole_line_and_goes_on(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path, durable=False) as journal:
        journal.append({"n": n, "text": "é" * n} for n in range(4))
    whole = path.read_bytes()
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        kept = whole[:cut].count(b"\n")
        with Journal(path, durable=False) as journal:
            assert [entry["n"] for entry, _ in journal.replay()] == list(range(kept))
            [place] = journal.append([{"n": 99}])
            assert journal.read(place) == {"n": 99}
        assert [entry["n"] for entry in entries_of(path)] == [*range(kept), 99]


def test_a_changed_line_in_the_middle_is_left_out_and_counted(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({"n": n} for n in range(3))
    path.write_bytes(path.read_bytes().replace(b'"n":1', b'"n":7'))
    with Journal(path) as journal:
        assert [entry["n"] for entry, _ in journal.replay()] == [0, 2]
        assert journal.num_damaged == 1


def test_a_full_disk_leaves_the_journal_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append([{"n": 0}])
        before = path.read_bytes()

        def full(handle):
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(MissingDependencyError) as caught:
                journal.append([{"n": 1}, {"n": 2}])
        assert caught.value.code == "DISK_FULL"
        assert path.read_bytes() == before
        journal.append([{"n": 3}])
    assert [entry["n"] for entry in entries_of(path)] == [0, 3]


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a" / "clip.txt"
    write_atomic(path, b"old\n")
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(MissingDependencyError) as caught:
        write_atomic(path, b"new\n")
    assert caught.value.code == "DISK_FULL" and caught.value.exit_code == 5
    assert path.read_bytes() == b"old\n"
    assert [p.name for p in path.parent.iterdir()] == ["clip.txt"]


@pytest.mark.slow
@given(st.binary(min_size=1, max_size=30).filter(lambda b: b"\0" not in b))
def test_every_file_name_has_a_spelling_in_json_and_back(raw):
    name = os.fsdecode(raw)
    spelled = escape_name(name)
    assert json.loads(json.dumps(spelled).encode("utf-8")) == spelled
    spelled.encode("utf-8")
    assert os.fsencode(unescape_name(spelled)) == raw


def test_names_that_are_utf8_without_backslash_stay_as_they_are():
    for name in ("a b.mp4", "-x.mp4", "líne\nbreak'\".mp4", "🎬.mp4", "100%.mp4"):
        assert escape_name(name) == name
    assert escape_name("caf\udce9.mp4") == "caf\\xe9.mp4"
    assert escape_name("a\\xe9.mp4") == "a\\\\xe9.mp4"


def test_text_for_a_terminal_cannot_move_its_cursor():
    shown = printable("\x1b[2Jevil\u202egpm.mp4\nnext\udcff🎬")
    assert shown == "\\u001b[2Jevil\\u202egpm.mp4\\nnext\\xff🎬"


def test_the_content_key_sees_a_change_in_small_files_anywhere_and_in_large_ones_at_both_ends(tmp_path):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(b"x" * 1000)
    before = content_key(small)
    small.write_bytes(b"x" * 499 + b"y" + b"x" * 500)
    assert content_key(small) != before
    large.write_bytes(bytes(files._WHOLE_BYTES + 10))
    before = content_key(large)
    for position in (0, files._WHOLE_BYTES + 9):
        with open(large, "r+b") as file:
            file.seek(position)
            file.write(b"z")
        assert content_key(large) != before
        before = content_key(large)


def test_a_second_run_is_refused_by_name_and_a_killed_one_leaves_no_lock(tmp_path):
    lock = tmp_path / ".v2t" / "lock"
    lock.parent.mkdir()
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom cineloop.lock import FolderLock\n"
        "with FolderLock(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(lock)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None and holder.stdout.readline() == "held\n"
        with pytest.raises(UsageError) as caught, FolderLock(lock):
            pass
        assert caught.value.code == "LOCKED" and f"process {holder.pid} on" in caught.value.message
        holder.kill()
    with FolderLock(lock):
        assert json.loads(lock.read_bytes())["pid"] == os.getpid()
    assert lock.read_bytes() == b""


def test_an_owner_on_another_machine_counts_while_its_heart_beats(tmp_path):
    lock = tmp_path / "lock"
    lock.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": "now"}))
    with pytest.raises(UsageError, match="on elsewhere"), FolderLock(lock):
        pass
    os.utime(lock, (0, 0))
    with FolderLock(lock):
        pass


def test_a_manifest_comes_back_as_it_went(tmp_path):
    rows = [
        {"id": "b", "path": "b.mp4", "start_s": 1, "end_s": 2.5, "facts": {"n": [1, None]}, "extra": "\u2028x\x85"},
        {"id": "a\n'\"🎬", "path": "x/caf\\xe9.mp4", "captions": {"short": ["a"]}},
    ]
    path = tmp_path / "manifest.jsonl"
    assert write_manifest(rows, path) == 2
    assert list(read_manifest(path)) == rows
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2
    assert os.fsencode(clip_path(path, rows[1])) == os.fsencode(tmp_path) + b"/x/caf\xe9.mp4"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"id": "a"}', "'path'"),
        ('{"id": 3, "path": "a"}', "'id'"),
        ('{"id": "a", "path": "../a"}', "stay inside"),
        ('{"id": "a", "path": "/etc/passwd"}', "stay inside"),
        ('{"id": "a", "path": "a", "start_s": NaN}', "NaN"),
        ('{"id": "a", "path": "a", "start_s": 1e999}', "finite"),
        ('{"id": "a", "path": "a", "start_s": 2, "end_s": 1}', "end_s"),
        ('{"id": "ok", "path": "a"}', "already on line 1"),
        ("[1]", "object"),
        ("{torn", "JSON"),
    ],
)
def test_a_bad_manifest_row_is_named_by_its_line(tmp_path, line, says):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"id": "ok", "path": "a"}\n\n' + line + "\n")
    with pytest.raises(UsageError, match="line 3") as caught:
        list(read_manifest(path))
    assert says in caught.value.message
    assert ("link their folder" in caught.value.hint) == (says == "stay inside")


def test_a_manifest_with_a_bad_row_is_not_written(tmp_path):
    with pytest.raises(UsageError):
        write_manifest([{"id": "a", "path": "a"}, {"id": "a", "path": "b"}], tmp_path / "manifest.jsonl")
    assert not list(tmp_path.iterdir())


def test_plugins_are_files_and_an_unknown_one_lists_them():
    assert {"txt", "srt"} <= set(plugin.choices("v2t.writers", "render"))
    assert {"short", "detailed", "timed"} <= set(plugin.choices("v2t.styles", "PROMPT"))
    assert "local" in plugin.choices("v2t.backends", "Backend")
    assert "domain" not in plugin.choices("v2t.backends", "Backend")
    assert plugin.load("v2t.writers", "txt", "render").SUFFIX == ".txt"
    with pytest.raises(UsageError, match="txt") as caught:
        plugin.load("v2t.writers", "srtt", "render")
    assert "did you mean 'srt'" in caught.value.message and "srt, txt" in caught.value.hint
    for name in ("os", "..base.errors", "__init__", ""):
        with pytest.raises(UsageError):
            plugin.load("v2t.writers", name, "render")
