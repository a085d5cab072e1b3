"""Multiple choice: which of the offered answers a free reply picks, and whether it is the right one.

In: the choices, a reply in free text, the right choice (its letter or text), and where it is there a reply to the same
question without the clip (`blind_answer`). Out: the accuracy, in which a reply that cannot be read and a refusal are
wrong (as MMBench and lmms-eval count: a model must not gain by mumbling where it is unsure), in addition the accuracy
of the replies that could be read, of guessing and of the blind replies. How a reply is read, first rule first: it
is the text of a choice; it states a letter or number ("the answer is C", "option 2"); it begins with one ("B",
"(b) blue"); it holds the text of exactly one choice, at its beginning ("No, it is not") or without a negation.
"""

from __future__ import annotations

from collections.abc import Sequence

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Figure, Summary, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.judge.replies import is_refusal, plain, read_choice

READ = "accuracy of read replies"
ALL = "accuracy, unread as wrong"
VERDICTS = ("right", "wrong", "unreadable", "refused")


class Metric(BaseMetric):
    name = "multiple_choice"
    level = "text"
    needs = ("choices", "answer", "reference")
    uses = ("blind_answer",)
    detects = "which of the offered choices a reply picks"
    misses = "whether the clip was needed at all (see the blind replies), and reasons given with the choice"
    version = 2

    def measure(self, sample: Sample) -> Evidence:
        """Verdict on the reply and on the blind reply (None where there is none), and the number of choices.

        Raises:
            ItemError: BAD_ROW, fewer than two choices, equal ones, a reply that is no text; BAD_REFERENCE, the right
                choice is not one of them.
        """
        choices, reply, reference = (sample.require(name) for name in self.needs)
        if not isinstance(choices, list | tuple) or not all(isinstance(one, str) for one in choices):
            raise ItemError(f"{sample.id}: choices must be a list of texts, got {choices!r}", code="BAD_ROW")
        if not 2 <= len(choices) <= 26 or len({plain(one) for one in choices}) < len(choices):
            raise ItemError(f"{sample.id}: expected 2 to 26 choices that differ, got {choices!r}", code="BAD_ROW")
        blind = sample.get("blind_answer")
        if not isinstance(reply, str) or not isinstance(blind, str | None):
            raise ItemError(f"{sample.id}: an answer must be a text", code="BAD_ROW")
        true = read_choice(reference, choices) if isinstance(reference, str) else None
        if true is None:
            raise ItemError(
                f"{sample.id}: the reference {reference!r} is not one of the {len(choices)} choices",
                code="BAD_REFERENCE",
                hint="give the letter or the text of the right choice",
            )
        return {
            "verdict": _verdict(reply, choices, true),
            "picked": read_choice(reply, choices),
            "true": true,
            "num_choices": len(choices),
            "blind": None if blind is None else _verdict(blind, choices, true),
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Accuracies, chance and blind replies; in the headline an unread reply is wrong."""
        verdicts = [row.evidence["verdict"] for row in rows]
        counts = {name: verdicts.count(name) for name in VERDICTS}
        read = [row for row in rows if row.evidence["verdict"] in ("right", "wrong")]
        items = [{"id": row.id, "value": float(row.evidence["verdict"] == "right"), **row.evidence} for row in rows]
        chance = sum(1 / row.evidence["num_choices"] for row in rows) / len(rows)
        figures = {ALL: _accuracy(rows, "verdict")}
        figures |= {READ: _accuracy(read, "verdict")} if read else {}
        figures["chance"] = Figure(value=chance, low=chance, high=chance, n=len(rows))
        blind = [row for row in rows if row.evidence["blind"] is not None]
        notes: tuple[str, ...] = ()
        if blind:
            figures["blind accuracy, unread as wrong"] = _accuracy(blind, "blind")
            counts["blind"] = len(blind)
        else:
            notes = ("without replies that did not see the clip (blind_answer), what words alone give is not known",)
        return Summary(headline=ALL, figures=figures, items=items, counts=counts, notes=notes)


def _verdict(reply: str, choices: Sequence[str], true: int) -> str:
    picked = read_choice(reply, choices)
    if picked is not None:
        return "right" if picked == true else "wrong"
    return "refused" if is_refusal(reply) else "unreadable"


def _accuracy(rows: Sequence[Observation], key: str) -> Figure:
    right = [row.evidence[key] == "right" for row in rows]
    return share_of(rows, right, detail={"right": sum(right)})
