"""What the captioner for OpenAI-compatible servers is told, and how long it waits: no server needed."""

from __future__ import annotations

import email.utils
import time
from contextlib import suppress
from http.client import HTTPMessage

import pytest

from cineloop.errors import UsageError
from v2t.captioners import open_captioner
from v2t.captioners.patience import Gate, Patience, TryAgain, reset_s, retry_after_s

KEY = "sk-this-is-the-secret-0123456789"


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost:8000",
        "ftp://h/v1",
        "http://",
        "http://h:x/v1",
        "http://h:99999/v1",
        "http://h/ v1",
        "http://h/v1#a\nb",
    ],
)
def test_addresses_that_cannot_be_are_refused(address):
    with pytest.raises(UsageError, match="expected openai:URL"):
        open_captioner(f"openai:{address}")


@pytest.mark.parametrize("address", [f"http://me:{KEY}@h/v1", f"http://{KEY}@h", f"https://h/v1?api_key={KEY}#m"])
def test_an_address_with_a_key_is_refused_without_repeating_it(address):
    with pytest.raises(UsageError, match="environment variable") as caught:
        open_captioner(f"openai:{address}")
    assert KEY not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"frames_as": "gif"}, {"max_side": 1}, {"quality": 101}, {"concurrency": 0}, {"concurrency": 2.5},
        {"retries": -1}, {"read_s": 0}, {"total_s": "long"}, {"backoff_s": float("nan")}, {"api_key_env": KEY},
        {"batch": 3},
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError) as caught:
        open_captioner("openai:http://127.0.0.1:9", options=options)
    assert KEY not in str(caught.value)


def headers(**given: str) -> HTTPMessage:
    made = HTTPMessage()
    for name, value in given.items():
        made[name.replace("_", "-")] = value
    return made


def test_servers_say_how_long_to_wait():
    assert retry_after_s(headers(Retry_After="7")) == 7 and retry_after_s(headers(retry_after_ms="250")) == 0.25
    soon = email.utils.format_datetime(email.utils.localtime().astimezone(), usegmt=False)
    assert retry_after_s(headers(Retry_After=soon)) == 0
    later = email.utils.formatdate(time.time() + 30, usegmt=True)
    assert 28 < retry_after_s(headers(Retry_After=later)) <= 30
    for odd in ("", "soon", "-3", "nan", "99 Foo"):
        assert retry_after_s(headers(Retry_After=odd)) is None
    spent = {"x_ratelimit_remaining_requests": "0", "x_ratelimit_remaining_tokens": "5"}
    assert reset_s(headers(**spent, x_ratelimit_reset_requests="1m2.5s", x_ratelimit_reset_tokens="9h")) == 62.5
    assert reset_s(headers(**spent, x_ratelimit_reset_requests="3")) == 3
    assert reset_s(headers(x_ratelimit_remaining_requests="9", x_ratelimit_reset_requests="1m")) is None
    for odd in ("", "soon", "1x", "1..2s"):
        with suppress(ValueError):
            assert reset_s(headers(**spent, x_ratelimit_reset_requests=odd)) is None, odd


def test_waits_grow_with_full_jitter_and_have_an_end():
    patience = Patience(backoff_s=2.0)
    for tries, most in ((1, 2), (2, 4), (4, 16), (9, 30), (5000, 30)):
        waits = [patience.jitter_s(tries) for _ in range(400)]
        assert 0 <= min(waits) < 0.1 * most and 0.9 * most < max(waits) <= most


def test_the_gate_narrows_once_for_a_burst_and_widens_again():
    gate = Gate(16)
    for _ in range(16):
        gate.pause(0.05, narrow=True)
    assert gate._limit == 8
    with pytest.raises(TryAgain), gate.turn(time.monotonic() + 0.02):
        pass
    with gate.turn(time.monotonic() + 5):
        for _ in range(400):
            gate.widen()
    assert gate._limit == 16
