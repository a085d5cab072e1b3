"""Result files in the layouts of VBench, lmms-eval and FastVideo, with numbers made up here."""

from __future__ import annotations

import json
import random
from pathlib import Path

DATE = "20260102_030405"


def vbench(path: Path, *, shift=0.0, prompts=60, seeds=1, folder="/data/a", seed=0, change=None) -> Path:
    """A `*_eval_results.json` of four dimensions: means, a mean over frames, percent of a share, yes and no.
    `change`: from the tree to the one that is written."""
    own = random.Random(seed)
    names = [f"{folder}/prompt number {p}-{s}.mp4" for p in range(prompts) for s in range(seeds)]
    world = random.Random(7)
    base = {name.rsplit("/", 1)[1]: world.uniform(0.85, 0.99) for name in names}

    def rows(make):
        return [{"video_path": name, "video_results": make(base[name.rsplit("/", 1)[1]])} for name in names]

    plain = rows(lambda x: x - shift + own.uniform(-0.002, 0.002))
    frames = rows(lambda x: x - 0.1)
    percent = rows(lambda x: 100 * (x - 0.3))
    moves = rows(lambda x: x > 0.9)
    tree = {
        "subject_consistency": [mean(plain), plain],
        "object_class": [mean(frames) - 0.01, [{**row, "frame_results": [1, 0], "success_frame_count": 1,
                                                "frame_count": 2} for row in frames]],
        "imaging_quality": [mean(percent) / 100, percent],
        "dynamic_degree": [mean(moves), moves],
    }  # fmt: skip
    tree = change(tree) or tree if change else tree
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree))
    return path


def mean(rows) -> float:
    return sum(row["video_results"] for row in rows) / len(rows)


def lmms_eval(
    folder: Path, *, right=70, num=100, samples=True, filters=("none",), date=DATE, task="videomme", version=1, **more
):
    """DATE_results.json, and the samples beside it: `right` of `num` questions are answered well."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"alias": task}
    for name in filters:
        figures |= {f"score,{name}": right / num * 100, f"score_stderr,{name}": "N/A",
                    f"exact_match,{name}": right / num, f"exact_match_stderr,{name}": 0.04,
                    f"exact_match_stderr_clt,{name}": 0.041}  # fmt: skip
    tree = {
        "results": {task: figures}, "group_subtasks": {task: []},
        "configs": {task: {"task": task, "score_key": "score", "cluster_key": "videoID"}},
        "versions": {task: version}, "n-shot": {task: 0},
        "higher_is_better": {task: {"score": True, "exact_match": True}},
        "n-samples": {task: {"original": num, "effective": num}},
        "config": {"model": "tiny"}, "git_hash": "abc123", "lmms_eval_version": "0.5.0", "date": date,
        "model_name": "org/tiny", **more,
    }  # fmt: skip
    path = folder / f"{date}_results.json"
    path.write_text(json.dumps(tree, indent=2))
    lines = [
        {"doc_id": n, "target": "A", "filtered_resps": ["A"], "doc_hash": f"h{n}", "input": f"question {n}?",
         "score": {"videoID": f"v{n // 4}", "score": int(n < right)}, "exact_match": float(n < right)}
        for _ in filters for n in range(num)
    ]  # fmt: skip
    if samples:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{date}_samples_{task}.jsonl").write_text(text)
    return path


def fastvideo_ssim(folder: Path, *, shift=0.0, prompts=40, model="Wan2.1/FLASH_ATTN") -> Path:
    """A `*_ssim.json` for each prompt."""
    world = random.Random(3)
    place = folder / model
    place.mkdir(parents=True, exist_ok=True)
    for n in range(prompts):
        prompt, value = f"prompt {n}", world.uniform(0.93, 0.99) - shift
        ssim = {"mean_ssim": value, "min_ssim": value - 0.05, "max_ssim": value + 0.005}
        videos = {"reference_video": f"ref/{n}.mp4", "generated_video": f"gen/{n}.mp4"}
        tree = {**ssim, **videos, "parameters": {"num_inference_steps": 4, "prompt": prompt}}
        (place / f"steps4_{prompt}_ssim.json").write_text(json.dumps(tree, indent=2))
    return folder


def fastvideo_benchmark(path: Path, *, seconds=10.0, runs=8, device="NVIDIA L40S", **more) -> Path:
    """A `perf_*.json`."""
    own = random.Random(5)
    times = [round(seconds * own.uniform(0.99, 1.01), 3) for _ in range(runs)]
    tree = {"benchmark_id": "wan-t2v", "model_short_name": "wan", "device": device, "num_gpus": 1, "num_warmup_runs": 1,
            "num_measurement_runs": runs, "avg_generation_time_s": round(sum(times) / runs, 3),
            "individual_times_s": times, "throughput_fps": round(81 / seconds, 3), "max_peak_memory_mb": 20_000.0,
            "individual_peak_memories_mb": [20_000.0] * runs, "thresholds": {}, "regression_thresholds": {},
            "commit": "abc", "timestamp": "2026-01-02T03:04:05+00:00", "text_encoder_time_s": None, "dit_time_s": 8.0,
            "vae_decode_time_s": None, **more}  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(tree, indent=2))
    return path
