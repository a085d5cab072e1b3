"""Score the pairs of a round trip: a caption, or a clip, against its own prompt and against others.

In: a `TripSide`, its prompts, and for each prompt the others it is compared with. Out: the table of pairs, and
`PairScores`: scores, 0 (or below) to 1, by family. A family is a metric of `v2t_eval.metrics`; a caption or clip with a
prompt is a sample of `v2t_eval.core.score`, so that evidence is cached and a clip is decoded once for all its prompts.
A family that cannot be scored is skipped with a reason; a pair that cannot is left out and lowers the coverage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cineloop.files import write_atomic
from cineloop.world.language.read_text import parse_whole
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.metric import BaseMetric, load_metric
from v2t_eval.core.sample import Sample
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import AbsentMetric
from v2t_eval.core.statistics import f1
from v2t_eval.core.worker import ClipLimits
from v2t_eval.judge.judge import Judge
from v2t_eval.roundtrip.calibration import Pair, SampleKey
from v2t_eval.roundtrip.result import Trip, TripSide
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


def means_same(prompt: str, other: str) -> bool:
    """Whether a correct caption of `other` may state all that `prompt` asks for."""
    if " ".join(prompt.lower().split()) == " ".join(other.lower().split()):
        return True
    held = match_facts(prompt, other)
    return held is not None and held.recall == 1


def pairs_of(
    side: TripSide, prompts: Sequence[str], others: Sequence[Sequence[int]], source: str = GRAMMAR
) -> tuple[list[Pair], dict[SampleKey, Sample]]:
    """All pairs of a side, and the samples to score: a clip, its caption or both with one prompt are one sample.
    Several clips of another prompt are used in turn."""
    number = {prompt: at for at, prompt in enumerate(prompts)}
    table: list[Pair] = []
    samples: dict[SampleKey, Sample] = {}

    def add(what: str, trip: Trip, prompt: int, half: int) -> None:
        key, text = trip.key(prompts[prompt]), prompts[prompt]
        sample = samples.setdefault(key, Sample(id="", prompt=text, references=(text,)))
        if what == "caption":
            sample.caption = trip.caption
        else:
            sample.clip = trip.clip
        other = number[trip.prompt]
        table.append(Pair(prompt=prompt, other=other, half=half, side=side.name, what=what, sample=key))

    most = None if all(is_plain(questions(prompt, source)) for prompt in prompts) else NUM_ASKED
    for what, there, most_others in (("caption", side.captioned, None), ("clip", side.made, most)):
        by_prompt: dict[int, list[Trip]] = {}
        for trip in there:
            if trip.prompt in number:
                by_prompt.setdefault(number[trip.prompt], []).append(trip)
        for prompt, trips in by_prompt.items():
            for trip in trips:
                add(what, trip, prompt, 0)
        for prompt, trips in by_prompt.items():
            compared = [by_prompt[other] for other in others[prompt] if other in by_prompt][:most_others]
            for turn in range(len(trips)):
                for rank, candidates in enumerate(compared):
                    add(what, candidates[turn % len(candidates)], prompt, rank % 2)
    return table, samples


@dataclass(kw_only=True)
class PairScores:
    """Scores of samples, each a prompt with a caption, a clip or both: by metric and key of sample the item of
    `MetricResult.items` or the error's code; the families without a metric here, and the fingerprints of the others."""

    items: dict[str, dict[SampleKey, dict[str, Any]]] = field(default_factory=dict)
    codes: dict[str, dict[SampleKey, str]] = field(default_factory=dict)
    skipped: list[AbsentMetric] = field(default_factory=list)
    fingerprints: dict[str, dict[str, str]] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    def value(self, family: str, sample: SampleKey) -> float | None:
        """The score of one sample, None where there is none."""
        metric, key, _ = FAMILIES[family]
        item = self.items.get(metric, {}).get(sample, {})
        if family == "events":
            recall, precision = item.get("recall"), item.get("precision")
            return None if recall is None else f1(float(recall), None if precision is None else float(precision))
        value = item.get(key)
        return None if value is None else float(value) / (10 if family == "cider" else 1)

    def table(self, family: str, pairs: Sequence[Pair]) -> list[Pair]:
        """The pairs of a family with their scores; a pair that has none is left out."""
        what = "clip" if family in OF_CLIPS else "caption"
        return [
            replace(pair, value=value)
            for pair in pairs
            if pair.what == what and (value := self.value(family, pair.sample)) is not None
        ]

    def answers(self, metric: str, sample: SampleKey, num: int) -> list[tuple[bool | None, str]]:
        """To each of the `num` questions of a sample's prompt: whether the wanted answer was given (None without an
        answer), and the answer's text, or why there is none."""
        rows = self.items.get(metric, {}).get(sample, {}).get("questions")
        if rows is None:
            return [(None, self.codes.get(metric, {}).get(sample, "not asked"))] * num
        return [(row["right"], row.get("decision", row["answer"])) for row in rows]


def score_pairs(
    samples: Mapping[SampleKey, Sample],
    config: RoundtripConfig,
    state: Path,
    judge: Judge | None,
    *,
    stop: Callable[[], bool],
    show_progress: bool = False,
) -> PairScores:
    """Score all samples. `state`: folder of cached evidence.

    Raises:
        KeyboardInterrupt: stopped; measurements are cached.
    """
    pair_scores = PairScores()
    prompts = {sample.prompt or "" for sample in samples.values()}
    metrics = _metrics(prompts, config, state, judge, pair_scores.skipped)
    if not samples:
        return pair_scores
    limits = ClipLimits(max_clip_mb=config.max_clip_mb)
    how = ScoreConfig(workers=1, cache=state, is_suite=True, limits=limits, device=config.device)
    place = {key[:2]: at for at, key in reversed(list(enumerate(samples)))}
    keys = sorted(samples, key=lambda key: place[key[:2]])  # those of one clip together: it is decoded once
    inputs = Inputs(samples=[replace(samples[key], id=f"{at:07d}") for at, key in enumerate(keys)])
    scores = score(inputs, list(metrics.values()), how, stop=stop, show_progress=show_progress)
    pair_scores.environment = scores.environment
    for name, metric in metrics.items():
        families = [family for family, (of, _, _) in FAMILIES.items() if of == name]
        for result in scores.results:
            if result.name == metric.title:
                pair_scores.items[name] = {keys[int(item["id"])]: item for item in result.items}
                pair_scores.codes[name] = {keys[int(each["id"])]: each["code"] for each in result.failures}
                pair_scores.fingerprints |= dict.fromkeys(families, result.fingerprint)
        for one in scores.skipped:
            if one.metric == metric.title and one.code == "ENVIRONMENT":
                pair_scores.skipped += [
                    AbsentMetric(metric=family, reason=one.reason, hint=one.hint, code=one.code) for family in families
                ]
    return pair_scores


def _metrics(
    prompts: set[str], config: RoundtripConfig, state: Path, judge: Judge | None, skipped: list[AbsentMetric]
) -> dict[str, BaseMetric]:
    """The metrics of the families, by name; those without a required setting are added to `skipped`."""
    all_world = all(parse_whole(prompt) is not None for prompt in prompts)
    settings: dict[str, dict[str, str]] = {
        "prompt_facts": {},
        "obedience": {},
        "caption_questions": {"questions": config.questions, "reader": config.reader or "none"},
    }
    if judge is not None:
        name = "v2t" if config.judge in ("auto", "none") else config.judge
        settings["question_score"] = {"judge": name, "questions": config.questions, "wording": "plain"}

    def skip(family: str, reason: str, hint: str) -> None:
        skipped.append(AbsentMetric(metric=family, reason=reason, hint=hint, code="NO_SETTING"))

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
