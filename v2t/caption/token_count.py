"""Token counts of captions against the limits of text-to-video models' text encoders.

In: a caption and the name of the target. Out: its tokens (special ones included), the limit, and the words beyond it.
With a tokenizer the count is exact; without one it is an estimate and says so. Limits as the pipelines set them:
CLIP 77 (Radford et al. 2021), CogVideoX 226 (T5), HunyuanVideo 256 (LLaMA), Wan 512 (UMT5).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cineloop.errors import MissingDependencyError, Notice, UsageError
from cineloop.log import printable

LIMITS = {"clip": 77, "cogvideox": 226, "hunyuan": 256, "wan": 512}
_PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\W\d_]|[^\w\s]|_")
_LETTERS_A_TOKEN = 8  # of an English word; longer ones count once more per further eight letters
_SPECIAL = 2


@dataclass(frozen=True, kw_only=True)
class TokenCount:
    """The length of a text for one encoder.

    Attributes:
        count: tokens, special ones included.
        limit: how many the encoder reads.
        cut: the words it will not read, "" when it reads all.
        is_estimate: no tokenizer was given.
    """

    count: int
    limit: int
    cut: str
    is_estimate: bool

    def warning(self, encoder: str) -> Notice | None:
        """LONG_FOR_ENCODER, or None when all is read."""
        if self.count <= self.limit:
            return None
        about = "an estimated " if self.is_estimate else ""
        cut = printable(self.cut, 120)
        return Notice(
            "LONG_FOR_ENCODER", f"{about}{self.count} tokens, {encoder} reads {self.limit}; it will not read: {cut}"
        )


def count_tokens(text: str, encoder: str, *, tokenizer: str = "", limit: int | None = None) -> TokenCount:
    """Count a caption's tokens for a target encoder.

    Args:
        text: the caption as it is written.
        encoder: a name in `LIMITS`, or any name when `limit` is given.
        tokenizer: a folder or hub id with the encoder's tokenizer; "" estimates.
        limit: tokens the encoder reads, special ones included, instead of the named encoder's.

    Raises:
        UsageError: no such encoder and no limit. MissingDependencyError: no such tokenizer.
    """
    limit = limit_of(encoder, limit)
    count = _counter(tokenizer) if tokenizer else _estimate
    total, cut = count(text), ""
    if total > limit:
        words = list(re.finditer(r"\S+", text))
        low, high = 0, len(words)  # the most words from the front that fit
        while low < high:
            middle = (low + high + 1) // 2
            if count(text[: words[middle - 1].end()]) <= limit:
                low = middle
            else:
                high = middle - 1
        cut = text[words[low].start() :] if low < len(words) else ""
    return TokenCount(count=total, limit=limit, cut=cut, is_estimate=not tokenizer)


def limit_of(encoder: str, limit: int | None = None) -> int:
    """How many tokens an encoder reads. Raises UsageError when that is not known or not possible."""
    if limit is None and encoder not in LIMITS:
        known = ", ".join(f"{name} ({tokens})" for name, tokens in LIMITS.items())
        raise UsageError(f"no text encoder is called {encoder!r}; choices: {known}", hint="or give its limit in tokens")
    limit = LIMITS[encoder] if limit is None else limit
    if limit < 3:
        raise UsageError(f"the limit of tokens must be at least 3, got {limit}")
    return limit


def _estimate(text: str) -> int:
    """About how many tokens: English words one or a few each, digits, other letters and marks one each."""
    pieces = _PIECE.findall(text)
    return _SPECIAL + sum((len(piece) + _LETTERS_A_TOKEN - 1) // _LETTERS_A_TOKEN for piece in pieces)


@lru_cache(maxsize=4)
def _counter(tokenizer: str) -> Callable[[str], int]:
    from transformers import AutoTokenizer
    from transformers.utils import logging

    logging.get_logger("transformers.tokenization_utils_base").setLevel(logging.ERROR)  # "sequence is longer than ..."
    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError, ImportError) as error:
        raise MissingDependencyError(
            f"cannot load the tokenizer {printable(tokenizer)}: {printable(str(error), 200)}",
            code="NO_TOKENIZER",
            hint="give a folder or hub id that holds tokenizer.json; without --tokenizer tokens are estimated",
        ) from error
    return lambda text: len(loaded(text)["input_ids"])
