"""Retrieval of the notes a question is about: common words weighted by rarity, within a limit of tokens.

In: the notes of a film, each with the number of its scene, and a question. Out: the notes to answer from, in order of
time. Words are compared by their stems (jumps, jumping, jumped; puppies, puppy; ran, run) and by a short list of
everyday synonyms. For a note that begins with "the" or "it", a word that only another note of the same scene holds
counts half, because later notes write "the dog" where the first has "a brown dog". Weights are inverse document
frequencies (Spärck Jones 1972).
A question is split into clauses at before, after, or, while; every clause retrieves its own notes, so that
a question of order gets those of both events, and a question of number all that match. The text before a comma or
colon belongs to each of the choices after it ("Which jumps first, the dog or the cat?"). A question about what comes
before or after something retrieves the neighbours too.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from v2t.data.notes import Note

_NEAR_BEST = 0.75  # share of the best note's score that a note needs to count as a match
_LEAST = 0.34  # below it even the best note does not match the clause
_WHOLE = 0.8  # share of a statement's weight that a note holds which says the same
_FEW = 8  # notes for a question without a match
_CONTEXT = 0.5  # weight of a word that only the rest of the scene holds
_CUTS = re.compile(r"\b(?:before|after|or|while|whether|and then|then)\b|[,;:]", re.IGNORECASE)
_CHOICES = re.compile(r"^([^,:]*)[,:](.*\bor\b.*)$", re.IGNORECASE | re.DOTALL)
_SAID_BEFORE = re.compile(r"^\W*(?:the|it|they|he|she|his|her|its|their|both)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W_]+")
_COUNTING = re.compile(r"\bhow (?:many|often)\b", re.IGNORECASE)
_OPEN = re.compile(r"\W*(?:and\s+)?(?:what|who|which|where|how)\b")
_EARLY = re.compile(r"\b(?:first|earliest|start|starts|begin|begins|beginning|opening)\b", re.IGNORECASE)
_LATE = re.compile(r"\b(?:last|latest|end|ends|finally|ending|final)\b", re.IGNORECASE)

_STOP = frozenset(
    """a an the this that these those it its he she they them his her their we you i me is are was were be been being am
    do does did done have has had will would can could should may might must of to in on at by for from with into onto
    as and or but not no nor if so than too very there here what who whom whose which when where why how many much often
    time times any some all both each every other another more most long first last next before after then while during
    until since start starts starting begin begins beginning end ends ending finally happen happens happened happening
    occur occurs video film movie clip scene scenes shot shots see seen show shown shows watch there's something someone
    anything anyone thing things tell describe about whole entire second seconds minute minutes ever also again only s t
    """.split()
)
_IRREGULAR = {
    "ran": "run", "flew": "fly", "flown": "fly", "fell": "fall", "fallen": "fall", "met": "meet", "hid": "hide",
    "hidden": "hide", "went": "go", "gone": "go", "came": "come", "swam": "swim", "swum": "swim", "drove": "drive",
    "driven": "drive", "spun": "spin", "grew": "grow", "grown": "grow", "shrank": "shrink", "shrunk": "shrink",
    "shook": "shake", "shaken": "shake", "stood": "stand", "sat": "sit", "ate": "eat", "eaten": "eat", "threw": "throw",
    "thrown": "throw", "caught": "catch", "held": "hold", "took": "take", "taken": "take", "put": "put", "rode": "ride",
    "spoke": "speak", "left": "left", "became": "become", "got": "get", "gets": "get", "overtook": "overtake",
    "overtaken": "overtake", "leapt": "leap", "slid": "slide", "men": "man", "women": "woman", "children": "child",
    "people": "person", "mice": "mouse", "geese": "goose", "feet": "foot", "knives": "knife", "wolves": "wolf",
}  # fmt: skip
_SYNONYMS = (
    "walk stroll", "run dash sprint", "jump hop leap", "spin twirl rotate", "shake wobble tremble", "slide glide",
    "fall drop", "vanish disappear", "overtake pass", "hit bump crash collide", "small little tiny", "large big huge",
    "fast quickly quick", "slow slowly", "dog puppy", "cat kitten", "rabbit bunny", "car automobile", "plane airplane",
    "boat ship", "box cube", "picture image", "talk speak", "grow bigger", "shrink smaller", "gray grey",
    "forest woods", "city town", "recolor color colour",
)  # fmt: skip


@dataclass(frozen=True)
class SceneNote:
    """A note and the number of the scene it belongs to."""

    note: Note
    scene: int


@dataclass(frozen=True, kw_only=True)
class RecallResult:
    """Notes to answer from, in order of time; how many matched in all; `scores` (0 to 1) of the notes."""

    notes: tuple[SceneNote, ...]
    scores: tuple[float, ...]
    num_matching: int


def recall(notes: Sequence[SceneNote], question: str, max_tokens: int) -> RecallResult:
    """The notes a question is about, as many as `max_tokens` hold; none when nothing matches.

    Args:
        question: any words; their order matters only for before and after.
        max_tokens: bound on the notes' length, by `num_tokens`.
    """
    scores = [0.0] * len(notes)
    index = _Index(notes)
    for clause in clauses(question):
        of_clause = index.scores(content(clause))
        best = max(of_clause, default=0.0)
        if best >= _LEAST:
            scores = [
                max(old, new) if new >= _NEAR_BEST * best else old for old, new in zip(scores, of_clause, strict=True)
            ]
    matching = [i for i, score in enumerate(scores) if score]
    if not matching:
        return _fit_tokens(notes, scores, _fallback_notes(index, question), max_tokens, 0)
    wanted = sorted(matching, key=lambda i: (-scores[i], -i if _LATE.search(question) else i))
    return _fit_tokens(
        notes, scores, [*wanted, *_neighbours(matching, len(notes), question)], max_tokens, len(matching)
    )


def rank(notes: Sequence[SceneNote], statement: str) -> list[tuple[float, SceneNote]]:
    """All notes that share a word with a statement, (score in (0, 1], note), best first."""
    scores = _Index(notes).scores(content(statement))
    return sorted(
        ((score, placed) for score, placed in zip(scores, notes, strict=True) if score > 0),
        key=lambda pair: (-pair[0], pair[1].note.start_s),
    )


def is_match(score: float, best: float) -> bool:
    """Whether a score of `rank` is near enough to the best one to mean the same thing."""
    return best >= _LEAST and score >= _NEAR_BEST * best


def says_all(score: float) -> bool:
    """Whether a score of `rank` is that of a note with all words of the statement but light ones."""
    return score >= _WHOLE


def names_all(notes: Sequence[SceneNote], statement: str) -> bool:
    """Whether the notes use every word of a statement, if only in different notes."""
    known = {word for placed in notes for word in content(placed.note.text)}
    return known.issuperset(content(statement))


def clauses(question: str) -> list[str]:
    """The parts of a question that each name something, see the module's docstring."""
    head, choices = "", question
    match = _CHOICES.match(question)
    if match:
        head, choices = match.group(1), match.group(2)
    return [f"{head} {part}".strip() for part in _CUTS.split(choices) if content(part)]


def content(text: str) -> list[str]:
    """Stems of the words that carry meaning, each once, in order; digits are left out, most are times."""
    words = (word for word in _WORD.findall(text.lower()) if word not in _STOP and not word.isdigit())
    return list(dict.fromkeys(stem(word) for word in words))


def stem(word: str) -> str:
    """A lower-case word without its inflection: dogs, jumping, bounced, flies -> dog, jump, bounc, fly."""
    return _SAME.get(bare := _bare(word), bare)


def num_tokens(text: str) -> int:
    """Estimated tokens of a text, rather too many than too few: digits and signs one each, four letters one."""
    pieces = re.findall(r"[^\W\d_]+|\S", text)
    return sum(-(-len(piece) // 4) for piece in pieces) + text.count("\n")


def _bare(word: str) -> str:
    word = _IRREGULAR.get(word, word)
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 4 and word.endswith("ied"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        rest = word[: -len(ending)]
        if word.endswith(ending) and not word.endswith("eed") and len(rest) >= 3 and re.search("[aeiouy]", rest):
            doubled = rest[-1] == rest[-2] and rest[-1] not in "lsz"
            word = rest[:-1] if doubled else rest
            break
    return word[:-1] if len(word) > 3 and word.endswith("e") else word


# Words with "es" after a hiss lose only the s above and the e here: boxes -> boxe -> box, as box does.
_SAME = {_bare(word): _bare(group.split()[0]) for group in _SYNONYMS for word in group.split()}


class _Index:
    """Stems of every note, of its scene, and how rare each is."""

    def __init__(self, notes: Sequence[SceneNote]) -> None:
        self._own = [set(content(placed.note.text)) for placed in notes]
        scenes: dict[int, set[str]] = {}
        for placed, own in zip(notes, self._own, strict=True):
            scenes.setdefault(placed.scene, set()).update(own)
        self._around = [scenes[placed.scene] if _SAID_BEFORE.match(placed.note.text) else set() for placed in notes]
        self._counts = Counter(word for own in self._own for word in own)

    def __len__(self) -> int:
        return len(self._own)

    def scores(self, words: Sequence[str]) -> list[float]:
        """Share of the words' weight that each note holds, from 0 to 1."""
        weights = {word: math.log(1 + (len(self._own) + 0.5) / (self._counts[word] + 0.5)) for word in words}
        total = sum(weights.values()) or 1.0
        return [
            sum(
                weight * (1.0 if word in own else _CONTEXT if word in around else 0.0)
                for word, weight in weights.items()
            )
            / total
            if any(word in own for word in words)
            else 0.0
            for own, around in zip(self._own, self._around, strict=True)
        ]


def _fallback_notes(index: _Index, question: str) -> list[int]:
    """A few notes for a question without a match: the first or last ones, or the nearest when it asks how many (the
    answer may be zero); else nothing, and summaries are used."""
    order = list(range(len(index)))
    if _COUNTING.search(question):
        near = index.scores(content(question))
        return sorted(order, key=lambda i: (-near[i], i))[:_FEW]
    if _EARLY.search(question):
        return order[:_FEW]
    return order[::-1][:_FEW] if _LATE.search(question) else []


def _neighbours(matching: list[int], num: int, question: str) -> list[int]:
    """Notes next to the matching ones, where the question asks for what comes before or after them."""
    words = question.lower()
    if not _OPEN.match(words):
        return []
    steps = [1] * bool(re.search(r"\b(?:after|then|next|afterwards|follow\w*)\b", words))
    steps += [-1] * bool(re.search(r"\b(?:before|previous\w*)\b", words))
    near = dict.fromkeys(i + step * k for k in (1, 2) for step in steps for i in matching)
    return [i for i in near if 0 <= i < num and i not in set(matching)]


def _fit_tokens(
    notes: Sequence[SceneNote], scores: list[float], wanted: list[int], max_tokens: int, num_matching: int
) -> RecallResult:
    kept: list[int] = []
    for i in wanted:
        max_tokens -= num_tokens(notes[i].note.line())
        if max_tokens < 0 and kept:
            break
        kept.append(i)
    kept.sort()
    return RecallResult(
        notes=tuple(notes[i] for i in kept), scores=tuple(scores[i] for i in kept), num_matching=num_matching
    )
