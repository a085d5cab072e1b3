"""The rules of a trainer: which files and captions it takes, which frames and sizes it makes of them.

In: a name (`known/NAME.yaml`) or the path of such a file, a model, settings over the file's own. Out: `TrainerRules`.
The file says which commit of the trainer was read; what could not be read is `unknown` and is never checked. Both
`v2t-eval check-set` and `v2t-eval curate --for` work by it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cineloop import config, shipped
from cineloop.errors import UsageError, did_you_mean

Unknown = Literal["unknown"]
RATES = ("none", "thinned", "even")
TAKES = ("head", "chunk", "slide", "uniform", "full", "beginning", "middle", "bucket", "spread", "shrink", "interval",
         "auto")  # fmt: skip
FORMS = ("sidecar", "captions-json", "two-file", "musubi-jsonl", "dataset-json", "dataset-jsonl", "dataset-csv",
         "metadata-json", "metadata-jsonl", "metadata-csv")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainerSource:
    """What was read: repository, commit, its date, files."""

    repository: str
    commit: str
    date: str
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrainerModel:
    """A model that the trainer tunes.

    Attributes:
        fps: frames a second it is trained at; None where the file's own rate is given to it.
        step, rest: its frame counts are step·k + rest.
        multiple: sides are multiples of it; `then`: rounded to multiples of this one as frames are scaled.
        tokens: of a caption, beyond which its text encoder cuts; encoder: which one.
    """

    fps: float | Unknown | None
    step: int
    rest: int
    multiple: int
    tokens: int | Unknown
    encoder: str
    then: int | None = None

    def on_grid(self, count: int) -> int:
        """The largest frame count of the grid up to `count`, at least 1."""
        return max(1, (count - self.rest) // self.step * self.step + self.rest)


@dataclass(frozen=True, kw_only=True)
class TrainerSettings:
    """What a user sets in the trainer's own configuration; `TrainerRules.keys` has its names for them.

    Attributes:
        frames: frame counts of the buckets.
        take: which frames of a clip, one of `TrainerRules.frames.takes`.
        stride, samples, most_frames: of the takes slide, uniform and full.
        fps: asked of the trainer where the model's own is not meant.
        source_fps: what the trainer's configuration states of all files.
        resolution: width and height whose area the buckets have, or the sides of squares of that area.
        sizes: (width, height) of buckets that are listed one by one.
        aspects: least and greatest width/height and number of buckets between.
        caption_suffix: of caption files beside the clips.
        batch: clips in a batch.
    """

    frames: tuple[int, ...]
    take: str
    stride: int = 1
    samples: int = 1
    most_frames: int | None = None
    fps: float | None = None
    source_fps: float | None = None
    resolution: tuple[int, ...] = ()
    sizes: tuple[tuple[int, int], ...] = ()
    aspects: tuple[float, float, int] | None = None
    caption_suffix: str = ".txt"
    batch: int = 1

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 1:
            raise ValueError(f"frames must be counts of at least 1, got {list(self.frames)}")
        for name in ("stride", "samples", "batch", "most_frames", "fps", "source_fps"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be above 0, got {value}")
        if any(side < 16 for side in (*self.resolution, *(side for size in self.sizes for side in size))):
            raise ValueError("sides must be at least 16 pixels")
        if self.aspects is not None and not 0 < self.aspects[0] <= self.aspects[1]:
            raise ValueError(f"aspects must be least, greatest and number, got {list(self.aspects)}")


@dataclass(frozen=True, kw_only=True)
class FileRules:
    """Files of clips: suffixes in lower case and which case is listed; whether subfolders are walked; what happens to
    files that are not listed, are damaged, or share a stem; whether frames are turned as the file asks, and by which of
    the two sizes a bucket is chosen."""

    suffixes: tuple[str, ...]
    case: Literal["all-upper-or-lower", "lower", "any"]
    subfolders: bool
    unlisted: str
    damaged: Literal["stops", "dropped"]
    turned: Literal["turned", "as-stored", "unknown"]
    bucket_by: Literal["stored", "shown"]
    same_stem: Literal["overwritten", "shared", "stops"]

    def lists(self, suffix: str) -> bool:
        """Whether files with this suffix are taken."""
        if "unknown" in self.suffixes:
            return True
        cases = {"lower": (suffix,), "any": (suffix.lower(),)}
        known = {*self.suffixes, *(each.upper() for each in self.suffixes if self.case == "all-upper-or-lower")}
        return any(each in known for each in cases.get(self.case, (suffix,)))


@dataclass(frozen=True, kw_only=True)
class FrameRules:
    """Frames: how the file's rate is brought to the model's; what happens to clips with too few; whether counts are
    brought to the model's grid; fewest frames that make a video; by which count a bucket is chosen."""

    takes: tuple[str, ...]
    rate: Literal["none", "thinned", "even"]
    short: Literal["dropped", "kept", "repeated"]
    grid: Literal["rounded", "refused", "none"]
    least_take: int
    decoded_count: Literal["decoded", "claimed"]


@dataclass(frozen=True, kw_only=True)
class SizeRules:
    """Sizes: how a bucket is chosen; whether the picture is cropped to it or stretched; whether it is enlarged."""

    how: Literal["area", "aspects", "given-by-aspect", "given-by-frames", "own"]
    fit: Literal["crop", "stretch"]
    upscales: bool


@dataclass(frozen=True, kw_only=True)
class CaptionRules:
    """Captions: the forms that are read, the first that is there; what becomes of several a clip, of a missing and of
    an empty one; how files are decoded."""

    forms: tuple[str, ...]
    several: Literal["first", "all"]
    missing: Literal["stops", "dropped", "trained", "unseen"]
    empty: Literal["trained"]
    encoding: Literal["utf-8", "locale"]


@dataclass(frozen=True, kw_only=True)
class WriteRules:
    """What `--write` makes: the form of captions, and the configuration's file and text (jinja2)."""

    form: str
    file: str
    text: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class TrainerRules:
    """A trainer; see the module's head. `model` names one of `models`; `keys`: the trainer's names of settings."""

    title: str
    source: TrainerSource
    model: str
    models: dict[str, TrainerModel]
    settings: TrainerSettings
    keys: dict[str, str]
    files: FileRules
    frames: FrameRules
    sizes: SizeRules
    captions: CaptionRules
    write: WriteRules

    def __post_init__(self) -> None:
        if self.model not in self.models:
            near = did_you_mean(self.model, self.models)
            raise ValueError(f"no model is called {self.model!r}; models: {', '.join(self.models)}. {near}".rstrip())
        for what, given, known in (
            ("take", (self.settings.take,), self.frames.takes),
            ("takes", self.frames.takes, TAKES),
            ("rate", (self.frames.rate,), RATES),
            ("forms", self.captions.forms, FORMS),
        ):
            for each in given:
                if each not in known:
                    raise ValueError(f"{what} must be of {', '.join(known)}; got {each!r}")
        off = [count for count in self.settings.frames if self.own.on_grid(count) != count]
        if off and self.frames.grid == "refused":
            raise ValueError(f"frames must be {self.own.step}·k+{self.own.rest} for {self.model}, got {off}")

    @property
    def own(self) -> TrainerModel:
        """The model that is tuned."""
        return self.models[self.model]

    @property
    def fps(self) -> float | None:
        """Frames a second that clips should have; None where that is not known or any will do."""
        if self.settings.fps is not None:
            return self.settings.fps
        return None if isinstance(self.own.fps, str) else self.own.fps

    @property
    def counts(self) -> tuple[int, ...]:
        """Frame counts of the buckets as they are trained, ascending."""
        given = (count for count in self.settings.frames if count >= self.frames.least_take)
        if self.frames.grid != "rounded":
            return tuple(sorted(set(given)))
        return tuple(sorted({self.own.on_grid(count) for count in given}))


def trainers() -> dict[str, Path]:
    """The known trainers by name."""
    return {path.stem: path for path in sorted((Path(__file__).resolve().parent / "known").glob("*.yaml"))}


def load_rules(name: str | Path, model: str | None = None, sets: Iterable[str] = ()) -> TrainerRules:
    """The rules of a trainer.

    Args:
        name: of a known one, or a YAML file of the user's own.
        model: one of its models; None for the one that the file names.
        sets: settings as `frames=[81]`.

    Raises:
        UsageError: no such trainer, model or setting, the nearest being named; a value that cannot be.
    """
    file = shipped.find(name, trainers(), "trainer")
    flags: dict[str, Any] = {} if model is None else {"model": model}
    rules = config.load(TrainerRules, file=file, sets=[f"settings.{each}" for each in sets], flags=flags)
    if not rules.counts:
        raise UsageError(f"{rules.title} takes no video of {list(rules.settings.frames)} frames")
    return rules
