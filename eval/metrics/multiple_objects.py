"""VBench's multiple objects: are all the things that were asked for there at the same time?

In: frames and a prompt (or `asked: {object: "bird and cat"}`). Out: the share of 16 frames in which a detector finds
all of them, or a judge's probability of yes to each. `fixed` wants as many of each as the prompt says, and two of "a
dog and a dog"; the reference only looks whether the label occurs.
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
    name = "multiple_objects"
    detects = "whether all things asked for are there together"
    misses = "how they stand to each other, colours, what they do, order of frames"
    requires = (
        "nothing for the cartoon world; for other clips detector=hf:google/owlv2-base-patch16-ensemble or v2t:MODEL"
    )
    version = 2

    def measure_piece(self, sample: Sample) -> Evidence:
        things = asked.things(sample)
        if self.judge is not None:
            bare = [replace(thing, color=None) for thing in things]
            return self.ask(sample, *(exists(thing) if thing.count == 1 else exactly(thing) for thing in bare))
        nouns = tuple(dict.fromkeys(thing.noun for thing in things))
        frames = self.readable_frames(sample, self.detector.regions(sample, nouns), *things)
        hits = sum(shows_all(frame, things) for frame in frames)
        return {"value": hits / len(frames), "hits": hits, "frames": len(frames)}
