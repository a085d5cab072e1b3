"""History of edits in a run's journal: every revision of every clip, the steps that people made, what they have seen.

In: the journal of a captioning run. Out: an `EditLedger`. An edit is the journal's entry of a record (`clip`, see
`v2t.caption.ledger`) with one more field, so whatever reads the journal reads the edited text:

    "edit": {"step", "by", "action", "undoes"?, ...}

A step may change many clips. The revision of a clip is the number of its records, edits and captions of runs alike.
What a person has looked at is an entry of its own: `{"kind": "seen", "at", "by", "ids"}`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from cineloop.journal import Entry, Journal, Place
from v2t.caption.ledger import Ledger

UNDO, REDO, REPLACE = "undo", "redo", "replace"


@dataclass
class EditStep:
    """What one person changed at once.

    Attributes:
        step: its id. undoes: id of the step that it takes back, or "".
        at: when, in seconds since 1970.
        action: name of what was done, such as save, accept, replace, undo.
        revisions: clip id → the revision that the step made.
    """

    step: str
    by: str
    at: float
    action: str
    undoes: str = ""
    revisions: dict[str, int] = field(default_factory=dict)


class EditLedger(Ledger):
    """A ledger that also knows the history.

    Attributes:
        places: clip id → where its records are, in order.
        origins: clip id → for each of them the revision that first had its content: an undo brings an earlier one back.
        steps: by id, in order.
        undone: ids of steps.
        seen: ids of clips.
        changed: ids of clips in the order in which they changed.
    """

    def __init__(
        self, journal: Journal, whole: Ledger | None = None, holds: Callable[[str], bool] = lambda clip_id: True
    ) -> None:
        self.places: dict[str, list[Place]] = {}
        self.origins: dict[str, list[int]] = {}
        self.steps: dict[str, EditStep] = {}
        self.undone: set[str] = set()
        self.seen: set[str] = set()
        self.changed: list[str] = []
        super().__init__(journal, whole, holds)

    def revision(self, clip_id: str) -> int:
        """Records that the journal has of a clip."""
        return len(self.places[clip_id])

    def is_current(self, clip_id: str, revision: int) -> bool:
        """Whether the clip is as this revision made it."""
        return self.origins[clip_id][-1] == self.origins[clip_id][revision - 1]

    def before(self, clip_id: str, revision: int) -> Entry:
        """The entry of the revision before. Raises KeyError for the first."""
        if revision < 2:
            raise KeyError(clip_id)
        return self.journal.read(self.places[clip_id][revision - 2])

    def last_step(self, by: str, *, redo: bool = False) -> EditStep | None:
        """The step that a person would take back next; with `redo`, the undo to take back."""
        for step in reversed(self.steps.values()):
            if step.by != by:
                continue
            if redo and step.action not in (UNDO, REDO):
                return None  # a new edit ends what could be done again
            if (step.action == UNDO) == redo and step.step not in self.undone:
                return step
        return None

    def edit_of(self, clip_id: str) -> dict[str, Any] | None:
        """Who edited a clip last and when, where its newest record is an edit or a `.txt` written by hand."""
        entry = self.journal.read(self.places[clip_id][-1])
        edit = entry.get("edit") or ({"by": "", "action": "file"} if entry["record"].get("edited") else None)
        return edit and {"by": edit["by"], "at": entry.get("at"), "action": edit["action"]}

    def _learn(self, entry: Entry, place: Place) -> None:
        super()._learn(entry, place)
        if entry["kind"] == "seen":
            self.seen.update(entry["ids"])
        if entry["kind"] != "clip":
            return
        clip_id, edit = entry["record"]["id"], entry.get("edit")
        self.places.setdefault(clip_id, []).append(place)
        self.changed.append(clip_id)
        revision, origins = len(self.places[clip_id]), self.origins.setdefault(clip_id, [])
        if edit is None:
            origins.append(revision)
            return
        given = EditStep(edit["step"], edit["by"], entry["at"], edit["action"], edit.get("undoes", ""))
        step = self.steps.setdefault(edit["step"], given)
        step.revisions[clip_id] = revision
        origins.append(origins[self.steps[step.undoes].revisions[clip_id] - 2] if step.undoes else revision)
        if edit["action"] not in (UNDO, REDO, REPLACE):  # these change clips that nobody looks at
            self.seen.add(clip_id)
        if step.undoes:
            self.undone.add(step.undoes)
