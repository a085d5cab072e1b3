"""A server's transcriptions: the form that is sent, the answers that come, and those that are none."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path

import pytest

from cineloop.errors import CineloopError, ItemError, MissingDependencyError
from openai_server import Handler, Server, serving
from sounding_films import sweep
from v2t.transcribers import open_transcriber

SOUND = sweep(3, 16_000)[0]
SEGMENTS = {
    "language": "english",
    "text": " A red ball. It rolls.",
    "segments": [
        {"start": 0.0, "end": 1.2, "text": " A red ball.", "avg_logprob": -0.2, "no_speech_prob": 0.01},
        {"start": 1.2, "end": 9.0, "text": " It rolls."},
    ],
    "words": [{"word": "A", "start": 0.1, "end": 0.2}, {"word": "rolls", "start": 1.5, "end": 1.9}],
}


class Listening(Handler):
    """Answers with the objects of the server's list; a number is a status."""

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        with self.server.lock:
            number = len(self.server.seen)
            self.server.seen.append({"path": self.path, "data": data})
            self.server.heads.append(dict(self.headers))
        reply = self.server.replies[min(number, len(self.server.replies) - 1)]
        if isinstance(reply, tuple):
            return self.send(reply[0], reply[1], *reply[2:])
        self.send(200, reply)


class ListeningServer(Server):
    handler = Listening


@pytest.fixture
def server():
    with serving(ListeningServer()) as started:
        yield started


def transcriber(server: Server, **options):
    opened = open_transcriber(server.address, options={"retries": 1, "total_s": 20.0, **options})
    opened.load()
    return opened


def test_segments_and_words_with_their_times(server: Server) -> None:
    server.replies = [SEGMENTS]
    said = transcriber(server, prompt="Cineloop").transcribe(SOUND, "en")
    assert [(one.text, one.start_s, one.end_s) for one in said.utterances] == [
        ("A red ball.", 0.0, 1.2),
        ("It rolls.", 1.2, 3.0),  # not beyond the piece
    ]
    assert [[word.text for word in one.words] for one in said.utterances] == [["A"], ["rolls"]]
    assert said.utterances[0].logprob == -0.2 and said.language == "english"
    sent = server.seen[0]
    assert sent["path"].endswith("/audio/transcriptions")
    for part in (b'name="model"\r\n\r\ntiny', b"verbose_json", b'name="language"\r\n\r\nen', b"Cineloop"):
        assert part in sent["data"]
    start = sent["data"].index(b"RIFF")
    with wave.open(io.BytesIO(sent["data"][start:])) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (16_000, 1, 48_000)


def test_a_server_that_gives_text_alone(server: Server) -> None:
    refusal = (
        400,
        {"error": {"message": "response_format 'verbose_json' is not compatible", "param": "response_format"}},
    )
    server.replies = [refusal, {"text": "A red ball."}]
    opened = transcriber(server)
    said = opened.transcribe(SOUND, None)
    assert [(one.text, one.start_s, one.end_s) for one in said.utterances] == [("A red ball.", 0.0, 3.0)]
    assert [warning.code for warning in said.warnings] == ["NO_TIMES"]
    opened.transcribe(SOUND, None)
    assert len(server.seen) == 3  # it is asked for no more than it has


@pytest.mark.parametrize(
    ("reply", "code", "kind"),
    [
        ((200, b"<html>no such page</html>"), "SERVER_ERROR", ItemError),
        ((200, {"words": "none"}), "SERVER_ERROR", ItemError),
        ((200, {"segments": [{"text": "no times"}]}), "SERVER_ERROR", ItemError),
        ((413, {"error": {"message": "too big"}}), "TOO_LARGE", ItemError),
        ((401, {"error": {"message": "no key"}}), "SERVER_KEY", MissingDependencyError),
        ((404, {"error": {"message": "no such path"}}), "SERVER_MODEL", MissingDependencyError),
    ],
)
def test_answers_that_are_none(server: Server, reply: tuple, code: str, kind: type[CineloopError]) -> None:
    server.replies = [reply]
    with pytest.raises(kind) as caught:
        transcriber(server).transcribe(SOUND, None)
    assert caught.value.code == code


def test_a_rate_limit_is_waited_for(server: Server) -> None:
    server.replies = [(429, {"error": {"message": "slow down"}}, ("Retry-After", "0.1")), {"text": "yes"}]
    assert transcriber(server).transcribe(SOUND, None).utterances[0].text == "yes"


def test_a_key_comes_from_the_environment_alone(
    server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-key")
    server.replies = [{"text": "yes"}]
    opened = transcriber(server)
    opened.transcribe(SOUND, None)
    assert server.heads[0]["Authorization"] == "Bearer sk-planted-key"
    assert "planted" not in json.dumps([opened.name, opened.revision])
