"""The gateway before a server that takes pictures: what passes unchanged, what errors become, who learns which key."""

from __future__ import annotations

import json
import socket
import time
from contextlib import contextmanager

import httpx
import openai
import pytest

import openai_server
import picture_servers as servers
from relay_gateway import CHAT, RESPONSES, asked, relaying, video

pytestmark = pytest.mark.xdist_group("machine")
# As a client wrote it: its own order and spaces, fields that no server knows, text beyond ASCII.
TEXT = (
    '{"stream" : false,"model":"eye-7b", "x_unknown": {"deep": [1, 2.50]},  "messages":[{"role":"user",'
    '"content":"Gr\\u00fc\\u00dfe, 世界"}], "tools": [], "temperature": 0.10}'
).encode()
WAIT_S = 120.0
PICTURE = json.dumps(
    asked({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}}, model="m")
).encode()
JSON = {"content-type": "application/json"}
CLIENT_KEY, UPSTREAM_KEY = "c" * 24, servers.Hosted.key


@pytest.fixture(scope="module")
def ollama():
    with openai_server.serving(servers.Ollama()) as server, relaying(server.address) as gateway:
        with gateway.client() as client:
            yield server, client


@contextmanager
def before(server, **settings):
    """(stand-in, client of the gateway before it)."""
    with openai_server.serving(server) as running, relaying(running.address, **settings) as gateway:
        with gateway.client() as client:
            yield running, client


def code_of(reply: httpx.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]["code"]


class Scripted(servers.PictureServer):
    """Answers with bytes: of one response, its status and type."""

    status, kind, reply, extra = 200, "application/json", b"{}", ()

    def answer(self, handler, request) -> None:
        handler.send(self.status, self.reply, ("Content-Type", self.kind), *self.extra)


@pytest.mark.parametrize("body", [TEXT, PICTURE], ids=["text", "picture"])
def test_a_request_without_video_passes_byte_for_byte(ollama, body):
    server, client = ollama
    headers = {**JSON, "authorization": "Bearer of-the-client", "x-title": "my app", "x-request-id": "req-mine"}
    reply = client.post(CHAT, content=body, headers=headers)
    assert reply.status_code == 200 and server.raw[-1] == body and reply.content == server.sent[-1]
    head = server.heads[-1]
    assert (head["content-type"], head["x-title"], head["user-agent"]) == ("application/json", "my app", "cineloop")
    assert "authorization" not in head and "of-the-client" not in str(head)  # no key is set for that server
    assert reply.headers["content-type"] == "application/json" and reply.headers["x-request-id"] == "req-mine"


def test_a_stream_passes_byte_for_byte(ollama):
    server, client = ollama
    body = TEXT.replace(b'"stream" : false', b'"stream" : true')
    reply = client.post(CHAT, content=body, headers=JSON)
    assert reply.headers["content-type"] == "text/event-stream"
    assert server.raw[-1] == body and reply.content == server.sent[-1] and reply.content.endswith(b"data: [DONE]\n\n")


def test_responses_pass_byte_for_byte_too(ollama):
    server, client = ollama
    body = b'{"model": "eye-7b",  "input": [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]}'
    reply = client.post(RESPONSES, content=body, headers=JSON)
    assert (server.paths[-1], server.raw[-1], reply.content) == ("/v1/responses", body, server.sent[-1])


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}, "not currently supported"),
        ({"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}}, "invalid image input"),
        ({"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}}, "invalid message format"),
        ({"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}}, "invalid message format"),
        ({"type": "file", "file": {"file_id": "file-of-that-server"}}, "invalid message format"),
    ],
)
def test_parts_that_are_no_videos_are_that_servers_affair(ollama, part, message):
    server, client = ollama
    body = json.dumps(asked(part)).encode()
    reply = client.post(CHAT, content=body, headers=JSON)
    assert (reply.status_code, reply.content, server.raw[-1]) == (400, server.sent[-1], body)
    assert message in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("status", "reply"),
    [
        (400, b'{"error":"\'url\' field must be a base64 encoded image."}'),  # LM Studio: a text
        (429, b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}'),
        (500, b'{"error": {"message": "llama runner process has terminated"}}'),
        (404, b'{"error": {"message": "model \\"x\\" not found, try pulling it first"}}'),
    ],
)
def test_errors_keep_their_status_and_body(ollama, status, reply):
    server, client = ollama
    extra = (("Retry-After", "7"), ("X-Internal", "10.0.0.1"))
    with server.playing(Scripted, status=status, reply=reply, extra=extra):
        got = client.post(CHAT, content=TEXT, headers=JSON)
        assert (got.status_code, got.content, got.headers["retry-after"]) == (status, reply, "7")
        assert "x-internal" not in got.headers


@pytest.mark.parametrize("status", [200, 403, 502, 503])
def test_a_page_is_never_passed_on(ollama, status):
    server, client = ollama
    page = b"<html><head><title>502 Bad Gateway</title></head><body><script>steal()</script>nginx</body></html>"
    with server.playing(Scripted, status=status, kind="text/html", reply=page):
        got = client.post(CHAT, content=TEXT, headers=JSON)
        assert code_of(got)[1] in ("UPSTREAM", "UPSTREAM_KEY") and "<" not in got.text
        assert got.status_code == (status if status > 500 else 502)
        assert got.headers["content-type"] == "application/json"


@pytest.mark.slow
def test_a_server_that_is_down_is_told_of_and_found_again(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setattr("v2t.serve.engines.openai.POLL_S", 0.05)
    with relaying(f"openai:http://127.0.0.1:{port}/v1") as gateway, gateway.client() as client:
        assert code_of(client.post(CHAT, content=TEXT, headers=JSON)) == (502, "UPSTREAM_DOWN")
        assert code_of(client.get("/v1/models")) == (502, "UPSTREAM_DOWN")
        assert client.get("/health").json()["engine"] == "failing"
        started = servers.Ollama()
        started.socket.close()
        started.socket = socket.create_server(("127.0.0.1", port))
        with openai_server.serving(started):
            end = time.monotonic() + WAIT_S
            while client.get("/health").status_code != 200:
                assert time.monotonic() < end
                time.sleep(0.02)
            assert client.post(CHAT, content=TEXT, headers=JSON).status_code == 200


@pytest.mark.slow
def test_clients_keys_go_in_and_the_servers_key_goes_out(monkeypatch):
    monkeypatch.setenv("V2T_SERVE_KEY", CLIENT_KEY)
    monkeypatch.setenv("OPENAI_API_KEY", UPSTREAM_KEY)
    with before(servers.Hosted()) as (server, client):
        assert code_of(client.post(CHAT, content=TEXT, headers=JSON)) == (401, "UNAUTHORIZED")
        wrong = {**JSON, "authorization": "Bearer " + "w" * 24}
        assert code_of(client.post(CHAT, content=TEXT, headers=wrong)) == (401, "UNAUTHORIZED") and not server.raw
        right = {**JSON, "authorization": f"Bearer {CLIENT_KEY}"}
        assert client.post(CHAT, content=TEXT, headers=right).status_code == 200
        assert server.heads[-1]["authorization"] == f"Bearer {UPSTREAM_KEY}"
        server.key = "another"  # it was withdrawn: the client's key is not at fault, and not asked for again
        got = client.post(CHAT, content=TEXT, headers=right)
        assert code_of(got) == (502, "UPSTREAM_KEY") and UPSTREAM_KEY not in got.text
        monkeypatch.setenv("OPENAI_API_KEY", "another")  # read for each request
        assert client.post(CHAT, content=TEXT, headers=right).status_code == 200


@pytest.mark.slow
def test_a_key_that_comes_back_is_replaced_wherever_the_stream_is_cut(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", UPSTREAM_KEY)
    half = len(UPSTREAM_KEY) // 2

    class Leaking(servers.PictureServer):
        def answer(self, handler, request) -> None:
            if not request.get("stream"):
                return handler.send(400, {"error": {"message": f"bad key {UPSTREAM_KEY}"}})
            key = UPSTREAM_KEY.encode()
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.end_headers()
            handler.close_connection = True
            for piece in (b'data: {"a": "' + key[:half], key[half:] + b'"}\n\n', b"data: [DONE]\n\n" + key[:3]):
                handler.wfile.write(piece)
                handler.wfile.flush()
                time.sleep(0.05)

    with before(Leaking()) as (_, client):
        assert client.post(CHAT, content=TEXT, headers=JSON).json()["error"]["message"] == "bad key [key]"
        got = client.post(CHAT, json={"messages": [], "stream": True})
        assert got.content == b'data: {"a": "[key]"}\n\ndata: [DONE]\n\n' + UPSTREAM_KEY[:3].encode()


@pytest.mark.slow
def test_silence_and_slowness_have_their_times():
    slow = servers.Ollama()
    slow.slow_s = 2 * WAIT_S
    with before(slow, upstream=settings(read_s=0.2)) as (server, client):
        assert code_of(client.post(CHAT, content=TEXT, headers=JSON)) == (504, "UPSTREAM_TIMEOUT")
        assert server.cancelled.wait(WAIT_S)
    slow = servers.Ollama()
    slow.slow_s = 2 * WAIT_S
    with before(slow, limits=limits(answer_s=0.3)) as (server, client):
        assert code_of(client.post(CHAT, content=TEXT, headers=JSON)) == (504, "ANSWER_TIMEOUT")
        assert server.cancelled.wait(WAIT_S)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_request_to_the_server(ollama, stream):
    server, client = ollama
    with server.playing(servers.Ollama, slow_s=2 * WAIT_S):
        body = json.dumps({**asked(text="x"), "stream": stream}).encode()
        head = f"POST {CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        with socket.create_connection((client.base_url.host, client.base_url.port), WAIT_S) as made:
            made.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            assert server.asked.wait(WAIT_S)
        assert server.cancelled.wait(WAIT_S)


def test_garbage_without_a_video_is_passed_on_as_it_is(ollama):
    """It is that server's answer, and the client can see it."""
    server, client = ollama
    for kind, reply in (("text/event-stream", b"\x00\xff not an event\n\n"), ("application/json", b"{not json")):
        with server.playing(Scripted, kind=kind, reply=reply):
            got = client.post(CHAT, content=TEXT, headers=JSON)
            assert (got.status_code, got.content) == (200, reply)


def test_a_redirect_is_not_followed(ollama):
    server, client = ollama
    with server.playing(Scripted, status=302, extra=(("Location", "http://169.254.169.254/"),)):
        assert code_of(client.post(CHAT, content=TEXT, headers=JSON)) == (502, "UPSTREAM")


def test_a_stream_that_breaks_off_says_so(ollama):
    server, client = ollama

    class Breaking(servers.PictureServer):
        def answer(self, handler, request) -> None:
            handler.send_response(200)
            handler.send_header("Content-Type", "text/event-stream")
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
            handler.wfile.write(b'data: {"choices": []}\n\n')
            handler.close_connection = True

    with server.playing(Breaking):
        first, last, *_ = client.post(CHAT, json={"stream": True}).text.split("\n\n")
        assert first == 'data: {"choices": []}'
        assert json.loads(last.removeprefix("data: "))["error"]["code"] == "UPSTREAM"


@pytest.mark.slow
def test_the_models_are_listed_without_what_is_that_servers_own():
    server = servers.LlamaCpp()
    card = {"id": "b", "owned_by": "llamacpp", "path": "/srv/m.gguf", "status": {"args": ["--api-key", "x"]}}
    server.models = (card, {"id": "a", "max_model_len": 5}, {"no": "id"})
    server.models = server.models[:2]
    with openai_server.serving(server), relaying(f"{server.address}#a") as gateway, gateway.client() as client:
        told = client.get("/v1/models").json()["data"]
        assert [one["id"] for one in told] == ["a", "b"]  # the default first
        assert "/srv" not in str(told) and "api-key" not in str(told) and told[0]["max_model_len"] == 5
        assert told[0]["cineloop"]["limits"]["videos"] == 8 and told[1]["owned_by"] == "llamacpp"
        assert client.get("/v1/models/b").json() == told[1]
        assert code_of(client.get("/v1/models/c")) == (404, "UNKNOWN_MODEL")
        # A request without a model gets the default; one with a model that is not listed is that server's affair.
        for given, sent in ((None, "a"), ("", "a"), ("b", "b"), ("hidden", "hidden")):
            client.post(CHAT, json={"messages": [{"role": "user", "content": "x"}], "model": given})
            assert server.seen[-1]["model"] == sent


@pytest.mark.slow
def test_a_server_without_a_list_serves_nothing_by_name():
    class Listless(servers.PictureServer):
        models = ()

    with before(Listless()) as (_, client):
        assert client.get("/v1/models").json() == {"object": "list", "data": []}
        assert client.post(CHAT, json={"messages": [{"role": "user", "content": "x"}]}).status_code == 200


@pytest.mark.parametrize(
    ("body", "status", "code", "param"),
    [
        (asked(video("https://169.254.169.254/a.mp4")), 403, "URL_FORBIDDEN", "messages[0].content[0].video_url.url"),
        (asked(video("ftp://x/a.mp4")), 403, "URL_FORBIDDEN", "messages[0].content[0].video_url.url"),
        (asked(video("file://nowhere/a.mp4")), 403, "URL_FORBIDDEN", "messages[0].content[0].video_url.url"),
        (asked(video("data:video/mp4;base64,AAAA")), 422, "NOT_MEDIA", "messages[0].content[0].video_url.url"),
        (asked(video("upload:file-" + "0" * 32)), 404, "NOT_FOUND", "messages[0].content[0].video_url.url"),
        (asked({"type": "video_url"}), 400, "BAD_REQUEST", "messages[0].content[0].video_url"),
        (asked(*[video("data:video/mp4;base64,AAAA")] * 9), 413, "TOO_LARGE", "messages"),
    ],
)
def test_videos_have_the_rules_of_the_other_engines(ollama, body, status, code, param):
    server, client = ollama
    num = len(server.raw)
    got = client.post(CHAT, json=body)
    assert code_of(got) == (status, code) and got.json()["error"]["param"] == param and len(server.raw) == num


def test_a_body_that_is_no_json_is_refused_here(ollama):
    _, client = ollama
    assert code_of(client.post(CHAT, content=b"{", headers=JSON)) == (400, "BAD_JSON")
    assert client.post(CHAT, content=TEXT, headers={"content-type": "text/plain"}).status_code == 415


@pytest.mark.slow
def test_the_stock_client_reads_chat_streams_models_and_errors(ollama):
    server, client = ollama
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as stock:
        assert [model.id for model in stock.models.list()] == ["eye-7b", "eye-32b"]
        messages = [{"role": "user", "content": "Hello"}]
        reply = stock.chat.completions.create(model="eye-32b", messages=messages)
        assert (reply.choices[0].message.content, reply.usage.total_tokens) == ("0 pictures.", 12)
        chunks = list(stock.chat.completions.create(model="eye-7b", messages=messages, stream=True))
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "0 pictures."
        wrong = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.org/a.png"}}]}]
        with pytest.raises(openai.BadRequestError, match="base64 encoded data instead"):
            stock.chat.completions.create(model="eye-7b", messages=wrong)
        answer = stock.responses.create(model="eye-7b", input=[{"role": "user", "content": "Hello"}])
        assert answer.output_text == "0 pictures."


def settings(**more):
    from v2t.serve.settings import UpstreamSettings

    return UpstreamSettings(**more)


def limits(**more):
    from v2t.serve.settings import ServeLimits

    return ServeLimits(**more)
