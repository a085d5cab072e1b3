"""Best of n: rank, choice, the exact expectation over subsets, mistakes; and the command on clips of the world."""

from __future__ import annotations

import itertools
import json
import math
from statistics import fmean

import pytest

from cineloop.errors import UsageError
from v2t_eval.cli import main
from v2t_eval.core.metric import Figure, MetricResult
from v2t_eval.core.scores import ItemScores, Scores
from v2t_eval.select.selection import select


def result(name: str, values: dict[str, float | None], *, higher: bool | None = True) -> MetricResult:
    known = {id: value for id, value in values.items() if value is not None}
    missing = [{"id": id, "code": "UNREAD", "message": "not read"} for id in values if id not in known]
    return MetricResult(
        name=name, headline=name, figures={name: Figure(value=0.0, low=0.0, high=0.0, n=len(known))}, n=len(values),
        coverage=1.0, fingerprint={}, items=[{"id": id, "value": value} for id, value in known.items()],
        failures=missing, higher_is_better=higher,
    )  # fmt: skip


def scores_of(prompts: dict[str, str], *results: MetricResult) -> Scores:
    clips = [ItemScores(id=id, cluster=prompt, prompt=prompt) for id, prompt in prompts.items()]
    return Scores(sources={}, clips=clips, results=list(results))


PROMPTS = {"a1": "a", "a2": "a", "a3": "a", "a4": "a", "b1": "b", "b2": "b"}
BY = {"a1": 0.5, "a2": 0.9, "a3": 0.9, "a4": 0.1, "b1": 0.2, "b2": None}
CHECK = {"a1": 1.0, "a2": 0.0, "a3": 1.0, "a4": 0.0, "b1": 0.0, "b2": 1.0}


def test_the_highest_of_each_prompt_is_kept_and_of_equal_ones_the_first():
    found = select(scores_of(PROMPTS, result("by", BY)), "by")
    assert [one.clip.id for one in found.kept] == ["a2", "b1"]
    assert [(one.clip.id, one.rank) for one in found.candidates] == [
        ("a2", 1), ("a3", 2), ("a1", 3), ("a4", 4), ("b1", 1), ("b2", None)
    ]  # fmt: skip
    assert found.candidates[-1].error == {"code": "UNREAD", "message": "not read"}


def test_where_less_is_better_the_lowest_is_kept():
    found = select(scores_of(PROMPTS, result("by", BY, higher=False)), "by", keep=2)
    assert [one.clip.id for one in found.kept] == ["a4", "a1", "b1"]


@pytest.mark.parametrize("n", [1, 2, 4])
def test_the_expectation_is_the_mean_over_all_subsets_with_ties_shared(n):
    found = select(scores_of(PROMPTS, result("by", BY), result("check", CHECK)), "by", check="check")
    of_a = {id: value for id, value in BY.items() if id.startswith("a")}
    expected = []
    for subset in itertools.combinations(of_a, n):
        best = max(of_a[id] for id in subset)
        expected.append(fmean(CHECK[id] for id in subset if of_a[id] == best))
    (gain,) = [gain for gain in found.gains["check"] if gain.n == n]
    if n == 1:  # the prompt with one scored clip is in this mean alone
        assert math.isclose(gain.value, fmean([fmean(expected), CHECK["b1"]])) and gain.num_prompts == 2
    else:
        assert math.isclose(gain.value, fmean(expected)) and gain.num_prompts == 1


def test_a_choice_that_the_check_would_not_have_made_is_named():
    found = select(scores_of(PROMPTS, result("by", BY), result("check", CHECK)), "by", check="check")
    ((kept, better),) = found.mistakes
    assert (kept.clip.id, better.clip.id) == ("a2", "a3")


def test_a_prompt_without_any_value_is_named_and_keeps_nothing():
    found = select(scores_of(PROMPTS, result("by", {**BY, "b1": None})), "by")
    assert found.prompts_without == ("b",) and [one.clip.id for one in found.kept] == ["a2"]


def test_a_metric_without_a_direction_or_without_values_cannot_choose():
    with pytest.raises(UsageError, match="no preferred direction"):
        select(scores_of(PROMPTS, result("by", BY, higher=None)), "by")
    of_set = result("by", BY)
    for item in of_set.items:
        item["value"] = None
    with pytest.raises(UsageError, match="no value for each clip"):
        select(scores_of(PROMPTS, of_set), "by")


@pytest.mark.slow
def test_the_command_keeps_the_clip_that_shows_the_prompt(tmp_path, capsys):
    """Of two clips under one prompt, one shows it and one shows another scene: the referee must choose the first."""
    from cineloop.manifest import read_manifest, write_manifest
    from cineloop.video.encode import encode
    from cineloop.world.scenes.render import render
    from cineloop.world.scenes.solo import FPS, sample_solo
    from t2v.data.world import TIMES_S, prompt_of

    made, rows = tmp_path / "made", []
    made.mkdir()
    scenes = [sample_solo("seen", 3, index) for index in range(3)]
    for number, scene in enumerate(scenes):
        for turn, shown in enumerate((scenes[(number + 1) % 3], scene)):
            name = f"{number}-{turn}.mp4"
            encode(render(shown, (64, 64), times_s=TIMES_S), made / name, FPS)
            rows.append({"id": name[:-4], "path": name, "prompt": prompt_of(scene, 3, number)})
    write_manifest(rows, made / "manifest.jsonl")
    best = tmp_path / "best"
    command = ["select", str(made), "--by", "obedience", "-o", str(best), "-q"]
    assert main([*command, "--json", "--workers", "1"]) == 0
    tree = json.loads(capsys.readouterr().out)
    assert [one["value"] for one in tree["best_of"]["obedience"]] == [0.5, 1.0]
    kept = list(read_manifest(best / "manifest.jsonl"))
    assert sorted(row["id"] for row in kept) == ["0-1", "1-1", "2-1"]
    assert all((best / row["path"]).read_bytes() == (made / row["path"]).read_bytes() for row in kept)
    assert (best / "index.html").stat().st_size > 1000
    assert len((best / "selection.jsonl").read_text().splitlines()) == 6
    assert main(command) == 2 and "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("by", "code", "text"),
    [
        ("obedience", 4, "obedience: "),
    ],
)
def test_what_cannot_choose_is_said_before_anything_is_written(tmp_path, capsys, by, code, text):
    """The last: a clip whose prompt asks for nothing that the referee reads."""
    from cineloop.manifest import write_manifest
    from cineloop.video.encode import encode
    from cineloop.world.scenes.render import render
    from cineloop.world.scenes.solo import FPS, sample_solo
    from t2v.data.world import TIMES_S

    encode(render(sample_solo("seen", 3, 0), (64, 64), times_s=TIMES_S), tmp_path / "a.mp4", FPS)
    write_manifest([{"id": "a", "path": "a.mp4", "prompt": "Quiet."}], tmp_path / "manifest.jsonl")
    assert main(["select", str(tmp_path), "--by", by, "-o", str(tmp_path / "best"), "-q"]) == code
    assert text in capsys.readouterr().err
    assert not (tmp_path / "best" / "manifest.jsonl").exists()
