"""Parsing and validation of chat requests; nothing is opened, fetched or decoded here.

In: the body of `POST /v1/chat/completions`. Out: `ChatRequest`, a `GenerateRequest` with what the response needs too.
An unknown field is refused by name: unchecked input must not reach the engine. A null field counts as missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cineloop.web.faults import Fault
from cineloop.web.limits import MemoryLease
from v2t.backends import Decoding, GenerateRequest, Message
from v2t.data.notes import HEADING
from v2t.serve.fields import fields_of, text_in, wrong
from v2t.serve.parts import VIDEOS, VideoRef, reference, video_in
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeLimits

_DEFAULT_TOKENS = 512  # of an answer, unless the client sets a limit
_MOST_STOPS, _STOP_CHARS = 4, 256
_INT64 = 1 << 63
_VIDEO_PARTS = (*VIDEOS, "image_url", "file")
_FIELDS = frozenset(
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p seed stop "
    "repetition_penalty presence_penalty frequency_penalty n user metadata "
    "prompt_cache_key safety_identifier parallel_tool_calls".split()
)
# Features of OpenAI's that this server lacks → their neutral values; stock clients always send those.
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "response_format": ({"type": "text"},),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "store": (False,),
    "service_tier": ("auto", "default"),
}
_NEUTRAL_IN_MESSAGE: dict[str, tuple[Any, ...]] = {"tool_calls": ([],), "annotations": ([],)}
# name → (least, most, whether the least is allowed)
_NUMBERS = {
    "temperature": (0.0, 2.0, True),
    "top_p": (0.0, 1.0, False),
    "repetition_penalty": (0.01, 2.0, True),  # logits are divided by it: less, and they are infinite
    "presence_penalty": (-2.0, 2.0, True),
    "frequency_penalty": (-2.0, 2.0, True),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class ChatRequest(GenerateRequest):
    """A validated chat request. `read` leaves the videos out of `messages`; the gateway puts their frames there.

    Attributes:
        model: of those that are served. videos: in the order of the messages that show them.
        given: the sampling parameters of `decoding` that the client sent; an engine has defaults for the others.
        stops: strings that end the answer.
        id: for the log. cache_salt: isolates the prefix cache by owner; None shares it.
        lease: the memory of the request, which copies of the frames are added to.
    """

    model: str
    videos: tuple[VideoRef, ...] = ()
    given: tuple[str, ...] = ()
    stops: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    id: str = ""
    cache_salt: str | None = None
    lease: MemoryLease | None = None


def read(body: Any, served: ServedModel, limits: ServeLimits) -> ChatRequest:
    """The request in `body`. Raises Fault: UNKNOWN_FIELD, BAD_REQUEST, UNKNOWN_MODEL, TOO_LARGE, VIDEO_NEEDED, each
    with the field at fault."""
    given = fields_of(body, _FIELDS, "", _NEUTRAL)
    stream = given.get("stream", False)
    if not isinstance(stream, bool):
        raise wrong("stream", "expected true or false", stream)
    options = fields_of(given.get("stream_options", {}), {"include_usage"}, "stream_options")
    if "stream_options" in given and not stream:
        raise wrong("stream_options", "expected only with stream: true")
    if given.get("n", 1) != 1 or given.get("n") is True:
        raise wrong("n", "expected 1: a request gets one answer", given["n"])
    model, listed = model_of(given.get("model"), served), given.get("messages")
    if not isinstance(listed, list) or not listed:
        raise wrong("messages", "expected a list of at least one message", listed)
    if len(listed) > limits.messages:
        raise _too_many("messages", f"{len(listed)} messages; at most {limits.messages}")
    turns = [_message(message, i) for i, message in enumerate(listed)]
    messages, videos = tuple(message for message, _ in turns), tuple(video for _, shown in turns for video in shown)
    if messages[-1].role != "user":
        raise wrong(f"messages[{len(messages) - 1}].role", "the last message must be the user's")
    if not messages[-1].text.strip() and not turns[-1][1]:
        raise wrong(f"messages[{len(messages) - 1}].content", "expected text or a video")
    if (chars := sum(len(message.text) for message in messages)) > limits.text_chars:
        raise _too_many("messages", f"{chars} characters of text; at most {limits.text_chars}")
    if len(videos) > limits.videos:
        raise _too_many("messages", f"{len(videos)} videos and pictures; at most {limits.videos}")
    has_notes = any(message.text.startswith(f"{HEADING}\n") for message in messages)
    if served.abilities.needs_video and not videos and not has_notes:
        text = f"{served.name} only knows videos; send one, as a part of type video_url, with the question"
        raise Fault(422, "VIDEO_NEEDED", text, param="messages")
    decoding, sent, stops = _decoding(given, limits)
    include_usage = options.get("include_usage", False)
    if not isinstance(include_usage, bool):
        raise wrong("stream_options.include_usage", "expected true or false", include_usage)
    return ChatRequest(
        model=model,
        messages=messages,
        videos=videos,
        decoding=decoding,
        given=sent,
        stops=stops,
        stream=stream,
        include_usage=include_usage,
    )


def model_of(name: Any, served: ServedModel) -> str:
    """The served model called `name`; the base by default. Raises Fault UNKNOWN_MODEL."""
    if name is None:
        return served.name
    if not isinstance(name, str):
        raise wrong("model", "expected a name", name)
    if name not in (served.name, *served.adapters):
        known = ", ".join((served.name, *served.adapters))
        raise Fault(404, "UNKNOWN_MODEL", f"unknown model; this server has: {known}", param="model")
    return name


def _message(message: Any, turn: int) -> tuple[Message, list[VideoRef]]:
    """The message at the position `turn`, and the videos before its text."""
    where = f"messages[{turn}]"
    given = fields_of(message, {"role", "content", "name"}, where, _NEUTRAL_IN_MESSAGE)
    if "name" in given:
        text_in(given["name"], f"{where}.name")
    role: Any = "system" if given.get("role") == "developer" else given.get("role")
    if role not in ("system", "user", "assistant"):
        raise wrong(f"{where}.role", "expected system, developer, user or assistant", role)
    if role == "system" and turn:
        raise wrong(f"{where}.role", "a system message must be the first")
    content, where = given.get("content"), f"{where}.content"
    if isinstance(content, str):
        return Message(role=role, text=text_in(content, where)), []
    if not isinstance(content, list):
        raise wrong(where, "expected text or a list of parts", content)
    texts, videos = [], []
    for i, part in enumerate(content):
        at, kind = f"{where}[{i}]", part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            texts.append(text_in(fields_of(part, {"type", "text"}, at).get("text"), f"{at}.text"))
        elif kind in _VIDEO_PARTS:
            videos.append(video_in(part, at, turn))
        elif not isinstance(part, dict):
            raise wrong(at, "expected an object with a type", part)
        else:
            raise wrong(f"{at}.type", f"expected text, {', '.join(_VIDEO_PARTS[:-1])} or file", kind)
    if videos and role != "user":
        raise wrong(videos[0].param, "only the user may send videos")
    return Message(role=role, text="\n".join(texts)), videos


def video_of(body: Any) -> tuple[Any, VideoRef]:
    """(model's name or None, video) of a request for the frames of one. Raises Fault as `read` does."""
    given = fields_of(body, {"model", "url"}, "")
    return given.get("model"), reference(given.get("url"), "url")


def _decoding(given: Mapping[str, Any], limits: ServeLimits) -> tuple[Decoding, tuple[str, ...], tuple[str, ...]]:
    """The decoding parameters, the names of the sampling parameters among them that were sent, and the strings that end
    the answer."""
    values = {name: given[name] for name in ("max_tokens", "max_completion_tokens") if name in given}
    for name, value in values.items():
        if type(value) is not int or not 1 <= value <= limits.max_tokens:
            raise wrong(name, f"expected an integer from 1 to {limits.max_tokens}", value)
    if len(set(values.values())) > 1:
        raise wrong("max_tokens", "differs from max_completion_tokens")
    sampling: dict[str, Any] = {}
    for name, (least, most, with_least) in _NUMBERS.items():
        if name not in given:
            continue
        value = given[name]
        if type(value) not in (int, float) or not least <= value <= most or (value == least and not with_least):
            edge = "from" if with_least else "above"
            raise wrong(name, f"expected a number {edge} {least:g} to {most:g}", value)
        sampling[name] = float(value)
    if "seed" in given:
        if type(given["seed"]) is not int or not -_INT64 <= given["seed"] < _INT64:
            raise wrong("seed", "expected an integer of 64 bits", given["seed"])
        sampling["seed"] = given["seed"]
    stops = given.get("stop", [])
    stops = [stops] if isinstance(stops, str) else stops
    if not isinstance(stops, list) or len(stops) > _MOST_STOPS:
        raise wrong("stop", f"expected text or a list of at most {_MOST_STOPS} texts", stops)
    for i, stop in enumerate(stops):
        if not text_in(stop, f"stop[{i}]") or len(stop) > _STOP_CHARS:
            raise wrong(f"stop[{i}]", f"expected 1 to {_STOP_CHARS} characters")
    max_tokens = next(iter(values.values()), min(_DEFAULT_TOKENS, limits.max_tokens))
    return Decoding(max_new_tokens=max_tokens, **sampling), tuple(sampling), tuple(stops)


def _too_many(param: str, message: str) -> Fault:
    return Fault(413, "TOO_LARGE", f"{param}: {message}", param=param)
