"""Uploads: owners, checks before they are listed, quotas, expiry, names, full disks."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from types import SimpleNamespace

import pytest

from cineloop.web import uploads
from cineloop.web.faults import Fault
from cineloop.web.uploads import UploadStore

MB = 1 << 20
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def store():
    with new_store() as store:
        yield store


def new_store(*, file=2 * MB, total=6 * MB, owner=4 * MB, ttl=1000.0) -> UploadStore:
    return UploadStore(file_bytes=file, total_bytes=total, owner_bytes=owner, ttl_s=ttl)


async def _put(store, owner, name, pieces):
    with store.incoming(owner, "the file") as file:
        for piece in pieces:
            await file.write(piece)
        return await store.keep(file, owner, name)


def put(store, owner="ada", name="a.png", pieces=(PNG,)):
    return asyncio.run(_put(store, owner, name, pieces))


def code_of(work, *args, **more) -> str:
    with pytest.raises(Fault) as caught:
        work(*args, **more)
    assert caught.value.message and "/" not in caught.value.message
    return f"{caught.value.status} {caught.value.code}"


def files(store) -> set[str]:
    return set(os.listdir(store.folder))


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
    assert record.pop("id").startswith("file-") and record.pop("expires_at") - record.pop("created_at") in (1000, 1001)
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
    assert upload.filename == shown and files(store) == {upload.id}


def test_content_is_checked_and_not_listed_until_it_is_complete(store):
    async def broken_off():
        with store.incoming("ada", "the file") as file:
            await file.write(PNG)
            assert files(store) == {file.path.name} and store.list("ada") == []
            assert code_of(store.get, "ada", file.path.name) == "404 NOT_FOUND"
            raise ConnectionError("the client left")

    with pytest.raises(ConnectionError):
        asyncio.run(broken_off())
    html = b"<!doctype html>" + b" " * 5000
    assert code_of(put, store, pieces=[html[:20], html[20:]]) == "422 NOT_MEDIA"  # while it comes
    assert code_of(put, store, pieces=[b"#EXTM3U\n"]) == "422 NOT_MEDIA"
    assert code_of(put, store, pieces=[]) == "422 EMPTY_FILE"
    assert files(store) == set() and store.held_bytes == 0


def test_a_client_that_is_cut_off_in_the_middle_of_a_write_leaves_nothing(store):
    async def cancelled():
        task = asyncio.create_task(_put(store, "ada", "a.png", [PNG] * 20_000))
        while not files(store):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert files(store) == set() and store.held_bytes == 0


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
    assert len(files(store)) == 5


def test_a_video_that_is_not_kept_counts_as_its_owners_until_it_is_removed(store):
    async def use():
        with store.incoming("ada", "the video") as file:
            await file.write(PNG + bytes(MB))
            await file.seal()
            assert os.pread(file.descriptor, 8, 0) == PNG[:8]
            assert store.held_bytes == len(PNG) + MB
            with pytest.raises(Fault, match="larger"):
                await file.write(bytes(MB))

    asyncio.run(use())
    assert store.held_bytes == 0 and files(store) == set()


def test_what_is_not_used_expires_and_what_is_used_does_not(monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(uploads, "time", SimpleNamespace(monotonic=lambda: now[0], time=time.time))
    with new_store(ttl=100.0) as store:
        old, used = put(store), put(store)
        now[0] += 90
        with store.use("ada", used.id):
            now[0] += 200
            store.sweep()
            assert [u.id for u in store.list("ada")] == [used.id]
        now[0] += 99
        assert store.get("ada", used.id)
        now[0] += 2
        assert store.list("ada") == [] and files(store) == set() and store.held_bytes == 0
        assert code_of(store.get, "ada", old.id) == "404 NOT_FOUND"


def test_a_temporary_folder_is_private_and_gone_at_the_end():
    with new_store() as store:
        put(store)
        assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert not store.folder.exists()


@pytest.mark.parametrize("size", [100, 200_000])  # within the buffer, and beyond it
def test_a_full_disk_is_reported_and_leaves_nothing(store, size):
    async def fill():
        with store.incoming("ada", "the file") as file:
            os.dup2(os.open("/dev/full", os.O_WRONLY | os.O_CLOEXEC), file.descriptor)
            await file.write(PNG + bytes(size))
            await store.keep(file, "ada", "a.png")

    assert code_of(lambda: asyncio.run(fill())) == "507 DISK_FULL"
    assert files(store) == set() and store.held_bytes == 0


def test_an_upload_whose_file_was_removed_is_not_found(store):
    upload = put(store)
    (store.folder / upload.id).unlink()
    assert code_of(lambda: store.use("ada", upload.id).__enter__()) == "404 NOT_FOUND"
    assert store.list("ada") == [] and files(store) == set()
