"""Dimensions that need weights, with tiny ones made here: DINO, RAFT, TorchScript, LAION's head, MUSIQ's stand-in."""

from __future__ import annotations

import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.audit.faults import plant
from v2t_eval.core.metric import load_metric
from v2t_eval.core.models import file_sha256
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.metrics.imaging_quality import model_input
from v2t_eval.vbench import flow
from v2t_eval.vbench.interpolate import open_interpolator

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def frames() -> Frames:
    """A square that crosses a gradient, 48 x 64, 9 frames."""
    pixels = np.zeros((9, 48, 64, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = np.arange(64) * 2, np.arange(48)[:, None] * 3
    for t in range(9):
        pixels[t, 12:28, 5 * t : 5 * t + 16] = (240, 200, 30)
    return Frames.from_pixels(pixels, 8)


@pytest.fixture(scope="module")
def dino(tmp_path_factory) -> str:
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("dino")
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, initializer_range=0.5
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    return f"dino:{folder}"


@pytest.fixture(scope="module")
def head(tmp_path_factory) -> str:
    from safetensors.numpy import save_file

    path = tmp_path_factory.mktemp("head") / "head.safetensors"
    weight = np.random.default_rng(0).normal(size=(1, 16)).astype(np.float32)
    save_file({"weight": weight, "bias": np.float32([5.0])}, path)
    return str(path)


def scored(name: str, *clips: Frames, **settings):
    metric = load_metric(name)(**settings)
    metric.prepare()
    metric.update(Sample(id=f"clip {n}", clip=SampleClip.from_frames(each)) for n, each in enumerate(clips))
    return metric.compute()


def test_consistency_is_the_reference_formula_over_the_reference_preprocessing(frames, dino):
    """Everything by other means: torchvision's resize without antialias, and VBench's loop written out."""
    from torch.nn.functional import cosine_similarity
    from torchvision.transforms.v2 import functional as tv
    from transformers import ViTModel

    model = ViTModel.from_pretrained(dino.removeprefix("dino:"), add_pooling_layer=False).eval()
    values = torch.from_numpy(frames.pixels).movedim(-1, 1).float()
    values = tv.resize(values, [224], tv.InterpolationMode.BILINEAR, antialias=False) / 255
    values = tv.normalize(values, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    with torch.inference_mode():
        found = [model(v[None], interpolate_pos_encoding=True).last_hidden_state[:, 0] for v in values]
    terms = []
    for earlier, later in pairwise(found):
        both = (cosine_similarity(earlier, later).item(), cosine_similarity(found[0], later).item())
        terms.append(sum(max(0.0, each) for each in both) / 2)
    result = scored("subject_consistency", frames, model=dino, mode="compat")
    assert result.value == pytest.approx(np.mean(terms), abs=2e-6) and np.mean(terms) < 0.9999
    assert dino in " ".join(result.notes) and "the reference has" in " ".join(result.notes)
    assert result.fingerprint["backbone preprocess"].startswith("vbench")


def test_d6_terms_or_clips(frames, dino):
    short = Frames.from_pixels(frames.pixels[:3], 8)
    result = scored("subject_consistency", frames, short, model=dino)
    by_clip = [item["value"] for item in result.items]
    assert result.value == pytest.approx((8 * by_clip[0] + 2 * by_clip[1]) / 10)
    assert result.figures["mean_of_clips"].value == pytest.approx(np.mean(by_clip))
    assert result.value != pytest.approx(np.mean(by_clip), abs=1e-6)


@pytest.mark.slow
def test_consistency_of_doubled_frozen_and_mixed_frames(frames, dino):
    doubled = Frames.from_pixels(np.repeat(frames.pixels, 2, 0), 16)
    once, twice, mixed = (
        scored("subject_consistency", each, model=dino).value for each in (frames, doubled, plant(frames, "shuffle"))
    )
    assert once == twice and mixed < once
    assert scored("subject_consistency", doubled, model=dino, mode="compat").value > once  # defect D12
    still = scored("subject_consistency", frames, plant(frames, "freeze"), model=dino)
    assert still.items[1]["value"] is None and still.items[1]["raw"] == pytest.approx(1) and still.value == once


@pytest.mark.slow
def test_long_clips_are_cut_into_pieces(frames, dino):
    long = Frames.from_pixels(np.concatenate([frames.pixels, frames.pixels[::-1]] * 2)[:32], 8)
    assert len(scored("subject_consistency", long, model=dino, long=True).items[0]["pieces"]) == 2


def test_a_model_for_clips_is_refused():
    with pytest.raises(UsageError, match="single frames"):
        scored("subject_consistency", model="videomae:nowhere")


@pytest.mark.slow
def test_raft_is_torchvisions_on_padded_frames(frames, tmp_path, monkeypatch):
    from safetensors.torch import save_file
    from torchvision.models.optical_flow import raft_large

    monkeypatch.setattr(flow, "RAFT_ITERATIONS", 1)
    torch.manual_seed(0)
    model = raft_large(weights=None).eval()
    path = tmp_path / "raft.safetensors"
    save_file(model.state_dict(), path)
    first, second = frames.pixels[:2]
    found = flow.open_flow(f"raft:{path}#{file_sha256(path)[:12]}").between(first, second)
    padded = [np.pad(f, ((40, 40), (32, 32), (0, 0)), mode="edge") for f in (first, second)]
    values = [torch.from_numpy(f).movedim(-1, 0)[None] / 255 * 2 - 1 for f in padded]
    with torch.inference_mode():
        direct = model(*values, num_flow_updates=1)[-1][0].movedim(0, -1).numpy()
    assert found.shape == (48, 64, 2)
    np.testing.assert_allclose(found, direct[40:88, 32:96], atol=1e-4)
    with pytest.raises(MissingDependencyError, match="C_T_V1"):
        flow.open_flow(f"raft:{path}#00000000")
    with pytest.raises(MissingDependencyError, match="C_T_V1"):
        flow.open_flow(f"raft:{tmp_path / 'none.safetensors'}")


class Blend(torch.nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return (first + second) / 2


class Lean(torch.nn.Module):
    def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return 0.7 * first + 0.3 * second


class Bright(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean().reshape(1, 1) * 100


def test_an_interpolator_of_ones_own(frames, tmp_path):
    path = str(tmp_path / "blend.pt")
    torch.jit.script(Blend()).save(path)
    name = f"torchscript:{path}"
    blend = np.rint((frames.pixels[0].astype(float) + frames.pixels[2]) / 2)
    assert np.abs(open_interpolator(name).middle(frames.pixels[0], frames.pixels[2]) - blend).max() <= 1
    result = scored("motion_smoothness", frames, interpolator=name)
    assert name in " ".join(result.notes) and result.fingerprint["interpolator weights"] == file_sha256(path)
    assert result.value < scored("motion_smoothness", frames).value


def test_aesthetic_is_the_head_over_unit_features_and_blind_to_order(frames, dino, head):
    from safetensors.numpy import load_file

    from v2t_eval.core.features import open_extractor

    result = scored("aesthetic_quality", frames, model=dino, head=head)
    features = open_extractor(dino).embed_frames(frames.pixels).astype(np.float64)
    weight = load_file(head)["weight"][0]
    expected = ((features / np.linalg.norm(features, axis=1, keepdims=True)) @ weight + 5) / 10
    assert result.value == pytest.approx(expected.mean(), abs=1e-9)
    for fault in ("reverse", "shuffle"):
        assert scored("aesthetic_quality", plant(frames, fault), model=dino, head=head).value == result.value
    assert result.fingerprint["head"] == file_sha256(head)


def test_what_is_missing_is_named_with_the_way_to_get_it(frames, dino, head, tmp_path, monkeypatch):
    from safetensors.numpy import save_file

    with pytest.raises(MissingDependencyError, match="aesthetic-predictor"):
        scored("aesthetic_quality", model=dino)
    with pytest.raises(MissingDependencyError, match="cannot read the head"):
        scored("aesthetic_quality", model=dino, head=str(tmp_path / "none.safetensors"))
    save_file({"weight": np.ones((1, 7), np.float32), "bias": np.ones(1, np.float32)}, tmp_path / "seven.safetensors")
    with pytest.raises(MissingDependencyError, match="width 7"):
        scored("aesthetic_quality", model=dino, head=str(tmp_path / "seven.safetensors"))
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    with pytest.raises(MissingDependencyError, match="pip install pyiqa"):
        scored("imaging_quality", frames)
    with pytest.raises(UsageError, match="pyiqa:NAME"):
        scored("imaging_quality", frames, model="musiq")


def test_imaging_quality_by_a_file_and_by_pyiqa(frames, tmp_path, monkeypatch):
    path = str(tmp_path / "bright.pt")
    torch.jit.script(Bright()).save(path)
    result = scored("imaging_quality", frames, model=f"torchscript:{path}")
    assert result.value == pytest.approx(frames.pixels.mean() / 255, abs=1e-6)
    for fault in ("reverse", "shuffle"):
        assert scored("imaging_quality", plant(frames, fault), model=f"torchscript:{path}").value == result.value
    asked = []
    made = lambda name, device, as_loss: asked.append(name) or Bright()  # noqa: E731 - a stand-in for the package
    monkeypatch.setitem(sys.modules, "pyiqa", SimpleNamespace(create_metric=made, __version__="0"))
    mine = scored("imaging_quality", frames)
    assert asked == ["musiq-spaq"] and mine.value == pytest.approx(result.value)
    assert "the reference's own" in " ".join(mine.notes)


def test_imaging_quality_resizes_as_the_reference():
    from torchvision.transforms.v2 import functional as tv

    frame = np.random.default_rng(0).integers(0, 256, (540, 640, 3), dtype=np.uint8)
    values = torch.from_numpy(frame).movedim(-1, 0)[None].float()
    sizes = {"longer": (432, 512), "shorter": (512, 606), "none": (540, 640)}
    for rule, size in sizes.items():
        expected = tv.resize(values, list(size), antialias=False) / 255
        torch.testing.assert_close(model_input(frame, rule, "cpu"), expected, atol=1e-6, rtol=0)
    crop = tv.center_crop(tv.resize(values, [512, 606], antialias=False), [512, 512]) / 255
    torch.testing.assert_close(model_input(frame, "shorter_centercrop", "cpu"), crop, atol=1e-6, rtol=0)
    small = frame[:300, :400]
    assert (
        model_input(small, "longer", "cpu").shape
        == (1, 3, 300, 400)
        == model_input(small, "shorter_centercrop", "cpu").shape
    )


def test_the_usual_backbone_is_the_shipped_tower(frames):
    result = scored("subject_consistency", frames)
    assert 0 < result.value < 1 and "starter-tower" in " ".join(result.notes)
    assert result.fingerprint["backbone model"] == "starter-tower"
