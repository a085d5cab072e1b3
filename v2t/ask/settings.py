"""Settings of asking about a video.

In: values from flags, YAML or a caller. Out: a checked `AskConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cineloop.errors import UsageError
from cineloop.options import option, setting
from cineloop.video.limits import Limits


@dataclass(frozen=True, kw_only=True)
class AskConfig:
    """All settings of asking."""

    model: str = option("starter", "starter (default), a folder, a hub id, or openai:URL[#model]")
    captioner: str = option("auto", "backend that runs the model (default: chosen by the model)")
    options: dict[str, Any] = setting({}, "options of the captioner, such as revision or concurrency (see its class)")
    look: Literal["auto", "whole", "notes"] = option(
        "auto",
        "what an answer is based on: auto (default: of a long video notes, but for the moment a question names), whole "
        "(frames of the whole video) or notes",
    )
    window_s: float | None = option(None, "seconds of a window (default: the model's)", flag="--window", metavar="S")
    top: int = option(5, "windows examined for --when, best first; 0 for all", metavar="N")
    notes: Path | None = option(
        None,
        "output folder of v2t caption, to answer from its captions; or the .jsonl file to keep notes in "
        "(default: a file in the user's cache)",
        metavar="PATH",
    )
    style: str = setting("notes", "file of v2t/styles whose prompt asks for the notes; its answers have times")
    notes_tokens: int = setting(2000, "most tokens of notes in a prompt, estimated")
    history_tokens: int = setting(1000, "most tokens of earlier turns of a chat in a prompt, estimated")
    frames: int | None = option(None, "frames sampled from each window (default: the model's)", metavar="N")
    max_new_tokens: int = option(256, "maximum tokens of an answer", metavar="N")
    temperature: float = setting(0.0, "0 takes the likeliest words; above 0 samples, by the seed")
    seed: int = setting(0, "seed of sampling")
    batch_size: int = setting(8, "windows the model sees at once while notes are taken")
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1")
    dtype: str = option("auto", "auto (default), float32, bfloat16, float16")
    limits: Limits = setting(Limits(), "limits on one file")

    def __post_init__(self) -> None:
        for name, least in (
            ("window_s", 0.5),
            ("top", 0),
            ("notes_tokens", 64),
            ("history_tokens", 0),
            ("max_new_tokens", 1),
            ("temperature", 0),
            ("batch_size", 1),
            ("frames", 1),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"{name} must be at least {least}, got {value}")
        if self.look not in ("auto", "whole", "notes"):
            raise UsageError(f"look must be auto, whole or notes, got {self.look!r}")
