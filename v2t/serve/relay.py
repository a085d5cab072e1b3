"""Requests before a server that takes pictures: chat completions and Responses with `--engine openai:URL`.

In: a request of any client. Out: that server's response. A request without a video is passed on as it came, byte for
byte, unknown fields included, and so is the response with its status, whole or as a stream. In one with videos each of
these is replaced, at its place, by pictures with their times as text, or where it is longer than the model sees at once
by what watching it has shown (`v2t.serve.films`); all else of the request stays. A server that refuses so many pictures
is asked again with fewer (`v2t.backends.pictures`), and the response says so: its field `cineloop` reports the frames,
notes and warnings.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers

from cineloop.errors import CineloopError, MissingDependencyError, Notice
from cineloop.web.bodies import MIB, Receive, read_json, unless_gone
from cineloop.web.faults import Fault, fault_of
from cineloop.web.guard import REQUEST_ID, Send
from cineloop.web.limits import MemoryLease
from v2t.backends import pictures
from v2t.serve.engines import RelayEngine
from v2t.serve.films import REFUSALS, Films
from v2t.serve.gateway import Gateway, out_of_turn
from v2t.serve.outlet import Outlet
from v2t.serve.replies import hand_on, hand_on_answer, headers_of, refuse
from v2t.serve.substitution import CHAT, RequestForm, ShownVideo, VideoQuestion


@dataclass(frozen=True, kw_only=True)
class RelayedRequest:
    """One request on its way: as it came (`data`, with the headers `given`), what it asks, and its response."""

    data: bytes
    given: Mapping[str, str]
    question: VideoQuestion
    owner: str
    lease: MemoryLease
    out: Outlet


class Relay:
    """A route, as an ASGI application: a client that disconnects ends the request to the server behind."""

    def __init__(self, gateway: Gateway, engine: RelayEngine, films: Films, form: RequestForm = CHAT) -> None:
        self._gateway, self._engine, self._films, self._form = gateway, engine, films, form

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        gateway, owner, out = self._gateway, scope["state"]["owner"], Outlet(send)
        limits, headers = gateway.config.limits, Headers(scope=scope)
        with gateway.memory.lease(owner) as lease:
            body, data = await read_json(receive, headers, limits.body_mb * MIB, lease)
            question = VideoQuestion.read(body, self._form, limits)
            lease.set(2 * len(data))  # its bytes, and its JSON
            request = RelayedRequest(data=data, given=headers, question=question, owner=owner, lease=lease, out=out)
            try:
                await unless_gone(receive, self._answer(request))
            except Fault as fault:
                if not out.is_begun:
                    raise
                await out.event(fault.body(REQUEST_ID.get()))
                await out.end()

    async def _answer(self, request: RelayedRequest) -> None:
        """Pass the request on, in its turn and time. Raises Fault."""
        config, queue, is_asking = self._gateway.config, self._gateway.queue, False
        limit_s, seen = config.limits.answer_s, list[ShownVideo]()
        try:
            async with asyncio.timeout(limit_s) as deadline, AsyncExitStack() as held:
                if request.question.videos:
                    # In a place and not in a slot: slow videos keep no other request from the server.
                    with queue.place(request.owner):
                        await self._see(request, seen, held)
                async with queue.slot(request.owner, has_place=bool(seen)):
                    is_asking = True
                    if not seen:
                        await self._pass(request)
                        return
                    if any(one.film is not None for one in seen):
                        loop = asyncio.get_running_loop()
                        deadline.reschedule(loop.time() + config.upstream.film_s)
                        await self._watch(request, seen)
                        deadline.reschedule(loop.time() + limit_s)
                    await self._ask(request, seen)
        except TimeoutError:
            if not is_asking:
                raise out_of_turn(limit_s) from None
            text = "the answer took too long; what was noted of a long film is kept, so ask again"
            raise Fault(504, "ANSWER_TIMEOUT", text) from None
        except MissingDependencyError as error:  # of the captioner: the server is gone, or has no such model
            raise Fault(502, "UPSTREAM", self._engine.hide(error.message)) from None
        except CineloopError as error:
            fault = fault_of(error, param=request.question.videos[-1].ref.param)
            fault.message = self._engine.hide(fault.message)
            fault.status = 400 if error.code in REFUSALS else fault.status
            raise fault from None
        finally:
            # The traceback of an error may live until the next collection: it must not hold the memory of frames.
            for one in seen:
                one.frames = None

    async def _see(self, request: RelayedRequest, seen: list[ShownVideo], held: AsyncExitStack) -> None:
        """Add the videos to `seen`, those of ordinary length as frames; `held` keeps the files of the long ones."""
        gateway, places = self._gateway, request.question.videos
        left = self._engine.most_pictures(self._model(request)) - request.question.num_pictures
        for number, place in enumerate(places):
            url, param, share = place.ref.url, place.ref.param, max(1, left // (len(places) - number))
            with gateway.count_video(place.ref):
                async with await gateway.media.open(url, owner=request.owner, param=param) as opened:
                    try:
                        info = await gateway.media.probe(opened, request.owner)
                        end_s = min(opened.end_s or info.duration_s, info.duration_s)
                        shown = ShownVideo(place=place, info=info)
                        if end_s - (opened.start_s or 0.0) > gateway.config.upstream.window_s:
                            shown.film = opened.hand_over(held)
                        else:
                            shown.frames = await gateway.media.decode(opened, share, request.owner, info=info)
                            shown.report = gateway.describe(shown.frames)
                    except Fault as fault:
                        fault.param = fault.param or param
                        raise
            seen.append(shown)
            left -= len(shown)
            gateway.metrics.frames.inc(len(shown))

    async def _watch(self, request: RelayedRequest, seen: list[ShownVideo]) -> None:
        """Watch the long films for the question; the client of a stream is shown the progress."""
        model = self._model(request) or next((card["id"] for card in await self._engine.models()), "")
        if not model:
            raise Fault(400, "BAD_REQUEST", "model: expected a name; the server behind lists none", param="model")
        captioner, films = self._engine.captioner(model), [one for one in seen if one.film is not None]
        async with AsyncExitStack() as stack:
            if request.question.is_stream:
                await stack.enter_async_context(request.out.alive())
            for number, one in enumerate(films, 1):

                def show(done: int, total: int, number: int = number) -> None:
                    if request.question.is_stream:
                        request.out.report({"film": number, "films": len(films), "windows": done, "of": total})

                evidence = await self._films.watch(
                    one, request.question, captioner=captioner, owner=request.owner, progress=show
                )
                one.take(evidence, self._gateway.describe)
                one.warnings = tuple(Notice(each.code, self._engine.hide(each.message)) for each in one.warnings)

    async def _pass(self, request: RelayedRequest) -> None:
        """A request without a video, as it came; one that names no model gets the default."""
        data, body, model = request.data, request.question.body, self._engine.default_model
        if model and isinstance(body, dict) and not body.get("model"):
            data = json.dumps({**body, "model": model}).encode()
        async with self._engine.post(self._form.path, data, request.given) as response:
            await hand_on(self._engine, response, request.out)

    async def _ask(self, request: RelayedRequest, seen: list[ShownVideo]) -> None:
        """A request with its videos replaced, with fewer pictures where the server refuses so many."""
        upstream, own, model = self._gateway.config.upstream, request.question.num_pictures, self._model(request)
        given = sum(map(len, seen))
        most = max(1, self._engine.most_pictures(model) - own)
        for tries in range(pictures.MOST_TRIES):
            sent = min(given, most)
            data = await asyncio.to_thread(
                request.question.with_pictures,
                seen,
                sent,
                upstream.max_side,
                upstream.quality,
                self._engine.default_model,
            )
            request.lease.set(2 * len(request.data) + len(data))
            warnings = dict.fromkeys(warning for one in seen for warning in one.warnings)
            if sent < given:
                warnings[pictures.fewer_notice(sent, given, model or "the server")] = None
            report: dict[str, Any] = {"videos": [one.report for one in seen]}
            if warnings:
                report["warnings"] = [warning.record() for warning in warnings]
            async with self._engine.post(self._form.path, data, request.given) as response:
                can_ask_again = sent > 1 and tries == 0
                refused = await hand_on_answer(self._engine, response, request.out, report, self._form, can_ask_again)
                headers = headers_of(response)
            if refused is None:
                return
            less = pictures.fewer(refused.status, refused.words, sent + own)
            if (named := pictures.stated_limit(refused.words)) is not None:
                self._engine.refuse_pictures(model, named)
            if less is None or sent < 2 or tries + 1 == pictures.MOST_TRIES:
                await refuse(refused, request.out, headers)
                return
            most = max(1, min(sent - 1, less - own))

    def _model(self, request: RelayedRequest) -> str:
        return request.question.model or self._engine.default_model
