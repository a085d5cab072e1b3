"""What every metric of the folder must hold to, whoever wrote it: identity, direction, range, no NaN, no dependence on
order or batches, an error for nothing.

A new metric is in this test by being in the folder. What it must bring is a pair of sets, one good and one bad
(`sets`), unless its inputs are those of a metric that is there already.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from cineloop.errors import CineloopError, ItemError, MissingDependencyError, NothingMatchedError
from cineloop.video.frames import Frames
from cineloop.world.language.questions import questions
from cineloop.world.language.words import caption
from cineloop.world.scenes.render import render
from cineloop.world.scenes.scene import Actor
from cineloop.world.scenes.solo import FPS, prompt, sample_solo
from v2t_eval.audit.faults import plant
from v2t_eval.metric import ABSTENTIONS, LEVELS, BaseMetric, Measured, MetricResult, load_metric, metric_names
from v2t_eval.sample import Clip, Sample

NUM = 6
NEEDS_TWO_SETS = "reference_clips"
# The fault that makes a clip worse in the eyes of a metric that looks at frames alone.
FAULT = {
    "temporal_flickering": "flutter",
    "motion_smoothness": "flutter",
    "subject_consistency": "noise",
    "background_consistency": "noise",
    "ssim_consistency": "noise",
    "sharpness": "blur",
    "dynamic_degree": "freeze",
    "motion": "freeze",
    "inception_score": "freeze",
}
WORDS = ("rolls past a tree", "waits", "opens its wings over the sea", "turns round twice", "is gone", "sleeps all day")


@cache
def scene(index: int) -> Any:
    """Of the seen stream, those that travel: their direction and speed can be read."""
    travelling = (
        s for s in (sample_solo("seen", 8, i) for i in range(400)) if s.events[0].direction in ("left", "right")
    )
    return [next(travelling) for _ in range(index + 1)][index]


@cache
def frames(index: int) -> Frames:
    return Frames.from_pixels(render(scene(index), (64, 64), times_s=np.arange(17) / FPS), FPS)


@cache
def asked(index: int) -> str:
    return prompt(scene(index).facts(), random.Random(index))


def sample(
    index: int, *, words_of: int | None = None, fault: str = "", number: int | None = None, **row: Any
) -> Sample:
    """Clip `index` with its prompt, caption, references; `words_of`: those of another clip instead."""
    other = index if words_of is None else words_of
    facts = scene(index).facts()
    shown = frames(index) if not fault else plant(frames(index), fault, seed=index)
    return Sample(
        id=f"s{index if number is None else number:02d}",
        clip=Clip.from_frames(shown),
        prompt=asked(other),
        caption=caption(scene(other).facts(), "prompt", random.Random(other)),
        references=tuple(caption(facts, "prompt", random.Random(seed)) for seed in (index, 90 + index)),
        row={"facts": facts, "style": "short", "duration_s": facts["duration_s"], **row},
        cluster=f"prompt {index // 2}",
    )


def pair(index: int, asked_for: dict[str, Any]) -> Sample:
    """Two figures that stand side by side, with what is asked of them in place of a prompt's words."""
    both = tuple(Actor(kind=k, color=c, size="large", x=x, y=0.65) for k, c, x in _PAIRS[index])
    event = replace(scene(index).events[0], action="jump", direction=None, speed=None, travel=0.0)
    shown = replace(scene(index), actors=both, events=(event,))
    made = sample(index, asked=asked_for)
    made.clip = Clip.from_frames(Frames.from_pixels(render(shown, (96, 96), times_s=np.arange(17) / FPS), FPS))
    return made


_PAIRS = [
    (("ball", "red", 0.25), ("star", "blue", 0.75)),
    (("car", "blue", 0.25), ("ball", "green", 0.75)),
    (("star", "red", 0.25), ("heart", "blue", 0.75)),
    (("ball", "blue", 0.25), ("heart", "red", 0.75)),
    (("star", "blue", 0.25), ("car", "red", 0.75)),
    (("heart", "red", 0.25), ("ball", "blue", 0.75)),
]


def pairs(what: Callable[[str, str], dict[str, Any]]) -> list[Sample]:
    return [pair(i, what(left[0], right[0])) for i, (left, right) in enumerate(_PAIRS)]


def matched(**row: Any) -> list[Sample]:
    return [sample(i, **row) for i in range(NUM)]


def mismatched(**row: Any) -> list[Sample]:
    return [sample(i, words_of=(i + 2) % NUM, **row) for i in range(NUM)]


def rows(make: Callable[[int], dict[str, Any]]) -> list[Sample]:
    return [sample(i, **make(i)) for i in range(NUM)]


def sets(name: str) -> tuple[list[Sample], list[Sample]]:
    """A set that the metric must find better, and one that it must find worse."""
    made = _ROWS.get(name)
    if made is not None:
        return rows(made[0]), rows(made[1])
    if name == "multiple_objects":
        return pairs(lambda a, b: {"object": f"{a} and {b}"}), pairs(lambda a, b: {"object": f"{a} and elephant"})
    if name == "spatial_relationship":
        told = {"relationship": "on the left of"}
        return (
            pairs(lambda a, b: {"object_a": a, "object_b": b, **told}),
            pairs(lambda a, b: {"object_a": b, "object_b": a, **told}),
        )
    if name == "appearance_style":  # the phrase is what the dual encoder is asked; any that fits the frames will do
        return rows(lambda i: {"asked": {"appearance_style": asked(i)}}), rows(
            lambda i: {"asked": {"appearance_style": asked((i + 2) % NUM)}}
        )
    if name in ("prompt_facts", "caption_questions"):  # the caption of another clip beside a clip's own prompt
        return matched(), [replace(one, prompt=asked(index)) for index, one in enumerate(mismatched())]
    if name == "distinct_n":
        varied = [replace(sample(i), caption=words) for i, words in enumerate(WORDS)]
        return varied, [replace(sample(i), caption=WORDS[0]) for i in range(NUM)]
    if "reference_video" in load_metric(name).needs:
        clean = [Clip.from_frames(frames(i)) for i in range(NUM)]
        good, bad = ([replace(sample(i, fault=f), reference_video=clean[i]) for i in range(NUM)] for f in ("", "noise"))
        return good, bad
    if name in FAULT or NEEDS_TWO_SETS in load_metric(name).needs:
        fault = FAULT.get(name, "noise")
        return matched(), [sample(i, fault=fault) for i in range(NUM)]
    return matched(), mismatched()


def _answers(index: int, *, right: bool) -> dict[str, Any]:
    turn = [q for q in questions(scene(index).facts(), random.Random(index)) if q["kind"] == "color"][0]
    return {"kind": turn["kind"], "question": turn["question"], "reference": turn["answer"],
            "answer": turn["answer"] if right else "I see nothing"}  # fmt: skip


def _spans(index: int, shift: float) -> dict[str, Any]:
    return {"spans": [[0.2 + shift, 1.0 + shift]], "reference_spans": [[0.2, 1.0]], "question": "when"}


def _events(words: tuple[str, str]) -> Callable[[int], dict[str, Any]]:
    def make(index: int) -> dict[str, Any]:
        told = [{"start_s": 0.0, "end_s": 1.0, "caption": f"a {WORDS[index]} dog"}]
        told.append({"start_s": 1.0, "end_s": 2.0, "caption": f"the cat {WORDS[-1 - index]}"})
        said = told if words == ("", "") else [{**e, "caption": w} for e, w in zip(told, words, strict=True)]
        return {"events": said, "reference_events": told}

    return make


_ROWS: dict[str, tuple[Callable[[int], dict[str, Any]], Callable[[int], dict[str, Any]]]] = {
    "answers": (lambda i: _answers(i, right=True), lambda i: _answers(i, right=False)),
    "spans": (lambda i: _spans(i, 0.0), lambda i: _spans(i, 0.5)),
    "squad": (
        lambda i: {"answer": "the Red car", "answers": ["a red car", "car"]},
        lambda i: {"answer": "a blue boat", "answers": ["a red car", "car"]},
    ),
    "multiple_choice": (
        lambda i: {"choices": ["red", "blue", "green"], "answer": "B", "reference": "blue"},
        lambda i: {"choices": ["red", "blue", "green"], "answer": "(C) green", "reference": "B"},
    ),
    "highlights": (
        lambda i: {"saliency": [0.1, 0.9, 0.3, 0.2], "relevance": [0, 4, 1, 0]},
        lambda i: {"saliency": [0.9, 0.1, 0.3, 0.2], "relevance": [0, 4, 1, 0]},
    ),
    "dense_captions": (_events(("", "")), _events(("nobody here", "fog"))),
}  # fmt: skip


@cache
def ready(name: str) -> str:
    """Why the metric cannot run here, "" where it can."""
    try:
        load_metric(name)().prepare()
    except MissingDependencyError as error:
        return str(error)
    return ""


def run(name: str, given: list[Sample], references: list[Sample] | None = None) -> MetricResult:
    metric: BaseMetric = load_metric(name)()
    metric.prepare()
    metric.update(given)
    if NEEDS_TWO_SETS in metric.needs:
        metric.update(others() if references is None else references, reference=True)
    return metric.compute()


@cache
def _others() -> tuple[Sample, ...]:
    return tuple(sample(i, number=i) for i in range(NUM, 2 * NUM))


def others() -> list[Sample]:
    return list(_others())


def plain(result: MetricResult) -> str:
    """All of a result, as it is written; fails where a number is not finite."""
    return json.dumps(result.as_dict(), sort_keys=True, allow_nan=False, default=list)


@pytest.fixture
def metric(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if ready(name):
        pytest.skip(f"{name} cannot run here: {ready(name)[:150]}")
    return name


every = pytest.mark.parametrize("name", metric_names())
_NAMES = [pytest.param(n, marks=[pytest.mark.slow] * (n in ("meteor", "dense_captions"))) for n in metric_names()]
every_ready = pytest.mark.parametrize("metric", _NAMES, indirect=True)


@every
def test_says_what_it_is(name: str) -> None:
    made = load_metric(name)
    assert issubclass(made, BaseMetric) and made.name == name and made.level in LEVELS
    assert made.needs or made.uses
    assert made.value_range[0] < made.value_range[1] and made.higher_is_better in (True, False, None)
    assert len(made.sees) > 5 and len(made.blind) > 5
    assert (made.__doc__ or "").strip()
    fingerprint = made().fingerprint() if not ready(name) else {}
    assert fingerprint.get("definition", f"{name}/").startswith(f"{name}/")
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in fingerprint.items())
    assert not ready(name) or len(ready(name)) > 20


@every
def test_nothing_is_an_error(name: str) -> None:
    with pytest.raises(NothingMatchedError, match=name):
        load_metric(name)().compute()


@every_ready
def test_better_is_better_and_stays_in_the_range(metric: str) -> None:
    good, bad = sets(metric)
    best, worst = run(metric, good), run(metric, bad)
    assert best.coverage > 0.8 and {each["code"] for each in best.failures} <= ABSTENTIONS, best.failures[:2]
    assert (best.value < worst.value) if best.higher_is_better is False else (best.value > worst.value)
    least, most = best.value_range
    for result in (best, worst, run(metric, [*good[:3], *bad[3:]])):
        assert result.headline in result.figures and result.n == NUM
        figure = result.figures[result.headline]
        assert figure.low <= figure.value <= figure.high
        slack = 1e-6 * max(1.0, abs(figure.value))
        assert least - slack <= figure.low and figure.high <= most + slack
        for item in result.items:
            assert set(item) >= {"id", "value"}
            assert item["value"] is None or math.isfinite(item["value"])
        if result.reduction != "set":  # it is the mean that the class declares
            values = [item["value"] for item in result.items if item["value"] is not None]
            mean = result.figures[result.headline if result.reduction == "mean" else result.reduction].value
            assert mean == pytest.approx(sum(values) / len(values), rel=1e-6, abs=1e-9)
        plain(result)


@every_ready
def test_neither_order_nor_batches_matter(metric: str) -> None:
    good, _ = sets(metric)
    once = plain(run(metric, good))
    assert plain(run(metric, sets(metric)[0][::-1])) == once
    made: BaseMetric = load_metric(metric)()
    made.prepare()
    for part in (good[4:], good[:1], good[1:4]):
        made.update(part)
    if NEEDS_TWO_SETS in made.needs:
        made.update(others()[3:], reference=True)
        made.update(others()[:3], reference=True)
    assert plain(made.compute()) == once
    made.reset()
    with pytest.raises(NothingMatchedError):
        made.compute()


def test_equal_values_are_no_certainty() -> None:
    metric = load_metric("squad")()
    metric.value_range = (0.0, 1.0)
    same = [Measured(id=f"s{i}", cluster=f"c{i}", evidence={"value": 1.0}) for i in range(3)]
    figure = metric.mean(same)
    assert (figure.value, figure.high) == (1.0, 1.0) and figure.low == pytest.approx(0.4385, abs=1e-4)  # Wilson, 3 of 3
    one_prompt = [Measured(id=f"s{i}", cluster="c", evidence={"value": i / 9}) for i in range(10)]
    assert metric.mean(one_prompt).low < 0.1 and metric.mean(one_prompt).high > 0.9


def test_a_broken_reference_is_told_and_no_failure_of_the_scored() -> None:
    made: BaseMetric = load_metric("frechet")()
    made.prepare()
    made.update(matched())
    made.update([*others(), Sample(id="broken")], reference=True)
    result = made.compute()
    assert (result.n, result.coverage, result.counts["failed_references"]) == (NUM, 1.0, 1)
    assert [failure["id"] for failure in result.failures] == ["reference_clips/broken"]
    made.reset()
    made.update(matched())
    made.update(others(), reference=True)
    assert not made.compute().failures


def test_what_only_the_set_reads_measures_nothing_again() -> None:
    first, second = load_metric("frechet")(), load_metric("frechet")(minimum=9, divisor="n", seed=3)
    assert first.fingerprint() != second.fingerprint()
    assert first.evidence_fingerprint() == second.evidence_fingerprint()
    other = load_metric("frechet")(feature="starter")
    assert first.evidence_fingerprint() != other.evidence_fingerprint()
    for name in metric_names():
        made = load_metric(name)
        known = set(made.Settings.__dataclass_fields__) | {"estimator"}
        assert "Distribution" in str(made.__mro__) or set(made.of_set) <= known, name


@every_ready
def test_evidence_survives_being_kept(metric: str) -> None:
    from v2t_eval.cache import decode, encode

    good, _ = sets(metric)
    made, again = load_metric(metric)(), load_metric(metric)()
    made.prepare()
    again.prepare()
    for reference, some in ((False, good), (True, others() if NEEDS_TWO_SETS in made.needs else [])):
        for one in some:
            try:
                row = Measured(id=one.id, cluster=one.cluster, evidence=made.measure(one))
            except ItemError as declined:
                assert declined.code in ABSTENTIONS
                continue
            made.add(row, reference=reference)
            kept = Measured(id=one.id, cluster=one.cluster, evidence=decode(encode(row.evidence)))
            again.add(kept, reference=reference)
    assert plain(again.compute()) == plain(made.compute())


STRANGE: dict[str, Callable[[], Sample]] = {
    "one frame": lambda: _with(sample(0), pixels=frames(0).pixels[:1]),
    "two frames": lambda: _with(sample(0), pixels=frames(0).pixels[:2]),
    "black": lambda: _with(sample(0), pixels=np.zeros((17, 64, 64, 3), np.uint8)),
    "tiny": lambda: _with(sample(0), pixels=np.full((5, 8, 10, 3), 9, np.uint8)),
    "empty words": lambda: _with(sample(0), caption="", prompt="", references=("", "")),
    "marks": lambda: _with(sample(0), caption="...?!", prompt="--", references=("!",)),
    "another script": lambda: _with(
        sample(0), caption="犬が走る \U0001f436\u2028\x00x", references=("собака\r\nбежит",)
    ),
    "a long text": lambda: _with(sample(0), caption="dog runs " * 900, prompt="dog " * 900),
    "nothing": lambda: Sample(id="s00"),
}


def _with(one: Sample, pixels: np.ndarray | None = None, **changes: Any) -> Sample:
    if pixels is not None:
        one.clip = Clip.from_frames(Frames.from_pixels(pixels, 8.0))
    for name, value in changes.items():
        setattr(one, name, value)
    return one


@every_ready
def test_strange_input_is_a_number_or_a_failure_never_nan(metric: str) -> None:
    for what, make in STRANGE.items():
        made: BaseMetric = load_metric(metric)()
        made.prepare()
        given = make()
        if metric in _ROWS and given.clip is not None:
            given.row = {**given.row, **_ROWS[metric][0](0)}
        made.update(given)
        if NEEDS_TWO_SETS in made.needs:
            made.update(others(), reference=True)
        try:
            result = made.compute()
        except CineloopError as error:
            assert error.message, what
            continue
        plain(result)
        for failure in result.failures:
            assert failure["code"].isupper() and len(failure["message"]) > 10, (what, failure)
        if what == "nothing" and metric != "facts":
            assert result.failures and result.coverage == 0.0, metric
