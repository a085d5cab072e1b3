"""The gateway's routes and rules over ASGI, with stand-ins behind it: who is let in, what goes out, what is refused."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import sys
from pathlib import Path

import httpx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import serve_stand_ins as stand_ins  # noqa: E402
from serve_stand_ins import Breaking, client_of, events, piece  # noqa: E402

from v2t.serve.door import POLICY  # noqa: E402
from v2t.serve.settings import ServeConfig, ServeLimits  # noqa: E402

KEY, OTHER = "k" * 20, "o" * 20
CHAT = "/v1/chat/completions"
WORDS = {"messages": [{"role": "user", "content": "What?"}]}
MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 100


def with_video(url="data:video/mp4;base64,AA==", **more):
    parts = [{"type": "text", "text": "What?"}, {"type": "video_url", "video_url": {"url": url}}]
    return {"messages": [{"role": "user", "content": parts}], **more}


def scene(play, config: ServeConfig | None = None, **headers: str):
    """Play `play(client, engine, media, gateway)` against a fresh gateway."""

    async def run():
        async with client_of(config or ServeConfig(), **headers) as all_of_it:
            return await asyncio.wait_for(play(*all_of_it), 60)

    return asyncio.run(run())


def code_of(reply: httpx.Response) -> tuple[int, str]:
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "code", "param", "request_id"}
    assert error["request_id"] == reply.headers["x-request-id"]
    return reply.status_code, error["code"]


def data_of(reply: httpx.Response) -> list:
    """The events of a stream; "[DONE]" as it is."""
    assert reply.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in reply.content.split(b"\n") if line]
    assert all(line.startswith(b"data: ") for line in lines)
    return [line[6:].decode() if line == b"data: [DONE]" else json.loads(line[6:]) for line in lines]


@pytest.fixture
def keys(monkeypatch):
    monkeypatch.setenv("V2T_SERVE_KEY", f"{KEY}, {OTHER}")
    return {"Authorization": f"Bearer {KEY}"}, {"Authorization": f"Bearer {OTHER}"}


def test_every_answer_has_an_id_and_keeps_browsers_in_check():
    async def play(client, engine, media, gateway):
        for method, path in (
            ("GET", "/"),
            ("GET", "/health"),
            ("GET", "/nothing"),
            ("GET", "/v1/models"),
            ("PUT", CHAT),
            ("GET", "/page/../app.py"),
            ("GET", "/page/%2e%2e%2fapp.py"),
        ):
            reply = await client.request(method, path)
            assert reply.headers["content-security-policy"] == POLICY
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert reply.headers["cross-origin-opener-policy"] == "same-origin"
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert re.fullmatch(r"req-[0-9a-f]{32}", reply.headers["x-request-id"])
            assert not [name for name in reply.headers if name.startswith("access-control")]
            assert reply.headers["cache-control"] == ("no-cache" if path == "/" else "no-store")

    scene(play)


@pytest.mark.parametrize(("given", "is_taken"), [("my_id-1", True), ("a" * 65, False), ("a b", False), ("ä", False)])
def test_a_client_may_name_its_request(given, is_taken):
    async def play(client, *_):
        reply = await client.get("/live", headers={"X-Request-Id": given.encode()})
        assert (reply.headers["x-request-id"] == given) is is_taken

    scene(play)


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/redoc",
        "/invocations",
        "/tokenize",
        "/v1/completions",
        "/v1/files/x/y",
        "/v1//models",
    ],
)
def test_what_is_not_listed_is_not_there(path):
    async def play(client, *_):
        assert code_of(await client.get(path)) == (404, "NOT_FOUND")
        assert code_of(await client.post(path, json={})) == (404, "NOT_FOUND")

    scene(play)


def test_another_method_is_refused():
    async def play(client, *_):
        assert code_of(await client.get(CHAT)) == (405, "METHOD_NOT_ALLOWED")
        assert code_of(await client.options(CHAT)) == (405, "METHOD_NOT_ALLOWED")
        assert (await client.head("/health")).status_code == 200

    scene(play)


@pytest.mark.parametrize(
    ("host", "is_in"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST.:9", True),
        ("[::1]:8000", True),
        ("127.9.9.9", True),
        ("video.example.org", True),
        ("evil.example.org", False),
        ("127.0.0.1.evil.example.org", False),
        ("localhost@evil", False),
        ("192.168.0.5", False),
        ("", False),
        ("localhost, evil", False),
    ],
)
def test_only_names_of_ours_are_answered(host, is_in):
    async def play(client, *_):
        reply = await client.get("/live", headers={"Host": host})
        assert reply.status_code == (200 if is_in else 403)
        if not is_in:
            assert code_of(reply) == (403, "HOST_FORBIDDEN")

    scene(play, ServeConfig(hosts=("video.example.org",)))


def test_addresses_are_fine_where_others_may_come(keys):
    async def play(client, *_):
        assert (await client.get("/live", headers={"Host": "192.168.0.5:8000"})).status_code == 200
        assert (await client.get("/live", headers={"Host": "evil.example.org"})).status_code == 403

    scene(play, ServeConfig(host="0.0.0.0"))


@pytest.mark.parametrize(
    ("headers", "is_in"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:8000"}, True),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://localhost:8000"}, False),
        ({"Origin": "http://127.0.0.1:9000"}, False),
        ({"Origin": "https://evil.example.org"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[bad"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_foreign_pages_may_not_ask(headers, is_in):
    async def play(client, engine, *_):
        reply = await client.post(CHAT, json=WORDS, headers=headers)
        assert reply.status_code == (200 if is_in else 403) and len(engine.asked) == is_in
        if not is_in:
            assert code_of(reply) == (403, "ORIGIN_FORBIDDEN")

    scene(play)


def test_a_plain_form_of_a_page_is_no_request():
    async def play(client, engine, *_):
        reply = await client.post(CHAT, content=json.dumps(WORDS), headers={"Content-Type": "text/plain"})
        assert code_of(reply) == (415, "BAD_REQUEST") and not engine.asked

    scene(play)


def test_a_key_opens_all_but_health_and_the_page(keys):
    async def play(client, engine, *_):
        for path in ("/health", "/live", "/"):
            assert (await client.get(path)).status_code == 200
        for path in ("/metrics", "/v1/models", "/v1/files", "/nothing"):
            reply = await client.get(path)
            assert code_of(reply) == (401, "UNAUTHORIZED") and reply.headers["www-authenticate"] == "Bearer"
        for wrong in ("x" * 20, f"{KEY},{OTHER}", ""):
            headers = {"Authorization": f"Bearer {wrong}"}
            assert code_of(await client.post(CHAT, json=WORDS, headers=headers)) == (401, "UNAUTHORIZED")
        assert not engine.asked
        for headers in keys:
            assert (await client.post(CHAT, json=WORDS, headers=headers)).status_code == 200
            assert (await client.get("/metrics", headers=headers)).status_code == 200

    scene(play)


def test_headers_that_come_twice_count_for_nothing(keys):
    async def play(client, *_):
        mine = keys[0]["Authorization"]
        for pairs, code in (
            ([("Host", "localhost"), ("Host", "localhost"), ("Authorization", mine)], "HOST_FORBIDDEN"),
            ([("Authorization", mine), ("Authorization", mine)], "UNAUTHORIZED"),
            ([("Authorization", mine), ("Origin", "http://127.0.0.1:8000"), ("Origin", "null")], "ORIGIN_FORBIDDEN"),
        ):
            assert code_of(await client.post(CHAT, json=WORDS, headers=pairs))[1] == code

    scene(play)


def test_what_the_engine_warns_of_is_passed_on():
    async def play(client, engine, *_):
        beside = {"cineloop": {"warnings": ["OUT_OF_DOMAIN: \x1b[31m far away", 3], "secret": "inner"}}
        message = {"message": {"content": "x"}, "finish_reason": "stop"}
        engine.reply = lambda body: httpx.Response(200, json={"choices": [message], "usage": stand_ins.USAGE, **beside})
        told = (await client.post(CHAT, json=with_video())).json()["cineloop"]
        assert told["warnings"] == ["OUT_OF_DOMAIN: \\u001b[31m far away"] and len(told["videos"]) == 1
        stream = events(piece("x"), piece(None, "stop", **beside))
        engine.reply = lambda body: httpx.Response(200, content=stream)
        *_, last, _ = data_of(await client.post(CHAT, json={**WORDS, "stream": True}))
        assert last["cineloop"] == {"warnings": told["warnings"]}

    scene(play)


def test_what_goes_in_is_what_was_checked_and_what_comes_out_is_what_is_known():
    async def play(client, engine, media, gateway):
        reply = await client.post(CHAT, json=with_video(temperature=0, stop="x", user="me", model="shop"))
        body = engine.asked[0]
        assert set(body) == {"model", "messages", "max_tokens", "temperature", "stop"}
        first, second = body["messages"][0]["content"]  # the video before the words
        assert first["video_url"]["url"].startswith("data:video/x-cineloop;base64,")
        assert second == {"type": "text", "text": "What?"}
        told = reply.json()
        assert set(told) == {"id", "object", "created", "model", "choices", "usage", "cineloop"}
        assert told["model"] == "shop" and told["id"].startswith("chatcmpl-req-")
        assert told["choices"] == [
            {"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}
        ]
        assert told["usage"] == stand_ins.USAGE
        assert told["cineloop"]["videos"] == [
            {
                "times_s": [0.0, 0.5, 1.0, 1.5],
                "duration_s": 2.0,
                "start_s": 0.0,
                "visual_tokens": 6,
                "decoder": "stand-in",
                "warnings": [],
            }
        ]
        assert gateway.memory.held == 0 and media.memory.held_bytes == 0 and gateway.places.taken == 0

    scene(play)


def test_a_stream_is_passed_on_piece_by_piece_and_written_anew():
    async def play(client, engine, media, gateway):
        wanted = with_video(stream=True, stream_options={"include_usage": True})
        *chunks, end = data_of(await client.post(CHAT, json=wanted))
        assert end == "[DONE]" and "inner" not in json.dumps(chunks) and "secret" not in json.dumps(chunks)
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert len(chunks[0]["cineloop"]["videos"]) == 1
        assert [c["choices"][0]["delta"].get("content") for c in chunks[1:4]] == ["Hel", "lo\u2028.", None]
        assert chunks[3]["choices"][0]["finish_reason"] == "stop"
        assert chunks[4]["usage"] == stand_ins.USAGE and chunks[4]["choices"] == []
        assert len({chunk["id"] for chunk in chunks}) == 1
        *chunks, end = data_of(await client.post(CHAT, json={**WORDS, "stream": True}))
        assert end == "[DONE]" and not any("usage" in chunk or "cineloop" in chunk for chunk in chunks)
        text = (await client.get("/metrics")).text
        assert "v2t_answer_tokens_total 4.0" in text and "v2t_time_to_first_piece_seconds_count 2.0" in text

    scene(play)


def test_media_faults_reach_the_client_and_never_the_engine():
    async def play(client, engine, media, gateway):
        for more in ({}, {"stream": True}):
            reply = await client.post(CHAT, json=with_video("https://169.254.169.254/", **more))
            assert code_of(reply) == (403, "URL_FORBIDDEN")
            assert reply.json()["error"]["param"] == "messages[0].content[1].video_url.url"
        assert not engine.asked and gateway.places.taken == 0

    scene(play)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("status", "told", "expected"),
    [
        (400, {"message": "maximum context length is 8192 tokens", "code": 400}, (400, "PROMPT_TOO_LONG")),
        (400, {"message": "no", "code": "PROMPT_TOO_LONG"}, (400, "PROMPT_TOO_LONG")),
        (422, {"message": "bad seed in /srv/engine/x.py at http://10.0.0.1/"}, (400, "BAD_REQUEST")),
        (500, {"message": "Traceback /srv/engine/x.py"}, (502, "ENGINE")),
        (503, {"message": "sleeping"}, (503, "ENGINE_DOWN")),
        (404, {"message": "no such route /srv"}, (502, "ENGINE")),
    ],
)
def test_what_an_engine_refuses_is_told_without_its_inside(stream, status, told, expected):
    async def play(client, engine, *_):
        engine.reply = lambda body: httpx.Response(status, json={"error": told})
        reply = await client.post(CHAT, json={**WORDS, "stream": stream})
        assert code_of(reply) == expected
        assert "/srv" not in reply.text and "10.0.0.1" not in reply.text

    scene(play)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "content", [b"", b"no json", b"[]", b'{"choices": []}', b'data: {"choices": 3}\n\ndata: [DONE]\n\n', b"data: x\n\n"]
)
def test_replies_that_are_none_are_the_engines_fault(stream, content):
    async def play(client, engine, *_):
        engine.reply = lambda body: httpx.Response(200, content=content)
        assert code_of(await client.post(CHAT, json={**WORDS, "stream": stream})) == (502, "ENGINE")

    scene(play)


def test_an_engine_that_is_down_is_not_asked():
    async def play(client, engine, media, gateway):
        engine.state = "restarting"
        health = await client.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "unavailable", "engine": "restarting"})
        assert (await client.get("/live")).status_code == 200
        reply = await client.post(CHAT, json=with_video())
        assert code_of(reply) == (503, "ENGINE_DOWN") and int(reply.headers["retry-after"]) > 0
        assert not engine.asked and not media.asked
        engine.state = "ready"
        assert (await client.get("/health")).json() == {"status": "ok", "engine": "ready"}

    scene(play)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (httpx.ConnectError("no socket /tmp/secret"), (503, "ENGINE_DOWN")),
        (httpx.ReadError("gone"), (502, "ENGINE")),
        (httpx.RemoteProtocolError("gone"), (502, "ENGINE")),
    ],
)
def test_an_engine_that_dies_is_reported(error, expected):
    async def play(client, engine, *_):
        def die(body):
            raise error

        engine.reply = die
        for more in ({}, {"stream": True}):
            reply = await client.post(CHAT, json={**WORDS, **more})
            assert code_of(reply) == expected and "secret" not in reply.text and reply.headers["retry-after"]
        assert engine.broken == 2

    scene(play)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (lambda: Breaking(events(piece("Hel"), done=False), error=httpx.ReadError("gone")), "ENGINE"),
        (lambda: events(piece("Hel"), done=False), "ENGINE"),
        (lambda: events(piece("Hel"), {"error": {"message": "out of memory at /srv", "code": 500}}), "ENGINE"),
        (
            lambda: Breaking(events(piece("Hel"), done=False), b"data: " + b"x" * 2_000_000, error=ValueError()),
            "ENGINE",
        ),
    ],
)
def test_a_stream_that_breaks_ends_with_an_error_and_without_done(body, code):
    async def play(client, engine, media, gateway):
        made = body()
        kind = {"content": made} if isinstance(made, bytes) else {"stream": made}
        engine.reply = lambda _: httpx.Response(200, **kind)
        reply = await client.post(CHAT, json={**WORDS, "stream": True})
        *chunks, last = data_of(reply)
        assert reply.status_code == 200 and chunks[1]["choices"][0]["delta"] == {"content": "Hel"}
        assert last["error"]["code"] == code and last["error"]["request_id"] == reply.headers["x-request-id"]
        assert "/srv" not in reply.text and gateway.places.taken == 0

    scene(play)


def test_an_answer_that_takes_too_long_is_given_up():
    async def play(client, engine, media, gateway):
        engine.held = asyncio.Event()
        for more in ({}, {"stream": True}):
            assert code_of(await client.post(CHAT, json={**WORDS, **more})) == (504, "ANSWER_TIMEOUT")
        assert engine.cancelled == 2 and gateway.places.taken == 0

    scene(play, ServeConfig(limits=ServeLimits(answer_s=0.05)))


def test_the_unexpected_is_an_id_for_the_client_and_a_traceback_for_the_log(caplog):
    async def play(client, engine, media, gateway):
        def burst(*args, **kwargs):
            raise RuntimeError("inside /srv/secret")

        media.frames = burst
        reply = await client.post(CHAT, json=with_video())
        assert code_of(reply) == (500, "INTERNAL") and "secret" not in reply.text
        return reply.headers["x-request-id"]

    logger = logging.getLogger("cineloop")
    was, logger.propagate = logger.propagate, True
    try:
        with caplog.at_level(logging.INFO, "cineloop"):
            request_id = scene(play)
    finally:
        logger.propagate = was
    assert "inside /srv/secret" in caplog.text and f"POST {CHAT} 500 {request_id}" in caplog.text
    assert "What?" not in caplog.text  # no prompts


def test_bodies_are_limited_before_they_are_read():
    async def play(client, engine, *_):
        read = 0

        async def endless():
            nonlocal read
            while True:
                read += 1
                yield b" " * 65536

        headers = {"Content-Type": "application/json"}
        reply = await client.post(CHAT, content=endless(), headers=headers)
        assert code_of(reply) == (413, "TOO_LARGE") and read <= 18
        reply = await client.post(CHAT, content=b"{}", headers={**headers, "Content-Length": "2000000"})
        assert code_of(reply) == (413, "TOO_LARGE")

    scene(play, ServeConfig(limits=ServeLimits(body_mb=1)))


def test_a_body_that_comes_too_slowly_is_given_up(monkeypatch):
    monkeypatch.setattr("v2t.serve.bodies._IDLE_S", 0.05)

    async def play(client, engine, media, gateway):
        async def slow():
            yield b"{"
            await asyncio.Event().wait()

        reply = await client.post(CHAT, content=slow(), headers={"Content-Type": "application/json"})
        assert code_of(reply) == (408, "BODY_TIMEOUT") and gateway.memory.held == 0

    scene(play)


def test_memory_is_shared_by_the_bodies_of_several_owners(keys):
    async def play(client, engine, media, gateway):
        big = {**WORDS, "user": "x" * 700_000}
        reply = await client.post(CHAT, json=big, headers=keys[0])
        assert code_of(reply) == (413, "TOO_LARGE") and gateway.memory.held == 0
        assert (await client.post(CHAT, json=WORDS, headers=keys[0])).status_code == 200

    scene(play, ServeConfig(limits=ServeLimits(memory_mb=1)))


def test_too_many_requests_wait_and_then_are_refused():
    async def play(client, engine, media, gateway):
        engine.held = asyncio.Event()
        tasks = [asyncio.create_task(client.post(CHAT, json=WORDS)) for _ in range(5)]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert [code_of(task.result()) for task in done] == [(503, "BUSY")]
        assert (gateway.places.taken, gateway.places.waiting) == (2, 2)
        text = (await client.get("/metrics")).text
        assert "v2t_in_flight 2.0" in text and "v2t_waiting 2.0" in text
        engine.held.set()
        assert [task.result().status_code for task in (await asyncio.wait(pending))[0]] == [200] * 4

    scene(play, ServeConfig(limits=ServeLimits(in_flight=2)))


def test_rates_are_each_owners_own(keys):
    async def play(client, *_):
        for _ in range(3):
            assert (await client.get("/v1/models", headers=keys[0])).status_code == 200
        reply = await client.get("/v1/models", headers=keys[0])
        assert code_of(reply) == (429, "RATE_LIMITED") and int(reply.headers["retry-after"]) >= 1
        assert (await client.get("/v1/models", headers=keys[1])).status_code == 200
        assert (await client.get("/health")).status_code == 200

    scene(play, ServeConfig(limits=ServeLimits(rate_per_minute=3)))


def test_a_server_that_drains_takes_nothing_new_and_ends_what_it_has():
    async def play(client, engine, media, gateway):
        engine.held = asyncio.Event()
        task = asyncio.create_task(client.post(CHAT, json=WORDS))
        while not engine.asked:
            await asyncio.sleep(0)
        gateway.is_draining = True
        reply = await client.post(CHAT, json=WORDS)
        assert code_of(reply) == (503, "DRAINING") and reply.headers["retry-after"]
        assert (await client.get("/health")).status_code == 503
        assert (await client.get("/live")).status_code == 200
        engine.held.set()
        assert (await task).status_code == 200

    scene(play)


def test_a_client_that_leaves_stops_the_work():
    async def play(client, engine, media, gateway):
        async def leave(what):
            sent = []
            gone = asyncio.Event()
            messages = [{"type": "http.request", "body": json.dumps(what).encode(), "more_body": False}]

            async def receive():
                if messages:
                    return messages.pop()
                await gone.wait()
                return {"type": "http.disconnect"}

            async def send(message):
                sent.append(message)

            headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
            scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers, "query_string": b""}
            task = asyncio.create_task(client._transport.app(scope, receive, send))
            return task, gone, sent

        engine.held = asyncio.Event()
        for number, more in enumerate(({}, {"stream": True}), 1):
            task, gone, sent = await leave({**WORDS, **more})
            while len(engine.asked) < number:
                await asyncio.sleep(0)
            gone.set()
            await task
            assert not sent and engine.cancelled == number and gateway.places.taken == 0
        media.held = asyncio.Event()  # while its video is decoded
        task, gone, sent = await leave(with_video())
        while not media.asked:
            await asyncio.sleep(0)
        gone.set()
        await task
        assert not sent and len(engine.asked) == 2 and gateway.memory.held == 0
        assert 'code="499"' in (await client.get("/metrics")).text

    scene(play)


def test_the_list_of_models_says_what_a_page_and_a_client_need(keys):
    async def play(client, *_):
        base, adapter = (await client.get("/v1/models", headers=keys[0])).json()["data"]
        assert (base["id"], adapter["id"], adapter["parent"]) == ("base", "shop", "base")
        about = base["cineloop"]
        assert (about["segment_frames"], about["tokens_per_segment"], about["key_needed"]) == (2, 3, True)
        assert set(about["limits"]) == {"upload_mb", "duration_s", "videos", "max_tokens"}
        assert about["frames"]["num_frames"] == 4 and about["frames"]["size"] == [8, 8]

    scene(play)


def test_frames_that_would_be_sent_can_be_looked_at():
    async def play(client, engine, media, gateway):
        reply = await client.post("/v1/frames", json={"url": "data:video/mp4;base64,AA=="})
        told = reply.json()
        assert [frame["time_s"] for frame in told["frames"]] == [0.0, 0.5, 1.0, 1.5]
        assert all(frame["jpeg"].startswith("data:image/jpeg;base64,/9j/") for frame in told["frames"])
        assert (told["visual_tokens"], told["fps"], told["duration_s"], told["decoder"]) == (6, 2.0, 2.0, "stand-in")
        assert code_of(await client.post("/v1/frames", json={"url": "file:x"})) == (403, "URL_FORBIDDEN")
        assert code_of(await client.post("/v1/frames", json={"url": "x", "fps": 9})) == (400, "UNKNOWN_FIELD")
        assert code_of(await client.post("/v1/frames", json={"url": "x", "model": "y"})) == (404, "UNKNOWN_MODEL")
        assert not engine.asked

    scene(play)


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
        assert [path.name for path in media.uploads.folder.iterdir()] == [".lock"]
        assert "v2t_uploads_bytes 0.0" in (await client.get("/metrics")).text

    scene(play)


def test_counts_have_few_labels_and_none_of_a_clients_choice():
    async def play(client, *_):
        for path in ("/secret-1", "/v1/files/file-2", "/page/secret-3", "/v1/files/x/content", "/secret%0A4"):
            await client.get(path)
        await client.request("SECRET", "/live")
        text = (await client.get("/metrics")).text
        assert "secret" not in text.lower()
        routes = set(re.findall(r'v2t_requests_total\{code="\d+",route="([^"]+)"', text))
        assert routes == {"other", "/v1/files/{id}", "/page/{file}", "/v1/files/{id}/content", "/live"}
        names = set(re.findall(r"# TYPE (\S+)", text))
        assert names >= {
            "v2t_requests_total",
            "v2t_request_seconds",
            "v2t_time_to_first_piece_seconds",
            "v2t_videos_total",
            "v2t_decode_seconds",
            "v2t_frames_total",
            "v2t_answer_tokens_total",
            "v2t_in_flight",
            "v2t_waiting",
            "v2t_uploads_bytes",
            "v2t_engine_up",
            "v2t_engine_restarts_total",
        }

    scene(play)


def test_the_page_is_a_fixed_list_of_files(tmp_path, monkeypatch):
    for name in ("index.html", "app.js", "style.css", "notes.py"):
        (tmp_path / name).write_text(name)
    (tmp_path / "canary.js").symlink_to("/etc/hostname")
    monkeypatch.setattr("v2t.serve.app.PAGE", tmp_path)

    async def play(client, *_):
        (tmp_path / "late.js").write_text("late")
        assert (await client.get("/")).headers["content-type"] == "text/html; charset=utf-8"
        reply = await client.get("/page/app.js")
        assert (reply.text, reply.headers["content-type"]) == ("app.js", "text/javascript; charset=utf-8")
        assert reply.headers["cache-control"] == "no-cache"
        assert (await client.get("/page/style.css")).headers["content-type"] == "text/css; charset=utf-8"
        for name in ("notes.py", "late.js", "..%2fapp.py", "canary.js"):
            assert code_of(await client.get(f"/page/{name}")) == (404, "NOT_FOUND")

    scene(play)


def test_without_a_page_there_is_none():
    async def play(client, *_):
        assert (await client.get("/")).status_code == 404
        assert (await client.get("/page/app.js")).status_code == 404

    scene(play, ServeConfig(page=False))
