"""A selection as files and as a report: copies of the kept clips, their manifest, a table of all clips, a page."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from cineloop.files import write_atomic
from cineloop.log import plural
from cineloop.manifest import dump_line, write_manifest
from v2t_eval.core.inputs import Inputs
from v2t_eval.report import page
from v2t_eval.report.document import Banner, Card, Document, Section, Table
from v2t_eval.select.selection import Candidate, Selection

MANIFEST, TABLE, PAGE = NAMES = "manifest.jsonl", "selection.jsonl", "index.html"


def row_of(one: Candidate) -> dict[str, Any]:
    """A row of `selection.jsonl`."""
    return {"id": one.clip.id, "prompt": one.clip.prompt, "value": one.value, "check": one.check, "rank": one.rank,
            "kept": one.kept, "error": one.error}  # fmt: skip


def as_dict(selection: Selection) -> dict[str, Any]:
    """The selection as JSON holds it."""
    gains = {
        name: [{"n": g.n, "value": g.value, "low": g.low, "high": g.high, "prompts": g.num_prompts} for g in each]
        for name, each in selection.gains.items()
    }
    return {"schema": 1, "by": selection.by, "check": selection.check, "best_of": gains,
            "clips": [row_of(one) for one in selection.candidates]}  # fmt: skip


def write(selection: Selection, inputs: Inputs, output: Path, cache: Path | None) -> None:
    """Copies of the kept clips first, then the files that name them."""
    samples, rows = {sample.id: sample for sample in inputs.samples}, []
    for one in selection.kept:
        sample = samples[one.clip.id]
        if sample.clip is None or sample.clip.path is None:
            continue  # a row of failures.jsonl: there is no file, and no metric of clips gave it a value
        target = output / sample.row["path"]
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        shutil.copyfile(sample.clip.path, partial)
        partial.replace(target)
        rows.append({**sample.row, "selected": {"by": selection.by, "value": one.value, "rank": one.rank}})
    write_manifest(rows, output / MANIFEST)
    write_atomic(output / TABLE, b"".join(dump_line(row_of(one)) for one in selection.candidates))
    write_atomic(output / PAGE, page.render(document(selection, output), output, cache))


def document(selection: Selection, folder: Path | None) -> Document:
    """The report; with `folder`, where the kept clips lie, it shows them."""
    prompts = len({one.prompt for one in selection.candidates})
    head = f"{len(selection.kept)} of {plural(len(selection.candidates), 'clip')} kept, for {plural(prompts, 'prompt')}"
    lines = [(gain.n, name, gain.value, f"[{gain.low:.3f}, {gain.high:.3f}]", gain.num_prompts)
             for name, gains in selection.gains.items() for gain in gains]  # fmt: skip
    columns = ("Best of n", "Metric", "Mean", "95 % interval", "Prompts")
    wrong = [
        f"{kept.prompt}: {kept.clip.path or kept.clip.id} was chosen ({selection.check} {kept.check:.3g}), "
        f"{better.clip.path or better.clip.id} has {better.check:.3g}"
        for kept, better in selection.mistakes
    ]
    cards = tuple(
        Card(title=one.prompt, clip=folder / str(one.clip.path), labels=("clip", ""),
             lines=(f"{selection.by} {one.value:.3g}",))
        for one in selection.kept
    ) if folder else ()  # fmt: skip
    sections = (
        Section(title="What the best of n is worth", tables=(Table(columns=columns, rows=tuple(lines)),)),
        Section(title=f"Where {selection.check} would have chosen another clip", text=tuple(wrong)),
        Section(title="Kept clips", cards=cards),
    )
    return Document(title="Selection", banner=Banner(word=head, sentence=""), sections=sections)
