"""Facts and answers metrics, and `v2t-eval score` from files to exit code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.cli import main
from eval.metric import load_metric, metric_names
from eval.metrics.answers import judge
from eval.score import score_answers, score_captions
from v2t.base.errors import NothingMatchedError, UsageError
from v2t.base.manifest import write_manifest
from v2t.world.corpus import WorldConfig, manifest_row

NUM = 40


@pytest.fixture
def world(tmp_path: Path) -> tuple[Path, list[dict]]:
    config = WorldConfig(num=NUM, seed=31, split="seen")
    rows = [manifest_row(config, index) for index in range(NUM)]
    write_manifest(rows, tmp_path / "manifest.jsonl")
    return tmp_path, rows


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def records(rows: list[dict], style: str = "short") -> list[dict]:
    return [{"id": r["id"], "status": "ok", "caption": r["captions"][style][0], "style": style} for r in rows]


@pytest.mark.parametrize("style", ["short", "detailed", "timed"])
def test_true_captions_are_all_right(world, style: str) -> None:
    folder, rows = world
    report = score_captions(write(folder / "c.jsonl", records(rows, style)), folder / "manifest.jsonl")
    (result,) = report.results
    assert {figure.value for figure in result.figures.values()} == {1.0}
    assert (result.n, result.coverage, report.exit_code) == (NUM, 1.0, 0)
    assert report.sources["style"] == style
    assert ("time" in result.figures) == (style == "timed")
    assert {"camera", "style", "size", "speed"} <= set(result.figures) or style != "detailed"


def test_captions_of_other_clips_score_low(world) -> None:
    folder, rows = world
    shifted = [{**r, "id": rows[(i + 1) % NUM]["id"]} for i, r in enumerate(records(rows))]
    (result,) = score_captions(write(folder / "c.jsonl", shifted), folder / "manifest.jsonl").results
    assert result.value < 0.1
    assert result.figures["actor"].value < 0.4 and result.figures["place"].value < 0.5


def test_failed_and_missing_rows_count_as_missed(world) -> None:
    folder, rows = world
    told = records(rows)[: NUM - 10]
    for record in told[:5]:
        record |= {"status": "failed", "caption": None, "error": {"code": "TRUNCATED", "message": ""}}
    told.append({"id": "elsewhere", "status": "ok", "caption": "A red ball rolls."})
    report = score_captions(write(folder / "c.jsonl", [*told, told[7]]), folder / "manifest.jsonl")
    (result,) = report.results
    assert result.value == (NUM - 15) / NUM and result.n == NUM
    assert result.coverage == (NUM - 15) / NUM
    assert report.counts == {
        "clips": NUM, "captioned": NUM - 15, "failed": 5, "missing": 10, "not_in_truth": 1, "repeated": 1,
    }  # fmt: skip
    assert report.exit_code == 3
    missed = sum(len(r["facts"]["actors"]) for r in [*rows[:5], *rows[NUM - 10 :]])
    assert result.figures["actor"].detail == {"right": result.figures["actor"].n - missed, "missed": missed, "wrong": 0}


def test_what_is_made_up_spoils_joint_only(world) -> None:
    folder, rows = world
    told = [{**r, "caption": f"{r['caption']} A pink elephant sits there."} for r in records(rows)]
    (result,) = score_captions(write(folder / "c.jsonl", told), folder / "manifest.jsonl").results
    assert result.figures["actor"].value == 1.0 and result.value == 0.0
    assert result.counts["made_up"] >= NUM


def test_several_styles_in_one_file_are_refused(world) -> None:
    folder, rows = world
    mixed = write(folder / "c.jsonl", records(rows)[:5] + records(rows, "timed")[5:])
    with pytest.raises(UsageError, match="short, timed"):
        score_captions(mixed, folder / "manifest.jsonl")


def test_nothing_matched(world) -> None:
    folder, _ = world
    with pytest.raises(NothingMatchedError, match="no id"):
        score_captions(write(folder / "c.jsonl", [{"id": "x", "caption": "y"}]), folder / "manifest.jsonl")


@pytest.mark.parametrize(
    ("kind", "answer", "reference", "verdict"),
    [
        ("color", "Red.", "red", "right"),
        ("color", "it is red", "red", "right"),
        ("color", "dark red", "red", "wrong"),
        ("count", "2", "two", "right"),
        ("count", "none", "two", "wrong"),
        ("direction", "toward the left", "to the left", "right"),
        ("direction", "to the right", "to the left", "wrong"),
        ("yesno-place", "Yes, it does.", "yes", "right"),
        ("yesno-place", "no", "yes", "wrong"),
        ("yesno-place", "the beach", "yes", "unreadable"),
        ("when", "from 1.4 to 3.3 seconds", "from 1.2 to 3.0 seconds", "right"),
        ("when", "from 1.2 to 3.6 seconds", "from 1.2 to 3.0 seconds", "wrong"),
        ("when", "at 1.2 seconds", "from 1.2 to 3.0 seconds", "wrong"),
        ("when", "at the start", "at 0.3 seconds", "unreadable"),
        ("duration", "2.5 seconds", "2.0 seconds", "right"),
        ("what", "", "jumps", "unreadable"),
        ("what", None, "jumps", "missing"),
    ],
)
def test_judging_an_answer(kind: str, answer: str | None, reference: str, verdict: str) -> None:
    assert judge(kind, answer, reference) == verdict


def answers_of(rows: list[dict], say=lambda question: question["answer"]) -> list[dict]:
    return [
        {"id": r["id"], "kind": q["kind"], "question": q["question"], "answer": say(q), "reference": q["answer"]}
        for r in rows
        for q in r["questions"]
    ]


def test_always_yes_is_worth_one_half(world) -> None:
    folder, rows = world
    given = write(folder / "a.jsonl", answers_of(rows, lambda q: "yes"))
    (result,) = score_answers(given).results
    closed = [kind for kind in result.figures if kind.startswith("yesno")]
    assert {result.figures[kind].value for kind in closed} == {0.5}
    assert result.figures["open"].value == 0.0 and result.value == 0.25
    given = write(folder / "a.jsonl", answers_of(rows)[3:])
    report = score_answers(given, folder / "manifest.jsonl")
    assert report.counts["missing"] == 3 and report.exit_code == 3
    assert report.results[0].counts["wrong"] == 0


def test_metrics_by_file_name() -> None:
    assert metric_names() == ["answers", "facts", "spans"]
    for name in metric_names():
        metric = load_metric(name)
        assert metric.name == name and metric.value_range == (0.0, 1.0) and metric.level == "text"
        with pytest.raises(ValueError, match="no (clip|answer|span)"):
            metric().compute()
    with pytest.raises(UsageError, match="facts"):
        load_metric("fact")


def test_the_command(world, capsys) -> None:
    folder, rows = world
    captions = str(write(folder / "c.jsonl", records(rows)))
    truth, out = str(folder / "manifest.jsonl"), folder / "report.json"
    assert main(["score", "--captions", captions, "--truth", truth, "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "joint" in shown and "1.000" in shown
    assert len(json.loads(out.read_text())["results"][0]["items"]) == NUM
    assert main(["score", "--captions", captions, "--truth", truth, "-o", str(out)]) == 2
    assert main(["score", "--captions", captions, "--truth", truth, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["results"][0]["figures"]["joint"]["value"] == 1.0
    assert len(report["results"][0]["fingerprint"]["source"]) == 16
    assert main(["score", "--captions", captions]) == 2
    assert main(["score", "--captions", captions, "--truth", truth, "--metrics", "answers"]) == 2
    write(folder / "c.jsonl", records(rows)[1:])
    assert main(["score", "--captions", captions, "--truth", truth]) == 3
    write(folder / "c.jsonl", [{"id": "x", "caption": "y"}])
    assert main(["score", "--captions", captions, "--truth", truth]) == 4
