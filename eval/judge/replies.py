"""Parse replies in words: the choice picked, yes or no, a number, or a refusal.

In: a reply, and the choices where there are some. Out: the pick, or None where the reply cannot be parsed; `normalise`
is the spelling of SQuAD (Rajpurkar et al. 2018, arXiv:1806.03822) in which texts are compared.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_THOUGHT = re.compile(r"<think>.*?</think>|^.*</think>|<think>.*$", re.DOTALL | re.IGNORECASE)
_OPENS = re.compile(r"\W*(?P<verdict>yes|no)\b(?!\W*(?:or\b|and\b)?\W*(?:yes|no)\b)", re.IGNORECASE)
_SAYS = re.compile(  # "the answer is yes", and a line or sentence that is the verdict alone
    r"\b(?:answer|verdict|conclusion)\b(?:\s+(?:is|would be|should be|must be))?\W*(?P<verdict>yes|no)\b"
    r"|\\boxed\{\W*(?:\\text\{)?\s*(?P<boxed>yes|no)\b|(?:^|[\n.!?]\s)\W*(?P<alone>yes|no)\W*(?:$|(?<=[.!])\s|\n)",
    re.IGNORECASE,
)
_REFUSAL = re.compile(
    r"\b(?:i['’]?m sorry|i am sorry|i apologi[sz]e|as an ai|i (?:can(?:no|['’])?t|am unable|am not able|do not know|"
    r"don['’]?t know)|(?:cannot|can['’]t|not possible to|unable to) (?:be )?(?:determine|answer|tell|say|identif)\w*)",
    re.IGNORECASE,
)
_LABEL = r"[(\[{*_\"']*(?P<label>[A-Z]|\d{1,2})(?![\w'’])[)\]}*_\"']*"
_STATED = re.compile(
    rf"\b(?:answer|option|choice|choose|pick|select)(?:\s+(?:is|would be|should be|must be|option|choice))*\s*[:=]?\s*"
    rf"\**\s*{_LABEL}|\\boxed\{{\s*(?:\\text\{{)?\s*(?P<boxed>[A-Z]|\d{{1,2}})\b|"
    rf"(?<![\w'’]){_LABEL.replace('label', 'before')}\s+is\s+(?:the\s+)?(?:right|correct|best|true|answer)\b",
    re.IGNORECASE,
)
# "The answer is a mystery" and "the answer is 2 dogs" state no label; "the answer is C" does, whatever follows.
_STATED_WHOLE = re.compile(r"\W*$|\s*[.,;:!?)\n]|\s+(?:because|since|as|which|for)\b|\s+[-–—(]")
_CAPITAL = "BCDEFGHJKLMNOPQRSTUVWXYZ"  # not the two that are words of English
# A letter that opens the reply must be marked as one: "A dog runs" names no choice A.
_OPENING = re.compile(r"^\W*(?P<label>[A-Za-z]|\d{1,2})(?:\s*[.):\]}*,]|\s*$|\s+[-–—]\s|\s*\n)")
_ALONE = re.compile(rf"^\W*(?P<label>[{_CAPITAL}])\s")
_NUMBER = re.compile(r"(?<![\w.])\d+(?![\w]|\.\d)")
_NUMBER_WORDS = {
    "no": 0, "none": 0, "zero": 0, "one": 1, "two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7,
    "eight": 8, "nine": 9, "ten": 10, "eleven": 11, "twelve": 12,
}  # fmt: skip
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|cannot|without|except)\b|n['’]t\b", re.IGNORECASE)


def normalise(text: str) -> str:
    """Lower case, without ASCII punctuation, then without articles, then single spaces: in this order."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def without_thoughts(reply: str) -> str:
    """A reply without what a model wrote between <think> and </think>; empty where it was cut within that."""
    return _THOUGHT.sub("", reply).strip()


def yes_or_no(reply: str) -> bool | None:
    """The verdict a reply states last ("the answer is yes", a sentence that is only "No."), or else begins with; None
    where there is none, as in "yes or no"."""
    text = without_thoughts(reply)
    stated = [next(filter(None, match.groups())) for match in _SAYS.finditer(text)]
    opens = _OPENS.match(text)
    if not stated and opens is None:
        return None
    verdict = stated[-1] if stated else opens["verdict"] if opens else ""
    return verdict.lower() == "yes"


def read_choice(reply: str, choices: Sequence[str]) -> int | None:
    """Index of the choice that a reply picks; None where none, or more than one, can be read from it."""
    named = [plain(choice) for choice in choices]
    text = without_thoughts(reply)
    if plain(text) and named.count(plain(text)) == 1:
        return named.index(plain(text))
    stated = [_stated_choice(indices, choices) for indices in _STATED.finditer(text)]
    if indices := [index for index in stated if index is not None]:
        return indices[-1]  # a reply that reasons aloud states its answer last
    for pattern in (_OPENING, _ALONE):
        opening = pattern.match(text)
        if opening and (index := _index(opening["label"], choices)) is not None:
            return index
    index = _contained_choice(plain(text), named)
    if index is None or not _NEGATION.search(text) or _NEGATION.search(named[index]):
        return index
    return index if plain(re.split(r"[,.;:!\n]", text)[0]) == named[index] else None


def read_number(reply: str, *, alone: bool = False) -> int | None:
    """The whole number that a reply states in digits or words up to twelve; None where none, or several, are there.
    `alone`: the reply must be the number and no more; "no" and "none" then do not count.
    """
    reply = without_thoughts(reply)
    text = normalise(reply)
    if alone:
        return int(text) if text.isdecimal() else _NUMBER_WORDS.get(text) if text not in ("no", "none") else None
    numbers = {int(digits) for digits in _NUMBER.findall(reply)}
    numbers = numbers or {_NUMBER_WORDS[word] for word in text.split() if word in _NUMBER_WORDS}
    return numbers.pop() if len(numbers) == 1 else None


def is_refusal(reply: str) -> bool:
    """Whether a reply declines to answer."""
    return _REFUSAL.search(without_thoughts(reply)) is not None


def plain(text: str) -> str:
    """`normalise`, or the text in small letters where nothing would be left of it."""
    return normalise(text) or text.strip().lower()


def _index(label: str, choices: Sequence[str]) -> int | None:
    """The choice that a letter (A is the first) or number (1 is the first) names."""
    index = int(label) - 1 if label.isdigit() else ord(label.upper()) - ord("A")
    return index if 0 <= index < len(choices) else None


def _stated_choice(match: re.Match[str], choices: Sequence[str]) -> int | None:
    label = next(filter(None, match.groups()))
    if match["label"] and label not in _CAPITAL and not _STATED_WHOLE.match(match.string, match.end()):
        return None
    return _index(label, choices)


def _contained_choice(text: str, named: Sequence[str]) -> int | None:
    """The one choice whose words stand in the text; a choice within a longer one that stands there does not count."""
    spots = []
    for index, name in enumerate(named):
        spans = [match.span() for match in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", text)] if name else []
        spots += [(index, span) for span in spans]
    free = {
        index
        for index, (start, end) in spots
        if not any(a <= start and end <= b and (a, b) != (start, end) for _, (a, b) in spots)
    }
    return free.pop() if len(free) == 1 else None
