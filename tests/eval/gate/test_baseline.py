"""The baseline's file: the same bits again, one clip a line, damaged ones refused, updates with a history."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cineloop.errors import UsageError
from planted_scores import DATE, scores, unscored
from v2t_eval.gate import baseline as file

HOSTILE = 'a <b>"red"\u2028 ball\x00 & ]]> ::error::🎈'


def made(**more) -> file.Baseline:
    return file.made_of(scores(**more), "two", {"alpha": 0.05})


def test_what_was_written_is_read_with_the_same_bits(tmp_path) -> None:
    hostile = scores(change=lambda clip: replace(clip, prompt=HOSTILE, cluster="x") if clip.id == "p00-0" else clip)
    hostile.results[0].items[0]["value"] = 0.1 + 0.2
    before = file.made_of(unscored(hostile, "temporal_flickering", ["p01-1"]), "two", {"alpha": 0.05})
    file.write(before, tmp_path / "b.json")
    after = file.read(tmp_path / "b.json")
    assert after == before and after.scores.clips[0].prompt == HOSTILE
    assert [item["value"] for item in after.scores.results[0].items][0] == 0.1 + 0.2
    assert after.scores.results[1].failures == [{"id": "p01-1", "code": "UNPARSABLE", "message": ""}]


def test_a_clip_is_a_line_and_a_change_of_one_clip_changes_one_line(tmp_path) -> None:
    one = made()
    changed = scores()
    changed.results[0].items[5]["value"] = 0.123
    changed.clips.reverse()  # the order they came in does not matter
    lines = [file.render(each).decode().splitlines() for each in (one, file.made_of(changed, "two", {"alpha": 0.05}))]
    rows = [[line for line in text if line.startswith('  {"id"')] for text in lines]
    assert len(rows[0]) == 40 and sum(a != b for a, b in zip(*rows, strict=True)) == 1
    assert len(lines[0]) == len(lines[1])
    assert [json.loads(row.rstrip(","))["id"] for row in rows[1]] == sorted(clip.id for clip in changed.clips)


def test_a_thousand_clips_of_six_metrics_stay_below_a_megabyte() -> None:
    many = scores(prompts=200, seeds=5, change=lambda clip: replace(
        clip, prompt=clip.prompt * 10, cluster=clip.prompt * 10, content="file:" + "a" * 64))  # fmt: skip
    six = [replace(many.results[0], name=f"a_metric_of_some_name_{n}") for n in range(6)]
    data = file.render(file.made_of(replace(many, results=six), "six", {}))
    assert len(many.clips) == 1000 and len(data) < 1_000_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tree: tree | {"schema": 2}, "a newer cineloop wrote it"),
        (lambda tree: tree | {"schema": "x"}, "found 'x'"),
        (lambda tree: {"schema": 1, "results": []}, "is no baseline"),
        (lambda tree: [1], "is no baseline"),
        (lambda tree: {key: value for key, value in tree.items() if key != "environment"}, "damaged: KeyError"),
        (lambda tree: tree | {"clips": tree["clips"] * 2}, "an id comes twice"),
        (lambda tree: tree | {"clips": [{"id": "a"}]}, "damaged"),
        (lambda tree: tree | {"metrics": [{}]}, "damaged"),
        (lambda tree: tree | {"history": [{"why": 1}]}, "damaged"),
        (
            lambda tree: tree | {"clips": [dict(tree["clips"][0], values={"sharpness": float("nan")})]},
            "not a JSON number",
        ),
        (lambda tree: tree | {"clips": [dict(tree["clips"][0], values={"sharpness": "high"})]}, "damaged"),
    ],
)
def test_a_file_that_is_no_whole_baseline_is_refused(tmp_path, change, says) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps(change(json.loads(file.render(made())))))
    with pytest.raises(UsageError, match=says) as refused:
        file.read(path)
    assert refused.value.hint


def test_half_a_file_and_none_are_refused(tmp_path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(file.render(made())[:-200])
    with pytest.raises(UsageError, match="is no JSON"):
        file.read(path)
    with pytest.raises(UsageError, match="gate init"):
        file.read(tmp_path / "none.json")


def test_an_update_keeps_what_was_and_why() -> None:
    first = made()
    second = file.updated(first, scores(worse=0.1), " 20 steps now ", suite="two", policy={}, differences=["fps: a, b"])
    assert [each.reason for each in second.history] == ["first baseline", "20 steps now"]
    old, new = second.history[1].figures["sharpness"]
    assert first.scores.results[0].value == old and second.scores.results[0].value == new == pytest.approx(old - 0.1)
    assert second.history[1].date == DATE and second.history[1].differences == ("fps: a, b",)
    assert first.history[0].figures["sharpness"] == (None, old)
    with pytest.raises(UsageError, match="reason"):
        file.updated(first, scores(), "  ", suite="two", policy={})


def test_what_cannot_be_written_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "b.json"
    file.write(made(), path)
    before = path.read_bytes()
    broken = made()
    broken.scores.results[0].items[0]["value"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        file.write(broken, path)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["b.json"]


def test_two_runs_do_not_write_one_baseline(tmp_path) -> None:
    with file.lock(tmp_path / "b.json"), pytest.raises(UsageError, match="another run") as refused:
        file.lock(tmp_path / "b.json").__enter__()
    assert refused.value.code == "LOCKED"
    with file.lock(tmp_path / "b.json"), file.lock(tmp_path / "other.json"):
        pass


def test_scores_without_a_figure_are_no_baseline() -> None:
    empty = scores()
    with pytest.raises(UsageError, match="at least one figure"):
        file.made_of(replace(empty, results=[replace(one, figures={}) for one in empty.results]), "two", {})
