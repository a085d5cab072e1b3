"""Measure `v2t caption --cluster ray` against the plain command, with clips of the cartoon world.

    python benchmarks/bench_cluster.py [PART ...] [--full] [--clips 120] [--rounds 3] [--rows 1000000] [--done 100000]

machine: clips a second of `--cluster ray` against the plain command, the starter on the same cores; workers' and the
    model's start left out. Goal: at least 0.8.
nodes: two nodes of one CPU against one, on clips that take long to decode and next to nothing to caption. Goal: 1.7.
    A node here is a number in Ray's books and no machine: where other programs leave less than two cores free, both
    share what is free, and this row measures the machine.
waits: the same with decoders that wait half a second a clip instead of decoding, which takes no core: shows whether
    the work is placed on both nodes, not how fast this machine is. Goal: 1.7.
cpu: where the CPU time of a clip goes on one such node, and the ratio of two nodes to one that two cores allow: with
    one node its decoder is the bound, with two both cores are full. Goal: 1.7.
rows: growth of the pool's resident memory over simulated rows. Goal: flat.
driver: what a whole run keeps of each row, and its peak; workers that answer at once. Goal: below 1 GB.
resume: a run that finds everything done, against listing the folder alone, by CPU seconds. Goal: at most 2.

The first four need ray, which takes long to start: a first answer is of the others.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from harness import ROOT, Options, Row, Size, command_of, main, processes, resident_mb, rows_of, turns

sys.path.insert(0, str(ROOT / "tests/support"))
CAPTIONER = ROOT / "tests/support/placed_captioner.py"
WAITING_DECODER = ROOT / "tests/support/planted_decoder"


def caption(
    clips: Path, out: Path, *more: str, env: dict[str, str] | None = None,
    on_record: Callable[[int], None] = lambda pid: None,
) -> float:  # fmt: skip
    """Seconds a clip of a run, from its first record to its last; `on_record` gets the run's process."""
    program = "import sys; from v2t.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [
        sys.executable,
        "-c",
        program,
        "caption",
        str(clips),
        "-o",
        str(out),
        "--json",
        "--format",
        "jsonl",
        *more,
    ]
    times: list[float] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as run:
        assert run.stdout is not None
        for line in run.stdout:
            if json.loads(line)["type"] == "record":
                times.append(time.perf_counter())
                on_record(run.pid)
    if run.returncode or len(times) < 2:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    skip = len(times) // 4  # batches that the workers began together come together
    return (times[-1] - times[skip - 1]) / (len(times) - skip)


def draw(folder: Path, num_clips: int, num_frames: int, side: int, prefix: str = "") -> Path:
    """Clips of noise, which take long to decode."""
    from cineloop.video.encode import encode

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (num_frames, side, side, 3), np.uint8)
    first = folder / f"{prefix}0000.mp4"
    encode(pixels, first, fps=24)
    for number in range(1, num_clips):
        shutil.copyfile(first, folder / f"{prefix}{number:04}.mp4")
    return folder


def paired_rows(
    part: str, sides: dict[str, Callable[[Path], float]], options: Options, folder: Path, goal: str
) -> list[Row]:
    """Rows of two sides in turns, as seconds a clip; the ratio is of their rates."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(options.rounds):
        for name, run in sides.items():
            taken[name].append(run(folder / f"{name} {number}"))
    rows = rows_of(part, taken, base=next(iter(sides)), items=1)
    rows[-1].goal = goal
    return rows


def machine(options: Options, folder: Path) -> Iterator[Row]:
    """`--cluster ray` on one machine against the plain command."""
    from ray_nodes import Nodes

    clips, given = draw(folder / "clips", options.clips, 24, 160), ["--on-outside", "warn", "--batch-size", "4"]
    cluster = Nodes(os.cpu_count() or 1)
    try:
        sides = {
            "plain": lambda out: caption(clips, out, *given),
            "--cluster ray": lambda out: caption(clips, out, *given, "--cluster", "ray", env=cluster.env),
        }
        yield from paired_rows("a clip on one machine", sides, options, folder, ">= 0.8")
    finally:
        cluster.close()


def nodes(options: Options, folder: Path) -> Iterator[Row]:
    """Two nodes of one CPU against one, on clips that are bound by decoding."""
    clips = draw(folder / "clips", options.clips, 96, 480)
    yield from one_and_two("a clip that takes long to decode", clips, options, folder)


def waits(options: Options, folder: Path) -> Iterator[Row]:
    """As `nodes`, with decoders that wait half a second instead of decoding."""
    clips = draw(folder / "clips", options.clips, 4, 16, "waits ")
    yield from one_and_two("a clip that waits half a second", clips, options, folder, WAITING_DECODER)


def one_and_two(part: str, clips: Path, options: Options, folder: Path, *first: Path) -> list[Row]:
    """Two nodes against one; `first` as of `Nodes`."""
    from ray_nodes import Nodes

    given = _colours(folder)
    one, two = Nodes(1, *first), Nodes(2, *first)
    try:
        sides = {
            name: lambda out, count=count, cluster=cluster: caption(
                clips, out, *given, "--cluster", "ray", "--decode-workers", str(count), "--model-workers", "1",
                env=cluster.env,
            )
            for name, count, cluster in (("one node", 1, one), ("two nodes", 2, two))
        }  # fmt: skip
        return paired_rows(part, sides, options, folder, ">= 1.7")
    finally:
        one.close()
        two.close()


def cpu(options: Options, folder: Path) -> Iterator[Row]:
    """CPU of a clip on the cluster of one node of `nodes`, by process, from the fourth record to the last.

    Other load stretches these times, but all of them alike: the row of the bound is a ratio.
    """
    from ray_nodes import Nodes

    clips = draw(folder / "clips", options.clips, 96, 480)
    seen: list[dict[tuple[str, int], float]] = []
    cluster = Nodes(1)
    try:
        size = ["--cluster", "ray", "--decode-workers", "1", "--model-workers", "1"]
        caption(clips, folder / "out", *_colours(folder), *size, env=cluster.env,
                on_record=lambda pid: seen.append(_cpu_by_process(str(cluster.folder), pid)))  # fmt: skip
    finally:
        cluster.close()
    spent: Counter[str] = Counter()
    last = max(i for i, look in enumerate(seen) if any(what == "decoder" for what, _ in look))  # then they are ended
    for (what, pid), seconds in seen[last].items():
        spent[what] += seconds - seen[3].get((what, pid), 0.0)
    each = {what: seconds / (last - 3) for what, seconds in sorted(spent.items())}
    decoding = each["decoder"] + each["decoding worker"]
    most = min(2.0, 2 * decoding / sum(each.values()))
    for what, seconds in each.items():
        yield Row(part="CPU of a clip", name=what, cpu_s=[seconds])
    yield Row(part="CPU of a clip", name="all", cpu_s=[sum(each.values())], goal=">= 1.7",
              figures={"rate of two nodes to one, at most on two cores": most})  # fmt: skip


def _cpu_by_process(folder: str, driver: int) -> dict[tuple[str, int], float]:
    """CPU seconds so far of the driver and of the processes of a cluster in `folder`, by (what, process)."""
    from ray_nodes import _commands

    workers, tree = dict(_commands(folder)), {driver: processes(driver)[driver]}
    for pid in workers:
        tree |= processes(pid)
    decoders = {
        pid: each.parent for pid, each in tree.items()
        if each.parent in workers and "cineloop.video.child" in command_of(pid)
    }  # fmt: skip
    cpu_s = {}
    for pid in {driver, *workers, *decoders} & tree.keys():
        what = "ray"
        if pid == driver:
            what = "driver"
        elif pid in decoders:
            what = "decoder"
        elif workers[pid].startswith("ray::RayHost"):
            what = "decoding worker" if pid in decoders.values() else "model worker"
        cpu_s[what, pid] = tree[pid].cpu_s
    return cpu_s


def _colours(folder: Path) -> list[str]:
    """Options of the captioner that costs next to nothing."""
    (folder / "marks").mkdir(exist_ok=True)
    marks = f"options.marks={folder / 'marks'}"
    return ["--captioner", str(CAPTIONER), "--model", "m", "--set", marks, "--batch-size", "1"]


class AtOnce:
    """An engine without processes, whose workers answer at once, what and as much as true ones would."""

    num_cpus, num_gpus, num_nodes = 8, 8, 8

    def __init__(self, driver: object = None) -> None:
        from cineloop.video.frames import Frames

        self.frames = Frames.from_pixels(np.zeros((16, 1, 1, 3), np.uint8), 2.0, decoder="decord")

    def __enter__(self) -> AtOnce:
        return self

    def __exit__(self, *exc: object) -> None:
        return None

    def start(self, step: object, name: str, ask: object) -> str:
        return name

    def ready(self, handle: object) -> Future:
        return _finished_future("here")

    def call(self, handle: object, method: str, items: list, bulks: list) -> Future:
        from cineloop.cluster.node import PlacedResult
        from v2t.backends import Output
        from v2t.long.items import answer_fields

        if method == "decode":
            return _finished_future([PlacedResult((self.frames.pixels.shape, self.frames.about()), b"")])
        return _finished_future([answer_fields(self.frames, Output(text="x" * 300, tokens=60), 0.1) for _ in items])

    def kill(self, handle: object) -> None:
        return None

    def shortage(self, ask: object) -> str:
        return ""


def _finished_future(value: object) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


def rows(options: Options, folder: Path) -> Iterator[Row]:
    """The memory of the pool over simulated rows: calls and answers of their true size."""
    from cineloop.cluster.pool import Ask, Pool
    from cineloop.cluster.settings import Size as Workers

    at: list[float] = []
    with Pool(AtOnce(), str, kind="model", size=Workers(8, 8), ask=Ask(), limit_s=60) as pool:
        for first in range(0, options.rows, 16):
            pool.submit("ask", [("an id of some length", "/a/path/of/a/clip.mp4", n) for n in range(16)]).result()
            if first % (options.rows // 10) < 16:
                at.append(resident_mb())
    name = f"from row {options.rows // 10:,} to {options.rows:,}"
    yield Row(part="the pool's memory", name=name, figures={"MB more": at[-1] - at[1]}, goal="flat, about 0")


def _config(formats: tuple[str, ...], engine: str) -> Any:
    from cineloop.cluster.settings import ClusterConfig
    from v2t.caption.settings import CaptionConfig

    return CaptionConfig(captioner=str(CAPTIONER), model="m", format=formats, cluster=ClusterConfig(engine=engine))


def driver(options: Options, folder: Path) -> Iterator[Row]:
    """The memory of a whole run: it lists files, plans, takes the answers, journals them and writes captions.jsonl."""
    from cineloop.cluster import ray_engine
    from v2t.caption import run

    clips = _files(folder / "clips", options.done)
    true, ray_engine.RayEngine = ray_engine.RayEngine, AtOnce  # type: ignore[assignment,misc]
    at: list[float] = []
    try:
        run.run([str(clips)], folder / "out", _config(("jsonl",), "ray"), emit=lambda row: at.append(resident_mb()))
    finally:
        ray_engine.RayEngine = true  # type: ignore[misc]
    each = (at[-1] - at[len(at) // 10]) * 2**20 / (0.9 * len(at))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    yield Row(part="a driver's memory", name=f"{options.done:,} rows", goal="peak <= 1000",
              figures={"bytes a row kept": each, "peak, MB": peak})  # fmt: skip


def _files(folder: Path, count: int) -> Path:
    """A folder of files that look like clips, a thousand in each subfolder."""
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def resume(options: Options, folder: Path) -> Iterator[Row]:
    """Runs that find all clips done, against listing them: on a cluster, and with a text file for each clip."""
    from cineloop.discovery import discover
    from v2t.caption import run
    from v2t.caption.outputs import CaptionFolder
    from v2t.long.items import WorkItem

    clips = str(_files(folder / "clips", options.done))
    for engine, formats in (("ray", ("jsonl",)), ("none", ("txt", "jsonl"))):
        out, config = folder / f"resumed {engine}", _config(formats, engine)
        question = run.ask(run.open_backend("m", captioner=str(CAPTIONER)), config)
        row = {"status": "ok", "caption": "x" * 200, "segments": [], "tokens": 40, "warnings": []}
        with CaptionFolder(out, formats) as opened:
            records = [WorkItem(clip, answer={"id": clip.id, "path": clip.path, **row}) for clip in discover([clips])]
            opened.write(records, question.settings_key)
            del records
        where = "plain" if engine == "none" else f"--cluster {engine}"
        runs = {
            "listing": lambda: len(discover([clips])),
            f"{where}, {','.join(formats)}": lambda out=out, config=config: run.run([clips], out, config) is None,
        }
        # The first run, which is not measured, writes captions.jsonl.
        rows = turns(f"resume of {options.done:,} done, {where}", runs, options.rounds, base="listing")
        rows[1].goal = "CPU ratio <= 2" if formats == ("jsonl",) else ""
        rows[1].figures = {"CPU us a clip": 1e6 * median(rows[1].cpu_s) / options.done}
        yield from rows


if __name__ == "__main__":
    sizes = (
        Size("clips", 24, 120, "clips of a run"),
        Size("rows", 100_000, 1_000_000, "simulated rows"),
        Size("done", 10_000, 100_000, "clips that are done"),
    )
    parts = {
        "machine": machine, "nodes": nodes, "waits": waits, "cpu": cpu, "rows": rows, "driver": driver,
        "resume": resume,
    }  # fmt: skip
    sys.exit(main(__doc__, parts, *sizes, rounds=(1, 3), first=("rows", "driver", "resume")))
