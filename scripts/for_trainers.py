"""Parts of the reference about trainers of videos: their names and the commits read, and the findings of a check.

In: the rules and codes of `v2t_eval.trainers`. Out: heading, text, heads and rows of a table, for
`scripts/make_reference.py`.
"""

from __future__ import annotations

from v2t_eval.trainers.findings import CODES
from v2t_eval.trainers.rules import load_rules, trainers

Part = tuple[list[str], tuple[str, ...], list[tuple[str, ...]]]


def names() -> Part:
    """The known trainers."""
    rows = []
    for name in trainers():
        rules = load_rules(name)
        read = f"{rules.source.repository} at {rules.source.commit[:12]}, {rules.source.date}"
        rows.append((f"`{name}`", ", ".join(rules.models), read))
    title = "## Trainers (`v2t-eval check-set --for`, `v2t-eval curate --for`)"
    return [title, ""], ("name", "models", "rules read"), rows


def findings() -> Part:
    """The codes of a check."""
    rows = [(f"`{code}`", kind.meaning, "mended" if kind.is_mended else "") for code, kind in CODES.items()]
    text = [
        "## Findings of `v2t-eval check-set`",
        "",
        "Also the codes of files that cannot be read. `mended`:",
    ]
    text += ["`--write` can make the clip free of it; a clip with another one is left out.", ""]
    return text, ("code", "meaning", ""), rows
