"""Caption questions: the questions of a prompt, answered from the caption of its clip alone.

In: a prompt and a caption. Out: `score`, the share of answered questions with the wanted answer, where a child of a
wrong parent counts as wrong (DSG, arXiv:2310.18235). Captions of the cartoon world's prompts are read by its grammar.
Any other caption is read by a language model (`reader`), which answers yes, no or unknown; a caption that does not say
is wrong, and a refusal or a reply that cannot be read is no answer. It is the counterpart of `question_score`, which
asks the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cineloop.errors import ItemError
from v2t.backends import Decoding, GenerateRequest, Output, VideoLM, open_backend, user_turn
from v2t.backends.batching import Batcher
from v2t_eval.core import models
from v2t_eval.core.measurement import NOTHING_ASKED, Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary
from v2t_eval.core.sample import Sample
from v2t_eval.judge.answer import REFUSALS
from v2t_eval.judge.replies import is_refusal, yes_or_no
from v2t_eval.semantics import VERSION
from v2t_eval.semantics.prompt_questions import (
    PromptQuestion,
    from_caption,
    needs_reader,
    questions,
    share,
    wanted_answer,
)
from v2t_eval.semantics.sources import GRAMMAR, open_source

_ASK = (
    "This is all that is known of a video: {caption}\n{question} Answer from that text alone with yes or no; answer "
    '"unknown" where the text does not say.'
)
UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Attributes:
    questions: source of the questions of a prompt, see `v2t_eval.semantics.sources`.
    reader: the language model that reads captions in plain English, any model of `v2t --model`; "none" for none.
    """

    questions: str = GRAMMAR
    reader: str = "none"


class Metric(BaseMetric):
    name = "caption_questions"
    level = "text"
    needs = ("prompt", "caption")
    detects = "which facts of the prompt the caption states, one by one"
    misses = "what the captioner did not see or made up; what no question is about"
    requires = "nothing for prompts of the cartoon world; for others reader=MODEL"
    shared_version = VERSION
    Settings = Settings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.reader: VideoLM | None = None

    def prepare(self) -> None:
        open_source(self.settings.questions)
        if self.reader is None and self.settings.reader != "none":
            self.reader = open_backend(self.settings.reader, device=models.chosen_device())
        if self.reader is not None:
            self.reader.load()

    def describe(self) -> dict[str, str]:
        reader = {} if self.reader is None else {"reader": f"{self.reader.name}@{self.reader.revision}", "asks": _ASK}
        return open_source(self.settings.questions).fingerprint() | reader

    def measure(self, sample: Sample) -> Evidence:
        """`value`, `answered`, and `questions`: kind, question, wanted, answer and right (None without an
        answer).

        Raises:
            ItemError: NOTHING_ASKED or what the source raises; NO_READER; what the reader raises.
        """
        prompt, caption = sample.require("prompt"), sample.require("caption")
        listed = questions(prompt, self.settings.questions)
        if not listed:
            raise ItemError(f"{sample.id}: the prompt has no questions", code=NOTHING_ASKED)
        if needs_reader(prompt, self.settings.questions):
            results = self._read(sample.id, caption, listed)
        else:
            answers = from_caption(prompt, caption)
            results = [
                (answer or "nothing", answer == wanted_answer(one)) for answer, one in zip(answers, listed, strict=True)
            ]
        value = share(listed, [right for _, right in results])
        if value is None:
            raise ItemError(f"{sample.id}: none of {len(listed)} questions got an answer", code=results[0][0])
        rows = [
            {
                "kind": one.kind,
                "question": one.question.question,
                "wanted": wanted_answer(one),
                "answer": answer,
                "right": right,
            }
            for one, (answer, right) in zip(listed, results, strict=True)
        ]
        answered = sum(row["right"] is not None for row in rows) / len(rows)
        return {"value": value, "answered": answered, "questions": rows}

    def _read(self, id: str, caption: str, listed: Sequence[PromptQuestion]) -> list[tuple[str, bool | None]]:
        if self.reader is None:
            raise ItemError(
                f"{id}: a caption in plain English is read by a language model", code="NO_READER", hint="reader=MODEL"
            )
        texts = [_ASK.format(caption=caption, question=one.question.question) for one in listed]
        decoding = Decoding(max_new_tokens=self.reader.reply_tokens)
        requests = [GenerateRequest(messages=user_turn(text), decoding=decoding) for text in texts]
        replies = Batcher(self.reader).generate_many(requests)
        return [_verdict(reply, one.question.answer) for reply, one in zip(replies, listed, strict=True)]

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        return Summary(
            headline="score",
            figures={"score": self.mean(rows), "answered": self.mean(rows, "answered")},
            items=[{"id": row.id, **row.evidence} for row in rows],
            counts={"questions": sum(len(row.evidence["questions"]) for row in rows)},
        )


def _verdict(output: Output | ItemError, answer: str) -> tuple[str, bool | None]:
    """The answer, and whether it is the wanted one; None without an answer."""
    if isinstance(output, ItemError):
        if output.code in REFUSALS:
            return output.code, None
        raise output
    reply = output.text.strip()
    verdict = yes_or_no(reply)
    if verdict is None:
        if UNKNOWN in reply.lower():
            return UNKNOWN, False  # a caption that does not say has lost it
        return ("REFUSED" if is_refusal(reply) else "UNPARSABLE"), None
    return ("yes" if verdict else "no"), ("yes" if verdict else "no") == answer
