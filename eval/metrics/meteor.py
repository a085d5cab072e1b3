"""METEOR 1.5 with the program that pycocoevalcap runs (`-l en -norm`).

In: tokens of captions and references. Out: for each caption the program's statistics of its best alignment with one of
the references, and from their sums over the set F (1 - 0.6 frag^0.2), F = P R / (0.85 P + 0.15 R), P and R of
matches by word, stem, synonym and paraphrase weighed 1, 0.6, 0.8, 0.6, words of function a third of the others
(Denkowski and Lavie 2014). frag is chunks per matched word; a caption that is matched whole in one chunk counts none.
The score of a set is that of the sums, no mean of scores; the interval draws captions and recomputes it. The program
starts at most once a set. Letters: n samples, R resamples.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core import models
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import Summary, figure_of_sums
from v2t_eval.text.captions import CaptionMetric, Tokens, tokens_of
from v2t_eval.text.java import jar_hash, need_java, run_java, work_folder

_JAR = "meteor/meteor-1.5.jar"
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_KINDS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase
_NUM_STATISTICS = 23


class Metric(CaptionMetric):
    name = "meteor"
    reduction = "set"
    misses = "what no reference says; meaning beyond English stems, synonyms and paraphrases"
    requires = "a Java runtime and the package pycocoevalcap"

    def prepare(self) -> None:
        need_java(_JAR)

    def describe(self) -> dict[str, str]:
        return {"meteor": f"{Path(_JAR).name} sha256:{jar_hash(need_java(_JAR))}"}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        complete, tokenized = self.complete_rows(rows)
        counts = statistics([tokens_of(own) for own in complete])  # (n, 23)
        items = [{"id": row.id, "value": float(own)} for row, own in zip(rows, meteor(counts), strict=True)]
        figures = {"meteor": figure_of_sums(rows, counts, meteor)}
        return Summary(headline="meteor", figures=figures, items=items, **tokenized.as_arguments())


def meteor(sums: np.ndarray) -> np.ndarray:
    """METEOR, float (R,), of sums of `statistics`, float (R, 23)."""
    sums = np.atleast_2d(sums)
    matches = sums[:, 4:20].reshape(-1, 4, 4)  # (R, kind, [content, content, function, function] of caption, reference)
    weights = _KINDS @ (_DELTA * matches[:, :, :2] + (1 - _DELTA) * matches[:, :, 2:])  # (R, 2)
    words = _DELTA * (sums[:, :2] - sums[:, 2:4]) + (1 - _DELTA) * sums[:, 2:4]  # (R, 2)
    shares = np.divide(weights, words, out=np.zeros_like(weights), where=words > 0)
    precision, recall = shares[:, 0], shares[:, 1]
    below = _ALPHA * precision + (1 - _ALPHA) * recall
    mean = np.divide(precision * recall, below, out=np.zeros_like(below), where=below > 0)
    matched = (sums[:, 21] + sums[:, 22]) / 2
    fragments = np.divide(sums[:, 20], matched, out=np.zeros_like(matched), where=matched > 0)
    return mean * (1 - _GAMMA * fragments**_BETA)


def statistics(samples: Sequence[Tokens]) -> np.ndarray:
    """The program's statistics of each sample, float (n, 23); no chunk for a caption that is matched whole in one.

    What was asked before in this process is not asked again: the program needs seconds to start.

    Raises:
        MissingDependencyError: Java or the jar is missing, or the program did not answer line by line.
    """
    missing = list(dict.fromkeys(sample for sample in samples if sample not in _known))
    if len(_known) + len(missing) > _MOST_KEPT:
        _known.clear()
        missing = list(dict.fromkeys(samples))
    if missing:
        _known.update(zip(missing, _ask(missing), strict=True))
    counts = np.stack([_known[sample] for sample in samples])  # (n, 23)
    whole = (counts[:, 21] == counts[:, 0]) & (counts[:, 22] == counts[:, 1]) & (counts[:, 20] == 1)
    counts[whole, 20] = 0
    return counts


_known: dict[Tokens, np.ndarray] = {}
models.on_release(_known.clear)
_MOST_KEPT = 100_000


def _ask(samples: Sequence[Tokens]) -> np.ndarray:
    jar = need_java(_JAR)
    given = "".join(
        " ||| ".join(("SCORE", *map(_clean, sample.references), _clean(sample.caption))) + "\n" for sample in samples
    )
    with work_folder() as folder:
        if re.search(r"[^\w./+-]", str(jar)):  # the program expects its tables next to the jar, and stumbles on spaces
            jar = _jar_with_tables(jar, folder)
        output = run_java(["-Xmx2G", "-jar", str(jar), "-", "-", "-stdio", "-l", "en", "-norm"], folder, given=given)
    lines = output.split("\n")[:-1]
    if len(lines) != len(samples) or any(len(line.split()) != _NUM_STATISTICS for line in lines):
        raise MissingDependencyError(f"METEOR gave {len(lines)} answers to {len(samples)} captions: {output[-200:]!r}")
    return np.array([line.split() for line in lines], dtype=np.float64)  # (n, 23)


def _jar_with_tables(jar: Path, folder: Path) -> Path:
    (folder / "data").symlink_to(jar.parent / "data", target_is_directory=True)
    return Path(shutil.copy(jar, folder / jar.name))


def _clean(tokens: str) -> str:
    return tokens.replace("|||", "").replace("  ", " ")
