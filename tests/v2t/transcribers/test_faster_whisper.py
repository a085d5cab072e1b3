"""faster-whisper on a converted tiny Whisper: its words, within the piece."""

from __future__ import annotations

from pathlib import Path

import pytest

from sounding_films import sweep
from tiny_speech_models import tiny_whisper
from v2t.transcribers import open_transcriber

pytestmark = pytest.mark.slow
faster_whisper = pytest.importorskip("faster_whisper", reason="faster-whisper is not installed")
SOUND = sweep(6, 16_000)[0]


def test_its_words_are_those_of_the_library(tmp_path: Path) -> None:
    import ctranslate2

    folder, out = tiny_whisper(tmp_path / "hf"), tmp_path / "ct2"
    converter = ctranslate2.converters.TransformersConverter(str(folder), copy_files=["tokenizer.json"])
    converter.convert(str(out))
    theirs = faster_whisper.WhisperModel(str(out), device="cpu", compute_type="float32")
    parts, _ = theirs.transcribe(SOUND, language="en", beam_size=1, temperature=0.0, word_timestamps=True,
                                 condition_on_previous_text=False)  # fmt: skip
    expected = [part.text.strip() for part in parts if part.text.strip() and part.start < 6]
    ours = open_transcriber(str(out), dtype="float32", options={"beam_size": 1, "temperature": 0.0})
    ours.load()
    said = ours.transcribe(SOUND, "en")
    assert [one.text for one in said.utterances] == expected and expected
    assert all(0 <= one.start_s <= one.end_s <= 6 for one in said.utterances) and said.language == "en"
