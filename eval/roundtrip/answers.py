"""Answers to the questions of prompts: from a clip, by a judge and by the cartoon world's referee; from a caption in
plain English, by a language model.

In: clips, questions, captions. Out: answers, each kept in `answers.jsonl` under the content of the clip (or the text of
the caption), who was asked, and the question, so that nothing is asked twice. A clip that cannot be read has no
answers; a refusal, or a reply that cannot be read, is kept as such and is never a no. What failed for another reason (a
server that was down, a decoder out of time) is not kept: the next run asks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError
from cineloop.files import content_key, text_key
from cineloop.interrupt import Stopping
from cineloop.journal import Journal
from cineloop.log import Progress
from cineloop.video.frames import Frames
from cineloop.video.worker import DecoderPool, SampleSpec
from cineloop.world.referee.read import FigureRead, read_back
from t2v.obedience import motion_of
from v2t.captioners import CaptionerLike, Decoding, asked, open_captioner
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.asker import REPLY_TOKENS
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import is_refusal, yes_or_no
from v2t_eval.judge.subject import Shown
from v2t_eval.measure import ClipLimits, one_thread
from v2t_eval.roundtrip.trip import Trip
from v2t_eval.semantics.prompt_questions import Asked, questions
from v2t_eval.semantics.sources import GRAMMAR

REFEREE = "referee"
READS = ("place", "kind", "color", "size", "motion", "direction", "speed", "to_color")  # what the referee tells
_REFEREE_VERSION = "2"
_NO_ANSWER = ("REFUSED", "UNPARSABLE")  # replies of a model that was reached: it would say the same again
_ASK = (
    "This is all that is known of a video: {caption}\n{question} Answer from that text alone with yes or no; answer "
    '"unknown" where the text does not say.'
)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """Whether the wanted answer was given, None without an answer; what was said, with the chance that decided, or why
    nothing was; and that chance."""

    right: bool | None
    said: str = ""
    chance: float | None = None

    @property
    def told(self) -> str:
        """In words."""
        mark = {True: " ✓", False: " ✗", None: ""}[self.right]
        return f"{self.said}{mark}"


class Answers:
    """All answers of a round trip; a context manager.

    Args:
        folder: where `answers.jsonl` lies.
        judge, reader: None for nobody.
        source: where the questions come from, see `v2t_eval.semantics.sources`.
        limits: what one clip may cost.
        show_progress: on stderr.
    """

    def __init__(
        self,
        folder: Path,
        judge: Judge | None,
        reader: CaptionerLike | None,
        *,
        source: str = GRAMMAR,
        limits: ClipLimits | None = None,
        show_progress: bool = False,
    ) -> None:
        self.limits = limits or ClipLimits()
        self.judge, self.reader, self.source, self.show_progress = judge, reader, source, show_progress
        self._journal = Journal(folder / "answers.jsonl")
        self._known: dict[str, dict[str, Any]] = {}
        self._content: dict[Path, str] = {}
        self._stack = ExitStack()
        self._judge_key = "" if judge is None else text_key(repr(sorted(judge.fingerprint().items())).encode())

    def __enter__(self) -> Answers:
        self._journal.path.parent.mkdir(parents=True, exist_ok=True)
        self._stack.enter_context(self._journal)
        for entry, _ in self._journal.replay():
            self._known |= {each["key"]: each for each in _lasting([entry])}
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def watch(self, wanted: Sequence[tuple[Trip, Sequence[Asked]]]) -> None:
        """Let judge and referee look at clips, each decoded once, where an answer is missing.

        Raises:
            KeyboardInterrupt: stopped; answers so far are kept. MissingDependencyError: no judge, no decoder.
        """
        todo = [(trip, each) for trip, each in wanted if trip.path is not None and self._missing(trip, each)]
        if not todo:
            return
        with (
            Stopping() as stop,
            DecoderPool(1, self.limits.of_decoder()) as pool,
            Progress(len(todo), "clips", enabled=self.show_progress) as bar,
        ):
            for trip, questions in todo:
                if stop():
                    raise KeyboardInterrupt
                self._journal.append(_lasting(self._look(pool, trip, questions)))
                bar.advance(1, "asked")

    def read(self, wanted: Iterable[tuple[str, Sequence[Asked]]]) -> None:
        """Let the reader answer from captions in plain English, where an answer is missing.

        Raises:
            KeyboardInterrupt: stopped; answers so far are kept. MissingDependencyError: no such model.
        """
        if self.reader is None:
            return
        todo = {
            key: (caption, one)
            for caption, questions in wanted
            for one in questions
            if (key := self._reader_key(caption, one)) not in self._known
        }
        if not todo:
            return
        self.reader.load()
        with Stopping() as stop, Progress(len(todo), "captions", enabled=self.show_progress) as bar:
            for key, (caption, one) in todo.items():
                if stop():
                    raise KeyboardInterrupt
                self._journal.append(_lasting([self._keep(key, self._read(caption, one))]))
                bar.advance(1, "read")

    def questions(self, prompt: str) -> tuple[Asked, ...]:
        """The questions of a prompt, parents first."""
        return questions(prompt, self.source)

    def from_clip(self, trip: Trip, one: Asked) -> Reply:
        """What the judge answered."""
        if self.judge is None or trip.path is None:
            return Reply(right=None, said="nobody was asked")
        return self._reply(self._judge_key_of(trip, one))

    def by_referee(self, trip: Trip, one: Asked) -> Reply:
        """What the referee reads; no answer where it cannot, or where it is nothing that it reads."""
        if trip.path is None or one.kind not in READS or not one.value:
            return Reply(right=None, said="not read")
        entry = self._known.get(self._referee_key(trip), {})
        said = entry.get("read", {}).get(one.kind)
        return Reply(right=None, said="not read") if said is None else Reply(right=said == one.value, said=said)

    def by_reader(self, caption: str, one: Asked) -> Reply:
        """What the language model read in a caption."""
        return self._reply(self._reader_key(caption, one))

    # --- keys
    def _content_of(self, trip: Trip) -> str:
        path = trip.path or Path()
        if path not in self._content:
            self._content[path] = content_key(path)
        return f"{self._content[path]}|{trip.start_s}|{trip.end_s}"

    def _judge_key_of(self, trip: Trip, one: Asked) -> str:
        return text_key(f"{self._judge_key}|{self._content_of(trip)}|{_told(one.question)}".encode())

    def _referee_key(self, trip: Trip) -> str:
        return f"{REFEREE}/{_REFEREE_VERSION}|{self._content_of(trip)}"

    def _reader_key(self, caption: str, one: Asked) -> str:
        name = "" if self.reader is None else f"{self.reader.name}@{self.reader.revision}"
        return text_key(f"{name}|{_ASK}|{caption}|{_told(one.question)}".encode("utf-8", "surrogatepass"))

    def _missing(self, trip: Trip, questions: Sequence[Asked]) -> bool:
        asks = self.judge is not None and any(self._judge_key_of(trip, one) not in self._known for one in questions)
        reads = any(one.kind in READS and one.value for one in questions)
        return asks or (reads and self._referee_key(trip) not in self._known)

    # --- asking
    def _look(self, pool: DecoderPool, trip: Trip, questions: Sequence[Asked]) -> list[dict[str, Any]]:
        keys = {self._judge_key_of(trip, one): one for one in questions} if self.judge is not None else {}
        todo = {key: one for key, one in keys.items() if key not in self._known}
        reads = any(one.kind in READS and one.value for one in questions)
        try:
            spec = SampleSpec.every_frame(trip.start_s, trip.end_s)
            frames = pool.decode(trip.path or Path(), spec)
            made = []
            if reads and self._referee_key(trip) not in self._known:
                with one_thread():
                    read = _read_back(frames)
                made.append(self._keep(self._referee_key(trip), {"read": read}))
            if self.judge is not None and todo:
                self.judge.load()
                with one_thread():
                    answers = self.judge.answer(Shown(frames=frames), [one.question for one in todo.values()])
                for key, answer in zip(todo, answers, strict=True):
                    right = answer.right
                    told = {"right": right, "said": _said(answer)}
                    made.append(self._keep(key, told | ({} if answer.chance is None else {"chance": answer.chance})))
            return made
        except ItemError as error:
            return [self._keep(key, {"right": None, "said": error.code}) for key in todo]

    def _read(self, caption: str, one: Asked) -> dict[str, Any]:
        if self.reader is None:
            return {"right": None, "said": "nobody was asked"}
        text = _ASK.format(caption=caption, question=one.question.question)
        tokens = int(getattr(self.reader, "reply_tokens", REPLY_TOKENS))
        try:
            said = self.reader.answer([asked(text)], Decoding(max_new_tokens=tokens))[0].text.strip()
        except ItemError as error:
            return {"right": None, "said": error.code}
        verdict = yes_or_no(said)
        if verdict is None:
            unknown = "unknown" in said.lower()
            code = "unknown" if unknown else "REFUSED" if is_refusal(said) else "UNPARSABLE"
            return {"right": False if unknown else None, "said": code}  # a caption that does not say has lost it
        return {"right": ("yes" if verdict else "no") == one.question.answer, "said": "yes" if verdict else "no"}

    def _keep(self, key: str, told: Mapping[str, Any]) -> dict[str, Any]:
        self._known[key] = {"key": key, **told}
        return self._known[key]

    def _reply(self, key: str) -> Reply:
        entry = self._known.get(key)
        if entry is None:
            return Reply(right=None, said="not asked")
        return Reply(right=entry["right"], said=entry["said"], chance=entry.get("chance"))


def open_reader(name: str | None, device: str) -> CaptionerLike | None:
    """The language model of that name, not loaded; None for none."""
    return None if name is None else open_captioner(name, device=device)


def _lasting(entries: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries that another run would find again."""
    return [entry for entry in entries if "read" in entry or entry["right"] is not None or entry["said"] in _NO_ANSWER]


def _said(answer: Answer) -> str:
    """The answer with its chance; else what a model that was asked said instead, or why it could not be asked."""
    if answer.status == "answered":
        return answer.told()
    return {"refused": "REFUSED", "unparsable": "UNPARSABLE"}.get(answer.status, answer.code or answer.status)


def _read_back(frames: Frames) -> dict[str, str]:
    """What the referee reads of the first figure, by kind of fact; nothing of a clip too short or too small for it."""
    try:
        read = read_back(frames.pixels, frames.times_s)
    except ValueError:
        return {}
    figure = read.figures[0] if read.figures else FigureRead()
    found = {"place": read.place, "motion": None if figure.motion is None else motion_of(figure.motion)}
    found |= {name: getattr(figure, name) for name in READS if name not in found}
    return {name: value for name, value in found.items() if value is not None}


def _told(question: Question) -> str:
    return "|".join((*question.texts, question.answer, *question.choices, str(question.begins)))
