"""The starter as the local engine of a gateway in this process: answers, streams, stop strings, lengths."""

from __future__ import annotations

import sys

import pytest

from chat_requests import PROMPT, body, events, gateway_with, post, square, told
from v2t.backends import Decoding, user_turn
from v2t.backends.local import Backend
from v2t.serve.engines.local import StopStrings


@pytest.fixture(scope="module")
def captioner():
    made = Backend("starter", device="cpu")
    made.max_model_len = sys.maxsize
    made.load()
    return made


@pytest.fixture(scope="module")
def app(captioner):
    with gateway_with(captioner) as made:
        yield made


def warnings_of(value: dict) -> list[str]:
    return value.get("cineloop", {}).get("warnings", [])


@pytest.mark.slow
def test_many_at_once_get_what_each_alone_gets_from_the_captioner(app, captioner):
    conversations = [
        user_turn(PROMPT, square(seed, num)) for seed, num in ((1, 16), (2, 16), (3, 20), (4, 16), (5, 20))
    ]
    conversations += [user_turn("How long is it?", square(1), square(6)), user_turn("What is a cat?")]
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
        assert warnings_of(value) == [warning.record() for warning in output.warnings]
        assert value["object"] == "chat.completion" and value["model"] == "starter"
    assert any(output.warnings for output in alone)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"max_tokens": 4}, {"stop": ["a", "zebra"]}, {"stop": " "},
                                  {"temperature": 0.9, "seed": 3}])  # fmt: skip
def test_a_stream_is_the_whole_in_pieces(more, app):
    given = body(square(1), **more)
    whole, streamed = post(app, given, {**given, "stream": True, "stream_options": {"include_usage": True}})
    value, chunks = whole.json(), events(streamed)
    assert told(chunks) == value["choices"][0]["message"]["content"]
    assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == value["usage"]
    finishes = [c["finish_reason"] for chunk in chunks for c in chunk["choices"]]
    assert finishes[-1] == value["choices"][0]["finish_reason"] == ("length" if "max_tokens" in more else "stop")
    assert set(finishes[:-1]) == {None}
    assert warnings_of(chunks[-2]) == warnings_of(value)
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"} and len({c["id"] for c in chunks}) == 1


@pytest.mark.slow
def test_usage_comes_in_a_stream_only_where_it_is_asked_for(app):
    (streamed,) = post(app, body(square(1), stream=True))
    assert not [chunk for chunk in events(streamed) if "usage" in chunk or not chunk["choices"]]


@pytest.mark.slow
def test_an_answer_ends_before_its_stop_string(app):
    plain, cut = post(app, body(square(1)), body(square(1), stop=["nothing like it", "s"]))
    text = plain.json()["choices"][0]["message"]["content"]
    assert "s" in text
    assert cut.json()["choices"][0]["message"]["content"] == text.partition("s")[0]
    assert cut.json()["choices"][0]["finish_reason"] == "stop"
    assert 0 < cut.json()["usage"]["completion_tokens"] < plain.json()["usage"]["completion_tokens"]


@pytest.mark.parametrize("stops", [("ab",), ("abc", "bd"), ("abcd", "bc"), ("aab", "b"), ("x",)])
def test_stop_strings_are_found_however_the_answer_comes(stops):
    text = "aaababcabcdx bd"
    whole = StopStrings(stops)
    expected = whole.feed(text) + whole.end()
    for size in (1, 2, 3, 5):
        cut = StopStrings(stops)
        got = "".join(cut.feed(text[i : i + size]) for i in range(0, len(text), size)) + cut.end()
        assert got == expected and cut.is_over
    assert not any(stop in expected for stop in stops)
    one = StopStrings(stops)
    assert one.feed("hello") + one.feed(" there") == "hello there" and not one.is_over


@pytest.mark.slow
def test_draws_follow_their_seed_and_differ_without_one(app):
    given = body(square(1), temperature=1.5, max_tokens=12)
    replies = post(app, *[{**given, "seed": 5}] * 3, *[given] * 6)
    texts = [reply.json()["choices"][0]["message"]["content"] for reply in replies]
    assert len(set(texts[:3])) == 1 and len(set(texts[3:])) > 1


@pytest.mark.slow
def test_what_does_not_fit_is_refused_before_anything_is_told(app):
    long = body(square(1), text="what is it? " * 8000)
    for reply in post(app, long, {**long, "stream": True}):
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "PROMPT_TOO_LONG")


@pytest.mark.slow
def test_an_answer_has_the_room_that_its_own_prompt_leaves(captioner, monkeypatch):
    """Alone, in a batch with longer prompts, and in pieces."""
    conversations = [
        user_turn("What is a cat?"),
        user_turn("What happens in the video, and what is it not, and where may it be?"),
    ]
    lengths = [captioner._inputs([conversation])["input_ids"].shape[1] for conversation in conversations]
    monkeypatch.setattr(captioner, "max_model_len", max(lengths) + 3)
    alone = [captioner.answer([conversation], Decoding(max_new_tokens=60))[0] for conversation in conversations]
    assert alone[1].tokens == 3 and (alone[1].finish, alone[0].finish) == ("length", "stop")
    with gateway_with(captioner) as app:
        bodies = [body(text=conversation[0].text) for conversation in conversations]
        for reply, output in zip(post(app, *bodies, *bodies), [*alone, *alone], strict=True):
            assert reply.json()["choices"][0]["message"]["content"] == output.text
            assert reply.json()["usage"]["completion_tokens"] == output.tokens
        (streamed,) = post(app, {**bodies[1], "stream": True})
        assert told(events(streamed)) == alone[1].text
        monkeypatch.setattr(captioner, "max_model_len", lengths[1])
        fits, refused = post(app, *bodies)
        assert fits.status_code == 200 and refused.json()["error"]["code"] == "PROMPT_TOO_LONG"


@pytest.mark.slow
def test_a_tiny_temperature_does_not_break_the_model(app):
    # Failures in a row count against the engine, so that whatever a client may ask for must not be one.
    plain, *tiny = post(app, *(body(square(1), temperature=each) for each in (0, 5e-324, 1e-40, 1e-9)))
    assert [reply.status_code for reply in tiny] == [200] * 3
    assert {reply.json()["choices"][0]["message"]["content"] for reply in tiny} == {
        plain.json()["choices"][0]["message"]["content"]
    }


@pytest.mark.slow
def test_the_starter_stops_in_the_middle_when_nobody_wants_its_answer(captioner):
    decoding = Decoding(max_new_tokens=60)
    whole = captioner.answer([user_turn(PROMPT, square(1))], decoding)[0]
    before, left = captioner.wanted, [3]

    def wanted() -> bool:
        left[0] -= 1
        return left[0] > 0

    captioner.wanted = wanted
    try:
        cut = captioner.answer([user_turn(PROMPT, square(1))], decoding)[0]
    finally:
        captioner.wanted = before
    assert cut.tokens == 3 < whole.tokens and whole.text.startswith(cut.text)
