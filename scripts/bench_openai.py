"""How much requests in flight gain: captions a second from a server that takes its time, against one at a time.

    python scripts/bench_openai.py [--rounds 3] [--clips 64] [--server-ms 200] [--frames 16] [--json]

Starts a local server in a process of its own that answers every request after so many milliseconds, then captions the
same clips with 1, 4, 16 and 32 requests in flight, round after round. Prints captions a second and, for each width, the
median over rounds of its rate over that of one at a time in the same round. The goal is at least 8 with 16 in flight.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.video.frames import Frames  # noqa: E402
from v2t.backends import Decoding, VideoLM, open_backend, user_turn  # noqa: E402

SERIAL = 1
WIDTHS = (SERIAL, 4, 16, 32)


class Server(ThreadingHTTPServer):
    """Has room for all who call at once."""

    request_queue_size = 128
    daemon_threads = True


class Handler(BaseHTTPRequestHandler):
    """A model that always says the same, after `work_s`."""

    protocol_version = "HTTP/1.1"
    work_s = 0.0

    def log_message(self, *args: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """The list of models."""
        self._send(200, {"data": [{"id": "slow"}]})

    def do_POST(self) -> None:
        """An answer; the question how frames are taken is answered at once."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if b'"max_tokens": 1,' in body:
            return self._send(400, {"error": {"message": "frames_indices length must match"}})
        time.sleep(self.work_s)
        message = {"role": "assistant", "content": "A dog runs."}
        self._send(200, {"choices": [{"message": message, "finish_reason": "stop"}]})

    def _send(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def serve(port: Connection, work_s: float) -> None:
    """Serve until killed; the port is sent to the parent."""
    Handler.work_s = work_s
    with Server(("127.0.0.1", 0), Handler) as server:
        port.send(server.server_port)
        server.serve_forever()


def rate(captioner: VideoLM, clips: list[Frames]) -> float:
    """Captions a second with as many calls at once as the captioner allows."""
    began = time.perf_counter()
    with ThreadPoolExecutor(captioner.concurrency) as threads:
        for _ in threads.map(lambda frames: captioner.answer([user_turn("what?", frames)], Decoding()), clips):
            pass
    return len(clips) / (time.perf_counter() - began)


def measure(url: str, clips: list[Frames], rounds: int) -> dict[int, list[float]]:
    """Captions a second [width][round], widths taking turns."""
    captioners = {width: open_backend(url, options={"concurrency": width}) for width in WIDTHS}
    for captioner in captioners.values():
        captioner.load()
    rates: dict[int, list[float]] = {width: [] for width in WIDTHS}
    for turn in range(rounds):
        for width in WIDTHS[turn % len(WIDTHS) :] + WIDTHS[: turn % len(WIDTHS)]:
            # One at a time is steady: a quarter of the clips tells as much.
            rates[width].append(rate(captioners[width], clips[: len(clips) // 4] if width == SERIAL else clips))
    return rates


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clips", type=int, default=64)
    parser.add_argument("--server-ms", type=float, default=200.0)
    parser.add_argument("--frames", type=int, default=16, help="of 320x240, in each clip")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (arguments.frames, 30, 40, 3), dtype=np.uint8)
    clip = Frames.from_pixels(small.repeat(8, axis=1).repeat(8, axis=2), 4.0)  # (T, 240, 320, 3)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(
        target=serve, args=(theirs, arguments.server_ms / 1000), daemon=True
    )
    server.start()
    try:
        rates = measure(f"openai:http://127.0.0.1:{ours.recv()}/v1", [clip] * arguments.clips, arguments.rounds)
    finally:
        server.terminate()
    ratios = {
        width: [ours / serial for ours, serial in zip(found, rates[SERIAL], strict=True)]
        for width, found in rates.items()
    }
    if arguments.json:
        print(json.dumps({**vars(arguments), "captions_per_s": rates, "ratio_to_serial": ratios}))
        return
    print(
        f"{arguments.clips} clips of {arguments.frames} frames, a server that takes {arguments.server_ms:g} ms, "
        f"{arguments.rounds} rounds; medians (least to most)"
    )
    print(f"{'in flight':>9} {'captions/s':>11}  ratio to one at a time")
    for width in WIDTHS:
        low, middle, high = min(ratios[width]), statistics.median(ratios[width]), max(ratios[width])
        print(f"{width:>9} {statistics.median(rates[width]):>11.1f}  {middle:.1f} ({low:.1f} to {high:.1f})")


if __name__ == "__main__":
    main()
