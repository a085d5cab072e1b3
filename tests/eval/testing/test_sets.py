"""How the verdict on a whole set ends a test: a failure, an error, or what was asked for where it is inconclusive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from v2t_eval.gate.verdict import OUTCOMES, Verdict
from v2t_eval.testing.plugin import ClipError, _end_by, assert_same_quality
from v2t_eval.testing.sets import report_text, suite_of


@pytest.mark.parametrize("verb", ["gate", "engine"])
def test_a_verdict_ends_the_test(verb: str) -> None:
    verdicts = {outcome: Verdict(outcome=outcome, reason="because of this") for outcome in OUTCOMES}

    def end(outcome: Any, inconclusive: str) -> None:
        _end_by(verdicts[outcome], report_text(verdicts[outcome], verb), inconclusive)

    end("pass", "fail")
    end("inconclusive", "pass")
    for outcome, inconclusive, raised in (
        ("fail", "pass", AssertionError), ("inconclusive", "fail", AssertionError),
        ("not_comparable", "pass", ClipError),
        ("inconclusive", "skip", pytest.skip.Exception), ("inconclusive", "xfail", pytest.xfail.Exception),
    ):  # fmt: skip
        with pytest.raises(raised, match="because of this"):
            end(outcome, inconclusive)


def test_a_shipped_suite_is_not_looked_for_in_folders() -> None:
    assert suite_of("engine", lambda path: Path("/elsewhere") / path) == Path("engine")
    assert suite_of("my.yaml", lambda path: Path("/elsewhere") / path) == Path("/elsewhere/my.yaml")


def test_an_engine_without_its_files_is_an_error_of_the_test() -> None:
    with pytest.raises(ClipError, match="none.json"):
        assert_same_quality("a/", "b/", margins="none.json")
    with pytest.raises(ClipError, match="inconclusive must be"):
        assert_same_quality("a/", "b/", margins="none.json", inconclusive="maybe")
