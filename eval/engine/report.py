"""The verdict on an engine as a document: the gate's, with the command that makes it again.

In: a `Verdict`. Out: `Document`.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

from v2t_eval.gate import report
from v2t_eval.gate.verdict import Verdict
from v2t_eval.report.document import Document, Section

_REPLACED = ("How to reproduce this verdict", "Why they are not comparable")


def document(verdict: Verdict, candidate_root: Path | None = None, reference_root: Path | None = None) -> Document:
    """See `v2t_eval.gate.report.document`. "Baseline" are the runs of the reference engine that gave the margins."""
    made = report.document(verdict, candidate_root, reference_root)
    places = [verdict.baseline.get("folder"), verdict.candidate.get("folder")]
    words = ["v2t-eval", "engine", *(shlex.quote(place or "CLIPS") for place in places)]
    command = " ".join([*words, "--margins", shlex.quote(verdict.baseline.get("file") or "margins.json")])
    meaning = (
        "Baseline: how far runs of the reference engine lie from each other; candidate: how far its clips lie from "
        "the reference's. A margin is what the noise of the engine and the number of prompts allow."
    )
    return replace(
        made, title="Engine",
        sections=(
            Section(title="Why they are not comparable", text=verdict.differences),
            *(section for section in made.sections if section.title not in _REPLACED),
            Section(title="What is compared", text=(meaning,), folded=True),
            Section(title="How to reproduce this verdict", commands=(command,)),
        ),
    )  # fmt: skip
