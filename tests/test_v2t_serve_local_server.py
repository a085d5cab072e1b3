"""The local engine's routes in this process, the starter behind them."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import numpy as np
import pytest

from cineloop.video.frames import Frames
from cineloop.video.packed import MEDIA_TYPE, pack
from v2t.captioners import Decoding, Message, asked
from v2t.captioners.local import STARTER
from v2t.serve.local.questions import Cut, Prompts
from v2t.serve.local.server import create_app
from v2t.serve.local.turns import ServedCaptioner, Turns

sys.path.insert(0, str(Path(__file__).parent))

from chat_requests import LONG_S, NAME, PROMPT, StandIn, body, clip, events, post, told  # noqa: E402


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


@pytest.mark.slow
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
        ({"messages": content({"type": "video_url", "video_url": {"url": "file://films/a.mp4"}})}, 400, "BAD_REQUEST"),
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
        ({"presence_penalty": 2.5}, 400, "BAD_REQUEST"),
        ({"temperature": 1, "top_p": 0}, 400, "BAD_REQUEST"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_bad_requests_are_refused_with_a_code(changes, status, code, stream, app):
    (reply,) = post(app, body(text="hi", stream=stream, **{}) | changes)
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["error"]["request_id"]


def test_a_tiny_temperature_does_not_break_the_model(app):
    # Three failures in a row end the engine, so that whatever a client may ask for must not be one.
    plain, *tiny = post(app, *(body(clip(1), temperature=each) for each in (0, 5e-324, 1e-40, 1e-9)))
    assert [reply.status_code for reply in tiny] == [200] * 3
    assert {reply.json()["choices"][0]["message"]["content"] for reply in tiny} == {
        plain.json()["choices"][0]["message"]["content"]
    }


def test_neutral_values_are_taken_and_no_json_is_refused(app):
    good, bad = post(app, body(text="hi", top_p=0.3, presence_penalty=0, n=1, temperature=0, user=None), b"{")
    assert good.status_code == 200 and (bad.status_code, bad.json()["error"]["code"]) == (400, "BAD_JSON")


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
