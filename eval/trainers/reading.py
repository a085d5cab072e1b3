"""Clips of a folder, each decoded once: what is found, and the footage of it.

In: a folder. Out: `CheckedClip`s in the order of their paths. Footage is cached by the content of a file, so that a
second check, by other rules, decodes nothing. A clip that cannot be read has its code, and the others are read.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

from cineloop.clip import Clip, check
from cineloop.discovery import discover
from cineloop.errors import ItemError, NothingMatchedError
from cineloop.log import Progress
from cineloop.threads import usable_cpus
from cineloop.video.container import open_source, read_layout
from cineloop.video.worker import DecoderPool
from v2t_eval.core.cache import EvidenceCache, text_hash
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.trainers.findings import Effect, SetFinding
from v2t_eval.trainers.footage import VERSION, Footage, as_plain, read_footage, submit_footage
from v2t_eval.trainers.rows import CheckedClip

# Suffixes of what lies beside clips, and is not looked into.
_PASSED = frozenset(
    ".txt .json .jsonl .csv .toml .yaml .yml .parquet .html .md .npz .safetensors .lock .sqlite".split()
)


def discover_clips(folder: Path) -> list[Clip]:
    """The clips of a folder, those with a suffix that is not known but the content of a video included."""
    others = []
    for home, folders, names in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        others += [os.path.join(home, name) for name in sorted(names) if _hides_video(os.path.join(home, name))]
    try:
        clips = discover([str(folder)])
    except NothingMatchedError:
        if not others:
            raise
        clips = []
    clips += [each for each in (discover(others, root=str(folder)) if others else ()) if each.id not in
              {clip.id for clip in clips}]  # fmt: skip
    return sorted(clips, key=lambda clip: clip.path)


def _hides_video(path: str) -> bool:
    name = os.path.basename(path)
    if name.startswith(".") or os.path.splitext(name)[1].lower() in _PASSED or not os.path.isfile(path):
        return False
    try:
        source = open_source(path)
    except ItemError:
        return False
    try:
        return read_layout(source).kind in ("mp4", "matroska", "avi")
    finally:
        os.close(source.descriptor)


def read_clips(
    sources: Sequence[Clip], damaged: Effect, config: ExecutorConfig, stop: Callable[[], bool], show_progress: bool
) -> Iterator[CheckedClip]:
    """Every clip with its footage, in order, from the cache or decoded; fewer after a stop. `damaged`: what a file does
    that cannot be read."""
    workers = config.workers or usable_cpus()
    waiting: deque[tuple[CheckedClip, str, Future[Footage] | None]] = deque()
    with (
        EvidenceCache(config.cache) as cache,
        DecoderPool(max(1, min(workers, len(sources))), config.limits.of_decoder(), threads=1) as pool,
        Progress(len(sources), "clips", enabled=show_progress) as bar,
    ):

        def finish() -> CheckedClip:
            clip, key, future = waiting.popleft()
            if future is not None:
                try:
                    clip.footage = future.result()
                    plain, arrays = as_plain(clip.footage)
                    cache.keep({key: {"plain": plain, **arrays}})
                except ItemError as error:
                    clip.findings.append(SetFinding(code=error.code, effect=damaged, message=error.message))
            bar.advance(1)
            return clip

        for source in sources:
            if stop():
                break
            clip, key, future = CheckedClip(path=source.path, file=Path(source.file)), "", None
            try:
                check(source)
                clip.sha = cache.file_sha256(clip.file)
                key = text_hash(f"footage/{VERSION} {clip.sha}")
                if known := cache.find([key]).get(key):
                    clip.footage = read_footage(known["plain"], {"times_s": known["times_s"]})
                else:
                    future = submit_footage(pool, clip.file)
            except ItemError as error:
                clip.findings.append(SetFinding(code=error.code, effect=damaged, message=error.message))
            waiting.append((clip, key, future))
            while len(waiting) > 2 * workers:
                yield finish()
        while waiting:
            yield finish()
