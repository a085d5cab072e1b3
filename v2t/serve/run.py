"""Run the gateway and the engine behind it until a signal comes or the engine fails.

In: a `ServeConfig`. Out: the exit code; on stdout one line with the address, once it is ready. After a first
SIGTERM or Ctrl-C no connection is accepted, and requests in flight get `limits.drain_s` to end. A second one stops at
once. Engine and decoders end with the gateway.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
import threading
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from cineloop.errors import EXIT_INTERRUPTED, EXIT_OK
from cineloop.log import logger
from cineloop.web.port import check_packages, listening, server_of, url_of
from v2t import doctor
from v2t.serve.engines import MODEL_THREAD
from v2t.serve.served import ServedModel, read
from v2t.serve.settings import ServeConfig

if TYPE_CHECKING:
    from v2t.serve.engines import ServeEngine

_STILL_S = 10.0  # between two lines of the log while the model is loaded


def run(config: ServeConfig) -> int:
    """Serve until a signal; returns the exit code. Raises MissingDependencyError: no model, no package, the port is
    taken, or the engine does not start or fails; UsageError: a setting that does not fit the model."""
    check_packages()
    logger.info("starting to serve %s", config.engine if config.is_relay else config.model)
    served = read(config)
    for line in doctor.vulnerable():
        logger.warning("%s", line)
    with listening(config) as port:
        code = asyncio.run(_serve(config, served, port))
    if any(thread.name.startswith(MODEL_THREAD) for thread in threading.enumerate()):
        # In the middle of a long step: unwinding the thread below torch at interpreter exit would abort.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(code)
    return code


async def _serve(config: ServeConfig, served: ServedModel, port: socket.socket) -> int:
    """See `run`."""
    from v2t.serve import engines
    from v2t.serve.app import create_app
    from v2t.serve.media import Media

    signals: list[signal.Signals] = []
    async with AsyncExitStack() as stack:
        media = await stack.enter_async_context(Media(config, served))
        engine = engines.create(config, served)
        stack.push_async_callback(engine.stop)
        app = create_app(config, served, engine, media)
        if app.state.films is not None:
            stack.callback(app.state.films.close)
        server = server_of(app, in_flight=config.limits.in_flight, drain_s=config.limits.drain_s)
        serving = asyncio.create_task(server.serve(sockets=[port]))

        def stop(number: signal.Signals) -> None:
            server.should_exit = True
            if signals:
                serving.cancel()
            signals.append(number)

        for each in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(each, stop, each)
        working = asyncio.create_task(_work(engine, config, served, url_of(config, port)))
        await asyncio.wait({serving, working}, return_when=asyncio.FIRST_COMPLETED)
        server.should_exit = True
        await asyncio.wait({serving})
        working.cancel()
        await asyncio.wait({working})
        if not working.cancelled():
            working.result()
    return EXIT_INTERRUPTED if signals and signals[0] == signal.SIGINT else EXIT_OK


async def _work(engine: ServeEngine, config: ServeConfig, served: ServedModel, url: str) -> None:
    """Start the engine and wait until it fails. Raises CineloopError then."""
    begun = time.monotonic()
    await engine.start()
    name = served.name or "of another server"
    logger.info("%s accepts connections; loading the model %s (engine %s)", url, name, engine.name)
    loading = asyncio.ensure_future(engine.ready())
    try:
        while not (await asyncio.wait({loading}, timeout=_STILL_S))[0]:
            logger.info("still loading the model, after %.0f s", time.monotonic() - begun)
        loading.result()
    finally:
        loading.cancel()
    where = f"; page: {url}/" if config.page else ""
    print(f"serving {name} at {url} (engine {engine.name}){where}", flush=True)
    await engine.until_failure()
