"""Videos before a server that takes pictures: every form of part, timed pictures, fewer where it refuses so many."""

from __future__ import annotations

import base64
import json

import cv2
import numpy as np
import openai
import pytest

import openai_server
import picture_servers as servers
from relay_gateway import CHAT, RESPONSES, asked, data_url, film, relaying, video
from v2t.serve.settings import UpstreamSettings

pytestmark = [pytest.mark.xdist_group("machine"), pytest.mark.slow]


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Ten seconds, two frames a second, each redder than the one before."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    return film(path, 10, fps=2.0)


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("clips") / "one.png"
    cv2.imwrite(str(path), np.zeros((20, 30, 3), np.uint8))
    return path


@pytest.fixture(scope="module")
def running(clip):
    with openai_server.serving(servers.Ollama()) as server:
        with relaying(server.address, roots={"clips": clip.parent}) as gateway, gateway.client() as client:
            yield server, client
            queue, memory = gateway.gateway.queue, gateway.gateway.memory
            assert (queue.taken, queue.waiting, queue.preparing, memory.held) == (0, 0, 0, 0)


def upload(client, path) -> str:
    reply = client.post("/v1/files", data={"purpose": "user_data"}, files={"file": (path.name, path.read_bytes())})
    return reply.json()["id"]


def report_of(reply) -> dict:
    assert reply.status_code == 200, reply.text
    return reply.json()["cineloop"]


def test_every_form_of_a_video_becomes_the_same_timed_pictures(running, clip):
    server, client = running
    plain, name = base64.b64encode(clip.read_bytes()).decode(), upload(client, clip)
    url = data_url(clip)
    untyped = url.replace("video/mp4", "application/octet-stream")
    forms = [
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "video_url", "video_url": url},
        {"type": "video_url", "video_url": {"url": f"file://clips/{clip.name}"}},
        {"type": "input_video", "input_video": {"data": plain, "format": "mp4"}},  # llama.cpp's page
        {"type": "input_video", "input_video": {"data": plain, "format": "auto"}},
        {"type": "input_video", "input_video": {"data": url}},
        {"type": "input_video", "video_url": url},
        {"type": "input_video", "file_id": name},
        {"type": "video", "video": f"upload:{name}"},
        {"type": "file", "file": {"file_id": name}},
        {"type": "file", "file": {"file_data": url, "filename": "clip.mp4"}},
        {"type": "file", "file": {"file_data": untyped, "filename": "clip.MP4"}},
        {"type": "image_url", "image_url": {"url": url}},  # a video called a picture
    ]
    sent = []
    for form in forms:
        report = report_of(client.post(CHAT, json=asked(form)))
        sent.append(server.seen[-1]["messages"])
        assert report["videos"][0]["times_s"] == [0.5 * number for number in range(20)] and "warnings" not in report
    assert all(messages == sent[0] for messages in sent)
    content = sent[0][0]["content"]
    assert [part["type"] for part in content] == ["text", "image_url"] * 20 + ["text"]
    assert [part["text"] for part in content[::2]] == [*(f"{n / 2:.2f} s:" for n in range(20)), "What happens?"]
    reds = [
        cv2.imdecode(np.frombuffer(one, np.uint8), 1)[..., 2].mean() for one in servers.pictures_of(server.seen[-1])
    ]
    assert len(reds) == 20 and all(a < b + 3 for a, b in zip(reds, reds[1:], strict=False)) and reds[-1] > reds[0] + 10


def test_all_else_of_the_request_stays_as_it_was(running, clip):
    server, client = running
    more = {
        "model": "eye-7b",
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_object"},
        "x_unknown": [1, {"a": None}],
        "options": {"num_ctx": 16384},
    }
    own = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "high"}}
    first = {"role": "system", "content": "Be brief.", "name": "x"}
    body = {"messages": [first, *asked(own, video(data_url(clip)))["messages"]], **more}
    client.post(CHAT, json=body)
    request = server.seen[-1]
    assert {name: value for name, value in request.items() if name != "messages"} == more
    assert request["messages"][0] == first
    content = request["messages"][1]["content"]
    assert content[0] == own and content[-1] == {"type": "text", "text": "What happens?"}


def test_a_range_and_several_videos_and_a_picture(running, clip, picture):
    server, client = running
    name = upload(client, picture)
    parts = [video(f"{data_url(clip)}#t=2,4"), video(data_url(clip)), {"type": "file", "file": {"file_id": name}}]
    report = report_of(client.post(CHAT, json=asked(*parts)))
    ranged, whole, still = report["videos"]
    assert (ranged["start_s"], ranged["times_s"]) == (2.0, [2.0, 2.5, 3.0, 3.5])
    assert len(still["times_s"]) == 1
    texts = [part["text"] for part in servers.parts_of(server.seen[-1]) if part["type"] == "text"]
    assert texts[:3] == ["Video 1 of 3:", "0.00 s:", "0.50 s:"]  # a range is a clip of its own
    assert "Video 2 of 3:" in texts and not any("3 of 3" in text for text in texts)  # a picture has no time
    assert len(servers.pictures_of(server.seen[-1])) == sum(len(one["times_s"]) for one in report["videos"]) <= 32
    assert len(whole["times_s"]) >= 10


def test_a_stream_begins_with_the_report(running, clip):
    server, client = running
    reply = client.post(CHAT, json=asked(video(data_url(clip)), stream=True, model="eye-7b"))
    first, rest = reply.content.split(b"\n\n", 1)
    chunk = json.loads(first.removeprefix(b"data: "))
    assert chunk["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert len(chunk["cineloop"]["videos"][0]["times_s"]) == 20
    assert rest == server.sent[-1]


def test_responses_take_videos_too(running, clip):
    server, client = running
    name = upload(client, clip)
    for form in (
        {"type": "input_video", "video_url": data_url(clip)},
        {"type": "input_file", "file_id": name},
        {"type": "input_file", "file_data": data_url(clip), "filename": "a.mp4"},
    ):
        content = [form, {"type": "input_text", "text": "What?"}]
        report = report_of(client.post(RESPONSES, json={"model": "m", "input": [{"role": "user", "content": content}]}))
        assert len(report["videos"][0]["times_s"]) == 20
        sent = server.seen[-1]["input"][0]["content"]
        assert [part["type"] for part in sent] == ["input_text", "input_image"] * 20 + ["input_text"]
        assert sent[1]["image_url"].startswith("data:image/jpeg;base64,") and sent[0]["text"] == "0.00 s:"


def test_the_frames_are_shown_before_a_question(running, clip):
    _, client = running
    shown = client.post("/v1/frames", json={"model": "whatever", "url": data_url(clip)}).json()
    assert len(shown["frames"]) == 20 and shown["frames"][0]["jpeg"].startswith("data:image/jpeg")


@pytest.mark.parametrize(
    ("kind", "most"),
    [(servers.Vllm, 5), (servers.LlamaCpp, 9), (servers.LmStudio, 8), (servers.Hosted, 19)],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_refuses_so_many_gets_fewer(running, kind, most, stream, clip, monkeypatch):
    server, client = running
    monkeypatch.setenv("OPENAI_API_KEY", kind.key)
    with server.playing(kind, **({"most_bytes": 9_000} if kind is servers.Hosted else {})):
        with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as stock:
            body = asked(video(data_url(clip)), model=f"{kind.__name__}-{stream}", stream=stream)
            reply = stock.chat.completions.create(**body)
            if stream:
                first, *chunks = list(reply)
                report = first.cineloop
                text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
            else:
                report, text = reply.cineloop, reply.choices[0].message.content
        (warning,) = report["warnings"]
        sent = len(servers.pictures_of(server.seen[-1]))
        assert warning["code"] == "FEWER_PICTURES" and warning["message"].startswith(f"{sent} of 20 frames were sent")
        assert text.startswith(f"{sent} pictures from 0 to 9.5 s") and 2 <= sent <= most
        assert 2 <= len(server.raw) <= 5


def test_a_number_that_a_server_names_is_kept_for_the_next_request(running, clip):
    server, client = running
    with server.playing(servers.Vllm):
        for requests in (2, 3):  # the second question at once with five
            report_of(client.post(CHAT, json=asked(video(data_url(clip)), model="eye")))
            assert len(server.raw) == requests
        assert len(servers.pictures_of(server.seen[-1])) == 5
        report_of(client.post(CHAT, json=asked(video(data_url(clip)), model="another")))
        assert len(server.raw) == 5  # of one model alone


def test_a_limit_that_is_set_is_kept_and_pictures_of_the_client_count(clip):
    own = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    with openai_server.serving(servers.Ollama()) as server:
        with relaying(server.address, upstream=UpstreamSettings(max_pictures=6, max_side=32)) as gateway:
            with gateway.client() as client:
                report = report_of(client.post(CHAT, json=asked(own, own, video(data_url(clip)))))
                assert len(report["videos"][0]["times_s"]) == 4 and "warnings" not in report
                pictures = servers.pictures_of(server.seen[-1])
                assert len(pictures) == 6
                assert cv2.imdecode(np.frombuffer(pictures[-1], np.uint8), 1).shape[:2] == (24, 32)


def test_pictures_of_the_client_count_towards_what_a_server_takes(running, clip):
    own = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    server, client = running
    with server.playing(servers.Vllm):
        report = report_of(client.post(CHAT, json=asked(own, own, video(data_url(clip)), model="own")))
        assert len(servers.pictures_of(server.seen[-1])) == 5 and len(server.raw) == 2
        assert report["warnings"][0]["message"].startswith("3 of 20 frames were sent")


def test_a_silent_overflow_is_asked_once_more_and_then_told(running, clip):
    server, client = running
    with server.playing(servers.LmStudio, is_silent=True, most_pictures=10):
        reply = client.post(CHAT, json=asked(video(data_url(clip)), stream=True))
        assert "10 pictures" in "".join(_words(reply)) and len(server.raw) == 2
    with server.playing(servers.LmStudio, is_silent=True, most_pictures=0):
        reply = client.post(CHAT, json=asked(video(data_url(clip)), stream=True))
        first = json.loads(reply.text.split("\n\n")[0].removeprefix("data: "))
        assert [one["code"] for one in first["cineloop"]["warnings"]] == ["FEWER_PICTURES", "EMPTY_ANSWER"]
        assert len(server.raw) == 2


def _words(reply) -> list[str]:
    lines = [line for line in reply.text.split("\n\n") if line.startswith("data: {")]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    return [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]


def test_a_refusal_that_no_fewer_pictures_help_is_passed_on(running, clip):
    server, client = running

    class TextOnly(servers.PictureServer):
        def check(self, request, data) -> None:
            if servers.pictures_of(request):
                text = "Model does not support images. Please use a model that does."
                raise servers.Refused(400, {"error": text})

    with server.playing(TextOnly):
        for stream in (False, True):
            reply = client.post(CHAT, json=asked(video(data_url(clip)), stream=stream))
            assert (reply.status_code, reply.content) == (400, server.sent[-1])
        assert len(server.raw) == 2


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        ("text/event-stream", b"\x00\xffgarbage\n\n"),
        ("text/event-stream", b"data: {not json\n\n"),
        ("text/event-stream", b""),
        ("application/json", b"<html>"),
        ("application/json", b"[1]"),
        ("text/html", b"<html>hello</html>"),
    ],
)
def test_garbage_instead_of_an_answer_is_an_error(running, kind, reply, clip):
    server, client = running

    class Garbage(servers.PictureServer):
        def answer(self, handler, request) -> None:
            handler.send(200, reply, ("Content-Type", kind))

    with server.playing(Garbage):
        got = client.post(CHAT, json=asked(video(data_url(clip)), stream=True))
        assert (got.status_code, got.json()["error"]["code"]) == (502, "UPSTREAM") and "<" not in got.text


def test_videos_and_frames_are_counted(running, clip):
    _, client = running
    report_of(client.post(CHAT, json=asked(video(data_url(clip)))))
    text = client.get("/metrics").text
    assert 'v2t_videos_total{outcome="ok",source="data"}' in text and "v2t_frames_total" in text
