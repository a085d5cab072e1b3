"""The gallery: one HTML page that plays the clips of a run folder.

In: manifest rows and failures. Out: `index.html` beside the manifest, opened from disk, without script and without
anything from elsewhere; every text is escaped, clips are named relative to the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from v2t.base.files import write_atomic
from v2t.base.log import printable

_EAGER = 120  # up to so many clips play at once; beyond that a click starts one
_STYLE = """
body{margin:1.5rem;font:15px/1.4 system-ui,sans-serif;background:#fafafa;color:#222}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(190px,1fr));gap:1.2rem}
figure{margin:0}video{width:100%;background:#ddd;border-radius:4px}
figcaption{font-size:14px;overflow-wrap:anywhere}small{color:#777}
.warn{color:#a05000}ul{font-size:14px;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="script-src 'none'; object-src 'none'; base-uri 'none'">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
<main>
{figures}
</main>
{failures}</body></html>
"""


def write_gallery(rows: Sequence[dict[str, Any]], failures: Sequence[dict[str, Any]], path: Path) -> None:
    """Write the page for manifest rows (id, path, prompt, seed ...) and failures (id, prompt, error)."""
    play = "autoplay loop muted playsinline controls" if len(rows) <= _EAGER else "loop muted playsinline controls"
    load = "auto" if len(rows) <= _EAGER else "none"
    figures = "\n".join(_figure(row, f'{play} preload="{load}"') for row in rows)
    failed = "".join(
        f"<li>{_text(row['prompt'])} <small>{_text(error['code'])}: {_text(error['message'])}</small></li>\n"
        for row in failures
        for error in [row["error"]]
    )
    page = _PAGE.format(
        title=f"{len(rows)} clips",
        style=_STYLE,
        figures=figures,
        failures=f"<h2>{len(failures)} failed</h2><ul>\n{failed}</ul>\n" if failures else "",
    )
    write_atomic(path, page.encode("utf-8"))


def _figure(row: dict[str, Any], how: str) -> str:
    shape = row["shape"]
    small = f"seed {row['seed']} · {shape['num_frames']} frames · {shape['width']}x{shape['height']} · {row['model']}"
    warnings = "".join(f'<br><small class="warn">{_text(said)}</small>' for said in row.get("warnings", ()))
    return (
        f'<figure><video src="{escape(quote(row["path"]))}" width="{shape["width"]}" height="{shape["height"]}" {how}>'
        f"</video><figcaption>{_text(row['prompt'])}<br><small>{_text(small)}</small>{warnings}</figcaption></figure>"
    )


def _text(said: object) -> str:
    return escape(printable(str(said)))
