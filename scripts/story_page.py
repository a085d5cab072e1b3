"""The last step of scripts/story.sh: one page that tells what each step did, what came out, and how long it took.

In: the story's folder: `steps/` (seconds, exit code and command of each step) and what the commands wrote. Out:
`index.html` in it. It only tells; every figure is read from a file that is linked beside it.

    python scripts/story_page.py runs/story/small
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.clock import format_clock  # noqa: E402
from cineloop.files import write_atomic  # noqa: E402
from v2t_eval.report.document import Banner, Card, Document, IntervalCell, Section, Table  # noqa: E402
from v2t_eval.report.page import render  # noqa: E402

NUM_SHOWN = 4


class Story:
    """The folder, and what its steps left there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.steps: dict[str, tuple[int, int, str]] = {}
        for path in sorted((folder / "steps").iterdir(), key=lambda path: path.stat().st_mtime_ns):
            seconds, code, command = path.read_text("utf-8").splitlines()
            self.steps[path.name] = (int(seconds), int(code), command)

    def json(self, name: str) -> Any:
        """What is in a JSON file."""
        return json.loads((self.folder / name).read_text("utf-8"))

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a JSON-lines file."""
        return [json.loads(line) for line in (self.folder / name).read_text("utf-8").splitlines()]

    def links(self, *names: str) -> tuple[tuple[str, Path], ...]:
        """Links to files of the folder."""
        return tuple((name, self.folder / name) for name in names if (self.folder / name).exists())

    def section(self, title: str, steps: tuple[str, ...], text: tuple[str, ...], **parts: Any) -> Section:
        """A section with the time and the commands of its steps."""
        took = sum(self.steps[name][0] for name in steps)
        commands = tuple(self.steps[name][2] for name in steps)
        return Section(title=f"{title} ({took} s)", text=text, commands=commands, **parts)


def world(story: Story) -> Section:
    """What was drawn."""
    rows = story.rows("world/manifest.jsonl")
    cards = tuple(
        Card(title=row["captions"]["short"][0], lines=(f"{len(row['conversations']) // 2} questions with answers",),
             clip=story.folder / "world" / row["path"], labels=("drawn", ""))
        for row in rows[:NUM_SHOWN]
    )  # fmt: skip
    text = f"{len(rows)} clips of combinations that no training draws, each with captions, questions and facts as data."
    return story.section("1. Clips whose truth is known", ("world",), (text,), cards=cards,
                         links=story.links("world/manifest.jsonl"))  # fmt: skip


def training_section(story: Story, title: str, steps: tuple[str, ...], text: tuple[str, ...]) -> Section:
    """What a few trainings came to."""
    rows, logs = [], []
    for name in steps:
        log = story.rows(f"{name}/log.jsonl")
        losses = [row["loss"] for row in log if "loss" in row]
        score = story.json(f"{name}/final/scores.json")["score"]
        rows.append((name, log[-1]["step"], losses[0], losses[-1], score, story.steps[name][0]))
        logs += [f"{name}/log.jsonl", f"{name}/config.yaml"]
    columns = ("stage", "steps", "loss at first", "loss at last", "score, held out", "seconds")
    table = Table(columns=columns, rows=tuple(rows))
    return story.section(title, steps, text, tables=(table,), links=story.links(*logs))


def tiny(story: Story) -> Section:
    """What the models just trained can do, which is little."""
    made = story.rows("made-tiny/manifest.jsonl")
    cards = tuple(
        Card(title=row["prompt"], clip=story.folder / "made-tiny" / row["path"], labels=("made", "")) for row in made
    )
    text = (
        "The generator just trained made clips, the captioner just trained watched the drawn ones: their weights load "
        "and run by the same commands as any others.",
        "They learnt for seconds or minutes where the starters learnt for hours: what they say and show is little "
        "better than chance, and is scored as it is below.",
    )
    return story.section("4. The tiny pair at work", ("generate-tiny", "caption-tiny"), text,
                         tables=(captions(story, "captions-tiny"),), cards=cards,
                         links=story.links("made-tiny/index.html", "captions-tiny/captions.jsonl"))  # fmt: skip


def captions(story: Story, name: str) -> Table:
    """Captions beside the truth."""
    truth = {row["id"]: row["captions"]["short"][0] for row in story.rows("world/manifest.jsonl")}
    rows = tuple(
        (truth[row["id"]], row.get("caption") or f"none: {(row.get('error') or {}).get('code', 'empty')}")
        for row in story.rows(f"{name}/captions.jsonl")[:NUM_SHOWN]
    )
    return Table(columns=("truth", "caption"), rows=rows)


def starters(story: Story) -> Section:
    """What the bundled models make of the same."""
    made = story.rows("made/manifest.jsonl")
    cards = tuple(
        Card(title=row["prompt"], clip=story.folder / "made" / row["path"], labels=("made", ""))
        for row in made[:NUM_SHOWN]
    )
    text = f"{len(made)} clips by the bundled generator, captions of the drawn clips by the bundled captioner."
    return story.section("5. The starters at the same work", ("generate", "caption"), (text,),
                         tables=(captions(story, "captions"),), cards=cards,
                         links=story.links("made/index.html", "captions/captions.jsonl"))  # fmt: skip


def result(scores: dict[str, Any], name: str) -> dict[str, Any]:
    """One metric of a scores.json."""
    return next(result for result in scores["results"] if result["name"] == name)


def with_interval(figure: dict[str, Any]) -> str:
    """A figure with its interval."""
    return "{value:.3g} [{low:.3g}, {high:.3g}]".format_map(figure)


def score_section(story: Story) -> Section:
    """Facts in both captioners' words; the starter's clips against their prompts."""
    both = [result(story.json(f"{name}/scores.json"), "facts")["figures"] for name in ("score-tiny", "score-captions")]
    rows = tuple(
        (kind, *(f"{figures[kind]['detail']['right']} of {figures[kind]['n']}" for figures in both))
        for kind in both[1]
        if kind in both[0]
    )
    facts = Table(columns=("fact", "tiny captioner", "starter"), rows=rows, caption="Facts right in captions")
    results = story.json("score/scores.json")["results"]
    metrics = Table(
        columns=("metric", "of the starter's clips", "clips"),
        rows=tuple((one["name"], with_interval(one["figures"][one["headline"]]), one["n"]) for one in results),
    )
    text = ("Captions are compared with the truth fact by fact; generated clips to their prompts by questions, and to "
            "themselves by flicker and sharpness. 95 % intervals over prompts.",)  # fmt: skip
    return story.section("6. Scores", ("score-tiny", "score-captions", "score"), text, tables=(facts, metrics),
                         links=story.links("score/report.html", "score-captions/report.html",
                                           "score-tiny/report.html"))  # fmt: skip


def roundtrip(story: Story) -> Section:
    """Floor, generator, ceiling."""
    families = story.json("roundtrip/roundtrip.json")["families"]
    columns = ("floor", "generator", "ceiling", "corrected")
    rows = []
    for family in families:
        figures = [family["figures"][name] for name in columns]
        rows.append((family["name"], *(None if figure is None else figure["value"] for figure in figures)))
    table = Table(columns=("family", "floor", "generator", "ceiling", "chance-corrected"), rows=tuple(rows))
    text = ("Prompt to clip to caption: how much of the prompt comes back, between the captions of other prompts "
            "(0) and those of clips drawn exactly (1).",)  # fmt: skip
    return story.section("7. The round trip", ("roundtrip",), text, tables=(table,),
                         links=story.links("roundtrip/report.html"))  # fmt: skip


def audit(story: Story) -> Section:
    """How far the judge is right, what the metrics cannot see."""
    from v2t_eval.audit.record import read_audit

    record = read_audit(story.folder / "audit/audit.json")
    rows = tuple(
        (name, row.n, row.kappa, IntervalCell(value=row.auroc, low=row.auroc_low, high=row.auroc_high, zero=0.5),
         row.yes_bias)
        for name, agreements in record.agreement.items()
        for row in agreements
        if row.kind == "all"
    )  # fmt: skip
    table = Table(columns=("clips", "claims", "kappa", "AUROC", "bias to yes"), rows=rows, caption="The judge")
    names = dict.fromkeys(row.metric for row in record.table)
    blind = tuple(f"{name} {', '.join(record.blind_to(name)) or 'sees all that was planted'}" for name in names)
    text = (
        "How far the judge and the metrics can be trusted: claims whose truth is known, faults that were planted. "
        "So few clips tell little; an audit for work takes forty or more.",
        *blind,
        *(f"The judge {line}" for line in record.unseen_by_judge()),
    )
    return story.section("8. The audit", ("audit",), text, tables=(table,), links=story.links("audit/audit.html"))


def gate(story: Story) -> Section:
    """The same generator passes, the worse one fails."""
    tables = []
    for name, what in (("gate-pass", "The same generator again"), ("gate-fail", "One step of the sampler only")):
        verdict = story.json(f"{name}/verdict.json")
        tone = {"pass": "good", "fail": "bad"}
        rows = tuple(
            (one["metric"], (one["outcome"], tone.get(one["outcome"], "unsure")), one["change"], one["margin"],
             "; ".join(one["reasons"]))
            for one in verdict["metrics"]
            if one["role"] == "primary"
        )  # fmt: skip
        caption = f"{what}: {verdict['outcome']}, exit code {verdict['exit_code']}. {verdict['reason']}"
        tables.append(Table(columns=("metric", "outcome", "change", "margin", "why"), rows=rows, caption=caption))
    worst = story.json("gate-fail/verdict.json")["clips"][:NUM_SHOWN]
    cards = tuple(
        Card(title=one["prompt"] or one["id"],
             lines=(f"{one['metric']}: {one['baseline']:.3g} to {one['candidate']:.3g}",),
             clip=story.folder / "worse" / one["candidate_path"], other=story.folder / "made" / one["baseline_path"])
        for one in worst
        if one["candidate_path"] and one["baseline_path"] and None not in (one["baseline"], one["candidate"])
    )  # fmt: skip
    text = ("A baseline was kept. The same generator was run again and passed; the tiny one of step 7 failed, "
            "which a pipeline sees as exit code 6. Below, the clips that got worst.",)  # fmt: skip
    return story.section("9. The gate", ("gate-init", "again", "gate-pass", "worse", "gate-fail"), text,
                         tables=tuple(tables), cards=cards,
                         links=story.links("gate-fail/gate.html", "gate-pass/gate.html"))  # fmt: skip


def times(story: Story) -> Section:
    """Every step."""
    rows = tuple((name, seconds, code) for name, (seconds, code, _) in story.steps.items())
    return Section(
        title="Every step", tables=(Table(columns=("step", "seconds", "exit code"), rows=rows),), folded=True
    )


def main(folder: Path) -> None:
    """Write the page."""
    story = Story(folder)
    seen = ("It learns to see single frames (tower), to speak (language), to find the facts of a clip (align-heads), "
            "and to say them (align).",)  # fmt: skip
    shown = ("It learns to make clips small and give them back (vae), then to make such small clips from prompts "
             "(dit).",)  # fmt: skip
    sections = [
        world(story),
        training_section(story, "2. A captioner from nothing", ("tower", "language", "align-heads", "align"), seen),
        training_section(story, "3. A generator from nothing", ("vae", "dit"), shown),
        tiny(story), starters(story), score_section(story), roundtrip(story), audit(story), gate(story), times(story),
    ]  # fmt: skip
    took = sum(seconds for seconds, _, _ in story.steps.values())
    banner = Banner(
        word="whole", tone="good",
        sentence=f"{len(story.steps)} steps in {format_clock(took)}: two models trained from nothing, clips made, "
        "watched, scored, sent round and audited; the gate passed a generator and failed a worse one.",
    )  # fmt: skip
    write_atomic(
        folder / "index.html",
        render(Document(title="The whole story", banner=banner, sections=tuple(sections)), folder),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="the story's folder, such as runs/story/small")
    main(**vars(parser.parse_args()))
