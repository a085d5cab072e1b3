"""Scores by one judged metric, with the truth behind each answer and an audit of the judge; no clip behind them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np

from v2t_eval.audit.record import Audit, Confusion
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.sample import Sample
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.correction.labels import Labels

JUDGE = {"judge": "watcher@1", "answers": "likelihood", "frames": "16", "dtype": "float32", "calibration": "c",
         "stillness": "1", "vocabulary": "v"}  # fmt: skip
HIT, ALARM, NUM = 0.9, 0.2, 300
KINDS = {
    "kind": ("a dog", "a cat"),
    "color": ("red", "blue"),
    "place": ("in the city", "on the beach"),
}  # wanted, other


def confusion(num: int, hits: int, alarms: int) -> tuple[Confusion, ...]:
    return tuple(
        Confusion(kind=kind, answer=wanted, true=num, hits=hits, false=num, alarms=alarms, clips=2 * num)
        for kind, (wanted, _) in KINDS.items()
    )


def audit(**more: Any) -> Audit:
    rows = confusion(500, 450, 100)
    steady = {"flips_wording": 0.02, "flips_wording_n": 50}
    return replace(Audit(judge=JUDGE, confusion={"generated": rows}, stability=steady),
                   **more)  # fmt: skip


def questions(rng: np.random.Generator, *, chain: bool = False) -> tuple[list[dict[str, Any]], dict[str, bool]]:
    """Three questions about a clip as the judge answers them, and the truth; in a chain each depends on the last."""
    truth = rng.random(3) < 0.8
    held = rng.random(3) < np.where(truth, HIT, ALARM)
    rows = [
        {"id": f"q{n}", "question": f"{kind}?", "wanted": wanted, "kind": kind, "listed": wanted,
         "right": bool(held[n]), "answer": wanted if held[n] else other,
         "parents": [f"q{n - 1}"] if chain and n else []}
        for n, (kind, (wanted, other)) in enumerate(KINDS.items())
    ]  # fmt: skip
    return rows, {f"q{n}": bool(each) for n, each in enumerate(truth)}


def scoring(
    name: str = "question_score", *, num: int = NUM, chain: bool = False, outside: int = 0, **settings: Any
) -> Any:
    """Scores by one judged metric, and the truth by clip."""
    rng, items, truths = np.random.default_rng(5), [], {}
    for n in range(num):
        rows, truths[f"c{n}"] = questions(rng, chain=chain)
        key = "questions" if name == "question_score" else "claims"
        value = (
            np.mean([row["right"] for row in rows]) if key == "questions" else float(all(row["right"] for row in rows))
        )
        items.append({"id": f"c{n}", "value": float(value), key: rows, "outside": n < outside})
    figure = Figure(value=0.7, low=0.6, high=0.8, n=num)
    figures = {"dsg": figure, "accuracy": figure} if name == "question_score" else {name: figure}
    result = MetricResult(
        name=name, headline=next(iter(figures)), figures=figures, n=num, coverage=1.0, items=items,
        value_range=(0.0, 1.0),
        fingerprint={**JUDGE, "settings": json.dumps({"mode": "transitive", **settings})}, reduction="mean",
    )  # fmt: skip
    clips = [ItemScores(id=f"c{n}", cluster=f"p{n // 2}") for n in range(num)]
    return Scores(sources={}, clips=clips, results=[result]), truths


def samples(generator: str = "dit", num: int = NUM) -> list[Sample]:
    return [Sample(id=f"c{n}", row={"generator": generator}) for n in range(num)]


def labels_of(truths: dict[str, dict[str, bool]], num: int) -> Labels:
    answers = [*KINDS.values()]
    given = {id: {f"q{n}": answers[n][not own[f"q{n}"]] for n in range(3)} for id, own in list(truths.items())[:num]}
    return Labels(answers=given, problems=Counter())
