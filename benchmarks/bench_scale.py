"""What reading, merging and resuming cost with many clips: CPU seconds and memory by rows.

    python benchmarks/bench_scale.py [--full] [--rows 10000,100000] [--shards 16] [--listing 100000] [--decode 20]

Writes journals of shards with synthetic records as large as those of the bundled captioner, then measures, each in a
process of its own: `ledger` (reading all journals), `status` (`v2t cluster status`), `merge` (`v2t merge` into one
journal and captions.jsonl), `again` (a second merge, which finds nothing new), `resume` (opening the merged folder and
deciding that nothing is left); `listing` finds and sorts that many files; `decode` reads 16 frames of ten-second clips
of 240 and 720 lines. CPU seconds and memory are less those of a process that only imports.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

from bench_decode import moving
from harness import Options, Row, Size, main

SOURCE = {"size": 123456, "mtime_ns": 1_700_000_000_000_000_000, "content": "0" * 24}
MB = 1_000_000


def clips(rows: int) -> Iterator:
    """The clips of a folder with subfolders of a thousand."""
    from cineloop.clip import Clip

    for number in range(rows):
        name = f"part-{number // 1000:05}/clip-{number:09}.mp4"
        yield Clip(name, name, f"/clips/{name}", SOURCE["size"], SOURCE["mtime_ns"])  # type: ignore[arg-type]


def write(output: Path, rows: int, shards: int) -> int:
    """Write the journals; returns their bytes."""
    from cineloop.journal import encode_entry
    from v2t.caption.ledger import clip_entry, run_entry
    from v2t.caption.shards import shard_of

    with ExitStack() as stack:
        files = []
        for index in range(1, shards + 1):
            place = output / ".v2t" / f"shard-{index}-of-{shards}"
            place.mkdir(parents=True)
            (place / "config.yaml").write_text("format: [jsonl]\n")
            files.append(stack.enter_context(open(place / "journal.jsonl", "wb")))
            files[-1].write(encode_entry({"kind": "settings", "key": "k" * 24, "values": {"model": "m"}}))
            files[-1].write(encode_entry(run_entry(listed=rows, clips=rows // shards)))
        for number, clip in enumerate(clips(rows)):
            record = {
                "id": clip.id, "path": clip.path, "status": "ok",
                "caption": "A small red fox runs to the right on a beach while a large blue ball rolls to the left.",
                "segments": [], "model": "cineloop-starter", "revision": "0" * 12, "style": "short",
                "prompt_sha": "0" * 24, "decoder": "decord", "frame_times_s": [round(i * 0.1875, 4) for i in range(16)],
                "duration_s": 3.0, "tokens": 21, "seconds": 0.0312, "warnings": [], "error": None,
            }  # fmt: skip
            entry = clip_entry(record, "k" * 24, {**SOURCE, "file": clip.file}, {}, {}, 1000.0 + number)
            files[shard_of(clip.id, shards) - 1].write(encode_entry(entry))
    return sum(path.stat().st_size for path in output.rglob("journal.jsonl"))


# --- steps: each does its work in `output` and fails where it did not find `rows` rows
def ledger(output: Path, rows: int) -> None:
    """Read every journal."""
    from cineloop.journal import Journal
    from v2t.caption.ledger import Ledger
    from v2t.caption.shards import journals

    lines = []
    for path in journals(output):
        with Journal(path, writable=False) as journal:
            lines.append(Ledger(journal))
    assert sum(len(each.known) for each in lines) == rows


def status(output: Path, rows: int) -> None:
    """As `v2t cluster status`."""
    from v2t.caption.status import status_of

    assert status_of(output).done == rows


def merge(output: Path, rows: int) -> None:
    """As `v2t merge`."""
    from v2t.caption.merge import merge as join

    assert join([output], formats=("jsonl",)).clips == rows


def resume(output: Path, rows: int) -> None:
    """A run that finds nothing to do."""
    from v2t.caption.outputs import CaptionFolder

    listed = list(clips(rows))
    with CaptionFolder(output, ("jsonl",)) as folder:
        folder.register(listed)
        assert all(folder.status(clip, "k" * 24) == "done" for clip in listed)


def listing(output: Path, rows: int) -> None:
    """Find the files of a folder."""
    from cineloop.discovery import discover

    assert len(discover([str(output)])) == rows


def decode(clip: Path, count: int) -> None:
    """16 uniform frames, many times, with all threads counted."""
    from cineloop.video.decode import Request
    from cineloop.video.decode import decode as read
    from cineloop.video.sample import SampleSpec

    for _ in range(count):
        read(os.fsencode(clip), Request(spec=SampleSpec(num_frames=16)))


Step = Callable[[Path, int], None]


def alone(step: Step, output: Path, rows: int, memory_gb: float) -> tuple[float, float]:
    """CPU seconds of a step and the MB it takes, in the process that calls this."""
    import v2t.caption.merge
    import v2t.caption.status  # noqa: F401

    limit = int(memory_gb * 1e9)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    step(output, rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return time.process_time() - before, (peak - memory) * 1024 / MB


def measure_step(part: str, name: str, step: Step, output: Path, rows: int, options: Options) -> Row:
    """A step in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        cpu_s, mb = process.submit(alone, step, output, rows, options.memory_gb).result()
    return Row(part=part, name=name, cpu_s=[cpu_s], figures={"CPU us each": cpu_s / rows * 1e6, "MB": mb})


def folders(options: Options, folder: Path) -> Iterator[Row]:
    """All that is done with journals of so many rows."""
    steps = {"ledger": ledger, "status": status, "merge": merge, "again": merge, "resume": resume}
    for rows in map(int, options.rows.split(",")):
        taken: dict[str, Row] = {}
        for number in range(options.rounds):
            output = folder / f"{rows}-{number}"
            size = write(output, rows, options.shards)
            part = f"{rows:,} rows in {options.shards} journals, {size / rows:.0f} bytes a row"
            for name, step in steps.items():
                row = measure_step(part, name, step, output, rows, options)
                taken.setdefault(name, row).cpu_s += row.cpu_s[: number > 0]
        yield from taken.values()


def files(options: Options, folder: Path) -> Iterator[Row]:
    """Listing a folder."""
    if options.listing:
        for clip in clips(options.listing):
            path = folder / clip.path
            path.parent.mkdir(exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        yield measure_step(f"{options.listing:,} files", "listing", listing, folder, options.listing, options)


def reading(options: Options, folder: Path) -> Iterator[Row]:
    """Decoding clips of two sizes."""
    from cineloop.video.encode import encode

    for height in (240, 720) if options.decode else ():
        path = folder / f"{height}.mp4"
        encode(moving(height, height * 16 // 9 // 2 * 2, 300, seed=0), path, Fraction(30))  # ten seconds
        name = f"decode, {height} lines"
        yield measure_step(f"{options.decode} clips", name, decode, path, options.decode, options)


def flags(parser: argparse.ArgumentParser) -> None:
    """What is no size."""
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--memory-gb", type=float, default=6.0, help="limit of each step")


if __name__ == "__main__":
    sizes = (
        Size("rows", "10000", "10000,100000", "of journals"),
        Size("listing", 20_000, 100_000, "files of the listing; 0 leaves it out"),
        Size("decode", 4, 20, "reads of each clip; 0 leaves it out"),
    )
    parts = {"folders": folders, "files": files, "reading": reading}
    sys.exit(main(__doc__, parts, *sizes, rounds=(1, 1), more=flags))
