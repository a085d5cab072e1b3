"""Template of the HTML reports: everything is escaped, and a content policy forbids other code and resources.

In: values. Out: the bytes of one page. Captions, prompts and messages are untrusted text: the template escapes
them, the script sets text and never HTML, and the page's own policy (CSP with the hashes of its one style and one
script, trusted types) allows nothing else to run or to load.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def fill(**values: Any) -> bytes:
    """The page of the template `page.html` with its style `page.css` and its script `page.js`.

    Args:
        values: what the template shows; `style`, `script` and `policy` come from here.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    style, script = _text("page.css"), _text("page.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_clean
    )
    page = environment.from_string(_text("page.html")).render(
        policy=_policy(style, script), style=Markup(style), script=Markup(script), **values
    )
    return page.encode("utf-8", "backslashreplace")


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
