"""The last step of scripts/demo: one screen that says how the starters did, and one page to look at.

In: the demo's folder (clips, captions and their facts, generated clips and the judge's answers) and seconds. Out: text
on stdout, `index.html` in the folder. Every figure is read from what the commands wrote.

    python scripts/demo_page.py runs/demo/seed-7-8 12.5 14 40
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.files import write_atomic  # noqa: E402
from cineloop.world.language.plain_questions import PLAIN  # noqa: E402
from v2t_eval.report.document import Banner, Card, Document, Section  # noqa: E402
from v2t_eval.report.evidence import answer_lines, fact_lines, struck_text  # noqa: E402
from v2t_eval.report.page import render  # noqa: E402

FIGURES = Path(__file__).resolve().parents[1] / "docs/figures/captioner.json"  # of the card, by measure_starter.py
MARKS = ("right", "missed", "wrong")
FACTOR_OF = {wording: factor for factor, plain in PLAIN.items() for wording in plain.wordings}
NEXT = (
    "v2t caption YOUR_FOLDER -o captions/ --model HUB_ID    real footage, with a real model",
    't2v generate "A red ball rolls to the right on the beach." -o made/',
    "v2t-eval score made/ --metrics question_score          holds the clips to their prompts",
)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def result(folder: Path, name: str) -> dict[str, Any]:
    """One metric of a folder's `scores.json`."""
    results = json.loads((folder / "scores.json").read_text("utf-8"))["results"]
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
    joint = json.loads(FIGURES.read_text("utf-8"))["unseen"]["facts/joint"]
    share = f"{joint['value']:.2f} [{joint['low']:.2f}, {joint['high']:.2f}]"
    right = scored["figures"]["joint"]["detail"]["right"]
    return (
        rows,
        cards,
        f"{right} of {len(rows)} captions right in every fact; of {joint['n']:,} such clips a share of {share} is",
    )


def generated_cards(folder: Path) -> tuple[list[Card], str]:
    """Cards of the generated clips, and a sentence by kind of question."""
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
        cards.append((faults, Card(title=row["prompt"], lines=lines, clip=clip, labels=("clip", ""))))
    counts = ", ".join(f"{factor} {right[factor]} of {asked[factor]}" for factor in asked)
    shown = [card for _, card in sorted(cards, key=lambda pair: pair[0])]
    return shown, f"as the judge sees them: {counts}" if counts else "the judge answered nothing"


def main(folder: Path, first_s: float, captions_s: float, made_s: float) -> None:
    """Print the screen and write the page."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows, watched, captioned = captions(folder)
    drawn, judged = generated_cards(folder)
    table = Table(box=box.SIMPLE_HEAD, show_lines=False, pad_edge=False, padding=(0, 2, 1, 0))
    for name in ("caption", "truth", "facts right"):
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*row, style="green" if ":" not in row[2] else "")
    console = Console()
    console.print(table)
    watched_line = f"{len(rows)} clips watched in {captions_s:.0f} s (the first after {first_s:.1f} s): {captioned}"
    made_line = f"{len(drawn)} clips generated in {made_s:.0f} s: {judged}"
    page = folder / "index.html"
    write_atomic(
        page,
        render(
            Document(
                title="The two starter models at work on clips and prompts they have never seen",
                banner=Banner(word=captioned.partition(";")[0], sentence=f"{captioned.partition('; ')[2]}."),
                sections=(
                    Section(title="Watched: clips and their captions", text=(watched_line,), cards=tuple(watched)),
                    Section(
                        title="Generated: prompts and their clips",
                        text=(made_line, "The judge is the starter captioner; how often it errs is in docs/audit.md."),
                        cards=tuple(drawn),
                    ),
                    Section(title="Next", commands=NEXT),
                ),
            ),
            page.parent,
        ),
    )
    console.print(watched_line, made_line, sep="\n", highlight=False)
    console.print(f"Look:  {page}", "Next:  " + "\n       ".join(NEXT), sep="\n", highlight=False, soft_wrap=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of scripts/demo")
    for name in ("first_s", "captions_s", "made_s"):
        parser.add_argument(name, type=float, help="seconds to the first caption, to all, for the generated clips")
    main(**vars(parser.parse_args()))
