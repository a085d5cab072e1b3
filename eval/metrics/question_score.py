"""Question scores: a judge answers questions about the prompt from the clip.

In: frames, and `questions` of the row ([{id, question, answer, parents, choices}], answer yes by default) or a prompt,
of which questions are made. Out: two figures. `accuracy`: the share of answers that are the wanted ones (TIFA,
arXiv:2303.11897). `dsg`: the same after every question whose parent is wrong was set to wrong too; those stay in the
denominator (DSG, arXiv:2310.18235; `mode=compat` as its package does it, the usual mode down the whole graph). An
answer is the wanted one when the judge's calibrated chance of it reaches the threshold; an open answer when it is that
in SQuAD's spelling. A question without an answer is counted (`refused`, `unparsable`; `unaudited`: the judge was not
shown to know that answer, so it is not asked) and leaves the denominator; `answered` is the share of questions that
have one. A clip of whose questions the judge may not be asked more than half, or of which one has a word that it does
not know, has no value: UNAUDITED. Parts of a prompt that the grammar does not know have no question: `asked` is the
share of a prompt's content words that some question is about, and each clip lists the parts left out (`nothing_asked`);
to a judge that declares its vocabulary such a prompt is UNAUDITED, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cineloop.errors import ItemError
from cineloop.log import printable
from v2t_eval.core.measurement import NOTHING_ASKED, UNAUDITED, Evidence, Observation
from v2t_eval.core.metric import Summary
from v2t_eval.core.sample import Sample
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Mode, Question, dsg, from_row, parents_first
from v2t_eval.semantics.dimension import JudgedMetric, claim_keys, domain_notes, num_outside
from v2t_eval.semantics.prompt_questions import is_plain, questions
from v2t_eval.semantics.sources import QuestionSet

_SHOWN = ("accuracy", "answered", "asked", "nothing_asked", "dropped", "questions", "outside")  # of a clip
_NO_ANSWER = ("REFUSED", "UNPARSABLE", "PROMPT_REFUSED", UNAUDITED)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Attributes:
    judge: v2t (the starter) or v2t:MODEL, any model of `v2t --model`.
    questions: source of the questions of a prompt: "grammar", a language model (openai:URL[#model], a folder or hub
        id), or a FILE.jsonl of questions as `v2t-eval questions` writes it (see `v2t_eval.semantics.sources`).
    wording: of questions made from a prompt: "yes_no" asks for yes or no; "world" asks of cartoon prompts where, which
        way, how big ..., with all answers of that world to choose from; "auto" is world for the starter alone. "plain"
        is world in questions that presuppose nothing (which way does the figure go?), where the prompt is of one figure
        that does one thing.
    threshold: chance of the wanted answer from which it is right, within 0 and 1.
    mode: what `dsg` takes from a parent: "compat" its own answer, as the published package does; "transitive" what it
        counts as, so that a wrong answer reaches all that hangs on it.
    """

    judge: str = "v2t"
    questions: str = "grammar"
    wording: Literal["auto", "yes_no", "world", "plain"] = "auto"
    threshold: float = 0.5
    mode: Literal["transitive", "compat"] = "transitive"

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be between 0 and 1, got {self.threshold}")


class Metric(JudgedMetric):
    name = "question_score"
    needs = ("frames",)
    uses = ("prompt", "questions")
    detects = "which facts of the prompt the clip shows, one by one"
    misses = "what no question is about; whatever the judge does not see"
    requires = "nothing for the cartoon world; for other clips judge=v2t:MODEL"
    version = 5
    Settings = Settings

    def describe(self) -> dict[str, str]:
        return super().describe() | {"wording": self.wording}

    @property
    def wording(self) -> str:
        """yes_no, world or plain."""
        asked = self.settings.wording
        return ("world" if self.settings.judge == "v2t" else "yes_no") if asked == "auto" else str(asked)

    def measure(self, sample: Sample) -> Evidence:
        """`accuracy` and `dsg` of the answered questions, and the outcome of each one."""
        judge, made = self.ready(), self.question_set(sample)
        asked = list(made.questions)
        judge.askable(sample, asked)
        evaluation = evaluate(judge, sample, asked, threshold=self.settings.threshold, mode=self.settings.mode)
        items = [_question_item(answer, evaluation, self.settings.threshold) for answer in evaluation.answers]
        broken = next((answer for answer in evaluation.answers if answer.status == "failed"), None)
        if broken is not None or not evaluation.right:
            first = broken or evaluation.answers[0]
            text = f"none of {len(asked)} questions got an answer: " if broken is None else ""
            raise ItemError(f"{sample.id}: {text}{first.message}", code=first.code)
        return {
            "accuracy": evaluation.accuracy,
            "dsg": evaluation.dsg,
            "answered": len(evaluation.right) / len(asked),
            "asked": made.coverage,
            "nothing_asked": list(made.left),
            "dropped": [[each.question, each.why] for each in made.dropped],
            "questions": items,
            "outside": judge.is_outside(sample),
        }

    def question_set(self, sample: Sample) -> QuestionSet:
        """The row's questions, or those made of the prompt, parents first.

        Raises:
            ItemError: BAD_QUESTIONS, as `from_row`; what `Source.questions_of` raises.
        """
        given = sample.row.get("questions")
        if given is not None:
            return QuestionSet(questions=tuple(from_row(given, sample.id)))
        if self.wording == "plain" and self.by_grammar and is_plain(plain := questions(sample.prompt or "")):
            return QuestionSet(questions=tuple(one.question for one in plain))
        closed = self.by_grammar and self.wording == "world" and self.ready().has_likelihoods
        return self.source.questions_of(sample.require("prompt"), closed=closed)

    def check(self, sample: Sample) -> None:
        if sample.row.get("questions") is None:
            sample.require("prompt")
        super().check(sample)

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Both scores, the share of questions that were answered, and why others were not."""
        items = [each for row in rows for each in row.evidence["questions"]]
        counts = {"questions": len(items)}
        for code in _NO_ANSWER:
            missing = sum(each["right"] is None and each["answer"] == code.lower() for each in items)
            missing += sum(failure["code"] == code for failure in self._failures)
            counts |= {code.lower(): missing} if missing else {}
        if lost := sum(each["lost"] for each in items):
            counts["lost_votes"] = lost  # replies that could not be read, of questions that other replies answered too
        about = self.describe()
        notes = [f"judge {about['judge']}, {about['answers']}"]
        figures = {key: self.mean(rows, key) for key in ("dsg", "accuracy", "answered")}
        read = [row for row in rows if row.evidence["asked"] is not None]
        left = [part for row in read for part in row.evidence["nothing_asked"]]
        if read:
            figures["asked"] = self.mean(read, "asked")
        for _, why in (each for row in rows for each in row.evidence["dropped"]):
            counts[f"dropped: {why}"] = counts.get(f"dropped: {why}", 0) + 1
        if left:
            counts["nothing_asked_parts"] = len(left)
            notes.append(
                f"{NOTHING_ASKED}: no question about {len(left)} parts of prompts, {some_of(left)}: the "
                "grammar does not know them; a language model makes questions with questions=openai:URL"
            )
        return Summary(
            headline="dsg",
            figures=figures,
            items=[{"id": row.id, "value": row.evidence["dsg"], **_rest(row)} for row in rows],
            counts=counts | {"outside": num_outside(rows, self._failures)},
            notes=(*notes, *domain_notes(about, rows, self._failures)),
        )


def _question_item(answer: Answer, evaluation: Evaluation, threshold: float) -> dict[str, Any]:
    """The report item of one question; `answer` is the likeliest one, or why there is none, `decision` that
    in words."""
    id = answer.question.id
    return {
        "id": id, "question": answer.question.question, "wanted": answer.question.answer,
        "answer": answer.text if answer.status == "answered" else answer.code.lower(),
        "decision": answer.summary(threshold), "chance": answer.chance, "spread": answer.spread, "lost": answer.lost,
        "right": evaluation.right.get(id), "counts": evaluation.counts.get(id), **claim_keys(answer.question),
    }  # fmt: skip


def _rest(row: Observation) -> dict[str, Any]:
    return {key: row.evidence[key] for key in _SHOWN}


def some_of(parts: Sequence[str], most: int = 3) -> str:
    """The first few, in quotes."""
    items = ", ".join(f'"{printable(part, 60)}"' for part in parts[:most])
    return f"{items}, ..." if len(parts) > most else items


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Answers and scores of the questions.

    Attributes:
        answers: one for each question, in the order the questions were given.
        right: by id, of the answered ones: whether the wanted answer is judged true.
        counts: by id, of the answered ones: whether the question counts as right given its parents.
    """

    answers: list[Answer]
    right: dict[str, bool]
    counts: dict[str, bool]

    @property
    def accuracy(self) -> float | None:
        """Share of answered questions with the wanted answer (TIFA), 0 to 1; None where none was answered."""
        return sum(self.right.values()) / len(self.right) if self.right else None

    @property
    def dsg(self) -> float | None:
        """The same after wrong parents have been counted, 0 to 1; None where nothing counts."""
        return sum(self.counts.values()) / len(self.counts) if self.counts else None


def evaluate(
    judge: Judge, sample: Sample, questions: Sequence[Question], *, threshold: float = 0.5, mode: Mode = "transitive"
) -> Evaluation:
    """Ask all questions at once and score them. A wanted answer is right from a chance of `threshold`; `mode`: see
    `dsg`.

    Raises:
        ItemError: the clip cannot be read. CycleError: questions depend on each other in a cycle.
    """
    ordered = parents_first(questions)
    answers = dict(zip([q.id for q in ordered], judge.answer(sample, ordered), strict=True))
    verdicts = {id: answer.is_right(threshold) for id, answer in answers.items()}
    right = {id: verdict for id, verdict in verdicts.items() if verdict is not None}
    return Evaluation(answers=[answers[q.id] for q in questions], right=right, counts=dsg(ordered, right, mode))
