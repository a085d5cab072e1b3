"""Features: order and batches leave no trace, equal frames are embedded once, models are loaded once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.video.frames import Frames
from v2t_eval.core import features
from v2t_eval.core.features import (
    BaseExtractor,
    clip_features,
    frame_features,
    mean_features,
    open_extractor,
    text_features,
    unit,
)
from v2t_eval.core.models import file_sha256
from v2t_eval.core.sample import Sample, SampleClip


class Toy(BaseExtractor):
    """A matrix on the pixels; counts what it is given."""

    has_text = True

    def load(self):
        self.seen, self.told = [], []
        self.matrix = torch.randn(12, 5, generator=torch.Generator().manual_seed(0))

    def _embed(self, pixels):
        self.seen.append(len(pixels))
        return torch.from_numpy(pixels).flatten(1).float() @ self.matrix

    def _embed_text(self, text):
        self.told.append(text)
        return torch.full((5,), float(len(text)))

    def describe(self):
        return {"model": "toy"}


@pytest.fixture
def toy():
    return Toy("toy:x", device="cpu", preprocess="pil")


def sample_of(pixels: np.ndarray) -> Sample:
    return Sample(id="s", clip=SampleClip.from_frames(Frames.from_pixels(pixels, fps=8)))


def noise(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, 2, 2, 3)).astype(np.uint8)


def test_reversed_and_doubled_clips_have_the_same_features_to_the_bit(toy):
    pixels = noise(40)
    found = toy.embed_frames(pixels)
    assert found.dtype == np.float32 and found.shape == (40, 5)
    assert np.array_equal(toy.embed_frames(pixels[::-1].copy())[::-1], found)
    assert np.array_equal(toy.embed_frames(np.repeat(pixels, 2, 0)), np.repeat(found, 2, 0))
    assert toy.seen == [16, 16, 8] * 3, "equal frames are embedded once"
    singles = np.concatenate([toy.embed_frames(frame[None]) for frame in pixels])
    np.testing.assert_allclose(found, singles, rtol=1e-6)
    order = np.random.default_rng(1).permutation(40)
    assert np.array_equal(mean_features(found[order]), mean_features(found))
    assert np.array_equal(mean_features(np.repeat(found, 2, 0)), mean_features(found))
    np.testing.assert_allclose(mean_features(found), found.mean(0), rtol=1e-5)
    assert mean_features(np.array([[1e17], [1.0], [-1e17]])) == np.float32(1 / 3), "added one by one, the 1 is lost"


def test_a_clip_is_embedded_once_for_all_metrics(toy):
    sample = sample_of(noise(6))
    first = frame_features(sample, toy)
    assert frame_features(sample, toy) is first and toy.seen == [6]
    assert np.array_equal(clip_features(sample, toy), mean_features(first)) and toy.seen == [6]
    assert np.array_equal(clip_features(sample, toy, num_frames=2), mean_features(first[:2])) and toy.seen == [6]
    other = Toy("toy:x", device="cpu", preprocess="vbench")
    frame_features(sample, other)
    assert other.seen == [6], "another preprocessing is another feature"
    with pytest.raises(ItemError, match="7 frames") as caught:
        clip_features(sample, toy, num_frames=7)
    assert caught.value.code == "TOO_SHORT"


def test_a_clip_model_is_given_the_first_frames_of_the_clip(toy):
    class Whole(Toy):
        kind = "clip"
        min_frames = 3

        def _embed_clip(self, frames):
            self.seen.append(len(frames))
            return torch.from_numpy(frames.pixels[:, 0, 0, 0].astype(np.float32))

    whole, pixels = Whole("whole:x", device="cpu", preprocess="pil"), noise(6)
    sample = sample_of(pixels)
    assert clip_features(sample, whole).tolist() == pixels[:, 0, 0, 0].tolist()
    assert clip_features(sample, whole, num_frames=4).tolist() == pixels[:4, 0, 0, 0].tolist()
    with pytest.raises(ItemError, match="needs 3 frames"):
        clip_features(sample, whole, num_frames=2)
    with pytest.raises(TypeError, match="does not embed clips"):
        BaseExtractor._embed_clip(toy, Frames.from_pixels(pixels, fps=8))


def test_a_text_is_embedded_once_and_cannot_be_written_to(toy):
    found = text_features(toy, "a cat")
    assert text_features(toy, "a cat") is found and toy.told == ["a cat"]
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1
    assert toy.embed_texts(["a", "bb"])[:, 0].tolist() == [1, 2]


def test_numbers_that_are_not_finite_never_leave(toy):
    toy.matrix[0, 0] = float("nan")
    with pytest.raises(ItemError, match="not finite") as caught:
        toy.embed_frames(noise(2))
    assert caught.value.code == "MODEL_ERROR"


def test_the_fingerprint_tells_version_and_dtype(toy):
    told = toy.fingerprint()
    assert told["dtype"] == "float32" and told["model"] == "toy" and told["extractor"].endswith("/1")


def test_unit_leaves_zeros_alone():
    assert unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist() == [[0.6, 0.8], [0, 0]]


def test_a_hash_is_computed_once_and_again_when_the_file_changes(tmp_path, monkeypatch):
    import hashlib

    path = tmp_path / "weights"
    path.write_bytes(b"one")
    calls = []
    real = hashlib.file_digest
    monkeypatch.setattr(features.hashlib, "file_digest", lambda file, name: calls.append(1) or real(file, name))
    assert file_sha256(path) == file_sha256(path) == hashlib.sha256(b"one").hexdigest() and len(calls) == 1
    path.write_bytes(b"other")
    assert file_sha256(path) == hashlib.sha256(b"other").hexdigest() and len(calls) == 2
    assert file_sha256(path, file_sha256(path)[:8].upper())
    with pytest.raises(MissingDependencyError, match="expected abc"):
        file_sha256(path, "abc")
    with pytest.raises(MissingDependencyError, match="cannot read"):
        file_sha256(tmp_path / "absent")


@pytest.mark.slow
def test_the_starters_tower_is_the_captioners_and_loaded_once():
    from v2t.backends.local import Backend

    tower = open_extractor("starter-tower", device="cpu")
    assert open_extractor("starter-tower", device="cpu") is tower
    pixels = np.random.default_rng(3).integers(0, 256, (16, 48, 80, 3)).astype(np.uint8)
    captioner = Backend(device="cpu")
    captioner.load()
    pooled = captioner.features([Frames.from_pixels(pixels, fps=8)])[0]
    np.testing.assert_allclose(mean_features(tower.embed_frames(pixels)), pooled[: len(pooled) // 2], atol=1e-5)
    assert tower.kind == "frame" and not tower.has_text and tower.fingerprint()["preprocess"] == "stretch to 64x64"


def test_an_unknown_family_lists_those_there_are():
    with pytest.raises(UsageError, match="open_clip"):
        open_extractor("blip:x")
    with pytest.raises(UsageError, match="prepares pixels as captioner"):
        open_extractor("starter-tower", preprocess="pil")


def test_a_device_that_is_not_there_is_named():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    with pytest.raises(MissingDependencyError, match="cuda:3"):
        open_extractor("starter-tower", device="cuda:3")
