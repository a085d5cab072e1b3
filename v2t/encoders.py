"""Text encoders of video models: how many tokens of a caption each reads.

In: the name of an encoder, or a limit, and the tokenizer if there is one. Out: a `Reader`, which counts the tokens of a
caption and says what the encoder would cut off. Counts are exact with the encoder's own tokenizer. Without it they are
estimates, high rather than low: about one token for eight letters of a word and one for every digit, mark and
character of other writing, times a factor of the tokenizer's kind. The factors are the largest ratios of true to
plain count, over the English prompts that the video models' own repositories publish (143 of more than 15 words): 1.30
with T5's tokenizer, 1.04 with Qwen's, 1.15 with CLIP's. UMT5 and Gemma were not measured and take T5's factor, their
kind (SentencePiece); Llama takes Qwen's (byte pairs). A character of Chinese is at most one token in T5 and Qwen, and
up to 2.7 in CLIP, which was not made for it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from cineloop.errors import MissingDependencyError, Notice, UsageError, did_you_mean
from cineloop.log import printable

# Limits as the pipelines set them, special tokens included: CLIP 77 (Radford et al. 2021); CogVideoX 226 and its 1.5
# 224 (zai-org/CogVideo 7a1af715, sat/configs); HunyuanVideo 256 behind its template (Tencent-Hunyuan/HunyuanVideo
# fa14b001, hyvideo/config.py) and its 1.5 1000 (diffusers 58eb52c0, pipeline_hunyuan_video1_5.py); LTX-2 1024
# (Lightricks/LTX-2 400fd310, gemma_assets.py); Wan 512 (Wan-Video/Wan2.2 42bf4cfa, shared_config.py).
_ENCODERS = {
    "clip": (77, "CLIP"),
    "cogvideox": (226, "T5"),
    "cogvideox-1.5": (224, "T5"),
    "hunyuan": (256, "Llama"),
    "hunyuan-1.5": (1000, "Qwen"),
    "ltx2": (1024, "Gemma"),
    "wan": (512, "UMT5"),
}
LIMITS = {name: limit for name, (limit, _) in _ENCODERS.items()}
TOKENIZERS = {name: tokenizer for name, (_, tokenizer) in _ENCODERS.items()}
_FACTORS = {"CLIP": 1.15, "Llama": 1.05, "Qwen": 1.05}
_FACTOR = 1.3  # of every other one
_PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\W\d_]|[^\w\s]|_")
_LETTERS_A_TOKEN = 8  # of an English word; longer ones count once more per further eight letters
_SPECIAL = 2


@dataclass(frozen=True, kw_only=True)
class Reader:
    """A text encoder as a reader of captions.

    Attributes:
        name: of the encoder, one of `LIMITS` or as its model's card names it ("UMT5-XXL"), or "the encoder".
        limit: tokens that it reads, special ones included.
        tokenizer: folder or hub id of its tokenizer; "" estimates.
    """

    name: str
    limit: int
    tokenizer: str = ""

    def count(self, text: str) -> int:
        """Tokens of a text, special ones included. Raises MissingDependencyError: NO_TOKENIZER."""
        return _counter(self.tokenizer)(text) if self.tokenizer else _estimate(text, self.kind)

    @property
    def kind(self) -> str:
        """The kind of its tokenizer, by its name; "" of an unknown one."""
        kinds = TOKENIZERS.values()
        own = (kind for kind in kinds if self.name.casefold().startswith(kind.casefold()))
        return TOKENIZERS.get(self.name) or next(own, "")

    @property
    def how(self) -> str:
        """How tokens are counted, in words."""
        if self.tokenizer:
            return f"counted with the tokenizer {self.tokenizer}"
        return "estimated, rather high" + (f", for the tokenizer of {self.kind}" if self.kind else "")

    def warnings(self, caption: str) -> list[Notice]:
        """LONG_FOR_ENCODER when the encoder will not read all of a caption. Raises as `count`."""
        total = self.count(caption)
        if total <= self.limit:
            return []
        words = list(re.finditer(r"\S+", caption))
        num_read = bisect_right(words, self.limit, key=lambda word: self.count(caption[: word.end()]))
        cut = printable(caption[words[num_read].start() :] if num_read < len(words) else "", 120)
        about = "" if self.tokenizer else "an estimated "
        message = f"{about}{total} tokens, {self.name} reads {self.limit}; it will not read: {cut}"
        return [Notice("LONG_FOR_ENCODER", message)]


def reader(encoder: str, limit: int | None = None, tokenizer: str = "") -> Reader:
    """The reader of a name, or of a limit in tokens.

    Raises:
        UsageError: neither is known or possible.
    """
    return Reader(name=encoder or "the encoder", limit=limit_of(encoder, limit), tokenizer=tokenizer)


def limit_of(encoder: str, limit: int | None = None) -> int:
    """How many tokens an encoder reads. Raises UsageError when that is not known or not possible."""
    if limit is None and encoder not in LIMITS:
        known = ", ".join(f"{name} ({tokens})" for name, tokens in LIMITS.items())
        near = did_you_mean(encoder, LIMITS, show=str)
        hint = near or "or give its limit in tokens"
        raise UsageError(f"no text encoder is called {encoder!r}; choices: {known}", hint=hint)
    limit = LIMITS[encoder] if limit is None else limit
    if limit < 3:
        raise UsageError(f"the limit of tokens must be at least 3, got {limit}")
    return limit


def _estimate(text: str, tokenizer: str) -> int:
    """About how many tokens, rather too many: English words one or a few each, digits, other letters and marks one."""
    pieces = _PIECE.findall(text)
    plain = _SPECIAL + sum((len(piece) + _LETTERS_A_TOKEN - 1) // _LETTERS_A_TOKEN for piece in pieces)
    return round(plain * _FACTORS.get(tokenizer, _FACTOR))


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
