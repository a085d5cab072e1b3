"""Retries: what is tried again, how often, and after which pause."""

from __future__ import annotations

import pytest

from cineloop import retry as module
from cineloop.errors import ItemError
from cineloop.retry import backoff_s, is_final, retry


class NoCredentialsFault(Exception):
    """As botocore names its errors."""


NoCredentialsFault.__name__ = "NoCredentialsError"


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(module.time, "sleep", slept.append)
    return slept


def failing(*errors: Exception):
    left = list(errors)

    def work() -> str:
        if left:
            raise left.pop(0)
        return "done"

    return work


def test_pauses_double_and_the_last_error_is_raised(pauses):
    assert retry(failing(OSError("a"), OSError("b")), lambda error, n: backoff_s(error, n, 3)) == "done"
    assert 0.25 <= pauses[0] <= 0.5 <= pauses[1] <= 1.0
    with pytest.raises(OSError, match="third"):
        retry(failing(OSError(), OSError(), OSError("third"), OSError()), lambda error, n: backoff_s(error, n, 3))
    assert len(pauses) == 4


@pytest.mark.parametrize(
    "error", [FileNotFoundError(), PermissionError(), ImportError(), ItemError("no"), NoCredentialsFault()]
)
def test_what_would_come_again_is_raised_at_once(pauses, error):
    with pytest.raises(type(error)):
        retry(failing(error), lambda error, n: backoff_s(error, n, 9))
    assert is_final(error) and not pauses


def test_the_caller_says_how_long_each_error_is_waited_for(pauses):
    seconds = {"busy": 7.0, "odd": 0.0}
    errors = [ValueError("busy"), ValueError("odd"), ValueError("over")]
    with pytest.raises(ValueError, match="over"):
        retry(failing(*errors), lambda error, n: seconds.get(str(error)))
    assert pauses == [7.0, 0.0]
