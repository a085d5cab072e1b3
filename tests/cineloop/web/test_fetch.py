"""Fetching under guard, against servers on loopback that lie, stall, redirect and overflow.

A name never leads to loopback, so names are resolved by a stand-in and connections of theirs end at the test's server.
"""

from __future__ import annotations

import asyncio
import gzip
import shutil
import ssl
import subprocess
from collections.abc import Awaitable, Callable

import httpx
import pytest

from cineloop.web.addresses import allowed_host, parse
from cineloop.web.faults import Fault
from cineloop.web.fetch import Fetcher
from cineloop.web.incoming import HEAD_BYTES, check

PUBLIC = "8.8.8.8"
CLIP = b"\x1a\x45\xdf\xa3" + bytes(9000)


def answer(body: bytes = CLIP, status: str = "200 OK", length: int | None = None, **headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Site:
    """A server of raw answers, one of them per path; keeps what it was asked."""

    def __init__(self, pages: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]]) -> None:
        self.pages, self.asked, self.heads = pages, [], []

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.heads.append(head)
            self.asked.append(head.split()[1])
            page = self.pages[self.asked[-1]]
            if callable(page):
                await page(writer)
            else:
                writer.write(page)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def __aenter__(self) -> Site:
        self.server = await asyncio.start_server(self.handle, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.server.close()


class Sink:
    def __init__(self) -> None:
        self.data, self.head = b"", b""

    async def write(self, data: bytes) -> None:
        self.data += data
        if len(self.data) >= HEAD_BYTES:
            check(self.data[:HEAD_BYTES], "the video")


class Rerouted(httpx.AsyncHTTPTransport):
    """Connects to the site whatever address was asked for; `calls` are (numeric address, port, name of the TLS
    greeting) of each request, and addresses in `dead` refuse connections."""

    def __init__(self, site: Site, dead: tuple[str, ...] = (), **more) -> None:
        super().__init__(trust_env=False, **more)
        self.site, self.dead, self.calls = site, dead, []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        self.calls.append((url.host, url.port or {"http": 80, "https": 443}[url.scheme]))
        if url.host in self.dead:
            raise httpx.ConnectError("refused")
        request.url = url.copy_with(host="127.0.0.1", port=self.site.port)
        return await super().handle_async_request(request)


def fetcher(site: Site, *names: str, found: dict[str, list[list[str]]] | None = None, **more) -> Fetcher:
    """One that may fetch from the site by its loopback address, and from `names` as the internet would be."""
    answers = {name: list(lists) for name, lists in (found or {}).items()}

    async def resolve(host: str, port: int) -> list[str]:
        lists = answers.get(host, [[PUBLIC]])
        return lists.pop(0) if len(lists) > 1 else lists[0]

    allowed = tuple(map(allowed_host, (f"http://127.0.0.1:{site.port}", *names)))
    transport = Rerouted(site, more.pop("dead", ()), verify=more.pop("tls", True))
    settings = {"max_bytes": 1 << 20, "timeout_s": 60.0, "resolve": resolve, "transport": transport, **more}
    made = Fetcher(allowed, **settings)
    made.calls = transport.calls
    return made


def fetch(pages, url="http://127.0.0.1:{port}/", *names, **more) -> tuple[bytes | Fault, Site, Fetcher]:
    """What came of it, the site, and the fetcher with the connections it made."""

    async def run():
        async with Site(pages) as site:
            guard, sink = fetcher(site, *names, **more), Sink()
            try:
                size = await guard.fetch(parse(url.format(port=site.port)), sink)
                assert size == len(sink.data)
                return sink.data, site, guard
            except Fault as fault:
                assert "127.0.0.1:" not in fault.message and "Traceback" not in fault.message
                return fault, site, guard

    return asyncio.run(asyncio.wait_for(run(), 100))


def refused(*args, **more) -> str:
    fault, _, _ = fetch(*args, **more)
    assert isinstance(fault, Fault), "it was fetched"
    return f"{fault.status} {fault.code}"


def test_the_operators_own_loopback_address_is_fetched_from():
    data, site, guard = fetch({"/a.webm?x=%20": answer()}, "http://127.0.0.1:{port}/a.webm?x=%20")
    assert data == CLIP and guard.calls == [("127.0.0.1", site.port)]
    head = site.heads[0].lower()
    assert head.startswith("get /a.webm?x=%20 http/1.1\r\n") and f"host: 127.0.0.1:{site.port}\r\n" in head
    assert "accept-encoding: identity" in head and "cookie" not in head and "authorization" not in head


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to():
    found = {"cdn.example.org": [[PUBLIC], ["127.0.0.1"]]}  # a second question would lead elsewhere
    data, site, guard = fetch({"/a": answer()}, "http://CDN.example.org./a", "http://cdn.example.org", found=found)
    assert data == CLIP and guard.calls == [(PUBLIC, 80)]
    assert "host: cdn.example.org\r\n" in site.heads[0].lower()


def test_proxies_of_the_environment_are_not_asked(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch({"/": answer()})[0] == CLIP


@pytest.mark.parametrize(
    "numerics",
    [["127.0.0.1"], ["64:ff9b::7f00:1"], ["fe80::1%eth0"], [PUBLIC, "192.168.0.1"], ["nonsense"]],  # all: is_public
)
def test_a_name_that_leads_inside_is_never_connected_to(numerics):
    found = {"rebind.example.org": [numerics]}
    fault, site, guard = fetch({"/": answer()}, "http://rebind.example.org/", "http://rebind.example.org", found=found)
    assert fault.code == "URL_FORBIDDEN" and guard.calls == [] and site.asked == []


def test_a_name_for_loopback_is_refused_even_when_the_operator_allowed_it():
    fault, site, _ = fetch(
        {"/": answer()}, "http://localhost:{port}/", "http://localhost", found={"localhost": [["127.0.0.1"]]}
    )
    assert fault.code == "URL_FORBIDDEN" and site.asked == []


def test_redirects_within_what_is_allowed_are_followed():
    pages = {
        "/1": answer(b"", "302 Found", Location="/2"),
        "/2": answer(b"", "307 Temporary Redirect", Location="http://cdn.example.org/3"),
        "/3": answer(b"", "308 Permanent Redirect", Location="/4"),
        "/4": answer(),
    }
    data, site, guard = fetch(pages, "http://127.0.0.1:{port}/1", "http://cdn.example.org")
    assert data == CLIP and site.asked == ["/1", "/2", "/3", "/4"]
    assert [host for host, _ in guard.calls] == ["127.0.0.1", "127.0.0.1", PUBLIC, PUBLIC]


def test_redirects_do_not_go_on_for_ever():
    pages = {f"/{i}": answer(b"", "302 Found", Location=f"/{i + 1}") for i in range(9)}
    fault, site, _ = fetch(pages, "http://127.0.0.1:{port}/0")
    assert fault.code == "URL_FORBIDDEN" and site.asked == ["/0", "/1", "/2", "/3"]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/meta-data/",  # further ones: `follow`
        "http://inside.example.org/",  # allowed, and resolves to a private address at the second hop
        "",  # the canary's
    ],
)
def test_a_redirect_elsewhere_is_refused_before_anything_is_asked_there(location):
    async def run():
        async with Site({}) as canary:
            pages = {"/": answer(b"", "302 Found", Location=location or f"http://127.0.0.1:{canary.port}/")}
            async with Site(pages) as site:
                guard = fetcher(site, "http://inside.example.org", found={"inside.example.org": [["10.1.2.3"]]})
                with pytest.raises(Fault) as caught:
                    await guard.fetch(parse(f"http://127.0.0.1:{site.port}/"), Sink())
                assert caught.value.code == "URL_FORBIDDEN"
                assert len(guard.calls) == 1 and canary.asked == []

    asyncio.run(asyncio.wait_for(run(), 100))


def test_a_redirect_is_refused_that_says_two_things():
    twice = answer(b"", "302 Found", Location="/a").replace(b"\r\n\r\n", b"\r\nLocation: /b\r\n\r\n")
    assert refused({"/": twice}) == "403 URL_FORBIDDEN"


async def endless(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        writer.write(b"10000\r\n" + CLIP[:4] + bytes(0xFFFC) + b"\r\n")
        await writer.drain()


async def silent(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(1000)


async def trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(answer(b"", length=5000))
    while True:
        writer.write(b"\x1a")
        await writer.drain()
        await asyncio.sleep(0.01)


async def interim(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()


def chunked(data: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n%s" % (len(data), data, end)


@pytest.mark.slow
def test_what_has_no_end_is_cut_off():
    assert refused({"/": endless}) == "413 TOO_LARGE"
    assert refused({"/": answer(b"", length=1 << 40)}) == "413 TOO_LARGE"
    assert refused({"/": interim}, timeout_s=1.0) == "422 FETCH_FAILED"
    assert refused({"/": b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000}) == "422 FETCH_FAILED"


@pytest.mark.parametrize("page", [silent, trickle])
def test_what_is_slow_ends_with_the_clock(page):
    fault, _, _ = fetch({"/": page}, timeout_s=1.0)
    assert fault.code == "FETCH_FAILED" and "after 1 seconds" in fault.message


def test_a_resolver_that_hangs_ends_with_the_clock():
    async def resolve(host, port):
        await asyncio.sleep(1000)

    assert (
        refused({}, "http://cdn.example.org/", "http://cdn.example.org", resolve=resolve, timeout_s=0.5)
        == "422 FETCH_FAILED"
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "code"),
    [
        (answer(length=len(CLIP) + 1), "422 FETCH_FAILED"),  # less than was promised
        (chunked(CLIP, end=b""), "422 FETCH_FAILED"),
        (chunked(CLIP).replace(b"\r\n0\r\n", b"\r\nzz\r\n"), "422 FETCH_FAILED"),
        (answer(gzip.compress(bytes(1 << 20)), Content_Encoding="gzip"), "422 FETCH_FAILED"),
        (answer(Content_Encoding="br"), "422 FETCH_FAILED"),
        (answer(Transfer_Encoding="gzip, chunked"), "422 FETCH_FAILED"),
        (answer(b"<!doctype html><title>Log in</title>" + b" " * 5000, Content_Type="video/mp4"), "422 NOT_MEDIA"),
        (answer(b"#EXTM3U\n" + b"#\n" * 3000, Content_Type="video/mp4"), "422 NOT_MEDIA"),
        (answer(status="206 Partial Content"), "422 FETCH_FAILED"),
        (answer(b"", "204 No Content"), "422 FETCH_FAILED"),
        (answer(status="401 Unauthorized"), "422 FETCH_FAILED"),
        (answer(status="500 Oops"), "422 FETCH_FAILED"),
        (answer(status="404 Not Found"), "404 NOT_FOUND"),
        (b"", "422 FETCH_FAILED"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "422 FETCH_FAILED"),
        (b"\x00\xff" * 100, "422 FETCH_FAILED"),
    ],
)
def test_answers_that_are_not_taken(page, code):
    assert refused({"/": page}) == code


@pytest.mark.slow
def test_answers_that_are_taken():
    assert fetch({"/": chunked(CLIP)})[0] == CLIP
    assert fetch({"/": b"HTTP/1.0 200 OK\r\n\r\n" + CLIP})[0] == CLIP  # until the line is closed
    assert fetch({"/": answer(CLIP + b"more than promised", length=len(CLIP))})[0] == CLIP
    assert fetch({"/": b"HTTP/1.1 103 Early Hints\r\n\r\n" + answer()})[0] == CLIP


def test_a_server_that_is_not_there_is_said_to_be():
    async def run():
        async with Site({}) as site:
            guard = fetcher(site)
        await site.server.wait_closed()
        with pytest.raises(Fault) as caught:
            await guard.fetch(parse(f"http://127.0.0.1:{site.port}/"), Sink())
        assert caught.value.code == "FETCH_FAILED" and "not reached" in caught.value.message

    asyncio.run(asyncio.wait_for(run(), 100))


def test_the_next_address_is_tried_when_one_does_not_answer():
    async def run():
        async with Site({"/": answer()}) as site:
            found = {"cdn.example.org": [["1.1.1.1", PUBLIC]]}
            guard = fetcher(site, "http://cdn.example.org", found=found, dead=("1.1.1.1",))
            assert await guard.fetch(parse("http://cdn.example.org/"), Sink()) == len(CLIP)
            assert [host for host, _ in guard.calls] == ["1.1.1.1", PUBLIC]

    asyncio.run(asyncio.wait_for(run(), 100))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl to make a certificate")
@pytest.mark.parametrize("host", ["cdn.example.org", "other.example.org"])
def test_certificates_are_held_against_the_name(tmp_path, host):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -addext".split()
    command += ["subjectAltName=DNS:cdn.example.org", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=100)
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(cert, key)
    names: list[str] = []
    served.sni_callback = lambda _socket, name, _context: names.append(name)
    trusted = ssl.create_default_context(cafile=str(cert))

    async def run(tls):
        site = Site({"/a": answer()})
        site.server = await asyncio.start_server(site.handle, "127.0.0.1", 0, ssl=served)
        site.port = site.server.sockets[0].getsockname()[1]
        try:
            guard, sink = fetcher(site, host, tls=tls), Sink()
            await guard.fetch(parse(f"https://{host}/a"), sink)
            assert guard.calls[0][0] == PUBLIC
            return sink.data
        except Fault as fault:
            return fault
        finally:
            site.server.close()

    came = asyncio.run(asyncio.wait_for(run(trusted), 100))
    if host == "cdn.example.org":
        assert came == CLIP
        came = asyncio.run(asyncio.wait_for(run(True), 100))  # the system trusts no such certificate
    assert came.code == "FETCH_FAILED" and "certificate" in came.message
    assert set(names) == {host}
