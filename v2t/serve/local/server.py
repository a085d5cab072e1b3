"""The local engine: this project's captioner behind OpenAI's routes, on a socket file, in a process of its own.

    python -m v2t.serve.local.server --uds SOCKET --model FOLDER --name NAME

In: requests that the gateway has checked, videos as packed frames. Out: answers, whole or as server-sent events, with
the model's warnings as `"cineloop": {"warnings": [...]}`. It listens once the model is loaded.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from cineloop.errors import CineloopError, ItemError
from v2t.captioners import CaptionOutput
from v2t.serve.faults import Fault, fault_of
from v2t.serve.local import questions as local_questions
from v2t.serve.local.questions import Cut, Prompts, Question
from v2t.serve.local.turns import ServedCaptioner, Told, Turns

logger = logging.getLogger("cineloop")
_FAILED = Fault(500, "ENGINE", "the model failed at this request; the engine's log says why")


class _Answer:
    """One answer on its way: the text that is told, and what is said of it at the end."""

    def __init__(self, question: Question, prompts: Prompts, model: str, id_: str) -> None:
        self.question, self._prompts = question, prompts
        self.id = id_
        self.head = {"id": f"chatcmpl-{id_}", "created": int(time.time()), "model": model}
        self.cut = Cut(question.stops)
        self.warnings: tuple[str, ...] = ()
        self._raw: list[str] = []
        self._finish, self._tokens = "stop", 0

    def feed(self, piece: str) -> str:
        """What can be told after one more piece."""
        self._raw.append(piece)
        return self.cut.feed(piece)

    def end(self, output: CaptionOutput) -> None:
        """The answer came to its own end."""
        self._finish, self._tokens, self.warnings = output.finish, output.tokens, output.warnings

    @property
    def finish(self) -> str:
        """Why it ended: "stop" or "length"."""
        return "stop" if self.cut.is_over else self._finish

    @property
    def beside(self) -> dict[str, Any]:
        """What only this project says."""
        return {"cineloop": {"warnings": list(self.warnings)}}

    def usage(self) -> dict[str, int]:
        """Tokens of prompt and answer; of an answer cut at a stop string, those up to that."""
        tokens = self._prompts.tokens(self._up_to_stop()) if self.cut.is_over else self._tokens
        prompt = self.question.prompt_tokens
        return {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}

    def _up_to_stop(self) -> str:
        text = "".join(self._raw)
        return text[: min(text.index(stop) + len(stop) for stop in self.question.stops if stop in text)]

    def whole(self, text: str) -> dict[str, Any]:
        """The reply to a request that is not streamed."""
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": self.finish}
        return {**self.head, "object": "chat.completion", "choices": [choice], "usage": self.usage(), **self.beside}

    def chunk(self, delta: dict[str, str] | None, finish: str | None = None, **more: Any) -> bytes:
        """One event of a stream; without choices where `delta` is None."""
        choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
        return _event({**self.head, "object": "chat.completion.chunk", "choices": choices, **more})


def create_app(turns: Turns, prompts: Prompts, name: str) -> FastAPI:
    """The routes.

    Args:
        turns: answers questions. prompts: counts tokens.
        name: what the model is called.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    born = int(time.time())

    @app.exception_handler(Fault)
    async def refuse(request: Request, fault: Fault) -> Response:
        return JSONResponse(fault.body(_id_of(request)), fault.status)

    @app.get("/health")
    async def health() -> Response:
        return Response(status_code=200 if turns.is_alive else 503)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        model = {"id": name, "object": "model", "created": born, "owned_by": "cineloop"}
        return {"object": "list", "data": [{**model, "max_model_len": prompts.positions}]}

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Response:
        data = await request.body()
        question = await asyncio.to_thread(_read, data, prompts, name)
        answer = _Answer(question, prompts, name, _id_of(request))
        if not question.stream:
            return JSONResponse(await _unless_gone(request, asyncio.create_task(_whole(turns, answer))))
        events = _events(turns, answer)
        # The first event tells whether there will be an answer; only then is the status said.
        try:
            first = await _unless_gone(request, asyncio.create_task(_first(events)))
        except BaseException:
            await events.aclose()
            raise
        return StreamingResponse(_after(first, events), media_type="text/event-stream")

    return app


async def _whole(turns: Turns, answer: _Answer) -> dict[str, Any]:
    async for reply in _replies(turns, answer.question):
        if isinstance(reply, CaptionOutput):
            answer.end(reply)
            text = answer.feed(reply.text) + answer.cut.end()
            return await asyncio.to_thread(answer.whole, text)
    raise _FAILED


async def _events(turns: Turns, answer: _Answer) -> AsyncGenerator[bytes, None]:
    """The events of a stream. Raises Fault before the first one alone; later it is an event."""
    begun = False
    try:
        async with aclosing(_replies(turns, answer.question)) as replies:
            async for reply in replies:
                if isinstance(reply, str):
                    text = answer.feed(reply)
                elif isinstance(reply, CaptionOutput):
                    answer.end(reply)
                    text = answer.cut.end()
                else:
                    answer.warnings, text = reply, ""
                    continue
                if not begun:
                    begun = True
                    yield answer.chunk({"role": "assistant", "content": ""})
                if text:
                    yield answer.chunk({"content": text})
                if answer.cut.is_over:
                    break
        yield answer.chunk({}, answer.finish, **answer.beside)
        if answer.question.include_usage:
            yield answer.chunk(None, usage=await asyncio.to_thread(answer.usage))
        yield b"data: [DONE]\n\n"
    except Fault as fault:
        if not begun:
            raise
        yield _event(fault.body(answer.id))


async def _replies(turns: Turns, question: Question) -> AsyncGenerator[Told, None]:
    """What `turns` tells; its troubles as Fault."""
    try:
        async with aclosing(turns.ask(question)) as replies:
            async for reply in replies:
                yield reply
    except ItemError as error:
        raise fault_of(error) from None
    except Exception as error:  # of any model and device; its trace stands in the log
        raise _FAILED from error


async def _first(events: AsyncGenerator[bytes, None]) -> bytes:
    return await anext(events)


async def _after(first: bytes, events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(events):
        yield first
        async for event in events:
            yield event


async def _unless_gone(request: Request, task: asyncio.Task[Any]) -> Any:
    """What `task` gives; it is cancelled when the client closes its connection before."""
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Fault(499, "CLIENT_GONE", "the client closed the connection")
        return task.result()
    finally:
        for each in (task, gone):
            each.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _read(data: bytes, prompts: Prompts, name: str) -> Question:
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise Fault(400, "BAD_JSON", "the body is no JSON") from None
    return local_questions.read(body, prompts, name)


def _id_of(request: Request) -> str:
    id_: str = request.scope.setdefault("cineloop_id", request.headers.get("x-request-id") or uuid.uuid4().hex)
    return id_


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def main(argv: list[str]) -> int:
    """Load the model, then serve until a signal ends it; returns the exit code."""
    from cineloop import log

    log.setup()
    args = _arguments().parse_args(argv)
    try:
        captioner = ServedCaptioner(args.model, device=args.device, dtype=args.dtype)
        captioner.load()
        positions = min(captioner.positions, args.max_model_len or captioner.positions)
        prompts = Prompts(Path(args.model), positions)
    except CineloopError as error:
        logger.error("%s", error)
        return error.exit_code
    turns = Turns(captioner, on_broken=lambda: os._exit(1))  # a new process has a new device
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(turns, prompts, args.name),
            uds=args.uds,
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_keep_alive=60,
            timeout_graceful_shutdown=2,
        )
    )
    server.run()
    if not turns.close():
        os._exit(0)  # the model is in the middle of a long step; nobody waits for it
    return 0


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="v2t.serve.local.server", description="The local engine of v2t serve.")
    parser.add_argument("--uds", required=True, help="the socket file to listen at")
    parser.add_argument("--model", required=True, help="a folder")
    parser.add_argument("--name", required=True, help="what the model is called")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--max-model-len", type=int, help="tokens of prompt and answer together")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
