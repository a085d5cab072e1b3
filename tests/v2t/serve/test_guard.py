"""Nothing a client sends makes the server open a file or an address that it was not given to open.

A canary file is watched by the kernel (inotify: even an open without a read is seen) and a canary server on loopback
counts connections. Every hostile input goes in by every road, and neither canary may be touched.
"""

from __future__ import annotations

import asyncio
import base64
import ctypes
import os
import socket
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from cineloop.video.encode import encode
from cineloop.video.sample import SampleSpec
from cineloop.web.faults import Fault
from cineloop.web.incoming import check
from hostile_media import disguises, lists, outer_data
from small_clips import write_grey
from v2t.serve.media import Media
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig, ServeLimits

av = pytest.importorskip("av")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the canary is watched with Linux's inotify")
SECRET = b"canary-5f3759df"
IN_ACCESS, IN_OPEN, IN_NONBLOCK = 0x1, 0x20, 0o4000


class CanaryFile:
    """A file outside of every root; `touched` says whether anybody opened or read it since the last question."""

    def __init__(self, path: Path) -> None:
        self.path = path
        pixels = np.zeros((4, 16, 16, 3), np.uint8)
        encode(pixels, path, 4)  # a video, so that a decoder led to it would truly read it
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._watch = self._libc.inotify_init1(IN_NONBLOCK)
        assert self._libc.inotify_add_watch(self._watch, os.fsencode(path), IN_ACCESS | IN_OPEN) >= 0

    def touched(self) -> bool:
        try:
            return bool(os.read(self._watch, 1 << 16))
        except BlockingIOError:
            return False


class CanaryServer:
    """A listening socket on loopback that counts who comes."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.visits = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                guest, _ = self._socket.accept()
            except OSError:
                return
            self.visits += 1
            guest.close()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@pytest.fixture(scope="module")
def canaries(tmp_path_factory):
    server = CanaryServer()
    file = CanaryFile(tmp_path_factory.mktemp("outside") / "canary.mp4")
    file.touched()
    yield file, server
    server.close()


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root")


@pytest.fixture(scope="module")
def ask(root):
    """`ask(url)`: what came of it, a code or the frames."""
    loop = asyncio.new_event_loop()
    served = ServedModel(name="tiny", source="x", is_ours=True, spec=SampleSpec(num_frames=4), frame_size=(16, 16))
    config = ServeConfig(
        roots={"films": root},
        allow_hosts=("cdn.example.org", "http://127.0.0.1:1"),
        limits=ServeLimits(decoders=1, upload_mb=8, decode_s=100.0),
    )
    media = Media(config, served)

    def run(work):
        return loop.run_until_complete(asyncio.wait_for(work, 120))

    async def asked(url):
        try:
            return await media.frames(url, owner="ada", param="p", max_frames=64)
        except Fault as fault:
            assert SECRET.decode() not in fault.message and str(root) not in fault.message
            return fault.code

    async def uploaded(data, name):
        try:
            with media.uploads.incoming("ada", name) as file:
                await file.write(data)
                upload = await media.uploads.keep(file, "ada", name)
        except Fault as fault:
            return fault.code
        return await asked(f"upload:{upload.id}")

    def ask(url, data=None, name="a.mp4"):
        return run(asked(url) if data is None else uploaded(data, name))

    run(media.__aenter__())
    yield ask
    run(media.__aexit__())
    loop.close()


def untouched(canaries) -> bool:
    file, server = canaries
    return not file.touched() and server.visits == 0


def test_the_canaries_sing(tmp_path):
    file, server = CanaryFile(tmp_path / "canary.mp4"), CanaryServer()
    try:
        assert not file.touched()
        file.path.open("rb").close()
        assert file.touched() and not file.touched()
        socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
        with pytest.raises(ConnectionError):  # accepted ones before this are counted once it is refused
            _until_refused(server)
        assert server.visits >= 1
        listed = tmp_path / "list.txt"  # an unguarded decoder goes where a list leads
        listed.write_text(f"ffconcat version 1.0\nfile {file.path}\n")
        with av.open(str(listed), format="concat", options={"safe": "0"}):
            assert file.touched()
    finally:
        server.close()


def _until_refused(server: CanaryServer) -> None:
    while server.visits < 1:
        socket.create_connection(("127.0.0.1", server.port), timeout=60).close()
    raise ConnectionError


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("made") / "a.mp4"
    write_grey(path, 77)
    return path.read_bytes()


REFUSALS = {
    "NOT_MEDIA",
    "DECODE_ERROR",
    "NO_FRAMES",
    "NO_INDEX",
    "TRUNCATED",
    "NO_VIDEO_STREAM",
    "TOO_LARGE",
    "CODEC_UNAVAILABLE",  # FFmpeg takes some for a picture of a codec that is not opened
}
KINDS = sorted(lists(Path("x"), 1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_list_in_any_disguise_leads_nowhere(ask, canaries, root, video, kind):
    file, server = canaries
    text = lists(file.path, server.port)[kind]
    for name, data in disguises(text, file.path, video).items():
        results = [ask("data:video/mp4;base64," + base64.b64encode(data).decode())]
        results.append(ask("", data, "a.m3u8" if name == "plain" else "a.mp4"))
        if name in ("plain", "mp4", "avi gab2"):
            (root / "a.mp4").write_bytes(data)
            results.append(ask("file://films/a.mp4"))
        for result in results:
            if isinstance(result, str):
                assert result in REFUSALS
            else:  # a true video with the text somewhere in it: its own pixels, nobody else's
                assert name in ("behind a video", "avi gab2") and len(result) <= 4
            assert untouched(canaries), f"{kind} as {name} touched a canary"
    if kind != "ass":
        for head in (text, b"\n" + text):
            with pytest.raises(Fault, match="not a video"):
                check(head, "it")


def test_movies_that_name_other_files_get_none_of_them(ask, canaries, video):
    file, server = canaries
    for name, data in outer_data(file.path, server.port, video).items():
        result = ask("", data)
        assert isinstance(result, str) or (result.pixels > 50).all(), name  # the canary is black
        assert untouched(canaries), f"{name} touched a canary"


@pytest.mark.slow
def test_addresses_of_the_canaries_are_refused(ask, canaries):
    file, server = canaries
    path, port = file.path, server.port
    number = int.from_bytes(socket.inet_aton("127.0.0.1"), "big")
    hosts = ["127.0.0.1", "127.1", "localhost", "LOCALHOST.", "[::1]", "[::ffff:127.0.0.1]", "0", str(number)]
    hosts += ["0x7f000001", "0177.0.0.1", "u@127.0.0.1", "cdn.example.org@127.0.0.1", "cdn.example.org\\@127.0.0.1"]
    hosts += ["①②⑦.0.0.1", "127。0。0。1", "cdn.example.org#@127.0.0.1", "cdn.example.org;@127.0.0.1"]
    urls = [f"{scheme}://{host}:{port}/x" for scheme in ("http", "https", "HTTP", "ftp", "gopher") for host in hosts]
    urls += [f"file:{path}", f"file://{path}", f"file://localhost{path}", f"file://films/{path}"]
    urls += [f"file://films/../{path.parent.name}/{path.name}", f"file://films/%2e%2e/{path.parent.name}/{path.name}"]
    urls += [f"file://films/..%2f{path.parent.name}%2f{path.name}", f"file://outside{path}", str(path)]
    urls += [f"concat:{path}|{path}", f"subfile,,start,0,end,9,,:{path}", f"data:video/mp4,{path}", f"upload:{path}"]
    urls += [f"upload:../../{path}", f"async:{path}", f"cache:http://127.0.0.1:{port}/", f"crypto+file:{path}"]
    for url in urls:
        assert ask(url) in ("URL_FORBIDDEN", "BAD_URL"), url
        assert untouched(canaries), url


@pytest.mark.slow
def test_links_pipes_and_devices_below_a_root_are_not_read(ask, canaries, root, video):
    file, _ = canaries
    (root / "sub").mkdir(exist_ok=True)
    (root / "true.mp4").write_bytes(video)
    (root / "sub" / "true.mp4").write_bytes(video)
    links = {
        "link.mp4": file.path,
        "up": file.path.parent,
        "sub/link.mp4": file.path,
        "inner.mp4": root / "true.mp4",
        "again": root / "sub",
        "dangling.mp4": root / "none",
        "loop": root / "loop",
    }
    for name, target in links.items():
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe.mp4")
    (root / ".hidden.mp4").write_bytes(video)
    (root / ".dir").mkdir()
    (root / ".dir" / "a.mp4").write_bytes(video)
    bound = socket.socket(socket.AF_UNIX)
    bound.bind(os.path.relpath(root / "s.mp4"))
    with bound:
        forbidden = [*links, "up/canary.mp4", "again/true.mp4", "pipe.mp4", "sub", "s.mp4", ".hidden.mp4", ".dir/a.mp4"]
        for name in forbidden:
            assert ask(f"file://films/{name}") == "URL_FORBIDDEN", name
            assert untouched(canaries), name
    assert ask("file://films/true.mp4/x.mp4") == "NOT_FOUND"
    assert ask("file://films/none/x.mp4") == ask("file://films/" + "n" * 255) == "NOT_FOUND"
    assert len(ask("file://films/sub/true.mp4")) == len(ask("file://films/true.mp4")) == 4


@pytest.mark.slow
def test_a_file_that_is_exchanged_after_the_check_is_not_what_is_read(ask, canaries, root, video, monkeypatch):
    from v2t.serve import media

    file, _ = canaries
    place = root / "swapped.mp4"
    place.write_bytes(video)
    checked = media.check

    def swap(head, name):
        found = checked(head, name)
        place.unlink()
        place.symlink_to(file.path)
        return found

    monkeypatch.setattr(media, "check", swap)
    frames = ask("file://films/swapped.mp4")
    assert (frames.pixels > 50).all() and untouched(canaries)
