"""Two runs from their files to a verdict: the same engine, a fault, other lengths, clips that are known to be bad."""

from __future__ import annotations

from pathlib import Path

import pytest

from cineloop.errors import UsageError
from cineloop.manifest import read_manifest, write_manifest
from engine_runs import SUITE, brighter, shorter, write_run
from v2t_eval.engine.derived import beyond_limits, limits_of
from v2t_eval.engine.equivalence import EngineInputs, measure_margins
from v2t_eval.gate import baseline as file
from v2t_eval.suites.suite import read_suite
from v2t_eval.testing.plugin import ClipError, assert_same_quality

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("engine")
    for seed in range(4):
        write_run(place / f"run{seed}", seed)
    write_run(place / "bright", 5, brighter)
    write_run(place / "short", 6, shorter)
    (place / "suite.yaml").write_text(SUITE)
    made = measure_margins(place / "run0", [place / "run1", place / "run2"], read_suite(place / "suite.yaml"))
    file.write(made, place / "margins.json")
    return place


def verdict(place: Path, candidate: str, known_bad: Path | None = None):
    sides = EngineInputs.read(
        place / "run0", place / candidate, place / "margins.json", place / "suite.yaml", known_bad
    )
    return sides.verdict()[1]


@pytest.mark.parametrize(("candidate", "exit_code"), [("run3", 0), ("run0", 0), ("bright", 6), ("short", 9)])
def test_every_kind_of_candidate_has_its_exit_code(place: Path, candidate: str, exit_code: int) -> None:
    made = verdict(place, candidate)
    assert made.exit_code == exit_code, made.reason
    if candidate == "bright":
        assert {one.metric for one in made.metrics if one.outcome == "fail"} >= {"pixel_distance", "stray_clips"}
    if candidate == "short":
        assert "frames" in made.differences[0]


def test_in_pytest_a_fault_fails_and_another_length_is_an_error(place: Path) -> None:
    how = {"margins": place / "margins.json", "suite": place / "suite.yaml"}
    assert assert_same_quality(place / "run3", place / "run0", **how).outcome == "pass"
    with pytest.raises(AssertionError, match="pixel_distance"):
        assert_same_quality(place / "bright", place / "run0", **how)
    with pytest.raises(ClipError, match="frames"):
        assert_same_quality(place / "short", place / "run0", **how)


def test_a_reference_of_another_length_is_not_comparable(place: Path) -> None:
    sides = EngineInputs.read(place / "short", place / "run3", place / "margins.json", place / "suite.yaml")
    assert sides.verdict()[1].exit_code == 9


def bad_clips(place: Path, fails: dict[str, list[str]]) -> Path:
    rows = {row["prompt"]: row for row in read_manifest(place / "bright" / "manifest.jsonl")}
    write_manifest([rows[prompt] | {"fails": names} for prompt, names in fails.items()], place / "bright" / "bad.jsonl")
    return place / "bright" / "bad.jsonl"


def test_known_bad_clips_fail_by_exactly_what_they_list(place: Path) -> None:
    places = (place / "run0", place / "bright", place / "margins.json", place / "suite.yaml")
    sides = EngineInputs.read(*places)
    scores, _ = sides.verdict()
    beyond = beyond_limits(scores, sides.baseline, limits_of(sides.baseline, all_metrics=True))
    fails = {clip.prompt: sorted(beyond[clip.id]) for clip in scores.clips[:2]}
    assert all("pixel_distance" in names for names in fails.values())
    right = verdict(place, "run3", bad_clips(place, fails))
    assert right.exit_code == 0 and (right.guards[-1].name, right.guards[-1].outcome) == ("known bad clips", "pass")
    first = next(iter(fails))
    wrong = verdict(place, "run3", bad_clips(place, fails | {first: ["sharpness"]}))
    assert wrong.exit_code == 6 and wrong.guards[-1].outcome == "fail" and len(wrong.guards[-1].clips) == 1


@pytest.mark.parametrize("fails", [[], ["nonsense"], "pixel_distance"])
def test_known_bad_rows_must_name_metrics(place: Path, fails) -> None:
    with pytest.raises(UsageError, match="must list one metric"):
        verdict(place, "run3", bad_clips(place, {"prompt 0": fails}))


def test_the_baseline_of_a_gate_is_refused(place: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    made = file.read(place / "margins.json")
    bare = [replace(one, figures={name: value for name, value in one.figures.items() if name == one.headline})
            for one in made.results]  # fmt: skip
    file.write(replace(made, results=bare), tmp_path / "gate.json")
    with pytest.raises(UsageError, match="no margins of an engine"):
        EngineInputs.read(place / "run0", place / "run1", tmp_path / "gate.json", place / "suite.yaml")
