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
from v2t_eval.learn.measures import Measure, change
from v2t_eval.learn.result import Learning
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.report.document import Banner, Card, Cell, Document, Interval, Section, Table

_CARDS = 24


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
    }


def document(found: Learning, config: LearnConfig, out: Path) -> Document:
    """The page."""
    start, last = found.history[0], found.history[-1]
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
            Section(title="What changed on held-out prompts", text=_legend(config), tables=(_changes(start, last),)),
            Section(title="Round by round", tables=tuple(_curve(found.history, name) for name in last.figures)),
            Section(title="The referee's factors", tables=(_factors(found.history),) if last.factors else ()),
            Section(title="Same prompt, same seed: now and at the start", cards=_cards(out, last.round)),
            Section(title="Rounds", tables=(_rounds(found),), folded=True),
        ),
        data="learn.json",
    )


def _legend(config: LearnConfig) -> tuple[str, ...]:
    reward = " + ".join(f"{part.weight:g} x {part.metric} ({part.key})" for part in config.reward)
    return (
        f"The reward is {reward if config.rewards is None else config.rewards}. Judges and referee are never part of "
        "it. Changes are paired by clip, their intervals of 95 % clustered by prompt.",
    )


def _changes(start: Measure, last: Measure) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for name, figure in last.figures.items():
        if name not in start.figures:
            rows.append((name, figure.role, None, figure.value, None))
            continue
        moved = change(last, start, name)
        cell = None if moved is None else Interval(value=moved.value, low=moved.low, high=moved.high, zero=0.0)
        rows.append((name, figure.role, start.figures[name].value, figure.value, cell))
    return Table(columns=("Measure", "Role", "Start", "Now", "Change"), rows=tuple(rows))


def _curve(history: tuple[Measure, ...], name: str) -> Table:
    known = [(one.round, one.figures[name]) for one in history if name in one.figures]
    least, most = min(figure.low for _, figure in known), max(figure.high for _, figure in known)
    rows = tuple(
        (number, Interval(value=f.value, low=f.low, high=f.high, least=least, most=most)) for number, f in known
    )
    return Table(columns=("After round", name), rows=rows)


def _factors(history: tuple[Measure, ...]) -> Table:
    names = list(history[0].factors)
    return Table(
        columns=("After round", *names), rows=tuple((one.round, *map(one.factors.get, names)) for one in history)
    )


def _cards(out: Path, number: int) -> tuple[Card, ...]:
    first, last = (out / f"measure-{n:03d}" / "drawn" / MANIFEST for n in (0, number))
    paths = {row["id"]: clip_path(first, row) for row in read_manifest(first)}
    rows = [row for row in read_manifest(last) if row["id"] in paths]
    return tuple(
        Card(title=row["prompt"], clip=clip_path(last, row), other=paths[row["id"]],
             labels=(f"after round {number}", "start"))
        for row in rows[:_CARDS]
    )  # fmt: skip


def _rounds(found: Learning) -> Table:
    rows = tuple(
        (one.number, one.reward, ", ".join(f"{count} {status}" for status, count in one.statuses.items()),
         *(one.seconds.get(phase) for phase in ("draw", "judge", "learn")))
        for one in found.rounds
    )  # fmt: skip
    columns = ("Round", "Mean reward", "Clips", "Draw, s", "Judge, s", "Learn, s")
    return Table(columns=columns, rows=rows)
