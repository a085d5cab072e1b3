"""Captions as texts: refused, cut off, going in circles, of another language, too long, naming seconds that are not
there, shared by clips.

In: captions, what is usual in their set. Out: findings. A dialect's own checker (fields, order, quoted dialogue) is
another matter: it reads a caption that passes here.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from v2t.encoders import Reader
from v2t_eval.text.caption_faults import LANGUAGES, MOST_REPEATED, is_refusal, repetition
from v2t_eval.trainers.findings import SetFinding

_ENDS = ".!?…。！？।"
_CLOSING = "\"'”’»)]*_` \n"
# Words that no sentence ends with.
_DANGLING = frozenset(
    "a an the and or but of with to from into onto their his her its while as at by for in on through between "
    "der die das ein eine und oder mit von zu le la les un une et de du avec el los y con por i o".split()
)
_FEWEST = 6  # words of a text that can be cut off
_USUAL = 0.8  # share of a set that makes something usual
_ENOUGH = 10  # captions, before anything is usual
_SLACK_S = 0.5
_SECONDS = re.compile(
    r"(?:\b(?:at|from|to|until|till|after|by|around|between|and)\s+|[\[(<]\s*|[-–—~]\s*)(\d{1,4}(?:\.\d+)?)\s*"
    r"(?:s|sec|secs|seconds)\b|[\[(<]\s*(\d{1,4}\.\d+)(?=\s*[-–—,])|[-–—,]\s*(\d{1,4}\.\d+)\s*[\])>]",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"(?:[\[(<]|^|[-–—]\s*)\s*(?:(\d{1,2}):)?(\d{1,2}):(\d{2}(?:\.\d+)?)(?=\s*[\])>]|\s*[-–—])", re.M)


@dataclass(frozen=True, kw_only=True)
class UsualCaptions:
    """What is usual in a set: language and script ("" where nothing is), whether captions end with a sentence's mark,
    and how many clips have each text."""

    language: str
    script: str
    ends: bool
    counts: Counter[str]


def usual_captions(texts: Sequence[str], language: str = "") -> UsualCaptions:
    """What is usual among captions; `language` where it is known."""
    languages = Counter(filter(None, map(language_of, texts)))
    scripts = Counter(filter(None, map(script_of, texts)))
    usual = languages.most_common(1)[0][0] if languages else ""
    ends = [ends_a_sentence(text) for text in texts]
    return UsualCaptions(
        language=language or usual,
        script=scripts.most_common(1)[0][0] if scripts else "",
        ends=len(ends) >= _ENOUGH and sum(ends) >= _USUAL * len(ends),
        counts=Counter(map(same_text, texts)),
    )


def text_findings(
    text: str, usual: UsualCaptions, encoder: Reader | None, duration_s: float | None
) -> list[SetFinding]:
    """What is wrong with one caption; `encoder`, `duration_s` (of what is kept of its clip): None where not known."""
    findings = []

    def add(code: str, message: str) -> None:
        findings.append(SetFinding(code=code, effect="changed", message=message))

    if is_refusal(text):
        add("REFUSAL", f"it begins {text[:60]!r}")
    if (share := repetition(text)) > MOST_REPEATED:
        add("REPEATS_ITSELF", f"{share:.0%} of its word triples came before")
    if why := cut_off(text, usual):
        add("CUT_OFF", why)
    language, script = language_of(text), script_of(text)
    if usual.script and script and script != usual.script:
        add("OTHER_LANGUAGE", f"its letters are {script.lower()}, those of the set {usual.script.lower()}")
    elif usual.language and language and language != usual.language:
        add("OTHER_LANGUAGE", f"its words are {language}, those of the set {usual.language}")
    seconds = named_seconds(text)
    if duration_s is not None and seconds and max(seconds) > duration_s + _SLACK_S:
        add("TIMES_BEYOND_END", f"it names second {max(seconds):g}, and {duration_s:.2f} s are there")
    same = usual.counts[same_text(text)]
    if same > 1 and len(text.split()) >= 3:
        add("REPEATED_CAPTION", f"{same} clips have it")
    for warning in encoder.warnings(text) if encoder else ():
        add("TOO_LONG_FOR_ENCODER", warning.message)
    return findings


def language_of(text: str) -> str:
    """The one of `LANGUAGES` that most words of a text are of; "" where that is not clear."""
    words = re.findall(r"\w+", text.lower())
    counts = sorted(((sum(word in own for word in words), name) for name, own in LANGUAGES.items()), reverse=True)
    (most, name), (second, _) = counts[:2]
    return name if most >= 3 and most >= second + 2 else ""


def script_of(text: str) -> str:
    """The script of most letters, as Unicode names it; "" of fewer than five letters."""
    letters = [char for char in text if char.isalpha()]
    names = Counter(unicodedata.name(char, "").split(" ")[0] for char in letters)
    return names.most_common(1)[0][0] if len(letters) >= 5 else ""


def ends_a_sentence(text: str) -> bool:
    """Whether the last sign is one that ends a sentence."""
    return text.rstrip(_CLOSING)[-1:] in tuple(_ENDS) if text.rstrip(_CLOSING) else False


def cut_off(text: str, usual: UsualCaptions) -> str:
    """Why a caption seems to be cut off; "" where it does not."""
    words = text.split()
    if len(words) < _FEWEST or ends_a_sentence(text):
        return ""
    end = " ".join(words[-4:])
    if text.rstrip()[-1] in ",;:-–—([{":
        return f"it ends {end!r}"
    if words[-1].strip(_CLOSING).lower() in _DANGLING:
        return f"it ends {end!r}"
    for opening, closing in (("(", ")"), ("[", "]"), ("“", "”")):
        if text.count(opening) > text.count(closing):
            return f"a {opening} is not closed; it ends {end!r}"
    if text.count('"') % 2:
        return f"a quotation is not closed; it ends {end!r}"
    return f"it ends {end!r}, and the captions of the set end with a mark" if usual.ends else ""


def named_seconds(text: str) -> list[float]:
    """Seconds of the clip that a text names: "at 7.5 s", "[0.0 - 3.2]", "(00:12)"; not clocks or lengths."""
    seconds = [float(next(filter(None, groups))) for groups in _SECONDS.findall(text)]
    for hours, minutes, rest in _CLOCK.findall(text):
        seconds.append(3600 * int(hours or 0) + 60 * int(minutes) + float(rest))
    return seconds


def same_text(text: str) -> str:
    """A text without case, marks and spaces, to compare with others."""
    return " ".join(re.findall(r"\w+", text.lower()))
