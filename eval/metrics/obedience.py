"""Obedience: does a clip of one cartoon figure show what its prompt asks for? The referee's verdict, factor by factor.

In: frames and a prompt of the cartoon world with one figure. Out: shares by factor (place, colour, kind, size, action,
direction, speed, change of colour) and `joint`, the share of clips that show all that was asked for; what the referee
cannot read counts as wrong and is counted. `chance`: `joint` of the same clips under prompts of others. `read`: of what
the referee could read, the share that is as the prompt asks. Rules: `t2v.obedience`, the same as in training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from cineloop.errors import ItemError
from cineloop.world.referee.read import FigureRead, ReadBack
from t2v.obedience import FACTORS, FactorVerdict, PromptFactors, chance, compare, motion_of, prompt_factors
from v2t_eval.core.measurement import NOTHING_ASKED, Evidence, Observation
from v2t_eval.core.metric import BaseMetric, Summary, share_of
from v2t_eval.core.sample import Sample
from v2t_eval.semantics.detectors.world import VERSION, reading
from v2t_eval.semantics.prompt_questions import is_plain, questions, share

_OF_FIGURE = ("kind", "color", "size", "motion", "direction", "speed", "to_color")


class Metric(BaseMetric):
    name = "obedience"
    needs = ("frames", "prompt")
    detects = "who, what colour, how big, where, what it does, which way, how fast: of clips of the cartoon world"
    misses = "everything outside the cartoon world; prompts of several figures or of several events"

    def describe(self) -> dict[str, str]:
        return {"referee": f"version {VERSION}"}

    def measure(self, sample: Sample) -> Evidence:
        """`value` (joint), `factors`, `unread`, what was `prompt_factors`, what was `seen`, and `questions` about it.

        Raises:
            ItemError: NOTHING_ASKED, no prompt of one figure; TOO_SHORT, too few or too small frames.
        """
        prompt = sample.require("prompt")
        listed, want = questions(prompt), prompt_factors(None, prompt)
        if not is_plain(listed) or not any(asdict(want).values()):
            raise ItemError(f"{sample.id}: the prompt asks for nothing that the referee reads", code=NOTHING_ASKED)
        read = reading(sample)
        figure = read.figures[0] if read.figures else FigureRead()
        seen = {name: value for name in _OF_FIGURE if (value := getattr(figure, name)) is not None}
        seen |= {} if read.place is None else {"place": read.place}
        verdict = compare(read, want)
        read_values = seen | ({"motion": motion_of(seen["motion"])} if "motion" in seen else {})
        rows = [
            {"kind": one.kind, "wanted": one.value, "answer": read_values.get(one.kind, "not read"),
             "right": read_values[one.kind] == one.value if one.kind in read_values else None}
            for one in listed
        ]  # fmt: skip
        return {
            "value": float(bool(verdict["joint"])),
            "read": share(listed, [row["right"] for row in rows]),
            "factors": {name: right for name, right in verdict.factors.items() if right is not None},
            "unread": list(verdict.unread),
            "asked": {name: value for name, value in asdict(want).items() if value is not None},
            "seen": seen,
            "questions": rows,
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        figures = {"joint": self.mean(rows)}
        for factor in FACTORS:
            of = [row for row in rows if factor in row.evidence["factors"]]
            if of:
                unread = sum(factor in row.evidence["unread"] for row in of)
                figures[factor] = share_of(
                    of, [row.evidence["factors"][factor] for row in of], detail={"unread": unread}
                )
        if luck := _chance_verdicts(rows):
            shown = np.array([float(bool(verdict["joint"])) for verdict in luck]).reshape(-1, len(rows))
            figures["chance"] = share_of(rows, shown.mean(0))
        if known := [row for row in rows if row.evidence["read"] is not None]:
            figures["read"] = self.mean(known, "read")
        items = [{"id": row.id, **row.evidence} for row in rows]
        unread = sum(len(row.evidence["unread"]) for row in rows)
        return Summary(headline="joint", figures=figures, items=items, counts={"unread": unread})


def _chance_verdicts(rows: Sequence[Observation]) -> list[FactorVerdict]:
    """Verdicts of each clip under the prompts of the next few."""
    reads, requested = [], []
    for row in rows:
        seen: dict[str, Any] = dict(row.evidence["seen"])
        place = seen.pop("place", None)
        reads.append(ReadBack(place=place, figures=(FigureRead(**seen),)))
        requested.append(PromptFactors(**row.evidence["asked"]))
    return chance(reads, requested)
