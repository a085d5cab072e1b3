"""Serve the editor of a captioning run's folder until a signal comes.

In: the folder, an `EditConfig`. Out: the exit code; on stdout one line with the address. At the end the run's formats
are written from the journal; after kill -9 the next start writes them.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.discovery import discover
from cineloop.errors import EXIT_INTERRUPTED, EXIT_OK, UsageError
from cineloop.log import logger, plural, printable
from cineloop.store import is_store
from cineloop.web.port import check_packages, listening, server_of, url_of
from v2t.backends import VideoLM
from v2t.edit.settings import EditConfig

if TYPE_CHECKING:
    import socket

    from v2t.edit.desk import EditDesk


def run(
    folder: Path | str,
    config: EditConfig,
    *,
    captioner: VideoLM | None = None,
) -> int:
    """Serve until a signal; returns the exit code.

    Args:
        captioner: an instance to use instead of the one that the run or `config.model` names.

    Raises:
        UsageError: LOCKED, a run or another editor holds the folder; DOUBTS; a folder on a store.
        NothingMatchedError: no captions in it.
        MissingDependencyError: a package is missing, or the port is taken.
    """
    if is_store(folder):
        raise UsageError("captions on a store cannot be edited", hint="copy the folder here, then edit the copy")
    check_packages()
    folder = Path(folder)
    from v2t.edit.answers import ClipAnswers
    from v2t.edit.clips import ClipFrames
    from v2t.edit.desk import EditDesk
    from v2t.edit.folder import EditFolder
    from v2t.edit.order import read_doubts

    with ExitStack() as stack:
        port = stack.enter_context(listening(config))
        opened = stack.enter_context(EditFolder(folder))
        if config.clips is not None:
            opened.ledger.clips = discover([str(config.clips)])
        doubts = read_doubts(config.doubts, opened.ledger.known) if config.doubts else {}
        frames = ClipFrames(config)
        stack.callback(frames.close)
        answers = ClipAnswers(folder, config, frames.pool, captioner)
        stack.callback(answers.close)
        desk = EditDesk(config, opened, doubts, answers, frames)
        ready = f"editing {plural(len(desk.ids), 'clip')} of {printable(str(folder))} at {url_of(config, port)}/"
        return asyncio.run(_serve(desk, port, ready))


async def _serve(desk: EditDesk, port: socket.socket, ready: str) -> int:
    """See `run`."""
    from v2t.edit.app import create_app

    limits = desk.config.limits
    server = server_of(create_app(desk), in_flight=limits.in_flight, drain_s=limits.drain_s)
    signals: list[signal.Signals] = []

    def stop(number: signal.Signals) -> None:
        server.should_exit = True
        signals.append(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(each, stop, each)
    desk.start()
    serving = asyncio.create_task(server.serve(sockets=[port]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        print(ready, flush=True)
        await serving
    finally:
        logger.info("writing the run's formats")
        await desk.stop()
    return EXIT_INTERRUPTED if signals and signals[0] == signal.SIGINT else EXIT_OK
