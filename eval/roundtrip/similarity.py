"""How much of a prompt a caption, or a clip, gives back: scores of several families, for matched and mismatched pairs.

In: a `Side`, its prompts, and for each prompt the others it is held against. Out: scores of all pairs, 0 (or below) to
1, by family: `facts` and `facts_f1` (what the cartoon world's grammar reads), `questions` (answered from the caption
alone), `events` (event F1), `sentence` (cosine of sentence vectors), `cider` (CIDEr-D over 10, frozen document
frequencies), and of the clips themselves `clip_judge` and `clip_referee` (the same questions). A family that cannot be
scored here is skipped with a reason; a pair that cannot is left out and lowers the coverage.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from cineloop.files import write_atomic
from v2t_eval.inputs import Inputs
from v2t_eval.judge.prompt import of_world
from v2t_eval.judge.question import dsg
from v2t_eval.metric import load_metric
from v2t_eval.metrics.event_f1 import f1
from v2t_eval.roundtrip.answers import Answers, Reply
from v2t_eval.roundtrip.calibration import Pair
from v2t_eval.roundtrip.settings import RoundtripConfig
from v2t_eval.roundtrip.trip import Side, Trip
from v2t_eval.sample import Sample
from v2t_eval.score import ScoreConfig, score
from v2t_eval.scores import Skipped
from v2t_eval.semantics.prompt_questions import Asked, from_caption, is_plain, needs_reader, questions, wanted
from v2t_eval.semantics.sources import GRAMMAR
from v2t_eval.text.prompt_facts import hold

FAMILIES: dict[str, str] = {
    "facts": "facts of the prompt that the caption states rightly",
    "facts_f1": "the same, with what the caption makes up (F1)",
    "questions": "questions of the prompt, answered from the caption alone",
    "events": "events of the prompt and of the caption (event F1)",
    "sentence": "sentence vectors of prompt and caption (cosine)",
    "cider": "words in a row (CIDEr-D / 10, frozen document frequencies)",
    "clip_judge": "questions of the prompt, answered from the clip by the judge",
    "clip_referee": "questions of the prompt, as far as the cartoon world's referee can read them from the clip",
}
OF_CLIPS = ("clip_judge", "clip_referee")
NUM_ASKED = 2  # other prompts whose questions are put to a clip, where these are not the same for all: a judge is slow
_WORLD_CLIPS = 1000  # of each kind, behind the world's document frequencies
_METRICS = {"events": "event_f1", "sentence": "sentence_similarity", "cider": "cider"}


@dataclass(frozen=True, kw_only=True)
class Against:
    """A prompt (that of `trip`) held against what another trip, or the same, came to."""

    prompt: int
    other: int
    half: int
    trip: Trip
    of: Trip


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The pairs of one side: of captions, and of clips."""

    matched: list[Against]
    mismatched: list[Against]
    clips: list[Against]
    other_clips: list[Against]


def prompts_of(side: Side) -> list[str]:
    """The different prompts of a side, in order."""
    return list(dict.fromkeys(trip.prompt for trip in side.trips))


def means_same(prompt: str, other: str) -> bool:
    """Whether a caption of `other` may rightly say all that `prompt` asks for."""
    if " ".join(prompt.lower().split()) == " ".join(other.lower().split()):
        return True
    held = hold(prompt, other)
    return held is not None and held.recall == 1


def pairs_of(side: Side, prompts: Sequence[str], others: Sequence[Sequence[int]], source: str = GRAMMAR) -> Pairs:
    """All pairs of a side. Of several clips of another prompt they take turns."""
    number = {prompt: at for at, prompt in enumerate(prompts)}

    def made(there: Callable[[Trip], bool], most: int | None) -> tuple[list[Against], list[Against]]:
        by_prompt: dict[int, list[Trip]] = {}
        for trip in side.trips:
            if trip.prompt in number and there(trip):
                by_prompt.setdefault(number[trip.prompt], []).append(trip)
        own, wrong = [], []
        for prompt, trips in by_prompt.items():
            for turn, trip in enumerate(trips):
                own.append(Against(prompt=prompt, other=prompt, half=0, trip=trip, of=trip))
                found = [by_prompt[other] for other in others[prompt] if other in by_prompt][:most]
                for rank, candidates in enumerate(found):
                    of = candidates[turn % len(candidates)]
                    wrong.append(Against(prompt=prompt, other=number[of.prompt], half=rank % 2, trip=trip, of=of))
        return own, wrong

    matched, mismatched = made(lambda trip: trip.caption is not None, None)
    most = None if all(is_plain(questions(prompt, source)) for prompt in prompts) else NUM_ASKED
    clips, other_clips = made(lambda trip: trip.path is not None, most)
    return Pairs(matched=matched, mismatched=mismatched, clips=clips, other_clips=other_clips)


class Similarity:
    """Scores of pairs by family.

    Args:
        answers: who answers questions.
        by_metric: values of (prompt, caption) by family, from `measured`.
    """

    def __init__(self, answers: Answers, by_metric: Mapping[str, Mapping[tuple[str, str], float]]) -> None:
        self.answers, self.by_metric = answers, by_metric

    def pairs(self, family: str, pairs: Iterable[Against]) -> list[Pair]:
        """The scores of a family; a pair that has none is left out."""
        found = []
        for each in pairs:
            value = self.value(family, each.trip.prompt, each.of)
            if value is not None:
                found.append(Pair(prompt=each.prompt, other=each.other, half=each.half, value=value))
        return found

    def value(self, family: str, prompt: str, of: Trip) -> float | None:
        """The score of one pair, None where there is none."""
        if family in OF_CLIPS:
            ask = self.answers.from_clip if family == "clip_judge" else self.answers.by_referee
            asked = self.answers.questions(prompt)
            return share(asked, [ask(of, one).right for one in asked])
        if of.caption is None:
            return None
        if family in ("facts", "facts_f1"):
            held = hold(prompt, of.caption)
            return None if held is None else held.recall if family == "facts" else held.f1
        if family == "questions":
            return share(self.answers.questions(prompt), [one.right for one in self.from_caption(prompt, of.caption)])
        return self.by_metric.get(family, {}).get((prompt, of.caption))

    def from_caption(self, prompt: str, caption: str) -> list[Reply]:
        """What the caption alone answers to each question of the prompt."""
        asked = self.answers.questions(prompt)
        if needs_reader(prompt, self.answers.source):
            return [self.answers.by_reader(caption, one) for one in asked]
        said = from_caption(prompt, caption)
        return [Reply(right=told == wanted(one), said=told or "nothing") for told, one in zip(said, asked, strict=True)]


def share(asked: Sequence[Asked], right: Sequence[bool | None]) -> float | None:
    """Share of the answered questions that count as right (DSG: and all they hang on are); None if none is answered."""
    told = {one.question.id: verdict for one, verdict in zip(asked, right, strict=True) if verdict is not None}
    upheld = dsg([one.question for one in asked], told)
    return fmean(upheld.values()) if upheld else None


def measured(
    texts: Iterable[tuple[str, str]], config: RoundtripConfig, state: Path, *, stop: Callable[[], bool]
) -> tuple[dict[str, dict[tuple[str, str], float]], list[Skipped], dict[str, str], dict[str, dict[str, str]]]:
    """Values of pairs (prompt, caption) by the metrics of `v2t_eval.metrics`.

    Returns:
        Values by family; families that were skipped; the environment; fingerprints by family.

    Raises:
        KeyboardInterrupt: stopped; what was measured is kept.
    """
    known = list(dict.fromkeys(texts))
    settings, skipped = _settings({prompt for prompt, _ in known}, config, state)
    samples = [
        Sample(id=f"{at:07d}", prompt=prompt, caption=caption, references=(prompt,))
        for at, (prompt, caption) in enumerate(known)
    ]
    values: dict[str, dict[tuple[str, str], float]] = {}
    if not samples or not settings:
        return values, skipped, {}, {}
    metrics = {family: load_metric(_METRICS[family])(**given) for family, given in settings.items()}
    how = ScoreConfig(workers=1, cache=state, is_suite=True)
    scores = score(Inputs(samples=samples), list(metrics.values()), how, stop=stop)
    prints = {}
    for family, metric in metrics.items():
        for result in scores.results:
            if result.name == metric.title:
                rows = {item["id"]: _value(family, item) for item in result.items}
                values[family] = {known[int(id)]: value for id, value in rows.items() if value is not None}
                prints[family] = result.fingerprint
        for one in scores.skipped:
            if one.metric == metric.title:
                skipped.append(Skipped(metric=family, reason=one.reason, hint=one.hint, code=one.code))
    return values, skipped, scores.environment, prints


def _value(family: str, item: Mapping[str, object]) -> float | None:
    """A metric's value of one pair, within 0 (or below) and 1."""
    if family == "events":
        recall, precision = item["recall"], item["precision"]
        told = precision if isinstance(precision, float | int) else None
        return f1(float(recall), told) if isinstance(recall, float | int) else None
    value = item["value"]
    if not isinstance(value, float | int):
        return None
    return float(value) / 10 if family == "cider" else float(value)


def _settings(
    prompts: set[str], config: RoundtripConfig, state: Path
) -> tuple[dict[str, dict[str, str]], list[Skipped]]:
    """The settings of each metric, or why it is skipped."""
    all_world = all(of_world(prompt) is not None for prompt in prompts)
    settings: dict[str, dict[str, str]] = {}
    skipped = []
    if all_world or config.reader:
        judge = "world" if all_world else str(config.reader)
        settings["events"] = {"judge": judge, "against": "prompt", "mode": "fixed"}
    else:
        skipped.append(_skip("events", "prompts in plain English need a language model", "name one by --reader"))
    if config.sentence == "none":
        skipped.append(_skip("sentence", "nobody was asked", ""))
    elif config.sentence != "auto" or all_world:
        model = "starter" if config.sentence == "auto" else config.sentence
        settings["sentence"] = {"model": model, "against": "prompt"}
    else:
        skipped.append(_skip("sentence", "no sentence encoder was named", "name one by --sentence FOLDER or a hub id"))
    if config.corpus is not None:
        settings["cider"] = {"corpus": str(config.corpus)}
    elif all_world:
        settings["cider"] = {"corpus": str(world_corpus(state))}
    else:
        skipped.append(
            _skip("cider", "document frequencies must not be those of the scored set", "name captions by --corpus FILE")
        )
    return settings, skipped


def _skip(family: str, reason: str, hint: str) -> Skipped:
    return Skipped(metric=family, reason=reason, hint=hint, code="NO_SETTING")


def world_corpus(state: Path) -> Path:
    """Captions and prompts of clips of the world's training split, one clip a line, as CIDEr's corpus: the same on
    every machine, so that scores of two sets can be compared. Written once."""
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


_STYLES = ("short", "detailed")
