"""The end of the server: whoever is still under way is told so, and a second signal is heeded at every step."""

from __future__ import annotations

import asyncio
import json
import socket
from types import SimpleNamespace

import pytest

from cineloop.errors import MissingDependencyError
from cineloop.web.guard import GuardMiddleware
from cineloop.web.limits import ApiKeys, RateLimit
from v2t.serve import engines, run
from v2t.serve.app import route_of
from v2t.serve.metrics import Metrics
from v2t.serve.settings import ServeConfig

LONG_S = 30.0


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
            route_of=route_of,
            open_routes=("/live",),
            unlimited=(),
            observe=Metrics().observe,
            is_draining=lambda: True,
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


def test_a_second_signal_ends_the_wait_for_connections(monkeypatch):
    monkeypatch.setattr(run, "_CLOSE_S", 100 * LONG_S)

    async def main() -> None:
        with socket.socket() as port:
            serving = run._Serving(ServeConfig(port=0), None, port)
            server = SimpleNamespace(should_exit=False)
            task = asyncio.create_task(asyncio.Event().wait())  # connections that do not end
            closing = asyncio.create_task(serving._close(server, task))
            for _ in range(2):
                await asyncio.sleep(0)
                serving._signalled(run.signal.SIGTERM)
            await asyncio.wait_for(closing, LONG_S)
            assert server.should_exit and task.cancelled()

    asyncio.run(main())


def test_an_engine_that_fails_ends_the_server_which_a_service_manager_starts_again(monkeypatch, capsys):
    class Failing:
        name, state, is_stopped = "vllm", "ready", False

        async def start(self) -> None: ...

        async def ready(self) -> None: ...

        async def failed(self) -> None:
            raise MissingDependencyError("the engine vllm was killed by SIGKILL", code="ENGINE")

        async def stop(self) -> None:
            self.is_stopped = True

    engine = Failing()
    monkeypatch.setattr(engines, "create", lambda *_: engine)
    with pytest.raises(MissingDependencyError, match="SIGKILL"):  # exit code 5, which Restart=on-failure heeds
        run.run(ServeConfig(port=0, engine="local"))
    assert engine.is_stopped and "serving" in capsys.readouterr().out
