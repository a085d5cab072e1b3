"""A round trip as a document: families on their scale, attribution of errors, worst clips next to their ceiling.

In: `RoundtripResult`. Out: `Document`, rendered as `report.html`, `report.md` and on a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from v2t_eval.core.statistics import Estimate
from v2t_eval.report.cells import part
from v2t_eval.report.document import Banner, Card, Cell, Document, IntervalCell, Section, Table
from v2t_eval.roundtrip.result import CELLS, CellShares, ClipResult, FamilyFigures, RoundtripResult

TITLE = "Round trip"
_NUM_WORST = 12
_HOW = (
    "Floor: captions of other prompts, never its own and none with the same meaning. Ceiling: captions of the "
    "ceiling's clips. Chance-corrected: (generator - floor) / (ceiling - floor); captions of other prompts, not part "
    "of the floor, must be compatible with 0. The ceiling is corrected by its own floor, against the best, 1. "
    "AUROC: how often a caption scores higher with its own prompt than another does. 95 % intervals over prompts."
)
_CELLS = (
    "Each question of a prompt, answered from the clip and from the caption alone. Clip right and caption wrong: "
    "lost by the captioner; clip wrong and caption right: made up by it; both wrong: lost by the generator."
)


def headline(result: RoundtripResult) -> tuple[str, str]:
    """The headline, and the sentence that explains it."""
    first = result.first
    if first is None or first.figures.generator is None:
        return "no figures", "Nothing could be scored; the reasons are listed below."
    figures = first.figures
    if figures.corrected is None:
        return short(figures.generator), f"{first.about}, not calibrated: there is no floor or no room above it."
    top = "a perfect clip" if figures.ceiling is not None else "a perfect caption"
    word = f"{figures.corrected.value:.2f}"
    sentence = (
        f"on a scale where captions of other prompts have 0 and captions of {top} have 1 "
        f"({interval(figures.corrected)}, {figures.corrected.n} prompts): {first.about}."
    )
    return word, sentence


def short(estimate: Estimate | None) -> str:
    """A value with 3 places, a dash for none."""
    return "–" if estimate is None else f"{estimate.value:.3f}"


def interval(estimate: Estimate | None) -> str:
    """A value with its interval."""
    return "–" if estimate is None else f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def document(result: RoundtripResult, folder: Path) -> Document:
    """The report of a round trip whose clips are in `folder`."""
    word, sentence = headline(result)
    sections = [
        Section(title="Between floor and ceiling", text=(_HOW,), tables=(_families(result),)),
        Section(
            title="Error attribution",
            text=(_CELLS,),
            tables=tuple(_cell_tables(result)),
            brief=tuple(_shares(result)),
        )
        if result.cells
        else Section(title="Error attribution"),
        _worst(result, folder),
        Section(title="Notes", text=(*result.notes, *result.guards)),
        _rows(
            "Skipped",
            ("family", "reason", "what to do"),
            [(one.metric, one.reason, one.hint) for one in result.skipped],
        ),
        Section(title="The families, and checks of the scale", tables=(_checks(result),), folded=True),
        _rows("Failed", ("clip", "reason", "message"), _failure_rows(result)),
        _generation_section(result),
    ]
    banner = Banner(word=word, sentence=sentence, facts=tuple(result.sources.items()))
    return Document(title=TITLE, banner=banner, sections=tuple(sections), data="roundtrip.json")


def _rows(title: str, columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> Section:
    return Section(title=title, tables=(Table(columns=columns, rows=tuple(rows)),) if rows else ())


def _generation_section(result: RoundtripResult) -> Section:
    counts = {name.replace("_", " "): str(count) for name, count in result.counts.items()}
    return Section(
        title="Run", facts=tuple({**counts, **result.environment}.items()),
        commands=(result.command,) if result.command else (), folded=True,
        brief=(", ".join(f"{name}: {count}" for name, count in counts.items()),),
    )  # fmt: skip


# --- families
def _families(result: RoundtripResult) -> Table:
    columns = ("family", "floor", "generator", "ceiling", "chance-corrected", "AUROC")
    rows = tuple(
        (one.name, short(f.floor), interval(f.generator), interval(f.ceiling), _bar(f.corrected, 0.0), short(f.auroc))
        for one in result.families
        for f in [one.figures]
    )
    return Table(columns=columns, rows=rows)


def _checks(result: RoundtripResult) -> Table:
    columns = ("family", "other prompts", "ceiling of the best", "AUROC", "AUROC of the ceiling")
    rows = tuple(
        (one.name, _bar(f.deranged, 0.0), _bar(f.ceiling_corrected, 0.0), _bar(f.auroc, 0.5),
         _bar(f.ceiling_auroc, 0.5))
        for one in result.families
        for f in [one.figures]
    )  # fmt: skip
    notes = tuple((f"{one.about}; {_score_source(one)}",) for one in result.families)
    return Table(columns=columns, rows=rows, notes=notes)


def _bar(estimate: Estimate | None, zero: float) -> Cell:
    if estimate is None:
        return None
    return IntervalCell(
        value=estimate.value, low=estimate.low, high=estimate.high, text=interval(estimate), zero=zero,
        least=min(0.0, estimate.low),
        most=max(1.0, estimate.high),
    )  # fmt: skip


def _score_source(family: FamilyFigures) -> str:
    text = f"scored {family.scored} of {family.expected} clip{'s' * (family.expected != 1)}"
    if family.ceiling_expected:
        text += f", at the ceiling {family.ceiling_scored} of {family.ceiling_expected}"
    return f"{text}; {family.figures.prompts} prompts compared"


# --- cells
def _cell_tables(result: RoundtripResult) -> list[Table]:
    """All questions by side and answerer, then the generator's by kind of fact."""

    def table(caption: str, first: str, rows: dict[str, CellShares]) -> Table:
        lines = [
            (name, *(interval(one.shares.get(cell)) for cell in CELLS), str(one.n),
             part(one.unanswered, one.n + one.unanswered))
            for name, one in rows.items()
        ]  # fmt: skip
        return Table(columns=(first, *CELLS.values(), "questions", "unanswered"), rows=tuple(lines), caption=caption)

    whole = {f"{one.side}, clip by the {one.who}": one for one in result.cells if one.kind == "all"}
    made = [one for one in result.cells if one.side == "generator" and one.kind != "all"]
    tables = [table("All questions", "clips", whole)]
    for who in dict.fromkeys(one.who for one in made):
        rows = {one.kind: one for one in made if one.who == who}
        tables.append(table(f"The generator's clips by kind of fact, clip by the {who}", "kind", rows))
    return tables


def _shares(result: RoundtripResult) -> Iterator[str]:
    for cells in result.cells:
        if cells.kind == "all" and cells.n:
            shares = ", ".join(f"{label} {cells.shares[name].value:.3f}" for name, label in CELLS.items())
            yield f"{cells.side}, clip by the {cells.who}: {shares}; n={cells.n}, {cells.unanswered} unanswered"


# --- clips
def _worst(result: RoundtripResult, folder: Path) -> Section:
    shown = [row for row in result.clips if row.path is not None or row.caption is not None][:_NUM_WORST]
    return Section(
        title=f"The {len(shown)} worst clips", cards=tuple(_card(row, folder) for row in shown),
        brief=("The worst clips are shown in report.html.",) if shown else (),
    )  # fmt: skip


def _card(row: ClipResult, folder: Path) -> Card:
    values = ", ".join(f"{name} {value:.2f}" for name, value in row.values.items())
    lines = [f"Caption: {row.caption or '–'}"]
    if row.ceiling_caption is not None:
        lines.append(f"Caption of the ceiling: {row.ceiling_caption}")
    if row.error is not None:
        lines.append(f"{row.error.get('code', '')}: {row.error.get('message', '')}")
    lines += [*row.lost, values]
    return Card(
        title=row.prompt, lines=tuple(lines), clip=folder / row.path if row.path else None,
        other=folder / row.ceiling if row.ceiling else None, labels=("generator", "ceiling"),
    )  # fmt: skip


def _failure_rows(result: RoundtripResult) -> list[tuple[str, ...]]:
    return [
        (row.id, row.error.get("code", ""), row.error.get("message", ""))
        for row in result.clips
        if row.error is not None and row.caption is None
    ]
