"""What a curation costs: cut finding and the whole pass over films, asking 100,000 clips anew, their near copies.

    python scripts/bench_curate.py [--rounds 5] [--films 4] [--seconds 30] [--clips 100000] [--json]

Makes 360p H.264 films at 30 frames a second, a cut every 5 s. Cut finding (`cineloop.video.cuts`) and the whole pass
(`cineloop.video.survey`: probe, split, black, frozen, bars, sharpness, motion) take turns on them with PySceneDetect
called as its documentation does (PyAV, adaptive detector), all in this process with a decoder of one thread, so that a
busy moment falls on all alike. Prints medians over rounds of CPU seconds per minute of film and of the ratio of
PySceneDetect's to ours in the same round; how many times faster than real time two cores are, from CPU seconds (a
loaded machine does not change them) and for `v2t-eval curate --workers 2` also by the clock; and the CPU seconds in
which a journal of so many clips is read, asked with changed limits, and written as a table and a page (medians over
rounds, a first one not counted), and in which all near pairs of as many vectors of 512 numbers are found and grouped.
Goals: .9 of PySceneDetect for cuts, 20 times real time, 2 s, 60 s.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.discovery import discover  # noqa: E402
from cineloop.journal import Journal  # noqa: E402
from cineloop.video.canvas import Limits  # noqa: E402
from cineloop.video.cuts import find_cuts  # noqa: E402
from cineloop.video.encode import encode  # noqa: E402
from cineloop.video.open_file import LastFile  # noqa: E402
from cineloop.video.survey import survey  # noqa: E402
from v2t_eval.curate import page  # noqa: E402
from v2t_eval.curate.near import groups, near_pairs  # noqa: E402
from v2t_eval.curate.query import ask  # noqa: E402
from v2t_eval.curate.recipe import read_plan  # noqa: E402
from v2t_eval.curate.run import Curation, curate  # noqa: E402
from v2t_eval.curate.table import JOURNAL, Film, append, read_films, write_table  # noqa: E402
from v2t_eval.score import ScoreConfig  # noqa: E402

FPS, SIZE, SHOT_S, CORES, WIDTH = 30, (360, 640), 5, 2, 512
PEER = "PySceneDetect alone"


def shot(seed: int) -> Iterator[np.ndarray]:
    """Frames (H, W, 3): coloured blots with grain that drift, and a square that crosses them."""
    import cv2

    rng, (height, width), num = np.random.default_rng(seed), SIZE, FPS * SHOT_S
    blots = rng.integers(20, 235, (6, 9, 3)).astype(np.uint8)
    ground = cv2.resize(blots, (width + num, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    ground = np.clip(ground + rng.integers(-12, 12, (height, width + num, 1)), 0, 255).astype(np.uint8)
    for n in range(num):
        frame = ground[:, n : n + width].copy()
        left = (width - 80) * n // num
        frame[140:220, left : left + 80] = (250, 40, 60)
        yield frame


def make_films(folder: Path, num: int, seconds: int) -> list[Path]:
    """Films of shots of `SHOT_S` seconds."""
    made = []
    for index in range(num):
        shots = (shot(100 * index + n) for n in range(seconds // SHOT_S))
        path = folder / f"{index}.mp4"
        encode((frame for shot in shots for frame in shot), path, Fraction(FPS), threads=0)
        made.append(path)
    return made


def peer(path: Path) -> int:
    """PySceneDetect as its documentation calls it; the number of cuts."""
    from scenedetect import AdaptiveDetector, SceneManager, open_video

    manager = SceneManager()
    manager.add_detector(AdaptiveDetector())
    manager.detect_scenes(open_video(str(path), backend="pyav", threading_mode="NONE"))
    return len(manager.get_scene_list(start_in_scene=True)) - 1


def cuts(path: Path) -> int:
    """Ours: cuts alone."""
    with LastFile().open(str(path).encode()) as opened:
        return len(find_cuts(opened, Limits(), threads=1))


def whole(path: Path) -> int:
    """Ours: all that the steps need."""
    with LastFile().open(str(path).encode()) as opened:
        return len(survey(opened, Limits(), threads=1).cuts)


def passes(films: list[Path], seconds: int, rounds: int) -> dict[str, dict[str, float]]:
    """CPU seconds per minute of film and ratios to PySceneDetect; a first round is not counted."""
    readers: dict[str, Callable[[Path], int]] = {PEER: peer, "cuts": cuts, "whole pass": whole}
    taken: dict[str, list[float]] = {name: [] for name in readers}
    names = list(readers)
    for turn in range(rounds + 1):
        for name in names[turn % 3 :] + names[: turn % 3]:
            began = time.process_time()
            found = [readers[name](path) for path in films]
            taken[name].append(60 * (time.process_time() - began) / (seconds * len(films)))
            if found != [seconds // SHOT_S - 1] * len(films):
                raise SystemExit(f"{name}: {found} cuts found, {seconds // SHOT_S - 1} planted in each film")
    return {
        name: {
            "cpu_s_per_minute": round(statistics.median(own[1:]), 3),
            "ratio": round(statistics.median(a / b for a, b in zip(taken[PEER][1:], own[1:], strict=True)), 3),
            "real_time_of_two_cores": round(CORES * 60 / statistics.median(own[1:]), 1),
        }
        for name, own in taken.items()
    }


def command(films: list[Path], seconds: int, folder: Path) -> dict[str, float]:
    """A curation by two processes, their start included: times real time, by the clock and by CPU seconds."""
    config = ScoreConfig(workers=CORES, cache=folder / "state")

    def spent() -> float:
        used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return sum(one.ru_utime + one.ru_stime for one in used)

    clock, cpu = time.perf_counter(), spent()
    done = curate(discover([str(films[0].parent)]), read_plan(None, ["steps=[probe, split, motion]"]), folder, config)
    clock, cpu = time.perf_counter() - clock, spent() - cpu
    total = seconds * len(films)
    return {
        "clips": len(done.rows),
        "film_s": total,
        "real_time_by_clock": round(total / clock, 1),
        "real_time_of_two_cores": round(CORES * total / cpu, 1),
    }


def plant_journal(folder: Path, num: int) -> None:
    """A journal of `num` clips, 20 a film, with random scores of all steps."""
    plan, rng = read_plan(None), np.random.default_rng(0)
    names = list(plan.columns)
    with Journal(folder / JOURNAL) as journal:
        for n in range(num // 20):
            film = Film(id=f"{n:05d}.mp4", size=1, mtime_ns=1, print=plan.print)
            for clip, values in enumerate(rng.random((20, len(names)))):
                scores = dict(zip(names, values.tolist(), strict=True))
                film.rows.append(
                    {"id": f"{film.id}#t={5 * clip:.3f},{5 * clip + 5:.3f}", "source": film.id,
                     "source_sha": f"{n:064x}", "start_s": 5.0 * clip, "end_s": 5.0 * clip + 5, "width": 640,
                     "height": 360, "fps": 30.0, "codec": "h264", "begins": "cut", "ends": "cut", "warnings": [],
                     "error": None, "scores": scores, "crop": None, "crop_reason": None}
                )  # fmt: skip
            append(journal, film)


def asked_anew(num: int, folder: Path, rounds: int) -> dict[str, float]:
    """CPU seconds of reading, asking and writing, of table and page; two limits are changed."""
    plant_journal(folder, num)
    plan = read_plan(None, ["limits.sharpness.least=q0.1", "limits.still_share.most=0.5"])
    taken = []
    for _ in range(rounds + 1):
        marks = [time.process_time()]
        films = list(read_films(folder).values())
        rows = [row for film in films for row in film.rows]
        marks.append(time.process_time())
        verdicts = ask(plan, rows)
        marks.append(time.process_time())
        write_table(folder, rows, verdicts, {})
        marks.append(time.process_time())
        page.write(Curation(films=films, rows=rows, verdicts=verdicts), plan, [], folder, None, "")
        marks.append(time.process_time())
        taken.append([b - a for a, b in zip(marks, marks[1:], strict=False)] + [marks[-1] - marks[0]])
    medians = [round(statistics.median(own), 2) for own in zip(*taken[1:], strict=True)]
    return {"clips": num, **dict(zip(("read_s", "ask_s", "write_s", "page_s", "total_s"), medians, strict=True))}


def near_copies(num: int) -> dict[str, float]:
    """CPU seconds of finding the near pairs among random vectors, of which every tenth is a copy, and their groups."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((num, WIDTH), dtype=np.float32)
    vectors[::10] = vectors[1::10] + 0.1 * rng.standard_normal((len(vectors[::10]), WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    began = time.process_time()
    pairs, _ = near_pairs(vectors, 0.95)
    found = len(np.unique(groups(num, pairs)))
    return {"vectors": num, "groups": found, "cpu_s": round(time.process_time() - began, 2)}


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--films", type=int, default=4)
    parser.add_argument("--seconds", type=int, default=30, help="length of each film")
    parser.add_argument("--clips", type=int, default=100_000, help="clips that are asked anew")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        for name in ("films", "set", "journal"):
            (place / name).mkdir()
        films = make_films(place / "films", args.films, args.seconds)
        readers = passes(films, args.seconds, args.rounds)
        whole_command = command(films, args.seconds, place / "set")
        query = asked_anew(args.clips, place / "journal", args.rounds)
    copies = near_copies(args.clips)
    if args.json:
        print(json.dumps({"passes": readers, "command": whole_command, "asked anew": query, "near copies": copies}))
        return
    size = f"{SIZE[1]}x{SIZE[0]}"
    print(f"{args.films} films of {args.seconds} s, {size}, {FPS} fps; medians of {args.rounds} rounds")
    print(f"{'':<20} {'CPU s a minute':>15} {'ratio':>7} {'x real time, 2 cores':>21}")
    for name, row in readers.items():
        print(f"{name:<20} {row['cpu_s_per_minute']:15.2f} {row['ratio']:7.2f} {row['real_time_of_two_cores']:21.1f}")
    print(
        f"v2t-eval curate --workers 2, {whole_command['film_s']} s of film: {whole_command['real_time_of_two_cores']} "
        f"times real time by CPU seconds, {whole_command['real_time_by_clock']} by the clock"
    )
    seconds = ", ".join(f"{name.removesuffix('_s')} {query[name]:.2f} s" for name in query if name != "clips")
    print(f"{query['clips']:,} clips asked anew, CPU: {seconds}")
    print(f"{copies['vectors']:,} x {WIDTH} vectors, {copies['groups']:,} near groups: {copies['cpu_s']:.1f} CPU s")


if __name__ == "__main__":
    main()
