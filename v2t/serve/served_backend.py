"""The local captioner for a server: cancellable, limited to the model's positions, with prompt token counts; and stop
strings.

In: conversations. Out: as `v2t.backends.local`. For one thread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cineloop.errors import ItemError
from v2t.backends import Conversation, Decoding
from v2t.backends.local import Backend

if TYPE_CHECKING:
    from torch import Tensor

TOO_LONG = "PROMPT_TOO_LONG"


class ServedBackend(Backend):
    """See above.

    Args:
        model, device, dtype: see `Backend`.
        max_model_len: tokens of prompt and answer together, no more than the model has positions; None for all of them.

    Attributes:
        wanted: checked before each token.
    """

    wanted: Callable[[], bool] = staticmethod(lambda: True)

    def __init__(
        self, model: str = "starter", *, device: str = "auto", dtype: str = "auto", max_model_len: int | None = None
    ) -> None:
        super().__init__(model, device=device, dtype=dtype)
        self._most_positions = max_model_len
        self._is_batch, self._room = False, 0  # of the current call; tokens left for its answers

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _inputs(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        inputs = super()._inputs(conversations)
        longest = int(inputs["attention_mask"].sum(1).max())
        positions = int(self._model.config.text_config.max_position_embeddings)
        positions = min(positions, self._most_positions or positions)
        self._is_batch, self._room = len(conversations) > 1, positions - longest
        if self._room < 1:
            raise ItemError(
                f"the prompt has {longest} tokens; the model takes {positions} with the answer", code=TOO_LONG
            )
        return inputs

    def _settings(self, decoding: Decoding) -> dict[str, Any]:
        import torch
        from transformers import StoppingCriteriaList

        if self._room < decoding.max_new_tokens:
            if self._is_batch:  # the longest prompt must not cut the other answers: generate them alone
                raise ItemError("the batch has no room for its longest answer", code=TOO_LONG)
            decoding = replace(decoding, max_new_tokens=self._room)

        def is_unwanted(input_ids: Tensor, scores: Any, **more: Any) -> Tensor:
            return torch.full((len(input_ids),), not self.wanted(), device=input_ids.device)  # (B,)

        return {**super()._settings(decoding), "stopping_criteria": StoppingCriteriaList([is_unwanted])}  # type: ignore[list-item]


class StopStrings:
    """An answer cut before its first complete stop string; a possible beginning of one is buffered.

    The result does not depend on how the answer is split into pieces.

    Attributes:
        read: the answer so far, up to the end of the stop string. is_over: a stop string was found.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = stops, ""
        self.read, self.is_over = "", False

    def feed(self, piece: str) -> str:
        """What can be passed on after one more piece."""
        if self.is_over:
            return ""
        text = self._held + piece
        self.read += piece
        found = [(text.find(stop) + len(stop), text.find(stop)) for stop in self._stops if stop in text]
        if found:
            end, begin = min(found)
            self.is_over, self._held = True, ""
            self.read = self.read[: len(self.read) - len(text) + end]
            return text[:begin]
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stops):
                self._held = text[-length:]
                return text[:-length]
        self._held = ""
        return text

    def end(self) -> str:
        """What is left at the end."""
        held, self._held = self._held, ""
        return held
