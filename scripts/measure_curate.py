"""How often `v2t-eval curate` is right, measured on films of the cartoon world with planted changes and faults.

In: nothing, or a folder of real films (`--real`), whose clips are listed. Out: a table on stdout and, with -o, JSON. Of
the cut finder: precision, recall and F1 for cuts, fades and dissolves, films of one shot kept whole. Of each filter:
precision, recall and F1 of "this clip has the fault" by the limit that is stated, over planted and sound clips. Of near
copies: recall by kind, and pairs of different clips that were joined (`measure_copies.py`). Shares have intervals of
95 % (Wilson); that of F1 = 2 TP / (2 TP + FP + FN) is one of 2 TP + FP + FN cases.

    python scripts/measure_curate.py --films 40 --real films/ -o curate.json
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from measure_copies import FPS, SIZES, measure_copies, shot
from measure_copies import show as show_copies
from PIL import Image, ImageDraw, ImageFont

from cineloop.discovery import discover
from cineloop.intervals import wilson
from cineloop.video.encode import encode
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.recipe import STEPS, read_plan
from v2t_eval.curate.run import curate

TOLERANCE_S = 0.5  # between a planted change and the one that was found
CHANGES = ("cut", "fade", "dissolve")
# Fault → the limit of a column by which it is found.
FAULTS = {
    "black": ("black_share", "most", 0.5),
    "frozen": ("still_share", "most", 0.5),
    "bars": ("bars", "most", 0.1),
    "blur": ("sharpness", "least", 12.0),
    "text": ("overlay_share", "most", 0.002),
}


@dataclass
class PlantedFilm:
    """A film: frames in parts, its changes of shots and the faults of its shots, in seconds."""

    parts: list[np.ndarray] = field(default_factory=list)
    changes: list[tuple[str, float, float]] = field(default_factory=list)
    shots: list[tuple[str, float, float]] = field(default_factory=list)  # fault or "", start, end

    @property
    def seconds(self) -> float:
        return sum(len(part) for part in self.parts) / FPS

    def add_shot(self, frames: np.ndarray, fault: str) -> None:
        start = self.seconds
        self.parts.append(frames)
        self.shots.append((fault, start, self.seconds))

    def add_change(self, kind: str, between: np.ndarray | None) -> None:
        start = self.seconds
        if between is not None and len(between):
            self.parts.append(between)
        self.changes.append((kind, start, self.seconds))


def with_fault(frames: np.ndarray, fault: str, rng: random.Random) -> np.ndarray:
    """The shot with a fault of a random strength."""
    height, width = frames.shape[1:3]
    if fault == "black":
        return np.random.default_rng(rng.randint(0, 9999)).integers(0, 6, frames.shape, dtype=np.uint8)
    if fault == "frozen":  # from within its first third on
        frames = frames.copy()
        first = rng.randint(1, len(frames) // 3)
        frames[first:] = frames[first]
    elif fault == "bars":
        frames = frames.copy()
        share = rng.uniform(0.08, 0.2)
        if rng.random() < 0.5:
            frames[:, : round(share * height)] = frames[:, -round(share * height) :] = 0
        else:
            frames[:, :, : round(share * width)] = frames[:, :, -round(share * width) :] = 0
    elif fault == "blur":
        deviation = rng.uniform(0.02, 0.04) * height
        frames = np.stack([cv2.GaussianBlur(frame, (0, 0), deviation) for frame in frames])
    elif fault == "text":
        frames = with_text(frames, rng)
    return frames


def with_text(frames: np.ndarray, rng: random.Random) -> np.ndarray:
    """The shot with a line of two to four words at the bottom, the top or in a corner, 5 to 9 % of the height."""
    height, width = frames.shape[1:3]
    size = rng.uniform(0.05, 0.09) * height
    words = ["".join(rng.choice("abcdefghijklmnoprstuvwy") for _ in range(rng.randint(2, 8))) for _ in range(4)]
    line, font = " ".join(words[: rng.randint(2, 4)]), ImageFont.load_default(size)
    colour, place = rng.choice(("white", "white", "#ffe63c")), rng.choice(("bottom", "top", "corner"))
    marked = []
    for frame in frames:
        picture = Image.fromarray(frame)
        draw = ImageDraw.Draw(picture)
        left = width - draw.textlength(line, font)
        at = (0.97 * left if place == "corner" else left / 2, (0.86 if place == "bottom" else 0.05) * height)
        draw.text(at, line, colour, font, stroke_width=max(1, round(size / 12)), stroke_fill="black")
        marked.append(np.asarray(picture))
    return np.stack(marked)


def is_calm(frames: np.ndarray) -> bool:
    """Whether the scene itself stands still for over a quarter of the time, which is neither sound nor planted."""
    return float(np.mean([np.array_equal(a, b) for a, b in zip(frames, frames[1:], strict=False)])) > 0.25


def between(kind: str, before: np.ndarray, after: np.ndarray, rng: random.Random) -> np.ndarray | None:
    """The frames of a change from the last frame of a shot to the first of the next."""

    def line(first: np.ndarray, last: np.ndarray, num: int) -> np.ndarray:
        share = (np.arange(1, num + 1) / (num + 1))[:, None, None, None]
        return (first[None] * (1 - share) + last[None] * share).astype(np.uint8)

    if kind == "dissolve":
        return line(before[-1], after[0], rng.randint(8, 36))
    if kind == "fade":
        black = np.zeros_like(before[0])
        num = rng.randint(6, 24)
        dark = np.repeat(black[None], rng.randint(3, 16), 0)
        return np.concatenate([line(before[-1], black, num), dark, line(black, after[0], num)])
    return None


def plant(number: int, seed: int) -> PlantedFilm:
    """A film: every eighth of one shot, the others of 4 to 6 with a change between each two and, at half of the
    shots, a fault."""
    rng = random.Random(f"curate|{seed}|{number}")
    size, film = rng.choice(SIZES), PlantedFilm()
    num = 1 if number % 8 == 7 else rng.randint(4, 6)
    last: np.ndarray | None = None
    for n in range(num):
        fault, draw = "", rng.random() if num > 1 else 1.0
        if draw < 0.5:  # text as often as all others together, since it is the hardest
            fault = "text" if draw < 0.25 else rng.choice([name for name in FAULTS if name != "text"])
        if fault == "black" and film.shots and film.shots[-1][0] == "black":
            fault = ""  # between two black shots there is nothing to see
        frames = with_fault(shot(rng, 100 * number + n, size, seed), fault, rng)
        if last is not None:
            kind = rng.choice(("cut", "cut", "fade", "dissolve"))
            film.add_change(kind, between(kind, last, frames, rng))
        film.add_shot(frames, fault or ("calm" if is_calm(frames) else ""))
        last = frames
    return film


def found_changes(clips: list[FilmClip]) -> Iterator[tuple[str, float, float]]:
    """The changes of shots between the clips of a film."""
    for one, after in zip(clips, clips[1:], strict=False):
        if one.ends != "length":
            yield one.ends or "", one.end_s, after.start_s


def match_changes(planted: PlantedFilm, clips: list[FilmClip], counts: Counter[str]) -> None:
    """Count the changes found (`hit`), missed and false, by kind."""
    left = list(found_changes(clips))
    for kind, start, end in planted.changes:
        near = [c for c in left if c[1] <= end + TOLERANCE_S and start - TOLERANCE_S <= c[2]]
        if near:
            left.remove(min(near, key=lambda c: abs(c[1] - start)))
        counts[f"{kind} {'hit' if near else 'missed'}"] += 1
        inside = sum(max(0.0, min(end, clip.end_s) - max(start, clip.start_s)) for clip in clips)
        counts[f"{kind} ms"] += round(1000 * (end - start))
        counts[f"{kind} ms inside"] += round(1000 * inside)
    for kind, *_ in left:
        counts[f"{'cut' if kind == 'black' else kind} false"] += 1


def match_faults(planted: PlantedFilm, clips: list[FilmClip], counts: Counter[str]) -> None:
    """Count for each filter the shots with and without its fault, by the clip that covers most of them."""
    for fault, start, end in planted.shots:
        overlaps = [max(0.0, min(end, clip.end_s) - max(start, clip.start_s)) for clip in clips]
        if max(overlaps, default=0.0) <= 0:
            continue
        scores = clips[int(np.argmax(overlaps))].scores
        for name, (column, side, limit) in FAULTS.items():
            if fault and fault != name and not (fault == "calm" and name != "frozen"):
                continue  # a black shot stands still as well, a blurred one may: only sound shots can be false alarms
            value = scores[column]
            is_out = value is not None and (value > limit if side == "most" else value < limit)
            is_there = fault == name
            outcome = ("hit" if is_out else "missed") if is_there else ("false" if is_out else "right")
            counts[f"{name} {outcome}"] += 1


def shares(counts: Counter[str], name: str) -> dict[str, Any]:
    """Precision, recall and F1 with intervals."""
    hit, missed, false = (counts[f"{name} {outcome}"] for outcome in ("hit", "missed", "false"))
    figures: dict[str, Any] = {"planted": hit + missed, "false": false, "right": counts[f"{name} right"]}
    for what, right, num in (
        ("precision", hit, hit + false),
        ("recall", hit, hit + missed),
        ("f1", 2 * hit, 2 * hit + missed + false),
    ):
        low, high = wilson(right, num)
        figures[what] = {"value": right / num if num else None, "low": low, "high": high, "n": num}
    return figures


def main() -> None:
    """Plant, curate, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--films", type=int, default=40, help="films to plant (default: 40)")
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--copies", type=int, default=200, help="to plant beside as many clips (default: 200)")
    parser.add_argument("--real", type=Path, help="a folder of real films, whose clips are listed")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the films and the set there")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = args.keep or Path(temporary)
        (place / "films").mkdir(parents=True, exist_ok=True)
        planted = {}
        for number in range(args.films):
            film = plant(number, args.seed)
            encode((frame for part in film.parts for frame in part), place / "films" / f"{number:03d}.mp4", FPS, crf=23)
            planted[f"{number:03d}.mp4"] = film
            film.parts = []
        rows = clips_of(place / "films", place / "set", args.workers)
        report: dict[str, Any] = {"command": command(args), "films": args.films, "seed": args.seed, "fps": FPS}
        report |= figures(planted, rows)
        if args.copies:
            report["copies"] = measure_copies(place, 2 * args.copies, args.copies, args.seed, args.workers)
        if args.real is not None:
            real = clips_of(args.real, place / "real", args.workers)
            report["real"] = {
                name: [(clip.begins, clip.start_s, clip.end_s) for clip in clips] for name, clips in real.items()
            }
    show(report)
    if args.output is not None:
        args.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def clips_of(films: Path, folder: Path, workers: int) -> dict[str, list[FilmClip]]:
    """The clips of each film, by all steps and without limits."""
    config = ExecutorConfig(workers=workers, cache=folder / ".cineloop")
    plan = read_plan(None, [f"steps=[{', '.join((*STEPS, 'text'))}]"])
    done = curate(discover([str(films)]), plan, folder, config, show_progress=True)
    return {film.id: film.clips for film in done.films if film.error is None}


def figures(planted: dict[str, PlantedFilm], clips: dict[str, list[FilmClip]]) -> dict[str, Any]:
    """All shares, and the films of one shot."""
    counts: Counter[str] = Counter()
    whole = []
    for name, film in planted.items():
        match_changes(film, clips[name], counts)
        match_faults(film, clips[name], counts)
        if not film.changes:
            whole.append(len(clips[name]) == 1)
    return {
        "changes": {
            kind: shares(counts, kind) | {"ms": counts[f"{kind} ms"], "ms_inside": counts[f"{kind} ms inside"]}
            for kind in CHANGES
        },
        "faults": {name: shares(counts, name) | {"limit": list(FAULTS[name])} for name in FAULTS},
        "whole": {"kept": sum(whole), "n": len(whole)},
    }


def command(args: argparse.Namespace) -> str:
    """The command without paths of this machine."""
    real = " --real films/" if args.real is not None else ""
    return f"python scripts/measure_curate.py --films {args.films} --seed {args.seed}{real}"


def show(report: dict[str, Any]) -> None:
    """Print the figures as a Markdown table."""
    print("| | planted | false | precision | recall | F1 |\n|---|---|---|---|---|---|")
    for name, figures in {**report["changes"], **report["faults"]}.items():
        cells = []
        for what in ("precision", "recall", "f1"):
            one = figures[what]
            cells.append("–" if one["value"] is None else f"{one['value']:.3f} [{one['low']:.3f}, {one['high']:.3f}]")
        sound = f" of {figures['false'] + figures['right']}" if figures["right"] else ""
        print(f"| {name} | {figures['planted']} | {figures['false']}{sound} | {' | '.join(cells)} |")
    for name in ("fade", "dissolve"):
        one = report["changes"][name]
        print(f"\n{name}s: {one['ms_inside'] / 1000:.1f} of {one['ms'] / 1000:.1f} seconds were left in clips")
    if "copies" in report:
        show_copies(report["copies"])
    print(f"\nfilms of one shot kept whole: {report['whole']['kept']} of {report['whole']['n']}")
    for name, clips in report.get("real", {}).items():
        print(f"{name}: {len(clips)} clips: {clips}")


if __name__ == "__main__":
    main()
