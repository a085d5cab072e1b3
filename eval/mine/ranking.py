"""Disagreement over a clip: how much judge and dual encoder doubt its caption.

In: captions of the first file with claims and ranks. Out: `RankedClip`s, the most doubted first. The judge's doubt is
its chance that the claim it doubts most is false; the encoder's is 1 - 1/rank of the caption among all captions of the
set (0 where no other fits the clip better, .5 where one does). The disagreement is the mean of those that are there:
high where both deny what the captioner says, in between where they contradict each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from v2t_eval.mine.claims import CaptionClaim, MinedCaption


@dataclass(frozen=True, kw_only=True)
class RankedClip:
    """A clip with its caption: the disagreement and its parts, 0 to 1, None where a witness has no say; the claim that
    the judge doubts most."""

    caption: MinedCaption
    disagreement: float
    judge: float | None
    encoder: float | None
    worst: CaptionClaim | None


@dataclass(frozen=True, kw_only=True)
class ClaimKind:
    """The claims of one kind of fact: how many, how many the judge denies, and the mean doubt."""

    name: str
    claims: int
    denied: int
    doubt: float


def rank(captions: Iterable[MinedCaption]) -> list[RankedClip]:
    """Clips of the first file that judge or encoder has a say on, the most doubted first, then by id."""
    doubtful = []
    for one in captions:
        if one.turn:
            continue
        worst = max(one.claims, key=lambda claim: claim.doubt, default=None) if not one.code else None
        judge = None if worst is None else worst.doubt
        encoder = None if one.place is None else 1.0 - 1.0 / one.place
        doubts = [each for each in (judge, encoder) if each is not None]
        if doubts:
            doubtful.append(
                RankedClip(caption=one, disagreement=fmean(doubts), judge=judge, encoder=encoder, worst=worst)
            )  # fmt: skip
    return sorted(doubtful, key=lambda each: (-each.disagreement, each.caption.sample.id))


def kinds(ranked: Sequence[RankedClip]) -> list[ClaimKind]:
    """The kinds of claims, the most denied first: what to label or draw next."""
    by_name: dict[str, list[CaptionClaim]] = {}
    for one in ranked:
        for claim in one.caption.claims if one.judge is not None else ():
            by_name.setdefault(claim.kind, []).append(claim)
    listed = [
        ClaimKind(
            name=name,
            claims=len(claims),
            denied=sum(claim.denied for claim in claims),
            doubt=fmean(claim.doubt for claim in claims),
        )
        for name, claims in by_name.items()
    ]
    return sorted(listed, key=lambda kind: (-kind.denied / kind.claims, kind.name))
