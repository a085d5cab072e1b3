"""Measure questions about a long film of the cartoon world, whose every event is known.

In: a captioner (the starter by default). Out: a table on stdout and, with -o, JSON: of questions about a moment ("What
happens at 34:22?") the share answered with every figure and action right, and of questions that only the whole film
answers (how many times, which first, before or after) the share right as `v2t ask` answers them, as the captioner reads
its notes, as it reads the true notes, and from frames spread over the whole film (the baseline that keeps no notes);
Wilson intervals of 95 %. Then the time the notes took and the peak memory of this process.

    python scripts/measure_film.py --minutes 60 --moments 100 --whole 100 -o film.json
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cineloop.clock import format_clock
from cineloop.intervals import wilson
from cineloop.manifest import read_manifest
from cineloop.world.language.notes import FILM_KINDS, film_question, notes
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import truth
from cineloop.world.scenes.corpus import write_world
from v2t.ask.answer import answer
from v2t.ask.settings import AskConfig
from v2t.ask.viewer import Viewer
from v2t.backends import user_turn
from v2t.data.notes import Note, notes_prompt
from v2t_eval.metrics.answers import normalise

Facts = dict[str, Any]
CLEAR_S = 0.3  # how far a second that is asked about lies from where anything begins or ends


def moments(facts: Facts, count: int, rng: random.Random) -> list[int]:
    """Whole seconds at which something goes on and nothing begins or ends."""
    edges = [e[side] for e in facts["events"] for side in ("start_s", "end_s")]
    edges += [shot["start_s"] for shot in facts["shots"]]
    seconds = [
        s
        for s in range(1, int(facts["duration_s"]))
        if all(abs(s - edge) > CLEAR_S for edge in edges)
        and any(e["start_s"] < s < e["end_s"] for e in facts["events"])
    ]
    return sorted(rng.sample(seconds, min(count, len(seconds))))


def true_actions(facts: Facts, second: float) -> Counter:
    """What goes on at a second, as (kind of figure, action)."""
    now = [e for e in facts["events"] if e["start_s"] < second < e["end_s"]]
    return Counter((facts["actors"][e["actor"]]["kind"], e["action"]) for e in now)


def stated_actions(text: str) -> Counter:
    """What an answer says goes on, as (kind of figure, action)."""
    stated = parse(text)
    kinds = [actor.kind for actor in stated.actors]
    return Counter((kinds[e.actor] if e.actor is not None else None, e.action) for e in stated.events)


def ask_moments(ask: Callable[[str], str], facts: Facts, count: int, seed: int) -> list[dict[str, Any]]:
    """Each question about a moment, what was answered, what is true, whether both agree."""
    rows = []
    for second in moments(facts, count, random.Random(f"moments|{seed}")):
        question = f"What happens at {format_clock(second)}?"
        text = ask(question)
        true = true_actions(facts, second)
        rows.append(
            {"question": question, "answer": text, "true": str(dict(true)), "right": stated_actions(text) == true}
        )
    return rows


def whole_questions(facts: Facts, count: int, seed: int) -> list[tuple[str, str, str]]:
    """(kind, question, answer) of questions about the whole film, as many of each kind."""
    rng, all_notes, questions = random.Random(f"film|{seed}"), notes(facts), []
    while len(questions) < count:
        kind = FILM_KINDS[len(questions) % len(FILM_KINDS)]
        made = film_question(all_notes, kind, rng)
        if made and made not in [(q, a) for _, q, a in questions]:
            questions.append((kind, *made))
    return questions


def true_notes(facts: Facts, question: str, most: int = 12) -> list[Note]:
    """The true notes on those whom a question names."""
    chosen = [n for n in notes(facts) if n.key and n.key[0] in question]
    return [Note(start_s=n.start_s, end_s=n.end_s, text=n.text + ".") for n in chosen[:most]]


def share(title: str, rows: list[dict[str, Any]], key: str = "right") -> dict[str, Any]:
    """Print and return the share of rows that are right."""
    right = sum(row[key] for row in rows)
    low, high = wilson(right, len(rows))
    print(f"{title:<52} {right / len(rows):.3f} [{low:.3f}, {high:.3f}] n={len(rows)}")
    return {"value": right / len(rows), "low": low, "high": high, "n": len(rows)}


def main() -> None:
    """Draw the film, take notes, ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--whole", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--film", type=Path, help="folder of a film drawn before (mp4 and manifest.jsonl)")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    report: dict[str, Any] = {"arguments": {key: str(value) for key, value in vars(args).items()}}
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.film or Path(scratch) / "film"
        if args.film is None:
            write_world(1, args.seed, "seen", (128, 128), seconds=(60 * args.minutes,) * 2, out=folder)
        row = next(iter(read_manifest(folder / "manifest.jsonl")))
        facts, path = row["facts"], folder / row["path"]
        print(f"{facts['duration_s'] / 60:.1f} minutes, {len(facts['shots'])} shots, {len(truth(facts).events)} events")
        with Viewer(AskConfig(model=args.model, notes=Path(scratch) / "notes.jsonl")) as viewer:
            film = viewer.video(path)
            report["model"] = viewer.model
            begun = time.monotonic()
            rows = ask_moments(lambda question: answer(viewer, film, question).answer, facts, args.moments, args.seed)
            report["moments"] = {**share("moments", rows), "seconds": time.monotonic() - begun, "rows": rows}
            begun = time.monotonic()
            viewer.take_notes(film, (0.0, film.duration_s))
            report["notes_s"] = time.monotonic() - begun
            rows = []
            for kind, question, true in whole_questions(facts, args.whole, args.seed):
                shown = user_turn(notes_prompt(true_notes(facts, question), question))
                config, figures = viewer.config, {}
                for look in ("auto", "notes", "whole"):
                    viewer.config = replace(config, look=look)
                    figures[look] = answer(viewer, film, question)
                viewer.config = config
                texts = {
                    "asked": figures["auto"].answer,
                    "notes": figures["notes"].answer,
                    "frames": figures["whole"].answer,
                    "true_notes": viewer.batcher.generate(viewer.request(shown)).text,
                }
                right = {f"{name}_right": normalise(text) == normalise(true) for name, text in texts.items()}
                seen = [note.line() for note in figures["notes"].notes]
                rows.append({"kind": kind, "question": question, "true": true, **texts, **right, "shown": seen})
        report["whole"] = {
            "as asked": share("whole film, as v2t ask answers", rows, "asked_right"),
            **{kind: share(f"  {kind}", [r for r in rows if r["kind"] == kind], "asked_right") for kind in FILM_KINDS},
            "from notes": share("whole film, read from notes", rows, "notes_right"),
            "from frames": share("whole film, frames spread over it (baseline)", rows, "frames_right"),
            "from true notes": share("whole film, read from the true notes", rows, "true_notes_right"),
            "rows": rows,
        }
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    report["peak_mib"] = peak
    print(f"notes took {report['notes_s']:.0f} s, peak memory of this process {peak:.0f} MiB")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
