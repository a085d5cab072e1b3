#!/usr/bin/env python
"""Measure the starters and write their figures into the README, docs/results.md and the cards: none is typed by hand.

    python scripts/results.py measure                 # what was measured on other weights, or never
    python scripts/results.py measure generator vae   # these alone
    python scripts/results.py write                   # the documents from docs/figures
    python scripts/results.py write --check           # exit 1 where a document differs from the figures

In: the weights of v2t/starter and t2v/starter; docs/figures/*.json, the outputs of the measuring scripts with command,
date and a hash of the weights. Out: those files, and in the documents what stands between `<!-- figures: NAME -->` and
`<!-- end -->` (tables) or between `<!--=NAME-->` and `<!--/-->` (values in a sentence).
"""

from __future__ import annotations

import argparse
import datetime
import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from cineloop.files import content_key, text_key, write_atomic

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
DOCUMENTS = ("README.md", "docs/results.md", "v2t/starter/README.md", "t2v/starter/README.md")
CAPTIONER, GENERATOR = "v2t/starter", "t2v/starter"
# Name → the folders of weights it depends on, and the command; its output goes to docs/figures/NAME.json by -o.
MEASURES: dict[str, tuple[tuple[str, ...], str]] = {
    "captioner": ((CAPTIONER,), "scripts/measure_starter.py --num 1000 --controls 150 --questions 1"),
    "captioner-time": ((CAPTIONER,), "scripts/measure_starter.py --num 400 --controls 0 --about-time --splits seen"),
    "film": ((CAPTIONER,), "scripts/measure_film.py --minutes 60 --moments 50 --whole 20"),
    "generator": ((GENERATOR,), "scripts/measure_generator.py --steps 16 --prompts 256 --seeds 2 --diversity 4"),
    "ceiling": ((GENERATOR,), "scripts/measure_generator.py --reconstructions --prompts 256 --seeds 1 --splits seen"),
    "vae": ((GENERATOR,), "scripts/measure_vae.py --num 256 --pca 256"),
    "judge": ((CAPTIONER, GENERATOR), "scripts/measure_loop.py judge --ship-audit"),
    "roundtrip": ((CAPTIONER, GENERATOR), "scripts/measure_loop.py roundtrip"),
    "selection": ((CAPTIONER, GENERATOR), "scripts/measure_loop.py selection"),
    "gate-clips": ((CAPTIONER, GENERATOR), "scripts/measure_loop.py gate"),
}
# Rows of single clips, and where the output went: the figures need neither.
DROPPED = ("rows", "seen captions", "unseen captions", "out", "output")
BLOCK = re.compile(r"(<!-- figures: ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
VALUE = re.compile(r"(<!--=([\w.-]+)-->).*?(<!--/-->)", re.DOTALL)
FACTORS = ("place", "color", "kind", "size", "action", "direction", "speed", "to_color", "joint")
FACTS = ("actor", "color", "count", "place", "action", "direction", "order", "joint")
CONTROLS = ("blank", "one frame", "shuffled", "other clip")


# --- measuring
def weights_key(folders: Sequence[str]) -> str:
    """A hash of the weights in these folders, as 12 hexadecimal digits."""
    files = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.safetensors"))
    return text_key("".join(f"{path.relative_to(ROOT)}={content_key(path)};" for path in files).encode())[:12]


def measure(names: Sequence[str]) -> None:
    """Run the named measurements, or all whose weights have changed; each is stored as soon as it is done."""
    for name in names or list(MEASURES):
        folders, command = MEASURES[name]
        target, weights = FIGURES / f"{name}.json", weights_key(folders)
        if not names and target.exists() and load(name)["measured"]["weights"] == weights:
            print(f"{name}: measured on these weights already")
            continue
        partial = target.with_suffix(".partial")
        print(f"{name}: python {command}", flush=True)
        subprocess.run([sys.executable, *shlex.split(command), "-o", str(partial)], cwd=ROOT, check=True)
        found = json.loads(partial.read_text("utf-8").replace(f"{ROOT}/", ""))  # no path of this machine
        partial.unlink()
        stamp = {
            "command": f"python {command}",
            "device": f"CPU, {os.cpu_count()} cores",
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "weights": weights,
        }
        text = json.dumps({"measured": stamp, **without_rows(found)}, indent=1) + "\n"
        write_atomic(target, text.encode())


def without_rows(found: Any) -> Any:
    """The figures without what is in `DROPPED`."""
    if isinstance(found, dict):
        return {key: without_rows(value) for key, value in found.items() if key not in DROPPED}
    return found


@cache
def load(name: str) -> dict[str, Any]:
    """The figures of one measurement."""
    found: dict[str, Any] = json.loads((FIGURES / f"{name}.json").read_text("utf-8"))
    return found


# --- figures as text
def share(figure: dict[str, Any], digits: int = 3) -> str:
    """A share with its interval and n."""
    return f"{figure['value']:.{digits}f} [{figure['low']:.{digits}f}, {figure['high']:.{digits}f}] n={figure['n']}"


def short(value: float, low: float, high: float) -> str:
    """A share with half the width of its interval: .94 ± .01."""
    return f"{value:.2f} ± {max(value - low, high - value):.2f}".replace("0.", ".")


def rows(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def source(*names: str) -> str:
    """Command, device and date of measurements, for the line above a table."""
    stamps = [load(name)["measured"] for name in names]
    stated = "; ".join(f"`{stamp['command']}`, {stamp['device']}, {stamp['date']}" for stamp in stamps)
    return f"{stated}; intervals of 95 %."


def captioner_summary() -> str:
    """Facts right in captions, by split, and under controls."""
    found, body = load("captioner"), []
    for title, split in (("seen combinations", "seen"), ("unseen combinations", "unseen")):
        figures = [found[split][f"facts/{fact}"] for fact in FACTS]
        body.append([title, *(short(f["value"], f["low"], f["high"]) for f in figures)])
    for control in ("shuffled", "one frame", "blank"):
        cells = [f"{found[control][f'facts/{fact}']['value']:.2f}".replace("0.", ".") for fact in FACTS]
        body.append([f"control: {control} ({found['arguments']['controls']} clips)", *cells])
    head = ["", "kind of actor", "colour", "how many", "place", "action", "direction", "order of events", "everything"]
    return source("captioner") + "\n\n" + rows(head, body)


def captioner_card() -> str:
    """A row a kind of fact or answer: both splits, each control."""
    found = load("captioner")
    controls = [name for name in CONTROLS if name in found]
    body = []
    for kind in found["seen"]:
        cells = [share(found[split][kind]) if kind in found[split] else "–" for split in ("seen", "unseen")]
        cells += [f"{found[name][kind]['value']:.2f}" if kind in found[name] else "–" for name in controls]
        body.append([kind, *cells])
    return source("captioner") + "\n\n" + rows(["fact", "seen", "unseen", *controls], body)


def captioner_time() -> str:
    """Answers about time, spans, and questions about a long film."""
    film = load("film")
    found = {kind: figure for kind, figure in load("captioner-time")["seen"].items() if not kind.startswith("facts/")}
    found |= {"film: what happens at a moment": film["moments"]}
    found |= {f"film: the whole, {name}": figure for name, figure in film["whole"].items()}
    body = [[kind, share(figure)] for kind, figure in found.items()]
    return source("captioner-time", "film") + "\n\n" + rows(["what", "share right, or mean IoU"], body)


def factor(name: str, split: str, measurement: str = "generator") -> dict[str, Any]:
    """One factor of obedience on one split."""
    factors = load(measurement)["splits"][split]["factors"]
    return next(dict(row) for row in factors if row["factor"] == name)


def generator_summary() -> str:
    """Obedience by split, chance, and the autoencoder's ceiling."""
    body = []
    titles = (("seen combinations", "seen"), ("unseen combinations", "unseen"), ("unseen wordings", "wording"))
    for title, split in titles:
        found = [factor(name, split) for name in FACTORS]
        body.append([title, *(short(row["share"], row["low"], row["high"]) for row in found)])
    chances = [factor(name, "seen")["chance"] for name in FACTORS]
    body.append(["chance (prompts of other clips)", *("–" if c is None else f"{c:.2f}" for c in chances)])
    ceiling = [factor(name, "seen", "ceiling")["share"] for name in FACTORS]
    body.append(["real clips after the autoencoder", *(f"{value:.2f}" for value in ceiling)])
    head = ["", "place", "colour", "kind", "size", "action", "direction", "speed", "new colour", "everything asked"]
    return source("generator", "ceiling") + "\n\n" + rows(head, body)


def generator_card() -> str:
    """All figures of obedience and the controls."""
    from measure_generator import markdown

    return f"{source('generator')}\n\n{markdown(load('generator'))}\n\n{source('ceiling')} " + ", ".join(
        f"{name} {factor(name, 'seen', 'ceiling')['share']:.1%}" for name in FACTORS
    )


def vae_card() -> str:
    """Quality of the autoencoder and of a linear codec of as many values."""
    found = load("vae")
    body = [
        [kind, *(f"{x['db']:.2f} [{x['interval'][0]:.2f}, {x['interval'][1]:.2f}]" for x in (ours, found["pca"][kind]))]
        for kind, ours in found["autoencoder"].items()
    ]
    return source("vae") + "\n\n" + rows(["dB", "autoencoder", "PCA of as many values"], body)


def training(model: str) -> str:
    """The stages of training as `scripts/ship.py` stored them."""
    return rows(["stage", "steps", "batch", "minutes", "trained on"], load(f"training-{model}")["stages"])


def generator_curves() -> str:
    """What held-out prompts got after so many samples of each stage of the generator's training."""
    shown = ("place", "color", "kind", "action", "direction", "speed", "joint")
    body = [
        [stage, f"{samples:,}", *(f"{scores[name]:.2f}" if name in scores else "–" for name in shown)]
        for stage, curve in load("training-generator")["curves"].items()
        for samples, scores in curve
        if "joint" in scores
    ]
    return rows(["stage", "samples", *shown], body)


def judge_summary() -> str:
    """Agreement of the judge with the truth, and with the referee on generated clips, there by kind of fact too."""
    titles = {
        "world": "clips of the world, every answer planted",
        "degraded": "the same with a weak generator's artifacts",
        "generated": "256 clips of the starter generator, against the referee where it can read",
    }
    found = load("judge")["agreement"]
    lines = [(titles[name], found[name][0]) for name in titles]
    lines += [(f"of these, {one['kind']}", one) for one in found["generated"][1:] if one["n"] >= 20]

    def interval(one: dict[str, Any], key: str, form: str) -> str:
        low, high = one.get(f"{key}_low"), one.get(f"{key}_high")
        return f"{one[key]:{form}}" + ("" if low is None else f" [{low:{form}}, {high:{form}}]")

    body = [
        [title, interval(one, "kappa", ".2f"), interval(one, "auroc", ".3f"), interval(one, "yes_bias", "+.3f"),
         f"{one['n']:,}", f"{one['unanswered']:,} of {one['n'] + one['unanswered']:,}"]
        for title, one in lines
    ]  # fmt: skip
    head = ["claims about", "Cohen's κ", "AUROC", "bias to yes", "claims", "no answer"]
    return source("judge") + "\n\n" + rows(head, body)


def roundtrip_summary() -> str:
    """Each family of the round trip between its floor and its ceiling, and where the facts of prompts go."""
    found, body = load("roundtrip"), []
    for family in found["families"]:
        figure = {name: one for name, one in family["figures"].items() if isinstance(one, dict)}
        body.append(
            [family["about"], f"{figure['floor']['value']:.2f}", spread(figure["generator"]),
             f"{figure['ceiling']['value']:.3f}", spread(figure["corrected"]),
             f"{figure['auroc']['value']:.3f} / {figure['ceiling_auroc']['value']:.3f}"]
        )  # fmt: skip
    head = ["what comes back", "other prompts", "generator", "exact clip", "chance-corrected",
            "matched against mismatched, AUROC: generator / exact"]  # fmt: skip
    cells = [
        f"By the {one['who']} ({one['n']} questions): "
        + ", ".join(f"{LOSSES[name]} {share['value']:.2f}" for name, share in one["shares"].items())
        + "."
        for one in found["cells"]
        if one["side"] == "generator" and one["kind"] == "all"
    ]
    return "\n\n".join([source("roundtrip"), rows(head, body), "Where the facts go. " + " ".join(cells)])


def selection_summary() -> str:
    """The expected best of n clips by two metrics, under the metric and under the referee."""
    found = load("selection")["by"]
    columns = [(by, name) for by in found for name in found[by]["best_of"]]
    by_n = {(by, name): {one["n"]: spread(one) for one in found[by]["best_of"][name]} for by, name in columns}
    body = [[str(n), *(by_n[column].get(n, "–") for column in columns)] for n in by_n[columns[0]]]
    head = ["n", *(f"chosen by {by}: {'share all right' if name == 'obedience' else name}" for by, name in columns)]
    return source("selection") + "\n\n" + rows(head, body)


def gate_clips() -> str:
    """Verdicts on candidates of known faults, with the change of each deciding metric."""
    found = load("gate-clips")["candidates"]
    names = [one["metric"] for one in next(iter(found.values()))["metrics"] if one["role"] == "primary"]
    body = []
    for name, verdict in found.items():
        metrics = {one["metric"]: one for one in verdict["metrics"]}
        cells = [f"{metrics[m]['change']:+.3f} [{metrics[m]['low']:+.3f}, {metrics[m]['high']:+.3f}]" for m in names]
        body.append([name, f"**{verdict['outcome']}**", *cells])
    return source("gate-clips") + "\n\n" + rows(["candidate", "verdict", *names], body)


def spread(figure: dict[str, Any]) -> str:
    """A value with its interval, two digits."""
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


LOSSES = {
    "kept": "drawn and captioned",
    "lost_by_captioner": "drawn and not captioned",
    "made_up_by_captioner": "captioned and not drawn",
    "lost_by_generator": "neither",
}
BLOCKS: dict[str, Callable[[], str]] = {
    "captioner-summary": captioner_summary,
    "captioner-card": captioner_card,
    "captioner-time": captioner_time,
    "generator-summary": generator_summary,
    "generator-card": generator_card,
    "generator-curves": generator_curves,
    "vae-card": vae_card,
    "judge-summary": judge_summary,
    "roundtrip-summary": roundtrip_summary,
    "selection-summary": selection_summary,
    "gate-clips": gate_clips,
    "training-captioner": lambda: training("captioner"),
    "training-generator": lambda: training("generator"),
}


def worst(harm: str, key: str) -> str:
    """The highest share in percent over all shapes and sizes of simulated data with this harm."""
    cells = load("gate")["cells"].items()
    found = [cell[key] for name, cell in cells if name.startswith("gate, ") and name.split(", ")[-2] == harm]
    return f"{max(found):.1f}"


def weak() -> str:
    """Facts and answers of the captioner below 0.6."""
    return ", ".join(kind for kind, figure in load("captioner")["seen"].items() if figure["value"] < 0.6) or "nothing"


def decibels(kind: str) -> float:
    """PSNR of the autoencoder, or of the linear codec, over all pixels."""
    return float(load("vae")[kind]["pixels"]["db"])


# Single figures, by the name in a sentence's mark.
VALUES: dict[str, Callable[[], str]] = {
    "gate.false-fail": lambda: worst("0", "new fail"),
    "gate.false-pass": lambda: worst("margin", "new pass"),
    "gate.old-false-pass": lambda: worst("margin", "old pass"),
    "generator.joint": lambda: f"{factor('joint', 'seen')['share']:.2f}",
    "generator.db": lambda: f"{decibels('autoencoder'):.1f}",
    "generator.above-pca": lambda: f"{decibels('autoencoder') - decibels('pca'):.1f}",
    "generator.params": lambda: size(GENERATOR)[0],
    "generator.megabytes": lambda: size(GENERATOR)[1],
    "captioner.weak": weak,
    "captioner.open": lambda: share(load("captioner")["seen"]["answers/open"], 2),
    "captioner.yesno": lambda: share(load("captioner")["seen"]["answers/yesno"], 2),
    "captioner.params": lambda: size(CAPTIONER)[0],
    "captioner.megabytes": lambda: size(CAPTIONER)[1],
}


def size(starter: str) -> tuple[str, str]:
    """Parameters in millions and megabytes of a starter's weights; the dual encoder has a card of its own."""
    from safetensors import safe_open

    params, total = 0, 0
    for path in (ROOT / starter).rglob("*.safetensors"):
        if path.parent.name == "dual" or path.name == "domain.safetensors":
            continue
        total += path.stat().st_size
        with safe_open(path, "pt") as tensors:
            params += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
    return f"{params / 1e6:.1f}", f"{total / 1e6:.1f}"


# --- documents
def filled(text: str, path: str) -> str:
    """A document with its figures in place.

    Raises:
        SystemExit: a mark that names no figure.
    """

    def put(found: re.Match[str], known: dict[str, Callable[[], str]], end: str = "") -> str:
        before, name, after = found.groups()
        if name not in known:
            raise SystemExit(f"{path}: no figure is called {name!r}; there are {', '.join(known)}")
        return before + known[name]() + end + after

    return VALUE.sub(lambda found: put(found, VALUES), BLOCK.sub(lambda found: put(found, BLOCKS, "\n"), text))


def write(*, check: bool) -> int:
    """Fill the documents; with `check` only compare. Returns the exit code."""
    stale = []
    for name in DOCUMENTS:
        path = ROOT / name
        text = path.read_text("utf-8")
        if (new := filled(text, name)) != text:
            stale.append(name)
            if not check:
                write_atomic(path, new.encode())
    if stale:
        print(("differ from docs/figures: " if check else "written: ") + ", ".join(stale))
    return int(check and bool(stale))


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
