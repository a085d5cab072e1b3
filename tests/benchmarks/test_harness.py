"""The harness of the benchmarks: turns, ratios, the table, the JSON, the sizes; and one benchmark that runs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import harness
from harness import Row, Size, Stopwatch, lines, rows_of, turns

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


def test_runs_take_turns_and_the_first_time_is_not_measured():
    order = []
    rows = turns("part", {name: lambda name=name: order.append(name) for name in "ab"}, 3, base="a")
    assert order == [*"ab", *"ab", *"ba", *"ab"]
    assert [len(row.wall_s) for row in rows] == [len(row.cpu_s) for row in rows] == [3, 3]
    assert [row.base.name for row in rows] == ["a", "a"]
    assert len(turns("part", {"a": lambda: order.append("c")}, 2, warm_up=False)[0].results) == 2 == order.count("c")


def test_a_ratio_is_of_times_in_the_same_round_or_of_rates_where_there_are_items():
    base, own = rows_of("part", {"base": [1.0, 10.0, 2.0], "own": [2.0, 5.0, 8.0]}, base="base")
    assert own.ratios("wall_s") == [2.0, 0.5, 4.0] and base.ratios("wall_s") == [] == own.ratios("cpu_s")
    assert own.data()["ratio"] == {
        "to": "base", "of": "times", "wall_s": {"median": 2.0, "min": 0.5, "max": 4.0, "rounds": [2.0, 0.5, 4.0]},
    }  # fmt: skip
    few, many = rows_of("part", {"few": [1.0], "many": [2.0]}, base="few", items={"few": 4, "many": 16})
    assert many.ratios("wall_s") == [2.0] and many.data()["per_s"]["median"] == 8.0
    assert many.data()["ratio"]["of"] == "rates" and "ratio" not in few.data()


def test_the_table_has_the_columns_that_some_row_fills():
    rows = rows_of("a part", {"base": [1.0, 3.0, 2.0], "own": [2.0, 3.0, 8.0]}, base="base")
    rows[1].goal, rows[1].figures = "<= 1.5", {"MB": 3, "clips": 12_000}
    assert lines(rows) == [
        "a part; ratio: time of each to that of base",
        "        s           ratio",
        "  base  2 (1 to 3)",
        "  own   3 (2 to 8)  2 (1 to 4)  MB 3, clips 12,000, goal <= 1.5",
    ]


@pytest.mark.slow
def test_the_processor_time_of_processes_below_counts():
    busy = "import time; end = time.process_time() + .3\nwhile time.process_time() < end: pass\nprint(1, flush=True)"
    watch = Stopwatch()
    child = subprocess.Popen([sys.executable, "-c", f"{busy}\ninput()"], stdin=-1, stdout=-1)
    child.stdout.readline()
    living = watch.read()[1]
    child.communicate(b"\n")
    wall, ended = watch.read()
    assert 0.25 < living <= ended + 0.02 and wall > 0.25  # ticks of 10 ms
    before = Stopwatch()
    time.sleep(0.3)
    assert before.read()[1] < 0.3 <= before.read()[0]


@pytest.fixture
def run(monkeypatch, tmp_path, capsys):
    """Runs a benchmark of two parts; its exit code, its options as the parts saw them, and its JSON."""

    def run(*words: str, wrong: str = ""):
        seen = []

        def part(options, folder):
            assert not list(folder.iterdir())
            seen.append(options)
            yield Row(part="p", name="n", cpu_s=[1.0] * options.rounds, figures={"clips": options.clips}, wrong=wrong)

        monkeypatch.setattr(sys, "argv", ["bench_x.py", "--json", str(tmp_path / "x.json"), *words])
        sizes = Size("clips", 3, 30), Size("alone", False, True), Size("minutes", (1.0, 2.0), (5.0, 60.0))
        code = harness.main("doc", {"a": part, "b": part}, *sizes, rounds=(1, 5), first=("a",))
        return code, seen, json.loads((tmp_path / "x.json").read_text())

    return run


@pytest.mark.parametrize(
    ("words", "parts", "clips", "rounds", "alone", "minutes"),
    [
        ((), 1, 3, 1, False, (1.0, 2.0)),
        (("--full",), 2, 30, 5, True, (5.0, 60.0)),
        (("--full", "--clips", "7", "--rounds", "2", "--no-alone"), 2, 7, 2, False, (5.0, 60.0)),
        (("a", "b", "--minutes", "3"), 2, 3, 1, False, [3.0]),
    ],
)
def test_a_first_answer_is_small_and_full_is_not(run, words, parts, clips, rounds, alone, minutes):
    code, seen, data = run(*words)
    assert code == 0 and len(seen) == parts == len(data["rows"])
    assert {(o.clips, o.rounds, o.alone) for o in seen} == {(clips, rounds, alone)} and seen[0].minutes == minutes
    assert data["benchmark"] == "bench_x" and data["options"]["full"] is ("--full" in words)
    assert data["rows"][0] == {
        "part": "p", "name": "n", "figures": {"clips": clips},
        "cpu_s": {"median": 1.0, "min": 1.0, "max": 1.0, "rounds": [1.0] * rounds},
    }  # fmt: skip


def test_a_row_that_is_wrong_is_the_exit_code(run, capsys):
    code, _, data = run(wrong="captions differ")
    assert code == 1 and data["rows"][0]["wrong"] == "captions differ"
    assert "p, n: captions differ" in capsys.readouterr().err


@pytest.mark.slow
def test_a_benchmark_runs(tmp_path):
    words = ["--clips", "8", "--server-ms", "20", "--frames", "2", "--json", str(tmp_path / "out.json")]
    ran = subprocess.run([sys.executable, BENCHMARKS / "bench_openai.py", *words], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    data = json.loads((tmp_path / "out.json").read_text())
    assert [row["name"] for row in data["rows"]] == [f"{width} in flight" for width in (1, 4, 16, 32)]
    assert all(row["ratio"]["to"] == "1 in flight" for row in data["rows"][1:])
    assert "first answer: " in ran.stdout and "goal >= 8" in ran.stdout
