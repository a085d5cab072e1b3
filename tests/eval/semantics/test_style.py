"""Style and consistency with a text: cosines of a tiny dual encoder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from cineloop.errors import NothingMatchedError
from cineloop.video.frames import Frames
from metric_results import result_of, values
from small_clips import noise, sample
from v2t_eval.core.metric import load_metric
from v2t_eval.core.sample import Sample, SampleClip


def frames(num: int = 17) -> Frames:
    return noise(num, num, size=(40, 48), fps=8)


@pytest.fixture(scope="module")
def dual(tmp_path_factory) -> str:
    open_clip = pytest.importorskip("open_clip")
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("dual")
    vision = {"image_size": 32, "patch_size": 8, "width": 32, "layers": 1, "head_width": 16}
    text = {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    model = {"embed_dim": 16, "quick_gelu": False, "vision_cfg": vision, "text_cfg": text}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = {key: value.contiguous() for key, value in open_clip.CLIP(**model).state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors")
    about = {"model_cfg": model, "preprocess_cfg": {"interpolation": "bicubic", "resize_mode": "shortest"}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    return f"open_clip:local-dir:{folder}"


def cosines(name: str, pixels: np.ndarray, text: str, preprocess: str = "") -> np.ndarray:
    from v2t_eval.core.features import open_extractor

    extractor = open_extractor(name, preprocess=preprocess)
    frames, words = extractor.embed_frames(pixels).astype(float), extractor.embed_texts([text])[0].astype(float)
    frames /= np.linalg.norm(frames, axis=1, keepdims=True)
    return frames @ (words / np.linalg.norm(words))


@pytest.mark.slow
def test_appearance_style_is_the_mean_cosine_with_the_phrase_alone(dual):
    pixels = frames().pixels
    result = result_of("appearance_style", sample(frames(), prompt="a cat, Van Gogh style"), model=dual)
    assert values(result) == [pytest.approx(cosines(dual, pixels, "van gogh style").mean(), abs=1e-6)]
    with pytest.raises(NothingMatchedError, match="applies to none of 1 samples"):
        result_of("appearance_style", sample(frames(), prompt="a cat"), model=dual)
    assert any("open_clip" in note and "ViT-B/32" in note for note in result.notes)


@pytest.mark.slow
def test_appearance_style_in_compat_weighs_by_frames(dual):
    both = (frames(), frames(9))
    found = {}
    for mode in ("compat", "fixed"):
        metric = load_metric("appearance_style")(model=dual, mode=mode)
        metric.update(
            Sample(id=str(n), clip=SampleClip.from_frames(f), prompt="oil painting") for n, f in enumerate(both)
        )
        found[mode] = metric.compute().value
    parts = [cosines(dual, f.pixels, "oil painting") for f in both]
    assert found["fixed"] == pytest.approx(np.mean([part.mean() for part in parts]), abs=1e-6)
    parts = [cosines(dual, f.pixels, "oil painting", "vbench") for f in both]
    assert found["compat"] == pytest.approx(np.concatenate(parts).mean(), abs=1e-6)


@pytest.mark.parametrize("name", ["temporal_style", "overall_consistency"])
def test_eight_middle_frames_and_the_whole_prompt(dual, name):
    from v2t_eval.core.features import open_extractor, unit

    pixels, extractor = frames().pixels, open_extractor(dual)
    picked = [0, 2, 4, 6, 8, 10, 12, 15]  # of 17 frames: the middles between 0, 2, 4, 6, 8, 10, 12, 14, 17
    mean = unit(extractor.embed_frames(pixels[picked])).mean(axis=0)
    words = extractor.embed_texts(["a red dog runs"])[0].astype(float)
    expected = float(mean @ words / np.linalg.norm(mean) / np.linalg.norm(words))
    result = result_of(name, sample(frames(), prompt="a red dog runs"), model=dual)
    assert values(result) == [pytest.approx(expected, abs=1e-6)]
    assert any("ViCLIP" in note for note in result.notes)
    long = result_of(name, sample(frames(), prompt="a red dog runs " * 9), model=dual)
    assert long.counts["truncated"] == 1 and any("lost their end" in note for note in long.notes)
