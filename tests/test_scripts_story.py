"""scripts/story.sh in miniature: every stage trains, what they leave captions new clips, the captions are scored."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_story_is_whole(tmp_path):
    binaries = Path(sys.executable).parent
    environment = os.environ | {"CINELOOP_NO_SETUP": "1", "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", ROOT / "scripts/story.sh", tmp_path, "2"]
    log = tmp_path / "log.txt"
    with open(log, "wb") as out:
        # A group of its own: a test that is cut short leaves no training behind.
        story = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True
        )
        try:
            story.wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(story.pid, signal.SIGKILL)
    assert story.returncode == 0, log.read_text(errors="replace")[-4000:]
    records = [json.loads(line) for line in (tmp_path / "captions/captions.jsonl").read_text().splitlines()]
    assert len({record["id"] for record in records}) == 8
    report = json.loads((tmp_path / "score/scores.json").read_text())
    assert report["results"][0]["n"] == 8
    assert {"tower", "language", "align-heads", "align", "instruct"} <= {folder.name for folder in tmp_path.iterdir()}
