"""Caption templates: a subset of jinja2 with bounded cost.

In: a template over `VARIABLES`, such as `{{ caption }} ({{ folder }})`. Out: text.
Templates come with other people's recipes, so jinja2's sandbox alone is not enough: it stops attribute tricks, but not
a loop over a thousand million or a text doubled forty times. Here only a short list of constructs is allowed (values,
`if`, one `for` over `segments`, a few filters), none of which can run long or grow beyond `MAX_CHARS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from cineloop.errors import ItemError, UsageError, did_you_mean

VARIABLES = ("caption", "id", "path", "name", "folder", "duration_s", "style", "model", "segments")
MAX_TEMPLATE_CHARS = 8_000
MAX_CHARS = 4_000_000
_FILTERS = ("lower", "upper", "capitalize", "title", "trim", "round", "int", "default", "length", "truncate")
_TESTS = ("none", "defined")
_ATTRIBUTES = ("start_s", "end_s", "caption", "index", "first", "last")  # of a segment, and of `loop`
_NODES = (
    "Template Output TemplateData Name Const Getattr Filter Test If For CondExpr Compare Operand And Or Not Neg Keyword"
)
_TRIAL = {
    **dict.fromkeys(VARIABLES, "x"),
    "duration_s": 2.5,
    "segments": [
        {"start_s": 0.0, "end_s": 1.0, "caption": "A dog runs."},
        {"start_s": 1.0, "end_s": 2.5, "caption": "It jumps."},
    ],
}


def check(template: str) -> None:
    """Raise UsageError (code TEMPLATE), with the line, if a template is invalid or uses a forbidden construct."""
    _compile(template)
    try:
        render(template, _TRIAL)
    except ItemError as error:
        raise _template_error(error.message) from error


def render(template: str, values: Mapping[str, Any]) -> str:
    """The text of a template that `check` accepted.

    Raises:
        ItemError: code TEMPLATE, it fails on these values or writes more than `MAX_CHARS`.
    """
    import jinja2

    pieces, length = [], 0
    try:
        for piece in _compile(template).generate(values):
            pieces.append(piece)
            length += len(piece)
            if length > MAX_CHARS:
                raise ItemError(f"the template writes more than {MAX_CHARS} characters", code="TEMPLATE")
    except (jinja2.TemplateError, TypeError, ValueError, OverflowError) as error:
        raise ItemError(f"the template fails: {error}", code="TEMPLATE") from error
    return "".join(pieces)


@lru_cache(maxsize=8)
def _compile(template: str) -> Any:
    import jinja2
    from jinja2.sandbox import SandboxedEnvironment

    if len(template) > MAX_TEMPLATE_CHARS:
        raise _template_error(f"it has {len(template)} characters; at most {MAX_TEMPLATE_CHARS}")
    sandbox = SandboxedEnvironment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, finalize=_finalize, optimized=False
    )
    sandbox.filters = {**{name: sandbox.filters[name] for name in _FILTERS}, "replace": _replace}
    sandbox.tests = {name: sandbox.tests[name] for name in _TESTS}
    sandbox.globals = {}
    try:
        tree = sandbox.parse(template)
        _allow(tree)
        return sandbox.from_string(tree)
    except jinja2.TemplateSyntaxError as error:
        known = f"; filters: {', '.join(sorted(sandbox.filters))}" if "filter" in str(error) else ""
        raise _template_error(f"line {error.lineno}: {error.message}{known}") from error
    except RecursionError as error:
        raise _template_error("it is nested too deeply") from error


def _allow(tree: Any) -> None:
    """Refuse every construct that is not on the list, and unknown names."""
    from jinja2 import nodes

    allowed = tuple(getattr(nodes, name) for name in _NODES.split())
    loops = list(tree.find_all(nodes.For))
    own = {name.name for loop in loops for name in loop.target.find_all(nodes.Name)}
    own |= {loop.target.name for loop in loops if isinstance(loop.target, nodes.Name)}
    for loop in loops:
        is_plain = isinstance(loop.iter, nodes.Name) and loop.iter.name == "segments" and not loop.recursive
        if not is_plain or any(True for _ in loop.find_all(nodes.For)):
            raise _template_error(f"line {loop.lineno}: a loop must go over segments, and not inside another")
    for node in tree.find_all(nodes.Node):
        if not isinstance(node, allowed):
            raise _template_error(f"line {node.lineno}: {type(node).__name__} is not allowed")
        if isinstance(node, nodes.Getattr) and (node.attr not in _ATTRIBUTES or not isinstance(node.node, nodes.Name)):
            raise _template_error(
                f"line {node.lineno}: .{node.attr} is not allowed", hint=f"known: {', '.join(_ATTRIBUTES)}"
            )
        if isinstance(node, nodes.Name) and node.name not in (*VARIABLES, *own, *(["loop"] if loops else [])):
            raise _template_error(
                f"line {node.lineno}: unknown name {node.name!r}; choices: {', '.join(VARIABLES)}",
                hint=did_you_mean(node.name, VARIABLES),
            )


def _finalize(value: Any) -> Any:
    import jinja2

    if callable(value) and not isinstance(value, jinja2.Undefined):  # its own message names what is missing
        raise TypeError(f"{value!r} cannot be written")
    return "" if value is None else value


def _replace(text: Any, old: str, new: str) -> str:
    text, old, new = str(text), str(old), str(new)
    if len(text) + text.count(old) * len(new) > MAX_CHARS:
        raise ValueError(f"replace would write more than {MAX_CHARS} characters")
    return text.replace(old, new)


def _template_error(why: str, hint: str = "") -> UsageError:
    return UsageError(f"the template: {why}", code="TEMPLATE", hint=hint)
