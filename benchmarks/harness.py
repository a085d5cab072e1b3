"""What the benchmarks share: runs in turns, round after round, as one table and one JSON form.

In: the parts of a benchmark, generators of rows. Out: a table on stdout, a part at a time, and with `--json` all rows
with every round. Runs of a part take turns, so that a busy moment of the machine falls on all alike; a ratio is the
median over rounds of a run's time (or its rate, where it has items) over its baseline's in the same round. Times are
given by the clock and as CPU seconds of this process and all below it, which other programs change less.

Without flags a benchmark gives a first answer within two minutes on two slow cores; `--full` is the published figure.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
_PAGE, _TICK = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")

Run = Callable[[], Any]
Options = argparse.Namespace
Part = Callable[[Options, Path], Iterable["Row"]]  # of the options and an empty folder


# --- rows
class Size(NamedTuple):
    """A flag whose value is smaller for a first answer than for the published figure."""

    name: str
    first: Any
    full: Any
    help: str = ""


@dataclass(kw_only=True)
class Row:
    """One run of a part: its times in each round, figures beside them, and what it is compared with.

    Attributes:
        wall_s, cpu_s: one a round; either may be empty.
        results: what the run returned, one a round. Not part of the JSON.
        base: the row whose times the ratios are over.
        items: how many things a run does; with it rates are shown, and the ratios are of rates.
        goal: what is aimed at, in words.
        wrong: why the row must not be believed, such as results that differ; the benchmark then ends with 1.
    """

    part: str
    name: str
    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)
    results: list[Any] = field(default_factory=list)
    base: Row | None = None
    items: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    goal: str = ""
    wrong: str = ""

    def ratios(self, clock: str) -> list[float]:
        """The ratio to the baseline in each round, by "wall_s" or "cpu_s"; [] where there is none."""
        if self.base is None or self.base is self:
            return []
        pairs = zip(getattr(self, clock), getattr(self.base, clock), strict=True)
        if self.items:
            return [self.items / own / (self.base.items / base) for own, base in pairs if own and base]
        return [own / base for own, base in pairs if base]

    def data(self) -> dict[str, Any]:
        """The row as JSON."""
        row: dict[str, Any] = {"part": self.part, "name": self.name}
        for clock in ("wall_s", "cpu_s"):
            if times := getattr(self, clock):
                row[clock] = spread(times)
        if self.items and self.wall_s:
            row["per_s"] = spread([self.items / seconds for seconds in self.wall_s])
        ratios = {clock: spread(each) for clock in ("wall_s", "cpu_s") if (each := self.ratios(clock))}
        if ratios and self.base is not None:
            row["ratio"] = {"to": self.base.name, "of": "rates" if self.items else "times", **ratios}
        return row | {key: value for key in ("figures", "goal", "wrong") if (value := getattr(self, key))}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, least, most, and each round."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": list(values)}


def rows_of(
    part: str, wall_s: Mapping[str, list[float]], cpu_s: Mapping[str, list[float]] | None = None, base: str = "",
    items: float | Mapping[str, float] = 0.0,
) -> list[Row]:  # fmt: skip
    """Rows of times that were measured elsewhere, compared with the one called `base`."""
    rows = {
        name: Row(
            part=part, name=name, wall_s=list(times), cpu_s=list((cpu_s or {}).get(name, ())),
            items=items[name] if isinstance(items, Mapping) else items,
        )
        for name, times in wall_s.items()
    }  # fmt: skip
    for row in rows.values():
        row.base = rows[base] if base else None
    return list(rows.values())


def turns(
    part: str, runs: Mapping[str, Run], rounds: int, *, base: str = "", warm_up: bool = True,
    items: float | Mapping[str, float] = 0.0,
) -> list[Row]:  # fmt: skip
    """Measure runs that take turns, in another order each round; `warm_up` runs each once before."""
    rows = rows_of(part, {name: [] for name in runs}, base=base, items=items)
    if warm_up:
        for run in runs.values():
            run()
    for number in range(rounds):
        shift = number % len(rows)
        for row in rows[shift:] + rows[:shift]:
            watch = Stopwatch()
            result = runs[row.name]()
            wall, cpu = watch.read()
            row.wall_s.append(wall)
            row.cpu_s.append(cpu)
            row.results.append(result)
    return rows


# --- time and memory
class Process(NamedTuple):
    """A process in /proc: its parent, its CPU seconds, those of its ended children, resident bytes."""

    parent: int
    cpu_s: float
    ended_cpu_s: float
    resident: int


def processes(root: int) -> dict[int, Process]:
    """A process and all below it, from the top down. Linux; {} on other systems."""
    known: dict[int, Process] = {}
    children: dict[int, list[int]] = {}
    for name in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        try:
            fields = Path(f"/proc/{name}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        own, ended = (sum(map(int, fields[i : i + 2])) / _TICK for i in (11, 13))
        known[int(name)] = Process(int(fields[1]), own, ended, int(fields[21]) * _PAGE)
        children.setdefault(int(fields[1]), []).append(int(name))
    order = [root]
    for pid in order:
        order += children.get(pid, [])
    return {pid: known[pid] for pid in order if pid in known}


def command_of(pid: int) -> str:
    """The command line of a process, "" when it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    except OSError:
        return ""


class Stopwatch:
    """Seconds since it was made, by the clock and of the processor: this process and all below it."""

    def __init__(self) -> None:
        self._others, self._own, self._wall = self._below(), time.process_time(), time.perf_counter()

    def read(self) -> tuple[float, float]:
        """(clock, processor)."""
        wall, own = time.perf_counter() - self._wall, time.process_time() - self._own
        return wall, own + self._below() - self._others

    @staticmethod
    def _below() -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        below = list(processes(os.getpid()).values())[1:]
        living = sum(each.cpu_s + each.ended_cpu_s for each in below)
        return ended.ru_utime + ended.ru_stime + living


class Watch(threading.Thread):
    """Looks at a process and all below it five times a second: `peak` bytes resident together, CPU seconds so far."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self._cpu_s = pid, 0, dict[int, float]()
        self.over = threading.Event()

    @property
    def cpu_s(self) -> float:
        """Of processes that have ended too, as when last seen."""
        return sum(list(self._cpu_s.values()))

    def run(self) -> None:
        """Until `over` is set."""
        while not self.over.wait(0.2):
            seen = processes(self.pid)
            self._cpu_s |= {pid: each.cpu_s for pid, each in seen.items()}
            self.peak = max(self.peak, sum(each.resident for each in seen.values()))


def resident_mb() -> float:
    """Resident memory of this process."""
    return processes(os.getpid())[os.getpid()].resident / 2**20


class LoadedCaptioner:
    """A captioner whose weights are in memory already, so that no run's time holds the loading."""

    def __init__(self, captioner: Any) -> None:
        self._captioner = captioner
        captioner.load()

    def load(self) -> None:
        """Done before."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._captioner, name)


# --- the command line
def main(
    doc: str | None, parts: Mapping[str, Part], *sizes: Size, rounds: tuple[int, int],
    first: Sequence[str] = (), only: Callable[[Options], Mapping[str, Part]] | None = None,
    more: Callable[[argparse.ArgumentParser], object] | None = None,
) -> int:  # fmt: skip
    """Run a benchmark from its command line; returns its exit code.

    Args:
        doc: the module's docstring.
        parts: name → what it measures.
        sizes: flags.
        rounds: of a first answer, of the published figure.
        first: parts of a first answer; all by default.
        only: parts that some options ask for in place of all others, {} where they do not.
        more: adds flags that are no sizes.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    if len(parts) > 1:
        parser.add_argument("parts", nargs="*", choices=[*parts, []], metavar="PART", help=", ".join(parts))
    parser.add_argument("--full", action="store_true", help="all parts, at the sizes of the published figures")
    for name, small, full, text in (*sizes, Size("rounds", *rounds, "runs of each side, in turns")):
        shown = f"{text} (default: {_text(small)}; with --full {_text(full)})".strip()
        form: dict[str, Any] = {"type": type(small)}
        if isinstance(small, bool):
            form = {"action": argparse.BooleanOptionalAction}
        elif isinstance(small, tuple):
            form = {"type": type(small[0]), "nargs": "+", "metavar": name.upper()}
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help=shown, **form)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rows there, with every round")
    if more is not None:
        more(parser)
    options = parser.parse_args()
    for name, small, full, _ in (*sizes, Size("rounds", *rounds)):
        if getattr(options, name) is None:
            setattr(options, name, full if options.full else small)
    chosen = getattr(options, "parts", ()) or (first if first and not options.full else parts)
    asked = (only(options) if only is not None else {}) or {name: parts[name] for name in chosen}
    return _run(Path(parser.prog).stem, asked, options)


def _run(name: str, parts: Mapping[str, Part], options: Options) -> int:
    load, watch, rows = os.getloadavg()[0], Stopwatch(), list[Row]()
    for part in parts.values():
        with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder:
            for table in _by_part(part(options, Path(folder))):
                print("\n".join(lines(table)), flush=True)
                rows += table
    wall, cpu = watch.read()
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    machine += f", load {load:.1f} to {os.getloadavg()[0]:.1f}"
    print(f"{'full' if options.full else 'first answer'}: {wall:.0f} s, {cpu:.0f} CPU s; {machine}")
    if options.json:
        given = {key: value for key, value in vars(options).items() if key != "json"}
        data = {
            "benchmark": name, "options": given, "machine": machine, "wall_s": wall, "cpu_s": cpu,
            "rows": [row.data() for row in rows],
        }  # fmt: skip
        options.json.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
    for row in rows:
        if row.wrong:
            print(f"{row.part}, {row.name}: {row.wrong}", file=sys.stderr)
    return int(any(row.wrong for row in rows))


def _by_part(rows: Iterable[Row]) -> Iterator[list[Row]]:
    """Neighbouring rows of one part, as soon as they are all there."""
    table: list[Row] = []
    for row in rows:
        if table and row.part != table[0].part:
            yield table
            table = []
        table.append(row)
    if table:
        yield table


def lines(rows: Sequence[Row]) -> list[str]:
    """The table of one part; columns that no row fills are left out."""
    head = ("", "s", "CPU s", "a second", "ratio", "CPU ratio", "")
    body = [_cells(row) for row in rows]
    used = [0, *(i for i in range(1, len(head)) if any(line[i] for line in body))]
    widths = {i: max(len(line[i]) for line in (head, *body)) for i in used}
    bases = {(row.base.name, "rate" if row.items else "time") for row in rows if row.base and row.base is not row}
    title = rows[0].part + "".join(f"; ratio: {kind} of each to that of {base}" for base, kind in sorted(bases))
    table = ["  ".join(line[i].ljust(widths[i]) for i in used).rstrip() for line in (head, *body)]
    return [title, *(f"  {line}" for line in table if line)]


def _cells(row: Row) -> tuple[str, ...]:
    figures = [f"{name} {_text(value)}" for name, value in row.figures.items()]
    figures += [f"goal {row.goal}"] * bool(row.goal) + [f"WRONG: {row.wrong}"] * bool(row.wrong)
    rate = [row.items / seconds for seconds in row.wall_s] if row.items else []
    times = (_median(each) for each in (row.wall_s, row.cpu_s, rate, row.ratios("wall_s"), row.ratios("cpu_s")))
    return (row.name, *times, ", ".join(figures))


def _median(values: Sequence[float]) -> str:
    if not values:
        return ""
    text = f"{statistics.median(values):.3g}"
    return text if len(values) == 1 else f"{text} ({min(values):.3g} to {max(values):.3g})"


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
