"""Does captioning a film cost the same per minute, and the same memory, however long it is?

    python scripts/bench_long.py [--minutes 5 60] [--size 128] [--parts segment:8] [--model starter] [--json]

Draws films of the cartoon world (12 frames a second, scenes cut every few seconds), runs `v2t caption --parts ...` on
each in a process of its own, and prints for each: the peak of resident memory, child processes included (looked at
five times a second), seconds and CPU seconds per minute of film from the first parts to the last (the start and the
loading of the model left out), and the ratios of the longest to the shortest. The goal is memory within 1.10 and time
within 1.15.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.video.encode import encode  # noqa: E402
from cineloop.world.scenes.render import render_film  # noqa: E402
from cineloop.world.scenes.sampler import sample_scene  # noqa: E402

FPS = 12
_PAGE = os.sysconf("SC_PAGE_SIZE")
_TICK = os.sysconf("SC_CLK_TCK")


def draw(path: Path, minutes: float, size: int) -> int:
    """Write a film; returns its number of scenes."""
    scene = sample_scene("seen", 5, round(10 * minutes), seconds=(60 * minutes, 60 * minutes))
    encode(render_film(scene, (size, size), FPS), path, FPS)
    return len(scene.shots)


class Watch(threading.Thread):
    """Looks at a process and all below it: `peak` bytes resident together, `cpu_s` when last seen, by process."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.cpu_s = pid, 0, {}
        self.over = threading.Event()

    def run(self) -> None:
        """Until the other end is over."""
        while not self.over.wait(0.2):
            seen = [found for pid in self._tree() if (found := self._look(pid)) is not None]
            self.peak = max(self.peak, sum(seen))

    def _tree(self) -> list[int]:
        parents: dict[int, list[int]] = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                stat = Path(f"/proc/{name}/stat").read_text().rsplit(")", 1)[1].split()
            except (OSError, IndexError):
                continue
            parents.setdefault(int(stat[1]), []).append(int(name))
        tree = [self.pid]
        for pid in tree:
            tree += parents.get(pid, [])
        return tree

    def _look(self, pid: int) -> int | None:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except (OSError, IndexError):
            return None
        self.cpu_s[pid] = (int(stat[11]) + int(stat[12])) / _TICK
        return int(stat[21]) * _PAGE


def measure(film: Path, minutes: float, arguments: argparse.Namespace) -> dict[str, float]:
    """Caption one film; returns the figures."""
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryFile() as output:
        command = [sys.executable, "-c", "import sys; from v2t.cli import main; sys.exit(main())", "caption", str(film)]
        command += ["-o", out, "--parts", arguments.parts, "--model", arguments.model, "--style", arguments.style]
        command += ["--json", "--workers", "1", "--quiet"]
        root = str(Path(__file__).resolve().parents[1])
        environment = {**os.environ, "PYTHONPATH": root + os.pathsep + os.environ.get("PYTHONPATH", "")}
        process = subprocess.Popen(command, stdout=output, env=environment)
        watch = Watch(process.pid)
        watch.start()
        journal, marks = Path(out) / ".v2t" / "journal.jsonl", []
        while process.poll() is None:
            time.sleep(0.1)
            done = journal.read_bytes().count(b'"kind":"part"') if journal.exists() else 0
            if done and (not marks or done > marks[-1][0]):
                marks = [*marks[:1], (done, time.monotonic(), sum(watch.cpu_s.values()))]
        output.seek(0)
        lines = output.read().splitlines()
        watch.over.set()
        watch.join()
    if process.returncode != 0:
        raise SystemExit(f"v2t caption ended with {process.returncode}")
    if len(marks) < 2:
        raise SystemExit(f"a film of {minutes:g} minutes is too short to be measured: it is one batch")
    summary = json.loads(lines[-1])
    (first, began, cpu_before), (last, ended, cpu_after) = marks[0], marks[-1]
    rest = minutes * (last - first) / summary["parts"]  # minutes of film captioned while the clock ran
    return {
        "minutes": minutes,
        "parts": summary["parts"],
        "peak_mib": round(watch.peak / 2**20, 1),
        "seconds_per_minute": round((ended - began) / rest, 3),
        "cpu_s_per_minute": round((cpu_after - cpu_before) / rest, 3),
        "model_s_per_minute": round(summary["seconds_by_activity"]["model"] / minutes, 3),
    }


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 60])
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--parts", default="segment:8")
    parser.add_argument("--style", default="short")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for minutes in sorted(arguments.minutes):
            film = Path(folder) / f"{minutes:g}.mp4"
            scenes = draw(film, minutes, arguments.size)
            rows.append({**measure(film, minutes, arguments), "scenes": scenes})
            if not arguments.json:
                row = rows[-1]
                print(
                    f"{minutes:g} min, {scenes} scenes, {row['parts']} parts: peak {row['peak_mib']:.0f} MiB, "
                    f"{row['seconds_per_minute']:.2f} s and {row['cpu_s_per_minute']:.2f} CPU s per minute of film",
                    flush=True,
                )
    ratios = {
        name: round(rows[-1][name] / rows[0][name], 3)
        for name in ("peak_mib", "seconds_per_minute", "cpu_s_per_minute")
    }
    if arguments.json:
        print(json.dumps({"films": rows, "ratios": ratios, "parts": arguments.parts, "model": arguments.model}))
        return
    print("longest over shortest: " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in ratios.items()))


if __name__ == "__main__":
    main()
