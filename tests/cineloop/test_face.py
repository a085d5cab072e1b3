"""The face in Python: its examples run as they stand, settings are checked, results are those of the jobs."""

from __future__ import annotations

import doctest
import inspect
from pathlib import Path

import pytest

import cineloop
from cineloop.errors import NothingMatchedError, UsageError
from v2t_eval.core.scores import Scores

RED = "A red ball rolls to the left on the beach."


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", cineloop.__all__)
def test_the_example_runs(name: str) -> None:
    [example] = doctest.DocTestFinder(recurse=False).find(getattr(cineloop, name), name, globs={})
    assert len(example.examples) > 2
    said: list[str] = []
    assert doctest.DocTestRunner(verbose=False).run(example, out=said.append).failed == 0, "".join(said)


@pytest.mark.parametrize("name", cineloop.__all__)
def test_every_argument_is_documented_and_typed(name: str) -> None:
    function = getattr(cineloop, name)
    signature = inspect.signature(function)
    assert signature.return_annotation is not inspect.Signature.empty
    text = inspect.getdoc(function) or ""
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert parameter.name in text.split("Args:")[1].split("Returns:")[0], parameter.name


@pytest.mark.parametrize(
    "call",
    [
        lambda: cineloop.caption("x.mp4", modle="starter"),
        lambda: cineloop.ask("x.mp4", "What happens?", windows_s=3.0),
        lambda: cineloop.generate("A dog jumps.", num_frame=9),
        lambda: cineloop.score("clips", metrics="sharpness", worker=2),
        lambda: cineloop.gate("clips", worker=2),
    ],
)
def test_an_unknown_setting_names_the_nearest_and_nothing_is_done(call, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown configuration key") as caught:
        call()
    assert "did you mean" in str(caught.value.hint)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_records_of_earlier_runs_are_returned_too() -> None:
    first, second = (cineloop.generate(f"A {color} ball rolls to the left on the beach.", color, generator="world")
                     for color in ("red", "blue"))  # fmt: skip
    assert [len(first), len(second)] == [1, 1]
    cineloop.caption("red", "captions", root=".", format=("csv",))
    both = cineloop.caption(["red", Path("blue")], "captions", root=".", format=("csv",))
    assert [record["id"].split("/")[0] for record in both] == ["blue", "red"]
    assert [record["status"] for record in both] == ["ok", "ok"]
    assert [row["action"] for row in cineloop.caption("red", "captions", root=".", format=("csv",), dry_run=True)] == [
        "done"
    ]


@pytest.mark.slow
def test_a_clip_that_cannot_be_read_is_a_record_with_its_error() -> None:
    Path("empty.mp4").touch()
    [record] = cineloop.caption("empty.mp4")
    assert (record["status"], record["caption"], record["error"]["code"]) == ("failed", None, "EMPTY_FILE")
    with pytest.raises(NothingMatchedError):
        cineloop.caption("nothing.mp4")


def test_a_prompt_that_cannot_be_shown_is_a_row_with_its_error() -> None:
    rows = cineloop.generate([RED, "A submarine sings."], "made", generator="world")
    assert [row.get("error", {}).get("code") for row in rows] == [None, "PROMPT_REFUSED"]
    assert Path("made", rows[0]["path"]).is_file() and "path" not in rows[1]


@pytest.mark.slow
def test_a_gate_of_scores_is_the_gate_of_their_clips() -> None:
    cineloop.generate(RED, "made", generator="world")
    Path("rules.yaml").write_text(
        "name: rules\nmetrics: [sharpness]\ngate: {primary: [{metric: sharpness, margin: 1}]}"
    )
    scores = cineloop.score("made", suite="rules.yaml")
    assert isinstance(scores, Scores)
    of_clips, of_scores = (cineloop.gate(each, scores, suite="rules.yaml") for each in ("made", scores))
    assert of_clips.metrics == of_scores.metrics and of_clips.outcome == of_scores.outcome


def test_the_package_lists_its_face_alone() -> None:
    import cineloop.world  # a room that was imported does not show

    assert dir(cineloop) == sorted(cineloop.__all__) and cineloop.world


def test_the_guide_names_every_function_of_the_face() -> None:
    guide = (Path(__file__).resolve().parents[2] / "docs/python.md").read_text("utf-8")
    assert all(f"`cineloop.{name}(" in guide for name in cineloop.__all__)
