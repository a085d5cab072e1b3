"""The baseline: scores with a history; the same bits again, a line for each value, damaged files refused."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cineloop.errors import UsageError
from planted_scores import DATE, scores, unscored
from v2t_eval.core.scores import Scores, read_scores, render_scores
from v2t_eval.gate import baseline as file

HOSTILE = 'a <b>"red"\u2028 ball\x00 & ]]> ::error::🎈'


def made(**more) -> Scores:
    return file.baseline_of(scores(**more), "two", {"alpha": 0.05})


def test_what_was_written_is_read_with_the_same_bits(tmp_path) -> None:
    hostile = scores(change=lambda clip: replace(clip, prompt=HOSTILE, cluster="x") if clip.id == "p00-0" else clip)
    hostile.results[0].items[0]["value"] = 0.1 + 0.2
    before = file.baseline_of(unscored(hostile, "temporal_flickering", ["p01-1"]), "two", {"alpha": 0.05})
    file.write(before, tmp_path / "b.json")
    after = file.read(tmp_path / "b.json")
    assert after == before == read_scores(tmp_path / "b.json") and after.clips[0].prompt == HOSTILE
    assert [item["value"] for item in after.results[0].items][0] == 0.1 + 0.2
    assert after.results[1].failures == [{"id": "p01-1", "code": "UNPARSABLE", "message": ""}]


def test_a_clip_and_each_of_its_values_are_a_line() -> None:
    changed = scores()
    changed.results[0].items[5]["value"] = 0.123
    changed.clips.reverse()  # the order they came in does not matter
    changed.results[1].items.reverse()
    both = [
        render_scores(each).decode().splitlines()
        for each in (made(), file.baseline_of(changed, "two", {"alpha": 0.05}))
    ]
    assert len(both[0]) == len(both[1]) and sum(a != b for a, b in zip(*both, strict=True)) == 1
    rows = [line for line in both[1] if line.startswith('  {"id"')]
    assert [json.loads(row.rstrip(","))["id"] for row in rows] == sorted(clip.id for clip in changed.clips)


def test_a_thousand_clips_of_six_metrics_stay_below_a_megabyte() -> None:
    many = scores(prompts=200, seeds=5, change=lambda clip: replace(
        clip, prompt=clip.prompt * 10, cluster=clip.prompt * 10, content="file:" + "a" * 64))  # fmt: skip
    six = [replace(many.results[0], name=f"a_metric_of_some_name_{n}") for n in range(6)]
    data = render_scores(file.baseline_of(replace(many, results=six), "six", {}))
    assert len(many.clips) == 1000 and len(data) < 1_000_000


def first_of(tree: dict, kind: str, **more) -> dict:
    """The document with the first row of a list changed."""
    return tree | {kind: [tree[kind][0] | more, *tree[kind][1:]]}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda tree: tree | {"schema": 2}, "a newer cineloop wrote it"),
        (lambda tree: tree | {"schema": "x"}, "found 'x'"),
        (lambda tree: [1], "found 'list'"),
        (lambda tree: tree | {"history": []}, "without a history, and is not a baseline.*gate init CLIPS"),
        (lambda tree: {key: value for key, value in tree.items() if key != "environment"}, "damaged: KeyError"),
        (lambda tree: tree | {"clips": tree["clips"] * 2}, "an id comes twice"),
        (lambda tree: tree | {"clips": [{"id": "a"}]}, "damaged"),
        (lambda tree: tree | {"results": [{}]}, "damaged"),
        (lambda tree: tree | {"history": [{"why": 1}]}, "damaged"),
        (lambda tree: first_of(tree, "results", items=[{"id": "p00-0", "value": float("nan")}]), "not a JSON number"),
        (lambda tree: first_of(tree, "results", items=[{"id": "p00-0", "value": "high"}]), "p00-0 by sharpness"),
    ],
)
def test_a_file_that_is_no_whole_baseline_is_refused(tmp_path, change, says) -> None:
    path = tmp_path / "b.json"
    path.write_text(json.dumps(change(json.loads(render_scores(made())))))
    with pytest.raises(UsageError, match=says) as refused:
        file.read(path)
    assert refused.value.hint


def test_half_a_file_and_none_are_refused(tmp_path) -> None:
    path = tmp_path / "b.json"
    path.write_bytes(render_scores(made())[:-200])
    with pytest.raises(UsageError, match="is not JSON"):
        file.read(path)
    with pytest.raises(UsageError, match="gate init"):
        file.read(tmp_path / "none.json")


def test_an_update_keeps_what_was_and_why() -> None:
    first = made()
    second = file.baseline_of(scores(worse=0.1), "two", {}, old=first, reason="20 steps", differences=["fps: a, b"])
    assert [each.reason for each in second.history] == ["first baseline", "20 steps"]
    old, new = second.history[1].figures["sharpness"]
    assert first.results[0].value == old and second.results[0].value == new == pytest.approx(old - 0.1)
    assert second.history[1].date == DATE and second.history[1].differences == ("fps: a, b",)
    assert first.history[0].figures["sharpness"] == (None, old)


def test_what_cannot_be_written_leaves_the_old_file(tmp_path) -> None:
    path = tmp_path / "b.json"
    file.write(made(), path)
    before = path.read_bytes()
    broken = made()
    broken.results[0].items[0]["value"] = float("nan")
    with pytest.raises(ValueError, match="sharpness.*p00-0.*nan"):
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
        file.baseline_of(replace(empty, results=[replace(one, figures={}) for one in empty.results]), "two", {})
