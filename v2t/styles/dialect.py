"""Dialects: the form in which a video model was trained to read captions, and the rules that several of them share.

A style whose module defines `check(draft) -> list[Notice]` is a dialect: each notice is one objection to a caption,
with a stable code. Objections of `ERRORS` mean that the model reads another caption than was written, or not the form
that its guide demands; all others are advice. A rule stands in a dialect only where the model's own guide states it,
and is an error only where none of the model's own published example prompts breaks it. Languages are distinguished by
their script, so French passes for English.

`ENCODER` of a dialect names the text encoder in `v2t.encoders`; what that would cut off is an error too.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cineloop.errors import Notice
from cineloop.log import printable
from v2t.encoders import Reader

ERRORS = frozenset(
    {
        "BAD_CAPTION",
        "DIALECT_DIALOGUE",
        "DIALECT_FIELDS",
        "DIALECT_LANGUAGE",
        "DIALECT_MARKUP",
        "DIALECT_ORDER",
        "DIALECT_PARAGRAPHS",
        "DIALECT_PREFACE",
        "DIALECT_SHOTS",
        "DIALECT_TIMES",
        "LONG_FOR_ENCODER",
    }
)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A caption to check.

    Attributes:
        text: without a model's preamble.
        duration_s: of the clip; None where it is not known.
        is_heard: whether its writer heard the clip; else missing sounds are no objection.
    """

    text: str
    duration_s: float | None = None
    is_heard: bool = True


@dataclass(frozen=True, kw_only=True)
class CaptionDialect:
    """The rules of one style.

    Attributes:
        name: of the style.
        check: objections to a caption that is not empty, but for its length in tokens.
        reader: the text encoder that reads the captions; None where no limit is known.
    """

    name: str
    check: Callable[[Draft], list[Notice]]
    reader: Reader | None = None

    def objections(self, draft: Draft) -> list[Notice]:
        """What speaks against a caption: errors first. Raises MissingDependencyError: NO_TOKENIZER."""
        if not draft.text.strip():
            return [Notice("BAD_CAPTION", "the caption is empty")]
        objections = [*(self.reader.warnings(draft.text) if self.reader else ()), *self.check(draft)]
        return sorted(objections, key=is_error, reverse=True)


def is_error(objection: Notice) -> bool:
    """Whether an objection is an error; else it is advice."""
    return objection.code in ERRORS


def weight(objections: Sequence[Notice]) -> tuple[int, int]:
    """Errors and advice, to compare two captions of one clip: the smaller one is better."""
    num_errors = sum(map(is_error, objections))
    return num_errors, len(objections) - num_errors


# ---- rules

_PREFACE = re.compile(
    r"\W*(?:(?:sure|certainly|of course|absolutely)\b\s*[,!.]|(?:here(?:'s|\u2019s| is| are)|below is|the following is)"
    r"\b[^.\n]{0,80}:|(?:(?:rewritten|revised|improved|enhanced|final|expanded|detailed)\s+)*(?:video\s+)?"
    r"(?:prompt|caption|description|summary)\s*:|\u6539\u5199\u540e|\u4ee5\u4e0b\u662f|\u63d0\u793a\u8bcd\s*[:\uff1a])",
    re.I,
)
_OPENING = re.compile(
    r"\W*(?:(?:the|this) (?:video|clip|footage|scene|image|film|sequence) (?:\w+ )?(?:opens?|begins?|starts?|shows?|"
    r"showing|depicts?|features?|captures?|showcases?|presents?|displays?|is)\b|(?:we|you) (?:can |now )?see\b|"
    r"there (?:is|are)\b|in (?:the|this) (?:video|clip|footage|scene)\b|\u8fd9\u4e2a?\u89c6\u9891|\u89c6\u9891\u4e2d|"
    r"\u89c6\u9891(?:\u663e\u793a|\u5c55\u793a))",
    re.I,
)
_MARKUP = re.compile(r"^\s*(?:[-*\u2022]\s+\S|#{1,6}\s|\d{1,2}[.)]\s+\S|```)|\*\*\S|\A\s*[{\[]\s*\"", re.M)
_CAMERA = re.compile(
    r"\b(?:camera|shots?|close-?ups?|wide-angle|angle|lens|panning|pans (?:left|right|to|across)|tilting|"
    r"tilts (?:up|down)|zoom(?:s|ing)?|dolly|tracking|aerial|overhead|eye-level|framed?|frames|framing|foreground|"
    r"pov|point of view|perspective|view|viewed|"
    r"handheld|macro)\b|\u955c\u5934|\u666f|\u89c6\u89d2|\u4fef|\u4ef0|\u62cd|\u7279\u5199|\u89d2\u5ea6",
    re.I,
)
_LIGHT = re.compile(
    r"\b(?:\w*light\w*|lit|sun\w*|shadow\w*|glow\w*|bright\w*|dark\w*|dim\w*|shad(?:e|y)|neon|moon\w*|dawn|dusk|"
    r"night\w*|day\w*|noon|morning|afternoon|evening|overcast|firelight|lamp\w*|tones?|toned|colou?rs?|"
    r"colou?red|warm|cool|contrast)\b|\u5149|\u8272|\u65e5|\u591c|\u767d\u5929|\u9ec4\u660f|\u6697|\u4eae|\u5f71",
    re.I,
)
_STYLE = re.compile(
    r"\b(?:styles?|styled|aesthetic|cinematic|realis\w+|photoreal\w+|hyper-?realistic|anime|animat\w+|cartoon\w*|"
    r"illustrat\w+|live-action|stop-motion|photograph\w*|drawing|pixel|paint\w+|watercolou?r\w*|documentary|"
    r"claymation|noir|3d|cgi|film|footage|videography)\b|\u98ce\u683c|\u52a8\u753b",
    re.I,
)
_QUOTED = re.compile(
    r"\"[^\"]*\"|\u201c[^\u201d]*\u201d|\u300c[^\u300d]*\u300d|(?<!\w)'(?:[^'\n]|'(?=\w))*'(?!\w)|<d>.*?</d>", re.S
)
_TEXT_SEEN = re.compile(
    r"\b(?:sign|banner|label|poster|subtitle|caption|title|screen|shirt|board|plaque|text|words?|letters)\b"
    r"[^.\"\u201c']{0,40}?\b(?:reading|reads|that says|saying|spelling)\s+(?![\"\u201c'\u300c])\w",
    re.I,
)


def preface(draft: Draft) -> list[Notice]:
    """DIALECT_PREFACE: the caption begins with words about itself, which the model would take for content."""
    match = _PREFACE.match(draft.text)
    if match is None:
        return []
    start = printable(match[0].strip(), 60)
    return [Notice("DIALECT_PREFACE", f'it begins with "{start}", which is no part of a caption')]


def opening(draft: Draft) -> list[Notice]:
    """DIALECT_OPENING: it speaks of the video instead of what is seen."""
    match = _OPENING.match(draft.text)
    if match is None:
        return []
    start = printable(match[0].strip(), 60)
    return [Notice("DIALECT_OPENING", f'it begins with "{start}"; begin with what is seen')]


def markup(draft: Draft) -> list[Notice]:
    """DIALECT_MARKUP: lists, headings, bold type, code or JSON where prose is read."""
    match = _MARKUP.search(draft.text)
    if match is None:
        return []
    line = printable(draft.text[match.start() :].strip(), 40)
    return [Notice("DIALECT_MARKUP", f'plain prose is read, without lists, headings, bold type or JSON, got "{line}"')]


def paragraphs(draft: Draft, why: str) -> list[Notice]:
    """DIALECT_PARAGRAPHS: more than one line; `why` is the reason that the guide gives."""
    num_lines = sum(bool(line.strip()) for line in draft.text.splitlines())
    if num_lines < 2:
        return []
    return [Notice("DIALECT_PARAGRAPHS", f"{num_lines} lines, expected one paragraph on one line: {why}")]


def length(draft: Draft, least: int, most: int) -> list[Notice]:
    """DIALECT_SHORT, DIALECT_LONG: fewer or more words than the guide wants; a Chinese character counts as a word."""
    num_words = words(draft.text)
    if num_words < least:
        return [Notice("DIALECT_SHORT", f"{num_words} words, the guide wants {least} to {most}")]
    if num_words > most:
        return [Notice("DIALECT_LONG", f"{num_words} words, the guide wants {least} to {most}")]
    return []


def camera(draft: Draft) -> list[Notice]:
    """DIALECT_CAMERA: no word on shot, angle or movement of the camera."""
    if _CAMERA.search(draft.text):
        return []
    return [Notice("DIALECT_CAMERA", "nothing about the shot, the angle or the movement of the camera")]


def light(draft: Draft) -> list[Notice]:
    """DIALECT_LIGHT: no word on light, time of day or colours."""
    if _LIGHT.search(draft.text):
        return []
    return [Notice("DIALECT_LIGHT", "nothing about light, time of day or colours")]


def style(draft: Draft) -> list[Notice]:
    """DIALECT_STYLE: no word on the visual style."""
    if _STYLE.search(draft.text):
        return []
    return [Notice("DIALECT_STYLE", "no word on the visual style, such as cinematic, realistic or 2D animation")]


def english(draft: Draft) -> list[Notice]:
    """DIALECT_LANGUAGE: more than a fifth of the letters outside quotes are not Latin."""
    letters = [char for char in _QUOTED.sub(" ", draft.text) if char.isalpha()]
    num_other = sum(not char.isascii() and not unicodedata.name(char, "").startswith("LATIN") for char in letters)
    if num_other <= len(letters) / 5:
        return []
    share = num_other / len(letters)
    return [Notice("DIALECT_LANGUAGE", f"expected English outside quotes, {share:.0%} of the letters are not Latin")]


def visible_text(draft: Draft) -> list[Notice]:
    """DIALECT_TEXT: text in the picture without quotes round it."""
    match = _TEXT_SEEN.search(draft.text)
    if match is None:
        return []
    words_seen = printable(match[0], 60)
    return [Notice("DIALECT_TEXT", f'text that is seen stands in double quotes, got "{words_seen}..."')]


def words(text: str) -> int:
    """Words of a text; a character of Chinese, Japanese or Korean counts as one."""
    return len(
        re.findall(
            r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+(?:['\u2019-]\w+)*",
            text,
        )
    )


def without_quotes(text: str) -> str:
    """A text without what stands in quotes or is spoken."""
    return _QUOTED.sub(" ", text)
