"""Tables of how often a curation is right, for the documents; see `results_tables`.

In: docs/figures/curate.json and footage.json. Out: Markdown behind the marks of `results_tables.BLOCKS`.
"""

from __future__ import annotations

from typing import Any

from results_tables import VALUES, Figure, at, block, load, rows


@block("curate", "curate")
def curate() -> Any:
    """How often the filters of a curation are right on planted faults."""
    figures, body = load("curate"), []
    for name, one in {**figures["changes"], **figures["faults"]}.items():
        limit = one.get("limit")
        title = name if limit is None else f"{name} (`{limit[0]}` {'>' if limit[1] == 'most' else '<'} {limit[2]:g})"
        sound = f" of {one['false'] + one['right']}" if one["right"] else ""
        cells = (f"{one[what]:~.3f}" for what in ("precision", "recall", "f1"))
        body.append([title, str(one["planted"]), f"{one['false']}{sound}", *cells])
    changes = [(kind, figures["changes"][kind]) for kind in ("fade", "dissolve")]
    left = (f"of {one['ms'] / 1000:.1f} seconds of {kind}s {one['ms_inside'] / 1000:.1f}" for kind, one in changes)
    copies = [
        [f"copy: {kind}", f"{one['found']} of {one['n']}", f"{Figure(one, value=one['found'] / one['n']):~.3f}"]
        for kind, one in figures.get("copies", {}).items()
        if isinstance(one, dict) and one["n"]
    ]
    below = [rows(" | found | recall", copies)] if copies else []
    whole = f"Of {figures['whole']['n']} films of one shot {figures['whole']['kept']} stayed whole"
    head = " | planted | false | precision | recall | F1"
    return head, body, *below, f"{whole}; {', '.join(left)} were left in clips."


@block("footage", "footage")
def footage() -> Any:
    """How often changes of shots and bars are found on films that are no cartoons."""
    names = ("cut", "fade", "dissolve", "wipe", "slide", "circle")
    body = [
        [detector, *(f"{own[name]['hit']} of {own[name]['n']}" for name in names), f"{own['recall']:~.3f}",
         f"{own['precision']:~.3f}", f"{own['whole']['hit']} of {own['whole']['n']}"]
        for detector, own in at("footage", "detectors").items()
    ]  # fmt: skip
    words = {(True, True): "cropped", (True, False): "missed", (False, True): "false"}
    films = [
        [row["film"].removesuffix(".mkv"), row["size"], row["codec"], ", ".join(row["shots"]),
         ", ".join(row["planted"]) or "–", ", ".join(row["found"]) or "–", str(row["clips"]),
         words.get((row["bars"], row["cropped"] > 0), "–"), "yes" if row["opens"] else "no"]
        for row in at("footage", "table") if row["set"] == "footage"
    ]  # fmt: skip
    own = at("footage", "counts", "ours")
    inside = ", ".join(
        f"of {own[f'{name} ms'] / 1000:.1f} s of {name}s {own[f'{name} ms inside'] / 1000:.1f}" for name in names[1:]
    )
    bars = f"bars: {own.get('bars hit', 0)} of {own.get('bars hit', 0) + own.get('bars missed', 0)} clips with bars"
    false = f"{own.get('bars false', 0)} of {own.get('bars false', 0) + own.get('bars right', 0)} without were cropped"
    leaks = f"{own['split leaks']} films on both sides of the split"
    text = f"{own['failed']} of {own['films']} films failed; {bars} and {false}; {leaks}. Left in clips: {inside}."
    each = rows("film | size | codec | shots | planted | found | clips | bars | opens", films)
    return ["", *names, "recall", "precision", "one shot kept whole"], body, text, each


def changes_and_faults() -> dict[str, Figure]:
    """Changes of shots and faults, by name."""
    figures = load("curate")
    return {**figures["changes"], **figures["faults"]}


def lowest(what: str) -> str:
    """The kind of change or fault that is worst by "recall" or "precision", with its figure."""
    name, worst = min(changes_and_faults().items(), key=lambda pair: pair[1][what]["value"])
    return f"{worst[what]:~.3f} ({name})"


def lowest_kind() -> str:
    """The kind of change found least often in films that are no cartoons."""
    own = at("footage", "detectors", "ours")
    kinds = ("cut", "fade", "dissolve", "wipe", "slide", "circle")
    name = min(kinds, key=lambda kind: own[kind]["hit"] / own[kind]["n"])
    return f"{own[name]['hit']} of {own[name]['n']} ({name}s)"


def bars(*, planted_ones: bool) -> str:
    """How many clips with bars, or without, were cropped."""
    own = at("footage", "counts", "ours")
    cropped, left = ("bars hit", "bars missed") if planted_ones else ("bars false", "bars right")
    return f"{own.get(cropped, 0)} of {own.get(cropped, 0) + own.get(left, 0)}"


def lowest_copies() -> str:
    """The kind of copy found least often."""
    kinds = {kind: one for kind, one in load("curate")["copies"].items() if isinstance(one, dict) and one["n"]}
    name = min(kinds, key=lambda kind: (kinds[kind]["found"] / kinds[kind]["n"], kinds[kind]["n"]))
    return f"{kinds[name]['found']} of {kinds[name]['n']} ({name})"


VALUES |= {
    "curate.least-recall": lambda: lowest("recall"),
    "curate.least-precision": lambda: lowest("precision"),
    "curate.least-copies": lowest_copies,
    "footage.recall": lambda: f"{at('footage', 'detectors', 'ours', 'recall'):~.3f}",
    "footage.precision": lambda: f"{at('footage', 'detectors', 'ours', 'precision'):~.3f}",
    "footage.least-kind": lowest_kind,
    "footage.bars": lambda: bars(planted_ones=True),
    "footage.false-bars": lambda: bars(planted_ones=False),
}
