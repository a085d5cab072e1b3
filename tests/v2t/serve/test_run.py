"""The end of the server: requests in flight end or are refused, and a second signal ends the wait for them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from contextlib import suppress

import httpx
import pytest

from cineloop.errors import MissingDependencyError
from cineloop.web.guard import GuardMiddleware
from cineloop.web.limits import ApiKeys, RateLimit
from refusals import refusal_code
from serve_stand_ins import CHAT, SERVED, WORDS, Engine, code_of
from v2t.cli import main
from v2t.serve import engines, run
from v2t.serve.metrics import Metrics
from v2t.serve.settings import ServeConfig, ServeLimits

LONG_S = 120.0


@pytest.mark.slow
def test_who_is_cut_off_at_the_end_is_told_in_our_form():
    sent: list[dict] = []
    scope = {"type": "http", "method": "GET", "path": "/live", "headers": [(b"host", b"localhost")]}
    scope["http_version"] = "1.1"

    async def main() -> None:
        inside = asyncio.Event()

        async def under_way(*_) -> None:
            inside.set()
            await asyncio.Event().wait()

        async def send(message) -> None:
            sent.append(dict(message))

        guard = GuardMiddleware(
            under_way,
            keys=ApiKeys([]),
            rate=RateLimit(9),
            hosts=(),
            any_address=False,
            route_of=str,
            open_routes=("/live",),
            unlimited=(),
            observe=Metrics().observe,
        )
        request = asyncio.create_task(guard(scope, None, send))
        await asyncio.wait_for(inside.wait(), LONG_S)
        request.cancel()
        with pytest.raises(asyncio.CancelledError):
            await request

    asyncio.run(main())
    begin, body = sent
    assert begin["status"] == 503 and b"content-security-policy" in dict(begin["headers"])
    assert json.loads(body["body"])["error"]["code"] == "DRAINING"


class Working(Engine):
    """An engine that runs, and answers once `held` is set."""

    async def start(self) -> None:
        self.held = asyncio.Event()

    async def ready(self) -> None: ...

    async def until_failure(self) -> None:
        await asyncio.Event().wait()

    async def stop(self) -> None:
        await self.client.aclose()


def serve(monkeypatch, play, **limits) -> int:
    """The exit code of a server that gets a request, then SIGINT, while `play(request, engine, url)` goes on."""
    engine, config = Working(), ServeConfig(port=0, limits=ServeLimits(**limits))
    monkeypatch.setattr(engines, "create", lambda *_: engine)

    async def main() -> int:
        with run.listening(config) as port:
            url = run.url_of(config, port)
            serving = asyncio.create_task(run._serve(config, SERVED, port))
            async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=LONG_S) as client:
                request = asyncio.create_task(client.post(CHAT, json=WORDS))
                while not engine.asked:
                    await asyncio.sleep(0.01)
                os.kill(os.getpid(), signal.SIGINT)
                await asyncio.wait_for(play(request, engine, url), LONG_S)
                code = await asyncio.wait_for(serving, LONG_S)
                request.cancel()
                return code

    return asyncio.run(main())


def test_after_a_signal_no_connection_is_accepted_and_requests_in_flight_end(monkeypatch):
    async def play(request, engine, url) -> None:
        with pytest.raises(httpx.ConnectError):
            while True:
                async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
                    # The kernel may have accepted it just before the socket closed: cut off, not served.
                    with suppress(httpx.RemoteProtocolError):
                        await client.get("/live")
        assert not request.done()
        engine.held.set()
        assert (await request).json()["choices"][0]["message"]["content"] == "Hello."

    assert serve(monkeypatch, play) == 130


def test_a_request_that_outlasts_its_time_after_a_signal_is_refused(monkeypatch):
    async def play(request, engine, url) -> None:
        assert code_of(await request) == (503, "DRAINING")

    assert serve(monkeypatch, play, drain_s=0.1) == 130


def test_a_second_signal_ends_the_wait_for_requests(monkeypatch):
    async def play(request, engine, url) -> None:
        await asyncio.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)

    assert serve(monkeypatch, play, drain_s=100 * LONG_S) == 130


def test_an_engine_that_fails_ends_the_server_which_a_service_manager_starts_again(monkeypatch, capsys):
    class Failing:
        name, relays, state, is_stopped = "vllm", False, "ready", False

        async def start(self) -> None: ...

        async def ready(self) -> None: ...

        async def until_failure(self) -> None:
            raise MissingDependencyError("the engine vllm was killed by SIGKILL", code="ENGINE")

        async def stop(self) -> None:
            self.is_stopped = True

    engine = Failing()
    monkeypatch.setattr(engines, "create", lambda *_: engine)
    assert refusal_code(run.run, ServeConfig(port=0, engine="local"))[0] == 5  # which Restart=on-failure heeds
    assert engine.is_stopped and "serving" in capsys.readouterr().out


def test_a_server_says_what_it_does_while_the_model_is_loaded(monkeypatch, caplog):
    monkeypatch.setattr(logging.getLogger("cineloop"), "propagate", True)
    monkeypatch.setattr(run, "_STILL_S", 0.05)

    class Endless(Working):
        async def ready(self) -> None:
            await asyncio.sleep(LONG_S)

    async def main() -> None:
        with caplog.at_level(logging.INFO, "cineloop"):
            work = asyncio.create_task(run._work(Endless(), ServeConfig(), SERVED, "http://here"))
            while len(caplog.messages) < 2:
                await asyncio.sleep(0.01)
            work.cancel()

    asyncio.run(asyncio.wait_for(main(), LONG_S))
    assert caplog.messages[0] == "http://here accepts connections; loading the model base (engine vllm)"
    assert caplog.messages[1].startswith("still loading the model, after ")


def test_the_server_is_hidden_before_it_begins(monkeypatch):
    order: list[str] = []
    monkeypatch.setattr("cineloop.isolation.hide", lambda: order.append("hidden"))
    monkeypatch.setattr(run, "run", lambda _: order.append("running") or 0)
    assert main(["serve", "--port", "0"]) == 0 and order == ["hidden", "running"]
