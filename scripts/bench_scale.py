"""What reading, merging and resuming cost with many clips: CPU seconds and memory by rows.

    python scripts/bench_scale.py [--rows 10000,100000] [--shards 16] [--listing 100000] [--decode 20] [--json FILE]

Writes journals of shards with synthetic records as large as those of the bundled captioner, then measures, each in a
process of its own: `ledger` (reading all journals), `status` (`v2t cluster status`), `merge` (`v2t merge` into one
journal and captions.jsonl), `again` (a second merge, which finds nothing new), `resume` (opening the merged folder and
deciding that nothing is left); `listing` finds and sorts that many files; `decode` reads 16 frames of ten-second clips
of 240 and 720 lines. CPU seconds: wall seconds mean nothing on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.clip import Clip  # noqa: E402

SOURCE = {"size": 123456, "mtime_ns": 1_700_000_000_000_000_000, "content": "0" * 24}
MB = 1_000_000


def clips(rows: int) -> Iterator[Clip]:
    """The clips of a folder with subfolders of a thousand."""
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


def ledger(output: Path, rows: int) -> None:
    """Read every journal."""
    from cineloop.journal import Journal
    from v2t.caption.ledger import Ledger
    from v2t.caption.shards import journals

    found = []
    for path in journals(output):
        with Journal(path, writable=False) as journal:
            found.append(Ledger(journal))
    assert sum(len(each.known) for each in found) == rows


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
        folder.sidecar_paths(listed)
        assert all(folder.state(clip, "k" * 24) == "done" for clip in listed)


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


def write_clip(path: Path, height: int) -> None:
    """Ten seconds at 30 frames a second of a drifting texture."""
    import numpy as np

    from cineloop.video.encode import encode

    small = np.random.default_rng(0).integers(0, 256, (height // 8 + 40, height // 4 + 80, 3), dtype=np.uint8)
    ground = small.repeat(8, axis=0).repeat(8, axis=1)
    width = height * 16 // 9 // 2 * 2
    frames = np.stack([ground[i : i + height, 2 * i % 300 : 2 * i % 300 + width] for i in range(300)])
    encode(frames, path, 30)


STEPS = {
    "decode": decode,
    "ledger": ledger,
    "status": status,
    "merge": merge,
    "again": merge,
    "resume": resume,
    "listing": listing,
}


def measure(step: str, output: Path, rows: int, memory_gb: float) -> dict[str, float]:
    """CPU seconds and peak memory of one step, less those of a process that only imports."""
    words = [sys.executable, __file__, "--step", step, "--rows", str(rows), "--place", str(output)]
    limit = int(memory_gb * 1e9)
    done = subprocess.run(
        words,
        stdout=subprocess.PIPE,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit)),
    )
    return json.loads(done.stdout)


def child(step: str, output: Path, rows: int) -> None:
    """Run one step here; print what it took."""
    import v2t.caption.merge
    import v2t.caption.status  # noqa: F401

    before, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    STEPS[step](output, rows)
    cpu_s = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps({"cpu_s": round(cpu_s, 3), "memory_mb": round((peak - memory) * 1024 / MB, 1)}))


def main() -> int:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,100000")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--listing", type=int, default=100_000, help="files of the listing; 0 leaves it out")
    parser.add_argument("--decode", type=int, default=20, help="reads of each clip; 0 leaves it out")
    parser.add_argument("--memory-gb", type=float, default=6.0, help="limit of each step")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        child(args.step, args.place, int(args.rows))
        return 0
    found = []
    for rows in map(int, args.rows.split(",")):
        with tempfile.TemporaryDirectory() as place:
            output = Path(place) / "out"
            size = write(output, rows, args.shards)
            print(f"{rows} rows in {args.shards} journals, {size / rows:.0f} bytes a row", flush=True)
            steps = [step for step in STEPS if step not in ("listing", "decode")]
            found += [_step(step, output, rows, args.memory_gb) for step in steps]
    if args.listing:
        with tempfile.TemporaryDirectory() as place:
            for clip in clips(args.listing):
                path = Path(place) / clip.path
                path.parent.mkdir(exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
            found.append(_step("listing", Path(place), args.listing, args.memory_gb))
    for height in (240, 720) if args.decode else ():
        with tempfile.TemporaryDirectory() as place:
            write_clip(Path(place) / f"{height}.mp4", height)
            found.append(_step("decode", Path(place) / f"{height}.mp4", args.decode, args.memory_gb))
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


def _step(step: str, output: Path, rows: int, memory_gb: float) -> dict[str, object]:
    took = measure(step, output, rows, memory_gb)
    each = f"{took['cpu_s'] / rows * 1e6:6.1f} us and {took['memory_mb'] * MB / rows:6.0f} bytes a row"
    print(f"  {step:8} {took['cpu_s']:8.2f} s of CPU, {took['memory_mb']:8.1f} MB; {each}", flush=True)
    return {"step": step, "rows": rows, **took}


if __name__ == "__main__":
    sys.exit(main())
