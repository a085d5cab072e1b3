"""Output of a document on GitHub: summary of the job, annotations of the run.

In: a `Document` and the environment of the step. Out: text appended to the file that `GITHUB_STEP_SUMMARY` names, and
workflow commands for stdout. GitHub drops a step's summary above 1 MiB whole, and shows at most ten errors, ten
warnings and ten notices of a step; both limits are kept. Outside of GitHub nothing is written or printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from cineloop.log import logger, printable
from v2t_eval.report import markdown
from v2t_eval.report.cells import cell_text
from v2t_eval.report.document import Document, Tone

SUMMARY_BYTES = 1_048_576  # of all that one step writes; above, GitHub shows none of it
MAX_EACH = 10  # annotations of one kind in one step
_KINDS: dict[Tone, str] = {"bad": "error", "invalid": "error", "unsure": "warning"}
_LEAST_BYTES = 2_000  # less is not worth a summary
_MAX_TITLE, _MAX_MESSAGE, _MAX_LINES, _MAX_NOTES = 200, 3_000, 20, 3


def write_summary(document: Document, environ: Mapping[str, str]) -> bool:
    """Append the document to the step's summary; whether it was written. Without `GITHUB_ACTIONS=true` and
    `GITHUB_STEP_SUMMARY` nothing happens.
    """
    return _append(lambda room: markdown.render(document, max_bytes=room), environ)


def append_summary(text: str, environ: Mapping[str, str]) -> bool:
    """The same with Markdown that was rendered already; one that is too long is left out."""
    return _append(lambda room: text if len(text.encode()) <= room else "", environ)


def write_outputs(values: Mapping[str, str], environ: Mapping[str, str]) -> None:
    """Outputs of the step, of one line each, for the steps that follow; outside of GitHub nothing is written."""
    if environ.get("GITHUB_ACTIONS") == "true" and (name := environ.get("GITHUB_OUTPUT")):
        with open(name, "a", encoding="utf-8") as file:
            file.writelines(f"{key}={printable(value)}\n" for key, value in values.items())


def _append(text_for: Callable[[int], str], environ: Mapping[str, str]) -> bool:
    """Append what `text_for(bytes that are left)` gives to the step's summary."""
    name = environ.get("GITHUB_STEP_SUMMARY")
    if environ.get("GITHUB_ACTIONS") != "true" or not name:
        return False
    path = Path(name)
    try:
        there = path.stat().st_size if path.exists() else 0
        room = SUMMARY_BYTES - there - 2
        text = text_for(room) if room >= _LEAST_BYTES else ""
        if not text:
            logger.warning("the step's summary is full (%d bytes): the report is left out of it", there)
            return False
        with open(path, "ab") as file:
            file.write((b"\n\n" if there else b"") + text.encode("utf-8"))
    except OSError as error:  # the verdict stands without it, and its exit code must not change
        logger.warning("the step's summary cannot be written: %s", error)
        return False
    return True


def announce(document: Document, environ: Mapping[str, str]) -> bool:
    """Print the annotations to stdout where `GITHUB_ACTIONS=true`; whether it is."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return False
    for line in workflow_commands(document):
        print(line)
    return True


def workflow_commands(document: Document) -> list[str]:
    """The annotations, at most ten of a kind, the banner's own first.

    Errors: what is bad or invalid. Warnings: what is unsure. Notices: a good banner, and checks of folded sections that
    are bad. What exceeds the limit is counted and named in the last of its kind.
    """
    by_level: dict[str, list[tuple[str, str]]] = {"error": [], "warning": [], "notice": []}
    if banner := document.banner:
        facts = [f"{name} {value}" for name, value in banner.facts]
        lines = [banner.sentence, *document.first_lines[:_MAX_LINES], *facts]
        by_level[_KINDS.get(banner.tone, "notice")].append(
            (f"{document.title}: {banner.word.lower()}", "\n".join(lines))
        )
    for section, row, check, notes in document.checks():
        if check.tone not in _KINDS or (section.folded and check.tone != "bad"):
            continue
        name, *cells = ((column, cell_text(cell)) for column, cell in row.items() if cell is not check)
        figures = ", ".join(f"{column} {text}" for column, text in cells if text not in (check.why, "–"))
        apart = section.text[:1] if section.folded else ()
        lines = [check.why, *apart, figures, *(note for note in notes[:_MAX_NOTES] if note != check.why)]
        title = f"{name[1]}: {'would ' if section.folded else ''}{check.text}"
        by_level["notice" if section.folded else _KINDS[check.tone]].append((title, "\n".join(filter(None, lines))))
    return [_command(kind, title, text) for kind, each in by_level.items() for title, text in _within(each)]


def _within(annotations: list[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    if len(annotations) <= MAX_EACH:
        return annotations
    rest = [title for title, _ in annotations[MAX_EACH - 1 :]]
    return [*annotations[: MAX_EACH - 1], (f"{len(rest)} more", "\n".join(rest))]


def _command(kind: str, title: str, text: str) -> str:
    name = _escape(_clean(title, _MAX_TITLE)).replace(":", "%3A").replace(",", "%2C")
    lines = [_clean(line, _MAX_MESSAGE) for line in text.split("\n")]
    return f"::{kind} title={name}::{_escape(chr(10).join(lines)[:_MAX_MESSAGE])}"


def _clean(text: str, limit: int) -> str:
    clean = printable(" ".join(text.split()), limit)
    return clean.encode("utf-8", "backslashreplace").decode("utf-8")


def _escape(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
