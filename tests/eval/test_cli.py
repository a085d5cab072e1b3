"""`v2t-eval` from the command line to files and exit codes."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import planted_metrics as planted
from cineloop.manifest import write_manifest
from cineloop.world.scenes.corpus import WorldConfig, manifest_row
from v2t_eval.cli import main
from v2t_eval.core.cache import FILE
from v2t_eval.core.metric import metric_names
from v2t_eval.core.scores import read_scores

pytestmark = pytest.mark.usefixtures("decodes")


@pytest.fixture
def command(monkeypatch):
    """`v2t-eval` with the planted metrics beside those there are."""
    from v2t_eval.suites import suite

    kinds = {kind.name: kind for kind in vars(planted).values() if isinstance(kind, type) and hasattr(kind, "misses")}
    load = suite.load_metric
    monkeypatch.setattr(suite, "load_metric", lambda name: kinds.get(name) or load(name))
    return main


@pytest.mark.slow
def test_the_command_writes_and_does_not_overwrite(command, clips, tmp_path, capsys, decodes) -> None:
    out = tmp_path / "out"
    call = ["score", str(clips), "--metrics", "bright,words", "--workers", "1", "--prompts", str(tmp_path / "p.txt")]
    (tmp_path / "p.txt").write_text("a prompt\n" * 4)
    assert command([*call, "--dry-run", "-o", str(out)]) == 0 and not out.exists() and decodes == []
    assert "bright\tclip\tneeds frames" in capsys.readouterr().out
    assert command([*call, "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    row = next(line for line in shown.splitlines() if line.startswith("  bright "))
    assert row.split()[-5:] == ["(4", "of", "4)", "higher", "is", "better"][-5:] and "samples: 4" in shown
    scores = read_scores(out / "scores.json")
    assert [clip.path for clip in scores.clips] == [f"{n} übung.mp4" for n in range(4)]
    assert scores.sources == {"clips": "clips", "prompts": "p.txt"} and scores.clips[0].prompt == "a prompt"
    assert (out / "report.md").exists() and (out / "report.html").exists() and (out / ".cineloop" / FILE).exists()
    first = (out / "scores.json").read_bytes()
    assert command([*call, "-o", str(out)]) == 0 and len(decodes) == 4  # the same again: from its evidence
    assert json.loads(first)["results"] == json.loads((out / "scores.json").read_bytes())["results"]
    capsys.readouterr()
    for other, said in (
        ([*call[:3], "bright", *call[4:]], "metrics: bright,words → bright"),
        ([*call, "--limit", "2"], "limit: None → 2"),
        ([*call[:-1], str(clips)], f"prompts: {tmp_path / 'p.txt'} → {clips}"),
    ):
        assert command([*other, "-o", str(out)]) == 2
        err = capsys.readouterr().err
        assert "OTHER_SETTINGS" in err and said in err and "--overwrite" in err
    (out / ".cineloop/scoring.json").unlink()  # of a version that kept no settings
    assert command([*call, "-o", str(out)]) == 2 and "EXISTS" in capsys.readouterr().err
    assert command([*call, "-o", str(out), "--overwrite", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["clips"] == 4 and told["results"][0]["figures"]["bright"]["n"] == 4 and len(decodes) == 4


@pytest.mark.slow
def test_exit_codes(command, clips, tmp_path, capsys) -> None:
    def run(*words: str) -> int:
        return command(["score", *words, "--workers", "1", "--quiet"])

    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(str(clips), "--metrics", "bright", "--json") == 0
    assert run(str(clips), "--metrics", "words") == 2
    assert run(str(clips), "--metrics", "bright", "--max-clip-mb", "0") == 2
    assert run(str(empty), "--metrics", "bright") == 4
    assert run(str(clips), "--metrics", "absent,bright") == 5
    (tmp_path / "s.yaml").write_text("metrics: [bright, words]")
    assert run(str(clips), "--suite", str(tmp_path / "s.yaml")) == 0
    said = capsys.readouterr().out
    assert (
        re.search(r"Metrics that could not run\n.*\n  absent ", said)
        and "(the report says what they need): words" in said
    )
    (clips / "broken.mp4").write_bytes(b"x")
    assert run(str(clips), "--metrics", "bright") == 3
    assert "not scored: 1 NOT_MEDIA" in capsys.readouterr().out
    assert run(str(clips), "--metrics", "all_fail") == 3


def test_ctrl_c_finishes_what_is_in_hand(command, clips, tmp_path, capsys, decodes) -> None:
    for number in range(4):
        shutil.copy(clips / "3 übung.mp4", clips / f"more {number}.mp4")
    call = ["score", str(clips), "--metrics", "interrupts", "--workers", "1", "-o", str(tmp_path / "out")]
    assert command(call) == 130
    said = capsys.readouterr().err
    assert "stopped after 4 of 8 samples" in said and "the same command continues" in said and "interrupted" in said
    assert len(decodes) == 4 and not (tmp_path / "out/scores.json").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["score", "clips", "--metrics", "bright,frechet"],
        ["score", "clips", "--metrics", "bright", "--device", "cuda:99"],
    ],
    ids=" ".join,
)
def test_a_refused_command_leaves_no_folder(command, clips, tmp_path, monkeypatch, words) -> None:
    monkeypatch.chdir(tmp_path)
    assert command([*words, "-o", "a/b"]) in (2, 5)
    assert {path.name for path in tmp_path.iterdir()} == {"clips"}


def test_a_folder_is_scored_by_one_at_a_time(command, clips, tmp_path, capsys) -> None:
    from cineloop.lock import FolderLock

    state = tmp_path / "out/.cineloop"
    state.mkdir(parents=True)
    with FolderLock(state / "lock"):
        assert command(["score", str(clips), "--metrics", "bright", "-o", str(tmp_path / "out")]) == 2
    assert "LOCKED" in capsys.readouterr().err


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.slow
def test_captions_and_answers_against_the_truth(tmp_path, capsys) -> None:
    config = WorldConfig(num=12, seed=31, split="seen")
    rows = [manifest_row(config, index) for index in range(12)]
    write_manifest(rows, tmp_path / "m.jsonl")
    truth = ["--truth", str(tmp_path / "m.jsonl")]
    records = [{"id": r["id"], "status": "ok", "caption": r["captions"]["short"][0], "style": "short"} for r in rows]
    captions = ["score", "--captions", str(lines(tmp_path / "c.jsonl", records)), *truth]
    assert main([*captions, "-o", str(tmp_path / "out")]) == 0
    assert read_scores(tmp_path / "out/scores.json").result("facts").value == 1.0
    lines(tmp_path / "c.jsonl", records[1:])
    capsys.readouterr()
    assert main(captions) == 0
    assert "counted as wrong: 1 missing" in capsys.readouterr().out
    lines(tmp_path / "c.jsonl", [{"id": "x", "caption": "y"}])
    assert main(captions) == 4
    said = [{"id": r["id"], **q, "reference": q["answer"]} for r in rows for q in r["questions"]]
    answers = ["score", "--answers", str(lines(tmp_path / "a.jsonl", said)), *truth, "--json"]
    capsys.readouterr()
    assert main(answers) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["figures"]["all"]["value"] == 1.0
    assert main([*answers[:3], "--metrics", "facts"]) == 2


@pytest.mark.slow
def test_the_list_of_metrics(capsys) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out.splitlines()
    metrics = [line.strip() for line in shown if line.startswith("  ") and line.split()[0] in metric_names()]
    assert len(metrics) == len(metric_names()) and max(map(len, shown)) <= 120 and len(shown) < len(metrics) + 10
    (line,) = [line for line in metrics if line.startswith("temporal_flickering ")]
    assert "frames" in line and "higher" in line and "v2t-eval list NAME" in shown[-1]
    assert main(["list", "temporal_flickering"]) == 0
    shown = capsys.readouterr().out
    assert "misses" in shown and "runs here   yes" in shown and "mode=fixed" in shown
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["detects"] and row["misses"] and row["level"] in ("text", "clip", "set") for row in rows)
    assert main(["list", "fvd", "--json"]) == 0
    fvd = json.loads(capsys.readouterr().out)
    assert fvd["runs"] is False and fvd["why_not"]


def test_what_is_wrong_with_a_file_of_prompts_is_said(clips, tmp_path, capsys) -> None:
    def told(name: str, text: str) -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert main(["score", str(clips), "--prompts", str(tmp_path / name), "--metrics", "clipsim"]) in (2, 4)
        return capsys.readouterr().err

    rows = [{"path": f"{n} übung.mp4", "prompt": "a ball"} for n in range(4)]
    rows[2]["prompt"] = " "
    said = told("p.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    assert "p.jsonl, row 3 ('2 übung.mp4'): its 'prompt' is empty" in said
    said = told("k.jsonl", json.dumps({"path": "1 übung.mp4", "says": "a ball"}) + "\n")
    assert "row 1 ('1 übung.mp4'): expected a 'prompt', got the keys path, says" in said
    said = told("p.csv", "file,text\n0 übung.mp4,a ball\n")
    assert "columns file, text" in said and "id, path" in said


def test_a_metric_that_reads_prompts_says_how_to_give_them(clips, capsys) -> None:
    assert main(["score", str(clips), "--metrics", "clipsim"]) == 3
    assert "not scored: 4 NO_PROMPT (give --prompts, or a manifest with prompts)" in capsys.readouterr().out


def test_a_dimension_that_no_prompt_names_is_measured_on_no_clip(clips, tmp_path, capsys) -> None:
    """A part of VBench's list: prompts for motion alone say nothing of flicker, for which VBench has others."""
    rows = [{"path": f"{n} übung.mp4", "prompt_en": "a ball", "dimension": ["motion_smoothness"]} for n in range(4)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    metrics = "motion_smoothness,temporal_flickering,sharpness"
    call = ["score", str(clips), "--prompts", str(tmp_path / "p.jsonl"), "--metrics", metrics]
    main([*call, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [(one["name"], one["n"]) for one in told["results"]] == [("motion_smoothness", 4), ("sharpness", 4)]
    (skipped,) = told["skipped"]
    assert skipped["metric"] == "temporal_flickering" and "no prompt names this dimension" in skipped["reason"]


# --- a metric of one's own


def _own(folder: Path, body: str) -> str:
    head = "from v2t_eval.core.metric import BaseMetric, Summary\n\n\nclass Metric(BaseMetric):\n    name = 'mine'\n"
    (folder / "mine.py").write_text(head + "    needs = ('frames',)\n" + body)
    return str(folder / "mine.py")


def test_an_error_of_ones_own_metric_is_told_with_its_line(command, clips, tmp_path, capsys) -> None:
    body = "    def measure(self, sample):\n        return sample.nothing\n"
    body += "    def summarise(self, rows, references): ...\n"
    assert command(["score", str(clips), "--metrics", f"bright,{_own(tmp_path, body)}", "--workers", "1", "-q"]) == 3
    said = " ".join(capsys.readouterr().out.split())
    assert "METRIC_ERROR (AttributeError: 'Sample' object has no attribute 'nothing' (mine.py, line 8))" in said


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("    def summarise(self, rows, references): ...\n", "its class Metric lacks measure"),
        ("    version = 2\n", "its class Metric lacks measure and summarise"),
    ],
)
def test_half_a_metric_is_an_error_of_usage(command, clips, tmp_path, capsys, body, said) -> None:
    assert command(["score", str(clips), "--metrics", _own(tmp_path, body), "-q"]) == 2
    err = capsys.readouterr().err
    assert "mine.py" in err and said in err and "UNEXPECTED" not in err


def test_a_metric_that_is_no_metric(command, clips, tmp_path, capsys) -> None:
    (tmp_path / "mine.py").write_text("Metric = 3\n")
    assert command(["score", str(clips), "--metrics", str(tmp_path / "mine.py"), "-q"]) == 2
    assert "expected a class Metric(BaseMetric), got 3" in capsys.readouterr().err
