"""Settings of a transcription run.

In: values from flags, YAML or a caller. Out: a checked `TranscribeConfig`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from cineloop.errors import UsageError
from cineloop.options import option, setting
from cineloop.video.limits import Limits


@dataclass(frozen=True, kw_only=True)
class TranscribeConfig:
    """All settings of a transcription run."""

    model: str = option("", "a folder, a hub id (openai/whisper-small), or openai:URL[#model]")
    engine: str = option("auto", "hf, faster_whisper, openai, or FILE.py (default: chosen by the model)")
    options: dict[str, Any] = setting({}, "options of the engine, such as revision or beam_size (see its class)")
    language: str | None = option(None, "code of what is spoken, such as en (default: the model finds it out)")
    track: int | None = option(None, "number of the track of sound, from 0 (default: the one a player takes)")
    format: tuple[str, ...] = option(("srt", "vtt", "txt", "jsonl"), "formats to write, or FILE.py", metavar="A,B")
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1")
    dtype: str = option("auto", "auto (default), float32, bfloat16, float16")
    block_s: float = setting(600.0, "seconds of sound that are read, and kept when done, at a time; 30 to 3600")
    limits: Limits = setting(Limits(max_duration_s=24 * 3600.0), "limits on one file")
    overwrite: bool = option(False, "transcribe finished files again; edited transcripts stay")
    overwrite_edited: bool = option(False, "also replace transcripts edited by hand")
    retry_failed: bool = option(False, "retry files that failed before")
    dry_run: bool = option(False, "print what would be done; write nothing")
    lists: tuple[str, ...] = option(
        (), "file with one path a line, or NUL-separated", flag="--list", metavar="FILE", group="selection of files"
    )
    include: tuple[str, ...] = option((), "only files whose name matches; repeatable", metavar="PATTERN")
    exclude: tuple[str, ...] = option((), "skip files whose name matches; repeatable", metavar="PATTERN")
    shard: str | None = option(None, "only shard I of N, by SHA-256 of the file's id; then v2t merge", metavar="I/N")
    limit: int | None = option(None, "only the first N files", metavar="N")

    def __post_init__(self) -> None:
        from v2t.caption.shards import parse  # not for --help, which loads this module

        if not 30 <= self.block_s <= 3600:
            raise UsageError(f"block_s must be 30 to 3600 seconds, got {self.block_s}")
        if self.track is not None and self.track < 0:
            raise UsageError(f"track must be at least 0, got {self.track}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit must be at least 1, got {self.limit}")
        if self.language is not None and not re.fullmatch(r"[a-z]{2,3}(-[A-Za-z]+)?", self.language):
            raise UsageError(f"language must be a code such as en or de, got {self.language!r}")
        if self.shard is not None:
            parse(self.shard)
            if self.overwrite_edited:
                raise UsageError("--overwrite-edited does not go with --shard", hint="join with v2t merge first")
