"""kill -9 at fifty random moments of a run over 300 clips, resumed each time: every clip one record, no torn file."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cineloop.journal import decode_entry
from coloured_captions import COLOURS, ENV

pytestmark = pytest.mark.xdist_group("machine")

NUM_CLIPS, NUM_KILLS = 300, 50

# Run by another Python, so that the tests' own process is never forked. Each line on its stdin is one run, in a child
# of its own whose process id it prints; captions are read off the pixels, so one on the wrong clip would show.
DRIVER = """
import os, sys
from pathlib import Path
from cineloop.video.decode import Request, decode
from cineloop.video.sample import SampleSpec
from coloured_captions import ColourCaptioner, die_at_line
from decoder_here import Pool
from v2t.caption import job
from v2t.caption import run as caption

SAVING = {"write", "append", "_append", "_write_sidecar", "write_atomic"}
clips, isolated = sys.argv[1], sys.argv[2] == "isolated"
if not isolated:
    job.DecoderPool = Pool
config = caption.CaptionConfig(batch_size=2, workers=1)
decode(os.fsencode(next(Path(clips).rglob("*.mp4"))), Request(spec=SampleSpec()))
print("ready", flush=True)
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        out, _, lines = line.strip().rpartition(" ")
        if int(lines):
            die_at_line(int(lines), lambda code: code.co_name in SAVING)
        try:
            code = caption.run([clips], Path(out), config, captioner=ColourCaptioner(0.002)).exit_code
        except BaseException as error:
            print(repr(error), file=sys.stderr, flush=True)
            code = 99
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def clips(coloured_clips) -> Path:
    return coloured_clips(NUM_CLIPS, folders=7)


def expected(clip_id: str) -> str:
    return f"It is {COLOURS[int(clip_id[-7:-4]) % len(COLOURS)]}."


def look(out: Path) -> None:
    """What must hold at any moment, whatever was killed when."""
    for sidecar in out.rglob("*.txt"):
        clip_id = sidecar.relative_to(out).with_suffix(".mp4").as_posix()
        assert sidecar.read_text() == expected(clip_id) + "\n"
    if (out / "captions.jsonl").exists():
        text = (out / "captions.jsonl").read_text()
        ids = [json.loads(line)["id"] for line in text.splitlines()]
        assert text.endswith("\n") and len(set(ids)) == len(ids)


def check_whole(out: Path) -> None:
    look(out)
    rows = [json.loads(line) for line in (out / "captions.jsonl").read_text().splitlines()]
    assert len(rows) == len({row["id"] for row in rows}) == NUM_CLIPS
    assert all(row["status"] == "ok" and row["caption"] == expected(row["id"]) for row in rows)
    assert all(row["model"] == "colour" and "edited" not in row for row in rows)  # none taken for a person's
    assert len(list(out.rglob("*.txt"))) == NUM_CLIPS and not list(out.rglob(".cineloop-tmp-*"))
    entries = [decode_entry(line) for line in (out / ".v2t/journal.jsonl").read_bytes().splitlines(keepends=True)]
    journalled = [entry["record"]["id"] for entry in entries if entry["kind"] == "clip"]
    assert len(journalled) == len(set(journalled)) == NUM_CLIPS  # nothing was lost, and nothing was done twice


def rounds(clips: Path, folder: Path, *, isolated: bool, longest_s: float) -> None:
    draw = random.Random(5)
    command = [sys.executable, "-c", DRIVER, str(clips), "isolated" if isolated else "here"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=ENV) as driver:
        assert driver.stdin is not None and driver.stdout is not None
        assert driver.stdout.readline() == "ready\n"

        def one_run(out: Path, after_s: float | None, after_lines: int = 0) -> int:
            driver.stdin.write(f"{out} {after_lines}\n")
            driver.stdin.flush()
            child = int(driver.stdout.readline())
            if after_s is not None:
                time.sleep(after_s)
                try:
                    os.kill(child, signal.SIGKILL)
                except ProcessLookupError:
                    pass  # it was done before
            return int(driver.stdout.readline())

        kills = finished = 0
        while kills < NUM_KILLS:
            by_clock = kills % 2
            out = folder / f"out{finished}"
            code = one_run(out, draw.uniform(0, longest_s)) if by_clock else one_run(out, None, draw.randint(1, 800))
            look(folder / f"out{finished}")
            assert code in (0, -signal.SIGKILL)
            if code == 0:
                check_whole(folder / f"out{finished}")
                finished += 1
            else:
                kills += 1
        assert one_run(folder / f"out{finished}", None) == 0
        check_whole(folder / f"out{finished}")
        driver.stdin.close()


@pytest.mark.long
@pytest.mark.slow
def test_fifty_kills_lose_nothing_and_repeat_nothing(clips, tmp_path):
    rounds(clips, tmp_path, isolated=False, longest_s=0.12)


@pytest.mark.long
@pytest.mark.slow
def test_fifty_kills_with_decoders_in_processes_of_their_own(clips, tmp_path):
    rounds(clips, tmp_path, isolated=True, longest_s=1.5)
