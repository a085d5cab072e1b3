"""Settings of a round trip.

In: values from flags or a caller. Out: a checked `RoundtripConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cineloop.errors import UsageError
from cineloop.training.runtime import check_device

NUM_OTHERS = 8  # captions of other prompts that each prompt is compared with; half make the floor, half test it


@dataclass(frozen=True, kw_only=True)
class RoundtripConfig:
    """Settings of a round trip, as the flags of `v2t-eval roundtrip` describe them.

    With `clips` there is one file of `prompts` at most, joined to them. For prompts of the cartoon world `judge` "auto"
    is the starter, and `sentence` "auto" its dual encoder; else both are none. `questions`: see
    `v2t_eval.semantics.sources`; those of a language model need a `reader` to answer them from captions.
    """

    prompts: tuple[str, ...] = ()
    world: int | None = None
    split: str = "seen"
    seed: int = 0
    clips: Path | None = None
    generator: str = "dit"
    model: str | None = None
    steps: int | None = None
    num_videos: int = 1
    captioner: str = "starter"
    style: str = "detailed"
    ceiling: bool = True
    reference_clips: Path | None = None
    judge: str = "auto"
    questions: str = "grammar"
    reader: str | None = None
    sentence: str = "auto"
    corpus: Path | None = None
    limit: int | None = None
    device: str = "auto"
    max_clip_mb: int = 1024
    overwrite: bool = False
    retry_failed: bool = False

    def __post_init__(self) -> None:
        for name in ("world", "limit", "num_videos", "steps", "max_clip_mb"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        check_device(self.device)
        if self.split not in ("train", "seen", "unseen"):
            raise UsageError(f"split must be train, seen or unseen, not {self.split!r}")
        if self.world is not None and (self.prompts or self.clips):
            raise UsageError("--world draws its own prompts: give it alone, without prompts or --clips")
        if self.clips is None and not self.prompts and self.world is None:
            raise UsageError(
                "no prompts given", hint="give a file of prompts, --world 24, or --clips with a folder of clips"
            )
        if self.clips is not None:
            given = {"--generator": self.generator != "dit", "--model": self.model, "--steps": self.steps,
                     "--num-videos": self.num_videos > 1}  # fmt: skip
            if any(given.values()):
                flag = next(name for name, is_given in given.items() if is_given)
                raise UsageError(f"{flag} cannot be used with --clips, which replaces the generator")
            if len(self.prompts) > 1:
                raise UsageError("with --clips, give one file of prompts at most")
        if self.judge not in ("auto", "none") and self.judge.partition(":")[0] != "v2t":
            raise UsageError(f"judge must be v2t, v2t:MODEL, auto or none, not {self.judge!r}")
