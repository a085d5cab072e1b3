"""A judge: any captioner of `v2t`, asked about a clip, with its answers as calibrated chances.

In: a clip and questions. Out: `Answer`s. What is heard (`asker`) in several wordings is meant over these and mapped to
a chance (`calibration`), where a calibration lies beside the model's weights or is given. A reply that cannot be read
is counted; where none is left the question has no answer: a status of its own, never a no. So has a question whose
wanted answer the judge was not shown to know (`Calibration.audited`), and such answers are offered to no question. A
clip in which nothing moves answers by itself (`stillness`). What was heard is kept with the clip while it is in memory;
beyond that, answers are evidence of the metric that asked (`v2t_eval.cache`).
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from pathlib import Path

from cineloop.errors import UsageError
from cineloop.files import text_key
from cineloop.log import logger
from cineloop.video.still import frozen
from v2t.backends import OUT_OF_DOMAIN, VideoLM, open_backend
from v2t_eval.judge import calibration as calibrations
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.asker import Asker
from v2t_eval.judge.calibration import Calibration
from v2t_eval.judge.heard import Heard, answer_of, asking
from v2t_eval.judge.question import Question
from v2t_eval.judge.stillness import of_still_clip
from v2t_eval.sample import Sample

_OPEN: dict[tuple[str, Path | None, str], Judge] = {}
_LOCK = threading.RLock()


class Judge(Asker):
    """A captioner that answers questions.

    Args:
        captioner, votes, reply_tokens: see `Asker`.
        calibration: maps what it holds to chances; None takes the one beside the model's weights, if it fits them.

    Raises:
        UsageError: votes below 1, or a calibration of another model.
    """

    def __init__(
        self,
        captioner: VideoLM,
        *,
        calibration: Calibration | None = None,
        votes: int | None = None,
        reply_tokens: int | None = None,
    ) -> None:
        super().__init__(captioner, votes=votes, reply_tokens=reply_tokens)
        if calibration is not None and not calibration.fits(self.identity):
            raise UsageError(
                f"this calibration is one of {calibration.judge}, the judge is {self.identity}",
                hint="run `v2t-eval calibrate` with this model",
            )
        self.calibration = calibration or self._beside()

    def fingerprint(self) -> dict[str, str]:
        """What decides the answers: model, revision, how answers are told, frames, calibration."""
        calibration = "none" if self.calibration is None else self.calibration.key
        return {**self.about(), "calibration": calibration, "stillness": "frozen rule 1"}

    def answer(self, sample: Sample, questions: Sequence[Question]) -> list[Answer]:
        """The answer to each question, in their order; nothing is raised for a question without one.

        Raises:
            ItemError: the clip cannot be read.
        """
        settled = [self._settled(sample, question) for question in questions]
        asked = [each for each in settled if isinstance(each, Question)]
        heard = iter(self._heard(sample, asked))
        return [
            each if isinstance(each, Answer) else answer_of(question, next(heard), self.calibration)
            for question, each in zip(questions, settled, strict=True)
        ]

    def _settled(self, sample: Sample, question: Question) -> Answer | Question:
        """The answer, where no model is needed or may be asked; else the question with the answers to offer."""
        ruled = of_still_clip(question)
        if ruled is not None and sample.shared("frozen", lambda: frozen(sample.frames.pixels)):
            return ruled
        found = question if self.calibration is None else self.calibration.audited(question)
        if isinstance(found, Question):
            return found
        return Answer(
            question=question, status="unaudited", asked=0, code="UNAUDITED",
            message=f"not asked {question.question!r}: the judge was not shown to know {question.answer!r} ({found})",
        )  # fmt: skip

    def _heard(self, sample: Sample, questions: Sequence[Question]) -> list[Heard]:
        """What is heard of each question, in their order; what was heard before is not asked again."""
        known: dict[Hashable, Heard] = sample.shared(("heard", self._stamp), dict)
        wanted = {asking(question): question for question in questions}
        missing = {key: question for key, question in wanted.items() if key not in known}
        if missing:
            known |= dict(zip(missing, self.ask(sample, list(missing.values())), strict=True))
        return [known[asking(question)] for question in questions]

    def may_ask(self, sample: Sample, question: Question) -> bool:
        """Whether the question gets an answer other than that the judge was not audited for it."""
        settled = self._settled(sample, question)
        return isinstance(settled, Question) or settled.status != "unaudited"

    def is_outside(self, sample: Sample) -> bool:
        """Whether the captioner warned, when it looked, that the clip is unlike those it was trained on."""
        return any(warning.code == OUT_OF_DOMAIN for warning in self.warnings(sample))

    @property
    def _stamp(self) -> str:
        return text_key(repr(sorted(self.about().items())).encode("utf-8", "surrogatepass"))

    def _beside(self) -> Calibration | None:
        """The calibration that lies in the model's folder, if it is one of these weights and wordings."""
        folder = self.captioner.folder
        path = folder / calibrations.FILE_NAME if folder else None
        if path is None or not path.exists():
            return None
        try:
            found = calibrations.load(path)
        except UsageError as problem:
            logger.warning("the judge is not calibrated: %s", problem)
            return None
        if not found.fits(self.identity):
            logger.warning("the judge is not calibrated: judge.json is one of %s, not %s", found.judge, self.identity)
            return None
        return found


def open_judge(name: str, *, calibration: Path | None = None, device: str = "auto") -> Judge:
    """The judge called `v2t` (the starter) or `v2t:MODEL`, any model of `v2t --model`; the same object each time.

    Args:
        name: see there.
        calibration: a file of `v2t-eval calibrate`, instead of the one beside the model's weights.
        device: "auto" or what torch calls it.

    Raises:
        UsageError: another name, or no calibration of that model. MissingDependencyError: no such model.
    """
    family, _, model = name.partition(":")
    if family != "v2t":
        raise UsageError(f"a judge is called v2t or v2t:MODEL, got {name!r}")
    with _LOCK:
        key = (name, calibration, device)
        if key not in _OPEN:
            _OPEN[key] = Judge(
                open_backend(model or "starter", device=device),
                calibration=calibrations.load(calibration) if calibration else None,
            )
        return _OPEN[key]


def release() -> None:
    """Forget the judges that were opened, so that their memory is free once nobody holds them."""
    with _LOCK:
        _OPEN.clear()
