"""What a round trip found, for people: `report.md` and `report.html`.

In: `Found`. Out: Markdown for a pull request, and the page (`v2t_eval.report.page`): the verdict, the families between
floor and ceiling, the four cells, the worst clips beside their ceiling, what was skipped and why, how to repeat it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from v2t_eval.report.markdown import plain
from v2t_eval.report.page import Banner, Card, Cell, Interval, Section, Table, render
from v2t_eval.roundtrip.calibration import Told
from v2t_eval.roundtrip.cells import CELLS, Cells
from v2t_eval.roundtrip.found import Family, Found, Row

TITLE = "Round trip"
MAX_BYTES = 500_000  # GitHub drops a summary beyond 1 MiB whole
_NUM_WORST = 12
_CALIBRATED = ("family", "floor", "generator", "ceiling", "chance-corrected", "other prompts", "ceiling of the best",
               "AUROC", "AUROC of the ceiling")  # fmt: skip
_NARROW = ("family", "floor", "generator", "ceiling", "chance-corrected", "AUROC")
_DRAWN = (_CALIBRATED[0], " · ".join(_CALIBRATED[1:4]), *_CALIBRATED[4:])
_HOW = (
    "Floor: captions of other prompts, none its own and none that means the same. Ceiling: captions of the ceiling's "
    "clips. Chance-corrected: (generator - floor) / (ceiling - floor); captions of other prompts that made no part of "
    "the floor must hold 0. The ceiling is corrected by its own floor, against the best there can be, 1. AUROC: how "
    "often a caption scores higher with its own prompt than another does. 95 % intervals over prompts."
)
_CELLS = (
    "Each question of a prompt, answered from the clip and from the caption alone. Clip right and caption wrong is "
    "what the captioner lost, clip wrong and caption right what it made up, both wrong what the generator lost."
)


def headline(found: Found) -> tuple[str, str]:
    """A word or two, and the sentence that says what they mean."""
    first = found.first
    if first is None or first.figures.generator is None:
        return "no figures", "Nothing could be scored; the reasons stand below."
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


def short(told: Told | None) -> str:
    """A value with 3 places, a dash for none."""
    return "–" if told is None else f"{told.value:.3f}"


def interval(told: Told | None) -> str:
    """A value with its interval."""
    return "–" if told is None else f"{told.value:.3f} [{told.low:.3f}, {told.high:.3f}]"


def markdown(found: Found) -> bytes:
    """`report.md`, bounded in size."""
    word, sentence = headline(found)
    parts = [f"# {TITLE}", f"**{plain(word)}** {plain(sentence, 1000)}", _bullets(found.sources)]
    parts += ["## Between floor and ceiling", _HOW]
    parts.append(_md_table(_CALIBRATED, [_texts(family) for family in found.families]))
    parts.append("\n".join(f"- {plain(one.name)}: {plain(one.about)}; {_scored(one)}" for one in found.families))
    if found.cells:
        parts += ["## Whose loss", _CELLS, *_md_cells(found)]
    if found.notes or found.guards:
        parts += ["## What to know", "\n".join(f"- {plain(line, 1000)}" for line in (*found.notes, *found.guards))]
    if found.skipped:
        lines = [[one.metric, one.reason, one.hint] for one in found.skipped]
        parts += ["## Skipped", _md_table(("family", "reason", "what to do"), lines)]
    worst = [row for row in found.clips if row.caption is not None][:_NUM_WORST]
    if worst:
        lines = [[row.prompt, row.caption or "–", "; ".join(row.lost) or "–"] for row in worst]
        parts += [f"## The {len(worst)} worst clips", _md_table(("prompt", "caption", "lost"), lines)]
    if failed := _failed(found):
        parts += ["## Failed", _md_table(("clip", "reason", "message"), failed)]
    parts += [
        "## How it was made",
        f"`{found.command}`" if found.command else "",
        _bullets({**_counts(found), **found.environment}),
    ]
    text = "\n\n".join(part for part in parts if part) + "\n"
    data = text.encode("utf-8", "replace")
    if len(data) <= MAX_BYTES:
        return data
    return data[: data.rfind(b"\n", 0, MAX_BYTES)] + b"\n\nCut here; the rest stands in roundtrip.json.\n"


def page(found: Found, folder: Path) -> bytes:
    """`report.html`, to be written into `folder`."""
    word, sentence = headline(found)
    banner = Banner(word=word, sentence=sentence, facts=tuple(found.sources.items()))
    rows = tuple(tuple(_drawn(family)) for family in found.families)
    notes = tuple((f"{family.about}; {_scored(family)}",) for family in found.families)
    sections = [
        Section(
            title="Between floor and ceiling", text=(_HOW,),
            tables=(Table(columns=_DRAWN, rows=rows, notes=notes),),
        )
    ]  # fmt: skip
    if found.cells:
        sections.append(Section(title="Whose loss", text=(_CELLS,), tables=tuple(_cell_tables(found))))
    shown = [row for row in found.clips if row.path is not None][:_NUM_WORST]
    if shown:
        cards = tuple(_card(row, folder) for row in shown)
        sections.append(Section(title=f"The {len(cards)} worst clips", cards=cards))
    if found.notes or found.guards:
        sections.append(Section(title="What to know", text=(*found.notes, *found.guards)))
    if found.skipped:
        lines = tuple((one.metric, one.reason, one.hint) for one in found.skipped)
        sections.append(
            Section(title="Skipped", tables=(Table(columns=("family", "reason", "what to do"), rows=lines),))
        )
    if failed := _failed(found):
        table = Table(columns=("clip", "reason", "message"), rows=tuple(map(tuple, failed)))
        sections.append(Section(title="Failed", tables=(table,)))
    made = tuple({**_counts(found), **found.environment}.items())
    sections.append(
        Section(title="How it was made", facts=made, commands=tuple(filter(None, [found.command])), folded=True)
    )
    return render(TITLE, banner, sections, folder)


def table(found: Found) -> str:
    """The figures for a terminal."""
    word, sentence = headline(found)
    lines = [f"{word} {sentence}", ""]
    rows = [list(_NARROW), *([family.name, *_narrow(family)] for family in found.families)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_NARROW))]
    lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    for cells in found.cells:
        if cells.kind == "all" and cells.n:
            shares = ", ".join(f"{told} {cells.shares[name].value:.3f}" for name, told in CELLS.items())
            lines.append(f"{cells.side}, clip by the {cells.who}: {shares}; n={cells.n}, {cells.unanswered} unanswered")
    lines += [f"{one.metric}: skipped: {one.reason}{f' ({one.hint})' if one.hint else ''}" for one in found.skipped]
    lines.append(", ".join(f"{name}: {count}" for name, count in found.counts.items()))
    return "\n".join(lines)


# --- families
def _narrow(family: Family) -> list[str]:
    """What fits a terminal; the report has all of it."""
    f = family.figures
    return [short(f.floor), short(f.generator), short(f.ceiling), interval(f.corrected), short(f.auroc)]


def _texts(family: Family) -> list[str]:
    f = family.figures
    return [family.name, short(f.floor), interval(f.generator), interval(f.ceiling), interval(f.corrected),
            interval(f.deranged), interval(f.ceiling_corrected), interval(f.auroc),
            interval(f.ceiling_auroc)]  # fmt: skip


def _scored(family: Family) -> str:
    told = f"scored {family.scored} of {family.expected} clip{'s' * (family.expected != 1)}"
    if family.ceiling_expected:
        told += f", at the ceiling {family.ceiling_scored} of {family.ceiling_expected}"
    return f"{told}; {family.figures.prompts} prompts compared"


def _drawn(family: Family) -> list[Cell]:
    """As `_texts`, the figures that tell most drawn on an axis."""
    f = family.figures
    cells: list[Cell] = [family.name, " · ".join(map(short, (f.floor, f.generator, f.ceiling)))]
    for told, zero in ((f.corrected, 0.0), (f.deranged, 0.0), (f.ceiling_corrected, 0.0), (f.auroc, 0.5),
                       (f.ceiling_auroc, 0.5)):  # fmt: skip
        if told is None:
            cells.append("–")
            continue
        cells.append(
            Interval(
                value=told.value,
                low=told.low,
                high=told.high,
                text=interval(told),
                zero=zero,
                least=min(0.0, told.low),
                most=max(1.0, told.high),
            )  # fmt: skip
        )
    return cells


# --- cells
def _cell_row(cells: Cells, first: str) -> list[str]:
    return [first, *(interval(cells.shares.get(name)) for name in CELLS), str(cells.n), _of_all(cells)]


def _cell_parts(found: Found) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
    """(caption, columns, rows): all questions by side and answerer, then the generator's by kind of fact."""
    rest = (*CELLS.values(), "questions", "unanswered")
    whole = [_cell_row(one, f"{one.side}, clip by the {one.who}") for one in found.cells if one.kind == "all"]
    parts = [("All questions", ("clips", *rest), whole)]
    for who in dict.fromkeys(one.who for one in found.cells):
        rows = [
            _cell_row(one, one.kind)
            for one in found.cells
            if one.who == who and one.side == "generator" and one.kind != "all"
        ]
        if rows:
            parts.append((f"The generator's clips by kind of fact, clip by the {who}", ("kind", *rest), rows))
    return parts


def _of_all(cells: Cells) -> str:
    """How many questions a side left unanswered, and the share that is."""
    whole = cells.n + cells.unanswered
    return f"{cells.unanswered} of {whole} ({cells.unanswered / whole:.0%})" if cells.unanswered else "0"


def _cell_tables(found: Found) -> list[Table]:
    return [
        Table(columns=columns, rows=tuple(map(tuple, rows)), caption=caption)
        for caption, columns, rows in _cell_parts(found)
    ]


def _md_cells(found: Found) -> list[str]:
    return [f"{caption}:\n\n{_md_table(columns, rows)}" for caption, columns, rows in _cell_parts(found)]


# --- clips
def _card(row: Row, folder: Path) -> Card:
    values = ", ".join(f"{name} {value:.2f}" for name, value in row.values.items())
    lines = [f"Caption: {row.caption or '–'}"]
    if row.ceiling_caption is not None:
        lines.append(f"Caption of the ceiling: {row.ceiling_caption}")
    if row.error is not None:
        lines.append(f"{row.error.get('code', '')}: {row.error.get('message', '')}")
    lines += [*row.lost, values]
    return Card(
        title=row.prompt, lines=tuple(lines), clip=folder / row.path if row.path else None,
        beside=folder / row.ceiling if row.ceiling else None, labels=("generator", "ceiling"),
    )  # fmt: skip


def _failed(found: Found) -> list[list[str]]:
    return [
        [row.id, row.error.get("code", ""), row.error.get("message", "")]
        for row in found.clips
        if row.error is not None and row.caption is None
    ]


def _counts(found: Found) -> dict[str, str]:
    return {name.replace("_", " "): str(count) for name, count in found.counts.items()}


# --- Markdown
def _bullets(pairs: dict[str, str]) -> str:
    return "\n".join(f"- {plain(name)}: {plain(value)}" for name, value in pairs.items())


def _md_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[plain(cell) for cell in head], ["---"] * len(head), *([plain(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
