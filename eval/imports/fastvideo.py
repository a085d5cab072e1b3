"""FastVideo: what its similarity and performance tests write, one file a clip or a benchmark; a file, or their folder.

In: `*_ssim.json` (mean_ssim, min_ssim, max_ssim, reference_video, generated_video, parameters), `*_latent.json`
(metrics, model_id, attention_backend, slice_spec, parameters), `perf_*.json` (benchmark_id, individual_times_s,
avg_generation_time_s, max_peak_memory_mb ...). Out: metrics `fastvideo.ssim`, `fastvideo.min_ssim`, `fastvideo.NAME`
of latents, with a value for each clip; `fastvideo.NAME.generation_time_s` and others of the set. Runs of a benchmark
are repeated measurements: they give its time an interval, and are not paired. The identity of a benchmark that
FastVideo compares by (workload, variant, version, recipe, hardware, software) decides here too.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.errors import UsageError
from cineloop.log import printable
from v2t_eval.core.scores import ItemScores
from v2t_eval.imports.figures import ForeignMetric, Value, number_of, text_of
from v2t_eval.imports.reading import INVALID, ForeignResults

_IDENTITY = ("result_schema_version", "workload_id", "variant_id", "benchmark_version", "recipe_fingerprint",
             "hardware_profile_id", "software_profile_id", "device", "num_gpus", "model_short_name")  # fmt: skip
_SSIM = {"ssim": "mean_ssim", "min_ssim": "min_ssim"}
# Of a benchmark: its name here, the key there, and whether more is better.
_FIGURES = (("throughput_fps", "throughput_fps", True), ("peak_memory_mb", "max_peak_memory_mb", False),
            ("text_encoder_time_s", "text_encoder_time_s", False), ("dit_time_s", "dit_time_s", False),
            ("vae_decode_time_s", "vae_decode_time_s", False))  # fmt: skip


class Format:
    """See the module."""

    tool = "FastVideo"
    patterns = ("*_ssim.json", "*_latent.json", "perf_*.json")

    def matches(self, tree: Any) -> bool:
        return isinstance(tree, dict) and any(map(lambda kind: kind(tree), (_is_ssim, _is_latent, _is_benchmark)))

    def read(self, documents: Sequence[tuple[Path, Any]]) -> ForeignResults:
        values, clips = defaultdict[str, list[Value]](list), dict[str, ItemScores]()
        settings = defaultdict[str, dict[str, set[str]]](lambda: defaultdict(set))
        readings, benchmarks = list[ForeignMetric](), set[str]()
        commits = set[str]()
        folder = os.path.commonpath([path.parent.absolute() for path, _ in documents]) if documents else ""
        for path, tree in documents:
            if _is_benchmark(tree):
                name = text_of(tree["benchmark_id"])
                if name in benchmarks:
                    raise UsageError(
                        f"{printable(path.name)}: a second result of the benchmark {name}", code=INVALID,
                        hint="name the file that is meant",
                    )  # fmt: skip
                benchmarks.add(name)
                readings += _of_benchmark(tree, name)
                commits |= {text_of(tree["commit"])} if tree.get("commit") else set()
                continue
            clip = _clip(path, tree, folder)
            if clip.id in clips:
                raise UsageError(f"{printable(path.name)}: two files are of the clip {clip.id}", code=INVALID)
            clips[clip.id] = clip
            for name, value in _of_clip(tree).items():
                values[name].append(Value(id=clip.id, value=number_of(value), cluster=clip.cluster))
                for key, setting in _settings(tree).items():
                    settings[name][key].add(text_of(setting))
        for name, each in values.items():
            stated = {key: ", ".join(sorted(seen)) for key, seen in settings[name].items()}
            readings.append(
                ForeignMetric(
                    name=f"fastvideo.{name}", values=each, value_range=(0.0, 1.0) if name in _SSIM else (-1.0, 1.0),
                    fingerprint={"definition": f"fastvideo.{name}", "source": "FastVideo", **stated},
                )
            )  # fmt: skip
        environment = {"source commit": ", ".join(sorted(commits))} if commits else {}
        return ForeignResults(readings, clips.values(), environment)


def _is_ssim(tree: dict[str, Any]) -> bool:
    return "mean_ssim" in tree and "min_ssim" in tree and isinstance(tree.get("generated_video"), str)


def _is_latent(tree: dict[str, Any]) -> bool:
    return isinstance(tree.get("metrics"), dict) and isinstance(tree.get("generated_latent"), str)


def _is_benchmark(tree: dict[str, Any]) -> bool:
    return isinstance(tree.get("benchmark_id"), str) and "avg_generation_time_s" in tree


def _clip(path: Path, tree: dict[str, Any], folder: str) -> ItemScores:
    """Its id is the name of its file, which FastVideo makes of steps and prompt, with the folders below the one that
    all share: those of models and backends."""
    parameters = tree.get("parameters")
    prompt = parameters.get("prompt") if isinstance(parameters, dict) else None
    name = path.absolute().relative_to(folder).as_posix().removesuffix(".json")
    id = text_of(name.removesuffix("_ssim").removesuffix("_latent"))
    text = text_of(prompt) if isinstance(prompt, str) else None
    return ItemScores(id=id, cluster=text or id, prompt=text)


def _of_clip(tree: dict[str, Any]) -> dict[str, Any]:
    if _is_ssim(tree):
        return {name: tree[key] for name, key in _SSIM.items()}
    return {text_of(name): value for name, value in tree["metrics"].items() if number_of(value) is not None}


def _settings(tree: dict[str, Any]) -> dict[str, Any]:
    parameters = tree.get("parameters") if isinstance(tree.get("parameters"), dict) else {}
    kept = {"steps": (parameters or {}).get("num_inference_steps")}
    kept |= {key: tree[key] for key in ("model_id", "attention_backend", "slice_spec") if key in tree}
    return kept


def _of_benchmark(tree: dict[str, Any], benchmark: str) -> list[ForeignMetric]:
    stated = {key: text_of(tree[key]) for key in _IDENTITY if tree.get(key) is not None}
    times = tree.get("individual_times_s")
    times = times if isinstance(times, list) else []
    runs = [
        Value(id=f"{benchmark}/run-{number}", value=number_of(value), cluster=f"{benchmark}/run-{number}")
        for number, value in enumerate(times, 1)
    ]
    made = [("generation_time_s", number_of(tree["avg_generation_time_s"]), runs, False)]
    made += [(name, number_of(tree.get(key)), [], higher) for name, key, higher in _FIGURES]
    return [
        ForeignMetric(
            name=f"fastvideo.{benchmark}.{name}", figure=figure, values=values, n=len(times), higher_is_better=higher,
            value_range=(0.0, float("inf")), spread_only=True,
            fingerprint={"definition": f"fastvideo.benchmark.{name}", "source": "FastVideo", **stated},
        )
        for name, figure, values, higher in made
        if figure is not None
    ]  # fmt: skip
