"""The true engines in trouble. vLLM, killed under load: every request ends cleanly and no process is left. A killed
server with the local engine leaves no process and starts again."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress

import httpx
import numpy as np
import pytest

from cineloop.errors import MissingDependencyError
from cineloop.video.frames import Frames
from cineloop.video.packed import MEDIA_TYPE, pack
from serve_process import family_of, serving
from small_clips import write_grey
from v2t.serve import served
from v2t.serve.engine_process import EngineProcess, private_folder
from v2t.serve.engines import vllm
from v2t.serve.settings import ServeConfig, ServeLimits

pytestmark = pytest.mark.xdist_group("machine")

LONG_S = 120.0
NUM = 8


def body(seed: int, stream: bool) -> dict:
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 1, 1, 3), np.uint8).repeat(64, 1).repeat(64, 2)
    url = f"data:{MEDIA_TYPE};base64,{base64.b64encode(pack(Frames.from_pixels(pixels, fps=4.0))).decode()}"
    content = [{"type": "video_url", "video_url": {"url": url}}, {"type": "text", "text": "Describe the video."}]
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 80, "stream": stream}


async def ask(client: httpx.AsyncClient, seed: int, stream: bool, told) -> str:
    """The answer; `told` is called at each sign of it."""
    if not stream:
        reply = await client.post("/v1/chat/completions", json=body(seed, stream))
        assert reply.status_code == 200, reply.text
        told()
        return reply.json()["choices"][0]["message"]["content"]
    text, is_whole = "", False
    async with client.stream("POST", "/v1/chat/completions", json=body(seed, stream)) as reply:
        assert reply.status_code == 200
        async for line in reply.aiter_lines():
            is_whole = is_whole or line == "data: [DONE]"
            if line and not is_whole:
                event = json.loads(line.removeprefix("data: "))
                assert "error" not in event, event
                text += event["choices"][0]["delta"].get("content", "")
                told()
    assert is_whole
    return text


async def until_it_breaks(client: httpx.AsyncClient, seed: int, told) -> tuple[list[str], httpx.TransportError]:
    """Ask again and again; the whole answers, and how the last one broke off."""
    answers: list[str] = []
    while True:
        try:
            answers.append(await ask(client, seed, seed % 2 == 0, told))
        except httpx.TransportError as error:
            return answers, error


async def killed_under_load(engine: EngineProcess) -> None:
    first = [await ask(engine.client, seed, seed % 2 == 0, lambda: None) for seed in range(NUM)]
    assert len(set(first)) > 1 and all(first)
    signs = [0] * NUM

    def note(seed: int):
        def told() -> None:
            signs[seed] += 1

        return told

    asks = [asyncio.create_task(until_it_breaks(engine.client, seed, note(seed))) for seed in range(NUM)]
    while not (any(signs[::2]) and any(signs[1::2])):  # streams and whole answers are on their way
        await asyncio.sleep(0.01)
    os.kill(engine.pid, signal.SIGKILL)
    for seed, (answers, _) in enumerate(await asyncio.gather(*asks)):
        assert set(answers) <= {first[seed]}  # what came whole is what always comes
    with pytest.raises(MissingDependencyError, match="SIGKILL"):
        await engine.until_failure()


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_killed_under_load_ends_every_request_and_leaves_no_process():
    config = ServeConfig(engine="vllm", limits=ServeLimits(in_flight=NUM, answer_s=LONG_S))
    folder = private_folder()
    command = vllm.command(config, served.read(config), folder / "engine.sock")

    async def main() -> None:
        engine = EngineProcess(command)
        try:
            await engine.start()
            await engine.ready()
            child = engine.pid
            await killed_under_load(engine)
        finally:
            await engine.stop()
        # Neither it nor any of its group is left, not even as a zombie.
        assert not family_of(child)

    asyncio.run(asyncio.wait_for(main(), 880))
    assert not folder.exists()


@pytest.mark.long
@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_an_answer_leaves_nothing_and_starts_again(tmp_path):
    """What a service manager finds after a crash of the model, which is a crash of the server."""
    write_grey(tmp_path / "clip.mp4", 90, 16, size=(64, 64))
    url = f"data:video/mp4;base64,{base64.b64encode((tmp_path / 'clip.mp4').read_bytes()).decode()}"
    given = body(1, True)
    given["messages"][0]["content"][0]["video_url"]["url"] = url
    for name in ("first", "again"):
        with serving(tmp_path / name, "--engine", "local", "--port", "0", TMPDIR=str(tmp_path)) as server:
            server.ready()
            asked = f"{server.url}/v1/chat/completions"
            with httpx.Client(timeout=LONG_S) as client, client.stream("POST", asked, json=given) as reply:
                lines = reply.iter_lines()
                assert json.loads(next(lines).removeprefix("data: "))["choices"]
                family = family_of(server.child.pid)
                assert len(family) > 1  # the server and a decoder
                os.kill(server.child.pid, signal.SIGKILL)
                with suppress(httpx.TransportError):  # unless the answer was whole already
                    list(lines)
            assert server.wait() == -signal.SIGKILL
            while [process for process in family if process.exists()]:
                time.sleep(0.01)


NUM_CONNECTIONS, NUM_KILLS = 100, 20
# Sends the request in its input over many connections, and then reads nothing.
CLIENT = """
import socket, sys, time
data = sys.stdin.buffer.read()
held = [socket.create_connection(("127.0.0.1", int(sys.argv[1])), timeout=60) for _ in range(int(sys.argv[2]))]
for each in held:
    each.sendall(data)
print("sent", flush=True)
time.sleep(600)
"""


@pytest.mark.long
@pytest.mark.slow
def test_clients_killed_with_all_their_connections_take_no_slot_with_them(tmp_path):
    write_grey(tmp_path / "clip.mp4", 90, 16, size=(64, 64))
    given = body(1, False)
    encoded = base64.b64encode((tmp_path / "clip.mp4").read_bytes()).decode()
    given["messages"][0]["content"][0]["video_url"]["url"] = f"data:video/mp4;base64,{encoded}"
    sent = json.dumps(given).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sent = f"{head}Content-Length: {len(sent)}\r\n\r\n".encode() + sent
    limits = ("--set", "limits.rate_per_minute=1000000", "--set", "limits.answer_s=120")
    with serving(tmp_path, "--engine", "local", "--port", "0", *limits, TMPDIR=str(tmp_path)) as server:
        server.ready()
        port = server.url.rpartition(":")[2]
        for number in range(NUM_KILLS):
            client = subprocess.Popen(
                [sys.executable, "-c", CLIENT, port, str(NUM_CONNECTIONS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            client.stdin.write(sent)
            client.stdin.close()
            assert client.stdout.readline() == b"sent\n"
            time.sleep(0.05 * (number % 5))
            # In every other round all connections end in one pass of the server's event loop.
            if number % 2:
                os.kill(server.child.pid, signal.SIGSTOP)
            client.kill()
            client.wait()
            if number % 2:
                os.kill(server.child.pid, signal.SIGCONT)
        with httpx.Client(base_url=server.url, timeout=LONG_S) as client:
            reply = client.post("/v1/chat/completions", json=given)
            while reply.status_code == 503:  # connections of the last client are still being ended
                time.sleep(0.5)
                reply = client.post("/v1/chat/completions", json=given)
            assert reply.status_code == 200 and reply.json()["choices"][0]["message"]["content"], reply.text
            assert client.get("/health").json() == {"status": "ok", "engine": "ready"}
            end = time.monotonic() + LONG_S
            while any(taken_by(client).values()):
                assert time.monotonic() < end, taken_by(client)
                time.sleep(0.2)


def taken_by(client: httpx.Client) -> dict[str, float]:
    """The gauges of slots and of those that wait for one."""
    found = re.findall(r"^(v2t_\w*(?:in_flight|waiting)) (\S+)$", client.get("/metrics").text, re.M)
    assert len(found) == 5
    return {name: float(value) for name, value in found}
