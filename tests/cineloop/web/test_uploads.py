"""Uploads: owners, quarantine, quotas, expiry, names, crashes, full disks."""

from __future__ import annotations

import asyncio
import json
import os
import stat
import time
from types import SimpleNamespace

import pytest

from cineloop.errors import UsageError
from cineloop.web import uploads
from cineloop.web.faults import Fault
from cineloop.web.uploads import UploadStore

MB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def store(tmp_path):
    with made(tmp_path / "up") as store:
        yield store


def made(folder, *, file=2 * MB, total=6 * MB, owner=4 * MB, ttl=1000.0) -> UploadStore:
    return UploadStore(folder, file_bytes=file, total_bytes=total, owner_bytes=owner, ttl_s=ttl)


async def _put(store, owner, name, pieces):
    async with store.begin(owner, name) as writer:
        for piece in pieces:
            await writer.write(piece)
        return await writer.finish()


def put(store, owner="ada", name="a.png", pieces=(PNG,)):
    return asyncio.run(_put(store, owner, name, pieces))


def code_of(work, *args, **more) -> str:
    with pytest.raises(Fault) as caught:
        work(*args, **more)
    assert caught.value.message and "/" not in caught.value.message
    return f"{caught.value.status} {caught.value.code}"


def files(store) -> set[str]:
    return {name for name in os.listdir(store.folder) if name != ".lock"}


def test_an_upload_is_its_owners_alone(store):
    mine = put(store, pieces=[PNG[:5], PNG[5:]])
    assert mine.id != put(store, "bob").id
    assert [u.id for u in store.list("ada")] == [mine.id] and store.get("ada", mine.id) is mine
    for wrong in (("bob", mine.id), ("ada", "file-" + "0" * 32), ("ada", f"../{mine.id}"), ("", mine.id)):
        assert code_of(store.get, *wrong) == "404 NOT_FOUND"
        assert code_of(store.delete, *wrong) == "404 NOT_FOUND"
        assert code_of(lambda w=wrong: store.use(*w).__enter__()) == "404 NOT_FOUND"
    with store.use("ada", mine.id) as file:
        assert file.read() == PNG
        store.delete("ada", mine.id)
        file.seek(0)
        assert file.read() == PNG  # who reads it reads on
        assert store.held_bytes == 2 * MB  # and until then it takes its room
    assert store.held_bytes == MB
    assert code_of(store.get, "ada", mine.id) == "404 NOT_FOUND"
    assert not any(mine.id in name for name in files(store)) and store.list("bob")


def test_the_record_is_openais_and_names_are_ours(store):
    record = put(store).record(store.ttl_s)
    assert record.pop("id").startswith("file-") and record.pop("expires_at") - record.pop("created_at") == 1000
    assert record == {
        "object": "file",
        "bytes": len(PNG),
        "filename": "a.png",
        "purpose": "user_data",
        "status": "processed",
    }
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("..\\..\\a.mp4", "a.mp4"),
        ("..", "video"),
        ("", "video"),
        (".bashrc", "bashrc"),
        ("a\x00\r\nb\u202e4pm.exe", "ab4pm.exe"),
        ("<img src=x onerror=alert(1)>.mp4", "<img src=x onerror=alert(1)>.mp4"),  # text, shown as text
        ("x" * 300 + ".webm", "x" * 115 + ".webm"),
        ("\ud800.mp4", "?.mp4"),
        ("fi\u0301n.mp4", "fín.mp4"),
    ],
)
def test_a_files_own_name_is_only_shown(store, given, shown):
    upload = put(store, name=given)
    assert upload.filename == shown and files(store) == {upload.id, upload.id + ".json"}


def test_content_is_looked_at_and_quarantined_until_whole(store):
    async def broken_off():
        async with store.begin("ada", "a.png") as writer:
            await writer.write(PNG)
            assert [name.endswith(".part") for name in files(store)] == [True] and store.list("ada") == []
            raise ConnectionError("the client left")

    with pytest.raises(ConnectionError):
        asyncio.run(broken_off())
    html = b"<!doctype html>" + b" " * 5000
    assert code_of(put, store, pieces=[html[:20], html[20:]]) == "422 NOT_MEDIA"  # while it comes
    assert code_of(put, store, pieces=[b"#EXTM3U\n"]) == "422 NOT_MEDIA"
    assert code_of(put, store, pieces=[]) == "422 EMPTY_FILE"
    assert files(store) == set() and store._charged == {}


def test_a_client_that_is_cut_off_in_the_middle_of_a_write_leaves_nothing(store):
    async def cancelled():
        task = asyncio.create_task(_put(store, "ada", "a.png", [PNG] * 20_000))
        while not files(store):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert files(store) == set() and store._charged == {}


def test_sizes_and_quotas_hold_while_bytes_arrive(store):
    big = PNG + bytes(MB)
    assert code_of(put, store, pieces=[big, big]) == "413 TOO_LARGE"
    for _ in range(2):
        put(store, pieces=[big])
    put(store)  # the smallest counts as one MiB
    assert code_of(put, store) == "507 DISK_FULL"
    assert code_of(put, store, pieces=[big]) == "507 DISK_FULL"
    put(store, "bob", pieces=[big])
    put(store, "bob", pieces=[big])
    assert code_of(put, store, "eve", pieces=[big]) == "507 DISK_FULL"  # all of them together
    store.delete("ada", store.list("ada")[0].id)
    put(store, "eve", pieces=[big])
    assert len(files(store)) == 2 * 5


def test_scratch_counts_as_its_owners_and_has_no_name(store):
    async def use():
        with store.scratch("ada", "the video") as scratch:
            await scratch.write(PNG + bytes(MB))
            await scratch.seal()
            assert os.pread(scratch.descriptor, 8, 0) == PNG[:8] and scratch.container == "png"
            assert store._charged == {"ada": len(PNG) + MB}
            with pytest.raises(Fault, match="larger"):
                await scratch.write(bytes(MB))

    asyncio.run(use())
    assert store._charged == {} and files(store) == set()


def test_what_is_not_used_expires_and_what_is_used_does_not(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(uploads, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    with made(tmp_path / "up", ttl=100.0) as store:
        old, used = put(store), put(store)
        now[0] += 90
        with store.use("ada", used.id):
            now[0] += 200
            store.sweep()
            assert [u.id for u in store.list("ada")] == [used.id]
        now[0] += 99
        assert store.get("ada", used.id)
        now[0] += 2
        assert store.list("ada") == [] and files(store) == set() and store._charged == {}
        assert code_of(store.get, "ada", old.id) == "404 NOT_FOUND"


def test_a_named_folder_survives_a_restart_and_leftovers_do_not(tmp_path):
    folder = tmp_path / "up"
    with made(folder) as store:
        kept, cut, expired = put(store, name="kept.png"), put(store), put(store)
        with pytest.raises(UsageError, match="another run"):
            made(folder)
    (folder / cut.id).write_bytes(b"half")
    os.utime(folder / f"{expired.id}.json", (0, 0))
    (folder / ("file-" + "1" * 32 + ".part")).write_bytes(PNG)
    (folder / ("file-" + "2" * 32)).write_bytes(PNG)
    (folder / ("file-" + "3" * 32 + ".json")).write_text("{}")
    (folder / ("file-" + "4" * 32 + ".json")).write_text(json.dumps(["x"]))
    (folder / ("file-" + "4" * 32)).symlink_to(tmp_path / "canary")
    (tmp_path / "canary").write_text("untouched")
    with made(folder) as store:
        assert [(u.id, u.filename) for u in store.list("ada")] == [(kept.id, "kept.png")]
        assert files(store) == {kept.id, kept.id + ".json"} and store._charged == {"ada": MB}
    assert (tmp_path / "canary").read_text() == "untouched"


def test_a_temporary_folder_is_private_and_gone_at_the_end():
    with made(None) as store:
        put(store)
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert not store.folder.exists()


def test_a_folder_of_other_things_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match="other files"):
        made(tmp_path)
    with pytest.raises(UsageError, match="cannot be used"):
        made(tmp_path / "thesis.tex")
    assert (tmp_path / "thesis.tex").read_text() == "mine"


@pytest.mark.parametrize("size", [100, 200_000])  # within the buffer, and beyond it
def test_a_full_disk_is_said_and_leaves_nothing(store, monkeypatch, size):
    part = store.folder / ("file-" + "a" * 32 + ".part")
    monkeypatch.setattr(store, "new_part", lambda: part)

    async def fill():
        async with store.begin("ada", "a.png") as writer:
            os.dup2(os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC), writer._file.fileno())
            await writer.write(PNG + bytes(size))
            await writer.finish()

    assert code_of(lambda: asyncio.run(fill())) == "507 DISK_FULL"
    assert files(store) == set() and store._charged == {}

    def no_room(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads, "write_atomic", no_room)
    assert code_of(put, store) == "507 DISK_FULL"
    assert files(store) == set() and store._charged == {}


def test_a_file_that_somebody_cleared_is_not_found(store):
    upload = put(store)
    (store.folder / upload.id).unlink()
    assert code_of(lambda: store.use("ada", upload.id).__enter__()) == "404 NOT_FOUND"
    assert store.list("ada") == [] and files(store) == set()


def test_a_folder_of_another_user_is_not_taken(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda real=os.geteuid: real() + 1)
    with pytest.raises(UsageError, match="another user"):
        made(tmp_path)
