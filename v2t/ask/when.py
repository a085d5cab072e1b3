"""Temporal grounding: the spans in which something happens, found in the notes and verified on frames.

In: a statement ("the dog jumps") or a question ("When does the dog jump?"). Out: a `VideoAnswer` whose spans are sorted
by time. A short video is asked directly. For a long one the notes are ranked by the statement, and the captioner is
asked about the windows of the best; what it denies is left out, and where its answer names no time the note's own
seconds are used, marked as not seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from cineloop.errors import ItemError, Notice, UsageError
from v2t.ask.result import Occurrence, VideoAnswer, one_per_code
from v2t.ask.viewer import Viewer
from v2t.backends import user_turn
from v2t.data.notes import Note
from v2t.long.recall import is_match, rank, says_all
from v2t.long.segments import Segment
from v2t.long.spans import format_span, merge_spans, read_spans
from v2t.long.video import LongVideo

# The words the starter was trained on (cineloop.world.language.times).
QUESTION = "When does this happen: {}?"
NEVER = "it does not happen"
_WHEN = re.compile(r"^\W*(?:and\s+)?(?:when|at (?:what|which) (?:time|second|moment|point))\b", re.IGNORECASE)
_SAME_S = 0.3  # spans this near to each other, seen in two windows, are one


@dataclass(frozen=True)
class _Candidate:
    """A window to verify, the score of its best note, and that note."""

    window: Segment
    score: float = 1.0
    note: Note | None = None


def is_about_when(question: str) -> bool:
    """Whether a question asks for a time."""
    return bool(_WHEN.match(question))


def find_when(
    viewer: Viewer,
    video: LongVideo,
    statement: str,
    *,
    is_question: bool = False,
    view: Segment | None = None,
    every: bool = False,
) -> VideoAnswer:
    """The spans in which a statement is true.

    Args:
        statement: "the dog jumps", or with `is_question` "When does the dog jump?".
        view: (start, end) seconds to search; None for the whole video.
        every: verify all windows whose notes say the statement, and no others, instead of the best `top`.

    Raises:
        UsageError: an empty statement. ItemError: the video cannot be read.
    """
    statement = statement.strip() if is_question else statement.strip().rstrip(".?! ")
    if not statement:
        raise UsageError("nothing to look for: the statement is empty", hint='v2t ask video.mp4 --when "the dog jumps"')
    extent, look = view or video.whole, viewer.config.look
    warnings: list[Notice] = list(video.warnings)
    candidates = [_Candidate(extent)]
    if look == "notes" or (look == "auto" and extent[1] - extent[0] > video.window_s):
        candidates = _candidates(viewer, video, statement, extent, every, warnings)
    if look == "notes":
        occurrences = [_span_of_note(c.note, c.score) for c in candidates if c.note is not None]
    else:
        question = statement if is_question else QUESTION.format(statement)
        occurrences = _look_again(viewer, video, question, candidates, warnings)
    occurrences = _merge_occurrences(occurrences)
    return VideoAnswer(
        question=statement,
        answer=", ".join(format_span(one.span) for one in occurrences) or NEVER,
        raw=", ".join(f"from {one.start_s:.1f} to {one.end_s:.1f} seconds" for one in occurrences) or NEVER,
        look="when",
        model=viewer.model,
        spans=tuple(occurrences),
        windows=tuple(candidate.window for candidate in candidates) if look != "notes" else (),
        warnings=one_per_code(warnings),
    )


def _candidates(
    viewer: Viewer, video: LongVideo, statement: str, extent: Segment, every: bool, warnings: list[Notice]
) -> list[_Candidate]:
    """Windows to verify, best first: at most `top`, or every one with a note that says the statement."""
    notebook, windows, placed = viewer.take_notes(video, extent)
    warnings += notebook.warnings
    best: dict[Segment, _Candidate] = {}
    for score, one in rank(placed, statement):
        for window in windows:
            # A note that only touches a window does not select it: captions of scenes follow each other without a gap.
            start_s, end_s = one.note.start_s, max(one.note.start_s + 0.01, one.note.end_s - 0.01)
            if window[0] < end_s and start_s < window[1] - 0.01:
                best.setdefault(window, _Candidate(window, score, one.note))
    ranked = list(best.values())
    if every:
        return [candidate for candidate in ranked if says_all(candidate.score)]
    top = viewer.config.top
    if not top:
        return [*ranked, *(_Candidate(window, 0.0) for window in windows if window not in best)]
    matching = sum(is_match(candidate.score, ranked[0].score) for candidate in ranked)
    if matching > top:
        warnings.append(
            Notice("MORE_MATCH", f"{matching - top} more windows may show it; top={matching} looks at them too")
        )
    return ranked[:top]


def _look_again(
    viewer: Viewer, video: LongVideo, question: str, candidates: list[_Candidate], warnings: list[Notice]
) -> list[Occurrence]:
    """The spans that the captioner confirms on the frames of the windows."""
    windows = [candidate.window for candidate in candidates]
    items = dict(one for batch in video.decode_batches(windows, viewer.config.batch_size) for one in batch)
    problems = [error for window in windows if (error := items[window].error) is not None]
    seen = [(each, frames) for each in candidates if (frames := items[each.window].frames) is not None]
    warnings += [warning for _, frames in seen for warning in frames.warnings]
    requests = [viewer.request(user_turn(question, frames)) for _, frames in seen]
    outputs = viewer.batcher.generate_many(requests, batch_size=viewer.config.batch_size)
    occurrences: list[Occurrence] = []
    for (candidate, _), output in zip(seen, outputs, strict=True):
        if isinstance(output, ItemError):
            problems.append(output)
        else:
            warnings += output.warnings
            occurrences += _read(candidate, output.text, warnings)
    if len(problems) == len(candidates) and problems:
        raise problems[0]
    warnings += [Notice(problem.code, problem.message) for problem in problems]
    return occurrences


def _read(candidate: _Candidate, text: str, warnings: list[Notice]) -> list[Occurrence]:
    """The spans of an answer about one window, in seconds of the video."""
    start, end = candidate.window
    reading = read_spans(text, end - start, bare=True)
    if reading.spans or reading.never:
        note = candidate.note.text if candidate.note else ""
        return [
            Occurrence(start_s=start + a, end_s=start + b, score=candidate.score, note=note) for a, b in reading.spans
        ]
    excerpt = " ".join(text.split())[:120]
    warnings.append(
        Notice("NO_TIME", f"asked about {format_span(candidate.window)}, the model named no time: {excerpt!r}")
    )
    return [_span_of_note(candidate.note, candidate.score)] if candidate.note is not None else []


def _span_of_note(note: Note, score: float) -> Occurrence:
    return Occurrence(start_s=note.start_s, end_s=note.end_s, score=score, note=note.text, is_seen=False)


def _merge_occurrences(occurrences: list[Occurrence]) -> list[Occurrence]:
    """By time; spans that overlap or nearly touch are one, with the best of their scores."""
    out = []
    for start, end in merge_spans([one.span for one in occurrences], _SAME_S):
        inside = [one for one in occurrences if start <= one.start_s <= end]
        best = max(inside, key=lambda one: (one.is_seen, one.score))
        out.append(Occurrence(start_s=start, end_s=end, score=best.score, note=best.note, is_seen=best.is_seen))
    return out
