"""Settings of `v2t edit`.

In: values from flags, YAML or a caller. Out: a checked `EditConfig`.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path

from cineloop.errors import UsageError
from cineloop.options import option, setting
from cineloop.video.limits import Limits
from cineloop.web.port import OpenLimits, OpenPort

MAX_NAME = 64


@dataclass(frozen=True, kw_only=True)
class EditLimits(OpenLimits):
    """Limits on clients and previews."""

    body_mb: int = setting(64, "a request's body, MiB")
    memory_mb: int = setting(256, "bodies being read together, MiB")
    in_flight: int = setting(32, "concurrent requests")
    rate_per_minute: int = setting(6000, "requests of one key; those for clips are not counted")
    preview_frames: int = setting(120, "frames shown of a clip that the browser cannot play")
    preview_side: int = setting(640, "longest side of such a frame, pixels")
    preview_mb: int = setting(128, "memory for such frames of clips shown before, MiB")
    answers: int = setting(8, "answers of the model to one request")
    drain_s: float = setting(10.0, "seconds that requests in flight get when the server is stopped")


@dataclass(frozen=True, kw_only=True)
class EditConfig(OpenPort):
    """All settings of an editor.

    Raises:
        UsageError: a value out of its range. PolicyError: a host that is not loopback, without a key.
    """

    doubts: Path | None = option(
        None, "clips that `v2t-eval mine` doubts: its folder, or mined.jsonl; they come first", metavar="MINED"
    )
    clips: Path | None = option(None, "folder of the videos, where it has moved since the run", metavar="DIR")
    by: str = option("", "name that edits are journalled under (default: the login name)", metavar="NAME")
    model: str | None = option(None, "model to ask again (default: that of the run)")
    device: str = option("auto", "auto (default), cpu, cuda, cuda:1")
    host: str = option("127.0.0.1", "address to listen on; all but loopback need a key")
    port: int = option(8010, "port; 0 picks a free one")
    key_env: str = option("V2T_SERVE_KEY", "environment variable with the clients' keys", metavar="VAR")
    hosts: tuple[str, ...] = setting((), "names, besides the loopback's, by which browsers may reach it (HTTP Host)")
    decode: Limits = setting(Limits(), "limits on decoding one clip")
    limits: EditLimits = setting(EditLimits(), "limits on clients")

    def __post_init__(self) -> None:
        self.check_port()
        if len(self.by) > MAX_NAME or not self.by.isprintable():
            raise UsageError(f"by must be a name of at most {MAX_NAME} printable characters, got {self.by[:80]!r}")

    @property
    def person(self) -> str:
        """Name of who edits where the page gives none."""
        try:
            return self.by or getpass.getuser()
        except (KeyError, OSError):  # a user number without a name
            return "unknown"
