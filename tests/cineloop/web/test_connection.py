"""Connections at a true port: who is slow, too many or no HTTP at all is answered or cut off, and harms nobody."""

from __future__ import annotations

import json
import socket
import threading
import time

import httpx
import pytest

from cineloop.errors import MissingDependencyError
from cineloop.web import connection
from cineloop.web.port import listening as socket_of
from cineloop.web.port import url_of
from serve_stand_ins import listening, two_keys
from v2t.serve.settings import ServeConfig, ServeLimits

CONFIG = ServeConfig(port=0)
ASK = {"messages": [{"role": "user", "content": "What?"}]}


def connected(port: int) -> socket.socket:
    made = socket.create_connection(("127.0.0.1", port), timeout=60)
    made.settimeout(60)
    return made


def rest_of(made: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    data = b""
    try:
        while piece := made.recv(65536):
            data += piece
    except ConnectionError:
        pass  # closed with something unread
    return data


def until(condition, what: str) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.01)


def test_what_is_no_http_is_refused_in_our_form():
    with listening(CONFIG) as (port, _, gateway):
        for data in (b"\x16\x03\x01\x02\x00\x01", b"GET /\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"):
            with connected(port) as made:
                made.sendall(data)
                made.shutdown(socket.SHUT_WR)
                reply = rest_of(made)
            head, _, body = reply.partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ") and b"x-request-id: req-" in head
            assert b"content-security-policy" in head and b"server:" not in head.lower()
            assert json.loads(body)["error"]["code"] == "BAD_REQUEST"
        assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_another_version_of_http_is_refused_by_its_version():
    with listening(CONFIG) as (port, _, _):
        for data in (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET /live HTTP/3.0\r\nHost: localhost\r\n\r\n"):
            with connected(port) as made:
                made.sendall(data)
                made.shutdown(socket.SHUT_WR)
                head, _, body = rest_of(made).partition(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 505 ")
            assert json.loads(body)["error"]["code"] == "HTTP_VERSION"


def test_answers_name_no_server():
    with listening(CONFIG) as (port, *_):
        reply = httpx.get(f"http://127.0.0.1:{port}/live")
        assert "server" not in reply.headers


@pytest.mark.parametrize("begin", [b"", b"GET /live HT", b"GET /live HTTP/1.1\r\nHost: localhost\r\nX-A: "])
def test_a_head_that_comes_too_slowly_is_cut_off(begin, monkeypatch):
    monkeypatch.setattr(connection, "_STRANGER_S", 0.3)
    with listening(CONFIG) as (port, *_), connected(port) as made:
        made.sendall(begin)
        assert rest_of(made) == b""


@pytest.fixture
def checks(monkeypatch):
    """Connections are checked often, but only once their first head is there, however late; the checks so far."""
    done: list[object] = []
    check = connection._Connection._check

    def from_the_head(self) -> None:
        if self.cycle is None:
            self.loop.call_later(connection._CHECK_S, self._check)
        else:
            check(self)
            done.append(self)

    monkeypatch.setattr(connection._Connection, "_check", from_the_head)
    monkeypatch.setattr(connection, "_CHECK_S", 0.1)
    monkeypatch.setattr(connection, "_STRANGER_S", 0.1)
    return done


def test_a_slow_second_head_is_cut_off_too(checks):
    with listening(CONFIG) as (port, *_), connected(port) as made:
        made.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert made.recv(65536).startswith(b"HTTP/1.1 200")
        made.sendall(b"GET /li")
        rest_of(made)  # comes to an end


def test_whoever_goes_on_sending_after_the_answer_is_cut_off(checks):
    config = ServeConfig(port=0, limits=ServeLimits(body_mb=1))
    with listening(config) as (port, *_), connected(port) as made:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        made.sendall(head + b"Content-Length: 100000000\r\n\r\n{")
        stop = threading.Event()

        def go_on() -> None:
            try:
                while not stop.wait(0.02):
                    made.sendall(b" " * 1000)
            except OSError:
                pass

        sender = threading.Thread(target=go_on, daemon=True)
        sender.start()
        reply = rest_of(made)
        stop.set()
        sender.join(60)
        assert reply.startswith(b"HTTP/1.1 413 ") and b"TOO_LARGE" in reply


def test_a_slow_body_is_no_slow_head(checks):
    data = json.dumps(ASK).encode()
    with listening(CONFIG) as (port, engine, _), connected(port) as made:
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        made.sendall(head + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(data))
        until(lambda: len(checks) > 3, "the connection is not checked")  # longer than a head may take
        made.sendall(data)
        assert rest_of(made).startswith(b"HTTP/1.1 200 ") and len(engine.asked) == 1


def heads_of(num: int, port: int, begin: bytes) -> list[socket.socket]:
    """Connections that sent `begin` and nothing more."""
    made = [connected(port) for _ in range(num)]
    for each in made:
        each.sendall(begin)
    return made


def live(port: int) -> bool:
    with connected(port) as made:
        made.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return rest_of(made).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "begin", [b"", b"GET /live HT", b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["silent", "half", "idle"]
)
def test_connections_without_a_request_keep_nobody_out(begin, monkeypatch):
    monkeypatch.setattr(connection, "_SPARE", 3)
    with listening(ServeConfig(port=0, limits=ServeLimits(in_flight=1))) as (port, *_):
        held = heads_of(12, port, begin)
        try:
            for _ in range(20):
                assert live(port)
        finally:
            for each in held:
                each.close()


def test_the_address_with_the_most_connections_without_a_request_loses_one(monkeypatch):
    monkeypatch.setattr(connection, "_SPARE", 4)
    with listening(ServeConfig(port=0, limits=ServeLimits(in_flight=1))) as (port, *_):
        first = connected(port)  # older than all others
        held = []
        for _ in range(9):
            held.append(socket.socket())
            held[-1].bind(("127.0.0.9", 0))
            held[-1].connect(("127.0.0.1", port))
            assert live(port)
        first.sendall(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        assert rest_of(first).startswith(b"HTTP/1.1 200 ")
        for each in (first, *held):
            each.close()


def test_a_client_with_a_key_has_longer_for_its_next_head(monkeypatch):
    mine, _ = two_keys(monkeypatch)
    monkeypatch.setattr(connection, "_STRANGER_S", 0.2)
    with listening(CONFIG) as (port, *_), connected(port) as made, connected(port) as stranger:
        head = f"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nAuthorization: {mine['Authorization']}\r\n\r\n"
        made.sendall(head.encode())
        stranger.sendall(b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert made.recv(65536).startswith(b"HTTP/1.1 200 ") and stranger.recv(65536).startswith(b"HTTP/1.1 401 ")
        for each in (made, stranger):
            each.sendall(b"GET /live HTTP/1.1\r\n")
        rest_of(stranger)  # comes to an end
        made.sendall(b"Host: localhost\r\nConnection: close\r\n\r\n")
        assert b"HTTP/1.1 200 " in rest_of(made)


def test_a_folded_header_is_refused():
    head = b"GET /live HTTP/1.1\r\nHost: localhost\r\nX-A: 1\r\n 2\r\n\r\n"
    with listening(CONFIG) as (port, *_):
        for before in (b"", b"GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n"):
            with connected(port) as made:
                made.sendall(before + head)
                reply = rest_of(made)
            assert reply.count(b"HTTP/1.1 200 ") == bool(before) and reply.count(b"HTTP/1.1 400 ") == 1
        with connected(port) as made:  # a body may begin with a space on a line of its own
            body = b"\n " + json.dumps(ASK).encode()
            begin = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            made.sendall(begin + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert rest_of(made).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("length", [b"99999999999999999999", b"1" + b"0" * 17, b"00000000000099999999"])
def test_a_length_beyond_the_limit_is_refused_at_once_however_it_is_written(length):
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    with listening(CONFIG) as (port, *_), connected(port) as made:
        made.settimeout(10)
        made.sendall(head + b"Content-Length: " + length + b"\r\n\r\n{")
        assert made.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_too_many_connections_are_refused_and_others_go_on(monkeypatch):
    monkeypatch.setattr(connection, "_SPARE", 3)
    with listening(ServeConfig(port=0, limits=ServeLimits(in_flight=1))) as (port, *_):
        head = b"POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
        held = heads_of(5, port, head + b"Expect: 100-continue\r\n\r\n")
        try:
            for each in held:
                assert each.recv(65536).startswith(b"HTTP/1.1 100")  # it waits for the body
            with connected(port) as made:
                reply = rest_of(made)
            assert reply.startswith(b"HTTP/1.1 503 ") and b"retry-after: 5" in reply and b"BUSY" in reply
        finally:
            for each in held:
                each.close()

        def is_in() -> bool:
            try:
                return httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
            except httpx.HTTPError:
                return False

        until(is_in, "places of closed connections stay taken")


def test_a_client_that_stops_reading_midway_stops_the_engine():
    with listening(CONFIG) as (port, engine, gateway):
        with connected(port) as made:
            data = json.dumps({**ASK, "stream": True}).encode()
            engine.endless = "again"
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            made.sendall(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
            seen = b""
            while seen.count(b"again") < 3:
                seen += made.recv(4096)
        until(lambda: engine.closed == 1, "the engine's answer was not closed")
        until(lambda: gateway.queue.taken == 0 and gateway.memory.held == 0, "its place was not given back")


def test_a_client_that_reads_nothing_is_cut_off(monkeypatch):
    monkeypatch.setattr(connection, "_CHECK_S", 0.3)
    monkeypatch.setattr(connection, "_STRANGER_S", 0.3)
    with listening(CONFIG) as (port, engine, gateway), connected(port) as made:
        engine.endless = "x" * 100_000
        data = json.dumps({**ASK, "stream": True}).encode()
        head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        made.sendall(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
        until(lambda: engine.closed == 1, "the engine's answer was not closed")
        until(lambda: gateway.queue.taken == 0, "its place was not given back")


def test_a_port_that_is_taken_says_so():
    with socket_of(CONFIG) as port:
        number = port.getsockname()[1]
        assert url_of(CONFIG, port) == f"http://127.0.0.1:{number}"
        with (
            pytest.raises(MissingDependencyError, match=f"port {number}") as found,
            socket_of(ServeConfig(port=number)),
        ):
            pass
    assert found.value.code == "PORT"


def test_a_body_whose_length_is_told_twice_ends_the_connection():
    # A proxy in front that goes by the other length would take what follows for another client's.
    head = b"POST /v1/frames HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    lengths = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"
    with listening(CONFIG) as (port, *_), connected(port) as made:
        made.sendall(head + lengths + b"0\r\n\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n")
        reply = rest_of(made)
    assert reply.startswith(b"HTTP/1.1 400 ") and b"TWO_LENGTHS" in reply and reply.count(b"HTTP/1.1 ") == 1
