"""VBench's colour: has the thing the colour that was asked for?

In: frames and a prompt (or `asked: {color, object}`). Out: of 16 frames in which a detector sees the thing, the share
in which it has the colour; or a judge's probability of yes. A region of the thing itself must have the colour in its
caption, as a word of its own; in the reference the best region must be the thing, any region's caption may hold the
colour, and clips without any colour word leave the denominator. What stands there in the thing's place (of another
kind, or of a kind the detector does not know) is judged by its colour too: whether it is the thing asked for is
`object_class`. A clip with nothing in its place, or with several other things and no saying which, has the value 0 and
is counted (`not_shown`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from v2t_eval.core.measurement import Evidence, Observation
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.english import COLORS
from v2t_eval.judge.grammar.wording import exists, is_colored
from v2t_eval.semantics import asked
from v2t_eval.semantics.dimension import SemanticDimension
from v2t_eval.semantics.formulas import color_counts


class Metric(SemanticDimension):
    name = "color"
    detects = "the colour of the thing asked for"
    misses = "what it does, what else is there"
    requires = (
        "nothing for the cartoon world; for other clips detector=hf:google/owlv2-base-patch16-ensemble or v2t:MODEL"
    )
    version = 3

    def measure_piece(self, sample: Sample) -> Evidence:
        thing = asked.colored_thing(sample)
        if self.judge is not None:
            plain = is_colored(thing) if thing.count == 1 else exists(thing)
            return self.ask(sample, *(self.starter_question(sample, "color") or [plain]))
        frames = self.detector.regions(sample, (thing.noun,), COLORS)
        there, right = color_counts(frames, thing)
        if not there:
            self.readable_frames(sample, frames, replace(thing, count=1))
        value = right / there if there else 0.0
        return {"value": value, "there": there, "right": right}

    def counts(self, rows: Sequence[Observation]) -> dict[str, int]:
        """Besides: clips in which the thing is never seen."""
        return super().counts(rows) | {"not_shown": sum(row.evidence.get("there") == 0 for row in rows)}
