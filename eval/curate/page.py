"""The page of a curation, `report.html`: what each limit takes away, to be looked at and moved.

In: a `Curation`, its plan and films. Out: a `Document` with an `Explorer`: every clip as one byte a column, so that a
page of 100,000 clips stays at a few megabytes and needs nothing but itself. The clips shown beside limits are samples
of each column that do not depend on limits: after a change of limits no film is opened. Beside each filter stands how
often it was right on planted faults (`figures.json`, by `scripts/measure_curate.py`) and what it does not see.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.clip import Clip
from cineloop.files import write_atomic
from cineloop.log import plural
from cineloop.startup import pause_collector
from v2t_eval.curate import report
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.recipe import Plan
from v2t_eval.curate.run import Curation
from v2t_eval.curate.step import BaseStep
from v2t_eval.report import page
from v2t_eval.report.document import Card, Cell, Document, Explorer, IntervalCell, LimitSample, Section, Table

Drops = Sequence[Mapping[str, Any]]
NAME = "report.html"
UNMEASURED, UNKNOWN = 255, 254  # codes of a clip in a column, see explorer.js
MOST_CLIPS = 200_000  # more are shown as every second, third, ... of them
_EDGES = 121  # of an axis; with the limits, two codes an edge are below the codes above
_MOST_VALUES = 12  # more are no longer shown as a bar each
_FEW = 500  # clips, for which bars are twice as wide
_BEYOND = 0.05  # of an axis, for a limit beyond its end
_MOST_SAMPLES = 300
_TAIL = 0.005  # of the values beyond each end of an axis
_SKEWED = 0.2  # of the axis: with the median below it, the axis is logarithmic
_MOST_PAIRS, _MOST_CLUSTERS = 12, 12


def write(done: Curation, plan: Plan, films: Sequence[Clip], folder: Path, cache: Path | None, command: str) -> Path:
    """Write the page into the folder of the set; returns its path.

    Args:
        done, plan, films: what was curated, and how.
        cache: where frames of clips are kept; None keeps none.
        command: that made the set, without limits.
    """
    document = as_document(done, plan, {film.id: Path(film.file) for film in films}, command)
    write_atomic(folder / NAME, page.render(document, folder, cache))
    return folder / NAME


@pause_collector()
def as_document(done: Curation, plan: Plan, files: Mapping[str, Path], command: str) -> Document:
    """The page's document; `files` are the films by id."""
    sound = [n for n, clip in enumerate(done.clips) if clip.error is None]
    clips, drops = [done.clips[n] for n in sound], [done.verdicts.drops[n] for n in sound]
    names = list(plan.columns)
    values = np.array([done.verdicts.values[name][sound] for name in names]).T.reshape(len(clips), len(names))  # (n, c)
    text = [
        "Move a limit: all of them are applied to every clip again, here in the page. A quantile is shown as the value "
        "it came to and moves as one. Dark bars are clips in the set, pale ones clips that a limit keeps out."
    ]
    step = max(1, -(-len(clips) // MOST_CLIPS))
    if step > 1:
        text.append(f"Of {len(clips):,} clips the histograms and the table count every {step}th.")
    if any(type(each).compare is not BaseStep.compare and each.columns for each in plan.steps):
        text.append("Columns that compare clips, such as those of copies, stay as the recipe's own limits made them.")
    explorer = Explorer(
        data={"command": command, **_data(plan, done, clips[::step], drops[::step], values[::step])},
        samples=_samples(plan, clips, values, files),
    )
    funnel = report.funnel(done)
    table, *others = funnel.sections
    sections = [
        Section(title="Limits", text=tuple(text), tables=table.tables, explorer=explorer),
        _copies(plan, clips, files),
        _clusters(plan, clips, drops, files),
        _filters(plan),
        *others,
    ]
    return Document(title="Curation", banner=funnel.banner, sections=tuple(sections))


def _data(
    plan: Plan, done: Curation, clips: Sequence[FilmClip], drops: Sequence[Drops], table: np.ndarray
) -> dict[str, Any]:
    """What explorer.js reads, but for the samples; `table` (n, c) holds the columns of the clips."""
    applied = {(each.column, each.side): each.value for each in done.verdicts.limits}
    measured, columns = figures(), []
    steps = [(step, name) for step in plan.steps for name in step.columns]
    for (step, name), values in zip(steps, table.T, strict=True):
        limits = {side: applied.get((name, side)) for side in ("least", "most")}
        edges, places, bars = axis(values, [value for value in limits.values() if value is not None])
        codes = encode(values, edges)
        if type(step).compare is not BaseStep.compare:  # null also where a limit before kept the clip out
            for n in np.flatnonzero(np.isnan(values)).tolist():
                if drops[n] and all(one["rule"] != f"{name}.unmeasured" for one in drops[n]):
                    codes[n] = UNKNOWN
        asked = plan.recipe.limits.get(name)
        columns.append(
            {
                "name": name,
                "says": plan.columns[name].says,
                "edges": edges.tolist(),
                "at": places.tolist(),
                "bars": bars,
                "codes": _pack(codes),
                "asked": {side: getattr(asked, side, None) for side in limits},
                **{s: None if value is None else int(np.searchsorted(edges, value)) for s, value in limits.items()},
                "notes": _notes(step, name, measured),
            }
        )
    seconds = np.array([clip.end_s - clip.start_s for clip in clips], dtype="<f4")
    return {"columns": columns, "seconds": _pack(seconds)}


def axis(values: np.ndarray, limits: Sequence[float]) -> tuple[np.ndarray, np.ndarray, list[list[float]]]:
    """The axis of a column: edges (E,) where a limit may lie, `limits` among them; their places (E,) from 0 to 1; bars
    of a histogram, each [first code, code after the last, left end, right end] (see `encode`). The first and the last
    bar hold what lies beyond."""
    sound = values[~np.isnan(values)]
    known = np.unique(sound)
    if len(known) <= _MOST_VALUES:
        base, is_log = known if len(known) else np.zeros(1), False
    else:
        low, middle, high = np.quantile(sound, [_TAIL, 0.5, 1 - _TAIL])
        low, high = (low, high) if low < high else (known[0], known[-1])
        is_log = bool(low >= 0 and (middle - low) < _SKEWED * (high - low))
        base = _even(low, high, is_log=is_log)
    edges = np.union1d(base, limits)
    ends = _BEYOND * (edges[0] < base[0]), 1 - _BEYOND * (edges[-1] > base[-1])
    places = np.interp(_spread(edges, base[0], base[-1], is_log=is_log), [0, 1], ends)
    places[edges < base[0]], places[edges > base[-1]] = 0, 1
    marks = np.searchsorted(edges, base)
    if len(known) <= _MOST_VALUES:
        wide = float(np.clip(np.diff(places[marks]).min(), 0.008, 0.04)) if len(marks) > 1 else 0.04
        inside = (edges >= base[0]) & (edges <= base[-1])
        places[inside] = wide / 2 + places[inside] * (1 - wide)
        bars = [[2 * n + 1, 2 * n + 2, places[n] - wide / 2, places[n] + wide / 2] for n in marks.tolist()]
    else:
        marks = np.array([*marks[: -1 : 2 if len(sound) >= _FEW else 4], marks[-1]])
        bars = [[2 * a + 1, 2 * b + 1, places[a], places[b]] for a, b in zip(marks[:-1], marks[1:], strict=True)]
    bars[0][0], bars[-1][1] = 0, 2 * len(edges) + 1
    return edges, places.round(5), [[int(a), int(b), round(float(x), 5), round(float(y), 5)] for a, b, x, y in bars]


def _even(low: float, high: float, *, is_log: bool) -> np.ndarray:
    """Edges in even steps that are round numbers; of a logarithmic axis, numbers of three digits."""
    if is_log:
        shift = (high - low) / 100
        edges = np.geomspace(low + shift, high + shift, _EDGES) - shift
        digits = np.clip(2 - np.floor(np.log10(np.gradient(edges))), 0, 12).astype(int)
        rounded = [round(edge, place) for edge, place in zip(edges.tolist(), digits.tolist(), strict=True)]
        return np.array(sorted(set(rounded)))
    least = (high - low) / (_EDGES - 1)
    power = 10 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least)
    even: np.ndarray = np.arange(math.floor(low / step), math.ceil(high / step) + 1) * step
    return even.round(12)


def _spread(edges: np.ndarray, low: float, high: float, *, is_log: bool) -> np.ndarray:
    """Places of edges, 0 at `low` and 1 at `high`."""
    if high <= low:
        return np.full(len(edges), 0.5)
    if is_log:
        shift = (high - low) / 100 - low
        edges, low, high = np.log(np.maximum(edges, low) + shift), math.log(low + shift), math.log(high + shift)
    places: np.ndarray = np.clip((edges - low) / (high - low), 0, 1)
    return places


def encode(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """uint8 (n,): 2i + 1 for a value that is the edge i, 2i between the edges i - 1 and i, `UNMEASURED` for NaN."""
    first = np.searchsorted(edges, values)
    codes: np.ndarray = 2 * first + (edges[np.minimum(first, len(edges) - 1)] == values)
    codes[np.isnan(values)] = UNMEASURED
    return codes.astype(np.uint8)


def _pack(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode("ascii")


def _samples(
    plan: Plan, clips: Sequence[FilmClip], table: np.ndarray, files: Mapping[str, Path]
) -> tuple[LimitSample, ...]:
    """Clips at quantiles of each column, dense at both ends, where limits are; `table` (n, c) holds the columns. Of
    columns that compare clips, of which limits decide who has a value, what was examined of all clips counts."""
    known = {
        name: step.known.get(name, {}) if type(step).compare is not BaseStep.compare else None
        for step in plan.steps
        for name in step.columns
    }
    every = [
        values if of is None else np.array([of.get(clip.id) for clip in clips], dtype=np.float64)  # None is NaN
        for of, values in zip(known.values(), table.T, strict=True)
    ]
    shares = 1 / (1 + np.exp(-np.linspace(-5, 5, max(8, _MOST_SAMPLES // max(table.shape[1], 1)))))
    chosen: set[int] = set()
    for values in every:
        num = int((~np.isnan(values)).sum())  # NaN is sorted behind the others
        ranks = np.round(shares * (num - 1)).astype(int)
        if num and np.nanmin(values) < np.nanmax(values):
            chosen |= set(np.argpartition(values, ranks)[ranks].tolist())
    return tuple(
        LimitSample(
            id=clips[n].id,
            path=_file(clips[n], files),
            span=(clips[n].start_s, clips[n].end_s),
            values=tuple(None if math.isnan(value) else value for value in table[n].tolist()),
        )
        for n in sorted(chosen)[:_MOST_SAMPLES]
    )


def _file(clip: FilmClip, files: Mapping[str, Path]) -> Path | None:
    path = files.get(clip.film)
    return path if path is not None and path.is_file() else None


def _pair(
    title: str, labels: tuple[str, str], clips: Sequence[FilmClip], files: Mapping[str, Path], *lines: str
) -> Card:
    one, other = clips
    spans = [(clip.start_s, clip.end_s) for clip in clips]
    return Card(title=title, lines=lines, clip=_file(one, files), other=_file(other, files), labels=labels,
                span=spans[0], other_span=spans[1])  # fmt: skip


def _copies(plan: Plan, clips: Sequence[FilmClip], files: Mapping[str, Path]) -> Section:
    """Pairs of clips that show the same, of all clips, whatever limits leave: the same after a change of limits."""
    by_id = {clip.id: clip for clip in clips}
    pairs = [pair for step in plan.steps for pair in step.pairs(clips)]
    cards = []
    for one, other in pairs[:: max(1, len(pairs) // _MOST_PAIRS)][:_MOST_PAIRS]:
        kept, copy = (other, one) if by_id[one].links.duplicate_of == other else (one, other)
        shown = (by_id[copy], by_id[kept])
        cards.append(_pair(copy, ("copy", "the clip it is a copy of"), shown, files, f"a copy of {kept}"))
    text = (
        (f"{plural(len(pairs), 'pair')} of {plural(len(clips), 'clip')} show the same; {len(cards)} are shown.",)
        if cards
        else ()
    )
    return Section(title="Copies", text=text, cards=tuple(cards))


def _clusters(plan: Plan, clips: Sequence[FilmClip], drops: Sequence[Drops], files: Mapping[str, Path]) -> Section:
    """The largest clusters of all clips, with two clips of each; empty where no step gives them."""
    known: dict[str, float] = next(
        (step.known.get("cluster", {}) for step in plan.steps if "cluster" in step.columns), {}
    )
    members: dict[int, list[FilmClip]] = {}
    kept: Counter[int] = Counter()
    for clip, against in zip(clips, drops, strict=True):
        if (cluster := known.get(clip.id)) is not None:
            members.setdefault(int(cluster), []).append(clip)
            kept[int(cluster)] += not against
    ordered = sorted(members.items(), key=lambda item: (-len(item[1]), item[0]))
    table = Table(
        columns=("cluster", "clips", "in the set", "hours"),
        rows=tuple((str(name), len(own), kept[name], report.hours_of(own)) for name, own in ordered),
    )
    cards = tuple(
        _pair(f"Cluster {name}: {plural(len(own), 'clip')}", (own[0].id, own[-1].id), (own[0], own[-1]), files)
        for name, own in ordered[:_MOST_CLUSTERS]
    )
    return Section(title="Clusters", tables=(table,) if ordered else (), cards=cards)


# --- how often a filter is right


def figures() -> dict[str, Any]:
    """The output of `scripts/measure_curate.py`, as it is shipped."""
    tree: dict[str, Any] = json.loads(files("v2t_eval.curate").joinpath("figures.json").read_text(encoding="utf-8"))
    return tree


def _of_step(step: BaseStep, measured: Mapping[str, Any]) -> list[tuple[str, str, Mapping[str, Any]]]:
    """(what was planted, column or "", figures) of a step's filters; figures have `planted`, `recall`, `precision`."""
    listed = [(f"{name} ({column} {'>' if side == 'most' else '<'} {limit:g})", column, one)
             for name, one in measured["faults"].items() for column, side, limit in [one["limit"]]
             if column in step.columns]  # fmt: skip
    listed += [(name, "", one) for name, one in measured["changes"].items() if step.name == "split"]
    for name, one in measured.get("copies", {}).items() if step.name == "near_copies" else ():
        if isinstance(one, dict) and one["n"]:
            recall = {"value": one["found"] / one["n"], **one}
            listed.append((f"copy: {name}", "", {"planted": one["n"], "recall": recall}))
    return listed


def _notes(step: BaseStep, name: str, measured: Mapping[str, Any]) -> list[str]:
    notes = [f"Finds {step.detects}." if step.detects else "", f"Blind to {step.misses}." if step.misses else ""]
    for planted, column, one in _of_step(step, measured):
        if column == name:
            notes.append(
                f"On planted faults, {planted}: precision {_share(one['precision'])}, recall {_share(one['recall'])}."
            )
    return [note for note in notes if note]


def _share(one: Mapping[str, Any]) -> str:
    return f"{one['value']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _filters(plan: Plan) -> Section:
    measured = figures()
    rows: list[tuple[Cell, ...]] = []
    for step in plan.steps:
        for planted, _, one in _of_step(step, measured) or [("–", "", {})]:
            cells = [
                IntervalCell(value=one[what]["value"], low=one[what]["low"], high=one[what]["high"], least=0, most=1)
                if what in one else None
                for what in ("precision", "recall")
            ]  # fmt: skip
            rows.append((step.name, step.detects, step.misses, planted, one.get("planted"), *cells))
    columns = ("step", "finds", "blind to", "planted", "n", "precision", "recall")
    stamp = measured["measured"]
    text = f"Precision and recall on planted faults: `{stamp['command']}`, {stamp['device']}; intervals of 95 %."
    return Section(title="Filters", text=(text,), tables=(Table(columns=columns, rows=tuple(rows)),))
