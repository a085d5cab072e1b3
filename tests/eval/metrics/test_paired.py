"""Paired metrics: equal to torchmetrics, refusing what does not fit, reached by the command with a folder of videos."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from cineloop.errors import MissingDependencyError
from cineloop.video.encode import encode
from cineloop.video.frames import Frames
from v2t_eval.cli import main
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.score import ScoreConfig, score

RNG = np.random.default_rng(5)
CLEAN = np.repeat(RNG.integers(0, 256, (4, 12, 14, 3), dtype=np.uint8), 5, 1).repeat(5, 2)  # (4, 60, 70, 3)
NOISY = np.clip(CLEAN + RNG.normal(0, 20, CLEAN.shape), 0, 255).astype(np.uint8)


def value(name: str, first: np.ndarray, second: np.ndarray, **settings: str) -> float:
    metric = load_metric(name)(**settings)
    clips = [SampleClip.from_frames(Frames.from_pixels(pixels, 8)) for pixels in (first, second)]
    metric.prepare()
    return float(metric.measure(Sample(id="a", clip=clips[0], reference_video=clips[1]))["value"])


def grey(frames: np.ndarray) -> torch.Tensor:
    from v2t_eval.metrics.paired import luma

    return torch.from_numpy(luma(frames)).double()[:, None]  # (T, 1, H, W)


@pytest.mark.slow
def test_psnr_is_that_of_torchmetrics() -> None:
    from torchmetrics.functional.image import peak_signal_noise_ratio

    wanted = peak_signal_noise_ratio(
        torch.from_numpy(NOISY).double(), torch.from_numpy(CLEAN).double(), data_range=255.0
    )
    assert value("psnr", NOISY, CLEAN) == pytest.approx(float(wanted), rel=1e-6)
    assert value("psnr", CLEAN, CLEAN) == 100
    black, off = np.zeros((2, 16, 16, 3), np.uint8), np.full((2, 16, 16, 3), 5, np.uint8)
    assert value("psnr", off, black) == pytest.approx(20 * math.log10(255 / 5))


@pytest.mark.slow
def test_ssim_is_that_of_torchmetrics() -> None:
    from torchmetrics.functional.image import structural_similarity_index_measure as reference

    how = {"gaussian_kernel": True, "sigma": 1.5, "kernel_size": 11, "data_range": 255.0, "return_full_image": True}
    _, full = reference(grey(NOISY), grey(CLEAN), **how)
    wanted = full[..., 5:-5, 5:-5].mean()  # torchmetrics also counts the border, which it pads by mirroring
    assert value("ssim", NOISY, CLEAN) == pytest.approx(float(wanted), abs=1e-5)
    assert value("ssim", CLEAN, CLEAN) == 1


@pytest.mark.slow
def test_vif_is_that_of_torchmetrics() -> None:
    from torchmetrics.functional.image import visual_information_fidelity

    wanted = visual_information_fidelity(grey(NOISY), grey(CLEAN))
    assert value("vif", NOISY, CLEAN) == pytest.approx(float(wanted), rel=1e-6)
    assert value("vif", CLEAN, CLEAN) == pytest.approx(1)
    flat = np.zeros((1, 41, 41, 3), np.uint8)
    assert value("vif", flat, flat) == 1


@pytest.mark.slow
def test_lpips_is_that_of_torchmetrics(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    net = pytest.importorskip("torchmetrics.functional.image.lpips")
    torch.manual_seed(3)
    theirs = net._LPIPS(pretrained=False, net="alex", pnet_rand=True)
    found = {}
    for name, tensor in theirs.state_dict().items():
        if name.startswith("net.slice"):
            found[f"features.{name.split('.', 2)[2]}"] = tensor
        elif name.startswith("lin") and not name.startswith("lins"):
            found[name] = tensor.abs()
    theirs.load_state_dict({k: v.abs() if k.startswith("lin") else v for k, v in theirs.state_dict().items()})
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, tmp_path / "w.safetensors")
    shown = [torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 for pixels in (NOISY, CLEAN)]
    with torch.inference_mode():
        wanted = theirs(*shown, normalize=True).mean()
    weights = str(tmp_path / "w.safetensors")
    assert value("lpips", NOISY, CLEAN, weights=weights) == pytest.approx(float(wanted), rel=1e-4)
    assert value("lpips", CLEAN, CLEAN, weights=weights) == 0


def test_lpips_without_weights_says_where_they_are_from(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match="needs weights") as error:
        load_metric("lpips")().prepare()
    assert "lpips[weights=" in error.value.hint
    (tmp_path / "none.safetensors").write_bytes(b"nothing")
    with pytest.raises(MissingDependencyError, match="cannot read"):
        load_metric("lpips")(weights=str(tmp_path / "none.safetensors")).prepare()


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("a", "b", "short", "alone"):
        (tmp_path / "made").mkdir(exist_ok=True)
        encode(NOISY, tmp_path / "made" / f"{name}.mp4", fps=8)
    (tmp_path / "true").mkdir()
    encode(CLEAN, tmp_path / "true" / "a.mp4", fps=8)
    encode(NOISY, tmp_path / "true" / "b.webm", fps=8)  # of another ending: joined by its name
    encode(CLEAN[:2], tmp_path / "true" / "short.mp4", fps=8)
    return tmp_path


@pytest.mark.slow
def test_the_command_joins_the_reference_videos(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["score", str(folders / "made"), "--reference-videos", str(folders / "true"), "--metrics", "psnr,ssim"]
    assert main([*given, "-o", str(folders / "o"), "-q", "--json"]) == 3
    results = {one["name"]: one for one in json.loads(capsys.readouterr().out)["results"]}
    assert results["psnr"]["figures"]["psnr"]["n"] == 2 and results["psnr"]["coverage"] == 0.5
    scores = json.loads((folders / "o" / "scores.json").read_text())
    psnr = next(one for one in scores["results"] if one["name"] == "psnr")
    assert {each["id"].split(".")[0]: each["code"] for each in psnr["failures"]} == {
        "alone": "NO_REFERENCE_VIDEO", "short": "UNLIKE_REFERENCE",
    }  # fmt: skip
    values = {each["id"][0]: each["value"] for each in psnr["items"]}
    assert values["b"] > values["a"] > 10
    assert scores["sources"]["reference_videos"] == "true"
    assert all(clip["status"] == "ok" for clip in scores["clips"])


def test_evidence_knows_both_videos_and_a_broken_reference_costs_the_pair(folders: Path, decodes: list[str]) -> None:
    def found(reference: Path) -> tuple[list[dict[str, object]], list[dict[str, str]]]:
        samples = [
            Sample(id=n, clip=SampleClip(content="", path=folders / "made" / f"{n}.mp4"),
                   reference_video=SampleClip(content="", path=reference) if n == "a" else None)
            for n in ("a", "b")
        ]  # fmt: skip
        names = ("psnr", "sharpness")
        config = ScoreConfig(cache=folders / "cache")
        scores = score(Inputs(samples=samples), [load_metric(name)() for name in names], config)
        assert scores.results[1].coverage == 1 and all(clip.status == "ok" for clip in scores.clips)
        return scores.results[0].items, scores.results[0].failures

    first = found(folders / "true" / "a.mp4")[0]
    num = len(decodes)
    assert found(folders / "true" / "a.mp4")[0] == first and len(decodes) == num
    assert found(folders / "made" / "a.mp4")[0] != first  # another reference video
    (folders / "broken.mp4").write_bytes(b"no video")
    items, failures = found(folders / "broken.mp4")
    assert not items and [each["code"] for each in failures] == ["NOT_MEDIA", "NO_REFERENCE_VIDEO"]
    assert failures[0]["message"].startswith("the reference video: ")
