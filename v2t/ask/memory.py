"""Notes on a film: taken once, window by window, kept in a file, summed up scene by scene when they are many.

In: a `Film` and a captioner. Out: notes with the film's seconds, found again on disk by the video's content, the
model's revision and the settings. The file is a journal (`cineloop.journal`): every batch of windows is appended and
flushed, so a run that was killed goes on where it stopped, inside the film. Its entries:

    {"kind": "memory", "settings": {...}}                          first, what the notes depend on
    {"kind": "cuts", "cuts_s": [...]}
    {"kind": "window", "start_s", "end_s", "notes": [[start_s, end_s, text], ...], "warnings": [...]}
    {"kind": "summary", "level": 1, "start_s", "end_s", "text"}    events -> scenes -> ... -> the whole

The hierarchy of summaries is that of recursive task decomposition (Wu et al. 2021, arXiv:2109.10862), made only as far
up as a question needs to fit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from cineloop.config import changes
from cineloop.errors import ItemError, UsageError
from cineloop.files import text_key
from cineloop.journal import Entry, Journal, decode_entry
from cineloop.lock import FolderLock
from cineloop.log import printable
from v2t.ask.film import Film, Window
from v2t.ask.note_lines import joined, read_notes
from v2t.ask.recall import Placed, num_tokens
from v2t.ask.settings import AskConfig
from v2t.backends import Decoding, GenerateRequest, Output, VideoLM, asked
from v2t.backends.batching import Batcher
from v2t.data.notes import Note, notes_prompt
from v2t.styles import Style, load

FORMAT = 1  # raised whenever the same settings would give other notes
_GROUP = 8  # notes summed up into one


class Memory:
    """The notes on one film.

    Args:
        film: the video.
        captioner: who takes the notes, loaded when there are any to take.
        config: the settings; `memory` names the file.

    Raises:
        UsageError: the file named holds notes on something else (OTHER_MEMORY), or another run writes to it (LOCKED).
    """

    def __init__(self, film: Film, captioner: VideoLM, config: AskConfig) -> None:
        self.film, self.captioner, self.config = film, captioner, config
        self._batcher = Batcher(captioner)
        self.style: Style = load(config.style)
        self.settings = {
            "format": FORMAT,
            "video": film.key(),
            "model": captioner.name,
            "revision": captioner.revision,
            "window_s": film.window_s,
            "frames": config.frames,
            "prompt": self.style.prompt,
            "max_new_tokens": self.style.max_new_tokens,
            "temperature": config.temperature,
            "seed": config.seed,
        }
        self.path = config.memory or default_path(self.settings)
        self.warnings: list[str] = []
        self._windows: dict[str, list[Note]] = {}
        self._summaries: dict[tuple[int, str], str] = {}
        self._is_new = True
        self._read()  # its cuts too, before anybody looks for them

    def notes(
        self, windows: Sequence[Window], advance: Callable[[int, int], None] = lambda done, total: None
    ) -> list[Placed]:
        """Notes on some windows of the film in order of time, taken now where they are not there yet.

        Args:
            windows: which parts, of `film.windows()`.
            advance: called with (windows done, windows to do) after each batch.
        """
        missing = [window for window in windows if _key(window) not in self._windows]
        if missing:
            with self._writing() as journal:
                self._take(missing, journal, advance)
        placed = [Placed(note, n) for n, w in enumerate(windows) for note in self._windows.get(_key(w), ())]
        return joined(placed, windows, self.film.cuts())

    def overview(self, placed: Sequence[Placed], max_tokens: int) -> list[Note]:
        """What happens in all, as finely told as `max_tokens` allow: events, else scenes, else groups of scenes."""
        notes = [one.note for one in placed]
        groups = [[p.note for p in placed if p.scene == scene] for scene in dict.fromkeys(p.scene for p in placed)]
        level = 0
        while sum(num_tokens(note.line()) for note in notes) > max_tokens and len(notes) > 1:
            level += 1
            notes = self._summed_up(level, groups)
            groups = [notes[i : i + _GROUP] for i in range(0, len(notes), _GROUP)]
        return notes

    def _read(self) -> None:
        if _is_foreign(self.path):
            raise UsageError(
                f"{printable(str(self.path))} is there and holds no notes",
                code="OTHER_MEMORY",
                hint="name another file",
            )
        with Journal(self.path, writable=False) as journal:
            entries = [entry for entry, _ in journal.replay()]
        for entry in entries:
            self._take_in(entry)

    def _take_in(self, entry: Entry) -> None:
        if entry["kind"] == "memory":
            self._is_new = False
            differing = changes(entry["settings"], self.settings)
            if differing:
                raise UsageError(
                    f"{printable(str(self.path))} holds notes made with other settings: {'; '.join(differing[:4])}",
                    code="OTHER_MEMORY",
                    hint="name another --memory file, or leave it out",
                )
        elif entry["kind"] == "cuts":
            self.film.set_cuts(entry["cuts_s"])
        elif entry["kind"] == "window":
            notes = [Note(start_s=start, end_s=end, text=text) for start, end, text in entry["notes"]]
            self._windows[_key((entry["start_s"], entry["end_s"]))] = notes
            self.warnings += entry["warnings"]
        elif entry["kind"] == "summary":
            self._summaries[entry["level"], _key((entry["start_s"], entry["end_s"]))] = entry["text"]

    @contextmanager
    def _writing(self) -> Iterator[Journal]:
        """The file open for appending, by one run at a time; a new one begins with what it depends on."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FolderLock(self.path.with_name(f"{self.path.name}.lock")), Journal(self.path) as journal:
            if self._is_new:
                cuts = {"kind": "cuts", "cuts_s": list(self.film.cuts())}
                journal.append([{"kind": "memory", "settings": self.settings}, cuts])
                self._is_new = False
            yield journal

    def _take(self, windows: Sequence[Window], journal: Journal, advance: Callable[[int, int], None]) -> None:
        """Look at windows and write down what happens in them; one that cannot be read is told and left for later."""
        size = max(self.config.batch_size, self.captioner.concurrency)
        looks = self.film.looks(windows, ahead=size)
        decoding = Decoding(
            max_new_tokens=self.style.max_new_tokens, temperature=self.config.temperature, seed=self.config.seed
        )
        done = 0
        advance(done, len(windows))
        while batch := list(islice(looks, size)):
            entries: list[Entry] = []
            seen = [(window, frames) for window, frames in batch if not isinstance(frames, ItemError)]
            requests = [GenerateRequest(messages=asked(self.style.prompt, f), decoding=decoding) for _, f in seen]
            told = self._batcher.generate_many(requests, batch_size=self.config.batch_size)
            for window, problem in batch:
                if isinstance(problem, ItemError):
                    self._leave_out(window, problem)
            for (window, _), output in zip(seen, told, strict=True):
                if isinstance(output, ItemError):
                    self._leave_out(window, output)
                else:
                    entries.append(self._entry(window, output))
            journal.append(entries)
            for entry in entries:
                self._take_in(entry)
            done += len(batch)
            advance(done, len(windows))

    def _entry(self, window: Window, output: Output) -> Entry:
        notes = read_notes(output.text, window, self.style)
        return {
            "kind": "window",
            "start_s": window[0],
            "end_s": window[1],
            "notes": [[note.start_s, note.end_s, note.text] for note in notes],
            "warnings": list(output.warnings),
        }

    def _leave_out(self, window: Window, problem: ItemError) -> None:
        self.warnings.append(f"{problem.code}: no notes on {window[0]:.1f}-{window[1]:.1f} s: {problem.message}")

    def _summed_up(self, level: int, groups: Sequence[Sequence[Note]]) -> list[Note]:
        """One note for each group; a group of one stays as it is."""
        spans = [(group[0].start_s, max(note.end_s for note in group)) for group in groups]
        missing = [i for i, g in enumerate(groups) if len(g) > 1 and (level, _key(spans[i])) not in self._summaries]
        if missing:
            style = load("short")
            prompts = [asked(notes_prompt(groups[i], style.prompt)) for i in missing]
            decoding = Decoding(max_new_tokens=style.max_new_tokens, seed=self.config.seed)
            requests = [GenerateRequest(messages=prompt, decoding=decoding) for prompt in prompts]
            told = self._batcher.generate_many(requests, batch_size=self.config.batch_size)
            entries: list[Entry] = []
            for i, output in zip(missing, told, strict=True):
                text = "" if isinstance(output, ItemError) else " ".join(output.text.split())
                if text:
                    entries.append(
                        {"kind": "summary", "level": level, "start_s": spans[i][0], "end_s": spans[i][1], "text": text}
                    )
                    self._take_in(entries[-1])
            with self._writing() as journal:
                journal.append(entries)
        told_notes = []
        for group, span in zip(groups, spans, strict=True):
            text = self._summaries.get((level, _key(span)), group[0].text) if len(group) > 1 else group[0].text
            told_notes.append(Note(start_s=span[0], end_s=span[1], text=text))
        return told_notes


def default_path(settings: dict[str, Any]) -> Path:
    """Where notes with these settings are kept: in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "cineloop" / "memory" / f"{text_key(repr(sorted(settings.items())).encode())}.jsonl"


def _is_foreign(path: Path) -> bool:
    """Whether a file holds anything that this module did not write."""
    try:
        with open(path, "rb") as file:
            first = file.readline()
        return bool(first) and decode_entry(first).get("kind") != "memory"
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def _key(window: Window) -> str:
    return f"{window[0]:.2f}-{window[1]:.2f}"
