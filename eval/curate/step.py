"""What a step of a curation is: it cuts films into clips, gives clips columns, or compares the clips of a table.

A step is a file of `eval/curate/steps`, or of any folder (`mine/step.py`), with a class `Step(BaseStep)`. `cut` and
`measure` work on what one pass over the film has seen (`v2t_eval.frames.survey`), so that other settings and limits
decode nothing; `examine` may look at pictures again and ask models, and `compare` looks at the clips that the steps
before have left. A step does not throw clips away: limits on its columns do, which a recipe sets
(`v2t_eval.curate.recipe`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cineloop.config import from_dict, to_dict
from cineloop.plugin import load, source
from cineloop.video.sample import SampleSpec
from v2t_eval.core.measurement import Evidence, Measurement, NoSettings
from v2t_eval.core.models import content_id
from v2t_eval.curate.clip import FilmClip
from v2t_eval.frames.survey import Survey


@dataclass(frozen=True)
class Column:
    """A number of each clip: what it says, and its least and greatest possible value."""

    says: str
    low: float = 0.0
    high: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A part of a film, seconds of the file; `begins` and `ends` say by what: end (of the film), cut, fade, dissolve,
    wipe, black, length."""

    start_s: float
    end_s: float
    begins: str = "end"
    ends: str = "end"


@dataclass(frozen=True)
class Window:
    """What was seen of one clip. Letters: N frames seen, M looked at closely, K samples of motion."""

    survey: Survey
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s

    @cached_property
    def frames(self) -> slice:
        """The frames seen; at least one: a clip shorter than the step between two shows the one before."""
        first, stop = np.searchsorted(self.survey.times_s, [self.start_s - 1e-3, self.end_s - 1e-3])
        first = min(int(first), len(self.survey.times_s) - 1)
        return slice(first, max(int(stop), first + 1))

    @cached_property
    def close(self) -> np.ndarray:
        """Positions (M,) of the frames looked at closely; the nearest one where none is inside."""
        seconds = self.survey.close_s
        inside = np.flatnonzero((seconds >= self.start_s - 1e-3) & (seconds < self.end_s - 1e-3))
        middle = (self.start_s + self.end_s) / 2
        return inside if len(inside) else np.array([int(np.abs(seconds - middle).argmin())])

    @cached_property
    def motion(self) -> np.ndarray:
        """float64 (K, 3), see `v2t_eval.frames.flow.Motion`; of pairs of frames that both lie inside."""
        seconds = self.survey.motion_s  # (K, 2)
        inside = (seconds[:, 0] >= self.start_s - 1e-3) & (seconds[:, 1] < self.end_s)
        samples: np.ndarray = self.survey.motion[inside]
        return samples


@dataclass(kw_only=True)
class Work:
    """What `examine` and `compare` may use.

    Attributes:
        folder: of the set, where a step may keep files of its own.
        evidence: evidence of a measurement by id of clip, from the cache or from the frames of the clip that are
            sampled so; of a clip that cannot be read or measured there is none.
        file: the file of a clip's film.
        held_out: the clips of `--against`, which are not in the set.
        clips: all clips, whether limits leave them or not.
        steps: all steps, in their order.
    """

    folder: Path
    evidence: Callable[[Measurement, Sequence[FilmClip], SampleSpec], dict[str, Evidence]]
    file: Callable[[FilmClip], Path]
    held_out: Sequence[FilmClip] = ()
    clips: Sequence[FilmClip] = ()
    steps: Sequence[BaseStep] = ()


@dataclass(frozen=True, kw_only=True)
class CompareResult:
    """What a step says of clips among one another, in their order: `columns` by name, None where there is no value, and
    fields of `v2t_eval.curate.clip.Links` by name, where None leaves what a step before has set."""

    columns: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    links: Mapping[str, Sequence[str | None]] = field(default_factory=dict)


class BaseStep:
    """A step; see the module's head.

    Class attributes:
        name: the file's name.
        columns: what `measure` or `compare` gives each clip, by name; a limit can be set on each.
        detects, misses: in words.
        version: raised whenever the same film may get other values; columns are measured anew then.
        Settings: a dataclass with defaults.

    Attributes:
        known: what `examine` gave; numbers of clips by id stand under the name of their column.
        same: `pairs` of the clips that `compare` saw, those included that its own limits drop.
        work: see `Work`; set before `compare` is called.
    """

    work: Work

    name: ClassVar[str] = ""
    columns: ClassVar[Mapping[str, Column]] = {}
    detects: ClassVar[str] = ""
    misses: ClassVar[str] = ""
    version: ClassVar[int] = 1
    Settings: ClassVar[type[Any]] = NoSettings

    def __init__(self, **settings: Any) -> None:
        """Settings by name. Raises UsageError: an unknown one or a wrong value."""
        self.settings: Any = from_dict(type(self).Settings, settings, f"settings.{self.name}.")
        self.known: dict[str, Any] = {}
        self.same: Sequence[tuple[str, str]] = ()

    def cut(self, survey: Survey, pieces: Sequence[Piece]) -> Sequence[Piece]:
        """The clips of a film, from those of the steps before (at first the whole film); in order, not empty."""
        return pieces

    def measure(self, clip: Window) -> Mapping[str, Any]:
        """Values of columns of one clip; None where there is nothing to measure. `crop` is no column but x, y, width
        and height of the picture within the frame, `crop_reason` why."""
        return {}

    def examine(self, clips: Sequence[FilmClip], work: Work) -> dict[str, Any]:
        """What `compare` needs to know of all clips and takes long, as JSON values; called again only for other clips,
        settings or versions. Limits do not matter here."""
        return {}

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        """What depends on the other clips. `clips` are those that keep the limits of the steps before, and are not
        changed here; called for each table."""
        return CompareResult()

    def pairs(self, clips: Sequence[FilmClip]) -> Sequence[tuple[str, str]]:
        """Ids of clips among these that show the same, the original first where there is one."""
        return ()

    def fingerprint(self) -> dict[str, Any]:
        """What determines the columns of a film, files by their content; of a step in a file of one's own its text."""
        text = type(self).__module__ if source(type(self)) else ""  # its name holds a hash of the file
        settings = {key: content_id(value) for key, value in to_dict(self.settings).items()}
        return {"name": self.name, "version": self.version, "settings": settings, "text": text}


def check_file(setting: str, path: str) -> None:
    """Raise ValueError where a setting names a file that is not there: before hours of work, and not after them."""
    if path and not Path(path).is_file():
        raise ValueError(f"{setting}: there is no file {path!r}")


def load_step(name: str) -> type[BaseStep]:
    """The class of the step `name`, or in the file of that path.

    Raises:
        UsageError: there is no such step; the message lists the choices and the nearest one.
    """
    kind: type[BaseStep] = load("v2t_eval.curate.steps", name, "Step", files=True).Step
    return kind
