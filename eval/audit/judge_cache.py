"""A judge whose answers are evidence: no question is asked twice about the same clip.

In: planted clips and questions. Out: `Answer`s, cached as all evidence is: under the judge's fingerprint,
the clip's content and the question. Frames are made only when a question is left to ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from v2t_eval.core.executor import Executor
from v2t_eval.core.measurement import Evidence, Measurement
from v2t_eval.core.models import one_thread
from v2t_eval.core.sample import Sample
from v2t_eval.core.worker import Job
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question

_FIELDS = ("status", "chance", "text", "code")  # of an answer


class JudgeAnswer(Measurement):
    """Defines the evidence: a judge's answer to the `question` of a row; another `repeat` of the row asks again."""

    name = "judge_answer"
    needs = ("frames",)
    uses = ("question", "repeat")

    def __init__(self, judge: Judge) -> None:
        super().__init__()
        self.judge = judge

    def describe(self) -> dict[str, str]:
        return self.judge.fingerprint()

    def measure(self, sample: Sample) -> Evidence:
        (answer,) = self.judge.answer(sample, [Question(**sample.row["question"])])
        return _evidence(answer)


class CachedJudge:
    """A judge over an executor and its cache; `num_asked` counts the questions asked in this run."""

    def __init__(self, judge: Judge, executor: Executor) -> None:
        self.judge, self.executor, self.num_asked = judge, executor, 0
        self.has_likelihoods = judge.has_likelihoods
        executor.measurements.append(JudgeAnswer(judge))
        self._number = len(executor.measurements) - 1

    def ask(self, sample: Sample, questions: Sequence[Question], *, repeat: int = 0) -> list[Answer]:
        """The answers in the order of the questions, all new ones in one batch; cached ones have only `_FIELDS`.
        Another `repeat` asks again.

        Raises:
            ItemError: the clip cannot be read.
        """
        jobs: dict[str, tuple[Job, Question]] = {}
        keys = []
        for question in questions:
            row = {"question": asdict(question), "repeat": repeat}
            job = self.executor.open(replace(sample, row=row), [self._number])
            keys.append(job.keys[self._number])
            jobs.setdefault(keys[-1], (job, question))
        todo = [(job, question) for job, question in jobs.values() if job.todo]
        failed: dict[str, Answer] = {}  # asked again by the next run
        if todo:
            self.judge.load()
            with one_thread():
                answers = self.judge.answer(sample, [question for _, question in todo])
            sample.memo.clear()
            self.num_asked += len(todo)
            for (job, _), answer in zip(todo, answers, strict=True):
                if answer.status == "failed":
                    failed[job.keys[self._number]] = answer
                else:
                    job.evidence[self._number] = _evidence(answer)
                    self.executor.keep(job)
        return [
            failed[key] if key in failed else Answer(question=question, **jobs[key][0].evidence[self._number])
            for key, question in zip(keys, questions, strict=True)
        ]


def _evidence(answer: Answer) -> Evidence:
    return {name: getattr(answer, name) for name in _FIELDS}
