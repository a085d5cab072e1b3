"""A pool of decoders without a process: the true decoder in this one, or frames that a subclass makes."""

from __future__ import annotations

import os
from concurrent.futures import Future

from cineloop.errors import ItemError
from cineloop.video.decode import Request, decode
from cineloop.video.frames import Frames
from cineloop.video.info import VideoInfo
from cineloop.video.limits import Limits
from cineloop.video.open_file import LastFile


class Pool:
    """The part of `DecoderPool` that a captioning run uses."""

    def __init__(self, num_workers=1, *args, **more) -> None:
        self.num_workers = num_workers

    def __enter__(self):
        return self

    def __exit__(self, *exc) -> None:
        pass

    def close(self) -> None:
        pass

    def decode(self, path, spec, size) -> Frames:
        return decode(os.fsencode(path), Request(spec=spec, size=size))

    def submit(self, path, spec, size) -> Future:
        future: Future = Future()
        try:
            future.set_result(self.decode(path, spec, size))
        except ItemError as error:
            future.set_exception(error)
        return future


def probe(path) -> VideoInfo:
    """The file as it is shown, read in this process."""
    with LastFile() as last, last.open(path) as opened:
        return opened.info(Limits())
