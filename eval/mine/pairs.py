"""Preference pairs: of several captions of one clip one that says more of what is true, and one that says less.

In: captions with the judge's answers or the truth. Out: rows for stage `preference` of `v2t train`
(`v2t.data.preferences`), and counts of clips without a pair. By the truth the chosen caption has fewer errors (facts
stated wrongly, missed or made up). By the judge it has fewer denied claims and no fewer confirmed ones: what a judge
cannot be asked is what a caption leaves out, so saying less must not be preferred. Of the pairs of a clip the one that
differs most is taken; a caption that was not judged is in none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Literal

from v2t_eval.mine.claims import MinedCaption

By = Literal["facts", "judge"]
PAIR, TIE, SINGLE, UNJUDGED = "pairs", "ties", "one_caption", "unjudged"


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """Rows of `preferences.jsonl`, and clips by outcome: pairs, ties, one_caption (or the same in different files),
    unjudged (fewer than two captions with a judgement)."""

    rows: tuple[dict[str, Any], ...] = ()
    counts: dict[str, int] = field(default_factory=dict)


def preferences(
    captions: Iterable[MinedCaption], by: By, judge: str, prompt: Callable[[MinedCaption], str]
) -> Preferences:
    """One pair of each clip that has one.

    Args:
        captions: captions, those of one clip together.
        by: facts or judge.
        judge: its name, for the rows.
        prompt: what a caption answers.
    """
    rows, counts = [], Counter[str]()
    for _, group in groupby(captions, key=lambda one: one.sample.cluster):
        different: list[MinedCaption] = []
        for one in group:
            if all(one.text.strip() != other.text.strip() for other in different):
                different.append(one)
        judged = [one for one in different if (one.truth is not None if by == "facts" else not one.code)]
        best = _best(judged, by)
        outcome = SINGLE if len(different) < 2 else UNJUDGED if len(judged) < 2 else TIE if best is None else PAIR
        counts[outcome] += 1
        if best is not None:
            rows.append(_row(*best, by, judge, prompt(best[0])))
    return Preferences(rows=tuple(rows), counts=dict(counts))


def _best(judged: Sequence[MinedCaption], by: By) -> tuple[MinedCaption, MinedCaption] | None:
    """The pair (chosen, rejected) that differs most, the first of equals; None where no caption is better."""
    pairs = [(a, b) for a in judged for b in judged if a is not b]
    best = max(pairs, key=lambda pair: _gap(pair[0], pair[1], by), default=None)
    return None if best is None or not _gap(best[0], best[1], by) else best


def _gap(chosen: MinedCaption, rejected: MinedCaption, by: By) -> int:
    """By how many errors the first caption is better; 0 where it is not."""
    if by == "facts" and chosen.truth is not None and rejected.truth is not None:
        return max(0, rejected.truth.errors - chosen.truth.errors)
    (denied, held), (others, others_held) = _verdicts(chosen), _verdicts(rejected)
    return max(0, others - denied) if held >= others_held else 0


def _verdicts(one: MinedCaption) -> tuple[int, int]:
    """How many claims are denied, and how many are held true."""
    denied = sum(claim.denied for claim in one.claims)
    return denied, len(one.claims) - denied


def _row(chosen: MinedCaption, rejected: MinedCaption, by: By, judge: str, prompt: str) -> dict[str, Any]:
    return {
        "id": chosen.sample.cluster,
        **chosen.address,
        "prompt": prompt,
        "chosen": chosen.text.strip(),
        "rejected": rejected.text.strip(),
        "reason": f"{_reason(chosen, by)}; rejected: {_reason(rejected, by)}",
        "judge": "facts" if by == "facts" else judge,
    }


def _reason(one: MinedCaption, by: By) -> str:
    if by == "judge" or one.truth is None:
        denied = [claim.question for claim in one.claims if claim.denied]
        return f"{len(denied)} of {len(one.claims)} claims denied" + (f" ({', '.join(denied)})" if denied else "")
    parts = [
        f"{count} {what} {kind}" for what in ("wrong", "missed") for kind, count in getattr(one.truth, what).items()
    ]
    parts += [f"{one.truth.made_up} made up"] if one.truth.made_up else []
    return f"{one.truth.errors} errors" + (f" ({', '.join(parts)})" if parts else "")
