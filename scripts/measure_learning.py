"""What learnings did to a generator, beside each other: clips of the same held-out prompts and seeds, paired.

    t2v generate --prompts held_out.jsonl --num-videos 2 --model MODEL --steps 8 --guidance 1 -o made
    v2t-eval score made --metrics question_score,clipsim,obedience,diversity -o made-scores
    python scripts/measure_learning.py start=start-scores learnt=made-scores -o learning.json

In: folders of `v2t-eval score`, of clips of the same prompts and seeds, the first one of the generator as it was. Out:
for each the judge's mean chance of the wanted answers, clipsim, what the referee finds right, all of it and by fact
(95 % intervals over prompts), the paired change of each against the first, and the spread of a prompt's clips relative
to the first.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.files import write_atomic  # noqa: E402
from v2t_eval.scores import read_scores  # noqa: E402
from v2t_eval.stats import mean_interval  # noqa: E402

Values = dict[str, dict[str, float]]  # by name of the figure, by clip


def measured(folder: Path) -> tuple[Values, dict[str, str], dict[str, float]]:
    """Values of each clip, the prompt of each clip, and figures of the whole set."""
    scores = read_scores(folder / "scores.json")
    scores.require_all()
    judged, seen = scores.result("question_score").items, scores.result("obedience").items
    chances = {item["id"]: [q["chance"] for q in item["questions"] if q["chance"] is not None] for item in judged}
    values = {
        "judge": {id: fmean(each) for id, each in chances.items() if each},
        "clipsim": {item["id"]: float(item["value"]) for item in scores.result("clipsim").items},
        "all asked": {item["id"]: float(item["value"]) for item in seen},
        "facts": {item["id"]: fmean(v for k, v in item["factors"].items() if k != "joint") for item in seen},
    }
    factors = {name: one.value for name, one in scores.result("obedience").figures.items()}
    whole = {"diversity": scores.result("diversity").figures["diversity"].value, **factors}
    return values, {clip.id: clip.cluster for clip in scores.clips}, whole


def mean(values: dict[str, float], clusters: dict[str, str]) -> dict[str, Any]:
    """The mean of clips' values with its interval over prompts."""
    low, high = mean_interval(list(values.values()), [clusters[id] for id in values])
    return {"value": fmean(values.values()), "low": low, "high": high, "n": len(values)}


def interval(one: dict[str, Any], form: str) -> str:
    """A figure with its interval."""
    return f"{one['value']:{form}} [{one['low']:{form}}, {one['high']:{form}}]"


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arms", nargs="+", metavar="NAME=FOLDER", help="folders of v2t-eval score; the start first")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    args = parser.parse_args()
    rows: list[dict[str, Any]] = []
    first: Values = {}
    for arm in args.arms:
        name, _, folder = arm.partition("=")
        values, clusters, whole = measured(Path(folder))
        first = first or values
        if values["all asked"].keys() != first["all asked"].keys():
            raise SystemExit(f"{name} is not of the prompts and seeds of {args.arms[0]}")
        changes = {}
        for key, mine in values.items():
            changes[key] = mean({id: mine[id] - first[key][id] for id in mine if id in first[key]}, clusters)
        spread = whole["diversity"] / (rows[0]["whole"]["diversity"] if rows else whole["diversity"])
        figures = {key: mean(each, clusters) for key, each in values.items()}
        rows.append({"name": name, "figures": figures, "changes": changes, "spread": spread, "whole": whole})
        print(f"{name}: spread {spread:.2f} of the start")
        for key, one in figures.items():
            now, moved = interval(one, ".3f"), interval(changes[key], "+.3f")
            print(f"  {key:<10} {now}  change {moved}", flush=True)
    write_atomic(args.output, json.dumps({"arms": rows}, indent=1).encode() + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
