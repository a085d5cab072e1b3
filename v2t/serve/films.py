"""Films that are longer than a model sees at once, watched before a question about them is passed on.

In: an open film, a question, the captioner `openai:` of the server behind. Out: `FilmEvidence`, what stands in the
place of the film in the request: timed notes on what the question is about, the frames of the moment that it names, or
the times that were searched for and verified on frames. All of it is `v2t.ask`'s work; here are its decoders (those of
the gateway), its thread, and the place of its notes: kept by content, so that a film is watched once, and by owner
where several have keys. Windows go by the clock: to find the cuts of an hour, all of it would have to be decoded first.
"""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.clock import format_clock
from cineloop.errors import ItemError
from cineloop.files import content_key
from cineloop.web.faults import Fault
from v2t.ask.answer import QuestionPrompt, prepare, search
from v2t.ask.result import VideoAnswer
from v2t.ask.settings import AskConfig
from v2t.ask.viewer import Viewer
from v2t.backends import VideoLM
from v2t.long.notebook import notes_folder
from v2t.long.segments import Segment
from v2t.serve.engines import MODEL_THREAD
from v2t.serve.media import Media, OpenVideo, frame_size
from v2t.serve.settings import ServeConfig
from v2t.serve.substitution import FilmEvidence, ShownVideo, VideoQuestion

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from cineloop.video.info import VideoInfo
    from cineloop.video.sample import SampleSpec

REFUSALS = ("BAD_REQUEST", "REFUSED")  # codes of a captioner whose server will never answer the request
_FAILED = (*REFUSALS, "SERVER_ERROR", "TOO_LARGE", "MODEL_ERROR")  # of a window without notes
_DEFAULT_QUESTION = "What happens in this video?"
Progress = Callable[[int, int], None]  # (windows watched, windows to watch), in the event loop


class StoppedWatching(Exception):
    """Nobody waits for the film any more."""


@dataclass
class FilmDecoders:
    """The decoders of the gateway for one open film, in the form that `v2t.long` calls from a thread."""

    media: Media
    descriptor: int
    name: str
    info: VideoInfo
    owner: str
    loop: asyncio.AbstractEventLoop
    num_workers: int = 2

    def submit(self, path: str, spec: SampleSpec, size: tuple[int, int] | None) -> Future[Frames]:
        """See `v2t.long.queue.Decoders`; frames are scaled for the model."""
        return asyncio.run_coroutine_threadsafe(self._decode(spec), self.loop)

    def probe(self, path: str) -> VideoInfo:
        """See `v2t.long.queue.Decoders`."""
        return replace(self.info, warnings=())  # they name the file as the decoder does; its frames repeat them

    def cuts(self, path: str, start_s: float | None, end_s: float | None) -> list[float]:
        """None: see the module."""
        return []

    async def _decode(self, spec: SampleSpec) -> Frames:
        opened = OpenVideo(self.descriptor, self.name, None, None)
        descriptor, held = opened.duplicate()
        size = frame_size(self.info, self.media.served.max_side or max(self.info.height, self.info.width))
        try:
            return await self.media.decoders.decode(descriptor, spec, size, owner=self.owner, name=self.name, held=held)
        except Fault as fault:
            raise ItemError(fault.message, code=fault.code) from fault


class Films:
    """The films that are being watched; of one event loop."""

    def __init__(self, config: ServeConfig, media: Media) -> None:
        self._media, self._upstream = media, config.upstream
        self._is_shared = len(config.keys()) > 1
        self._threads = ThreadPoolExecutor(config.limits.in_flight, thread_name_prefix=MODEL_THREAD)
        self._stops: set[threading.Event] = set()
        self._locks: weakref.WeakValueDictionary[tuple[str, ...], Any] = weakref.WeakValueDictionary()
        self.settings = AskConfig(
            window_s=self._upstream.window_s, batch_size=self._upstream.concurrency, max_new_tokens=512
        )

    async def watch(
        self, shown: ShownVideo, question: VideoQuestion, *, captioner: VideoLM, owner: str, progress: Progress
    ) -> FilmEvidence:
        """The evidence of a film for a question. Where nobody waits any more, watching ends with the windows that are
        on their way; what was noted is kept, and the next question continues from there.

        Raises:
            Fault: the codes of decoding. CineloopError: the model's server, or a moment the film does not have.
        """
        film, info = shown.film, shown.info
        if film is None:
            raise ValueError("no film is open")
        loop, stop = asyncio.get_running_loop(), threading.Event()
        descriptor, held = film.duplicate()  # of the thread's own: it may end later than the request

        def advance(done: int, total: int) -> None:
            if stop.is_set():
                raise StoppedWatching
            loop.call_soon_threadsafe(progress, done, total)

        decoders = FilmDecoders(self._media, descriptor, film.name, info, owner, loop)
        view = None
        if film.start_s is not None or film.end_s is not None:
            view = Segment(film.start_s or 0.0, min(film.end_s or info.duration_s, info.duration_s))

        def work() -> FilmEvidence:
            path = Path(f"/proc/self/fd/{descriptor}" if os.path.exists("/proc/self/fd") else f"/dev/fd/{descriptor}")
            key = (owner if self._is_shared else "", captioner.name, content_key(path))
            # Two that ask about one film at once: the second reads what the first has noted.
            with self._locks.setdefault(key, threading.Lock()):
                if stop.is_set():
                    raise StoppedWatching
                viewer = Viewer(self.settings, captioner, advance, pool=decoders, cache=self._cache(owner))
                with viewer:
                    video = viewer.video(path)
                    asked = question.text.strip() or _DEFAULT_QUESTION
                    answer = search(viewer, video, asked, view)
                    if answer is not None:
                        return _evidence_of_search(answer)
                    return _evidence_to_read(prepare(viewer, video, asked, view, question.history), info, self.settings)

        self._stops.add(stop)
        future = self._threads.submit(work)
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(_close, held))
        try:
            return await asyncio.wrap_future(future)
        finally:
            stop.set()
            self._stops.discard(stop)

    def close(self) -> None:
        """Let all threads end with the windows that are on their way."""
        for stop in self._stops:
            stop.set()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _cache(self, owner: str) -> Path | None:
        folder = self._upstream.notes
        if not self._is_shared:
            return folder
        # By the time an answer takes, one key could otherwise learn which films another has asked about.
        return notes_folder(folder) / owner


def _close(held: Any) -> None:
    asyncio.ensure_future(held.aclose())


def _evidence_of_search(answer: VideoAnswer) -> FilmEvidence:
    """The evidence of a search for times, number or order."""
    report = answer.to_dict()
    lines = [f"{span['text']} {span.get('note', '')}".rstrip() for span in report["spans"]]
    text = f"The whole film was searched on its frames. {answer.question} {answer.answer}"
    text += "\nWhere:\n" + "\n".join(lines) if lines else ""
    kept = {name: report[name] for name in ("look", "spans", "windows")}
    return FilmEvidence(text=text, report=kept, warnings=answer.warnings)


def _evidence_to_read(prepared: QuestionPrompt, info: VideoInfo, settings: AskConfig) -> FilmEvidence:
    """The evidence of notes, or of the frames of a moment."""
    windows = [{"start_s": round(start, 3), "end_s": round(end, 3)} for start, end in prepared.windows]
    report: dict[str, Any] = {"look": prepared.look, "windows": windows}
    failed = next((one for one in prepared.warnings if one.code in _FAILED), None)
    if prepared.look == "notes" and not prepared.notes and failed is not None:
        raise ItemError(failed.message, code=failed.code)  # an answer from nothing would be made up
    length = format_clock(info.duration_s)
    if prepared.look == "notes":
        lines = [note.line() for note in prepared.notes]
        head = f"Timed notes on a film of {length}, taken by watching all of it in windows of {settings.window_s:g} s:"
        report["notes"] = [{"start_s": n.start_s, "end_s": n.end_s, "text": n.text} for n in prepared.notes]
        text = "\n".join([head, *(lines or ["nothing was noted"])])
        return FilmEvidence(text=text, report=report, warnings=prepared.warnings)
    (frames,) = prepared.conversation[0].videos
    start, end = (format_clock(second, tenths=True) for second in prepared.part)
    text = f"Frames from {start} to {end} of a film of {length}, each after its second in the film:"
    return FilmEvidence(text=text, frames=frames, report=report, warnings=prepared.warnings)
