"""Whether a judge sees faults of composition: what the prompt names is all there, and bound to the wrong thing.

In: a judge, a number of clips. Out: a `FaultDetection` for each kind of composition: how well the chance that all its
questions are answered as wanted separates clips of the cartoon world from the same with the kind's fault
(`v2t_eval.audit.compositions`).
"""

from __future__ import annotations

from itertools import count
from math import prod

from v2t_eval.audit.clips import AuditClip, WorldAuditClip, world_clip
from v2t_eval.audit.compositions import FAULTS_OF_KIND, NAMES, suits
from v2t_eval.audit.judge_cache import CachedJudge
from v2t_eval.audit.judging import Step, detections
from v2t_eval.audit.record import FaultDetection
from v2t_eval.judge.grammar.wording import of_text
from v2t_eval.judge.question import Question
from v2t_eval.semantics.composition import kinds_of, with_answers, with_parents


def notice_compositions(
    judge: CachedJudge, num: int, seed: int, step: Step = lambda: None
) -> tuple[FaultDetection, ...]:
    """Ask about `num` clips of each kind, clean and with its fault; `step` is called after each clip."""
    rows: list[FaultDetection] = []
    for kind, fault in NAMES.items():
        pairs = []
        for clip in composed_clips(kind, num, seed):
            asked = questions_of(kind, clip, is_closed=judge.has_likelihoods)
            chances = [_chance(judge, clip, planted, asked) for planted in ("", fault)]
            if chances[0] is not None and chances[1] is not None:
                pairs.append((clip, chances[0], chances[1]))
            step()
        rows += detections(fault, kind.replace("_", " "), pairs)
    return tuple(rows)


def composed_clips(kind: str, num: int, seed: int) -> list[AuditClip]:
    """The first clips of stories that can have the fault of a kind, and whose prompt asks for the kind."""
    clips: list[AuditClip] = []
    for index in count():
        source = WorldAuditClip(world="story", seed=seed, index=index)
        scene = source.scene()
        if suits(scene) and FAULTS_OF_KIND[kind](scene) is not None:
            clip = world_clip(source)
            if kind in kinds_of(of_text(clip.prompt or "")):
                clips.append(clip)
        if len(clips) >= num:
            break
    return clips


def questions_of(kind: str, clip: AuditClip, *, is_closed: bool) -> list[Question]:
    """The questions of a kind about a clip's prompt, with those they depend on."""
    made = of_text(clip.prompt or "")
    asked = with_parents(made, kinds_of(made)[kind])
    return with_answers(asked) if is_closed else asked


def _chance(judge: CachedJudge, clip: AuditClip, fault: str, asked: list[Question]) -> float | None:
    """The chance that all are answered as wanted, assumed independent; None where one has no answer."""
    chances = [answer.chance for answer in judge.ask(clip.sample(fault, bool(fault) * 5), asked)]
    known = [chance for chance in chances if chance is not None]
    return prod(known) if len(known) == len(asked) else None
