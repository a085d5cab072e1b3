"""The application of a server: its routes and the files of its page behind the guard.

In: routes, the config of the port, keys and rate. Out: an ASGI application; what is not listed is 404. The rules for
every request are in `cineloop.web.guard`. A request is counted and logged under the route that it matches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cineloop.errors import CineloopError
from cineloop.web.faults import fault_of
from cineloop.web.guard import GuardMiddleware
from cineloop.web.limits import ApiKeys, RateLimit
from cineloop.web.port import OpenPort, PageFiles, no_route, page

_PAGE_ROUTES = ("/", "/page/{file}")


def application(
    config: OpenPort,
    routes: Sequence[Route],
    files: PageFiles,
    *,
    keys: ApiKeys,
    rate: RateLimit,
    open_routes: Collection[str] = (),
    unlimited: Collection[str] = (),
    observe: Callable[[str, int, float], None] = lambda *_: None,
    subject: str = "the video",
) -> Starlette:
    """The application; `app.state.page` holds `files`.

    Args:
        config: with host and hosts.
        files: of the page, whose routes are added and need no key; none: there is no page.
        open_routes, unlimited, observe: see `GuardMiddleware`; routes as `route_of` names them.
        subject: what an error of the library calls the file in its message, in place of the path.
    """
    listed = list(routes)
    if files:
        listed += [Route(path, page, methods=["GET"]) for path in _PAGE_ROUTES]

    async def library_error(request: Request, error: Exception) -> Response:
        """An error that was not converted to a fault, as clients may see it."""
        raise fault_of(error, name=subject) if isinstance(error, CineloopError) else error

    app = Starlette(routes=listed, exception_handlers={HTTPException: no_route, CineloopError: library_error})
    app.router.redirect_slashes = False
    app.state.page = files
    app.add_middleware(
        GuardMiddleware,
        keys=keys,
        rate=rate,
        hosts=(config.host, *config.hosts),
        any_address=not config.is_loopback,
        route_of=partial(route_of, listed),
        open_routes=(*_PAGE_ROUTES, *open_routes),
        unlimited=unlimited,
        observe=observe,
    )
    return app


def route_of(routes: Sequence[Route], path: str) -> str:
    """The route of a path for metrics and logs, "/v1/files/{id}": never a client's text; "other" where none is."""
    return next((route.path_format for route in routes if route.path_regex.match(path)), "other")
