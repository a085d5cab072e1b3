"""Yes or no: how likely a question about a clip is to be answered with yes, by any captioner of `v2t`.

In: a clip and a question. Out: a probability. Of a model that tells how likely an answer is (`likelihoods`, see
`v2t.captioners.local`) it is P(yes) / (P(yes) + P(no)), both in small and in capital letters. Of any other it is the
share of yes among its replies to three wordings. A reply that is neither yes nor no is no vote; where none is left the
question has no answer: an error of its own (REFUSED, UNPARSABLE), never a no. A question with a closed list of answers
is told by the likelihood of each against that of all, or by what a reply picks (`choice`).
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

from v2t.base.errors import ItemError, UsageError
from v2t.captioners import CaptionerLike, Decoding, asked, open_captioner
from v2t.judge.answer import Answer, Status
from v2t.judge.question import Question
from v2t.judge.replies import is_refusal, read_choice, yes_or_no
from v2t.judge.subject import Subject
from v2t.video.frames import Frames
from v2t.video.sample import choose, motion_energy
from v2t.world.words import PROMPTS

YES, NO = ("yes", "Yes"), ("no", "No")
WORDINGS = ("{}", "{} Answer yes or no.", "Answer yes or no: {}")
_REPLY, _CAPTION = Decoding(max_new_tokens=16), Decoding(max_new_tokens=64)
_OPEN: dict[str, Judge] = {}
_LOCK = threading.RLock()


class YesNo(Protocol):
    """Who answers yes or no."""

    def probability(self, subject: Subject, question: str) -> float:
        """How likely yes is, 0 to 1.

        Raises:
            ItemError: REFUSED or UNPARSABLE, there is no answer; or what the captioner or the clip raises.
        """

    def fingerprint(self) -> dict[str, str]:
        """What decides the answers: model, revision, wording, frames."""


class Judge:
    """A captioner as `YesNo`.

    Args:
        captioner: loaded when first asked.
    """

    def __init__(self, captioner: CaptionerLike) -> None:
        self.captioner = captioner
        self.name = captioner.name
        self.tells_likelihoods = hasattr(captioner, "likelihoods")
        self._loaded = False

    def load(self) -> None:
        """Bring the captioner into memory.

        Raises:
            MissingDependencyError: its model or server is not at hand.
        """
        with _LOCK:
            if not self._loaded:
                self.captioner.load()
                self._loaded = True

    def fingerprint(self) -> dict[str, str]:
        """See `YesNo.fingerprint`."""
        if self.tells_likelihoods:
            how = f"likelihood of {'/'.join(YES)} against {'/'.join(NO)}"
        else:
            how = f"share of yes among {len(WORDINGS)} wordings: {' | '.join(WORDINGS)}"
        dtype = str(getattr(self.captioner, "dtype", ""))
        return {"judge": f"{self.name}@{self.captioner.revision}", "answers": how, "frames": str(self.captioner.spec),
                "dtype": dtype}  # fmt: skip

    def probability(self, subject: Subject, question: str) -> float:
        """See `YesNo.probability`."""
        if self.tells_likelihoods:
            logs = self.log_likelihoods(subject, question, (*YES, *NO))
            yes, no = math.fsum(map(math.exp, logs[:2])), math.fsum(map(math.exp, logs[2:]))
            if yes + no <= 0:
                raise ItemError(f"{self.name} finds neither yes nor no possible: {question!r}", code="UNPARSABLE")
            return yes / (yes + no)
        replies = [self.reply(subject, wording.format(question)) for wording in WORDINGS]
        votes = [verdict for verdict in map(yes_or_no, replies) if verdict is not None]
        if not votes:
            code = "REFUSED" if any(map(is_refusal, replies)) else "UNPARSABLE"
            raise ItemError(f"{self.name} says neither yes nor no to {question!r}: {replies[0][:80]!r}", code=code)
        return sum(votes) / len(votes)

    def answer(self, subject: Subject, questions: Sequence[Question]) -> list[Answer]:
        """What the captioner answers to each question, in their order; nothing is raised for a question without one.

        Raises:
            ItemError: the clip cannot be read.
        """
        return [self._answer(subject, question) for question in questions]

    def _answer(self, subject: Subject, question: Question) -> Answer:
        try:
            if question.choices:
                shares = self.choice(subject, question.question, question.choices, begins=question.begins)
                chances = dict(zip(question.choices, shares, strict=True))
            elif question.answer in ("yes", "no"):
                yes = self.probability(subject, question.question)
                chances = {"yes": yes, "no": 1 - yes}
            else:
                return Answer(question=question, said=self.reply(subject, question.question))
        except ItemError as error:
            if error.code not in ("REFUSED", "UNPARSABLE"):
                raise
            status: Status = "refused" if error.code == "REFUSED" else "unparsable"
            return Answer(question=question, status=status, lost=1, code=error.code, message=error.message)
        chance = chances[question.answer]
        said = max(chances, key=lambda each: chances[each])
        return Answer(question=question, said=said, chance=chance, raw=chance, chances=chances)

    def choice(self, subject: Subject, question: str, choices: Sequence[str], *, begins: bool = False) -> list[float]:
        """For each choice how likely it is the answer, or `begins` it, summing to 1; of a captioner that does not tell
        likelihoods, 1 for the one its reply picks.

        Raises:
            ItemError: REFUSED or UNPARSABLE, the reply picks none.
        """
        if self.tells_likelihoods:
            logs = self.log_likelihoods(subject, question, choices, whole=not begins)
            shares = [math.exp(log - max(logs)) for log in logs]
            return [share / math.fsum(shares) for share in shares]
        reply = self.reply(subject, f"{question} Choose one: {', '.join(choices)}.")
        picked = read_choice(reply, choices)
        if picked is None:
            code = "REFUSED" if is_refusal(reply) else "UNPARSABLE"
            raise ItemError(
                f"{self.name} picks none of {len(choices)} answers to {question!r}: {reply[:80]!r}", code=code
            )
        return [float(number == picked) for number in range(len(choices))]

    def log_likelihoods(
        self, subject: Subject, question: str, answers: Sequence[str], *, whole: bool = False
    ) -> list[float]:
        """For each answer the log-probability that a reply begins with it, or is it and no more (`whole`).

        Raises:
            UsageError: a captioner that does not tell.
        """
        if not self.tells_likelihoods:
            raise UsageError(f"{self.name} does not tell how likely an answer is")
        self.load()
        captioner: Any = self.captioner
        key = ("watched", self.name, captioner.revision)
        watched = subject.shared(key, lambda: captioner.watch(self.view(subject)))
        return [float(value) for value in captioner.likelihoods(watched, question, answers, whole=whole)]

    def reply(self, subject: Subject, question: str) -> str:
        """The captioner's answer in words."""
        self.load()
        return self.captioner.answer([asked(question, self.view(subject))], _REPLY)[0].text.strip()

    def captions_of(self, subject: Subject, indices: Sequence[int]) -> list[str]:
        """What the captioner says of each frame of `indices`, shown one by one, in small letters."""
        self.load()
        frames = subject.frames
        pictures = {i: replace(frames, pixels=frames.pixels[i : i + 1], times_s=frames.times_s[:1]) for i in indices}
        told = {
            i: self.captioner.answer([asked(PROMPTS["short"], picture)], _CAPTION)[0] for i, picture in pictures.items()
        }
        return [told[i].text.lower() for i in indices]

    def is_outside(self, subject: Subject) -> bool:
        """Whether the captioner warned, when it looked, that the clip is unlike those it was trained on."""
        watched = subject.memo.get(("watched", self.name, self.captioner.revision))
        return any(warning.startswith("OUT_OF_DOMAIN") for warning in getattr(watched, "warnings", ()))

    def view(self, subject: Subject) -> Frames:
        """The frames the captioner wants to see."""

        def make() -> Frames:
            frames, spec = subject.frames, self.captioner.spec
            given: dict[str, Any] = {}
            if spec.sampler == "keyframe":
                given = {"keyframe_times_s": frames.times_s[:0]}  # which are intra frames is not known any more
            elif spec.sampler == "motion":
                gray = frames.pixels.mean(axis=-1)  # (T, H, W)
                given = {"motion_times_s": frames.times_s, "motion_energy": motion_energy(gray)}
            picked = choose(spec, frames.times_s, frames.duration_s, **given)
            return replace(frames, pixels=frames.pixels[picked], times_s=frames.times_s[picked])

        return subject.shared(("view", str(self.captioner.spec)), make)


def open_judge(name: str) -> Judge:
    """The judge called `v2t` (the starter) or `v2t:MODEL`, any model of `v2t --model`; the same object each time.

    Raises:
        UsageError: another name. MissingDependencyError: no such model.
    """
    family, _, model = name.partition(":")
    if family != "v2t":
        raise UsageError(f"a judge is called v2t or v2t:MODEL, got {name!r}")
    with _LOCK:
        if name not in _OPEN:
            _OPEN[name] = Judge(open_captioner(model or "starter"))
        return _OPEN[name]
