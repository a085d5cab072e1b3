"""One item of a round trip: a prompt, the clip generated from it, the caption of that clip.

In: nothing. Out: `Trip`, and `Side`, all trips of the generator or of the ceiling.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cineloop.errors import Notice


@dataclass(kw_only=True)
class Trip:
    """One clip; parts that do not exist (yet) are None.

    Attributes:
        id: of the clip, as given by its source; `name`: of its file here, which reveals nothing of the prompt.
        prompt: what it was made from; trips of one prompt are one case.
        path: the file; `start_s`, `end_s`: the part of it that is the clip.
        caption: of the captioner; `warnings`: of the captioner about the clip.
        error: why there is no clip or no caption: code and message.
    """

    id: str
    name: str
    prompt: str
    path: Path | None = None
    start_s: float | None = None
    end_s: float | None = None
    caption: str | None = None
    warnings: tuple[Notice, ...] = ()
    error: dict[str, str] | None = None


@dataclass(kw_only=True)
class Side:
    """All trips of the generator, or of the ceiling, in order.

    Attributes:
        name: generator or ceiling. about: the generator as in manifests: generator, model, weights_sha256.
        notes: caveats about these clips, as sentences.
    """

    name: str
    trips: list[Trip] = field(default_factory=list)
    about: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def captioned(self) -> list[Trip]:
        """Trips with a caption."""
        return [trip for trip in self.trips if trip.caption is not None]
