"""Notes on a long video: taken once, window by window, kept in a file, summarised scene by scene if they are many.

In: a `LongVideo` and a captioner. Out: notes with the video's seconds, keyed on disk by the video's content, the
model's revision and the settings. The file is a journal (`cineloop.journal`): every batch of windows is appended and
flushed, so a killed run resumes where it stopped, within the video. Its entries:

    {"kind": "notebook", "settings": {...}}                        first, what the notes depend on
    {"kind": "cuts", "cuts_s": [...]}
    {"kind": "part", "start_s", "end_s", "caption", ...}           one window, see `v2t.long.items`
    {"kind": "summary", "level": 1, "start_s", "end_s", "text"}    events -> scenes -> ... -> the whole

Notes of a captioning run are used as they are; then only summaries are kept here. The hierarchy of summaries is that of
recursive task decomposition (Wu et al. 2021, arXiv:2109.10862), built only up to the level that a question needs.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError, Notice
from cineloop.files import cache_home, content_key, text_key
from cineloop.journal import Entry, Journal, decode_entry
from cineloop.run_folder import RunFolder, other_settings, refuse_existing
from v2t.backends import Decoding, GenerateRequest, VideoLM, user_turn
from v2t.backends.batching import Batcher
from v2t.data.notes import Note, notes_prompt
from v2t.long.items import ask_items
from v2t.long.recall import SceneNote, content, num_tokens
from v2t.long.segments import Segment
from v2t.long.spans import read_spans
from v2t.long.summary import reduce_notes
from v2t.long.video import LongVideo
from v2t.styles import Style, load

FORMAT = 2  # raised whenever the same settings would give other notes
_GROUP = 8  # notes summarised into one
_TOUCH_S = 0.5  # largest distance from a window's border for an event to continue in the next window
_LEAD = re.compile(r"^[\W\d_]+|[\s\-–:,]+$")


class Notebook:
    """The notes on one video.

    Args:
        captioner: takes the notes, loaded when there are any to take.
        path: the file; None for one in `cache`.
        cache: a folder; None for one in the user's cache.
        given: notes of a captioning run to use instead of taking new ones.
        style: file of `v2t/styles` whose prompt asks for notes.
        frames: frames of a window, as set by the user; None for the captioner's default.
        batch_size: windows the model sees at once.

    Raises:
        UsageError: the file holds other notes (OTHER_SETTINGS), or another run writes to it (LOCKED).
    """

    def __init__(
        self,
        video: LongVideo,
        captioner: VideoLM,
        *,
        path: Path | None = None,
        cache: Path | None = None,
        given: Sequence[Note] | None = None,
        style: str = "notes",
        frames: int | None = None,
        temperature: float = 0.0,
        seed: int = 0,
        batch_size: int = 8,
    ) -> None:
        self.video, self.captioner, self.given = video, captioner, given
        self._batcher, self._batch_size = Batcher(captioner), batch_size
        self.style: Style = load(style)
        self._decoding = Decoding(max_new_tokens=self.style.max_new_tokens, temperature=temperature, seed=seed)
        self.settings: dict[str, Any] = {
            "format": FORMAT,
            "video": content_key(video.path),
            "model": captioner.name,
            "revision": captioner.revision,
            "window_s": video.window_s,
            "frames": frames,
            "prompt": self.style.prompt,
            "max_new_tokens": self.style.max_new_tokens,
            "temperature": temperature,
            "seed": seed,
        }
        if given is not None:
            self.settings["notes"] = text_key("\n".join(note.line() for note in given).encode())
        self.path = path or default_path(self.settings, cache)
        self.warnings: list[Notice] = []
        self._windows: dict[Segment, list[Note]] = {}
        self._summaries: dict[tuple[int, str], str] = {}
        self._is_new = True
        self._read()  # its cuts too, before they are detected

    def notes(
        self, windows: Sequence[Segment], advance: Callable[[int, int], None] = lambda done, total: None
    ) -> list[SceneNote]:
        """Notes on some windows of the video in order of time; missing ones are taken now.

        Args:
            advance: called with (windows done, windows to do) after each batch.
        """
        if self.given is not None and windows:
            starts, last = [start for start, _ in windows], windows[-1][1]
            within = [note for note in self.given if note.end_s >= starts[0] and note.start_s <= last]
            placed = [SceneNote(note, max(0, bisect_right(starts, note.start_s) - 1)) for note in within]
            return join_notes(placed, windows, self.video.cuts_s or ())
        missing = [window for window in windows if window not in self._windows]
        if missing:
            with self._writing() as journal:
                self._take_notes(missing, journal, advance)
        placed = [SceneNote(note, n) for n, window in enumerate(windows) for note in self._windows.get(window, ())]
        return join_notes(placed, windows, self.video.cuts_s or ())

    def overview(self, placed: Sequence[SceneNote], max_tokens: int) -> list[Note]:
        """All that happens, in as much detail as `max_tokens` allow: events, else scenes, else groups of scenes."""
        scenes = [[p.note for p in placed if p.scene == scene] for scene in dict.fromkeys(p.scene for p in placed)]

        def is_enough(notes: Sequence[Note]) -> bool:
            return len(notes) <= 1 or sum(num_tokens(note.line()) for note in notes) <= max_tokens

        def split(level: int, notes: Sequence[Note]) -> list[list[Note]]:
            return scenes if level == 1 else [list(notes[i : i + _GROUP]) for i in range(0, len(notes), _GROUP)]

        return reduce_notes([one.note for one in placed], is_enough, split, self._summarise)

    def _read(self) -> None:
        if _is_foreign(self.path):
            refuse_existing([self.path], hint="it is not a file of notes: name another one")
        with Journal(self.path, writable=False) as journal:
            for entry, _ in journal.replay():
                self._learn(entry)

    def _learn(self, entry: Entry) -> None:
        if entry["kind"] == "notebook":
            self._is_new = False
            if entry["settings"] != self.settings:
                hint = "name another --notes file, or leave it out"
                raise other_settings(f"the notes of {self.path} were", entry["settings"], self.settings, hint=hint)
        elif entry["kind"] == "cuts":
            self.video.cuts_s = entry["cuts_s"]
        elif entry["kind"] == "part":
            window = Segment(entry["start_s"], entry["end_s"])
            self._windows[window] = read_notes(entry["caption"], window, self.style)
            self.warnings += map(Notice.read, entry["warnings"])
        elif entry["kind"] == "summary":
            self._summaries[entry["level"], _key(Segment(entry["start_s"], entry["end_s"]))] = entry["text"]

    @contextmanager
    def _writing(self) -> Iterator[Journal]:
        """The file open for appending, by one run at a time; a new one begins with what it depends on."""
        name = self.path.name
        with RunFolder(self.path.parent, state="", journal=name, lock=f"{name}.lock") as folder:
            if self._is_new:
                cuts = {"kind": "cuts", "cuts_s": list(self.video.cuts_s or ())}
                folder.append([{"kind": "notebook", "settings": self.settings}, cuts])
                self._is_new = False
            yield folder.journal

    def _take_notes(self, windows: Sequence[Segment], journal: Journal, advance: Callable[[int, int], None]) -> None:
        """Take notes on windows; an unreadable one gets a warning and is left for a later run."""
        done = 0
        advance(done, len(windows))
        for batch in self.video.decode_batches(windows, max(self._batch_size, self.captioner.concurrency)):
            items = [item for _, item in batch if item.answer is None]
            answers = ask_items(self._batcher, items, self.style.prompt, self._decoding, batch_size=self._batch_size)
            for item, answer in zip(items, answers, strict=True):
                item.answer = answer
            entries: list[Entry] = []
            for window, item in batch:
                if error := item.error:
                    text = f"no notes on {window.start_s:.1f}-{window.end_s:.1f} s: {error.message}"
                    self.warnings.append(Notice(error.code, text))
                elif item.answer is not None:
                    head = {"kind": "part", "start_s": window.start_s, "end_s": window.end_s}
                    entries.append({**head, **item.answer})
            journal.append(entries)
            for entry in entries:
                self._learn(entry)
            done += len(batch)
            if batch:
                advance(done, len(windows))

    def _summarise(self, level: int, groups: Sequence[Sequence[Note]]) -> list[str]:
        """The captioner's summary of each group, new or cached; its first note where the summary is empty."""
        spans = [Segment(group[0].start_s, max(note.end_s for note in group)) for group in groups]
        missing = [i for i, span in enumerate(spans) if (level, _key(span)) not in self._summaries]
        if missing:
            style = load("short")
            decoding = Decoding(max_new_tokens=style.max_new_tokens, seed=self._decoding.seed)
            prompts = [user_turn(notes_prompt(groups[i], style.prompt)) for i in missing]
            requests = [GenerateRequest(messages=prompt, decoding=decoding) for prompt in prompts]
            outputs = self._batcher.generate_many(requests, batch_size=self._batch_size)
            entries: list[Entry] = []
            for i, output in zip(missing, outputs, strict=True):
                if text := "" if isinstance(output, ItemError) else " ".join(output.text.split()):
                    head = {"kind": "summary", "level": level, **spans[i]._asdict()}
                    entries.append({**head, "text": text})
                    self._learn(entries[-1])
            with self._writing() as journal:
                journal.append(entries)
        return [self._summaries.get((level, _key(s)), g[0].text) for g, s in zip(groups, spans, strict=True)]


def default_path(settings: dict[str, Any], folder: Path | None = None) -> Path:
    """The file for notes with these settings."""
    return notes_folder(folder) / f"{text_key(repr(sorted(settings.items())).encode())}.jsonl"


def notes_folder(folder: Path | None = None) -> Path:
    """Where notes are kept: the folder asked for, by default in the user's cache."""
    return folder or cache_home() / "cineloop" / "notes"


def _is_foreign(path: Path) -> bool:
    """Whether a file is not a notebook of this module."""
    try:
        with open(path, "rb") as file:
            first = file.readline()
        return bool(first) and decode_entry(first).get("kind") != "notebook"
    except FileNotFoundError:
        return False
    except ValueError:
        return True


def _key(window: Segment) -> str:
    return f"{window[0]:.2f}-{window[1]:.2f}"


def read_notes(text: str, window: Segment, style: Style) -> list[Note]:
    """Notes in an answer about a window, their times moved to the video's. An answer without times is one note.

    Args:
        text: lines of `start-end: what happens`, in the style's form or any other that names times.
        window: seconds of the video the answer is about.
        style: whose parser is tried first.
    """
    length_s = window[1] - window[0]
    read = style.segments(text, length_s) if style.segments else []
    timed = [(part["start_s"], part["end_s"], part["caption"]) for part in read] or list(_any_form(text, length_s))
    if not timed and text.strip():
        timed = [(0.0, length_s, text)]
    notes = [
        Note(start_s=round(start + window[0], 2), end_s=round(end + window[0], 2), text=" ".join(text.split()))
        for start, end, text in dict.fromkeys(timed)
        if text.strip()
    ]
    return sorted(notes, key=lambda note: (note.start_s, note.end_s))


def join_notes(placed: Sequence[SceneNote], windows: Sequence[Segment], cuts_s: Sequence[float]) -> list[SceneNote]:
    """Notes in order of time, joined for an event that continues over the border of two windows of one scene.

    Args:
        placed: notes, `scene` being the number of the window they come from.
        cuts_s: where scenes end; no event continues over a cut.
    """
    out: list[SceneNote] = []
    for one in sorted(placed, key=lambda one: (one.note.start_s, one.note.end_s)):
        border = windows[one.scene][0]
        is_cut = any(abs(border - cut) < 0.01 for cut in cuts_s)
        before = None if is_cut else _continued_note(out, one, border)
        if before is None:
            out.append(one)
        else:
            whole = Note(start_s=before.note.start_s, end_s=one.note.end_s, text=before.note.text)
            out[out.index(before)] = SceneNote(whole, one.scene)
    return out


def _continued_note(earlier: Sequence[SceneNote], one: SceneNote, border: float) -> SceneNote | None:
    """The note of the previous window with the same words that ends at the border where `one` starts."""
    if one.note.start_s - border > _TOUCH_S:
        return None
    words = set(content(one.note.text))
    for other in reversed(earlier):
        if other.scene == one.scene - 1 and border - other.note.end_s <= _TOUCH_S:
            if set(content(other.note.text)) == words:
                return other
    return None


def _any_form(text: str, length_s: float) -> Iterable[tuple[float, float, str]]:
    for line in text.splitlines():
        reading = read_spans(line, length_s)
        text = _LEAD.sub("", line)
        if reading.spans and re.search(r"[^\W\d_]{3}", text):
            yield (*reading.spans[0], text)
