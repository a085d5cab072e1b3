"""The port of a server: who may connect, the socket, the HTTP server on it, the files of its page.

In: a config with `host`, `port` and `key_env`, an ASGI application, a folder of page files. Out: a listening socket, a
`uvicorn.Server`, the routes of the page. Only loopback is open without a key.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.errors import MissingDependencyError, PolicyError, UsageError

if TYPE_CHECKING:
    import uvicorn

_LEAST_KEY = 16  # characters
_KEEP_ALIVE_S = 30.0
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
PageFiles = dict[str, tuple[bytes, str]]  # by name: content, media type


class OpenPort:
    """Base of a server's config: host, port, keys, and the names by which it may be reached."""

    host: str
    port: int
    key_env: str
    hosts: tuple[str, ...]

    def check_port(self) -> None:
        """Raise UsageError for a port or a name of a variable that cannot be; PolicyError for a host that is not
        loopback, without a key."""
        if not 0 <= self.port <= 65535:
            raise UsageError(f"port must be from 0 to 65535, got {self.port}")
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", self.key_env):
            raise UsageError("key_env must be the NAME of an environment variable, in capitals, never a key itself")
        if not self.is_loopback and not self.keys():
            raise PolicyError(
                f"host {self.host} is reachable from other machines, so clients need a key",
                hint=f"put one of at least {_LEAST_KEY} characters into the environment variable {self.key_env}",
            )

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def keys(self) -> tuple[str, ...]:
        """The clients' keys; read from the environment each time and never stored. Raises UsageError: a key is too
        short, or has characters that no header can contain."""
        keys = tuple(filter(None, re.split(r"[\s,]+", os.environ.get(self.key_env, ""))))
        for key in keys:
            if len(key) < _LEAST_KEY or not key.isascii() or not key.isprintable():
                raise UsageError(f"{self.key_env}: expected keys of at least {_LEAST_KEY} ASCII characters")
        return keys


class OpenLimits:
    """Base of a server's limits: numbers above 0. Raises UsageError: another one."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not value > 0:
                raise UsageError(f"limits.{name} must be above 0, got {value!r}")


def check_packages() -> None:
    """Raise MissingDependencyError where a package of the extra `serve` is missing."""
    try:
        import httpx  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(f"serving needs {error.name}", hint="pip install 'cineloop[serve]'") from error


@contextmanager
def listening(config: OpenPort) -> Iterator[socket.socket]:
    """The socket clients connect to. Raises MissingDependencyError PORT: the address is in use or invalid."""
    try:
        addresses = socket.getaddrinfo(config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = addresses[0]
        port = socket.create_server(address, family=family, backlog=1024)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while")[0]  # without the address, which `socket` adds
        raise MissingDependencyError(
            f"cannot listen at {config.host} port {config.port}: {why}",
            code="PORT",
            hint="choose another --port; --port 0 takes a free one",
        ) from error
    with port:
        yield port


def url_of(config: OpenPort, port: socket.socket) -> str:
    """The address for a browser."""
    host = f"[{config.host.strip('[]')}]" if ":" in config.host else config.host
    return f"http://{host}:{port.getsockname()[1]}"


def server_of(app: Any, *, in_flight: int, drain_s: float) -> uvicorn.Server:
    """The HTTP server of an application; it handles no signals and writes no log.

    Args:
        in_flight: requests at once that connections are allowed for.
        drain_s: seconds that requests in flight get to end once it is stopped.
    """
    import uvicorn

    from cineloop.web.connection import MAX_HEAD, protocol

    class Server(uvicorn.Server):
        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Nothing: the caller handles signals."""
            yield

    logging.getLogger("uvicorn").propagate = False
    logging.getLogger("uvicorn").addHandler(logging.NullHandler())
    return Server(
        uvicorn.Config(
            app,
            http=protocol(in_flight),
            ws="none",
            lifespan="off",
            loop="asyncio",
            h11_max_incomplete_event_size=MAX_HEAD,
            timeout_keep_alive=int(_KEEP_ALIVE_S),
            timeout_graceful_shutdown=math.ceil(drain_s),
            proxy_headers=False,
            server_header=False,
            log_config=None,
            access_log=False,
        )
    )


def page_files(folder: Path) -> PageFiles:
    """The files of a page; nothing else is ever served by name."""
    return {
        path.name: (path.read_bytes(), _MEDIA_TYPES[path.suffix])
        for path in sorted(folder.iterdir())
        if path.suffix in _MEDIA_TYPES and path.is_file() and not path.is_symlink()
    }


async def page(request: Any) -> Any:
    """GET / and /page/{file}: of `app.state.page`, `PageFiles`."""
    from starlette.exceptions import HTTPException
    from starlette.responses import Response

    name = request.path_params.get("file", "index.html")
    try:
        data, kind = request.app.state.page[name]
    except KeyError:
        raise HTTPException(404) from None
    return Response(data, headers={"content-type": kind, "cache-control": "no-cache"})


async def no_route(request: Any, error: Exception) -> Any:
    """Handler of an unknown route or method: a refusal in the form of all."""
    from cineloop.web.faults import Fault

    if getattr(error, "status_code", 404) == 405:
        raise Fault(405, "METHOD_NOT_ALLOWED", "method not allowed on this route")
    raise Fault(404, "NOT_FOUND", "no such route")
