"""What goes to an OpenAI-compatible server and what is made of its answers: frames, times, words, names, keys."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from fractions import Fraction

import numpy as np
import pytest

import openai_server
from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.video.decode import Request, decode
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from v2t.backends import Decoding, Message, open_backend, user_turn
from v2t.backends.payload import video_metadata

KEY = "secret-0123456789"  # looks like no key, so that only knowing it can hide it
HTTP = "http://127.0.0.1"
PROBES = {
    "vllm": (400, "frames_indices length (2) must match number of frames sent (1)"),
    "untrusting": (400, "Start the server with --trust-request-mm-kwargs only when clients are trusted."),
    "images": (400, "Invalid content type. image_url is supported"),
    "broken": (500, "unsupported content[].type"),
    "deaf": (200, ""),
}


class Handler(openai_server.Handler):
    def do_GET(self) -> None:
        self.server.targets.append(self.path)
        self.send(200, {"data": [{**card, "created": time.time_ns()} for card in self.server.models]})

    def reply(self, number: int, request: dict) -> None:
        self.server.targets.append(self.path)
        if request.get("max_tokens") == 1 and "media_io_kwargs" in request:
            status, words = PROBES[self.server.kind]
            return self.send(status, {"error": {"message": words}} if words else {"choices": [{"message": {}}]})
        self.server.asked.append(request)
        said = self.server.says(request)
        if isinstance(said, tuple):
            return self.send(*said)
        if isinstance(said, str | list | None):
            said = {"message": {"content": said}}
        if isinstance(said, dict):
            return self.send(200, {"choices": [{"finish_reason": "stop", **said}], "usage": {"completion_tokens": 7}})
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            for piece in said:
                self.wfile.write(piece)
                self.wfile.flush()
        except OSError:
            self.server.hung_up.set()


class SayingServer(openai_server.Server):
    """Answers each chat request with `says(request)`: a choice, (status, body), or an iterator of bytes to stream."""

    handler, kind = Handler, "vllm"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[dict] = []
        self.targets: list[str] = []
        self.says = lambda request: "fine"
        self.hung_up = threading.Event()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.005)
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)
    with openai_server.serving(SayingServer()) as made:
        yield made


def opened(server: SayingServer, model: str = "", **options):
    options = {"read_s": 60.0, "retries": 1, **options}
    captioner = open_backend(server.address + model, options=options)
    captioner.load()
    return captioner


def grey(num_frames: int = 3, height: int = 32, width: int = 48) -> Frames:
    return Frames.from_pixels(np.full((num_frames, height, width, 3), 128, np.uint8), 2.0)


def ask(captioner, *frames: Frames, **decoding):
    return captioner.answer([user_turn("what?", *frames)], Decoding(**decoding))[0]


def taken_by_vllm(request: dict) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames and times as vLLM 0.32 reads them (`VideoMediaIO.load_base64`; Qwen3-VL and others divide so)."""
    (part,) = [part for part in request["messages"][-1]["content"] if part["type"] == "video_url"]
    given = request["media_io_kwargs"]["video"]
    head, data = part["video_url"]["url"].split(",", 1)
    assert head == "data:video/jpeg;base64" and set(request["media_io_kwargs"]) == {"video"}
    jpegs = data.split(",", given["num_frames"])[: given["num_frames"]]
    indices = given["frames_indices"]
    assert all(type(i) is int for i in indices) and len(indices) == len(jpegs) and given["do_sample_frames"] is False
    assert type(given["total_num_frames"]) is int and given["total_num_frames"] >= max(len(jpegs), indices[-1] + 1)
    return [read_jpeg(jpeg) for jpeg in jpegs], np.array(indices) / given["fps"]


def read_jpeg(data: str) -> np.ndarray:
    import cv2

    image = cv2.imdecode(np.frombuffer(base64.b64decode(data, validate=True), np.uint8), cv2.IMREAD_COLOR)
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def film(path, pts: list[int], base: Fraction) -> str:
    """A film whose frame i has its own shade of grey."""
    import av

    with av.open(str(path), "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = base
        for index, at in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 + 2 * index, np.uint8), format="rgb24")
            frame.pts, frame.time_base = at, base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return str(path)


FILMS = {
    "23.976": ([1001 * i for i in range(97)], Fraction(1, 24000), 1e-9),
    "variable": ([0, 40, 50, 900, 1000, 1010, 1700, 2000, 3500, 9000], Fraction(1, 1000), 1e-9),
    "variable, 90 kHz": ([0, 3003, 6006, 40000, 77777, 180001, 366667], Fraction(1, 90000), 0.0005),
}


@pytest.mark.slow
@pytest.mark.parametrize("as_", ["video", "images"])
@pytest.mark.parametrize("window", [None, (0.35, 3.2)])
@pytest.mark.parametrize("kind", FILMS)
def test_frames_and_times_sent_are_those_sampled(tmp_path, server, kind, window, as_):
    pts, base, exact_s = FILMS[kind]
    captioner = opened(server, frames_as=as_)
    spec = captioner.spec
    if window:
        spec, exact_s = SampleSpec(sampler="fps", fps=4.0, start_s=window[0], end_s=window[1]), 0.0005
    frames = decode(film(tmp_path / "a.mp4", pts, base), Request(spec=spec))
    ask(captioner, frames)
    true_s = np.array(pts) * float(base)
    expected = np.maximum(true_s[[int(np.argmin(abs(true_s - t))) for t in frames.times_s]] - frames.start_s, 0)
    if as_ == "video":
        pictures, times_s = taken_by_vllm(server.asked[0])
    else:
        parts = server.asked[0]["messages"][0]["content"][:-1]
        assert [part["type"] for part in parts] == ["text", "image_url"] * len(frames)
        times_s, exact_s = np.array([float(part["text"].removesuffix(" s:")) for part in parts[::2]]), 0.0051
        pictures = [read_jpeg(part["image_url"]["url"].split(",")[1]) for part in parts[1::2]]
    assert len(times_s) == len(frames) and len(frames) >= 2
    np.testing.assert_allclose(times_s, expected, atol=exact_s, rtol=0)
    for picture, pixels in zip(pictures, frames.pixels, strict=True):
        assert picture.shape == pixels.shape and abs(picture.astype(int) - pixels).mean() < 1.5


def test_a_single_frame_and_crowded_frames_have_usable_numbers():
    one = video_metadata(grey(1))
    assert one["frames_indices"] == [0] and one["total_num_frames"] == 1
    crowded = Frames(np.zeros((3, 4, 4, 3), np.uint8), np.array([0.0, 0.001, 2.0]), 2.1, 1.5)
    assert video_metadata(crowded)["frames_indices"] == [0, 1, 2000]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "sent", "why"),
    [
        ("vllm", "video_url", None),
        ("untrusting", "image_url", "--trust-request-mm-kwargs"),
        ("images", "image_url", "image_url is supported"),
        ("broken", "image_url", "unsupported content"),
        ("deaf", "image_url", "does not read the times"),
    ],
)
def test_the_server_is_asked_once_how_it_takes_frames(server, caplog, kind, sent, why):
    server.kind = kind
    with caplog.at_level(logging.WARNING, "cineloop"):
        captioner = opened(server)
    server.asked.clear()
    for _ in range(2):
        ask(captioner, grey())
    kinds = [{part["type"] for part in request["messages"][0]["content"]} for request in server.asked]
    assert kinds == [{sent, "text"}] * 2 and all(("media_io_kwargs" in r) == (kind == "vllm") for r in server.asked)
    assert why in caplog.text if why else not caplog.text


def test_a_conversation_keeps_its_order_and_two_videos_go_as_images(server):
    captioner = opened(server)
    turns = [Message(role="system", text="Be brief."), Message(role="user", text="one", videos=(grey(2),))]
    turns += [Message(role="assistant", text="yes"), Message(role="user", text="two", videos=(grey(1),))]
    captioner.answer([turns], Decoding(max_new_tokens=9, temperature=0.7, top_p=0.5, seed=3, repetition_penalty=1.3))
    (request,) = server.asked
    assert [message["role"] for message in request["messages"]] == ["system", "user", "assistant", "user"]
    assert request["messages"][0]["content"] == "Be brief." and request["messages"][2]["content"] == "yes"
    assert "top_k" not in request
    kinds = [part["type"] for part in request["messages"][1]["content"]]
    assert kinds == ["text", "image_url"] * 2 + ["text"] and "media_io_kwargs" not in request
    wanted = {"model": "tiny", "max_tokens": 9, "temperature": 0.7, "seed": 3, "repetition_penalty": 1.3, "top_p": 0.5}
    assert wanted.items() <= request.items()
    captioner.answer([turns], Decoding(temperature=0.7))
    assert server.asked.pop()["top_p"] == 1.0  # else a server takes what its checkpoint prefers
    captioner.answer([turns], Decoding(presence_penalty=0.5, frequency_penalty=-1.0))
    assert {"presence_penalty": 0.5, "frequency_penalty": -1.0}.items() <= server.asked[-1].items()
    assert not {"presence_penalty", "frequency_penalty"} & request.keys()
    server.asked.pop()
    ask(captioner)
    assert server.asked[1]["messages"] == [{"role": "user", "content": [{"type": "text", "text": "what?"}]}] or (
        server.asked[1]["messages"] == [{"role": "user", "content": "what?"}]
    )


def test_large_frames_are_scaled_down(server):
    captioner = opened(server, max_side=64, quality=50)
    ask(captioner, grey(2, 90, 160))
    assert [picture.shape for picture in taken_by_vllm(server.asked[0])[0]] == [(36, 64, 3)] * 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "text", "finish"),
    [
        ("A dog.", "A dog.", "stop"),
        ({"message": {"content": "A do"}, "finish_reason": "length"}, "A do", "length"),
        (None, "", "stop"),
        ([{"type": "text", "text": "A "}, {"type": "text", "text": "dog."}], "A dog.", "stop"),
        ({"message": {"content": "A dog.", "reasoning_content": "Let me see"}}, "A dog.", "stop"),
        ("<think>\nA cat? No.</think>\n\nA dog.", "A dog.", "stop"),
        ("A cat? No.</think>\n\nA dog.", "A dog.", "stop"),
        ("A <think> of dogs.", "A <think> of dogs.", "stop"),
    ],
)
def test_answers_are_read(server, choice, text, finish):
    server.says = lambda request: choice
    output = ask(opened(server), grey())
    assert (output.text, output.finish, output.tokens) == (text, finish, 7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "code"),
    [
        ({"message": {"content": None, "refusal": "I cannot."}}, "REFUSED"),
        ({"message": {"content": ""}, "finish_reason": "content_filter"}, "REFUSED"),
        ({"message": {"content": "<think>hm"}, "finish_reason": "length"}, "BAD_CAPTION"),
        ({"message": {"content": 5}}, "SERVER_ERROR"),
        ({"index": 3, "message": {"content": "x"}}, "SERVER_ERROR"),
        ({"message": "x"}, "SERVER_ERROR"),
    ],
)
def test_answers_that_are_none_fail_their_clip(server, choice, code):
    server.says = lambda request: choice
    with pytest.raises(ItemError) as caught:
        ask(opened(server), grey())
    assert caught.value.code == code


def events(*pieces: str, end: bytes = b"data: [DONE]\n\n", wait_s: float = 0.0):
    yield b": hello\n\n"
    for piece in pieces:
        event = {"choices": [{"index": 0, "delta": {"content": piece}}]}
        yield b"event: message\ndata: " + json.dumps(event, ensure_ascii=False).encode() + b"\r\n\r\n: still here\n\n"
        time.sleep(wait_s)
    if b"DONE" not in end:
        yield end
        return
    beside = {"warnings": [{"code": "OUT_OF_DOMAIN", "message": "far"}, 3, {"code": 4}]}
    last = {"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}], "cineloop": beside}
    yield b"data: " + json.dumps(last).encode() + b"\n\n"
    yield b'data: {"choices": [], "usage": {"completion_tokens": 7}}\n\n' + end


@pytest.mark.parametrize(
    "pieces",
    [
        ("A ", "dog", " runs."),
        ("<th", "ink>a", " cat</thi", "nk>", "\n\n", "A dog", " runs."),
        (" \n", "été\u2028", "."),
        (),
    ],
)
def test_a_stream_is_the_answer_in_pieces(server, pieces):
    captioner = opened(server)
    server.says = lambda request: events(*pieces) if request.get("stream") else "".join(pieces)
    *got, output = captioner.stream(user_turn("what?", grey()), Decoding())
    assert "".join(got) == ask(captioner, grey()).text == output.text and len(got) <= len(pieces)
    assert (output.finish, output.tokens, output.warnings) == ("length", 7, (Notice("OUT_OF_DOMAIN", "far"),))


def test_closing_a_stream_hangs_up(server):
    captioner = opened(server)
    server.says = lambda request: events(*["word "] * 20_000, wait_s=0.005)
    pieces = captioner.stream(user_turn("what?", grey()), Decoding())
    assert next(pieces) == "word "
    pieces.close()
    assert server.hung_up.wait(60)


@pytest.mark.parametrize(
    "end", [b"", b"data: {broken\n\n", b'data: {"error": {"message": "out of memory"}}\n\n', b"data: 5\n\n"]
)
def test_a_stream_that_breaks_off_is_an_error(server, end):
    captioner = opened(server)
    server.says = lambda request: events("A ", "dog", end=end)
    with pytest.raises(ItemError, match="broke off") as caught:
        list(captioner.stream(user_turn("what?", grey()), Decoding()))
    assert caught.value.code == "SERVER_ERROR" and ("memory" in str(caught.value)) == (b"memory" in end)


# Names, addresses, keys


@pytest.mark.slow
def test_name_and_revision_are_the_servers_and_stay(server):
    named, found = opened(server, "#tiny"), opened(server)
    assert (named.name, found.name) == ("tiny", "tiny")
    assert len(named.revision) == 12 and named.revision == found.revision == opened(server).revision
    assert opened(server, "#other", frames_as="images").revision == "unknown"
    server.models = ({"id": "tiny", "root": "org/new"},)
    assert opened(server).revision != named.revision
    server.models = ({"id": "tiny"}, {"id": "second"})
    with pytest.raises(UsageError, match="tiny, second"):
        opened(server)
    ours = ({"id": "tiny", "cineloop": {}},)  # v2t serve answers for the models it lists and no others
    for server.models, model, says in (((), "", "lists no model"), (ours, "#other", "serves no model 'other'; it")):
        with pytest.raises(MissingDependencyError, match=says):
            opened(server, model)


@pytest.mark.slow
def test_making_a_captioner_asks_nobody_and_no_server_is_said_at_once():
    captioner = open_backend(f"openai:{HTTP}:9/v1", options={"retries": 0})
    assert captioner.spec == SampleSpec(sampler="fps", fps=2.0, max_frames=64) and captioner.concurrency == 16
    with pytest.raises(MissingDependencyError, match="refused"):
        _ = captioner.name


def test_the_key_goes_to_the_server_and_nowhere_else(server, monkeypatch, caplog):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    caplog.set_level(logging.DEBUG)
    captioner = opened(server, api_key_env="MY_KEY")
    assert {head["Authorization"] for head in server.heads} == {f"Bearer {KEY}"}
    texts = [str(vars(captioner)), str(vars(captioner._endpoint)), repr(captioner), captioner.about]
    server.says = lambda request: f"A dog says {KEY}."
    assert ask(captioner, grey()).text == "A dog says [key]."
    half = "Incorrect API key provided: sk-proj-abc****6789. "  # what another server knew of another key
    for said in ((401, {"error": {"message": half + KEY}}), (400, f"{KEY} " * 40), (500, {"detail": "é" * 280 + KEY})):
        server.says = lambda request, said=said: said
        with pytest.raises((ItemError, MissingDependencyError)) as caught:
            ask(captioner, grey())
        texts += [str(caught.value), repr(caught.value), str(caught.value.record())]
        texts += [repr(e) for e in (caught.value.__cause__, caught.value.__context__)]
    texts.append(caplog.text)
    assert not [text for text in texts if KEY in text or "sk-proj" in text]
    monkeypatch.setenv("MY_KEY", "sk-käse")
    with pytest.raises(UsageError, match="MY_KEY holds no key"):
        ask(captioner, grey())
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(MissingDependencyError, match="MY_KEY is not set"):
        opened(server, api_key_env="MY_KEY")


def test_the_proxy_of_the_environment_is_used_only_when_asked_for(server, monkeypatch):
    assert ask(opened(server), grey()).text == "fine"  # conftest names a proxy that is not there
    monkeypatch.setenv("http_proxy", f"http://me:word@127.0.0.1:{server.server_port}")
    monkeypatch.setenv("no_proxy", "")
    server.targets.clear()
    options = {"use_env_proxy": True}
    assert open_backend("openai:http://far.example/v1", options=options).name == "tiny"
    assert server.targets == ["http://far.example/v1/models"]
