"""What the editor's routes share: the folder in its thread, the order of clips, the model, the previews.

In: calls from the event loop. Out: JSON values. The run-wide formats are written once nobody has edited for a moment,
at the latest so many seconds after an edit, and when the server ends; a sidecar such as `.txt` is written with its
edit.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cineloop.clip import Clip
from cineloop.errors import CineloopError, ItemError
from cineloop.log import logger, plural, printable
from cineloop.web.faults import Fault, fault_of
from cineloop.web.limits import FairQueue
from v2t.edit.answers import AnswerRequest, ClipAnswers
from v2t.edit.clips import ClipFrames, Window, file_response
from v2t.edit.edits import Edit
from v2t.edit.folder import EditFolder
from v2t.edit.history import EditStep
from v2t.edit.order import Doubt, order
from v2t.edit.settings import EditConfig
from v2t.writers.html import STRIPS

T = TypeVar("T")
_QUIET_S, _SETS_EVERY_S, _LOOK_S = 1.5, 15.0, 0.25
_WAITING = 16  # requests to the model that may wait
_MOST_CHANGES = 2000


class EditDesk:
    """See above. Made and closed on the thread that opened `folder`; `start` before the first request."""

    def __init__(
        self, config: EditConfig, folder: EditFolder, doubts: dict[str, Doubt], answers: ClipAnswers, frames: ClipFrames
    ) -> None:
        self.config, self.folder, self.answers, self.frames = config, folder, answers, frames
        self._doubts = doubts
        self.ids = order(folder.ledger.records(folder.beat), doubts)
        self.numbers = {clip_id: number for number, clip_id in enumerate(self.ids)}
        self._token, self._epoch = secrets.token_urlsafe(16), secrets.token_hex(4)
        self._thread = ThreadPoolExecutor(1, "folder")
        self._model = ThreadPoolExecutor(1, "model")
        self._queue = FairQueue(1, max_waiting=_WAITING)
        self._edited_at = self._written_at = 0.0
        self._is_written, self._sets_error = False, ""
        self._keeper: asyncio.Task[None] | None = None

    # ---- life

    def start(self) -> None:
        """Begin to keep the lock alive and the formats up to date."""
        self._keeper = asyncio.create_task(self._keep())

    async def stop(self) -> None:
        """Write the formats; the folder may be closed then."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait({self._keeper})
        try:
            await self.in_folder(self.folder.close)
        except CineloopError as error:
            logger.error("the run's formats are not up to date; v2t edit or v2t caption writes them: %s", error)
        self._thread.shutdown()
        self._model.shutdown(cancel_futures=True)

    async def _keep(self) -> None:
        beat_at = 0.0
        while True:
            now = time.monotonic()
            if now - beat_at > 10:
                beat_at = now
                await self.in_folder(self.folder.beat)
            is_quiet = now - self._edited_at > _QUIET_S or now - self._written_at > _SETS_EVERY_S
            if not self._is_written and is_quiet:
                self._is_written = True  # an edit that comes meanwhile says no again
                await self._write_sets()
            await asyncio.sleep(_LOOK_S)

    async def _write_sets(self) -> None:
        try:
            await self.in_folder(self.folder.write_sets)
            self._sets_error = ""
        except Exception as error:  # also of a format of somebody's own: edits go on, and the page says so
            if not self._sets_error:
                logger.error("the run's formats cannot be written; edits are in the journal: %s", error)
            self._sets_error = error.code if isinstance(error, CineloopError) else "UNEXPECTED"
            self._is_written, self._edited_at = False, time.monotonic() + _SETS_EVERY_S
        self._written_at = time.monotonic()

    async def in_folder(self, work: Callable[..., T], *args: Any) -> T:
        """What `work` returns, in the folder's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)

    # ---- in the folder's thread

    def rows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Clips as the page shows them."""
        return [self._row(row) for row in self.folder.rows(ids)]

    def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        doubt = self._doubts.get(row["id"])
        more = {} if doubt is None else {"doubt": round(doubt.value, 4), "claim": doubt.claim}
        return {"n": self.numbers[row["id"]], **row, **more}

    def detail(self, number: int) -> dict[str, Any]:
        """One clip with what is read only when it is looked at."""
        clip_id = self.ids[number]
        if self.folder.import_edits([clip_id]):
            self._touch()
        record = self.folder.ledger.record(clip_id)
        start_s, end_s = record.get("start_s"), record.get("end_s")
        try:
            self._file(number)
            problem = None
        except ItemError as error:
            problem = {"code": error.code, "message": fault_of(error, name="the video").message, "hint": error.hint}
        (row,) = self.rows([clip_id])
        segments = [
            {name: part.get(name) for name in ("start_s", "end_s", "caption")} for part in record.get("segments") or ()
        ]
        more = {"segments": segments, "start_s": start_s, "end_s": end_s, "video": problem}
        names = ("model", "style", "revision", "decoder")
        about = {name: record.get(name) for name in names}
        return {**row, **more, "made": about, "edit": self.folder.ledger.edit_of(clip_id)}

    def changes(self, since: int) -> dict[str, Any]:
        """Clips that changed after an earlier `sequence`; `all` where they are too many to send."""
        changed = self.folder.ledger.changed
        ids = list(dict.fromkeys(changed[since:])) if since <= len(changed) else []
        is_too_many = since > len(changed) or len(ids) > _MOST_CHANGES
        return {**self._state(), "all": is_too_many, "clips": [] if is_too_many else self.rows(ids)}

    def edit(self, edits: list[Edit], by: str, action: str) -> dict[str, Any]:
        """Make edits. Raises as `EditFolder.apply`."""
        step = self.folder.apply(edits, by=by, action=action)
        if step is not None:
            self._touch()
        return {**self._state(), "step": step and step.step, "clips": self.rows([edit.id for edit in edits])}

    def undo(self, by: str, redo: bool) -> dict[str, Any]:
        """Take a step back, or do it again. Raises Fault NOTHING_TO_UNDO; CONFLICT, all its clips changed since."""
        last, step, left = self.folder.revert(by=by, redo=redo)
        if last is None:
            raise Fault(409, "NOTHING_TO_UNDO", f"{by} has nothing to {'do again' if redo else 'undo'}")
        if step is None:
            text = f"{plural(len(left), 'clip')} of {by}'s step {last.action} changed since and stay as they are"
            raise Fault(409, "CONFLICT", text)
        self._touch()
        about = {"action": self._action(last), "at": last.at, "by": by, "left": len(left)}
        return {**self._state(), "undone": about, "clips": self.rows(list(step.revisions))}

    def _action(self, step: EditStep) -> str:
        before = self.folder.ledger.steps.get(step.undoes)
        return before.action if before else step.action

    def _state(self) -> dict[str, Any]:
        formats = self._sets_error or ("written" if self._is_written else "pending")
        return {"epoch": self._epoch, "sequence": len(self.folder.ledger.changed), "formats": formats}

    def _touch(self) -> None:
        self._edited_at, self._is_written = time.monotonic(), False

    def _file(self, number: int) -> tuple[str, Window]:
        """The file of a clip, and its part of it. Raises ItemError: NOT_FOUND, CHANGED."""
        record = self.folder.ledger.record(self.ids[number])
        window = record.get("start_s"), record.get("end_s")
        whole = {**record, "start_s": None, "end_s": None}
        return str(self.folder.ledger.find_video(whole)), window

    # ---- in the event loop

    async def listing(self) -> bytes:
        """All clips and what the page needs to know, as JSON."""

        def make() -> bytes:
            about = {
                **self._state(),
                "folder": printable(os.path.basename(os.path.abspath(self.folder.path))),
                "person": self.config.person,
                "media": f"media/{self._token}/",
                "model": self.answers.model,
                "styles": self.answers.styles,
                "prompt": self.answers.config.prompt,
                "most_answers": self.config.limits.answers,
                "has_strips": (self.folder.path / STRIPS).is_dir(),
            }
            return json.dumps({**about, "clips": self.rows(self.ids)}, separators=(",", ":")).encode()

        return await self.in_folder(make)

    def is_token(self, token: str) -> bool:
        """Whether an address of a clip is of this server's run."""
        return hmac.compare_digest(token.encode(), self._token.encode())

    async def media(self, number: int, what: str) -> Any:
        """The response of a clip's video, frames or info. Raises Fault."""
        from starlette.responses import JSONResponse, Response

        try:
            file, window = await self.in_folder(self._file, number)
        except ItemError as error:
            raise fault_of(error, name="the video") from error
        path = Path(file)
        if what == "video":
            return await asyncio.to_thread(file_response, path)
        if what == "frames":
            return Response(await self.frames.jpegs(path, window), media_type="application/json")
        if what == "info":
            info = await self.frames.info(path)
            names = ("duration_s", "fps", "num_frames", "width", "height", "codec")
            return JSONResponse({name: getattr(info, name) for name in names})
        raise Fault(404, "NOT_FOUND", "no such route")

    async def ask(self, number: int, request: AnswerRequest) -> list[dict[str, Any]]:
        """The model's answers about a clip. Raises Fault, also BUSY where too many wait."""
        file, (start_s, end_s) = await self.in_folder(self._file, number)
        clip = Clip(self.ids[number], self.ids[number], file, start_s=start_s, end_s=end_s)
        async with self._queue.slot("local"):
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._model, self.answers.ask, clip, request)
