"""What a gate over 100 clips costs, and what the second run costs; each against a named baseline.

    python benchmarks/bench_gate.py [--full] [--clips 100] [--folder clips/] [--suite gate] [--no-alone]

first: `v2t-eval gate init`, from nothing (imports, models, decoding, six metrics with the judge).
second: `v2t-eval gate` against that baseline, with the first's evidence.
alone: `v2t-eval score` for each metric by itself, nothing kept: the way without an engine (with --full).

Each is a process of its own. The clips are drawn by the cartoon world (17 frames of 64 x 64, one figure each), or are
those of --folder.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from harness import ROOT, Options, Row, Size, Stopwatch, main, rows_of


def draw_clips(folder: Path, num: int) -> Path:
    """A folder of so many clips of the world, each with the prompt it shows."""
    from cineloop.manifest import write_manifest
    from cineloop.video.encode import encode
    from cineloop.world.scenes.render import render
    from cineloop.world.scenes.solo import FPS, prompt, sample_solo

    rows = []
    folder.mkdir()
    for index in range(num):
        scene = sample_solo("seen", 2026, index)
        encode(render(scene, (64, 64), fps=FPS), folder / f"{index:04}.mp4", fps=FPS)
        text = prompt(scene.facts(), random.Random(index))
        rows.append({"id": f"{index:04}", "path": f"{index:04}.mp4", "prompt": text})
    write_manifest(rows, folder / "manifest.jsonl")
    return folder


def command(*words: str) -> tuple[float, float]:
    """Seconds of a run of `v2t-eval`, by the clock and of the processor.

    Raises:
        SystemExit: it did not end with a verdict.
    """
    from cineloop.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK

    call = [sys.executable, "-c", "import sys; from v2t_eval.cli import main; sys.exit(main())", *words, "-q"]
    watch = Stopwatch()
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (EXIT_OK, EXIT_GATE_FAILED, EXIT_INCONCLUSIVE):
        raise SystemExit(f"v2t-eval {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return watch.read()


def gate(options: Options, folder: Path) -> Iterator[Row]:
    """First and second run; each metric alone."""
    from v2t_eval.core.inputs import read_inputs
    from v2t_eval.suites.suite import read_suite

    clips = options.folder or draw_clips(folder / "clips", options.clips)
    titles = [metric.title for metric in read_suite(options.suite).metrics]
    taken: dict[str, list[tuple[float, float]]] = {}
    for number in range(options.rounds):
        place = folder / str(number)
        given = (str(clips), "--suite", str(options.suite), "--cache", str(place / "cache"), "-o")
        baseline = str(place / "baseline.json")
        place.mkdir()
        taken.setdefault("first", []).append(command("gate", "init", *given, baseline, "--workers", "1"))
        taken.setdefault("second", []).append(command("gate", *given, str(place / "two"), "--baseline", baseline))
        if options.alone:
            each = {
                title: command("score", str(clips), "--metrics", title, "-o", str(place / f"alone-{title}"))
                for title in titles
            }
            taken.setdefault("alone, all", []).append(tuple(map(sum, zip(*each.values(), strict=True))))
            for title, seconds in each.items():
                taken.setdefault(f"alone, {title}", []).append(seconds)
    seconds = [{name: [one[i] for one in each] for name, each in taken.items()} for i in (0, 1)]
    num = len(read_inputs(clips).samples)
    yield from rows_of(f"{num} clips by {', '.join(titles)}", *seconds, base="first")


def flags(parser: argparse.ArgumentParser) -> None:
    """What is no size."""
    parser.add_argument("--folder", type=Path, help="clips with a manifest, instead of drawing some")
    parser.add_argument("--suite", type=Path, default=Path("gate"))


if __name__ == "__main__":
    sizes = Size("clips", 24, 100), Size("alone", False, True, "each metric by itself, too")
    sys.exit(main(__doc__, {"gate": gate}, *sizes, rounds=(1, 1), more=flags))
