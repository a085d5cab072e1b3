"""JUnit XML of a document: its checks as the tests that a CI system counts.

In: a `Document`. Out: UTF-8 XML in the form that Jenkins, GitLab and the test reporters for GitHub read: `testsuites`,
one `testsuite` for the banner (`verdict`) and for each section with checks (by the first word of its title), one
`testcase` for each row with a `Check`, times in seconds (zero: nothing runs here). The status is never more positive
than the banner, which is a case of its own.

- bad: `failure`.
- unsure: `failure` too, since the exit code is not 0. A pipeline that lets that exit code pass must let these pass too;
  "skipped" would show green for a gate that has decided nothing.
- invalid: `error`, nothing was tested.
- not good in a folded section: `skipped` with a message; such checks decide nothing.

Facts and cells are written as `properties`, intervals with their exact ends; and again, for readers that drop those,
in `system-out`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree

from cineloop.log import printable
from v2t_eval.report.cells import cell_text
from v2t_eval.report.document import Cell, Check, Document, IntervalCell, Section, Tone

_KINDS: dict[Tone, str] = {"bad": "failure", "unsure": "failure", "invalid": "error"}
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MAX_NAME, _MAX_MESSAGE, _MAX_TEXT = 300, 2_000, 20_000
_MAX_CARDS = 50


def render(document: Document) -> bytes:
    """The XML."""
    root = ElementTree.Element("testsuites", name=f"cineloop {document.title.lower()}")
    _verdict(root, document)
    for section, row, check, notes in document.checks():
        _check(_suite(root, document, section.title.split()[0].lower()), section, row, check, notes)
    for parent in (*root, root):
        cases = list(parent.iter("testcase"))
        parent.set("tests", str(len(cases)))
        for kind, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            parent.set(key, str(sum(case.find(kind) is not None for case in cases)))
        parent.set("time", "0.000")
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def _suite(root: ElementTree.Element, document: Document, name: str) -> ElementTree.Element:
    """The suite of that name, made where there is none."""
    name = _line(f"{document.title.lower()}.{name}", _MAX_NAME)
    known = next((suite for suite in root if suite.get("name") == name), None)
    return ElementTree.SubElement(root, "testsuite", name=name) if known is None else known


def _verdict(root: ElementTree.Element, document: Document) -> None:
    banner = document.banner
    if banner is None:
        return
    properties, lines = list(banner.facts), [f"{banner.word}: {banner.sentence}"]
    for section in document.sections:
        properties += [(f"{section.title}.{name}", value) for name, value in section.facts]
        if not section.tables:
            lines += [f"{section.title}: {line}" for line in section.text]
        lines += [f"{card.title}: {'; '.join(map(str, card.lines))}" for card in section.cards[:_MAX_CARDS]]
        if (rest := len(section.cards) - _MAX_CARDS) > 0:
            lines.append(document.omission(rest, "clip"))
    case = _case(_suite(root, document, "verdict"), "verdict", properties)
    why = "; ".join([banner.sentence, *document.first_lines])
    _end(case, banner.tone, banner.word.lower(), why, lines)


def _check(
    suite: ElementTree.Element, section: Section, row: Mapping[str, Cell], check: Check, notes: tuple[str, ...]
) -> None:
    name, *properties = ((column, cell_text(cell)) for column, cell in row.items())
    lines = [f"{column}: {text}" for column, text in properties] + list(notes)
    for column, cell in row.items():
        if isinstance(cell, IntervalCell):
            ends = {"value": cell.value, "low": cell.low, "high": cell.high}
            properties += [(f"{column} {end}", repr(float(value))) for end, value in ends.items()]
    _end(_case(suite, name[1], properties), check.tone, check.text, check.why, lines, counts=not section.folded)


def _case(suite: ElementTree.Element, name: str, properties: Iterable[tuple[str, str]]) -> ElementTree.Element:
    case = ElementTree.SubElement(
        suite, "testcase", classname=suite.get("name", ""), name=_line(name, _MAX_NAME) or "unnamed", time="0.000"
    )
    named = [(re.sub(r"[^\w.]+", "_", key.lower()).strip("_"), value) for key, value in properties]
    if named:
        parent = ElementTree.SubElement(case, "properties")
        for key, value in named:
            ElementTree.SubElement(parent, "property", name=_line(key, _MAX_NAME), value=_line(value))
    return case


def _end(
    case: ElementTree.Element, tone: Tone, word: str, why: str, lines: Iterable[str], *, counts: bool = True
) -> None:
    """Result of a case with its details; one that does not count is skipped where it is not good."""
    text, kind = _text("\n".join(lines)), _KINDS.get(tone, "")
    if kind and not counts:
        message = f"not part of the verdict; by itself it would be: {word}"
        ElementTree.SubElement(case, "skipped", message=_line(message, _MAX_MESSAGE))
    elif kind:
        message = why if tone == "bad" else f"{word}: {why}"
        ElementTree.SubElement(case, kind, message=_line(message, _MAX_MESSAGE), type=word).text = text
    if text:
        ElementTree.SubElement(case, "system-out").text = text


def _line(text: str, limit: int = 1_000) -> str:
    """Text for an attribute: on one line, control and direction characters spelled out."""
    return _NOT_XML.sub("\ufffd", printable(" ".join(text.split()), limit))


def _text(text: str) -> str:
    """Text for an element: lines are kept, what XML 1.0 forbids becomes U+FFFD."""
    kept = "\n".join(printable(line) for line in text.split("\n"))
    kept = kept if len(kept) <= _MAX_TEXT else kept[:_MAX_TEXT] + " … cut"
    return _NOT_XML.sub("\ufffd", kept)
