"""Features of frames, clips and texts by frozen models, models loaded once and clips embedded once.

In: a model's name and samples. Out: float32 vectors as the model gives them, not normalised. A name is `FAMILY` or
`FAMILY:WHERE`; the family is a file of `eval/extractors`:

    starter                      the shipped dual encoder (frames and texts)
    starter-video                the same with order and motion (clips and texts)
    starter-tower                the vision tower of the shipped captioner (frames)
    open_clip:MODEL/PRETRAINED   open_clip:local-dir:FOLDER   open_clip:hf-hub:ID   (frames and texts)
    open_clip_video:FOLDER       a dual encoder of stage contrastive_video (clips and texts)
    clip:ID_OR_FOLDER            CLIP or SigLIP of transformers (frames and texts)
    dino:ID_OR_FOLDER            DINO or DINOv2 of transformers, class token (frames)
    videomae:ID_OR_FOLDER        vjepa:ID_OR_FOLDER           of transformers (clips)
    i3d:FILE[#sha256]            I3D as TorchScript, 400 logits (clips)
    inception:FILE[#sha256]      FID's InceptionV3 as TorchScript, 2048 numbers or class probabilities (frames)
    sentence:ID_OR_FOLDER        a sentence encoder (texts)

A frame's features never depend on its position in the clip: equal frames are embedded once, in an order given by their
content, so a reversed or doubled clip has bit-identical features. Everything is float32, without TF32.
Letters: T frames, H W pixels, D width of the features, n texts, L tokens, K classes.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from cineloop.errors import ItemError, UsageError
from cineloop.plugin import load
from cineloop.video.frames import Frames
from v2t_eval.core import models
from v2t_eval.core.sample import Sample

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BaseExtractor", "clip_embedding", "clip_features", "frame_features", "mean_features", "open_extractor",
           "text_features", "unit", "versions"]  # fmt: skip
FRAMES_AT_ONCE = 16  # the activations of more exceed a CPU's caches


class BaseExtractor(ABC):
    """A frozen model; what a file of `eval/extractors` fills in. Made by `open_extractor`.

    Class attributes:
        version: raised whenever the same pixels or text may give another vector.
        kind: "frame" (a vector for each frame), "clip" (one for a run of frames) or "text" (texts alone).
        preprocesses: the ways pixels may be prepared, by name, the usual one first.
        has_text: it embeds texts into the same space; `has_tokens`: also their single tokens, for EMScore.
        has_classes: it gives class probabilities, for the Inception Score.
        min_frames: fewest frames of a clip that it can take.

    Attributes:
        name: as it was opened.
        warnings: sentences a result must repeat (activation that does not fit the weights ...).
        end_token: number of the token that marks the end of a text, -1 where texts end without one.
    """

    version: ClassVar[int] = 1
    kind: ClassVar[str] = "frame"
    preprocesses: ClassVar[tuple[str, ...]] = ("pil",)
    has_text: bool = False
    has_tokens: bool = False
    end_token: int = -1
    has_classes: ClassVar[bool] = False
    min_frames: ClassVar[int] = 1

    def __init__(self, name: str, *, device: str, preprocess: str) -> None:
        self.name, self.device, self.preprocess = name, device, preprocess
        self.where = name.partition(":")[2]
        self.warnings: tuple[str, ...] = ()
        self.load()

    @abstractmethod
    def load(self) -> None:
        """Load the model in float32 on `self.device`.

        Raises:
            MissingDependencyError: a package or the weights are not available; the hint explains how to get them.
        """

    @abstractmethod
    def describe(self) -> dict[str, str]:
        """The family's part of the fingerprint."""

    def fingerprint(self) -> dict[str, str]:
        """`model`, `weights` (sha256), `preprocess`, `dtype`, `library`, `extractor` (family and version) and what else
        determines the vectors. The device is excluded: it changes only the last digits."""
        family = type(self).__module__.rpartition(".")[2]
        return {"extractor": f"{family}/{self.version}", "dtype": "float32"} | self.describe()

    # Overridden by a family where it can

    def _embed(self, pixels: np.ndarray) -> Tensor:
        """(n, D) of uint8 (n, H, W, 3), n up to `FRAMES_AT_ONCE`."""
        raise TypeError(f"{self.name} does not embed single frames")

    def _classify(self, pixels: np.ndarray) -> Tensor:
        """(n, K) probabilities for uint8 (n, H, W, 3)."""
        raise TypeError(f"{self.name} knows no classes")

    def _embed_clip(self, frames: Frames) -> Tensor:
        """(D,) of a clip."""
        raise TypeError(f"{self.name} does not embed clips")

    def _embed_text(self, text: str) -> Tensor:
        """(D,) of a text."""
        raise TypeError(f"{self.name} does not embed texts")

    def _embed_tokens(self, text: str) -> tuple[list[int], Tensor]:
        """Token numbers (L,) without padding, and their features (L, D)."""
        raise TypeError(f"{self.name} does not embed tokens")

    def are_truncated(self, texts: Sequence[str]) -> list[bool]:
        """For each text, whether its end is cut off because it has more tokens than the model takes."""
        raise TypeError(f"{self.name} does not embed texts")

    # Public interface

    def embed_frames(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (T, D) of uint8 (T, H, W, 3); see the module's head for what it does not depend on.

        Raises:
            TypeError: of a model for clips. ItemError: MODEL_ERROR, the model gave numbers that are not finite.
        """
        return self._each_once(pixels, self._embed)

    def class_probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """float32 (T, K) of uint8 (T, H, W, 3), as `embed_frames`; each row sums to 1."""
        return self._each_once(pixels, self._classify)

    def embed_clip(self, frames: Frames) -> np.ndarray:
        """float32 (D,) of a clip; a model for frames gives the mean over the frames.

        Raises:
            ItemError: TOO_SHORT, fewer frames than the model can take; MODEL_ERROR as `embed_frames`.
        """
        if len(frames) < self.min_frames:
            raise ItemError(f"{self.name} needs {self.min_frames} frames, the clip has {len(frames)}", code="TOO_SHORT")
        if self.kind == "frame":
            return mean_features(self.embed_frames(frames.pixels))
        with _exact():
            return self._check_vectors(self._embed_clip(frames))

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float32 (n, D); one text at a time, so that texts are independent.

        Raises:
            TypeError: the model has no text half.
        """
        with _exact():
            return np.stack([self._check_vectors(self._embed_text(text)) for text in texts])

    def embed_tokens(self, text: str) -> tuple[list[int], np.ndarray]:
        """Numbers (L,) and features float32 (L, D) of the tokens of a text, the marks of begin and end among them.

        Raises:
            TypeError: the model does not show its tokens (`has_tokens`). ItemError: EMPTY_TEXT, there are none.
        """
        with _exact():
            numbers, features = self._embed_tokens(text)
            if not numbers:
                raise ItemError(f"{self.name} finds no token in {text!r}", code="EMPTY_TEXT")
            return numbers, self._check_vectors(features)

    def _each_once(self, pixels: np.ndarray, compute: Any) -> np.ndarray:
        digests = [hashlib.blake2b(frame.tobytes(), digest_size=16).digest() for frame in pixels]
        first = {digest: number for number, digest in reversed(list(enumerate(digests)))}
        order = sorted(first)
        parts = []
        with _exact():
            for start in range(0, len(order), FRAMES_AT_ONCE):
                chunk = [first[digest] for digest in order[start : start + FRAMES_AT_ONCE]]
                parts.append(self._check_vectors(compute(pixels[chunk])))
        place = {digest: number for number, digest in enumerate(order)}
        return np.concatenate(parts)[[place[digest] for digest in digests]]  # (T, D)

    def _check_vectors(self, vectors: Tensor) -> np.ndarray:
        array = vectors.detach().float().cpu().numpy()
        if not np.isfinite(array).all():
            raise ItemError(f"{self.name} gave numbers that are not finite", code="MODEL_ERROR")
        return np.ascontiguousarray(array, dtype=np.float32)


def open_extractor(name: str, device: str = "auto", preprocess: str = "") -> BaseExtractor:
    """The extractor called `name`, loaded at first use and then cached, see `v2t_eval.core.models`. `preprocess`: one
    of the family's `preprocesses`; "" for its usual one.

    Raises:
        UsageError: an unknown family or preprocessing, or a name without its part after ":".
        MissingDependencyError: a package, the weights or the device are not available.
    """
    family = name.partition(":")[0].replace("-", "_")
    extractor: type[BaseExtractor] = load("v2t_eval.extractors", family, "Extractor").Extractor
    preprocess = preprocess or extractor.preprocesses[0]
    if preprocess not in extractor.preprocesses:
        raise UsageError(f"{family} prepares pixels as {' or '.join(extractor.preprocesses)}, not as {preprocess!r}")
    device = models.device(device)
    return models.open_model((name, device, preprocess), lambda: extractor(name, device=device, preprocess=preprocess))


def frame_features(sample: Sample, extractor: BaseExtractor) -> np.ndarray:
    """float32 (T, D) of all frames of the sample's clip, computed once for all metrics."""
    key = ("frame features", extractor.name, extractor.preprocess)
    return sample.once(key, lambda: extractor.embed_frames(sample.frames.pixels))


def clip_features(sample: Sample, extractor: BaseExtractor, num_frames: int | None = None) -> np.ndarray:
    """float32 (D,) of the sample's clip, computed once for all metrics. `num_frames`: from the start, such as FVD's 16;
    None for all.

    Raises:
        ItemError: TOO_SHORT, the clip has fewer frames than that, or than the model can take.
    """
    key = ("clip features", extractor.name, extractor.preprocess, num_frames)

    def make() -> np.ndarray:
        frames = sample.frames
        if num_frames is not None and len(frames) < num_frames:
            raise ItemError(f"expected {num_frames} frames, {sample.id} has {len(frames)}", code="TOO_SHORT")
        if extractor.kind == "frame":
            return mean_features(frame_features(sample, extractor)[:num_frames])
        if num_frames is not None:
            frames = replace(frames, pixels=frames.pixels[:num_frames], times_s=frames.times_s[:num_frames])
        return extractor.embed_clip(frames)

    return sample.once(key, make)


def clip_embedding(sample: Sample, extractor: BaseExtractor) -> np.ndarray:
    """float64 (D,) of length 1, to compare with texts: of a model for frames the mean of their normalised features
    (CLIP4Clip's mean pooling, arXiv:2104.08860), of a model for clips what it gives."""
    if extractor.kind == "frame":
        return unit(mean_features(unit(frame_features(sample, extractor))))
    return unit(clip_features(sample, extractor))


def text_features(extractor: BaseExtractor, text: str) -> np.ndarray:
    """float32 (D,) of a text, read-only; cached, since many clips share a prompt."""
    return _text_features(extractor, text)


@lru_cache(maxsize=1 << 14)
def _text_features(extractor: BaseExtractor, text: str) -> np.ndarray:
    vector = extractor.embed_texts([text])[0]
    vector.flags.writeable = False
    return vector


models.on_release(_text_features.cache_clear)


def mean_features(features: np.ndarray) -> np.ndarray:
    """float32 (D,), the mean of (T, D); independent of the order of the frames, and of doubling each one."""
    columns = np.asarray(features, dtype=np.float64).T.tolist()
    return np.array([math.fsum(column) / len(features) for column in columns], dtype=np.float32)  # (D,)


def unit(features: np.ndarray) -> np.ndarray:
    """float64 (..., D) of length 1; zeros stay zeros."""
    features = np.asarray(features, dtype=np.float64)
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.where(length == 0, 1.0, length)


def versions(*packages: str) -> str:
    """`open_clip_torch 3.3.0, torch 2.14.1`: versions of packages, without build tags."""
    from importlib.metadata import version

    return ", ".join(f"{package} {version(package).partition('+')[0]}" for package in (*packages, "torch"))


@contextlib.contextmanager
def _exact() -> Iterator[None]:
    """No gradients, and no TF32, which would round products of a GPU to ten bits."""
    import torch

    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    matmul.allow_tf32 = False
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        matmul.allow_tf32 = before
