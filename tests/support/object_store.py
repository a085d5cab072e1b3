"""An S3 server on this machine that fails on demand: moto's, with faults between it and its clients.

Needs moto, flask and s3fs. `Bucket` is a bucket of it; `bucket` leads the clients of this process and of those it
starts there. And captioning runs into a bucket, as a user starts them, with a captioner that costs nothing.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any

from cineloop.journal import decode_entry
from coloured_captions import ENV as PROGRAM_ENV
from v2t.cli import main

CAPTIONER = Path(__file__).with_name("placed_captioner.py")
OPTIONS = ["--model", "colours", "--captioner", str(CAPTIONER), "--batch-size", "2", "--workers", "1"]

ENV = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


class Bucket:
    """A bucket; `fault` decides what happens to a request: `fault(method, key)` returns one of

    - "": nothing;
    - "503": the answer is SlowDown;
    - "drop": the connection ends without an answer;
    - "lost": the request is carried out, then the connection ends without an answer;
    - "ignore": as if it had no If-None-Match;
    - "hang": the request is taken, `100 Continue` is said once more, and no answer comes until the server ends.
    """

    def __init__(self, name: str, app: Any) -> None:
        self.name, self.url = name, f"s3://{name}"
        self.requests: list[tuple[str, str]] = []
        self.written: list[str] = []  # keys of the PUT requests that the store carried out
        self.fault: Callable[[str, str], str] = lambda method, key: ""
        self.is_closing = Event()
        self._app, self._lock = app, Lock()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        method, key = environ["REQUEST_METHOD"], environ["PATH_INFO"].encode("latin-1").decode("utf-8")
        key = key.removeprefix(f"/{self.name}/")
        with self._lock:
            self.requests.append((method, key))
            fault = self.fault(method, key)
        if fault == "503":
            body = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            start_response("503 Slow Down", [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            return [body]
        if fault == "ignore":
            environ.pop("HTTP_IF_NONE_MATCH", None)
        if fault == "hang":
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            environ["werkzeug.socket"].sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.is_closing.wait()

        def start(status: str, *rest: Any) -> Any:
            if method == "PUT" and status.startswith("200"):
                self.written.append(key)
            return start_response(status, *rest)

        answer = [] if fault in ("drop", "hang") else self._app(environ, start)
        if fault in ("drop", "lost", "hang"):
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
        return answer

    def objects(self) -> dict[str, bytes]:
        """Every object, by its key."""
        from moto.s3.models import s3_backends

        keys = s3_backends["123456789012"]["aws"].buckets[self.name].keys
        return {name: keys[name].value for name in sorted(keys)}

    def segments(self, folder: str) -> list[str]:
        """Names of the segments of a journal."""
        return [name.rpartition("/")[2] for name in self.objects() if name.startswith(f"{folder}/journal/")]

    def put(self, name: str, data: bytes) -> None:
        """As another program would write it."""
        import boto3

        boto3.client("s3").put_object(Bucket=self.name, Key=name, Body=data)

    def delete(self, name: str) -> None:
        """As another program would."""
        import boto3

        boto3.client("s3").delete_object(Bucket=self.name, Key=name)


@contextmanager
def bucket(name: str) -> Iterator[Bucket]:
    """A new bucket on a new server."""
    import boto3
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    class Quiet(MotoRequestHandler):
        def log(self, *args: Any) -> None:
            return None

    place = Bucket(name, DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, place, threaded=True, request_handler=Quiet)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    before = {key: os.environ.get(key) for key in (*ENV, "AWS_ENDPOINT_URL")}
    os.environ |= ENV | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}
    try:
        boto3.client("s3").create_bucket(Bucket=name)
        yield place
    finally:
        place.is_closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
        s3_backends.reset()
        for key, value in before.items():
            os.environ.pop(key, None)
            if value is not None:
                os.environ[key] = value


def forget_clients() -> None:
    """Let the next address be opened with the environment as it is then: fsspec keeps clients."""
    import s3fs

    for kind in (s3fs.S3FileSystem, *s3fs.S3FileSystem.__subclasses__()):
        kind.clear_instance_cache()


def caption(clips: Path, url: str, *more: str) -> int:
    """Run `v2t caption` here; its exit code."""
    return main(["caption", str(clips), "-o", url, *OPTIONS, *more])


def rows_of(data: bytes) -> list[dict[str, Any]]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in data.splitlines()]


def journalled(s3: Bucket, folder: str) -> list[str]:
    """Ids of the records in all segments of an output folder."""
    start = f"{folder}/.v2t/" if folder else ".v2t/"
    found = [data for name, data in s3.objects().items() if name.startswith(start) and "/journal/" in name]
    lines = [line for data in found for line in data.splitlines()]
    return [entry["record"]["id"] for entry in map(decode_entry, lines) if entry["kind"] == "clip"]


def in_background(clips: Path, url: str, hold: Path, *more: str) -> subprocess.Popen:
    """Start `v2t caption`, which waits before its third batch while the file `hold` exists."""
    words = ["caption", str(clips), "-o", url, *OPTIONS, *more]
    env = PROGRAM_ENV | os.environ | {"PYTHONPATH": PROGRAM_ENV["PYTHONPATH"], "HOLD_CAPTIONS": str(hold)}
    return subprocess.Popen([sys.executable, "-m", "v2t", *words], env=env)


def wait_for(is_true: Callable[[], bool], process: subprocess.Popen) -> None:
    """Wait until something is true that a process does."""
    while not is_true():
        assert process.poll() is None, "it ended before"
        time.sleep(0.02)
