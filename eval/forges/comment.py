"""The one comment of a gate on a pull request: its text, and how it is put there.

In: the folder that a gate wrote, a forge. Out: the comment, created or updated. It begins with a hidden marker, and is
found by this marker and by its author, so that neither a person nor another bot who repeats the marker can have the
comment put elsewhere. Finding and writing are repeated as a whole: after a request whose outcome is unknown the
listing shows whether it took place, so a broken connection adds no second comment. Two runs at once may both add one;
each then lists again, and all but the oldest are deleted.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from cineloop.documents import read_text
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.log import printable
from cineloop.retry import retry
from v2t_eval.forges.api import ForgeBusyError, pause_s
from v2t_eval.gate.verdict import OUTCOMES
from v2t_eval.report.markdown import COMMENT_BYTES

PAGE, RESULT = "gate.md", "verdict.json"
WAIT_S = 300.0  # for rate limits and failures of the server to end
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A comment there is. `is_ours`: the token's own user wrote it."""

    id: int
    body: str
    is_ours: bool
    url: str = ""


class ForgeLike(Protocol):
    """One pull request on a forge. Methods raise `v2t_eval.forges.api.ForgeBusyError` where another try may help, and
    MissingDependencyError where none would."""

    place: str  # "pull request #5 of owner/repository"
    run_url: str  # of this run's page, "" where it is not known

    def remarks(self) -> Iterator[Remark]: ...
    def create(self, body: str) -> Remark: ...
    def update(self, id: int, body: str) -> Remark: ...
    def delete(self, id: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Posting:
    """What became of a comment."""

    action: Literal["created", "updated"]
    url: str


def marker_of(name: str) -> str:
    """The hidden first line of the comment of the gate called `name`.

    Raises:
        UsageError: the name does not fit.
    """
    if not _NAME.fullmatch(name) or "--" in name:
        raise UsageError(
            f"the name of a gate has letters, digits, dots, underscores and single hyphens, got {printable(name, 80)!r}"
        )
    return f"<!-- cineloop-gate: {name} -->"


def text_of(folder: Path, *, exit_code: int | None = None, links: dict[str, str] | None = None) -> str:
    """The comment without its marker: the gate's report; where the gate left none, that it could not run, so that the
    verdict of an earlier commit does not stay.

    Args:
        folder: of `v2t-eval gate -o`.
        exit_code: of the gate, where it is known.
        links: names and addresses, below the report.
    """
    try:
        text = read_text(folder / PAGE).strip()
    except FileNotFoundError:
        text = ""
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {printable(str(folder / PAGE))}: {error}") from error
    of_verdicts = {ending.exit_code for ending in OUTCOMES.values()}
    if not text or (exit_code is not None and exit_code not in of_verdicts):
        code = "" if exit_code is None else f" (exit code {exit_code})"
        text = f"# Gate: no verdict\n\n**The gate could not run{code}, so nothing is known of this change.**"
    listed = [f"[{name}]({url})" for name, url in (links or {}).items() if url]
    end = f"\n\n{' · '.join(listed)}" if listed else ""
    kept = text.encode()[: COMMENT_BYTES - len(end.encode())].decode("utf-8", "ignore")
    return f"{kept}{end}\n"


def post(forge: ForgeLike, name: str, text: str, *, wait_s: float = WAIT_S) -> Posting:
    """Write the comment of the gate called `name`, or update the one there is.

    Raises:
        MissingDependencyError: FORGE_…, it could not be written.
    """
    marker = marker_of(name)
    body, deadline = f"{marker}\n{text}", time.monotonic() + wait_s
    try:
        return retry(lambda: _put(forge, marker, body), lambda error, errors: pause_s(error, errors, deadline))
    except ForgeBusyError as error:
        problem = str(error)
    raise MissingDependencyError(problem, code="FORGE_UNREACHABLE", hint="run the job again")


def _put(forge: ForgeLike, marker: str, body: str) -> Posting:
    ours = _ours(forge, marker)
    if not ours:
        created = forge.create(body)
        ours = _ours(forge, marker)  # another run may have been as fast
        if not ours or ours[0].id == created.id:
            _delete(forge, ours[1:])
            return Posting(action="created", url=created.url)
    updated = forge.update(ours[0].id, body)
    _delete(forge, ours[1:])
    return Posting(action="updated", url=updated.url)


def _ours(forge: ForgeLike, marker: str) -> list[Remark]:
    """Our comments of this gate, oldest first."""
    mine = [each for each in forge.remarks() if each.is_ours and each.body.lstrip().startswith(marker)]
    return sorted(mine, key=lambda each: each.id)


def _delete(forge: ForgeLike, remarks: list[Remark]) -> None:
    for each in remarks:
        forge.delete(each.id)
