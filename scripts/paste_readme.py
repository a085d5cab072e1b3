#!/usr/bin/env python
"""Paste the README's commands one after the other, as a newcomer does: from an installed wheel, in an empty folder.

In: the environment that holds the wheel (its `bin` is put first on PATH), a folder. Out: a table on stdout, a row a
line: exit code, seconds, the last line of its output. What a reader has already (clips, a film, prompts) is drawn from
the cartoon world first. Lines that set up an environment are left out; one that asks for a model of the hub is followed
by itself with the starter, so that later lines find what it leaves. A line is ended at its limit: exit code 124.

    python scripts/paste_readme.py /tmp/env/bin /tmp/empty --limit 600
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
SETTING_UP = ("python3 -m venv", "pip install", "scripts/")
OF_A_READER = (
    "printf 'A red ball rolls to the left.\\nA dog walks to the right in the city.\\n' > prompts.txt",
    "t2v generate --prompts prompts.txt -o main-clips --generator world --num-videos 2 -q",
    "t2v generate --prompts prompts.txt -o clips --generator world --num-videos 2 -q",
    "v2t world --num 4 --seed 4 --split seen -o films -q",
    "cp films/seen-4-000000.mp4 film.mp4 && cp film.mp4 clip.mp4",
    "printf 'What color is the dog?\\nWhere is it?\\n' > questions.txt",
)
HUB = re.compile(r" --(?:model|generator|questions) (?:openai:URL|diffusers|[A-Z][\w.-]*/\S+)")


def lines() -> list[str]:
    """The command lines of the README's blocks, those that set up left out."""
    blocks = re.findall(r"```bash\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    listed = [line for block in blocks for line in block.splitlines()]
    return [line for line in listed if line and not line.startswith(SETTING_UP)]


def paste(line: str, bin: Path, folder: Path, limit_s: float) -> tuple[int, float, str]:
    """Exit code, seconds and the last line of its output."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    env |= {"PATH": f"{bin}{os.pathsep}{env['PATH']}", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    begun = time.monotonic()
    ran = subprocess.Popen(
        ["bash", "-c", line], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    try:
        output, code = ran.communicate(timeout=limit_s)[0], ran.returncode
    except subprocess.TimeoutExpired:
        os.killpg(ran.pid, signal.SIGINT)
        try:
            output = ran.communicate(timeout=30)[0]
        except subprocess.TimeoutExpired:
            os.killpg(ran.pid, signal.SIGKILL)
            output = ran.communicate()[0]
        code = 124
    shown = [each.strip() for each in re.split(r"[\r\n]", output) if each.strip()]
    return code, time.monotonic() - begun, shown[-1][:120] if shown else ""


def main(bin: Path, folder: Path, limit_s: float) -> int:
    """Print the table; returns 1 where a line of the reader's own could not be run."""
    folder.mkdir(parents=True, exist_ok=True)
    for line in OF_A_READER:
        code, _, ending = paste(line, bin, folder, limit_s)
        if code:
            print(f"{line}: exit code {code}: {ending}", file=sys.stderr)
            return 1
    print("| line | exit code | seconds | it ends with |\n|---|---|---|---|")
    for line in lines():
        local = HUB.sub("", line)
        for each in (line, local) if local != line else (line,):
            code, seconds, ending = paste(each, bin, folder, limit_s)
            print(f"| `{each}` | {code} | {seconds:.0f} | {ending.replace('|', '/')} |", flush=True)
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("bin", type=Path, help="folder of the environment's commands")
    parser.add_argument("folder", type=Path, help="empty folder to run them in")
    parser.add_argument("--limit", type=float, default=600, metavar="SECONDS", help="of one line (default: 600)")
    given = parser.parse_args()
    sys.exit(main(given.bin.absolute(), given.folder.absolute(), given.limit))
