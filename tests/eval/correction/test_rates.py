"""Error rates: cells borrow from their kind as far as they are alike, and kinds without contrast are named."""

from __future__ import annotations

import numpy as np
import pytest

from v2t_eval.audit.record import Confusion
from v2t_eval.correction.rates import error_rates


def row(
    answer: str, true: int, hits: int, false: int, alarms: int, *, kind: str = "color", clips: int = 0
) -> Confusion:
    num = clips or true + false
    return Confusion(kind=kind, answer=answer, true=true, hits=hits, false=false, alarms=alarms, clips=num)


def test_answers_that_are_alike_share_one_rate() -> None:
    rates = error_rates([row(str(n), 50, 45, 50, 5) for n in range(6)], [("color", str(n)) for n in range(6)])
    assert rates.hits == pytest.approx(0.9)
    assert rates.alarms == pytest.approx(0.1)
    assert rates.contrast["color"][0] == pytest.approx(0.8)
    assert rates.drawn_hits.std() == pytest.approx(np.sqrt(0.9 * 0.1 / 300), rel=0.15)


def test_an_answer_that_differs_keeps_its_own_rate_and_a_rare_one_is_near_its_kind() -> None:
    rows = [
        row("red", 400, 396, 400, 4),
        row("blue", 400, 200, 400, 4),
        row("pink", 400, 380, 400, 4),
        row("rare", 1, 0, 1, 0),
    ]
    rates = error_rates(rows, [("color", each) for each in ("red", "blue", "pink", "rare")])
    red, blue, _, rare = rates.hits
    assert red == pytest.approx(0.99, abs=0.02)
    assert blue == pytest.approx(0.5, abs=0.02)
    assert 0.4 < rare < 0.9  # not 0 of 1


def test_an_answer_without_claims_has_the_rate_of_its_kind() -> None:
    rates = error_rates([row("red", 100, 90, 100, 10)], [("color", "blue")])
    assert (rates.hits[0], rates.alarms[0]) == pytest.approx((0.9, 0.1))


@pytest.mark.parametrize(
    "counts", [(200, 110, 200, 100), (10, 10, 200, 0), (200, 200, 0, 0)], ids=["no contrast", "few true", "none false"]
)
def test_a_kind_that_shows_too_little_is_weak(counts: tuple[int, int, int, int]) -> None:
    assert error_rates([row("red", *counts)], [("color", "red")]).weak == ["color"]


def test_one_answer_without_contrast_makes_its_kind_weak() -> None:
    """Dividing by a contrast near nothing would carry the whole share."""
    rows = [row(str(n), 300, 290, 300, 10) for n in range(5)] + [row("odd", 300, 150, 300, 140)]
    assert error_rates(rows, [("color", "1")]).weak == []
    assert error_rates(rows, [("color", "1"), ("color", "odd")]).weak == ["color"]


def test_claims_that_come_together_count_as_one_clip() -> None:
    alone = error_rates([row("", 400, 360, 400, 40)], [("color", "")])
    together = error_rates([row("", 400, 360, 400, 40, clips=50)], [("color", "")])
    assert together.drawn_hits.std() > 2 * alone.drawn_hits.std()


def test_a_kind_without_a_row_is_an_error() -> None:
    with pytest.raises(KeyError, match="size"):
        error_rates([row("red", 100, 90, 100, 10)], [("size", "small")])
