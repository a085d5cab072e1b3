"""The making of the clips that are not there yet: batches through the generator, each clip saved as it comes.

In: planned clips, an open run folder, a generator. Out: clips and rows in the folder, counts in the summary. A batch
that fails is made again one by one, so that only the clip at fault becomes a row in `failures.jsonl`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from cineloop import config as layers
from cineloop.errors import ItemError, Notice
from cineloop.files import text_key
from cineloop.log import Progress, logger, printable
from cineloop.video.frames import Frames
from t2v.generate.folder import RunFolder
from t2v.generate.prompts import Clip
from t2v.generate.settings import GenerateConfig
from t2v.generate.summary import Row, Summary
from t2v.generators import GeneratorLike

Emit = Callable[[Row], None]
_NAMED = 10  # so many failures and warnings are logged one by one


def cache_key_parts(clip: Clip, generator: GeneratorLike, config: GenerateConfig) -> Row:
    """All that decides over a clip's pixels, as JSON-able data."""
    request = clip.request
    image = None if request.image is None else sha256(request.image.read_bytes()).hexdigest()
    return {
        **generator.fingerprint(),
        "settings": layers.to_dict(config.clips),
        **({"options": config.options} if config.options else {}),
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "image_sha256": image,
    }


def key_of(decisive: Row) -> str:
    """A short key of `cache_key_parts`."""
    return text_key(json.dumps(decisive, sort_keys=True).encode())


class Job:
    """The making of the clips that are not there yet."""

    def __init__(
        self, folder: RunFolder, generator: GeneratorLike, config: GenerateConfig, emit: Emit, summary: Summary
    ) -> None:
        self.folder, self.generator, self.config, self.emit, self.summary = folder, generator, config, emit, summary
        self.settings = generator.effective(config.clips)  # loads the model: its errors come before anything is written
        self.warnings: dict[str, tuple[Notice, ...]] = {}

    def work(
        self, clips: Sequence[Clip], todo: Mapping[str, Row], stop: Callable[[], bool], show_progress: bool
    ) -> None:
        """Make the clips whose ids `todo` names, with what decides over each; `stop` is asked between batches."""
        self._warn([clip.request.prompt for clip in clips if clip.id in todo])
        steps = self.settings.get("steps") or 1
        batches = self.folder.batches(clips, todo, self.config.batch_size or self.generator.batch_size)
        with Progress(sum(map(len, batches)) * steps, "steps", enabled=show_progress) as bar:
            for batch in batches:
                if stop():
                    self.summary.interrupted = True
                    return
                note = f"{self.summary.made} of {len(todo)} clips"
                self._make(batch, todo, _Steps(bar, len(batch), steps, note))

    def _warn(self, prompts: Sequence[str]) -> None:
        """Log the generator's warnings about prompts."""
        self.warnings = {prompt: self.generator.warnings_for(prompt) for prompt in dict.fromkeys(prompts)}
        found = [(prompt, warning) for prompt, warnings in self.warnings.items() for warning in warnings]
        for prompt, warning in found[:_NAMED]:
            logger.warning("%s: %s", printable(prompt, 60), printable(str(warning)))
        if len(found) > _NAMED:
            logger.warning("and %d more warnings like these; all are in the manifest", len(found) - _NAMED)

    def _make(self, batch: Sequence[Clip], todo: Mapping[str, Row], on_step: _Steps) -> None:
        started = time.perf_counter()
        try:
            made = self.generator.generate([clip.request for clip in batch], self.config.clips, on_step)
        except ItemError as problem:
            if len(batch) > 1:  # one of them is at fault, or they are too many at once
                logger.debug("a batch of %d failed, now one by one: %s", len(batch), problem)
                for clip in batch:
                    if clip.id in todo:
                        self._make([clip], todo, on_step.alone())
                return
            self._fail(batch[0], problem)
            on_step.finish()
            return
        seconds = (time.perf_counter() - started) / len(batch)
        self.summary.seconds += seconds * len(batch)
        on_step.finish()
        for clip, frames in zip(batch, made, strict=True):
            if clip.id not in todo:  # finished before; it is here so that the others have the neighbours they had
                continue
            try:
                self._save(clip, todo[clip.id], frames, seconds)
            except ItemError as problem:
                self._fail(clip, problem)

    def _save(self, clip: Clip, decisive: Row, frames: Frames, seconds: float) -> None:
        request = clip.request
        warnings = [warning.record() for warning in (*self.warnings[request.prompt], *frames.warnings)]
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
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        self._advance(self.num_clips * self.steps * min(done, total) // max(total, 1))

    def alone(self) -> _Steps:
        """For one clip of the batch, which is made again by itself."""
        return _Steps(self.bar, 1, self.steps, self.note)

    def finish(self) -> None:
        """The batch is done."""
        self._advance(self.num_clips * self.steps)

    def _advance(self, count: int) -> None:
        if count > self._done:
            self.bar.advance(count - self._done, self.note)
            self._done = count
