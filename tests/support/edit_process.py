"""`v2t edit` as a process of its own, with a captioner of this file in the model's place; and a captioner that counts.

python edit_process.py FOLDER [HOST [DOUBTS [PORT]]]     serves until a signal
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cineloop.video.sample import SampleSpec
from v2t.backends import Output, VideoLM
from v2t.backends.abilities import Abilities

START_S = 120.0


class NumberingCaptioner(VideoLM):
    """Its captions are numbered in the order in which it is asked; drawn ones name their seed."""

    name, revision, spec, frame_size, concurrency = "numbering", "1", SampleSpec(num_frames=2), (16, 16), 1
    abilities = Abilities()

    def __init__(self) -> None:
        self.number = 0

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding):
        outputs = []
        for _ in conversations:
            drawn = f", drawn by {decoding.seed}" if decoding.temperature else ""
            outputs.append(Output(text=f"caption {self.number}{drawn}", tokens=2))
            self.number += not decoding.temperature
        return outputs


class EditProcess:
    """A server that was started; `url` is where it answers."""

    def __init__(self, folder: Path, state: Path, *more: str, **environment: str) -> None:
        state.mkdir(parents=True, exist_ok=True)
        self.out, self.err = state / "out.txt", state / "err.txt"
        with open(self.out, "wb") as out, open(self.err, "ab") as err:
            self.child = subprocess.Popen(
                [sys.executable, __file__, str(folder), *more],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
                start_new_session=True,
            )
        end = time.monotonic() + START_S
        while " at http://" not in self.out.read_text():
            assert self.child.poll() is None, self.err.read_text()
            assert time.monotonic() < end, self.err.read_text()
            time.sleep(0.02)
        self.url = self.out.read_text().split(" at ")[1].strip()

    def send(self, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of a request."""
        data = None if body is None else json.dumps(body).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data, {**kind, **headers})
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return reply.status, json.loads(reply.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it and all it started; the exit code."""
        if self.child.poll() is None:
            if number == signal.SIGKILL:
                os.killpg(self.child.pid, signal.SIGKILL)
            else:
                self.child.send_signal(number)
            self.child.wait(60)
        return self.child.returncode


@contextmanager
def editing(folder: Path, state: Path, *more: str, **environment: str) -> Iterator[EditProcess]:
    """An editor of a folder; at the end it is killed."""
    process = EditProcess(folder, state, *more, **environment)
    try:
        yield process
    finally:
        process.kill()


def _main(folder: str, host: str = "127.0.0.1", doubts: str = "", port: str = "0") -> int:
    from cineloop import log
    from v2t.edit.run import run
    from v2t.edit.settings import EditConfig

    log.setup(verbosity=1)
    config = EditConfig(host=host, port=int(port), by="ann", doubts=Path(doubts) if doubts else None)
    return run(Path(folder), config, captioner=NumberingCaptioner())


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
