"""The curves of the starters' trainings as one picture: docs/curves.svg, written by `scripts/results.py write`.

In: the held-out figures that `scripts/ship.py` stored with each set of weights, and those of short trials
(docs/figures/training-*.json, trials.json). Out: an SVG of small panels, samples on the axis below.
"""

from __future__ import annotations

import argparse
import html
from collections.abc import Mapping, Sequence

from results_tables import ROOT, load

PICTURE = ROOT / "docs" / "curves.svg"
WIDTH, HEIGHT, COLUMNS = 290, 190, 3  # of a panel, units of the picture
LEFT, RIGHT, TOP, BOTTOM = 34, 12, 26, 52  # margins inside a panel
COLORS = ("#1f77b4", "#d1640a", "#2a8a3e", "#a3263b", "#6f4fa8")
STYLE = (
    "text{font:11px system-ui,sans-serif;fill:#51607a}.title{font-weight:700;fill:#1b2430}"
    "polyline{fill:none;stroke-width:2}path{fill:none;stroke:#b9c3d1}rect{fill:#fff}"
)
Points = Sequence[tuple[float, float]]


def _curves(model: str, stages: str, names: Mapping[str, str]) -> dict[str, Points]:
    """Named figures of stages one after the other ("speak,reinforce") by their label: (samples, value)."""
    points: list[tuple[float, dict[str, float]]] = []
    for stage in stages.split(","):
        before = points[-1][0] if points else 0
        points += [(before + n, scores) for n, scores in load(f"training-{model}")["curves"][stage]]
    return {label: [(n, scores[name]) for n, scores in points if name in scores] for name, label in names.items()}


def _short(samples: float) -> str:
    return f"{samples / 1000:,.0f}k"


def panel(title: str, lines: Mapping[str, Points], low: float, high: float, x: int, y: int) -> list[str]:
    """SVG elements of one panel at (x, y): its lines between `low` and `high`, with end values in the legend."""
    inner, rise = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
    most = max(n for points in lines.values() for n, _ in points)
    floor = y + TOP + rise

    def place(n: float, value: float) -> tuple[str, str]:
        return f"{x + LEFT + inner * n / most:.1f}", f"{floor - rise * (value - low) / (high - low):.1f}"

    elements = [f'<text class="title" x="{x + LEFT}" y="{y + 16}">{html.escape(title)}</text>']
    for value in (low, (low + high) / 2, high):
        level = floor - rise * (value - low) / (high - low)
        elements.append(f'<path d="M{x + LEFT} {level:.1f}h{inner}"/>')
        elements.append(f'<text x="{x + LEFT - 5}" y="{level + 4:.1f}" text-anchor="end">{value:g}</text>')
    for n, anchor in ((0, "start"), (most, "end")):
        at = x + LEFT + inner * n / most
        elements.append(f'<text x="{at:.1f}" y="{floor + 14}" text-anchor="{anchor}">{_short(n)}</text>')
    for number, (label, points) in enumerate(lines.items()):
        color = COLORS[number]
        places = [place(n, value) for n, value in points]
        path = " ".join(f"{across},{down}" for across, down in places)
        elements.append(f'<polyline stroke="{color}" points="{path}"/>')
        elements += [f'<circle cx="{across}" cy="{down}" r="2" fill="{color}"/>' for across, down in places]
        left, top = x + LEFT + number % 2 * inner // 2, floor + 28 + 13 * (number // 2)
        elements.append(
            f'<text x="{left}" y="{top}" style="fill:{color}">{html.escape(label)} {points[-1][1]:.3g}</text>'
        )
    return elements


def picture() -> str:
    """The SVG."""
    facts = {"kind": "kind", "color": "colour", "joint": "all asked"}
    moves = {"joint": "all asked", "kind": "kind", "action": "action", "direction": "direction"}
    stated = {"caption_joint": "everything", "caption_action": "action", "caption_direction": "direction",
            "caption_order": "order"}  # fmt: skip
    heads = {"event0_action": "1st action", "event1_action": "2nd action", "event2_action": "3rd action",
             "event0_direction": "direction"}  # fmt: skip
    near = {"near_direction": "direction", "near_action": "action", "near_order": "order", "near_kind": "kind"}
    panels = [
        (
            "Autoencoder, dB",
            _curves("generator", "vae-wide", {"psnr_first": "first frame", "psnr_moving": "moving"}),
            16,
            30,
        ),
        ("First frames, share right", _curves("generator", "dit-images-wide", facts), 0, 1),
        ("Clips, share right", _curves("generator", "dit-wide", moves), 0, 1),
        ("Captions, share right", _curves("captioner", "speak,reinforce", stated), 0.4, 1),
        ("Captioner's fact heads", _curves("captioner", "speak", heads), 0.4, 1),
        ("Dual encoder: true above wrong", _curves("dual", "contrastive-video", near), 0.2, 1),
        ("Trial: place right on stills", load("trials")["place right"], 0, 1),
    ]
    elements = []
    for number, (title, lines, low, high) in enumerate(panels):
        elements += panel(title, lines, low, high, WIDTH * (number % COLUMNS), (HEIGHT + 20) * (number // COLUMNS))
    width, height = WIDTH * COLUMNS, (HEIGHT + 20) * -(-len(panels) // COLUMNS)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"'
        f' aria-label="Held-out figures of the starters\' trainings by samples"><style>{STYLE}</style>'
        f'<rect width="{width}" height="{height}"/>\n' + "\n".join(elements) + "\n</svg>\n"
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    print(picture())
