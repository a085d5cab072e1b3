"""VBench's motion smoothness: how well a frame can be drawn from those around it.

In: frames. Out: (255 - mean absolute difference) / 255 between true frames and frames interpolated half-way between
their neighbours: every frame from those 1 / fps seconds before and after, whatever the file's rate. The reference
draws every odd frame with AMT-S, at a size that depends on the memory of the graphics card (defect D7); the usual way
here is a warp along a classical optical flow, at full size.
"""

from __future__ import annotations

from dataclasses import dataclass

from cineloop.errors import ItemError
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.dimension import Dimension, FrameSettings, Part
from v2t_eval.vbench.interpolate import open_interpolator
from v2t_eval.vbench.picks import triples_apart
from v2t_eval.vbench.ssim import difference, likeness


@dataclass(frozen=True, kw_only=True)
class SmoothnessSettings(FrameSettings):
    """`interpolator`: see `v2t_eval.vbench.interpolate`; the rest as of every dimension."""

    interpolator: str = "dis"


class Metric(Dimension):
    name = "motion_smoothness"
    detects = "jumps, frames in disorder, flutter of brightness, noise"
    misses = (
        "order reversed, whether anything happens (a frozen clip would be perfect; it is named and left out), "
        "blur, whether an even motion is a natural one"
    )
    requires = "nothing; for an interpolator with weights interpolator=torchscript:FILE or raft:FILE"
    reference = "AMT-S"
    Settings = SmoothnessSettings

    def prepare(self) -> None:
        open_interpolator(self.settings.interpolator)

    def describe(self) -> dict[str, str]:
        return open_interpolator(self.settings.interpolator).fingerprint()

    def backbone(self) -> str:
        return open_interpolator(self.settings.interpolator).says

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        frames = sample.frames
        if stop - start < 3:
            have = stop - start
            raise ItemError(f"{sample.id}: smoothness needs three frames, there are {have}", code="TOO_SHORT")
        apart = triples_apart(frames.times_s[start:stop], self.settings.fps)
        triples = [(start + a, start + b, start + c) for a, b, c in apart]
        draw = open_interpolator(self.settings.interpolator).middle
        pixels = frames.pixels
        total = sum(difference(draw(pixels[a], pixels[c]), pixels[b]) for a, b, c in triples)
        apart_s = float(frames.times_s[triples[0][1]] - frames.times_s[triples[0][0]])
        return Part(sum=likeness(total, len(triples) * pixels[0].size), count=1, more={"apart_s": apart_s})
