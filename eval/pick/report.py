"""The page of a pick: which checkpoint, what is distinguished from it, what copies, and each prompt over all of them.

In: a `Pick` and its folder. Out: a `Document`, and the same as JSON-able data.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines
from cineloop.log import plural
from cineloop.manifest import clip_path, read_manifest
from t2v.generate.folder import MANIFEST
from v2t_eval.pick.choice import ALPHA
from v2t_eval.pick.draw import PROMPTS, folder_of
from v2t_eval.pick.result import CopyCount, Pick, Standing
from v2t_eval.report.document import Banner, Card, Cell, Document, IntervalCell, Section, Table, Tone

_CARDS, _COPIES = 16, 12
_TONES: dict[str, Tone] = {"best": "good", "tied": "unsure", "worse": "plain", "copies": "bad", "failed": "bad",
                           "same": "plain"}  # fmt: skip


def as_dict(pick: Pick) -> dict[str, Any]:
    """Everything, with the order of the checkpoints."""
    standings = []
    for one in pick.standings:
        interval = None if one.interval is None else list(one.interval)
        standings.append({**asdict(one), "path": str(one.path), "interval": interval})
    first = pick.copies_from
    return {
        "schema": 1,
        "by": pick.by,
        "best": None if pick.best is None else pick.best.name,
        "tied": [one.name for one in pick.tied],
        "copies_from": None if first is None else first.name,
        "more_prompts": pick.more_prompts,
        "checkpoints": standings,
        "looks": [look.entry() for look in pick.rounds],
        "prompts": pick.prompts,
        "draws": pick.draws,
        "all_draws": pick.all_draws,
        "notices": [notice.record() for notice in pick.notices],
        "exit_code": pick.exit_code,
    }


def document(pick: Pick, out: Path) -> Document:
    """The page."""
    best = pick.best
    word = "no pick" if best is None else best.name if not pick.tied else f"{best.name}, or as good"
    facts = [("by", pick.by), ("prompts", f"{pick.rounds[-1].prompts} of {pick.prompts}"),
             ("clips drawn", f"{pick.draws} of {pick.all_draws}")]  # fmt: skip
    tone: Tone = "bad" if best is None else "unsure" if pick.tied else "good"
    banner = Banner(word=word, sentence=sentence(pick), tone=tone, facts=tuple(facts))
    notes = tuple(f"{notice.code}: {notice.message}" for notice in pick.notices)
    return Document(
        title="Which checkpoint",
        banner=banner,
        sections=(
            Section(title="The checkpoints", text=(*_legend(pick), *notes), tables=(_standings(pick),)),
            Section(title="Near copies of training clips", text=_about_copies(pick), cards=_copy_cards(pick, out)),
            Section(title="Same prompt, same seed, every checkpoint", cards=_cards(pick, out)),
            Section(title="Figures of every metric", tables=(_figures(pick),), folded=True),
            Section(title="Look by look", tables=(_looks(pick),), folded=True),
        ),
        data="pick.json",
    )


def sentence(pick: Pick) -> str:
    """What came out, in one to three sentences."""
    best, first = pick.best, pick.copies_from
    if best is None:
        text = "Every checkpoint that could be drawn with copies training clips."
    elif not pick.tied:
        text = f"{best.name} is the best by {pick.by}; none of the others is as good."
    else:
        names = ", ".join(one.name for one in pick.tied)
        text = f"{best.name} looks best by {pick.by}, and cannot be distinguished from {names}."
        many = pick.more_prompts
        if many is not None:
            text += f" About {plural(many, 'more prompt')} would decide, if they differ by as much as it looks."
        else:
            text += " No number of prompts that could be drawn would decide: they are as good as equal."
    return text if first is None else f"{text} From {first.name} on training clips are copied."


def _legend(pick: Pick) -> tuple[str, ...]:
    return (
        f"After each look (prompts drawn so far) a checkpoint is dropped where it is surely worse than another one by "
        f"{pick.by}, in pairs of the same prompt and seed. With a chance of {1 - ALPHA:.0%} none is ever dropped that "
        "is as good as the best. Behind: how much better the best is over the prompts both have, with its own "
        "interval of 95 %.",
    )


def _standings(pick: Pick) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for one in pick.standings:
        figure = one.figures.get(pick.by)
        score = None if figure is None else IntervalCell(value=figure.value, low=figure.low, high=figure.high)
        behind: Cell = None
        if one.behind is not None and one.interval is not None:
            behind = IntervalCell(value=one.behind, low=min(one.interval.low, one.behind),
                                  high=max(one.interval.high, one.behind), zero=0.0)  # fmt: skip
        more: Cell = one.more if one.status == "tied" and one.more is not None else None
        rows.append(((one.name, "plain"), (one.status, _TONES[one.status]), one.prompts, score, behind, more,
                     _copies(one.held_out), _copies(one.training), one.lost or None))  # fmt: skip
    notes = tuple((one.why,) if one.why else () for one in pick.standings)
    columns = ("Checkpoint", "Result", "Prompts", pick.by, "Behind the best", "More prompts to decide",
               "Copies, held-out", "Copies, training prompts", "Clips without a value")  # fmt: skip
    return Table(columns=columns, rows=tuple(rows), notes=notes)


def _copies(count: CopyCount | None) -> Cell:
    return None if count is None else f"{len(count.pairs)} of {count.num}"


def _about_copies(pick: Pick) -> tuple[str, ...]:
    counted = [one for one in pick.standings if one.held_out is not None]
    if not counted:
        return ("Not looked for: --training-set names the clips that were trained on.",)
    first = pick.copies_from
    text = "No checkpoint has more near copies than chance allows." if first is None else (
        f"From {first.name} on there are more near copies than chance allows.")  # fmt: skip
    return (f"{text} A near copy shows the pictures of a training clip but for a few hundredths, in five frames.",)


def _copy_cards(pick: Pick, out: Path) -> tuple[Card, ...]:
    """The nearest copies of each copying checkpoint; the training clip is named, its file is not the pick's."""
    cards = []
    for one in pick.standings:
        for part, count in (("drawn", one.held_out), ("training", one.training)):
            if count is None or not count.pairs:
                continue
            clips = _clips(out, one, part)
            cards += [
                Card(title=clips[id][0], clip=clips[id][1], labels=(one.name, ""),
                     lines=(f"training clip {known}: {share:.1%} of the pictures differs",))
                for id, known, share in count.pairs[:_COPIES] if id in clips
            ]  # fmt: skip
    return tuple(cards)


def _cards(pick: Pick, out: Path) -> tuple[Card, ...]:
    """The first prompts, over all checkpoints in the order of their steps."""
    drawn = [one for one in sorted(pick.standings, key=lambda one: (one.step is None, one.step or 0, one.name))
             if one.prompts]  # fmt: skip
    clips = {one.name: _clips(out, one, "drawn") for one in drawn}
    cards = []
    for _, row in json_lines(out / PROMPTS):
        there = [(name, path) for name, each in clips.items()
                 for prompt, path in each.values() if prompt == row["prompt"]]  # fmt: skip
        if there:
            cards.append(Card(title=row["prompt"], more=tuple(there)))
    return tuple(cards[:_CARDS])


def _clips(out: Path, one: Standing, part: str) -> dict[str, tuple[str, Path]]:
    manifest = folder_of(out, one.name, part) / MANIFEST
    if not manifest.exists():
        return {}
    return {row["id"]: (row["prompt"], clip_path(manifest, row)) for row in read_manifest(manifest)}


def _figures(pick: Pick) -> Table:
    names = list(dict.fromkeys(name for one in pick.standings for name in one.figures))
    rows: list[tuple[Cell, ...]] = []
    for one in pick.standings:
        cells: list[Cell] = []
        for name in names:
            figure = one.figures.get(name)
            cells.append(None if figure is None
                         else IntervalCell(value=figure.value, low=figure.low, high=figure.high))  # fmt: skip
        rows.append((one.name, *cells))
    return Table(columns=("Checkpoint", *names), rows=tuple(rows),
                 caption="each over its own clips, which are fewer where a checkpoint was dropped early")  # fmt: skip


def _looks(pick: Pick) -> Table:
    rows = tuple((look.number, look.prompts, look.draws, len(look.left), f"{look.level:.2g}",
                  "; ".join(f"{name}: {notice.message}" for name, notice in look.dropped.items()))
                 for look in pick.rounds)  # fmt: skip
    return Table(columns=("Look", "Prompts", "Clips drawn", "Checkpoints", "Level", "Dropped"), rows=rows)
