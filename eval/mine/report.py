"""The page of a mining: the most doubted clips, kinds of claims, preference pairs, and by the truth what it was worth.

In: ranked clips, preferences, counts. Out: a `Document`, and rows of `mined.jsonl`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cineloop.files import unescape_name
from cineloop.intervals import wilson
from cineloop.log import plural, printable
from v2t_eval.mine.claims import MinedSet
from v2t_eval.mine.pairs import Preferences
from v2t_eval.mine.ranking import ClaimKind, RankedClip
from v2t_eval.report.document import Banner, Card, Cell, Document, Heat, IntervalCell, Link, Section, Table

FILE, PAIRS, PAGE = "mined.jsonl", "preferences.jsonl", "index.html"
_TABLE = 500  # clips of the page's table
_PAIRS = 12  # cards of pairs
_LEVELS = (0.8, 0.6, 0.4, 0.2)  # of doubt, from the worst ground of a cell to the best


def row_of(one: RankedClip) -> dict[str, Any]:
    """The row of a clip in `mined.jsonl`."""
    row = {"id": one.caption.sample.id, **one.caption.address}
    row |= {"caption": one.caption.text, "disagreement": one.disagreement, "judge": one.judge, "encoder": one.encoder}
    row |= {"rank": one.caption.place, "doubted": None if one.worst is None else one.worst.question}
    row["claims"] = [
        {"kind": claim.kind, "question": claim.question, "doubt": claim.doubt, "denied": claim.denied}
        for claim in one.caption.claims
    ]
    return row | ({} if one.caption.truth is None else {"errors": one.caption.truth.errors})


def document(
    mined: MinedSet,
    ranked: Sequence[RankedClip],
    weak: Sequence[ClaimKind],
    pairs: Preferences,
    *,
    folder: Path | None,
) -> Document:
    """The page; without a `folder`, where it will lie, without clips."""
    first = [one for one in mined.captions if not one.turn]
    unjudged = Counter(one.code for one in first if one.code)
    facts = [("judge", mined.judge), *((name, str(count)) for name, count in mined.counts.items())]
    whys = {one.code: one.why for one in reversed(first)}
    facts += [
        (f"not judged: {code}", f"{count}{f', such as {printable(whys[code], 160)}' if whys[code] else ''}")
        for code, count in unjudged.items()
    ]
    facts += [(f"preferences: {name}", str(count)) for name, count in pairs.counts.items()]
    head = f"{plural(len(ranked), 'clip')} ranked, {plural(len(pairs.rows), 'pair')}"
    sections = (
        Section(title="What to label or draw next", tables=(_kinds(weak),) if weak else ()),
        _worth(ranked),
        Section(title="The most doubted clips", cards=_cards(mined, ranked) if folder else (),
                tables=(_table(mined, ranked),) if ranked else ()),
        Section(title="Preference pairs", cards=_pairs(mined.root, pairs) if folder else (), folded=True),
    )  # fmt: skip
    return Document(title="Mining", banner=Banner(word=head, sentence="", facts=tuple(facts)), sections=sections,
                    data=FILE)  # fmt: skip


def _kinds(weak: Sequence[ClaimKind]) -> Table:
    rows = []
    for kind in weak:
        low, high = wilson(kind.denied, kind.claims)
        share = IntervalCell(value=kind.denied / kind.claims, low=low, high=high, least=0.0)
        rows.append((kind.name, kind.claims, kind.denied, share, kind.doubt))
    columns = ("Kind of claim", "Claims", "Denied", "Share", "Mean doubt")
    return Table(
        columns=columns, rows=tuple(rows), caption="Claims of captions that the judge denies, by kind of fact."
    )


def _worth(ranked: Sequence[RankedClip]) -> Section:
    """Where the truth is known: how many captions are wrong among the first of the list, and among all."""
    known = [one.caption.truth.errors > 0 for one in ranked if one.caption.truth is not None]
    counts = dict.fromkeys(
        count for count in (len(known) // 20, len(known) // 10, len(known) // 4, len(known)) if count
    )
    rows = []
    for count in counts:
        wrong = sum(known[:count])
        low, high = wilson(wrong, count)
        rows.append((f"first {count}" if count < len(known) else f"all {count}", wrong,
                     IntervalCell(value=wrong / count, low=low, high=high, least=0.0, most=1.0)))  # fmt: skip
    table = Table(columns=("Clips", "Captions with an error", "Share"), rows=tuple(rows), caption="By the truth.")
    return Section(title="What the order is worth", tables=(table,) if rows else ())


def _table(mined: MinedSet, ranked: Sequence[RankedClip]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            Link(text=one.caption.sample.id, path=_file(mined.root, one.caption.sample.row)),
            one.disagreement,
            _heat(one.judge),
            _heat(one.encoder),
            one.caption.place,
            "" if one.worst is None else f"{one.worst.kind}: {one.worst.question}",
            one.caption.text,
        )
        for one in ranked[:_TABLE]
    ]
    columns = ("Clip", "Disagreement", "Judge", "Encoder", "Rank", "Most doubted", "Caption")
    more = f" The other {len(ranked) - _TABLE:,} are in {FILE}." if len(ranked) > _TABLE else ""
    return Table(columns=columns, rows=tuple(rows), caption=f"Doubt of judge and dual encoder, 0 to 1.{more}")


def _heat(doubt: float | None) -> Heat | None:
    if doubt is None:
        return None
    level = next((number for number, least in enumerate(_LEVELS) if doubt >= least), len(_LEVELS))
    return Heat(text=f"{doubt:.2f}", level=level)  # type: ignore[arg-type]


def _cards(mined: MinedSet, ranked: Sequence[RankedClip]) -> tuple[Card, ...]:
    cards = []
    for one in ranked[:_TABLE]:
        denied = [claim.question for claim in one.caption.claims if claim.denied]
        lines = [f"Caption: {one.caption.text}"]
        lines += [f"Denied by the judge: {'; '.join(denied)}"] if denied else []
        if one.caption.place is not None:
            lines.append(f"Rank by the encoder: {one.caption.place:g} of {one.caption.choices}")
        sample = one.caption.sample
        cards.append(
            Card(title=f"{sample.id}: {one.disagreement:.2f}", lines=tuple(lines), clip=_file(mined.root, sample.row),
                 labels=("clip", ""), span=_span(sample.clip))
        )  # fmt: skip
    return tuple(cards)


def _pairs(root: Path, pairs: Preferences) -> tuple[Card, ...]:
    return tuple(
        Card(title=row["id"], clip=_file(root, row), labels=("clip", ""),
             lines=(f"Chosen: {row['chosen']}", f"Rejected: {row['rejected']}", row["reason"]))
        for row in pairs.rows[:_PAIRS]
    )  # fmt: skip


def _file(root: Path, row: Mapping[str, Any]) -> Path | None:
    path = row.get("path")
    return root / unescape_name(path) if isinstance(path, str) else None


def _span(clip: Any) -> tuple[float, float | None] | None:
    return None if clip is None or clip.start_s is clip.end_s is None else (clip.start_s or 0.0, clip.end_s)
