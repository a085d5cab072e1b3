"""Times as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.clock import format_clock, parse_clock
from cineloop.errors import UsageError

SECONDS = st.floats(0, 4e5)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("34:22", 2062),
        ("1:02:03", 3723),
        ("0:07.25", 7.25),
        ("90:00", 5400),
        ("12.5", 12.5),
        (".5", 0.5),
        ("90s", 90),
        ("90 seconds", 90),
        (" 1:00 ", 60),
        ("1:5:00", 3900),
    ],
)
def test_what_is_read(text, seconds):
    assert parse_clock(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1:60", "1:2", "1:60:00", "-3", "nan", "1e5", "12:", ":30", "1:2:3:4", "5 dogs", "٣", "9" * 40]
)
def test_what_is_refused(text):
    with pytest.raises(UsageError, match="expected a time"):
        parse_clock(text)


@pytest.mark.slow
@given(SECONDS)
def test_written_and_read_again(seconds):
    assert parse_clock(format_clock(seconds)) == pytest.approx(seconds, abs=0.5 + 1e-6)
    assert parse_clock(format_clock(seconds, tenths=True)) == pytest.approx(seconds, abs=0.05 + 1e-6)


@pytest.mark.slow
@given(SECONDS, SECONDS)
def test_later_is_never_written_as_earlier(one, other):
    early, late = sorted((one, other))
    assert parse_clock(format_clock(early)) <= parse_clock(format_clock(late))


def test_how_it_looks():
    assert [format_clock(s) for s in (0, 7, 59.5, 2062, 3723)] == ["0:00", "0:07", "1:00", "34:22", "1:02:03"]
    assert [format_clock(s, tenths=True) for s in (59.96, 723.24, 3600)] == ["1:00.0", "12:03.2", "1:00:00.0"]
    for bad in (-1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="seconds >= 0"):
            format_clock(bad)
