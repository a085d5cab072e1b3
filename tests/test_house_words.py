"""House rule on words: the field's terms in messages, docstrings and comments, in the rooms that have been cleaned.

A room comes into `ROOMS` once it is clean, and stays. A planted breach shows that the rule can fail.
"""

from __future__ import annotations

import io
import re
import subprocess
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("cineloop", "t2v", "v2t", "eval", "scripts", "benchmarks")
# Pattern → what the field says. Names count too: an underscore ends a word.
WORDS = {
    r"(?<![a-z])(told|untold)(?![a-z])": "given, stated, logged; a name says what is returned",
    r"(?<![a-z])said(?![a-z])": "text, message, stated",
    r"(?<![a-z])papers\b(?! (on|of|give|count|print))": "run metadata",
    r"(?<![a-z])(worn|melted)(?![a-z])": "augmented; with artifacts",
    r"(?<!there )\bis none\b|\bthat are none\b": "invalid, missing, not a ...",
    r"\bat birth\b|\bis born\b(?! again)": "in __post_init__, in the constructor",
    r"\bat hand\b": "available, given",
    r"\b(and|many) kin\b": "and similar",
    r"\bgoes on (where|with it|from)\b": "continues",
    r"\b(nobody|somebody) else\b": "another process, untrusted",
    r"\blies? elsewhere\b": "remote",
    r"\bheld (to|against)\b": "compared with",
    r"\bspoil(ed|t|s)\b": "corrupted",
    r"\bunasked\b": "without --overwrite, by default",
    r"\bneither end\b": "no preferred direction",
    r"\b(nobody|no one) knows\b": "unknown",
    r"(?<![a-z])whoever(?![a-z])": "the caller, readers",
    r"\bat will\b": "optional, may",
    r"\bplain letters\b|\bletter by letter\b": "ASCII characters, exactly",
    r"\bof strangers\b": "untrusted",
    r"\bcame twice\b": "is repeated",
}
_ANY = re.compile("|".join(WORDS))
# Names of modules, classes and attributes of `eval` → what the field says.
NAMES = {
    "kinship": "shared_weights",
    "leaks": "leakage",
    "looks": "evaluator, session",
    "asking": "the noun of what is asked, judge",
    "sees": "detects",
    "wants": "requires, expected",
}
# Lines that may hold one.
ALLOWED = (
    r"^[\"']?-melted[\"']?$|'-melted' if",  # ids of degraded clips, from which their claims are drawn
    r"and the papers\.",  # of other people
)


def breaches(name: str, text: str) -> list[str]:
    """`file:line: word: say ...` for each dialect word in a name, string or comment of Python source."""
    found: list[str] = []
    if not _ANY.search(text):  # to take all files apart would be seconds
        return found
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    for token in tokens:
        if token.type in (tokenize.OP, tokenize.NUMBER):  # Python 3.12 has tokens of its own for f-strings
            continue
        for offset, line in enumerate(token.string.split("\n")):
            if any(re.search(allowed, line) for allowed in ALLOWED):
                continue
            for pattern, better in WORDS.items():
                if match := re.search(pattern, line):
                    found.append(f"{name}:{token.start[0] + offset}: {match.group()!r}: say {better}")
    return found


def names(name: str, text: str) -> list[str]:
    """`file: name: say ...` for each dialect name that a module of `eval` has, defines or uses."""
    found = {Path(name).stem}
    if any(old in text or old.capitalize() in text for old in NAMES):  # to take all files apart would be seconds
        found |= {token.string for token in tokenize.generate_tokens(io.StringIO(text).readline)}
    return [f"{name}: {old}: say {better}" for old, better in NAMES.items() if {old, old.capitalize()} & found]


def test_a_planted_word_is_found():
    planted = '"""A value that is none."""\nx_told = 1  # checked at birth\n'
    assert [line.split(":")[1] for line in breaches("x.py", planted)] == ["1", "2", "2"]
    assert not breaches("x.py", 'unsaid = "The dog folded, toldo"\n')
    assert len(names("eval/leaks.py", "class Looks:\n    sees = 'a'\n")) == 3 and not names("x.py", '"It sees."\n')


def test_cleaned_rooms_keep_to_the_fields_words():
    listed = subprocess.run(["git", "ls-files", *ROOMS], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    files = [ROOT / name for name in listed.splitlines() if name.endswith(".py")]
    files = files or [path for room in ROOMS for path in (ROOT / room).rglob("*.py")]
    assert files
    texts = {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in files}
    assert not [line for name, text in texts.items() for line in breaches(name, text)]
    assert not [line for name, text in texts.items() if name.startswith("eval/") for line in names(name, text)]
