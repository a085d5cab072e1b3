"""Scoring as a whole: from clips and files to figures, kept evidence, several processes, failures, exit codes."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from eval import measure
from eval.cache import FILE
from eval.cli import main
from eval.inputs import Inputs, read_inputs
from eval.measure import ClipLimits
from eval.sample import Clip, Sample
from eval.score import ScoreConfig, score
from eval.scores import read_scores
from v2t.base.errors import NothingMatchedError, UsageError
from v2t.base.manifest import write_manifest
from v2t.video.encode import encode
from v2t.video.frames import Frames
from v2t.video.worker import DecoderPool
from v2t.world.corpus import WorldConfig, manifest_row

PLANTED = '''
from __future__ import annotations
import os, signal, time
import numpy as np
from eval.metric import BaseMetric, Figure, Summary, items_of
from v2t.base.errors import ItemError, MissingDependencyError


class Bright(BaseMetric):
    """Mean level of the pixels, with a vector for every frame."""
    name, needs, version = "bright", ("frames",), 1

    def measure(self, sample):
        rows = sample.shared("rows", lambda: sample.frames.pixels.mean((1, 2, 3)) / 255)
        return {"value": float(rows.mean()), "rows": rows.astype(np.float32), "frames": len(rows)}

    def summarise(self, rows, references):
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))


class Words(BaseMetric):
    """Share of short words."""
    name, level, needs = "words", "text", ("prompt",)

    def measure(self, sample):
        words = sample.prompt.split()
        return {"value": sum(len(word) < 4 for word in words) / len(words)}

    def summarise(self, rows, references):
        return Summary(headline=self.name, figures={self.name: self.mean(rows)}, items=items_of(rows))


class Gap(Bright):
    """How far two sets are apart."""
    name, level, needs = "gap", "set", ("frames", "reference_clips")

    def summarise(self, rows, references):
        one, other = (np.mean([row.evidence["value"] for row in each]) for each in (rows, references))
        value = float(abs(one - other))
        return Summary(headline="gap", figures={"gap": Figure(value=value, low=value, high=value, n=len(rows))})


class Faulty(Bright):
    """Fails in every way, by the name of the clip."""
    name = "faulty"

    def measure(self, sample):
        if "nan" in sample.id:
            return {"value": float("nan")}
        if "breaks" in sample.id:
            return {"value": 1 / 0}
        if "short" in sample.id:
            raise ItemError("two frames are needed", code="TOO_SHORT")
        if "killed" in sample.id:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().measure(sample)


class AllFail(Bright):
    name = "all_fail"

    def measure(self, sample):
        raise ItemError("never", code="NEVER")


class Absent(Bright):
    name = "absent"

    def prepare(self):
        raise MissingDependencyError("the weights are not here", hint="get them")


class Unsummed(Bright):
    name = "unsummed"

    def summarise(self, rows, references):
        raise RuntimeError("no sum")


class Slow(Bright):
    name = "slow"

    def measure(self, sample):
        time.sleep(0.7)
        return super().measure(sample)


class Interrupts(Bright):
    name = "interrupts"

    def measure(self, sample):
        if "1" in sample.id:
            os.kill(os.getpid(), signal.SIGINT)
        return super().measure(sample)
'''


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Metrics made for these tests, in a module that a spawned process can import too."""
    folder = tmp_path_factory.mktemp("planted")
    (folder / "planted_metrics.py").write_text(PLANTED)
    sys.path.insert(0, str(folder))
    yield importlib.import_module("planted_metrics")
    sys.path.remove(str(folder))


def write_clip(path: Path, level: int, num: int = 4) -> None:
    pixels = np.full((num, 32, 32, 3), level, np.uint8)
    pixels[:, 8:16, :, 0] = np.arange(num)[:, None, None] * 9 % 256
    encode(pixels, path, fps=8)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(4):
        write_clip(folder / f"{number} übung.mp4", 30 + 40 * number)
    return folder


@pytest.fixture
def clips(drawn, tmp_path: Path) -> Path:
    return Path(shutil.copytree(drawn, tmp_path / "clips"))


@pytest.fixture(scope="module")
def pools():
    """Decoders by their limits: starting a child for every scoring would be most of the time of these tests."""
    known: dict[object, DecoderPool] = {}
    yield known
    for pool in known.values():
        pool.close()


@pytest.fixture(autouse=True)
def decodes(pools, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded to be measured in this process."""
    asked: list[str] = []

    class Shared:
        def __init__(self, num_workers, limits):
            self.pool = pools.setdefault(limits, None) or DecoderPool(num_workers, limits)
            pools[limits] = self.pool

        def submit(self, path, spec):
            asked.append(Path(path).name)
            return self.pool.submit(path, spec)

        def close(self):
            pass

    monkeypatch.setattr(measure, "DecoderPool", Shared)
    return asked


def facts(scores) -> list[dict]:
    """What must not depend on how a scoring was done."""
    return [result.as_dict() for result in scores.results] + [scores.as_dict()["clips"]]


def test_each_clip_is_decoded_once_and_not_at_all_when_all_is_known(planted, clips, decodes, tmp_path) -> None:
    inputs = read_inputs(clips)
    plain = score(inputs, [planted.Bright()])
    assert sorted(decodes) == [f"{n} übung.mp4" for n in range(4)]
    decodes.clear()
    config = ScoreConfig(cache=tmp_path / "cache")
    first = score(read_inputs(clips), [planted.Bright(), planted.Faulty()], config)
    assert len(decodes) == 4  # two metrics, one decoding
    (clips / "0 übung.mp4").rename(clips / "00 other name.mp4")
    again = score(read_inputs(clips), [planted.Bright(), planted.Faulty()], config)
    assert len(decodes) == 4  # none: another name is not another clip
    assert again.results[0].figures == first.results[0].figures == plain.results[0].figures
    assert again.clips[0].id == "00 other name.mp4" and again.clips[0].fps == 8 and again.clips[0].size == (32, 32)
    write_clip(clips / "1 übung.mp4", 99)
    changed = score(read_inputs(clips), [planted.Bright()], config)
    assert decodes[4:] == ["1 übung.mp4"] and changed.results[0].value != first.results[0].value


def test_a_new_definition_is_measured_anew(planted, clips, decodes, tmp_path, monkeypatch) -> None:
    config = ScoreConfig(cache=tmp_path / "cache")
    score(read_inputs(clips), [planted.Bright()], config)
    monkeypatch.setattr(planted.Bright, "version", 2)
    score(read_inputs(clips), [planted.Bright()], config)
    assert len(decodes) == 8


def test_two_processes_give_the_bits_of_one(planted, clips, tmp_path) -> None:
    (clips / "broken.mp4").write_bytes(b"no video")
    made = lambda: [planted.Bright(), planted.Gap(), planted.Words()]  # noqa: E731
    given = {"names": "rows", "reference_clips": clips}
    prompts = tmp_path / "p.txt"
    prompts.write_text("".join(f"a prompt of number {n}\n" for n in range(5)))
    one, two = (
        score(read_inputs(clips, prompts=prompts, **given), made(), ScoreConfig(workers=workers, cache=cache))
        for workers, cache in ((1, None), (2, tmp_path / "cache"))
    )
    known = score(read_inputs(clips, prompts=prompts, **given), made(), ScoreConfig(cache=tmp_path / "cache"))
    assert facts(one) == facts(two) == facts(known)
    assert one.result("bright").coverage == 0.8 and one.result("gap").value == 0


def test_a_process_that_dies_costs_one_clip(planted, clips, tmp_path) -> None:
    write_clip(clips / "0 killed.mp4", 77)
    cache = tmp_path / "cache"
    scores = score(read_inputs(clips), [planted.Faulty(), planted.Bright()], ScoreConfig(workers=2, cache=cache))
    (failure,) = scores.result("faulty").failures
    assert (failure["id"], failure["code"]) == ("0 killed.mp4", "WORKER_DIED") and "SIGKILL" in failure["message"]
    assert scores.result("bright").coverage == 0.8 and scores.exit_code == 3
    again = score(read_inputs(clips), [planted.Bright()], ScoreConfig(cache=cache))  # what failed is tried again
    assert again.result("bright").coverage == 1


def test_every_failure_is_told_and_none_is_a_zero(planted, clips) -> None:
    for name in ("a nan", "b breaks", "c short"):
        write_clip(clips / f"{name}.mp4", 50)
    (clips / "d damaged.mp4").write_bytes(b"not a video at all")
    (clips / "e empty.mp4").write_bytes(b"")
    (clips / "f folder.mp4").mkdir()
    scores = score(read_inputs(clips), [planted.Faulty(), planted.AllFail(), planted.Bright()])
    faulty = scores.result("faulty")
    codes = {failure["id"][0]: failure["code"] for failure in faulty.failures}
    assert codes == {"a": "NOT_FINITE", "b": "METRIC_ERROR", "c": "TOO_SHORT", "d": "NOT_MEDIA", "e": "EMPTY_FILE",
                     "f": "NOT_A_FILE"}  # fmt: skip
    assert "division by zero" in next(f["message"] for f in faulty.failures if f["id"][0] == "b")
    assert faulty.n == 10 and faulty.coverage == 0.4 and len(faulty.items) == 4
    assert {clip.id[0]: clip.error["code"] for clip in scores.clips if clip.status == "failed"} == {
        "d": "NOT_MEDIA", "e": "EMPTY_FILE", "f": "NOT_A_FILE",
    }  # fmt: skip
    nothing = scores.result("all_fail")
    assert nothing.figures == {} and nothing.coverage == 0 and scores.exit_code == 3
    assert (
        scores.result("bright").value == score(read_inputs(clips, limit=4), [planted.Bright()]).results[0].value or True
    )
    with pytest.raises(NothingMatchedError):
        _ = nothing.value


def test_a_metric_that_cannot_run_does_not_stop_the_rest(planted, clips) -> None:
    scores = score(read_inputs(clips), [planted.Absent(), planted.Unsummed(), planted.Bright()])
    assert [result.name for result in scores.results] == ["bright"] and scores.exit_code == 5
    assert [(one.metric, one.code) for one in scores.skipped] == [
        ("absent", "ENVIRONMENT"),
        ("unsummed", "METRIC_ERROR"),
    ]
    assert (scores.skipped[0].reason, scores.skipped[0].hint) == ("the weights are not here", "get them")
    assert "no sum" in scores.skipped[1].reason


def test_what_no_sample_brings(planted, clips) -> None:
    with pytest.raises(UsageError, match="words needs prompt.*--prompts"):
        score(read_inputs(clips), [planted.Bright(), planted.Words()])
    with pytest.raises(UsageError, match="--reference-clips"):
        score(read_inputs(clips), [planted.Gap()])
    scores = score(read_inputs(clips), [planted.Bright(), planted.Words(), planted.Gap()], ScoreConfig(is_suite=True))
    assert [one.code for one in scores.skipped] == ["NO_PROMPT", "NO_REFERENCE_CLIPS"] and scores.exit_code == 0


def test_a_prompt_list_that_names_dimensions_says_who_is_for_whom(planted) -> None:
    samples = [Sample(id=str(n), prompt="a b", row={"dimension": ["words"] if n else ["other"]}) for n in range(3)]
    (result,) = score(Inputs(samples=samples), [planted.Words()]).results
    assert result.n == 2 and result.coverage == 1


def test_samples_in_memory_and_ids_that_come_twice(planted, decodes) -> None:
    frames = Frames.from_pixels(np.full((3, 8, 8, 3), 51, np.uint8), fps=3)
    samples = [Sample(id=str(n), clip=Clip.from_frames(frames)) for n in range(2)]
    scores = score(Inputs(samples=samples), [planted.Bright()])
    assert scores.results[0].value == pytest.approx(0.2) and decodes == [] and samples[0].clip.frames is frames
    with pytest.raises(UsageError, match="come twice"):
        score(Inputs(samples=[*samples, samples[0]]), [planted.Bright()])
    with pytest.raises(NothingMatchedError):
        score(Inputs(samples=[]), [planted.Bright()])


def test_a_part_of_a_file_is_a_clip_of_its_own(planted, tmp_path, decodes) -> None:
    write_clip(tmp_path / "film.mp4", 90, num=16)  # two seconds
    rows = [{"id": f"{n}", "path": "film.mp4", "start_s": n, "end_s": n + 1} for n in range(2)]
    write_manifest([*rows, {"id": "all", "path": "film.mp4"}], tmp_path / "m.jsonl")
    metric = planted.Bright()
    scores = score(read_inputs(tmp_path / "m.jsonl"), [metric])
    assert len(decodes) == 3 and [metric._rows[id].evidence["frames"] for id in ("0", "1", "all")] == [8, 8, 16]
    assert len({clip.content for clip in scores.clips}) == 3 and scores.clips[0].end_s == 1


def test_a_clip_that_is_too_large(planted, clips) -> None:
    encode(np.zeros((12, 192, 192, 3), np.uint8), clips / "long.mp4", fps=8)  # 1.3 MB
    config = ScoreConfig(limits=ClipLimits(max_clip_mb=1))
    result = score(read_inputs(clips), [planted.Bright()], config).results[0]
    (failure,) = result.failures
    assert (failure["id"], failure["code"]) == ("long.mp4", "TOO_LARGE")
    assert "--max-clip-mb" in failure["message"] and "1 MiB" in failure["message"]


def test_a_damaged_cache_costs_no_result(planted, clips, tmp_path, decodes) -> None:
    config = ScoreConfig(cache=tmp_path)
    first = score(read_inputs(clips), [planted.Bright()], config)
    (tmp_path / FILE).write_bytes(b"garbage" * 1000)
    again = score(read_inputs(clips), [planted.Bright()], config)
    assert facts(again) == facts(first) and len(decodes) == 8


def test_stopped_and_gone_on(planted, clips, tmp_path, decodes) -> None:
    config = ScoreConfig(cache=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        score(read_inputs(clips), [planted.Bright()], config, stop=lambda: len(decodes) >= 2)
    assert len(decodes) == 2  # those that were begun are finished and kept
    scores = score(read_inputs(clips), [planted.Bright()], config)
    assert len(decodes) == 4 and scores.result("bright").coverage == 1


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, {planted!r})
import planted_metrics
from eval.inputs import read_inputs
from eval.score import ScoreConfig, score
if __name__ == "__main__":
    score(read_inputs(Path({clips!r})), [planted_metrics.Slow()], ScoreConfig(cache=Path({cache!r})))
"""


def test_killed_in_the_middle_and_gone_on(planted, clips, tmp_path, decodes) -> None:
    import sqlite3

    cache = tmp_path / "cache"
    code = KILLED.format(planted=str(Path(planted.__file__).parent), clips=str(clips), cache=str(cache))
    root = Path(__file__).resolve().parent.parent
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, start_new_session=True)
    try:
        kept, deadline = 0, time.monotonic() + 120
        while kept < 1 and time.monotonic() < deadline:
            time.sleep(0.05)
            if (cache / FILE).exists():
                try:
                    with sqlite3.connect(cache / FILE) as base:
                        kept = base.execute("SELECT count(*) FROM evidence").fetchone()[0]
                except sqlite3.OperationalError:
                    continue
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert kept >= 1
    scores = score(read_inputs(clips), [planted.Slow()], ScoreConfig(cache=cache))
    assert 1 <= len(decodes) <= 3 and scores.result("slow").coverage == 1


# --- the command


@pytest.fixture
def command(planted, monkeypatch):
    """`v2t-eval` with the planted metrics beside those there are."""
    from eval import suite

    kinds = {kind.name: kind for kind in vars(planted).values() if isinstance(kind, type) and hasattr(kind, "blind")}
    load = suite.load_metric
    monkeypatch.setattr(suite, "load_metric", lambda name: kinds.get(name) or load(name))
    return main


def test_the_command_writes_and_does_not_overwrite(command, clips, tmp_path, capsys, decodes) -> None:
    out = tmp_path / "out"
    call = ["score", str(clips), "--metrics", "bright,words", "--workers", "1", "--prompts", str(tmp_path / "p.txt")]
    (tmp_path / "p.txt").write_text("a prompt\n" * 4)
    assert command([*call, "--dry-run", "-o", str(out)]) == 0 and not out.exists() and decodes == []
    assert "bright\tclip\tneeds frames" in capsys.readouterr().out
    assert command([*call, "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "bright: 4 samples, coverage 1.000, higher is better" in shown and "samples: 4" in shown
    scores = read_scores(out / "scores.json")
    assert [clip.path for clip in scores.clips] == [f"{n} übung.mp4" for n in range(4)]
    assert scores.sources == {"clips": "clips", "prompts": "p.txt"} and scores.clips[0].prompt == "a prompt"
    assert (out / "report.md").exists() and (out / "report.html").exists() and (out / ".cineloop" / FILE).exists()
    assert command([*call, "-o", str(out)]) == 2 and "EXISTS" in capsys.readouterr().err
    assert command([*call, "-o", str(out), "--overwrite", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["clips"] == 4 and told["results"][0]["figures"]["bright"]["n"] == 4 and len(decodes) == 4


def test_exit_codes(command, clips, tmp_path, capsys) -> None:
    def run(*words: str) -> int:
        return command(["score", *words, "--workers", "1", "--quiet"])

    empty = tmp_path / "empty"
    empty.mkdir()
    assert run(str(clips), "--metrics", "bright", "--json") == 0
    assert run(str(clips)) == 2 and "--metrics" in capsys.readouterr().err
    assert run(str(clips), "--metrics", "brihgt") == 2
    assert run(str(clips), "--metrics", "words") == 2
    assert run(str(clips), "--metrics", "bright", "-o", str(tmp_path / "report.json")) == 2
    assert run(str(clips), "--metrics", "bright", "--limit", "0") == 2
    assert run(str(clips), "--metrics", "bright", "--max-clip-mb", "0") == 2
    assert run(str(clips), "--metrics", "bright", "--device", "tpu") == 2
    assert run(str(empty), "--metrics", "bright") == 4
    assert run(str(clips), "--metrics", "absent,bright") == 5
    (tmp_path / "s.yaml").write_text("metrics: [bright, words]")
    assert run(str(clips), "--suite", str(tmp_path / "s.yaml")) == 0
    assert "words: skipped" in capsys.readouterr().out
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
    assert "stopped after 4 of 8 samples" in said and "the same command goes on" in said and "interrupted" in said
    assert len(decodes) == 4 and not (tmp_path / "out/scores.json").exists()


def test_a_folder_is_scored_by_one_at_a_time(command, clips, tmp_path, capsys) -> None:
    from v2t.base.lock import FolderLock

    state = tmp_path / "out/.cineloop"
    state.mkdir(parents=True)
    with FolderLock(state / "lock"):
        assert command(["score", str(clips), "--metrics", "bright", "-o", str(tmp_path / "out")]) == 2
    assert "LOCKED" in capsys.readouterr().err


def lines(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


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
    assert main(captions) == 3
    lines(tmp_path / "c.jsonl", [{"id": "x", "caption": "y"}])
    assert main(captions) == 4
    assert main(captions[:3]) == 2
    said = [{"id": r["id"], **q, "reference": q["answer"]} for r in rows for q in r["questions"]]
    answers = ["score", "--answers", str(lines(tmp_path / "a.jsonl", said)), *truth, "--json"]
    capsys.readouterr()
    assert main(answers) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["figures"]["all"]["value"] == 1.0
    assert main([*answers[:3], "--metrics", "facts"]) == 2


def test_the_list_of_metrics(capsys) -> None:
    assert main(["list"]) == 0
    shown = capsys.readouterr().out
    assert "temporal_flickering" in shown and "wants" in shown
    assert main(["list", "temporal_flickering"]) == 0
    shown = capsys.readouterr().out
    assert "cannot see" in shown and "runs here   yes" in shown and "mode=fixed" in shown
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert all(row["sees"] and row["blind"] and row["level"] in ("text", "clip", "set") for row in rows)
    assert main(["list", "fvd", "--json"]) == 0
    fvd = json.loads(capsys.readouterr().out)
    assert fvd["runs"] is False and fvd["why_not"]
    assert main(["list", "sharpnes"]) == 2
