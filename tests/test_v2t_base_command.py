"""What stands around a command: exit codes, and the traceback that -v shows."""

from __future__ import annotations

import pytest

from v2t.base.command import guarded
from v2t.base.errors import UsageError


@pytest.mark.parametrize(
    ("error", "code", "says"),
    [
        (FileNotFoundError(2, "No such file or directory", "w.bin"), 5, "error ENVIRONMENT: "),
        (KeyError("x"), 1, "error UNEXPECTED: KeyError: 'x'"),
        (UsageError("no"), 2, "error USAGE: no"),
    ],
)
def test_an_error_is_a_line_and_a_traceback_only_with_v(error, code, says, capsys):
    def work() -> int:
        raise error

    assert guarded(work, traceback=False) == code
    plain = capsys.readouterr().err
    assert plain.startswith(says) and "Traceback" not in plain
    assert guarded(work, traceback=True) == code
    full = capsys.readouterr().err
    assert says in full
    assert ("Traceback" in full and "in work" in full) == (code != 2)
