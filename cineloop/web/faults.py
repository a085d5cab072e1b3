"""Errors as clients see them, in OpenAI's form: a status, a stable code, a message, and nothing internal.

In: what went wrong. Out: `Fault`, which `guard` turns into `{"error": {...}}` with the request's id.
"""

from __future__ import annotations

import re
from typing import Any

from cineloop.errors import CineloopError, ItemError, PolicyError, UsageError

# A path as our errors write it, by repr() in either kind of quotes; else whatever begins like an absolute path.
_QUOTED = r"""(?<!\w)(?:'(?:[^'\\]|\\.)*[/\\](?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*[/\\](?:[^"\\]|\\.)*")"""
_PATH = re.compile(rf"{_QUOTED}|(?<![\w/.:])/[^\s'\"]+?(?=[,;:]?(?:\s|$))")
_STATUS_OF_ITEM = {"TOO_LARGE": 413, "TOO_LONG": 413, "OUT_OF_MEMORY": 413, "NOT_FOUND": 404, "SERVER_ERROR": 502}


class Fault(Exception):
    """A request that is refused or cannot be answered.

    Args:
        status: the HTTP status, 400 to 599.
        code: stable upper-case identifier, such as URL_FORBIDDEN, TOO_LARGE, ENGINE_DOWN.
        message: for the client: what was expected, what was given, what to do. No paths, no stack.
        param: the field at fault, such as "messages[0].content[1].video_url.url".
        retry_after_s: when a retry makes sense; None where it does not.
    """

    def __init__(
        self, status: int, code: str, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.param, self.retry_after_s = param, retry_after_s

    def body(self, request_id: str) -> dict[str, Any]:
        """The error as OpenAI's clients read it."""
        kind = "server_error" if self.status >= 500 else "invalid_request_error"
        kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(self.status, kind)
        named = {"message": self.message, "type": kind, "code": self.code, "param": self.param}
        return {"error": {**named, "request_id": request_id}}


def fault_of(error: CineloopError, *, param: str | None = None, name: str = "the video") -> Fault:
    """An error as the client may see it: its code and words, every path of a file in it replaced by `name`, what the
    client calls the video. `param` is the field that names the video."""
    if isinstance(error, PolicyError):
        return Fault(403, error.code, error.message, param=param)
    if isinstance(error, UsageError):
        return Fault(400, error.code, error.message, param=param)
    if isinstance(error, ItemError):
        message = _PATH.sub(lambda _: name, error.message)
        return Fault(_STATUS_OF_ITEM.get(error.code, 422), error.code, message, param=param)
    return Fault(503, error.code, "the server is missing something it needs; its log says what")
