"""A clip that is captioned part by part: what is planned, what is done, what is left.

In: a clip, its parts, and the journal's entries of parts that an earlier run finished. Out: the parts to do; when none
is left, the entries of all of them in order. One entry of the journal stands for one part:

    {"kind": "part", "id", "settings", "source", "start_s", "end_s", "caption", "tokens", "warnings", "frame_times_s",
     "decoder", "seconds", "error"}            caption is null where error is not
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cineloop.clip import Clip
from cineloop.errors import ItemError
from cineloop.journal import Entry
from v2t.caption.parts import Part

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.backends import Output

_HOPELESS = 5  # parts that cost a decoder its life, one after another


@dataclass
class Film:
    """A clip and its parts; `done` holds the entries of finished parts by their number."""

    clip: Clip
    parts: list[Part]
    settings: str
    source: dict[str, Any]
    done: dict[int, Entry] = field(default_factory=dict)
    _deaths: int = 0

    def missing(self) -> list[int]:
        """Numbers of the parts that are still to be done."""
        return [number for number in range(len(self.parts)) if number not in self.done]

    @property
    def start_s(self) -> float:
        """Where the first part begins within the file."""
        return self.parts[0].start_s

    @property
    def duration_s(self) -> float:
        """Seconds that all parts together cover."""
        return self.parts[-1].end_s - self.parts[0].start_s

    def captioned(self, number: int, frames: Frames, output: Output, seconds: float) -> Entry:
        """Note a part that was answered; returns its entry.

        Raises:
            ItemError: BAD_CAPTION, the answer is empty.
        """
        text = utf8(output.text).strip()
        if not text:
            raise empty_caption()
        warnings = [utf8(warning) for warning in (*frames.warnings, *output.warnings)]
        if output.finish == "length":
            warnings.append(cut_warning(output.tokens))
        self._deaths = 0
        self.done[number] = {
            **self._head(number),
            "caption": text,
            "tokens": output.tokens,
            "warnings": warnings,
            "frame_times_s": [round(float(t), 4) for t in frames.times_s],
            "decoder": frames.decoder,
            "seconds": round(seconds, 4),
            "error": None,
        }
        return self.done[number]

    def failed(self, number: int, error: ItemError) -> Entry:
        """Note a part that could not be captioned; returns its entry."""
        self._deaths = self._deaths + 1 if error.code in ("DECODE_TIMEOUT", "DECODER_CRASH", "OUT_OF_MEMORY") else 0
        self.done[number] = {
            **self._head(number),
            "caption": None,
            "tokens": 0,
            "warnings": [],
            "frame_times_s": [],
            "decoder": None,
            "seconds": 0.0,
            "error": {key: utf8(str(value)) for key, value in error.record().items()},
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

    def _head(self, number: int) -> Entry:
        part = self.parts[number]
        return {
            "kind": "part",
            "id": self.clip.id,
            "settings": self.settings,
            "source": self.source,
            "start_s": part.start_s,
            "end_s": part.end_s,
        }


@dataclass(frozen=True)
class Piece:
    """What is decoded and asked at once: a clip, or one part of a film."""

    clip: Clip
    film: Film | None = None
    number: int = 0

    @property
    def window(self) -> tuple[float | None, float | None]:
        """(start_s, end_s) within the file, None for its own start or end."""
        if self.film is None or len(self.film.parts) == 1:
            return self.clip.start_s, self.clip.end_s
        part = self.film.parts[self.number]
        return part.start_s, part.end_s


def utf8(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, from file names or a model's JSON, are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def empty_caption() -> ItemError:
    """The error of an answer that says nothing."""
    return ItemError("the model answered with an empty caption", code="BAD_CAPTION", hint="another --prompt or model")


def cut_warning(tokens: int) -> str:
    """The warning of an answer that reached its limit."""
    return f"CUT: the caption was cut after {tokens} tokens"
