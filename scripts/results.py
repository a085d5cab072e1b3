#!/usr/bin/env python
"""Measure the starters and write their figures into the README, docs/results.md and the cards.

    python scripts/results.py measure                 # what was measured on other weights, or never
    python scripts/results.py measure generator vae   # these alone
    python scripts/results.py write                   # the documents from docs/figures
    python scripts/results.py write --check           # exit 1 where a document or the weights differ from the figures

In: the files of v2t/starter and t2v/starter; docs/figures/*.json, the outputs of the measuring scripts with command,
date and a hash of those files; what `MEASURES` does not make is named in `STORED`. Out: those files, and in the
documents what stands between `<!-- figures: NAME -->` and `<!-- end -->` (tables) or between `<!--=NAME-->` and
`<!--/-->` (values in a sentence); docs/curves.svg.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]

import results_correction  # noqa: E402, F401  (adds its tables, as the next do)
import results_curate  # noqa: E402, F401  (adds its tables, as the next two do)
import results_engines  # noqa: E402, F401
import results_metrics  # noqa: E402, F401
import results_ranking  # noqa: E402, F401
import results_simulated  # noqa: E402, F401
from results_curves import PICTURE, picture  # noqa: E402
from results_tables import BLOCKS, CAPTIONER, DUAL, FIGURES, GENERATOR, ROOT, VALUES, load  # noqa: E402

from cineloop.files import content_key, text_key, write_atomic  # noqa: E402
from v2t.model import video_text  # noqa: E402

DOCUMENTS = (
    "README.md",
    "docs/results.md",
    "docs/curating.md",
    "docs/audit.md",
    "docs/figures/correction.md",
    "docs/figures/curating.md",
    "docs/engines.md",
    "docs/figures/engines.md",
    "docs/figures/gate.md",
    "docs/figures/metrics.md",
    "docs/figures/stopping.md",
    "docs/figures/picking.md",
    "docs/picking.md",
    "docs/figures/ranking.md",
    "docs/ranking.md",
    "docs/gate-statistics.md",
    "docs/gate.md",
    "docs/learning.md",
    *(f"{each}/README.md" for each in (CAPTIONER, DUAL, GENERATOR)),
)
JUDGE = f"{CAPTIONER}/judge.json"  # the captioner as a judge: which answers it offers, and how sure they are
# Name → the models (folders, and files that their folder does not bring) it depends on, and the command; its output
# goes to docs/figures/NAME.json by -o.
MEASURES: dict[str, tuple[tuple[str, ...], str]] = {
    "captioner": ((CAPTIONER,), "scripts/measure_starter.py --num 1000 --controls 150 --questions 1"),
    "captioner-time": ((CAPTIONER,), "scripts/measure_starter.py --num 400 --controls 0 --about-time --splits seen"),
    "captioner-turns": ((CAPTIONER,), "scripts/measure_starter.py --num 300 --second-turns --splits seen"),
    "film": ((CAPTIONER,), "scripts/measure_film.py --minutes 60 --moments 100 --whole 100"),
    "dual": ((DUAL,), "scripts/measure_dual.py --num 300"),
    "generator": ((GENERATOR,), "scripts/measure_generator.py --steps 16 --prompts 256 --seeds 2 --diversity 4"),
    "ceiling": ((GENERATOR,), "scripts/measure_generator.py --reconstructions --prompts 256 --seeds 1 --splits seen"),
    "vae": ((GENERATOR,), "scripts/measure_vae.py --num 256 --pca 256"),
    "judge": ((CAPTIONER, JUDGE, GENERATOR), "scripts/measure_loop.py judge --ship-audit"),
    "roundtrip": ((CAPTIONER, JUDGE, GENERATOR), "scripts/measure_loop.py roundtrip"),
    # Without JUDGE: these figures are of the calibration before the one of 2026-11-23, and are to be measured again.
    "selection": ((CAPTIONER, GENERATOR), "scripts/measure_loop.py selection"),
    "gate-clips": ((CAPTIONER, JUDGE, GENERATOR), "scripts/measure_loop.py gate"),
    "judged": ((CAPTIONER, JUDGE, GENERATOR), "scripts/measure_judged.py --prompts 240"),
    "curate": ((), "scripts/measure_curate.py --films 40 --seed 19"),
    "footage": ((), "scripts/measure_footage.py --films 40 --more 70 --seed 2 --real clips/"),
    "stopping": ((), "scripts/measure_stopping.py --runs 400"),
    "camera": ((), "scripts/measure_metrics.py camera --num 16 --real clips/"),
    "near-copies": ((CAPTIONER,), "scripts/measure_metrics.py near-copies --num 12 --real clips/"),
    "pick": ((), "scripts/measure_pick.py --runs 100"),
    "ranking": ((), "scripts/measure_ranking.py --runs 400"),
    "compositional": ((CAPTIONER, JUDGE), "scripts/measure_compositional.py --num 100"),
}
# What lies in docs/figures beside, and where it is from.
STORED = {
    "correction": "scripts/measure_correction.py -o runs/gate --figures --runs 400: simulated, of no weights",
    "engines": "scripts/measure_engines.py and scripts/simulate_engines.py: of clips without a codec, and simulated",
    "gate": "scripts/measure_gate.py -o runs/gate --figures: simulated, of no weights",
    "goodhart": "scripts/measure_goodhart.py of commit 49715f9: history, its table is text",
    "learning": "scripts/measure_learning.py of commit 49715f9: history, its table is text",
    "training-captioner": "scripts/ship.py",
    "training-dual": "scripts/ship.py",
    "training-generator": "scripts/ship.py",
    "trials": "logs of trials that were not shipped, typed by hand",
}
# Rows of single clips, and where the output went: the figures need neither.
DROPPED = ("rows", "seen captions", "unseen captions", "out", "output")
BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
VALUE = re.compile(r"(<!--=([\w.-]+)-->).*?(<!--/-->)", re.DOTALL)


# --- measuring
def weights_key(models: Sequence[str]) -> str:
    """A hash of every file of these models but their cards, as 12 hexadecimal digits: weights, configs, tokenizers.
    What lies in the captioner's folder and only some measurements look through, the judge's calibration and the
    encoder of clips, counts where it is named: `JUDGE`, `DUAL`."""
    files = {path for model in models for path in (ROOT / model, *(ROOT / model).rglob("*")) if path.is_file()}
    apart = {ROOT / JUDGE} if JUDGE not in models else set()
    if DUAL not in models:
        apart |= {ROOT / DUAL / name for name in (video_text.WEIGHTS, video_text.CONFIG)}
    counted = sorted(path for path in files - apart if path.name != "README.md")
    return text_key("".join(f"{path.relative_to(ROOT)}={content_key(path)};" for path in counted).encode())[:12]


def outdated_measures() -> list[str]:
    """Measurements whose figures are of other weights than today's, or are missing."""
    known = {name: load(name)["measured"]["weights"] for name in MEASURES if (FIGURES / f"{name}.json").exists()}
    return [name for name, (models, _) in MEASURES.items() if known.get(name) != weights_key(models)]


def measure(names: Sequence[str]) -> None:
    """Run the named measurements, or all whose weights have changed; each is stored as soon as it is done."""
    for name in names or outdated_measures():
        models, command = MEASURES[name]
        target = (FIGURES / f"{name}.json").resolve()  # a link to what a package ships
        partial = FIGURES / f"{name}.partial"
        print(f"{name}: python {command}", flush=True)
        subprocess.run([sys.executable, *shlex.split(command), "-o", str(partial)], cwd=ROOT, check=True)
        figures = json.loads(partial.read_text("utf-8").replace(f"{ROOT}/", ""))  # no path of this machine
        partial.unlink()
        stamp = {
            "command": f"python {command}",
            "device": f"CPU, {os.cpu_count()} cores",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "weights": weights_key(models),
        }
        text = json.dumps({"measured": stamp, **without_rows(figures)}, indent=1) + "\n"
        write_atomic(target, text.encode())


def without_rows(figures: Any) -> Any:
    """The figures without what is in `DROPPED`."""
    if isinstance(figures, dict):
        return {key: without_rows(value) for key, value in figures.items() if key not in DROPPED}
    return figures


# --- documents
def fill(text: str, path: str) -> str:
    """A document with its figures in place.

    Raises:
        SystemExit: a mark that names no figure.
    """

    def put(match: re.Match[str], known: dict[str, Callable[[], str]], end: str = "") -> str:
        before, name, after = match.groups()
        if name not in known:
            raise SystemExit(f"{path}: no figure is called {name!r}; there are {', '.join(known)}")
        return before + known[name]() + end + after

    return VALUE.sub(lambda match: put(match, VALUES), BLOCK.sub(lambda match: put(match, BLOCKS, "\n"), text))


def write(*, check: bool) -> int:
    """Fill the documents; with `check` only compare, the weights too. Returns the exit code."""
    stale = []
    for name in DOCUMENTS:
        path = ROOT / name
        text = path.read_text("utf-8")
        if (new := fill(text, name)) != text:
            stale.append(name)
            if not check:
                write_atomic(path, new.encode())
    if not PICTURE.exists() or PICTURE.read_text("utf-8") != picture():
        stale.append(str(PICTURE.relative_to(ROOT)))
        if not check:
            write_atomic(PICTURE, picture().encode())
    if stale:
        print(("differ from docs/figures: " if check else "written: ") + ", ".join(stale))
    if others := outdated_measures():
        print(f"of other weights than these: {', '.join(others)}; run: python scripts/results.py measure")
    return int(check and bool(stale or others))


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verb = verbs.add_parser("measure", help="run the measurements whose weights have changed, or the named ones")
    verb.add_argument("names", nargs="*", choices=[[], *MEASURES], metavar="NAME", help=", ".join(MEASURES))
    verb = verbs.add_parser("write", help="write the figures into the documents")
    verb.add_argument("--check", action="store_true", help="change nothing; exit 1 where a document differs")
    args = parser.parse_args()
    if args.verb == "measure":
        measure(args.names)
        return 0
    return write(check=args.check)


if __name__ == "__main__":
    sys.exit(main())
