"""What comes first: failures, warnings, doubts; and what a file of doubts must hold."""

from __future__ import annotations

import json

import pytest

from cineloop.errors import UsageError
from v2t.edit.order import Doubt, order, read_doubts

WARNED = [{"code": "CUT", "message": "cut"}]


def test_failures_then_warnings_then_the_most_doubted():
    records = [
        {"id": "a", "status": "ok", "warnings": []},
        {"id": "b", "status": "ok", "warnings": []},
        {"id": "c", "status": "ok", "warnings": WARNED},
        {"id": "d", "status": "ok", "warnings": WARNED},
        {"id": "e", "status": "failed"},
    ]
    doubts = {"b": Doubt(value=0.9, claim=""), "d": Doubt(value=0.1, claim="")}
    assert order(records, doubts) == ["e", "d", "c", "b", "a"]


def test_doubts_are_read_from_the_folder_of_a_mining(tmp_path):
    rows = [{"id": "a", "disagreement": 0.8, "doubted": "Is it red?"}, {"id": "other", "disagreement": 0}]
    (tmp_path / "mined.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read_doubts(tmp_path, {"a": 1}) == {"a": Doubt(value=0.8, claim="Is it red?")}


@pytest.mark.parametrize(
    "row", [{"id": "a"}, {"id": "a", "disagreement": 2}, {"disagreement": 0.5}, {"id": "a", "disagreement": True}]
)
def test_other_rows_are_refused(tmp_path, row):
    (tmp_path / "mined.jsonl").write_text(json.dumps(row))
    with pytest.raises(UsageError) as refused:
        read_doubts(tmp_path / "mined.jsonl", {})
    assert refused.value.code == "DOUBTS" and "line 1" in refused.value.message
