"""`index.html`: one page to look through a run, each clip's frames next to its caption, failures and warnings first.

The page holds strips of exactly the frames that the model saw, texts, a filter. A strip is one JPEG of a clip or a part
of one, kept in `.v2t/strips` under a hash of the clip's id, so that shards and resumed runs find it. The page uses no
network and may be sent to other people; beside the files it plays each clip that is on the screen, without a sound,
where the browser can, and a click on a strip opens the file. All text is escaped, control characters included, and a
content security policy allows no script but its own. A browser shows some thousand clips: beyond `MAX_CARDS` those
without warnings are left to other formats, and the page says so.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections import Counter
from contextlib import suppress
from html import escape
from itertools import islice
from pathlib import Path
from urllib.parse import quote

import numpy as np

from cineloop.errors import ItemError, Notice
from cineloop.files import text_key, write_atomic
from cineloop.log import printable
from v2t.writers import Record, Rows

NAME = "index.html"
LINKS_FILES = True
MAX_CARDS = 2000
_MAX_PARTS = 24  # of one clip, shown with their frames
STRIPS = ".v2t/strips"
NUM_FRAMES = 6
_HEIGHT, _MAX_WIDTH = 80, 160  # of one frame of a strip, in pixels
_GAP = 3
_QUALITY = 60

_STYLE = """
:root{color-scheme:light dark;--line:#ddd;--soft:#666;--card:#fff;--page:#f6f6f4;--bad:#b3261e;--warn:#8a5300}
@media(prefers-color-scheme:dark){:root{--line:#3a3a3a;--soft:#a5a5a5;--card:#222;--page:#181818;--bad:#ff8a80;
--warn:#ffb74d}}
*{box-sizing:border-box}body{margin:0 auto;max-width:1500px;padding:1rem;font:15px/1.45 system-ui,sans-serif;
background:var(--page)}
h1{font-size:1.3rem;margin:.2rem 0}p{margin:.3rem 0}small,.soft{color:var(--soft);font-size:13px}
nav{position:sticky;top:0;display:flex;flex-wrap:wrap;gap:.5rem;padding:.6rem 0;background:var(--page);z-index:1}
input[type=search]{flex:1 1 12rem;font:inherit;padding:.35rem .6rem;border:1px solid var(--line);border-radius:6px}
button{font:inherit;padding:.35rem .8rem;border:1px solid var(--line);border-radius:6px;background:var(--card);
cursor:pointer}button[aria-pressed=true]{border-color:currentColor;font-weight:600}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr));gap:.9rem}
article{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.7rem;overflow-wrap:anywhere;
content-visibility:auto;contain-intrinsic-size:auto 220px}
article.failed{border-left:4px solid var(--bad)}article.warned{border-left:4px solid var(--warn)}
article[hidden]{display:none}img{display:block;max-width:100%;height:auto;border-radius:4px;background:var(--line)}
h2{font-size:13px;font-weight:600;margin:.45rem 0 .15rem;color:var(--soft)}
.caption{white-space:pre-wrap;margin:.2rem 0}.bad{color:var(--bad)}.warn{color:var(--warn);font-size:13px}
video{display:block;max-width:100%;height:12rem;border-radius:4px;background:#000;margin-bottom:.4rem}
ol{list-style:none;margin:.4rem 0;padding:0;font-size:14px}li{margin:.35rem 0}
""".strip()
# Cards are looked up by their kind and their words; clips run while they are seen, with controls where one points.
_SCRIPT = """
const cards=[...document.querySelectorAll('article')],words=cards.map(c=>c.textContent.toLowerCase()),
box=document.querySelector('input'),buttons=[...document.querySelectorAll('button')],shown=document.querySelector('output');
let kind='';
function filter(){const wanted=box.value.toLowerCase();let n=0;
cards.forEach((c,i)=>{c.hidden=!((!kind||c.className===kind)&&words[i].includes(wanted));n+=!c.hidden});
shown.textContent=n===cards.length?'':n+' shown'}
box.addEventListener('input',filter);
buttons.forEach(b=>b.addEventListener('click',()=>{kind=b.value;
buttons.forEach(o=>o.setAttribute('aria-pressed',o===b));filter()}));
const still=matchMedia('(prefers-reduced-motion: reduce)').matches,seen=new IntersectionObserver(found=>found.forEach(
({target:v,isIntersecting:on})=>{if(!on)v.pause();else if(!still)v.play().catch(()=>{});else v.preload='metadata'}));
document.querySelectorAll('video').forEach(v=>{const bare=()=>{v.controls=still||v.matches(':hover,:focus')};bare();
['pointerenter','pointerleave','focus','blur'].forEach(e=>v.addEventListener(e,bare));
v.addEventListener('error',()=>v.remove());seen.observe(v)});
""".strip()
_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; media-src 'self' file:; \
style-src 'unsafe-inline'; script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'">
<meta name="referrer" content="no-referrer">
<title>{title}</title><style>{style}</style></head>
<body><h1>{title}</h1>
{about}
<nav><input type="search" placeholder="words of a name, a caption or a warning" aria-label="filter">
{buttons}<output class="soft"></output></nav>
<main>
"""


def write(rows: Rows, target: Path, place: Path) -> None:
    """The page of all records: failures first, then those with warnings, each kind in the order of ids."""
    counts, models, codes = Counter[str](), Counter[str](), Counter[str]()
    chosen: dict[str, list[Record]] = {"failed": [], "warned": [], "plain": []}
    for record in rows.records():
        kind = "failed" if record["status"] != "ok" else "warned" if record.get("warnings") else "plain"
        counts[kind] += 1
        models[f"{record.get('model') or 'unknown'} ({record.get('style') or 'own prompt'})"] += 1
        codes.update(Notice.read(warning).code for warning in record.get("warnings") or ())
        if len(chosen[kind]) < MAX_CARDS:
            chosen[kind].append(record)
    cards = ((record, kind) for kind, records in chosen.items() for record in records)
    with open(target, "w", encoding="utf-8", newline="\n") as file:
        file.write(_head(counts.total(), counts, models, codes))
        for record, kind in islice(cards, MAX_CARDS):
            file.write(_card(record, kind, rows, place))
        file.write("</main>\n")
        file.write(f"<script>{_SCRIPT}</script></body></html>\n")


def _head(num: int, counts: Counter[str], models: Counter[str], codes: Counter[str]) -> str:
    title = f"{num} clip{'' if num == 1 else 's'}: {num - counts['failed']} captioned, {counts['failed']} failed"
    about = f"<p>By {_text(', '.join(name for name, _ in models.most_common(3)))}</p>" if models else ""
    if codes:
        listed = ", ".join(f"{code} ({count})" for code, count in codes.most_common())
        about += f'\n<p class="warn">Warnings: {_text(listed)}</p>'
    if num > MAX_CARDS:
        about += f"\n<p>{MAX_CARDS} are shown here; {num - MAX_CARDS} more clips are in captions.jsonl.</p>"
    labels = {
        "": f"all {min(num, MAX_CARDS)}",
        "failed": f"failed {counts['failed']}",
        "warned": f"with warnings {counts['warned']}",
    }
    buttons = "".join(
        f'<button type="button" value="{value}" aria-pressed="{"false" if value else "true"}">{label}</button>\n'
        for value, label in labels.items()
        if not value or counts[value]
    )
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    return _HEAD.format(title=_text(title), style=_STYLE, about=about, buttons=buttons, digest=digest)


def _card(record: Record, kind: str, rows: Rows, place: Path) -> str:
    output, parts = place.parent, [f'<article class="{kind}">']
    link = end = ""
    with suppress(ItemError):  # missing, changed, remote, or a part of a file
        path = os.path.relpath(os.path.abspath(rows.find_video(record)), os.path.abspath(output))
        address = escape(quote(os.fsencode(path)))
        link, end = f'<a href="{address}" target="_blank" rel="noopener">', "</a>"
        if kind != "failed":
            parts.append(f'<video src="{address}" preload="none" loop muted playsinline controls tabindex="0"></video>')
    if image := _image(strip_path(output, record["id"]), f"frames of {record['id']}"):
        parts.append(f"{link}{image}{end}")
    parts.append(f"<h2>{link}{_text(record['id'])}{end}</h2>")
    if kind == "failed":
        error = record.get("error") or {}
        hint = f"<br><small>{_text(error['hint'])}</small>" if error.get("hint") else ""
        parts.append(f'<p class="bad">{_text(error.get("code"))}: {_text(error.get("message"))}{hint}</p>')
    else:
        caption = _text(*record["caption"].split("\n"))
        parts.append(f'<p class="caption" dir="auto">{caption}</p>')
        if more := (record.get("captions") or [])[1:]:
            listed = "".join(f'<li dir="auto">{_text(*text.splitlines())}</li>' for text in more)
            parts.append(f"<ol>{listed}</ol>")
    parts += [f'<p class="warn">{_text(Notice.read(warning))}</p>' for warning in record.get("warnings") or ()]
    if record.get("segments"):
        parts.append(_segments(record, output))
    about = [
        "edited by hand" if record.get("edited") else "",
        record.get("review") or "",
        f"tags {', '.join(record['tags'])}" if record.get("tags") else "",
        f"{record['duration_s']:.1f} s" if record.get("duration_s") else "",
        f"{len(record['frame_times_s'])} frames" if record.get("frame_times_s") else "",
        f"{record['tokens']} tokens" if record.get("tokens") else "",
        str(record.get("decoder") or ""),
    ]
    parts.append(f"<small>{_text(', '.join(filter(None, about)))}</small></article>\n")
    return "\n".join(parts)


def _segments(record: Record, output: Path) -> str:
    items = []
    for number, segment in enumerate(record["segments"]):
        time = f"{segment['start_s']:.1f} to {segment['end_s']:.1f} s"
        image = ""
        if number < _MAX_PARTS:
            image = _image(strip_path(output, record["id"], segment["start_s"]), f"frames of {time}")
        caption = _text(*segment["caption"].split("\n"))
        items.append(f'<li>{image}<small>{time}</small> <span dir="auto">{caption}</span></li>')
    return f"<ol>{''.join(items)}</ol>"


def _image(path: Path, words: str) -> str:
    """The strip as part of the page; "" when none was kept."""
    try:
        data = path.read_bytes()
    except OSError:
        return ""
    height, width, at = 1, 1, 2  # by the frame header of the JPEG; 1 x 1 when it is damaged
    while at + 9 < len(data) and data[at] == 0xFF:
        if 0xC0 <= data[at + 1] <= 0xC2:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            break
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return (
        f'<img loading="lazy" decoding="async" width="{width}" height="{height}" alt="{_text(words)}" '
        f'src="data:image/jpeg;base64,{base64.b64encode(data).decode()}">'
    )


def _text(*lines: object) -> str:
    return "\n".join(escape(printable(str(line))) for line in lines)


# ---- strips


def strip_path(output: Path, clip_id: str, start_s: float | None = None) -> Path:
    """Where the strip of a clip is kept, or that of its part which begins at `start_s`."""
    key = clip_id if start_s is None else f"{clip_id}\0{start_s:.4f}"
    return output / STRIPS / f"{text_key(key.encode('utf-8', 'surrogatepass'))}.jpg"


def save_strip(output: Path, pixels: np.ndarray, clip_id: str, start_s: float | None = None) -> None:
    """Keep a JPEG of up to `NUM_FRAMES` of the frames uint8 (T, H, W, 3), first and last among them.

    Raises:
        MissingDependencyError: DISK_FULL.
    """
    import cv2

    num, height, width = pixels.shape[:3]
    chosen = sorted({round(i * (num - 1) / (NUM_FRAMES - 1)) for i in range(NUM_FRAMES)})
    size = (max(1, min(_MAX_WIDTH, round(_HEIGHT * width / height))), _HEIGHT)
    strip = np.full((_HEIGHT, len(chosen) * (size[0] + _GAP) - _GAP, 3), 255, np.uint8)  # (80, (w + gap) * n - gap, 3)
    for place, i in enumerate(chosen):
        left = place * (size[0] + _GAP)
        strip[:, left : left + size[0]] = cv2.resize(
            np.ascontiguousarray(pixels[i]), size, interpolation=cv2.INTER_AREA
        )
    data = cv2.imencode(".jpg", strip[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
    write_atomic(strip_path(output, clip_id, start_s), data, durable=False)


def copy_strips(folder: Path, output: Path) -> None:
    """Take over the strips of another output folder; what `output` has stays."""
    for path in sorted((folder / STRIPS).glob("*.jpg")):
        if not (output / STRIPS / path.name).exists():
            write_atomic(output / STRIPS / path.name, path.read_bytes(), durable=False)
