"""What a model can do in addition to answering, declared by its folder or its server and never guessed.

In: `abilities.json` of a model's folder, or the same object in a server's list of models. Out: `Abilities`. A model
that declares nothing is assumed to be a large one that follows instructions, unless it is this project's own: those
learn from captions and questions, and are not trained to summarise notes unless the folder declares it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError

FILE_NAME = "abilities.json"
WORLD: Literal["world"] = "world"  # in `Abilities.vocabulary`


@dataclass(frozen=True, kw_only=True)
class Abilities:
    """What a model can do.

    Attributes:
        window_s: seconds of video it understands at once, > 0.
        can_summarise: whether it can summarise notes in its own words.
        styles: files of `v2t/styles` it was trained to answer; None for a model that follows any instruction.
        vocabulary: the words it was trained on, in small letters, or `WORLD` for those of the cartoon world; None for a
            model that declares none, whose error on a word is unknown.
        needs_video: whether its answers mean nothing without a video, or notes on one, in the conversation.
    """

    window_s: float = 60.0
    can_summarise: bool = True
    styles: tuple[str, ...] | None = None
    vocabulary: Literal["world"] | tuple[str, ...] | None = None
    needs_video: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.window_s, int | float) or isinstance(self.window_s, bool) or not 0 < self.window_s < 1e6:
            raise ValueError(f"window_s must be seconds greater than 0, got {self.window_s!r}")
        for key in ("can_summarise", "needs_video"):
            if not isinstance(getattr(self, key), bool):
                raise ValueError(f"{key} must be true or false, got {getattr(self, key)!r}")
        for key in ("styles", "vocabulary"):
            names = getattr(self, key) or ()
            listed = isinstance(names, tuple) and all(isinstance(name, str) and name for name in names)
            if not listed and (key, names) != ("vocabulary", WORLD):
                raise ValueError(f"{key} must be a list of texts or null, got {getattr(self, key)!r}")

    @classmethod
    def from_dict(cls, value: Any) -> Abilities:
        """The abilities in a JSON object; missing keys have their default; unknown keys are ignored. Raises ValueError:
        not an object, or a value out of range."""
        if not isinstance(value, dict):
            raise ValueError(f"abilities must be a JSON object, got {type(value).__name__}")
        given = {f.name: value[f.name] for f in fields(cls) if f.name in value}
        given |= {name: tuple(each) for name, each in given.items() if isinstance(each, list)}
        return cls(**given)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, as `from_dict` reads it."""
        return {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self).items()}


OURS = Abilities(can_summarise=False)  # a model of `v2t.model` whose folder declares nothing


def read(folder: Path) -> Abilities:
    """The abilities declared in a folder of this project's own model. Raises MissingDependencyError: the file is
    damaged."""
    try:
        return Abilities.from_dict(read_json(folder / FILE_NAME))
    except FileNotFoundError:
        return OURS
    except (OSError, ValueError) as error:
        raise MissingDependencyError(f"cannot read {folder / FILE_NAME}: {error}", code="MODEL") from error
