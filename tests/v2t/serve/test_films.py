"""Films longer than the model sees at once, before a server that takes pictures: watched into notes, once."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import openai
import pytest

import openai_server
import picture_servers as servers
from relay_gateway import CHAT, RESPONSES, asked, data_url, film, relaying, video
from v2t.serve.settings import ServeLimits, UpstreamSettings

pytestmark = [pytest.mark.xdist_group("machine"), pytest.mark.slow]
WINDOW_S = 4.0


def upstream(notes, **more) -> UpstreamSettings:
    return UpstreamSettings(window_s=WINDOW_S, notes=notes, **more)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """Forty seconds: ten windows."""
    return film(tmp_path_factory.mktemp("clips") / "film.mp4", 40)


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    with openai_server.serving(servers.Ollama()) as server:
        with relaying(server.address, upstream=upstream(tmp_path_factory.mktemp("notes"))) as gateway:
            with gateway.client() as client:
                yield server, client, gateway


class Watcher(servers.Ollama):
    """Notes that differ by model, so that each test has a film of its own; `gate` holds the answers to windows."""

    gate: threading.Event | None = None

    def answer(self, handler, request) -> None:
        if self.gate is not None and "Note every event" in servers.texts_of(request):
            self.asked.set()
            self.gate.wait(120)
        super().answer(handler, request)


def windows_of(server) -> list[dict]:
    return [request for request in server.seen if "Note every event" in servers.texts_of(request)]


def comments_of(reply: httpx.Response) -> list[dict]:
    lines = [line for line in reply.text.split("\n\n") if line.startswith(": cineloop ")]
    return [json.loads(line.removeprefix(": cineloop "))["progress"] for line in lines]


def events_of(reply: httpx.Response) -> list[dict]:
    lines = [line for line in reply.text.split("\n\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_film_of_forty_minutes_is_watched_once_and_then_known(tmp_path):
    path = film(tmp_path / "long.mp4", 2400, size=(32, 32))
    with openai_server.serving(servers.Ollama()) as server:
        with relaying(server.address, upstream=UpstreamSettings(notes=tmp_path, concurrency=8)) as gateway:
            with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="none", max_retries=0) as stock:
                uploaded = stock.files.create(file=path, purpose="user_data")
                part = {"type": "file", "file": {"file_id": uploaded.id}}
                body = asked(part, text="What does the square do?", model="eye-7b", stream=True)
                first, *rest = list(stock.chat.completions.create(**body))
                assert len(windows_of(server)) == 40 and len(server.seen) == 41
                (told,) = first.cineloop["videos"]
                assert told["look"] == "notes" and told["duration_s"] == 2400.0 and "warnings" not in first.cineloop
                notes = told["notes"]
                assert len(notes) == 40 and notes[-1]["start_s"] == 2341.0
                assert "".join(chunk.choices[0].delta.content or "" for chunk in rest) == "0 pictures."
                passed = server.seen[-1]["messages"][0]["content"]
                assert passed[0]["text"].startswith("Timed notes on a film of 40:00") and len(passed) == 2
                assert "39:01-39:02 a red square moves." in passed[0]["text"]
                # Each window: its own frames, with times that count from its start.
                assert all(servers.times_of(window)[0] == 0.0 for window in windows_of(server))
                assert sum(len(servers.pictures_of(window)) for window in windows_of(server)) == 40 * 32
                # The same film sent in another way, and another question: nothing is watched again.
                reply = stock.chat.completions.create(**asked(video(data_url(path)), text="And then?", model="eye-7b"))
                assert len(server.seen) == 42 and reply.cineloop["videos"][0]["look"] == "notes"
                # A moment is looked at on its frames, with the seconds of the film.
                at = asked(part, text="What happens at 34:22?", model="eye-7b")
                reply = stock.chat.completions.create(**at)
                times = servers.times_of(server.seen[-1])
                assert len(server.seen) == 43 and 2030 < times[0] < 2062 < times[-1] < 2094
                assert reply.cineloop["videos"][0]["times_s"] == times
                assert server.seen[-1]["messages"][0]["content"][-1]["text"] == "What happens at 34:22?"


def test_a_client_of_a_stream_is_shown_the_progress(running, clip):
    server, client, _ = running
    with server.playing(servers.Ollama):
        reply = client.post(CHAT, json=asked(video(data_url(clip)), model="progress", stream=True))
        told = comments_of(reply)
        assert told[-1] == {"film": 1, "films": 1, "windows": 10, "of": 10}
        done = [one["windows"] for one in told]
        assert done == sorted(done) and len(done) >= 2
        assert reply.text.endswith("data: [DONE]\n\n") and events_of(reply)[0]["cineloop"]["videos"][0]["notes"]
        assert reply.headers["content-type"].startswith("text/event-stream")


def test_a_stream_shows_signs_of_life_while_a_window_takes_long(running, clip, monkeypatch):
    monkeypatch.setattr("v2t.serve.outlet.ALIVE_S", 0.05)
    server, client, _ = running
    with server.playing(Watcher, gate=threading.Event()):
        body = asked(video(data_url(clip)), model="alive", stream=True)
        with client.stream("POST", CHAT, json=body) as reply:
            seen = ""
            for text in reply.iter_text():
                seen += text
                if seen.count(": waiting\n\n") >= 2:
                    server.gate.set()
        assert seen.count(": waiting\n\n") >= 2 and seen.endswith("data: [DONE]\n\n")


def test_when_something_happens_is_searched_and_verified(running, clip):
    class Times(servers.Ollama):
        def say(self, request) -> str:
            text = servers.texts_of(request)
            if "Note every event" in text:
                return "0:01-0:02 a red square moves."
            return "from 1.0 to 2.0 seconds" if "When does" in text and servers.times_of(request) else "Often."

    server, client, _ = running
    with server.playing(Times):
        reply = client.post(CHAT, json=asked(video(data_url(clip)), text="When does the square move?", model="times"))
        (told,) = reply.json()["cineloop"]["videos"]
        assert told["look"] == "when" and [span["start_s"] for span in told["spans"]] == [1.0, 5.0, 9.0, 13.0, 17.0]
        passed = servers.texts_of(server.seen[-1])
        assert "The whole film was searched on its frames." in passed and "0:17.0-0:18.0" in passed
        assert reply.json()["choices"][0]["message"]["content"] == "Often."


def test_responses_are_given_notes_as_well(running, clip):
    server, client, _ = running
    with server.playing(servers.Ollama):
        content = [{"type": "input_video", "video_url": data_url(clip)}, {"type": "input_text", "text": "What?"}]
        body = {"model": "responses", "input": [{"role": "user", "content": content}]}
        reply = client.post(RESPONSES, json=body).json()
        assert reply["cineloop"]["videos"][0]["look"] == "notes"
        first = server.seen[-1]["input"][0]["content"][0]
        assert first["type"] == "input_text" and first["text"].startswith("Timed notes")


def test_of_a_range_only_its_windows_are_watched(running, clip):
    server, client, _ = running
    with server.playing(servers.Ollama):
        reply = client.post(CHAT, json=asked(video(f"{data_url(clip)}#t=8,20"), model="range")).json()
        assert len(windows_of(server)) == 3
        assert [note["start_s"] for note in reply["cineloop"]["videos"][0]["notes"]] == [9.0, 13.0, 17.0]


def test_a_moment_that_the_film_does_not_have(running, clip):
    server, client, _ = running
    reply = client.post(CHAT, json=asked(video(data_url(clip)), text="What happens at 3:00?", model="m"))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "BEYOND_END")


def test_a_client_that_leaves_stops_the_watching_and_what_was_noted_is_kept(running, clip):
    server, client, gateway = running
    with server.playing(Watcher, gate=threading.Event()):
        body = asked(video(data_url(clip)), model="leaver", stream=True)
        with client.stream("POST", CHAT, json=body) as reply:
            assert server.asked.wait(120) and reply.status_code == 200
        num = len(windows_of(server))
        assert num < 10
        end = time.monotonic() + 120
        while gateway.gateway.queue.taken:  # the slot is free at once, whatever the server does
            assert time.monotonic() < end
            time.sleep(0.01)
        server.gate.set()
        before = set(map(json.dumps, windows_of(server)))
        reply = client.post(CHAT, json=asked(video(data_url(clip)), model="leaver", stream=True))
        assert len(events_of(reply)[0]["cineloop"]["videos"][0]["notes"]) == 10
        assert 1 <= comments_of(reply)[-1]["of"] < 10  # the first had stopped, and what it noted is not noted again
        asked_for = list(map(json.dumps, windows_of(server)))
        assert before and len(asked_for) == len(set(asked_for)) == 10  # none twice


def test_two_that_ask_at_once_have_the_film_watched_once(running, clip):
    server, client, _ = running
    with server.playing(servers.Ollama), ThreadPoolExecutor(2) as threads:
        body = asked(video(data_url(clip)), model="both")
        replies = list(threads.map(lambda _: client.post(CHAT, json=body), range(2)))
        assert [len(reply.json()["cineloop"]["videos"][0]["notes"]) for reply in replies] == [10, 10]
        assert len(windows_of(server)) == 10


def test_each_key_has_notes_of_its_own(tmp_path, clip, monkeypatch):
    keys = ["k" * 20, "o" * 20]
    monkeypatch.setenv("V2T_SERVE_KEY", ",".join(keys))
    with openai_server.serving(servers.Ollama()) as server:
        with relaying(server.address, upstream=upstream(tmp_path)) as gateway:
            for number, key in enumerate([*keys, *keys], 1):
                with gateway.client(Authorization=f"Bearer {key}") as client:
                    assert client.post(CHAT, json=asked(video(data_url(clip)), model="m")).status_code == 200
                assert len(windows_of(server)) == 10 * min(number, 2)


@pytest.mark.parametrize("stream", [False, True])
def test_a_server_that_cannot_see_is_an_error_and_no_answer_from_nothing(running, clip, stream):
    class Blind(servers.PictureServer):
        def check(self, request, data) -> None:
            if servers.pictures_of(request):
                raise servers.Refused(400, {"error": "Model does not support images."})

    server, client, _ = running
    with server.playing(Blind):
        reply = client.post(CHAT, json=asked(video(data_url(clip)), model=f"blind-{stream}", stream=stream))
        error = (events_of(reply)[-1] if stream else reply.json())["error"]
        assert error["code"] == "BAD_REQUEST" and "does not support images" in error["message"]
        assert "127.0.0.1" not in reply.text  # the address is the operator's own
        assert reply.status_code == (200 if stream else 400) and "[DONE]" not in reply.text


def test_the_time_of_a_film_is_limited_and_the_next_question_goes_on(tmp_path, clip):
    with openai_server.serving(Watcher()) as server:
        server.gate = threading.Event()
        settings = {"upstream": upstream(tmp_path, film_s=0.5), "limits": ServeLimits(answer_s=60.0)}
        with relaying(server.address, **settings) as gateway, gateway.client() as client:
            reply = client.post(CHAT, json=asked(video(data_url(clip)), model="m"))
            assert (reply.status_code, reply.json()["error"]["code"]) == (504, "ANSWER_TIMEOUT")
            assert gateway.gateway.queue.taken == 0
            server.gate.set()
            server.gate = None
            end = time.monotonic() + 60
            while client.post(CHAT, json=asked(video(data_url(clip)), model="m")).status_code != 200:
                assert time.monotonic() < end
            assert len(windows_of(server)) == 10
