"""What a gate over 100 clips costs, where the time goes, and what the second run costs; each against a named baseline.

    python scripts/bench_gate.py [--clips 100] [--folder clips/] [--suite gate] [--skip-alone]

first: what `v2t-eval gate` does, from nothing (imports, models, decoding, six metrics with the judge, reports), and
    where its time goes.
second: `v2t-eval gate` as its own process against the baseline of the first, with the first's evidence.
alone: `v2t-eval score` for each metric by itself, one process each and nothing kept: the way without an engine.

The clips are drawn by the cartoon world (17 frames of 64 x 64, one figure each), or are those of --folder. Seconds are
of the clock and of the processor (the process and its children); on a machine that is busy with other work the second
is what counts: on two idle cores the clock shows little more than it. One process measures and another decodes.
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
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
    load = os.getloadavg()[0]
    num, where = first_run(folder, suite, scratch)
    seconds = {"first": where.pop("whole")}
    seconds["second"] = command("gate", str(folder), "--suite", str(suite), "--cache", str(scratch / "cache"), "-o",
                                str(scratch / "two"), "--baseline", str(scratch / "baseline.json"))  # fmt: skip
    by_metric = {}
    for title in titles if alone else ():
        by_metric[title] = command("score", str(folder), "--metrics", title, "-o", str(scratch / f"alone-{title}"))
    if alone:
        seconds["alone"] = {key: sum(one[key] for one in by_metric.values()) for key in ("clock", "processor")}
    return {
        "clips": num, "metrics": titles, "seconds": seconds, "alone": by_metric, "where": where,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f} to {os.getloadavg()[0]:.1f}",
        "ratios": {
            name: {key: seconds[over][key] / seconds[under][key] for key in ("clock", "processor")}
            for name, over, under in (("first / second", "first", "second"), ("alone / first", "alone", "first"))
            if over in seconds
        },
    }  # fmt: skip


def command(*words: str) -> Seconds:
    """Seconds of a run of `v2t-eval`.

    Raises:
        SystemExit: it did not end with a verdict.
    """
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


def first_run(folder: Path, suite: Path, scratch: Path) -> tuple[int, dict[str, Seconds]]:
    """Number of clips, and seconds of each part of what `v2t-eval gate` does, in this process and from nothing; leaves
    the evidence and a baseline."""
    clock = Stopwatch()
    part, timed = clock.part, clock.timed
    children = _children_s()
    with part("whole"):
        with part("imports"):
            import torch  # noqa: F401
            import transformers  # noqa: F401

            from v2t_eval.gate.baseline import baseline_of
            from v2t_eval.gate.baseline import write as write_baseline
            from v2t_eval.gate.report import document
            from v2t_eval.gate.run import gate, plain_policy
            from v2t_eval.measure import Engine
            from v2t_eval.report import page, write
            from v2t_eval.score import ScoreConfig, score
        asked, inputs = read_suite(suite), read_inputs(folder)
        for metric in asked.metrics:
            metric.prepare = timed("models", metric.prepare)  # type: ignore[method-assign]
            metric.measure = timed(metric.title, metric.measure)  # type: ignore[method-assign]
        finish = Engine.finish
        Engine.finish = timed("clips", finish)  # type: ignore[method-assign]
        try:
            scores = score(inputs, asked.metrics, ScoreConfig(workers=1, cache=scratch / "cache", is_suite=True))
        finally:
            Engine.finish = finish  # type: ignore[method-assign]
        if asked.policy is None:
            sys.exit(f"{suite} has no gate")
        with part("verdict"):
            kept = baseline_of(scores, asked.name, plain_policy(asked.policy))
            write_baseline(kept, scratch / "baseline.json")
            verdict = gate(scores, asked.policy, baseline=kept)
        with part("reports"):
            (scratch / "one").mkdir()
            write(scores, scratch / "one", inputs.clips_root)
            page.render(document(verdict, inputs.clips_root), scratch / "one")
    return len(inputs.samples), parts_of(
        clock.spent, [metric.title for metric in asked.metrics], _children_s() - children
    )


def parts_of(spent: dict[str, Seconds], metrics: list[str], decoder_s: float) -> dict[str, Seconds]:
    """The parts with what none of them covers. The decoder works ahead in a process of its own, so that what is waited
    for is what the metrics do not cover."""
    both = ("clock", "processor")
    clips = spent.pop("clips")
    spent["waiting for frames"] = {key: clips[key] - sum(spent[title][key] for title in metrics) for key in both}
    parts = [name for name in spent if name != "whole"]
    spent["the rest"] = {key: spent["whole"][key] - sum(spent[name][key] for name in parts) for key in both}
    spent["the decoder's process"] = {"clock": 0.0, "processor": decoder_s}
    spent["whole"]["processor"] += decoder_s
    return dict(spent)


class Stopwatch:
    """Seconds by part; a part that comes again is added to."""

    def __init__(self) -> None:
        self.spent: dict[str, Seconds] = defaultdict(lambda: {"clock": 0.0, "processor": 0.0})

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what is done within."""
        clock, processor = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.spent[name]["clock"] += time.perf_counter() - clock
            self.spent[name]["processor"] += time.process_time() - processor

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """`work`, counted."""

        def run(*args: Any, **kwargs: Any) -> Any:
            with self.part(name):
                return work(*args, **kwargs)

        return run


def report(found: dict[str, Any]) -> None:
    """The figures, for people."""

    def line(name: str, seconds: Seconds) -> str:
        return f"  {name}: {seconds['clock']:.2f} s, {seconds['processor']:.2f} s of the processor"

    print(f"{found['clips']} clips by {', '.join(found['metrics'])}; {found['machine']}", file=sys.stderr)
    for part in ("seconds", "alone", "where"):
        if found[part]:
            print(f"{part}:", *(line(name, one) for name, one in found[part].items()), sep="\n", file=sys.stderr)
    for name, ratio in found["ratios"].items():
        print(f"{name}: {ratio['clock']:.1f} by the clock, {ratio['processor']:.1f} of the processor", file=sys.stderr)


if __name__ == "__main__":
    main()
