"""What a check says: of every clip, and of the set.

In: nothing. Out: `CheckedClip`, `CheckedSet`, which the parts of a check fill.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cineloop.errors import Notice
from v2t_eval.trainers.captions import CaptionFile, CaptionSet
from v2t_eval.trainers.findings import Effect, SetFinding, worst
from v2t_eval.trainers.fit import ClipFit
from v2t_eval.trainers.footage import Footage
from v2t_eval.trainers.rules import TrainerRules
from v2t_eval.trainers.shift import ShiftTest


@dataclass(kw_only=True)
class CheckedClip:
    """One clip: its path in the folder, the file, its sha256, footage and fit where it can be read, its captions, and
    everything that is wrong."""

    path: str
    file: Path
    sha: str = ""
    footage: Footage | None = None
    fit: ClipFit = field(default_factory=ClipFit)
    captions: CaptionFile | None = None
    findings: list[SetFinding] = field(default_factory=list)

    @property
    def effect(self) -> Effect | None:
        """What becomes of it at worst."""
        return worst(self.findings)

    @property
    def is_taken(self) -> bool:
        """Whether the trainer trains on it."""
        return self.effect not in ("stops", "dropped")

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of all that is wrong, each once."""
        return tuple(dict.fromkeys(each.code for each in self.findings))


@dataclass(kw_only=True)
class CheckedSet:
    """A folder: its clips by path, the captions' form, the test for shifted captions, what concerns it as a whole."""

    folder: Path
    rules: TrainerRules
    clips: list[CheckedClip]
    captions: CaptionSet
    shift: ShiftTest | None = None
    notices: list[Notice] = field(default_factory=list)

    @property
    def is_sound(self) -> bool:
        """Whether no clip has more than a note."""
        return all(clip.effect in (None, "note") for clip in self.clips)
