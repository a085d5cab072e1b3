"""What a captioning run can be told.

In: values from flags, YAML or a caller. Out: a checked `CaptionConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from v2t.base.errors import UsageError
from v2t.video.decode import DECODERS
from v2t.video.worker import Limits


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """All that a captioning run can be told.

    Args:
        model: "starter", a folder, a hub id, or an address.
        captioner: who runs it, a file of `v2t/captioners`; "auto" goes by the model.
        options: what only this captioner knows, such as revision or concurrency (see its class).
        style: a file of `v2t/styles`: the prompt and the length of an answer.
        prompt: own words instead of the style's.
        max_new_tokens: longest answer in tokens instead of the style's, >= 1.
        sampler, frames, fps: which frames to look at; None leaves it to the model. `fps` alone means sampler "fps".
        format: files of `v2t/writers`.
        batch_size: clips the model sees at once, >= 1.
        device, dtype: "auto" or what torch calls them.
        workers: decoder processes; None takes half the cores.
        decoders: which decoders to try, in order; a single one switches the fallbacks off.
        limits: what one file may cost (seconds, memory, pixels, length).
        root, lists, include, exclude: see `v2t.caption.inputs.discover`.
        limit, sample: only the first so many clips; only so many at random (by `seed`).
        overwrite: caption again what was captioned with other settings or already. Never touches an edited caption.
        overwrite_edited: caption again even what a person wrote or changed.
        retry_failed: try again what failed in an earlier run.
        dry_run: say what would be done; touch nothing.
    """

    model: str = "starter"
    captioner: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    style: str = "short"
    prompt: str | None = None
    max_new_tokens: int | None = None
    sampler: str | None = None
    frames: int | None = None
    fps: float | None = None
    format: tuple[str, ...] = ("txt", "jsonl")
    batch_size: int = 16
    device: str = "auto"
    dtype: str = "auto"
    workers: int | None = None
    decoders: tuple[str, ...] = DECODERS
    limits: Limits = field(default_factory=Limits)
    root: str | None = None
    lists: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    overwrite: bool = False
    overwrite_edited: bool = False
    retry_failed: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "max_new_tokens", "limit", "sample", "frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("prompt must say something")
