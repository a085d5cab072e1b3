"""The stored figures as tables and sentences of the documents: `BLOCKS` and `VALUES` by their marks.

In: docs/figures/*.json, as `scripts/results.py measure` stores them. Out: Markdown. A block is a head and rows, mostly
by a template, under the command, device and date of its measurements.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FIGURES = ROOT / "docs" / "figures"
CAPTIONER, DUAL, GENERATOR = "v2t/starter", "v2t/starter/dual", "t2v/starter"
FACTORS = ("place", "color", "kind", "size", "action", "direction", "speed", "to_color", "joint")
FACTS = ("actor", "color", "count", "place", "action", "direction", "order", "joint")
CONTROLS = ("blank", "one frame", "shuffled", "other clip")
FACT_NAMES = " | kind of actor | colour | how many | place | action | direction | order of events | everything"
FACTOR_NAMES = " | place | colour | kind | size | action | direction | speed | new colour | everything asked"
BLOCKS: dict[str, Callable[[], str]] = {}


class Figure(dict[str, Any]):
    """An object of a measurement. One with a value is written by its format: `~.2f` with its interval, `n.3f` with n
    too, `±` short (.94 ± .01), as a plain number otherwise."""

    def __format__(self, form: str) -> str:
        value, low, high = (self.get(name) for name in ("value", "low", "high"))
        if form == "±":
            return f"{value:.2f} ± {max(value - low, high - value):.2f}".replace("0.", ".")
        if form[0] not in "~n":
            return f"{value:{form}}"
        text = f"{value:{form[1:]}}" + ("" if low is None else f" [{low:{form[1:]}}, {high:{form[1:]}}]")
        return f"{text} n={self['n']}" if form[0] == "n" else text

    def of(self, name: str) -> Figure:
        """Another value of the object, with the interval called after it, else the object's own."""
        own = {end: self.get(f"{name}_{end}", self.get(end)) for end in ("low", "high")}
        return Figure(self, value=self[name], **own)


@cache
def load(name: str) -> Figure:
    """The figures of one measurement."""
    return json.loads((FIGURES / f"{name}.json").read_text("utf-8"), object_hook=Figure)  # type: ignore[no-any-return]


def at(name: str, *keys: str) -> Any:
    """A stored figure by its place."""
    figure: Any = load(name)
    for key in keys:
        figure = figure[key]
    return figure


def rows(head: Iterable[str] | str, body: Iterable[Iterable[str] | str]) -> str:
    """A Markdown table; a line is its cells, or text with ` | ` between them."""
    cells = [line.split(" | ") if isinstance(line, str) else list(line) for line in (head, *body)]
    cells.insert(1, ["---"] * len(cells[0]))
    return "\n".join("| " + " | ".join(line) + " |" for line in cells)


def source(*names: str) -> str:
    """Command, device and date of measurements, for the line above a table."""
    stamps = [load(name)["measured"] for name in names]
    stated = "; ".join(f"`{stamp['command']}`, {stamp['device']}, {stamp['date']}" for stamp in stamps)
    return f"{stated}; intervals of 95 %."


def block(mark: str, *names: str, head: str = "", row: str = "") -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Put what a function returns behind a mark, under the source of these measurements: with `row` the arguments of
    that template, line by line, under `head`; else a head, rows, and the paragraphs below."""

    def keep(make: Callable[[], Any]) -> Callable[[], Any]:
        def text() -> str:
            made = make()
            top, body, *below = (head, [row.format(*each) for each in made]) if row else made
            return "\n\n".join([*([source(*names)] if names else []), rows(top, body), *below])

        BLOCKS[mark] = text
        return make

    return keep


# --- the captioner
@block("captioner-summary", "captioner")
def captioner_summary() -> Any:
    """Facts right in captions, by split, and under controls."""
    figures = load("captioner")
    body = [[f"{split} combinations", *(f"{figures[split][f'facts/{fact}']:±}" for fact in FACTS)]
            for split in ("seen", "unseen")]  # fmt: skip
    for control in CONTROLS[2::-1]:
        cells = [f"{figures[control][f'facts/{fact}']:.2f}".replace("0.", ".") for fact in FACTS]
        body.append([f"control: {control} ({figures['arguments']['controls']} clips)", *cells])
    return FACT_NAMES, body


@block("captioner-card", "captioner")
def captioner_card() -> Any:
    """A row a kind of fact or answer: both splits, each control."""
    figures = load("captioner")
    forms = {"seen": "n.3f", "unseen": "n.3f"} | {name: ".2f" for name in CONTROLS if name in figures}
    own = {name: figures[name] for name in forms}
    body = [
        [kind, *(format(own[name][kind], form) if kind in own[name] else "–" for name, form in forms.items())]
        for kind in figures["seen"]
    ]
    return ["fact", *forms], body


@block("captioner-time", "captioner-time", "film", "captioner-turns", head="what | share right, or mean IoU",
       row="{} | {:n.3f}")  # fmt: skip
def captioner_time() -> Any:
    """Answers about time, spans, questions about a long film, and the second turn of a chat."""
    film, turns = load("film"), load("captioner-turns")
    figures = {kind: figure for kind, figure in at("captioner-time", "seen").items() if not kind.startswith("facts/")}
    figures["film: what happens at a moment"] = film["moments"]
    figures |= {f"film: the whole, {name}": figure for name, figure in film["whole"].items()}
    figures |= {f"chat: a question, {name}": turns[f"seen, {name}"]["answers/all"] for name in ("alone", "second turn")}
    return figures.items()


# --- the generator
def factor(name: str, split: str, measurement: str = "generator") -> Figure:
    """One factor of obedience on one split, its share as value."""
    return next(row for row in at(measurement, "splits", split, "factors") if row["factor"] == name).of("share")


@block("generator-summary", "generator", "ceiling")
def generator_summary() -> Any:
    """Obedience by split, chance, and the autoencoder's ceiling."""
    titles = {"seen combinations": "seen", "unseen combinations": "unseen", "unseen wordings": "wording"}
    body = [[title, *(f"{factor(name, split):±}" for name in FACTORS)] for title, split in titles.items()]
    chances = [factor(name, "seen")["chance"] for name in FACTORS]
    body.append(["chance (prompts of other clips)", *("–" if c is None else f"{c:.2f}" for c in chances)])
    body.append(["real clips after the autoencoder", *(f"{factor(name, 'seen', 'ceiling'):.2f}" for name in FACTORS)])
    return FACTOR_NAMES, body


def generator_card() -> str:
    """All figures of obedience and the controls."""
    from measure_generator import markdown

    ceiling = ", ".join(f"{name} {factor(name, 'seen', 'ceiling'):.1%}" for name in FACTORS)
    return f"{source('generator')}\n\n{markdown(load('generator'))}\n\n{source('ceiling')} {ceiling}"


BLOCKS["generator-card"] = generator_card


@block("vae-card", "vae", head="dB | autoencoder | PCA of as many values", row="{} | {:~.2f} | {:~.2f}")
def vae_card() -> Any:
    """Quality of the autoencoder and of a linear codec of as many values."""
    for kind in at("vae", "autoencoder"):
        codecs = (at("vae", codec, kind) for codec in ("autoencoder", "pca"))
        yield kind, *(Figure(value=one["db"], low=one["interval"][0], high=one["interval"][1]) for one in codecs)


@block("generator-curves")
def generator_curves() -> Any:
    """What held-out prompts got after so many samples of each stage of the generator's training."""
    shown = ("place", "color", "kind", "action", "direction", "speed", "joint")
    body = [
        [stage, f"{samples:,}", *(f"{scores[name]:.2f}" if name in scores else "–" for name in shown)]
        for stage, curve in at("training-generator", "curves").items()
        for samples, scores in curve
        if "joint" in scores
    ]
    return ["stage", "samples", *shown], body


for _model in ("dual", "captioner", "generator"):  # the stages of training as `scripts/ship.py` stored them
    block(f"training-{_model}")(
        lambda model=_model: ("stage | steps | batch | minutes | trained on", at(f"training-{model}", "stages"))
    )


# --- scores
JUDGED = {
    "world": "clips of the world, every answer planted",
    "degraded": "the same with a weak generator's artifacts",
    "generated": "256 clips of the starter generator, against the referee where it can read",
}
LOSSES = {
    "kept": "drawn and captioned",
    "lost_by_captioner": "drawn and not captioned",
    "made_up_by_captioner": "captioned and not drawn",
    "lost_by_generator": "neither",
}


@block("judge-summary", "judge", head="claims about | Cohen's κ | AUROC | bias to yes | claims | no answer",
       row="{} | {:~.2f} | {:~.3f} | {:~+.3f} | {:,} | {:,} of {:,}")  # fmt: skip
def judge_summary() -> Any:
    """Agreement of the judge with the truth, and with the referee on generated clips, there by kind of fact too."""
    figures = at("judge", "agreement")
    lines = {title: figures[name][0] for name, title in JUDGED.items()}
    lines |= {f"of these, {one['kind']}": one for one in figures["generated"][1:] if one["n"] >= 20}
    for title, one in lines.items():
        num, lost = one["n"], one["unanswered"]
        yield title, *(one.of(name) for name in ("kappa", "auroc", "yes_bias")), num, lost, num + lost


@block("roundtrip-summary", "roundtrip")
def roundtrip_summary() -> Any:
    """Each family of the round trip between its floor and its ceiling, and where the facts of prompts go."""
    head = ("what comes back | other prompts | generator | exact clip | chance-corrected | "
            "matched against mismatched, AUROC: generator / exact")  # fmt: skip
    row = "{} | {floor:.2f} | {generator:~.2f} | {ceiling:.3f} | {corrected:~.2f} | {auroc:.3f} / {ceiling_auroc:.3f}"
    cells = [
        f"By the {one['who']} ({one['n']} questions): "
        + ", ".join(f"{LOSSES[name]} {share:.2f}" for name, share in one["shares"].items())
        for one in at("roundtrip", "cells")
        if one["side"] == "generator" and one["kind"] == "all"
    ]
    body = [row.format(family["about"], **family["figures"]) for family in at("roundtrip", "families")]
    return head, body, f"Where the facts go. {'. '.join(cells)}."


@block("selection-summary", "selection")
def selection_summary() -> Any:
    """The expected best of n clips by two metrics, under the metric and under the referee."""
    columns = [(by, name, best) for by, one in at("selection", "by").items() for name, best in one["best_of"].items()]
    titles = [f"chosen by {by}: {'share all right' if name == 'obedience' else name}" for by, name, _ in columns]
    by_n = [{one["n"]: f"{one:~.2f}" for one in best} for _, _, best in columns]
    return ["n", *titles], [[str(n), *(column.get(n, "–") for column in by_n)] for n in by_n[0]]


@block("gate-clips", "gate-clips")
def gate_clips() -> Any:
    """Verdicts on candidates of known faults, with the change of each deciding metric."""
    figures, body = at("gate-clips", "candidates"), []
    names = [one["metric"] for one in next(iter(figures.values()))["metrics"] if one["role"] == "primary"]
    for name, verdict in figures.items():
        of = {one["metric"]: one.of("change") for one in verdict["metrics"]}
        moved = ["–" if of[each]["value"] is None else f"{of[each]:~+.3f}" for each in names]
        body.append([name, f"**{verdict['outcome']}**", *moved, f"{verdict['joint']:~.2f}"])
    return ["candidate", "verdict", *names, "all asked, by the referee"], body


def dual(sets: tuple[str, ...], form: str) -> Any:
    """Both dual encoders on the same clips."""
    figures, named = at("dual", "models"), {"starter": "frames", "starter-video": "clips"}
    asked = {kind: kind for kind in ("color", "kind", "count", "place", "direction", "action", "order")}
    asked |= {"backwards": "the clip above itself backwards", "nearest": "own caption the nearest of all"}
    columns = {f"{named[name]}, {each}": figures[name][each] for each in sets for name in named}
    body = [[text, *("–" if one[key] is None else format(one[key], form) for one in columns.values())]
            for key, text in asked.items()]  # fmt: skip
    body.append(["AUROC, own caption against others", *(f"{one['auroc']:.3f}" for one in columns.values())])
    return ["", *columns], body, source("dual")


block("dual-summary")(lambda: dual(("seen", "unseen"), "n.2f"))
block("dual-card")(lambda: dual(("seen", "unseen", "solo seen", "solo unseen"), "n.3f"))


# --- single figures, by the name in a sentence's mark
def weak() -> str:
    """Facts and answers of the captioner below 0.6."""
    return ", ".join(kind for kind, figure in at("captioner", "seen").items() if figure["value"] < 0.6) or "nothing"


def decibels(kind: str) -> float:
    """PSNR of the autoencoder, or of the linear codec, over all pixels."""
    return float(at("vae", kind, "pixels", "db"))


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


PLACES = {  # where a figure is stored, and its format
    "captioner.open": ("n.2f", "captioner", "seen", "answers/open"),
    "captioner.yesno": ("n.2f", "captioner", "seen", "answers/yesno"),
    "captioner.open-seen": ("±", "captioner", "seen", "answers/open"),
    "captioner.open-unseen": ("±", "captioner", "unseen", "answers/open"),
    "captioner.yesno-seen": ("±", "captioner", "seen", "answers/yesno"),
    "captioner.yesno-unseen": ("±", "captioner", "unseen", "answers/yesno"),
    "time.iou": ("±", "captioner-time", "seen", "spans/mIoU"),
    "time.recall": ("±", "captioner-time", "seen", "spans/R@1 IoU>=0.5"),
    "time.when": ("±", "captioner-time", "seen", "answers/when"),
    "time.order": ("±", "captioner-time", "seen", "answers/order"),
    "film.moments": ("±", "film", "moments"),
    "film.whole": ("±", "film", "whole", "as asked"),
    "film.notes": ("±", "film", "whole", "from notes"),
    "film.frames": ("±", "film", "whole", "from frames"),
}
VALUES: dict[str, Callable[[], str]] = {
    "generator.joint": lambda: f"{factor('joint', 'seen'):.2f}",
    "generator.db": lambda: f"{decibels('autoencoder'):.1f}",
    "generator.above-pca": lambda: f"{decibels('autoencoder') - decibels('pca'):.1f}",
    "generator.params": lambda: size(GENERATOR)[0],
    "generator.megabytes": lambda: size(GENERATOR)[1],
    "captioner.params": lambda: size(CAPTIONER)[0],
    "captioner.megabytes": lambda: size(CAPTIONER)[1],
    "captioner.weak": weak,
    **{mark: lambda form=form, place=place: format(at(*place), form) for mark, (form, *place) in PLACES.items()},
}


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__.split("\n")[0]).parse_args()
    print("\n\n".join(f"{name}\n\n{block()}" for name, block in BLOCKS.items()))
