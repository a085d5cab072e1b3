"""The editor's routes.

In: a config, an open `EditFolder`, the model. Out: an ASGI application (`cineloop.web.app`). An address of a clip holds
a secret of this server's run, since a `<video>` cannot send a key. Whatever touches the folder runs in one thread, in
the order in which requests come.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from cineloop.web.app import application
from cineloop.web.bodies import MIB, read_json, unless_gone
from cineloop.web.faults import Fault
from cineloop.web.limits import ApiKeys, MemoryBudget, RateLimit
from cineloop.web.port import page_files
from v2t.edit.answers import AnswerRequest
from v2t.edit.desk import EditDesk
from v2t.edit.edits import check_id, read_edit
from v2t.edit.folder import Conflict
from v2t.edit.settings import MAX_NAME
from v2t.writers.html import strip_path

PAGE = Path(__file__).resolve().parent / "page"
# The elements, the fetching of requests and the look that the chat page has.
SHARED = Path(__file__).resolve().parents[1] / "serve" / "page"
_SHARED = ("api.js", "dialogs.js", "dom.js", "times.js", "style.css")
_MOST_EDITS, _MOST_SEEN, _MAX_TEMPERATURE, _MAX_PROMPT = 1_000_000, 10_000, 2.0, 20_000


def create_app(desk: EditDesk) -> Starlette:
    """The application. Raises UsageError: a malformed API key."""
    config = desk.config
    routes = [
        Route("/v1/clips", clips, methods=["GET"]),
        Route("/v1/clips/{n:int}", clip, methods=["GET"]),
        Route("/v1/changes", changes, methods=["GET"]),
        Route("/v1/edits", edits, methods=["POST"]),
        Route("/v1/undo", undo, methods=["POST"]),
        Route("/v1/seen", seen_clips, methods=["POST"]),
        Route("/v1/answers", answers, methods=["POST"]),
        Route("/media/{token}/{n:int}/{what}", media, methods=["GET"]),
    ]
    app = application(
        config,
        routes,
        {name: file for name, file in page_files(SHARED).items() if name in _SHARED} | page_files(PAGE),
        keys=ApiKeys(config.keys()),
        rate=RateLimit(config.limits.rate_per_minute),
        open_routes=("/media/{token}/{n}/{what}",),  # the token is a secret of its own
        unlimited=("/v1/changes",),
        subject="the clip",
    )
    app.state.desk = desk
    app.state.memory = MemoryBudget(config.limits.memory_mb << 20)
    return app


async def clips(request: Request) -> Response:
    """GET /v1/clips: all of them, those that need a person first."""
    return Response(await _desk(request).listing(), media_type="application/json")


async def clip(request: Request) -> Response:
    """GET /v1/clips/{n}: one, with its parts; a `.txt` that was written by hand is imported first."""
    desk = _desk(request)
    return JSONResponse(await desk.in_folder(desk.detail, _number_of(request)))


async def changes(request: Request) -> Response:
    """GET /v1/changes?since=N: clips that changed since, and the state of the run's formats."""
    since = request.query_params.get("since", "")
    if not re.fullmatch(r"\d{1,12}", since):
        raise Fault(400, "BAD_REQUEST", "expected since=N, the sequence of an earlier response", param="since")
    desk = _desk(request)
    return JSONResponse(await desk.in_folder(desk.changes, int(since)))


async def edits(request: Request) -> Response:
    """POST /v1/edits `{by?, action, edits: [{id, revision, captions?, review?, tags?}]}`: all in one step, or none: 409
    CONFLICT with the clips that changed since."""
    desk = _desk(request)
    body = await _body(request, {"by", "action", "edits"})
    given, action = body.get("edits"), body.get("action", "save")
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_EDITS:
        raise Fault(400, "BAD_REQUEST", "edits: expected a list of at least one", param="edits")
    if not isinstance(action, str) or not re.fullmatch(r"[a-z][a-z-]{0,31}", action) or action in ("undo", "redo"):
        raise Fault(400, "BAD_REQUEST", "action: expected a short word such as save", param="action")
    read = [read_edit(each, desk.numbers) for each in given]
    if len({edit.id for edit in read}) < len(read):
        raise Fault(400, "BAD_REQUEST", "edits: a clip is named twice", param="edits")
    try:
        return JSONResponse(await desk.in_folder(desk.edit, read, _by(request, body), action))
    except Conflict as conflict:
        return await _conflict(request, conflict)


async def undo(request: Request) -> Response:
    """POST /v1/undo `{by?, redo?}`: takes a person's last step back, also one of an earlier run of this server."""
    desk = _desk(request)
    body = await _body(request, {"by", "redo"})
    return JSONResponse(await desk.in_folder(desk.undo, _by(request, body), body.get("redo") is True))


async def seen_clips(request: Request) -> Response:
    """POST /v1/seen `{by?, ids}`."""
    desk = _desk(request)
    body = await _body(request, {"by", "ids"})
    given = body.get("ids")
    if not isinstance(given, list) or len(given) > _MOST_SEEN:
        raise Fault(400, "BAD_REQUEST", "ids: expected a list of clips", param="ids")
    ids = [check_id(each, desk.numbers) for each in given]
    await desk.in_folder(lambda: desk.folder.see(ids, by=_by(request, body)))
    return JSONResponse({"seen": len(ids)})


async def answers(request: Request) -> Response:
    """POST /v1/answers `{id, style, prompt?, temperature?, num?, seed?}`: the model asked again; nothing is stored."""
    desk = _desk(request)
    body = await _body(request, {"id", "style", "prompt", "temperature", "num", "seed"})
    clip_id, style, prompt = check_id(body.get("id"), desk.numbers), body.get("style"), body.get("prompt") or None
    if style not in desk.answers.styles:
        raise Fault(400, "BAD_REQUEST", f"style: expected one of {', '.join(desk.answers.styles)}", param="style")
    if prompt is not None and (not isinstance(prompt, str) or len(prompt) > _MAX_PROMPT):
        raise Fault(400, "BAD_REQUEST", f"prompt: expected text of at most {_MAX_PROMPT} characters", param="prompt")
    asked = AnswerRequest(
        style=style,
        prompt=prompt,
        temperature=_number(body, "temperature", 0.0, _MAX_TEMPERATURE),
        num=int(_number(body, "num", 1, desk.config.limits.answers)),
        seed=int(_number(body, "seed", 0, 2**31 - 1)),
    )
    return JSONResponse({"answers": await unless_gone(request.receive, desk.ask(desk.numbers[clip_id], asked))})


async def media(request: Request) -> Response:
    """GET /media/{token}/{n}/{video, frames, info or strip}."""
    desk = _desk(request)
    if not desk.is_token(request.path_params["token"]):
        raise Fault(404, "NOT_FOUND", "no such clip")
    number, what = _number_of(request), request.path_params["what"]
    if what == "strip":
        path = strip_path(desk.folder.path, desk.ids[number])
        if not path.is_file():
            raise Fault(404, "NOT_FOUND", "the run kept no frames of this clip")
        return FileResponse(path, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})
    return await unless_gone(request.receive, desk.media(number, what))


# ---- parts of requests


def _desk(request: Request) -> EditDesk:
    desk: EditDesk = request.app.state.desk
    return desk


def _number_of(request: Request) -> int:
    """The number in the path. Raises Fault NOT_FOUND."""
    number: int = request.path_params["n"]
    if number >= len(_desk(request).ids):
        raise Fault(404, "NOT_FOUND", "no clip of that number")
    return number


async def _body(request: Request, known: set[str]) -> dict[str, Any]:
    """The JSON object of a request. Raises Fault: BAD_REQUEST, UNKNOWN_FIELD, TOO_LARGE ..."""
    limit = _desk(request).config.limits.body_mb * MIB
    with request.app.state.memory.lease(request.state.owner) as lease:
        body, _ = await read_json(request.receive, request.headers, limit, lease)
    if not isinstance(body, dict):
        raise Fault(400, "BAD_REQUEST", "expected a JSON object")
    if unknown := sorted(body.keys() - known):
        shown = unknown[0][:60] if unknown[0].isprintable() else "?"
        raise Fault(400, "UNKNOWN_FIELD", f"{shown}: unknown field", param=shown)
    return body


def _by(request: Request, body: dict[str, Any]) -> str:
    """Who edits: the name that the client gives, or this machine's; with keys, also which key it was."""
    name = body.get("by") or _desk(request).config.person
    if not isinstance(name, str) or len(name) > MAX_NAME or not name.isprintable():
        raise Fault(400, "BAD_REQUEST", f"by: expected a name of at most {MAX_NAME} characters", param="by")
    return name if not _desk(request).config.keys() else f"{name} ({request.state.owner[:8]})"


def _number(body: dict[str, Any], name: str, least: float, most: float) -> float:
    value = body.get(name, least)
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise Fault(400, "BAD_REQUEST", f"{name}: expected a number from {least:g} to {most:g}", param=name)
    return value


async def _conflict(request: Request, conflict: Conflict) -> Response:
    """A refusal that shows what is there now, so that a person can choose."""
    desk = _desk(request)
    message = f"{len(conflict.ids)} clips changed since they were read; nothing was saved"
    body = Fault(409, "CONFLICT", message).body(request.state.request_id)
    rows = await desk.in_folder(desk.rows, conflict.ids[:1000])
    return JSONResponse({**body, "clips": rows}, 409)
