"""What becomes of decoded pieces: the captioner's answers as fields of journal entries.

In: pieces with their frames, all of one shape. Out: for each piece `answer_fields` or `error_fields`. A run in one
process has one `Asker`; on a cluster each model worker has its own, and the run's is a `v2t.caption.placed.PlacedAsker`
with the same methods.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cineloop.errors import ItemError
from cineloop.journal import Entry
from v2t.backends import OUT_OF_DOMAIN, Decoding, GenerateRequest, Output, VideoLM, user_turn
from v2t.backends.batching import Answer, Batcher
from v2t.caption.record import Question
from v2t.long.parts import Piece, answer_fields, error_fields
from v2t.writers import EVERY, strips

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.caption.settings import CaptionConfig

Items = list[tuple[Piece, "Frames"]]
_NAME_A_MODEL = "name a --model for such clips; --on-outside warn --retry-failed writes the captions anyway"


class Asking(Protocol):
    """The part of `Asker` that a job uses; `ask` and `ask_text` may be called from `concurrency` threads.

    Attributes:
        concurrency: calls at once, >= 1.
        batch_size: pieces of a call.
    """

    concurrency: int
    batch_size: int

    def load(self) -> None:
        """Make ready to be asked."""

    def ask(self, items: Items) -> list[Entry]:
        """Fields of each piece's entry."""

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a prompt without video. Raises ItemError if it fails."""


class Asker:
    """A captioner of this process; `folder` is where strips of frames are kept."""

    def __init__(self, captioner: VideoLM, question: Question, config: CaptionConfig, folder: Path) -> None:
        self.captioner, self.question, self.config, self.folder = captioner, question, config, folder
        self.concurrency = captioner.concurrency
        self.batch_size = 1 if captioner.concurrency > 1 else config.batch_size
        self._batcher = Batcher(captioner)
        # the model's frames for the run's page, without decoding twice
        self._keeps_strips = "html" in config.format or EVERY in config.format

    def load(self) -> None:
        """See `Asking`."""
        self.captioner.load()

    def ask(self, items: Items) -> list[Entry]:
        """See `Asking`."""
        start = time.perf_counter()
        decoding = Decoding(max_new_tokens=self.question.max_new_tokens, seed=self.config.seed)
        prompt = self.question.prompt
        requests = [GenerateRequest(messages=user_turn(prompt, frames), decoding=decoding) for _, frames in items]
        answers = self._batcher.generate_many(requests, retry_loops=True)
        seconds = (time.perf_counter() - start) / len(items)
        return [
            self._fields(piece, frames, answer, seconds) for (piece, frames), answer in zip(items, answers, strict=True)
        ]

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """See `Asking`."""
        decoding = Decoding(max_new_tokens=max_new_tokens, seed=self.config.seed)
        request = GenerateRequest(messages=user_turn(prompt), decoding=decoding)
        return self._batcher.generate(request, retry_loops=True)

    def _fields(self, piece: Piece, frames: Frames, answer: Answer, seconds: float) -> Entry:
        if isinstance(answer, ItemError):
            return error_fields(answer)
        clip, number = piece
        if self._keeps_strips:
            part = None if len(clip.parts) == 1 else clip.parts[number].start_s
            strips.save(self.folder, frames.pixels, clip.clip.id, part)
        for warning in answer.warnings:
            if warning.code == OUT_OF_DOMAIN and self.config.on_outside == "fail":
                return error_fields(ItemError(warning.message, code=OUT_OF_DOMAIN, hint=_NAME_A_MODEL))
        return answer_fields(frames, answer, seconds)
