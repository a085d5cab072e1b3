"""Division of a video into parts, and the state of each.

In: a `PartSpec` (from `--parts`), the length of a video, its scene cuts. Out: `Part`s in order that cover the video:
the first begins with it, the last ends with it, and none begins after the end of the previous one.

`whole` one part · `segment` equal steps of the clock; a short remainder joins the previous one · `scene` from cut to
cut, a long scene in equal pieces, one shorter than half a second with the one before it · `window` windows of one
length that may overlap; the last ends with the video.

A `LongClip` is a clip of a captioning run with the journal's entries of its finished parts, also of those that an
earlier run finished. A clip that is captioned whole has one part, and no entries in the journal but its record. One
entry stands for one part:

    {"kind": "part", "id", "settings", "source", "start_s", "end_s", "caption", "tokens", "warnings", "frame_times_s",
     "decoder", "seconds", "error"}            caption is null where error is not
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from cineloop.clip import Clip
from cineloop.errors import ItemError, Notice, UsageError, did_you_mean
from cineloop.journal import Entry

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.backends import Output

KINDS = ("whole", "segment", "scene", "window")
_FORMS = "whole, segment[:SECONDS], scene[:SECONDS], window:SECONDS[/STRIDE]"
_SHORT = 0.25  # a remainder below this share of a segment joins the previous one
_SHORTEST_SCENE_S = 0.5
MAX_PART_S = 3600.0
_TICK = 1e-6
_DEATHS = ("DECODE_TIMEOUT", "DECODER_CRASH", "OUT_OF_MEMORY")
_MAX_DEATHS = 5  # consecutive parts that crashed a decoder


class Part(NamedTuple):
    """From `start_s` to `end_s`, seconds of the file."""

    start_s: float
    end_s: float


@dataclass(frozen=True, kw_only=True)
class PartSpec:
    """How to divide a video.

    Args:
        kind: one of `KINDS`.
        seconds: length of a segment or window, longest piece of a scene; 0.1 to 3600.
        stride_s: from the start of a window to that of the next, at most `seconds`; None for `seconds`.

    Raises:
        UsageError: on a value outside these ranges.
    """

    kind: str = "whole"
    seconds: float = 10.0
    stride_s: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError(
                f"parts must be one of {_FORMS}, got {self.kind!r}", hint=did_you_mean(self.kind, KINDS, show=str)
            )
        if not 0.1 <= self.seconds <= MAX_PART_S:
            raise UsageError(f"a part must last 0.1 to 3600 seconds, got {self.seconds:g}")
        if self.stride_s is not None and (self.kind != "window" or not 0.1 <= self.stride_s <= self.seconds):
            raise UsageError(
                f"a stride belongs to windows and is 0.1 to {self.seconds:g} seconds, got {self.stride_s:g}",
                hint="a longer one would leave seconds out",
            )

    @classmethod
    def parse(cls, text: str) -> PartSpec:
        """From its form in `--parts`: `whole`, `segment`, `segment:8`, `scene`, `scene:20`, `window:8`, `window:8/4`.

        Raises:
            UsageError: no such form.
        """
        kind, colon, rest = text.strip().partition(":")
        length, slash, stride = rest.partition("/")
        try:
            seconds = float(length) if colon else None
            stride_s = float(stride) if slash else None
        except ValueError:
            raise UsageError(f"parts must be one of {_FORMS}, got {text!r}") from None
        if (kind == "whole" and colon) or (kind == "window" and not colon):
            raise UsageError(f"parts must be one of {_FORMS}, got {text!r}")
        return (
            cls(kind=kind, stride_s=stride_s) if seconds is None else cls(kind=kind, seconds=seconds, stride_s=stride_s)
        )

    def __str__(self) -> str:
        if self.kind == "whole":
            return self.kind
        stride = "" if self.stride_s is None else f"/{self.stride_s:g}"
        return f"{self.kind}:{self.seconds:g}{stride}"


def plan_parts(spec: PartSpec, duration_s: float, cuts_s: Sequence[float] = (), start_s: float = 0.0) -> list[Part]:
    """The parts of a video, at least one.

    Args:
        spec: how to divide it.
        duration_s: its length, >= 0.
        cuts_s: seconds at which a new scene begins, used by `scene`; those outside the video are ignored.
        start_s: where it begins within the file; parts and cuts are in seconds of the file.
    """
    if spec.kind == "segment":
        edges = _steps(duration_s, spec.seconds)
    elif spec.kind == "scene":
        edges = _scene_pieces(duration_s, [cut - start_s for cut in cuts_s], spec.seconds)
    elif spec.kind == "window":
        return [Part(start_s + a, start_s + b) for a, b in _windows(duration_s, spec.seconds, spec.stride_s)]
    else:
        edges = [0.0, duration_s]
    return [Part(start_s + a, start_s + b) for a, b in zip(edges, edges[1:], strict=False)]


def _steps(duration_s: float, seconds: float) -> list[float]:
    """Edges of segments; the last one is at most a quarter longer than the others."""
    count = max(1, math.ceil(duration_s / seconds - _SHORT))
    return [*(round(i * seconds, 6) for i in range(count)), duration_s]


def scenes(duration_s: float, cuts_s: Sequence[float]) -> list[Part]:
    """Scenes between cuts, first to last second; one shorter than half a second goes with the one before it."""
    edges = [0.0]
    for cut in sorted(cuts_s):
        if cut - edges[-1] >= _SHORTEST_SCENE_S and duration_s - cut >= _SHORTEST_SCENE_S:
            edges.append(cut)
    return [Part(start, end) for start, end in zip(edges, [*edges[1:], duration_s], strict=True)]


def part_at(second: float, duration_s: float, cuts_s: Sequence[float], seconds: float) -> Part:
    """The scene around a second if it is no longer than `seconds`, else so many seconds of it around that second."""
    all_scenes = scenes(duration_s, cuts_s)
    start, end = all_scenes[max(0, bisect_right([scene.start_s for scene in all_scenes], second) - 1)]
    if end - start <= seconds:
        return Part(start, end)
    begin = min(max(start, second - seconds / 2), end - seconds)
    return Part(begin, begin + seconds)


def _scene_pieces(duration_s: float, cuts_s: Sequence[float], seconds: float) -> list[float]:
    edges: list[float] = []
    for start, end in scenes(duration_s, cuts_s):
        count = max(1, math.ceil((end - start) / seconds - _TICK))
        edges += [start + (end - start) * i / count for i in range(count)]
    return [*edges, duration_s]


def _windows(duration_s: float, seconds: float, stride_s: float | None) -> list[tuple[float, float]]:
    stride = stride_s or seconds
    count = 1 + max(0, math.ceil((duration_s - seconds) / stride - _TICK))
    starts = [round(i * stride, 6) for i in range(count)]
    # The last window is as long as the others: it reaches back rather than being cut off.
    starts[-1] = min(starts[-1], max(0.0, duration_s - seconds))
    return [(start, duration_s if i == count - 1 else start + seconds) for i, start in enumerate(starts)]


@dataclass
class LongClip:
    """A clip and its parts; `done` holds the entries of finished parts by their number.

    `give_up` is the error of parts that are skipped: a file that keeps crashing its decoder costs a time limit each.
    """

    clip: Clip
    parts: list[Part]
    settings: str = ""
    source: dict[str, Any] = field(default_factory=dict)
    done: dict[int, Entry] = field(default_factory=dict)
    give_up: ItemError | None = None
    _deaths: int = 0

    def add(self, number: int, fields: Entry, frames: Frames | None = None) -> Entry:
        """Record the outcome of a part; returns its entry.

        Args:
            fields: `answer_fields` or `error_fields`; an empty answer becomes the error BAD_CAPTION.
        """
        if fields["error"] is None and not fields["caption"]:
            fields = error_fields(empty_caption())
        has_died = fields["error"] is not None and fields["error"]["code"] in _DEATHS
        self._deaths = self._deaths + 1 if has_died else 0
        self.give_up = None
        if self._deaths >= _MAX_DEATHS:
            self.give_up = ItemError(
                f"not tried: the decoder crashed on the {self._deaths} parts before it",
                code="DECODER_CRASH",
                hint="the file may be damaged or hostile",
            )
        start_s, end_s = self.parts[number]
        if len(self.parts) == 1 and frames is not None:  # its true length is known after decoding
            start_s, end_s = float(frames.start_s), float(frames.start_s) + float(frames.duration_s)
        head = {"kind": "part", "id": self.clip.id, "settings": self.settings, "source": self.source}
        self.done[number] = {**head, "start_s": start_s, "end_s": end_s, **fields}
        return self.done[number]


Piece = tuple[LongClip, int]  # the unit of decoding and generation: a clip and the number of one of its parts


def answer_fields(frames: Frames | None, output: Output, seconds: float) -> Entry:
    """Fields of a part's entry from its frames and the captioner's answer; of a summary of parts, without frames."""
    warnings = [*(() if frames is None else frames.warnings), *output.warnings]
    if output.finish == "length":
        warnings.append(Notice("CUT", f"the caption was cut after {output.tokens} tokens"))
    return {
        "caption": utf8(output.text).strip(),
        "tokens": output.tokens,
        "warnings": list(map(fields_of, warnings)),
        "frame_times_s": [] if frames is None else [round(float(t), 4) for t in frames.times_s],
        "decoder": None if frames is None else frames.decoder,
        "seconds": round(seconds, 4),
        "error": None,
    }


def error_fields(error: ItemError) -> Entry:
    """The same fields of a part that could not be captioned."""
    empty: Entry = {"caption": None, "tokens": 0, "warnings": [], "frame_times_s": [], "decoder": None, "seconds": 0.0}
    return {**empty, "error": fields_of(error)}


def utf8(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, from file names or a model's JSON, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def empty_caption() -> ItemError:
    """The error of an empty answer."""
    return ItemError("the model answered with an empty caption", code="BAD_CAPTION", hint="another --prompt or model")


def fields_of(problem: ItemError | Notice) -> dict[str, str]:
    """An error or a warning as a dict of a record."""
    return {key: utf8(str(value)) for key, value in problem.record().items()}
