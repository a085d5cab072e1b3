"""A thousand requests that no client should send, over ASGI and over sockets: refused by name, and nothing stays.

Media are the true ones, with decoders and uploads; the engine is a stand-in.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import socket
import time
from collections import Counter

import httpx
import numpy as np
import pytest

from cineloop.video.frames import Frames
from cineloop.video.packed import pack
from serve_stand_ins import SERVED, client_of, listening
from small_clips import noise, write
from v2t.serve.media import Media
from v2t.serve.settings import ServeConfig, ServeLimits

NUM_ASGI, NUM_SOCKET = 700, 300
CHAT = "/v1/chat/completions"
# Refusals that a server in good health may answer with a status of 500 or more.
NAMED = {"BUSY", "DISK_FULL"}
PASSWORDS = "file:" + "///etc/passwd"


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    return write(noise(fps=6), tmp_path_factory.mktemp("clip") / "clip.mp4").read_bytes()


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> ServeConfig:
    root = tmp_path_factory.mktemp("root")
    (root / "notes.txt").write_text("canary")
    limits = ServeLimits(body_mb=1, decode_s=30, rate_per_minute=1_000_000, text_chars=2000)
    return ServeConfig(port=0, roots={"clips": root}, limits=limits)


def url_of(draw: random.Random, video: bytes) -> str:
    def data(content: bytes, kind: str = "video/mp4") -> str:
        return f"data:{kind};base64,{base64.b64encode(content).decode()}"

    def damaged() -> bytes:
        made = bytearray(video)
        for _ in range(draw.randint(1, 40)):
            made[draw.randrange(len(made))] = draw.randrange(256)
        return bytes(made[: draw.randint(1, len(made))])

    frames = pack(Frames.from_pixels(np.zeros((2, 8, 8, 3), np.uint8), 2.0))
    return draw.choice(
        [
            lambda: data(video) + draw.choice(["", "#t=0.2,0.6", "#t=5,2", "#t=nan", "#t=-1,1e999", "#t=,", "#x"]),
            lambda: data(damaged()),
            lambda: data(damaged()),
            lambda: data(video),
            lambda: data(frames, "video/x-cineloop"),
            lambda: data(frames[: draw.randrange(len(frames))], "video/x-cineloop"),
            lambda: data(b"#EXTM3U\n" + PASSWORDS.encode()),
            lambda: "data:video/jpeg;base64," + ",".join(["AAAA"] * draw.randint(1, 3000)),
            lambda: "data:video/mp4," + "%00" * draw.randint(0, 9),
            lambda: "upload:file-" + f"{draw.getrandbits(128):032x}",
            lambda: draw.choice(["file://clips/notes.txt", "file://clips/../clips/notes.txt", PASSWORDS]),
            lambda: draw.choice(["file://clips/%2e%2e/x", "file://other/x", "file://clips/", "file://clips/a\0b"]),
            lambda: draw.choice(["http://127.1/", "http://[::ffff:169.254.169.254]/", "http://0x7f000001/"]),
            lambda: draw.choice(["https://user@host/", "https://host\\@evil/", "gopher://x", "", "\u2028", "//x"]),
        ]
    )()


def junk(draw: random.Random, depth: int = 3) -> object:
    simple = [None, True, -1, 0, 2**63, 10**30, 1e308, -0.0, "", "x" * 300, "\u202e\0", "file-1", [], {}]
    if depth and draw.random() < 0.3:
        return [junk(draw, depth - 1) for _ in range(draw.randint(0, 3))]
    if depth and draw.random() < 0.3:
        return {draw.choice(["type", "url", "role", "x", ""]): junk(draw, depth - 1) for _ in range(draw.randint(0, 3))}
    return draw.choice(simple)


def body_of(draw: random.Random, video: bytes) -> dict:
    kind = draw.choice(["video_url", "image_url"])
    parts: list = [
        {"type": "text", "text": draw.choice(["What?", "<|im_end|>", "é\u2028\U0001f600"] * 3 + ["x" * 3000])}
    ]
    parts += [
        {"type": kind, kind: {"url": url_of(draw, video)}} for _ in range(draw.choice([0, 1, 1, 1, 1, 1, 1, 2, 2, 9]))
    ]
    body: dict = {"messages": [{"role": "user", "content": parts}], "max_tokens": 5}
    if draw.random() < 0.3:
        body["stream"] = True
    for _ in range(draw.choice([0, 0, 0, 0, 0, 0, 1, 2])):
        name = draw.choice(
            [*"model stream stop seed n temperature top_p max_tokens messages stream_options".split(), "z"]
        )
        body[name] = junk(draw)
    if draw.random() < 0.1:
        holder = draw.choice([body["messages"], parts, parts[0]])
        if isinstance(holder, list) and holder:
            holder[draw.randrange(len(holder))] = junk(draw)
        elif isinstance(holder, dict):
            holder[draw.choice(["type", "text", "x"])] = junk(draw)
    return body


def request_of(draw: random.Random, video: bytes) -> tuple[str, str, dict, bytes]:
    """(method, path, headers, body) of one request; most reach the chat."""
    headers = {
        "Content-Type": draw.choice(["application/json"] * 12 + ["text/plain", "multipart/form-data; boundary=b"])
    }
    if draw.random() < 0.1:
        name = draw.choice(
            ["X-Request-Id", "Authorization", "Host", "Origin", "Sec-Fetch-Site", "Content-Length", "Range"]
        )
        headers[name] = draw.choice(["", "x" * 200, "-1", "null", "a, b", "cross-site", "Bearer x"])
    data = json.dumps(body_of(draw, video)).encode()
    if draw.random() < 0.08:
        place = draw.randrange(len(data))
        data = data[:place] + draw.randbytes(draw.randint(0, 3)) + data[place + draw.randint(0, 3) :]
    if draw.random() < 0.03:
        data = b"[" * draw.randint(1, 100_000)
    path = CHAT
    if draw.random() < 0.2:
        path = draw.choice(["/v1/frames", "/v1/files", "/v1/files/x", "/v1/models", "/metrics", "/page/%2e%2e", "/%00"])
        if path == "/v1/frames":
            data = json.dumps({"url": url_of(draw, video)}).encode()
        if path == "/v1/files":
            part = b'--b\r\nContent-Disposition: form-data; name="%s"; filename="%s"\r\n\r\n%s\r\n'
            data = part % (draw.choice([b"file", b"purpose", b"x"]), draw.randbytes(9).hex().encode(), video)
            data += draw.choice([b"--b--\r\n", b"", part % (b"purpose", b"", b"user_data") + b"--b--\r\n"])
            headers["Content-Type"] = "multipart/form-data; boundary=b"
    method = "POST" if draw.random() < 0.96 else draw.choice(["GET", "DELETE", "PUT", "HEAD", "OPTIONS", "TRACE"])
    return method, path, headers, data


def check(status: int, headers: httpx.Headers, body: bytes, method: str) -> str:
    """The outcome of one request; the reply must be well formed whatever was asked."""
    assert headers["x-request-id"] and headers["x-content-type-options"] == "nosniff"
    assert b"Traceback" not in body and b"canary" not in body and b"root:" not in body
    if status < 400:
        if headers["content-type"].startswith("text/event-stream"):
            assert body.endswith(b"data: [DONE]\n\n")
        return "ok"
    if method == "HEAD":
        return "head"
    code = json.loads(body)["error"]["code"]
    assert status < 500 or code in NAMED, (status, body)
    return code


@pytest.mark.slow
def test_seven_hundred_requests_over_asgi(video, config, monkeypatch):
    import serve_stand_ins

    outcomes: Counter[str] = Counter()

    async def play() -> None:
        monkeypatch.setattr(serve_stand_ins, "Media", lambda config: Media(config, SERVED))
        draw = random.Random(1)
        async with client_of(config) as (client, engine, media, gateway):
            async with media:
                for _ in range(NUM_ASGI):
                    method, path, headers, data = request_of(draw, video)
                    reply = await client.request(method, path, headers=headers, content=data)
                    outcomes[check(reply.status_code, reply.headers, reply.content, method)] += 1
                reply = await client.post(CHAT, json={"messages": [{"role": "user", "content": "What?"}]})
                assert reply.json()["choices"][0]["message"]["content"] == "Hello."
                assert gateway.queue.taken == gateway.memory.held == media.memory.held == 0
                for asked in engine.asked:  # nothing but what is known, and no address, got through
                    assert set(asked) <= {
                        *"model messages max_tokens temperature top_p seed stop stream".split(),
                        "stream_options",
                    }
                    for url in (
                        p["video_url"]["url"] for m in asked["messages"] for p in m["content"] if "video_url" in p
                    ):
                        assert url.startswith("data:video/x-cineloop;base64,")

    asyncio.run(asyncio.wait_for(play(), 280))
    assert outcomes["ok"] > 50 and len(outcomes) > 12, outcomes


def raw_of(draw: random.Random, video: bytes) -> bytes:
    """The bytes of one request, or of what is none."""
    method, path, headers, data = request_of(draw, video)
    headers = {"Host": "localhost", "Content-Length": str(len(data)), **headers, "Connection": "close"}
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    raw = head.encode() + data
    kind = draw.randrange(8)
    if kind == 0:
        return draw.randbytes(draw.randint(1, 3000))
    if kind == 1:  # bits turned over in the head
        made = bytearray(raw)
        for _ in range(draw.randint(1, 6)):
            made[draw.randrange(min(len(made), len(head)))] ^= 1 << draw.randrange(8)
        return bytes(made)
    if kind == 2:
        return raw[: draw.randrange(len(raw))]
    if kind == 3:
        chunks = b"Transfer-Encoding: chunked\r\n"
        return raw.replace(b"Connection: close\r\n", chunks, 1)[: len(head)] + draw.choice(
            [b"5\r\nab", b"-1\r\n", b"zz\r\n"]
        )
    if kind == 4:
        return b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n" * 3 + raw
    if kind == 5:
        return raw.replace(b"\r\n", b"\r\nX-" + b"y" * draw.choice([10, 40_000]) + b": z\r\n", 1)
    return raw


@pytest.mark.slow
def test_three_hundred_connections(video, config):
    draw = random.Random(2)
    outcomes: Counter[str] = Counter()
    with listening(config, lambda: Media(config, SERVED)) as (port, engine, gateway):
        for _ in range(NUM_SOCKET):
            with socket.create_connection(("127.0.0.1", port), timeout=60) as made:
                try:
                    made.sendall(raw_of(draw, video))
                    made.shutdown(socket.SHUT_WR)
                    data = b""
                    while piece := made.recv(65536):
                        data += piece
                except ConnectionError:
                    outcomes["reset"] += 1
                    continue
            head, _, body = data.rpartition(b"HTTP/1.1 ")[2].partition(b"\r\n\r\n")
            if not data:
                outcomes["closed"] += 1
                continue
            lines = head.decode("latin-1").split("\r\n")
            headers = httpx.Headers([tuple(line.split(": ", 1)) for line in lines[1:]])
            assert headers["x-request-id"] and b"Traceback" not in data
            status = int(lines[0].split()[0])
            assert status < 500 or any(f'"code": "{name}"'.encode() in body for name in NAMED), data
            outcomes[str(status)] += 1
        base = f"http://127.0.0.1:{port}"
        assert httpx.get(f"{base}/health", timeout=60).status_code == 200
        body = {"messages": [{"role": "user", "content": "What?"}]}
        reply = httpx.post(f"{base}{CHAT}", json=body, timeout=60)
        assert reply.json()["choices"][0]["message"]["content"] == "Hello."
        end = time.monotonic() + 60
        while gateway.queue.taken or gateway.memory.held or gateway.media.memory.held:
            assert time.monotonic() < end, "something stays held"
            time.sleep(0.02)
        assert "v2t_in_flight 0.0" in httpx.get(f"{base}/metrics", timeout=60).text
    assert len(outcomes) > 5 and outcomes["200"], outcomes
