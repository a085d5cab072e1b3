"""Settings of a captioning run.

In: values from flags, YAML or a caller. Out: a checked `CaptionConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import UsageError
from cineloop.video.decode import DECODERS
from cineloop.video.worker import Limits
from v2t.caption.shards import parse
from v2t.caption.wording import Wording
from v2t.long.segments import SegmentSpec


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """All settings of a captioning run.

    Args:
        model: "starter", a folder, a hub id, or an address.
        captioner: the backend, a file of `v2t/backends`; "auto" depends on the model.
        options: captioner-specific options, such as revision or concurrency (see its class).
        style: a file of `v2t/styles`, or a YAML file: the prompt and the length of an answer.
        prompt: replaces the style's prompt.
        max_new_tokens: longest answer in tokens instead of the style's, >= 1.
        parts: the unit of captioning: "whole", "segment[:S]", "scene[:S]", "window:S[/STRIDE]" (seconds).
        summary: the caption of a video in parts: "model" lets the captioner summarise, "join" concatenates its parts'
            captions, "auto" joins where the model declares that it cannot summarise.
        wording: prefix, suffix, trigger word, template, and the target text encoder.
        sampler, frames, fps: frame sampling; None takes the model's. `fps` alone means sampler "fps".
        format: files of `v2t/writers`.
        batch_size: clips the model sees at once, >= 1.
        device, dtype: "auto" or a name torch knows.
        workers: decoder processes; None takes half the cores.
        decoders: which decoders to try, in order; a single one disables the fallbacks.
        limits: on one file (seconds, memory, pixels, length).
        root, lists, include, exclude, allow_remote: see `cineloop.discovery.discover`.
        on_outside: for a clip outside the model's domain, where the model declares one: "fail" makes it
            a failed row with OUT_OF_DOMAIN and writes no caption, "warn" writes the caption with a warning.
        remote_max_gb: largest remote file that is fetched, > 0; at most one per decoder and two more are on disk.
        temperature: 0 takes the likeliest words; above 0 samples, by `seed`.
        limit, sample: only the first so many clips; only so many at random (by `seed`).
        overwrite: caption again what was captioned with other settings or already. Never touches an edited caption.
        overwrite_edited: caption again also what a person wrote or changed.
        retry_failed: try again what failed in an earlier run.
        dry_run: report what would be done; write nothing.
        shard: "2/4" for the second of four parts (see `v2t.caption.shards`).
        cluster: where the work is placed; by default in this process.
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
    temperature: float = 0.0
    overwrite: bool = False
    overwrite_edited: bool = False
    retry_failed: bool = False
    dry_run: bool = False
    shard: str | None = None
    cluster: ClusterConfig = field(default_factory=ClusterConfig)

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
            if self.cluster.engine != "none":
                raise UsageError("--shard does not go with --cluster", hint="a cluster divides the work by itself")
            if self.overwrite_edited:
                raise UsageError("--overwrite-edited does not go with --shard", hint="join with v2t merge first")
        SegmentSpec.parse(self.parts)
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("prompt must not be empty")
