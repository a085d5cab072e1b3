"""What a curation costs: cut finding and the whole pass over films, asking 100,000 clips anew, their near copies.

    python benchmarks/bench_curate.py [passes] [command] [query] [copies] [--full] [--rounds 5] [--films 4]
        [--seconds 30] [--clips 100000]

passes: cut finding (`cineloop.video.cuts`) and the whole pass (`v2t_eval.frames.survey`: probe, split, black, frozen,
    bars, sharpness, motion) against PySceneDetect called as its documentation does (PyAV, adaptive detector), on 360p
    H.264 films at 30 frames a second with a cut every 5 s, all in this process with a decoder of one thread. Items are
    seconds of film: a rate is how many times faster than real time one core is. Goal: .9 of PySceneDetect's rate.
command: `v2t-eval curate --workers 2`, its start included. Goal: 20 times real time on two cores, by CPU seconds.
query: a journal of so many clips read, asked with changed limits, and written as a table and a page. Goal: 2 CPU s.
copies: all near pairs of as many vectors of 512 numbers, found and grouped. Goal: 60 CPU s.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from harness import Options, Row, Run, Size, main, turns

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
    from cineloop.video.encode import encode

    made = []
    for index in range(num):
        shots = (shot(100 * index + n) for n in range(seconds // SHOT_S))
        made.append(folder / f"{index}.mp4")
        encode((frame for shot in shots for frame in shot), made[-1], Fraction(FPS), threads=0)
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
    from cineloop.video.cuts import find_cuts
    from cineloop.video.limits import Limits
    from cineloop.video.open_file import LastFile

    with LastFile().open(str(path).encode()) as opened:
        return len(find_cuts(opened, Limits(), threads=1))


def whole(path: Path) -> int:
    """Ours: all that the steps need."""
    from cineloop.video.limits import Limits
    from cineloop.video.open_file import LastFile
    from v2t_eval.frames.survey import survey

    with LastFile().open(str(path).encode()) as opened:
        return len(survey(opened, Limits(), threads=1).cuts)


def passes(options: Options, folder: Path) -> Iterator[Row]:
    """Ours and PySceneDetect's."""
    films = make_films(folder, options.films, options.seconds)
    runs: dict[str, Run] = {
        name: lambda read=read: [read(path) for path in films]
        for name, read in ((PEER, peer), ("cuts", cuts), ("whole pass", whole))
    }
    part = f"{options.films} films of {options.seconds} s, {SIZE[1]}x{SIZE[0]}, {FPS} fps"
    planted, film_s = options.seconds // SHOT_S - 1, options.seconds * options.films
    for row in turns(part, runs, options.rounds, base=PEER, items=film_s):
        cpu_s = sorted(row.cpu_s)[len(row.cpu_s) // 2]
        row.figures = {"CPU s a minute": 60 * cpu_s / film_s, "times real time, 2 cores": CORES * film_s / cpu_s}
        row.goal = {"cuts": "CPU ratio >= .9"}.get(row.name, "")
        if any(counts != [planted] * len(films) for counts in row.results):
            row.wrong = f"{row.results} cuts, {planted} planted in each film"
        yield row


def command(options: Options, folder: Path) -> Iterator[Row]:
    """A curation by two processes."""
    from cineloop.discovery import discover
    from v2t_eval.core.executor import ExecutorConfig
    from v2t_eval.curate.recipe import read_plan
    from v2t_eval.curate.run import curate

    (folder / "films").mkdir()
    make_films(folder / "films", options.films, options.seconds)
    place = (folder / f"set {number}" for number in range(1000))

    def run() -> int:
        out = next(place)
        config = ExecutorConfig(workers=CORES, cache=out / "state")
        plan = read_plan(None, ["steps=[probe, split, motion]"])
        out.mkdir()
        return len(curate(discover([str(folder / "films")]), plan, out, config).clips)

    film_s = options.seconds * options.films
    part = f"{film_s} s of film"
    for row in turns(part, {"curate --workers 2": run}, options.rounds, warm_up=False, items=film_s):
        row.figures = {"clips": row.results[-1], "times real time, 2 cores": CORES * film_s / min(row.cpu_s)}
        row.goal = "20 times real time"
        yield row


def plant_journal(folder: Path, num: int) -> None:
    """A journal of `num` clips, 20 a film, with random scores of all steps."""
    from cineloop.journal import Journal
    from v2t_eval.curate.clip import FilmClip
    from v2t_eval.curate.recipe import read_plan
    from v2t_eval.curate.table import JOURNAL, Film, append

    plan, rng = read_plan(None), np.random.default_rng(0)
    names = list(plan.columns)
    with Journal(folder / JOURNAL) as journal:
        for n in range(num // 20):
            film = Film(id=f"{n:05d}.mp4", size=1, mtime_ns=1, print=plan.print)
            for clip, values in enumerate(rng.random((20, len(names)))):
                scores = dict(zip(names, values.tolist(), strict=True))
                film.clips.append(
                    FilmClip(
                        id=f"{film.id}#t={5 * clip:.3f},{5 * clip + 5:.3f}", source=film.id, source_sha=f"{n:064x}",
                        start_s=5.0 * clip, end_s=5.0 * clip + 5, width=640, height=360, fps=30.0, codec="h264",
                        begins="cut", ends="cut", scores=scores,
                    )
                )  # fmt: skip
            append(journal, film)


def query(options: Options, folder: Path) -> Iterator[Row]:
    """Reading, asking and writing, of table and page; two limits are changed."""
    from v2t_eval.curate import page
    from v2t_eval.curate.query import apply_limits
    from v2t_eval.curate.recipe import read_plan
    from v2t_eval.curate.run import Curation
    from v2t_eval.curate.table import read_films, write_table

    plant_journal(folder, options.clips)
    plan = read_plan(None, ["limits.sharpness.least=q0.1", "limits.still_share.most=0.5"])
    state: dict = {}

    def read() -> None:
        state["films"] = list(read_films(folder).values())
        state["clips"] = [clip for film in state["films"] for clip in film.clips]

    def answer() -> None:
        state["verdicts"] = apply_limits(plan, state["clips"])

    runs: dict[str, Run] = {
        "read": read,
        "limits": answer,
        "write": lambda: write_table(folder, state["clips"], state["verdicts"], {}),
        "page": lambda: page.write(Curation(**state), plan, [], folder, None, ""),
    }
    part = f"{options.clips:,} clips asked anew"
    rows = turns(part, runs, options.rounds)
    sums = [[sum(each) for each in zip(*(getattr(row, clock) for row in rows), strict=True)]
            for clock in ("wall_s", "cpu_s")]  # fmt: skip
    yield from (*rows, Row(part=part, name="all", wall_s=sums[0], cpu_s=sums[1], goal="2 CPU s"))


def copies(options: Options, folder: Path) -> Iterator[Row]:
    """Near pairs among random vectors, of which every tenth is a copy, and their groups."""
    from v2t_eval.near.pairs import groups, near_pairs

    num, rng = options.clips, np.random.default_rng(0)
    vectors = rng.standard_normal((num, WIDTH), dtype=np.float32)
    vectors[::10] = vectors[1::10] + 0.1 * rng.standard_normal((len(vectors[::10]), WIDTH), dtype=np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)

    def run() -> int:
        return len(np.unique(groups(num, near_pairs(vectors, 0.95)[0])))

    for row in turns(f"{num:,} x {WIDTH} vectors", {"near copies": run}, 1, warm_up=False):
        row.goal, row.figures = "60 CPU s", {"groups": row.results[-1]}
        yield row


if __name__ == "__main__":
    sizes = Size("films", 2, 4), Size("seconds", 15, 30, "length of each film")
    # PySceneDetect makes the encoder log all it does: films are made before.
    parts = {"command": command, "passes": passes, "query": query, "copies": copies}
    sys.exit(main(__doc__, parts, *sizes, Size("clips", 10_000, 100_000, "clips asked anew"), rounds=(1, 5)))
