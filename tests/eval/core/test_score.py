"""Scoring as a whole: from clips to figures, kept evidence, several processes, failures."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import planted_metrics as planted
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.manifest import write_manifest
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from planted_metrics import write_clip
from v2t_eval.core.cache import FILE
from v2t_eval.core.inputs import Inputs, read_inputs
from v2t_eval.core.metric import BaseMetric, Figure, MetricResult, Summary
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import Scores
from v2t_eval.core.worker import ClipLimits

pytestmark = pytest.mark.usefixtures("decodes")


def facts(scores) -> list[dict]:
    """What must not depend on how a scoring was done."""
    return [result.as_dict() for result in scores.results] + [scores.as_dict()["clips"]]


@pytest.mark.slow
def test_the_callers_threads_are_given_back(clips) -> None:
    import cv2
    import torch

    seen = []

    class Threads(planted.Bright):
        def measure(self, sample):
            seen.append((torch.get_num_threads(), cv2.getNumThreads()))
            return super().measure(sample)

    before = torch.get_num_threads(), cv2.getNumThreads()
    try:
        torch.set_num_threads(3)
        cv2.setNumThreads(2)
        score(read_inputs(clips), [Threads()])
        assert set(seen) == {(1, 1)} and (torch.get_num_threads(), cv2.getNumThreads()) == (3, 2)
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def test_a_metric_that_declines_is_no_failure() -> None:
    def ended(*codes: str, figures: bool = True) -> int:
        figure = Figure(value=1.0, low=1.0, high=1.0, n=1)
        failures = [{"id": str(n), "code": code, "message": ""} for n, code in enumerate(codes)]
        result = MetricResult(
            name="m",
            headline="m",
            figures={"m": figure} if figures else {},
            n=4,
            coverage=0.5,
            fingerprint={},
            failures=failures,
        )
        return Scores(sources={}, clips=[], results=[result]).exit_code

    assert ended("UNREAD", "TOO_SHORT", "OUT_OF_DOMAIN") == 0
    assert ended("UNREAD", "TRUNCATED") == ended("NO_PROMPT") == ended("METRIC_ERROR") == 3
    assert ended("UNREAD", figures=False) == 3


def test_each_clip_is_decoded_once_and_not_at_all_when_all_is_known(clips, decodes, tmp_path) -> None:
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


def test_a_clip_with_several_prompts_is_decoded_once(clips, decodes) -> None:
    """Whatever stands between: metrics of the second prompt see the frames, and what was computed of them."""

    class Asked(planted.Bright):
        needs = ("frames", "prompt")
        made = 0

        def measure(self, sample):
            def make():
                Asked.made += 1
                return float(sample.frames.pixels.mean())

            return {"value": sample.once("mean", make) + len(sample.prompt)}

    first, second = (SampleClip(content="", path=clips / f"{n} übung.mp4") for n in (0, 1))
    order = [(first, "a"), (first, "bb"), (second, "a"), (first, "ccc"), (first, "a"), (second, "bb")]
    samples = [Sample(id=f"s{n}", clip=clip, prompt=prompt) for n, (clip, prompt) in enumerate(order)]
    found = score(Inputs(samples=samples), [Asked()])
    assert decodes == [f"{n} übung.mp4" for n in (0, 1, 0, 1)] and Asked.made == 4
    values = [item["value"] for item in found.results[0].items]
    apart = [Sample(id=f"s{n}", clip=SampleClip(content="", path=c.path), prompt=p) for n, (c, p) in enumerate(order)]
    assert values == [item["value"] for item in score(Inputs(samples=apart), [Asked()]).results[0].items]
    assert all(clip.num_frames for clip in found.clips) and first.frames is None and second.frames is None


def test_frames_that_a_clip_makes_itself_are_asked_for_when_it_is_measured_and_no_sooner() -> None:
    """A planted clip draws itself: ahead of its turn it would be drawn twice, or fail where nobody catches it."""
    order = []

    class Drawn(SampleClip):
        @property
        def frames(self):
            order.append(self.content)
            return Frames.from_pixels(np.full((3, 16, 16, 3), 9, np.uint8), 8)

        @frames.setter
        def frames(self, frames):
            assert frames is None and "frames" not in vars(self)

    class Seen(planted.Bright):
        def measure(self, sample):
            order.append(f"measured {sample.id}")
            return super().measure(sample)

    samples = [Sample(id=f"s{n}", clip=Drawn(content=f"c{n}")) for n in range(3)]
    score(Inputs(samples=samples), [Seen()])
    assert order[0] == "measured s0" and order.index("c1") > order.index("measured s1")


def test_a_new_definition_is_measured_anew(clips, decodes, tmp_path, monkeypatch) -> None:
    config = ScoreConfig(cache=tmp_path / "cache")
    score(read_inputs(clips), [planted.Bright()], config)
    monkeypatch.setattr(planted.Bright, "version", 2)
    score(read_inputs(clips), [planted.Bright()], config)
    assert len(decodes) == 8


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(clips, tmp_path) -> None:
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


@pytest.mark.slow
def test_a_process_that_dies_costs_one_clip(clips, tmp_path) -> None:
    write_clip(clips / "0 killed.mp4", 77)
    cache = tmp_path / "cache"
    scores = score(read_inputs(clips), [planted.Faulty(), planted.Bright()], ScoreConfig(workers=2, cache=cache))
    (failure,) = scores.result("faulty").failures
    assert (failure["id"], failure["code"]) == ("0 killed.mp4", "WORKER_DIED") and "SIGKILL" in failure["message"]
    assert scores.result("bright").coverage == 0.8 and scores.exit_code == 3
    again = score(read_inputs(clips), [planted.Bright()], ScoreConfig(cache=cache))  # what failed is tried again
    assert again.result("bright").coverage == 1


def test_every_failure_is_told_and_none_is_a_zero(clips) -> None:
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


def test_what_is_found_of_a_sample_lasts_and_what_broke_is_tried_again(clips, tmp_path, decodes) -> None:
    for name in ("a short", "b unasked", "c nan", "d breaks"):
        write_clip(clips / f"{name}.mp4", 50)
    config = ScoreConfig(cache=tmp_path / "cache")
    first, again = (score(read_inputs(clips), [planted.Faulty()], config) for _ in range(2))
    assert decodes[8:] == ["d breaks.mp4"] and facts(first) == facts(again)
    result = first.result("faulty")
    assert result.n == 7 and result.counts["nothing_asked"] == 1  # a sample that is no case is not expected to be one
    (only,) = (sample for sample in read_inputs(clips).samples if "unasked" in sample.id)
    (skipped,) = score(Inputs(samples=[only]), [planted.Faulty()]).skipped
    assert (skipped.code, skipped.reason) == ("NO_NOTHING_ASKED", "faulty applies to none of 1 samples")


def test_a_metric_that_cannot_run_does_not_stop_the_rest(clips) -> None:
    scores = score(read_inputs(clips), [planted.Absent(), planted.Unsummed(), planted.Bright()])
    assert [result.name for result in scores.results] == ["bright"] and scores.exit_code == 5
    assert [(one.metric, one.code) for one in scores.skipped] == [
        ("absent", "ENVIRONMENT"),
        ("unsummed", "METRIC_ERROR"),
    ]
    assert (scores.skipped[0].reason, scores.skipped[0].hint) == ("the weights are not here", "get them")
    assert "no sum" in scores.skipped[1].reason


def test_what_no_sample_brings(clips) -> None:
    with pytest.raises(UsageError, match="words needs prompt.*--prompts"):
        score(read_inputs(clips), [planted.Bright(), planted.Words()])
    with pytest.raises(UsageError, match="--reference-clips"):
        score(read_inputs(clips), [planted.Gap()])
    scores = score(read_inputs(clips), [planted.Bright(), planted.Words(), planted.Gap()], ScoreConfig(is_suite=True))
    assert [one.code for one in scores.skipped] == ["NO_PROMPT", "NO_REFERENCE_CLIPS"] and scores.exit_code == 0


def test_a_prompt_list_that_names_dimensions_says_who_is_for_whom() -> None:
    samples = [Sample(id=str(n), prompt="a b", row={"dimension": ["words"] if n else ["other"]}) for n in range(3)]
    (result,) = score(Inputs(samples=samples), [planted.Words()]).results
    assert result.n == 2 and result.coverage == 1


def test_samples_in_memory_and_ids_that_come_twice(decodes) -> None:
    frames = Frames.from_pixels(np.full((3, 8, 8, 3), 51, np.uint8), fps=3)
    samples = [Sample(id=str(n), clip=SampleClip.from_frames(frames)) for n in range(2)]
    scores = score(Inputs(samples=samples), [planted.Bright()])
    assert scores.results[0].value == pytest.approx(0.2) and decodes == [] and samples[0].clip.frames is frames
    with pytest.raises(UsageError, match="come twice"):
        score(Inputs(samples=[*samples, samples[0]]), [planted.Bright()])
    with pytest.raises(NothingMatchedError):
        score(Inputs(samples=[]), [planted.Bright()])


def test_a_part_of_a_file_is_a_clip_of_its_own(tmp_path, decodes) -> None:
    write_clip(tmp_path / "film.mp4", 90, num=16)  # two seconds
    rows = [{"id": f"{n}", "path": "film.mp4", "start_s": n, "end_s": n + 1} for n in range(2)]
    write_manifest([*rows, {"id": "all", "path": "film.mp4"}], tmp_path / "m.jsonl")
    metric = planted.Bright()
    scores = score(read_inputs(tmp_path / "m.jsonl"), [metric])
    assert len(decodes) == 3 and [metric._rows[id].evidence["frames"] for id in ("0", "1", "all")] == [8, 8, 16]
    assert len({clip.content for clip in scores.clips}) == 3 and scores.clips[0].end_s == 1


@pytest.mark.slow
def test_a_clip_that_is_too_large(clips) -> None:
    encode(np.zeros((12, 192, 192, 3), np.uint8), clips / "long.mp4", fps=8)  # 1.3 MB
    config = ScoreConfig(limits=ClipLimits(max_clip_mb=1))
    result = score(read_inputs(clips), [planted.Bright()], config).results[0]
    (failure,) = result.failures
    assert (failure["id"], failure["code"]) == ("long.mp4", "TOO_LARGE")
    assert "--max-clip-mb" in failure["message"] and "1 MiB" in failure["message"]


def test_a_damaged_cache_costs_no_result(clips, tmp_path, decodes) -> None:
    config = ScoreConfig(cache=tmp_path)
    first = score(read_inputs(clips), [planted.Bright()], config)
    (tmp_path / FILE).write_bytes(b"garbage" * 1000)
    again = score(read_inputs(clips), [planted.Bright()], config)
    assert facts(again) == facts(first) and len(decodes) == 8
    with sqlite3.connect(tmp_path / FILE) as base:  # one entry whose bytes changed
        base.execute("UPDATE evidence SET data = substr(data, 1, length(data) - 1) WHERE length(data) > 60")
    assert facts(score(read_inputs(clips), [planted.Bright()], config)) == facts(first) and len(decodes) == 12


def test_stopped_and_gone_on(clips, tmp_path, decodes) -> None:
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
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.score import ScoreConfig, score
if __name__ == "__main__":
    score(read_inputs(Path({clips!r})), [planted_metrics.Slow()], ScoreConfig(cache=Path({cache!r})))
"""


@pytest.mark.slow
def test_killed_in_the_middle_and_gone_on(clips, tmp_path, decodes) -> None:
    cache = tmp_path / "cache"
    code = KILLED.format(planted=str(Path(planted.__file__).parent), clips=str(clips), cache=str(cache))
    root = Path(__file__).resolve().parents[3]
    env = os.environ | {"SLOW_S": "5"}
    process = subprocess.Popen([sys.executable, "-c", code], cwd=root, start_new_session=True, env=env)
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


def test_a_rank_of_one_clip_alone_is_nothing_to_measure_in_a_suite() -> None:
    inputs = Inputs(samples=[Sample(id="a", row={"id": "a"})])
    for is_suite, code in ((True, 0), (False, 3)):
        scores = score(inputs, [_NoFigure()], ScoreConfig(is_suite=is_suite))
        assert scores.exit_code == code
        assert [one.code for one in scores.skipped] == (["NO_FIGURE"] if is_suite else [])
    deciding = score(inputs, [_NoFigure()], ScoreConfig(is_suite=True, decides=("no_figure",)))
    assert deciding.exit_code == 3 and deciding.by_name["no_figure"].figures == {}


class _NoFigure(BaseMetric):
    name = "no_figure"
    level = "text"

    def measure(self, sample):
        return {}

    def summarise(self, rows, references):
        return Summary(headline="rank", figures={}, scored=0)
