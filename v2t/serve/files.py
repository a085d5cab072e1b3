"""The routes of uploads: multipart bodies that are streamed to the store.

In: requests to `/v1/files…` of one owner. Out: OpenAI's file objects. No upload is held in memory, and its file name is
only ever shown.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from cineloop.web.bodies import MIB, pieces
from cineloop.web.faults import Fault

if TYPE_CHECKING:
    from cineloop.web.incoming import IncomingFile
    from cineloop.web.uploads import UploadStore

_PURPOSE = b"user_data"
_OVERHEAD = 64 << 10  # bytes of a body in addition to its file
_PIECE = 256 << 10
_MAX_VALUE = 256  # bytes of a field that is not a file


async def upload(request: Request) -> Response:
    """POST /v1/files."""
    gateway = request.app.state.gateway
    store: UploadStore = gateway.media.uploads
    limit = gateway.config.limits.upload_mb * MIB + _OVERHEAD
    form = _Form(request.headers.get("content-type", ""))
    file: IncomingFile | None = None
    with ExitStack() as stack:
        async for piece in pieces(request.receive, request.headers, limit):
            chunks = form.feed(piece)
            if file is None and form.filename is not None:
                file = stack.enter_context(store.incoming(request.state.owner, "the file"))
            for chunk in chunks:
                await file.write(chunk)  # type: ignore[union-attr]  # only a file has chunks
        if not form.is_complete:
            raise _wrong(None, "the form ends too early")
        if file is None or form.filename is None:
            raise _wrong("file", "expected a form with the field file")
        if form.purpose != _PURPOSE:
            raise _wrong("purpose", f"expected {_PURPOSE.decode()!r}")
        kept = await store.keep(file, request.state.owner, form.filename)
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
    """GET /v1/files/{id}/content: as a download, never displayed inline."""
    store: UploadStore = request.app.state.gateway.media.uploads
    owner, name = request.state.owner, request.path_params["id"]
    kept = store.get(owner, name)

    async def data() -> AsyncIterator[bytes]:
        with store.use(owner, name) as file:
            while piece := await asyncio.to_thread(file.read, _PIECE):
                yield piece

    headers = {"content-disposition": f'attachment; filename="{kept.id}"', "content-length": str(kept.bytes)}
    return StreamingResponse(data(), media_type="application/octet-stream", headers=headers)


async def delete(request: Request) -> Response:
    """DELETE /v1/files/{id}."""
    name = request.path_params["id"]
    request.app.state.gateway.media.uploads.delete(request.state.owner, name)
    return JSONResponse({"id": name, "object": "file", "deleted": True})


def _wrong(param: str | None, expected: str) -> Fault:
    return Fault(400, "BAD_REQUEST", f"{param or 'the body'}: {expected}", param=param)


class _Form:
    """A multipart form with the fields file and purpose, parsed as it arrives; `filename` is known once the part of the
    file has begun. Raises Fault: the request has another content type."""

    def __init__(self, content_type: str) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary:
            raise Fault(415, "BAD_REQUEST", "expected a form: Content-Type: multipart/form-data; boundary=...")
        self.filename: str | None = None
        self.purpose, self.is_complete = b"", False
        self._is_file, self._chunks = False, list[bytes]()
        self._headers: dict[bytes, bytes] = {}
        self._header = self._value = b""
        callbacks: Any = {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: setattr(self, "_header", self._header + data[start:end]),
            "on_header_value": lambda data, start, end: setattr(self, "_value", self._value + data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": self._take,
            "on_end": lambda: setattr(self, "is_complete", True),
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError:
            raise _wrong(None, "the form's boundary is too long") from None

    def feed(self, data: bytes) -> list[bytes]:
        """The bytes of the file in `data`. Raises Fault for an invalid form, or one with unknown fields."""
        self._chunks = []
        try:
            self._parser.write(data)
        except FormParserError:
            raise _wrong(None, "invalid multipart form") from None
        return self._chunks

    def _end_header(self) -> None:
        self._headers[self._header.lower()] = self._value
        self._header = self._value = b""

    def _begin_part(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data":
            raise _wrong(None, "each part of the form needs Content-Disposition: form-data; name=...")
        name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = name == "file"
        if self._is_file and self.filename is not None:
            raise _wrong("file", "expected one file")
        if self._is_file:
            self.filename = options.get(b"filename", b"").decode("utf-8", "replace")
        elif name != "purpose":
            shown = "".join(char if char.isprintable() else "?" for char in name[:60])
            raise Fault(400, "UNKNOWN_FIELD", f"{shown}: unknown field", param=shown)

    def _take(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._chunks.append(data[start:end])
        elif len(self.purpose) + end - start > _MAX_VALUE:
            raise _wrong("purpose", "too long")
        else:
            self.purpose += data[start:end]
