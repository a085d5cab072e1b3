"""How much requests in flight gain: captions a second from a server that takes its time, against one at a time.

    python benchmarks/bench_openai.py [--full] [--rounds 3] [--clips 64] [--server-ms 200] [--frames 16]

Starts a local server in a process of its own that answers every request after so many milliseconds, then captions the
same clips with 1, 4, 16 and 32 requests in flight. The goal is at least 8 times the rate of one with 16 in flight.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from harness import ROOT, Options, Row, Run, Size, main, turns

sys.path.insert(0, str(ROOT / "tests/support"))

from openai_server import Handler, Server  # noqa: E402

SERIAL = 1
WIDTHS = (SERIAL, 4, 16, 32)


class Slow(Handler):
    """A model that gives the same answer after a while; the question how frames are taken is answered at once."""

    def reply(self, number: int, request: dict) -> None:
        """See `Handler`."""
        self.server.seen.clear()
        if request["max_tokens"] == 1:
            return self.send(400, {"error": {"message": "frames_indices length must match"}})
        time.sleep(self.server.work_s)
        self.say("A dog runs.")


class SlowServer(Server):
    """Has room for all who call at once."""

    request_queue_size, handler, models = 128, Slow, ({"id": "slow"},)
    work_s = 0.0


def serve(port: Connection, work_s: float) -> None:
    """Serve until killed; the address is sent to the parent."""
    with SlowServer() as server:
        server.work_s = work_s
        port.send(server.address)
        server.serve_forever()


def in_flight(options: Options, folder: Path) -> Iterator[Row]:
    """A row a width."""
    from cineloop.video.frames import Frames
    from v2t.backends import Decoding, open_backend, user_turn

    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (options.frames, 30, 40, 3), dtype=np.uint8)
    clip = Frames.from_pixels(small.repeat(8, axis=1).repeat(8, axis=2), 4.0)  # (T, 240, 320, 3)
    # One at a time is steady: a quarter of the clips shows as much.
    num = {f"{width} in flight": options.clips // (4 if width == SERIAL else 1) for width in WIDTHS}

    def run(captioner: Any, count: int) -> None:
        with ThreadPoolExecutor(captioner.concurrency) as threads:
            turn = [user_turn("what?", clip)]
            list(threads.map(lambda _: captioner.answer(turn, Decoding()), range(count)))

    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, options.server_ms / 1000), daemon=True
    )
    server.start()
    try:
        url, runs = ours.recv(), dict[str, Run]()
        for width, (name, count) in zip(WIDTHS, num.items(), strict=True):
            captioner = open_backend(url, options={"concurrency": width})
            captioner.load()
            runs[name] = lambda captioner=captioner, count=count: run(captioner, count)
        part = f"{options.clips} clips of {options.frames} frames, a server that takes {options.server_ms:g} ms"
        rows = turns(part, runs, options.rounds, base="1 in flight", warm_up=False, items=num)
    finally:
        server.terminate()
    rows[2].goal = ">= 8"
    yield from rows


if __name__ == "__main__":
    sizes = Size("server_ms", 200.0, 200.0), Size("frames", 16, 16, "of 320x240, in each clip")
    sys.exit(main(__doc__, {"in_flight": in_flight}, Size("clips", 64, 64), *sizes, rounds=(1, 3)))
