"""The audit as a page and as Markdown: what each metric sees, what it is blind to, how far the judge is right.

In: `Audit`. Out: sections (`v2t_eval.report.page`), bytes of `audit.html` and `audit.md`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from v2t_eval.audit.record import Agreement, Audit, Seen
from v2t_eval.audit.table import MP4, SAYS
from v2t_eval.report.page import Banner, Section, Table, Tone, render

TITLE = "Audit: how far metrics and judge can be trusted"
_LEGEND = (
    "In a cell: how the score moves at the greatest severity, the AUROC of clean above spoiled clips there with its "
    "95 % interval (1 sees it, 0.5 tells nothing, 0 takes spoiled for better), and the median Kendall tau of severity "
    "and score. = is equal to the bit for every clip and severity, ~ no more than chance, ! marks a metric that is "
    "fooled: the worse clip scores better."
)
_SETS = {
    "world": "the cartoon world's clips, by exact truth",
    "melted": "the same with figures as a weak generator draws them, by exact truth",
    "generated": "generated clips, by the referee that reads them",
    "yours": "your clips, by their facts, questions with answers, or the referee",
}
_STEADY = {
    "right": "answers that are right, clean clips of one figure",
    "flips_repeat": "answers that are another when the same is asked again",
    "flips_wording": "answers that are another in other words",
    "flips_order": "answers that are another with the list reversed",
    "still_right_blur": "right answers that stay right under slight blur",
    "still_right_noise": "right answers that stay right under slight noise",
    "changes_reverse": "right answers about direction that change when the frames are reversed (should be all)",
    "changes_shuffle": "right answers about motion that change when the frames are shuffled (should be all)",
}


def sections(audit: Audit) -> list[Section]:
    """Everything, the table first."""
    found = []
    if audit.table:
        severe = [f"{fault}: {SAYS[fault]}" for fault in _faults(audit.table) if fault in SAYS]
        found.append(
            Section(title="What each metric sees of each fault", text=(_LEGEND,), tables=tuple(_seen(audit.table)))
        )
        found.append(Section(title="What each metric cannot see", text=tuple(blindness(audit))))
        found.append(Section(title="The faults", text=tuple(severe)))
    for name, rows in audit.agreement.items():
        found.append(Section(title=f"Judge: {_SETS.get(name, name)}", tables=(_agreement(rows),)))
    if audit.noticed:
        title = "Faults that the judge sees in the facts they break"
        found.append(Section(title=title, text=tuple(_judge_blind(audit)), tables=(_noticed(audit),)))
    if audit.stability:
        found.append(Section(title="How steady the judge is", tables=(_steady(audit.stability),)))
    about = {name: value for part in (audit.clips, audit.judge, audit.environment) for name, value in part.items()}
    lost = [f"failed: {each['id']}: {each['code']}: {each['message']}" for each in audit.failures]
    made = (about.pop("command"),) if "command" in about else ()
    found.append(
        Section(title="What was audited", text=(*audit.notes, *lost), facts=tuple(about.items()), commands=made)
    )
    return found


def blindness(audit: Audit) -> list[str]:
    """Of each metric in words what it cannot see and what it is fooled by."""
    found = []
    for metric in dict.fromkeys(row.metric for row in audit.table):
        rows = [row for row in audit.table if row.metric == metric]
        exact = [row.fault for row in rows if row.mark == "="]
        told = [f"{row.fault} (AUROC {row.cell.auroc:.2f})" for row in rows if row.mark == "~"]
        fooled = [f"{row.fault} (AUROC {row.cell.auroc:.2f})" for row in rows if row.mark.endswith("!")]
        parts = [f"cannot see {_and(exact)}: equal to the bit"] if exact else []
        parts += [f"tells no more than chance of {_and(told)}"] if told else []
        parts += [f"is fooled by {_and(fooled)}"] if fooled else []
        found.append(f"{metric} {'; '.join(parts) or 'sees all of these'}.")
    return found


def banner(audit: Audit) -> Banner:
    """What was found, in a sentence."""
    told = []
    if audit.table:
        metrics = len({row.metric for row in audit.table})
        blind = sum(row.mark in ("=", "~") or row.mark.endswith("!") for row in audit.table)
        cells = f"{blind} of {len(audit.table)} cells blind or fooled"
        told.append(f"{metrics} metrics by {len(_faults(audit.table))} faults: {cells}")
    for name, rows in audit.agreement.items():
        told.append(f"judge on {name}: kappa {rows[0].kappa:.2f} [{rows[0].kappa_low:.2f}, {rows[0].kappa_high:.2f}]")
    return Banner(word="audited", sentence="; ".join(told) or "nothing could be measured")


def html(audit: Audit, folder: Path) -> bytes:
    """The page, to be written into `folder`."""
    return render(TITLE, banner(audit), sections(audit), folder)


def markdown(audit: Audit) -> bytes:
    """The same as Markdown."""
    from v2t.base.log import printable
    from v2t_eval.report.markdown import plain

    parts = [f"# {TITLE}", f"**{plain(banner(audit).sentence, 1000)}**"]
    for section in sections(audit):
        parts.append(f"## {plain(section.title)}")
        parts += [plain(section.text[0], 2000)] if len(section.text) == 1 else []
        parts += ["\n".join(f"- {plain(line, 2000)}" for line in section.text)] if len(section.text) > 1 else []
        parts += ["\n".join(f"- {plain(name)}: {plain(value, 1000)}" for name, value in section.facts)]
        parts += [f"```\n{printable(line).replace('`', '')}\n```" for line in section.commands]
        for table in section.tables:
            parts += [plain(table.caption)] if table.caption else []
            head = [[plain(each) for each in table.columns], ["---"] * len(table.columns)]
            rows = [[plain(_text(cell)) for cell in row] for row in table.rows]
            parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in (*head, *rows)))
    return ("\n\n".join(part for part in parts if part) + "\n").encode()


def _text(cell: object) -> str:
    if isinstance(cell, tuple):
        cell = cell[0]
    return "" if cell is None else f"{cell:.3f}" if isinstance(cell, float) else str(cell)


def _faults(table: Sequence[Seen]) -> list[str]:
    return list(dict.fromkeys(row.fault for row in table))


def _seen(table: Sequence[Seen]) -> list[Table]:
    """One table of what is planted in frames, one of the same through mp4."""
    found = []
    for through in (False, True):
        rows = [row for row in table if row.fault.endswith(MP4) == through]
        if not rows:
            continue
        faults = _faults(rows)
        by_name = {(row.metric, row.fault): row for row in rows}
        lines = tuple(
            (metric, *(_cell(by_name.get((metric, fault))) for fault in faults))
            for metric in dict.fromkeys(row.metric for row in rows)
        )
        columns = ("metric", *(fault.removesuffix(MP4) for fault in faults))
        count = max(row.cell.n for row in rows)
        found.append(Table(columns=columns, rows=lines, caption=f"{count} clips{MP4 if through else ''}"))
    return found


def _cell(row: Seen | None) -> str | tuple[str, Tone]:
    if row is None:
        return "n/a"
    if row.mark == "=":
        return "=", "bad"
    tone: Tone = "bad" if row.mark.endswith("!") else "unsure" if row.mark == "~" else "good"
    cell = row.cell
    tau = f", {cell.tau:+.2f}" if abs(cell.tau) not in (0.0, 1.0) or row.mark != "~" else ""
    return f"{row.mark} {cell.auroc:.2f} [{cell.auroc_low:.2f}, {cell.auroc_high:.2f}]{tau}", tone


def _agreement(rows: Sequence[Agreement]) -> Table:
    lines = tuple(
        (
            row.kind,
            _span(row.kappa, row.kappa_low, row.kappa_high),
            _span(row.auroc, row.auroc_low, row.auroc_high),
            _span(row.yes_bias, row.yes_bias_low, row.yes_bias_high, sign=True),
            _span(row.expected_calibration_error, row.expected_calibration_error_low,
                  row.expected_calibration_error_high),
            row.n, row.clips, row.unanswered, row.unread,
        )
        for row in rows
    )  # fmt: skip
    columns = ("kind of fact", "kappa", "AUROC", "bias to yes", "calibration error", "claims", "prompts", "unanswered",
               "not known")  # fmt: skip
    return Table(columns=columns, rows=lines, caption="95 % intervals over prompts: clips of one prompt are one case")


def _noticed(audit: Audit) -> Table:
    rows = []
    for row in audit.noticed:
        tone: Tone = {"sees": "good", "cannot see": "bad"}.get(row.word, "unsure")  # type: ignore[assignment]
        rows.append((row.fault, row.kind, (row.word, tone), _span(row.auroc, row.auroc_low, row.auroc_high), row.n))
    return Table(
        columns=("fault", "asked about", "the judge", "AUROC, clean against spoiled", "clips"), rows=tuple(rows)
    )


def _judge_blind(audit: Audit) -> list[str]:
    """What the judge claims to see, and what it cannot."""
    claimed = [f"{row.fault} ({row.kind})" for row in audit.noticed if row.word == "sees"]
    partly = [f"{row.fault} ({row.kind})" for row in audit.noticed if row.word == "sees in part"]
    blind = [f"{row.fault} ({row.kind})" for row in audit.noticed if row.word == "cannot see"]
    return [
        f"{what}: {_and(names) or 'none'}."
        for what, names in (("It sees", claimed), ("It sees in part", partly), ("It cannot see", blind))
    ]


def _steady(found: dict[str, float]) -> Table:
    rows = [(says, found[name], int(found.get(f"{name}_n", 0))) for name, says in _STEADY.items() if name in found]
    for name, says in (("refused", "refusals"), ("unparsable", "replies that cannot be read"),
                       ("failed", "questions the model broke on")):  # fmt: skip
        if name in found:
            rows.append((says, found[name], int(found.get("asked_n", 0))))
    return Table(columns=("share of", "value", "cases"), rows=tuple(rows))


def _span(value: float, low: float, high: float, *, sign: bool = False) -> str:
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" if sign else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else ""
