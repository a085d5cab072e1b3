"""Fit a judge's calibration on clips whose truth is known, and say how far its answers can be trusted before and after.

In: a judge. Draws clips of the cartoon world with one figure that does one thing (split seen, a seed of its own), every
second one worn as a weak generator draws, and sends them through the codec as mp4. Of each clip every fact is asked in
its plain question and as a claim, with a true value or, half the time, with a false one drawn from the others. Fits on
two clips of three, measures on the third, then fits on all. Out: the calibration and a table. `judge.json` beside a
model's weights is where `v2t.judge` finds it.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from v2t.base.log import logger
from v2t.judge.calibration import Calibration, fit, kind_of
from v2t.judge.judge import Judge
from v2t.judge.plain_wording import plain_claim, plain_question
from v2t.judge.question import Question
from v2t.judge.subject import Shown
from v2t.video.encode import encode
from v2t.video.worker import DecoderPool, SampleSpec
from v2t.world.plain_questions import PLAIN, values
from v2t.world.render import frame_times, render
from v2t.world.solo import FPS, sample_solo
from v2t.world.wear import melted
from v2t_eval.audit.agreement import Claim, by_kind
from v2t_eval.audit.record import Agreement

HELD_OUT = 3  # one clip in so many measures what the others fitted


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A claim about a clip, and what the judge held it to be before calibration."""

    clip: int
    question: Question
    true: bool
    raw: float


def calibrated(judge: Judge, *, num: int, seed: int, size: int) -> tuple[Calibration, str]:
    """The calibration fitted on `num` clips of `size` pixels a side, and a table of what it does on held-out ones."""
    judge.calibration = None
    found, lost = ask(judge, num, seed, size)
    fitted = _fit([each for each in found if each.clip % HELD_OUT], judge, seed, size)
    shown = [each for each in found if each.clip % HELD_OUT == 0]
    told = f"{judge.identity}: {len(found)} claims on {num} clips, {lost} without an answer; held-out clips only"
    return _fit(found, judge, seed, size), f"{told}\n{table(agreement(shown, None), agreement(shown, fitted))}"


def clips(num: int, seed: int, size: int) -> Iterator[tuple[Shown, dict[str, str]]]:
    """Clips as a decoder gives them, and what is true of each by factor."""
    with DecoderPool() as pool, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        for index in range(num):
            scene = sample_solo("seen", seed, index)
            times = frame_times(scene.duration_s, FPS)
            pixels = render(scene, (size, size), times_s=times)
            if index % 2:
                pixels = melted(scene, pixels, times, np.random.default_rng([seed, index]))
            encode(pixels, path, FPS)
            frames = pool.decode(path, SampleSpec(num_frames=len(times)))
            yield Shown(frames=frames), values(scene.facts())


def ask(judge: Judge, num: int, seed: int, size: int) -> tuple[list[Asked], int]:
    """Every claim that got an answer, and how many got none."""
    found: list[Asked] = []
    lost, begun = 0, time.monotonic()
    for index, (clip, true) in enumerate(clips(num, seed, size)):
        draw = random.Random(f"{seed}|{index}")
        put = [each for factor, value in true.items() for each in _put(draw, factor, value)]
        for (question, is_true), answer in zip(put, judge.answer(clip, [q for q, _ in put]), strict=True):
            if answer.raw is None:
                lost += 1
            else:
                found.append(Asked(clip=index, question=question, true=is_true, raw=answer.raw))
        if (index + 1) % 50 == 0:
            logger.info("%d of %d clips, %.0f s", index + 1, num, time.monotonic() - begun)
    return found, lost


def _put(draw: random.Random, factor: str, value: str) -> list[tuple[Question, bool]]:
    """The plain question and the claim about a factor, each with the true value or, half the time, a false one."""
    made: list[tuple[Question, bool]] = []
    for known, make in ((PLAIN[factor].answers, plain_question), (PLAIN[factor].claims, plain_claim)):
        if value in known:
            is_true = draw.random() < 0.5
            told = value if is_true else draw.choice([other for other in known if other != value])
            made.append((make(factor, told), is_true))
    return made


def _fit(found: list[Asked], judge: Judge, seed: int, size: int) -> Calibration:
    note = f"world solo, split seen, seed {seed}, {size} pixels, mp4, every second clip melted"
    return fit(
        [kind_of(each.question) for each in found], [each.raw for each in found], [each.true for each in found],
        judge=judge.identity, clips=len({each.clip for each in found}), note=note,
    )  # fmt: skip


def agreement(found: list[Asked], calibration: Calibration | None) -> dict[str, Agreement]:
    """By kind of fact, claims of yes and no apart."""
    claims = []
    for each in found:
        chance = each.raw if calibration is None else calibration.chance(each.question, each.raw)
        kind = kind_of(each.question)
        claims.append(Claim(clip=str(each.clip), kind=kind, true=each.true, chance=chance, yes=chance >= 0.5))
    closed = by_kind([claim for claim in claims if not claim.kind.startswith("yes_no ")])
    spoken = by_kind([claim for claim in claims if claim.kind.startswith("yes_no ")])
    return {each.kind: each for each in closed} | {
        each.kind if each.kind.startswith("yes_no ") else f"yes_no {each.kind}": each for each in spoken
    }


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
