"""Settings of a round trip.

In: values from flags or a caller. Out: a checked `RoundtripConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cineloop.errors import UsageError
from cineloop.options import option
from cineloop.training.runtime import check_device

NUM_OTHERS = 8  # captions of other prompts that each prompt is compared with; half make the floor, half test it


@dataclass(frozen=True, kw_only=True)
class RoundtripConfig:
    """Settings of a round trip.

    With `clips` there is one file of `prompts` at most, joined to them.
    """

    prompts: tuple[str, ...] = option((), "files of prompts (.txt, one per line; .jsonl), or prompts", flag="PROMPTS")
    limit: int | None = option(None, "only the first N prompts or clips", metavar="N")
    overwrite: bool = option(False, "replace what was made with other settings")
    retry_failed: bool = option(False, "retry captions that failed")
    world: int | None = option(
        None, "number of prompts, of one figure each", metavar="N",
        group="prompts of the cartoon world, instead of PROMPTS",
    )  # fmt: skip
    split: str = option("seen", "seen (default), unseen, train")
    seed: int = option(0, "seed of prompts and first clips")
    generator: str = option("dit", "dit (default: the bundled model), world, diffusers", group="the clips")
    model: str | None = option(None, "a folder, or for diffusers a hub id")
    steps: int | None = option(None, "sampling steps", metavar="N")
    num_videos: int = option(1, "clips per prompt", metavar="N")
    clips: Path | None = option(None, "use existing clips: run folder, manifest or folder", metavar="DIR")
    reference_clips: Path | None = option(
        None, "clips that show the prompts truly, by id", metavar="DIR",
        group="the ceiling (default: the cartoon world's exact clips, where it can draw them)",
    )  # fmt: skip
    ceiling: bool = option(True, "measure no ceiling")
    captioner: str = option(
        "starter", "any model of `v2t caption --model`", metavar="MODEL", group="captioner, judge and reader"
    )
    style: str = option("detailed", "caption style")
    judge: str = option(
        "auto", "answers from the clip: v2t (the starter), v2t:MODEL, none (default: v2t for prompts of the world)"
    )
    questions: str = option(
        "grammar", "grammar (default), FILE.jsonl, or openai:URL, whose questions need a --reader", metavar="SOURCE"
    )
    reader: str | None = option(None, "language model that answers from captions in plain English", metavar="MODEL")
    sentence: str = option(
        "auto", "sentence encoder: folder, hub id, none (default: the starter's for prompts of the world)",
        metavar="MODEL",
    )  # fmt: skip
    corpus: Path | None = option(None, "captions from which CIDEr takes document frequencies", metavar="FILE")
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1", metavar="NAME")
    max_clip_mb: int = option(1024, "memory limit of one clip's decoded frames", metavar="MB")

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
