"""The captioner for OpenAI-compatible servers against a real local server with every fault a server can have."""

from __future__ import annotations

import base64
import hashlib
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import decoder_here
import openai_server
from cineloop.errors import ItemError, MissingDependencyError
from cineloop.video.frames import Frames
from v2t.backends import Decoding, endpoint, open_backend, user_turn
from v2t.caption import job
from v2t.caption import run as caption
from v2t.caption.settings import CaptionConfig

pytestmark = pytest.mark.xdist_group("machine")

PATIENT = dict(read_s=60.0, connect_s=60.0)  # a machine at a load of 20 needs a second for an answer
FAULTS = "429 429-after 500 503 hang close half chunks garbage no-json no-object wrong-id no-choice".split()


def picture(number: int, num_frames: int = 2) -> Frames:
    """Frames of one colour that says which clip they belong to."""
    pixels = np.empty((num_frames, 32, 48, 3), np.uint8)
    pixels[:] = (number % 16 * 16 + 8, number // 16 * 16 + 8, 100)
    return Frames.from_pixels(pixels, 2.0)


def number_in(request: dict) -> int:
    """The clip that the first picture of a request belongs to."""
    import cv2

    part = next(p for p in request["messages"][-1]["content"] if p["type"] != "text")
    data = part[part["type"]]["url"].split(",")[1]
    image = cv2.imdecode(np.frombuffer(base64.b64decode(data), np.uint8), cv2.IMREAD_COLOR)
    blue_green_red = image.reshape(-1, 3).mean(0)
    return int(blue_green_red[2] // 16 + blue_green_red[1] // 16 * 16)


class Handler(openai_server.Handler):
    def reply(self, number: int, request: dict) -> None:
        server = self.server
        with server.lock:
            server.in_flight += 1
            server.most_in_flight = max(server.most_in_flight, server.in_flight)
        try:
            if is_probe(request):
                return self.send(400, {"error": {"message": "frames_indices length (2) must match 1"}})
            time.sleep(server.work_s)
            fault = server.fault(number)
            if fault is None:
                self.answer(request)
            elif isinstance(fault, tuple):
                self.send(*fault)
            else:
                self.fail(fault)
        finally:
            with server.lock:
                server.in_flight -= 1

    def answer(self, request: dict) -> None:
        id_ = f"chatcmpl-{self.headers['X-Request-Id']}"
        self.say(f"clip {number_in(request)}", id=id_, usage={"completion_tokens": 7})

    def fail(self, fault: str) -> None:
        if fault in ("429", "500", "503"):
            return self.send(int(fault), {"error": {"message": "not now"}})
        if fault == "429-after":
            return self.send(429, b"slow down", ("Retry-After", "0.05"))
        if fault == "hang":
            time.sleep(1.5)
        elif fault == "half":
            return self.send(200, {"choices": [{"message": {"content": "lost" * 9}}]}, cut=9)
        elif fault == "chunks":
            self.wfile.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\n{"choices')
        elif fault == "garbage":
            self.wfile.write(random.Random(0).randbytes(300))
        elif fault == "no-json":
            return self.send(200, b'{"choices": [{"message"')
        elif fault == "no-object":
            return self.send(200, [1])
        elif fault == "wrong-id":
            other = hashlib.md5(str(time.time_ns()).encode()).hexdigest()
            return self.send(200, {"id": f"chatcmpl-v2t-{other}", "choices": [{"message": {"content": "not yours"}}]})
        elif fault == "no-choice":
            return self.send(200, {"id": "chatcmpl-1", "choices": []})
        self.close_connection = True


class FaultyServer(openai_server.Server):
    """`fault(n)` says what goes wrong with request n: a name, or status, body, headers."""

    handler, work_s = Handler, 0.0
    in_flight = most_in_flight = connections = 0

    def __init__(self) -> None:
        super().__init__()
        self.fault = lambda number: None

    def get_request(self):
        self.connections += 1
        return super().get_request()


def is_probe(request: dict) -> bool:
    return request.get("max_tokens") == 1


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with openai_server.serving(FaultyServer()) as made:
        yield made


def opened(server: FaultyServer, model: str = "", **options):
    captioner = open_backend(server.address + model, options={**PATIENT, **options})
    captioner.load()
    return captioner


def asks(server: FaultyServer) -> list[dict]:
    return [request for request in server.seen if not is_probe(request)]


def ask(captioner, number: int = 5, **decoding):
    return captioner.answer([user_turn("what?", picture(number))], Decoding(**decoding))[0]


# A folder of clips through the whole job


class NumberPool(decoder_here.Pool):
    """Decodes a file that holds a number as the picture of that number."""

    def decode(self, path, spec, size) -> Frames:
        return picture(int(Path(path).read_text()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", NumberPool)
    (tmp_path / "clips").mkdir()
    return tmp_path


def caption_folder(folder: Path, server: FaultyServer, num_clips: int, **options):
    for number in range(num_clips):
        (folder / "clips" / f"{number:03}.mp4").write_text(str(number))
    rows: list[dict] = []
    config = CaptionConfig(model=server.address, options={**PATIENT, **options})
    return caption.run([str(folder / "clips")], folder / "out", config, emit=rows.append), rows


@pytest.mark.slow
def test_every_clip_has_one_final_record_whatever_the_server_does(folder, server):
    dice, met = random.Random(7), Counter()

    def fault(number):
        with server.lock:
            found = FAULTS[met.total() % len(FAULTS)] if dice.random() < 0.4 else None
            met[found] += 1
        return found

    server.fault, server.work_s = fault, 0.01
    summary, rows = caption_folder(folder, server, 96, retries=12, read_s=1.0)  # fewer than a hanging one takes
    assert summary.exit_code == 0 and set(met) == {*FAULTS, None}
    assert sorted(row["id"] for row in rows) == [f"{number:03}.mp4" for number in range(96)]
    assert all(row["status"] == "ok" and row["caption"] == f"clip {int(row['id'][:3])}" for row in rows)
    written = {path.stem: path.read_text() for path in (folder / "out").glob("*.txt")}
    assert written == {f"{number:03}": f"clip {number}\n" for number in range(96)}
    assert 2 <= server.most_in_flight <= 16
    again, none = caption_folder(folder, server, 96)
    assert (again.done_before, none) == (96, [])


@pytest.mark.slow
def test_a_clip_the_server_refuses_fails_alone_and_no_file_holds_the_key(folder, server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-0123456789")
    whole = Handler.answer

    def answer(self, request):
        if number_in(request) == 3:
            return self.send(400, {"error": {"message": f"too many\nframes {self.headers['Authorization']}"}})
        return whole(self, request)

    monkeypatch.setattr(Handler, "answer", answer)
    summary, rows = caption_folder(folder, server, 20)
    assert summary.exit_code == 3 and len({row["id"] for row in rows}) == len(rows) == 20
    failed = [row for row in rows if row["status"] == "failed"]
    assert [row["id"] for row in failed] == ["003.mp4"] and failed[0]["error"]["code"] == "BAD_REQUEST"
    assert "too many\\nframes [key]" in failed[0]["error"]["message"]
    files = [path.read_bytes() for path in (folder / "out").rglob("*") if path.is_file()]
    assert len(files) > 20 and not any(b"secret-0123456789" in data for data in files)


@pytest.mark.slow
@pytest.mark.parametrize(("status", "words"), [(401, "OPENAI_API_KEY"), (403, "OPENAI_API_KEY"), (404, "#model")])
def test_what_no_clip_could_pass_stops_the_run(folder, server, status, words):
    server.fault = lambda number: (status, {"error": {"message": "no"}})
    with pytest.raises(MissingDependencyError, match=words):
        caption_folder(folder, server, 20)
    assert len(asks(server)) <= 16


@pytest.mark.slow
def test_a_server_that_died_stops_the_run(folder, server):
    server.fault = lambda number: "500"
    with pytest.raises(MissingDependencyError, match="in a row: no usable answer"):
        caption_folder(folder, server, 60, retries=1)


# One request


@pytest.mark.slow
def test_sixteen_are_in_flight_at_once(server):
    together = threading.Barrier(16)  # nobody is answered before sixteen have asked
    server.fault = lambda number: None if together.wait(240) >= 0 else "500"
    captioner = opened(server, read_s=250.0, connect_s=60.0)
    with ThreadPoolExecutor(captioner.concurrency) as threads:
        answers = list(threads.map(lambda n: ask(captioner, n), range(64)))
    assert [answer.text for answer in answers] == [f"clip {n}" for n in range(64)]
    assert server.most_in_flight == 16


def test_a_rate_limit_is_waited_out_beyond_the_tries_of_other_faults(server, monkeypatch):
    monkeypatch.setattr("v2t.backends.endpoint._PAUSE_S", 0.01)
    captioner = opened(server, retries=1)
    server.fault = lambda number: "429" if number < 9 else None
    assert ask(captioner).text == "clip 5" and len(asks(server)) == 9


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["hang", "429", "429-after", "500", "no-json"])
def test_waiting_for_a_server_ends(server, fault):
    captioner = opened(server, total_s=0.2, read_s=0.3, retries=1)
    server.fault = lambda number: fault
    with pytest.raises(ItemError) as caught:
        ask(captioner)
    assert caught.value.code == "SERVER_ERROR" and len(asks(server)) == 2


def test_a_spent_quota_is_not_waited_for(server):
    captioner = opened(server, retries=0)
    server.fault = lambda number: (429, {"error": {"message": "no money", "code": "insufficient_quota"}})
    with pytest.raises(MissingDependencyError, match="quota is used up"):
        ask(captioner)
    assert len(asks(server)) == 1


@pytest.mark.parametrize(("status", "code"), [(400, "BAD_REQUEST"), (413, "TOO_LARGE"), (422, "BAD_REQUEST")])
def test_a_refusal_is_not_tried_again(server, status, code):
    captioner = opened(server)
    server.fault = lambda number: (status, {"detail": [{"msg": "too big " * 200}]})
    with pytest.raises(ItemError) as caught:
        ask(captioner)
    assert caught.value.code == code and len(asks(server)) == 1 and len(caught.value.message) < 400


def test_redirects_are_not_followed(server):
    captioner = opened(server)
    server.fault = lambda number: (307, b"", ("Location", "http://127.0.0.1:1/elsewhere"))
    with pytest.raises(MissingDependencyError, match="redirects to http://127.0.0.1:1/elsewhere"):
        ask(captioner)


def test_connections_are_kept_and_dead_ones_replaced(server):
    captioner = opened(server, "#tiny", retries=1)
    assert ask(captioner).text == ask(captioner).text == "clip 5"
    assert server.connections == 1
    server.fault = lambda number: "close" if number == 3 else None
    assert ask(captioner).text == "clip 5" and server.connections == 2


def test_parameters_a_server_does_not_know_are_called_otherwise_or_left_out(server):
    captioner = opened(server)

    def fault(number):
        for name in ("max_tokens", "repetition_penalty"):
            if name in server.seen[number]:
                return 400, {"error": {"message": f"Unsupported parameter: '{name}'", "param": name}}
        return None

    server.fault = fault
    assert ask(captioner, max_new_tokens=9, repetition_penalty=1.3).text == "clip 5"
    assert server.seen[-1]["max_completion_tokens"] == 9 and server.seen[-1]["temperature"] == 0.0
    count = len(server.seen)
    ask(captioner, repetition_penalty=1.3)
    assert len(server.seen) == count + 1


def test_what_the_environment_holds_for_openai_itself_is_not_sent_elsewhere(server, monkeypatch):
    for name in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY", "OPENAI_WEBHOOK_SECRET"):
        monkeypatch.setenv(name, f"private-{name}")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Team: private-team")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    assert ask(opened(server)).text == "clip 5"
    assert len(server.heads) == 2 and not [head for head in server.heads if "private" in str(head)]
    assert set(map(str.lower, server.heads[-1])) <= endpoint._HEADERS | {"user-agent"}
