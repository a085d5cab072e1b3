"""A fingerprint is name, version, settings and model content. So a comment voids no baseline and no kept evidence, and
whoever changes what a metric gives has to raise its version: `metric_versions.json` holds the values of each version.
`python tests/eval/test_metric_versions.py` prints that file as the code would have it."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cineloop.audio.track import Sound
from cineloop.video.frames import Frames
from cineloop.world.referee.read import read_back
from v2t_eval.audit.clips import PLANTED_VERSION, LazyClip, WorldAuditClip
from v2t_eval.core.features import BaseExtractor
from v2t_eval.core.metric import BaseMetric, load_metric, metric_names
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.judge.grammar.wording import of_text
from v2t_eval.semantics import VERSION as PROMPTS_VERSION
from v2t_eval.semantics.detectors.world import VERSION as REFEREE_VERSION

FILE = Path(__file__).parent / "metric_versions.json"
PROMPTS = (
    "A red ball rolls to the right on the beach.",
    "Two blue cats jump in the city.",
    "a green car left of a dog",
)
SAID = ("a red ball rolls to the left on the beach", "blue cats jump", "a green car and a dog stand in a street")
NUM = 6


class Levels(BaseExtractor):
    """Mean level of each colour: a model whose weights nobody retrains."""

    def load(self) -> None: ...

    def _embed(self, pixels: np.ndarray) -> Any:
        return torch.from_numpy(pixels.mean((1, 2), dtype=np.float32) / 50)  # (n, 3)

    def describe(self) -> dict[str, str]:
        return {"model": "levels"}


def moving(seed: int, num: int = 12) -> Frames:
    """A noisy square that travels over a grey ramp: nothing of the cartoon world, so that its artists are free."""
    draws = np.random.default_rng(seed)
    pixels = np.tile(np.linspace(60, 180, 48)[None, None, :, None], (num, 48, 1, 3)) + draws.normal(0, 3, (48, 48, 3))
    for t in range(num):
        x = 4 + (2 + seed % 2) * t
        pixels[t, 14:26, x : x + 12] = draws.integers(0, 256, 3)
    return Frames.from_pixels(np.clip(pixels, 0, 255).astype(np.uint8), 8)


def texts() -> list[Sample]:
    pairs = zip(SAID, PROMPTS, strict=True)
    return [Sample(id=f"t{n}", caption=said, references=(true,), prompt=true) for n, (said, true) in enumerate(pairs)]


def paired() -> list[Sample]:
    return [
        Sample(
            id=f"q{n}", clip=SampleClip.from_frames(moving(n)), reference_video=SampleClip.from_frames(moving(n + NUM))
        )
        for n in range(2)
    ]


def heard() -> list[Sample]:
    """Noise that is loud, cut off, and silent for a while."""
    made = []
    for n, level in enumerate((0.05, 0.9)):
        samples = np.clip(np.random.default_rng(n).normal(0, level, 24_000), -1, 1).astype(np.float32)
        samples[: 4000 * n] = 0
        sound = Sound(samples=samples, rate=16_000, start_s=0.0, is_last=True)
        made.append(Sample(id=f"s{n}", clip=SampleClip(content=f"s{n}", sound=sound)))
    return made


def rows(*given: dict[str, Any]) -> list[Sample]:
    return [Sample(id=f"r{number}", row=row) for number, row in enumerate(given)]


def moving_samples(first: int = 0) -> list[Sample]:
    made = [
        Sample(id=f"c{n}", clip=SampleClip.from_frames(moving(n)), prompt=f"p{n}") for n in range(first, first + NUM)
    ]
    return made


def answered(kind: str, answer: Any, reference: Any, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "question": "?", "answer": answer, "reference": reference, **more}


def events(*said: str) -> list[dict[str, Any]]:
    return [{"start_s": 2.0 * n, "end_s": 2.0 * n + 2, "caption": text} for n, text in enumerate(said)]


STAR: dict[str, Any] = {
    "duration_s": 4.51,
    "style": "flat",
    "relations": [],
    "shots": [{"start_s": 0.0, "end_s": 4.51, "place": "forest", "camera": "static"}],
    "actors": [{"kind": "star", "color": "green", "size": "small", "count": 1, "shot": 0}],
    "events": [
        {
            "actor": 0,
            "action": "slide",
            "direction": "left",
            "speed": "slow",
            "target": None,
            "to_color": None,
            "start_s": 0.17,
            "end_s": 2.57,
            "shot": 0,
        },
        {
            "actor": 0,
            "action": "stop",
            "direction": None,
            "speed": None,
            "target": None,
            "to_color": None,
            "start_s": 2.67,
            "end_s": 4.46,
            "shot": 0,
        },
    ],
}
CAPTIONS = ("A small green star in the forest slides from right to left and stops.", "A red star in the city stops.")
CHOICES = ["red", "blue", "green"]
GIVEN: dict[str, Any] = {
    **dict.fromkeys(("bleu", "rouge_l", "cider", "distinct_n"), texts),
    **dict.fromkeys(
        ("temporal_flickering", "motion_smoothness", "dynamic_degree", "ssim_consistency", "sharpness", "motion"),
        moving_samples,
    ),
    "warping_error": moving_samples,
    "camera_motion": lambda: [replace(one, row={"camera": "static"}) for one in moving_samples()],
    "first_frame_fidelity": lambda: [
        replace(a, first_frame=b.clip) for a, b in zip(moving_samples(), moving_samples(1), strict=True)
    ],
    **dict.fromkeys(("prompt_facts", "caption_questions"), texts),
    **dict.fromkeys(("psnr", "ssim", "vif"), paired),
    **dict.fromkeys(("silence", "clipping", "loudness"), heard),
    **dict.fromkeys(("structure_distance", "pixel_distance", "flow_distance", "temporal_distance"), paired),
    "answers": lambda: rows(
        answered("color", "red", "red"), answered("color", "red", "blue"), answered("count", None, "two"),
        answered("yesno-color", "yes", "yes"), answered("yesno-color", "maybe", "no"),
    ),
    "multiple_choice": lambda: rows(
        {"choices": CHOICES, "answer": "B", "reference": "blue"},
        {"choices": CHOICES, "answer": "hm", "reference": "B"},
        {"choices": CHOICES, "answer": "(C) green", "reference": "B"},
    ),
    "spans": lambda: rows(
        {"spans": [[0, 2]], "reference_spans": [[1, 2]], "question": "when"},
        {"spans": [[0, 4]], "reference_spans": [[1, 2]], "question": "when"},
        {"reference_spans": [[1, 2]], "question": "when"},
    ),
    "squad": lambda: rows(
        {"answer": "the Red car", "answers": ["a red car"]}, {"answer": "a blue car", "answers": ["red car", "bus"]}
    ),
    **dict.fromkeys(("frechet", "kernel_distance"), moving_samples),
    "facts": lambda: [
        Sample(id=f"f{n}", caption=text, row={"facts": STAR, "style": "short"}) for n, text in enumerate(CAPTIONS)
    ],
    "event_f1": lambda: [
        Sample(id=f"e{n}", caption=text, references=(CAPTIONS[0],)) for n, text in enumerate(CAPTIONS)
    ],
    "highlights": lambda: rows(
        {"saliency": [0.1, 0.9, 0.3, 0.2], "relevance": [0, 4, 1, 0]}, {"saliency": [3, 1, 2], "relevance": [0, 4, 4]}
    ),
    "dense_captions": lambda: rows(
        {"events": events("a dog runs", "a cat"), "reference_events": events("a dog runs", "a cat sleeps")},
        {"events": events("fog"), "reference_events": events("a bird flies", "a bird lands")},
    ),
}  # fmt: skip
SETTINGS = {
    "dense_captions": {"similarity": "token_f1"},
    "event_f1": {"judge": "world"},
}


@cache
def found() -> dict[str, dict[str, float]]:
    """What this code gives, by definition."""
    made = {}
    for name, given in GIVEN.items():
        metric: BaseMetric = load_metric(name)(**SETTINGS.get(name, {}))
        if name == "first_frame_fidelity":
            metric.extractor = Levels("levels", device="cpu", preprocess="pil")  # type: ignore[attr-defined]
        if "reference_clips" in metric.needs:
            metric.open = lambda: Levels("levels", device="cpu", preprocess="pil")  # type: ignore[attr-defined]
            metric.update(moving_samples(NUM), reference=True)
        metric.prepare()
        metric.update(given())
        result = metric.compute()
        values = {key: round(figure.value, 6) for key, figure in result.figures.items() if key != "floor"}
        made[result.fingerprint["definition"]] = values
    return made


def asked() -> list[str]:
    """What prompts ask for."""
    return [f"{one.question} {one.answer}" for text in PROMPTS for one in of_text(text, closed=False)]


def referee() -> list[str]:
    """What the referee reads of a drawn clip."""
    shown = LazyClip(WorldAuditClip(world="solo", seed=3, index=1)).frames
    figure = read_back(shown.pixels, shown.times_s).figures[0]
    return [f"{name} {getattr(figure, name)}" for name in ("kind", "color", "size", "motion")]


def planted() -> list[float]:
    """Spread of a drawn clip and of one with a fault."""
    both = [
        LazyClip(WorldAuditClip(world="solo", seed=3, index=1), fault, 2 * bool(fault)).frames for fault in ("", "blur")
    ]
    return [round(float(shown.pixels.std()), 2) for shown in both]


SHARED = {
    "prompts": (PROMPTS_VERSION, asked),
    "referee": (REFEREE_VERSION, referee),
    "planted": (PLANTED_VERSION, planted),
}


def pinned() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("name", GIVEN)
def test_values_are_those_of_the_version(name: str) -> None:
    version = next(one for one in found() if one.startswith(f"{name}/"))
    known = pinned()["metrics"]
    assert version in known, f"{version} has no known values: add them to {FILE.name}"
    assert found()[version] == pytest.approx(known[version], rel=1e-5, abs=2e-4), (
        f"raise `version` of {name}, then {FILE.name}"
    )


@pytest.mark.parametrize("name", SHARED)
def test_shared_parts_are_those_of_their_version(name: str) -> None:
    version, make = SHARED[name]
    known = pinned()[name]
    assert str(version) in known, f"version {version} of {name} is not in {FILE.name}"
    assert (
        make() == pytest.approx(known[str(version)], abs=0.05) if name == "planted" else make() == known[str(version)]
    )


def test_a_broad_sample_is_pinned() -> None:
    assert len(GIVEN) > len(metric_names()) / 3


# What is not part of a fingerprint


def test_a_comment_changes_no_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = (
        '"""{says}"""\nfrom v2t_eval.core.metric import BaseMetric\nclass Metric(BaseMetric):\n    name = "scratch"\n'
        "    version = 3\n    def measure(self, sample): return {{}}\n    def summarise(self, rows, references): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    prints = []
    for says in ("grey", "gray"):
        (tmp_path / "scratch_metric.py").write_text(source.format(says=says))
        sys.modules.pop("scratch_metric", None)
        importlib.invalidate_caches()
        made = importlib.import_module("scratch_metric").Metric()
        prints.append((made.fingerprint(), made.evidence_fingerprint()))
    assert prints[0] == prints[1] and prints[0][0]["definition"] == "scratch/3"


@pytest.mark.parametrize("name", ["sharpness", "clipsim", "facts", "motion_smoothness", "frechet", "vqascore", "color"])
def test_neither_source_nor_python_is_in_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    metric: BaseMetric = load_metric(name)()
    before = metric.fingerprint()
    monkeypatch.setattr("platform.python_version", lambda: "3.99.9")
    real = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: real(path) + b"#" if path.suffix == ".py" else real(path))
    assert metric.fingerprint() == before
    assert not {"source", "python"} & set(before)


def test_a_raised_version_changes_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    metric: BaseMetric = load_metric("vqascore")()
    kept = load_metric("sharpness")().evidence_fingerprint()
    before = metric.fingerprint()["definition"]
    monkeypatch.setattr(type(metric), "shared_version", 7)
    assert metric.fingerprint()["definition"] == f"{before.partition('.')[0]}.7"
    monkeypatch.setattr(load_metric("sharpness"), "version", 9)
    assert load_metric("sharpness")().evidence_fingerprint() != kept


if __name__ == "__main__":
    shared = {name: {str(version): make()} for name, (version, make) in SHARED.items()}
    print(json.dumps({"metrics": found(), **shared}, indent=1))
