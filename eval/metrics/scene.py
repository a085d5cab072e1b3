"""VBench's scene: is this the place that was asked for?

In: frames and a prompt (or `asked: {scene}`). Out: the share of 16 frames whose caption names it; or, `fixed` with a
judge, its probability of yes. `compat`: every word of the scene anywhere in the caption, "bar" in "barn" too. `fixed`:
as words of their own. With `detector=v2t` and `compat` the captioner describes each frame by itself, where the
reference has Tag2Text.
"""

from __future__ import annotations

from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample
from v2t_eval.judge.question import Question
from v2t_eval.judge.wording import happens
from v2t_eval.semantics import asked
from v2t_eval.semantics.detectors import NUM_FRAMES
from v2t_eval.semantics.dimension import SemanticDimension
from v2t_eval.semantics.formulas import scene_shown, scene_shown_compat
from v2t_eval.vbench.picks import middle_indices


class Metric(SemanticDimension):
    name = "scene"
    detects = "the place"
    misses = "who is there and what they do, order of frames"
    requires = "nothing for the cartoon world; for other clips detector=v2t:MODEL"
    version = 2
    able = "captions"
    reference = "Tag2Text"
    judge_has_compat = True

    def measure_piece(self, sample: Sample) -> Evidence:
        place = asked.scene(sample)
        if self.judge is not None and self.compat:
            self.judge.askable(sample, [Question(id="", question=happens(place))])
            captions = self.judge.captions_of(sample, middle_indices(NUM_FRAMES, len(sample.frames)))
        elif self.judge is not None:
            return self.ask(sample, *(self.starter_question(sample, "place") or [happens(place)]))
        else:
            captions = self.detector.captions(sample)
        there = scene_shown_compat if self.compat else scene_shown
        hits = sum(there(caption, place) for caption in captions)
        return {"value": hits / len(captions), "hits": hits, "frames": len(captions)}
