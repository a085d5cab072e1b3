"""Penn Treebank tokens of a caption, as pycocoevalcap makes them.

In: a caption. Out: its tokens, lower-case, punctuation removed, joined by single spaces: what pycocoevalcap gets from
Stanford's PTBTokenizer 3.4.1 with `-preserveLines -lowerCase` after it has removed its list of punctuation. `read`
tells whether a caption is in the class for which the two are equal; rules and class were found by comparing with the
program on millions of strings (tests/eval/text/test_ptb.py repeats a part of it). Rules: a caption is cut into the
longest match of the patterns below, from left to right (Marcus et al. 1993, "Building a large annotated corpus").
"""

from __future__ import annotations

import re
from functools import lru_cache

_L = "A-Za-zªµºÀ-ÖØ-öø-ÿ"  # letters
_W = f"[{_L}0-9]"  # a letter or digit
_N = rf"(?!{_W})"  # no letter or digit follows

# Words whose dot belongs to them wherever they stand.
_ABBREVIATIONS = """
adj adm adv al ala alex apr ariz assn assoc asst attys atty aug ave bhd bldg blvd brig bros calif capt cf cie cmdr col
colo comdr conn corp cos co cpl ct dak dec dept det drs dr elec ens esq est etc ext feb fla fri ft ga gen govs gov
hon inc ind insp intl invt jan jos jr jul jun kan kans ky lieut ltd lt maj mar md messrs mich minn mlle mme mon mont mo
mrs mr msgr ms mt natl neb nev nov oct okla penn pfc ph plc pres profs prof pvt rd reps rep rev rt sens sen sep
sept seq sfc sgt spc sq sr ste st supts supt sys tel tenn thu thurs treas tues tue univ va vs vt wed wisc wis wm wyo
""".split()
_UNLESS_CAPITALS = "mfg mtg pte pty ppte ppty pptes pptys ptes ptys".split()
_CAPITALISED = "Ark Az Del Ill La Mass Miss Ore Pa Tex Wash".split()
_BEFORE_NUMBER = "no nos art ca fig figs op pp prop".split()  # their dot belongs to them before a number alone
_APOSTROPHE = "c'mon e'er li'l cap'n ev'ry nor'easter nat'l".split()
# After a single letter with a dot, one of these begins a sentence, and the dot is a full stop.
_STARTERS = """
a about according additionally after an as at but earlier he her here however if in it last many more now once one other
our she since so some such that the their then there these they this we what when while yet you
""".split()
_IN_TWO = {
    "cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me", "lemme": "lem me",
}  # fmt: skip


def _any(words: list[str]) -> str:
    return f"(?:{'|'.join(sorted(words, key=len, reverse=True))})"


_CAPITALS = [form for word in _CAPITALISED for form in (word, word.upper())]
_SMALL = [form for word in _UNLESS_CAPITALS for form in (word, word.title())]
_FIRST = [form for word in _STARTERS for form in (word.title(), word.upper())] + [r"M[rsRS]\."]
_PART = rf"(?:[dlo]'{_W}{_W}+|{_W}+)"  # part of a word with hyphens; d'art is one
_WORD = rf"[{_L}]{_W}*(?:[.!?][{_L}]{_W}*)*"  # words joined by a mark without a space stay one
_HYPHENED = rf"{_PART}(?:-{_PART})*"  # 5th, 20-year-old
_DOTTED = r"[A-Za-z0-9][A-Za-z0-9.,]*(?:-(?:(?:[A-Za-z]\.){2,}|[A-Za-z0-9]+))+"  # U.S.-based, a.m.-p.m.
_CONTRACTED = r"(?:s|m|d|ll|re|ve)(?![A-Za-z])"
_SIDE = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}"
_PATTERNS = [
    _WORD,
    _HYPHENED,
    _DOTTED,
    *(rf"{kind}\.(?=[,;:])" for kind in (_WORD, _HYPHENED, _DOTTED)),  # before another mark the dot belongs to the word
    rf"{_SIDE}(?:/{_SIDE}){{1,2}}",  # his/her
    rf"{_W}+(?:_{_W}+)+",
    r"[-+]?(?:[.,:]?[0-9]+)(?:[.,:][0-9]+)*",  # numbers, times
    r"[0-9]{1,4}[- \xa0][0-9]{1,4}/[0-9]{1,4}",  # 3 1/2
    rf"[a-z]\.(?!\s+(?-i:{_any(_FIRST)})(?:\s|$))",  # an initial
    r"(?:[a-z]\.){2,}|(?:[a-z]\.)+[a-z]",  # U.S., a.m
    rf"{_any(_ABBREVIATIONS)}\.",
    rf"(?-i:{_any(_CAPITALS + _SMALL)}\.)",
    rf"{_any(_BEFORE_NUMBER)}\.(?=\s?[0-9])",
    rf"['’]{_CONTRACTED}",
    rf"(?:n|(?-i:[A-HJ-XZ]))'[{_L}][{_L}]+",
    rf"[{_L}]+[aeiouy]['’](?!{_CONTRACTED})(?-i:[aeiouA-Z])[{_L}]*",
    r"(?-i:[A-Z]+(?:[&+][A-Z]+)+)|c\+\+|[cf]#",
    rf"(?:ol|dunkin|[dlj])'(?!{_CONTRACTED})",
    rf"y['’](?!{_CONTRACTED})(?=[A-Za-z])",
    r"o'o",
    r"['’](?:em|till?|cause)",
    r"'n'|’n’|['’]n(?=\s|$)",
    r"['’](?:[2-9]0s|[0-9][0-9](?=\s|$))",
    r"['’]t(?=is|was)",
    _any(_APOSTROPHE),
    r"_+|\*+|--+|\.\.\.+|[!?]+|''|``",
    rf"{_any(list(_IN_TWO))}{_N}",
    r"ph\.d\.?",
    rf"#(?:[{_L}]+|#+)",
    r"@[A-Za-z_][A-Za-z0-9_]*",
    r"(?-i:[A-Z]+\$)",
    r"(?-i:[:;=][-o*']?[()DPpdO@|{\[\]\\])(?![A-Za-z0-9])",  # :-)
    r"[0-9]{1,2}[-/][0-9]{1,2}[-/][0-9]{2,4}",
]
_COMPILED = [re.compile(pattern, re.IGNORECASE) for pattern in _PATTERNS]
_NOT = re.compile(r"([A-Za-z]+)(?<!n)(?=n['’]t)", re.IGNORECASE)
_NT = re.compile(rf"n['’]t(?![{_L}])", re.IGNORECASE)
_AUXILIARY = re.compile(r"['’](?:s|m|d|ll|re|ve)", re.IGNORECASE)
_WRITTEN = _IN_TWO | {
    "’s": "'s", "’m": "'m", "’d": "'d", "’ll": "'ll", "’re": "'re", "’ve": "'ve", "n’t": "n't",
    "(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-",
    "€": "$", "£": "#", "¢": "cents", "½": "1/2", "¼": "1/4", "¾": "3/4",
} | dict.fromkeys("' '' ` `` . ? ! , : - -- ... ; \" “ ” ‘ ’ « » – — … ‐ ‑".split(), "")  # fmt: skip


def _cut(text: str) -> str:
    """The tokens of `text` as they are written in the end, joined by spaces."""
    at, tokens = 0, []
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        match = _NOT.match(text, at) or _NT.match(text, at)
        if match is None:
            match = max((m for p in _COMPILED if (m := p.match(text, at))), key=re.Match.end, default=None)
        token = (match.group() if match else text[at]).lower()
        at += len(token)
        written = token if token in _IN_TWO and _AUXILIARY.match(text, at) else _WRITTEN.get(token, token)
        if written == token and token[0] in ":;=":
            written = "".join(_WRITTEN.get(mark, mark) if mark in "()" else mark for mark in token)
        if written and not (len(token) > 1 and (set(token) <= {"."} or len(token) < 5 and set(token) <= {"-"})):
            tokens.append(written.replace(" ", "\xa0") if token[0].isdigit() else written)
    return " ".join(tokens)


# What Java reads otherwise, or what was not compared.
_OUTSIDE_CLASS = [
    r"(?-i:[^ -~\xa0À-ÖØ-öø-ÿ’“”‘–—…½£€°¢])",  # marks and letters beyond Western European
    r"[<>\\@_]|://|\.(?:com|net|org|edu)|&(?:[a-z]{2,6}|#[0-9]+);",  # tags, addresses, entities
    r"[0-9]{2}[ \xa0][0-9]{2,9}[- \xa0][0-9]|[0-9]{2}-[0-9]{2,9}[ \xa0][0-9]|\([0-9]+\)\s?[0-9]|\(x+\)",  # telephones
    rf"’(?!{_CONTRACTED})(?!(?<=[a-z]n’)t(?![{_L}]))[{_L}0-9]|[{_L}]‘[{_L}]|[’‘“”`][’‘“”`'\"]",  # odd quotes
    rf"(?<!{_W})(?!ph\.d\b){_any(_ABBREVIATIONS + _UNLESS_CAPITALS + _CAPITALISED)}\.[{_L}-]|ph\.d\.[{_L}-]",  # Co.uk
    rf"[0-9][{_L}]+\.[{_L}]|[0-9]\.[{_L}]+\.|/[0-9]+\.[{_L}]|\.[{_L}]+\.[0-9]|\.[{_L}]['’]|\.{{4}}[0-9]",  # glued
    rf"['’](?:s|m|d|ll|re|ve)[À-ÖØ-öø-ÿ]|{_any(list(_IN_TWO))}n['’]t",
]
_OUTSIDE = re.compile("|".join(_OUTSIDE_CLASS), re.IGNORECASE)
# Where a token may reach over white space, or a dot depends on the next word.
_NUMBER_ACROSS = re.compile(r"[0-9)] [0-9]")
_DOT_ACROSS = re.compile(
    rf"(?<!{_W})(?:{_any(_BEFORE_NUMBER)}\. [0-9]|[a-z]\. (?-i:{_any(_FIRST)})(?: |$))", re.IGNORECASE
)
_LOOKS_ROUND = re.compile(rf"[0-9)]$|(?<!{_W})(?:[a-z]|{_any(_BEFORE_NUMBER)})\.$", re.IGNORECASE)
_SIMPLE = re.compile(r"([A-Za-z]{2,})[.,!?;:]?")
_NOT_SIMPLE = frozenset(_IN_TWO) | {
    word.lower() for word in _ABBREVIATIONS + _UNLESS_CAPITALS + _CAPITALISED + _BEFORE_NUMBER
}
_KEPT = 1 << 17  # chunks that are remembered
_BREAKS = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


def flatten(text: str) -> str:
    """The text on one line: every control character but the tab, and every separator of lines or paragraphs, becomes a
    space."""
    return _BREAKS.sub(" ", text).strip()


def read(text: str) -> tuple[str, bool]:
    """Tokens of a caption, joined by spaces ("" when none is left), and whether they are surely those of Java."""
    chunks = text.split()
    pieces = [_plain(chunk) for chunk in chunks]
    if None not in pieces:
        return " ".join(filter(None, pieces)), True
    line = " ".join(chunks)
    if _NUMBER_ACROSS.search(line) or (". " in line and _DOT_ACROSS.search(line)):
        line = flatten(text)
        return _cut(line), not _OUTSIDE.search(line)
    every = [_alone(chunk) for chunk in chunks]
    return " ".join(tokens for tokens, _ in every if tokens), all(exact for _, exact in every)


def tokenize(text: str) -> str:
    """Tokens of a caption, lower-case and without punctuation, joined by spaces; "" when none is left."""
    return read(text)[0]


@lru_cache(maxsize=_KEPT)
def _plain(chunk: str) -> str | None:
    """Tokens of what stands between white space; None where that is not enough to know them."""
    simple = _SIMPLE.fullmatch(chunk)
    if simple and (word := simple[1].lower()) not in _NOT_SIMPLE:
        return word
    return None if _OUTSIDE.search(chunk) or _LOOKS_ROUND.search(chunk) else _cut(chunk)


@lru_cache(maxsize=_KEPT)
def _alone(chunk: str) -> tuple[str, bool]:
    """Tokens of the text between white space, whatever its neighbours, and whether they are those of Java."""
    chunk = flatten(chunk)
    return _cut(chunk), not _OUTSIDE.search(chunk)
