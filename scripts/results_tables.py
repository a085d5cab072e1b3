"""The stored figures as tables and sentences of the documents: `BLOCKS` and `VALUES` by their marks.

In: docs/figures/*.json, as `scripts/results.py measure` stores them. Out: Markdown.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
CAPTIONER, DUAL, GENERATOR = "v2t/starter", "v2t/starter/dual", "t2v/starter"
FACTORS = ("place", "color", "kind", "size", "action", "direction", "speed", "to_color", "joint")
FACTS = ("actor", "color", "count", "place", "action", "direction", "order", "joint")
CONTROLS = ("blank", "one frame", "shuffled", "other clip")


@cache
def load(name: str) -> dict[str, Any]:
    """The figures of one measurement."""
    found: dict[str, Any] = json.loads((FIGURES / f"{name}.json").read_text("utf-8"))
    return found


def spread(figure: dict[str, Any], form: str = ".2f", key: str = "value") -> str:
    """A figure with its interval."""
    return f"{figure[key]:{form}} [{figure['low']:{form}}, {figure['high']:{form}}]"


def share(figure: dict[str, Any], digits: int = 3) -> str:
    """A share with its interval and n."""
    return f"{spread(figure, f'.{digits}f')} n={figure['n']}"


def short(value: float, low: float, high: float) -> str:
    """A share with half the width of its interval: .94 ± .01."""
    return f"{value:.2f} ± {max(value - low, high - value):.2f}".replace("0.", ".")


def brief(name: str, *keys: str) -> str:
    """A stored share, in short."""
    figure = load(name)
    for key in keys:
        figure = figure[key]
    return short(figure["value"], figure["low"], figure["high"])


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


def goodhart() -> str:
    """What the best of n clips is worth to judges of more and more errors, and by the referee."""
    found, body = load("goodhart"), []
    for judge in found["judges"]:
        error = judge["error"] if not judge["share"] else f"{judge['error']} {judge['share']:.0%}"
        ends = judge["best_of"][0], judge["best_of"][-1]
        shares = [" → ".join(f"{one[key]:.2f}" for one in ends) for key in ("reward", "facts", "obeyed")]
        body.append([error, f"{judge['kappa']:.2f}", *shares])
    last = found["judges"][0]["best_of"][-1]["n"]
    head = ["judge", "its κ", f"reward, best of 1 → {last}", "facts right", "all asked"]
    return f"{source('goodhart').removesuffix('; intervals of 95 %.')}; {found['prompts']} prompts.\n\n" + rows(
        head, body
    )


def learning() -> str:
    """What learnings of equal steps did to the generator, against the start, paired by clip."""
    found, body = load("learning"), []
    for number, arm in enumerate(found["arms"]):
        now, moved = arm["figures"], arm["changes"]["all asked"]
        cells = [spread(now["judge"]), spread(now["all asked"]), spread(moved, "+.2f") if number else "–"]
        body.append([arm["name"].replace("_", " "), *cells, f"{arm['whole']['kind']:.2f}", f"{arm['spread']:.2f}"])
    head = ["learned from", "reward", "all asked", "its change", "kind", "spread, of the start's"]
    return f"{source('learning')}\n\n" + rows(head, body)


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
        cells = [change(metrics[metric]) for metric in names]
        body.append([name, f"**{verdict['outcome']}**", *cells, spread(verdict["joint"])])
    return source("gate-clips") + "\n\n" + rows(["candidate", "verdict", *names, "all asked, by the referee"], body)


def change(metric: dict[str, Any]) -> str:
    """The change of a metric with its bounds."""
    if metric["change"] is None:
        return "–"
    return spread(metric, "+.3f", "change")


def dual(sets: Sequence[str], digits: int) -> str:
    """Both dual encoders on the same clips."""
    figures, named = load("dual")["models"], {"starter": "frames", "starter-video": "clips"}
    asked = {kind: f"{kind}" for kind in ("color", "kind", "count", "place", "direction", "action", "order")}
    asked |= {"backwards": "the clip above itself backwards", "nearest": "own caption the nearest of all"}
    columns = [(name, each) for each in sets for name in named]
    body = [
        [text, *("–" if (one := figures[name][each][key]) is None else share(one, digits) for name, each in columns)]
        for key, text in asked.items()
    ]
    body.append(
        ["AUROC, own caption against others", *(f"{figures[name][each]['auroc']:.3f}" for name, each in columns)]
    )
    return rows(["", *(f"{named[name]}, {each}" for name, each in columns)], body) + "\n\n" + source("dual")


def curate() -> str:
    """How often the filters of a curation are right on planted faults."""
    found, body = load("curate"), []
    for name, one in {**found["changes"], **found["faults"]}.items():
        limit = one.get("limit")
        title = name if limit is None else f"{name} (`{limit[0]}` {'>' if limit[1] == 'most' else '<'} {limit[2]:g})"
        sound = f" of {one['false'] + one['right']}" if one["right"] else ""
        cells = [spread(one[what], ".3f") for what in ("precision", "recall", "f1")]
        body.append([title, str(one["planted"]), f"{one['false']}{sound}", *cells])
    inside = {
        kind: [found["changes"][kind][key] / 1000 for key in ("ms", "ms_inside")] for kind in ("fade", "dissolve")
    }
    left = ", ".join(f"of {all_s:.1f} seconds of {kind}s {left_s:.1f}" for kind, (all_s, left_s) in inside.items())
    whole = found["whole"]
    table = rows(["", "planted", "false", "precision", "recall", "F1"], body)
    copies = [
        [
            f"copy: {kind}",
            f"{one['found']} of {one['n']}",
            f"{one['found'] / one['n']:.3f} [{one['low']:.3f}, {one['high']:.3f}]",
        ]
        for kind, one in found.get("copies", {}).items()
        if isinstance(one, dict) and one["n"]
    ]
    if copies:
        table += "\n\n" + rows(["", "found", "recall"], copies)
    stayed = f"Of {whole['n']} films of one shot {whole['kept']} stayed whole"
    return f"{source('curate')}\n\n{table}\n\n{stayed}; {left} were left in clips."


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
    "goodhart": goodhart,
    "learning": learning,
    "dual-summary": lambda: dual(("seen", "unseen"), 2),
    "dual-card": lambda: dual(("seen", "unseen", "solo seen", "solo unseen"), 3),
    "curate": curate,
    "training-dual": lambda: training("dual"),
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
    **{
        f"captioner.{kind}-{split}": lambda kind=kind, split=split: brief("captioner", split, f"answers/{kind}")
        for kind in ("open", "yesno")
        for split in ("seen", "unseen")
    },
    "time.iou": lambda: brief("captioner-time", "seen", "spans/mIoU"),
    "time.recall": lambda: brief("captioner-time", "seen", "spans/R@1 IoU>=0.5"),
    "time.when": lambda: brief("captioner-time", "seen", "answers/when"),
    "time.order": lambda: brief("captioner-time", "seen", "answers/order"),
    "film.moments": lambda: brief("film", "moments"),
    "film.whole": lambda: brief("film", "whole", "as asked"),
    "film.notes": lambda: brief("film", "whole", "from notes"),
    "film.frames": lambda: brief("film", "whole", "from frames"),
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


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    print("\n\n".join(f"{name}\n\n{block()}" for name, block in BLOCKS.items()))
