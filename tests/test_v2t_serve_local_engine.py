"""The local engine's routes in this process: the starter behind them; a stand-in where order and trouble matter."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections import Counter

import httpx
import numpy as np
import pytest

from v2t.base.errors import ItemError
from v2t.captioners import CaptionOutput, Decoding, Message, asked
from v2t.captioners.local import STARTER
from v2t.serve.local_engine import create_app
from v2t.serve.local_questions import Cut, Prompts
from v2t.serve.local_turns import ServedCaptioner, Turns
from v2t.video.frames import Frames
from v2t.video.packed import MEDIA_TYPE, pack

LONG_S = 90.0
NAME, PROMPT = "starter", "Describe the video in one sentence."
PATH = "/v1/chat/completions"


@pytest.fixture(scope="module")
def captioner():
    made = ServedCaptioner("starter", device="cpu")
    made.load()
    return made


@pytest.fixture(scope="module")
def prompts():
    return Prompts(STARTER, 8192)


@pytest.fixture(scope="module")
def app(captioner, prompts):
    turns = Turns(captioner)
    yield create_app(turns, prompts, NAME)
    assert turns.close(LONG_S)


def clip(seed: int, num: int = 16) -> Frames:
    """A square of some colour that moves over a plain ground."""
    random = np.random.default_rng(seed)
    pixels = np.empty((num, 64, 64, 3), np.uint8)
    pixels[:] = random.integers(60, 255, 3)
    colour, row = random.integers(0, 255, 3), int(random.integers(8, 40))
    for index, frame in enumerate(pixels):
        frame[row : row + 16, 2 * index % 48 : 2 * index % 48 + 16] = colour
    return Frames.from_pixels(pixels, fps=4.0)


def part(frames: Frames) -> dict:
    url = f"data:{MEDIA_TYPE};base64,{base64.b64encode(pack(frames)).decode()}"
    return {"type": "video_url", "video_url": {"url": url}}


def body(*clips: Frames, text: str = PROMPT, **more) -> dict:
    content = [*map(part, clips), {"type": "text", "text": text}]
    return {"model": NAME, "messages": [{"role": "user", "content": content}], "max_tokens": 60, **more}


def post(app, *bodies: dict) -> list[httpx.Response]:
    """The responses to requests that are made at once."""

    async def main() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine", timeout=None) as client:
            asks = [client.post(PATH, content=b if isinstance(b, bytes) else json.dumps(b)) for b in bodies]
            return await asyncio.wait_for(asyncio.gather(*asks), LONG_S)

    return asyncio.run(main())


def events(response: httpx.Response) -> list[dict]:
    assert response.status_code == 200 and response.headers["content-type"].startswith("text/event-stream")
    *lines, last = [line for line in response.text.split("\n\n") if line]
    assert last == "data: [DONE]" and all(line.startswith("data: ") for line in lines)
    return [json.loads(line[6:]) for line in lines]


def told(chunks: list[dict]) -> str:
    return "".join(choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"])


def test_many_at_once_get_what_each_alone_gets_from_the_captioner(app, captioner):
    conversations = [asked(PROMPT, clip(seed, num)) for seed, num in ((1, 16), (2, 16), (3, 20), (4, 16), (5, 20))]
    conversations += [asked("How long is it?", clip(1), clip(6)), asked("What is a cat?")]
    alone = [captioner.answer([c], Decoding(max_new_tokens=60))[0] for c in conversations]
    replies = post(app, *(body(*c[0].videos, text=c[0].text) for c in conversations))
    assert len({output.text for output in alone}) > 4
    for reply, output, conversation in zip(replies, alone, conversations, strict=True):
        value = reply.json()
        choice = value["choices"][0]
        assert (choice["message"]["content"], choice["finish_reason"]) == (output.text, output.finish)
        assert value["usage"]["completion_tokens"] == output.tokens
        prompt = captioner._inputs([conversation])["input_ids"].shape[1]
        assert value["usage"]["prompt_tokens"] == prompt
        assert value["usage"]["total_tokens"] == prompt + output.tokens
        assert value["cineloop"]["warnings"] == list(output.warnings)
        assert value["object"] == "chat.completion" and value["model"] == NAME
    assert any(output.warnings for output in alone)


def test_the_prompts_length_is_the_captioners(captioner, prompts):
    # Counted from the start of the window, times are shorter to write than within the file.
    odd = Frames(clip(1, 33).pixels, np.arange(33) * 0.5 + 989.9, duration_s=30.0, fps=3.0, start_s=990.0)
    for conversation in (
        asked("<video> <|im_end|> what? äöü", clip(2), odd),
        (Message(role="system", text="Be short."), *asked(PROMPT, odd), Message(role="assistant", text="A cat."),
         Message(role="user", text="And then?")),
    ):  # fmt: skip
        assert prompts.length(conversation) == captioner._inputs([conversation])["input_ids"].shape[1]


@pytest.mark.parametrize("more", [{}, {"max_tokens": 4}, {"stop": ["a", "zebra"]}, {"stop": " "},
                                  {"temperature": 0.9, "seed": 3}])  # fmt: skip
def test_a_stream_is_the_whole_in_pieces(more, app):
    given = body(clip(1), **more)
    whole, streamed = post(app, given, {**given, "stream": True, "stream_options": {"include_usage": True}})
    value, chunks = whole.json(), events(streamed)
    assert told(chunks) == value["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == value["usage"]
    finishes = [c["finish_reason"] for chunk in chunks for c in chunk["choices"]]
    assert finishes[-1] == value["choices"][0]["finish_reason"] == ("length" if "max_tokens" in more else "stop")
    assert set(finishes[:-1]) == {None}
    assert chunks[-2]["cineloop"] == value["cineloop"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"} and len({c["id"] for c in chunks}) == 1


def test_usage_comes_in_a_stream_only_where_it_is_asked_for(app):
    (streamed,) = post(app, body(clip(1), stream=True))
    assert not [chunk for chunk in events(streamed) if "usage" in chunk or not chunk["choices"]]


def test_an_answer_ends_before_its_stop_string(app):
    plain, cut = post(app, body(clip(1)), body(clip(1), stop=["nothing like it", "s"]))
    text = plain.json()["choices"][0]["message"]["content"]
    assert "s" in text
    assert cut.json()["choices"][0]["message"]["content"] == text.partition("s")[0]
    assert cut.json()["choices"][0]["finish_reason"] == "stop"
    assert 0 < cut.json()["usage"]["completion_tokens"] < plain.json()["usage"]["completion_tokens"]


@pytest.mark.parametrize("stops", [("ab",), ("abc", "bd"), ("abcd", "bc"), ("aab", "b"), ("x",)])
def test_stop_strings_are_found_however_the_answer_comes(stops):
    text = "aaababcabcdx bd"
    whole = Cut(stops)
    expected = whole.feed(text) + whole.end()
    for size in (1, 2, 3, 5):
        cut = Cut(stops)
        got = "".join(cut.feed(text[i : i + size]) for i in range(0, len(text), size)) + cut.end()
        assert got == expected and cut.is_over
    assert not any(stop in expected for stop in stops)
    one = Cut(stops)
    assert one.feed("hello") + one.feed(" there") == "hello there" and not one.is_over


def test_draws_follow_their_seed_and_differ_without_one(app):
    given = body(clip(1), temperature=1.5, max_tokens=12)
    replies = post(app, *[{**given, "seed": 5}] * 3, *[given] * 6)
    texts = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
    assert len(set(texts[:3])) == 1 and len(set(texts[3:])) > 1


def test_what_does_not_fit_is_refused_before_anything_is_told(app, prompts):
    long = body(clip(1), text="what is it? " * 8000)
    for reply in post(app, long, {**long, "stream": True}):
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "PROMPT_TOO_LONG")
    turns = Turns(StandIn())
    try:
        length = prompts.length(asked("hi"))
        small = Prompts(STARTER, length + 3)
        (reply,) = post(create_app(turns, small, NAME), body(text="hi", max_tokens=60))
        assert reply.json()["choices"][0]["message"]["content"].endswith(" 3")  # no more room than that
        (reply,) = post(create_app(turns, Prompts(STARTER, length), NAME), body(text="hi"))
        assert reply.json()["error"]["code"] == "PROMPT_TOO_LONG"
    finally:
        turns.close()


def content(*parts: object) -> list[dict]:
    return [{"role": "user", "content": list(parts)}]


def url(data: bytes) -> dict:
    return {"type": "video_url", "video_url": {"url": f"data:{MEDIA_TYPE};base64,{base64.b64encode(data).decode()}"}}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"messages": content(url(b"no frames"))}, 422, "NOT_MEDIA"),
        ({"messages": content(url(pack(clip(1))[:-7]))}, 422, "NOT_MEDIA"),
        ({"messages": content({"type": "video_url", "video_url": {"url": "file:///etc/passwd"}})}, 400, "BAD_REQUEST"),
        ({"messages": content({"type": "video_url", "video_url": {"url": "http://127.0.0.1/x"}})}, 400, "BAD_REQUEST"),
        ({"messages": content({"type": "video_url", "video_url": {"url": f"data:{MEDIA_TYPE};base64,%"}})}, 400,
         "BAD_REQUEST"),
        ({"messages": content({"type": "video_url"})}, 400, "BAD_REQUEST"),
        ({"messages": content({"type": "audio"})}, 400, "BAD_REQUEST"),
        ({"messages": content(7)}, 400, "BAD_REQUEST"),
        ({"messages": []}, 400, "BAD_REQUEST"),
        ({"messages": [{"role": "root", "content": "x"}]}, 400, "BAD_REQUEST"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, 400, "BAD_REQUEST"),
        ({"model": "other"}, 404, "UNKNOWN_MODEL"),
        ({"n": 2}, 400, "BAD_REQUEST"),
        ({"max_tokens": 0}, 400, "BAD_REQUEST"),
        ({"max_tokens": "9"}, 400, "BAD_REQUEST"),
        ({"temperature": -1}, 400, "BAD_REQUEST"),
        ({"repetition_penalty": 0}, 400, "BAD_REQUEST"),
        ({"seed": 1.5}, 400, "BAD_REQUEST"),
        ({"stop": [""]}, 400, "BAD_REQUEST"),
        ({"tools": []}, 400, "UNKNOWN_FIELD"),
        ({"presence_penalty": 0.5}, 400, "UNSUPPORTED"),
        ({"temperature": 1, "top_p": 0.5}, 400, "UNSUPPORTED"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_are_refused_with_a_code(changes, status, code, stream, app):
    (reply,) = post(app, body(text="hi", stream=stream, **{}) | changes)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["error"]["request_id"]


def test_neutral_values_are_taken_and_no_json_is_refused(app):
    good, bad = post(app, body(text="hi", top_p=0.3, presence_penalty=0, n=1, temperature=0, user=None), b"{")
    assert good.status_code == 200 and (bad.status_code, bad.json()["error"]["code"]) == (400, "BAD_JSON")


# Order and trouble, with a stand-in for the model


class StandIn:
    """Answers with the question's text and its tokens at most; notes what came together; waits while it shall."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.free = threading.Event()
        self.free.set()
        self.begun, self.closed = threading.Event(), threading.Event()
        self.wanted = lambda: True

    def _note(self, conversations) -> list[str]:
        texts = [conversation[-1].text for conversation in conversations]
        self.batches.append(texts)
        self.begun.set()
        assert self.free.wait(LONG_S)
        return texts

    def answer(self, conversations, decoding):
        texts = self._note(conversations)
        for text in texts:
            if text.startswith("bad"):
                raise ItemError("it is bad", code="MODEL_ERROR")
            if text.startswith("worse"):
                raise ValueError("/secret/path")
        return [CaptionOutput(text=f"{text} {decoding.max_new_tokens}", tokens=1) for text in texts]

    def told(self, conversation, decoding):
        (text,) = self._note([conversation])
        try:
            yield ()
            for number in range(10**9 if text == "endless" else 3):
                if text == "breaks" and number == 2:
                    raise RuntimeError("/secret/path")
                yield f"{number} "
            yield CaptionOutput(text="0 1 2 ", tokens=3)
        finally:
            self.closed.set()


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


def test_the_starter_stops_in_the_middle_when_nobody_wants_its_answer(captioner):
    decoding = Decoding(max_new_tokens=60)
    whole = captioner.answer([asked(PROMPT, clip(1))], decoding)[0]
    before, left = captioner.wanted, [3]

    def wanted() -> bool:
        left[0] -= 1
        return left[0] > 0

    captioner.wanted = wanted
    try:
        cut = captioner.answer([asked(PROMPT, clip(1))], decoding)[0]
    finally:
        captioner.wanted = before
    assert cut.tokens == 3 < whole.tokens and whole.text.startswith(cut.text)


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
