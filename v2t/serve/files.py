"""The routes of uploads: multipart bodies that go straight to the store, piece by piece.

In: requests to `/v1/files…` of one owner. Out: OpenAI's file objects. Nothing of an upload is held in memory, and its
name is only ever repeated, never used.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from cineloop.web.bodies import MIB, length_of, pieces
from cineloop.web.faults import Fault

if TYPE_CHECKING:
    from cineloop.web.uploads import UploadStore

_PURPOSE = "user_data"
_OVERHEAD = 64 << 10  # bytes of a body beside its file
_PIECE = 256 << 10
_MAX_VALUE = 256  # bytes of a field that is no file


async def upload(request: Request) -> Response:
    """POST /v1/files."""
    gateway = request.app.state.gateway
    store: UploadStore = gateway.media.uploads
    limit = gateway.config.limits.upload_mb * MIB + _OVERHEAD
    form = _Form(request.headers.get("content-type", ""))
    writer, purpose = None, ""
    async with AsyncExitStack() as stack:
        async for piece in pieces(request.receive, length_of(request.headers), limit):
            for event in form.read(piece):
                if event.kind == "file":
                    if writer is not None:
                        raise _wrong("file", "one file a request")
                    writer = await stack.enter_async_context(store.begin(request.state.owner, event.text))
                elif event.kind == "data" and writer is not None:
                    await writer.write(event.data)
                elif event.kind == "purpose":
                    purpose = event.text
        if not form.is_whole:
            raise _wrong(None, "the form breaks off before its end")
        if writer is None:
            raise _wrong("file", "a form with the field file is expected")
        if purpose != _PURPOSE:
            raise _wrong("purpose", f"{_PURPOSE!r} is expected")
        kept = await writer.finish()
    return JSONResponse(kept.record(store.ttl_s))


async def listing(request: Request) -> Response:
    """GET /v1/files."""
    store: UploadStore = request.app.state.gateway.media.uploads
    files = [each.record(store.ttl_s) for each in store.list(request.state.owner)]
    return JSONResponse({"object": "list", "data": files, "has_more": False})


async def one(request: Request) -> Response:
    """GET /v1/files/{id}."""
    store: UploadStore = request.app.state.gateway.media.uploads
    return JSONResponse(store.get(request.state.owner, request.path_params["id"]).record(store.ttl_s))


async def content(request: Request) -> Response:
    """GET /v1/files/{id}/content: to be saved, never shown."""
    store: UploadStore = request.app.state.gateway.media.uploads
    owner, name = request.state.owner, request.path_params["id"]
    found = store.get(owner, name)

    async def data() -> AsyncIterator[bytes]:
        with store.use(owner, name) as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece

    headers = {"content-disposition": f'attachment; filename="{found.id}"', "content-length": str(found.bytes)}
    return StreamingResponse(data(), media_type="application/octet-stream", headers=headers)


async def delete(request: Request) -> Response:
    """DELETE /v1/files/{id}."""
    name = request.path_params["id"]
    request.app.state.gateway.media.uploads.delete(request.state.owner, name)
    return JSONResponse({"id": name, "object": "file", "deleted": True})


def _wrong(param: str | None, expected: str) -> Fault:
    return Fault(400, "BAD_REQUEST", f"{param or 'the body'}: {expected}", param=param)


@dataclass(frozen=True, kw_only=True)
class _Event:
    """A file begins (`text` is its name), some of its data, or the purpose."""

    kind: str
    text: str = ""
    data: bytes = b""


@dataclass(kw_only=True)
class _Part:
    headers: dict[str, bytes] = field(default_factory=dict)
    name: str = ""
    is_file: bool = False
    value: bytes = b""


class _Form:
    """A multipart form that is read as it comes."""

    def __init__(self, content_type: str) -> None:
        from python_multipart.exceptions import FormParserError
        from python_multipart.multipart import MultipartParser, parse_options_header

        self._error, self._options = FormParserError, parse_options_header
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise Fault(415, "BAD_REQUEST", "expected a form: Content-Type: multipart/form-data; boundary=...")
        self._events: list[_Event] = []
        self._part, self._field, self._value = _Part(), b"", b""
        self.is_whole = False
        callbacks: Any = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._whole,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise _wrong(None, "the form's boundary is too long") from None

    def read(self, data: bytes) -> list[_Event]:
        """What `data` brought. Raises Fault for what is no form, or one with fields that are not known."""
        self._events = []
        try:
            self._parser.write(data)
        except self._error:
            raise _wrong(None, "the form cannot be read") from None
        return self._events

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._field.decode("latin-1").lower()] = self._value
        self._field = self._value = b""

    def _headers(self) -> None:
        kind, options = self._options(self._part.headers.get("content-disposition", b""))
        if kind != b"form-data":
            raise _wrong(None, "each part of the form needs Content-Disposition: form-data; name=...")
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._part.name == "file":
            self._part.is_file = True
            name = options.get(b"filename", b"").decode("utf-8", "replace")
            self._events.append(_Event(kind="file", text=name))
        elif self._part.name != "purpose":
            shown = "".join(char if char.isprintable() else "?" for char in self._part.name[:60])
            raise Fault(400, "UNKNOWN_FIELD", f"{shown} is no field that this server takes", param=shown)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.is_file:
            self._events.append(_Event(kind="data", data=data[start:end]))
        else:
            self._part.value += data[start:end]
            if len(self._part.value) > _MAX_VALUE:
                raise _wrong(self._part.name, "too long")

    def _end(self) -> None:
        if not self._part.is_file:
            self._events.append(_Event(kind="purpose", text=self._part.value.decode("utf-8", "replace")))

    def _whole(self) -> None:
        self.is_whole = True
