"""Tables of how often the rules of single metrics are right, for the documents; see `results_tables`.

In: docs/figures/camera.json and near-copies.json. Out: Markdown behind the marks of `results_tables.BLOCKS`.
"""

from __future__ import annotations

from typing import Any

from results_tables import VALUES, block, load


@block("camera", "camera")
def camera() -> Any:
    """How often a camera is read as it moved."""
    body = [
        [row["clips"], f"{row['n']}", f"{row['unread']}", _share(row), f"{row['wrong']:.3f}"]
        for table in ("world", "stills")
        for row in load("camera")[table]
    ]
    return "clips | n | no value | the motion that was made is seen | a motion that was not", body


@block("near-copies", "near-copies")
def near_copies() -> Any:
    """How many copies are found, and how many distinct clips are taken for copies."""
    body = []
    for name, table in load("near-copies").items():
        if isinstance(table, dict) and "table" in table:
            body += [
                [f"{name}, {table['training clips']} training clips: {row['kind']}", f"{row['copies']} of {row['n']}",
                 _share({**row, "right": row["copies"] / row["n"]}), f"{row['original named']}",
                 f"{row['median distance']:.4f} ({row['least']:.4f} to {row['greatest']:.4f})"]
                for row in table["table"]
            ]  # fmt: skip
    return "clips | called copies | share | original named | distance: median, range", body


def _share(row: dict[str, Any]) -> str:
    return f"{row['right']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"


def _row(table: str, clips: str) -> dict[str, Any]:
    return next(row for row in load("camera")[table] if row["clips"] == clips)


VALUES |= {
    "camera.world": lambda: _share(_row("world", "world, 64 x 64, 8 a second")),
    "camera.stills": lambda: _share(_row("stills", "stills, 8% of a side")),
}
