"""Chat requests are read and checked without any input or output: what is taken, and what is refused by which name."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.video.sample import SampleSpec
from cineloop.web.bodies import parse_json
from cineloop.web.faults import Fault
from v2t.backends import Decoding
from v2t.backends.abilities import Abilities
from v2t.data.notes import Note, notes_prompt
from v2t.serve.chat import read, video_of
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeLimits

SERVED = ServedModel(name="base", source="x", is_ours=True, spec=SampleSpec(), adapters=("shop",))
LIMITS = ServeLimits(messages=5, text_chars=100, videos=2, max_tokens=64)
FILE_ID = "file-" + "0123456789abcdef" * 2


def asked(**fields):
    return read({"messages": [{"role": "user", "content": "What?"}], **fields}, SERVED, LIMITS)


def asked_of(*parts, role="user"):
    return read({"messages": [{"role": role, "content": list(parts)}]}, SERVED, LIMITS)


def refused(**fields) -> Fault:
    with pytest.raises(Fault) as found:
        asked(**fields)
    return found.value


def text(words):
    return {"type": "text", "text": words}


def video(url):
    return {"type": "video_url", "video_url": {"url": url}}


def test_the_least_request_is_for_the_base_and_likeliest_tokens():
    request = asked()
    assert (request.model, request.stream, request.include_usage, request.given) == ("base", False, False, ())
    assert request.messages[0].text == "What?" and request.decoding == Decoding(max_new_tokens=64)


def test_everything_known_is_taken():
    request = asked(
        model="shop",
        stream=True,
        stream_options={"include_usage": True},
        max_completion_tokens=7,
        temperature=1,
        top_p=0.5,
        seed=-3,
        stop=["a", "b"],
        repetition_penalty=1.1,
        presence_penalty=-2,
        frequency_penalty=2,
        n=1,
        user="me",
        metadata={"anything": [1]},
        tools=None,
    )
    assert (request.model, request.stream, request.include_usage) == ("shop", True, True)
    sampling = {
        "temperature": 1.0,
        "top_p": 0.5,
        "seed": -3,
        "repetition_penalty": 1.1,
        "presence_penalty": -2.0,
        "frequency_penalty": 2.0,
    }
    assert request.decoding == Decoding(max_new_tokens=7, **sampling) and set(request.given) == set(sampling)
    assert request.stops == ("a", "b")


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "text"}},
        {"logprobs": False, "top_logprobs": 0},
        {"tools": [], "tool_choice": "none", "parallel_tool_calls": True},
        {"tool_choice": "auto"},
        {"functions": [], "function_call": "none"},
        {"store": False, "service_tier": "auto", "logit_bias": {}, "modalities": ["text"]},
        {"service_tier": "default", "prompt_cache_key": "k", "safety_identifier": "s"},
    ],
)
def test_values_that_ask_for_nothing_are_accepted(fields):
    """Stock chat clients send these always; each means the behaviour this server has anyway."""
    assert vars(asked(**fields)) == vars(asked())


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
        {"top_logprobs": 3},
        {"tools": [{"type": "function"}]},
        {"tool_choice": "required"},
        {"store": True},
        {"service_tier": "priority"},
        {"logit_bias": {"50": 1}},
        {"modalities": ["text", "audio"]},
    ],
)
def test_known_features_that_are_missing_are_refused_as_unsupported(fields):
    fault = refused(**fields)
    assert (fault.status, fault.code, fault.param) == (400, "UNSUPPORTED", next(iter(fields)))


def test_developer_is_a_system_message():
    request = asked(messages=[{"role": "developer", "content": "Be brief."}, {"role": "user", "content": "What?"}])
    assert [turn.role for turn in request.messages] == ["system", "user"]


def test_an_answer_can_be_sent_back_as_the_stock_client_holds_it():
    from openai.types.chat import ChatCompletionMessage

    reply = ChatCompletionMessage(role="assistant", content="A dog.", annotations=[], tool_calls=[]).model_dump()
    user = {"role": "user", "content": "What?", "name": "ann"}
    assert [turn.text for turn in asked(messages=[user, reply, user]).messages] == ["What?", "A dog.", "What?"]


@pytest.mark.parametrize("name", ["mm_processor_kwargs", "media_io_kwargs", "chat_template", "x"])
def test_fields_that_are_not_known_are_refused_by_name(name):
    fault = refused(**{name: {"num_frames": -1}})
    assert (fault.status, fault.code, fault.param) == (400, "UNKNOWN_FIELD", name)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 65}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": 3, "max_completion_tokens": 4}, "max_tokens"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 1e-300}, "repetition_penalty"),
        ({"presence_penalty": -2.5}, "presence_penalty"),
        ({"seed": 1 << 63}, "seed"),
        ({"seed": 1.0}, "seed"),
        ({"stop": ["a"] * 5}, "stop"),
        ({"stop": ["a", ""]}, "stop[1]"),
        ({"stop": {"a": 1}}, "stop"),
        ({"n": 2}, "n"),
        ({"n": True}, "n"),
        ({"stream": 1}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stream": True, "stream_options": {"include_usage": "yes"}}, "stream_options.include_usage"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": "What?"}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
        ({"messages": ["What?"]}, "messages[0]"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "system", "content": "x"}]},
            "messages[1].role",
        ),
    ],
)
def test_values_out_of_range_are_refused_by_their_field(fields, param):
    fault = refused(**fields)
    assert (fault.status, fault.code, fault.param) == (400, "BAD_REQUEST", param)
    assert len(fault.message) < 300


@pytest.mark.parametrize("body", [None, [], "x", 3, {}])
def test_what_is_no_request_is_refused(body):
    with pytest.raises(Fault) as found:
        read(body, SERVED, LIMITS)
    assert found.value.code == "BAD_REQUEST"


def test_a_model_that_is_not_served_is_not_found():
    fault = refused(model="gpt-4o")
    assert (fault.status, fault.code, fault.param) == (404, "UNKNOWN_MODEL", "model")


def test_videos_of_every_kind_stand_before_the_words():
    request = asked_of(
        text("one"),
        video("upload:" + FILE_ID + "#t=1,2"),
        text("two"),
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
    )
    assert request.messages[0].text == "one\ntwo"
    assert [(v.url[:12], v.param, v.source, v.turn) for v in request.videos] == [
        ("upload:file-", "messages[0].content[1].video_url.url", "upload", 0),
        ("data:image/p", "messages[0].content[3].image_url.url", "data", 0),
    ]


def test_videos_belong_to_their_message():
    turns = [{"role": "user", "content": [video("data:a")]}, {"role": "assistant", "content": "A dog."}]
    request = asked(messages=[*turns, {"role": "user", "content": [video("data:b"), text("And then?")]}])
    assert [(each.url, each.turn) for each in request.videos] == [("data:a", 0), ("data:b", 2)]


def test_files_are_videos_by_id_or_by_data():
    (uploaded,) = asked_of({"type": "file", "file": {"file_id": FILE_ID}}).videos
    assert (uploaded.url, uploaded.param) == (f"upload:{FILE_ID}", "messages[0].content[0].file.file_id")
    data = {"type": "file", "file": {"file_data": "data:video/mp4;base64,AA==", "filename": "a.mp4"}}
    assert asked_of(data).videos[0].source == "data"


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "video_url", "video_url": 5}, "messages[0].content[0].video_url"),
        ({"type": "video_url", "video_url": {"url": ""}}, "messages[0].content[0].video_url.url"),
        ({"type": "video_url"}, "messages[0].content[0].video_url"),
        (
            {"type": "video_url", "video_url": {"url": f"data:video/mp4;base64,{'A' * 9000}\U0001f600"}},
            "messages[0].content[0].video_url.url",
        ),
        ({"type": "file", "file": {"file_id": "../../etc/passwd"}}, "messages[0].content[0].file.file_id"),
        ({"type": "file", "file": {"file_id": FILE_ID, "file_data": "data:x"}}, "messages[0].content[0].file"),
        ({"type": "file", "file": {"file_data": "https://example.org/a"}}, "messages[0].content[0].file.file_data"),
        ({"type": "input_audio"}, "messages[0].content[0].type"),
        ({"type": ["text"]}, "messages[0].content[0].type"),
        ("words", "messages[0].content[0]"),
    ],
)
def test_parts_that_are_none_are_refused_by_their_place(part, param):
    with pytest.raises(Fault) as found:
        asked_of(part)
    assert (found.value.code, found.value.param) == ("BAD_REQUEST", param)


def test_unknown_fields_are_refused_at_any_depth():
    for part, param in (
        ({**text("x"), "cache_control": {}}, "messages[0].content[0].cache_control"),
        (
            {"type": "video_url", "video_url": {"url": "data:x", "fps": 2_000_000}},
            "messages[0].content[0].video_url.fps",
        ),
    ):
        with pytest.raises(Fault) as found:
            asked_of(part)
        assert (found.value.code, found.value.param) == ("UNKNOWN_FIELD", param)


def test_only_the_user_shows_videos():
    with pytest.raises(Fault) as found:
        asked_of(video("data:x"), role="assistant")
    assert (found.value.code, found.value.param) == ("BAD_REQUEST", "messages[0].content[0].video_url.url")


def test_sizes_are_limited():
    for fields in (
        {"messages": [{"role": "user", "content": "x" * 101}]},
        {"messages": [{"role": "user", "content": "x"}] * 6},
        {"messages": [{"role": "user", "content": [video("data:x")] * 3}]},
    ):
        fault = refused(**fields)
        assert (fault.status, fault.code, fault.param) == (413, "TOO_LARGE", "messages")


def test_errors_repeat_little_of_what_came():
    fault = refused(**{"x" * 5000: 1})
    assert len(fault.message) < 200 and len(fault.param or "") < 100
    fault = refused(model="secret-" + "x" * 5000)
    assert "secret" not in fault.message
    assert "\n" not in refused(stream="a\nb\x1b[31m").message


def test_a_request_for_frames_names_one_video():
    name, found = video_of({"url": "data:video/mp4;base64,AA=="})
    assert name is None and found.param == "url"
    for body in ({}, {"url": 3}, {"url": "x", "fps": 3}):
        with pytest.raises(Fault):
            video_of(body)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'"\xff"',
        b"[" * 100_000,
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"9" * 10_000,
        b"9" * 200,  # reading many of thousands of digits would hold everybody up
        b'{"messages": [{"content": "half \\ud83d"}]}',
    ],
)
def test_what_is_no_json_is_refused_as_that(data):
    with pytest.raises(Fault) as found:
        parse_json(data)
    assert (found.value.status, found.value.code) == (400, "BAD_JSON")


def test_json_that_would_grow_in_memory_is_refused():
    with pytest.raises(Fault) as found:
        parse_json(b"[" + b"{}," * 600_000 + b"1]")
    assert found.value.code == "TOO_LARGE"
    assert parse_json(b'{"a": 1, "a": 2}') == {"a": 2}
    frames = ",".join(["AAAA"] * 1000)
    assert parse_json(json.dumps({"url": f"data:video/jpeg;base64,{frames}"}).encode())


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["model", "messages", "stream", "stop", "seed", "n", "temperature", "max_tokens", "tools"])
PARTS = st.fixed_dictionaries({"type": st.sampled_from(["text", "video_url", "file", "x"])}) | VALUES
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "system"]), "content": st.lists(PARTS, max_size=2) | VALUES}
    )
    | VALUES,
    max_size=2,
)


@pytest.mark.slow
@given(st.dictionaries(FIELDS, VALUES | MESSAGES, max_size=4) | VALUES)
def test_whatever_comes_is_read_or_refused(body):
    try:
        assert read(body, SERVED, LIMITS).messages
    except Fault as fault:
        assert fault.status in (400, 404, 413) and fault.code and json.dumps(fault.body("id"))


def test_a_model_that_only_knows_videos_is_not_asked_without_one():
    served = replace(SERVED, abilities=Abilities(needs_video=True))

    def read_of(*contents):
        roles = ("user", "assistant") * len(contents)
        messages = [{"role": role, "content": each} for role, each in zip(roles, contents, strict=False)]
        return read({"messages": messages}, served, LIMITS)

    with pytest.raises(Fault) as found:
        read_of("hello")
    assert (found.value.status, found.value.code, found.value.param) == (422, "VIDEO_NEEDED", "messages")
    clip = [video("data:video/mp4;base64,AA=="), text("What?")]
    assert read_of(clip) and read_of(clip, "A dog.", "And then?")
    assert read_of(
        notes_prompt([Note(start_s=0.0, end_s=1.0, text="a dog")], "What?")
    )  # of a film too long to be seen at once
    assert asked()  # a model that declares nothing
