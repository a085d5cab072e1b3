"""The making of batches: a generator's clips as files, and as entries of a run folder's journal.

In: planned clips and what decides over each. Out: for each wanted clip its file and its entry, or the error that ended
it. A batch that fails is made again one by one, so that only the clip at fault fails.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from hashlib import sha256
from pathlib import Path

from cineloop import config as layers
from cineloop.errors import ItemError, MissingDependencyError
from cineloop.files import text_key, write_atomic
from cineloop.journal import Entry
from cineloop.log import Progress, logger
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from t2v.generate.folder import CLIPS
from t2v.generate.prompts import PlannedClip
from t2v.generate.settings import GenerateConfig
from t2v.generate.summary import Row
from t2v.generators import FramesOfLatents, GeneratorLike

IMAGES, _IMAGE_CHARS = "images", 16  # of the run folder; of a picture's hash in its name
Made = tuple[PlannedClip, "Entry | ItemError"]


def cache_key_parts(clip: PlannedClip, generator: GeneratorLike, config: GenerateConfig) -> Row:
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


class Maker:
    """A generator that writes files; `folder` is that of the run. Loads the model at once."""

    def __init__(self, generator: GeneratorLike, config: GenerateConfig, folder: Path) -> None:
        self.generator, self.config, self.folder = generator, config, folder
        self.settings = generator.effective(config.clips)

    def make(self, batch: Sequence[PlannedClip], todo: Mapping[str, Row], on_step: Steps) -> Iterator[Made]:
        """The clips of a batch whose ids `todo` names, with their entries or errors, each once its file is in place.

        Raises:
            MissingDependencyError: DISK_FULL.
        """
        started = time.perf_counter()
        try:
            made = self.generator.generate([clip.request for clip in batch], self.config.clips, on_step)
        except ItemError as problem:
            if len(batch) > 1:  # one of them is at fault, or they are too many at once
                logger.debug("a batch of %d failed, now one by one: %s", len(batch), problem)
                for clip in batch:
                    if clip.id in todo:
                        yield from self.make([clip], todo, on_step.alone())
                return
            yield batch[0], problem
            on_step.finish()
            return
        seconds = (time.perf_counter() - started) / len(batch)
        on_step.finish()
        for clip, frames in zip(batch, made, strict=True):
            if clip.id not in todo:  # finished before; it is here so that the others have the neighbours they had
                continue
            try:
                yield clip, self._save(clip, todo[clip.id], frames, seconds)
            except ItemError as problem:
                yield clip, problem

    def _save(self, clip: PlannedClip, decisive: Row, frames: Frames, seconds: float) -> Entry:
        path = self.folder / CLIPS / f"{clip.name}.mp4"
        latents = path.with_suffix(".safetensors")
        if isinstance(frames, FramesOfLatents):  # first: the clip counts as made when its video is there
            from safetensors.torch import save

            write_atomic(latents, save(dict(frames.latents)), durable=False)
        try:
            encode(frames.pixels, path, Fraction(frames.fps).limit_denominator(1001))
        except ItemError as error:
            if error.code == "DISK_FULL":
                hint = "free some space, run again"
                raise MissingDependencyError(error.message, code="DISK_FULL", hint=hint) from error
            raise
        request = clip.request
        warnings = [*self.generator.warnings_for(request.prompt), *frames.warnings]
        row = {
            "id": clip.id,
            "path": f"{CLIPS}/{path.name}",
            "prompt": request.prompt,
            **({"negative_prompt": request.negative_prompt} if request.negative_prompt else {}),
            **_given_picture(request.image, decisive["image_sha256"], self.folder),
            **self.generator.fingerprint(),
            "seed": request.seed,
            "settings": self.settings,
            "shape": {"num_frames": len(frames), "height": frames.size[0], "width": frames.size[1]},
            "fps": frames.fps,
            "seconds": round(seconds, 4),
            **({"latents": f"{CLIPS}/{latents.name}"} if isinstance(frames, FramesOfLatents) else {}),
            **({"facts": clip.facts} if clip.facts is not None else {}),
            **({"warnings": [warning.record() for warning in warnings]} if warnings else {}),
        }
        size = path.stat().st_size
        return {"kind": "clip", "key": key_of(decisive), "decides": decisive, "size": size, "row": row}


def _given_picture(image: Path | None, digest: str, folder: Path) -> Row:
    """Fields of the picture that a clip begins with, {} without one; the run folder keeps it, so that the clip can be
    compared with it wherever the folder goes."""
    if image is None:
        return {}
    path = folder / IMAGES / f"{digest[:_IMAGE_CHARS]}{image.suffix.lower()}"
    if not path.exists():
        write_atomic(path, image.read_bytes(), durable=False)
    return {"image": f"{IMAGES}/{path.name}", "image_sha256": digest}


class Steps:
    """Counts the steps of a batch for the progress bar, whatever the sampler calls a step."""

    def __init__(self, bar: Progress | None, num_clips: int, steps: int, note: str) -> None:
        self.bar, self.num_clips, self.steps, self.note = bar, num_clips, steps, note
        self._done = 0

    def __call__(self, done: int, total: int) -> None:
        count = self.num_clips * self.steps * min(done, total) // max(total, 1)
        if count > self._done:
            if self.bar is not None:
                self.bar.advance(count - self._done, self.note)
            self._done = count

    def alone(self) -> Steps:
        """For one clip of the batch, which is made again by itself."""
        return Steps(self.bar, 1, self.steps, self.note)

    def finish(self) -> None:
        """The batch is done."""
        self(1, 1)
