"""A captioner and a decoder kept ready for questions.

In: an `AskConfig`. Out: videos to ask about, the captioner once it is loaded, notes on a stretch of a video.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from cineloop.clip import Clip
from cineloop.errors import NothingMatchedError
from cineloop.log import printable
from cineloop.video.worker import DecoderPool
from v2t.ask.settings import AskConfig
from v2t.backends import Conversation, Decoding, GenerateRequest, VideoLM, open_backend
from v2t.backends.batching import Batcher
from v2t.caption.run import notes_on
from v2t.long.notebook import Notebook
from v2t.long.queue import Decoders
from v2t.long.recall import SceneNote
from v2t.long.segments import Segment
from v2t.long.video import LongVideo

Advance = Callable[[int, int], None]  # called with (windows done, windows to do) while notes are taken


class Viewer:
    """A captioner and a decoder pool for one session; a context manager.

    Args:
        captioner: one to use instead of the one that `config.model` names.
        advance: called with the progress of note taking; what it raises ends the work.
        pool: decoders to use instead of own ones.
        cache: folder of the notes, where `config.notes` names none; None for one in the user's cache.
    """

    def __init__(
        self,
        config: AskConfig,
        captioner: VideoLM | None = None,
        advance: Advance = lambda done, total: None,
        *,
        pool: Decoders | None = None,
        cache: Path | None = None,
    ) -> None:
        self.config, self.advance = config, advance
        self._given_pool, self._cache = pool, cache
        self._captioner = captioner or open_backend(
            config.model, captioner=config.captioner, device=config.device, dtype=config.dtype, options=config.options
        )
        self._batcher = Batcher(self._captioner)
        self._stack = ExitStack()
        self._loading: Future[None] | None = None

    def __enter__(self) -> Viewer:
        self._pool = self._given_pool or self._stack.enter_context(DecoderPool(limits=self.config.limits))
        self._thread = self._stack.enter_context(ThreadPoolExecutor(1))
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def video(self, path: str | Path) -> LongVideo:
        """The video at a path, ready to be asked about.

        Raises:
            NothingMatchedError: there is no such video, or no such folder of captions. ItemError: it cannot be read.
        """
        notes = self.config.notes
        if notes is not None and notes.suffix != ".jsonl" and not notes.exists():
            raise NothingMatchedError(
                f"there is no folder of captions {printable(str(notes))}",
                hint="check --notes; the name of a file to keep notes in ends in .jsonl",
            )
        spec = self._captioner.spec
        if self.config.frames is not None:
            spec = replace(spec, num_frames=self.config.frames)
        window_s = self.config.window_s or self._captioner.abilities.window_s
        if not os.path.lexists(path):
            raise NothingMatchedError(f"there is no file {printable(str(path))}", hint="check the path")
        clip = Clip(Path(path).name, str(path), str(path))
        with suppress(OSError):  # a file that cannot be read is refused in better words below
            status = os.stat(path)
            clip = replace(clip, size=status.st_size, mtime_ns=status.st_mtime_ns)
        video = LongVideo(clip, self._pool, spec, self._captioner.frame_size, float(window_s))
        self._load()
        return video

    def _load(self) -> Future[None]:
        # In a thread: the frames of the first question are decoded meanwhile, or the user types it. Not before a
        # video is open, so that a wrong path is reported at once.
        if self._loading is None:
            self._loading = self._thread.submit(self._captioner.load)
        return self._loading

    @property
    def captioner(self) -> VideoLM:
        """The captioner, once it is loaded; waits for that.

        Raises:
            MissingDependencyError: the model does not load.
        """
        self._load().result()
        return self._captioner

    @property
    def batcher(self) -> Batcher:
        """The batcher of the captioner, once it is loaded; raises as `captioner`."""
        self._load().result()
        return self._batcher

    @property
    def model(self) -> str:
        return f"{self.captioner.name}@{self.captioner.revision}"

    @property
    def introduction(self) -> str:
        """The model's name and description, whether it is loaded or not."""
        about = self._captioner.about
        return f"{self._captioner.name} ({about})" if about else self._captioner.name

    def request(self, conversation: Conversation) -> GenerateRequest:
        """A request for a conversation, with the decoding parameters of answers."""
        config = self.config
        decoding = Decoding(max_new_tokens=config.max_new_tokens, temperature=config.temperature, seed=config.seed)
        return GenerateRequest(messages=conversation, decoding=decoding)

    def take_notes(self, video: LongVideo, extent: Segment) -> tuple[Notebook, list[Segment], list[SceneNote]]:
        """The notes on a video, the windows that overlap a segment of it, and the notes within that segment."""
        config, folder = self.config, self.config.notes
        given = None
        if folder is not None and folder.is_dir():
            given = notes_on(folder, video.path)
            is_in_turn = all(one.end_s <= other.start_s + 0.01 for one, other in zip(given, given[1:], strict=False))
            # Windows follow the captioned segments: nothing is decoded to find the cuts again.
            video.cuts_s = [note.start_s for note in given] if is_in_turn else []
        notebook = Notebook(
            video,
            self.captioner,
            path=None if given is not None else folder,
            cache=self._cache,
            given=given,
            style=config.style,
            frames=config.frames,
            temperature=config.temperature,
            seed=config.seed,
            batch_size=config.batch_size,
        )
        windows = [window for window in video.windows() if window[1] > extent[0] and window[0] < extent[1]]
        placed = notebook.notes(windows, self.advance)
        return notebook, windows, [p for p in placed if p.note.end_s >= extent[0] and p.note.start_s <= extent[1]]
