"""Settings of a captioning run.

In: values from flags, YAML or a caller. Out: a checked `CaptionConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from cineloop.cluster.settings import ClusterConfig
from cineloop.errors import UsageError
from cineloop.options import option, setting
from cineloop.video.limits import DECODERS, Limits
from v2t.caption.wording import Wording
from v2t.long.segments import SegmentSpec


@dataclass(frozen=True, kw_only=True)
class CaptionConfig:
    """All settings of a captioning run."""

    model: str = option("starter", "starter (default), a folder, a hub id, or openai:URL[#model]")
    captioner: str = option("auto", "backend of the model, or FILE.py (default: chosen by the model)")
    options: dict[str, Any] = setting({}, "options of the captioner, such as revision or concurrency (see its class)")
    style: str = option(
        "short",
        "short (default), detailed, timed, notes, structured, tags; the words a video model wants: wan, ltx2, hunyuan, "
        "cogvideox, h3; or a YAML file",
    )
    ask_again: Literal["advice", "error", "never"] = option(
        "advice", "ask once more where such a style objects: to advice and errors (default), to errors, or never"
    )
    prompt: str | None = option(None, "prompt to use instead of the style's")
    max_new_tokens: int | None = option(None, "maximum tokens of a caption (default: the style's)", metavar="N")
    parts: str = option(
        "whole",
        "whole (default: one caption per video), segment[:SECONDS], scene[:SECONDS] or window:SECONDS[/STRIDE]",
        metavar="HOW",
    )
    summary: Literal["auto", "model", "join"] = option(
        "auto", "caption of a video in parts: model (it sums them up), join, auto (default: join where it cannot)"
    )
    wording: Wording = setting(Wording(), "what stands around a caption, and what reads it")
    sampler: str | None = option(None, "uniform, fps, segment, keyframe or motion (default: the model's)")
    frames: int | None = option(None, "frames to sample (default: the model's)", metavar="N")
    fps: float | None = option(None, "frames to sample per second of video; alone it means --sampler fps")
    format: tuple[str, ...] = option(("txt", "jsonl", "html"), "formats to write, FILE.py, or all", metavar="A,B")
    num: int = option(
        1,
        "captions of each clip; those after the first are drawn, at the temperature, or .8 where it is 0",
        metavar="N",
    )
    batch_size: int = option(16, "clips in a batch", metavar="N")
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1")
    dtype: str = option("auto", "auto (default), float32, bfloat16, float16")
    workers: int | None = option(None, "decoder processes (default: half the cores)", metavar="N")
    decoders: tuple[str, ...] = option(
        DECODERS, "decoders to try, in order; a single one has no fallback", flag="--decoder", metavar="A,B"
    )
    limits: Limits = setting(Limits(), "limits on one file")
    seed: int = option(0, "seed of --sample and of models that sample")
    temperature: float = setting(0.0, "0 takes the likeliest words; above 0 samples, by the seed")
    overwrite: bool = option(False, "caption finished clips again; edited captions stay")
    overwrite_edited: bool = option(False, "also replace captions edited by hand")
    retry_failed: bool = option(False, "retry clips that failed before")
    on_outside: Literal["fail", "warn"] = option(
        "fail", "clips outside the model's domain: fail (default: no caption), or warn", metavar="HOW"
    )
    remote_max_gb: float = setting(8.0, "largest remote file that is fetched; one per decoder and two more are on disk")
    dry_run: bool = option(False, "print what would be done; write nothing")
    lists: tuple[str, ...] = option(
        (), "file with one path a line, or NUL-separated", flag="--list", metavar="FILE", group="selection of clips"
    )
    root: str | None = option(None, "folder that names are relative to", metavar="DIR")
    include: tuple[str, ...] = option((), "only clips whose name matches; repeatable", metavar="PATTERN")
    exclude: tuple[str, ...] = option((), "skip clips whose name matches; repeatable", metavar="PATTERN")
    allow_remote: tuple[str, ...] = option(
        (),
        "allow http(s) URLs, and any URL in a list, by protocol or prefix (https://example.org/); repeatable",
        metavar="ADDRESS",
    )
    shard: str | None = option(None, "only shard I of N, by SHA-256 of the clip's id; then v2t merge", metavar="I/N")
    limit: int | None = option(None, "only the first N clips", metavar="N")
    sample: int | None = option(None, "only N random clips (see --seed)", metavar="N")
    cluster: ClusterConfig = setting(ClusterConfig(), "where the work is placed (default: in this process)")

    def __post_init__(self) -> None:
        from v2t.caption.shards import parse  # not for --help, which loads this module

        for name in ("batch_size", "workers", "max_new_tokens", "limit", "sample", "frames", "num"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} must be at least 1, got {value}")
        if not self.remote_max_gb > 0:
            raise UsageError(f"remote_max_gb must be above 0, got {self.remote_max_gb}")
        if self.ask_again not in ("advice", "error", "never"):
            raise UsageError(f"ask_again must be advice, error or never, got {self.ask_again!r}")
        if self.on_outside not in ("fail", "warn"):
            raise UsageError(f"on_outside must be fail or warn, got {self.on_outside!r}")
        if self.shard is not None:
            parse(self.shard)
            if self.cluster.engine != "none":
                raise UsageError("--shard does not go with --cluster", hint="a cluster divides the work by itself")
            if self.overwrite_edited:
                raise UsageError("--overwrite-edited does not go with --shard", hint="join with v2t merge first")
        if SegmentSpec.parse(self.parts).kind != "whole" and self.num > 1:
            raise UsageError("--num goes with whole clips", hint="leave out --parts")
        if self.prompt is not None and not self.prompt.strip():
            raise UsageError("prompt must not be empty")
