"""What the HTML reports share: a template that escapes, a policy that lets nothing else run or load, inert texts.

In: names of files beside this one (`family.css` is the style of all), values. Out: the bytes of one page. Captions,
prompts and messages are other people's text: templates escape them, JSON spells `<`, `>` and `&` as escapes, scripts
set text and never HTML, and each page's own policy (CSP with the hashes of its one style and one script, trusted types)
allows nothing else to run or to load.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

_MARKS = "<>&\u2028\u2029"
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def fill(name: str, filters: dict[str, Any] | None = None, **values: Any) -> bytes:
    """The page of the template `name`.html with the style `name`.css after the family's, and the script `name`.js.

    Args:
        name: of the three files.
        filters: further filters of the template.
        values: what the template shows; `style`, `script` and `policy` come from here.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style, script = _text("family.css") + _text(f"{name}.css"), _text(f"{name}.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean
    )
    environment.filters |= filters or {}
    page = environment.from_string(_text(f"{name}.html")).render(
        policy=_policy(style, script), style=Markup(style), script=Markup(script), **values
    )
    return page.encode("utf-8", "backslashreplace")  # a lone surrogate becomes \udcNN, which JSON reads as itself


def inert_json(tree: Any) -> str:
    """JSON that no HTML parser can leave: `<`, `>`, `&` and Unicode's line separators as escapes; no NaN."""
    text = json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for mark in _MARKS:
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def address(path: Path, folder: Path) -> str:
    """The address of a file relative to a page in `folder`."""
    return quote(os.fsencode(os.path.relpath(path, folder)))


def _policy(style: str, script: str) -> str:
    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"

    return (
        f"default-src 'none'; script-src {source(script)}; style-src {source(style)}; img-src data:; "
        "media-src 'self' file:; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def _text(name: str) -> str:
    return files("v2t_eval.report").joinpath(name).read_text(encoding="utf-8")


def _clean(value: Any) -> Any:
    return _CONTROL.sub("\ufffd", value) if type(value) is str else value
