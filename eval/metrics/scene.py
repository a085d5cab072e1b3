"""VBench's scene: is this the place that was asked for?

In: frames and a prompt (or `asked: {scene}`). Out: the share of 16 frames whose caption names it; or, with a judge,
its probability of yes. Every word of the scene counts as a word of its own: in the reference "bar" is in "barn" too.
"""

from __future__ import annotations

from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.wording import happens
from v2t_eval.semantics import asked
from v2t_eval.semantics.dimension import SemanticDimension
from v2t_eval.semantics.formulas import names_scene


class Metric(SemanticDimension):
    name = "scene"
    detects = "the place"
    misses = "who is there and what they do, order of frames"
    requires = "nothing for the cartoon world; for other clips detector=v2t:MODEL"
    version = 2
    able = "captions"
    reference = "Tag2Text"

    def measure_piece(self, sample: Sample) -> Evidence:
        place = asked.scene(sample)
        if self.judge is not None:
            return self.ask(sample, *(self.starter_question(sample, "place") or [happens(place)]))
        captions = self.detector.captions(sample)
        hits = sum(names_scene(caption, place) for caption in captions)
        return {"value": hits / len(captions), "hits": hits, "frames": len(captions)}
