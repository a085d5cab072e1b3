"""Reports of a curation: the plan, the funnel, and why a clip is in the set or not.

In: a `Plan`, a `Curation`, or the table in a folder. Out: `Document`s and JSON values.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.clip import Clip
from cineloop.errors import NothingMatchedError
from cineloop.log import plural, printable
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.query import as_tree
from v2t_eval.curate.recipe import Plan
from v2t_eval.curate.run import Curation
from v2t_eval.curate.table import read_table
from v2t_eval.report.document import Banner, Cell, Document, Section, Table


def plan_document(plan: Plan, films: Sequence[Clip], num_known: int) -> Document:
    """What a run would do."""
    rows: list[tuple[Cell, ...]] = []
    for step in plan.steps:
        limits = [
            f"{column} {'≥' if side == 'least' else '≤'} {given if isinstance(given, str) else format(given, 'g')}"
            for column in step.columns
            if (limit := plan.recipe.limits.get(column)) is not None
            for side, given in limit.sides()
        ]
        rows.append((step.name, ", ".join(step.columns) or "clips", ", ".join(limits) or "–"))
    gigabytes = sum(film.size for film in films) / 1e9
    return Document(
        title="Plan of a curation",
        banner=Banner(
            word=plural(len(films), "film"),
            sentence=f"{gigabytes:.2f} GB; {num_known} measured before, {len(films) - num_known} to measure",
        ),
        sections=(Section(title="Steps", tables=(Table(columns=("step", "gives", "limits"), rows=tuple(rows)),)),),
    )


def funnel(done: Curation) -> Document:
    """What came in, what each rule takes away, what is left."""
    sound, kept = done.sound, done.kept
    rows: list[tuple[Cell, ...]] = [("all clips", "", "", "", "", len(sound), _hours(hours_of(sound)))]
    for each in done.verdicts.funnel:
        if each.rule == "failed":
            continue
        limit = "" if each.limit is None else f"{each.limit:.4g}"
        shown = limit if each.asked in ("", limit) else f"{each.asked} = {limit}"
        rows.append(
            (each.rule, shown, each.clips, _hours(each.hours), each.alone, each.clips_left, _hours(each.hours_left))
        )
    columns = ("rule", "limit", "clips out", "hours out", "alone", "clips left", "hours left")
    sections = [Section(title="Funnel", tables=(Table(columns=columns, rows=tuple(rows)),))]
    if done.failed:
        failed: list[tuple[Cell, ...]] = [
            (film.id, (film.error or {}).get("code", ""), (film.error or {}).get("message", "")) for film in done.failed
        ]
        table = Table(columns=("film", "code", "message"), rows=tuple(failed))
        sections.append(Section(title="Films that failed", tables=(table,)))
    sentence = f"{hours_of(kept):.2f} of {hours_of(sound):.2f} hours, of {plural(len(done.films), 'film')}"
    if done.failed:
        sentence += f", {len(done.failed)} of them failed"
    if cropped := sum(bool(clip.crop) for clip in kept):
        sentence += f"; {plural(cropped, 'clip')} cropped to the picture between dark bars"
    word = f"{len(kept):,} of {plural(len(sound), 'clip')}"
    return Document(title="Curation", banner=Banner(word=word, sentence=sentence), sections=tuple(sections))


def as_json(done: Curation) -> dict[str, Any]:
    """The funnel as JSON values."""
    sound, kept = done.sound, done.kept
    return {
        "schema": 1,
        "films": len(done.films),
        "clips": len(sound),
        "hours": round(hours_of(sound), 6),
        "kept": len(kept),
        "kept_hours": round(hours_of(kept), 6),
        "limits": as_tree(done.verdicts.limits),
        "funnel": as_tree(done.verdicts.funnel),
        "failed": [{"id": film.id, **(film.error or {})} for film in done.failed],
    }


def explain(folder: Path, id: str) -> tuple[Document, dict[str, Any]]:
    """Why a clip is in the set of a folder or not: every rule with value and limit; also as JSON values.

    Raises:
        NothingMatchedError: no table, or no clip of that id; names the nearest.
    """
    import pyarrow.compute as pc

    table, about = read_table(folder)
    rows = table.filter(pc.equal(table["id"], id)).to_pylist()
    if not rows:
        ids = table["id"].to_pylist()
        near = [other for other in ids if other.startswith(f"{id}#")] or difflib.get_close_matches(id, ids, n=3)
        hint = f"did you mean {', '.join(map(printable, near[:3]))}?" if near else f"it has {plural(len(ids), 'clip')}"
        raise NothingMatchedError(f"no clip is called {printable(id)}", hint=hint)
    row = rows[0]
    against = {drop["rule"]: drop for drop in row["drops"]}
    rules: list[tuple[Cell, ...]] = []
    for limit in about["limits"]:
        rule = f"{limit['column']}.{limit['side']}"
        value = row["scores"].get(limit["column"])
        is_out = against.pop(rule, None) is not None
        rules.append((rule, value, limit["value"], limit["asked"], ("out", "bad") if is_out else ("in", "good")))
    rules += [(rule, drop["value"], drop["limit"], "", ("out", "bad")) for rule, drop in against.items()]
    limited = {limit["column"] for limit in about["limits"]}
    others = tuple((name, value) for name, value in row["scores"].items() if name not in limited)
    sections = [
        Section(title="Rules", tables=(Table(columns=("rule", "value", "limit", "asked", ""), rows=tuple(rules)),)),
        Section(title="Other columns", tables=(Table(columns=("column", "value"), rows=others),)),
    ]
    seconds = f"{row['start_s']:.3f} to {row['end_s']:.3f} s of {row['source']}"
    banner = Banner(
        word="in the set" if row["kept"] else "not in the set",
        sentence=f"{seconds}; begins by {row['begins']}, ends by {row['ends']}"
        if row["error"] is None
        else row["error"],
        facts=tuple(
            (name, row[key])
            for name, key in (("the same as", "duplicate_of"), ("held out as", "leak_of"), ("cropped", "crop_reason"))
            if row.get(key)
        ),
    )
    return Document(title=id, banner=banner, sections=tuple(sections)), {**row, "limits": about["limits"]}


def hours_of(clips: Sequence[FilmClip]) -> float:
    """Hours of all clips."""
    return sum(clip.end_s - clip.start_s for clip in clips) / 3600


def _hours(hours: float) -> str:
    return f"{hours:.3f}"
