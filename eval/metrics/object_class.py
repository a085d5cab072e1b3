"""VBench's object class: is the kind of thing that was asked for there?

In: frames and a prompt (or `asked: {object}`). Out: the share of 16 frames in which a detector finds it, or a judge's
probability of yes. `fixed` wants as many of it as the prompt says; the reference does not count.
"""

from __future__ import annotations

from dataclasses import replace

from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.wording import exactly, exists
from v2t_eval.semantics import asked
from v2t_eval.semantics.dimension import SemanticDimension
from v2t_eval.semantics.formulas import shows_all


class Metric(SemanticDimension):
    name = "object_class"
    detects = "whether the kind of thing asked for is there"
    misses = "its colour, what it does, what else is there, order of frames"
    requires = (
        "nothing for the cartoon world; for other clips detector=hf:google/owlv2-base-patch16-ensemble or v2t:MODEL"
    )
    version = 3

    def measure_piece(self, sample: Sample) -> Evidence:
        thing = asked.thing(sample)
        if self.judge is not None:
            bare = replace(thing, color=None)
            plain = exists(bare) if thing.count == 1 else exactly(thing)
            return self.ask(sample, *(self.starter_question(sample, "kind") or [plain]))
        frames = self.readable_frames(sample, self.detector.regions(sample, (thing.noun,)), thing)
        hits = sum(shows_all(frame, [thing]) for frame in frames)
        return {"value": hits / len(frames), "hits": hits, "frames": len(frames)}
