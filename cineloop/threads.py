"""CPU threads on a machine that other programs use too.

In: what the operating system lets this process use (affinity, a container's CPU quota). Out: the number of CPUs, and
environment variables that OpenMP reads when torch is loaded. Nothing heavy is imported here.

The number of threads follows what the process may use, not the load of the moment: how sums are split over threads
changes their last bits, so a count that followed the load would give other numbers, and other clips, each time. What
makes a loaded machine slow is not the count but waiting: OpenMP's threads spin until the slowest of them is done, and
where that one waits for a CPU the others burn theirs. Waiting passively they leave it to others, itself among them
(`benchmarks/bench_t2v.py --load 8` measures it).
"""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")


def prepare() -> None:
    """Set OpenMP's variables, before torch is loaded; those that are set already stay as they are."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")  # the same for LLVM's and Intel's OpenMP
    # Torch heeds affinity by itself (one thread for each physical core of it), a quota it does not know.
    if usable_cpus() < _affinity():
        os.environ.setdefault("OMP_NUM_THREADS", str(usable_cpus()))


def usable_cpus() -> int:
    """CPUs this process may use: by its affinity, and by the quota of its control group (rounded up); at least 1."""
    quota = _quota()
    return _affinity() if quota is None else max(1, min(_affinity(), math.ceil(quota)))


def _affinity() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quota() -> float | None:
    """CPUs that the control groups of this process allow (cgroup v2, or v1), None where nothing limits them."""
    try:
        groups = [line.split(":", 2) for line in _OWN_CGROUP.read_text(encoding="utf-8").splitlines()]
    except OSError:  # not Linux
        return None
    limits = []
    for _, controllers, name in groups:
        if controllers and "cpu" not in controllers.split(","):
            continue
        home = _CGROUPS / "cpu" if controllers else _CGROUPS
        own = home / name.lstrip("/")
        # In a container its own group is often mounted as the root; the name is then one that is not there.
        for folder in (own, *own.parents):
            if home in (folder, *folder.parents):
                limits.append(_limit(folder))
    return min((limit for limit in limits if limit is not None), default=None)


def _limit(group: Path) -> float | None:
    """The quota of one group over its period."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = (
                (group / f"cpu.cfs_{name}_us").read_text(encoding="utf-8").strip() for name in ("quota", "period")
            )
        return int(quota) / int(period) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max"
        return None
