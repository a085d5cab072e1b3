"""`v2t-eval gate` and `compare` from the command line: every outcome's exit code, files, baselines, hostile text."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import planted_metrics as planted
from cineloop.manifest import write_manifest
from cineloop.video.encode import encode
from planted_scores import SUITE, absent, result, scores, without, write_scores
from v2t_eval.cli import main as command
from v2t_eval.core.scores import Scores
from v2t_eval.gate import baseline as file


def main(words: list[str]) -> int:
    """The exit code of a command line."""
    try:
        return command(words)
    except SystemExit as end:
        return int(end.code or 0)


HOSTILE = "</script><img src=x onerror=alert(1)>\x1b[31m\n::error::boo\u202e ]]> & \x00"


@pytest.fixture
def suite(tmp_path: Path) -> str:
    (tmp_path / "suite.yaml").write_text(SUITE)
    return str(tmp_path / "suite.yaml")


@pytest.fixture
def baseline(tmp_path: Path, suite: str, capsys) -> str:
    place = tmp_path / "baseline.json"
    assert (
        main(["gate", "init", str(write_scores(tmp_path / "main", scores())), "--suite", suite, "-o", str(place)]) == 0
    )
    capsys.readouterr()
    return str(place)


@pytest.fixture
def judged(tmp_path: Path, suite: str, baseline: str):
    """The exit code of these scores."""

    def run(made, *more: str, against: str | None = baseline) -> int:
        place = write_scores(tmp_path / "candidate", made)
        held = ["--baseline", against] if against else []
        return main(["gate", str(place), "--suite", suite, *held, "-q", *more])

    return run


# --- exit codes


@pytest.mark.slow
def test_every_outcome_has_its_exit_code(judged, capsys, tmp_path) -> None:
    assert judged(scores()) == 0 and "PASS" in capsys.readouterr().out
    assert judged(scores(worse=0.4, seed=2)) == 6 and "FAIL" in capsys.readouterr().out
    assert judged(scores(worse=0.4, noise=0.9, seed=2)) == 8 and "INCONCLUSIVE" in capsys.readouterr().out
    assert judged(scores(fingerprint={"weights": "w2"})) == 9
    assert "weights: candidate w2, baseline w1" in " ".join(capsys.readouterr().out.split())
    assert judged(scores(skipped=[absent("sharpness")])) == 5 and "could not run" in capsys.readouterr().err
    assert judged(scores(skipped=[absent("sharpness", "NO_PROMPT")])) == 4
    assert judged(without(scores(), {"p00-0", "p01-0"})) == 6
    assert judged(scores(), against=None) == 8 and "gate init" in " ".join(capsys.readouterr().out.split())
    assert judged(scores(), against=str(tmp_path / "none.json")) == 2
    assert judged(scores(), "--audit", str(tmp_path / "none.json")) == 2


@pytest.mark.slow
def test_the_verdict_is_what_the_process_ends_with(judged, capsys) -> None:
    for made, code in ((scores(), 0), (scores(worse=0.4, seed=2), 6), (scores(fingerprint={"definition": "b/2"}), 9)):
        assert judged(made, "--json") == code
        told = json.loads(capsys.readouterr().out)
        assert told["exit_code"] == code and told["schema"] == 1


@pytest.mark.parametrize(
    ("gate", "says"),
    [
        ("{}", "lacks gate.primary"),
        ("{primary: []}", "at least one"),
        ("{primary: [{metric: sharpness}]}", "give a margin"),
        ("{primary: [{metric: sharpness, margin: 0}]}", "above zero"),
        ("{primary: [{metric: sharpness, margin: .inf}]}", "must be a number"),
        ("{primary: [{metric: sharpnes, margin: 1}]}", "did you mean 'sharpness'"),
        ("{primary: [{metric: clipsim, margin: 1}]}", "not among the suite's metrics"),
        ("{primary: [{metric: motion, margin: 1}]}", "no preferred direction"),
        ("{primary: [{metric: sharpness, margin: 1}, {metric: 'sharpness', at_least: 0}]}", "each metric once"),
        ("{primary: [{metric: motion, at_most: 1}, {metric: 'motion[flow=dis]', at_least: 0}]}", "each metric once"),
        ("{primary: [{metric: sharpness, margin: 1}], alfa: 1}", "did you mean 'gate.alpha'"),
        ("[sharpness]", "must hold primary"),
    ],
)
def test_a_gate_that_cannot_be_read_is_refused(tmp_path, capsys, gate, says) -> None:
    (tmp_path / "s.yaml").write_text(f"metrics: [sharpness, motion]\ngate: {gate}")
    place = write_scores(tmp_path / "candidate", scores())
    assert main(["gate", str(place), "--suite", str(tmp_path / "s.yaml")]) == 2
    assert says in capsys.readouterr().err


# --- files


@pytest.mark.slow
def test_the_folder_holds_all_and_is_not_overwritten_unasked(judged, tmp_path, capsys) -> None:
    out, xml = tmp_path / "out", tmp_path / "more.xml"
    assert judged(scores(worse=0.4, seed=2), "-o", str(out), "--junit", str(xml)) == 6
    for name in ("verdict.json", "gate.md", "gate.html", "junit.xml", "scores.json", "report.md", "report.html"):
        assert (out / name).stat().st_size, name
    assert xml.read_bytes() == (out / "junit.xml").read_bytes()
    first = (out / "verdict.json").read_bytes()
    assert json.loads(first)["outcome"] == "fail" and first.endswith(b"}\n")
    assert judged(scores(), "-o", str(out)) == 2 and "EXISTS" in capsys.readouterr().err
    assert (out / "verdict.json").read_bytes() == first
    assert judged(scores(), "-o", str(out), "--overwrite") == 0
    assert json.loads((out / "verdict.json").read_text())["outcome"] == "pass"


@pytest.mark.slow
def test_a_run_that_breaks_off_leaves_no_older_verdict(judged, tmp_path) -> None:
    out, xml = tmp_path / "out", tmp_path / "more.xml"
    more = ["-o", str(out), "--junit", str(xml), "--overwrite"]
    assert judged(scores(), *more) == 0
    assert judged(scores(skipped=[absent("sharpness")]), *more) == 5
    assert not xml.exists() and not (out / "verdict.json").exists() and (out / "scores.json").exists()


@pytest.mark.slow
def test_hostile_prompts_come_through_every_output(judged, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))

    def hostile(clip):
        return replace(clip, prompt=f"{HOSTILE}{clip.prompt}")

    place = tmp_path / "hostile.json"
    args = ["--suite", str(tmp_path / "suite.yaml"), "-q"]
    assert (
        main(["gate", "init", str(write_scores(tmp_path / "h", scores(change=hostile))), "-o", str(place), *args]) == 0
    )
    out = tmp_path / "out"
    assert judged(scores(worse=0.4, seed=2, change=hostile), "-o", str(out), against=str(place)) == 6
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\n::error::boo" not in shown
    verdict = json.loads((out / "verdict.json").read_text())
    assert verdict["clips"][0]["prompt"].startswith(HOSTILE)
    assert b"<img src=x" not in (out / "gate.html").read_bytes()
    from xml.etree import ElementTree

    ElementTree.fromstring((out / "junit.xml").read_bytes())
    assert (tmp_path / "summary.md").stat().st_size


# --- the baseline


@pytest.mark.slow
def test_init_does_not_overwrite_unasked(tmp_path, suite, baseline, capsys) -> None:
    again = ["gate", "init", str(tmp_path / "main"), "--suite", suite, "-o", baseline]
    before = Path(baseline).read_bytes()
    assert main(again) == 2 and "gate update" in capsys.readouterr().err
    assert main([*again, "--overwrite", "--json"]) == 0 and Path(baseline).read_bytes() == before
    assert json.loads(capsys.readouterr().out)["figures"]["sharpness"][0] is None


def test_a_baseline_without_its_deciding_metric_is_not_made(tmp_path, suite) -> None:
    place = write_scores(tmp_path / "c", scores(skipped=[absent("sharpness")]))
    assert main(["gate", "init", str(place), "--suite", suite, "-o", str(tmp_path / "b.json")]) == 5
    assert not (tmp_path / "b.json").exists()


@pytest.mark.slow
def test_a_metric_that_never_had_a_value_is_not_gone(tmp_path, suite, capsys) -> None:
    made, at = scores(), str(tmp_path / "b.json")

    def line(words: list[str], values: dict[str, float] | None) -> str:
        """What is printed of clipsim where these are its values; None: it is not among the metrics."""
        more = [] if values is None else [result("clipsim", values, made.clips)]
        there = write_scores(tmp_path / "there", replace(made, results=[*made.results, *more]))
        assert main(["gate", words[0], str(there), *words[1:]]) == 0
        return next(each.strip() for each in capsys.readouterr().out.splitlines() if "clipsim" in each)

    init = ["init", "--suite", suite, "-o", at, "--overwrite"]
    assert line(init, {}) == "clipsim: no value"
    assert line(init, dict.fromkeys(made.by_id, 0.5)) == "clipsim: 0.5"
    assert line(["update", "--baseline", at, "--reason", "less"], None) == "clipsim: gone (was 0.5)"


@pytest.mark.slow
def test_an_update_says_why_and_what_was_before(tmp_path, baseline, judged, capsys) -> None:
    worse = write_scores(tmp_path / "worse", scores(worse=0.2, fingerprint={"weights": "w2"}))
    call = ["gate", "update", str(worse), "--baseline", baseline, "--reason"]
    assert main([*call, "another judge", "--dry-run"]) == 0 and len(file.read(Path(baseline)).history) == 1
    assert main([*call, "another judge"]) == 0
    shown = capsys.readouterr().out
    assert "another judge" in shown and "(was " in shown and "weights: candidate w2, baseline w1" in shown
    history = file.read(Path(baseline)).history
    assert [each.reason for each in history] == ["first baseline", "another judge"]
    assert history[1].figures["sharpness"][0] == pytest.approx(history[1].figures["sharpness"][1] + 0.2)
    assert file.read(Path(baseline)).suite == "two" and file.read(Path(baseline)).policy["alpha"] == 0.05
    assert isinstance(file.read(Path(baseline)), Scores)
    assert judged(scores(worse=0.2, fingerprint={"weights": "w2"})) == 0
    assert judged(scores()) == 9


@pytest.mark.slow
def test_an_update_by_scores_of_another_kind_leaves_the_baseline(tmp_path, baseline) -> None:
    before = Path(baseline).read_bytes()
    empty = scores()
    empty = replace(empty, results=[replace(one, figures={}) for one in empty.results])
    for place in (write_scores(tmp_path / "empty", empty), tmp_path / "nothing"):
        assert main(["gate", "update", str(place), "--baseline", baseline, "--reason", "x"]) in (2, 4)
    assert Path(baseline).read_bytes() == before


@pytest.mark.slow
def test_two_updates_at_once_are_one(tmp_path, baseline, capsys) -> None:
    call = ["gate", "update", str(tmp_path / "main"), "--baseline", baseline, "--reason", "x"]
    with file.lock(Path(baseline)):
        assert main(call) == 2 and "another run holds" in capsys.readouterr().err
    assert main(call) == 0 and len(file.read(Path(baseline)).history) == 2


@pytest.mark.slow
def test_a_weak_baseline_is_warned_of(tmp_path, suite, capsys) -> None:
    still = write_scores(tmp_path / "c", scores(change=lambda clip: replace(clip, frozen=clip.id < "p05")))
    assert main(["gate", "init", str(still), "--suite", suite, "-o", str(tmp_path / "b.json")]) == 0
    assert "10 of 40 clips stand still" in capsys.readouterr().err


# --- clips


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Six clips of three prompts, with a manifest."""
    folder = tmp_path / "clips"
    folder.mkdir()
    rows = []
    for number in range(6):
        pixels = np.full((4, 64, 64, 3), 30 + 30 * number, np.uint8)
        pixels[:, 16:48, :, 0] = (np.arange(4) * 60)[:, None, None]
        encode(pixels, folder / f"{number}.mp4", fps=8)
        rows.append({"id": f"{number}", "path": f"{number}.mp4", "prompt": f"{HOSTILE} {number // 2}"})
    write_manifest(rows, folder / "manifest.jsonl")
    return folder


@pytest.fixture
def bright(monkeypatch, tmp_path: Path) -> str:
    """A suite of a planted metric."""
    from v2t_eval.suites import suite

    kinds = {kind.name: kind for kind in (planted.Bright, planted.Absent, planted.Words)}
    load = suite.load_metric
    monkeypatch.setattr(suite, "load_metric", lambda name: kinds.get(name) or load(name))
    (tmp_path / "bright.yaml").write_text("metrics: [bright, words]\ngate: {primary: [{metric: bright, at_least: 0}]}")
    return str(tmp_path / "bright.yaml")


def undated(path: Path) -> dict:
    verdict = json.loads(path.read_text())
    for side in ("candidate", "baseline", "environment"):
        verdict[side].pop("date", None)
    return verdict


@pytest.mark.slow
def test_the_same_clips_twice_give_the_same_verdict_and_are_measured_once(clips, bright, tmp_path, decodes) -> None:
    call = ["gate", str(clips), "--suite", bright, "--workers", "1", "-q", "--cache", str(tmp_path / "cache")]
    place = str(tmp_path / "b.json")
    assert main(["gate", "init", *call[1:], "-o", place]) == 0 and len(decodes) == 6
    for name in ("one", "two"):
        assert main([*call, "--baseline", place, "-o", str(tmp_path / name)]) == 0
    assert len(decodes) == 6
    one, two = (undated(tmp_path / name / "verdict.json") for name in ("one", "two"))
    assert one == two and one["metrics"][0]["change"] in (0.0, None) and one["candidate"]["clips"] == "6"
    assert any("6 of 6 clips are byte for byte" in note for note in one["notes"])


@pytest.mark.slow
def test_a_frozen_copy_of_everything_fails(clips, bright, tmp_path, decodes) -> None:
    call = ["--suite", bright, "--workers", "1", "-q"]
    place = str(tmp_path / "b.json")
    assert main(["gate", "init", str(clips), *call, "-o", place]) == 0
    still = Path(shutil.copytree(clips, tmp_path / "still"))
    for number in range(6):
        encode(np.full((4, 64, 64, 3), 200, np.uint8), still / f"{number}.mp4", fps=8)
    assert main(["gate", str(still), *call, "--baseline", place, "-o", str(tmp_path / "out")]) == 6
    failed = {guard["name"] for guard in undated(tmp_path / "out/verdict.json")["guards"] if guard["outcome"] == "fail"}
    assert failed == {"frozen clips", "copies"}


def test_clips_that_are_not_there_or_not_readable(clips, bright, tmp_path, decodes, capsys) -> None:
    call = ["--suite", bright, "--workers", "1", "-q"]
    assert main(["gate", str(tmp_path / "none"), *call]) == 4
    (clips / "3.mp4").write_bytes(b"")
    assert main(["gate", str(clips), *call]) == 6 and "EMPTY_FILE" in capsys.readouterr().out
    (tmp_path / "absent.yaml").write_text("metrics: [bright, absent]\ngate: {primary: [{metric: absent, at_least: 1}]}")
    assert main(["gate", str(clips), "--suite", str(tmp_path / "absent.yaml"), "--workers", "1"]) == 5
    assert main(["gate", str(clips), *call, "--dry-run", "-o", str(tmp_path / "dry")]) == 0
    assert not (tmp_path / "dry").exists() and "bright\tclip" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_folder_says_what_made_its_clips(clips, bright, tmp_path, decodes) -> None:
    (clips / "run.json").write_text('{"generator": "dit", "model": "starter", "weights_sha256": "abcdef0123456789"}')
    assert main(["gate", str(clips), "--suite", bright, "--workers", "1", "-q", "-o", str(tmp_path / "out")]) == 0
    assert undated(tmp_path / "out/verdict.json")["candidate"]["revision"] == "dit starter abcdef012345"


# --- compare


@pytest.mark.slow
def test_compare_tells_each_change_and_decides_nothing(tmp_path, baseline, capsys) -> None:
    after = str(write_scores(tmp_path / "after", scores(worse=0.4, seed=2)))
    assert main(["compare", baseline, after]) == 0
    shown = capsys.readouterr().out
    said = " ".join(shown.split())
    assert "sharpness Direction higher is better" in said and "worst: p" in said and "40 pairs in 20 clusters" in said
    assert main(["compare", baseline, after, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    sharp = next(one for one in told["metrics"] if one["metric"] == "sharpness")
    assert sharp["low"] < sharp["change"] < sharp["high"] and sharp["change"] == pytest.approx(-0.4, abs=0.01)
    assert sharp["p"] < 0.01 and sharp["b"]["value"] < sharp["a"]["value"]
    assert sharp["worst"][0]["b"] < sharp["worst"][0]["a"] and sharp["best"] == []
    assert main(["compare", after, baseline, "--json"]) == 0
    turned = json.loads(capsys.readouterr().out)["metrics"][0]
    assert turned["change"] == pytest.approx(-sharp["change"]) and turned["best"] and not turned["worst"]


@pytest.mark.slow
def test_compare_refuses_the_metric_that_is_another_and_no_other(tmp_path, suite, baseline, capsys) -> None:
    other = str(write_scores(tmp_path / "other", scores(worse=0.2, seed=2, other_fingerprint={"weights": "w2"})))
    assert main(["compare", baseline, other]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "1 metric compared, 1 not" in shown and "weights: candidate w2, baseline w1" in shown
    for more in ([], ["--suite", suite]):  # whose rules are about sharpness
        assert main(["compare", baseline, other, "--json", *more]) == 0
        told = json.loads(capsys.readouterr().out)
        rows = {one["metric"]: one for one in told["metrics"]}
        assert told["comparable"] and told["differences"] == []
        assert rows["sharpness"]["change"] == pytest.approx(-0.2, abs=0.01) and rows["sharpness"]["why_not"] is None
        refused = rows["temporal_flickering"]
        assert refused["change"] is None and refused["worst"] == [] and "w2" in refused["why_not"]
    alone = compared(write_scores(tmp_path / "alone", scores(worse=0.2, seed=2)), baseline, capsys)["sharpness"]
    assert rows["sharpness"]["worst"] == alone["worst"]


def compared(after: Path, baseline: str, capsys) -> dict:
    assert main(["compare", baseline, str(after), "--json"]) == 0
    return {one["metric"]: one for one in json.loads(capsys.readouterr().out)["metrics"]}


@pytest.mark.slow
def test_compare_refuses_where_nothing_or_nothing_that_decides_is_left(tmp_path, suite, baseline, capsys) -> None:
    for name, more in (("all", {"fingerprint": {"weights": "w3"}, "other_fingerprint": {"weights": "w2"}}),
                       ("primary", {"fingerprint": {"weights": "w3"}})):  # fmt: skip
        other = str(write_scores(tmp_path / name, scores(**more)))
        assert main(["compare", baseline, other, *(["--suite", suite] if name == "primary" else [])]) == 9
        assert "sharpness: weights: candidate w3, baseline w1" in " ".join(capsys.readouterr().out.split())
        assert main(["compare", baseline, other, "--json", *(["--suite", suite] if name == "primary" else [])]) == 9
        told = json.loads(capsys.readouterr().out)
        assert told["comparable"] is False and told["metrics"] == []
