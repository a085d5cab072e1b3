"""`v2t serve` whole, asked by the stock `openai` client: its answers are those of the captioner in this process.

With `--engine local` here and, where vLLM is installed, with `--engine vllm` by the same tests.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import openai
import pytest

from cineloop.video.sample import SampleSpec
from cineloop.video.worker import DecoderPool
from cineloop.world.language.words import PROMPTS
from serve_process import family_of, serving
from small_clips import world_files
from v2t.backends import Decoding, Message, open_backend, user_turn
from v2t.data.notes import Note, notes_prompt

pytestmark = pytest.mark.slow  # a server with the true starter
NUM, TOKENS = 32, 40
SHORT = PROMPTS["short"]
ENGINES = ["local", pytest.param("vllm", marks=[pytest.mark.vllm, pytest.mark.timeout(900)])]


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Clips of the cartoon world, each another story."""
    return world_files(tmp_path_factory.mktemp("clips"), NUM, 808)


@pytest.fixture(scope="module")
def captioner():
    made = open_backend("starter", device="cpu", dtype="float32")
    made.load()
    return made


@pytest.fixture(scope="module")
def frames_of(captioner):
    with DecoderPool(1, decoders=("pyav",)) as pool:

        def frames(path, start_s=None, end_s=None):
            window = {"start_s": start_s, "end_s": end_s}
            spec = SampleSpec(**{**vars(captioner.spec), **window})
            return pool.decode(path, spec, captioner.frame_size)

        yield frames


@pytest.fixture(scope="module", params=ENGINES)
def server(request, clips, tmp_path_factory):
    arguments = ["--engine", request.param, "--port", "0", "--root", f"clips={clips[0].parent}", "--dtype", "float32"]
    with serving(tmp_path_factory.mktemp("server"), *arguments) as process:
        yield process.ready()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none needed", max_retries=0, timeout=120) as made:
        yield made


def data_url(path: Path, fragment: str = "") -> str:
    return f"data:video/mp4;base64,{base64.b64encode(path.read_bytes()).decode()}{fragment}"


def turn(text: str, *urls: str) -> dict:
    return {
        "role": "user",
        "content": [
            *({"type": "video_url", "video_url": {"url": url}} for url in urls),
            {"type": "text", "text": text},
        ],
    }


def ask(client, *messages: dict, **more):
    settings = {"model": "cineloop-starter", "max_tokens": TOKENS, "temperature": 0, **more}
    return client.chat.completions.create(messages=list(messages), **settings)


def text_of(reply) -> str:
    return reply.choices[0].message.content


def expected(captioner, conversation, tokens: int = TOKENS) -> str:
    return captioner.answer([conversation], Decoding(max_new_tokens=tokens))[0].text


@pytest.mark.long
def test_words_alone(client, captioner):
    with pytest.raises(openai.UnprocessableEntityError, match="only knows videos"):
        ask(client, {"role": "user", "content": "What can you do?"})
    notes = notes_prompt([Note(start_s=0.0, end_s=2.0, text="a red dog jumps.")], "What does the dog do?")
    reply = ask(client, {"role": "user", "content": notes})
    assert text_of(reply) == expected(captioner, user_turn(notes))
    assert reply.usage.completion_tokens >= 1 and reply.usage.prompt_tokens > 1
    assert client.models.list().data[0].id == "cineloop-starter"


def test_one_video_in_four_ways(client, captioner, frames_of, clips):
    frames = frames_of(clips[0])
    answer = expected(captioner, user_turn(SHORT, frames))
    reply = ask(client, turn(SHORT, data_url(clips[0])))
    assert text_of(reply) == answer
    (shown,) = reply.model_extra["cineloop"]["videos"]
    assert shown["times_s"] == [round(float(time_s), 4) for time_s in frames.times_s]
    assert (shown["decoder"], shown["visual_tokens"], shown["start_s"]) == ("pyav", 32, 0.0)
    with open(clips[0], "rb") as file:
        kept = client.files.create(file=file, purpose="user_data")
    assert (kept.bytes, kept.filename, kept.status) == (clips[0].stat().st_size, "00.mp4", "processed")
    for url in (f"upload:{kept.id}", "file://clips/00.mp4"):
        assert text_of(ask(client, turn(SHORT, url))) == answer
    part = {"type": "file", "file": {"file_id": kept.id}}
    words = {"type": "text", "text": SHORT}
    assert text_of(ask(client, {"role": "user", "content": [words, part]})) == answer  # words first: shown first
    assert [each.id for each in client.files.list().data] == [kept.id]
    assert client.files.content(kept.id).read() == clips[0].read_bytes()
    assert client.files.delete(kept.id).deleted
    with pytest.raises(openai.NotFoundError):
        ask(client, turn(SHORT, f"upload:{kept.id}"))


def test_a_range_of_a_video(client, captioner, frames_of, clips):
    frames = frames_of(clips[1], 0.5, 1.5)
    reply = ask(client, turn(SHORT, data_url(clips[1], "#t=0.5,1.5")))
    (shown,) = reply.model_extra["cineloop"]["videos"]
    assert shown["start_s"] == 0.5 and all(0.4 <= time_s <= 1.5 for time_s in shown["times_s"])
    assert shown["times_s"] == [round(float(time_s), 4) for time_s in frames.times_s]
    assert text_of(reply) == expected(captioner, user_turn(SHORT, frames))


def test_two_videos(client, captioner, frames_of, clips):
    question, first, second = "Describe both videos.", frames_of(clips[2]), frames_of(clips[3])
    answers = [
        expected(captioner, user_turn(question, *pair)) for pair in ((first, second), (second, first), (first, first))
    ]
    assert len(set(answers)) == 3  # the model tells them apart
    reply = ask(client, turn(question, data_url(clips[2]), "file://clips/03.mp4"))
    assert text_of(reply) == answers[0]
    assert len(reply.model_extra["cineloop"]["videos"]) == 2


def test_three_turns(client, captioner, frames_of, clips):
    frames = frames_of(clips[4])
    told, said = [], []
    for question in (SHORT, "What colour is it?", "Where is it?"):
        told.append(Message(role="user", text=question, videos=() if told else (frames,)))
        said.append(turn(question) if said else turn(question, data_url(clips[4])))
        reply = ask(client, *said)
        assert text_of(reply) == expected(captioner, told), question
        told.append(Message(role="assistant", text=text_of(reply)))
        said.append(reply.choices[0].message.model_dump(exclude_unset=True))


def test_a_stream_is_the_whole_in_pieces(client, clips):
    whole = ask(client, turn(SHORT, data_url(clips[0])))
    options = {"stream": True, "stream_options": {"include_usage": True}}
    chunks = list(ask(client, turn(SHORT, data_url(clips[0])), **options))
    assert chunks[0].choices[0].delta.role == "assistant" and len(chunks[0].model_extra["cineloop"]["videos"]) == 1
    pieces = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert "".join(pieces) == text_of(whole) and len(pieces) > 1
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_stop_strings_and_limits(client, clips):
    whole = text_of(ask(client, turn(SHORT, data_url(clips[0]))))
    word = whole.split()[2]
    cut = ask(client, turn(SHORT, data_url(clips[0])), stop=[word])
    assert text_of(cut) == whole[: whole.index(word)] and cut.choices[0].finish_reason == "stop"
    short = ask(client, turn(SHORT, data_url(clips[0])), max_tokens=3)
    assert short.choices[0].finish_reason == "length" and short.usage.completion_tokens == 3
    assert whole.startswith(text_of(short).rstrip())


def test_sampling_is_openais(client, server, captioner, frames_of, clips):
    """The local engine draws as the captioner in this process does, token for token."""
    question, video = user_turn(SHORT, frames_of(clips[0])), turn(SHORT, data_url(clips[0]))
    for settings in (
        {"temperature": 1.3, "top_p": 0.9, "seed": 7},
        {"temperature": 0.8, "top_p": 0.5, "seed": 8, "presence_penalty": 0.6, "frequency_penalty": -0.3},
        {"presence_penalty": 2.0},
        {"frequency_penalty": 2.0},
    ):
        reply = ask(client, video, **settings)
        assert reply.choices[0].finish_reason in ("stop", "length") and text_of(reply)
        if "(engine local)" in server.told():  # draws of another engine come from another generator
            assert text_of(reply) == captioner.answer([question], Decoding(max_new_tokens=TOKENS, **settings))[0].text
    plain = text_of(ask(client, video))
    assert any(
        text_of(ask(client, video, **{name: 2.0})) != plain for name in ("presence_penalty", "frequency_penalty")
    )


def test_a_reader_who_stops_midway_frees_the_engine(client, server, clips):
    stream = ask(client, turn(SHORT, data_url(clips[0])), stream=True, max_tokens=2000, presence_penalty=0)
    for chunk in stream:
        if chunk.choices[0].delta.content:
            break
    stream.close()
    end = time.monotonic() + 60
    while "v2t_in_flight 0.0" not in httpx.get(f"{server.url}/metrics").text:
        assert time.monotonic() < end, "its place was not given back"
        time.sleep(0.02)
    assert text_of(ask(client, turn(SHORT, data_url(clips[0]))))


def test_errors_are_openais(client, server, clips, tmp_path):
    for error, code, messages, more in (
        (openai.BadRequestError, "UNKNOWN_FIELD", [turn("x")], {"extra_body": {"mm_processor_kwargs": {"fps": 9}}}),
        (openai.NotFoundError, "UNKNOWN_MODEL", [turn("x")], {"model": "gpt-4o"}),
        (openai.PermissionDeniedError, "URL_FORBIDDEN", [turn("x", "https://example.org/a.mp4")], {}),
        (openai.PermissionDeniedError, "URL_FORBIDDEN", [turn("x", "http://169.254.169.254/latest")], {}),
        (openai.NotFoundError, "NOT_FOUND", [turn("x", "file://clips/none.mp4")], {}),
        (openai.UnprocessableEntityError, "NOT_MEDIA", [turn("x", "data:video/mp4;base64,AAAA")], {}),
        (openai.BadRequestError, "PROMPT_TOO_LONG", [turn("word " * 15_000, data_url(clips[0]))], {}),
        (openai.UnprocessableEntityError, "VIDEO_NEEDED", [turn("x")], {}),
    ):
        for stream in (False, True):
            with pytest.raises(error) as found:
                ask(client, *messages, stream=stream, **more)
            assert found.value.body["code"] == code
            assert found.value.body["request_id"] == found.value.response.headers["x-request-id"]
    assert "Traceback" not in server.told()


@pytest.mark.long
def test_two_and_thirty_clients_get_their_own_answers(client, captioner, frames_of, clips):
    own = [expected(captioner, user_turn(SHORT, frames_of(clip))) for clip in clips]
    assert len(set(own)) > NUM // 2
    with ThreadPoolExecutor(NUM) as threads:
        replies = list(threads.map(lambda clip: text_of(ask(client, turn(SHORT, data_url(clip)))), clips))
    assert replies == own


def test_a_batch_captioner_finds_the_very_same_frames(server, captioner, frames_of, clips):
    through = open_backend(f"openai:{server.url}/v1")
    through.load()
    assert (through.spec, through.frame_size) == (captioner.spec, captioner.frame_size)
    conversations = [user_turn(SHORT, frames_of(clip)) for clip in clips[:4]]
    decoding = Decoding(max_new_tokens=TOKENS)
    assert [o.text for o in through.answer(conversations, decoding)] == [
        expected(captioner, conversation) for conversation in conversations
    ]


@pytest.mark.long
def test_a_key_a_busy_port_and_a_signal(server, clips, tmp_path):
    """What ends a server, and that nothing of it stays."""
    number = server.url.rpartition(":")[2]
    with serving(tmp_path / "taken", "--engine", "local", "--port", number) as second:
        assert second.wait() == 5 and "error PORT" in second.told()
    environment = {"V2T_SERVE_KEY": "k" * 24, "TMPDIR": str(tmp_path)}
    with serving(tmp_path / "keys", "--engine", "local", "--port", "0", "--no-page", **environment) as third:
        third.ready()
        assert httpx.get(f"{third.url}/v1/models").status_code == 401
        with openai.OpenAI(base_url=f"{third.url}/v1", api_key="k" * 24, timeout=120) as keyed:
            stream = ask(keyed, turn(SHORT, data_url(clips[0])), stream=True)
            first = next(iter(stream))
            family = family_of(third.child.pid)
            os.kill(third.child.pid, signal.SIGTERM)
            pieces = [c.choices[0].delta.content or "" for c in stream]
        assert first.choices and "".join(pieces)  # what was under way came to its end
        assert third.wait() == 0, third.told()
        assert len(family) > 1 and not [process for process in family if process.exists()]  # its decoders too
        assert "k" * 24 not in third.told() and SHORT not in third.told()
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("taken", "keys")] == []


def test_an_engine_that_cannot_start_says_why(tmp_path):
    from v2t.backends.local import STARTER

    broken = tmp_path / "model"
    broken.mkdir()
    for path in STARTER.iterdir():
        if path.is_file():
            data = b"no weights" if path.suffix == ".safetensors" else path.read_bytes()
            (broken / path.name).write_bytes(data)
    with serving(tmp_path / "out", str(broken), "--engine", "local", "--port", "0") as process:
        assert process.wait(240) == 5
        assert "error MODEL" in process.told() and "cannot load the model" in process.told()
        assert process.out.read_text() == ""


def test_a_dry_run_shows_what_would_be_started(tmp_path, capsys):
    from v2t.cli import main

    arguments = ["serve", "--engine", "local", "--root", f"a={tmp_path}", "--allow-host", "b.example.org", "--json"]
    assert main([*arguments, "--dry-run", "--set", "limits.videos=3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["settings"]["roots"] == {"a": str(tmp_path)} and told["settings"]["limits"]["videos"] == 3
    assert told["settings"]["allow_hosts"] == ["b.example.org"] and told["served"] == "cineloop-starter"
    assert told["engine"] == []  # nothing is started beside
