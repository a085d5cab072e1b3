"""Compatibility of two scorings: what decides a value must be the same on both sides.

In: two `Scores`. Out: differences, each named with both values, which refuse the comparison; and notes on what differs
and does not decide (versions of libraries, the machine). The fingerprint of a metric says how a value is made; the
record of a clip says what was measured: its prompt, frames, size, rate and decoder, since decoders do not give quite
the same pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cineloop.documents import parse_json
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.scores import ItemScores, Scores

_CLIP = {
    "prompt": "prompt", "num_frames": "number of frames", "fps": "frames per second", "size": "size (height, width)",
    "decoder": "decoder",
}  # fmt: skip
_LONGEST = 160  # characters of a value in a message


@dataclass(frozen=True, kw_only=True)
class Compatibility:
    """`differences` refuse; `notes` do not; `incompatible` names metrics other than the `needed` ones whose
    definitions differ; they are left out."""

    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    incompatible: frozenset[str] = frozenset()


def comparison(candidate: Scores, baseline: Scores, needed: Iterable[str] | None = None) -> Compatibility:
    """Differences between a candidate and a baseline. `needed`: titles of the metrics that decide; None for all that
    both have.
    """
    ours, theirs = candidate.by_name, baseline.by_name
    shared = [name for name in ours if name in theirs]
    deciding = shared if needed is None else list(needed)
    differences, notes, incompatible = [], [], set()
    if not shared and needed is None:
        differences.append(
            f"metrics: candidate {_value_text(', '.join(ours))}, baseline {_value_text(', '.join(theirs))}"
        )
    for name in deciding:
        if name not in theirs:
            differences.append(f"{name}: the baseline does not have it; its metrics are {', '.join(theirs) or 'none'}")
    for name in shared:
        changed, others = definition_changes(ours[name], theirs[name])
        notes += [one.text for one in others]
        if changed and name in deciding:
            differences += [one.text for one in changed]
        elif changed:
            incompatible.add(name)
            notes.append(f"{name} is left out, it is not what it was: {changed[0].values()}")
    about, minor = _clip_changes(candidate.by_id, baseline.by_id)
    notes += [*minor, *_environment_changes(candidate.environment, baseline.environment)]
    return Compatibility(
        differences=(*about, *differences), notes=tuple(dict.fromkeys(notes)), incompatible=frozenset(incompatible)
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What differs between two definitions of a metric, with both values."""

    metric: str
    what: str
    ours: Any
    theirs: Any

    def values(self, whose: tuple[str, str] = ("candidate", "baseline")) -> str:
        """Without the metric's name; `whose` they are."""
        return f"{self.what}: {whose[0]} {_value_text(self.ours)}, {whose[1]} {_value_text(self.theirs)}"

    @property
    def text(self) -> str:
        return f"{self.metric}: {self.values()}"


def definition_changes(ours: MetricResult, theirs: MetricResult) -> tuple[list[Difference], list[Difference]]:
    """What differs between two definitions of one metric: what decides its value, and what does not."""
    deciding, minor = fingerprint_changes(ours.name, ours.fingerprint, theirs.fingerprint)
    sizes = (_reference_size(result) for result in (ours, theirs))
    for what, both in (("headline", (ours.headline, theirs.headline)), ("vectors of the second set", tuple(sizes))):
        if both[0] != both[1]:
            deciding.append(Difference(metric=ours.name, what=what, ours=both[0], theirs=both[1]))
    return deciding, minor


def fingerprint_changes(
    name: str, ours: Mapping[str, str], theirs: Mapping[str, str]
) -> tuple[list[Difference], list[Difference]]:
    """What differs between two fingerprints of the metric `name`: what decides its value, and what does not."""
    deciding, minor = [], []
    for key in dict.fromkeys([*ours, *theirs]):
        mine, other = ours.get(key), theirs.get(key)
        if mine == other:
            continue
        parts = [(key, mine, other)]
        if key == "settings":
            both = [_object(text) for text in (mine, other)]
            keys = [each for each in dict.fromkeys([*both[0], *both[1]]) if both[0].get(each) != both[1].get(each)]
            parts = [(each, both[0].get(each), both[1].get(each)) for each in keys]
        lines = [Difference(metric=name, what=what, ours=a, theirs=b) for what, a, b in parts]
        if key.endswith("library"):
            minor += lines
        else:
            deciding += lines
    return deciding, minor


def _object(text: str | None) -> dict[str, Any]:
    try:
        tree = parse_json(text or "{}")
    except ValueError:
        tree = text
    return tree if isinstance(tree, dict) else {"settings": tree}


def _reference_size(result: MetricResult) -> int | None:
    figure = result.figures.get(result.headline)
    return None if figure is None else figure.detail.get("reference_vectors")


def _clip_changes(mine: Mapping[str, ItemScores], other: Mapping[str, ItemScores]) -> tuple[list[str], list[str]]:
    """Differences in what was measured, clip by clip, and in the number of clips of a prompt."""
    shared = [id for id in mine if id in other]
    if not mine and not other:
        return [], []  # imported figures of sets, without samples
    if not shared:
        return [f"clips: no id in common: candidate {_some(mine)}, baseline {_some(other)}"], []
    differences, notes = [], []
    for field, what in _CLIP.items():
        pairs = [(id, getattr(mine[id], field), getattr(other[id], field)) for id in shared]
        known = [(id, a, b) for id, a, b in pairs if a is not None and b is not None]
        if differing := [(id, a, b) for id, a, b in known if a != b]:
            id, a, b = differing[0]
            differences.append(
                f"{what}: {len(differing)} of {len(shared)} clips, such as {_value_text(id)}: "
                f"candidate {_value_text(a)}, baseline {_value_text(b)}"
            )
        if field == "decoder" and not known and any((a is None) != (b is None) for _, a, b in pairs):
            side = "candidate" if any(a is None for _, a, _ in pairs) else "baseline"
            notes.append(f"which decoder read the clips of the {side} is not recorded; score it again to be sure")
    seeds = [_seeds(clips.values()) for clips in (mine, other)]
    if seeds[0] != seeds[1]:
        differences.append(f"clips of one prompt (seeds): candidate {seeds[0]}, baseline {seeds[1]}")
    if added := [id for id in mine if id not in other]:
        notes.append(f"{len(added)} of {len(mine)} clips are not in the baseline and are left out: {_some(added)}")
    return differences, notes


def _seeds(clips: Iterable[ItemScores]) -> int:
    """How many clips most prompts have, so that a clip that is lost here and there changes nothing."""
    sizes = Counter(Counter(clip.prompt or clip.id for clip in clips).values())
    return max(sizes, key=lambda size: (sizes[size], size))


def _environment_changes(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    keys = [key for key in dict.fromkeys([*ours, *theirs]) if key != "date" and ours.get(key) != theirs.get(key)]
    return [f"{key}: candidate {_value_text(ours.get(key))}, baseline {_value_text(theirs.get(key))}" for key in keys]


def _some(ids: Iterable[str]) -> str:
    listed = list(ids)
    return ", ".join(map(_value_text, listed[:3])) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _value_text(value: Any) -> str:
    """A value in a sentence: in one line, cut where it is long."""
    if value is None:
        return "nothing"
    text = " ".join(str(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
