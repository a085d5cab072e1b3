"""Measure what the semantic dimensions give exact clips of the cartoon world, for `v2t_eval.semantics.dimension`.

    python scripts/measure_ceilings.py --num 240 --seed 7 -o eval/semantics/detectors/world_ceilings.json

In: a number of prompts and a seed. Out: a JSON file. A third of the prompts have one figure, a third a group of two to
four, a third two figures of which one stands left of or above the other; actions are drawn evenly. The world renders
each (`t2v generate --generator world`), and each dimension scores the clips that ask for what it looks at.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError
from cineloop.files import write_atomic
from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import article, inflect, noun, pick
from t2v.generators import ClipRequest
from t2v.generators.world import Generator
from t2v.settings import GenerateSettings
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.semantics.detectors.world import VERSION

DIMENSIONS = ("object_class", "multiple_objects", "human_action", "color", "spatial_relationship", "scene")
ACTIONS = ("travel", "jump", "spin", "grow", "shrink", "shake", "fall", "appear", "vanish", "recolor", "stand")


def prompt(number: int, rng: random.Random) -> str:
    """A prompt of one figure, a group, or two figures, in turn; some the world refuses (a ball that jumps)."""
    action = pick(rng, ACTIONS)
    color, kind = pick(rng, list(words.COLORS)), pick(rng, list(words.KINDS))
    place = pick(rng, list(lex.PLACE_PHRASES.values()))[0]
    count = 1 + (number % 3 == 1) * (1 + int(rng.random() * 3))
    who = article(f"{color} {kind}") if count == 1 else f"{lex.NUMBERS[count]} {color} {noun(kind, count)}"
    verb = lex.VERBS[action][0] if action in lex.VERBS else "move"
    verb = f"turn {pick(rng, [c for c in words.COLORS if c != color])}" if action == "recolor" else verb
    does = inflect(verb, "s" if count == 1 else "pl")
    does += f" to the {pick(rng, ['left', 'right'])}" if action == "travel" else ""
    if number % 3 < 2:
        return f"{who[0].upper()}{who[1:]} {does} {place}."
    other = article(f"{pick(rng, list(words.COLORS))} {pick(rng, [k for k in words.KINDS if k != kind])}")
    how = pick(rng, ["to the left of", "above"])
    return f"{who[0].upper()}{who[1:]} is {how} {other}. The {kind} {does} {place}."


def clips(num: int, seed: int) -> list[Sample]:
    """The world's exact clips of `num` prompts."""
    rng, generator, samples = random.Random(seed), Generator(), []
    number = 0
    while len(samples) < num:
        text = prompt(len(samples), rng)
        number += 1
        try:
            frames = generator.generate([ClipRequest(prompt=text, seed=seed + number)], GenerateSettings())[0]
        except ItemError:
            continue  # the world cannot show it
        samples.append(Sample(id=f"{len(samples):04d}", prompt=text, clip=SampleClip.from_frames(frames)))
    return samples


def measure(samples: list[Sample]) -> dict[str, dict[str, Any]]:
    """Value, interval, number and unread clips of each dimension, by title."""
    figures = {}
    for name in DIMENSIONS:
        metric = load_metric(name)()
        metric.update(samples)
        result = metric.compute()
        figure = result.figures[result.headline]
        figures[result.name] = {
            "value": round(figure.value, 4),
            "low": round(figure.low, 4),
            "high": round(figure.high, 4),
            "n": figure.n,
            "unread": sum(each["code"] == "UNREAD" for each in result.failures),
        }
        print(result.name, figures[result.name], flush=True)
    return figures


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=240, help="prompts (240)")
    parser.add_argument("--seed", type=int, default=7, help="of prompts and drawings (7)")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="JSON file; replaced")
    args = parser.parse_args()
    figures = {"referee": VERSION, "seed": args.seed, "prompts": args.num}
    figures["dimensions"] = measure(clips(args.num, args.seed))
    write_atomic(args.output, json.dumps(figures, indent=1).encode() + b"\n")


if __name__ == "__main__":
    main()
