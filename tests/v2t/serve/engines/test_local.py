"""Which request the local engine answers next, and trouble, with a stand-in for the model."""

from __future__ import annotations

import asyncio
import gc
import json
import time

import httpx
import numpy as np
import pytest

from chat_requests import LONG_S, PATH, URL, StandIn, body, events, gateway_with, post, square, told
from cineloop.video.frames import Frames


@pytest.fixture
def stand_in():
    return StandIn()


@pytest.fixture
def stage(stand_in):
    with gateway_with(stand_in) as app:
        yield app


def held(stage, stand_in: StandIn, *bodies: dict) -> list[httpx.Response]:
    """Responses to requests that all wait while the model is busy with a first one."""
    stand_in.free.clear()
    first = body(text="first")

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=stage, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url=URL, timeout=None) as client:
            asks = [asyncio.create_task(client.post(PATH, json=first))]
            await asyncio.to_thread(stand_in.begun.wait, LONG_S)
            for number, one in enumerate(bodies, 1):
                asks.append(asyncio.create_task(client.post(PATH, json=one)))
                while len(stage.state.engine._waiting) < number:
                    await asyncio.sleep(0.005)
            stand_in.free.set()
            return (await asyncio.gather(*asks))[1:]

    return asyncio.run(asyncio.wait_for(main(), LONG_S))


def test_those_that_wait_are_answered_together_where_they_go_together(stage, stand_in):
    bodies = [body(text=f"t{i}") for i in range(10)]
    bodies[3] = body(square(1), text="t3")
    bodies[5] = body(text="t5", max_tokens=7)
    bodies[6] = body(text="t6", temperature=1.0, seed=1)
    bodies[7] = body(text="t7", temperature=1.0, seed=1)
    replies = held(stage, stand_in, *bodies)
    texts = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
    assert texts == [f"t{i} {7 if i == 5 else 60}" for i in range(10)]
    assert stand_in.batches == [["first"], ["t0", "t1", "t2", "t4", "t8", "t9"], ["t3"], ["t5"], ["t6"], ["t7"]]


def test_a_batch_has_its_bounds(stage, stand_in):
    held(stage, stand_in, *(body(text=f"t{i}") for i in range(10)))
    assert list(map(len, stand_in.batches)) == [1, 8, 2]


def test_a_batch_of_long_videos_is_smaller(stage, stand_in):
    long = Frames.from_pixels(np.zeros((400, 8, 8, 3), np.uint8), fps=1.0)
    held(stage, stand_in, *(body(long, text=f"t{i}") for i in range(5)))
    assert list(map(len, stand_in.batches)) == [1, 2, 2, 1]


def test_streams_and_batches_take_turns(stage, stand_in):
    bodies = [body(text=f"s{i}", stream=True) for i in range(3)]
    bodies += [body(text=f"w{i}", max_tokens=9 + i) for i in range(3)]
    replies = held(stage, stand_in, *bodies)
    assert [batch[0] for batch in stand_in.batches] == ["first", "s0", "w0", "s1", "w1", "s2", "w2"]
    assert [told(events(reply)) for reply in replies[:3]] == ["0 1 2 "] * 3


def test_one_that_cannot_be_answered_does_not_spoil_the_others(stage, stand_in):
    replies = held(stage, stand_in, *(body(text=text) for text in ("a", "bad", "b", "worse", "c")))
    assert [reply.status_code for reply in replies] == [200, 400, 200, 502, 200]
    assert replies[1].json()["error"]["code"] == "BAD_REQUEST" and "secret" not in replies[3].text
    assert replies[2].json()["choices"][0]["message"]["content"] == "b 60"


def test_a_stream_that_breaks_says_so_and_has_no_regular_end(stage):
    (reply,) = post(stage, body(text="breaks", stream=True))
    *_, last = [line for line in reply.text.split("\n\n") if line]
    assert json.loads(last[6:])["error"]["code"] == "ENGINE" and "DONE" not in reply.text
    assert "secret" not in reply.text


def test_a_model_that_fails_again_and_again_is_reported_and_goes_on_being_asked(stage, caplog):
    health = health_of(stage)
    for number in range(3):
        assert health() == (200, "ready")
        (reply,) = post(stage, body(text=f"lost {number}", stream=False))
        assert (reply.status_code, reply.json()["error"]["code"]) == (502, "ENGINE")
        assert reply.headers["x-request-id"] in caplog.text
    assert health() == (503, "failing") and "3 requests in a row failed" in caplog.text
    (reply,) = post(stage, body(text="well again"))
    assert reply.json()["choices"][0]["message"]["content"] == "well again 60"
    assert health() == (200, "ready")


def test_a_device_without_memory_refuses_one_request_and_answers_the_next(stage, stand_in):
    replies = held(stage, stand_in, *(body(text=text) for text in ("half a", "half b", "large c", "d")))
    assert [reply.status_code for reply in replies] == [200, 200, 400, 200]
    assert "enough memory" in replies[2].json()["error"]["message"] and "GiB" not in replies[2].text
    for _ in range(4):
        assert post(stage, body(text="large"))[0].status_code == 400
    assert health_of(stage)() == (200, "ready")  # it is the request's length and not the device


def health_of(stage):
    async def ask() -> tuple[int, str]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=stage), base_url=URL) as client:
            reply = await client.get("/health")
            return reply.status_code, reply.json()["engine"]

    return lambda: asyncio.run(ask())


def test_stop_strings_end_a_stream_in_the_model_too(stage, stand_in):
    (reply,) = post(stage, body(text="endless", stream=True, stop=["17 "], stream_options={"include_usage": True}))
    chunks = events(reply)
    assert told(chunks).endswith("15 16 ") and stand_in.closed.wait(LONG_S)
    assert chunks[-1]["usage"] == {"prompt_tokens": 5, "completion_tokens": 18, "total_tokens": 23}


@pytest.mark.parametrize("text", ["endless", "waits", "whole"])
def test_who_goes_away_is_not_worked_for(text, stage, stand_in):
    """In the middle of a stream, before its first word, and while a whole answer is written."""
    if text != "endless":
        stand_in.free.clear()
    given = json.dumps(body(text=text, stream=text != "whole")).encode()

    async def main() -> None:
        leave, sent = asyncio.Event(), asyncio.Event()
        messages = [{"type": "http.request", "body": given, "more_body": False}]

        async def receive() -> dict:
            if messages:
                return messages.pop()
            await leave.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict) -> None:
            if message["type"] == "http.response.body" and message.get("body"):
                sent.set()

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b"",
                 "headers": headers, "http_version": "1.1", "asgi": {"version": "3.0"}}  # fmt: skip
        answering = asyncio.create_task(stage(scope, receive, send))
        await asyncio.to_thread(stand_in.begun.wait, LONG_S)
        if text == "endless":
            await sent.wait()
        leave.set()
        await answering
        while text != "endless" and stand_in.wanted():
            await asyncio.sleep(0.005)
        stand_in.free.set()
        assert text == "whole" or await asyncio.to_thread(stand_in.closed.wait, LONG_S)

    asyncio.run(asyncio.wait_for(main(), LONG_S))
    (reply,) = post(stage, body(text="next"))
    assert reply.json()["choices"][0]["message"]["content"] == "next 60"


@pytest.mark.parametrize("text", ["well", "bad", "large"])  # not what is logged: pytest keeps tracebacks of the log
def test_the_frames_of_an_answer_are_given_back_before_the_next_one_is_asked(text, stage):
    post(stage, body(square(1), text=text))
    memory, end = stage.state.gateway.media.memory, time.monotonic() + LONG_S
    while memory.held:
        assert time.monotonic() < end, memory.held
        gc.collect()
        time.sleep(0.01)


def test_an_engine_that_is_stopped_says_so(stage):
    health = health_of(stage)
    assert health() == (200, "ready")
    stage.state.engine.close()
    while stage.state.engine.is_alive:
        time.sleep(0.005)
    assert health() == (503, "stopped")
    (reply,) = post(stage, body(text="late"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (503, "ENGINE_DOWN")
