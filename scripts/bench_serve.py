"""What serving costs: captions a second of a folder through `v2t serve`, beside the bare engine and the local loop.

    scripts/serve-env && .venv-serve/bin/python scripts/bench_serve.py [--num 48] [--rounds 3] [--engine vllm]

Draws clips of the cartoon world and captions each with the same prompt, greedily, by five roads in turn, round after
round, all with the same weights and the same frames:
    local     `v2t caption`, the model in this process: the loop a folder is captioned by without a server
    bare      the engine alone, sampled frames ready in memory, requests in flight as named
    frames    the same bodies through the gateway
    files     the clips' bytes as data URLs through the gateway, which decodes them
    caption   `v2t caption --model openai:` against the gateway
Prints clips a second, the ratios to `bare` and to `local` (median over rounds, least, most), CPU milliseconds a clip of
engine, gateway, its decoders and client (of the local road the model is the client), and how many cores were busy.
Captions of all roads are compared. On a GPU the goal is frames / bare >= .85; on a CPU the gateway, its decoders and
this client take their time from the engine's own cores.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import httpx  # noqa: E402

from cineloop.video.frames import Frames  # noqa: E402
from cineloop.video.packed import MEDIA_TYPE, pack  # noqa: E402
from cineloop.video.worker import DecoderPool  # noqa: E402
from v2t.backends import (  # noqa: E402
    Output,  # noqa: E402
    open_backend,
    user_turn,
)
from v2t.caption import run as caption  # noqa: E402
from v2t.caption.settings import CaptionConfig  # noqa: E402
from v2t.serve import served  # noqa: E402
from v2t.serve.chat import ChatRequest  # noqa: E402
from v2t.serve.engines import Engine, EngineRequest, create  # noqa: E402
from v2t.serve.settings import ServeConfig  # noqa: E402

PROMPT = "Describe the video in one sentence."
MAX_TOKENS = 64
TICKS = os.sysconf("SC_CLK_TCK")
# All roads and rounds show the same clips, a folder shows none twice: nothing seen before may be remembered.
FORGET = {"vllm": ["--no-enable-prefix-caching", "--mm-processor-cache-gb", "0"], "local": []}

ENGINE = "vllm.entrypoints"  # in the command line of an engine's process


def by_role(gateway: int) -> dict[str, float]:
    """CPU seconds so far, of processes that ended too (Linux): of engines, of the gateway, of its decoders, and of this
    client with decoders of its own."""
    children: dict[int, list[int]] = {}
    used: dict[int, float] = {}
    engines: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                words = (entry / "cmdline").read_text()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry.name))
            used[int(entry.name)] = sum(map(int, fields[11:15])) / TICKS
            if ENGINE in words:
                engines.add(int(entry.name))
    total = {"engine": 0.0, "gateway": 0.0, "decoders": 0.0, "client": 0.0}
    below = {"engine": "engine", "gateway": "decoders", "decoders": "decoders", "client": "client"}
    waiting = [(os.getpid(), "client")]
    while waiting:
        one, role = waiting.pop()
        total[role] += used.get(one, 0.0)
        for child in children.get(one, []):
            named = "engine" if child in engines else "gateway" if child == gateway else below[role]
            waiting.append((child, named))
    return total


def body(model: str, url: str) -> dict[str, Any]:
    """A request for one clip's caption."""
    parts = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": PROMPT}]
    return {
        "model": model,
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0.0,
    }


async def gather(names: Iterable[str], ask: Callable[[str], Awaitable[str]], in_flight: int) -> dict[str, str]:
    """Answers by clip, so many requests at once."""
    gate = asyncio.Semaphore(in_flight)

    async def one(name: str) -> tuple[str, str]:
        async with gate:
            return name, await ask(name)

    return dict(await asyncio.gather(*map(one, names)))


async def through(client: httpx.AsyncClient, request: dict[str, Any]) -> str:
    """The answer of a server."""
    reply = await client.post("/v1/chat/completions", json=request)
    reply.raise_for_status()
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


async def bare(engine: Engine, model: str, frames: Frames) -> str:
    """The answer of an engine."""
    chat = ChatRequest(model=model, messages=(), max_tokens=MAX_TOKENS, sampling={"temperature": 0.0})
    request = EngineRequest(id="bench", chat=chat, conversation=tuple(user_turn(PROMPT, frames)))
    replies = [reply async for reply in engine.generate(request)]
    return next(reply.text for reply in replies if isinstance(reply, Output))


class Loaded:
    """A captioner that is in memory already, so that no road's time holds the loading."""

    def __init__(self, model: str) -> None:
        self._captioner = open_backend(model)
        self._captioner.load()

    def load(self) -> None:
        """Done before."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._captioner, name)


def caption_folder(clips: Path, captioner: Any) -> dict[str, str]:
    """Captions by clip from the job of `v2t caption`."""
    rows: list[dict[str, Any]] = []
    config = CaptionConfig(prompt=PROMPT, max_new_tokens=MAX_TOKENS, on_outside="warn")
    with tempfile.TemporaryDirectory() as out:
        caption.run([str(clips)], Path(out), config, captioner=captioner, emit=rows.append)
    failed = [row["id"] for row in rows if row["status"] != "ok"]
    if failed:
        raise SystemExit(f"v2t caption failed on {', '.join(failed)}")
    return {Path(row["path"]).stem: row["caption"] for row in rows}


class Gateway:
    """A `v2t serve` in a process of its own."""

    def __init__(self, engine: str, folder: Path) -> None:
        words = [sys.executable, "-m", "v2t.cli", "serve", "starter", "--engine", engine, "--port", "0"]
        words += ["--set", f"engine_args={json.dumps(FORGET[engine])}"]
        self._log = (folder / "gateway.log").open("w")
        self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=self._log, stdin=subprocess.DEVNULL)
        line = self.process.stdout.readline() if self.process.stdout else b""
        if not line:
            raise SystemExit(f"v2t serve did not start: {(folder / 'gateway.log').read_text()[-2000:]}")
        self.url = line.decode().split(" at ")[1].split()[0]  # serving NAME at URL (engine …)

    def close(self) -> None:
        """Stop it, and wait."""
        self.process.terminate()
        self.process.wait(60)
        self._log.close()


async def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All rounds of all roads."""
    clips = folder / "clips"
    command_line = [sys.executable, "-m", "v2t.cli", "world", "-o", str(clips), "--num", str(arguments.num)]
    subprocess.run(command_line, check=True, capture_output=True)
    files = {path.stem: path for path in sorted(clips.glob("*.mp4"))}
    config = ServeConfig(engine=arguments.engine, engine_args=tuple(FORGET[arguments.engine]))
    known = served.read(config)
    with DecoderPool() as pool:
        frames = {name: pool.decode(path, known.spec, known.frame_size) for name, path in files.items()}
    packed = {
        name: body(known.name, f"data:{MEDIA_TYPE};base64,{base64.b64encode(pack(one)).decode()}")
        for name, one in frames.items()
    }
    raw = {
        name: body(known.name, f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}")
        for name, path in files.items()
    }
    gateway = Gateway(arguments.engine, folder)
    engine = create(config, known)
    await engine.start()
    try:
        await engine.ready()
        async with httpx.AsyncClient(base_url=gateway.url, timeout=600) as front:
            here, there = Loaded("starter"), Loaded(f"openai:{gateway.url}/v1")
            num = arguments.in_flight
            roads: dict[str, Callable[[], Awaitable[dict[str, str]]]] = {
                "local": lambda: asyncio.to_thread(caption_folder, clips, here),
                "bare": lambda: gather(frames, lambda name: bare(engine, known.name, frames[name]), num),
                "frames": lambda: gather(packed, lambda name: through(front, packed[name]), num),
                "files": lambda: gather(raw, lambda name: through(front, raw[name]), num),
                "caption": lambda: asyncio.to_thread(caption_folder, clips, there),
            }
            return await _rounds(roads, arguments, gateway.process.pid)
    finally:
        await engine.stop()
        gateway.close()


async def _rounds(
    roads: dict[str, Callable[[], Awaitable[dict[str, str]]]], arguments: argparse.Namespace, gateway: int
) -> dict[str, Any]:
    rates: dict[str, list[float]] = {name: [] for name in roads}
    cpu: dict[str, list[dict[str, float]]] = {name: [] for name in roads}
    different = 0
    first: dict[str, str] = {}
    for turn in range(arguments.rounds + 1):  # the first warms up
        for name, road in roads.items():
            before, began = by_role(gateway), time.perf_counter()
            captions = await road()
            took = time.perf_counter() - began
            first = first or captions
            different += sum(captions[clip] != first[clip] for clip in first)
            if turn:
                rates[name].append(arguments.num / took)
                cpu[name].append({role: used - before[role] for role, used in by_role(gateway).items()})
    return {"rates": rates, "cpu_s": cpu, "different": different}


def report(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    """The table."""
    rates = found["rates"]
    print(
        f"{arguments.num} clips, engine {arguments.engine}, {arguments.in_flight} in flight, {arguments.rounds} "
        f"rounds; medians (least to most); captions that differ between roads: {found['different']}"
    )
    roles = list(found["cpu_s"]["bare"][0])
    head = "".join(f"{role:>9}" for role in roles)
    print(f"{'road':<9}{'clips/s':>9}   {'of bare':<22}{'of local':<22}CPU ms:{head}{'cores':>7}")
    for name, rate in rates.items():
        cells = []
        for base in ("bare", "local"):
            ratios = [a / b for a, b in zip(rate, rates[base], strict=True)]
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        used = [statistics.median(turn[role] for turn in found["cpu_s"][name]) / arguments.num for role in roles]
        milliseconds = "".join(f"{1000 * each:>9.0f}" for each in used)
        cores = sum(used) * statistics.median(rate)
        print(
            f"{name:<9}{statistics.median(rate):>9.1f}   {cells[0]:<22}{cells[1]:<22}{'':<7}{milliseconds}{cores:>7.1f}"
        )


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--num", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--in-flight", type=int, default=24)
    parser.add_argument("--engine", choices=("vllm", "local"), default="vllm")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(arguments, Path(folder)))
    if arguments.json:
        print(json.dumps({**vars(arguments), **found}))
    else:
        report(found, arguments)


if __name__ == "__main__":
    main()
