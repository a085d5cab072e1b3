"""Fit a judge's calibration on clips with known truth, and report the reliability of its answers before and after.

In: a judge. Renders clips of the cartoon world in which every answer of every closed list is true of some (split seen,
a seed of its own), every second one with the artifacts of a weak generator, and encodes them as mp4. Every fact of a
clip is asked as a closed question, and as one true and one false claim. Each claim is decided by maps fitted on the
other two thirds of the clips; then all are fitted. Out: the calibration (maps, and the reliability of the answers) and
two tables, by kind of fact and by answer. `v2t_eval.judge` reads it from `judge.json` next to a model's weights. A
judge is not offered answers with kappa below .6, or true of fewer than ten clips.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from cineloop.log import logger
from v2t_eval.audit.agreement import Claim, by_kind
from v2t_eval.audit.calibrating import Trial, cross_fitted, decided, fit_audited, held
from v2t_eval.audit.claims import Balance
from v2t_eval.audit.clips import answers_of, planted, through_mp4
from v2t_eval.audit.record import Agreement
from v2t_eval.judge.calibration import Calibration, kind_of
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.plain_wording import LISTS, plain_claim, plain_question
from v2t_eval.judge.question import Question
from v2t_eval.sample import Clip, Sample


def calibration_of(judge: Judge, *, num: int, seed: int, size: int) -> tuple[Calibration, str]:
    """The calibration fitted on `num` clips of `size` pixels a side, and tables of its effect on held-out ones."""
    judge.calibration = None
    trials, lost = ask(judge, num, seed, size)
    note = f"world, split seen, seed {seed}, {size} pixels, mp4, every second clip degraded"
    fitted = fit_audited(trials, judge=judge.identity, note=note)
    claims = held(trials, {kind_of(t.question): t.question.choices for t in trials if t.question.choices})
    about = f"{judge.identity}: {len(claims)} claims on {num} clips, {lost} without an answer; held-out clips only"
    kinds = table(agreement([decided(each, None) for each in claims]), agreement(cross_fitted(claims)))
    return fitted, "\n".join((about, kinds, answer_table(fitted)))


def clips(num: int, seed: int, size: int) -> Iterator[tuple[Sample, dict[str, str]]]:
    """Clips as decoded, and the true values of each by factor."""
    for number, source in enumerate(planted("seen", seed, num)):
        frames = replace(source, is_degraded=number % 2 == 1).draw(source.scene(), (size, size))
        yield Sample(id=source.content, clip=Clip(content="", frames=through_mp4(frames))), answers_of(source)


def ask(judge: Judge, num: int, seed: int, size: int) -> tuple[list[Trial], int]:
    """Every question with an answer, and how many got none."""
    found: list[Trial] = []
    lost, begun, balance = 0, time.monotonic(), Balance()
    for index, (clip, true) in enumerate(clips(num, seed, size)):
        asked = [each for factor, value in true.items() for each in _questions(balance, factor, value, str(index))]
        for (question, is_true), heard in zip(asked, judge.ask(clip, [q for q, _ in asked]), strict=True):
            if heard.votes:
                found.append(Trial(clip=index, question=question, true=is_true, heard=heard))
            else:
                lost += 1
        if (index + 1) % 50 == 0:
            logger.info("%d of %d clips, %.0f s", index + 1, num, time.monotonic() - begun)
    return found, lost


def _questions(balance: Balance, factor: str, value: str, name: str) -> list[tuple[Question, bool]]:
    """The closed question about a factor, and a true and a false claim."""
    claims = LISTS[factor].claims
    claimed = [value, balance.false(factor, value, [other for other in claims if other != value], name)]
    return [
        (plain_question(factor, value), True),
        *((plain_claim(factor, each), each == value) for each in claimed if each in claims),
    ]


def agreement(claims: list[Claim]) -> dict[str, Agreement]:
    """By kind of fact, claims of yes and no apart."""
    closed = by_kind([claim for claim in claims if not claim.kind.startswith("yes_no ")])
    spoken = by_kind([claim for claim in claims if claim.kind.startswith("yes_no ")])
    return {each.kind: each for each in closed} | {
        each.kind if each.kind.startswith("yes_no ") else f"yes_no {each.kind}": each for each in spoken
    }


def answer_table(fitted: Calibration) -> str:
    """A row for each answer of a closed list and each claim, the worst of its kind first."""
    lines = ["| kind | answer | clips | right | kappa | offered |", "|---" * 6 + "|"]
    for kind, answers in fitted.answers.items():
        for answer, each in sorted(answers.items(), key=lambda item: item[1].kappa):
            kappa = f"{each.kappa:.2f} [{each.low:.2f}, {each.high:.2f}]"
            offered = "yes" if each.passes else "no"
            lines.append(f"| {kind} | {answer} | {each.n} | {each.right} | {kappa} | {offered} |")
    return "\n".join(lines)


def table(before: dict[str, Agreement], after: dict[str, Agreement]) -> str:
    """A row a kind; before → after calibration."""
    lines = ["| kind | claims | AUROC | kappa | yes bias | calibration error |", "|---" * 6 + "|"]
    for kind, a in before.items():
        b = after[kind]
        lines.append(
            f"| {kind} | {a.n} | {a.auroc:.3f} [{a.auroc_low:.3f}, {a.auroc_high:.3f}] | {a.kappa:.2f} → {b.kappa:.2f} "
            f"| {a.yes_bias:+.3f} → {b.yes_bias:+.3f} "
            f"| {a.expected_calibration_error:.3f} → {b.expected_calibration_error:.3f} |"
        )
    return "\n".join(lines)
