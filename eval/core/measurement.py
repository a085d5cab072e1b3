"""Base class of measurements: what is read of one sample, as evidence.

In: a sample. Out: its evidence (numbers, token counts, a feature vector), a pure function of the inputs that the
measurement names. So evidence is cached under the measurement's fingerprint and the content of these inputs, and made
in any order by any number of workers (`v2t_eval.core.executor`). A metric (`v2t_eval.core.metric`) is a measurement
with a summary; the survey of a film, or a judge's answer, is read as it is.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar

import numpy as np

from cineloop.config import from_dict, to_dict
from v2t_eval.core.models import anonymise, content_id, display_name
from v2t_eval.core.sample import Sample

Evidence = dict[str, Any]  # JSON values and numpy arrays
NOTHING_ASKED = "NOTHING_ASKED"  # code of a sample that a metric does not apply to, so it is not counted as expected
UNAUDITED = "UNAUDITED"  # code of what a judge may not be asked
# Codes by which a metric declines a sound sample, for a reason it documents: this lowers the coverage, and is no error.
ABSTENTIONS = frozenset({UNAUDITED, "TOO_SHORT", "TOO_SMALL", "UNREAD", "UNKNOWN_ACTION", "NOT_BY_BOXES",
                         "OUT_OF_DOMAIN", "UNDEFINED", "NO_HIGHLIGHT"})  # fmt: skip
REFERENCE_CLIPS = "reference_clips"  # in `needs`: a second set of clips


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The evidence of one sample."""

    id: str
    cluster: str
    evidence: Evidence


@dataclass(frozen=True)
class FilmPass:
    """One pass over the frames of a film, in the process that decodes it: what a measurement needs as "survey".

    Attributes:
        job: a function as `module:function`, see `cineloop.video.worker.DecoderPool.submit_job`.
        read: makes `SampleClip.survey` of what that returned, JSON values and arrays.
    """

    job: str
    read: Callable[[Any, dict[str, np.ndarray]], Any]


@dataclass(frozen=True, kw_only=True)
class NoSettings:
    """For measurements without settings."""


class Measurement(ABC):
    """A measurement; see the module's head.

    Class attributes, of which a measurement states those that differ from the ones here:
        name: of a metric, its file name.
        needs: what a sample must bring, see `v2t_eval.core.sample`.
        uses: optional inputs, read where a sample has them.
        version: raised whenever the same sample may get another value (`tests/eval/test_metric_versions.py` holds known
            values of each version). Source code is not part of the fingerprint: a comment must not void a baseline.
        shared_version: the same for code that several metrics share, such as the reading of prompts; 0 at first.
        film_pass: what makes the "survey" of `needs`; measurements of one executor have the same.
        named, hidden: settings that are always in the title, and never (the path of a file).
    """

    name: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    uses: ClassVar[tuple[str, ...]] = ()
    version: ClassVar[int] = 1
    shared_version: ClassVar[int] = 0
    film_pass: ClassVar[FilmPass | None] = None
    named: ClassVar[tuple[str, ...]] = ()
    hidden: ClassVar[tuple[str, ...]] = ()
    Settings: ClassVar[type[Any]] = NoSettings

    def __init__(self, **settings: Any) -> None:
        """Settings by name, see the measurement's `Settings`.

        Raises:
            UsageError: an unknown setting or a wrong value.
        """
        self.settings: Any = from_dict(type(self).Settings, settings, f"{self.name}.")

    @property
    def title(self) -> str:
        """The name, with the non-default settings: `frechet[feature=clip]`; of a file its name."""
        usual = {field.name: to_dict(field.default) for field in fields(self.settings) if field.default is not MISSING}
        shown = [
            f"{key}={display_name(value)}"
            for key, value in to_dict(self.settings).items()
            if (key in self.named and value != "") or (key not in self.hidden and value != usual.get(key, MISSING))
        ]
        return f"{self.name}[{','.join(shown)}]" if shown else self.name

    def prepare(self) -> None:  # noqa: B027 - most measurements have nothing to load
        """Load models; called once before the first `measure`.

        Raises:
            MissingDependencyError: something is not available; the message explains how to get it.
        """

    @abstractmethod
    def measure(self, sample: Sample) -> Evidence:
        """The evidence of one sample: a pure function of the fields in `needs` and `uses`.

        Raises:
            ItemError: this sample cannot be measured.
        """

    def describe(self) -> dict[str, str]:
        """The measurement's own part of the fingerprint: models with their hashes, preprocessing, dtype."""
        return {}

    def fingerprint(self) -> dict[str, str]:
        """What determines the value: definition, settings, and `describe()`; files by their content."""
        settings = to_dict(self.settings)
        shared = f".{self.shared_version}" if self.shared_version else ""
        base = {"definition": f"{self.name}/{self.version}{shared}", "settings": as_text(settings)}
        return base | anonymise(self.describe(), settings)

    def evidence_fingerprint(self) -> dict[str, str]:
        """What determines the evidence."""
        return self.fingerprint()

    def check(self, sample: Sample) -> None:
        """Raises ItemError, NO_<NAME>, when the sample lacks what this measurement needs."""
        for name in self.needs:
            if name != REFERENCE_CLIPS:
                sample.require(name)

    def reads(self, name: str) -> bool:
        """Whether it needs or uses this input."""
        return name in self.needs or name in self.uses


def as_text(settings: Mapping[str, Any]) -> str:
    """Settings as part of a fingerprint; files by their content."""
    return json.dumps({key: content_id(value) for key, value in settings.items()}, sort_keys=True, default=str)
