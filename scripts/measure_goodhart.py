"""Reward against truth: what the best of n clips by a judge is worth to the judge, and by the referee, for judges of
known error.

    t2v generate --prompts prompts.jsonl --num-videos 16 --steps 8 --guidance 1 -o made
    python scripts/measure_goodhart.py made -o goodhart.json

In: clips of one-figure prompts of the cartoon world, several a prompt. They are scored once, by the starter's judge
(`question_score`) and by the referee (`obedience`). Judges that err more are made of the same answers: the chance p of
a wanted answer becomes 1 - p for a share of the (clip, question) pairs, `noise`, or of the wanted answers in all clips,
`bias`: there the judge is wrong about the same fact always, which no number of clips averages out. Out: for each judge
Cohen's kappa of its answers against the referee, and for n = 1, 2, 4 … the expected reward, the expected share of facts
that are right, and of clips that do all that is asked. The divergence of the best of n from the generator is
log n - (n - 1) / n nats (Gao et al., arXiv:2210.10760).
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.files import write_atomic  # noqa: E402
from v2t_eval.audit.agreement import kappa  # noqa: E402
from v2t_eval.inputs import read_inputs  # noqa: E402
from v2t_eval.score import ScoreConfig, score  # noqa: E402
from v2t_eval.scores import Scores  # noqa: E402
from v2t_eval.selection import select  # noqa: E402
from v2t_eval.suite import parse_metrics  # noqa: E402

JUDGE, REFEREE = "question_score", "obedience"
# What a question of the judge is about, by its beginning, in the referee's words.
FACTORS = {"Where": "place", "What is": "kind", "What color is the figure at first": "color", "What does": "action",
           "Which way": "direction", "How fast": "speed", "How big": "size", "What color does": "to_color",
           "What color is the figure at the end": "to_color"}  # fmt: skip
JUDGES = [
    ("as it is", 0.0),
    *(("noise", share) for share in (0.1, 0.2, 0.35)),
    *(("bias", share) for share in (0.1, 0.2, 0.35)),
]


def factor_of(question: str) -> str | None:
    """The referee's name of what a question is about: of the longest beginning that fits."""
    fitting = [start for start in FACTORS if question.startswith(start)]
    return FACTORS[max(fitting, key=len)] if fitting else None


def drawn(*parts: str) -> float:
    """A number in [0, 1), the same for the same words."""
    return int(hashlib.sha256("|".join(parts).encode()).hexdigest()[:12], 16) / 16**12


def chances(item: dict[str, Any], error: str, share: float) -> dict[str, float]:
    """The chance of each wanted answer by question, as a judge with this error would give it."""
    found = {}
    for one in item["questions"]:
        if one["chance"] is None:
            continue
        key = (one["question"], one["wanted"], *([item["id"]] if error == "noise" else []))
        is_wrong = error != "as it is" and drawn(error, *key) < share
        found[one["question"]] = 1 - one["chance"] if is_wrong else one["chance"]
    return found


def with_items(scores: Scores, name: str, items: list[dict[str, Any]]) -> Scores:
    """The scores with other items of one metric."""
    results = (replace(one, items=items) if one.name == name else one for one in scores.results)
    return replace(scores, results=tuple(results))


def judged(scores: Scores, error: str, share: float) -> tuple[Scores, float, int]:
    """The scores with this judge's mean chance as value; kappa of its answers against the referee, and their number."""
    truth = {item["id"]: item["factors"] for item in scores.result(REFEREE).items}
    items, claims = [], []
    for item in scores.result(JUDGE).items:
        found = chances(item, error, share)
        items.append({"id": item["id"], "value": fmean(found.values())})
        for question, chance in found.items():
            is_true = truth.get(item["id"], {}).get(factor_of(question))
            if is_true is not None:
                claims.append((chance >= 0.5, is_true))
    yes, true = np.array(claims, dtype=bool).T
    counts = (np.array([len(yes)]), np.array([yes.sum()]), np.array([true.sum()]), np.array([(yes & true).sum()]))
    return with_items(scores, JUDGE, items), float(kappa(*counts)[0]), len(yes)


def by_fact(scores: Scores) -> Scores:
    """The scores with the share of the facts that the referee finds right as its value, not whether all are."""
    result = scores.result(REFEREE)
    items = [
        {**item, "value": fmean(right for name, right in item["factors"].items() if name != "joint")}
        for item in result.items
    ]
    return with_items(scores, REFEREE, items)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("made", type=Path, help="run folder of t2v generate")
    parser.add_argument("--cache", type=Path, help="evidence of an earlier scoring")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    args = parser.parse_args()
    scores = score(
        read_inputs(args.made), parse_metrics(f"{JUDGE},{REFEREE}"), ScoreConfig(workers=1, cache=args.cache)
    )
    rows = []
    for error, share in JUDGES:
        changed, agreement, claims = judged(scores, error, share)
        found, facts = select(changed, JUDGE, check=REFEREE), select(by_fact(changed), JUDGE, check=REFEREE)
        best = [
            {"n": reward.n, "nats": float(np.log(reward.n) - (reward.n - 1) / reward.n), "reward": reward.value,
             "facts": fact.value, "obeyed": true.value, "low": true.low, "high": true.high}
            for reward, true, fact in zip(found.gains[JUDGE], found.gains[REFEREE], facts.gains[REFEREE], strict=True)
        ]  # fmt: skip
        rows.append({"error": error, "share": share, "kappa": agreement, "claims": claims, "best_of": best})
        print(f"{error} {share:.2f}: kappa {agreement:.2f} (n = {claims})")
        for one in best:
            print("  best of {n}: reward {reward:.3f}, facts {facts:.3f}, all asked {obeyed:.3f}".format(**one))
    prompts = found.gains[JUDGE][0].num_prompts
    write_atomic(args.output, json.dumps({"prompts": prompts, "judges": rows}, indent=1).encode() + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
