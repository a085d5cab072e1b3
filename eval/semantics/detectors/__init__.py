"""Detectors of things, places and actions in a clip: one file each, loaded by name.

    world                  the cartoon world's referee, `cineloop.world.referee.read`: things, place, action
    hf:ID_OR_FOLDER        zero-shot object detection of transformers (OWL-ViT, OWLv2, Grounding DINO): things
    action:ID_OR_FOLDER    video classification of transformers, such as a model of Kinetics: actions

In: a sample, and the nouns and colours that are asked for. Out: regions of 16 frames, captions of them, or a ranking of
actions; a detector has the methods of what it can detect. A model is loaded once in a process.
"""

from __future__ import annotations

from typing import Protocol

from cineloop.errors import UsageError
from cineloop.plugin import choices, load
from v2t_eval.core import models

NUM_FRAMES = 16  # as VBench takes


class Detector(Protocol):
    """What a file of this folder defines as `class Detector`, made of what stands after the colon.

    Besides, where it can: `regions(sample, nouns, colors) -> list[Frame]`, for each of `NUM_FRAMES` frames the things
    found, best first, labelled by the noun that names them, by `SOMETHING` where the detector does not know what it is,
    by `MORE` where it does not know how many there are; `captions(sample) -> list[str]`, what each frame shows as a
    whole; `actions(sample) -> list[tuple[str, float]]`, names as they were asked for or as the model has them, each
    with 0 to 1 for how sure that is, best first. They raise ItemError where the clip cannot be read.
    """

    name: str

    def fingerprint(self) -> dict[str, str]:
        """What decides its findings: model, weights, preprocessing, thresholds."""


def open_detector(name: str, able: str) -> Detector:
    """The detector called `name`, loaded. `able`: the method it must have: regions, captions, actions.

    Raises:
        UsageError: no such detector, or one without this ability. MissingDependencyError: its model is not available.
    """
    family, _, where = name.partition(":")
    made = load("v2t_eval.semantics.detectors", family, "Detector").Detector
    if not hasattr(made, able):
        known = [n for n in choices("v2t_eval.semantics.detectors", "Detector") if _has(n, able)]
        raise UsageError(f"the detector {name!r} does not tell {able}; those that do: {', '.join(known)}")
    detector: Detector = models.open_model(("detector", name), lambda: made(where))
    return detector


def _has(name: str, able: str) -> bool:
    return hasattr(load("v2t_eval.semantics.detectors", name, "Detector").Detector, able)
