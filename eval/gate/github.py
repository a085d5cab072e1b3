"""The verdict on GitHub: a summary on the job's page, annotations on the run.

In: a `Verdict` and the environment of the step. Out: text appended to the file that `GITHUB_STEP_SUMMARY` names, and
workflow commands for stdout. GitHub drops a step's summary above 1 MiB whole, and shows at most ten errors, ten
warnings and ten notices of a step; both limits are kept. Outside of GitHub nothing is written or printed.
"""
# No `from __future__ import annotations`: it would be one name with the function.

from collections.abc import Iterable, Mapping
from pathlib import Path

from cineloop.log import logger, printable
from v2t_eval.gate import wording
from v2t_eval.gate.report import document
from v2t_eval.gate.verdict import Verdict
from v2t_eval.report import markdown

SUMMARY_BYTES = 1_048_576  # of all that one step writes; above, GitHub shows none of it
MAX_EACH = 10  # annotations of one kind in one step
_LEAST_BYTES = 2_000  # less is not worth a summary
_MAX_TITLE = 200
_MAX_MESSAGE = 3_000


def write_summary(verdict: Verdict, environ: Mapping[str, str]) -> bool:
    """Append the verdict to the step's summary; whether it was written.

    Args:
        verdict: what to tell.
        environ: the environment variables. Without `GITHUB_ACTIONS=true` and `GITHUB_STEP_SUMMARY` nothing happens.
    """
    name = environ.get("GITHUB_STEP_SUMMARY")
    if environ.get("GITHUB_ACTIONS") != "true" or not name:
        return False
    path = Path(name)
    try:
        there = path.stat().st_size if path.exists() else 0
        room = SUMMARY_BYTES - there - 2
        if room < _LEAST_BYTES:
            logger.warning("the step's summary is full (%d bytes): the verdict is left out of it", there)
            return False
        text = markdown.render(document(verdict), max_bytes=room)
        with open(path, "ab") as file:
            file.write((b"\n\n" if there else b"") + text.encode("utf-8"))
    except OSError as error:  # the verdict stands without it, and its exit code must not change
        logger.warning("the step's summary cannot be written: %s", error)
        return False
    return True


def announce(verdict: Verdict, environ: Mapping[str, str]) -> bool:
    """Print the annotations to stdout where `GITHUB_ACTIONS=true`; whether it is."""
    if environ.get("GITHUB_ACTIONS") != "true":
        return False
    for line in annotations(verdict):
        print(line)
    return True


def annotations(verdict: Verdict) -> list[str]:
    """Workflow commands, at most ten of a kind, the verdict's own first.

    Errors: what fails or is not comparable. Warnings: what is inconclusive. Notices: a verdict that passes, and
    exploratory metrics that would fail. What finds no place is counted and named in the last of its kind.
    """
    word = wording.WORDS[verdict.outcome].lower()
    kinds = {"pass": "notice", "fail": "error", "not_comparable": "error", "inconclusive": "warning"}
    told: dict[str, list[tuple[str, str]]] = {"error": [], "warning": [], "notice": []}
    whole = f"{verdict.reason} (exit code {verdict.exit_code})"
    told[kinds[verdict.outcome]].append((f"Gate: {word}", "\n".join([whole, *verdict.differences[:20]])))
    primary, exploratory = wording.parted(verdict)
    for one in primary:
        if one.outcome != "pass":
            lines = [f"change {wording.change(one)}, asked for {wording.asked(one)}", *one.reasons[:3]]
            told[kinds[one.outcome]].append((f"{one.metric}: {one.outcome.replace('_', ' ')}", "\n".join(lines)))
    for guard in verdict.guards:
        if guard.outcome != "pass":
            told[kinds[guard.outcome]].append((f"Guard {guard.name}: {guard.outcome.replace('_', ' ')}", guard.message))
    for one in exploratory:
        if one.outcome == "fail":
            lines = [f"change {wording.change(one)}; exploratory, decides nothing", *one.reasons[:1]]
            told["notice"].append((f"{one.metric}: would fail", "\n".join(lines)))
    return [_command(kind, title, text) for kind, found in told.items() for title, text in _within(found)]


def _within(found: list[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    if len(found) <= MAX_EACH:
        return found
    rest = [title for title, _ in found[MAX_EACH - 1 :]]
    return [*found[: MAX_EACH - 1], (f"{len(rest)} more", "\n".join(rest))]


def _command(kind: str, title: str, text: str) -> str:
    name = _escaped(_clean(title, _MAX_TITLE)).replace(":", "%3A").replace(",", "%2C")
    lines = [_clean(line, _MAX_MESSAGE) for line in text.split("\n")]
    return f"::{kind} title={name}::{_escaped(chr(10).join(lines)[:_MAX_MESSAGE])}"


def _clean(text: str, limit: int) -> str:
    clean = printable(" ".join(text.split()), limit)
    return clean.encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
