"""From a model's answer to the written caption: preamble removed, template, prefix, trigger and suffix applied.

In: an answer. Out: the caption, in this order: the model's preamble is taken off, the template is filled, the prefix
and the trigger word are put in front and the suffix behind, each exactly as given, with nothing between. Also:
whether the target's text encoder reads all of it (`count_tokens`): exact with its tokenizer, else an estimate that
says so.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.log import printable
from v2t.caption import template as templates

# Limits as the pipelines set them: CLIP 77 (Radford et al. 2021), CogVideoX 226 (T5), HunyuanVideo 256 (LLaMA), Wan 512
# (UMT5), special tokens included.
LIMITS = {"clip": 77, "cogvideox": 226, "hunyuan": 256, "wan": 512}
_PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\W\d_]|[^\w\s]|_")
_LETTERS_A_TOKEN = 8  # of an English word; longer ones count once more per further eight letters
_SPECIAL = 2


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How captions are written; everything off by default but `strip_preamble`.

    Args:
        prefix, suffix: put before and behind the caption, character by character as given.
        trigger: a trainer's trigger word, put before the prefix, as given (end it with ", " or " " if wanted).
        template: jinja2 over `caption, id, path, name, folder, duration_s, style, model, segments`; "" is the caption
            alone. See `v2t.caption.template` for what it may say.
        strip_preamble: remove "Sure! Here is a caption:", quotes or a code fence round the whole answer and the
            like (see `strip_preamble`).
        encoder: the text encoder that will read the captions, a name in `LIMITS`; "" checks no length.
        tokenizer: folder or hub id of that encoder's tokenizer; "" estimates the tokens.
        max_tokens: the encoder's limit if it is not in `LIMITS`.
    """

    prefix: str = ""
    suffix: str = ""
    trigger: str = ""
    template: str = ""
    strip_preamble: bool = True
    encoder: str = ""
    tokenizer: str = ""
    max_tokens: int | None = None

    def __post_init__(self) -> None:
        for name in ("prefix", "suffix", "trigger", "template"):
            value: str = getattr(self, name)
            if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
                raise UsageError(f"{name} must be text that UTF-8 can hold, without NUL; got {value!r}")
        if self.encoder or self.max_tokens is not None:
            limit_of(self.encoder, self.max_tokens)
        elif self.tokenizer:
            raise UsageError("a tokenizer counts for an encoder", hint=f"name one: {', '.join(LIMITS)}, or max_tokens")
        if self.template:
            templates.check(self.template)

    def apply(self, text: str, record: Mapping[str, Any]) -> str:
        """The caption to write.

        Args:
            text: the model's answer.
            record: values of the template in addition to `caption` (see `clip_values`).

        Raises:
            ItemError: BAD_CAPTION, nothing is left; TEMPLATE, the template fails on this clip.
        """
        text = strip_preamble(text) if self.strip_preamble else text
        if self.template:
            text = templates.render(self.template, {**clip_values(record), "caption": text})
        if not text.strip():
            raise ItemError("nothing is left of the caption", code="BAD_CAPTION", hint="another --prompt or template")
        return f"{self.trigger}{self.prefix}{text}{self.suffix}"

    def warnings(self, caption: str) -> list[Notice]:
        """LONG_FOR_ENCODER when the target will not read all of a caption that `apply` made."""
        if not self.encoder and self.max_tokens is None:
            return []
        counted = count_tokens(caption, self.encoder, tokenizer=self.tokenizer, limit=self.max_tokens)
        warning = counted.warning(self.encoder or "the encoder")
        return [] if warning is None else [warning]


def clip_values(record: Mapping[str, Any]) -> dict[str, Any]:
    """Values of a template, from a caption record or the known part of one.

    `name` is the file's name without its ending, `folder` the folders before it ("" at the top); `duration_s` is None
    and `segments` empty where the record has none.
    """
    path = str(record["path"])
    folder, name = posixpath.split(path)
    return {
        "id": record["id"],
        "path": path,
        "name": posixpath.splitext(name)[0],
        "folder": folder,
        "duration_s": record.get("duration_s"),
        "style": record.get("style", ""),
        "model": record.get("model", ""),
        "segments": record.get("segments", []),
    }


# None of these describes the video. Anything that may be content stays: "The video shows a dog" is a caption.
_POLITE = re.compile(r"(?:sure(?: thing)?|certainly|of course|absolutely)(?:[!.]\s+|,\s+(?=here\b|i\b))", re.I)
_NOUN = r"(?:captions?|descriptions?|summary|answer|overview|breakdown|tags|response)"
_HERE = re.compile(
    rf"(?:here(?:'s|\u2019s| is| are)|below is|the following is)\s[^\n:.!?]{{0,80}}?\b{_NOUN}\b"
    r"[^\n:.!?]{0,80}:\**\s*",
    re.I,
)
_SHOWS = re.compile(r"(?:the|this) (?:video|clip) (?:shows|depicts|features):\s+", re.I)
_LABEL = re.compile(r"[#*_\s]*(?:assistant|(?:video )?(?:caption|description|answer|summary))[*_\s]*:[*_]*\s*", re.I)
_OTHER_LABEL = re.compile(r"^\W*\w[\w ]{0,30}:\s", re.M)
_GOODBYE = re.compile(
    r"(?<=[.!?\"\n])\s*(?:let me know if|please let me know|feel free to|i hope (?:this|that) helps)\b[^\n]{0,200}$",
    re.I,
)
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)\n?[ \t]*```", re.S)
_QUOTES = {'"': '"', "\u201c": "\u201d", "\u00ab": "\u00bb", "`": "`"}  # single ones are apostrophes too


def strip_preamble(text: str) -> str:
    """An answer without what surrounds its content, and without white space at its ends.

    Taken off are: a model's thoughts up to `</think>`; "Sure!", "Here is a caption:", "The video shows:"; a label such
    as "Caption:" (kept where other labelled lines follow); a code fence or a pair of quotes round the whole answer;
    "Let me know if ..." at the end. An answer that is nothing but these is left as it is.
    """
    whole = text.strip()
    rest = whole[whole.rfind("</think>") + len("</think>") :].strip() if "</think>" in whole else whole
    for _ in range(8):
        before = rest
        for pattern in (_POLITE, _HERE, _SHOWS):
            match = pattern.match(rest)
            rest = rest[match.end() :] if match else rest
        match = _LABEL.match(rest)
        if match and not _OTHER_LABEL.search(rest, match.end()):
            rest = rest[match.end() :]
        match = _FENCE.fullmatch(rest)
        rest = match.group(1).strip() if match and "```" not in match.group(1) else rest
        if len(rest) > 1 and _QUOTES.get(rest[0]) == rest[-1] and not set(rest[1:-1]) & {rest[0], rest[-1]}:
            rest = rest[1:-1].strip()
        match = _GOODBYE.search(rest, max(0, len(rest) - 300))
        rest = rest[: match.start()].rstrip() if match else rest
        if rest == before:
            break
    return rest if rest.strip() else whole


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
