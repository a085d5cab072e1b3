"""Messages of a running job."""

from __future__ import annotations

import pytest

from cineloop import log


@pytest.mark.parametrize(
    ("note", "line"), [("", "drawing: 1 of 2, about"), ("2 s a clip", "drawing: 1 of 2, 2 s a clip, about")]
)
def test_a_line_of_progress_is_a_list_without_gaps(note, line, monkeypatch, capsys):
    log.setup()
    monkeypatch.setattr(log, "_LINE_EVERY_S", 0)
    with log.Progress(2, "drawing") as progress:
        progress.advance(1, note)
    assert capsys.readouterr().err.startswith(line)
