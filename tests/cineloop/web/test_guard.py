"""What every request passes, over ASGI: names, pages, keys, rates and sizes; headers and errors that go out."""

from __future__ import annotations

import asyncio
import json
import logging
import re

import pytest

from cineloop.web.guard import POLICY
from serve_stand_ins import CHAT, KEY, OTHER, WORDS, code_of, scene, two_keys, with_video
from v2t.serve.settings import ServeConfig, ServeLimits


@pytest.fixture
def keys(monkeypatch):
    return two_keys(monkeypatch)


def test_every_answer_has_an_id_and_keeps_browsers_in_check():
    async def play(client, engine, media, gateway):
        for method, path in (
            ("GET", "/"),
            ("GET", "/health"),
            ("GET", "/nothing"),
            ("GET", "/v1/models"),
            ("PUT", CHAT),
            ("GET", "/page/../app.py"),
            ("GET", "/page/%2e%2e%2fapp.py"),
        ):
            reply = await client.request(method, path)
            assert reply.headers["content-security-policy"] == POLICY
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert reply.headers["referrer-policy"] == "no-referrer"
            assert reply.headers["cross-origin-opener-policy"] == "same-origin"
            assert reply.headers["cross-origin-resource-policy"] == "same-origin"
            assert re.fullmatch(r"req-[0-9a-f]{32}", reply.headers["x-request-id"])
            assert not [name for name in reply.headers if name.startswith("access-control")]
            assert reply.headers["cache-control"] == ("no-cache" if path == "/" else "no-store")

    scene(play)


@pytest.mark.parametrize(("given", "is_taken"), [("my_id-1", True), ("a" * 65, False), ("a b", False), ("ä", False)])
def test_a_client_may_name_its_request(given, is_taken):
    async def play(client, *_):
        reply = await client.get("/live", headers={"X-Request-Id": given.encode()})
        assert (reply.headers["x-request-id"] == given) is is_taken

    scene(play)


@pytest.mark.parametrize(
    "path",
    [
        "/docs",
        "/openapi.json",
        "/redoc",
        "/invocations",
        "/tokenize",
        "/v1/completions",
        "/v1/files/x/y",
        "/v1//models",
    ],
)
def test_what_is_not_listed_is_not_there(path):
    async def play(client, *_):
        assert code_of(await client.get(path)) == (404, "NOT_FOUND")
        assert code_of(await client.post(path, json={})) == (404, "NOT_FOUND")

    scene(play)


def test_another_method_is_refused():
    async def play(client, *_):
        assert code_of(await client.get(CHAT)) == (405, "METHOD_NOT_ALLOWED")
        assert code_of(await client.options(CHAT)) == (405, "METHOD_NOT_ALLOWED")
        assert (await client.head("/health")).status_code == 200

    scene(play)


@pytest.mark.parametrize(
    ("host", "is_in"),
    [
        ("127.0.0.1:8000", True),
        ("localhost", True),
        ("LOCALHOST.:9", True),
        ("[::1]:8000", True),
        ("127.9.9.9", True),
        ("video.example.org", True),
        ("evil.example.org", False),
        ("127.0.0.1.evil.example.org", False),
        ("localhost@evil", False),
        ("192.168.0.5", False),
        ("", False),
        ("localhost, evil", False),
    ],
)
def test_only_names_of_ours_are_answered(host, is_in):
    async def play(client, *_):
        reply = await client.get("/live", headers={"Host": host})
        assert reply.status_code == (200 if is_in else 403)
        if not is_in:
            assert code_of(reply) == (403, "HOST_FORBIDDEN")

    scene(play, ServeConfig(hosts=("video.example.org",)))


def test_addresses_are_fine_where_others_may_come(keys):
    async def play(client, *_):
        assert (await client.get("/live", headers={"Host": "192.168.0.5:8000"})).status_code == 200
        assert (await client.get("/live", headers={"Host": "evil.example.org"})).status_code == 403

    scene(play, ServeConfig(host="0.0.0.0"))


@pytest.mark.parametrize(
    ("headers", "is_in"),
    [
        ({}, True),
        ({"Origin": "http://127.0.0.1:8000"}, True),
        ({"Origin": "http://127.0.0.1:8000", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Origin": "http://localhost:8000"}, False),
        ({"Origin": "http://127.0.0.1:9000"}, False),
        ({"Origin": "https://evil.example.org"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://[bad"}, False),
        ({"Sec-Fetch-Site": "cross-site"}, False),
    ],
)
def test_foreign_pages_may_not_ask(headers, is_in):
    async def play(client, engine, *_):
        reply = await client.post(CHAT, json=WORDS, headers=headers)
        assert reply.status_code == (200 if is_in else 403) and len(engine.asked) == is_in
        if not is_in:
            assert code_of(reply) == (403, "ORIGIN_FORBIDDEN")

    scene(play)


def test_a_plain_form_of_a_page_is_no_request():
    async def play(client, engine, *_):
        reply = await client.post(CHAT, content=json.dumps(WORDS), headers={"Content-Type": "text/plain"})
        assert code_of(reply) == (415, "BAD_REQUEST") and not engine.asked

    scene(play)


def test_a_key_opens_all_but_health_and_the_page(keys):
    async def play(client, engine, *_):
        for path in ("/health", "/live", "/"):
            assert (await client.get(path)).status_code == 200
        for path in ("/metrics", "/v1/models", "/v1/files", "/nothing"):
            reply = await client.get(path)
            assert code_of(reply) == (401, "UNAUTHORIZED") and reply.headers["www-authenticate"] == "Bearer"
        for wrong in ("x" * 20, f"{KEY},{OTHER}", ""):
            headers = {"Authorization": f"Bearer {wrong}"}
            assert code_of(await client.post(CHAT, json=WORDS, headers=headers)) == (401, "UNAUTHORIZED")
        assert not engine.asked
        for headers in keys:
            assert (await client.post(CHAT, json=WORDS, headers=headers)).status_code == 200
            assert (await client.get("/metrics", headers=headers)).status_code == 200

    scene(play)


def test_headers_that_come_twice_count_for_nothing(keys):
    async def play(client, *_):
        mine = keys[0]["Authorization"]
        for pairs, code in (
            ([("Host", "localhost"), ("Host", "localhost"), ("Authorization", mine)], "HOST_FORBIDDEN"),
            ([("Authorization", mine), ("Authorization", mine)], "UNAUTHORIZED"),
            ([("Authorization", mine), ("Origin", "http://127.0.0.1:8000"), ("Origin", "null")], "ORIGIN_FORBIDDEN"),
        ):
            assert code_of(await client.post(CHAT, json=WORDS, headers=pairs))[1] == code

    scene(play)


def test_polls_that_succeed_are_lines_of_the_verbose_log_alone(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("cineloop"), "propagate", True)

    async def play(client, engine, *_):
        with caplog.at_level(logging.DEBUG, "cineloop"):
            for path in ("/health", "/live", "/metrics", "/", "/v1/models", "/nothing"):
                await client.get(path)
            engine.state = "stopped"
            await client.get("/health")

    scene(play)
    lines = [(record.levelname, *record.getMessage().split()[1:3]) for record in caplog.records]
    lines = [line for line in lines if line[1].startswith("/") or line[1] == "other"]
    assert lines[:4] == [("DEBUG", path, "200") for path in ("/health", "/live", "/metrics", "/")]
    assert lines[4:] == [("INFO", "/v1/models", "200"), ("INFO", "other", "404"), ("INFO", "/health", "503")]


def test_the_unexpected_is_an_id_for_the_client_and_a_traceback_for_the_log(caplog):
    async def play(client, engine, media, gateway):
        def burst(*args, **kwargs):
            raise RuntimeError("inside /srv/secret")

        media.frames = burst
        reply = await client.post(CHAT, json=with_video())
        assert code_of(reply) == (500, "INTERNAL") and "secret" not in reply.text
        return reply.headers["x-request-id"]

    logger = logging.getLogger("cineloop")
    was, logger.propagate = logger.propagate, True
    try:
        with caplog.at_level(logging.INFO, "cineloop"):
            request_id = scene(play)
    finally:
        logger.propagate = was
    assert "inside /srv/secret" in caplog.text and f"POST {CHAT} 500 {request_id}" in caplog.text
    assert "What?" not in caplog.text  # no prompts


def test_bodies_are_limited_before_they_are_read():
    async def play(client, engine, *_):
        read = 0

        async def endless():
            nonlocal read
            while True:
                read += 1
                yield b" " * 65536

        headers = {"Content-Type": "application/json"}
        reply = await client.post(CHAT, content=endless(), headers=headers)
        assert code_of(reply) == (413, "TOO_LARGE") and read <= 18
        reply = await client.post(CHAT, content=b"{}", headers={**headers, "Content-Length": "2000000"})
        assert code_of(reply) == (413, "TOO_LARGE")

    scene(play, ServeConfig(limits=ServeLimits(body_mb=1)))


def test_a_body_that_comes_too_slowly_is_given_up(monkeypatch):
    monkeypatch.setattr("cineloop.web.bodies._IDLE_S", 0.05)

    async def play(client, engine, media, gateway):
        async def slow():
            yield b"{"
            await asyncio.Event().wait()

        reply = await client.post(CHAT, content=slow(), headers={"Content-Type": "application/json"})
        assert code_of(reply) == (408, "BODY_TIMEOUT") and gateway.memory.held == 0

    scene(play)


def test_memory_is_shared_by_the_bodies_of_several_owners(keys):
    async def play(client, engine, media, gateway):
        big = {**WORDS, "user": "x" * 700_000}
        reply = await client.post(CHAT, json=big, headers=keys[0])
        assert code_of(reply) == (413, "TOO_LARGE") and gateway.memory.held == 0
        assert (await client.post(CHAT, json=WORDS, headers=keys[0])).status_code == 200

    scene(play, ServeConfig(limits=ServeLimits(memory_mb=1)))


def test_rates_are_each_owners_own(keys):
    async def play(client, *_):
        for _ in range(3):
            assert (await client.get("/v1/models", headers=keys[0])).status_code == 200
        reply = await client.get("/v1/models", headers=keys[0])
        assert code_of(reply) == (429, "RATE_LIMITED") and int(reply.headers["retry-after"]) >= 1
        assert (await client.get("/v1/models", headers=keys[1])).status_code == 200
        assert (await client.get("/health")).status_code == 200

    scene(play, ServeConfig(limits=ServeLimits(rate_per_minute=3)))
