"""An edit of one clip as a client sends it: checked, and applied to a record.

In: a JSON object. Out: an `Edit`; a new record. Captions are text and nothing else: what they hold is kept, but for
line ends and spaces around them, which a `.txt` file does not keep either.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from typing import Any

from cineloop.manifest import REJECTED
from cineloop.web.faults import Fault
from v2t.writers import Record

ACCEPTED, LOOK = "accepted", "look"
REVIEWS = ("", ACCEPTED, REJECTED, LOOK)
MAX_CHARS, MAX_CAPTIONS, MAX_TAGS, MAX_TAG = 100_000, 32, 64, 100
_FIELDS = {"id", "revision", "captions", "review", "tags"}


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A change of one clip; None leaves a field as it is.

    Attributes:
        id: of the clip. revision: of it, that the client saw.
        captions: all of them, the first is the clip's caption.
        review: accepted, rejected, look (it needs one), or "" for neither.
        tags: all of them.
    """

    id: str
    revision: int
    captions: tuple[str, ...] | None = None
    review: str | None = None
    tags: tuple[str, ...] | None = None

    def apply(self, record: Record) -> Record:
        """The record with the change; equal to the old one where nothing changes."""
        new = dict(record)
        if self.captions is not None and list(self.captions) != captions_of(record):
            new |= {"caption": self.captions[0], "status": "ok", "error": None, "edited": True}
            new.pop("captions", None)
            if len(self.captions) > 1:
                new["captions"] = list(self.captions)
        for name, value in (("review", self.review), ("tags", self.tags and list(self.tags))):
            if value:
                new[name] = value
            elif value is not None or (name == "tags" and self.tags is not None):
                new.pop(name, None)
        return new


def captions_of(record: Record) -> list[str]:
    """All captions of a record, its own first; none of a failed one."""
    first = record.get("caption")
    return [] if first is None else [first, *(record.get("captions") or [first])[1:]]


def read_edit(value: Any, known: Container[str]) -> Edit:
    """The edit in a JSON object. Raises Fault: NOT_FOUND, the clip is not in `known`; BAD_REQUEST, BAD_CAPTION."""
    if not isinstance(value, dict) or not value.keys() <= _FIELDS:
        raise _wrong("edits", f"expected objects with {', '.join(sorted(_FIELDS))}")
    clip_id, revision = check_id(value.get("id"), known), value.get("revision")
    if not isinstance(revision, int) or isinstance(revision, bool):
        raise _wrong("revision", "expected the revision that the clip had when it was read")
    captions, tags, review = value.get("captions"), value.get("tags"), value.get("review")
    if captions is not None:
        captions = tuple(map(_text, _texts("captions", captions, MAX_CAPTIONS, MAX_CHARS)))
        if not captions:
            raise _wrong("captions", "expected at least one; reject the clip instead")
    if tags is not None:
        tags = tuple(dict.fromkeys(" ".join(tag.split()) for tag in _texts("tags", tags, MAX_TAGS, MAX_TAG)))
        tags = tuple(filter(None, tags))
    if review is not None and review not in REVIEWS:
        raise _wrong("review", f"expected one of {', '.join(map(repr, REVIEWS))}")
    return Edit(id=clip_id, revision=revision, captions=captions, review=review, tags=tags)


def check_id(value: Any, known: Container[str]) -> str:
    """The id of a clip. Raises Fault NOT_FOUND."""
    if not isinstance(value, str) or value not in known:
        raise Fault(404, "NOT_FOUND", "no clip of that id in this folder", param="id")
    return value


def _texts(name: str, value: Any, most: int, longest: int) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise _wrong(name, "expected a list of texts")
    if len(value) > most or any(len(text) > longest for text in value):
        raise _wrong(name, f"at most {most}, each of at most {longest} characters")
    return value


def _text(text: str) -> str:
    text = text.replace("\r\n", "\n").strip()
    if not text.strip("\0 \t\r\n"):
        message = "a caption must not be empty; reject the clip to leave it out"
        raise Fault(400, "BAD_CAPTION", message, param="captions")
    return text


def _wrong(param: str, expected: str) -> Fault:
    return Fault(400, "BAD_REQUEST", f"{param}: {expected}", param=param)
