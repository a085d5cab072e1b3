"""Compositional: does the clip bind what the prompt says to the right things? One figure a kind of composition.

In: frames and a prompt, or `questions` of the row; the judge, sources of questions and dependencies are those of
`question_score`. Out: for each of T2V-CompBench's seven kinds (arXiv:2407.14505, see `v2t_eval.semantics.composition`)
that prompts ask for, the mean over clips of the share of its questions that count as right; a question counts as right
when what it depends on does too, so that no attribute is right of a thing that is not there. A clip's value is the mean
over its kinds. The benchmark's own programs look with detectors and trackers; here the same is asked of a judge, whose
accuracy on each kind is in docs/ranking.md. `prompts=FOLDER`: the benchmark's files of prompts; a prompt of them is of
its file's kind alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from statistics import fmean
from typing import Any

from cineloop.errors import ItemError
from cineloop.log import printable
from cineloop.world.language.read_text import parse_whole
from v2t_eval.core.measurement import NOTHING_ASKED, Evidence, Observation
from v2t_eval.core.metric import Figure, Summary, mean_of
from v2t_eval.core.sample import Sample
from v2t_eval.judge.question import Question, from_row
from v2t_eval.metrics import question_score
from v2t_eval.metrics.question_score import Evaluation, evaluate
from v2t_eval.semantics.composition import KINDS, kinds_of, prompt_kinds, with_answers, with_parents
from v2t_eval.semantics.dimension import count_no_answers, domain_notes, num_outside
from v2t_eval.semantics.sources import QuestionSet

_LEAST = 5  # clips of a kind from which its figure says something


@dataclass(frozen=True, kw_only=True)
class Settings(question_score.Settings):
    """Attributes in addition to those of `question_score`:

    prompts: folder of prompts with a file a kind, such as `prompts` of T2V-CompBench; "" finds the kinds by the
        questions.
    """

    prompts: str = ""


class Metric(question_score.Metric):
    name = "compositional"
    detects = "attributes, actions and motions on the wrong thing, wrong numbers and sides, changes that do not happen"
    misses = "kinds that the judge is at chance on, see docs/ranking.md; whatever no question is about"
    version = 1
    Settings = Settings

    def measure(self, sample: Sample) -> Evidence:
        """`value`, and of each kind its `score`, the `chance` that all of it is as asked, and its questions.

        Raises:
            ItemError: NOTHING_ASKED, the prompt has no question of a kind; UNAUDITED, the judge may not be asked.
        """
        judge, questions = self.ready(), list(self.question_set(sample).questions)
        kinds = kinds_of(questions, self._kind_of(sample))
        if not kinds:
            raise ItemError(
                f"{sample.id}: the prompt {printable(str(sample.prompt), 80)!r} has no question of a kind",
                code=NOTHING_ASKED,
                hint="questions=openai:URL makes questions of any prompt",
            )
        asked = with_parents(questions, [id for ids in kinds.values() for id in ids])
        if self._is_closed(sample):
            asked = with_answers(asked)
        judge.askable(sample, asked)
        evaluation = evaluate(judge, sample, asked, threshold=self.settings.threshold, mode=self.settings.mode)
        scores = {kind: one for kind, ids in kinds.items() if (one := _score(evaluation, asked, ids)) is not None}
        if not scores:
            first = evaluation.answers[0]
            raise ItemError(f"{sample.id}: no question of a kind got an answer: {first.message}", code=first.code)
        return {
            "value": fmean(one["score"] for one in scores.values()),
            "kinds": scores,
            "outside": judge.is_outside(sample),
        }

    def question_set(self, sample: Sample) -> QuestionSet:
        """The row's questions, or claims made of the prompt, parents first.

        Raises:
            ItemError: as `question_score`.
        """
        given = sample.row.get("questions")
        if given is not None:
            return QuestionSet(questions=tuple(from_row(given, sample.id)))
        return self.source.questions_of(sample.require("prompt"))

    def _is_closed(self, sample: Sample) -> bool:
        """Whether claims are asked with all answers of the cartoon world to choose from, see `with_answers`."""
        made = sample.row.get("questions") is None and self.by_grammar and self.wording != "yes_no"
        return made and self.ready().has_likelihoods and parse_whole(sample.prompt or "") is not None

    def _kind_of(self, sample: Sample) -> str | None:
        """The kind of a prompt that stands in a file of a kind, or that its row names; None for any other."""
        named = sample.row.get("kind")
        if not self.settings.prompts:
            return named if named in KINDS else None
        return prompt_kinds(self.settings.prompts).get(str(sample.prompt or "").strip())

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """The mean over clips and, of each kind that was asked for, over its clips."""
        figures: dict[str, Figure] = {self.name: self.mean(rows)}
        for kind in KINDS:
            of = [row for row in rows if kind in row.evidence["kinds"]]
            if of:
                figures[kind] = mean_of(of, [row.evidence["kinds"][kind]["score"] for row in of])
        about = self.describe()
        few = [kind for kind, figure in figures.items() if figure.n < _LEAST]
        notes = [f"judge {about['judge']}, {about['answers']}"]
        notes += [f"fewer than {_LEAST} clips: {', '.join(few)}"] if few else []
        return Summary(
            headline=self.name,
            figures=figures,
            items=[{"id": row.id, "value": row.evidence["value"], "kinds": row.evidence["kinds"]} for row in rows],
            counts=count_no_answers(self._failures) | {"outside": num_outside(rows, self._failures)},
            notes=(*notes, *domain_notes(about, rows, self._failures)),
        )


def _score(evaluation: Evaluation, asked: Sequence[Question], ids: Sequence[str]) -> dict[str, Any] | None:
    """Of the questions of one kind the share that counts as right, and the chance that they and all they depend on are
    answered as wanted, assumed independent; None where none was answered."""
    counted = [evaluation.counts[id] for id in ids if id in evaluation.counts]
    if not counted:
        return None
    whole = {question.id for question in with_parents(asked, ids)}
    chances = [answer.chance for answer in evaluation.answers if answer.question.id in whole]
    listed = [
        {"question": answer.question.question, "wanted": answer.question.answer, "answer": answer.text,
         "right": evaluation.right.get(answer.question.id)}
        for answer in evaluation.answers if answer.question.id in whole
    ]  # fmt: skip
    return {"score": fmean(counted), "chance": prod(c for c in chances if c is not None), "questions": listed}
