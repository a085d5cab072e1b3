"""The gateway's routes.

In: a config, what is served, the engine and the media. Out: an ASGI application (`cineloop.web.app`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from cineloop.errors import Notice
from cineloop.web.app import application
from cineloop.web.bodies import MIB, read_json, unless_gone
from cineloop.web.faults import Fault
from cineloop.web.port import page_files
from v2t.backends.payload import encode, frame_settings
from v2t.serve import chat, files
from v2t.serve.engines import RelayEngine, ServeEngine
from v2t.serve.films import Films
from v2t.serve.gateway import Completions, Gateway
from v2t.serve.relay import Relay
from v2t.serve.served import ServedModel
from v2t.serve.settings import ServeConfig
from v2t.serve.substitution import RESPONSES

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from v2t.serve.media import Media

PAGE = Path(__file__).resolve().parent / "page"
_LONG_FILM = Notice(
    "LONG_FILM",
    "longer than the model sees at once: a question has all of it watched first, and is answered from notes",
)
# Of the entries of another server; others hold paths and command lines.
_CARD_FIELDS = ("id", "object", "created", "owned_by", "name", "parent", "max_model_len", "context_length")
_PREVIEW_SIDE, _PREVIEW_QUALITY = 512, 85


def create_app(config: ServeConfig, served: ServedModel, engine: ServeEngine, media: Media) -> Starlette:
    """The application; `app.state.gateway` is its `Gateway`, `app.state.films` what watches long films for another
    server, to be closed, or None. Raises UsageError: a malformed API key."""
    gateway = Gateway(config=config, served=served, engine=engine, media=media)
    completions: Any = Completions(gateway)
    answered: Any = responses
    films = None
    if engine.relays:
        relayed, films = cast(RelayEngine, engine), Films(config, media)
        completions, answered = Relay(gateway, relayed, films), Relay(gateway, relayed, films, RESPONSES)
    routes = [
        Route("/health", health, methods=["GET"]),
        Route("/live", live, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/v1/models", models, methods=["GET"]),
        Route("/v1/models/{id:path}", model, methods=["GET"]),
        Route("/v1/chat/completions", completions, methods=["POST"]),
        Route("/v1/responses", answered, methods=["POST"]),
        Route("/v1/frames", frames, methods=["POST"]),
        Route("/v1/files", files.upload, methods=["POST"]),
        Route("/v1/files", files.listing, methods=["GET"]),
        Route("/v1/files/{id}", files.one, methods=["GET"]),
        Route("/v1/files/{id}", files.delete, methods=["DELETE"]),
        Route("/v1/files/{id}/content", files.content, methods=["GET"]),
    ]
    app = application(
        config,
        routes,
        page_files(PAGE) if config.page else {},
        keys=gateway.keys,
        rate=gateway.rate,
        open_routes=("/health", "/live"),
        unlimited=("/metrics",),
        observe=gateway.metrics.observe,
    )
    app.state.gateway, app.state.films = gateway, films
    return app


async def health(request: Request) -> Response:
    """GET /health: whether requests are answered now; `stalled_queues` names queues that do not move."""
    gateway: Gateway = request.app.state.gateway
    stalled = gateway.stalled_queues()
    is_ready = gateway.engine.state == "ready" and not stalled
    status = "ok" if is_ready else "unavailable"
    body = {"status": status, "engine": gateway.engine.state, **({"stalled": stalled} if stalled else {})}
    return JSONResponse(body, 200 if is_ready else 503)


async def live(request: Request) -> Response:
    """GET /live: the gateway runs."""
    return JSONResponse({"status": "ok"})


async def metrics(request: Request) -> Response:
    """GET /metrics."""
    return Response(request.app.state.gateway.metrics.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def models(request: Request) -> Response:
    """GET /v1/models: the base and its adapters, or the models of the server behind."""
    return JSONResponse({"object": "list", "data": await _cards(request.app.state.gateway)})


async def model(request: Request) -> Response:
    """GET /v1/models/{id}."""
    gateway: Gateway = request.app.state.gateway
    name, cards = request.path_params["id"], await _cards(gateway)
    if not gateway.engine.relays:
        name = chat.model_of(name, gateway.served)
    card = next((card for card in cards if card["id"] == name), None)
    if card is None:
        raise Fault(404, "UNKNOWN_MODEL", "unknown model; /v1/models lists those of the server behind", param="model")
    return JSONResponse(card)


async def _cards(gateway: Gateway) -> list[dict[str, Any]]:
    """The entries of `/v1/models`."""
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
        "key_needed": not gateway.keys.is_open,
    }
    if gateway.engine.relays:
        listed = await cast(RelayEngine, gateway.engine).models()
        default = {"object": "model", "created": gateway.created, "owned_by": "upstream"}
        known = ({name: card[name] for name in _CARD_FIELDS if name in card} for card in listed)
        return [{**default, **card, "cineloop": about} for card in known]
    if served.is_ours:
        about["frames"] = frame_settings(served.spec, served.frame_size)
    card = {"object": "model", "created": gateway.created, "owned_by": "cineloop", "cineloop": about}
    cards: list[dict[str, Any]] = [{"id": served.name, **card}]
    return cards + [{"id": name, "parent": served.name, **card} for name in served.adapters]


async def responses(request: Request) -> Response:
    """POST /v1/responses: not served; the refusal names the route to use."""
    raise Fault(501, "UNSUPPORTED", "this server has no Responses API; send the messages to /v1/chat/completions")


async def frames(request: Request) -> Response:
    """POST /v1/frames: the frames that the model gets of a video."""
    gateway: Gateway = request.app.state.gateway
    owner, limits = request.state.owner, gateway.config.limits
    with gateway.memory.lease(owner) as lease:
        body = (await read_json(request.receive, request.headers, limits.body_mb * MIB, lease))[0]
        name, video = chat.video_of(body)
        if not gateway.engine.relays:
            chat.model_of(name, gateway.served)

        async def work() -> dict[str, Any]:
            seen, jpegs = await gateway.preview(video, owner, _jpegs)
            about = gateway.describe(seen)
            if gateway.engine.relays and seen.duration_s > gateway.config.upstream.window_s:
                about["warnings"].append(_LONG_FILM.record())
            shown = [
                {"time_s": time_s, "jpeg": f"data:image/jpeg;base64,{jpeg}"}
                for time_s, jpeg in zip(about.pop("times_s"), jpegs, strict=True)
            ]
            return {"frames": shown, "fps": round(float(seen.fps), 4), **about}

        return JSONResponse(await unless_gone(request.receive, work()))


def _jpegs(frames: Frames) -> list[str]:
    return encode(frames.pixels, _PREVIEW_SIDE, _PREVIEW_QUALITY)
