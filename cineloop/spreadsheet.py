"""Cells of a spreadsheet, which runs what starts with = + - @, a tab or a carriage return as a formula."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def quote(text: str) -> str:
    """The text, with an apostrophe in front where a spreadsheet would run it as a formula (apostrophes before that or
    not)."""
    return "'" + text if _FORMULA.match(text) else text


def unquote(cell: str) -> str:
    """The text that `quote` made a cell of."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
