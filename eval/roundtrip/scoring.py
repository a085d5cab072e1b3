"""Score the pairs of a round trip: a caption, or a clip, against its own prompt and against others.

In: a `Side`, its prompts, and for each prompt the others it is compared with. Out: `PairScores`: scores of all pairs, 0
(or below) to 1, by family. A family is a metric of `v2t_eval.metrics`; every pair is a sample of
`v2t_eval.core.score`, so that evidence is cached and a clip is decoded once for all its prompts. A family that cannot
be scored is skipped with a reason; a pair that cannot is left out and lowers the coverage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.files import write_atomic
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.metric import BaseMetric, load_metric
from v2t_eval.core.sample import Clip, Sample
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import Skipped
from v2t_eval.core.statistics import f1
from v2t_eval.core.worker import ClipLimits
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.prompt import of_world
from v2t_eval.roundtrip.calibration import Pair
from v2t_eval.roundtrip.found import Side, Trip
from v2t_eval.roundtrip.settings import RoundtripConfig
from v2t_eval.semantics.prompt_questions import is_plain, questions
from v2t_eval.semantics.sources import GRAMMAR
from v2t_eval.text.prompt_facts import match_facts

# Family: its metric, the key of an item's value, description.
FAMILIES: dict[str, tuple[str, str, str]] = {
    "facts": ("prompt_facts", "value", "facts of the prompt that the caption states correctly"),
    "facts_f1": ("prompt_facts", "f1", "the same, with what the caption makes up (F1)"),
    "questions": ("caption_questions", "value", "questions of the prompt, answered from the caption alone"),
    "events": ("event_f1", "", "events of the prompt and of the caption (event F1)"),
    "sentence": ("sentence_similarity", "value", "sentence vectors of prompt and caption (cosine)"),
    "cider": ("cider", "value", "n-grams (CIDEr-D / 10, frozen document frequencies)"),
    "clip_judge": ("question_score", "value", "questions of the prompt, answered from the clip by the judge"),
    "clip_referee": ("obedience", "read", "questions of the prompt, as far as the cartoon world's referee can read "
                     "them from the clip"),
}  # fmt: skip
OF_CLIPS = ("clip_judge", "clip_referee")
NUM_ASKED = 2  # other prompts whose questions are asked of a clip, where prompts differ in them: judges are slow
_WORLD_CLIPS = 1000  # of each kind, for the world's document frequencies
_STYLES = ("short", "detailed")


@dataclass(frozen=True, kw_only=True)
class Pairing:
    """A prompt (that of `trip`) compared with the clip or caption of the same or another trip."""

    prompt: int
    other: int
    half: int
    trip: Trip
    of: Trip


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The pairs of one side: of captions, and of clips."""

    matched: list[Pairing]
    mismatched: list[Pairing]
    clips: list[Pairing]
    other_clips: list[Pairing]


def prompts_of(side: Side) -> list[str]:
    """The different prompts of a side, in order."""
    return list(dict.fromkeys(trip.prompt for trip in side.trips))


def means_same(prompt: str, other: str) -> bool:
    """Whether a correct caption of `other` may state all that `prompt` asks for."""
    if " ".join(prompt.lower().split()) == " ".join(other.lower().split()):
        return True
    held = match_facts(prompt, other)
    return held is not None and held.recall == 1


def pairs_of(side: Side, prompts: Sequence[str], others: Sequence[Sequence[int]], source: str = GRAMMAR) -> Pairs:
    """All pairs of a side. Several clips of another prompt are used in turn."""
    number = {prompt: at for at, prompt in enumerate(prompts)}

    def pair_up(there: Callable[[Trip], bool], most: int | None) -> tuple[list[Pairing], list[Pairing]]:
        by_prompt: dict[int, list[Trip]] = {}
        for trip in side.trips:
            if trip.prompt in number and there(trip):
                by_prompt.setdefault(number[trip.prompt], []).append(trip)
        own, wrong = [], []
        for prompt, trips in by_prompt.items():
            for turn, trip in enumerate(trips):
                own.append(Pairing(prompt=prompt, other=prompt, half=0, trip=trip, of=trip))
                found = [by_prompt[other] for other in others[prompt] if other in by_prompt][:most]
                for rank, candidates in enumerate(found):
                    of = candidates[turn % len(candidates)]
                    wrong.append(Pairing(prompt=prompt, other=number[of.prompt], half=rank % 2, trip=trip, of=of))
        return own, wrong

    matched, mismatched = pair_up(lambda trip: trip.caption is not None, None)
    most = None if all(is_plain(questions(prompt, source)) for prompt in prompts) else NUM_ASKED
    clips, other_clips = pair_up(lambda trip: trip.path is not None, most)
    return Pairs(matched=matched, mismatched=mismatched, clips=clips, other_clips=other_clips)


@dataclass(kw_only=True)
class PairScores:
    """Scores of pairs of a prompt and a trip: by metric the item of each pair in `MetricResult.items`, or its error
    code; the families without a metric here, and the fingerprints of the others."""

    items: dict[str, dict[tuple[str, int], dict[str, Any]]] = field(default_factory=dict)
    codes: dict[str, dict[tuple[str, int], str]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    fingerprints: dict[str, dict[str, str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def item(self, metric: str, prompt: str, of: Trip) -> Mapping[str, Any]:
        """A metric's item of a pair; empty without one."""
        return self.items.get(metric, {}).get((prompt, id(of)), {})

    def value(self, family: str, prompt: str, of: Trip) -> float | None:
        """The score of one pair, None where there is none."""
        metric, key, _ = FAMILIES[family]
        item = self.item(metric, prompt, of)
        if family == "events":
            recall, precision = item.get("recall"), item.get("precision")
            return None if recall is None else f1(float(recall), None if precision is None else float(precision))
        value = item.get(key)
        return None if value is None else float(value) / (10 if family == "cider" else 1)

    def pairs(self, family: str, pairs: Iterable[Pairing]) -> list[Pair]:
        """The scores of a family; a pair that has none is left out."""
        found = []
        for each in pairs:
            value = self.value(family, each.trip.prompt, each.of)
            if value is not None:
                found.append(Pair(prompt=each.prompt, other=each.other, half=each.half, value=value))
        return found

    def answers(self, metric: str, trip: Trip, num: int) -> list[tuple[bool | None, str]]:
        """To each of the `num` questions of a trip's own prompt: whether the wanted answer was given (None without an
        answer), and the answer's text, or why there is none."""
        rows = self.item(metric, trip.prompt, trip).get("questions")
        if rows is None:
            return [(None, self.codes.get(metric, {}).get((trip.prompt, id(trip)), "not asked"))] * num
        return [(row["right"], row.get("decision", row["answer"])) for row in rows]


def pair_scores(
    pairs: Sequence[Pairs],
    config: RoundtripConfig,
    state: Path,
    judge: Judge | None,
    *,
    stop: Callable[[], bool],
    show_progress: bool = False,
) -> PairScores:
    """Score all pairs. `state`: folder of cached evidence.

    Raises:
        KeyboardInterrupt: stopped; measurements are cached.
    """
    keys, samples = _samples(pairs)
    found = PairScores()
    metrics = _metrics({key[0] for key in keys}, config, state, judge, found.skipped)
    if not samples:
        return found
    limits = ClipLimits(max_clip_mb=config.max_clip_mb)
    how = ScoreConfig(workers=1, cache=state, is_suite=True, limits=limits, device=config.device)
    scores = score(Inputs(samples=samples), list(metrics.values()), how, stop=stop, show_progress=show_progress)
    found.environment = scores.environment
    for name, metric in metrics.items():
        families = [family for family, (of, _, _) in FAMILIES.items() if of == name]
        for result in scores.results:
            if result.name == metric.title:
                found.items[name] = {keys[int(item["id"])]: item for item in result.items}
                found.codes[name] = {keys[int(each["id"])]: each["code"] for each in result.failures}
                found.fingerprints |= dict.fromkeys(families, result.fingerprint)
        for one in scores.skipped:
            if one.metric == metric.title and one.code == "ENVIRONMENT":
                found.skipped += [
                    Skipped(metric=family, reason=one.reason, hint=one.hint, code=one.code) for family in families
                ]
    return found


def _samples(pairs: Sequence[Pairs]) -> tuple[list[tuple[str, int]], list[Sample]]:
    """A sample for each prompt and trip that are compared, those of one clip together, and the key of each."""
    trips: dict[int, Trip] = {}
    prompts: dict[int, dict[str, set[str]]] = {}  # by trip and prompt, what is compared: its caption, its clip
    for side in pairs:
        for what, listed in (
            ("caption", (*side.matched, *side.mismatched)),
            ("clip", (*side.clips, *side.other_clips)),
        ):
            for each in listed:
                trips[id(each.of)] = each.of
                prompts.setdefault(id(each.of), {}).setdefault(each.trip.prompt, set()).add(what)
    keys: list[tuple[str, int]] = []
    samples: list[Sample] = []
    for name, wanted in prompts.items():
        trip = trips[name]
        clip = Clip(content="", path=trip.path, start_s=trip.start_s, end_s=trip.end_s)
        for prompt, kinds in wanted.items():
            samples.append(
                Sample(
                    id=f"{len(samples):07d}",
                    prompt=prompt,
                    references=(prompt,),
                    caption=trip.caption if "caption" in kinds else None,
                    clip=clip if "clip" in kinds else None,
                )
            )
            keys.append((prompt, name))
    return keys, samples


def _metrics(
    prompts: set[str], config: RoundtripConfig, state: Path, judge: Judge | None, skipped: list[Skipped]
) -> dict[str, BaseMetric]:
    """The metrics of the families, by name; those without a required setting are added to `skipped`."""
    all_world = all(of_world(prompt) is not None for prompt in prompts)
    settings: dict[str, dict[str, str]] = {
        "prompt_facts": {},
        "obedience": {},
        "caption_questions": {"questions": config.questions, "reader": config.reader or "none"},
    }
    if judge is not None:
        name = "v2t" if config.judge in ("auto", "none") else config.judge
        settings["question_score"] = {"judge": name, "questions": config.questions, "wording": "plain"}

    def skip(family: str, reason: str, hint: str) -> None:
        skipped.append(Skipped(metric=family, reason=reason, hint=hint, code="NO_SETTING"))

    if all_world or config.reader:
        settings["event_f1"] = {"judge": "world" if all_world else str(config.reader), "against": "prompt",
                                "mode": "fixed"}  # fmt: skip
    else:
        skip("events", "prompts in plain English need a language model", "name one by --reader")
    if config.sentence == "none":
        skip("sentence", "disabled by --sentence none", "")
    elif config.sentence != "auto" or all_world:
        model = "starter" if config.sentence == "auto" else config.sentence
        settings["sentence_similarity"] = {"model": model, "against": "prompt"}
    else:
        skip("sentence", "no sentence encoder was given", "name one by --sentence FOLDER or a hub id")
    if config.corpus is not None or all_world:
        settings["cider"] = {"corpus": str(config.corpus or world_corpus(state))}
    else:
        skip("cider", "document frequencies must not be those of the scored set", "name captions by --corpus FILE")
    metrics: dict[str, BaseMetric] = {name: load_metric(name)(**given) for name, given in settings.items()}
    if judge is not None:
        metrics["question_score"].judge = judge  # type: ignore[attr-defined]
    return metrics


def world_corpus(state: Path) -> Path:
    """Captions and prompts of clips of the world's training split, one clip a line, as CIDEr's corpus: the same on
    every machine, so that scores of two sets are comparable. Written once."""
    from cineloop.world.language.words import caption
    from cineloop.world.scenes.sampler import sample_scene
    from cineloop.world.scenes.solo import prompt, sample_solo

    path = state / "world-captions.txt"
    if path.exists():
        return path
    lines = []
    for index in range(_WORLD_CLIPS):
        words = random.Random(f"document frequencies|{index}")
        facts = sample_solo("train", 0, index).facts()
        lines.append("\t".join([prompt(facts, words), *(caption(facts, style, words) for style in _STYLES)]))
        facts = sample_scene("train", 0, index).facts()
        lines.append("\t".join(caption(facts, style, words) for style in _STYLES))
    write_atomic(path, "\n".join(lines).encode())
    return path
