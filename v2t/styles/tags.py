"""A list of tags with commas, as image-tag trainers read them: `dog, running, snow, static camera`.

Needs a model that follows instructions; the bundled starter knows only the prompts of `short`, `detailed`, `timed` and
`notes`.
"""

from __future__ import annotations

import re

PROMPT = (
    "List 10 to 20 tags for the video: subjects, actions, place, light, camera, style. "
    "Short lower-case tags with commas between them on one line, and nothing else."
)
MAX_NEW_TOKENS = 160
_MARKS = re.compile(r"^(?:[-*\u2022#\s]+|\d{1,3}[.)]\s+)+")


def fields(text: str) -> dict[str, list[str]]:
    """`{"tags": [...]}`: the tags of an answer in its order, each once (compared without case).

    Commas, semicolons and line breaks part them; bullets, numbers and a last full stop are no part of a tag.
    """
    tags: dict[str, str] = {}
    for piece in re.split(r"[,;\n]", text):
        tag = " ".join(_MARKS.sub("", piece[:400]).split()).strip("\"'` ").rstrip(".")
        if tag:
            tags.setdefault(tag.casefold(), tag)
    return {"tags": list(tags.values())}
