"""Prompt facts: which facts of its prompt a caption states, both read by the cartoon world's grammar.

In: a prompt and a caption of the clip that was made from it. Out: `recall`, the share of the prompt's facts that the
caption states rightly, `f1` with what the caption makes up, and the share of each kind of fact. What the prompt leaves
open the caption may fill in; rules: `v2t_eval.text.prompt_facts`. Prompts in plain English are not expected to be read.
"""

from __future__ import annotations

from collections.abc import Sequence

from cineloop.errors import ItemError
from v2t_eval.core.measurement import NOTHING_ASKED, Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.text.prompt_facts import KINDS, match_facts


class Metric(BaseMetric):
    name = "prompt_facts"
    level = "text"
    needs = ("prompt", "caption")
    detects = "who, what colour, how many, where, what happens, which way, in what order: as the prompt asks for it"
    misses = "prompts outside the cartoon world, and what the captioner does not see or makes up"

    def measure(self, sample: Sample) -> Evidence:
        """`value` (recall), `f1`, `made_up`, and `facts` as [kind, value, the caption's value].

        Raises:
            ItemError: NOTHING_ASKED, the grammar reads no fact in the prompt.
        """
        matches = match_facts(sample.require("prompt"), sample.require("caption"))
        if matches is None:
            raise ItemError(f"{sample.id}: the grammar reads no fact in the prompt", code=NOTHING_ASKED)
        facts = [[fact.kind, fact.value, fact.caption_value] for fact in matches.facts]
        return {"value": matches.recall, "f1": matches.f1, "made_up": matches.made_up, "facts": facts}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """Means over captions, and shares by kind of fact."""
        figures = {"recall": self.mean(rows), "f1": self.mean(rows, "f1")}
        for kind in KINDS:
            matches = [
                [caption_value == value for k, value, caption_value in row.evidence["facts"] if k == kind]
                for row in rows
            ]
            if any(matches):
                figures[kind] = share_of(rows, [sum(each) for each in matches], [len(each) for each in matches])
        items = [{"id": row.id, **row.evidence} for row in rows]
        return Summary(
            headline="recall", figures=figures, items=items, counts={"made_up": sum(i["made_up"] for i in items)}
        )
