"""The audit as a document: sensitivity of each metric, agreement of the judge with the truth.

In: `Audit`. Out: `Document`, rendered as `audit.html`, `audit.md` and on a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from cineloop.world.language.plain_questions import PLAIN
from v2t_eval.audit.record import Agreement, Audit, ByAnswer, FaultResponse
from v2t_eval.audit.table import MP4, SAYS
from v2t_eval.judge.calibration import LEAST_KAPPA
from v2t_eval.report.cells import part
from v2t_eval.report.document import Banner, Document, Heat, Section, Table, Tone

TITLE = "Audit: how far metrics and judge can be trusted"
_LEGEND = (
    "In a cell: of how many clips in a hundred the clean one scores above the same clip at the greatest severity (100 "
    "or, for a score that should rise, 0: it sees the fault; 50: chance). = is bit-identical for every clip and "
    "severity, ~ no more than chance by the sign-flip test of the pairs, ? too few prompts for that test, ! marks a "
    "metric that is fooled: the worse clip scores better. The table of every cell below gives the intervals."
)
_MARKS = "= bit-identical, ~ chance, ? too few prompts, ! fooled"
_SHARES = "In brackets: of how many clips the clean one scores above its corrupted version."
_SETS = {
    "world": "the cartoon world's clips, by exact truth",
    "degraded": "the same with the artifacts of a weak generator, by exact truth",
    "generated": "generated clips, by the referee that reads them",
    "yours": "your clips, by their facts, questions with answers, or the referee",
}
_STILL = PLAIN["motion"].answers["still"]
UNKNOWN = (
    "Agreement on the claims that were answered, about clips whose truth is known. Questions not asked, questions "
    "without an answer, and clips the referee cannot read are listed next to it: they may be the harder ones."
)
_WORDS: dict[str, tuple[str, str, Literal[0, 1, 2, 3, 4]]] = {  # of a cell: verdict, verdict in a count, heat level
    "sees": ("sees it", "seen", 4),
    "in part": ("sees it in part", "seen in part", 3),
    "blind": ("bit-identical", "bit-identical", 2),
    "chance": ("no more than chance", "no more than chance", 2),
    "unclear": ("too few prompts to decide", "with too few prompts to decide", 2),
    "fooled": ("fooled: the worse clip scores better", "fooled", 0),
}
_STABILITY = {
    "right": "answers that are right, clean clips of one figure",
    "flips_repeat": "answers that change when the same is asked again",
    "flips_wording": "answers that change with the wording",
    "flips_order": "answers that change with the list reversed",
    "flips_codec": "answers that change on the clip encoded again",
    "flips_phase": "answers that change on the clip drawn half a frame later",
    "flips_claim": "right answers of a list that are denied when asked for yes or no",
    "both_held": "pairs of claims that exclude each other, both held true",
    "still_right_blur": "right answers that stay right under slight blur",
    "still_right_noise": "right answers that stay right under slight noise",
    "changes_reverse": "right answers about direction that change when the frames are reversed (should be all)",
    "changes_shuffle": "right answers about motion that change when the frames are shuffled (should be all)",
}


def document(audit: Audit) -> Document:
    """The whole report, the sensitivity table first."""
    return Document(title=TITLE, banner=banner(audit), sections=tuple(_sections(audit)), data="audit.json")


def _sections(audit: Audit) -> list[Section]:
    sections = []
    if audit.table:
        severe = [f"{fault}: {SAYS[fault]}" for fault in _faults(audit.table) if fault in SAYS]
        sections.append(
            Section(
                title="What each metric sees of each fault",
                text=(_LEGEND,),
                tables=tuple(_response_tables(audit.table)),
            )
        )
        sections.append(Section(title="What each metric cannot see", text=(_SHARES, *blindness(audit))))
        sections.append(Section(title="The faults", text=tuple(severe)))
        sections.append(Section(title="Every cell with its intervals", tables=(_details(audit.table),), folded=True))
    for name, rows in audit.agreement.items():
        sections.append(
            Section(
                title=f"Judge: {_SETS.get(name, name)}",
                text=(UNKNOWN,),
                tables=(_agreement(rows, audit.answers.get(name, ())),),
            )
        )
    for name, rows_of in audit.answers.items():
        if rows_of:
            title = f"Judge, answer by answer: {_SETS.get(name, name)}"
            sections.append(
                Section(title=title, text=(failing(rows_of),), tables=(_answers(rows_of),), folded=name != "world")
            )
    if audit.noticed:
        title = "Faults that the judge sees by the facts they break"
        sections.append(Section(title=title, text=tuple(_judge_blind(audit)), tables=(_detection_table(audit),)))
    if audit.stability:
        sections.append(Section(title="Stability of the judge", tables=(_stability(audit.stability),)))
    about = {name: value for part in (audit.clips, audit.judge, audit.environment) for name, value in part.items()}
    lost = [f"failed: {each['id']}: {each['code']}: {each['message']}" for each in audit.failures]
    command = (about.pop("command"),) if "command" in about else ()
    sections.append(
        Section(title="What was audited", text=(*audit.notes, *lost), facts=tuple(about.items()), commands=command)
    )
    return sections


def blindness(audit: Audit) -> list[str]:
    """A sentence for each metric: the faults it sees, cannot see, and is fooled by."""
    sentences = []
    for metric in dict.fromkeys(row.metric for row in audit.table):
        rows = [row for row in audit.table if row.metric == metric]
        named = {word: [row for row in rows if row.word == word] for word in dict.fromkeys(row.word for row in rows)}
        if named.keys() == {"sees"}:
            sentences.append(f"{metric} sees all of these.")
            continue
        parts = [
            f"{says} {_and([row.fault if plain else f'{row.fault} ({row.share:.0%})' for row in named[word]])}{end}"
            for word, says, end, plain in (
                ("sees", "sees", "", True),
                ("in part", "sees in part", "", False),
                ("blind", "cannot see", ": bit-identical", True),
                ("chance", "does no better than chance on", "", False),
                ("unclear", "has too few prompts to decide on", "", False),
                ("fooled", "is fooled by", "", False),
            )
            if word in named
        ]
        sentences.append(f"{metric} {'; '.join(parts)}.")
    return sentences


def is_shown(row: ByAnswer) -> bool:
    """Whether the judge was shown to know the answer: the lower end of kappa is that which an offered answer needs."""
    return row.kappa is not None and row.kappa_low >= LEAST_KAPPA


def failing(rows: Sequence[ByAnswer]) -> str:
    """The unreliable answers of a judge, in a sentence."""
    bad = [row for row in rows if not is_shown(row)]
    if not bad:
        return f"All {len(rows)} answers are shown to reach kappa {LEAST_KAPPA:g}: the lower end of its interval does."
    named = [f"{row.answer} ({row.kind}, {_why_not(row)})" for row in bad]
    return f"{len(bad)} of {len(rows)} answers are not shown to reach kappa {LEAST_KAPPA:g}: {_and(named)}."


def _why_not(row: ByAnswer) -> str:
    if not row.n:
        return "not offered"
    if row.kappa is None:
        return "kappa undefined"
    return "below it" if row.kappa_high < LEAST_KAPPA else f"{row.claims} claims leave it open"


def banner(audit: Audit) -> Banner:
    """The headline, and the figures behind it."""
    head, detail = [], []
    if audit.table:
        words = [row.word for row in audit.table]
        metrics = list(dict.fromkeys(row.metric for row in audit.table))
        subject = f"{len(metrics)} metrics see" if len(metrics) > 1 else f"{metrics[0]} sees"
        head.append(f"{subject} {words.count('sees')} of {len(words)} planted faults")
        detail.append(", ".join(f"{words.count(w)} {of_many}" for w, (_, of_many, _) in _WORDS.items() if w in words))
    for name, rows in audit.agreement.items():
        kappa = f"kappa {_kappa(rows[0], 2)}"
        unread = sorted((row for row in rows[1:] if row.unread_share), key=lambda row: -row.unread_share)
        known = f", truth not known: {', '.join(f'{row.kind} {row.unread_share:.0%}' for row in unread)}"
        detail.append(f"judge on {name}: {kappa}{known if unread else ''}")
    if "world" in audit.answers:
        rows_of = audit.answers["world"]
        head.append(f"the judge is reliable on {sum(map(is_shown, rows_of))} of its {len(rows_of)} answers")
    sentence = "; ".join(detail) or "nothing could be measured"
    headline = "; ".join(head) or "Nothing could be measured"
    return Banner(word=headline[0].upper() + headline[1:], sentence=sentence)


def _faults(table: Sequence[FaultResponse]) -> list[str]:
    return list(dict.fromkeys(row.fault for row in table))


def _response_tables(table: Sequence[FaultResponse]) -> list[Table]:
    """One table of what is planted in frames, one of the same through mp4."""
    tables = []
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
        tables.append(Table(columns=columns, rows=lines, caption=f"{count} clips{MP4 if through else ''}; {_MARKS}"))
    return tables


def _cell(row: FaultResponse | None) -> str | Heat:
    if row is None:
        return "n/a"
    says, _, level = _WORDS[row.word]
    hint = f"{row.metric}, {row.fault}: {says}"
    if row.word == "blind":
        return Heat(text="=", level=level, hint=hint)
    mark = {"chance": " ~", "unclear": " ?", "fooled": " !"}.get(row.word, "")
    cell = row.cell
    hint += f"; clean above corrupted in {row.share:.0%} [{cell.wins_low:.0%}, {cell.wins_high:.0%}] of {cell.n} clips"
    return Heat(text=f"{100 * row.share:.0f}{mark}", level=level, hint=hint)


def _details(table: Sequence[FaultResponse]) -> Table:
    lines = []
    for row in table:
        cell = row.cell
        pairs = _span(cell.wins, cell.wins_low, cell.wins_high)
        change = f"{cell.change:+.3g} [{cell.low:+.3g}, {cell.high:+.3g}]"
        pooled = _span(cell.auroc, cell.auroc_low, cell.auroc_high)
        says = _WORDS[row.word][0]
        lines.append((row.metric, row.fault, says, pairs, pooled, change, f"{cell.tau:+.2f}", cell.n))
    columns = ("metric", "fault", "verdict", "clean above its corrupted version", "AUROC over all pairs", "change",
               "Kendall tau", "clips")  # fmt: skip
    return Table(columns=columns, rows=tuple(lines), caption="at the greatest severity; 95 % intervals over prompts")


def _answers(rows: Sequence[ByAnswer]) -> Table:
    lines = []
    for row in rows:
        kappa: str | tuple[str, Tone] = ("not offered", "unsure")
        if row.kappa is not None and row.n:
            tone: Tone = "good" if is_shown(row) else "bad" if row.kappa_high < LEAST_KAPPA else "unsure"
            kappa = (_span(row.kappa, row.kappa_low, row.kappa_high), tone)
        elif row.n:
            kappa = ("by the frozen rule only" if row.answer == _STILL else "undefined: no claim is false", "unsure")
        right = f"{row.right} of {row.n}" if row.n else "–"
        lines.append((row.kind, row.answer, row.planted, right, kappa, row.claims))
    columns = ("kind of fact", "answer", "clips it is true of", "right, of those asked", "kappa", "claims")
    return Table(columns=columns, rows=tuple(lines), caption="kappa over claims that it is the answer, true and false")


def _agreement(rows: Sequence[Agreement], answers: Sequence[ByAnswer]) -> Table:
    """A row for each kind of fact; a kind of which no claim was answered has one too."""
    lines = [
        (
            row.kind,
            _kappa(row, 3),
            "–" if row.undefined else _span(row.auroc, row.auroc_low, row.auroc_high),
            _span(row.yes_bias, row.yes_bias_low, row.yes_bias_high, sign=True),
            _span(row.expected_calibration_error, row.expected_calibration_error_low,
                  row.expected_calibration_error_high),
            row.n, row.clips, part(row.unanswered, row.n + row.unanswered), part(row.unread, row.unread + row.facts),
        )
        for row in rows
    ]  # fmt: skip
    for kind in dict.fromkeys(row.kind for row in answers):
        if kind not in {row.kind for row in rows}:
            num = 2 * sum(row.planted for row in answers if row.kind == kind)
            lines.append((kind, "–", "–", "–", "–", 0, 0, part(num, num), "–"))
    columns = ("kind of fact", "kappa", "AUROC", "bias to yes", "calibration error", "claims", "prompts", "no answer",
               "truth unknown")  # fmt: skip
    return Table(
        columns=columns, rows=tuple(lines), caption="95 % intervals over prompts: clips of one prompt count as one case"
    )


def _detection_table(audit: Audit) -> Table:
    rows = []
    for row in audit.noticed:
        tone: Tone = {"sees": "good", "cannot see": "bad"}.get(row.word, "unsure")  # type: ignore[assignment]
        rows.append((row.fault, row.kind, (row.word, tone), _span(row.auroc, row.auroc_low, row.auroc_high), row.n))
    return Table(
        columns=("fault", "asked about", "the judge", "AUROC, clean against corrupted", "clips"), rows=tuple(rows)
    )


def _judge_blind(audit: Audit) -> list[str]:
    """Faults that the judge sees, sees in part, and cannot see."""
    claimed = [f"{row.fault} ({row.kind})" for row in audit.noticed if row.word == "sees"]
    partly = [f"{row.fault} ({row.kind})" for row in audit.noticed if row.word == "sees in part"]
    blind = [f"{row.fault} ({row.kind})" for row in audit.noticed if row.word == "cannot see"]
    return [
        f"{what}: {_and(names) or 'none'}."
        for what, names in (("It sees", claimed), ("It sees in part", partly), ("It cannot see", blind))
    ]


def _stability(stability: dict[str, float]) -> Table:
    rows = [
        (says, stability[name], int(stability.get(f"{name}_n", 0)))
        for name, says in _STABILITY.items()
        if name in stability
    ]
    for name, says in (("refused", "refusals"), ("unparsable", "replies that cannot be read"),
                       ("failed", "questions on which the model failed"),
                       ("unaudited", "questions that are not asked: their answer is not offered")):  # fmt: skip
        if name in stability:
            rows.append((says, stability[name], int(stability.get("asked_n", 0))))
    return Table(columns=("share of", "value", "cases"), rows=tuple(rows))


def _kappa(row: Agreement, digits: int) -> str:
    if row.kappa is None:
        return f"undefined: {row.undefined}"
    value, low, high = (f"{each:.{digits}f}" for each in (row.kappa, row.kappa_low, row.kappa_high))
    return f"{value} [{low}, {high}]"


def _span(value: float, low: float, high: float, *, sign: bool = False) -> str:
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" if sign else f"{value:.3f} [{low:.3f}, {high:.3f}]"


def _and(names: Sequence[str]) -> str:
    return ", ".join(names[:-1]) + (" and " if len(names) > 1 else "") + names[-1] if names else ""
