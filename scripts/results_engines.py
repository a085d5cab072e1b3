"""Figures of the comparison of engines as tables of the documents; see `results_tables`.

In: docs/figures/engines.json, which `scripts/measure_engines.py` and `scripts/simulate_engines.py` made. Out: Markdown
behind the marks of `results_tables.BLOCKS`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from results_tables import BLOCKS, load

from v2t_eval.core.bounds import paired_change
from v2t_eval.engine.margins import RunValues

WORDS = {
    "fp32-b5": "float32, batches of 5", "fp32-b1": "float32, one by one", "compiled": "compiled",
    "bf16-b8": "bfloat16, batches of 8", "bf16-b5": "bfloat16, batches of 5", "steps15": "15 steps for 16",
    "late_sigma": "σ of the step after", "stale_cache": "prediction kept for 4 steps",
    "other_prompt": "embedding of the prompt before", "rare": "the same in one clip of 8",
    "swapped": "red and blue swapped",
}  # fmt: skip
SSIM, PSNR = (0.99, 0.95, 0.9), (40.0, 35.0, 30.0)


def example() -> str:
    """Three runs of an engine and three candidates under one distance: 24 prompts, made up."""
    rng, num = np.random.default_rng(2), 24
    own = rng.normal(6, 2, num)
    ids = tuple(f"{n:02}" for n in range(num))
    runs = np.maximum(own + rng.normal(0, 1, (2, num)), 0)
    table = RunValues(ids=ids, values=runs, clusters=ids, sign=1.0, unrelated=rng.normal(28, 2, num))
    rule = table.rule("pixel_distance", 0.05, 1)
    lines = [
        '| candidate | its distance | farther by | bound | p of "at most accepted" | verdict |',
        "|---|---|---|---|---|---|",
    ]
    for name, shift in (("the same engine", 0.0), ("a little off", 2.5), ("a step too few", 8.0)):
        values = np.maximum(own + rng.normal(shift, 1, num), 0)
        change = paired_change((values - runs.mean(0)).tolist(), ids, span=abs(rule.worst - rule.best), gain=rule.gain,
                               higher_is_better=False, accepted=rule.accepts)  # fmt: skip
        verdict = "pass" if change.high < rule.margin else "fail" if change.p < 0.05 else "inconclusive"
        lines.append(
            f"| {name} | {values.mean():.1f} dB | {change.value:+.1f} dB | {change.high:+.1f} | {change.p:.2g} | "
            f"{verdict} |"
        )
    head = (
        f"The engine's own runs lie {runs.mean():.1f} dB apart. Accepted: {rule.accepts:.1f} dB; margin: "
        f"{rule.margin:.1f} dB; clips of other prompts lie {rule.worst:.0f} dB apart at most."
    )
    return "\n".join([head, "", *lines])


def verdicts() -> str:
    """The verdict of each candidate, and what fixed thresholds say."""
    made = load("engines")
    stamp = made["measured"]
    limits = [*(f"SSIM ≥ {one:g}" for one in SSIM), *(f"PSNR ≥ {one:g}" for one in PSNR)]
    lines = [
        f"`{stamp['command']}`, {stamp['date']}, {stamp['device']}; {made['prompts']} prompts, one seed each.", "",
        f"| margins of | candidate | verdict | fails by | {' | '.join(limits)} |",
        "|---|---|---|---|" + "---|" * len(limits),
    ]  # fmt: skip
    for row in made["rows"]:
        if "candidate" not in row:
            continue
        old = [_passes(row["ssim"] >= one, row["ssim"], 3) for one in SSIM]
        old += [_passes(row["psnr"] >= one, row["psnr"], 1) for one in PSNR]
        by = ", ".join(row["by"]) or "–"
        lines.append(f"| {row['engine']} | {WORDS[row['candidate']]} | {row['outcome']} | {by} | {' | '.join(old)} |")
    return "\n".join(lines)


def _passes(holds: bool, value: float, places: int) -> str:
    return f"{'pass' if holds else 'fail'} ({value:.{places}f})"


def same_engine() -> str:
    """Outcomes of A/A pairs."""
    lines = [
        "| engine | pairs | pass | inconclusive | fail | 95 % interval of the failures, per cent |",
        "|---|---|---|---|---|---|",
    ]
    for engine, cell in load("engines")["same"].items():
        counts = [cell[word] for word in ("pass", "inconclusive", "fail")]
        shown = " | ".join(map(str, [sum(counts), *counts]))
        lines.append(f"| {engine} | {shown} | {cell['low']:.1f} to {cell['high']:.1f} |")
    return "\n".join(lines)


def simulation() -> str:
    """Outcomes over shapes of noise."""
    cells: dict[str, Any] = load("engines")["simulated"]
    parts = [key.split("|") for key in cells]
    whats = list(dict.fromkeys(what for *_, what in parts))
    lines = [
        f"| noise of the engine | prompts | runs beside the first | {' | '.join(whats)} |",
        "|---|---|---|" + "---|" * len(whats),
    ]
    for shape, num, runs in dict.fromkeys((shape, num, runs) for shape, num, runs, _ in parts):
        row = [cells.get(f"{shape}|{num}|{runs}|{what}") for what in whats]
        shown = [
            "–" if one is None else f"{one['fail']:.0f} / {one['inconclusive']:.0f} / {one['pass']:.0f}" for one in row
        ]
        lines.append(f"| {shape} | {num} | {runs} | {' | '.join(shown)} |")
    return "\n".join(lines)


BLOCKS |= {
    "engines-example": example, "engines-verdicts": verdicts, "engines-same": same_engine,
    "engines-simulated": simulation,
}  # fmt: skip
