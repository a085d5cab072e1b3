"""What a gate over 100 clips costs, and what the second run costs; each against a named baseline.

    python scripts/bench_gate.py [--clips 100] [--folder clips/] [--suite gate] [--skip-alone]

first: `v2t-eval gate init`, from nothing (imports, models, decoding, six metrics with the judge).
second: `v2t-eval gate` against that baseline, with the first's evidence.
alone: `v2t-eval score` for each metric by itself, nothing kept: the way without an engine.

Each is a process of its own. The clips are drawn by the cartoon world (17 frames of 64 x 64, one figure each), or are
those of --folder. Seconds are of the clock and of the processor (the process and its children); on a machine that is
busy with other work the second is what counts.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cineloop.errors import EXIT_GATE_FAILED, EXIT_INCONCLUSIVE, EXIT_OK  # noqa: E402
from cineloop.manifest import write_manifest  # noqa: E402
from v2t_eval.inputs import read_inputs  # noqa: E402
from v2t_eval.suite import read_suite  # noqa: E402

Seconds = dict[str, float]  # by the clock, of the processor
VERDICTS = (EXIT_OK, EXIT_GATE_FAILED, EXIT_INCONCLUSIVE)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--folder", type=Path, help="clips with a manifest, instead of drawing some")
    parser.add_argument("--suite", type=Path, default=Path("gate"))
    parser.add_argument("--skip-alone", action="store_true", help="leave out the slow comparison")
    parser.add_argument("--json", action="store_true", help="figures as JSON on stdout")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-gate-") as name:
        scratch = Path(name)
        folder = options.folder or drawn(scratch / "clips", options.clips)
        found = measured(folder, options.suite, scratch, alone=not options.skip_alone)
    report(found)
    if options.json:
        print(json.dumps(found))


def drawn(folder: Path, num: int) -> Path:
    """A folder of so many clips of the world, each with the prompt it shows."""
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


def measured(folder: Path, suite: Path, scratch: Path, *, alone: bool) -> dict[str, Any]:
    """Seconds of every part."""
    titles = [metric.title for metric in read_suite(suite).metrics]
    load, num = os.getloadavg()[0], len(read_inputs(folder).samples)
    given = (str(folder), "--suite", str(suite), "--cache", str(scratch / "cache"), "-o")
    baseline = str(scratch / "baseline.json")
    seconds = {
        "first": command("gate", "init", *given, baseline, "--workers", "1"),
        "second": command("gate", *given, str(scratch / "two"), "--baseline", baseline),
    }
    by_metric = {}
    for title in titles if alone else ():
        by_metric[title] = command("score", str(folder), "--metrics", title, "-o", str(scratch / f"alone-{title}"))
    if alone:
        seconds["alone"] = {key: sum(one[key] for one in by_metric.values()) for key in ("clock", "processor")}
    return {
        "clips": num, "metrics": titles, "seconds": seconds, "alone": by_metric,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} to {os.getloadavg()[0]:.1f}",
        "ratios": {
            name: {key: seconds[over][key] / seconds[under][key] for key in ("clock", "processor")}
            for name, over, under in (("first / second", "first", "second"), ("alone / first", "alone", "first"))
            if over in seconds
        },
    }  # fmt: skip


def command(*words: str) -> Seconds:
    """Seconds of a run of `v2t-eval`; ends the script where it did not end with a verdict."""
    call = [sys.executable, "-c", "import sys; from v2t_eval.cli import main; sys.exit(main())", *words, "-q"]
    began = time.perf_counter()
    before = _children_s()
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in VERDICTS:
        sys.exit(f"v2t-eval {' '.join(words)} ended with {done.returncode}: {done.stderr[-2000:]}")
    return {"clock": time.perf_counter() - began, "processor": _children_s() - before}


def _children_s() -> float:
    spent = os.times()
    return spent.children_user + spent.children_system


def report(found: dict[str, Any]) -> None:
    """The figures, for people."""

    def line(name: str, seconds: Seconds) -> str:
        return f"  {name}: {seconds['clock']:.2f} s, {seconds['processor']:.2f} s of the processor"

    print(f"{found['clips']} clips by {', '.join(found['metrics'])}; {found['machine']}", file=sys.stderr)
    for part in ("seconds", "alone"):
        if found[part]:
            print(f"{part}:", *(line(name, one) for name, one in found[part].items()), sep="\n", file=sys.stderr)
    for name, ratio in found["ratios"].items():
        print(f"{name}: {ratio['clock']:.1f} by the clock, {ratio['processor']:.1f} of the processor", file=sys.stderr)


if __name__ == "__main__":
    main()
