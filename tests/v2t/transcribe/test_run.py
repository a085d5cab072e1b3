"""A folder of films and recordings → transcripts: what is written, resumed, refused, kept."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import scripted_transcriber
from sounding_films import write_film, write_sound
from spoken_sounds import RATE, between, noise, voice
from v2t.cli import main

pytestmark = pytest.mark.xdist_group("machine")
ENGINE = scripted_transcriber.__file__


def transcribe(*words: object) -> int:
    return main(["transcribe", *map(str, words), "--engine", ENGINE, "--model", "scripted"])


def records(folder: Path) -> dict[str, dict]:
    return {row["id"]: row for row in map(json.loads, (folder / "captions.jsonl").read_text().splitlines())}


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("talks")
    two = between(voice(2), voice(3))[None]
    write_sound(folder / "two.wav", two, RATE)
    write_film(folder / "late.mkv", [(two, RATE, 1.5)], seconds=3, codec="flac")
    write_film(folder / "tracks.mkv", [(0 * two, RATE, 0.0), (two, RATE, 0.0)], seconds=3, codec="flac")
    write_film(folder / "mute.mp4", [], seconds=1)
    write_sound(folder / "noise.flac", noise(5, 0.1)[None], RATE, "flac")
    (folder / "broken.mp3").write_bytes(b"no sound at all" * 99)
    return folder


def test_a_folder_of_films_and_recordings(tmp_path: Path, talks: Path) -> None:
    out = tmp_path / "speech"
    assert transcribe(talks, "-o", out) == 3
    rows = records(out)
    assert {name: (row["status"], len(row["segments"])) for name, row in rows.items()} == {
        "two.wav": ("ok", 2),
        "late.mkv": ("ok", 2),
        "tracks.mkv": ("ok", 0),
        "mute.mp4": ("ok", 0),
        "noise.flac": ("ok", 0),
        "broken.mp3": ("failed", 0),
    }
    codes = {name: [warning["code"] for warning in row["warnings"]] for name, row in rows.items()}
    assert codes["mute.mp4"] == ["NO_AUDIO_STREAM"] and codes["noise.flac"] == ["NO_SPEECH"] == codes["tracks.mkv"]
    assert rows["broken.mp3"]["error"]["code"] == "NOT_MEDIA"
    two, late = rows["two.wav"], rows["late.mkv"]
    assert [s["start_s"] for s in two["segments"]] == pytest.approx([2, 6], abs=0.3)
    assert [s["start_s"] for s in late["segments"]] == pytest.approx([3.5, 7.5], abs=0.3)  # the film's seconds
    assert two["segments"][0]["words"][0]["start_s"] == two["segments"][0]["start_s"]
    assert two["language"] == "en" and two["engine"] == "scripted_transcriber" and two["audio"]["rate"] == RATE
    assert two["caption"] == " ".join(s["caption"] for s in two["segments"])
    assert (out / "two.srt").read_text().count("-->") == 2 and (out / "two.vtt").read_text().startswith("WEBVTT")
    assert (out / "noise.txt").read_text().strip() == ""
    # one more time: nothing is left to do but what failed
    assert transcribe(talks, "-o", out) == 3
    assert records(out) == rows


def test_a_track_by_number(tmp_path: Path, talks: Path) -> None:
    out = tmp_path / "speech"
    assert transcribe(talks / "tracks.mkv", "-o", out, "--track", 1) == 0
    assert len(records(out)["tracks.mkv"]["segments"]) == 2
    assert transcribe(talks / "tracks.mkv", "-o", tmp_path / "b", "--track", 2) == 3
    assert records(tmp_path / "b")["tracks.mkv"]["error"]["code"] == "NO_AUDIO_STREAM"


def test_other_settings_are_refused_and_edits_are_kept(tmp_path: Path, talks: Path, capsys) -> None:
    out = tmp_path / "speech"
    assert transcribe(talks / "two.wav", "-o", out) == 0
    assert transcribe(talks / "two.wav", "-o", out, "--language", "de") == 2
    assert "OTHER_SETTINGS" in capsys.readouterr().err
    (out / "two.txt").write_text("what a person wrote\n")
    assert transcribe(talks / "two.wav", "-o", out, "--overwrite", "--language", "de") == 0
    assert records(out)["two.wav"]["caption"] == "what a person wrote"
    assert (out / "two.txt").read_text() == "what a person wrote\n"


def test_a_dry_run_writes_nothing(tmp_path: Path, talks: Path, capsys) -> None:
    out = tmp_path / "speech"
    assert transcribe(talks / "two.wav", "-o", out, "--dry-run") == 0
    assert "transcribe\ttwo.wav" in capsys.readouterr().out and not out.exists()


def test_a_block_ends_at_a_pause_and_all_is_heard_once(tmp_path: Path) -> None:
    sound = between(voice(20), voice(25), voice(9), voice(5), pause_s=1.5)  # 1.5-21.5, 23-48, 49.5-58.5, 60-65
    write_sound(tmp_path / "long.flac", sound[None], RATE, "flac")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert transcribe(tmp_path / "long.flac", "-o", whole) == 0
    assert transcribe(tmp_path / "long.flac", "-o", parts, "--set", "block_s=30") == 0
    one, many = (records(folder)["long.flac"]["segments"] for folder in (whole, parts))
    assert [s["caption"] for s in many] == [s["caption"] for s in one]
    for field in ("start_s", "end_s"):
        assert [s[field] for s in many] == pytest.approx([s[field] for s in one], abs=0.06)


def test_shards_are_merged(tmp_path: Path, talks: Path) -> None:
    out = tmp_path / "speech"
    for number in (1, 2):
        transcribe(talks, "-o", out, "--shard", f"{number}/2")
    assert main(["merge", str(out)]) == 3  # one file is broken
    assert set(records(out)) == {path.name for path in talks.iterdir()}


@pytest.mark.long
def test_a_run_that_is_killed_goes_on_with_the_next_block(tmp_path: Path) -> None:
    sound = between(*[voice(8)] * 40)  # 402 s
    write_sound(tmp_path / "talk.flac", sound[None], RATE, "flac")
    line = [sys.executable, "-m", "v2t", "transcribe", str(tmp_path / "talk.flac"), "--engine", ENGINE,
            "--model", "scripted", "--set", "block_s=40"]  # fmt: skip
    assert subprocess.run([*line, "-o", str(tmp_path / "calm")], check=False).returncode == 0
    out = tmp_path / "killed"
    journal = out / ".v2t" / "journal.jsonl"
    sizes, kills = [0], 0
    for _ in range(10):
        process = subprocess.Popen([*line, "-o", str(out)], env={**os.environ, "PAUSE_S": "0.3"})
        before = sizes[-1]
        while process.poll() is None and (journal.stat().st_size if journal.exists() else 0) <= before:
            time.sleep(0.02)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        sizes.append(journal.stat().st_size)
    assert kills >= 5
    assert subprocess.run([*line, "-o", str(out)], check=False).returncode == 0
    calm, killed = (records(tmp_path / name)["talk.flac"] for name in ("calm", "killed"))
    assert killed["segments"] == calm["segments"] and len(calm["segments"]) == 40
    entries = [json.loads(row) for row in journal.read_text().splitlines()]
    starts = [entry["start_s"] for entry in entries if entry["kind"] == "part"]
    assert len(starts) == len(set(starts))  # a block that is in the journal is never done again


def test_without_a_model_and_with_wrong_settings(tmp_path: Path, talks: Path, capsys) -> None:
    assert main(["transcribe", str(talks), "-o", str(tmp_path / "o")]) == 2
    assert "--model" in capsys.readouterr().err
    for wrong in (["--language", "English!"], ["--track", "-1"], ["--set", "block_s=1"], ["--shard", "1/2"]):
        assert main(["transcribe", str(talks), "--model", "x", "--engine", ENGINE, *wrong]) == 2


def test_what_speaks_against_an_utterance() -> None:
    from v2t.transcribe.record import flags_of
    from v2t.transcribers import Utterance

    def flags(text: str, **more) -> list[str]:
        return flags_of(Utterance(text=text, start_s=0, end_s=1, **more))

    assert flags("A red ball rolls to the right, and a cat jumps over it.") == []
    assert flags("thank you thank you thank you thank you") == ["LOOP"]
    assert flags("no no no never") == []
    assert flags("the ball rolls. " * 12) == ["LOOP"]
    assert (
        flags("you", no_speech=0.9, logprob=-1.4) == ["NO_SPEECH"] and flags("you", no_speech=0.9, logprob=-0.2) == []
    )
