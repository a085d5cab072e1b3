"""Settings of clips that hold for every generator. Imported for --help: nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass

from cineloop.errors import UsageError
from cineloop.options import option


@dataclass(frozen=True, kw_only=True)
class GenerateSettings:
    """What holds for all clips of a run; None leaves the generator's own value."""

    num_frames: int | None = option(
        None,
        "frames; rounded to what the model can make",
        metavar="N",
        group="the clips (default: the model's own values)",
    )
    height: int | None = option(None, "height in pixels", metavar="H")
    width: int | None = option(None, "width in pixels", metavar="W")
    fps: float | None = option(None, "frames per second")
    steps: int | None = option(None, "sampling steps", metavar="N")
    guidance: float | None = option(None, "scale of classifier-free guidance; 1 is off", metavar="S")

    def __post_init__(self) -> None:
        for name in ("num_frames", "height", "width", "steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.fps is not None and not 0 < self.fps <= 240:
            raise UsageError(f"fps must be above 0 and at most 240, got {self.fps}")
        if self.guidance is not None and not 0 <= self.guidance <= 100:
            raise UsageError(f"guidance must be within 0 and 100, got {self.guidance}")
