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
    """Settings of a round trip.

    Attributes:
        prompts: files of prompts, or prompts; with `clips` one file that is joined to them.
        world: number of prompts of the cartoon world with one figure each (`split`, `seed`), instead of `prompts`.
        clips: existing clips, instead of a generator.
        generator, model, steps, num_videos: see `t2v.generate.settings`; `seed` is that of the first clip, too.
        captioner, style: see `v2t.caption.settings`.
        ceiling: draw the world's exact clip of each prompt that it can read.
        reference_clips: clips that show what the prompts ask for, instead of that.
        judge: answers questions from the clip: v2t[:MODEL]; "none"; "auto" is the starter for prompts of the cartoon
            world, else none.
        questions: source of the questions: grammar, openai:URL[#model], a folder, hub id or FILE.jsonl, see
            `v2t_eval.semantics.sources`; questions of a language model need a `reader` to answer them from captions.
        reader: language model that answers questions in plain English from the caption alone, as `v2t --model`.
        sentence: sentence encoder (see `v2t_eval.metrics.sentence_similarity`); "auto" is the starter's dual encoder
            for prompts of the cartoon world, else none; "none" for none.
        corpus: captions for CIDEr's document frequencies; None for the world's own, else none.
        limit: number of prompts or clips to use, the first ones.
        device: auto, cpu, cuda or cuda:N. max_clip_mb: limit in MiB of the decoded frames of one clip.
        overwrite: redo items made with other settings. retry_failed: retry failed captions.
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
