"""What serving costs: captions a second of a folder through `v2t serve`, beside the bare engine and the local loop.

    scripts/serve-env && .venv-serve/bin/python benchmarks/bench_serve.py [--full] [--num 48] [--engine vllm]

Draws clips of the cartoon world and captions each with the same prompt, greedily, by five roads in turn, round after
round, all with the same weights and the same frames:
    local     `v2t caption`, the model in this process: the loop a folder is captioned by without a server
    bare      the engine alone, sampled frames ready in memory, requests in flight as named
    frames    the same bodies through the gateway
    files     the clips' bytes as data URLs through the gateway, which decodes them
    caption   `v2t caption --model openai:` against the gateway
Rates are clips a second, compared once with `bare` and once with `local`; beside them CPU milliseconds a clip of
engine, gateway, its decoders and client (of the local road the model is the client), and how many cores were busy.
Captions of all roads are compared. On a GPU the goal is frames / bare >= .85; on a CPU the gateway, its decoders and
this client take their time from the engine's own cores. Without vLLM in this environment the engine is `local`.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

from harness import ROOT, LoadedCaptioner, Options, Row, Size, command_of, main, processes, rows_of, turns

sys.path.insert(0, str(ROOT / "tests/support"))

import serve_process  # noqa: E402

PROMPT = "Describe the video in one sentence."
MAX_TOKENS = 64
# All roads and rounds show the same clips, a folder shows none twice: nothing seen before may be remembered.
FORGET = {"vllm": ["--no-enable-prefix-caching", "--mm-processor-cache-gb", "0"], "local": []}
ENGINE = "vllm.entrypoints"  # in the command line of an engine's process
BELOW = {"engine": "engine", "gateway": "decoders", "decoders": "decoders", "client": "client"}
Road = Callable[[], dict[str, str]]


def by_role(gateway: int) -> dict[str, float]:
    """CPU seconds so far, of processes that ended too (Linux): of engines, of the gateway, of its decoders, and of this
    client with decoders of its own."""
    roles = {os.getpid(): "client"}
    total = dict.fromkeys(BELOW, 0.0)
    for pid, each in processes(os.getpid()).items():  # parents come first
        if pid not in roles:
            is_engine = ENGINE in command_of(pid)
            roles[pid] = "engine" if is_engine else "gateway" if pid == gateway else BELOW[roles[each.parent]]
        total[roles[pid]] += each.cpu_s + each.ended_cpu_s
    return total


def bodies(model: str, kind: str, contents: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Requests for the captions of clips, by clip."""
    urls = {name: f"data:{kind};base64,{base64.b64encode(content).decode()}" for name, content in contents.items()}
    return {name: body(model, url) for name, url in urls.items()}


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


async def through(client: Any, request: dict[str, Any]) -> str:
    """The answer of a server."""
    reply = await client.post("/v1/chat/completions", json=request)
    reply.raise_for_status()
    text: str = reply.json()["choices"][0]["message"]["content"]
    return text


async def bare(engine: Any, model: str, frames: Any) -> str:
    """The answer of an engine."""
    from v2t.backends import Decoding, Output, user_turn
    from v2t.serve.chat import ChatRequest

    decoding = Decoding(max_new_tokens=MAX_TOKENS)
    messages = user_turn(PROMPT, frames)
    request = ChatRequest(id="bench", model=model, messages=messages, decoding=decoding, given=("temperature",))
    replies = [reply async for reply in engine.generate(request)]
    return next(reply.text for reply in replies if isinstance(reply, Output))


def caption_folder(clips: Path, captioner: Any) -> dict[str, str]:
    """Captions by clip from the job of `v2t caption`."""
    from v2t.caption import run as caption
    from v2t.caption.settings import CaptionConfig

    rows: list[dict[str, Any]] = []
    config = CaptionConfig(prompt=PROMPT, max_new_tokens=MAX_TOKENS, on_outside="warn")
    with tempfile.TemporaryDirectory() as out:
        caption.run([str(clips)], Path(out), config, captioner=captioner, emit=rows.append)
    failed = [row["id"] for row in rows if row["status"] != "ok"]
    if failed:
        raise SystemExit(f"v2t caption failed on {', '.join(failed)}")
    return {Path(row["path"]).stem: row["caption"] for row in rows}


def clips_of(options: Options, folder: Path) -> dict[str, Path]:
    """Clips of the world by name."""
    command_line = [sys.executable, "-m", "v2t.cli", "world", "-o", str(folder), "--num", str(options.num)]
    subprocess.run(command_line, check=True, capture_output=True)
    return {path.stem: path for path in sorted(folder.glob("*.mp4"))}


def serving(options: Options, folder: Path) -> Iterator[Row]:
    """All roads; the event loop of engine and requests runs in a thread, so that the roads take turns here."""
    import httpx

    from cineloop.video.packed import MEDIA_TYPE, pack
    from cineloop.video.worker import DecoderPool
    from v2t.backends import open_backend
    from v2t.serve import served
    from v2t.serve.engines import create
    from v2t.serve.settings import ServeConfig

    files = clips_of(options, folder / "clips")
    config = ServeConfig(engine=options.engine, engine_args=tuple(FORGET[options.engine]))
    known, num, loop = served.read(config), options.in_flight, asyncio.new_event_loop()
    with DecoderPool() as pool:
        frames = {name: pool.decode(path, known.spec, known.frame_size) for name, path in files.items()}
    packed = bodies(known.name, MEDIA_TYPE, {name: pack(one) for name, one in frames.items()})
    raw = bodies(known.name, "video/mp4", {name: path.read_bytes() for name, path in files.items()})

    def wait(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    threading.Thread(target=loop.run_forever, daemon=True).start()
    with ExitStack() as stack:
        stack.callback(loop.call_soon_threadsafe, loop.stop)
        engine = create(config, known)
        stack.callback(lambda: wait(engine.stop()))
        wait(start(engine))
        arguments = (
            "--engine",
            options.engine,
            "--port",
            "0",
            "--set",
            f"engine_args={json.dumps(FORGET[options.engine])}",
        )
        gateway = stack.enter_context(serve_process.serving(folder, "starter", *arguments)).ready()
        front = httpx.AsyncClient(base_url=gateway.url, timeout=600)
        here, there = (LoadedCaptioner(open_backend(name)) for name in ("starter", f"openai:{gateway.url}/v1"))
        roads: dict[str, Road] = {
            "local": lambda: caption_folder(folder / "clips", here),
            "bare": lambda: wait(gather(frames, lambda name: bare(engine, known.name, frames[name]), num)),
            "frames": lambda: wait(gather(packed, lambda name: through(front, packed[name]), num)),
            "files": lambda: wait(gather(raw, lambda name: through(front, raw[name]), num)),
            "caption": lambda: caption_folder(folder / "clips", there),
        }

        def run(road: Road) -> tuple[dict[str, str], dict[str, float]]:
            before = by_role(gateway.child.pid)
            captions = road()
            return captions, {role: used - before[role] for role, used in by_role(gateway.child.pid).items()}

        runs = {name: lambda road=road: run(road) for name, road in roads.items()}
        part = f"{options.num} clips, engine {options.engine}, {options.in_flight} in flight"
        rows = turns(part, runs, options.rounds, base="bare", items=options.num)
        wait(front.aclose())
    add_figures(rows, options.num)
    yield from rows
    yield from rows_of(f"{part}, beside the local loop", {row.name: row.wall_s for row in rows}, base="local",
                       items=options.num)  # fmt: skip


async def start(engine: Any) -> None:
    """Start an engine and wait until it is ready."""
    await engine.start()
    await engine.ready()


def add_figures(rows: list[Row], num: int) -> None:
    """What each road took of the processor, by role, and how many captions are not those of the first run."""
    first = rows[0].results[0][0]
    for row in rows:
        used = {role: median(cpu[role] for _, cpu in row.results) for role in BELOW}
        row.figures = {f"CPU ms of {role}": 1000 * seconds / num for role, seconds in used.items()}
        row.figures["cores"] = sum(used.values()) / median(row.wall_s)
        row.figures["captions that differ"] = sum(
            captions[clip] != text for captions, _ in row.results for clip, text in first.items()
        )


def flags(parser: argparse.ArgumentParser) -> None:
    """What is no size."""
    default = "vllm" if find_spec("vllm") else "local"
    parser.add_argument("--in-flight", type=int, default=24)
    parser.add_argument("--engine", choices=("vllm", "local"), default=default)


if __name__ == "__main__":
    sys.exit(main(__doc__, {"serving": serving}, Size("num", 12, 48, "clips"), rounds=(1, 3), more=flags))
