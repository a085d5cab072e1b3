"""Answers to questions about a video; start at `answer`.

In: a video, a question, an `AskConfig`. Out: a `VideoAnswer` with the seconds it names. How a question is answered:

1. A question that names a moment ("at 34:22", "between 1:00 and 1:05") is answered from the frames around that moment
   alone, decoded again at the captioner's full frame rate; the prompt gives the moment in seconds of that window.
2. A short video, or a short view of one, is seen as a whole.
3. When something happens in a long one is searched in the notes and verified on frames (`v2t.ask.when`); how often,
   and which of two events is first, is counted and compared from what is found (`v2t.ask.events`).
4. Everything else about a long one is answered from the notes that the question is about (`v2t.long`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cineloop.errors import CineloopError, ItemError, Notice, UsageError
from v2t.ask import moments
from v2t.ask.events import count_or_compare
from v2t.ask.result import Occurrence, VideoAnswer, one_per_code
from v2t.ask.settings import AskConfig
from v2t.ask.viewer import Advance, Viewer
from v2t.ask.when import find_when, is_about_when
from v2t.backends import Conversation, Message, VideoLM
from v2t.data.notes import Note, notes_prompt
from v2t.long.recall import recall
from v2t.long.segments import Segment
from v2t.long.spans import read_spans, shift_times
from v2t.long.video import LongVideo

_NEAR_S = 1.0  # notes this near to a moment are about it
Turns = Sequence[tuple[str, str]]  # earlier (prompt, answer) pairs as the model sees them


@dataclass(frozen=True, kw_only=True)
class QuestionPrompt:
    """A question with everything needed to generate its answer.

    Attributes:
        question: as the user wrote it.
        prompt: the question with its moment in seconds of the part; without notes.
        conversation: earlier turns, then this one, with frames or notes.
        look: "whole", "window" or "notes".
        part: the segment of the video from whose start the answer's times count.
        windows: parts whose frames are included.
        notes: included notes.
        warnings: of the decoder and of the notes.
    """

    question: str
    prompt: str
    conversation: Conversation
    look: str
    part: Segment
    windows: tuple[Segment, ...] = ()
    notes: tuple[Note, ...] = ()
    warnings: tuple[Notice, ...] = ()


def prepare(
    viewer: Viewer, video: LongVideo, question: str, view: Segment | None = None, history: Turns = ()
) -> QuestionPrompt:
    """The question with the frames or notes it is answered from; see the docstring of `v2t.ask.answer`.

    Args:
        view: (start, end) seconds the question is about, where it names no moment; None for the whole video.
        history: turns of this conversation so far, about the same view.

    Raises:
        UsageError: no question, or a moment the video does not have. ItemError: the video cannot be read.
    """
    if not question.strip():
        raise UsageError("the question is empty", hint='for example: v2t ask video.mp4 "What happens?"')
    if view is not None:
        moments.check_within(*view, video.duration_s)
    whole, look = video.whole, viewer.config.look
    moment = moments.find(question)
    if moment is not None:
        moments.check_within(moment.start_s, moment.end_s, video.duration_s, question[slice(*moment.words)].strip())
    if look == "whole":
        return by_frames(video, question, question, whole, history)
    if moment is None:
        extent = view or whole
        if look == "auto" and extent[1] - extent[0] <= video.window_s:
            return by_frames(video, question, question, extent, history)
        return by_notes(viewer, video, question, question, extent, history)
    start, end = moment.start_s, min(moment.end_s, video.duration_s)
    if look == "notes" or end - start > video.window_s:
        around = _NEAR_S if moment.is_point else 0.0
        prompt = question if moment.is_point else moments.within(question, moment, start)
        return by_notes(viewer, video, question, prompt, Segment(start - around, end + around), history)
    window = Segment(start, end)
    if moment.is_point:
        window = whole if video.duration_s <= video.window_s else video.window_at(start)
    return by_frames(video, question, moments.within(question, moment, window[0]), window, ())


def by_frames(video: LongVideo, question: str, prompt: str, window: Segment, history: Turns) -> QuestionPrompt:
    """The question with the frames of a part, which precede the conversation's first text."""
    frames = video.decode(window)
    messages = _messages(history, prompt)
    messages[0] = replace(messages[0], videos=(frames,))
    return QuestionPrompt(
        question=question,
        prompt=prompt,
        conversation=messages,
        look="whole" if window == video.whole else "window",
        part=window,
        windows=(window,),
        warnings=frames.warnings,
    )


def by_notes(
    viewer: Viewer, video: LongVideo, question: str, prompt: str, extent: Segment, history: Turns
) -> QuestionPrompt:
    """The question with the notes it is about; if there are none, with an overview of the video."""
    most = viewer.config.notes_tokens
    notebook, _, placed = viewer.take_notes(video, extent)
    recalled = recall(placed, prompt, most)
    if not recalled.notes and history:  # "And what color is it?" is about what was asked before
        recalled = recall(placed, f"{history[-1][0]}, {prompt}", most)
    notes = [one.note for one in recalled.notes] or notebook.overview(placed, most)
    warnings = list(notebook.warnings)
    if recalled.num_matching > len(notes):
        left = recalled.num_matching - len(notes)
        warnings.append(
            Notice(
                "NOTES_LEFT_OUT",
                f"{left} of the {recalled.num_matching} notes that fit the question are too many for "
                f"notes_tokens={most}",
            )
        )
    if not placed:
        warnings.append(Notice("NO_NOTES", "the captioner noted nothing in this part of the video"))
    return QuestionPrompt(
        question=question,
        prompt=prompt,
        conversation=_messages(history, notes_prompt(notes, prompt)),
        look="notes",
        part=video.whole,
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _messages(history: Turns, text: str) -> list[Message]:
    messages = []
    for prompt, reply in history:
        messages += [Message(role="user", text=prompt), Message(role="assistant", text=reply)]
    return [*messages, Message(role="user", text=text)]


def ask(
    video: str | Path,
    question: str,
    config: AskConfig,
    *,
    captioner: VideoLM | None = None,
    advance: Advance = lambda done, total: None,
) -> VideoAnswer:
    """One question about one video; see `answer`."""
    with Viewer(config, captioner, advance) as viewer:
        return answer(viewer, viewer.video(video), question)


def ask_each(
    video: str | Path,
    questions: Sequence[str],
    config: AskConfig,
    *,
    captioner: VideoLM | None = None,
    advance: Advance = lambda done, total: None,
) -> Iterator[VideoAnswer | CineloopError]:
    """Questions about one video, for which the model is loaded once: for each its answer, or why it has none (a moment
    the video does not have, frames that cannot be read)."""
    with Viewer(config, captioner, advance) as viewer:
        opened = viewer.video(video)
        for question in questions:
            try:
                yield answer(viewer, opened, question)
            except (UsageError, ItemError) as error:
                yield error


def when(
    video: str | Path,
    statement: str,
    config: AskConfig,
    *,
    captioner: VideoLM | None = None,
    advance: Advance = lambda done, total: None,
) -> VideoAnswer:
    """The spans in which a statement is true of a video; see `find_when`."""
    with Viewer(config, captioner, advance) as viewer:
        return find_when(viewer, viewer.video(video), statement)


def answer(
    viewer: Viewer, video: LongVideo, question: str, view: Segment | None = None, history: Turns = ()
) -> VideoAnswer:
    """The answer to one question; arguments and errors as for `prepare`."""
    if (searched := search(viewer, video, question, view)) is not None:
        return searched
    prepared = prepare(viewer, video, question, view, history)
    output = viewer.batcher.generate(viewer.request(prepared.conversation))
    return finish(viewer, video, prepared, output.text, output.warnings)


def search(viewer: Viewer, video: LongVideo, question: str, view: Segment | None = None) -> VideoAnswer | None:
    """The answer to a question of time, number or order about a long part of a video; None for all others."""
    start, end = view or video.whole
    if viewer.config.look != "auto" or end - start <= video.window_s or moments.find(question) is not None:
        return None
    if is_about_when(question):
        return find_when(viewer, video, question, is_question=True, view=view)
    return count_or_compare(viewer, video, question, view)


def finish(
    viewer: Viewer, video: LongVideo, prepared: QuestionPrompt, text: str, warnings: Sequence[Notice] = ()
) -> VideoAnswer:
    """The captioner's text as a `VideoAnswer`: its times parsed, and shifted from the part it saw to the video."""
    start, end = prepared.part
    spans = [Occurrence(start_s=a + start, end_s=b + start) for a, b in read_spans(text, end - start).spans]
    return VideoAnswer(
        question=prepared.question,
        answer=shift_times(text.strip(), start),
        raw=text,
        look=prepared.look,
        model=viewer.model,
        spans=tuple(spans),
        windows=prepared.windows,
        notes=prepared.notes,
        warnings=one_per_code([*video.warnings, *prepared.warnings, *warnings]),
    )
