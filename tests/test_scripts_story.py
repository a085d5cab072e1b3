"""scripts/story.sh in miniature: every stage trains, what they leave captions new clips, the captions are scored."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_story_is_whole(tmp_path):
    binaries = Path(sys.executable).parent
    environment = os.environ | {"CINELOOP_NO_SETUP": "1", "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"}
    command = ["bash", ROOT / "scripts/story.sh", tmp_path, "2"]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    records = [json.loads(line) for line in (tmp_path / "captions/captions.jsonl").read_text().splitlines()]
    assert len({record["id"] for record in records}) == 8
    report = json.loads((tmp_path / "score.json").read_text())
    assert report["results"][0]["n"] == 8
    assert {"tower", "language", "align-heads", "align"} <= {folder.name for folder in tmp_path.iterdir()}
