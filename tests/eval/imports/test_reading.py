"""Results of VBench, lmms-eval and FastVideo: their numbers as the files have them, held by the gate, and bad files."""

from __future__ import annotations

import json
import math

import pytest

from cineloop import cli
from cineloop.errors import NothingMatchedError, UsageError
from foreign_results import DATE, fastvideo_benchmark, fastvideo_ssim, lmms_eval, mean, vbench
from v2t_eval.cli import VERBS
from v2t_eval.core.scores import read_scores
from v2t_eval.imports import reading
from v2t_eval.imports.reading import read_results


def run(*words):
    return cli.main("v2t-eval", "", VERBS, list(map(str, words)), package="v2t_eval")


def gated(tmp_path, capsys, before, after, rules, *flags):
    """The verdict of importing both and gating the second against the first."""
    capsys.readouterr()
    names = [rule.split("metric: ")[1].split(",")[0].strip("'") for rule in rules]
    suite = tmp_path / "suite.yaml"
    suite.write_text(f"imported: {json.dumps(names)}\ngate:\n  primary:\n" + "".join(f"    - {{{r}}}\n" for r in rules))
    for name, place in (("before", before), ("after", after)):
        assert run("score", "--results", place, "-o", tmp_path / name, "-q", *flags) in (0, 3)
    baseline = tmp_path / "baseline.json"
    assert run("gate", "init", tmp_path / "before", "--suite", suite, "-o", baseline) == 0
    capsys.readouterr()
    code = run("gate", tmp_path / "after", "--suite", suite, "--baseline", baseline, "--json", "-q")
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["exit_code"] == code
    return verdict


# --- the numbers


def test_vbench_in_its_units_and_with_its_figures(tmp_path):
    path = vbench(tmp_path / "x_eval_results.json")
    tree = json.loads(path.read_text())
    made = read_results(path).by_name
    assert set(made) == {f"vbench.{name}" for name in tree}
    plain, frames, percent, moves = (made[f"vbench.{name}"] for name in tree)
    assert plain.reduction == "mean" and plain.value == pytest.approx(tree["subject_consistency"][0], abs=1e-12)
    assert frames.reduction == "mean_of_clips" and frames.value == tree["object_class"][0]
    assert frames.figures["mean_of_clips"].value == pytest.approx(mean(tree["object_class"][1]))
    assert percent.reduction == "mean" and percent.value == pytest.approx(tree["imaging_quality"][0])
    assert max(item["value"] for item in percent.items) < 1
    assert moves.higher_is_better and {item["value"] for item in moves.items} == {0.0, 1.0}
    assert plain.figures[plain.headline].low < plain.value < plain.figures[plain.headline].high
    assert plain.fingerprint["source"] == "VBench"


def test_clips_of_other_folders_are_the_same_and_prompts_are_clusters(tmp_path):
    here = read_results(vbench(tmp_path / "a.json", folder="/data/a", seeds=2))
    there = read_results(vbench(tmp_path / "b.json", folder="C:\\runs\\b".replace("\\", "/"), seeds=2))
    assert here.clips == there.clips and len({clip.cluster for clip in here.clips}) == 60
    assert here.clips[0].prompt == "prompt number 0" and here.clips[0].id == "prompt number 0-0"


def test_minus_one_is_left_out_where_the_file_leaves_it_out(tmp_path):
    def with_gap(tree):
        rows = tree["subject_consistency"][1]
        rows[0]["video_results"] = rows[1]["video_results"] = -1
        tree["subject_consistency"][0] = mean(rows[2:])

    result = read_results(vbench(tmp_path / "x.json", change=with_gap)).by_name["vbench.subject_consistency"]
    assert result.n == 58 and not result.failures and "2 of 60" in result.notes[0]


def test_lmms_eval_with_and_without_samples(tmp_path):
    with_samples = read_results(lmms_eval(tmp_path / "a"))
    score, exact = (with_samples.by_name[f"lmms_eval.videomme.{name}"] for name in ("score", "exact_match"))
    assert score.value == 70 and score.reduction == "mean" and {item["value"] for item in score.items} == {0.0, 100.0}
    assert exact.value == 0.7 and len(with_samples.clips) == 100
    assert len({clip.cluster for clip in with_samples.clips}) == 25, "four questions of a video are one cluster"
    assert exact.fingerprint["task_version"] == "1" and "0.5.0" in exact.fingerprint["source_library"]
    without = read_results(lmms_eval(tmp_path / "b", samples=False))
    score, exact = (without.by_name[f"lmms_eval.videomme.{name}"] for name in ("score", "exact_match"))
    assert exact.reduction == "set" and exact.figures[exact.headline].high == pytest.approx(0.7 + 1.96 * 0.04, abs=1e-4)
    assert score.figures[score.headline].low == 70 and any("NO_INTERVAL" in note for note in score.notes)
    assert not without.clips and score.n == 100


def test_samples_of_several_filters_are_not_mixed(tmp_path):
    made = read_results(lmms_eval(tmp_path, filters=("none", "flexible"))).by_name
    assert set(made) == {
        f"lmms_eval.videomme.{m}[filter={f}]" for m in ("score", "exact_match") for f in ("none", "flexible")
    }
    assert all(one.reduction == "set" and not one.items and "filters" in one.notes[0] for one in made.values())


def test_fastvideo_clips_and_benchmarks(tmp_path):
    made = read_results(fastvideo_ssim(tmp_path / "a"))
    assert set(made.by_name) == {"fastvideo.ssim", "fastvideo.min_ssim"}
    assert made.by_name["fastvideo.ssim"].n == 40 and made.clips[0].prompt == "prompt 0"
    assert made.clips == read_results(fastvideo_ssim(tmp_path / "other")).clips
    perf = read_results(fastvideo_benchmark(tmp_path / "perf_wan_1.json"))
    time = perf.by_name["fastvideo.wan-t2v.generation_time_s"]
    figure = time.figures[time.headline]
    assert time.higher_is_better is False and figure.low < figure.value < figure.high and figure.n == 8
    memory = perf.by_name["fastvideo.wan-t2v.peak_memory_mb"]
    assert memory.figures[memory.headline].low == memory.value == 20_000 and "NO_INTERVAL" in memory.notes[0]
    assert "fastvideo.wan-t2v.vae_decode_time_s" not in perf.by_name
    latent = {"metrics": {"slice_cosine": 0.99, "full_cosine": 0.98}, "reference_latent": "r", "generated_latent": "g",
              "model_id": "wan", "attention_backend": "FLASH", "slice_spec": "x", "thresholds": {}, "passed": True,
              "parameters": {"num_inference_steps": 4, "prompt": "p"}}  # fmt: skip
    (tmp_path / "one_latent.json").write_text(json.dumps(latent))
    made = read_results(tmp_path / "one_latent.json").by_name
    assert (
        made["fastvideo.full_cosine"].value == 0.98 and made["fastvideo.full_cosine"].fingerprint["model_id"] == "wan"
    )


# --- the gate


RULE = "metric: vbench.subject_consistency, margin: 0.02, worst: 0.8"


@pytest.mark.slow
def test_the_gate_holds_vbench(tmp_path, capsys):
    before, same, worse = (
        vbench(tmp_path / f"{n}.json", shift=shift, folder=f"/run/{n}", seed=n) for n, shift in enumerate((0, 0, 0.05))
    )
    assert gated(tmp_path, capsys, before, same, [RULE])["outcome"] == "pass"
    for name in ("before", "after", "baseline.json"):
        _remove(tmp_path / name)
    verdict = gated(tmp_path, capsys, before, worse, [RULE])
    assert verdict["outcome"] == "fail" and verdict["metrics"][0]["num_pairs"] == 60
    assert verdict["metrics"][0]["change"] == pytest.approx(-0.05, abs=0.002)
    assert {clip["prompt"] for clip in verdict["clips"]} <= {f"prompt number {n}" for n in range(60)}


def _remove(path):
    import shutil

    shutil.rmtree(path) if path.is_dir() else path.unlink()


@pytest.mark.slow
def test_other_versions_are_not_compared(tmp_path, capsys):
    rules = ["metric: lmms_eval.videomme.exact_match, margin: 0.1"]
    before, after = lmms_eval(tmp_path / "a"), lmms_eval(tmp_path / "b", version=2)
    verdict = gated(tmp_path, capsys, before, after, rules)
    assert verdict["outcome"] == "not_comparable" and "task_version" in verdict["differences"][0]


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["margin: 0.1", "at_least: 0.5", "at_most: 0.5"])
def test_a_figure_without_an_interval_decides_nothing_and_says_why(tmp_path, capsys, rule):
    before, after = (
        lmms_eval(tmp_path / name, right=right, samples=False, date=DATE) for name, right in (("a", 70), ("b", 90))
    )
    verdict = gated(tmp_path, capsys, before, after, [f"metric: lmms_eval.videomme.score, {rule}"])
    assert (verdict["outcome"], verdict["metrics"][0]["code"]) == ("inconclusive", "NO_INTERVAL")


@pytest.mark.slow
@pytest.mark.parametrize(("seconds", "outcome"), [(10.0, "pass"), (13.0, "fail")])
def test_a_benchmark_that_got_slower(tmp_path, capsys, seconds, outcome):
    before = fastvideo_benchmark(tmp_path / "a/perf_wan_1.json")
    after = fastvideo_benchmark(tmp_path / "b/perf_wan_2.json", seconds=seconds)
    rules = ["metric: fastvideo.wan-t2v.generation_time_s, margin: 1.0"]
    assert gated(tmp_path, capsys, before, after, rules)["outcome"] == outcome


@pytest.mark.slow
def test_benchmarks_of_other_devices_are_not_compared(tmp_path, capsys):
    before = fastvideo_benchmark(tmp_path / "a/perf_wan_1.json")
    after = fastvideo_benchmark(tmp_path / "b/perf_wan_2.json", device="NVIDIA H100")
    verdict = gated(tmp_path, capsys, before, after, ["metric: fastvideo.wan-t2v.generation_time_s, margin: 1.0"])
    assert verdict["outcome"] == "not_comparable" and "H100" in verdict["differences"][0]


def test_a_suite_of_imported_metrics_scores_no_clips(tmp_path, capsys):
    suite = tmp_path / "suite.yaml"
    suite.write_text("imported: [vbench.scene]\ngate: {primary: [{metric: vbench.scene, margin: 0.1}]}\n")
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/a.mp4").write_bytes(b"x")
    assert run("gate", tmp_path / "clips", "--suite", suite) == 2
    assert "score --results" in capsys.readouterr().err


# --- bad files


def test_nan_and_doubles_are_failures_of_their_samples(tmp_path):
    def spoil(tree):
        rows = tree["subject_consistency"][1]
        rows[3]["video_results"] = math.nan
        rows[4]["video_results"] = None
        rows[6]["video_path"] = rows[5]["video_path"]
        tree["subject_consistency"][0] = math.nan

    scores = read_results(vbench(tmp_path / "x.json", change=spoil))
    result = scores.by_name["vbench.subject_consistency"]
    codes = [failure["code"] for failure in result.failures]
    assert sorted(codes) == ["DUPLICATE_ID", "NOT_FINITE", "NOT_FINITE"] and scores.exit_code == 3
    assert result.n == 59 and len(result.items) == 56 and math.isfinite(result.value)
    assert scores.by_name["vbench.imaging_quality"].n == 60, "the rest goes on"


def test_a_nan_in_samples_is_a_failure_of_that_sample(tmp_path):
    path = lmms_eval(tmp_path)
    samples = tmp_path / f"{DATE}_samples_videomme.jsonl"
    samples.write_text(samples.read_text().replace('"exact_match": 1.0', '"exact_match": NaN', 1))
    result = read_results(path).by_name["lmms_eval.videomme.exact_match"]
    assert [failure["id"] for failure in result.failures] == ["videomme#0"] and result.coverage == 0.99


def test_a_broken_file_of_a_folder_is_a_failed_clip(tmp_path):
    folder = fastvideo_ssim(tmp_path / "a")
    broken = next(folder.rglob("*prompt 7_ssim.json"))
    broken.write_text(broken.read_text()[:80])
    scores = read_results(folder)
    assert scores.exit_code == 3 and scores.by_name["fastvideo.ssim"].n == 40
    assert scores.by_name["fastvideo.ssim"].coverage == pytest.approx(39 / 40)
    (failed,) = [clip for clip in scores.clips if clip.status == "failed"]
    assert failed.error["code"] == reading.INVALID


BAD = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "not UTF-8": lambda text: b"\xff\xfe" + text.encode(),
    "a list": lambda text: "[]",
    "nested": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("how", BAD)
def test_a_damaged_file_is_refused_with_a_code(tmp_path, how):
    path = vbench(tmp_path / "x.json")
    data = BAD[how](path.read_text())
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(UsageError) as caught:
        read_results(path)
    assert caught.value.code in (reading.INVALID, reading.UNKNOWN) and caught.value.hint


@pytest.mark.parametrize(
    "tree",
    [{}, {"a": 1}, {"scene": [0.5, [{"video": "x"}]]}, {"results": []}, {"mean_ssim": 1}, {"benchmark_id": 3}, 7, None,
     {"scene": [True, "x"]}, {"results": {"a": 3}, "configs": {}, "versions": {}},
     {"scene": [0.5, [{"video_path": "a.mp4", "video_results": 1}]], "color": 3}],
    ids=str,
)  # fmt: skip
def test_what_is_no_result_file(tmp_path, tree):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(tree))
    with pytest.raises(UsageError) as caught:
        read_results(path)
    assert caught.value.code in (reading.INVALID, reading.UNKNOWN)


def test_a_file_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "x.json"
    with open(path, "wb") as file:
        file.truncate(200 << 20)
    with pytest.raises(UsageError) as caught:
        read_results(path)
    assert caught.value.code == "TOO_LARGE" and "200 MiB" in caught.value.message


def test_a_format_is_forced_by_name_and_an_unknown_one_names_the_choices(tmp_path):
    path = vbench(tmp_path / "x.json")
    assert read_results(path, "vbench").sources["written by"] == "VBench"
    with pytest.raises(UsageError) as caught:
        read_results(path, "lmms_eval")
    assert caught.value.code == reading.INVALID
    with pytest.raises(UsageError) as caught:
        read_results(path, "vbensh")
    assert "vbench" in str(caught.value)
    with pytest.raises(NothingMatchedError):
        read_results(tmp_path / "missing.json")
    with pytest.raises(NothingMatchedError):
        read_results(tmp_path)


def test_two_benchmarks_or_two_sample_files_are_not_guessed_between(tmp_path):
    for n in (1, 2):
        fastvideo_benchmark(tmp_path / f"a/perf_wan_{n}.json")
    path = lmms_eval(tmp_path / "b")
    (tmp_path / "b/other_run_results").mkdir()
    (tmp_path / f"b/samples_videomme_{DATE}.jsonl").write_text("")
    for place in (tmp_path / "a", path):
        with pytest.raises(UsageError) as caught:
            read_results(place)
        assert caught.value.code == reading.INVALID


def test_the_command_writes_scores_and_refuses_what_does_not_belong(tmp_path, capsys):
    path = vbench(tmp_path / "x.json")
    assert run("score", "--results", path, "-o", tmp_path / "out", "--results-version", "0.1.5", "--json") == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["name"] == "vbench.subject_consistency"
    made = read_scores(tmp_path / "out/scores.json")
    assert made.results[0].fingerprint["source_version"] == "0.1.5" and len(made.clips) == 60
    assert {file.name for file in (tmp_path / "out").iterdir()} >= {"scores.json", "report.md", "report.html"}
    assert run("score", "clips", "--results", path) == 2
    assert run("score", "--results-format", "vbench", "--metrics", "sharpness") == 2
    assert run("score", "--results", path, "-o", tmp_path / "out", "-q") == 2, "other settings"
    assert run("score", "--results", path, "-o", tmp_path / "new", "--dry-run") == 0
    assert not (tmp_path / "new").exists()
