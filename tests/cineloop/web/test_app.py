"""The route that a request is counted under is the one that answers it."""

from __future__ import annotations

import pytest
from starlette.routing import Route

from cineloop.web.app import route_of


async def nothing(request): ...


ROUTES = [
    Route(path, nothing)
    for path in (
        "/",
        "/live",
        "/v1/files/{id}",
        "/v1/files/{id}/content",
        "/v1/models/{id:path}",
        "/media/{token}/{n:int}",
    )
]


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("/live", "/live"),
        ("/v1/files/file-1", "/v1/files/{id}"),
        ("/v1/files/file-1/content", "/v1/files/{id}/content"),
        ("/v1/models/a/b", "/v1/models/{id}"),
        ("/media/secret/7", "/media/{token}/{n}"),
        ("/media/secret/x", "other"),
        ("/live/", "other"),
        ("/xlive", "other"),
        ("", "other"),
    ],
)
def test_a_path_is_named_by_its_route(path, route):
    assert route_of(ROUTES, path) == route
