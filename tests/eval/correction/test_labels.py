"""Labels from files: joined to clips, and refused by code row by row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cineloop.errors import NothingMatchedError, UsageError
from v2t_eval.core.sample import Sample
from v2t_eval.correction.labels import read_labels

SAMPLES = [Sample(id=f"c{n}", row={"path": f"clips/c{n}.mp4"}) for n in range(3)]
COLOR = "What color is the figure?"


def claim(id: str = "q1", **more: Any) -> dict[str, Any]:
    return {"id": id, "question": COLOR, "wanted": "red", "kind": "color", "listed": "red", "parents": [], **more}


def write(tmp_path: Path, *lines: str, name: str = "labels.csv") -> Path:
    (tmp_path / name).write_text("\n".join(lines) + "\n", "utf-8")
    return tmp_path / name


def test_a_label_is_true_where_it_is_the_wanted_answer(tmp_path: Path) -> None:
    path = write(tmp_path, "id,question,answer", f"c0,{COLOR},Red", "clips/c1.mp4,q1,blue")
    labels = read_labels(path, SAMPLES)
    assert labels.truths("c0", [claim()])[0] == {"q1": True}
    assert labels.truths("c1", [claim()])[0] == {"q1": False}
    assert labels.truths("c2", [claim()]) == ({}, {})


def test_json_lines_are_read_too(tmp_path: Path) -> None:
    path = write(tmp_path, '{"id": "c0", "question_id": "q1", "answer": "red"}', name="labels.jsonl")
    assert read_labels(path, SAMPLES).truths("c0", [claim()])[0] == {"q1": True}


def test_bad_rows_are_counted_by_code_and_the_others_stay(tmp_path: Path) -> None:
    path = write(tmp_path, "id,question,answer", "c0,q1,red", "c0,q1,RED", "c1,q1,red", "c1,q1,blue", "gone,q1,red",
                 "c2,,red", "c2,q1,", "c2,q2,red", "c2,q3,rde")  # fmt: skip
    labels = read_labels(path, SAMPLES)
    assert labels.problems == {"LABEL_UNKNOWN_CLIP": 1, "LABEL_EMPTY": 2, "LABEL_CONTRADICTION": 1}
    assert labels.truths("c0", [claim()])[0] == {"q1": True}  # said twice is no contradiction
    assert labels.truths("c1", [claim()]) == ({}, {})
    truths, problems = labels.truths("c2", [claim("q1"), claim("q3")])
    assert truths == {}
    assert problems == {"LABEL_UNKNOWN_QUESTION": 1, "LABEL_UNKNOWN_ANSWER": 1}


def test_a_question_of_yes_or_no_wants_one_of_these(tmp_path: Path) -> None:
    path = write(tmp_path, "id,question,answer", "c0,q1,Yes", "c1,q1,maybe")
    labels, asked = read_labels(path, SAMPLES), claim(kind="yes_no color", listed="", wanted="yes")
    assert labels.truths("c0", [asked])[0] == {"q1": True}
    assert labels.truths("c1", [asked]) == ({}, {"LABEL_UNKNOWN_ANSWER": 1})


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        read_labels(write(tmp_path, "id,prompt", "c0,a dog"), SAMPLES)
    assert refused.value.code == "BAD_LABELS"
    with pytest.raises(NothingMatchedError):
        read_labels(write(tmp_path, "id,question,answer", "x,q1,red"), SAMPLES)
