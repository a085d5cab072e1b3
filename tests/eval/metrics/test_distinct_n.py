"""Distinct-n: closed forms, the rarefied form against drawing, repetition, properties."""

from __future__ import annotations

import random
from collections import Counter
from itertools import combinations

import pytest

from v2t_eval.core.sample import Sample
from v2t_eval.metrics.distinct_n import Metric, distinct, rarefied_share, words
from v2t_eval.text.ngrams import ngrams


def distinct_of(*captions: str, clusters: list[str] | None = None, **settings):
    metric = Metric(**settings)
    for number, caption in enumerate(captions):
        metric.update(Sample(id=f"{number:04}", caption=caption, cluster=clusters[number] if clusters else ""))
    return metric.compute()


def test_words_and_ngrams() -> None:
    assert words("The dog's ball, it_is 2-coloured: RED!") == [
        "the",
        "dog's",
        "ball",
        "it",
        "is",
        "2",
        "coloured",
        "red",
    ]
    assert list(ngrams(["a", "b", "c"], 2)) == [("a", "b"), ("b", "c")] and not list(ngrams(["a"], 2))


def test_closed_forms() -> None:
    result = distinct_of("a dog runs", "a dog sleeps", "a cat")
    values = {name: figure.value for name, figure in result.figures.items()}
    assert values["distinct-1"] == 5 / 8 and values["distinct-2"] == 4 / 5 and values["distinct-3"] == 1.0
    assert result.value == 4 / 5 and values["share a 4-gram with another"] == 0.0 and "seq-rep-4" not in values
    assert len(result.notes) == 3 and "too few" in result.notes[0]


def test_the_rarefied_form_is_the_mean_over_all_draws() -> None:
    grams = list("aaabbcdd")
    frequencies = Counter(Counter(grams).values())
    for drawn in range(1, 9):
        every = [len({grams[i] for i in chosen}) / drawn for chosen in combinations(range(8), drawn)]
        assert rarefied_share(frequencies, drawn) == pytest.approx(sum(every) / len(every), abs=1e-12)
    assert rarefied_share(frequencies, 8) == distinct(frequencies) == 0.5
    for wrong in (0, 9):
        with pytest.raises(ValueError, match="cannot be drawn"):
            rarefied_share(frequencies, wrong)
    with pytest.raises(ValueError, match="at least one"):
        distinct(Counter())


def speech(num: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    pool, weights = [f"w{i}" for i in range(200)], [1 / (i + 1) for i in range(200)]
    return [" ".join(draw.choices(pool, weights, k=9)) for _ in range(num)]


@pytest.mark.slow
def test_the_rarefied_form_does_not_fall_with_the_size_of_the_set() -> None:
    small, large = distinct_of(*speech(60, 0), drawn=300), distinct_of(*speech(480, 1), drawn=300)
    assert large.value < small.value - 0.2  # distinct-2 itself does
    name = "distinct-2 among 300"
    assert large.figures[name].value == pytest.approx(small.figures[name].value, abs=0.03)


def test_repetition() -> None:
    once = "a dog runs over the grass"
    twice = "a dog runs over a dog runs over"  # 5 4-grams, 4 of them different
    result = distinct_of(once, twice, "a bird flies by itself")
    assert result.figures["seq-rep-4"].value == pytest.approx((0 + 0.2 + 0) / 3)
    assert result.figures["share a 4-gram with another"].value == pytest.approx(2 / 3)
    assert [item["shares a 4-gram"] for item in result.items] == [True, True, False]


def test_copies_lower_it_and_order_does_not_matter() -> None:
    captions = speech(50, 2)
    result = distinct_of(*captions)
    assert distinct_of(*captions, *captions).value == pytest.approx(result.value / 2)
    for name, figure in distinct_of(*reversed(captions)).figures.items():
        told = result.figures[name]
        assert (figure.value, figure.low, figure.high) == pytest.approx((told.value, told.low, told.high), rel=1e-12)
    assert distinct_of(*[" ".join(reversed(one.split())) for one in captions]).value == result.value


@pytest.mark.slow
def test_the_interval_covers_and_knows_clusters() -> None:
    many = [distinct_of(*speech(60, seed), drawn=100).figures["distinct-2 among 100"] for seed in range(24)]
    mean = sum(figure.value for figure in many) / len(many)
    assert sum(figure.low <= mean <= figure.high for figure in many) >= 20
    captions = speech(40, 3)
    copies = [one for one in captions for _ in range(3)]
    clustered = distinct_of(*copies, clusters=[str(i // 3) for i in range(120)]).figures["distinct-2"]
    alone = distinct_of(*copies).figures["distinct-2"]
    assert clustered.high - clustered.low > 1.5 * (alone.high - alone.low)


def test_captions_without_words() -> None:
    result = distinct_of("a dog runs", "!", "")
    assert result.counts == {"without words": 2} and result.value == 1.0 and result.coverage == 1.0
    assert distinct_of("!", "one").figures == {}
    metric = Metric()
    metric.update(Sample(id="x"))
    assert metric.compute().failures[0]["code"] == "NO_CAPTION"
