"""Answer questions about clips in which nothing moves by rule.

In: a question. Out: its `Answer` for a still clip, or None where a model must be asked. Judges are confidently wrong
about such clips, and no model is needed: where every frame is the first one (`cineloop.video.still`), the figure stands
still and goes nowhere.
"""

from __future__ import annotations

from cineloop.world.language.plain_questions import NONE, PLAIN
from v2t_eval.judge.answer import Answer
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import normalise

RULE = "every frame is the first one, up to what a codec does to it, so the figure stands still"
_TRUE = {"motion": "still", "direction": NONE, "speed": NONE}


def of_still_clip(question: Question) -> Answer | None:
    """The answer to a plain question, or a plain claim, about motion, direction or speed; None for any other."""
    if question.about not in _TRUE:
        return None
    plain, value = PLAIN[question.about], _TRUE[question.about]
    if question.form == "choice" and plain.answers[value] in question.choices:
        text, wanted = plain.answers[value], question.answer
    elif question.form == "yes_no" and question.question in plain.claims.values():
        text, wanted = "yes" if plain.claims.get(value) == question.question else "no", normalise(question.answer)
    else:
        return None
    chance = float(text == wanted)
    return Answer(question=question, text=text, chance=chance, raw=chance, chances={text: 1.0}, asked=0, rule=RULE)
