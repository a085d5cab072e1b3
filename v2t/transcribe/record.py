"""The transcript record: one file's row, in the form of a caption record, so that every writer and reader takes it.

In: the utterances of its blocks. Out: a plain dict. `caption` is all that is spoken, `segments` are its utterances with
their seconds of the film; more fields: `language`, `engine`, `audio`. The answer to a block is kept in the journal
until its file is complete:

    {"kind": "part", "id", "settings", "source", "start_s", "end_s", "segments", "language", "warnings", "seconds",
     "error"}
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from cineloop.audio.track import SoundTrack
from cineloop.clip import Clip
from cineloop.errors import ItemError, Notice
from cineloop.files import text_key
from cineloop.journal import Entry
from v2t.long.items import fields_of
from v2t.transcribers import Utterance
from v2t.writers import Record

STYLE = "speech"
# As in the Whisper paper's decoding: nobody speaks, say the model and its unsure words; or the text repeats itself.
_NO_SPEECH, _LOGPROB, _COMPRESSION = 0.6, -1.0, 2.4
_LEAST_TEXT, _REPEATS = 40, 4  # characters for the compression; one phrase after another


@dataclass(frozen=True, kw_only=True)
class SpeechSettings:
    """Everything a transcript depends on besides the file."""

    model: str
    revision: str
    engine: str
    language: str | None = None
    track: int | None = None
    options: tuple[tuple[str, Any], ...] = field(default=())

    @property
    def settings(self) -> dict[str, Any]:
        """The values that a later run compares with its own."""
        return {
            "model": self.model,
            "revision": self.revision,
            "engine": self.engine,
            "language": self.language,
            "track": self.track,
            **{f"options.{name}": value for name, value in self.options},
        }

    @cached_property
    def settings_key(self) -> str:
        """Short hash of `settings`."""
        return text_key(repr(sorted(self.settings.items(), key=str)).encode("utf-8", "surrogatepass"))


def segment_of(spoken: Utterance, start_s: float) -> dict[str, Any]:
    """An utterance of a piece that begins at `start_s`, in seconds of the film."""
    row: dict[str, Any] = {
        "start_s": round(start_s + spoken.start_s, 3),
        "end_s": round(start_s + spoken.end_s, 3),
        "caption": spoken.text.encode("utf-8", "backslashreplace").decode("utf-8"),
    }
    if spoken.words:
        row["words"] = [
            {"text": word.text, "start_s": round(start_s + word.start_s, 3), "end_s": round(start_s + word.end_s, 3)}
            | ({} if word.probability is None else {"probability": round(word.probability, 4)})
            for word in spoken.words
        ]
    if flags := flags_of(spoken):
        row["flags"] = flags
    return row


def flags_of(spoken: Utterance) -> list[str]:
    """What speaks against an utterance: NO_SPEECH (the model doubts that anybody speaks, and its own words), LOOP."""
    flags = []
    if spoken.no_speech is not None and spoken.logprob is not None:
        if spoken.no_speech > _NO_SPEECH and spoken.logprob < _LOGPROB:
            flags.append("NO_SPEECH")
    data = spoken.text.encode("utf-8", "replace")
    is_dense = len(spoken.text) >= _LEAST_TEXT and len(data) / len(zlib.compress(data)) > _COMPRESSION
    phrase = re.search(rf"(?:^|\W)(\w[^.!?]*?\w|\w)(?:\W+\1(?!\w)){{{_REPEATS - 1}}}", spoken.text.lower())
    if is_dense or phrase:
        flags.append("LOOP")
    return flags


def record_of(
    clip: Clip, blocks: Sequence[Entry], settings: SpeechSettings, track: SoundTrack | None, duration_s: float | None
) -> Record:
    """The record of a file all of whose blocks are answered. A file without a track of sound is fine: nobody speaks."""
    segments = [segment for block in blocks for segment in block["segments"]]
    languages = Counter({block["language"]: len(block["segments"]) for block in blocks if block["language"]})
    warnings = dict.fromkeys(Notice.read(warning) for block in blocks for warning in block["warnings"])
    if track is None:
        warnings[Notice("NO_AUDIO_STREAM", "the file has no track of sound")] = None
    elif not segments:
        warnings[Notice("NO_SPEECH", "nobody is heard to speak")] = None
    if num := sum("flags" in segment for segment in segments):
        warnings[Notice("DOUBTFUL", f"{num} of {len(segments)} segments are flagged")] = None
    audio = track and {"track": track.number, "rate": track.rate, "channels": track.channels, "codec": track.codec}
    return {
        **_head(clip, settings),
        "status": "ok",
        "caption": " ".join(segment["caption"] for segment in segments),
        "segments": segments,
        "language": settings.language or (languages.most_common(1)[0][0] if languages else ""),
        "audio": audio,
        "decoder": "pyav" if track else None,
        "duration_s": duration_s,
        "seconds": round(sum(block["seconds"] for block in blocks), 3),
        "warnings": [fields_of(warning) for warning in warnings],
        "error": None,
    }


def failed_record(clip: Clip, settings: SpeechSettings, error: ItemError) -> Record:
    """The record of a file that cannot be transcribed."""
    facts: Record = {"language": "", "audio": None, "decoder": None, "duration_s": None, "seconds": 0.0, "warnings": []}
    return {**_head(clip, settings), **facts, "error": fields_of(error)}


def _head(clip: Clip, settings: SpeechSettings) -> Record:
    return {
        "id": clip.id,
        "path": clip.path,
        "status": "failed",
        "caption": None,
        "segments": [],
        "model": settings.model,
        "revision": settings.revision,
        "engine": settings.engine,
        "style": STYLE,
        "prompt_sha": "",
        "frame_times_s": [],
        "tokens": 0,
    }
