"""SPICE with the program that pycocoevalcap runs.

In: tokens of captions and references. Out: for each clip the F1 of the tuples (objects, attributes, relations) of the
scene graphs that Stanford CoreNLP 3.6.0 parses from them, synonyms of WordNet counted as equal (Anderson et al. 2016);
the score of a set is the mean. Since Java 16 the program wants two packages opened that it reads by reflection.
CoreNLP's models (385 MB) are never fetched from here. A clip for which the program finds no number is left out and
counted, where pycocoevalcap's mean becomes NaN.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import Summary, mean_of
from v2t_eval.text.captions import CaptionMetric, Tokens, tokens_of
from v2t_eval.text.java import jar_hash, need_java, run_java, work_folder

_JAR = "spice/spice-1.0.jar"
_MODELS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")
_OPENED = ("java.lang", "java.math")
_FETCH = 'python -c "from pycocoevalcap.spice.get_stanford_models import get_stanford_models as get; get()"'
_PARTS = ("Object", "Attribute", "Relation")


class Metric(CaptionMetric):
    name = "spice"
    detects = "objects, attributes and relations that a caption and its references name"
    misses = "grammar and fluency; what the parser does not see; order of events"
    requires = f"a Java runtime, the package pycocoevalcap, and CoreNLP's models (385 MB): {_FETCH}"

    def prepare(self) -> None:
        _program()

    def describe(self) -> dict[str, str]:
        jar = _program()
        return {
            "spice": f"{jar.name} sha256:{jar_hash(jar)}",
            "models": f"{_MODELS[1]} sha256:{jar_hash(jar.parent / 'lib' / _MODELS[1])}",
        }

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        complete, tokenized = self.complete_rows(rows)
        results = scores([tokens_of(own) for own in complete])
        kept = [(row, own) for row, own in zip(rows, results, strict=True) if math.isfinite(own.get("All", math.nan))]
        notes = [f"{len(rows) - len(kept)} clips have no SPICE and are left out."] if len(kept) < len(rows) else []
        figures = {"spice": mean_of([row for row, _ in kept], [own["All"] for _, own in kept])} if kept else {}
        items: list[dict[str, Any]] = [{"id": row.id, "value": own["All"]} | _parts(own) for row, own in kept]
        return Summary(
            headline="spice", figures=figures, items=items, scored=len(kept), **tokenized.as_arguments(*notes)
        )


def _parts(own: dict[str, float]) -> dict[str, float]:
    return {part.lower(): own[part] for part in _PARTS if math.isfinite(own.get(part, math.nan))}


def scores(samples: Sequence[Tokens]) -> list[dict[str, float]]:
    """The F1 of each sample by part ("All", "Object", ...), NaN where the program gives none.

    Raises:
        MissingDependencyError: Java, the jar or its models are missing, or the program failed.
    """
    jar = _program()
    asked = [
        {"image_id": number, "test": sample.caption, "refs": list(sample.references)}
        for number, sample in enumerate(samples)
    ]
    with work_folder() as folder:
        given, answer = folder / "asked.json", folder / "answer.json"
        given.write_text(json.dumps(asked), encoding="utf-8")
        run_java(
            ["-Xmx8G", "-jar", str(jar), str(given), "-out", str(answer), "-subset", "-silent"], folder, opened=_OPENED
        )
        if not answer.is_file():
            raise MissingDependencyError("SPICE ended without an answer")
        reply = read_json(answer)
    by_number = {one["image_id"]: one["scores"] for one in reply}
    if sorted(by_number) != list(range(len(samples))):
        raise MissingDependencyError(f"SPICE answered for {len(by_number)} of {len(samples)} captions")
    return [{part: _number(score["f"]) for part, score in by_number[n].items()} for n in range(len(samples))]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _program() -> Path:
    jar = need_java(_JAR)
    missing = [name for name in _MODELS if not (jar.parent / "lib" / name).is_file()]
    if missing:
        raise MissingDependencyError(f"SPICE needs {' and '.join(missing)} in {jar.parent / 'lib'}", hint=_FETCH)
    return jar
