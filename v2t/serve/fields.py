"""Fields of a client's JSON: taken by name, unknown ones refused, values quoted shortly.

In: parsed JSON and where it stands. Out: its fields; `Fault` UNKNOWN_FIELD, UNSUPPORTED or BAD_REQUEST, which names the
field. A null field counts as missing.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from cineloop.web.faults import Fault

_WIDE = 1 << 65


def fields_of(
    value: Any, fields: Collection[str], where: str, neutral: Mapping[str, tuple[Any, ...]] = {}
) -> dict[str, Any]:
    """The given fields of an object; refuses unknown ones, and an unsupported feature (`neutral`) unless it has its
    neutral value. Raises Fault UNKNOWN_FIELD, UNSUPPORTED, BAD_REQUEST."""
    if not isinstance(value, dict):
        raise wrong(where or None, "expected a JSON object", value)
    given = {name: each for name, each in value.items() if each is not None}
    for name in given:
        if name not in fields and name not in neutral:
            shown = excerpt(name).strip('"')
            place = f"{where}.{shown}" if where else shown
            raise Fault(400, "UNKNOWN_FIELD", f"{place}: unknown field", param=place)
    for name, values in neutral.items():
        if name in given and not any(type(given[name]) is type(value) and given[name] == value for value in values):
            place = f"{where}.{name}" if where else name
            allowed = " or ".join(json.dumps(value) for value in values)
            message = f"{place}: not supported by this server; leave it out, or send {allowed}"
            raise Fault(400, "UNSUPPORTED", message, param=place)
    return given


def wrong(param: str | None, expected: str, *came: Any) -> Fault:
    """The refusal of a value: the field, what was expected, and where it is given what came."""
    name = param or "the body"
    got = f"; got {excerpt(came[0])}" if came else ""
    return Fault(400, "BAD_REQUEST", f"{name}: {expected}{got}", param=param)


def text_in(text: Any, where: str) -> str:
    """A text of the field `where`. Raises Fault BAD_REQUEST."""
    if not isinstance(text, str):
        raise wrong(where, "expected text", text)
    return text


def excerpt(value: Any) -> str:
    """A value for an error message: short, printable, and never much of a client's data."""
    if isinstance(value, (dict, list)):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    if value is None or isinstance(value, bool):
        return {None: "nothing", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value) if abs(value) < _WIDE else "a very long number"
    text = value if isinstance(value, str) else f"{value:.6g}"
    plain = "".join(char if char.isprintable() else "?" for char in text[:60])
    return f'"{plain}{"..." if len(text) > 60 else ""}"' if isinstance(value, str) else plain
