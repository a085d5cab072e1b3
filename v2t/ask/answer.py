"""Answers to questions about a video; start at `answer`.

In: a video, a question, an `AskConfig`. Out: an `Answer` with the seconds it names. How a question is answered:

1. A question that names a moment ("at 34:22", "between 1:00 and 1:05") is answered from the frames around that moment
   alone, decoded again at the captioner's full frame rate; the prompt gives the moment in seconds of that window.
2. A short video, or a short view of one, is seen as a whole.
3. When something happens in a long one is searched in the notes and verified on frames (`v2t.ask.when`).
4. Everything else about a long one is answered from the notes that the question is about (`v2t.long`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cineloop.errors import Notice
from v2t.ask.prepare import Prepared, Turns, prepare
from v2t.ask.result import Answer, Found, one_per_code
from v2t.ask.settings import AskConfig
from v2t.ask.viewer import Advance, Viewer
from v2t.ask.when import find_when, is_about_when
from v2t.backends import VideoLM
from v2t.long.film import Film, Window
from v2t.long.spans import read_spans, shift_times


def ask(
    video: str | Path,
    question: str,
    config: AskConfig,
    *,
    captioner: VideoLM | None = None,
    advance: Advance = lambda done, total: None,
) -> Answer:
    """One question about one video; see `answer`."""
    with Viewer(config, captioner, advance) as viewer:
        return answer(viewer, viewer.film(video), question)


def when(
    video: str | Path,
    statement: str,
    config: AskConfig,
    *,
    captioner: VideoLM | None = None,
    advance: Advance = lambda done, total: None,
) -> Answer:
    """The spans in which a statement is true of a video; see `find_when`."""
    with Viewer(config, captioner, advance) as viewer:
        return find_when(viewer, viewer.film(video), statement)


def answer(viewer: Viewer, film: Film, question: str, view: Window | None = None, history: Turns = ()) -> Answer:
    """The answer to one question; arguments and errors as for `prepare`."""
    if is_about_when(film, question, view, viewer.config):
        return find_when(viewer, film, question, is_question=True, view=view)
    prepared = prepare(viewer, film, question, view, history)
    output = viewer.batcher.generate(viewer.request(prepared.conversation))
    return finish(viewer, film, prepared, output.text, output.warnings)


def finish(viewer: Viewer, film: Film, prepared: Prepared, text: str, warnings: Sequence[Notice] = ()) -> Answer:
    """The captioner's text as an `Answer`: its times parsed, and shifted from the part it saw to the film."""
    start, end = prepared.part
    spans = [Found(start_s=a + start, end_s=b + start) for a, b in read_spans(text, end - start).spans]
    return Answer(
        question=prepared.question,
        answer=shift_times(text.strip(), start),
        raw=text,
        look=prepared.look,
        model=viewer.model,
        spans=tuple(spans),
        windows=prepared.windows,
        notes=prepared.notes,
        warnings=one_per_code([*film.warnings, *prepared.warnings, *warnings]),
    )
