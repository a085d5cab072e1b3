"""From a model's answer to the written caption: preamble removed, template, prefix, trigger and suffix applied.

In: an answer. Out: the caption, in this order: the model's preamble is taken off, the template is filled, the prefix
and the trigger word are put in front and the suffix behind, each exactly as given, with nothing between. Also:
whether the target's text encoder reads all of it: exact with its tokenizer, else an estimate that
says so.
"""

from __future__ import annotations

import posixpath
import re
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError, did_you_mean
from cineloop.log import printable
from cineloop.options import option, setting
from v2t.caption import template as templates

# Limits as the pipelines set them: CLIP 77 (Radford et al. 2021), CogVideoX 226 (T5), HunyuanVideo 256 (LLaMA), Wan 512
# (UMT5), special tokens included.
LIMITS = {"clip": 77, "cogvideox": 226, "hunyuan": 256, "wan": 512}
_PIECE = re.compile(r"[A-Za-z]+|[0-9]|[^\W\d_]|[^\w\s]|_")
_LETTERS_A_TOKEN = 8  # of an English word; longer ones count once more per further eight letters
_SPECIAL = 2


@dataclass(frozen=True, kw_only=True)
class Wording:
    """How captions are written: the preamble of an answer goes, template, prefix, trigger and suffix come."""

    trigger: str = option("", "trigger word for a trainer, placed before the prefix, verbatim", metavar="TEXT")
    prefix: str = option("", "text placed before every caption, verbatim", metavar="TEXT")
    suffix: str = option("", "text placed after every caption, verbatim", metavar="TEXT")
    template: str = option(
        "",
        "template of the written caption, such as '{{ caption }} ({{ folder }})': jinja2 over caption, id, path, name, "
        "folder, duration_s, style, model, segments",
        metavar="TEXT",
    )
    strip_preamble: bool = setting(True, 'remove "Here is a caption:", quotes or a code fence round the whole answer')
    encoder: str = option("", "warn of captions too long for clip, cogvideox, hunyuan or wan", metavar="NAME")
    tokenizer: str = setting("", "folder or hub id of that encoder's tokenizer (default: tokens are estimated)")
    max_tokens: int | None = setting(None, "tokens that the encoder reads, where it is not one of those")

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
        """LONG_FOR_ENCODER when the target will not read all of a caption that `apply` made.

        Raises:
            MissingDependencyError: NO_TOKENIZER, there is none of that name.
        """
        if not self.encoder and self.max_tokens is None:
            return []
        limit = limit_of(self.encoder, self.max_tokens)
        count = _counter(self.tokenizer) if self.tokenizer else _estimate
        total = count(caption)
        if total <= limit:
            return []
        words = list(re.finditer(r"\S+", caption))
        num_read = bisect_right(words, limit, key=lambda word: count(caption[: word.end()]))
        cut = caption[words[num_read].start() :] if num_read < len(words) else ""
        about, encoder = "" if self.tokenizer else "an estimated ", self.encoder or "the encoder"
        cut = printable(cut, 120)
        return [Notice("LONG_FOR_ENCODER", f"{about}{total} tokens, {encoder} reads {limit}; it will not read: {cut}")]


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
