"""The chat in the terminal, driven by lines, with a captioner that tells where it looks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from cineloop.errors import ItemError, MissingDependencyError, Notice
from cineloop.video.sample import SampleSpec
from small_clips import write_grey
from v2t.ask.chat import Chat
from v2t.ask.settings import AskConfig
from v2t.ask.viewer import Viewer
from v2t.backends import Decoding, Message, Output, VideoLM
from v2t.backends.abilities import Abilities
from v2t.cli import main

pytestmark = pytest.mark.usefixtures("one_decoder")


class Fake(VideoLM):
    """Says from which second of the file it saw frames; notes that a dog jumps; counts the notes it is given."""

    name, revision, about, concurrency = "fake", "1", "", 1
    spec, frame_size, abilities = SampleSpec(num_frames=2), (64, 64), Abilities(window_s=8.0)

    def __init__(self) -> None:
        self.asked: list[tuple[Message, ...]] = []
        self.fail: dict[str, Exception] = {}
        self.warnings: tuple[Notice, ...] = ()

    def load(self) -> None:
        pass

    def answer(self, conversations, decoding: Decoding) -> list[Output]:
        return [list(self.stream(c, decoding))[-1] for c in conversations]

    def stream(self, conversation, decoding: Decoding) -> Iterator[str | Output]:
        pieces = []
        for piece in self._pieces(conversation):
            pieces.append(piece)
            yield piece
        yield Output(text="".join(pieces), tokens=5, warnings=self.warnings)

    def _pieces(self, conversation) -> Iterator[str]:
        self.asked.append(tuple(conversation))
        question = conversation[-1].text
        for words, error in self.fail.items():
            if words in question:
                raise error
        videos = [video for message in conversation for video in message.videos]
        if not videos:
            yield f"{len(question.splitlines()) - 2} notes."
        elif question.startswith("Note every"):
            yield "1.0-3.0s: a dog jumps."
        elif question.startswith("When"):
            yield from ("from 1.", "0 to 3.0 ", "seconds. So ", "it is")
        else:
            yield from ("I see ", f"{videos[0].start_s:.0f}")


def video(path: Path, seconds: int) -> Path:
    write_grey(path, 90, 4 * seconds, size=(64, 64))
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    return video(tmp_path_factory.mktemp("film") / "film.mp4", 80)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    return video(tmp_path_factory.mktemp("clip") / "clip.mp4", 5)


@pytest.fixture
def config(tmp_path) -> AskConfig:
    return AskConfig(notes=tmp_path / "notes.jsonl", history_tokens=60)


class Terminal:
    """Drives a chat with lines and keeps what it says and tells."""

    def __init__(self, viewer: Viewer) -> None:
        self.said, self.told = "", ""
        self.chat = Chat(viewer, self._say, self._tell)

    def _say(self, text: str) -> None:
        self.said += text

    def _tell(self, text: str) -> None:
        self.told += text + "\n"

    def type(self, *lines: str | type[BaseException]) -> tuple[str, str]:
        """What is said and told while these lines are typed; KeyboardInterrupt stands for Ctrl-C."""
        self.said = self.told = ""

        class Lines(Iterator[str]):
            left = list(lines)

            def __next__(self) -> str:
                if not self.left:
                    raise StopIteration
                line = self.left.pop(0)
                if isinstance(line, str):
                    return line + "\n"
                raise line

        self.chat.run(Lines())
        return self.said, self.told


@pytest.fixture
def terminal(config) -> Iterator[Terminal]:
    with Viewer(config, Fake()) as viewer:
        yield Terminal(viewer)


def asked_of(terminal: Terminal) -> list[tuple[Message, ...]]:
    fake = terminal.chat.viewer.captioner
    assert isinstance(fake, Fake)
    return fake.asked


@pytest.mark.slow
def test_a_chat_keeps_its_turns_and_its_view(terminal, film, clip):
    assert terminal.type("Who?") == ("", "error NO_VIDEO: there is no video yet (/video PATH opens one)\n")
    said, told = terminal.type(f"/video {clip}", "What is there?", "And what else?")
    assert said == "I see 0\nI see 0\n" and "0:05.0" in told
    last = asked_of(terminal)[-1]
    assert [m.text for m in last] == ["What is there?", "I see 0", "And what else?"]
    assert [len(m.videos) for m in last] == [1, 0, 0], "the frames stand before the first words"
    said, told = terminal.type(f"/video {film}", "/at 1:04", "When does it jump?")
    assert said == "from 61.0 to 63.0 seconds (1:01.0-1:03.0). So it is\n" and "looking at 1:00.0-1:08.0" in told
    assert terminal.type("What is there?")[0] == "I see 60\n" and len(asked_of(terminal)[-1]) == 3
    said, told = terminal.type("/at 0:11-0:13", "What is there?")
    assert said == "I see 11\n" and "set aside" in told and len(asked_of(terminal)[-1]) == 1
    said, _ = terminal.type("/whole", "How many dogs jump?", "When does a dog jump?")
    assert said.startswith("10 notes.\n0:01.0-0:03.0, 0:09.0-0:11.0")
    said, _ = terminal.type("How many times does a dog jump?", "What happens first: a cat sleeps or a dog jumps?")
    assert said.startswith("10 times\n10 notes.")
    assert terminal.type("/at 0:22", "/reset", "What is there?")[0] and len(asked_of(terminal)[-1]) == 1


def test_old_turns_are_dropped_with_a_notice(terminal, clip):
    _, told = terminal.type(f"/video {clip}", *["What is there to be seen in the picture?"] * 6)
    assert "the oldest turns no longer fit" in told
    assert len(asked_of(terminal)[-1]) < 11 and asked_of(terminal)[-1][0].videos


def test_errors_are_told_and_the_chat_goes_on(terminal, clip, tmp_path):
    fake = terminal.chat.viewer.captioner
    said, told = terminal.type(f"/video {clip}", "/viedo x", "/at 9:00", "/at soon", "/at", "/video none.mp4", "What?")
    assert said == "I see 0\n"
    for words in ("did you mean /video", "nothing at 9:00", "expected a time", "expected /at", "there is no file"):
        assert words in told
    fake.fail["Crash"] = RuntimeError("out of paper")
    said, told = terminal.type("Crash now", "What?")
    assert said == "I see 0\n" and "the model failed: RuntimeError: out of paper" in told
    fake.fail["Too long"] = ItemError("17 tokens too many", code="TOO_LONG")
    _, told = terminal.type("Too long?")
    assert "asking again without the earlier turns" in told and "error TOO_LONG" in told
    (tmp_path / "there.md").write_text("mine")
    saved = tmp_path / "chat.md"
    _, told = terminal.type(f"/save {tmp_path / 'there.md'}", "What is there?", f"/save {saved}", "/quit", "/help")
    assert "already exists" in told and (tmp_path / "there.md").read_text() == "mine" and "/quit " not in told
    assert saved.read_text().endswith("**You:** What is there?\n\n**Answer:** I see 0\n")


def test_ctrl_c_stops_an_answer_and_once_more_leaves(terminal, clip):
    fake = terminal.chat.viewer.captioner
    whole = fake.stream

    def stream(conversation, decoding):
        yield "I see "
        raise KeyboardInterrupt

    fake.stream = stream
    terminal.type(f"/video {clip}")
    said, told = terminal.type("What is there?", KeyboardInterrupt, "never read")
    assert said.startswith("I see \n") and told.count("stopped") == 1 and "never" not in said
    fake.stream = whole
    assert terminal.type(KeyboardInterrupt, "What?", KeyboardInterrupt, "And?")[0].count("I see 0") == 2


def test_a_model_that_does_not_load_ends_the_chat(config, clip):
    fake = Fake()

    def load() -> None:
        raise MissingDependencyError("no weights", code="MODEL")

    fake.load = load
    with Viewer(config, fake) as viewer, pytest.raises(MissingDependencyError, match="no weights"):
        Terminal(viewer).type(f"/video {clip}", "What?")


@pytest.mark.slow
def test_chat_reads_a_pipe_and_prints_no_prompt(clip, monkeypatch, capsys):
    monkeypatch.setattr("v2t.ask.viewer.open_backend", lambda model, **options: Fake())
    monkeypatch.setattr("sys.stdin", io.StringIO("What is there?\n\n/quit\nnever\n"))
    assert main(["chat", str(clip)]) == 0
    assert capsys.readouterr().out == "I see 0\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("What is there?"))
    assert main(["chat"]) == 0
    assert "there is no video yet" in capsys.readouterr().err


@pytest.mark.slow
def test_the_first_question_is_asked_once_and_warned_of_by_its_own_answer(terminal, clip):
    fake = terminal.chat.viewer.captioner
    fake.warnings, fake.about = (Notice("OUT_OF_DOMAIN", "unlike"),), "served at http://127.0.0.1:1/v1"
    said, told = terminal.type(f"/video {clip}", "What is there?", "And now?")
    assert said == "I see 0\nI see 0\n" and len(fake.asked) == 2
    assert told.count("warning: OUT_OF_DOMAIN: unlike") == 1


@pytest.mark.slow
def test_a_moment_beyond_the_end_is_named_as_it_was_typed(terminal, clip):
    _, told = terminal.type(f"/video {clip}", "/at 99:00", "What happens at 99:00?")
    assert told.count("nothing at 99:00 (") == 2 and "1:39" not in told
