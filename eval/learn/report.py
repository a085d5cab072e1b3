"""The page of a learning: the measures round by round, clips of the same prompt and seed, why it stopped.

In: a `Learning`, its recipe and folder. Out: a `Document`, and the same as JSON-able data.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cineloop.log import plural
from cineloop.manifest import clip_path, read_manifest
from t2v.train.rewarded import MANIFEST
from v2t_eval.learn.measures import DRIFT, Measure, change
from v2t_eval.learn.result import Learning
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.learn.stopping import ALPHA, falls
from v2t_eval.report.document import Banner, Card, Cell, Document, IntervalCell, Section, Table

_CARDS, _FOLLOWED, _COLUMNS = 24, 6, 4


def as_dict(found: Learning) -> dict[str, Any]:
    """All but the values of single clips."""
    history = [asdict(one) for one in found.history]
    for one in history:
        del one["clusters"]
        for figure in one["figures"].values():
            del figure["values"]
    return {
        "schema": 1,
        "rounds": [asdict(one) for one in found.rounds],
        "history": history,
        "stopped": None if found.stopped is None else asdict(found.stopped),
        "model": found.model,
        "adapter": found.adapter,
        "gate": found.gate,
        "exit_code": found.exit_code,
    }


def document(found: Learning, config: LearnConfig, out: Path) -> Document:
    """The page."""
    last = found.history[-1]
    reason = f"{plural(len(found.rounds), 'round')} done."
    if found.stopped is not None:
        reason = f"{found.stopped.measure} diverged after round {last.round}: {found.stopped.reason}."
    if found.gate:
        reason += f" Gate against the first model: {found.gate['outcome']}, {found.gate['reason']}"
    banner = Banner(word="stopped" if found.stopped else "finished", sentence=reason,
                    tone="bad" if found.stopped else "plain",
                    facts=(("model", found.model), ("adapter", found.adapter or "none"),
                           ("objective", config.objective)))  # fmt: skip
    return Document(
        title="Learning from a judge",
        banner=banner,
        sections=(
            Section(title="What changed on held-out prompts", text=_legend(config), tables=(_changes(found, config),)),
            Section(title="Round by round", tables=_curves(found.history)),
            Section(title="The referee's factors", tables=(_factors(found.history),) if last.factors else ()),
            Section(title="Same prompt, same seed: now and at the start", cards=_cards(out, found.history)),
            Section(title="The same, measure by measure", cards=_followed(out, found.history), folded=True),
            Section(title="Rounds", tables=(_rounds(found),), folded=True),
        ),
        data="learn.json",
    )


def _legend(config: LearnConfig) -> tuple[str, ...]:
    tolerated = ", ".join(f"{fall:g} ({name})" for name, fall in config.tolerated.items())
    reward = " + ".join(f"{part.weight:g} x {part.metric} ({part.key})" for part in config.reward)
    return (
        f"The reward is {reward if config.rewards is None else config.rewards}. Judges and referee are never part of "
        "it. Changes are paired by clip, their intervals of 95 % clustered by prompt.",
        "A fall stops the learning where its p is below what that measure may spend, while the reward is higher. "
        "Of learnings in which no judge, referee or guard truly gets worse"
        + (f" (but for {tolerated}, tolerated)" if tolerated else "")
        + f" at most {ALPHA:.0%} are stopped, however many measures there are.",
    )


def _changes(found: Learning, config: LearnConfig) -> Table:
    start, last = found.history[0], found.history[-1]
    fallen = falls(found.history, config.tolerated)
    rows: list[tuple[Cell, ...]] = []
    for name, figure in last.figures.items():
        if name not in start.figures:
            rows.append((name, figure.role, None, figure.value, None, None))
            continue
        moved = change(last, start, name)
        cell = None if moved is None else IntervalCell(value=moved.value, low=moved.low, high=moved.high, zero=0.0)
        fall = fallen.get(name)
        p = None if fall is None else f"{fall.p:.2g}, stops below {fall.level:.2g}"
        rows.append((name, figure.role, start.figures[name].value, figure.value, cell, p))
    return Table(columns=("Measure", "Role", "Start", "Now", "Change", "p of no fall"), rows=tuple(rows))


def _curves(history: tuple[Measure, ...]) -> tuple[Table, ...]:
    """The measures, a row a round, a few side by side."""
    figures = history[-1].figures
    names = list(figures)
    blocks = [names[first : first + _COLUMNS] for first in range(0, len(names), _COLUMNS)]
    tables = []
    for block in blocks:
        columns = [_curve(history, name) for name in block]
        rows = tuple((_after(one), *cells) for one, *cells in zip(history, *columns, strict=True))
        heads = (name if name == figures[name].role else f"{name} ({figures[name].role})" for name in block)
        tables.append(Table(columns=("After round", *heads), rows=rows))
    return tuple(tables)


def _curve(history: tuple[Measure, ...], name: str) -> list[Cell]:
    known = [one.figures[name] for one in history if name in one.figures]
    least, most = min(figure.low for figure in known), max(figure.high for figure in known)
    cells: list[Cell] = []
    for figure in (one.figures.get(name) for one in history):
        if figure is None or figure.role == DRIFT:  # has no interval
            cells.append(None if figure is None else figure.value)
        else:
            cells.append(IntervalCell(value=figure.value, low=figure.low, high=figure.high, least=least, most=most))
    return cells


def _factors(history: tuple[Measure, ...]) -> Table:
    names = list(history[0].factors)
    return Table(
        columns=("After round", *names), rows=tuple((_after(one), *map(one.factors.get, names)) for one in history)
    )


def _after(one: Measure) -> str:
    return str(one.round) if one.round else "start"


def _cards(out: Path, history: tuple[Measure, ...]) -> tuple[Card, ...]:
    """The same prompts and seeds, now and at the start."""
    (_, first), (label, last) = _clips(out, history[0]), _clips(out, history[-1])
    return tuple(
        Card(title=prompt, clip=path, other=first[id][1], labels=(label, "start"))
        for id, (prompt, path) in list(last.items())[:_CARDS]
        if id in first
    )


def _followed(out: Path, history: tuple[Measure, ...]) -> tuple[Card, ...]:
    """A few of them at every measure, two measures a card, in their order; none where there are but two measures."""
    if len(history) < 3:
        return ()
    drawn = [_clips(out, one) for one in history]
    cards = []
    for id in list(drawn[0][1])[:: max(1, len(drawn[0][1]) // _FOLLOWED)][:_FOLLOWED]:
        there = [(label, *clips[id]) for label, clips in drawn if id in clips]
        for (label, prompt, path), *more in (there[n : n + 2] for n in range(0, len(there), 2)):
            other, after = (more[0][2], more[0][0]) if more else (None, "")
            cards.append(Card(title=prompt, clip=path, other=other, labels=(label, after)))
    return tuple(cards)


def _clips(out: Path, one: Measure) -> tuple[str, dict[str, tuple[str, Path]]]:
    """What its clips are called, and by id prompt and file."""
    manifest = out / f"measure-{one.round:03d}" / "drawn" / MANIFEST
    label = f"after round {one.round}" if one.round else "start"
    return label, {row["id"]: (row["prompt"], clip_path(manifest, row)) for row in read_manifest(manifest)}


def _rounds(found: Learning) -> Table:
    rows = tuple(
        (one.number, one.reward, ", ".join(f"{count} {status}" for status, count in one.statuses.items()),
         *(one.seconds.get(phase) for phase in ("draw", "judge", "learn")))
        for one in found.rounds
    )  # fmt: skip
    columns = ("Round", "Mean reward", "Clips", "Draw, s", "Judge, s", "Learn, s")
    return Table(columns=columns, rows=rows)
