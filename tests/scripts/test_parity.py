"""The published numbers that the scores reproduce: every row of scripts/parity.py, and the page that it wrote."""

from __future__ import annotations

from pathlib import Path

import parity
import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/parity.md"


def computed() -> list[parity.Row]:
    return [*parity.texts(), *parity.arithmetic(), *parity.vbench(), *parity.statistics()]


@pytest.mark.long
@pytest.mark.slow
def test_ours_are_the_references():
    rows = computed()
    assert len(rows) > 90
    off = [(case, quantity, reference, ours) for case, quantity, reference, ours, _ in rows
           if parity.compare_row((case, quantity, reference, ours, _))[1]]  # fmt: skip
    assert not off
    planted = ("A0", "planted", 0.5, 0.5 + 2e-6, parity.EXACT), ("A0", "words", "1 2", "1 3", 0)
    assert [parity.compare_row(row)[1] for row in planted] == [True, True]


def test_the_page_has_these_rows(monkeypatch):
    monkeypatch.setattr(parity, "result", lambda *args, **settings: "not computed")  # the references stand without ours
    rows = computed()
    cells = [line.split(" | ")[:3] for line in PAGE.read_text("utf-8").splitlines() if line.startswith("| A")]
    assert cells == [[f"| {case}", quantity, parity.number_text(reference)] for case, quantity, reference, _, _ in rows]
