"""Wire format of OpenAI-compatible servers: message content out, text and counts in.

In: messages with `Frames`. Out: their content as JPEGs in base64, and the numbers from which vLLM (0.32,
`VideoMediaIO.load_base64`) computes frame times, or for a `v2t serve` the exact pixels and times
(`cineloop.video.packed`); the text of an answer, without reasoning; the frames that a `v2t serve` declares for its
model. Times of JPEGs count from the start of the window: for the model a part of a video is a separate clip.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cineloop.errors import ItemError, Notice, UsageError
from cineloop.video.packed import MEDIA_TYPE, pack
from cineloop.video.sample import SampleSpec
from v2t.backends import SAMPLING
from v2t.backends.endpoint import BadReply

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.backends import Conversation, Message

_THINK, _THOUGHT = "<think>", "</think>"
MAX_SIDE, QUALITY = 768, 90  # of JPEGs
_MS = 1000.0  # a rate at which frame numbers are milliseconds


def shown_times_s(frames: Frames) -> np.ndarray:
    """float64 (T,): when each frame is shown, counted from the start of the window, >= 0."""
    return np.maximum(frames.relative_times_s, 0.0)


def video_metadata(frames: Frames) -> dict[str, Any]:
    """Integer frame numbers and a rate with number / rate = time, the only form of times that servers take.

    A file of constant rate keeps its own rate and numbers, and its times are exact. Otherwise (variable rate, a window)
    numbers count milliseconds: off by at most half of one, far below the precision of any prompt. A finer rate would be
    worse: some processors keep a frame's duration in whole milliseconds.
    """
    times_s = shown_times_s(frames)  # (T,)
    rate = frames.fps
    numbers = np.round(times_s * rate)
    if len(set(numbers.tolist())) < len(numbers) or np.abs(numbers / rate - times_s).max() > 1e-6:
        rate = _MS
        numbers = np.round(times_s * rate)
    num, last = len(numbers), int(numbers[-1])
    # Some processors compute the mean rate from number and total: as many steps as frames.
    step = (times_s[-1] - times_s[0]) / (num - 1) if num > 1 else frames.duration_s
    return {
        "fps": rate,
        "frames_indices": [int(number) for number in numbers],
        "total_num_frames": max(round(num * step * rate), last + 1, num),
        "duration": float(frames.duration_s),
        "do_sample_frames": False,
        "num_frames": num,  # else vLLM keeps 32 and drops the rest
    }


Form = Literal["packed", "video", "images"]


def content(message: Message, form: Form, max_side: int, quality: int) -> str | list[dict[str, Any]]:
    """A message's content: its text alone, or its videos and then its text.

    A video is one part that holds all frames, "packed" for a `v2t serve` or as JPEGs ("video") as vLLM takes them; or,
    as "images", for each frame its time as text and its image.
    """
    if not message.videos:
        return message.text
    parts: list[dict[str, Any]] = []
    for frames in message.videos:
        if form == "packed":
            url = f"data:{MEDIA_TYPE};base64,{b64encode(pack(frames)).decode('ascii')}"
            parts.append({"type": "video_url", "video_url": {"url": url}})
            continue
        jpegs = encode(frames.pixels, max_side, quality)
        if form == "video":
            parts.append({"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{','.join(jpegs)}"}})
            continue
        parts += timed_pictures(shown_times_s(frames), jpegs)
    return [*parts, {"type": "text", "text": message.text}]


def timed_pictures(times_s: Iterable[float], jpegs: Sequence[str]) -> list[dict[str, Any]]:
    """Content parts: for each picture, in base64, its time as text and then the image."""
    parts: list[dict[str, Any]] = []
    for time_s, jpeg in zip(times_s, jpegs, strict=True):
        parts.append({"type": "text", "text": f"{time_s:.2f} s:"})
        parts.append({"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{jpeg}"}})
    return parts


def chat_fields(
    conversation: Conversation, form: Form, max_side: int = MAX_SIDE, quality: int = QUALITY
) -> dict[str, Any]:
    """The fields of a chat request that hold a conversation; vLLM supports one set of times for all videos of a
    request, so several become images."""
    videos = [frames for message in conversation for frames in message.videos]
    form = "images" if form == "video" and len(videos) != 1 else form
    messages = [{"role": each.role, "content": content(each, form, max_side, quality)} for each in conversation]
    times = {"media_io_kwargs": {"video": video_metadata(videos[0])}} if form == "video" else {}
    return {"messages": messages, **times}


def encode(pixels: np.ndarray, max_side: int, quality: int) -> list[str]:
    """uint8 (T, H, W, 3) as T JPEGs in base64, scaled so that no side exceeds `max_side`. Raises ItemError:
    ENCODE_ERROR, a size that JPEG cannot hold."""
    import cv2

    height, width = pixels.shape[1:3]
    scale = min(1.0, max_side / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    jpegs = []
    for frame in pixels:
        if scale < 1:
            frame = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
        done, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
        if not done:
            raise ItemError(f"frames of {width}x{height} cannot be written as JPEG", code="ENCODE_ERROR")
        jpegs.append(b64encode(data.tobytes()).decode("ascii"))
    return jpegs


def wanted_frames(card: dict[str, Any]) -> tuple[SampleSpec, tuple[int, int] | None] | None:
    """Frame sampling and (H, W) that the server declares for its model; None if it declares none. Raises UsageError:
    CARD, the declaration is invalid."""
    about = card.get("cineloop")
    wanted = about.get("frames") if isinstance(about, dict) else None
    if not isinstance(wanted, dict):
        return None
    try:
        size = wanted.get("size")
        spec = SampleSpec(**{name: wanted[name] for name in SAMPLING if wanted.get(name) is not None})
        return spec, None if size is None else (int(size[0]), int(size[1]))
    except (UsageError, TypeError, ValueError, LookupError) as problem:
        raise UsageError(f"it declares its frames in an unknown form: {problem}", code="CARD") from None


def frame_settings(spec: SampleSpec, size: tuple[int, int] | None) -> dict[str, Any]:
    """The declaration that `wanted_frames` reads."""
    return {**{name: getattr(spec, name) for name in SAMPLING}, "size": list(size) if size else None}


def text_of(content: Any) -> str:
    """The text of a message content: a string, a list of parts, or null."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    raise BadReply(f"content must be text, got {type(content).__name__}")


@dataclass
class StreamInfo:
    """What a stream reports in addition to its text."""

    tokens: int = 0
    prompt_tokens: int | None = None
    finish: str = "stop"
    warnings: dict[Notice, None] = field(default_factory=dict)


def warnings_of(reply: dict[str, Any]) -> list[Notice]:
    """The warnings in a reply of `v2t serve`; malformed ones are left out."""
    about = reply.get("cineloop")
    given = about.get("warnings") if isinstance(about, dict) else None
    notices = []
    for one in given if isinstance(given, list) else []:
        with suppress(ValueError):
            notices.append(Notice.read(one))
    return notices


def num_tokens(reply: dict[str, Any], of: Literal["prompt", "completion"] = "completion") -> int | None:
    """Tokens of the answer, or of the prompt, where the server counts them."""
    usage = reply.get("usage")
    tokens = usage.get(f"{of}_tokens") if isinstance(usage, dict) else None
    return tokens if isinstance(tokens, int) and tokens >= 0 else None


def without_reasoning(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of an answer without the <think>…</think> it may begin with; buffered no longer than needed. Raises
    ItemError: BAD_CAPTION, the answer was cut within its reasoning."""
    held, is_decided = "", False
    for piece in pieces:
        if is_decided:
            yield piece
            continue
        held += piece
        head = held.lstrip()
        if head.startswith(_THINK):
            rest = head.partition(_THOUGHT)[2].lstrip()
        else:
            rest = "" if _THINK.startswith(head) else held
        if rest:
            is_decided = True
            yield rest
    if is_decided:
        return
    if held.lstrip().startswith(_THINK):
        if _THOUGHT not in held:
            raise ItemError(
                "the answer was cut within its reasoning",
                code="BAD_CAPTION",
                hint="more --max-new-tokens, or a model that does not reason aloud",
            )
    elif held:
        yield held
