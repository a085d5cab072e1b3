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
from v2t_eval.core.changes import changes
from v2t_eval.core.metric import Figure
from v2t_eval.core.scores import Scores
from v2t_eval.learn.measures import DRIFT, clips_without_reward, figures_to_show
from v2t_eval.learn.result import Learning
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.learn.stopping import ALPHA, falls
from v2t_eval.report.document import Banner, Card, Cell, Document, IntervalCell, Section, Table

_CARDS, _FOLLOWED, _COLUMNS = 24, 6, 4


def as_dict(learning: Learning, config: LearnConfig) -> dict[str, Any]:
    """All but the values of single clips."""
    history = [
        {
            "round": number,
            "figures": {
                name: {"name": name, "role": role, "value": one.value, "low": one.low, "high": one.high}
                for name, (role, one) in figures_to_show(scores, learning.roles).items()
            },
            "factors": _referee(scores, config),
            "unrewarded": clips_without_reward(scores),
        }
        for number, scores in learning.history.items()
    ]
    return {
        "schema": 1,
        "rounds": [asdict(one) for one in learning.rounds],
        "history": history,
        "stopped": None if learning.stopped is None else asdict(learning.stopped),
        "model": learning.model,
        "adapter": learning.adapter,
        "gate": learning.gate,
        "exit_code": learning.exit_code,
    }


def _referee(scores: Scores, config: LearnConfig) -> dict[str, float]:
    """The referee's share of clips as asked, by factor."""
    result = None if config.referee is None else scores.by_name.get(config.referee)
    return {} if result is None else {name: figure.value for name, figure in result.figures.items()}


def document(learning: Learning, config: LearnConfig, out: Path) -> Document:
    """The page."""
    last = max(learning.history)
    reason = f"{plural(len(learning.rounds), 'round')} done."
    if learning.stopped is not None:
        reason = f"{learning.stopped.measure} diverged after round {last}: {learning.stopped.reason}."
    if learning.gate:
        reason += f" Gate against the first model: {learning.gate['outcome']}, {learning.gate['reason']}"
    banner = Banner(word="stopped" if learning.stopped else "finished", sentence=reason,
                    tone="bad" if learning.stopped else "plain",
                    facts=(("model", learning.model), ("adapter", learning.adapter or "none"),
                           ("objective", config.objective)))  # fmt: skip
    return Document(
        title="Learning from a judge",
        banner=banner,
        sections=(
            Section(
                title="What changed on held-out prompts", text=_legend(config), tables=(_changes(learning, config),)
            ),
            Section(title="Round by round", tables=_curves(learning)),
            Section(title="The referee's factors", tables=_factors(learning, config)),
            Section(title="Same prompt, same seed: now and at the start", cards=_cards(out, list(learning.history))),
            Section(
                title="The same, measure by measure", cards=_figure_cards(out, list(learning.history)), folded=True
            ),
            Section(title="Rounds", tables=(_rounds(learning),), folded=True),
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


def _changes(learning: Learning, config: LearnConfig) -> Table:
    start, last = learning.measures[0], learning.measures[-1]
    before, fallen = figures_to_show(start, learning.roles), falls(learning.measures, learning.roles, config.tolerated)
    rows: list[tuple[Cell, ...]] = []
    for name, (role, figure) in figures_to_show(last, learning.roles).items():
        if name not in before:
            rows.append((name, role, None, figure.value, None, None))
            continue
        fall = fallen.get(name)
        p = None if fall is None else f"{fall.p:.2g}, stops below {fall.level:.2g}"
        rows.append((name, role, before[name][1].value, figure.value, _change(start, last, name), p))
    return Table(columns=("Measure", "Role", "Start", "Now", "Change", "p of no fall"), rows=tuple(rows))


def _change(start: Scores, last: Scores, name: str) -> Cell:
    """How much better the clips are, with its interval of 95 %."""
    one = changes(start, last, [name])[name]
    if one.pairs is None:
        return None
    (low, high), mean = one.pairs.interval, one.pairs.mean
    if one.higher_is_better is False:
        low, mean, high = -high, -mean, -low
    return IntervalCell(value=mean, low=low, high=high, zero=0.0)


def _curves(learning: Learning) -> tuple[Table, ...]:
    """The measures, a row a round, a few side by side."""
    figures = [figures_to_show(scores, learning.roles) for scores in learning.measures]
    names = list(figures[-1])
    blocks = [names[first : first + _COLUMNS] for first in range(0, len(names), _COLUMNS)]
    tables = []
    for block in blocks:
        columns = [_curve([each.get(name) for each in figures]) for name in block]
        rows = tuple((_after(number), *cells) for number, *cells in zip(learning.history, *columns, strict=True))
        heads = (name if name == figures[-1][name][0] else f"{name} ({figures[-1][name][0]})" for name in block)
        tables.append(Table(columns=("After round", *heads), rows=rows))
    return tuple(tables)


def _curve(shown_figures: list[tuple[str, Figure] | None]) -> list[Cell]:
    known = [one[1] for one in shown_figures if one is not None]
    least, most = min(figure.low for figure in known), max(figure.high for figure in known)
    cells: list[Cell] = []
    for one in shown_figures:
        if one is None or one[0] == DRIFT:  # has no interval
            cells.append(None if one is None else one[1].value)
        else:
            cells.append(IntervalCell(value=one[1].value, low=one[1].low, high=one[1].high, least=least, most=most))
    return cells


def _factors(learning: Learning, config: LearnConfig) -> tuple[Table, ...]:
    factors = {number: _referee(scores, config) for number, scores in learning.history.items()}
    if not factors[max(factors)]:
        return ()
    names = list(factors[min(factors)])
    rows = tuple((_after(number), *map(each.get, names)) for number, each in factors.items())
    return (Table(columns=("After round", *names), rows=rows),)


def _after(number: int) -> str:
    return str(number) if number else "start"


def _cards(out: Path, rounds: list[int]) -> tuple[Card, ...]:
    """The same prompts and seeds, now and at the start."""
    (_, first), (label, last) = _clips(out, rounds[0]), _clips(out, rounds[-1])
    return tuple(
        Card(title=prompt, clip=path, other=first[id][1], labels=(label, "start"))
        for id, (prompt, path) in list(last.items())[:_CARDS]
        if id in first
    )


def _figure_cards(out: Path, rounds: list[int]) -> tuple[Card, ...]:
    """A few of them at every measure, two measures a card, in their order; none where there are but two measures."""
    if len(rounds) < 3:
        return ()
    drawn = [_clips(out, number) for number in rounds]
    cards = []
    for id in list(drawn[0][1])[:: max(1, len(drawn[0][1]) // _FOLLOWED)][:_FOLLOWED]:
        there = [(label, *clips[id]) for label, clips in drawn if id in clips]
        for (label, prompt, path), *more in (there[n : n + 2] for n in range(0, len(there), 2)):
            other, after = (more[0][2], more[0][0]) if more else (None, "")
            cards.append(Card(title=prompt, clip=path, other=other, labels=(label, after)))
    return tuple(cards)


def _clips(out: Path, number: int) -> tuple[str, dict[str, tuple[str, Path]]]:
    """What its clips are called, and by id prompt and file."""
    manifest = out / f"measure-{number:03d}" / "drawn" / MANIFEST
    label = f"after round {number}" if number else "start"
    return label, {row["id"]: (row["prompt"], clip_path(manifest, row)) for row in read_manifest(manifest)}


def _rounds(learning: Learning) -> Table:
    rows = tuple(
        (one.number, one.reward, ", ".join(f"{count} {status}" for status, count in one.statuses.items()),
         *(one.seconds.get(phase) for phase in ("draw", "judge", "learn")))
        for one in learning.rounds
    )  # fmt: skip
    columns = ("Round", "Mean reward", "Clips", "Draw, s", "Judge, s", "Learn, s")
    return Table(columns=columns, rows=rows)
