"""What the demo shows: one screen, what is right first, and one page.

In: the demo's folder (clips, captions and their facts, generated clips and the judge's answers), what `work` returned.
Out: a table of at most 80 columns on stdout, `index.html` in the folder. Every figure is read from what the jobs wrote.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines, read_json
from cineloop.files import write_atomic
from cineloop.world.language.plain_questions import PLAIN
from v2t_eval.demo.work import FAULT, NUM_PROMPTS, SHOWN, DemoRun
from v2t_eval.gate.verdict import OUTCOMES, Verdict
from v2t_eval.report.document import Banner, Card, Check, Document, IntervalCell, Section, Table
from v2t_eval.report.evidence import answer_lines, fact_lines, struck_text
from v2t_eval.report.page import render

FIGURES = Path(__file__).parent / "figures.json"  # of the card, by measure_starter.py
COLUMNS = 80  # of the screen
MARKS = ("right", "missed", "wrong")
FACTOR_OF = {wording: factor for factor, plain in PLAIN.items() for wording in plain.wordings}
NEXT = (
    "v2t caption CLIPS/ -o captions/ --model Qwen/Qwen3.5-4B  # real footage",
    't2v generate "A red ball rolls to the right on the beach." -o made/',
    "v2t-eval score made/ --metrics question_score  # are they as prompted?",
)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file."""
    return [row for _, row in json_lines(path)]


def result(folder: Path, name: str) -> dict[str, Any]:
    """One metric of a folder's `scores.json`."""
    results = read_json(folder / "scores.json")["results"]
    return next(result for result in results if result["name"] == name)


def facts_line(item: dict[str, Any]) -> str:
    """The facts of one clip in words; `item["facts"]` holds per kind how many were right, missed, wrong."""
    total = sum(sum(counts) for counts in item["facts"].values())
    right = sum(counts[0] for counts in item["facts"].values())
    faults = [
        f"{kind} {mark}"
        for kind, counts in item["facts"].items()
        for mark, count in zip(MARKS, counts, strict=True)
        if count and mark != "right"
    ]
    if item["made_up"]:
        faults.append(f"{item['made_up']} made up")
    return f"{right} of {total}" + (f": {', '.join(faults)}" if faults else "")


def captions(folder: Path) -> tuple[list[tuple[str, str, str]], list[Card], str]:
    """Rows (caption, truth, facts), cards of the page, and a sentence: of these few, and of many by the card."""
    truths = {row["id"]: row for row in rows_of(folder / "clips/manifest.jsonl")}
    records = {row["id"]: row for row in rows_of(folder / "captions/captions.jsonl")}
    scored = result(folder / "score", "facts")
    rows, cards = [], []
    for item in sorted(scored["items"], key=lambda item: -item["value"]):  # right ones first
        truth, record = truths[item["id"]], records.get(item["id"], {})
        error = (record.get("error") or {}).get("code", "no record")
        caption, true = record.get("caption") or f"no caption: {error}", truth["captions"]["short"][0]
        verdict = facts_line(item)
        rows.append((caption, true, verdict))
        cards.append(
            Card(
                title=struck_text(caption, item),
                lines=(f"Truth: {true}", *fact_lines(item)),
                clip=folder / "clips" / truth["path"],
                labels=("clip", ""),
            )
        )
    joint = read_json(FIGURES)["unseen"]["facts/joint"]
    share = f"{joint['value']:.2f} [{joint['low']:.2f}, {joint['high']:.2f}]"
    right = scored["figures"]["joint"]["detail"]["right"]
    return (
        rows,
        cards,
        f"{right} of {len(rows)} captions right in every fact; over {joint['n']:,} such clips a share of {share}",
    )


def generated_cards(folder: Path) -> tuple[list[tuple[int, Card]], str]:
    """Cards of the generated clips of `SHOWN`, each with how many answers of the judge are wrong, those with none
    first; and a sentence by kind of question, of all clips."""
    items = {item["id"]: item for item in result(folder / "scores", "question_score")["items"]}
    right: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    cards = []
    for row in rows_of(folder / "made/manifest.jsonl"):
        questions = items.get(row["id"], {}).get("questions", [])
        for question in questions:
            factor = FACTOR_OF.get(question["question"], "other")
            asked[factor] += 1
            right[factor] += bool(question["right"])
        lines, clip = tuple(answer_lines(questions)), folder / "made" / row["path"]
        faults = sum(not question["right"] for question in questions)
        if row["prompt"] in SHOWN:
            cards.append((faults, Card(title=row["prompt"], lines=lines, clip=clip, labels=("clip", ""))))
    counts = ", ".join(f"{factor} {right[factor]} of {asked[factor]}" for factor in asked)
    cards.sort(key=lambda pair: pair[0])
    return cards, f"as the judge sees them: {counts}" if counts else "the judge answered nothing"


@dataclass(frozen=True)
class ScreenRow:
    """A line of the screen: whether it is as it should be, what it is of, the text, what is stated of it."""

    right: bool
    what: str
    text: str
    says: str


@dataclass(frozen=True)
class DemoOutcome:
    """What came out: the screen's rows, those that are right first; sentences with the counts; sections of the page."""

    rows: tuple[ScreenRow, ...]
    sentences: tuple[str, ...]
    headline: tuple[str, str]
    seconds: dict[str, float]
    sections: tuple[Section, ...] = field(repr=False, default=())

    def as_dict(self) -> dict[str, Any]:
        """Rows, sentences and seconds, for a program."""
        rows = [vars(row) for row in self.rows]
        return {"rows": rows, "sentences": list(self.sentences), "seconds": self.seconds}


def outcome(folder: Path, done: DemoRun) -> DemoOutcome:
    """Read what the demo's jobs left in the folder."""
    rows, watched, captioned = captions(folder)
    drawn, judged = generated_cards(folder)
    lines = [ScreenRow(":" not in facts, "caption", f"{caption}\n(truth: {truth})" if ":" in facts else caption, facts)
             for caption, truth, facts in rows]  # fmt: skip
    for faults, card in drawn:
        says = f"{faults} answers wrong" if faults else "the judge agrees"
        lines.append(ScreenRow(not faults, "generated", str(card.title), says))
    expected = {"again": ("the same generator, other seeds", "pass"),
                "broken": (f"its clips with a planted fault ({FAULT})", "fail")}  # fmt: skip
    verdicts = []
    for name, (about, wanted) in expected.items():
        verdict = done.verdicts[name]
        word = OUTCOMES[verdict.outcome].word
        lines.append(ScreenRow(verdict.outcome == wanted, "gate", about, f"{word}, as it should"
                     if verdict.outcome == wanted else f"{word}, should {wanted}"))  # fmt: skip
        verdicts.append(_verdict_row(about, verdict))
    seconds = done.seconds
    watched_line = f"{len(rows)} clips watched in {seconds['captions']:.0f} s: {captioned}"
    made_line = f"{NUM_PROMPTS} prompts, two clips each, made in {seconds['made']:.0f} s; {judged}"
    gate_line = (
        "A gate passes only what is shown to be less than its margin worse than the baseline; 24 prompts hold a wide "
        "margin (.3), so this one sees great harm alone."
    )
    columns = ("candidate", "verdict", "change of right answers")
    sections = (
        Section(title="Watched: clips and their captions", text=(watched_line,), cards=tuple(watched)),
        Section(
            title="Generated: prompts and their clips",
            text=(made_line, "The judge is the starter captioner; how often it errs is in docs/audit.md."),
            cards=tuple(card for _, card in drawn),
        ),
        Section(
            title="Gated: the same generator again, and with a planted fault",
            text=(gate_line,),
            tables=(Table(columns=columns, rows=tuple(verdicts)),),
            cards=_gated_cards(folder, done.verdicts["broken"]),
        ),
        Section(title="Next", commands=NEXT),
    )
    ranked = tuple(sorted(lines, key=lambda row: not row.right))
    return DemoOutcome(ranked, (watched_line, made_line), (captioned.partition(";")[0], captioned.partition("; ")[2]),
                       seconds, sections)  # fmt: skip


def _verdict_row(about: str, verdict: Verdict) -> tuple[Any, ...]:
    ending = OUTCOMES[verdict.outcome]
    metric = next(each for each in verdict.metrics if each.role == "primary")
    check = Check(ending.word, ending.tone, verdict.reason)
    if metric.change is None or metric.low is None or metric.high is None:
        return about, check, None
    margin = -(metric.margin or 0.0)
    return about, check, IntervalCell(value=metric.change, low=metric.low, high=metric.high, zero=0.0, bad_below=margin)


def _gated_cards(folder: Path, verdict: Verdict) -> tuple[Card, ...]:
    """Clips with the fault beside the baseline's, worst first."""
    return tuple(
        Card(
            title=change.prompt or change.id,
            lines=(f"right answers {change.baseline:.2f} → {change.candidate:.2f}",),
            clip=folder / "broken" / change.candidate_path,
            other=folder / "made" / change.baseline_path,
        )
        for change in verdict.clips[:4]
        if None not in (change.baseline, change.candidate) and change.candidate_path and change.baseline_path
    )


def write_page(folder: Path, seen: DemoOutcome) -> Path:
    """Write `index.html`; returns its path."""
    page, (word, sentence) = folder / "index.html", seen.headline
    document = Document(
        title="The two starter models at work on clips and prompts they have never seen",
        banner=Banner(word=word, sentence=f"{sentence}."),
        sections=seen.sections,
    )
    write_atomic(page, render(document, folder))
    return page


def show(seen: DemoOutcome, page: Path) -> None:
    """Print the screen: a table of at most `COLUMNS` columns, what is right first, then what is wrong."""
    from rich import box
    from rich.console import Console
    from rich.table import Table as Grid

    console = Console(highlight=False, markup=False, emoji=False)
    console.width = min(console.width, COLUMNS)
    grid = Grid(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), width=console.width)
    grid.add_column("")
    grid.add_column("what")
    grid.add_column("text", overflow="fold", ratio=3)
    grid.add_column("result", overflow="fold", ratio=1)
    for row in seen.rows:
        grid.add_row("✓" if row.right else "✗", row.what, row.text, row.says, style="green" if row.right else "")
    console.print(grid)
    console.print(*seen.sentences, sep="\n")
    took = sum(seen.seconds.values())
    console.print(
        f"{took:.0f} s in all", f"Look:  {page}", "Next:  " + "\n       ".join(NEXT), sep="\n", soft_wrap=True
    )
