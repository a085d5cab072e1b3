"""Errors with a stable code, an exit code, and a hint; and warnings with a stable code.

In: nothing. Out: the exception classes every room raises and every command turns into an exit code; `Notice`, a warning
about a clip, an answer or a prompt that was made all the same.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

# Exit codes, the same for every command (design: contracts).
EXIT_OK = 0
EXIT_UNEXPECTED = 1
EXIT_USAGE = 2
EXIT_FAILED_ITEMS = 3
EXIT_NOTHING_MATCHED = 4
EXIT_ENVIRONMENT = 5
EXIT_GATE_FAILED = 6
EXIT_POLICY = 7
EXIT_INCONCLUSIVE = 8
EXIT_NOT_COMPARABLE = 9
EXIT_INTERRUPTED = 130


class CineloopError(Exception):
    """An error a user can act on.

    Args:
        message: what was expected, what came, and where.
        code: stable upper-case identifier a program may match on.
        hint: what to do about it; may be empty.
    """

    exit_code = EXIT_UNEXPECTED
    default_code = "UNEXPECTED"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders; keyword-only arguments need to be named to survive pickling there.
        return (_rebuild, (type(self), self.message, self.code, self.hint))

    def record(self) -> dict[str, str]:
        """The error as the `error` field of a caption record."""
        return {"code": self.code, "message": self.message, "hint": self.hint}


@dataclass(frozen=True)
class Notice:
    """A warning as data: what a reader of a result must know of it.

    Attributes:
        code: stable upper-case identifier a program may match on.
        message: one plain sentence.
    """

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def record(self) -> dict[str, str]:
        """The warning as an element of the `warnings` of a record."""
        return asdict(self)

    @classmethod
    def read(cls, value: Any) -> Notice:
        """The warning in what `record` gave. A text, as older folders have it, has the code WARNING.

        Raises:
            ValueError: neither.
        """
        if isinstance(value, str):
            return cls("WARNING", value)
        if isinstance(value, dict) and isinstance(value.get("code"), str) and isinstance(value.get("message"), str):
            return cls(value["code"], value["message"])
        raise ValueError(f"a warning is an object with a code and a message, got {value!r:.200}")


def _rebuild(cls: type[CineloopError], message: str, code: str, hint: str) -> CineloopError:
    return cls(message, code=code, hint=hint)


class UsageError(CineloopError):
    """A wrong argument or configuration value (exit 2)."""

    exit_code = EXIT_USAGE
    default_code = "USAGE"


class NothingMatchedError(CineloopError):
    """No input matched what was asked for (exit 4)."""

    exit_code = EXIT_NOTHING_MATCHED
    default_code = "NOTHING_MATCHED"


class MissingDependencyError(CineloopError):
    """Something of the environment is absent: a package, a model, Java, a GPU, disk space (exit 5)."""

    exit_code = EXIT_ENVIRONMENT
    default_code = "ENVIRONMENT"


class PolicyError(CineloopError):
    """Refused by policy: a path, URL or size that is not allowed (exit 7)."""

    exit_code = EXIT_POLICY
    default_code = "POLICY"


class ItemError(CineloopError):
    """One item of a batch failed; the batch goes on and the run ends with exit 3.

    `code` is one of the stable item codes: NOT_FOUND, NOT_A_FILE, UNREADABLE, EMPTY_FILE, NOT_MEDIA, NO_INDEX,
    NO_VIDEO_STREAM, NO_FRAMES, TRUNCATED, CHANGED, CODEC_UNAVAILABLE, DECODE_ERROR, DECODE_TIMEOUT, DECODER_CRASH,
    ENCODE_ERROR, TOO_LARGE, TOO_LONG, OUT_OF_MEMORY, DISK_FULL, MODEL_ERROR, FETCH_FAILED; of answers: BAD_CAPTION,
    PROMPT_TOO_LONG, PROMPT_REFUSED, REFUSED, BAD_REQUEST, SERVER_ERROR.
    """

    exit_code = EXIT_FAILED_ITEMS
    default_code = "DECODE_ERROR"


def first_line(error: BaseException) -> str:
    """The first line of an error that says something, or its class: of a library's errors, whose rest is for its
    developers."""
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]


def did_you_mean(word: str, known: Iterable[str], *, show: Callable[[str], str] = repr, cutoff: float = 0.6) -> str:
    """`did you mean 'sharpness'?`: the known word nearest to one that is not known, as `show` writes it; "" where none
    is near (`cutoff` as of `difflib.get_close_matches`)."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f"did you mean {show(near[0])}?" if near else ""
