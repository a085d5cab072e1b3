"""Measure `v2t caption --cluster ray` against the plain command, with clips of the cartoon world.

In: sizes. Out: one row for each measure with its goal, as a table or JSON. Each is a ratio of times taken in turns
within one run, so that other load on the machine hits both sides alike:

- one machine: clips a second of `--cluster ray` against the plain command, the starter on the same cores; workers'
  and the model's start left out. Goal: at least 0.8.
- nodes: two nodes of one CPU against one, on clips that take long to decode and next to nothing to caption. Goal: 1.7.
  A node here is a number in Ray's books and no machine: where other programs leave less than two cores free, both share
  what is free, and this row measures the machine.
- waits: the same with decoders that wait half a second a clip instead of decoding, which takes no core: shows whether
  the work is placed on both nodes, not how fast this machine is. Goal: 1.7.
- cpu: where the CPU time of a clip goes on one such node, and the ratio of two nodes to one that two cores allow: with
  one node its decoder is the bound, with two both cores are full. Goal: 1.7.
- rows: growth of the pool's resident memory over simulated rows. Goal: flat.
- driver: what a whole run keeps of each row, and its peak; workers that answer at once. Goal: below 1 GB.
- resume: a run that finds everything done, against listing the folder alone. Goal: at most 2.

Example: `python scripts/bench_cluster.py rows resume`; ray is needed for the first four alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests/support")]
CAPTIONER = ROOT / "tests/support/placed_captioner.py"
WAITING_DECODER = ROOT / "tests/support/planted_decoder"
Row = dict[str, object]


def caption(
    clips: Path,
    out: Path,
    *more: str,
    env: dict[str, str] | None = None,
    on_record: Callable[[int], None] = lambda pid: None,
) -> float:
    """Clips a second of a run, from its first record to its last; `on_record` gets the run's process."""
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
    return (len(times) - skip) / (times[-1] - times[skip - 1])


def draw(folder: Path, num_clips: int, num_frames: int, side: int) -> Path:
    """Clips of noise, which take long to decode."""
    from cineloop.video.encode import encode

    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (num_frames, side, side, 3), np.uint8)
    encode(pixels, folder / "0000.mp4", fps=24)
    for number in range(1, num_clips):
        shutil.copyfile(folder / "0000.mp4", folder / f"{number:04}.mp4")
    return folder


def machine(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """`--cluster ray` on one machine against the plain command."""
    from ray_nodes import Nodes

    clips = draw(folder / "machine", args.clips, 24, 160)
    ratios = []
    options = ["--on-outside", "warn", "--batch-size", "4"]
    cluster = Nodes(os.cpu_count() or 1)
    try:
        for number in range(args.rounds):
            plain = caption(clips, folder / f"plain{number}", *options)
            placed = caption(clips, folder / f"ray{number}", *options, "--cluster", "ray", env=cluster.env)
            ratios.append(placed / plain)
    finally:
        cluster.close()
    yield {
        "measure": "clips/s, --cluster ray : plain",
        "ratio": float(np.median(ratios)),
        "all": ratios,
        "goal": ">= 0.8",
    }


def nodes(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Two nodes of one CPU against one, on clips that are bound by decoding."""
    clips = draw(folder / "nodes", args.clips, 96, 480)
    ratios = one_and_two(clips, folder, args)
    yield {"measure": "clips/s, two nodes : one", "ratio": float(np.median(ratios)), "all": ratios, "goal": ">= 1.7"}


def waits(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """As `nodes`, with decoders that wait half a second instead of decoding."""
    clips = draw(folder / "waits", args.clips, 4, 16)
    for path in clips.iterdir():
        path.rename(path.with_name(f"waits {path.name}"))
    ratios = one_and_two(clips, folder, args, WAITING_DECODER)
    yield {
        "measure": "clips/s, two nodes : one, waits instead of decoding",
        "ratio": float(np.median(ratios)),
        "all": ratios,
        "goal": ">= 1.7",
    }


def cpu(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """CPU of a clip on the cluster of one node of `nodes`, by process, from the fourth record to the last.

    Other load stretches these times, but all of them alike: the row of the bound is a ratio.
    """
    from ray_nodes import Nodes

    clips = draw(folder / "cpu", args.clips, 96, 480)
    seen: list[dict[tuple[str, int], float]] = []
    cluster = Nodes(1)
    try:
        size = ["--cluster", "ray", "--decode-workers", "1", "--model-workers", "1"]
        caption(clips, folder / "cpu out", *_colours(folder), *size, env=cluster.env,
                on_record=lambda pid: seen.append(_cpu_by_process(str(cluster.folder), pid)))  # fmt: skip
    finally:
        cluster.close()
    spent: Counter[str] = Counter()
    last = max(i for i, look in enumerate(seen) if any(what == "decoder" for what, _ in look))  # then they are ended
    for (what, pid), seconds in seen[last].items():
        spent[what] += seconds - seen[3].get((what, pid), 0.0)
    each = {what: seconds / (last - 3) for what, seconds in sorted(spent.items())}
    for what, seconds in each.items():
        yield {"measure": f"CPU ms of a clip: {what}", "ratio": 1000 * seconds, "goal": "-"}
    decoding = each["decoder"] + each["decoding worker"]
    most = min(2.0, 2 * decoding / sum(each.values()))
    yield {"measure": "clips/s, two nodes : one, at most on two cores", "ratio": most, "all": each, "goal": ">= 1.7"}


def _cpu_by_process(folder: str, driver: int) -> dict[tuple[str, int], float]:
    """CPU seconds so far of the driver and of the processes of a cluster in `folder`, by (what, process)."""
    from ray_nodes import _commands

    def fields(pid: int) -> list[str]:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

    workers = {pid: command for pid, command in _commands(folder)}
    decoding = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            parent = int(fields(int(path.parent.name))[1])
            if parent in workers and b"cineloop.video.child" in path.read_bytes():
                decoding[int(path.parent.name)] = parent
    found = {}
    for pid in {driver, *workers, *decoding}:
        what = "ray"
        if pid == driver:
            what = "driver"
        elif pid in decoding:
            what = "decoder"
        elif workers[pid].startswith("ray::RayHost"):
            what = "decoding worker" if pid in decoding.values() else "model worker"
        with contextlib.suppress(OSError):
            found[what, pid] = sum(map(int, fields(pid)[11:13])) / os.sysconf("SC_CLK_TCK")
    return found


def _colours(folder: Path) -> list[str]:
    """Options of the captioner that costs next to nothing."""
    (folder / "marks").mkdir(exist_ok=True)
    marks = f"options.marks={folder / 'marks'}"
    return ["--captioner", str(CAPTIONER), "--model", "m", "--set", marks, "--batch-size", "1"]


def one_and_two(clips: Path, folder: Path, args: argparse.Namespace, *first: Path) -> list[float]:
    """Clips a second of two nodes by those of one, in each round; `first` as of `Nodes`."""
    from ray_nodes import Nodes

    options = _colours(folder)
    ratios = []
    one, two = Nodes(1, *first), Nodes(2, *first)
    try:
        for number in range(args.rounds):
            speeds = []
            for count, cluster in ((1, one), (2, two)):
                size = ["--cluster", "ray", "--decode-workers", str(count), "--model-workers", "1"]
                out = folder / f"{clips.name}{number}-{count}"
                speeds.append(caption(clips, out, *options, *size, env=cluster.env))
            ratios.append(speeds[1] / speeds[0])
    finally:
        one.close()
        two.close()
    return ratios


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
        return _done("here")

    def call(self, handle: object, method: str, items: list, bulks: list) -> Future:
        from cineloop.cluster.node import Kept
        from v2t.backends import Output
        from v2t.long.parts import answer_fields

        if method == "decode":
            return _done([Kept((self.frames.pixels.shape, self.frames.about()), b"")])
        return _done([answer_fields(self.frames, Output(text="x" * 300, tokens=60), 0.1) for _ in items])

    def kill(self, handle: object) -> None:
        return None

    def shortage(self, ask: object) -> str:
        return ""


def _done(value: object) -> Future:
    future: Future = Future()
    future.set_result(value)
    return future


def rows(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """The memory of the pool over simulated rows: calls and answers of their true size."""
    from cineloop.cluster.pool import Ask, Pool
    from cineloop.cluster.settings import Size

    at: list[int] = []
    with Pool(AtOnce(), str, kind="model", size=Size(8, 8), ask=Ask(), limit_s=60) as pool:
        for first in range(0, args.rows, 16):
            pool.submit("ask", [("an id of some length", "/a/path/of/a/clip.mp4", n) for n in range(16)]).result()
            if first % (args.rows // 10) < 16:
                at.append(_resident_mb())
    what = f"MB more of the pool from row {args.rows // 10:,} to {args.rows:,}"
    yield {"measure": what, "ratio": at[-1] - at[1], "goal": "flat, about 0"}


def driver(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """The memory of a whole run: it lists files, plans, takes the answers, journals them and writes captions.jsonl."""
    from cineloop.cluster import ray_engine
    from cineloop.cluster.settings import ClusterConfig
    from v2t.caption import run
    from v2t.caption.settings import CaptionConfig

    clips = _files(folder / "driver", args.done)
    true, ray_engine.RayEngine = ray_engine.RayEngine, AtOnce  # type: ignore[assignment,misc]
    config = CaptionConfig(captioner=str(CAPTIONER), model="m", format=("jsonl",), cluster=ClusterConfig(engine="ray"))
    at: list[int] = []
    try:
        run.run([str(clips)], folder / "driver out", config, emit=lambda row: at.append(_resident_mb()))
    finally:
        ray_engine.RayEngine = true  # type: ignore[misc]
    each = (at[-1] - at[len(at) // 10]) * 2**20 / (0.9 * len(at))
    yield {"measure": f"bytes a row that a driver keeps, {args.done:,} rows", "ratio": each, "goal": "-"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    yield {"measure": f"a driver's peak, MB, {args.done:,} rows", "ratio": peak, "goal": "<= 1000"}


def _files(folder: Path, count: int) -> Path:
    """A folder of files that look like clips, a thousand in each subfolder."""
    for number in range(count):
        path = folder / f"{number // 1000:03}" / f"{number:06}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return folder


def resume(folder: Path, args: argparse.Namespace) -> Iterator[Row]:
    """Runs that find all clips done, against listing them: on a cluster, and with a text file for each clip."""
    from cineloop.cluster.settings import ClusterConfig
    from cineloop.discovery import discover
    from v2t.caption import run
    from v2t.caption.outputs import CaptionFolder
    from v2t.caption.settings import CaptionConfig

    clips = _files(folder / "resume", args.done)
    for engine, formats in (("ray", ("jsonl",)), ("none", ("txt", "jsonl"))):
        out = folder / f"resumed {engine}"
        config = CaptionConfig(
            captioner=str(CAPTIONER), model="m", format=formats, cluster=ClusterConfig(engine=engine)
        )
        question = run.ask(run.open_backend("m", captioner=str(CAPTIONER)), config)
        row = {"status": "ok", "caption": "x" * 200, "segments": [], "tokens": 40, "warnings": []}
        with CaptionFolder(out, formats) as opened:
            records = [(clip, {"id": clip.id, "path": clip.path, **row}) for clip in discover([str(clips)])]
            opened.save(records, question.settings_key)
            del records
        run.run([str(clips)], out, config)  # writes captions.jsonl
        pairs = [
            (_seconds(partial(discover, [str(clips)])), _seconds(partial(run.run, [str(clips)], out, config)))
            for _ in range(args.rounds)
        ]
        where = "plain" if engine == "none" else f"--cluster {engine}"
        yield {
            "measure": f"resume of {args.done:,} done, {where}, {','.join(formats)} : listing, CPU",
            "ratio": float(np.median([whole / listing for listing, whole in pairs])),
            "all": pairs,
            "goal": "<= 2" if formats == ("jsonl",) else "-",
        }


def _seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def _resident_mb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


MEASURES = {
    "machine": machine,
    "nodes": nodes,
    "waits": waits,
    "cpu": cpu,
    "rows": rows,
    "driver": driver,
    "resume": resume,
}


def main() -> None:
    """Measure, and print a row for each measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], default=list(MEASURES), help="which ones")
    parser.add_argument("--clips", type=int, default=120, help="clips of a run (default: 120)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side, in turns (default: 3)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="simulated rows (default: 1,000,000)")
    parser.add_argument("--done", type=int, default=100_000, help="clips that are done (default: 100,000)")
    parser.add_argument("--json", action="store_true", help="rows as JSON lines")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name in args.measures:
            for row in MEASURES[name](Path(folder), args):
                print(
                    json.dumps(row) if args.json else f"{row['measure']:60} {row['ratio']:>8.3g}   goal {row['goal']}"
                )
                sys.stdout.flush()


if __name__ == "__main__":
    main()
