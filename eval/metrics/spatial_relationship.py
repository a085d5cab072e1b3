"""VBench's spatial relationship: position of one thing relative to another.

In: frames and a prompt (or `asked: {object_a, object_b, relationship}`). Out: the mean over 16 frames of the best pair
of boxes: 1 when their centres are further apart along the axis asked for than along the other, less when they overlap
by more than a tenth, else 0; or a judge's probability of yes. The side counts, and one box must be of each thing, where
the reference takes left for right, top for bottom, and two boxes of one thing.
"""

from __future__ import annotations

from math import fsum

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.wording import stands
from v2t_eval.semantics import asked
from v2t_eval.semantics.dimension import SemanticDimension
from v2t_eval.semantics.formulas import side, spatial_score


class Metric(SemanticDimension):
    name = "spatial_relationship"
    detects = "left from right and above from below"
    misses = "what the things do, colours; behind and inside, unless a judge is asked"
    requires = (
        "nothing for the cartoon world; for other clips detector=hf:google/owlv2-base-patch16-ensemble or v2t:MODEL"
    )
    version = 2

    def measure_piece(self, sample: Sample) -> Evidence:
        """See `SemanticDimension.measure_piece`; cartoon clips need exactly two figures."""
        a, how, b = asked.relation(sample)
        if self.judge is not None:
            return self.ask(sample, stands(a, how, b))
        try:
            side(how)
        except ValueError as problem:
            raise ItemError(f"{sample.id}: {problem}", code="NOT_BY_BOXES", hint="ask a judge: detector=v2t") from None
        frames = self.readable_frames(
            sample, self.detector.regions(sample, tuple(dict.fromkeys((a.noun, b.noun)))), a, b
        )
        scores = [spatial_score(frame, a.noun, how, b.noun) for frame in frames]
        return {"value": fsum(scores) / len(scores), "hits": sum(each > 0 for each in scores), "frames": len(scores)}
