"""The work item: a clip, or a segment of a long one, on its way to the captioner's answer.

In: a `Clip`, frames, an `Output`. Out: the fields of the answer, as they stand in a journal's entry of a segment and in
the record of a clip that is captioned whole:

    {"caption", "tokens", "warnings", "frame_times_s", "decoder", "seconds", "error"}, caption or error null
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cineloop.clip import Clip, check
from cineloop.errors import ItemError, Notice
from cineloop.journal import Entry
from v2t.backends import Decoding, GenerateRequest, Output, user_turn
from v2t.backends.batching import Batcher
from v2t.long.segments import Segment

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from cineloop.video.sample import SampleSpec


_CRASHES = ("DECODE_TIMEOUT", "DECODER_CRASH", "OUT_OF_MEMORY")


@dataclass(eq=False)
class WorkItem:
    """A clip or a segment of one.

    Attributes:
        segment: of the clip's file; None for all of the clip.
        source: facts of that file for the journal, once it was read (see `cineloop.clip.source_of`).
        frames: once decoded.
        answer: once there is one: the record of a clip, the journal's entry of a segment; before that is made, the
            fields of the answer or of the error.
        segments: of a clip that was divided, in order.
        cuts_s: scene cuts that were detected to divide it.
        parent: the divided clip of a segment.
        num_crashes: consecutive segments of a divided clip that crashed their decoder.
    """

    clip: Clip
    segment: Segment | None = None
    source: dict[str, Any] = field(default_factory=dict)
    frames: Frames | None = None
    answer: Entry | None = None
    segments: list[WorkItem] = field(default_factory=list)
    cuts_s: list[float] | None = None
    parent: WorkItem | None = None
    num_crashes: int = 0

    def spec(self, base: SampleSpec) -> SampleSpec:
        """Frame sampling of the item; its window overrides that of `base`."""
        start_s, end_s = self.segment or (self.clip.start_s, self.clip.end_s)
        return base if start_s is None and end_s is None else replace(base, start_s=start_s, end_s=end_s)

    @property
    def is_hopeless(self) -> bool:
        """Whether it is known before a decoder sees the file that it cannot be read."""
        return self.clip.problem is not None or self.clip.size == 0

    def fail(self, error: ItemError) -> None:
        """Have the error as answer, or what became of the file, which explains more than what its decoder says."""
        try:
            check(self.clip)
        except ItemError as reason:
            error = reason
        self.frames, self.answer = None, error_fields(error)
        if self.parent is not None:
            self.parent.num_crashes = self.parent.num_crashes + 1 if error.code in _CRASHES else 0

    @property
    def error(self) -> ItemError | None:
        """Why there is no answer."""
        error = self.answer["error"] if self.answer else None
        return error and ItemError(error["message"], code=error["code"], hint=error["hint"])


def ask_items(
    batcher: Batcher,
    items: Sequence[WorkItem],
    prompt: str,
    decoding: Decoding,
    *,
    batch_size: int | None = None,
    retry_loops: bool = False,
) -> list[Entry]:
    """The answer to each decoded item; see `Batcher.generate_many`. `seconds` are the item's share of the time.

    Raises:
        MissingDependencyError: the model fails on everything, or its server is gone.
    """
    start = time.perf_counter()
    requests = [
        GenerateRequest(messages=user_turn(prompt, item.frames), decoding=decoding)
        for item in items
        if item.frames is not None
    ]
    answers = batcher.generate_many(requests, batch_size=batch_size, retry_loops=retry_loops)
    seconds = (time.perf_counter() - start) / max(1, len(items))
    return [
        error_fields(answer) if isinstance(answer, ItemError) else answer_fields(item.frames, answer, seconds)
        for item, answer in zip(items, answers, strict=True)
    ]


def answer_fields(frames: Frames | None, output: Output, seconds: float) -> Entry:
    """Fields of the captioner's answer to frames; of a summary of segments, without frames."""
    warnings = [*(() if frames is None else frames.warnings), *output.warnings]
    if output.finish == "length":
        warnings.append(Notice("CUT", f"the caption was cut after {output.tokens} tokens"))
    return {
        # Lone surrogates, which a model's JSON may hold, are escaped: a record is UTF-8.
        "caption": output.text.encode("utf-8", "backslashreplace").decode("utf-8").strip(),
        "tokens": output.tokens,
        "warnings": list(map(fields_of, warnings)),
        "frame_times_s": [] if frames is None else [round(float(t), 4) for t in frames.times_s],
        "decoder": None if frames is None else frames.decoder,
        "seconds": round(seconds, 4),
        "error": None,
    }


def error_fields(error: ItemError) -> Entry:
    """The same fields where there is no answer."""
    empty: Entry = {"caption": None, "tokens": 0, "warnings": [], "frame_times_s": [], "decoder": None, "seconds": 0.0}
    return {**empty, "error": fields_of(error)}


def fields_of(problem: ItemError | Notice) -> dict[str, str]:
    """An error or a warning as a dict of a record; lone surrogates, as of file names, are escaped."""
    return {
        key: str(value).encode("utf-8", "backslashreplace").decode("utf-8") for key, value in problem.record().items()
    }
