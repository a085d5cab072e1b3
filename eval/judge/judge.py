"""A judge: any captioner of `v2t`, with its answers to questions about a clip as calibrated probabilities.

In: a clip and questions. Out: `Answer`s. Votes (`asker`) are averaged over wordings and mapped to a probability
(`calibration`), where a calibration is stored next to the model's weights or given. Replies that cannot be parsed are
counted; where all are, the question has no answer: a status of its own, never a "no". So has a question with a word
outside the vocabulary that the model declares (`v2t_eval.judge.vocabulary`), and one whose wanted answer failed the
audit (`Calibration.apply`), and such answers are offered to no question. Clips in which nothing moves are answered by
rule (`stillness`). Votes are cached with the clip while it is in memory; beyond that, answers are evidence of the
metric that asked (`v2t_eval.core.cache`).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from cineloop.errors import ItemError, UsageError
from cineloop.files import text_key
from cineloop.log import logger
from cineloop.world.language.plain_questions import NONE, PLAIN
from v2t.backends import OUT_OF_DOMAIN, VideoLM, open_backend
from v2t_eval.core import models
from v2t_eval.core.measurement import UNAUDITED
from v2t_eval.core.sample import Sample
from v2t_eval.frames.still import frozen
from v2t_eval.judge import calibration as calibrations
from v2t_eval.judge.answer import Answer, Votes, answer_of, vote_key
from v2t_eval.judge.asker import Asker
from v2t_eval.judge.calibration import Calibration
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import normalise
from v2t_eval.judge.vocabulary import Vocabulary, vocabulary_of

NOT_DECLARED = "not declared"  # in a fingerprint: no vocabulary


class Judge(Asker):
    """A captioner that answers questions. Without a `calibration` it takes the one next to the model's weights, if it
    fits them.
    """

    def __init__(self, captioner: VideoLM, *, calibration: Calibration | None = None) -> None:
        super().__init__(captioner)
        if calibration is not None and not calibration.fits(self.identity):
            raise UsageError(
                f"this calibration was fitted for {calibration.judge}, the judge is {self.identity}",
                hint="run `v2t-eval calibrate` with this model",
            )
        self.calibration = calibration or self._stored_calibration()

    def fingerprint(self) -> dict[str, str]:
        """What determines the answers: model, revision, form of answers, frames, calibration, vocabulary."""
        calibration = "none" if self.calibration is None else self.calibration.key
        words = NOT_DECLARED if self.vocabulary is None else self.vocabulary.key
        return {**self.about(), "calibration": calibration, "stillness": "frozen rule 1", "vocabulary": words}

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words that the model declares to know; None where it declares none."""
        return vocabulary_of(self.captioner.abilities)

    def answer(self, sample: Sample, questions: Sequence[Question]) -> list[Answer]:
        """The answer to each question, in their order; nothing is raised for a question without one.

        Raises:
            ItemError: the clip cannot be read.
        """
        settled = [self._answer_or_question(sample, question) for question in questions]
        asked = [each for each in settled if isinstance(each, Question)]
        heard = iter(self._votes(sample, asked))
        return [
            each if isinstance(each, Answer) else answer_of(question, next(heard), self.calibration)
            for question, each in zip(questions, settled, strict=True)
        ]

    def _answer_or_question(self, sample: Sample, question: Question) -> Answer | Question:
        """The answer, where no model is needed or may be asked; else the question with the answers to offer."""
        if why := self.why_unknown(question):
            message = f"not asked {question.question!r}: {why}"
            return Answer(question=question, status="unaudited", asked=0, code=UNAUDITED, message=message)
        ruled = of_still_clip(question)
        if ruled is not None and sample.once("frozen", lambda: frozen(sample.frames.pixels)):
            return ruled
        applied = question if self.calibration is None else self.calibration.apply(question)
        if isinstance(applied, Question):
            return applied
        return Answer(
            question=question, status="unaudited", asked=0, code=UNAUDITED,
            message=f"not asked {question.question!r}: the judge failed the audit on {question.answer!r} ({applied})",
        )  # fmt: skip

    def _votes(self, sample: Sample, questions: Sequence[Question]) -> list[Votes]:
        """The votes on each question, in their order; cached ones are not asked for again."""
        known: dict[Hashable, Votes] = sample.once(("heard", self._stamp), dict)
        wanted = {vote_key(question): question for question in questions}
        missing = {key: question for key, question in wanted.items() if key not in known}
        if missing:
            known |= dict(zip(missing, self.ask(sample, list(missing.values())), strict=True))
        return [known[vote_key(question)] for question in questions]

    def why_unknown(self, question: Question) -> str:
        """The words of a question that the judge does not know, in a sentence; "" where it knows all."""
        why = self.vocabulary.why_unknown(question) if self.vocabulary else ""
        return why and f"the judge {self.name} {why}"

    def why_unread(self, prompt: str) -> str:
        """The same of a prompt of which the grammar makes questions, since it makes none about unknown words."""
        why = self.vocabulary.why_unread(prompt) if self.vocabulary else ""
        return why and f"the judge {self.name} {why}"

    def askable(self, sample: Sample, questions: Sequence[Question]) -> list[Question]:
        """The questions that may be asked, or are answered by rule.

        Raises:
            ItemError: UNAUDITED, the rest would say nothing of what is asked for: one has a word that the judge does
                not know, or it was not shown to know the answers of more than half. Or the clip cannot be read.
        """
        if why := next(filter(None, map(self.why_unknown, questions)), ""):
            raise unaudited_error(sample, why)
        settled = [self._answer_or_question(sample, question) for question in questions]
        kept = [
            question
            for question, each in zip(questions, settled, strict=True)
            if isinstance(each, Question) or each.status != "unaudited"
        ]
        if 2 * len(kept) < len(questions) or not kept:
            what = f"{len(questions) - len(kept)} of the {len(questions)} answers that are asked for"
            raise unaudited_error(sample, f"the judge {self.name} was not shown to know {what}")
        return kept

    def is_outside(self, sample: Sample) -> bool:
        """Whether the captioner warned that the clip is out of its training domain."""
        return any(warning.code == OUT_OF_DOMAIN for warning in self.warnings(sample))

    @property
    def _stamp(self) -> str:
        return text_key(repr(sorted(self.about().items())).encode("utf-8", "surrogatepass"))

    def _stored_calibration(self) -> Calibration | None:
        """The calibration in the model's folder, if it fits these weights and wordings."""
        folder = self.captioner.folder
        path = folder / calibrations.FILE_NAME if folder else None
        if path is None or not path.exists():
            return None
        try:
            stored = calibrations.load(path)
        except UsageError as problem:
            logger.warning("the judge is not calibrated: %s", problem)
            return None
        if not stored.fits(self.identity):
            logger.warning(
                "the judge is not calibrated: judge.json was fitted for %s, not %s", stored.judge, self.identity
            )
            return None
        return stored


def unaudited_error(sample: Sample, why: str) -> ItemError:
    """The error of a sample that a judge cannot be asked about."""
    return ItemError(f"{sample.id}: {why}", code=UNAUDITED, hint="name a judge that does: v2t:MODEL")


def open_judge(name: str, *, device: str = "auto") -> Judge:
    """The judge called `v2t` (the starter) or `v2t:MODEL`, any model of `v2t --model`; the same object each time
    until `v2t_eval.core.models.release`.

    Raises:
        UsageError: another name. MissingDependencyError: no such model.
    """
    model = model_of(name)
    return models.open_model(("judge", name, device), lambda: Judge(open_backend(model, device=device)))


def model_of(name: str) -> str:
    """The model of a judge by the name that `open_judge` takes; opens nothing.

    Raises:
        UsageError: another name.
    """
    family, _, model = name.partition(":")
    if family != "v2t":
        raise UsageError(f"expected a judge `v2t` or `v2t:MODEL`, got {name!r}", hint=f"v2t:{name}, if that is a model")
    return model or "starter"


RULE = "every frame is the first one, up to what a codec does to it, so the figure stands still"
_TRUE = {"motion": "still", "direction": NONE, "speed": NONE}


def of_still_clip(question: Question) -> Answer | None:
    """The answer to a plain question, or a plain claim, about motion, direction or speed; None for any other."""
    if question.about not in _TRUE:
        return None
    plain, value = PLAIN[question.about], _TRUE[question.about]
    if question.form == "choice" and plain.answers[value] in question.choices:
        text, wanted = plain.answers[value], question.answer
    elif question.form == "yes_no" and question.question in plain.claims.values():
        text, wanted = "yes" if plain.claims.get(value) == question.question else "no", normalise(question.answer)
    else:
        return None
    chance = float(text == wanted)
    return Answer(question=question, text=text, chance=chance, raw=chance, chances={text: 1.0}, asked=0, rule=RULE)
