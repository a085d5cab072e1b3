"""What the captioning job says and withholds: clips outside the model's world, memory, several lines, -q."""

from __future__ import annotations

import sys
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from caption_stand_ins import TextCaptioner, TextPool, go, rows_of
from cineloop.errors import Notice
from cineloop.log import plural
from clip_files import clips_in
from v2t.backends import Output
from v2t.caption import job
from v2t.caption import run as caption
from v2t.caption.summary import rate
from v2t.cli import main
from v2t.long import queue


@pytest.fixture(autouse=True)
def fake_pool(monkeypatch):
    monkeypatch.setattr(job, "DecoderPool", TextPool)


@pytest.mark.slow
def test_one_huge_clip_narrows_decoding_ahead_only_while_it_is_recent(tmp_path, monkeypatch):
    source = clips_in(tmp_path / "clips", a="HUGE", **{f"c{i:03}": "dog" for i in range(150)})
    futures, pending = [], []

    class Slow(TextPool):
        """One file at a time, in a thread, so that what is asked for in advance piles up."""

        def __enter__(self):
            self.thread = ThreadPoolExecutor(1)
            return self

        def __exit__(self, *exc):
            self.thread.shutdown()

        def submit(self, path, spec, size):
            size = (64, 64) if path.endswith("a.mp4") else size
            futures.append(
                self.thread.submit(lambda: time.sleep(0.003) or TextPool().submit(path, spec, size).result())
            )
            pending.append(sum(not future.done() for future in futures))
            return futures[-1]

    monkeypatch.setattr(job, "DecoderPool", Slow)
    monkeypatch.setattr(queue, "MAX_AHEAD_BYTES", 2 * 4 * 64 * 64 * 3)
    go(source, None, batch_size=8, workers=2)
    assert max(pending[20:50]) <= 3 and max(pending[100:]) > 10


def test_clips_that_do_not_fit_into_memory_fail_alone_however_many_come_in_a_row(tmp_path):
    texts = {f"c{i:02}": "LARGE" for i in range(20)} | {"d": "dogs"}
    source, out = clips_in(tmp_path / "clips", **texts), tmp_path / "out"
    held = []

    class Full(TextCaptioner):
        def answer(self, conversations, decoding):
            pixels = np.zeros(8)  # what a frame of the failed call holds on to
            held.append(weakref.ref(pixels))
            if any("LARGE" in conversation[0].videos[0].decoder for conversation in conversations):
                assert all(ref() is None for ref in held[:-1])
                raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
            return super().answer(conversations, decoding)

    summary, _, _ = go(source, out, Full(), batch_size=4)
    rows = rows_of(out)
    assert summary.exit_code == 3 and rows["d.mp4"]["caption"] == "A clip of dogs."
    assert {row["error"]["code"] for row in rows.values() if row["error"]} == {"OUT_OF_MEMORY"}


class Warned(TextCaptioner):
    """Knows no clip that says ODD."""

    def answer(self, conversations, decoding):
        found = super().answer(conversations, decoding)
        odd = (Notice("OUT_OF_DOMAIN", "unlike cartoons (distance 9.0, limit 1.0)"),)
        return [replace(one, warnings=odd) if "ODD" in one.text else one for one in found]


def test_a_clip_outside_the_models_world_has_no_caption_unless_asked_for(tmp_path):
    source = clips_in(tmp_path / "clips", a="dogs", **{f"odd{i}": "ODD" for i in range(7)})
    out = tmp_path / "out"
    summary, _, _ = go(source, out, Warned(), format=("txt", "jsonl", "srt", "csv"))
    assert summary.exit_code == 3 and summary.num_captioned == 1
    assert (out / "a.txt").exists() and not list(out.glob("odd*"))
    row = rows_of(out)["odd0.mp4"]
    assert (row["status"], row["caption"], row["error"]["code"]) == ("failed", None, "OUT_OF_DOMAIN")
    assert "unlike cartoons" in row["error"]["message"] and "--on-outside warn" in row["error"]["hint"]
    first, *_, counts, hint = (line for _, line in summary.report())
    assert counts == "8 clips: 1 captioned, 7 failed" and hint.startswith("--retry-failed")
    assert first.startswith("7 clips are outside the domain of fake@r1 and have no caption: odd0.mp4, ")
    assert "and 2 more" in first and sum("odd0.mp4" in line for _, line in summary.report()) == 1
    summary, _, _ = go(source, out, Warned(), on_outside="warn", retry_failed=True)
    row = rows_of(out)["odd0.mp4"]
    assert summary.exit_code == 0 and (row["status"], row["caption"]) == ("ok", "A clip of ODD.")
    assert (out / "odd0.txt").exists() and row["warnings"][0]["code"] == "OUT_OF_DOMAIN"
    assert summary.report()[0][1].startswith(
        "7 clips are outside the domain of fake@r1 and got captions not to be trusted: odd0"
    )


def test_quiet_still_says_which_clips_have_no_caption(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(caption, "open_backend", lambda *args, **options: Warned())
    source = clips_in(tmp_path / "clips", a="dogs", b="BROKEN", c="ODD")
    assert main(["caption", str(source), "-o", str(tmp_path / "out"), "-q"]) == 3
    told = capsys.readouterr()
    assert told.out == "" and "b.mp4: cannot be decoded" in told.err and "have no caption: c.mp4" in told.err
    assert "videos/s" not in told.err and "captioned" not in told.err


def test_a_caption_of_several_lines_keeps_them_on_a_terminal_and_is_one_line_in_a_pipe(tmp_path, monkeypatch, capsys):
    class Lines(TextCaptioner):
        def answer(self, conversations, decoding):
            return [Output(text="Subject: a dog\nAction: \x1b[31mruns", tokens=5) for _ in conversations]

    monkeypatch.setattr(caption, "open_backend", lambda *args, **options: Lines())
    source = clips_in(tmp_path / "clips", a="dogs")
    assert main(["caption", str(source)]) == 0
    assert capsys.readouterr().out == "a.mp4\tSubject: a dog\\nAction: \\u001b[31mruns\n"
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    assert main(["caption", str(source)]) == 0
    assert capsys.readouterr().out == "a.mp4\n    Subject: a dog\n    Action: \\u001b[31mruns\n"


def test_results_come_before_the_progress_that_counts_them_and_the_summary_last(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(caption, "open_backend", lambda *args, **options: TextCaptioner())
    monkeypatch.setattr("cineloop.log._LINE_EVERY_S", 0.0)
    source = clips_in(tmp_path / "clips", a="dogs", b="BROKEN", c="cats")
    monkeypatch.setattr("sys.stdout", sys.stderr)  # as on a terminal, where both are seen in one order
    assert main(["caption", str(source), "-o", str(tmp_path / "out")]) == 3
    lines = capsys.readouterr().err.splitlines()
    order = ["captioning 3 of 3 clips", "a.mp4\tA clip of dogs.", "captioning: 3 of 3", "failed DECODE_ERROR: b.mp4"]
    order += ["3 clips: 2 captioned, 1 failed", "--retry-failed"]
    places = [next(i for i, line in enumerate(lines) if text in line) for text in order]
    assert places == sorted(places) and places[-1] == len(lines) - 1
    assert "no video captioned yet" not in lines[places[2]]
    assert main(["caption", str(source)]) == 3
    assert "--retry-failed" not in capsys.readouterr().err  # without a folder nothing is known of an earlier run


def test_counts_and_speeds_read_as_sentences():
    assert (plural(1, "clip"), plural(0, "clip")) == ("1 clip", "0 clips")
    assert (rate(0, 3.0, "video"), rate(3, 6.0, "video")) == ("no video captioned yet", "2.0 s a video")
    assert rate(6, 3.0, "video") == "2.0 videos/s"
