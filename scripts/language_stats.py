"""How varied the world's language is: word types, distinct n-grams, sentence shapes.

In: a number of clips. Out: one JSON object on stdout. A sentence shape is a caption with every word that states a
fact replaced by a slot (KIND, COLOR, SIZE, NUMBER, VERB, WAY, SPEED, PLACE, TIME), articles and pronouns made equal.

    python scripts/language_stats.py --clips 5000
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections import Counter
from collections.abc import Iterable

from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import inflect
from cineloop.world.language.questions import questions
from cineloop.world.language.stated import STYLES
from cineloop.world.language.words import caption
from cineloop.world.scenes.sampler import sample_scene

_TOKEN = re.compile(r"[a-z]+(?:-[a-z]+)?|\d+|[^\w\s]")


def slots() -> list[tuple[str, str]]:
    """Phrases that state facts, with their slot, longest first."""
    found: dict[str, str] = {}
    for options in lex.VERBS.values():
        for option in options:
            found |= {inflect(option, form): "VERB" for form in ("s", "pl", "bare", "ing")}
    for template in lex.RECOLOR:
        for form in ("s", "pl", "bare", "ing"):
            found[inflect(template.split(" {")[0], form)] = "VERB"
    for table, slot in ((lex.DIRECTION_WORDS, "WAY"), (lex.HEADING, "WAY"), (lex.SPEED_WORDS, "SPEED")):
        found |= {option: slot for options in table.values() for option in options}
    found |= {option: "PLACE" for options in lex.PLACE_PHRASES.values() for option in options}
    found |= {option: "PLACE" for option in (*lex.PLACE_ACROSS.values(), *lex.PLACE_NAMES.values())}
    found |= {option: "SIZE" for options in lex.SIZE_WORDS.values() for option in options}
    found |= {color: "COLOR" for color in words.COLORS} | {number: "NUMBER" for number in lex.NUMBERS.values()}
    found |= {kind: "KIND" for kind in words.KINDS} | {plural: "KIND" for plural in lex.PLURALS.values()}
    found |= {option: "RELATION" for t in (lex.RELATION_WORDS, lex.INVERSE_WORDS) for o in t.values() for option in o}
    found |= {option: "STYLE" for t in (lex.STYLE_NOUNS, lex.STYLE_HOW) for options in t.values() for option in options}
    for options in lex.CAMERA_VERBS.values():
        for option in options:
            found |= {f"camera {inflect(option, form)}": "CAMERA" for form in ("s", "ing")}
    found |= {"a": "ART", "an": "ART", "it": "PRON", "he": "PRON", "she": "PRON", "they": "PRON", "are": "is"}
    return sorted(found.items(), key=lambda item: -len(item[0]))


def shape_of(text: str, table: list[tuple[str, str]], pattern: re.Pattern[str]) -> str:
    """The caption with its facts taken out; NUMBER and ART before a noun are one slot."""
    names = dict(table)
    shaped = pattern.sub(lambda m: names[m[0]], re.sub(r"\d+\.\d+", "TIME", text.lower()))
    return re.sub(r"\b(?:ART|NUMBER) (?=COLOR|SIZE)", "DET ", shaped)


def figures(texts: Iterable[str]) -> dict[str, float | int]:
    """Types, tokens and distinct n-gram shares of texts."""
    grams: dict[int, Counter[tuple[str, ...]]] = {n: Counter() for n in (1, 2, 3)}
    total = longest = 0
    for text in texts:
        tokens = _TOKEN.findall(text.lower())
        total, longest = total + len(tokens), max(longest, len(tokens))
        for n, counter in grams.items():
            counter.update(zip(*(tokens[i:] for i in range(n)), strict=False))
    found: dict[str, float | int] = {"tokens": total, "longest_caption_tokens": longest}
    for n, counter in grams.items():
        found[f"types_{n}"] = len(counter)
        found[f"distinct_{n}"] = round(len(counter) / max(1, counter.total()), 5)
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    table = slots()
    pattern = re.compile(r"\b(?:" + "|".join(re.escape(phrase) for phrase, _ in table) + r")\b")
    told: dict[str, list[str]] = {style: [] for style in STYLES}
    asked: list[str] = []
    for index in range(args.clips):
        facts = sample_scene("train", args.seed, index).facts()
        stream = random.Random(f"language|{args.seed}|{index}")
        for style in STYLES:
            told[style].append(caption(facts, style, stream))
        asked += [q["question"] + " " + q["answer"] for q in questions(facts, stream, 3)]
    report: dict[str, object] = {"clips": args.clips, "seed": args.seed}
    for style, texts in told.items():
        shapes = Counter(shape_of(text, table, pattern) for text in texts)
        top = sum(count for _, count in shapes.most_common(20)) / len(texts)
        shown = {"shapes": len(shapes), "share_of_20_commonest_shapes": round(top, 4)}
        report[style] = {**figures(texts), **shown, "different_captions": len(set(texts))}
    every = [text for texts in told.values() for text in texts] + asked
    found = {w for text in every for w in re.findall(r"[a-z]+", text.lower())}
    report["word_types_everywhere"] = len(found)
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
