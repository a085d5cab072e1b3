"""The gateway's routes, and all it holds.

In: a config, what is served, the engine and the media. Out: an ASGI application; what is not listed here is 404. The
rules that hold for every request are in `v2t.serve.gateway.door`.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from cineloop.errors import CineloopError
from v2t.backends.cards import wishes
from v2t.backends.payload import encode
from v2t.serve.engine import Engine
from v2t.serve.faults import Fault, fault_of
from v2t.serve.gateway import chat, files
from v2t.serve.gateway.access import Memory, Owners, Places, Rate
from v2t.serve.gateway.answers import Answers, error_event
from v2t.serve.gateway.bodies import MIB, Receive, read_json, unless_gone
from v2t.serve.gateway.door import Door, Send
from v2t.serve.gateway.metrics import MEDIA_TYPE, Metrics
from v2t.serve.served import Served
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from v2t.serve.media import Media

PAGE = Path(__file__).resolve().parents[1] / "page"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".webmanifest": "application/manifest+json",
}
_INDEX = "index.html"
_PREVIEW_SIDE, _PREVIEW_QUALITY = 512, 85


@dataclass(kw_only=True)
class Gateway:
    """What the routes work with, one for the life of the server.

    Attributes:
        is_draining: no more work is taken on.
        created: when it began, seconds since 1970.
    """

    config: ServeConfig
    served: Served
    engine: Engine
    media: Media
    created: int = 0
    is_draining: bool = False
    metrics: Metrics = field(default_factory=Metrics)

    def __post_init__(self) -> None:
        limits = self.config.limits
        self.owners = Owners(self.config.keys())
        self.rate = Rate(limits.rate_per_minute)
        num = self.owners.num
        self.places = Places(limits.in_flight, limits.in_flight_per_owner, num, limits.answer_s)
        self.memory = Memory(limits.memory_mb * MIB, num, self.media.memory)
        self.answers = Answers(self.config, self.served, self.engine, self.media, self.places, self.metrics)
        self.page = _page(PAGE) if self.config.page else {}
        watch = self.metrics.watch
        watch("v2t_in_flight", "Requests being worked on", lambda: self.places.taken)
        watch("v2t_waiting", "Requests that wait for a place", lambda: self.places.waiting)
        watch("v2t_uploads_bytes", "Bytes of all uploads", lambda: self.media.uploads.held_bytes)
        watch("v2t_engine_up", "Whether the engine answers", lambda: self.engine.state == "ready")
        about = "How often the engine was started again"
        self.metrics.watch_count("v2t_engine_restarts_total", about, lambda: self.engine.restarts)


def create_app(config: ServeConfig, served: Served, engine: Engine, media: Media, *, created: int = 0) -> FastAPI:
    """The application; `app.state.gateway` is its `Gateway`.

    Raises:
        UsageError: a client's key that is none.
    """
    gateway = Gateway(config=config, served=served, engine=engine, media=media, created=created)
    routes: list[BaseRoute] = [
        Route("/health", health, methods=["GET"]),
        Route("/live", live, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{id:path}", model, methods=["GET"]),
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/frames", frames, methods=["POST"]),
        Route("/v1/files", files.upload, methods=["POST"]),
        Route("/v1/files", files.listing, methods=["GET"]),
        Route("/v1/files/{id}", files.one, methods=["GET"]),
        Route("/v1/files/{id}", files.delete, methods=["DELETE"]),
        Route("/v1/files/{id}/content", files.content, methods=["GET"]),
    ]
    if config.page:
        routes += [Route("/", page, methods=["GET"]), Route("/page/{file}", page, methods=["GET"])]
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False, routes=routes)
    app.add_exception_handler(HTTPException, _no_route)
    app.add_exception_handler(CineloopError, _room_error)
    app.state.gateway = gateway
    app.add_middleware(
        Door,
        config=config,
        owners=gateway.owners,
        rate=gateway.rate,
        metrics=gateway.metrics,
        is_draining=lambda: gateway.is_draining,
    )
    return app


async def health(request: Request) -> Response:
    """GET /health: whether questions are answered now."""
    gateway: Gateway = request.app.state.gateway
    is_well = gateway.engine.state == "ready" and not gateway.is_draining
    status = "ok" if is_well else "draining" if gateway.is_draining else "unavailable"
    return JSONResponse({"status": status, "engine": gateway.engine.state}, 200 if is_well else 503)


async def live(request: Request) -> Response:
    """GET /live: the gateway runs."""
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """GET /metrics."""
    return Response(request.app.state.gateway.metrics.text(), media_type=MEDIA_TYPE)


async def models(request: Request) -> Response:
    """GET /v1/models: the base, and the adapters beside it."""
    return JSONResponse({"object": "list", "data": _cards(request.app.state.gateway)})


async def model(request: Request) -> Response:
    """GET /v1/models/{id}."""
    gateway: Gateway = request.app.state.gateway
    name = chat.model_of(request.path_params["id"], gateway.served)
    return JSONResponse(next(card for card in _cards(gateway) if card["id"] == name))


def _cards(gateway: Gateway) -> list[dict[str, Any]]:
    """What `/v1/models` says of each served model."""
    served, limits = gateway.served, gateway.config.limits
    about: dict[str, Any] = {
        "about": served.about,
        "abilities": served.abilities.to_dict(),
        "segment_frames": served.segment_frames,
        "tokens_per_segment": served.tokens_per_segment,
        "limits": {
            "upload_mb": limits.upload_mb,
            "duration_s": limits.duration_s,
            "videos": limits.videos,
            "max_tokens": limits.max_tokens,
        },
        "key_needed": not gateway.owners.is_open,
    }
    if served.is_ours:
        about["frames"] = wishes(served.spec, served.frame_size)
    card = {"object": "model", "created": gateway.created, "owned_by": "cineloop", "cineloop": about}
    cards: list[dict[str, Any]] = [{"id": served.name, **card}]
    return cards + [{"id": name, "parent": served.name, **card} for name in served.adapters]


async def completions(request: Request) -> Response:
    """POST /v1/chat/completions."""
    return _Answer(request)


async def frames(request: Request) -> Response:
    """POST /v1/frames: what the model would be sent of a video."""
    gateway: Gateway = request.app.state.gateway
    owner, limits = request.state.owner, gateway.config.limits
    with gateway.memory.holding(owner) as holding:
        body = await read_json(request.receive, request.headers, limits.body_mb * MIB, holding)
        name, video = chat.video_of(body)
        chat.model_of(name, gateway.served)

        async def work() -> dict[str, Any]:
            async with gateway.places.place(owner):
                seen = await gateway.answers.frames(video, owner, limits.frames)
                jpegs = await asyncio.to_thread(encode, seen.pixels, _PREVIEW_SIDE, _PREVIEW_QUALITY)
            word = gateway.answers.word_on(seen)
            shown = [
                {"time_s": time_s, "jpeg": f"data:image/jpeg;base64,{jpeg}"}
                for time_s, jpeg in zip(word.pop("times_s"), jpegs, strict=True)
            ]
            return {"frames": shown, "fps": round(float(seen.fps), 4), **word}

        return JSONResponse(await unless_gone(request.receive, work()))


async def page(request: Request) -> Response:
    """GET / and /page/{file}."""
    name = request.path_params.get("file", _INDEX)
    try:
        data, kind = request.app.state.gateway.page[name]
    except KeyError:
        raise HTTPException(404) from None
    return Response(data, headers={"content-type": kind, "cache-control": "no-cache"})


class _Answer(Response):
    """The answer to a chat request; it is worked on as it is sent, so that whoever leaves stops the work."""

    def __init__(self, request: Request) -> None:
        self._request, self._gateway = request, request.app.state.gateway
        self.background = None

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # type: ignore[override]
        gateway, owner = self._gateway, self._request.state.owner
        limits = gateway.config.limits
        with gateway.memory.holding(owner) as holding:
            body = await read_json(receive, self._request.headers, limits.body_mb * MIB, holding)
            asked = chat.read(body, gateway.served, limits)
            del body
            if asked.stream:
                await self._in_pieces(asked, owner, holding, receive, send)
                return
            answer = await unless_gone(receive, gateway.answers.whole(asked, owner, holding))
        await JSONResponse(answer)(scope, receive, send)  # type: ignore[arg-type]

    async def _in_pieces(self, asked: chat.Asked, owner: str, holding: Any, receive: Receive, send: Send) -> None:
        is_begun = False

        async def emit(data: bytes) -> None:
            nonlocal is_begun
            if not is_begun:
                headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]
                await send({"type": "http.response.start", "status": 200, "headers": headers})
                is_begun = True
            await send({"type": "http.response.body", "body": data, "more_body": True})

        try:
            await unless_gone(receive, self._gateway.answers.stream(asked, owner, holding, emit))
        except Fault as fault:
            if not is_begun:
                raise
            await emit(error_event(fault))
        await send({"type": "http.response.body", "body": b""})


async def _no_route(request: Request, error: Exception) -> Response:
    """What the router refuses, as all refusals are told."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        raise Fault(405, "METHOD_NOT_ALLOWED", "this route is asked in another way")
    raise Fault(404, "NOT_FOUND", "there is nothing here")


async def _room_error(request: Request, error: Exception) -> Response:
    """An error of a room that nobody between made a fault of."""
    raise fault_of(error) if isinstance(error, CineloopError) else error


def _page(folder: Path) -> dict[str, tuple[bytes, str]]:
    """By name (content, media type) of the page's files; nothing else is ever served by name."""
    return {
        path.name: (path.read_bytes(), _MEDIA_TYPES[path.suffix])
        for path in sorted(folder.iterdir())
        if path.suffix in _MEDIA_TYPES and path.is_file() and not path.is_symlink()
    }
