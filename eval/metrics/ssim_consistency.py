"""SSIM consistency: how alike in structure a frame is to the next.

In: frames. Out: the mean SSIM (grey, window 11, sigma 1.5; `v2t_eval.vbench.ssim`) of frames 1 / fps seconds apart; the
usual 8 makes a clip's score the same whatever the file's rate, and 0 (or `compat`) compares neighbours. The sum does
not depend on the order: a clip shown backwards scores the same to the bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import fsum

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Observation
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.dimension import Dimension, Part
from v2t_eval.vbench.picks import pairs_apart
from v2t_eval.vbench.ssim import grey_frames, ssim


class Metric(Dimension):
    name = "ssim_consistency"
    value_range = (-1.0, 1.0)
    detects = "frames that do not fit together: disorder, cuts, noise, flutter"
    misses = (
        "order reversed (the same to the bit), colour, whether anything happens (a frozen clip would be perfect; it is "
        "named and left out), blur; fast motion costs as much as a fault"
    )

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        times = sample.frames.times_s[start:stop]
        pairs = pairs_apart(times, self.pair_fps())
        if not pairs:
            raise ItemError(f"{sample.id} has one frame: there is nothing to compare", code="TOO_SHORT")
        grey = grey_frames(sample)[start:stop]  # (T, H, W)
        total = fsum(ssim(grey[a], grey[b]) for a, b in pairs)
        apart_s = float(times[pairs[0][1]] - times[pairs[0][0]])
        return Part(sum=total / len(pairs), count=1, more={"apart_s": apart_s})

    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        """Frozen clips; nothing about VBench, which has no such dimension."""
        return tuple(note for note in super().notes(rows) if "frozen" in note)
