"""Answers to the items of a captioning run: a captioner, and what of its answers is journalled.

In: decoded items. Out: for each the record of its clip, or the journal's entry of a segment. A run in one process has
one `CaptionAsker`; on a cluster each model worker has its own, and the run's is a `v2t.caption.cluster.PlacedAsker`
with the same methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cineloop.errors import ItemError, Notice
from cineloop.journal import Entry
from v2t.backends import OUT_OF_DOMAIN, Decoding, GenerateRequest, Output, VideoLM, user_turn
from v2t.backends.batching import Batcher
from v2t.caption.record import PromptSettings, result_of
from v2t.caption.second_answer import ask_again
from v2t.long.items import WorkItem, ask_items, error_fields
from v2t.writers import EVERY, html

if TYPE_CHECKING:
    from v2t.caption.settings import CaptionConfig

_DRAW_AT = 0.8  # temperature of further captions where the first one takes the likeliest words
_NAME_A_MODEL = "name a --model for such clips; --on-outside warn --retry-failed writes the captions anyway"


class ModelCalls(Protocol):
    """The part of `CaptionAsker` that a job uses; `ask` and `ask_text` may be called from `concurrency` threads.

    Attributes:
        concurrency: calls at once, >= 1.
        batch_size: items of a call.
    """

    concurrency: int
    batch_size: int

    def load(self) -> None:
        """Make ready to be asked."""

    def ask(self, items: Sequence[WorkItem]) -> list[Entry]:
        """The result of each item, see `v2t.caption.record.result_of`."""

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a prompt without video. Raises ItemError if it fails."""


class CaptionAsker:
    """A captioner of this process; `folder` is where strips of frames are kept."""

    def __init__(self, captioner: VideoLM, question: PromptSettings, config: CaptionConfig, folder: Path) -> None:
        self.question, self.config, self.folder = question, config, folder
        self.load = captioner.load
        self.concurrency = captioner.concurrency
        self.batch_size = 1 if captioner.concurrency > 1 else config.batch_size
        self._batcher = Batcher(captioner)
        self._decoding = Decoding(
            max_new_tokens=question.max_new_tokens, temperature=config.temperature, seed=config.seed
        )
        # the model's frames for the run's page, without decoding twice
        self._keeps_strips = "html" in config.format or EVERY in config.format

    def ask(self, items: Sequence[WorkItem]) -> list[Entry]:
        """The result of each decoded item, see `v2t.caption.record.result_of`."""
        answers = self._answers(items, self._decoding)
        results: list[Entry] = []
        for item, answer in zip(items, answers, strict=True):
            if self._keeps_strips and answer["error"] is None and item.frames is not None:
                start_s = item.segment.start_s if item.segment else None
                html.save_strip(self.folder, item.frames.pixels, item.clip.id, start_s)
            outside = [each for each in answer["warnings"] if each["code"] == OUT_OF_DOMAIN]
            if outside and self.config.on_outside == "fail":
                error = ItemError(outside[0]["message"], code=OUT_OF_DOMAIN, hint=_NAME_A_MODEL)
                answer = error_fields(error)
            results.append(result_of(item, answer, self.question))
        if self.config.num > 1:
            self._draw_more(items, results)
        return results

    def _answers(self, items: Sequence[WorkItem], decoding: Decoding) -> list[Entry]:
        """Fields of the answer to each decoded item, once the dialect of the style was heard."""
        answers = ask_items(self._batcher, items, self.question.prompt, decoding, retry_loops=True)
        return ask_again(self._batcher, items, answers, self.question, decoding)

    def _draw_more(self, items: Sequence[WorkItem], records: list[Entry]) -> None:
        """Give the records of captioned clips their further captions, each text once."""
        todo = [(item, record) for item, record in zip(items, records, strict=True) if record["status"] == "ok"]
        texts = [[record["caption"]] for _, record in todo]
        for number in range(1, self.config.num):
            decoding = replace(
                self._decoding,
                temperature=self._decoding.temperature or _DRAW_AT,
                seed=self._decoding.seed + number,
            )
            answers = self._answers([item for item, _ in todo], decoding)
            for (item, record), answer, own in zip(todo, answers, texts, strict=True):
                drawn = result_of(item, answer, self.question)
                record["tokens"] += drawn["tokens"]
                record["seconds"] = round(record["seconds"] + drawn["seconds"], 4)
                if drawn["error"]:
                    text = f"caption {number + 1} of {self.config.num}: {drawn['error']['code']}"
                    record["warnings"] = [*record["warnings"], Notice("DRAW_FAILED", text).record()]
                elif drawn["caption"] not in own:
                    own.append(drawn["caption"])
        for (_, record), own in zip(todo, texts, strict=True):
            record["captions"] = own

    def ask_text(self, prompt: str, max_new_tokens: int) -> Output:
        """The answer to a prompt without video. Raises ItemError if it fails."""
        decoding = replace(self._decoding, max_new_tokens=max_new_tokens)
        request = GenerateRequest(messages=user_turn(prompt), decoding=decoding)
        return self._batcher.generate(request, retry_loops=True)
