"""Settings of asking about a video.

In: values from flags, YAML or a caller. Out: a checked `AskConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cineloop.errors import UsageError
from cineloop.video.decode import DECODERS
from cineloop.video.worker import Limits


@dataclass(frozen=True, kw_only=True)
class AskConfig:
    """All settings of asking.

    Args:
        model, captioner, options, device, dtype: see `v2t.backends.open_backend`.
        look: "auto" looks at a short video or at the moment a question names, and answers all else about a long video
            from notes on it; "whole" only ever looks at frames spread over the whole video; "notes" answers from notes
            alone.
        window_s: seconds the captioner sees at once; None takes what the model declares.
        top: windows verified on frames to find when something happens, best first; 0 for all.
        notes: file of the notes on a long video, or an output folder of `v2t caption` whose captions of the video are
            the notes; None for a file in the user's cache folder.
        style: file of `v2t/styles` whose prompt asks for the notes; its answers have times.
        notes_tokens: limit on the notes in a prompt, in estimated tokens.
        history_tokens: limit on earlier turns of a chat, in estimated tokens.
        max_new_tokens: longest answer.
        temperature, seed: of sampling; temperature 0 decodes greedily.
        batch_size: windows the model sees at once while notes are taken.
        frames: frames of a window; None takes the captioner's default.
        workers: decoder processes. decoders, limits: see `cineloop.video.worker.DecoderPool`.
    """

    model: str = "starter"
    captioner: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    device: str = "auto"
    dtype: str = "auto"
    look: Literal["auto", "whole", "notes"] = "auto"
    window_s: float | None = None
    top: int = 5
    notes: Path | None = None
    style: str = "notes"
    notes_tokens: int = 2000
    history_tokens: int = 1000
    max_new_tokens: int = 256
    temperature: float = 0.0
    seed: int = 0
    batch_size: int = 8
    frames: int | None = None
    workers: int = 1
    decoders: tuple[str, ...] = DECODERS
    limits: Limits = field(default_factory=Limits)

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
            ("workers", 1),
        ):
            value = getattr(self, name)
            if value is not None and not value >= least:
                raise UsageError(f"{name} must be at least {least}, got {value}")
        if self.look not in ("auto", "whole", "notes"):
            raise UsageError(f"look must be auto, whole or notes, got {self.look!r}")
