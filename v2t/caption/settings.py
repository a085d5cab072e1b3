"""What a captioning run can be told.

In: values from flags, YAML or a caller. Out: a checked `CaptionConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from cineloop.errors import UsageError
from cineloop.video.decode import DECODERS
from cineloop.video.worker import Limits
from v2t.caption.shards import parse
from v2t.caption.wording import Wording
from v2t.long.parts import PartSpec


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """All that a captioning run can be told.

    Args:
        model: "starter", a folder, a hub id, or an address.
        captioner: who runs it, a file of `v2t/backends`; "auto" goes by the model.
        options: what only this captioner knows, such as revision or concurrency (see its class).
        style: a file of `v2t/styles`, or a YAML file: the prompt and the length of an answer.
        prompt: own words instead of the style's.
        max_new_tokens: longest answer in tokens instead of the style's, >= 1.
        parts: what is captioned at once: "whole", "segment[:S]", "scene[:S]", "window:S[/STRIDE]" (seconds).
        summary: the caption of a video in parts: "model" asks the captioner to sum up, "join" puts its parts' captions
            one after another, "auto" joins where the model declares that it cannot sum up.
        wording: prefix, suffix, trigger word, template, and the text encoder that will read the captions.
        sampler, frames, fps: which frames to look at; None leaves it to the model. `fps` alone means sampler "fps".
        format: files of `v2t/writers`.
        batch_size: clips the model sees at once, >= 1.
        device, dtype: "auto" or what torch calls them.
        workers: decoder processes; None takes half the cores.
        decoders: which decoders to try, in order; a single one switches the fallbacks off.
        limits: what one file may cost (seconds, memory, pixels, length).
        root, lists, include, exclude, allow_remote: see `cineloop.discovery.discover`.
        on_outside: what is done with a clip that lies outside what the model knows, where it can tell: "fail" makes it
            a failed row with OUT_OF_DOMAIN and writes no caption, "warn" writes the caption with a warning.
        remote_max_gb: largest remote file that is fetched, > 0; at most one per decoder and two more are on disk.
        limit, sample: only the first so many clips; only so many at random (by `seed`).
        overwrite: caption again what was captioned with other settings or already. Never touches an edited caption.
        overwrite_edited: caption again even what a person wrote or changed.
        retry_failed: try again what failed in an earlier run.
        dry_run: say what would be done; touch nothing.
        shard: "2/4" for the second of four parts (see `v2t.caption.shards`).
    """

    model: str = "starter"
    captioner: str = "auto"
    options: dict[str, Any] = field(default_factory=dict)
    style: str = "short"
    prompt: str | None = None
    max_new_tokens: int | None = None
    parts: str = "whole"
    summary: Literal["auto", "model", "join"] = "auto"
    wording: Wording = field(default_factory=Wording)
    sampler: str | None = None
    frames: int | None = None
    fps: float | None = None
    format: tuple[str, ...] = ("txt", "jsonl", "html")
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
    allow_remote: tuple[str, ...] = ()
    on_outside: Literal["fail", "warn"] = "fail"
    remote_max_gb: float = 8.0
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    overwrite: bool = False
    overwrite_edited: bool = False
    retry_failed: bool = False
    dry_run: bool = False
    shard: str | None = None

    def __post_init__(self) -> None:
        for name in ("batch_size", "workers", "max_new_tokens", "limit", "sample", "frames"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if not self.remote_max_gb > 0:
            raise UsageError(f"remote_max_gb must be above 0, got {self.remote_max_gb}")
        if self.on_outside not in ("fail", "warn"):
            raise UsageError(f"on_outside must be fail or warn, got {self.on_outside!r}")
        if self.shard is not None:
            parse(self.shard)
            if self.overwrite_edited:
                raise UsageError("--overwrite-edited does not go with --shard", hint="join with v2t merge first")
        PartSpec.parse(self.parts)
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("prompt must say something")
