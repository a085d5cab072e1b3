"""What captioning many clips costs: hours of cores and GPUs, dollars, bytes, and what the folder's journals need.

    python scripts/plan_cluster.py [--clips 10000,1000000,1000000000] [--gpu-clips-per-s 4] [--gpu-dollars 2.5] [--json]

A model on paper, not a measurement: every rate is a parameter. The defaults that can be measured here are (the commands
stand in docs/scale.md); the speed of a large captioner on a GPU, prices and the size of a clip are assumptions.
Without `--gpu-clips-per-s` the model runs on cores too. The overhead is for starts, losses and slow nodes, as simulated
in docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What one clip, one hour and one row cost."""

    decode_cpu_ms: float = 395.0  # 16 frames of 1280x720, 10 s
    model_cpu_ms: float = 43.0  # on cores, where no GPU runs it
    gpu_clips_per_s: float = 0.0  # of one GPU; 0: none is used
    cores: int = 8  # beside each GPU, or of a node without one
    core_dollars: float = 0.04  # an hour
    gpu_dollars: float = 2.5  # an hour
    overhead: float = 1.1
    clip_mb: float = 2.5
    row_bytes: float = 776.0  # of a journal
    list_us: float = 12.3  # CPU of finding a file
    merge_us: float = 107.8  # CPU a row
    merge_bytes: float = 1262.0  # memory a row
    folder_rows: int = 1_000_000  # clips of one output folder


def plan(clips: int, rates: Rates) -> dict[str, float]:
    """The costs of `clips` clips, by name."""
    cpu_ms = rates.decode_cpu_ms + (0.0 if rates.gpu_clips_per_s else rates.model_cpu_ms)
    core_hours = clips * cpu_ms / 3.6e6 * rates.overhead
    gpu_hours = clips / rates.gpu_clips_per_s / 3600 * rates.overhead if rates.gpu_clips_per_s else 0.0
    # Cores beside a GPU are paid as long as it is: too few of them starve it, too many wait for it.
    fed = rates.gpu_clips_per_s * rates.decode_cpu_ms / 1000 / rates.cores
    node_hours = max(gpu_hours, core_hours / rates.cores)
    rows = min(clips, rates.folder_rows)
    return {
        "clips": clips,
        "core_hours": core_hours,
        "gpu_hours": node_hours if gpu_hours else 0.0,
        "cores_a_gpu_needs": rates.gpu_clips_per_s * rates.decode_cpu_ms / 1000,
        "gpu_busy": min(1.0, 1 / fed) if fed else 0.0,
        "days_on_64_nodes": node_hours / 64 / 24,
        "dollars": node_hours * (rates.cores * rates.core_dollars + (rates.gpu_dollars if gpu_hours else 0.0)),
        "read_tb": clips * rates.clip_mb / 1e6,
        "journals_gb": clips * rates.row_bytes / 1e9,
        "folders": math.ceil(clips / rates.folder_rows),
        "list_cpu_s_a_folder": rows * rates.list_us / 1e6,
        "merge_cpu_s_a_folder": rows * rates.merge_us / 1e6,
        "merge_gb_a_folder": rows * rates.merge_bytes / 1e9,
    }


def main() -> int:
    """Print a table with a column for each number of clips."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", default="10000,1000000,1000000000")
    parser.add_argument("--json", action="store_true")
    for field in fields(Rates):
        default = getattr(Rates(), field.name)
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(default), default=default)
    args = parser.parse_args()
    rates = Rates(**{field.name: getattr(args, field.name) for field in fields(Rates)})
    plans = [plan(int(clips), rates) for clips in args.clips.split(",")]
    if args.json:
        print(json.dumps(plans, indent=2))
        return 0
    for name in plans[0]:
        print(f"{name.replace('_', ' '):22}" + "".join(f"{each[name]:>18,.4g}" for each in plans))
    return 0


if __name__ == "__main__":
    sys.exit(main())
