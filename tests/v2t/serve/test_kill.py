"""The true engines in trouble. vLLM, killed under load: every request ends cleanly, it comes back, the next is
answered; one whose core stands still is started again. A killed server with the local engine leaves no process."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest

from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from cineloop.video.packed import MEDIA_TYPE, pack
from serve_process import family_of, serving
from v2t.serve import served
from v2t.serve.engines import vllm
from v2t.serve.settings import ServeConfig, ServeLimits
from v2t.serve.supervision import group as process_group
from v2t.serve.supervision.child import private_folder
from v2t.serve.supervision.supervisor import EngineProcess, Pace

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
    signs, child = [0] * NUM, engine._child.pid

    def note(seed: int):
        def told() -> None:
            signs[seed] += 1

        return told

    asks = [asyncio.create_task(until_it_breaks(engine.client, seed, note(seed))) for seed in range(NUM)]
    while not (any(signs[::2]) and any(signs[1::2])):  # streams and whole answers are on their way
        await asyncio.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    for seed, (answers, _) in enumerate(await asyncio.gather(*asks)):
        assert set(answers) <= {first[seed]}  # what came whole is what always comes
    engine.note_broken()
    while engine.state == "ready":
        await asyncio.sleep(0.01)
    assert engine.state == "restarting"
    await engine.ready(600)
    assert engine._child.pid != child
    assert [await ask(engine.client, seed, seed % 2 == 0, lambda: None) for seed in range(NUM)] == first


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_vllm_killed_under_load_comes_back_and_every_request_ends(tmp_path):
    config = ServeConfig(engine="vllm", limits=ServeLimits(in_flight=NUM, answer_s=LONG_S))
    said: list[str] = []
    folder = private_folder()
    command = vllm.command(config, served.read(config), folder / "engine.sock")

    async def main() -> None:
        engine = EngineProcess(command, say=said.append, pace=Pace(first_s=0.1, hang_s=60.0))
        try:
            await engine.start()
            await engine.ready(600)
            await killed_under_load(engine)
            assert engine.restarts == 1
            child = engine._child.pid
        finally:
            await engine.stop()
        # Neither it nor any of its group is left, not even as a zombie.
        assert not family_of(child)

    asyncio.run(asyncio.wait_for(main(), 880))
    assert sum("SIGKILL" in text for text in said) == 1, said
    assert not folder.exists()


@pytest.mark.slow
def test_a_server_killed_in_the_middle_of_an_answer_leaves_nothing_and_starts_again(tmp_path):
    """What a service manager finds after a crash of the model, which is a crash of the server."""
    encode(np.full((16, 64, 64, 3), 90, np.uint8), tmp_path / "clip.mp4", 4)
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


@pytest.mark.vllm
@pytest.mark.timeout(900)
def test_a_core_that_stands_still_behind_a_server_that_answers_is_started_again():
    """A core that waits for a device or a peer for ever: here a signal has it stand still."""
    config = ServeConfig(engine="vllm", limits=ServeLimits(answer_s=20.0))
    said: list[str] = []
    command = vllm.command(config, served.read(config), private_folder() / "engine.sock")

    async def main() -> None:
        engine = EngineProcess(command, say=said.append)
        try:
            await engine.start()
            await engine.ready(600)
            first = await ask(engine.client, 1, False, lambda: None)
            (core,) = [
                process
                for process in process_group.members(engine._child.pid)
                if "EngineCor" in Path(f"/proc/{process}/comm").read_text()  # 15 letters at most
            ]
            os.kill(core, signal.SIGSTOP)
            assert (await engine.client.get("/health")).status_code == 200
            while engine.state == "ready":  # a request is given up after answer_s, the next one finds the same
                with pytest.raises(httpx.TransportError):
                    async with engine.at_work():
                        await ask(engine.client, 1, False, lambda: None)
            await engine.ready(600)
            assert engine.restarts == 1
            assert await ask(engine.client, 1, False, lambda: None) == first
        finally:
            await engine.stop()

    asyncio.run(asyncio.wait_for(main(), 880))
    assert sum("worked on nothing" in text for text in said) == 1, said
