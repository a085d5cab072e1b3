"""VBench's temporal flickering: how little the pixels change from frame to frame.

In: frames. Out: (255 - mean absolute difference) / 255. `compat`: of all neighbours. `fixed`: within 1 / fps seconds
the largest of the changes from frame to frame and from end to end, so that neither the file's frame rate nor a flicker
faster than `fps` hides anything; at 8 frames a second the two are the same. Sums are whole numbers: a clip shown
backwards or in a mirror scores the same to the bit. Meant for clips in which nothing moves: `static_filter` leaves the
others out, by the reference's filter over optical flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.metric import Summary
from v2t_eval.core.sample import Sample
from v2t_eval.vbench.dimension import Dimension, FrameSettings, Part
from v2t_eval.vbench.flow import open_flow
from v2t_eval.vbench.picks import pairs_apart
from v2t_eval.vbench.ssim import frame_difference, likeness
from v2t_eval.vbench.still import is_static


@dataclass(frozen=True, kw_only=True)
class FlickerSettings(FrameSettings):
    """Attributes in addition to those of every dimension:

    static_filter: count only clips in which nothing moves.
    flow: optical flow of the filter, see `v2t_eval.vbench.flow`; the reference has RAFT.
    """

    static_filter: bool = False
    flow: str = "dis"


class Metric(Dimension):
    name = "temporal_flickering"
    detects = "flicker, flutter of brightness, noise, frames in disorder"
    misses = (
        "order reversed, left and right exchanged (the same to the bit), whether anything happens (a frozen clip would "
        "be perfect; it is named and left out), blur; takes motion for flicker unless static_filter is on"
    )
    requires = "nothing; for the reference's static filter flow=raft:FILE"
    Settings = FlickerSettings

    def prepare(self) -> None:
        if self.settings.static_filter:
            open_flow(self.settings.flow)

    def describe(self) -> dict[str, str]:
        return open_flow(self.settings.flow).fingerprint() if self.settings.static_filter else {}

    def part(self, sample: Sample, start: int, stop: int) -> Part:
        frames = sample.frames
        times = frames.times_s[start:stop]
        pairs = [(start + a, start + b) for a, b in pairs_apart(times, self.pair_fps())]
        if not pairs:
            raise ItemError(f"{sample.id} has one frame: nothing can flicker", code="TOO_SHORT")
        changes = [
            max(frame_difference(sample, a, b), *(frame_difference(sample, t, t + 1) for t in range(a, b)))
            for a, b in pairs
        ]
        value = likeness(sum(changes), len(changes) * frames.pixels[0].size)
        apart_s = float(frames.times_s[pairs[0][1]] - frames.times_s[pairs[0][0]])
        return Part(sum=value, count=1, more={"apart_s": apart_s})

    def measure(self, sample: Sample) -> Evidence:
        """As every dimension, and what the static filter says."""
        evidence = super().measure(sample)
        if self.settings.static_filter:
            evidence["more"] = evidence["more"] | {"static": is_static(sample, open_flow(self.settings.flow))}
        return evidence

    def counts_in(self, row: Observation) -> bool:
        """Clips in which something moves are not meant."""
        return super().counts_in(row) and bool(row.evidence["more"].get("static", True))

    def counts(self, rows: Sequence[Observation]) -> dict[str, int]:
        """Besides: clips that the static filter leaves out."""
        if not self.settings.static_filter:
            return super().counts(rows)
        return super().counts(rows) | {"moving": sum(not row.evidence["more"]["static"] for row in rows)}

    def summarise(self, rows: Sequence[Observation], references: Sequence[Observation]) -> Summary:
        """As every dimension; leaving out a clip that moves is a choice and no failure to score it."""
        summary = super().summarise(rows, references)
        if not self.settings.static_filter or not summary.scored:
            return summary
        left_out = sum(not row.evidence["more"]["static"] for row in rows if super(Metric, self).counts_in(row))
        return replace(summary, scored=summary.scored + left_out)

    def notes(self, rows: Sequence[Observation]) -> tuple[str, ...]:
        notes = super().notes(rows)
        if not self.settings.static_filter:
            return (*notes, "no static filter: motion counts as flicker (static_filter=true)")
        moving, flow = self.counts(rows)["moving"], open_flow(self.settings.flow)
        return (*notes, f"static filter by {flow.says} (the reference has RAFT): {moving} of {len(rows)} clips move")
