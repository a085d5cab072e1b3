"""The videos of a relayed request, and what stands in their places when it is passed on.

In: the JSON of a chat or Responses request. Out: its `VideoQuestion`: which parts are videos, what is asked, the turns
before; and the same request with each video replaced by pictures, each after its time as text, or by the evidence of a
film. Nothing else of the request is changed or checked: the server behind does that.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cineloop.errors import Notice
from cineloop.web.faults import Fault
from v2t.backends import pictures
from v2t.backends.payload import encode, shown_times_s, timed_pictures
from v2t.serve.parts import PICTURES, VideoRef, is_for_gateway, video_in
from v2t.serve.settings import ServeLimits

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from cineloop.video.info import VideoInfo
    from v2t.serve.media import OpenVideo


@dataclass(frozen=True)
class RequestForm:
    """One form of requests: the route, the field of the messages, the types of parts of text."""

    path: str
    messages: str
    text: str

    def part(self, part: dict[str, Any]) -> dict[str, Any]:
        """A part of a chat message in this form."""
        if self.messages == "messages":
            return part
        if part["type"] == "text":
            return {"type": self.text, "text": part["text"]}
        return {"type": "input_image", "image_url": part["image_url"]["url"]}


CHAT = RequestForm("chat/completions", "messages", "text")
RESPONSES = RequestForm("responses", "input", "input_text")


@dataclass(frozen=True)
class Place:
    """Where a video stands in a request: the message, the part of its content; and what it is."""

    turn: int
    index: int
    ref: VideoRef


@dataclass(frozen=True, kw_only=True)
class FilmEvidence:
    """What is passed on in the place of a film.

    Attributes:
        text: for the model.
        frames: of the moment that the question names, their times those of the film; None for notes.
        report: for the client: the notes, windows and spans.
    """

    text: str
    frames: Frames | None = None
    report: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[Notice, ...] = ()


@dataclass
class ShownVideo:
    """What is shown of one video.

    Attributes:
        film: of one that is longer than the model sees at once; `take` sets the evidence of it.
        frames: to be sent as pictures; their number is its length.
        text: before the pictures, or in place of them.
        report: for the client.
    """

    place: Place
    info: VideoInfo
    film: OpenVideo | None = None
    frames: Frames | None = None
    text: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[Notice, ...] = ()

    def __len__(self) -> int:
        return 0 if self.frames is None else len(self.frames)

    @property
    def is_picture(self) -> bool:
        """Whether it is a picture, which has no time."""
        return self.info.container == "image" and len(self) == 1

    def take(self, evidence: FilmEvidence, describe: Callable[[Frames], dict[str, Any]]) -> None:
        """Have the evidence of the film shown."""
        nothing = {"times_s": [], "start_s": 0.0, "visual_tokens": None, "decoder": None, "warnings": []}
        about = nothing if evidence.frames is None else describe(evidence.frames)
        self.report = {**about, **evidence.report, "start_s": 0.0, "duration_s": round(self.info.duration_s, 4)}
        self.text, self.frames, self.warnings = evidence.text, evidence.frames, evidence.warnings

    def parts(self, frames: Frames | None, max_side: int, quality: int) -> list[dict[str, Any]]:
        """Content parts of a chat message: text, and `frames` as pictures."""
        parts: list[dict[str, Any]] = [{"type": "text", "text": self.text}] if self.text else []
        if frames is None:
            return parts
        jpegs = encode(frames.pixels, max_side, quality)
        # The frames of a film's moment keep the seconds of the film, which the question names.
        timed = timed_pictures(shown_times_s(frames) if self.film is None else frames.times_s, jpegs)
        return parts + (timed[1::2] if self.is_picture else timed)


@dataclass(frozen=True, kw_only=True)
class VideoQuestion:
    """A request as far as the gateway reads it.

    Attributes:
        body: its JSON, of any form; only objects are read further.
        model: its model, "" for none. is_stream: whether a stream is wanted.
        videos: in their order. num_pictures: other pictures, which are the client's own.
        text: of the last message of a user. history: earlier (question, answer) pairs.
    """

    body: Any
    form: RequestForm
    model: str = ""
    is_stream: bool = False
    videos: tuple[Place, ...] = ()
    num_pictures: int = 0
    text: str = ""
    history: tuple[tuple[str, str], ...] = ()

    @classmethod
    def read(cls, body: Any, form: RequestForm, limits: ServeLimits) -> VideoQuestion:
        """What a request asks. Raises Fault: a video part of no known form, TOO_LARGE for too many videos."""
        if not isinstance(body, dict):
            return cls(body=body, form=form)
        listed = body.get(form.messages)
        messages = listed if isinstance(listed, list) else []
        videos, num_pictures = [], 0
        for turn, message in enumerate(messages):
            for index, part in enumerate(_parts(message)):
                if is_for_gateway(part):
                    where = f"{form.messages}[{turn}].content[{index}]"
                    videos.append(Place(turn, index, video_in(part, where, turn)))
                elif isinstance(part, dict) and part.get("type") in PICTURES:
                    num_pictures += 1
        if len(videos) > limits.videos:
            text = f"{form.messages}: {len(videos)} videos; at most {limits.videos}"
            raise Fault(413, "TOO_LARGE", text, param=form.messages)
        turns = [(_role(message), _text(message)) for message in messages]
        asked = max((number for number, (role, _) in enumerate(turns) if role == "user"), default=-1)
        history = [
            (text, turns[number + 1][1])
            for number, (role, text) in enumerate(turns[: max(0, asked - 1)])
            if role == "user" and text and turns[number + 1][0] == "assistant"
        ]
        model = body.get("model")
        return cls(
            body=body,
            form=form,
            model=model if isinstance(model, str) else "",
            is_stream=body.get("stream") is True,
            videos=tuple(videos),
            num_pictures=num_pictures,
            text=turns[asked][1] if asked >= 0 else "",
            history=tuple(history),
        )

    def with_pictures(
        self, shown: Sequence[ShownVideo], most: int, max_side: int, quality: int, default_model: str = ""
    ) -> bytes:
        """The request with its videos replaced, with `most` frames of them at most; a model is added where it names
        none. Raises ItemError: ENCODE_ERROR."""
        frames = iter(pictures.thin([one.frames for one in shown if one.frames is not None], most))
        by_place: dict[tuple[int, int], list[dict[str, Any]]] = {}
        for number, one in enumerate(shown, 1):
            parts = one.parts(next(frames) if one.frames is not None else None, max_side, quality)
            if len(shown) > 1 and not one.is_picture:
                parts.insert(0, {"type": "text", "text": f"Video {number} of {len(shown)}:"})
            by_place[one.place.turn, one.place.index] = [self.form.part(part) for part in parts]
        messages = list(self.body[self.form.messages])
        for turn in {one.place.turn for one in shown}:
            content = [
                new
                for index, part in enumerate(messages[turn]["content"])
                for new in by_place.get((turn, index), [part])
            ]
            messages[turn] = {**messages[turn], "content": content}
        body = {**self.body, self.form.messages: messages}
        if default_model and not self.model:
            body["model"] = default_model
        return json.dumps(body).encode()


def _parts(message: Any) -> list[Any]:
    content = message.get("content") if isinstance(message, Mapping) else None
    return content if isinstance(content, list) else []


def _role(message: Any) -> str:
    return str(message.get("role") or "") if isinstance(message, Mapping) else ""


def _text(message: Any) -> str:
    """The text of a message, its parts in lines."""
    content = message.get("content") if isinstance(message, Mapping) else None
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in _parts(message) if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))
