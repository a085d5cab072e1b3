"""VQAScore: how likely is "Yes" when a model is asked whether the clip shows the text?

In: frames and a prompt; any captioner of `v2t`. Out: 0 to 1. Lin et al. 2024 (arXiv:2404.01291): P("Yes") as the reply
to `Does this figure show "{text}"? Please answer yes or no.`; the wording is part of the fingerprint. `mode=compat` is
that and nothing else; otherwise "yes" in small letters counts too, and a captioner that
has no likelihoods gives the share of yes among three wordings. The starter was never taught that question, so
for cartoon prompts it is asked the world's own ones, one for each fact of the prompt, and the value is the geometric
mean of the calibrated chances of the wanted answers: yes against no, to the left among all ways to go. Answers it was
not shown to know are not asked for, and counted; of a prompt with a word that it does not know, or where these are more
than half, there is no value: UNAUDITED.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cineloop.errors import UsageError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Summary
from v2t_eval.core.sample import Sample
from v2t_eval.judge.asker import YES
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question
from v2t_eval.semantics.dimension import JudgedMetric, chances, claim_rows, count_no_answers, domain_notes, num_outside

FIGURE = 'Does this figure show "{}"? Please answer yes or no.'
_LEAST = 1e-12  # probability below which a logarithm says no more


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Attributes:
    judge: v2t (the starter) or v2t:MODEL, any model of `v2t --model`.
    questions: who takes a prompt apart where it is not asked as one: "grammar" for the cartoon world's prompts, a
        language model (openai:URL[#model], a folder or hub id) or a FILE.jsonl, see `v2t_eval.semantics.sources`.
    wording: "figure" is VQAScore's question, "world" the cartoon world's; "auto" is world for the starter alone.
    mode: "compat" is the published form, P("Yes") under VQAScore's question; "fixed" see the module's head.
    """

    judge: str = "v2t"
    questions: str = "grammar"
    wording: Literal["auto", "figure", "world"] = "auto"
    mode: Literal["fixed", "compat"] = "fixed"

    def __post_init__(self) -> None:
        if self.mode == "compat" and self.wording == "world":
            raise ValueError("mode=compat asks VQAScore's own question: wording=figure or auto, not world")
        if self.questions != "grammar" and (self.mode == "compat" or self.wording == "figure"):
            raise ValueError(f"questions={self.questions} has no effect on VQAScore's one question: leave it out")


class Metric(JudgedMetric):
    name = "vqascore"
    needs = ("frames", "prompt")
    detects = "whether the clip shows what the prompt says, as far as the model understands both"
    misses = "whatever the model does not see; models say yes too readily, so compare with mismatched prompts"
    requires = "nothing for the cartoon world; for other clips judge=v2t:MODEL"
    version = 5
    Settings = Settings

    @property
    def compat(self) -> bool:
        """The published form."""
        return bool(self.settings.mode == "compat")

    def ready(self) -> Judge:
        """See `JudgedMetric.ready`.

        Raises:
            UsageError: compat with a judge without likelihoods.
        """
        judge = super().ready()
        if self.compat and not judge.has_likelihoods:
            raise UsageError(
                f"vqascore in mode=compat is a likelihood, and the judge {self.settings.judge} has none",
                hint="a local model, or mode=fixed",
            )
        return judge

    @property
    def wording(self) -> str:
        asked = self.settings.wording
        if self.compat:
            return "figure"
        if not self.by_grammar:
            return "world"
        return ("world" if self.settings.judge == "v2t" else "figure") if asked == "auto" else str(asked)

    def describe(self) -> dict[str, str]:
        stated = repr(FIGURE) if self.wording == "figure" else "geometric mean over the prompt's questions"
        return super().describe() | {"wording": stated}

    def measure(self, sample: Sample) -> Evidence:
        """`value`, and the probability of each question where there are several."""
        judge, prompt = self.ready(), str(sample.require("prompt"))
        if self.wording == "figure":
            question = FIGURE.format(prompt)
            if judge.has_likelihoods:  # P(Yes) as it is: neither set against no nor calibrated
                value = math.fsum(
                    map(math.exp, judge.log_likelihoods(sample, question, YES[1:] if self.compat else YES))
                )
            else:
                (value,) = chances(judge, sample, [Question(id="figure", question=question)], raw=True)
            return {"value": min(value, 1.0), "questions": {}, "outside": judge.is_outside(sample)}
        wanted = self.source.questions_of(prompt, closed=judge.has_likelihoods).questions
        asked = judge.askable(sample, wanted)
        values = chances(judge, sample, asked)
        by_question = {question.question: value for question, value in zip(asked, values, strict=True)}
        value = math.exp(math.fsum(math.log(max(p, _LEAST)) for p in by_question.values()) / len(by_question))
        return {
            "value": value,
            "questions": by_question,
            "claims": claim_rows(asked, values),
            "unaudited": len(wanted) - len(asked),
            "outside": judge.is_outside(sample),
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        about = self.describe()
        notes = [f"judge {about['judge']}, {about['answers']}; wording: {about['wording']}"]
        left_out = sum(row.evidence.get("unaudited", 0) for row in rows)
        not_asked = {"unaudited": left_out} if left_out else {}
        if left_out:
            notes.append(f"{left_out} questions were not asked: the judge was not shown to know their answer")
        return Summary(
            headline=self.name,
            figures={self.name: self.mean(rows)},
            items=[{"id": row.id, "value": row.evidence["value"], **_clip_item(row)} for row in rows],
            counts=count_no_answers(self._failures) | not_asked | {"outside": num_outside(rows, self._failures)},
            notes=(*notes, *domain_notes(about, rows, self._failures)),
        )


def _clip_item(row: Observation) -> dict[str, Any]:
    kept = {key: row.evidence.get(key) for key in ("questions", "claims", "outside")}
    return {key: value for key, value in kept.items() if value}
