"""From a model's answer to the written caption: preamble removed, template, prefix, trigger and suffix applied.

In: an answer. Out: the caption, in this order: the model's preamble is taken off, the template is filled, the prefix
and the trigger word are put in front and the suffix behind, each exactly as given, with nothing between. Also:
whether the target's text encoder reads all of it: exact with its tokenizer, else an estimate that
says so.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from cineloop.errors import ItemError, Notice, UsageError
from cineloop.options import option, setting
from v2t.caption import template as templates
from v2t.encoders import LIMITS, limit_of, reader
from v2t.styles.dialect import CaptionDialect


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
    encoder: str = option("", f"warn of captions too long for {', '.join(LIMITS)}", metavar="NAME")
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
        return reader(self.encoder, self.max_tokens, self.tokenizer).warnings(caption)

    def read_by(self, dialect: CaptionDialect | None) -> CaptionDialect | None:
        """A dialect with the text encoder that these settings name, if any, in place of its own."""
        if dialect is None or (not self.encoder and self.max_tokens is None):
            return dialect
        return replace(dialect, reader=reader(self.encoder, self.max_tokens, self.tokenizer))


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
