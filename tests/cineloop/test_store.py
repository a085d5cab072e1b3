"""Segments on a store in memory: one of two writers loses, retries take no second number, a copy is the journal."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

import object_store
from cineloop import remote
from cineloop import store as stores
from cineloop.errors import ItemError, MissingDependencyError, PolicyError, UsageError
from cineloop.journal import Journal, encode_entry

fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed: pip install 'cineloop[remote]'")
URL = "memory://bucket/out"


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.setattr("cineloop.retry._PAUSE_S", 0.0)
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    yield fs
    fs.store.clear()


def segments(fs) -> list[bytes]:
    return [fs.cat_file(path) for path in sorted(fs.find("/bucket/out")) if "/journal/" in path]


def entries(journal: Journal) -> list[int]:
    return [entry["n"] for entry, _ in journal.replay()]


def test_a_journal_on_a_store_is_read_back_as_it_was_written(memory, tmp_path):
    for part in range(2):  # a second process goes on after the first
        with stores.stored_folder(URL, ".v2t") as copy:
            copy.pull(lambda name: True)
            path = copy.folder / ".v2t/journal.jsonl"
            path.parent.mkdir(exist_ok=True)
            with Journal(path, mirror=copy.segments(path)) as journal:
                assert entries(journal) == list(range(4 * part))
                for n in range(4 * part, 4 * part + 4, 2):
                    journal.append([{"n": n}, {"n": n + 1}])
                journal.append([])
    assert segments(memory) == [encode_entry({"n": n}) + encode_entry({"n": n + 1}) for n in range(0, 8, 2)]


def test_two_writers_of_one_name_lose_nothing(memory):
    writers = [stores.Segments(stores.Store(URL), ".v2t/journal") for _ in range(4)]
    exists = threading.Lock()  # a store answers one create at a time; the one in memory does not
    create = stores.Store.create

    def one_by_one(self, name, data):
        with exists:
            return create(self, name, data)

    def write(i: int) -> None:
        for j in range(20):
            writers[i].add(b"%d %d\n" % (i, j))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores.Store, "create", one_by_one)
        threads = [threading.Thread(target=write, args=[i]) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    found = segments(memory)
    assert sorted(found) == sorted(b"%d %d\n" % (i, j) for i in range(4) for j in range(20))
    for i in range(4):
        assert [line for line in found if line.startswith(b"%d " % i)] == [b"%d %d\n" % (i, j) for j in range(20)]


@pytest.mark.parametrize("arrives", [False, True])
def test_a_request_is_repeated_and_takes_no_second_number(memory, monkeypatch, arrives):
    put, left = type(memory).pipe_file, [3]

    def failing(self, path, data, mode="overwrite", **more):
        left[0] -= 1
        if arrives or left[0] < 0:
            put(self, path, data, mode=mode, **more)
        if left[0] >= 0:
            raise TimeoutError("no answer")

    monkeypatch.setattr(type(memory), "pipe_file", failing)
    writer = stores.Segments(stores.Store(URL), ".v2t/journal")
    writer.add(b"1\n")
    writer.add(b"2\n")
    assert segments(memory) == [b"1\n", b"2\n"]


def test_a_store_that_stays_away_is_one_error_without_the_address_of_a_request(memory, monkeypatch):
    def failing(self, path, data, **more):
        raise TimeoutError("POST https://host/x?signature=secret")

    monkeypatch.setattr(type(memory), "pipe_file", failing)
    with pytest.raises(
        MissingDependencyError, match="cannot write memory://bucket/out/.v2t/journal/000001.jsonl in 6 tries"
    ) as end:
        stores.Segments(stores.Store(URL), ".v2t/journal").add(b"1\n")
    assert end.value.code == "STORE" and "secret" not in str(end.value)


def test_a_store_that_writes_over_what_exists_is_refused(memory, monkeypatch):
    put = type(memory).pipe_file
    monkeypatch.setattr(type(memory), "pipe_file", lambda self, path, data, mode="": put(self, path, data))
    with pytest.raises(MissingDependencyError, match="ignores If-None-Match"):
        stores.Store(URL).check_create("x")


def test_small_files_follow_and_what_is_removed_goes(memory, tmp_path):
    with stores.stored_folder(URL, ".v2t") as copy:
        (copy.folder / ".v2t/shard-1-of-2").mkdir(parents=True)
        (copy.folder / ".v2t/shard-1-of-2/done.json").write_text("{}")
        (copy.folder / "set.jsonl").write_text("one")
        (copy.folder / "other.mp4").write_text("not ours")
        copy.push(lambda name: name == "set.jsonl")
    memory.pipe_file("/bucket/out/.v2t/shard-1-of-2/journal/000001.jsonl", encode_entry({"n": 1}))
    with stores.stored_folder(URL, ".v2t") as copy:
        copy.pull(lambda name: True, lambda name: name == "set.jsonl")
        assert (copy.folder / "set.jsonl").read_text() == "one"
        (copy.folder / ".v2t/shard-1-of-2/done.json").unlink()
        (copy.folder / ".v2t/shard-1-of-2/journal.jsonl").unlink()
        (copy.folder / "set.jsonl").write_text("two")
        copy.push(lambda name: name == "set.jsonl")
    assert list(memory.find("/bucket/out")) == ["/bucket/out/set.jsonl"]
    assert memory.cat_file("/bucket/out/set.jsonl") == b"two"


def test_names_that_would_leave_the_copy_are_passed_by(memory, tmp_path):
    for name in (".v2t/../../evil.json", "../evil.json", ".v2t//x.json", ".v2t/./y/journal/000001.jsonl"):
        memory.store[f"/bucket/out/{name}"] = memory_file(memory, b"{}")
    memory.pipe_file("/bucket/out/.v2t/good.json", b"{}")
    with stores.stored_folder(URL, ".v2t") as copy:
        copy.pull(lambda name: True, lambda name: True)
        found = {path.relative_to(copy.folder).as_posix() for path in copy.folder.parent.rglob("*.json*")}
    assert found == {".v2t/good.json"}


def memory_file(fs, data: bytes):
    fs.pipe_file("/elsewhere", data)
    return fs.store.pop("/elsewhere")


def test_a_journal_of_an_uploaded_folder_is_the_beginning(memory):
    memory.pipe_file("/bucket/out/.v2t/journal.jsonl", encode_entry({"n": 0}))
    stores.Segments(stores.Store(URL), ".v2t/journal").add(encode_entry({"n": 1}))
    with stores.stored_folder(URL, ".v2t") as copy:
        copy.pull(lambda name: True)
        path = copy.folder / ".v2t/journal.jsonl"
        with Journal(path, mirror=copy.segments(path)) as journal:
            assert entries(journal) == [0, 1]
            journal.append([{"n": 2}])
    assert segments(memory) == [encode_entry({"n": n}) for n in (1, 2)]


@pytest.mark.parametrize("url", ["memory://", "s3:///out", "https://host/out", "ftp://host/out", "hf://datasets/a"])
def test_what_is_no_place_for_output(url):
    with pytest.raises(UsageError):
        stores.Store(url)


def test_a_password_in_an_address_is_refused():
    with pytest.raises(PolicyError):
        stores.Store("s3://me:secret@bucket/out")


@pytest.fixture
def deaf(monkeypatch):
    """A server for `s3://` that takes connections and never answers: a function that counts them."""
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed: pip install 'cineloop[remote]'")
    monkeypatch.setattr(s3fs.S3FileSystem, "read_timeout", 0.2)
    monkeypatch.setattr("cineloop.retry._PAUSE_S", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for name, value in object_store.ENV.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        object_store.forget_clients()

        def count() -> int:
            server.setblocking(False)
            number = 0
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
                    number += 1
            return number

        yield count
    object_store.forget_clients()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verb", "work"),
    [
        ("list", lambda store, file: store.find("")),
        ("read", lambda store, file: list(store.read(["x"]))),
        ("write", lambda store, file: store.create("x", b"1\n")),
        ("write", lambda store, file: store.put("x", file)),
        ("delete", lambda store, file: store.delete(["x"])),
    ],
    ids=["list", "read", "create", "put", "delete"],
)
def test_a_store_that_never_answers_ends_every_request(deaf, tmp_path, verb, work):
    file = tmp_path / "x"
    file.write_bytes(b"1\n")
    with pytest.raises(MissingDependencyError, match=f"cannot {verb} s3://bucket/out.* in 6 tries") as end:
        work(stores.Store("s3://bucket/out"), file)
    assert end.value.code == "STORE"


@pytest.mark.slow
def test_input_that_never_comes_is_asked_for_as_often_as_its_own_tools_say(deaf, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(ItemError, match="cannot fetch s3://bucket/clip.mp4"):
        remote.fetch("s3://bucket/clip.mp4", tmp_path / "clip.mp4", max_bytes=1 << 20)
    assert deaf() == 2 * remote._TRIES
