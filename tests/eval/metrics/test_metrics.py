"""What every metric of the folder must hold to, whoever wrote it: identity, direction, range, no NaN, no dependence on
order or batches, an error for nothing.

A new metric is in this test by being in the folder. What it must bring is a pair of sets, one good and one bad
(`sets`), unless its inputs are those of a metric that is there already.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cineloop.errors import CineloopError, ItemError, NothingMatchedError
from cineloop.video.frames import Frames
from metric_samples import (
    NEEDS_TWO_SETS,
    NUM,
    ROWS,
    STARTS_JAVA,
    asked_at_once,
    frames,
    known,
    matched,
    others,
    plain,
    ready,
    run,
    sample,
    sets,
)
from v2t_eval.core.measurement import ABSTENTIONS, Observation
from v2t_eval.core.metric import LEVELS, BaseMetric, load_metric, metric_names
from v2t_eval.core.sample import Sample, SampleClip


@pytest.fixture
def metric(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if ready(name):
        pytest.skip(f"{name} cannot run here: {ready(name)[:150]}")
    return name


every = pytest.mark.parametrize("name", metric_names())
# Two seconds of computing each; their own tests are among the quick ones.
_SLOW = {*STARTS_JAVA, "emscore", "multiple_objects", "question_score", "spatial_relationship", "vqascore"}
_NAMES = [pytest.param(n, marks=[pytest.mark.slow] * (n in _SLOW)) for n in metric_names()]
every_ready = pytest.mark.parametrize("metric", _NAMES, indirect=True)


@every
def test_says_what_it_is(name: str) -> None:
    made = load_metric(name)
    assert issubclass(made, BaseMetric) and made.name == name and made.level in LEVELS
    assert made.needs or made.uses
    assert made.value_range[0] < made.value_range[1] and made.higher_is_better in (True, False, None)
    assert len(made.detects) > 5 and len(made.misses) > 5
    assert (sys.modules[made.__module__].__doc__ or "").strip(), "the head of its module says what it is"
    fingerprint = made().fingerprint() if not ready(name) else {}
    assert fingerprint.get("definition", f"{name}/").startswith(f"{name}/")
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in fingerprint.items())
    assert not ready(name) or len(ready(name)) > 20


@every
def test_nothing_is_an_error(name: str) -> None:
    with pytest.raises(NothingMatchedError, match=name):
        load_metric(name)().compute()


@pytest.mark.long
@every_ready
def test_better_is_better_and_stays_in_the_range(metric: str) -> None:
    good, bad = known(metric)
    asked_at_once(metric, good + bad)
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


@pytest.mark.slow
@every_ready
def test_neither_order_nor_batches_matter(metric: str) -> None:
    good, _ = known(metric)
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
    same = [Observation(id=f"s{i}", cluster=f"c{i}", evidence={"value": 1.0}) for i in range(3)]
    figure = metric.mean(same)
    assert (figure.value, figure.high) == (1.0, 1.0) and figure.low == pytest.approx(0.4385, abs=1e-4)  # Wilson, 3 of 3
    one_prompt = [Observation(id=f"s{i}", cluster="c", evidence={"value": i / 9}) for i in range(10)]
    assert metric.mean(one_prompt).low < 0.1 and metric.mean(one_prompt).high > 0.9


@pytest.mark.slow
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


@pytest.mark.slow
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
    from v2t_eval.core.cache import decode, encode

    good, _ = known(metric)
    made, again = load_metric(metric)(), load_metric(metric)()
    made.prepare()
    again.prepare()
    for reference, some in ((False, good), (True, others() if NEEDS_TWO_SETS in made.needs else [])):
        for one in some:
            try:
                row = Observation(id=one.id, cluster=one.cluster, evidence=made.measure(one))
            except ItemError as declined:
                assert declined.code in ABSTENTIONS
                continue
            made.add(row, reference=reference)
            kept = Observation(id=one.id, cluster=one.cluster, evidence=decode(encode(row.evidence)))
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
        one.clip = SampleClip.from_frames(Frames.from_pixels(pixels, 8.0))
    for name, value in changes.items():
        setattr(one, name, value)
    return one


@pytest.mark.long
@every_ready
def test_strange_input_is_a_number_or_a_failure_never_nan(metric: str) -> None:
    strange = {what: make() for what, make in STRANGE.items()}
    for given in strange.values():
        if metric in ROWS and given.clip is not None:
            given.row = {**given.row, **ROWS[metric][0](0)}
    asked_at_once(metric, list(strange.values()))
    for what, given in strange.items():
        made: BaseMetric = load_metric(metric)()
        made.prepare()
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
