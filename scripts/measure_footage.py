"""How often `v2t-eval curate` is right on films that are no cartoons (`footage.py`), beside PySceneDetect.

In: a seed, a folder of real clips or none. Out: a row for each film (shape, codec, what it shows, whether it opens, its
clips, bars, seconds of processor time), and recall and precision of changes of shots by kind for ours and for
PySceneDetect's content and adaptive detectors as its documentation calls them; films of one shot kept whole; bars
found, missed and false. Small films of the next seed (`--more`), H.264 of 180 lines, are counted with them.

    python scripts/measure_footage.py --films 40 --more 70 --seed 2 --real clips/
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import footage
from footage import CHANGES, Film

from cineloop.discovery import discover
from cineloop.intervals import wilson
from v2t_eval.core.executor import ExecutorConfig
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.recipe import STEPS, read_plan
from v2t_eval.curate.run import curate

TOLERANCE_S = 0.5  # between a planted change and the one that was found
Span = tuple[str, float, float]
OURS, CONTENT, ADAPTIVE = "ours", "PySceneDetect content", "PySceneDetect adaptive"


def changes_of(clips: Sequence[FilmClip]) -> list[Span]:
    """The changes of shots between the clips of a film."""
    pairs = zip(clips, clips[1:], strict=False)
    return [(one.ends or "", one.end_s, after.start_s) for one, after in pairs if one.ends != "length"]


def peer(path: Path, name: str) -> list[Span]:
    """What PySceneDetect finds by a detector with its own settings."""
    from scenedetect import AdaptiveDetector, ContentDetector, SceneManager, open_video

    manager = SceneManager()
    manager.add_detector(ContentDetector() if name == CONTENT else AdaptiveDetector())
    manager.detect_scenes(open_video(str(path), backend="pyav"))
    starts = [float(start.seconds) for start, _ in manager.get_scene_list(start_in_scene=True)[1:]]
    return [("cut", at_s, at_s) for at_s in starts]


def match(planted: Sequence[Span], spans: Sequence[Span], counts: Counter[str]) -> None:
    """Count the planted changes found (`hit`) and missed by kind, and what was found beside them (`false`)."""
    left = list(spans)
    for kind, start, end in planted:
        near = [c for c in left if c[1] <= end + TOLERANCE_S and start - TOLERANCE_S <= c[2]]
        if near:
            left.remove(min(near, key=lambda c: abs(c[1] - start)))
        counts[f"{kind} {'hit' if near else 'missed'}"] += 1
    for kind, *_ in left:
        counts[f"false {kind}"] += 1
    if not planted:
        counts["one shot"] += 1
        counts["whole"] += not spans


def measure_footage(place: Path, num: int, num_more: int, seed: int, real: Path | None, workers: int) -> dict[str, Any]:
    """Make the films (those in `place` are taken as they are), curate them, and compare."""
    counts: dict[str, Counter[str]] = {name: Counter() for name in (OURS, CONTENT, ADAPTIVE)}
    table: list[dict[str, Any]] = []
    for folder, of, own_seed, side in (("footage", num, seed, None), ("more", num_more, seed + 1, 180)):
        (place / folder).mkdir(parents=True, exist_ok=True)
        films = {f"{n:03d}.mkv": footage.plant(n, own_seed, real, side) for n in range(of)}
        for name, film in films.items():
            if not (place / folder / name).exists():
                footage.write(film, place / folder / name, "h264" if side else None)
        config = ExecutorConfig(workers=workers, cache=place / f"{folder}-set" / ".cineloop")
        plan = read_plan(None, [f"steps=[{', '.join((*STEPS, 'partition'))}]", "settings.partition.val=0.3"])
        began = time.process_time()
        done = curate(discover([str(place / folder)]), plan, place / f"{folder}-set", config, show_progress=True)
        spent = time.process_time() - began if workers == 1 else None
        for one in done.films:
            table.append(row := _row(one.id, films[one.id], one.clips, one.error))
            row["set"] = folder
            if one.error is None:
                _compare(films[one.id], place / folder / one.id, one.clips, counts)
        sides: dict[str, set[str | None]] = {}
        for each in done.sound:
            sides.setdefault(each.source_sha, set()).add(each.links.split)
        counts[OURS]["split leaks"] += sum(len(figures) > 1 for figures in sides.values())
        counts[OURS]["films"] += len(done.films)
        counts[OURS]["failed"] += len(done.failed)
        if spent is not None:
            counts[OURS]["ms"] += round(1000 * spent)
    return {"films": num, "more": num_more, "seed": seed, "table": table, "detectors": _shares(counts),
            "counts": {name: dict(sorted(own.items())) for name, own in counts.items()}}  # fmt: skip


def _compare(film: Film, path: Path, clips: Sequence[FilmClip], counts: dict[str, Counter[str]]) -> None:
    match(film.spans, changes_of(clips), counts[OURS])
    for name in (CONTENT, ADAPTIVE):
        match(film.spans, peer(path, name), counts[name])
    for kind, start, end in film.spans:
        inside = sum(max(0.0, min(end, clip.end_s) - max(start, clip.start_s)) for clip in clips)
        counts[OURS][f"{kind} ms"] += round(1000 * (end - start))
        counts[OURS][f"{kind} ms inside"] += round(1000 * inside)
    for clip in clips:
        is_there, is_cropped = any(film.bars), clip.crop is not None
        dark = (clip.scores["black_share"] or 0) > 0.5  # a faded part shows no edge
        if not (is_there and dark):
            outcome = ("missed", "hit") if is_there else ("right", "false")
            counts[OURS][f"bars {outcome[is_cropped]}"] += 1


def _row(id: str, film: Film, clips: Sequence[FilmClip], error: Any) -> dict[str, Any]:
    """What is known of a film."""
    return {
        "film": id,
        "size": f"{film.size[1]}x{film.size[0]}",
        "codec": film.codec,
        "shots": [name for name, *_ in film.shots],
        "planted": [kind for kind, *_ in film.spans],
        "found": [kind for kind, *_ in changes_of(clips)],
        "flash": sum(flash is not None for *_, flash in film.shots),
        "bars": any(film.bars),
        "cropped": sum(clip.crop is not None for clip in clips),
        "clips": len(clips),
        "opens": error is None,
    }


def _shares(counts: dict[str, Counter[str]]) -> dict[str, Any]:
    """Recall by kind, and recall and precision of all, with intervals."""
    figures: dict[str, Any] = {}
    for name, own in counts.items():
        hits = {kind: (own[f"{kind} hit"], own[f"{kind} hit"] + own[f"{kind} missed"]) for kind in CHANGES}
        false = sum(value for key, value in own.items() if key.startswith("false "))
        hit, num = (sum(pair[n] for pair in hits.values()) for n in (0, 1))
        shares = {
            **hits,
            "recall": (hit, num),
            "precision": (hit, hit + false),
            "whole": (own["whole"], own["one shot"]),
        }
        figures[name] = {}
        for what, (right, of) in shares.items():
            low, high = wilson(right, of)
            figures[name][what] = {"value": right / of if of else None, "low": low, "high": high, "n": of, "hit": right}
    return figures


def show(figures: dict[str, Any]) -> None:
    """Print the figures as Markdown."""
    columns = ("film", "size", "codec", "shots", "planted", "found", "clips", "cropped", "opens")
    print(f"\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for row in figures["table"]:
        if row["set"] == "footage":
            lists = {name: ", ".join(row[name]) or "–" for name in ("shots", "planted", "found")}
            stated = {"cropped": f"{row['cropped']}{' of bars' if row['bars'] else ''}"}
            stated["opens"] = "yes" if row["opens"] else "no"
            print(f"| {' | '.join(str((row | lists | stated)[name]) for name in columns)} |")
    names = (*CHANGES, "recall", "precision", "whole")
    print(f"\n| | {' | '.join(names)} |\n|---{'|---' * len(names)}|")
    for name, own in figures["detectors"].items():
        cells = [f"{own[what]['hit']} of {own[what]['n']}" for what in names]
        print(f"| {name} | {' | '.join(cells)} |")
    print(f"\n{figures['counts'][OURS]}")


def main() -> None:
    """Plant, curate, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--films", type=int, default=40, help="films of all shapes and codecs (default: 40)")
    parser.add_argument("--more", type=int, default=70, help="small films (default: 70)")
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--real", type=Path, help="a folder of real clips, of which frames and shots are taken")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep films and sets there; films there are not made")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write the figures as JSON")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = measure_footage(
            args.keep or Path(temporary), args.films, args.more, args.seed, args.real, args.workers
        )
    show(figures)
    if args.output is not None:
        args.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
