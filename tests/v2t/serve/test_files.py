"""Uploads over ASGI: whole and media or not at all, and their owner's alone."""

from __future__ import annotations

import re

import pytest

from serve_stand_ins import code_of, scene, two_keys

MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 100


@pytest.fixture
def keys(monkeypatch):
    return two_keys(monkeypatch)


def upload(data=MP4, purpose="user_data", name="a.mp4"):
    return {"files": {"file": (name, data, "text/html")}, "data": {"purpose": purpose} if purpose else {}}


def test_uploads_are_their_owners_alone(keys):
    async def play(client, engine, media, gateway):
        mine, theirs = keys
        reply = await client.post("/v1/files", headers=mine, **upload(name="../../a.mp4"))
        told = reply.json()
        assert reply.status_code == 200 and re.fullmatch(r"file-[0-9a-f]{32}", told["id"])
        assert (told["object"], told["bytes"], told["filename"]) == ("file", len(MP4), "a.mp4")
        path = f"/v1/files/{told['id']}"
        assert (await client.get(path, headers=mine)).json() == told
        assert [f["id"] for f in (await client.get("/v1/files", headers=mine)).json()["data"]] == [told["id"]]
        content = await client.get(f"{path}/content", headers=mine)
        assert content.content == MP4 and content.headers["content-type"] == "application/octet-stream"
        assert content.headers["content-disposition"].startswith("attachment")
        assert (await client.get("/v1/files", headers=theirs)).json()["data"] == []
        for method, where in (("GET", path), ("GET", f"{path}/content"), ("DELETE", path)):
            assert code_of(await client.request(method, where, headers=theirs)) == (404, "NOT_FOUND")
        assert (await client.delete(path, headers=mine)).json() == {"id": told["id"], "object": "file", "deleted": True}
        assert code_of(await client.get(path, headers=mine)) == (404, "NOT_FOUND")

    scene(play)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        (upload(b"<html>no video</html>"), (422, "NOT_MEDIA")),
        (upload(MP4 + b"x" * (2 << 20)), (413, "TOO_LARGE")),
        (upload(purpose="fine-tune"), (400, "BAD_REQUEST")),
        (upload(purpose=None), (400, "BAD_REQUEST")),
        ({"data": {"purpose": "user_data"}, "files": {"other": b"x"}}, (400, "UNKNOWN_FIELD")),
        ({"files": [("file", MP4), ("file", MP4)], "data": {"purpose": "user_data"}}, (400, "BAD_REQUEST")),
        ({"json": {"file": "x"}}, (415, "BAD_REQUEST")),
        *(
            (
                {
                    "content": b"--b\r\n" + head + b"\r\n\r\n" + MP4 + b"\r\n"
                    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--b--\r\n',
                    "headers": {"Content-Type": "multipart/form-data; boundary=b"},
                },
                (400, "BAD_REQUEST"),
            )
            for head in (
                b"Content-Type: video/mp4",
                b'Content-Disposition: attachment; name="file"; filename="a"',
                b'Content-Disposition: ; name="file"; filename="a"',
                b'X-Y: form-data; name="file"',
            )
        ),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data; boundary=b"}}, (400, "BAD_REQUEST")),
        (
            {
                "content": b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
                b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + MP4,
                "headers": {"Content-Type": "multipart/form-data; boundary=b"},
            },
            (400, "BAD_REQUEST"),
        ),
    ],
)
def test_uploads_that_are_none_leave_nothing(form, expected):
    async def play(client, engine, media, gateway):
        assert code_of(await client.post("/v1/files", **form)) == expected
        assert not list(media.uploads.folder.iterdir())
        assert "v2t_uploads_bytes 0.0" in (await client.get("/metrics")).text

    scene(play)
