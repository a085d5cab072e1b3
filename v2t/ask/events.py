"""How often something happens in a long video, and which of two things happens first: counted and compared in code.

In: a question of one of the forms below. Out: a `VideoAnswer` whose spans are its evidence, each looked at again
(`v2t.ask.when`); None for other questions, and where the notes leave it open, so that the captioner answers from its
notes. A language model with every note in its prompt still miscounts them; the times of events need no reading.

    How many times does a dog jump?                                   three times
    Does a dog jump before or after a car stops for the first time?   before
    Which jumps first, the dog or the cat?                            the dog
    What happens first: a dog jumps or a car stops?                   a car stops
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from v2t.ask.result import VideoAnswer, one_per_code
from v2t.ask.viewer import Viewer
from v2t.ask.when import QUESTION, find_when
from v2t.long.recall import names_all
from v2t.long.segments import Segment
from v2t.long.video import LongVideo

_AUX = r"(?P<aux>does|do|did|is|are|was|were|has|have)"
_LEAD = r"^\W*(?:and\s+)?"
_TAIL = r"(?:\s+(?:for the first time|in (?:this|the) (?:film|video|movie|clip)))*[\s?.!]*$"
_COUNT = re.compile(rf"{_LEAD}how (?:many times|often)\s+{_AUX}\s+(?P<one>.+?){_TAIL}", re.IGNORECASE)
_BEFORE = re.compile(rf"{_LEAD}{_AUX}\s+(?P<one>.+?)\s+before or after\s+(?P<other>.+?){_TAIL}", re.IGNORECASE)
_FIRST = re.compile(
    rf"{_LEAD}(?:which|who|what)(?: of (?:them|the two))?\s+(?P<verb>.+?)\s+first\s*[,:]?\s+"
    rf"(?P<one>.+)\s+or\s+(?P<other>.+?){_TAIL}",
    re.IGNORECASE,
)
_HAPPENS = ("happens", "comes", "occurs", "is")  # verbs whose choices are statements of their own
_TIMES = ("never", "once", "twice", *(f"{n} times" for n in "three four five six seven eight nine".split()))


@dataclass(frozen=True)
class Events:
    """One event to count, or two to compare.

    Attributes:
        statements: of each event, in words.
        questions: when each happens, as the captioner is asked.
        choices: the answer if the first or the second comes first; none for a count.
    """

    statements: tuple[str, ...]
    questions: tuple[str, ...]
    choices: tuple[str, ...] = ()


def events_in(question: str) -> Events | None:
    """What a question of number or order is about; None for other questions."""
    if match := _COUNT.match(question):
        return Events((match["one"],), (f"When {match['aux'].lower()} {match['one']}?",))
    if match := _BEFORE.match(question):
        one, other = match["one"], match["other"]
        when = f"When {match['aux'].lower()} {one}?"
        return Events((one, other), (when, QUESTION.format(other)), ("before", "after"))
    if match := _FIRST.match(question):
        choices, verb = (match["one"], match["other"]), match["verb"]
        stated = choices if verb.lower() in _HAPPENS else tuple(f"{choice} {verb}" for choice in choices)
        return Events(stated, tuple(QUESTION.format(text) for text in stated), choices)
    return None


def count_or_compare(
    viewer: Viewer, video: LongVideo, question: str, view: Segment | None = None
) -> VideoAnswer | None:
    """The answer to a question of number or order; see the module.

    Args:
        view: (start, end) seconds it is about; None for the whole video.

    Raises:
        ItemError: the video cannot be read.
    """
    events = events_in(question)
    if events is None:
        return None
    answers = [find_when(viewer, video, text, is_question=True, view=view, every=True) for text in events.questions]
    if events.choices:
        if not all(one.spans for one in answers):
            return None
        evidence = [one.spans[0] for one in answers]
        text = events.choices[0 if evidence[0].start_s <= evidence[1].start_s else 1]
    else:
        _, _, notes = viewer.take_notes(video, view or video.whole)
        if not answers[0].windows and not names_all(notes, events.statements[0]):
            return None  # the notes may tell of it in other words
        evidence = list(answers[0].spans)
        text = _TIMES[len(evidence)] if len(evidence) < len(_TIMES) else f"{len(evidence)} times"
    return VideoAnswer(
        question=question,
        answer=text,
        raw=text,
        look="when",
        model=viewer.model,
        spans=tuple(sorted(evidence, key=lambda one: one.start_s)),
        windows=tuple(window for one in answers for window in one.windows),
        warnings=one_per_code(warning for one in answers for warning in one.warnings),
    )
