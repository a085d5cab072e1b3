"""The error that a call ends in, for tests that look at its code; what errors say in words stands once a room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cineloop.errors import CineloopError


def refusal(call: Callable[..., Any], *args: Any, **more: Any) -> CineloopError:
    """The error of `call(*args, **more)`, which must end in one of ours."""
    with pytest.raises(CineloopError) as caught:
        call(*args, **more)
    return caught.value


def refusal_code(call: Callable[..., Any], *args: Any, **more: Any) -> tuple[int, str]:
    """Exit code and code of the error of `call(*args, **more)`."""
    error = refusal(call, *args, **more)
    return error.exit_code, error.code
