"""Fit a judge's calibration, and measure the reliability of every answer of its closed lists on held-out clips.

In: a judge. Clips of the cartoon world in which every answer of every closed list is true of some (split seen, a seed
of its own), every second one with the artifacts of a weak generator, are encoded as mp4. Every fact of a clip is asked
as a closed question, and as one true and one false claim: `JudgeResponse`s. Out: a `Calibration` with maps and, for
every answer and every claim, its `Reliability`, and two tables, by kind of fact and by answer. For an open question
the true answer is one claim, and another offered answer, drawn so that each is claimed as often falsely as truly
(`Balance`), a false one. Claims are decided by maps fitted on the other folds of clips. Failing answers are removed
from their list and the rest is measured again, since the likelihood is normalised over the offered answers, until
all that are left pass.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import fsum

from cineloop.log import logger
from v2t_eval.audit.agreement import Claim, agreement_of, by_kind
from v2t_eval.audit.claims import Balance
from v2t_eval.audit.clips import answers_of, through_mp4, world_clips
from v2t_eval.audit.record import Agreement
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.judge.answer import Votes
from v2t_eval.judge.calibration import Calibration, Reliability, chance_of, fit, kind_of
from v2t_eval.judge.grammar.wording import LISTS, plain_claim, plain_question
from v2t_eval.judge.judge import Judge
from v2t_eval.judge.question import Question

FOLDS = 3
Lists = dict[str, tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class JudgeResponse:
    """A question asked of a judge: with a list of answers, the wanted one being true; or a claim, `true` or not."""

    clip: int
    question: Question
    heard: Votes
    true: bool = True


@dataclass(frozen=True, kw_only=True)
class HeldOutClaim:
    """A claim, its probability before calibration, and what it claims (an answer, or a claim's text); `likeliest`: the
    probability of another answer that is likelier, None where there is none."""

    clip: int
    question: Question
    answer: str
    true: bool
    raw: float
    likeliest: float | None = None

    @property
    def kind(self) -> str:
        return kind_of(self.question)


def fit_calibration(trials: Sequence[JudgeResponse], *, judge: str, note: str) -> Calibration:
    """The calibration over all trials, and the reliability of every answer.

    Raises:
        UsageError: no trial got an answer.
    """
    whole: Lists = {kind_of(t.question): t.question.choices for t in trials if t.question.choices}
    answers = _untrue_lists(trials, whole)
    offered, before = dict(whole), None
    while offered != before:
        for kind, table in reliabilities(cross_fit(held_out_claims(trials, offered))).items():
            answers[kind] |= {answer: each for answer, each in table.items() if answer in offered.get(kind, table)}
        before = offered
        offered = {kind: tuple(a for a in offered[kind] if answers[kind][a].passes) for kind in whole}
    # A kind without reliable answers still gets a map, over its whole list.
    claims = held_out_claims(trials, {kind: offered[kind] if len(offered[kind]) > 1 else whole[kind] for kind in whole})
    return Calibration(
        judge=judge, maps=_fit(claims, judge).maps, clips=len({t.clip for t in trials}), note=note, answers=answers
    )


def held_out_claims(trials: Sequence[JudgeResponse], lists: Mapping[str, tuple[str, ...]]) -> list[HeldOutClaim]:
    """The claims of trials; of an open question two, the true answer and a false one, if offered."""
    held_out: list[HeldOutClaim] = []
    balance = Balance()
    for trial in trials:
        question, kind = trial.question, kind_of(trial.question)
        if not question.choices:
            shares = {question.question: _mean(trial.heard, "yes", None)}
            claims = [(question.question, trial.true)]
        else:
            offered = lists[kind]
            others = [each for each in offered if each != question.answer]
            claimed = []
            if len(offered) > 1:  # a single answer leaves no choice
                claimed = [question.answer] * (question.answer in offered)
                claimed.append(balance.false(kind, question.answer, others, str(trial.clip)))
            claims = [(each, each == question.answer) for each in claimed]
            shares = {each: _mean(trial.heard, each, offered) for each in offered} if claims else {}
        top = max(shares, key=lambda each: shares[each] or 0.0, default="")
        for answer, true in claims:
            if (raw := shares[answer]) is not None:
                other = None if answer == top else shares[top]
                held_out.append(
                    HeldOutClaim(clip=trial.clip, question=question, answer=answer, true=true, raw=raw, likeliest=other)
                )
    return held_out


def cross_fit(claims: Sequence[HeldOutClaim]) -> list[Claim]:
    """Each claim with the chance by maps that were fitted on the clips of the other folds."""
    decisions = []
    for fold in range(FOLDS):
        rest = [each for each in claims if each.clip % FOLDS != fold]
        maps = _fit(rest, "") if rest else None
        decisions += [decide(each, maps) for each in claims if each.clip % FOLDS == fold]
    return decisions


def decide(claim: HeldOutClaim, calibration: Calibration | None) -> Claim:
    """The claim as the judge decides it; by the raw probability where there is no calibration."""
    chance = chance_of(calibration, claim.question, claim.raw, claim.likeliest)
    return Claim(
        clip=str(claim.clip), kind=claim.kind, answer=claim.answer, true=claim.true, chance=chance, yes=chance >= 0.5
    )


def reliabilities(claims: Sequence[Claim]) -> dict[str, dict[str, Reliability]]:
    """By kind of fact and answer."""
    by_kind: dict[str, dict[str, Reliability]] = {}
    for kind, answer in dict.fromkeys((each.kind, each.answer) for each in claims):
        own = [each for each in claims if (each.kind, each.answer) == (kind, answer)]
        value, ends = agreement_of(own)
        true = [each for each in own if each.true]
        by_kind.setdefault(kind, {})[answer] = Reliability(
            n=len({each.clip for each in true}), right=sum(each.yes for each in true),
            kappa=round(value or 0.0, 4), low=round(ends.low, 4), high=round(ends.high, 4),
        )  # fmt: skip
    return by_kind


def _untrue_lists(trials: Sequence[JudgeResponse], lists: Lists) -> dict[str, dict[str, Reliability]]:
    """Every answer and claim, initialised as true of no clip."""
    by_kind = {kind: dict.fromkeys(choices, Reliability()) for kind, choices in lists.items()}
    for trial in trials:
        if not trial.question.choices:
            by_kind.setdefault(kind_of(trial.question), {})[trial.question.question] = Reliability()
    return by_kind


def _mean(heard: Votes, answer: str, offered: Sequence[str] | None) -> float | None:
    """The mean over votes of the answer's share among those offered; None where no vote has any of these."""
    shares = []
    for vote in heard.votes:
        total = 1.0 if offered is None else fsum(vote.get(each, 0.0) for each in offered)
        if total > 0:
            shares.append(vote.get(answer, 0.0) / total)
    return min(1.0, fsum(shares) / len(shares)) if shares else None


def _fit(claims: Sequence[HeldOutClaim], judge: str) -> Calibration:
    kinds, raws, truths = [c.kind for c in claims], [c.raw for c in claims], [c.true for c in claims]
    return fit(kinds, raws, truths, judge=judge)


def calibration_of(judge: Judge, *, num: int, seed: int, size: int) -> tuple[Calibration, str]:
    """The calibration fitted on `num` clips of `size` pixels a side, and tables of its effect on held-out ones."""
    judge.calibration = None
    trials, lost = ask(judge, num, seed, size)
    note = f"world, split seen, seed {seed}, {size} pixels, mp4, every second clip degraded"
    fitted = fit_calibration(trials, judge=judge.identity, note=note)
    claims = held_out_claims(trials, {kind_of(t.question): t.question.choices for t in trials if t.question.choices})
    answers = [(kind, answer) for kind, table in fitted.answers.items() for answer in table]
    offered = sum(not fitted.refutation(*each) for each in answers)
    about = f"{judge.identity}: {len(claims)} claims on {num} clips, {lost} without an answer; held-out clips only; "
    about += f"{offered} of {len(answers)} answers and claims are offered"
    kinds = table(agreement([decide(each, None) for each in claims]), agreement(cross_fit(claims)))
    return fitted, "\n".join((about, kinds, answer_table(fitted)))


def clips(num: int, seed: int, size: int) -> Iterator[tuple[Sample, dict[str, str]]]:
    """Clips as decoded, and the true values of each by factor."""
    for number, source in enumerate(world_clips("seen", seed, num)):
        frames = replace(source, is_degraded=number % 2 == 1).draw(source.scene(), (size, size))
        yield Sample(id=source.content, clip=SampleClip(content="", frames=through_mp4(frames))), answers_of(source)


def ask(judge: Judge, num: int, seed: int, size: int) -> tuple[list[JudgeResponse], int]:
    """Every question with an answer, and how many got none."""
    responses: list[JudgeResponse] = []
    lost, begun, balance = 0, time.monotonic(), Balance()
    for index, (clip, true) in enumerate(clips(num, seed, size)):
        asked = [each for factor, value in true.items() for each in _questions(balance, factor, value, str(index))]
        for (question, is_true), heard in zip(asked, judge.ask(clip, [q for q, _ in asked]), strict=True):
            if heard.votes:
                responses.append(JudgeResponse(clip=index, question=question, true=is_true, heard=heard))
            else:
                lost += 1
        if (index + 1) % 50 == 0:
            logger.info("%d of %d clips, %.0f s", index + 1, num, time.monotonic() - begun)
    return responses, lost


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
            offered = "no" if fitted.refutation(kind, answer) else "yes"
            lines.append(f"| {kind} | {answer} | {each.n} | {each.right} | {kappa} | {offered} |")
    return "\n".join(lines)


def table(before: dict[str, Agreement], after: dict[str, Agreement]) -> str:
    """A row a kind; before → after calibration."""
    lines = ["| kind | claims | AUROC | kappa | yes bias | calibration error |", "|---" * 6 + "|"]
    for kind, a in before.items():
        b = after[kind]
        lines.append(
            f"| {kind} | {a.n} | {a.auroc:.3f} [{a.auroc_low:.3f}, {a.auroc_high:.3f}] "
            f"| {a.kappa or 0:.2f} → {b.kappa or 0:.2f} "
            f"| {a.yes_bias:+.3f} → {b.yes_bias:+.3f} "
            f"| {a.expected_calibration_error:.3f} → {b.expected_calibration_error:.3f} |"
        )
    return "\n".join(lines)
