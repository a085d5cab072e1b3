"""Whose turn it is at the local engine, and trouble, with a stand-in for the model."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import numpy as np
import pytest

from cineloop.video.frames import Frames
from v2t.captioners.local import STARTER
from v2t.serve.local.questions import Prompts
from v2t.serve.local.server import create_app
from v2t.serve.local.turns import Turns

sys.path.insert(0, str(Path(__file__).parent))

from chat_requests import LONG_S, NAME, PATH, StandIn, body, clip, events, post, told  # noqa: E402


@pytest.fixture(scope="module")
def prompts():
    return Prompts(STARTER, 8192)


@pytest.fixture
def stand_in():
    return StandIn()


@pytest.fixture
def stage(stand_in, prompts):
    turns = Turns(stand_in)
    yield create_app(turns, prompts, NAME)
    stand_in.free.set()
    turns.close(LONG_S)


def held(stage, stand_in: StandIn, *bodies: dict) -> list[httpx.Response]:
    """Responses to requests that all wait while the model is busy with a first one."""
    stand_in.free.clear()
    first = body(text="first")

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=stage, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=None) as client:
            asks = [asyncio.create_task(client.post(PATH, json=first))]
            await asyncio.to_thread(stand_in.begun.wait, LONG_S)
            for number, one in enumerate(bodies, 1):
                asks.append(asyncio.create_task(client.post(PATH, json=one)))
                while len(turns_of(stage)._waiting) < number:
                    await asyncio.sleep(0.005)
            stand_in.free.set()
            return (await asyncio.gather(*asks))[1:]

    return asyncio.run(asyncio.wait_for(main(), LONG_S))


def turns_of(stage) -> Turns:
    (endpoint,) = [route.endpoint for route in stage.routes if getattr(route, "path", "") == "/health"]
    cells = dict(zip(endpoint.__code__.co_freevars, endpoint.__closure__, strict=True))
    return cells["turns"].cell_contents


def test_those_that_wait_are_answered_together_where_they_go_together(stage, stand_in):
    bodies = [body(text=f"t{i}") for i in range(10)]
    bodies[3] = body(clip(1), text="t3")
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
    assert [reply.status_code for reply in replies] == [200, 422, 200, 500, 200]
    assert replies[1].json()["error"]["code"] == "MODEL_ERROR" and "secret" not in replies[3].text
    assert replies[2].json()["choices"][0]["message"]["content"] == "b 60"


def test_a_stream_that_breaks_says_so_and_has_no_regular_end(stage):
    (reply,) = post(stage, body(text="breaks", stream=True))
    *_, last = [line for line in reply.text.split("\n\n") if line]
    assert json.loads(last[6:])["error"]["code"] == "ENGINE" and "DONE" not in reply.text
    assert "secret" not in reply.text


def test_a_model_that_fails_again_and_again_is_reported(stand_in):
    broken = threading.Event()
    turns = Turns(stand_in, broken.set)

    def fail(conversations, decoding):
        raise RuntimeError("the device is lost")

    stand_in.answer = fail
    app = create_app(turns, Prompts(STARTER, 8192), NAME)
    try:
        assert Counter(r.status_code for r in post(app, body(text="a"), body(text="b"))) == {500: 2}
        assert not broken.is_set()
        post(app, body(text="c"))
        assert broken.wait(LONG_S)
    finally:
        turns.close()


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

        scope = {"type": "http", "method": "POST", "path": PATH, "raw_path": PATH.encode(), "query_string": b"",
                 "headers": [], "http_version": "1.1", "asgi": {"version": "3.0"}}  # fmt: skip
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


def test_health_and_models(stage):
    async def main() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=stage), base_url="http://engine") as client:
            assert (await client.get("/health")).status_code == 200
            (model,) = (await client.get("/v1/models")).json()["data"]
            assert model["id"] == NAME and model["max_model_len"] == 8192
            assert (await client.get("/docs")).status_code == 404
            turns_of(stage).close()
            assert (await client.get("/health")).status_code == 503
            assert (await client.post(PATH, json=body(text="late"))).status_code == 500

    asyncio.run(main())
