"""Ask a captioner about a clip, by the likelihood of answers or by votes.

In: a clip and questions. Out: `Votes`, the votes. For a model that returns the likelihood of an answer (`likelihoods`,
see `v2t.backends.local`) "yes" is P(yes) / (P(yes) + P(no)), in lower and upper case, and each answer of a closed list
its likelihood divided by that of all, in every wording of the question. Any other model is asked several times, with
other wordings and orders of the choices, and each reply is a vote (`ballots`); so are numbers and open answers, which
cannot be listed, of every model.
"""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from cineloop.errors import ItemError, Notice, UsageError
from cineloop.video.frames import Frames
from cineloop.video.sample import choose, motion_energy
from cineloop.world.language.words import PROMPTS
from v2t.backends import Decoding, GenerateRequest, VideoLM, user_turn
from v2t.backends.batching import Batcher
from v2t_eval.core.sample import Sample
from v2t_eval.judge.answer import Votes, unreadable
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import is_refusal, normalise, read_choice, read_number, without_thoughts, yes_or_no

YES, NO = ("yes", "Yes"), ("no", "No")
VOTES = 3
_CAPTION = Decoding(max_new_tokens=64)
_LOCK = threading.RLock()


class Asker:
    """Asks a captioner questions. It is loaded when there is something to ask."""

    def __init__(self, captioner: VideoLM) -> None:
        self.captioner = captioner
        self.name, self.has_likelihoods = captioner.name, captioner.has_likelihoods
        self._batcher = Batcher(captioner)
        self._loaded = False

    @property
    def identity(self) -> str:
        """name@revision."""
        return f"{self.name}@{self.captioner.revision}"

    def load(self) -> None:
        """Load the captioner.

        Raises:
            MissingDependencyError: its model or server is not available.
        """
        with _LOCK:
            if not self._loaded:
                self.captioner.load()
                self._loaded = True

    def about(self) -> dict[str, str]:
        """What determines the votes: model, revision, form of answers, frames."""
        if self.has_likelihoods:
            how = f"likelihood of {'/'.join(YES)} against {'/'.join(NO)}, or of all choices, "
            how += "over all wordings"
        else:
            how = f"votes in {VOTES} wordings and orders of {self.captioner.reply_tokens} tokens at most: {FORMS}"
        frames, dtype = str(self.captioner.spec), self.captioner.dtype
        return {"judge": self.identity, "answers": how, "frames": frames, "dtype": dtype}

    def ask(self, sample: Sample, questions: Sequence[Question]) -> list[Votes]:
        """The votes on each question, in their order.

        Raises:
            ItemError: the clip cannot be read.
        """
        by_weight = [self.has_likelihoods and question.form in ("choice", "yes_no") for question in questions]
        weighed = iter(self._by_weight(sample, [q for q, is_so in zip(questions, by_weight, strict=True) if is_so]))
        voted = iter(self._by_vote(sample, [q for q, is_so in zip(questions, by_weight, strict=True) if not is_so]))
        return [next(weighed if is_so else voted) for is_so in by_weight]

    def log_likelihoods(self, sample: Sample, question: str, answers: Sequence[str]) -> list[float]:
        """For each answer the log-probability that a reply begins with it.

        Raises:
            UsageError: the captioner returns no likelihoods.
        """
        if not self.has_likelihoods:
            raise UsageError(f"{self.name} does not return the likelihood of an answer")
        logs = self._log_likelihoods(self._encoded_clip(sample), [(question, tuple(answers), False)])[0]
        if isinstance(logs, ItemError):
            raise logs
        return logs

    def captions_of(self, sample: Sample, indices: Sequence[int]) -> list[str]:
        """The caption of each frame of `indices`, shown one by one, in lower case."""
        self.load()
        frames = sample.frames
        pictures = {i: replace(frames, pixels=frames.pixels[i : i + 1], times_s=frames.times_s[:1]) for i in indices}
        requests = {
            i: GenerateRequest(messages=user_turn(PROMPTS["short"], p), decoding=_CAPTION) for i, p in pictures.items()
        }
        captions = {i: self._batcher.generate(request).text.lower() for i, request in requests.items()}
        return [captions[i] for i in indices]

    def view(self, sample: Sample) -> Frames:
        """The frames that the captioner's sampler selects."""

        def make() -> Frames:
            frames, spec = sample.frames, self.captioner.spec
            given: dict[str, Any] = {}
            if spec.sampler == "keyframe":
                given = {"keyframe_times_s": frames.times_s[:0]}  # intra frames are unknown after decoding
            elif spec.sampler == "motion":
                gray = frames.pixels.mean(axis=-1)  # (T, H, W)
                given = {"motion_times_s": frames.times_s, "motion_energy": motion_energy(gray)}
            picked = choose(spec, frames.times_s, frames.duration_s, **given)
            return replace(frames, pixels=frames.pixels[picked], times_s=frames.times_s[picked])

        return sample.once(("view", str(self.captioner.spec)), make)

    def warnings(self, sample: Sample) -> set[Notice]:
        """The captioner's warnings about a clip; the caller may add to them."""
        return sample.once(("warnings", self.identity), set)

    def _encoded_clip(self, sample: Sample) -> Any:
        """The clip as encoded by the captioner, shared by all questions."""
        view = self.view(sample)
        self.load()
        watched = sample.once(("watched", self.identity), lambda: self.captioner.encode_clip(view))
        self.warnings(sample).update(getattr(watched, "warnings", ()))
        return watched

    def _by_weight(self, sample: Sample, questions: list[Question]) -> list[Votes]:
        if not questions:
            return []
        asks, owners = [], []
        for number, question in enumerate(questions):
            answers = question.choices or (*YES, *NO)
            for text in question.texts:
                asks.append((text, answers, bool(question.choices) and not question.begins))
                owners.append(number)
        heard = [Votes() for _ in questions]
        for owner, (text, answers, _), logs in zip(
            owners, asks, self._log_likelihoods(self._encoded_clip(sample), asks), strict=True
        ):
            vote = None if isinstance(logs, ItemError) else _shares(answers, logs)
            if vote is not None:
                heard[owner] = heard[owner].with_vote(vote)
                continue
            none = ItemError(f"{self.name} gives every answer probability 0: {text!r}", code="UNPARSABLE")
            heard[owner] = heard[owner].with_loss(logs if isinstance(logs, ItemError) else none)
        return heard

    def _log_likelihoods(
        self, watched: Any, asks: list[tuple[str, tuple[str, ...], bool]]
    ) -> list[list[float] | ItemError]:
        """Log-likelihoods for each ask, in one batch where possible; an error belongs to its ask alone."""
        if len(asks) > 1:
            try:
                return list(self.captioner.batch_likelihoods(watched, asks))
            except ItemError:
                pass  # raised by one of them: ask each alone
        outcomes: list[list[float] | ItemError] = []
        for text, answers, whole in asks:
            try:
                outcomes.append(
                    [float(each) for each in self.captioner.likelihoods(watched, text, answers, whole=whole)]
                )
            except ItemError as problem:
                outcomes.append(problem)
        return outcomes

    def _by_vote(self, sample: Sample, questions: list[Question]) -> list[Votes]:
        if not questions:
            return []
        cast = [(number, ballot) for number, q in enumerate(questions) for ballot in ballots(q, VOTES)]
        view = self.view(sample)
        self.load()
        decoding = Decoding(max_new_tokens=self.captioner.reply_tokens)
        requests = [GenerateRequest(messages=user_turn(ballot.text, view), decoding=decoding) for _, ballot in cast]
        replies = self._batcher.generate_many(requests, batch_size=1)
        heard = [Votes() for _ in questions]
        for (number, ballot), reply in zip(cast, replies, strict=True):
            if isinstance(reply, ItemError):
                heard[number] = heard[number].with_loss(reply)
                continue
            self.warnings(sample).update(reply.warnings)
            text = without_thoughts(reply.text)
            vote = read(ballot, questions[number], text)
            heard[number] = (
                heard[number].with_loss(unreadable(text, ballot.text, self.name))
                if vote is None
                else heard[number].with_vote({vote: 1.0})
            )
        return heard


def _shares(answers: Sequence[str], logs: Sequence[float]) -> dict[str, float] | None:
    """The share of each answer, summing to 1, spellings of yes and no merged; None where all have probability 0."""
    top = max(logs)
    if top == -math.inf:
        return None
    weights: dict[str, float] = {}
    for answer, log in zip(answers, logs, strict=True):
        name = answer.lower() if tuple(answers) == (*YES, *NO) else answer
        weights[name] = weights.get(name, 0.0) + math.exp(log - top)
    total = math.fsum(weights.values())
    return {name: share / total for name, share in weights.items()}


_YES_NO = ("{}", "{} Answer yes or no.", "Answer yes or no: {}")
_NUMBER = ("{}", "{} Answer with a number.", "Answer with one number: {}")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FORMS = " | ".join((*_YES_NO, *_NUMBER, "{} Choose one: (A) ... (B) ..."))


@dataclass(frozen=True, kw_only=True)
class Ballot:
    """One way to ask a question; `choices` in the order they are offered."""

    text: str
    choices: tuple[str, ...] = ()


def ballots(question: Question, votes: int) -> list[Ballot]:
    """At most `votes` different ways to ask the question, the plainest first; an open one varies in its wording
    only."""
    texts = question.texts
    if question.form == "open":
        return [Ballot(text=text) for text in texts[:votes]]
    if question.form == "choice":
        orders = _orders(question.choices, votes)
        listed = [_ballot(texts[text], orders[order]) for text, order in _pairs(len(texts), len(orders), votes)]
    else:
        forms = _YES_NO if question.form == "yes_no" else _NUMBER
        pairs = _pairs(len(texts), len(forms), votes)
        listed = [Ballot(text=forms[form].format(texts[text])) for text, form in pairs]
    return list(dict.fromkeys(listed))


def read(ballot: Ballot, question: Question, reply: str) -> str | None:
    """The vote of a reply: yes or no, a choice, a number, or its own words; None where it cannot be parsed."""
    if question.form == "choice":
        picked = read_choice(reply, ballot.choices)
        return None if picked is None else ballot.choices[picked]
    if question.form == "yes_no":
        verdict = yes_or_no(reply)
        return None if verdict is None else "yes" if verdict else "no"
    if question.form == "number":
        number = read_number(reply)
        return None if number is None else str(number)
    return None if is_refusal(reply) or not normalise(reply) else reply


def _ballot(text: str, order: tuple[str, ...]) -> Ballot:
    if len(order) > len(_LETTERS):
        return Ballot(text=f"{text} Choose one: {', '.join(order)}.", choices=order)
    listed = " ".join(f"({letter}) {choice}" for letter, choice in zip(_LETTERS, order, strict=False))
    return Ballot(text=f"{text} Choose one: {listed}.", choices=order)


def _pairs(texts: int, others: int, number: int) -> list[tuple[int, int]]:
    """Which wording goes with which form or order: at most `number` pairs, both changing from one to the next."""
    return [((each + shift) % texts, each) for shift in range(texts) for each in range(others)][:number]


def _orders(choices: tuple[str, ...], number: int) -> list[tuple[str, ...]]:
    """The choices in order, reversed, then random orders and their reverses, deterministic."""
    draw, orders = random.Random("|".join(choices)), [choices, choices[::-1]]
    for _ in range(8 * number):  # few choices have few orders
        if len(orders) >= number:
            break
        order = tuple(draw.sample(choices, len(choices)))
        orders += [order, order[::-1]] if order not in orders else []
    return orders[:number]
