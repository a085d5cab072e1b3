"""`t2v generate`: plan, skip what is finished, generate the rest in batches, save each clip as it comes.

In: prompts and a `GenerateConfig`. Out: the run folder (see `t2v.generate.folder`), a contact sheet, a gallery, and a
`Summary`. A prompt that fails becomes a row in `failures.jsonl`; of a batch only the one at fault.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any

from t2v.generate.folder import RunFolder
from t2v.generate.gallery import write_gallery
from t2v.generate.prompts import Clip, plan
from t2v.generate.settings import GenerateConfig
from t2v.generate.sheet import write_sheet
from t2v.generators import GeneratorLike, open_generator
from v2t.base import config as layers
from v2t.base import runtime
from v2t.base.errors import EXIT_FAILED_ITEMS, EXIT_INTERRUPTED, EXIT_OK, ItemError, UsageError
from v2t.base.files import text_key, write_atomic
from v2t.base.log import Progress, logger, printable
from v2t.video.frames import Frames

Row = dict[str, Any]
Emit = Callable[[Row], None]
_NAMED = 10  # so many failures and differences are told one by one


@dataclass(kw_only=True)
class Summary:
    """What a run did. `seconds` are those of generating, loading left out."""

    asked: int
    made: int = 0
    skipped: int = 0
    failures: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    interrupted: bool = False
    folder: Path | None = None

    @property
    def exit_code(self) -> int:
        """0, 3 when clips failed, 130 when the run was stopped."""
        return EXIT_INTERRUPTED if self.interrupted else EXIT_FAILED_ITEMS if self.failures else EXIT_OK

    def to_dict(self) -> Row:
        """The summary as JSON-able data."""
        each = round(self.seconds / self.made, 3) if self.made else None
        return {
            "asked": self.asked,
            "made": self.made,
            "skipped": self.skipped,
            "failed": len(self.failures),
            "seconds": round(self.seconds, 3),
            "seconds_per_clip": each,
            "interrupted": self.interrupted,
            "folder": None if self.folder is None else str(self.folder),
        }

    def lines(self) -> list[str]:
        """The summary in words."""
        text = f"{self.asked} clips: {self.made} made, {self.skipped} there already, {len(self.failures)} failed"
        lines = [text + (f"; {self.seconds / self.made:.2f} s a clip" if self.made else "")]
        if self.folder is not None and (self.made or self.skipped):
            lines.append(f"look at {printable(str(self.folder / 'index.html'))} and contact_sheet.png")
        return lines


def run(
    prompts: Sequence[str],
    files: Sequence[str],
    out: Path,
    config: GenerateConfig,
    *,
    emit: Emit = lambda row: None,
    show_progress: bool = False,
) -> Summary:
    """Generate clips.

    Args:
        prompts, files: see `t2v.generate.prompts.plan`.
        out: the run folder, made when absent.
        config: everything else.
        emit: gets the row of each clip as it is finished; with `dry_run` rows with an `action` (make, skip, replace).
        show_progress: progress on stderr.

    Raises:
        UsageError: EXISTS, clips of the folder were made otherwise and `overwrite` is not given; and on bad prompts.
        NothingMatchedError: no prompts. MissingDependencyError: no such model, no GPU, disk full.
    """
    clips = plan(prompts, files, config)
    generator = open_generator(
        config.generator, model=config.model, device=config.device, dtype=config.dtype, options=config.options
    )
    summary = Summary(asked=len(clips), folder=out)
    with RunFolder(out, writable=not config.dry_run) as folder:
        todo = _todo(folder, clips, generator, config, emit, summary)
        if config.dry_run:
            return summary
        folder.plan(clips)
        _write_papers(out, generator, config)
        if todo:
            with _stop_on_signals() as stop:
                _Job(folder, generator, config, emit, summary).work(todo, stop, show_progress)
        folder.write_tables()
        rows = folder.rows()
        write_gallery(rows, folder.failures(), out / "index.html")
        wanted = {clip.id for clip in clips}
        write_sheet([row for row in rows if row["id"] in wanted], out, out / "contact_sheet.png")
    return summary


def decides(clip: Clip, generator: GeneratorLike, config: GenerateConfig) -> Row:
    """All that decides over a clip's pixels, as JSON-able data."""
    request = clip.request
    image = None if request.image is None else sha256(request.image.read_bytes()).hexdigest()
    return {
        **generator.fingerprint(),
        "settings": layers.to_dict(config.clips),
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "image_sha256": image,
    }


def key_of(decisive: Row) -> str:
    """A short key of what `decides` gave."""
    return text_key(json.dumps(decisive, sort_keys=True).encode())


def _todo(
    folder: RunFolder,
    clips: Sequence[Clip],
    generator: GeneratorLike,
    config: GenerateConfig,
    emit: Emit,
    summary: Summary,
) -> list[tuple[Clip, Row]]:
    """The clips to make, each with what decides over it."""
    todo, conflicts = [], []
    for clip in clips:
        decisive = decides(clip, generator, config)
        key = key_of(decisive)
        if folder.is_finished(clip, key) and not config.overwrite:
            action = "skip"
            summary.skipped += 1
        else:
            before = folder.made_otherwise(clip, key)
            if before is not None and not config.overwrite:
                conflicts.append((clip, layers.changes(before, decisive)))
            action = "replace" if before is not None else "make"
            todo.append((clip, decisive))
        if config.dry_run:
            emit({"action": action, "id": clip.id, "prompt": clip.request.prompt, "seed": clip.request.seed})
    if conflicts and not config.dry_run:
        clip, changed = conflicts[0]
        raise UsageError(
            f"{len(conflicts)} clips of {folder.path} were made otherwise; {clip.id}: {'; '.join(changed[:_NAMED])}",
            code="EXISTS",
            hint="choose another folder with -o, or make them again with --overwrite",
        )
    return todo


def _write_papers(out: Path, generator: GeneratorLike, config: GenerateConfig) -> None:
    """`config.yaml` and `run.json`: what is needed to repeat the run."""
    versions = {"python": platform.python_version()}
    for name in (*runtime.PACKAGES, "diffusers", "opencv-python-headless"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    papers = {
        "verb": "generate",
        **generator.fingerprint(),
        "seed": config.seed,
        "source_commit": runtime.source_commit(),
        "versions": versions,
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    runtime.write_json(out / "run.json", papers)
    write_atomic(out / "config.yaml", layers.dump(config).encode())


class _Job:
    """The making of the clips that are not there yet."""

    def __init__(
        self, folder: RunFolder, generator: GeneratorLike, config: GenerateConfig, emit: Emit, summary: Summary
    ) -> None:
        self.folder, self.generator, self.config, self.emit, self.summary = folder, generator, config, emit, summary
        self.settings: Row = {}
        self.remarks: dict[str, tuple[str, ...]] = {}

    def work(self, todo: Sequence[tuple[Clip, Row]], stop: _Stop, show_progress: bool) -> None:
        """Make all, in batches; `stop` is asked between them."""
        self.settings = self.generator.effective(self.config.clips)
        self._remark([clip.request.prompt for clip, _ in todo])
        steps = self.settings.get("steps") or 1
        with Progress(len(todo) * steps, "steps", enabled=show_progress) as bar:
            for batch in _batches(todo, self.config.batch_size or self.generator.batch_size):
                if stop.asked:
                    self.summary.interrupted = True
                    return
                self._make(batch, _Steps(bar, len(batch), steps, f"{self.summary.made} of {len(todo)} clips"))

    def _remark(self, prompts: Sequence[str]) -> None:
        """Warn of prompts that the generator has something to say about."""
        self.remarks = {prompt: self.generator.remarks(prompt) for prompt in dict.fromkeys(prompts)}
        told = [(prompt, said) for prompt, remarks in self.remarks.items() for said in remarks]
        for prompt, said in told[:_NAMED]:
            logger.warning("%s: %s", printable(prompt, 60), printable(said))
        if len(told) > _NAMED:
            logger.warning("and %d more warnings like these; they stand in the manifest", len(told) - _NAMED)

    def _make(self, batch: Sequence[tuple[Clip, Row]], on_step: _Steps) -> None:
        started = time.perf_counter()
        try:
            made = self.generator.generate([clip.request for clip, _ in batch], self.config.clips, on_step)
        except ItemError as problem:
            if len(batch) > 1:  # one of them is at fault, or they are too many at once
                logger.debug("a batch of %d failed, now one by one: %s", len(batch), problem)
                for each in batch:
                    self._make([each], on_step.alone())
                return
            self._fail(batch[0][0], problem)
            on_step.finish()
            return
        seconds = (time.perf_counter() - started) / len(batch)
        self.summary.seconds += seconds * len(batch)
        on_step.finish()
        for (clip, decisive), frames in zip(batch, made, strict=True):
            try:
                self._save(clip, decisive, frames, seconds)
            except ItemError as problem:
                self._fail(clip, problem)

    def _save(self, clip: Clip, decisive: Row, frames: Frames, seconds: float) -> None:
        request = clip.request
        warnings = [*self.remarks[request.prompt], *frames.warnings]
        row = {
            "prompt": request.prompt,
            **({"negative_prompt": request.negative_prompt} if request.negative_prompt else {}),
            **({"image_sha256": decisive["image_sha256"]} if request.image is not None else {}),
            **self.generator.fingerprint(),
            "seed": request.seed,
            "settings": self.settings,
            "shape": {"num_frames": len(frames), "height": frames.size[0], "width": frames.size[1]},
            "fps": frames.fps,
            "seconds": round(seconds, 4),
            **({"facts": clip.facts} if clip.facts is not None else {}),
            **({"warnings": warnings} if warnings else {}),
        }
        row = self.folder.add(clip, frames, row, key=key_of(decisive), decides=decisive)
        self.summary.made += 1
        self.emit(row)

    def _fail(self, clip: Clip, problem: ItemError) -> None:
        if len(self.summary.failures) < _NAMED:
            logger.warning("failed: %s: %s", printable(clip.request.prompt, 60), printable(str(problem)))
        elif len(self.summary.failures) == _NAMED:
            logger.warning("and more; all are in failures.jsonl")
        logger.debug("%s", clip.id, exc_info=problem)
        row = {"id": clip.id, "prompt": clip.request.prompt, "seed": clip.request.seed, "error": problem.record()}
        self.folder.add_failure(row)
        self.summary.failures.append(row)
        self.emit(row)


class _Steps:
    """Counts the steps of a batch for the progress bar, whatever the sampler calls a step."""

    def __init__(self, bar: Progress, num_clips: int, steps: int, note: str) -> None:
        self.bar, self.num_clips, self.steps, self.note = bar, num_clips, steps, note
        self._told = 0

    def __call__(self, done: int, total: int) -> None:
        self._tell(self.num_clips * self.steps * min(done, total) // max(total, 1))

    def alone(self) -> _Steps:
        """For one clip of the batch, which is made again by itself."""
        return _Steps(self.bar, 1, self.steps, self.note)

    def finish(self) -> None:
        """The batch is done."""
        self._tell(self.num_clips * self.steps)

    def _tell(self, count: int) -> None:
        if count > self._told:
            self.bar.advance(count - self._told, self.note)
            self._told = count


def _batches(todo: Sequence[tuple[Clip, Row]], size: int) -> Iterator[list[tuple[Clip, Row]]]:
    """Clips in order, at most `size` together, all of one batch with the same first frame."""
    batch: list[tuple[Clip, Row]] = []
    for each in todo:
        if batch and (len(batch) == size or batch[0][0].request.image != each[0].request.image):
            yield batch
            batch = []
        batch.append(each)
    if batch:
        yield batch


@dataclass
class _Stop:
    asked: bool = False


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[_Stop]:
    """First SIGINT or SIGTERM asks to stop after the batch in hand; the second acts as usual."""
    stop = _Stop()
    kept: dict[int, Any] = {}

    def first(number: int, _: Any) -> None:
        os.write(2, b"\nstopping after the clips in hand; again to quit at once (what is finished is saved)\n")
        stop.asked = True
        signal.signal(number, kept[number])

    if threading.current_thread() is threading.main_thread():
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            kept[number] = signal.signal(number, first)
    try:
        yield stop
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
