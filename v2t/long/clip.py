"""A clip of a captioning run and its parts: what is planned, what is done, what is left.

In: a clip, its parts, and the journal's entries of parts that an earlier run finished. Out: the parts to do; when none
is left, the entries of all of them in order. A clip that is captioned whole has one part, and no entries in the journal
but its record. One entry stands for one part:

    {"kind": "part", "id", "settings", "source", "start_s", "end_s", "caption", "tokens", "warnings", "frame_times_s",
     "decoder", "seconds", "error"}            caption is null where error is not
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cineloop.clip import Clip
from cineloop.errors import ItemError, Notice
from cineloop.journal import Entry
from v2t.long.parts import Part

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.backends import Output

_HOPELESS = 5  # parts that cost a decoder its life, one after another


@dataclass
class LongClip:
    """A clip and its parts; `done` holds the entries of finished parts by their number."""

    clip: Clip
    parts: list[Part]
    settings: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    done: dict[int, Entry] = field(default_factory=dict)
    _deaths: int = 0

    @classmethod
    def whole(cls, clip: Clip) -> LongClip:
        """The clip in one part, however long its file is."""
        return cls(clip, [Part(clip.start_s or 0.0, math.inf if clip.end_s is None else clip.end_s)])

    @property
    def entries(self) -> list[Entry]:
        """Those of all parts, which must be done, in order."""
        return [self.done[number] for number in range(len(self.parts))]

    def missing(self) -> list[int]:
        """Numbers of the parts that are still to be done."""
        return [number for number in range(len(self.parts)) if number not in self.done]

    def captioned(self, number: int, frames: Frames, output: Output, seconds: float) -> Entry:
        """Note a part that was answered; returns its entry.

        Raises:
            ItemError: BAD_CAPTION, the answer is empty.
        """
        if not output.text.strip():
            raise empty_caption()
        self._deaths = 0
        part = self.parts[number]
        if len(self.parts) == 1:  # now that it was decoded, its true length is known
            part = Part(float(frames.start_s), float(frames.start_s) + float(frames.duration_s))
        self.done[number] = self._head(part) | answered(frames, output, seconds)
        return self.done[number]

    def failed(self, number: int, error: ItemError) -> Entry:
        """Note a part that could not be captioned; returns its entry."""
        self._deaths = self._deaths + 1 if error.code in ("DECODE_TIMEOUT", "DECODER_CRASH", "OUT_OF_MEMORY") else 0
        self.done[number] = {
            **self._head(self.parts[number]),
            "caption": None,
            "tokens": 0,
            "warnings": [],
            "frame_times_s": [],
            "decoder": None,
            "seconds": 0.0,
            "error": fields_of(error),
        }
        return self.done[number]

    def given_up(self) -> ItemError | None:
        """Why the rest is not even tried: a file that kills its decoder again and again costs a time limit a part."""
        if self._deaths < _HOPELESS:
            return None
        return ItemError(
            f"not tried, for {self._deaths} parts before it had no decoder survive",
            code="DECODER_CRASH",
            hint="the file may be damaged or hostile",
        )

    def error(self) -> ItemError | None:
        """Why there is no caption at all; None when some of the parts have one and the file stayed the same."""
        errors = [entry["error"] for entry in self.done.values() if entry["error"] is not None]
        worst = next((error for error in errors if error["code"] == "CHANGED"), None)
        if worst is None and len(errors) < len(self.parts):
            return None
        worst = worst or errors[0]
        many = f"all {len(errors)} parts failed, the first: " if len(errors) > 1 and worst["code"] != "CHANGED" else ""
        return ItemError(many + worst["message"], code=worst["code"], hint=worst["hint"])

    def _head(self, part: Part) -> Entry:
        head = {"kind": "part", "id": self.clip.id, "settings": self.settings, "source": self.source}
        return {**head, "start_s": part.start_s, "end_s": part.end_s}


@dataclass(frozen=True)
class Piece:
    """What is decoded and asked at once: one part of a clip."""

    of: LongClip
    number: int = 0

    @property
    def clip(self) -> Clip:
        """The clip it belongs to."""
        return self.of.clip

    @property
    def window(self) -> tuple[float | None, float | None]:
        """(start_s, end_s) within the file, None for its own start or end."""
        if len(self.of.parts) == 1:
            return self.clip.start_s, self.clip.end_s
        return self.of.parts[self.number]


def answered(frames: Frames, output: Output, seconds: float) -> Entry:
    """The fields of a part's entry that its frames and the captioner's answer give."""
    return {
        "caption": utf8(output.text).strip(),
        "tokens": output.tokens,
        "warnings": [*map(fields_of, frames.warnings), *warnings_of(output)],
        "frame_times_s": [round(float(t), 4) for t in frames.times_s],
        "decoder": frames.decoder,
        "seconds": round(seconds, 4),
        "error": None,
    }


def utf8(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, from file names or a model's JSON, are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def empty_caption() -> ItemError:
    """The error of an answer that says nothing."""
    return ItemError("the model answered with an empty caption", code="BAD_CAPTION", hint="another --prompt or model")


def fields_of(problem: ItemError | Notice) -> dict[str, str]:
    """An error or a warning as a record holds it."""
    return {key: utf8(str(value)) for key, value in problem.record().items()}


def warnings_of(output: Output) -> list[dict[str, str]]:
    """The warnings of an answer; one more where it reached its limit."""
    cut = [Notice("CUT", f"the caption was cut after {output.tokens} tokens")] if output.finish == "length" else []
    return [fields_of(warning) for warning in (*output.warnings, *cut)]
