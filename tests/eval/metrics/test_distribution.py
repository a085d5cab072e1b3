"""Metrics of two sets of clips: what a result carries, what it refuses, and that order and shards do not count."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cineloop.errors import ItemError, MissingDependencyError, NothingMatchedError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.core.features import BaseExtractor
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import BaseMetric, load_metric
from v2t_eval.core.models import file_sha256
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.distribution import detectors
from v2t_eval.distribution.frechet import frechet
from v2t_eval.distribution.kernels import QUADRATIC, mmd

BY_FEATURE = ("frechet", "kernel_distance", "jedi")
ALL = (*BY_FEATURE, "fvd", "kvd", "fid", "kid", "inception_score")


class Toy(BaseExtractor):
    """Six numbers of a frame: mean and deviation of each colour."""

    def load(self) -> None:
        pass

    def _embed(self, pixels: np.ndarray) -> Any:
        import torch

        values = torch.from_numpy(pixels.astype(np.float32))  # (n, H, W, 3)
        return torch.cat([values.mean((1, 2)), values.std((1, 2))], 1) / 50  # (n, 6)

    def describe(self) -> dict[str, str]:
        return {"model": "toy"}


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """`feature=toy` opens the toy; other names open what they name."""
    made, real = Toy("toy", device="cpu", preprocess="pil"), detectors.open_extractor

    def open_extractor(name: str, preprocess: str = "") -> BaseExtractor:
        return made if name == "toy" else real(name, device="cpu", preprocess=preprocess)

    monkeypatch.setattr(detectors, "open_extractor", open_extractor)


def drawn_frames(seed: int, num_frames: int = 16, brightness: float = 0.0) -> Frames:
    draws = np.random.default_rng(seed)
    base = draws.normal(120, 25, size=3) + brightness
    pixels = base + draws.normal(0, draws.uniform(5, 30), size=(num_frames, 12, 12, 3))
    return Frames.from_pixels(np.clip(pixels, 0, 255).astype(np.uint8), fps=8)


def samples(num: int, seed: int, **about: Any) -> list[Sample]:
    return [
        Sample(id=f"s{number:04}", clip=SampleClip.from_frames(drawn_frames(1000 * seed + number, **about)))
        for number in range(num)
    ]


def rows(features: np.ndarray, name: str = "r") -> list[Observation]:
    named = {f"{name}{number:04}": row.astype(np.float32) for number, row in enumerate(features)}
    return [Observation(id=id, cluster=id, evidence={"features": row}) for id, row in named.items()]


def filled(metric: BaseMetric, own: list[Observation], reference: list[Observation]) -> BaseMetric:
    for row in own:
        metric.add(row)
    for row in reference:
        metric.add(row, reference=True)
    return metric


def normal(num: int, dimension: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num, dimension)).astype(np.float32) + np.float32(shift)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """TorchScript files with the arguments of the true I3D and Inception, and next to nothing inside."""
    import torch

    class I3D(torch.nn.Module):
        def forward(
            self, x: torch.Tensor, rescale: bool = True, resize: bool = True, return_features: bool = False
        ) -> torch.Tensor:
            x = x / 255 if rescale else x
            return torch.cat([x.mean((2, 3, 4)), x[:, :, 0].mean((2, 3)), x.std(dim=(2, 3, 4))], 1)  # (1, 9)

    class Inception(torch.nn.Module):
        def forward(self, x: torch.Tensor, return_features: bool = False, no_output_bias: bool = False) -> torch.Tensor:
            made = torch.cat([x.mean((2, 3)), x.std(dim=(2, 3))], 1) / 50
            return made if return_features else made.softmax(1)  # (n, 6)

    folder = tmp_path_factory.mktemp("scripts")
    found = {}
    for name, module in (("i3d", I3D()), ("inception", Inception())):
        torch.jit.script(module).save(str(folder / f"{name}.pt"))
        found[name] = f"{folder / name}.pt#{file_sha256(folder / f'{name}.pt')}"
    return found


# What a result carries


def test_frechet_carries_all_that_a_reader_must_know() -> None:
    own, reference = normal(600, 24, 1, 0.2), normal(700, 24, 2)
    result = filled(load_metric("frechet")(feature="toy"), rows(own), rows(reference)).compute()
    assert result.name == "frechet[feature=toy]" and result.headline == "frechet"
    assert result.value == pytest.approx(frechet(own, reference), rel=1e-9)
    assert result.figures["kernel"].value == pytest.approx(mmd(own, reference), rel=1e-9)
    main, far, floor = (result.figures[name] for name in ("frechet", "fd_infinity", "floor"))
    assert main.low < main.value < main.high and main.n == 600
    assert far.low < far.value < far.high and far.value < main.value - 0.2  # 0.37 of it is the bias of so few
    assert floor.n == 350 and floor.low <= floor.value <= floor.high < main.value
    assert result.counts["vectors"] == 600 and result.counts["reference_vectors"] == 700
    assert result.counts["dimension"] == 24 and result.counts["below_minimum"] == 0
    said = " ".join(result.notes)
    assert "covariance by n-1" in said and "d = 24" in said and "600 and 700" in said and "jackknife" in said
    assert "10 random halvings of the reference (350 vectors each)" in said
    assert result.fingerprint["model"] == "toy" and "n-1" in result.fingerprint["estimator"]
    json.dumps(result.as_dict(), allow_nan=False)


def test_below_the_minimum_the_figure_stands_and_no_verdict_may_rest_on_it() -> None:
    result = filled(load_metric("frechet")(feature="toy"), rows(normal(511, 4, 1)), rows(normal(600, 4, 2))).compute()
    assert result.counts["below_minimum"] == 1 and "N below minimum: no verdict (512" in " ".join(result.notes)
    assert result.value > 0
    wide = filled(load_metric("frechet")(feature="toy", minimum=9), rows(normal(20, 20, 1)), rows(normal(40, 20, 2)))
    result = wide.compute()
    assert result.counts["minimum"] == 21 and result.counts["below_minimum"] == 1  # d+1 where that is more
    assert "fd_infinity" not in result.figures and "No fd_infinity" in " ".join(result.notes)
    enough = filled(load_metric("frechet")(feature="toy", minimum=9), rows(normal(21, 20, 1)), rows(normal(21, 20, 2)))
    assert enough.compute().counts["below_minimum"] == 0


def test_one_distribution_lies_at_its_floor() -> None:
    result = filled(load_metric("frechet")(feature="toy"), rows(normal(200, 8, 3)), rows(normal(400, 8, 4))).compute()
    floor = result.figures["floor"]
    assert floor.n == 200
    assert 0.7 * floor.value < result.value < 1.3 * floor.value
    assert abs(result.figures["kernel"].value) < 0.05
    assert result.figures["fd_infinity"].low < 0 < result.figures["fd_infinity"].high


def test_the_floor_is_that_of_the_comparison_and_not_of_halves() -> None:
    values = []
    for seed in range(12):
        sets = rows(normal(120, 8, 2 * seed)), rows(normal(120, 8, 2 * seed + 1))
        result = filled(load_metric("frechet")(feature="toy"), *sets).compute()
        values.append((result.value, result.figures["floor"].value))
    own, floor = map(sum, zip(*values, strict=True))
    assert floor / own == pytest.approx(1, abs=0.2)
    few = filled(load_metric("frechet")(feature="toy"), rows(normal(30, 20, 1)), rows(normal(30, 20, 2))).compute()
    assert "floor" not in few.figures and "halves of the reference have 15" in " ".join(few.notes)


def test_kernel_distance_may_be_negative_and_jedi_may_not() -> None:
    values = []
    for seed in range(6):
        pair = rows(normal(30, 6, 2 * seed)), rows(normal(30, 6, 2 * seed + 1))
        values.append(filled(load_metric("kernel_distance")(feature="toy"), *pair).compute().value)
    assert min(values) < 0 < max(values)
    own, reference = normal(40, 6, 5), normal(50, 6, 6, 0.5)
    result = filled(load_metric("jedi")(feature="toy"), rows(own), rows(reference)).compute()
    assert result.name == "jedi[feature=toy]"
    assert result.value == pytest.approx(100 * mmd(own, reference, QUADRATIC, unbiased=False), rel=1e-9)
    assert result.figures["jedi_unbiased"].value == pytest.approx(100 * mmd(own, reference, QUADRATIC), rel=1e-9)
    chosen = load_metric("kernel_distance")(feature="toy", degree=2, coef=0.0, unbiased=False)
    assert chosen.title == "kernel_distance[feature=toy,degree=2,coef=0.0,unbiased=False]"
    assert filled(chosen, rows(own), rows(reference)).compute().value == pytest.approx(result.value / 100, rel=1e-9)


def test_clusters_widen_the_interval() -> None:
    """Five copies of a clip are one clip: the interval must not become narrower by them."""
    own, reference = normal(40, 4, 7), normal(40, 4, 8, 0.5)
    alone = filled(load_metric("kernel_distance")(feature="toy"), rows(own), rows(reference)).compute()

    def copies(name: str, features: np.ndarray) -> list[Observation]:
        return [
            Observation(id=f"{name}{number}.{copy}", cluster=f"{name}{number}", evidence={"features": row})
            for number, row in enumerate(features)
            for copy in range(5)
        ]

    many = filled(load_metric("kernel_distance")(feature="toy"), copies("o", own), copies("r", reference)).compute()
    one, five = (result.figures["kernel_distance"] for result in (alone, many))
    assert five.n == 200 and five.high - five.low > 0.7 * (one.high - one.low)


# Order, shards, batches


def test_order_shards_and_batches_do_not_count() -> None:
    whole = load_metric("frechet")(feature="toy")
    whole.update(samples(12, 1, brightness=20.0))
    whole.update(samples(14, 2), reference=True)
    parts = load_metric("frechet")(feature="toy")
    for sample in reversed(samples(14, 2)):
        parts.update(sample, reference=True)
    shards = [load_metric("frechet")(feature="toy") for _ in range(3)]
    for number, sample in enumerate(samples(12, 1, brightness=20.0)):
        shards[number % 3].update(sample)
    for shard in reversed(shards):
        for row in shard._rows.values():
            parts.add(row)
    assert parts.compute().as_dict() == whole.compute().as_dict()
    assert whole.compute().figures["frechet"].n == 12
    for row in whole._rows.values():
        assert row.evidence["features"].dtype == np.float32 and row.evidence["features"].shape == (6,)


def test_reversed_clips_score_the_same_with_features_of_frames() -> None:
    forward, backward = load_metric("frechet")(feature="toy"), load_metric("frechet")(feature="toy")
    for metric, step in ((forward, 1), (backward, -1)):
        for number in range(8):
            pixels = drawn_frames(number).pixels[::step]
            metric.update(Sample(id=str(number), clip=SampleClip.from_frames(Frames.from_pixels(pixels.copy(), fps=8))))
        metric.update(samples(8, 2), reference=True)
    assert forward.compute().figures == backward.compute().figures


# Refusals


def test_no_second_set_and_one_clip_are_said_in_words() -> None:
    metric = filled(load_metric("frechet")(feature="toy"), rows(normal(5, 3, 1)), [])
    with pytest.raises(UsageError, match="there is no second one"):
        metric.compute()
    with pytest.raises(NothingMatchedError, match="given no sample"):
        load_metric("frechet")(feature="toy").compute()
    for name in BY_FEATURE:
        metric = filled(load_metric(name)(feature="toy"), rows(normal(1, 3, 1)), rows(normal(5, 3, 2)))
        with pytest.raises(NothingMatchedError, match="needs 2 vectors a side, got 1 and 5"):
            metric.compute()
    pair = filled(load_metric("frechet")(feature="toy"), rows(normal(2, 3, 1)), rows(normal(2, 3, 2))).compute()
    assert "No interval" in " ".join(pair.notes) and "floor" not in pair.figures


def test_features_that_are_not_finite_are_a_failure_and_never_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    metric = load_metric("frechet")(feature="toy")
    monkeypatch.setattr(Toy, "_embed", lambda self, pixels, embed=Toy._embed: embed(self, pixels) * np.nan)
    with pytest.raises(ItemError, match="numbers that are not finite") as caught:
        metric.measure(samples(1, 1)[0])
    assert caught.value.code == "MODEL_ERROR"
    spoiled = normal(5, 3, 1)
    spoiled[2] = np.nan
    with pytest.raises(ValueError, match="vector 2 of 5 holds NaN"):
        filled(load_metric("frechet")(feature="toy"), rows(spoiled), rows(normal(5, 3, 2))).compute()


@pytest.mark.parametrize(("name", "file"), [("fvd", "I3D"), ("kvd", "I3D"), ("fid", "Inception"), ("kid", "Inception"),
                                            ("inception_score", "Inception"), ("jedi", "V-JEPA")])  # fmt: skip
def test_what_must_be_fetched_is_named(name: str, file: str) -> None:
    with pytest.raises(MissingDependencyError, match=file) as caught:
        load_metric(name)().prepare()
    assert "get " in (hint := caught.value.hint) or ("load " in hint and "feature=" in hint)


@pytest.mark.parametrize(("name", "settings"), [
    ("frechet", {"divisor": "N"}), ("frechet", {"minimum": 1}), ("frechet", {"floor_splits": 1}),
    ("kernel_distance", {"degree": 0}), ("fvd", {"preprocessing": "squash"}), ("fvd", {"num_frames": 9}),
    ("fid", {"frames": "uniform"}), ("kid", {"form": "half"}), ("kid", {"subset_size": 1}),
    ("inception_score", {"splits": 0}), ("jedi", {"feature": 3}),
])  # fmt: skip
def test_wrong_settings_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        load_metric(name)(**settings)


@pytest.mark.parametrize("name", ALL)
def test_every_metric_states_itself(name: str) -> None:
    metric = load_metric(name)
    assert metric.name == name and metric.level == "set" and metric.detects and metric.misses and metric.requires
    assert metric.Settings is not BaseMetric.Settings
    assert metric.higher_is_better is (name == "inception_score")


# I3D and Inception by path


@pytest.mark.parametrize(("preprocessing", "divisor"), [("stylegan", "n"), ("crop", "n-1")])
def test_fvd_takes_sixteen_frames_and_the_divisor_of_its_implementation(
    scripts: dict[str, str], preprocessing: str, divisor: str
) -> None:
    metric = load_metric("fvd")(weights=scripts["i3d"], preprocessing=preprocessing)
    assert metric.title == f"fvd[preprocessing={preprocessing}]"  # and never the path
    own, reference = samples(5, 1, num_frames=18, brightness=15.0), samples(6, 2, num_frames=16)
    metric.update([*own, Sample(id="short", clip=SampleClip.from_frames(drawn_frames(5, num_frames=15)))])
    metric.update(reference, reference=True)
    result = metric.compute()
    assert [failure["code"] for failure in result.failures] == ["TOO_SHORT"] and result.coverage == 5 / 6
    vectors = [
        np.stack([row.evidence["features"] for row in kept.values()]) for kept in (metric._rows, metric._references)
    ]
    assert vectors[0].shape == (5, 9)
    assert result.value == pytest.approx(frechet(*vectors, divisor), rel=1e-9)
    assert result.figures["kvd"].value == pytest.approx(mmd(*vectors), rel=1e-9)
    assert result.fingerprint["preprocess"] == preprocessing and len(result.fingerprint["weights"]) == 64
    kvd = load_metric("kvd")(weights=scripts["i3d"], preprocessing=preprocessing)
    filled(kvd, list(metric._rows.values()), list(metric._references.values()))
    assert kvd.compute().value == pytest.approx(mmd(*vectors), rel=1e-9)


def test_another_hash_is_refused(scripts: dict[str, str]) -> None:
    path = scripts["i3d"].partition("#")[0]
    with pytest.raises(MissingDependencyError, match="expected 00000000"):
        load_metric("fvd")(weights=f"{path}#00000000").prepare()
    with pytest.raises(MissingDependencyError, match="no file"):
        load_metric("kvd")(weights=f"{path}.other").prepare()


def test_fid_compares_frames_and_counts_clips(scripts: dict[str, str]) -> None:
    metric = load_metric("fid")(weights=scripts["inception"], frames="uniform-4")
    metric.update(samples(5, 1, brightness=15.0))
    metric.update(samples(6, 2), reference=True)
    result = metric.compute()
    assert result.name == "fid[frames=uniform-4]"
    assert (result.counts["clips"], result.counts["vectors"], result.counts["reference_vectors"]) == (5, 20, 24)
    vectors = [np.concatenate([row.evidence["features"] for row in kept.values()])
               for kept in (metric._rows, metric._references)]  # fmt: skip
    assert result.value == pytest.approx(frechet(*vectors), rel=1e-9)
    assert set(result.figures) >= {"fid", "kid", "floor"} and len(result.items) == 5


def test_kid_by_subsets(scripts: dict[str, str]) -> None:
    settings = {"weights": scripts["inception"], "frames": "middle", "form": "subsets", "num_subsets": 50}
    own, reference = rows(normal(60, 6, 1)), rows(normal(60, 6, 2, 0.5))
    full = filled(load_metric("kid")(weights=scripts["inception"]), own, reference).compute()
    subsets = filled(load_metric("kid")(**settings, subset_size=30), own, reference).compute()
    assert "form=subsets" in subsets.name and "subset_size=30" in subsets.name
    assert subsets.value != full.value
    assert subsets.value == pytest.approx(full.value, abs=full.figures["kid"].high - full.value)
    assert subsets.value == filled(load_metric("kid")(**settings, subset_size=30), own, reference).compute().value
    with pytest.raises(NothingMatchedError, match="needs 61 vectors a side"):
        filled(load_metric("kid")(**settings, subset_size=61), own, reference).compute()


def test_inception_score_by_splits_of_clips(scripts: dict[str, str]) -> None:
    metric = load_metric("inception_score")(weights=scripts["inception"], frames="first", splits=3)
    metric.update(samples(12, 1))
    result = metric.compute()
    assert result.name == "inception_score[frames=first,splits=3]"
    figure = result.figures["inception_score"]
    assert 1 <= figure.low <= figure.value <= figure.high <= 6 and "split_spread" in result.figures
    assert result.counts["below_minimum"] == 1
    with pytest.raises(NothingMatchedError, match="a clip for each split, got 12"):
        many = load_metric("inception_score")(weights=scripts["inception"], splits=13)
        many.update(samples(12, 1))
        many.compute()
    sure = load_metric("inception_score")(weights=scripts["inception"], splits=1)
    onehot = np.repeat(np.eye(8, dtype=np.float32), 4, axis=0)
    assert filled(sure, rows(onehot), []).compute().value == pytest.approx(8.0, rel=1e-6)


def test_frames_are_picked_by_name() -> None:
    frames = drawn_frames(0, num_frames=9)
    assert detectors.frame_positions(frames, "all").tolist() == list(range(9))
    for rule, expected in (("first", [0]), ("middle", [4]), ("uniform-3", [0, 4, 8])):
        assert detectors.frame_positions(frames, rule).tolist() == expected
    assert detectors.frame_positions(frames, "uniform-16").tolist() == list(range(9))
    assert detectors.frame_positions(drawn_frames(0, num_frames=1), "uniform-2").tolist() == [0]


# The starter's tower, and parity case A7


def test_the_shipped_tower_tells_bright_noise_from_dark() -> None:
    metric = load_metric("frechet")()
    assert metric.title == "frechet[feature=starter-tower]"
    metric.prepare()
    metric.update(samples(4, 1, num_frames=2, brightness=90.0))
    metric.update(samples(8, 2, num_frames=2), reference=True)
    result = metric.compute()
    assert result.coverage == 1 and result.value > 1 and "floor" not in result.figures, "4 vectors of many dimensions"
    assert result.fingerprint["model"] == "starter-tower"


@pytest.mark.hub
@pytest.mark.skipif("CINELOOP_I3D" not in os.environ, reason="CINELOOP_I3D names no I3D TorchScript file")
@pytest.mark.parametrize(("num_frames", "reference"), [(10, 569.23), (11, 486.36), (12, 551.96), (13, 146.37),
                                                       (30, 151.25648)])  # fmt: skip
def test_fvd_of_black_against_white_is_that_of_common_metrics(num_frames: int, reference: float) -> None:
    """Parity case A7: 8 clips of 30 frames, 64x64, all 0 against all 1; the TensorFlow original gives 151.39244."""
    weights = os.environ["CINELOOP_I3D"]
    assert Path(weights.partition("#")[0]).is_file()
    metric = load_metric("fvd")(weights=weights, preprocessing="crop", num_frames=num_frames)
    for value, is_reference in ((0, False), (255, True)):
        frames = Frames.from_pixels(np.full((30, 64, 64, 3), value, np.uint8), fps=8)
        made = [Sample(id=str(number), clip=SampleClip.from_frames(frames)) for number in range(8)]
        metric.update(made, reference=is_reference)
    assert metric.compute().value == pytest.approx(reference, abs=1.5)  # moves by 1 with the version of torch
