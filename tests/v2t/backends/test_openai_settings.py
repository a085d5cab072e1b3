"""What the captioner for OpenAI-compatible servers is told, and how long it waits: no server needed."""

from __future__ import annotations

import pytest

from cineloop.errors import UsageError
from v2t.backends import open_backend

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
        open_backend(f"openai:{address}")


@pytest.mark.parametrize("address", [f"http://me:{KEY}@h/v1", f"http://{KEY}@h", f"https://h/v1?api_key={KEY}#m"])
def test_an_address_with_a_key_is_refused_without_repeating_it(address):
    with pytest.raises(UsageError, match="environment variable") as caught:
        open_backend(f"openai:{address}")
    assert KEY not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"frames_as": "gif"}, {"max_side": 1}, {"quality": 101}, {"concurrency": 0}, {"concurrency": 2.5},
        {"retries": -1}, {"read_s": 0}, {"total_s": "long"}, {"connect_s": float("nan")}, {"api_key_env": KEY},
        {"batch": 3},
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(UsageError) as caught:
        open_backend("openai:http://127.0.0.1:9", options=options)
    assert KEY not in str(caught.value)
