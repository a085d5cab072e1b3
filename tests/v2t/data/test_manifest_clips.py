"""Rows of manifests that can be trained on."""

from __future__ import annotations

import json

import pytest

from cineloop.errors import UsageError
from v2t.data.manifest_clips import read_clips


def test_rows_with_words_are_read_but_for_those_that_a_person_rejected(tmp_path):
    rows = [{"id": each, "path": f"{each}.mp4", "captions": ["A ball."]} for each in "abc"]
    rows[0]["review"], rows[1]["review"], rows[2]["captions"] = "rejected", "accepted", []
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [clip.row["id"] for clip in read_clips([path])] == ["b"]
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(UsageError, match="none of the 1 rows"):
        read_clips([path])
