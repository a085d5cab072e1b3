"""The gallery: one HTML page that plays the clips of a run folder.

In: manifest rows, failures, the command. Out: `index.html` beside the manifest, opened from disk, without script and
without anything from elsewhere; every text is escaped, clips are named relative to the page.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cineloop.errors import Notice
from cineloop.files import write_atomic
from cineloop.log import printable

_EAGER = 120  # up to so many clips play at once; beyond that a click starts one
_SMALL = 160  # pixels: narrower clips are shown larger, with their pixels as they are
_COMMAND_CHARS = 600
_STYLE = """
:root{color-scheme:light dark}
body{margin:0 auto;max-width:90rem;padding:1rem;font:16px/1.45 system-ui,sans-serif;background:#fafafa;color:#222}
h1{font-size:1.5rem;margin:.2rem 0}p{margin:.3rem 0}
code{font-size:14px;overflow-wrap:anywhere;user-select:all}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,16rem),1fr));gap:1.4rem;margin:1.2rem 0}
main.few{grid-template-columns:repeat(auto-fill,minmax(min(100%,16rem),24rem))}
figure{margin:0}video{display:block;width:100%;height:auto;border-radius:6px}video.small{image-rendering:pixelated}
figcaption{margin-top:.4rem;overflow-wrap:anywhere}small,.about{color:#666;font-size:14px}
.warn{color:#9a4d00}ul{font-size:14px;overflow-wrap:anywhere}
@media(prefers-color-scheme:dark){body{background:#181818;color:#ddd}small,.about{color:#aaa}.warn{color:#e0a060}}
"""
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="script-src 'none'; object-src 'none'; base-uri 'none'">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
{about}<main{few}>
{figures}
</main>
{failures}</body></html>
"""


def write_gallery(
    rows: Sequence[dict[str, Any]], failures: Sequence[dict[str, Any]], path: Path, command: Sequence[str] = ()
) -> None:
    """Write the page for manifest rows (id, path, prompt, seed ...) and failures (id, prompt, error).

    `command` is the command that made the clips, word by word; it is shown.
    """
    play = "autoplay loop muted playsinline controls" if len(rows) <= _EAGER else "loop muted playsinline controls"
    load = "auto" if len(rows) <= _EAGER else "none"
    models = list(dict.fromkeys(_model(row) for row in rows))
    one = models[0] if len(models) == 1 else ""
    figures = "\n".join(_figure(row, f'{play} preload="{load}"', with_model=not one) for row in rows)
    failed = "".join(
        f"<li>{_text(row['prompt'])} <small>{_text(error['code'])}: {_text(error['message'])}</small></li>\n"
        for row in failures
        for error in [row["error"]]
    )
    page = _PAGE.format(
        title=f"{len(rows)} clip{'' if len(rows) == 1 else 's'}" + (f" by {_text(one)}" if one else ""),
        style=_STYLE,
        about=f'<p class="about"><code>{_text(shlex.join(command), _COMMAND_CHARS)}</code></p>\n' if command else "",
        few=' class="few"' if len(rows) < 4 else "",
        figures=figures,
        failures=f"<h2>{len(failures)} failed</h2><ul>\n{failed}</ul>\n" if failures else "",
    )
    write_atomic(path, page.encode("utf-8"))


def _model(row: dict[str, Any]) -> str:
    """The model in words: the starter and the world have no name of their own."""
    model, generator = str(row["model"]), row.get("generator")
    return "the bundled generator" if (generator, model) == ("dit", "starter") else model


def _figure(row: dict[str, Any], how: str, *, with_model: bool) -> str:
    shape = row["shape"]
    frames = "1 frame" if shape["num_frames"] == 1 else f"{shape['num_frames']} frames"
    about = [f"seed {row['seed']}", frames, f"{shape['width']}×{shape['height']}"]
    about += [_model(row)] if with_model else []
    warnings = "".join(f'<br><small class="warn">{_text(Notice.read(one))}</small>' for one in row.get("warnings", ()))
    small = ' class="small"' if shape["width"] < _SMALL else ""
    return (
        f'<figure><video{small} src="{escape(quote(row["path"]))}" width="{shape["width"]}" '
        f'height="{shape["height"]}" {how}></video>'
        f"<figcaption>{_text(row['prompt'])}<br><small>{_text(' · '.join(about))}</small>{warnings}</figcaption>"
        "</figure>"
    )


def _text(value: object, limit: int | None = None) -> str:
    return escape(printable(str(value)) if limit is None else printable(str(value), limit))
