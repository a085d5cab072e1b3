"""VBench-Long: a long clip is cut into scenes and pieces, each scored as a short clip.

In: frames of a clip. Out: the positions of its pieces, and `VBenchMetric`, what all dimensions share. Scenes end where
PySceneDetect's content detector (threshold 27) sees a cut; pieces are 2 s (10 s for human_action, temporal_style and
overall_consistency) and the last one of a scene reaches back to be as long as the others. Meant for clips of 5 s and
more. Letters: T frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.plugin import load
from cineloop.video.frames import Frames
from v2t_eval.core.features import BaseExtractor, open_extractor
from v2t_eval.core.measurement import Observation
from v2t_eval.core.metric import BaseMetric
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.total import VBenchTotal

PIECE_S, LONG_PIECE_S = 2.0, 10.0
LONG_FROM_S = 5.0
_THRESHOLD = 27.0
_LEAST_WIDTH = 256  # PySceneDetect halves, thirds ... wider frames down to about this


def scene_cuts(frames: Frames) -> list[int]:
    """Indices of the first frame of every new scene but the first; none for a clip without cuts.

    Raises:
        MissingDependencyError: PySceneDetect is not installed.
    """
    try:
        from scenedetect.common import FrameTimecode
        from scenedetect.detectors import ContentDetector
    except ImportError as error:
        raise MissingDependencyError(
            "cutting long clips needs PySceneDetect", hint="pip install scenedetect-headless"
        ) from error
    import cv2

    detector = ContentDetector(threshold=_THRESHOLD)
    height, width = frames.size
    factor = max(1, width // _LEAST_WIDTH)
    cuts: list[int] = []
    for number, frame in enumerate(frames.pixels):
        small = np.ascontiguousarray(frame[..., ::-1])  # BGR
        if factor > 1:
            small = cv2.resize(small, (width // factor, height // factor), interpolation=cv2.INTER_LINEAR)
        found = detector.process_frame(FrameTimecode(number, fps=frames.fps), small)
        cuts += [code.frame_num for code in found]
    return cuts


def pieces(num: int, piece: int, cuts: list[int] | tuple[int, ...] = ()) -> list[tuple[int, int]]:
    """(start, stop) of every piece of `piece` frames of a clip of T = `num` frames with new scenes at `cuts`.

    A scene shorter than a piece is one piece; a rest is filled up with frames before it.
    """
    edges = [0, *cuts, num]
    found = []
    for start, stop in zip(edges, edges[1:], strict=False):
        if stop - start < piece:
            found.append((start, stop))
            continue
        whole = list(range(start, stop - piece + 1, piece))
        found += [(at, at + piece) for at in whole]
        if whole[-1] + piece < stop:
            found.append((stop - piece, stop))
    return found


def sample_pieces(sample: Sample, piece_s: float, *, compat: bool) -> list[tuple[int, int]]:
    """Pieces of the sample's clip, computed once; the reference cuts the frame rate to whole numbers."""

    def make() -> list[tuple[int, int]]:
        frames = sample.frames
        piece = int(frames.fps) * piece_s if compat else frames.fps * piece_s
        return pieces(len(frames), max(1, round(piece)), scene_cuts(frames))

    return sample.once(("pieces", piece_s, compat), make)


@dataclass(frozen=True, kw_only=True)
class DimensionSettings:
    """`mode`: "fixed" repairs the reference's formula; "compat" repeats it with its defects, where the reference's
    backbone can be used. Every dimension adds `long`: cut clips into pieces as VBench-Long does."""

    mode: Literal["fixed", "compat"] = "fixed"


class VBenchMetric(BaseMetric):
    """A dimension of VBench; its evidence has `long_clip`.

    Class attributes, in addition to those of `BaseMetric`:
        piece_s: seconds of the pieces of a long clip.
        reference: what the reference uses for backbone, "" where it has none.
        families: how names of models begin that can be it; none where it cannot be had, and with it no `compat`.

    Raises:
        UsageError: mode=compat with another backbone: its numbers would be comparable with nothing.
    """

    piece_s: ClassVar[float] = PIECE_S
    reference: ClassVar[str] = ""
    families: ClassVar[tuple[str, ...]] = ()
    composite = VBenchTotal
    Settings: ClassVar[type[Any]] = DimensionSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        if self.compat and self.reference and not self.model_name().startswith(self.families):
            hint = f"a model that begins with {' or '.join(self.families)}, or mode=fixed"
            raise UsageError(
                f"{self.name}: mode=compat repeats VBench on its backbone, {self.reference}, "
                + (f"and not on {self.model_name()}" if self.families else "which is not to be had here"),
                hint=hint if self.families else "mode=fixed",
            )

    def model_name(self) -> str:
        """The backbone as the settings name it."""
        return str(getattr(self.settings, "model", ""))

    @property
    def compat(self) -> bool:
        """The reference's formula and preprocessing, defects and all."""
        return bool(self.settings.mode == "compat")

    def spans(self, sample: Sample) -> list[tuple[int, int]]:
        """(start, stop) of what is measured on its own: the whole clip, or its pieces."""
        if self.settings.long:
            return sample_pieces(sample, self.piece_s, compat=self.compat)
        return [(0, len(sample.frames))]

    def long_notes(self, rows: Sequence[Observation]) -> list[str]:
        """A note on clips that need the long form."""
        num = sum(bool(row.evidence["long_clip"]) for row in rows)
        if self.settings.long or not num:
            return []
        return [f"{num} of {len(rows)} clips last {LONG_FROM_S:g} s or more: VBench-Long cuts them (long=true)"]


def is_long(sample: Sample) -> bool:
    """Whether VBench-Long would cut the clip."""
    return sample.frames.duration_s >= LONG_FROM_S


def open_extractor_as(name: str, *, compat: bool, kind: str = "") -> BaseExtractor:
    """The extractor `name`; in `compat` with VBench's own preprocessing (resize of the tensor without antialias), where
    the family knows it. `kind`: the one that it must have."""
    family = load("v2t_eval.extractors", name.partition(":")[0].replace("-", "_"), "Extractor").Extractor
    if kind and family.kind != kind:
        raise UsageError(f"{name} embeds clips; a model for single frames is wanted", hint="such as starter-tower")
    return open_extractor(name, preprocess="vbench" if compat and "vbench" in family.preprocesses else "")


def describe_backbone(extractor: BaseExtractor) -> dict[str, str]:
    """Its fingerprint, each key under `backbone`."""
    return {f"backbone {key}": value for key, value in extractor.fingerprint().items()}
