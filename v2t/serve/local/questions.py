"""From a chat request to what the local engine works on; the other half of what the gateway sends.

In: the JSON of `POST /v1/chat/completions`, its videos as packed frames. Out: `Question`; `Fault` for what is no
request, or one that this engine cannot answer as asked. Nothing is opened and nothing fetched. Also where an answer is
cut at stop strings.
"""

from __future__ import annotations

import base64
import binascii
import secrets
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.errors import CineloopError, ItemError
from cineloop.video.frames import Frames
from cineloop.video.packed import MEDIA_TYPE, unpack
from v2t.captioners import Conversation, Decoding, Message
from v2t.serve.faults import Fault, fault_of

_PREFIX = f"data:{MEDIA_TYPE};base64,"
_LEAST_TEMPERATURE = 0.01  # logits divided by less may be infinite; such a draw is the likeliest token in any case
_NUMBERS = {
    "temperature": 0.0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
_ROLES = ("system", "user", "assistant")
_FIELDS = frozenset(  # cache_salt is for engines that keep prompts; this one keeps none
    "model messages stream stream_options max_tokens max_completion_tokens temperature top_p seed stop "
    "repetition_penalty presence_penalty frequency_penalty n cache_salt".split()
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Question:
    """A request that was checked.

    Attributes:
        conversation, decoding: as captioners take them.
        prompt_tokens: length of the prompt. stops: strings that end the answer and are not part of it.
        stream: wanted in pieces. include_usage: with the number of tokens at the end.
    """

    conversation: Conversation
    decoding: Decoding
    prompt_tokens: int
    stops: tuple[str, ...] = ()
    stream: bool = False
    include_usage: bool = False
    shapes: tuple[tuple[int, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        shapes = tuple(video.pixels.shape for message in self.conversation for video in message.videos)
        object.__setattr__(self, "shapes", shapes)

    @property
    def num_frames(self) -> int:
        """Frames of all its videos."""
        return sum(shape[0] for shape in self.shapes)

    def goes_with(self, other: Question) -> bool:
        """Whether both can be answered in one batch as each alone would; draws would differ."""
        return self.shapes == other.shapes and self.decoding == other.decoding and self.decoding.temperature == 0


class Prompts:
    """Counts tokens, with a processor of its own: tokenizers are not made for two threads.

    Args:
        folder: of the model. positions: tokens of prompt and answer together.
    """

    def __init__(self, folder: Path, positions: int) -> None:
        from v2t.model import CineloopProcessor

        self.positions = positions
        self._lock = threading.Lock()
        self._processor: Any = CineloopProcessor.from_pretrained(str(folder), local_files_only=True)

    def length(self, conversation: Conversation) -> int:
        """Tokens of the prompt that `Captioner.answer` makes of a conversation."""
        chat = [
            {
                "role": message.role,
                "content": [{"type": "video"} for _ in message.videos] + [{"type": "text", "text": message.text}],
            }
            for message in conversation
        ]
        clips = [self._clip_text(video) for message in conversation for video in message.videos]
        with self._lock:
            text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        first, *rest = text.split(self._processor.video_token)
        return self.tokens(first + "".join(clip + part for clip, part in zip(clips, rest, strict=True)))

    def tokens(self, text: str) -> int:
        """Tokens of a text."""
        with self._lock:
            return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _clip_text(self, video: Frames) -> str:
        times: list[float] = np.maximum(video.relative_times_s, 0).astype(np.float32).tolist()  # (T,)
        said: str = self._processor.clip_text(times)
        return said


def read(body: Any, prompts: Prompts, name: str) -> Question:
    """The question in a request's body, for the model called `name`.

    Raises:
        Fault: BAD_REQUEST, UNKNOWN_FIELD, UNKNOWN_MODEL, PROMPT_TOO_LONG, NOT_MEDIA.
    """
    if not isinstance(body, dict):
        raise _wrong(None, "a JSON object is expected")
    given = {key: value for key, value in body.items() if value is not None}
    if unknown := sorted(given.keys() - _FIELDS):
        raise Fault(400, "UNKNOWN_FIELD", f"{unknown[0]} is no field that this engine takes", param=unknown[0])
    if given.get("model", name) != name:
        raise Fault(404, "UNKNOWN_MODEL", f"the model here is {name}", param="model")
    if given.get("n", 1) != 1:
        raise _wrong("n", "1 answer is given to a request")
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", "a list of one message or more is expected")
    conversation = tuple(_message(message, f"messages[{i}]") for i, message in enumerate(messages))
    if conversation[-1].role != "user":
        raise _wrong("messages", "the last message must be the user's")
    length = prompts.length(conversation)
    if length >= prompts.positions:
        raise Fault(
            400,
            "PROMPT_TOO_LONG",
            f"the prompt has {length} tokens and the model takes {prompts.positions} with the answer; "
            "fewer or shorter videos, or less text",
            param="messages",
        )
    options = given.get("stream_options", {})
    return Question(
        conversation=conversation,
        decoding=_decoding(given, prompts.positions - length),
        prompt_tokens=length,
        stops=_stops(given.get("stop", [])),
        stream=given.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def _decoding(given: dict[str, Any], room: int) -> Decoding:
    wanted = given.get("max_completion_tokens", given.get("max_tokens", room))
    seed = given.get("seed", secrets.randbits(63))  # no seed, no repetition
    numbers = {name: given.get(name, default) for name, default in _NUMBERS.items()}
    for name, value in (("max_tokens", wanted), ("seed", seed)):
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(name, "a whole number is expected")
    for name, value in numbers.items():
        if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e6:
            raise _wrong(name, "a number is expected")
    if 0 <= numbers["temperature"] < _LEAST_TEMPERATURE:
        numbers["temperature"] = 0.0
    try:
        return Decoding(
            max_new_tokens=min(wanted, room),
            seed=seed % (1 << 63) if numbers["temperature"] else 0,
            **{name: float(value) for name, value in numbers.items()},
        )
    except CineloopError as error:
        raise _wrong(None, error.message) from None


def _stops(given: Any) -> tuple[str, ...]:
    stops = [given] if isinstance(given, str) else given
    if not isinstance(stops, list) or not all(isinstance(stop, str) and stop for stop in stops):
        raise _wrong("stop", "a text or a list of texts is expected")
    return tuple(stops)


def _message(message: Any, where: str) -> Message:
    role, content = (message.get("role"), message.get("content")) if isinstance(message, dict) else (None, None)
    if role not in _ROLES:
        raise _wrong(f"{where}.role", "system, user or assistant is expected")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list):
        raise _wrong(f"{where}.content", "text or a list of parts is expected")
    texts, videos = [], []
    for i, part in enumerate(parts):
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif kind == "video_url":
            videos.append(_frames(part.get("video_url"), f"{where}.content[{i}].video_url.url"))
        else:
            raise _wrong(f"{where}.content[{i}]", "a text or a video_url is expected")
    return Message(role=role, text="".join(texts), videos=tuple(videos))


def _frames(holder: Any, param: str) -> Frames:
    url = holder.get("url") if isinstance(holder, dict) else None
    if not isinstance(url, str) or not url.startswith(_PREFIX):
        raise _wrong(param, f"frames are expected, as {_PREFIX}...")
    try:
        return unpack(base64.b64decode(url[len(_PREFIX) :], validate=True))
    except (binascii.Error, ValueError) as error:
        raise _wrong(param, f"base64 is expected ({error})") from None
    except ItemError as error:
        raise fault_of(error, param=param) from None


def _wrong(param: str | None, expected: str) -> Fault:
    return Fault(400, "BAD_REQUEST", f"{param or 'the body'}: {expected}", param=param)


class Cut:
    """An answer that ends before the stop string that is complete first; what may become one is held back.

    However the answer comes in pieces, the same is let through.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.is_over = False

    def feed(self, piece: str) -> str:
        """What can be told after one more piece."""
        if self.is_over:
            return ""
        text = self._held + piece
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops if stop in text]
        if found:
            self.is_over, self._held = True, ""
            return text[: min(found)[1]]
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                self._held = text[-length:]
                return text[:-length]
        self._held = ""
        return text

    def end(self) -> str:
        """What is left at the end."""
        held, self._held = self._held, ""
        return held
