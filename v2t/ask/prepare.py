"""A question as it is put to the captioner: with which frames, or with which notes.

In: a `Viewer`, a `Film`, a question. Out: `Prepared`. Nothing is answered here, but notes are taken where they are
needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cineloop.errors import Notice, UsageError
from v2t.ask import moments
from v2t.ask.viewer import Viewer
from v2t.backends import Conversation, Message
from v2t.data.notes import Note, notes_prompt
from v2t.long.film import Film, Window
from v2t.long.recall import recall

_NOTED_S = 1.0  # notes so near to a moment are about it
Turns = Sequence[tuple[str, str]]  # earlier questions and answers, as they were put to the model and written by it


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A question ready to be put to the captioner.

    Attributes:
        question: as the user asked it.
        put: as the model is asked, its moment told as seconds of the part; without notes.
        conversation: earlier turns, then this one, with frames or notes.
        look: "whole", "window" or "notes".
        part: the stretch of the film from whose start the answer's times count.
        windows: parts looked at.
        notes: notes given.
        warnings: of the decoder and of the notes.
    """

    question: str
    put: str
    conversation: Conversation
    look: str
    part: Window
    windows: tuple[Window, ...] = ()
    notes: tuple[Note, ...] = ()
    warnings: tuple[Notice, ...] = ()


def prepare(viewer: Viewer, film: Film, question: str, view: Window | None = None, history: Turns = ()) -> Prepared:
    """The question with what it is answered from; see the top of `v2t.ask.answer` for which that is.

    Args:
        viewer: who will answer.
        film: of `viewer.film`.
        question: any words.
        view: (start, end) seconds the question is about, where it names no moment; None for the whole film.
        history: turns of this conversation so far, about the same view.

    Raises:
        UsageError: no question, or a moment the film does not have. ItemError: the video cannot be read.
    """
    if not question.strip():
        raise UsageError("the question is empty", hint='for example: v2t ask video.mp4 "What happens?"')
    if view is not None:
        moments.check_within(*view, film.duration_s)
    whole, look = (0.0, film.duration_s), viewer.config.look
    moment = moments.find(question)
    if moment is not None:
        moments.check_within(moment.start_s, moment.end_s, film.duration_s, question[slice(*moment.words)].strip())
    if look == "whole":
        return by_frames(film, question, question, whole, history)
    if moment is None:
        extent = view or whole
        if look == "auto" and extent[1] - extent[0] <= film.window_s:
            return by_frames(film, question, question, extent, history)
        return by_notes(viewer, film, question, question, extent, history)
    start, end = moment.start_s, min(moment.end_s, film.duration_s)
    if look == "notes" or end - start > film.window_s:
        around = _NOTED_S if moment.is_point else 0.0
        put = question if moment.is_point else moments.within(question, moment, start)
        return by_notes(viewer, film, question, put, (start - around, end + around), history)
    window = (start, end)
    if moment.is_point:
        window = whole if film.is_short else film.window_at(start)
    return by_frames(film, question, moments.within(question, moment, window[0]), window, ())


def by_frames(film: Film, question: str, put: str, window: Window, history: Turns) -> Prepared:
    """The question with the frames of a part, which stand before the conversation's first words."""
    frames = film.look(window)
    messages = _messages(history, put)
    messages[0] = replace(messages[0], videos=(frames,))
    return Prepared(
        question=question,
        put=put,
        conversation=messages,
        look="whole" if window == (0.0, film.duration_s) else "window",
        part=window,
        windows=(window,),
        warnings=frames.warnings,
    )


def by_notes(viewer: Viewer, film: Film, question: str, put: str, extent: Window, history: Turns) -> Prepared:
    """The question with the notes it is about; where there are none, with what happens in all."""
    most = viewer.config.notes_tokens
    notebook, _, placed = viewer.noted(film, extent)
    found = recall(placed, put, most)
    if not found.notes and history:  # "And what color is it?" is about what was asked before
        found = recall(placed, f"{history[-1][0]}, {put}", most)
    notes = [one.note for one in found.notes] or notebook.overview(placed, most)
    warnings = list(notebook.warnings)
    if found.num_matching > len(notes):
        left = found.num_matching - len(notes)
        warnings.append(
            Notice(
                "NOTES_LEFT_OUT",
                f"{left} of the {found.num_matching} notes that fit the question are too many for notes_tokens={most}",
            )
        )
    if not placed:
        warnings.append(Notice("NO_NOTES", "the captioner noted nothing in this part of the video"))
    return Prepared(
        question=question,
        put=put,
        conversation=_messages(history, notes_prompt(notes, put)),
        look="notes",
        part=(0.0, film.duration_s),
        notes=tuple(notes),
        warnings=tuple(warnings),
    )


def _messages(history: Turns, text: str) -> list[Message]:
    messages = []
    for asked, answered in history:
        messages += [Message(role="user", text=asked), Message(role="assistant", text=answered)]
    return [*messages, Message(role="user", text=text)]
