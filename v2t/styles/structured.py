"""Labelled lines: subject, action, setting, camera, style.

Needs a model that follows instructions: the bundled starter knows only the prompts of `short`, `detailed`, `timed` and
`notes`, and answers this one as it likes.
"""

from __future__ import annotations

import re

PROMPT = (
    "Describe the video in five labelled lines and nothing else:\n"
    "Subject: who or what is seen\n"
    "Action: what happens, in order\n"
    "Setting: the place and the light\n"
    "Camera: how the camera moves and how close it is\n"
    "Style: what kind of picture it is"
)
MAX_NEW_TOKENS = 320
FIELDS = ("subject", "action", "setting", "camera", "style")
# A label may come numbered, bulleted or in bold: `2. **Action:** runs`, `- Camera — static`.
_LABEL = re.compile(r"^\W*(?:\d{1,2}[.)]\s*)?\W*(" + "|".join(FIELDS) + r")\W*?\s*[:\u2013\u2014-]\**\s*(.*)$", re.I)


def fields(text: str) -> dict[str, str]:
    """The labelled parts of an answer; lines without a label belong to the label before them.

    Labels that are missing have no key. Of a label that comes twice the texts are joined.
    """
    texts: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in text.splitlines():
        match = _LABEL.match(line[:400])
        if match:
            current = texts.setdefault(match.group(1).lower(), [])
            line = match.group(2) + line[400:]
        if current is not None and line.strip():
            current.append(line.strip())
    return {name: " ".join(texts[name]) for name in FIELDS if texts.get(name)}
