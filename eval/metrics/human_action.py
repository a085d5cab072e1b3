"""VBench's human action: is it done what was asked for?

In: frames and a prompt (or `asked: {action}`, "riding a bike"). Out: 1 when the action is among the five best classes
with a score of .85 or more, else 0; or a judge's probability of yes. The reference
reads the action after "person is ", cut at "-" and "_" (D11: "roller-skating" is "roller"); here it is taken whole, and
one that is not one of the classifier's classes is refused. The cartoon world's
referee reads what the figures do, persons or not.
"""

from __future__ import annotations

import re

from cineloop.errors import ItemError
from v2t_eval.core.measurement import Evidence
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.wording import does
from v2t_eval.semantics import asked
from v2t_eval.semantics.dimension import SemanticDimension
from v2t_eval.semantics.formulas import SOMETHING, TOP, action_hit
from v2t_eval.vbench.long import LONG_PIECE_S


class Metric(SemanticDimension):
    name = "human_action"
    detects = "what is done"
    misses = "who does it, where, in which direction"
    requires = (
        "nothing for the cartoon world; for other clips detector=action:ID_OR_FOLDER (a model of Kinetics) or v2t:MODEL"
    )
    version = 3
    able = "actions"
    reference = "UMT-L/16 of Kinetics-400"
    piece_s = LONG_PIECE_S

    def measure_piece(self, sample: Sample) -> Evidence:
        action = asked.action(sample)
        if self.judge is not None:
            # Of one cartoon figure: what it does among all that figures do; who walks, rolls or flies moves along.
            plain = does(sample.prompt or "", action)
            return self.ask(sample, *(self.starter_question(sample, "motion") or [plain]))
        classes = getattr(self.detector, "classes", None)
        if classes is not None:  # "petting animal (not cat)" is asked for without its bracket
            action = next((name for name in classes if re.sub(r" ?\([^)]*\)", "", name) == action), action)
        if classes is not None and action not in classes:
            raise ItemError(
                f"{sample.id}: {action!r} is not one of the {len(classes)} classes of {self.detector.name}",
                code="UNKNOWN_ACTION",
                hint="name one of them under `asked: {action: ...}`, or ask a judge: detector=v2t:MODEL",
            )
        ranked = self.detector.actions(sample)
        named = [name for name, _ in ranked]
        if action not in named and SOMETHING in named:
            raise ItemError(f"{sample.id}: {self.detector.name} has not read what every figure does", code="UNREAD")
        # A classifier ranks what the clip may show; the referee lists what its figures do, in several words each.
        value = float(action_hit(action, ranked, TOP if classes is not None else len(ranked)))
        return {"value": value, "best": ranked[0][0] if ranked else "", "score": ranked[0][1] if ranked else 0.0}
