"""Does captioning a film cost the same per minute, and the same memory, however long it is?

    python benchmarks/bench_long.py [--full] [--minutes 5 60] [--size 128] [--parts segment:8] [--model starter]

Draws films of the cartoon world (12 frames a second, scenes cut every few seconds), runs `v2t caption --parts ...` on
each in a process of its own. Times are of a minute of film, from the first parts to the last (the start and the loading
of the model left out); the peak is of resident memory, child processes included. The goal is memory within 1.10 and
time within 1.15 of the shortest film's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from harness import ROOT, Options, Row, Size, Watch, main, rows_of

FPS = 12


def draw(path: Path, minutes: float, size: int) -> int:
    """Write a film; returns its number of scenes."""
    from cineloop.video.encode import encode
    from cineloop.world.scenes.render import render_film
    from cineloop.world.scenes.sampler import sample_scene

    scene = sample_scene("seen", 5, round(10 * minutes), seconds=(60 * minutes, 60 * minutes))
    encode(render_film(scene, (size, size), FPS), path, FPS)
    return len(scene.shots)


def caption(film: Path, minutes: float, options: Options) -> dict[str, float]:
    """Caption one film; returns the figures."""
    with tempfile.TemporaryDirectory() as out, tempfile.TemporaryFile() as output:
        command = [sys.executable, "-c", "import sys; from v2t.cli import main; sys.exit(main())", "caption", str(film)]
        command += ["-o", out, "--parts", options.parts_of, "--model", options.model, "--style", options.style]
        command += ["--batch-size", str(options.batch_size), "--json", "--workers", "1", "--quiet"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", "")}
        process = subprocess.Popen(command, stdout=output, env=environment)
        watch = Watch(process.pid)
        watch.start()
        journal, marks = Path(out) / ".v2t" / "journal.jsonl", []
        while process.poll() is None:
            time.sleep(0.1)
            done = journal.read_bytes().count(b'"kind":"part"') if journal.exists() else 0
            if done and (not marks or done > marks[-1][0]):
                marks = [*marks[:1], (done, time.monotonic(), watch.cpu_s)]
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
        "wall_s": (ended - began) / rest, "cpu_s": (cpu_after - cpu_before) / rest, "parts": summary["parts"],
        "peak, MiB": watch.peak / 2**20, "model, s a minute": summary["seconds_by_activity"]["model"] / minutes,
    }  # fmt: skip


def films(options: Options, folder: Path) -> Iterator[Row]:
    """A row a film, the shortest first."""
    lengths = {f"{minutes:g} min": minutes for minutes in sorted(options.minutes)}
    scenes = {name: draw(folder / f"{name}.mp4", minutes, options.size) for name, minutes in lengths.items()}
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in lengths}
    for _ in range(options.rounds):
        for name, minutes in lengths.items():
            taken[name].append(caption(folder / f"{name}.mp4", minutes, options))
    seconds = [{name: [one[clock] for one in each] for name, each in taken.items()} for clock in ("wall_s", "cpu_s")]
    rows = rows_of("a minute of film", *seconds, base=next(iter(lengths)))
    for row in rows:
        row.figures = {"scenes": scenes[row.name]}
        row.figures |= {key: value for key, value in taken[row.name][-1].items() if not key.endswith("_s")}
        row.figures["peak to the shortest's"] = row.figures["peak, MiB"] / rows[0].figures["peak, MiB"]
    rows[-1].goal = "time <= 1.15, peak <= 1.10"
    yield from rows


def flags(parser: argparse.ArgumentParser) -> None:
    """What is no size."""
    parser.add_argument("--parts", dest="parts_of", default="segment:8")
    parser.add_argument("--style", default="short")
    parser.add_argument("--model", default="starter")


if __name__ == "__main__":
    sizes = Size("minutes", (1.0, 4.0), (5.0, 60.0), "lengths of films"), Size("size", 96, 128, "pixels a side")
    batch = Size("batch_size", 4, 32, "parts captioned together; the first batch is not timed")
    sys.exit(main(__doc__, {"films": films}, *sizes, batch, rounds=(1, 1), more=flags))
