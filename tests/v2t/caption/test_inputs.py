"""Clips that lie elsewhere: addresses listed, allowed or refused, fetched once, captioned as local ones are."""

from __future__ import annotations

import json
import threading
from concurrent.futures import Future
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

from caption_stand_ins import FrameCaptioner
from cineloop import remote
from cineloop.clip import check
from cineloop.discovery import discover
from cineloop.errors import ItemError, MissingDependencyError, NothingMatchedError, PolicyError
from refusals import refusal_code
from small_clips import write_grey
from v2t.caption import run as caption
from v2t.caption.remote_decoders import RemoteDecoders
from v2t.caption.settings import CaptionConfig


@pytest.fixture
def bucket():
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    fs.pipe({f"/bucket/clips/{name}": name.encode() for name in ("a.mp4", "x/b.MOV", "x/notes.txt", ".x/c.mp4")})
    yield fs
    fs.store.clear()


def ids(*paths: str, **options) -> list[str]:
    return [clip.id for clip in discover(paths, **options)]


def test_a_folder_a_pattern_and_a_file_elsewhere(bucket):
    assert ids("memory://bucket/clips") == ["a.mp4", "x/b.MOV"] == ids("memory://bucket/clips/")
    assert ids("memory://bucket/clips", exclude=["*.MOV"]) == ["a.mp4"]
    assert ids("memory://bucket/*/*.mp4") == ["clips/a.mp4"]
    assert ids("memory://bucket/clips/x/b.MOV") == ["b.MOV"]
    assert ids("memory://bucket/clips/x/b.MOV", "memory://bucket/clips/a.mp4") == ["a.mp4", "x/b.MOV"]
    assert ids("memory://bucket/clips", root="memory://bucket") == ["clips/a.mp4", "clips/x/b.MOV"]
    clip = discover(["memory://bucket/clips/a.mp4"])[0]
    assert clip.file == "memory://bucket/clips/a.mp4" and clip.size == 5 and clip.mtime_ns > 0
    check(clip)
    with pytest.raises(NothingMatchedError):
        discover(["memory://bucket/nothing"])
    with pytest.raises(NothingMatchedError):
        discover(["memory://bucket/clips/*.webm"])


def test_names_of_a_bucket_that_are_no_paths_stay_inside_the_output_folder(bucket):
    bucket.store.clear()
    for name in ("clips/../../evil.mp4", "clips//b.mp4"):
        bucket.store[f"/bucket/{name}"] = bucket.store.get(name) or _memory_file(bucket, name)
    found = ids("memory://bucket/clips")
    assert found == ["%2E%2E/%2E%2E/evil.mp4", "%2F/b.mp4"]


def _memory_file(fs, name: str):
    fs.pipe({"/seed": name.encode()})
    return fs.store.pop("/seed")


def test_an_empty_file_elsewhere_is_a_row_with_its_code(bucket):
    bucket.pipe({"/bucket/clips/a.mp4": b""})
    with pytest.raises(ItemError) as caught:
        check(discover(["memory://bucket/clips/a.mp4"])[0])
    assert caught.value.code == "EMPTY_FILE"


def test_addresses_in_lists_and_manifests_are_refused_unless_allowed(bucket, tmp_path):
    names = tmp_path / "list.txt"
    names.write_text("memory://bucket/clips/a.mp4\n")
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({"id": "one", "path": "memory://bucket/clips/a.mp4", "end_s": 2}) + "\n")
    for argument in (f"@{names}", str(manifest)):
        with pytest.raises(PolicyError) as caught:
            discover([argument])
        assert caught.value.exit_code == 7 and "--allow-remote" in caught.value.hint
        with pytest.raises(PolicyError):
            discover([argument], allow_remote=["memory://buck"])
        for allowed in ("memory", "memory://", "memory://bucket", "memory://bucket/clips/"):
            assert ids(argument, allow_remote=[allowed]) == ["a.mp4" if "@" in argument else "one"]


def test_a_manifest_elsewhere_names_files_beside_it(bucket):
    bucket.pipe({"/bucket/m.jsonl": b'{"id": "one", "path": "clips/a.mp4", "start_s": 1}\n'})
    [clip] = discover(["memory://bucket/m.jsonl"])
    assert (clip.id, clip.path, clip.file, clip.start_s) == ("one", "clips/a.mp4", "memory://bucket/clips/a.mp4", 1)
    bucket.pipe({"/bucket/m.jsonl": b'{"id": "one", "path": "memory://other/a.mp4"}\n'})
    with pytest.raises(PolicyError):
        discover(["memory://bucket/m.jsonl"])


def test_the_web_is_off_by_default_and_secrets_are_never_shown(monkeypatch):
    for url in ("https://example.org/a.mp4?signature=hunter2", "http://127.0.0.1/a.mp4"):
        with pytest.raises(PolicyError) as caught:
            discover([url])
        assert "hunter2" not in str(caught.value)
    for url in ("s3://key:hunter2@bucket/a.mp4", "memory://bucket/../a.mp4", "https://example.org/%2e%2e/a.mp4"):
        with pytest.raises(PolicyError) as caught:
            discover([url], allow_remote=["s3", "https", "memory"])
        assert "hunter2" not in str(caught.value)
    assert refusal_code(discover, ["zip://x.mp4"]) == (2, "USAGE")

    def broken(*args, **options):
        raise OSError("GET https://bucket/a.mp4?X-Amz-Signature=hunter2 failed")

    monkeypatch.setattr(remote, "_open_system", broken)
    with pytest.raises(MissingDependencyError) as caught:
        discover(["s3://bucket/a.mp4"])
    assert "hunter2" not in str(caught.value) and "OSError" in str(caught.value)
    assert caught.value.__suppress_context__  # so that a traceback does not show it either


def test_a_protocol_whose_package_is_missing_names_the_extra(without_s3fs):
    with pytest.raises(MissingDependencyError) as caught:
        discover(["s3://bucket/clips"])
    assert "cineloop[remote]" in caught.value.hint and caught.value.exit_code == 5


class WebHandler(BaseHTTPRequestHandler):
    answers: dict[str, list[tuple[int, bytes]]] = {}

    def do_GET(self) -> None:
        queue = self.answers[self.path]
        status, body = queue.pop(0) if len(queue) > 1 else queue[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(body) + (10 if status == 206 else 0)))
        if status == 302:
            self.send_header("Location", "/good.mp4")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def web(monkeypatch):
    monkeypatch.setattr("cineloop.retry._PAUSE_S", 0.001)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), WebHandler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_the_web_is_read_again_after_a_fault_and_redirects_are_not_followed(web, tmp_path):
    WebHandler.answers = {
        "/good.mp4": [(200, b"good")],
        "/flaky.mp4": [(503, b""), (206, b"cut short"), (200, b"whole")],
        "/away.mp4": [(302, b"")],
        "/none.mp4": [(404, b"")],
        "/down.mp4": [(500, b"")],
    }
    [clip] = discover([f"{web}/flaky.mp4"], allow_remote=[f"{web}/"])
    assert (clip.id, clip.size) == ("flaky.mp4", -1)

    def get(name: str) -> bytes:
        target = tmp_path / name
        remote.fetch(f"{web}/{name}?key=hunter2", target, max_bytes=10)
        return target.read_bytes()

    WebHandler.answers |= {f"{path}?key=hunter2": queue for path, queue in WebHandler.answers.items()}
    assert get("good.mp4") == b"good" and get("flaky.mp4") == b"whole"
    for name, code in (("away", "UNREADABLE"), ("none", "NOT_FOUND"), ("down", "FETCH_FAILED")):
        with pytest.raises(ItemError) as caught:
            get(f"{name}.mp4")
        assert caught.value.code == code and "hunter2" not in str(caught.value)
    WebHandler.answers["/good.mp4?key=hunter2"] = [(200, b"x" * 11)]
    with pytest.raises(ItemError) as caught:
        get("good.mp4")
    assert caught.value.code == "TOO_LARGE"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flaky.mp4", "good.mp4"]


class BytesPool:
    """Decodes nothing: its results are the bytes of the copy."""

    num_workers = 1

    def submit(self, path, window):
        future: Future = Future()
        future.set_result((Path(path).read_bytes(), window))
        return future

    def close(self):
        pass


def test_files_in_flight_are_bounded_and_nothing_is_left(bucket, tmp_path):
    names = [f"memory://bucket/{i}.mp4" for i in range(12)]
    bucket.pipe({f"/bucket/{i}.mp4": bytes([i]) * 100 for i in range(12)})
    most = 0

    class Counting(BytesPool):
        def submit(self, path, window):
            nonlocal most
            assert Path(path).suffix == ".mp4"
            with pool._lock:  # nothing is removed meanwhile
                most = max(most, len(list(pool.folder.glob("*.mp4"))))
            return super().submit(path, window)

    with RemoteDecoders(Counting(), 3, 100, tmp_path) as pool:
        futures = [(i % 12, pool.submit(names[i % 12], i)) for i in range(48)]
        assert all(future.result()[0] == bytes([i]) * 100 for i, future in futures)
        bucket.pipe({"/bucket/large.mp4": bytes(101)})
        for name, code in (("large", "TOO_LARGE"), ("none", "NOT_FOUND")):
            with pytest.raises(ItemError) as caught:
                pool.submit(f"memory://bucket/{name}.mp4", 0).result()
            assert caught.value.code == code
        (tmp_path / "v2t-remote-killed").mkdir()
        (tmp_path / "v2t-remote-killed" / "lock").touch()
        with RemoteDecoders(BytesPool(), 1, 100, tmp_path):
            assert pool.folder.exists() and not (tmp_path / "v2t-remote-killed").exists()
    assert 1 <= most <= 3 and not list(tmp_path.iterdir())


def test_a_file_is_fetched_once_for_many_windows(bucket, tmp_path, monkeypatch):
    fetched = []
    real = remote.fetch
    monkeypatch.setattr(
        "v2t.caption.remote_decoders.fetch", lambda url, *a, **k: (fetched.append(url), real(url, *a, **k))[1]
    )
    (tmp_path / "here.mp4").write_bytes(b"local")
    with RemoteDecoders(BytesPool(), 4, 100, tmp_path) as pool:
        futures = [pool.submit("memory://bucket/clips/a.mp4", i) for i in range(8)]
        assert [future.result() for future in futures] == [(b"a.mp4", i) for i in range(8)]
        assert pool.submit(str(tmp_path / "here.mp4"), 0).result() == (b"local", 0)
        with pytest.raises(ItemError):
            pool.submit("memory://bucket/none.mp4", 0).result()
    assert fetched == ["memory://bucket/clips/a.mp4", "memory://bucket/none.mp4"]


@pytest.mark.slow
def test_a_bucket_is_captioned_as_a_folder_is(bucket, tmp_path, monkeypatch):
    write_grey(tmp_path / "a.mp4", 0, 4, size=(16, 24), fps=4)
    video = (tmp_path / "a.mp4").read_bytes()
    bucket.pipe({"/bucket/clips/a.mp4": video, "/bucket/clips/x/b.MOV": video, "/bucket/clips/x/c.mp4": b"no video"})
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = tmp_path / "out"
    config = CaptionConfig(workers=1, decoders=("pyav",))

    captioner = FrameCaptioner(lambda frames: f"Frames of {'x'.join(map(str, frames.pixels.shape))}.", size=None)

    def run(*paths: str, **options):
        return caption.run(list(paths), out, replace(config, **options), captioner=captioner)

    summary = run("memory://bucket/clips")
    [failure] = summary.failures
    assert summary.num_captioned == 2 and failure["code"] == "NOT_MEDIA"
    assert "memory://bucket/clips/x/c.mp4" in failure["message"] and "v2t-remote" not in failure["message"]
    assert (out / "x/b.txt").read_text() == (out / "a.txt").read_text() == "Frames of 2x16x24x3.\n"
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    assert [row["path"] for row in rows] == ["a.mp4", "x/b.MOV", "x/c.mp4"]
    assert run("memory://bucket/clips").done_before == 2
    bucket.pipe({"/bucket/clips/a.mp4": video + b" "})
    assert run("memory://bucket/clips").num_captioned == 1  # another date there, so another video
    names = tmp_path / "list"
    names.write_text("memory://bucket/none.mp4\n")
    summary = run(lists=(str(names),), allow_remote=("memory",))
    assert [failure["code"] for failure in summary.failures] == ["NOT_FOUND"]
    assert not list(tmp_path.glob("v2t-remote-*"))
