"""The camera in words: which of its motions a text asks for.

In: a prompt, the word for a motion, or facts of the cartoon world. Out: names of `MOTIONS`. The seven of VBench++
(Huang et al. 2024, arXiv:2411.13503: "camera pans left" ... "camera static") and the cartoon world's shake, in their
usual wordings; a dolly or a push is read as the zoom that it looks like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

STATIC, SHAKE = "static", "shake"
MOTIONS = (STATIC, "pan left", "pan right", "tilt up", "tilt down", "zoom in", "zoom out", SHAKE)

_CAMERA = r"\b(?:camera|shot|view|lens)\b[^.;!?]{0,40}?"  # what follows is of the camera
_SIDES = ("left", "right")
_BY_ITSELF = r"(?:slowly |quickly |smoothly |gently )?"
_WORDINGS: tuple[tuple[str, str], ...] = (
    *((f"pan {way}", rf"\bpan(?:s|ning|ned)?[ _]{_BY_ITSELF}(?:to the )?{way}(?:wards?)?\b") for way in _SIDES),
    *((f"pan {way}", rf"{_CAMERA}\bturn(?:s|ing|ed)? to the {way}\b") for way in _SIDES),
    *((f"tilt {way}", rf"\btilt(?:s|ing|ed)?[ _]{_BY_ITSELF}{way}(?:wards?)?\b") for way in ("up", "down")),
    *((f"zoom {way}", rf"\bzoom(?:s|ing|ed)?[ _]{_BY_ITSELF}{way}\b") for way in ("in", "out")),
    ("zoom in", r"\b(?:dolly|dollies|dollying|push(?:es|ing)?) in\b"),
    ("zoom out", r"\b(?:dolly|dollies|dollying|pull(?:s|ing)?) (?:out|back)\b"),
    ("zoom in", rf"{_CAMERA}\bmov(?:e|es|ing|ed) (?:closer|in)\b"),
    ("zoom out", rf"{_CAMERA}\bmov(?:e|es|ing|ed) (?:away|back)\b"),
    (SHAKE, rf"{_CAMERA}\bshak(?:e|es|ing|y)\b|\bshaky (?:camera|cam|footage|shot)\b|\bhandheld\b"),
    (STATIC, rf"{_CAMERA}\b(?:static|stationary|motionless|locked|fixed|still|unmoving|not mov(?:e|ing))\b"),
    (STATIC, r"\b(?:static|stationary|fixed|locked|still) (?:camera|shot|view)\b"),
)  # fmt: skip
_PATTERNS = tuple((motion, re.compile(wording, re.IGNORECASE)) for motion, wording in _WORDINGS)


def motions_in(text: str) -> list[str]:
    """The motions that a text asks for, in the order of `MOTIONS`; [] where it says nothing of a camera."""
    if text.replace("_", " ").lower() in MOTIONS:
        return [text.replace("_", " ").lower()]
    asked = {motion for motion, pattern in _PATTERNS if pattern.search(text)}
    return [motion for motion in MOTIONS if motion in asked]


def motions_of(facts: Mapping[str, Any]) -> list[str]:
    """The motions of the shots in facts as the cartoon world writes them; [] where they are none of these."""
    shots = facts.get("shots")
    cameras = {shot.get("camera") for shot in shots if isinstance(shot, Mapping)} if isinstance(shots, list) else set()
    return [motion for motion in MOTIONS if motion in cameras]
