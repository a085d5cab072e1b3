"""A conversation about a video in the terminal: questions, a few commands, answers as they are written.

In: lines of a user or of a pipe. Out: answers on one stream, notices on another. A line that begins with / is a
command (`HELP`); all else is a question about the current view: a moment after /at, else the whole video. Earlier turns
are part of the prompt as long as they fit and the view is the same. Errors are printed and the chat continues. Ctrl-C
stops an answer; a second one leaves.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from cineloop.clock import format_clock, parse_clock
from cineloop.errors import CineloopError, ItemError, Notice, UsageError
from cineloop.files import write_atomic
from cineloop.log import logger, printable
from cineloop.run_folder import refuse_existing
from v2t.ask.answer import QuestionPrompt, finish, prepare, search
from v2t.ask.moments import check_within
from v2t.ask.result import VideoAnswer
from v2t.ask.viewer import Viewer
from v2t.backends import Output
from v2t.long.recall import num_tokens
from v2t.long.segments import Segment
from v2t.long.spans import format_span, shift_times
from v2t.long.video import LongVideo

HELP = """\
/video PATH       look at another video
/at 34:22         from now on look at the scene around that moment; /at 1:00-2:00 at a stretch
/whole            look at the whole video again
/reset            forget the conversation
/save FILE        write the conversation as Markdown
/help             this list
/quit             leave (also Ctrl-D)"""
COMMANDS = tuple(re.findall(r"^/(\w+)", HELP, re.MULTILINE))
_SENTENCE = re.compile(r"[.!?;]\s|\n")


class Chat:
    """A conversation; `line` takes what the user typed.

    Args:
        write: where answers go, piece by piece.
        notify: where notices go, line by line.
    """

    def __init__(self, viewer: Viewer, write: Callable[[str], None], notify: Callable[[str], None]) -> None:
        self.viewer, self._write, self._notify = viewer, write, notify
        self.video: LongVideo | None = None
        self.view: Segment | None = None
        self._history: list[tuple[str, str]] = []  # (prompt, answer) as the model sees them
        self._shown: list[tuple[str, str, str]] = []  # video, question, answer
        self._warned: set[str] = set()

    def run(self, lines: Iterator[str]) -> None:
        """Take lines until they end or one says /quit. The iterator may raise KeyboardInterrupt and continue."""
        stopped = False
        while True:
            try:
                line = next(lines)
                if line.strip():
                    stopped = False
                if not self.line(line):
                    return
            except StopIteration:
                return
            except KeyboardInterrupt:
                if stopped:
                    return
                stopped = True
                self._write("\n")
                self._notify("stopped; press Ctrl-C again to leave")

    def line(self, line: str) -> bool:
        """Handle one line of the user; returns whether the chat continues."""
        line = line.strip()
        if not line:
            return True
        if not line.startswith("/"):
            self.viewer.captioner  # noqa: B018  # a model that does not load ends the chat
        try:
            if line.startswith("/"):
                return self._command(line)
            self._question(line)
        except CineloopError as error:
            self._notify(f"error {error.code}: {error}")
        except BrokenPipeError:  # the reader of the answers is gone
            raise
        except OSError as error:
            self._notify(f"error: {error}")
        except Exception as error:  # a model may raise anything on one question; the chat continues
            logger.debug("the question failed", exc_info=error)
            self._notify(f"the model failed: {type(error).__name__}: {printable(str(error), 300)}")
        return True

    def open(self, path: str) -> None:
        self.video, self.view = self.viewer.video(path), None
        self._history.clear()
        self._warned.clear()
        length = format_clock(self.video.duration_s, tenths=self.video.duration_s < 60)
        self._notify(f"{printable(str(self.video.path))}, {length}; ask anything, /help lists the commands")
        self._warn(self.video.warnings)

    def _command(self, line: str) -> bool:
        name, _, rest = line[1:].partition(" ")
        rest = rest.strip()
        if name in ("quit", "exit"):
            return False
        if name == "help":
            self._notify(HELP)
        elif name == "video":
            self.open(_require(rest, "/video PATH"))
        elif name == "at":
            self._look_at(_require(rest, "/at 34:22"))
        elif name == "whole":
            self._turn_to(None)
        elif name == "reset":
            self._history.clear()
            self._notify("the conversation so far is forgotten")
        elif name == "save":
            self._save(Path(_require(rest, "/save FILE")))
        else:
            near = difflib.get_close_matches(name, COMMANDS, n=1, cutoff=0.4)
            is_file = Path(line).exists()
            hint = f"/video {line} opens it" if is_file else f"did you mean /{near[0]}?" if near else "see /help"
            raise UsageError(f"there is no command /{name}", hint=hint)
        return True

    def _look_at(self, text: str) -> None:
        video = self._current_video()
        times = [parse_clock(part) for part in re.split(r"\s*(?:-|–|\bto\b)\s*", text, maxsplit=1)]
        if times[-1] < times[0]:
            raise UsageError(f"the stretch {text!r} ends before it starts", code="TIME")
        check_within(times[0], times[-1], video.duration_s, printable(text))
        if len(times) == 2 and times[1] > times[0]:
            self._turn_to(Segment(times[0], min(times[1], video.duration_s)))
        else:
            self._turn_to(video.window_at(times[0]))

    def _turn_to(self, view: Segment | None) -> None:
        video = self._current_video()
        view = None if view == video.whole else view
        is_new, self.view = view != self.view, view
        self._notify(f"looking at {format_span(view) if view else 'the whole video'}")
        if is_new and self._history:
            self._history.clear()
            self._notify("earlier turns were about another view and are set aside")

    def _question(self, question: str) -> None:
        video = self._current_video()
        if (answer := search(self.viewer, video, question, self.view)) is not None:
            self._write(answer.answer + "\n")
            self._keep(question, answer)
            return
        self._forget_oldest()
        try:
            self._answer(video, prepare(self.viewer, video, question, self.view, self._history))
        except ItemError as problem:
            if not self._history:
                raise
            self._notify(f"{problem.message}: asking again without the earlier turns")
            self._history.clear()
            self._answer(video, prepare(self.viewer, video, question, self.view))

    def _answer(self, video: LongVideo, prepared: QuestionPrompt) -> None:
        """Write the answer as it is generated; one with shifted times sentence by sentence."""
        start, end = prepared.part
        raw, held = "", ""
        warnings: tuple[Notice, ...] = ()
        pieces = self.viewer.batcher.stream(self.viewer.request(prepared.conversation))
        try:
            for piece in pieces:
                if isinstance(piece, Output):
                    warnings = piece.warnings
                    continue
                raw, held = raw + piece, held + piece
                ready = len(held)
                if start > 0 or end > 60:
                    ready = max((match.end() for match in _SENTENCE.finditer(held)), default=0)
                self._write(_clean(shift_times(held[:ready], start)))
                held = held[ready:]
            self._write(_clean(shift_times(held, start)))
        finally:
            if raw:
                self._write("\n")
                self._keep(prepared.prompt, finish(self.viewer, video, prepared, raw, warnings))
        if not raw.strip():
            self._notify("the model gave an empty answer")

    def _keep(self, prompt: str, answer: VideoAnswer) -> None:
        self._history.append((prompt, answer.raw.strip()))
        view = f", {format_span(self.view)}" if self.view else ""
        self._shown.append((f"{self._current_video().path.name}{view}", answer.question, answer.answer))
        self._warn(answer.warnings)

    def _warn(self, warnings: Sequence[Notice]) -> None:
        """Each kind of warning once for a video."""
        for warning in warnings:
            if warning.code not in self._warned:
                self._warned.add(warning.code)
                self._notify(f"warning: {printable(str(warning))}")

    def _forget_oldest(self) -> None:
        most, before = self.viewer.config.history_tokens, len(self._history)
        while sum(num_tokens(prompt) + num_tokens(text) for prompt, text in self._history) > most:
            self._history.pop(0)
        if len(self._history) < before:
            self._notify(f"(the oldest turns no longer fit: {before - len(self._history)} left out)")

    def _current_video(self) -> LongVideo:
        if self.video is None:
            raise UsageError("there is no video yet", code="NO_VIDEO", hint="/video PATH opens one")
        return self.video

    def _save(self, path: Path) -> None:
        refuse_existing([path], hint="name another file")
        text, last = f"# A chat with {self.viewer.model}\n", ""
        for video, question, reply in self._shown:
            text += f"\n## {video}\n" if video != last else ""
            text += f"\n**You:** {question}\n\n**Answer:** {reply}\n"
            last = video
        write_atomic(path, text.encode("utf-8", "backslashreplace"))
        self._notify(f"saved {len(self._shown)} turns in {printable(str(path))}")


def _require(text: str, usage: str) -> str:
    if not text:
        raise UsageError(f"expected {usage}")
    return text


def _clean(text: str) -> str:
    """Safe for a terminal, its lines kept."""
    return "\n".join(printable(line) for line in text.split("\n"))
