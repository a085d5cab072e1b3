"""Answers of an engine, by a stand-in: what it is sent, what is passed on, and every way in which it fails."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

import serve_stand_ins as stand_ins
from serve_stand_ins import CHAT, WORDS, Breaking, code_of, data_of, events, piece, scene, with_video
from v2t.serve.settings import ServeConfig, ServeLimits


def test_what_the_engine_warns_of_is_passed_on():
    async def play(client, engine, *_):
        beside = {
            "cineloop": {"warnings": [{"code": "OUT_OF_DOMAIN", "message": "\x1b[31m far away"}, 3], "secret": "inner"}
        }
        message = {"message": {"content": "x"}, "finish_reason": "stop"}
        engine.reply = lambda body: httpx.Response(200, json={"choices": [message], "usage": stand_ins.USAGE, **beside})
        told = (await client.post(CHAT, json=with_video())).json()["cineloop"]
        assert (
            told["warnings"] == [{"code": "OUT_OF_DOMAIN", "message": "\\u001b[31m far away"}]
            and len(told["videos"]) == 1
        )
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
        assert gateway.memory.held == 0 and media.memory.held == 0 and gateway.queue.taken == 0

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
        assert not engine.asked and gateway.queue.taken == 0

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
        engine.state = "starting"
        health = await client.get("/health")
        assert (health.status_code, health.json()) == (503, {"status": "unavailable", "engine": "starting"})
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
        assert "/srv" not in reply.text and gateway.queue.taken == 0

    scene(play)


@pytest.mark.slow
def test_an_answer_that_takes_too_long_is_given_up():
    async def play(client, engine, media, gateway):
        engine.held = asyncio.Event()
        for more in ({}, {"stream": True}):
            assert code_of(await client.post(CHAT, json={**WORDS, **more})) == (504, "ANSWER_TIMEOUT")
        assert engine.cancelled == 2 and gateway.queue.taken == 0

    scene(play, ServeConfig(limits=ServeLimits(answer_s=2.0)))


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
            scope["http_version"] = "1.1"
            task = asyncio.create_task(client._transport.app(scope, receive, send))
            return task, gone, sent

        engine.held = asyncio.Event()
        for number, more in enumerate(({}, {"stream": True}), 1):
            task, gone, sent = await leave({**WORDS, **more})
            while len(engine.asked) < number:
                await asyncio.sleep(0)
            gone.set()
            await task
            assert not sent and engine.cancelled == number and gateway.queue.taken == 0
        media.held = asyncio.Event()  # while its video is decoded
        task, gone, sent = await leave(with_video())
        while not media.asked:
            await asyncio.sleep(0)
        gone.set()
        await task
        assert not sent and len(engine.asked) == 2 and gateway.memory.held == 0
        assert 'code="499"' in (await client.get("/metrics")).text

    scene(play)


def test_other_models_get_pictures_with_their_times(monkeypatch):
    """One video as vLLM takes frames, with numbers that give their times; of several, pictures after times in words."""
    foreign = replace(stand_ins.SERVED, is_ours=False, segment_frames=0, frame_size=None)
    monkeypatch.setattr(stand_ins, "SERVED", foreign)

    async def play(client, engine, *_):
        reply = await client.post(CHAT, json=with_video())
        assert reply.json()["cineloop"]["videos"][0]["visual_tokens"] is None
        part, words = engine.asked[0]["messages"][0]["content"]
        head, _, jpegs = part["video_url"]["url"].partition(",")
        assert head == "data:video/jpeg;base64" and jpegs.count("/9j/") == 4
        told = engine.asked[0]["media_io_kwargs"]["video"]
        assert [number / told["fps"] for number in told["frames_indices"]] == [0.0, 0.5, 1.0, 1.5]
        assert words == {"type": "text", "text": "What?"}

        two = with_video()
        two["messages"][0]["content"].append({"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}})
        assert (await client.post(CHAT, json=two)).status_code == 200
        assert "media_io_kwargs" not in engine.asked[1]
        kinds = [part["type"] for part in engine.asked[1]["messages"][0]["content"]]
        assert kinds == ["text", "image_url"] * 8 + ["text"]

    scene(play)


@pytest.mark.parametrize("count", [1, 2])
def test_what_one_key_asked_is_not_kept_for_another(monkeypatch, count):
    keys = ["first-key-of-16-letters", "other-key-of-16-letters"][:count]
    monkeypatch.setenv("V2T_SERVE_KEY", ",".join(keys))

    async def play(client, engine, *_):
        for key in keys:
            assert (await client.post(CHAT, json=WORDS, headers={"Authorization": f"Bearer {key}"})).status_code == 200
        salts = [body.get("cache_salt") for body in engine.asked]
        assert len(set(salts)) == count and not any(key in str(salts) for key in keys)
        assert (None in salts) == (count == 1)

    scene(play)
