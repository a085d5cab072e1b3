"""Fit a judge's calibration on clips whose truth is known, and say how far its answers can be trusted before and after.

    python scripts/calibrate_judge.py v2t/starter --num 400
    python scripts/calibrate_judge.py openai:http://localhost:8000/v1 --num 100 -o judge.json

In: a model of `v2t --model`. Draws clips of the cartoon world with one figure that does one thing (split seen, a seed
of its own), every second one worn as a weak generator draws, and sends them through the codec as mp4. Of each clip
every fact is asked in its plain question and as a claim, with a true value or, half the time, with a false one drawn
from the others. Fits on two clips of three, measures on the third, then fits on all. Out: a table; `judge.json` in the
model's folder (or `-o`), where `v2t.judge` finds it.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from v2t.base.errors import CineloopError, UsageError
from v2t.captioners import open_captioner
from v2t.judge.calibration import FILE_NAME, Calibration, fit, kind_of
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


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", help="starter, a folder, a hub id, or openai:URL")
    parser.add_argument("--num", type=int, default=400, help="clips")
    parser.add_argument("--seed", type=int, default=6021)
    parser.add_argument("--size", type=int, default=64, help="pixels a side")
    parser.add_argument("-o", "--output", type=Path, help=f"file to write; {FILE_NAME} in the model's folder if absent")
    args = parser.parse_args()
    try:
        return calibrate(args)
    except CineloopError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def calibrate(args: argparse.Namespace) -> int:
    """Ask, fit, measure, write."""
    judge = Judge(open_captioner(args.model))
    judge.calibration = None
    target = args.output or _beside(judge)
    found, lost = ask(judge, args.num, args.seed, args.size)
    fitted = _fit([each for each in found if each.clip % HELD_OUT], judge, args)
    shown = [each for each in found if each.clip % HELD_OUT == 0]
    print(f"{judge.identity}: {len(found)} claims on {args.num} clips, {lost} without an answer; held-out clips only")
    print(table(agreement(shown, None), agreement(shown, fitted)))
    whole = _fit(found, judge, args)
    whole.save(target)
    print(f"wrote {target}: {len(whole.maps)} maps, fitted on all clips")
    return 0


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
            print(f"{index + 1} clips, {time.monotonic() - begun:.0f} s", file=sys.stderr)
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


def _fit(found: list[Asked], judge: Judge, args: argparse.Namespace) -> Calibration:
    note = f"world solo, split seen, seed {args.seed}, {args.size} pixels, mp4, every second clip melted"
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


def _beside(judge: Judge) -> Path:
    folder = getattr(judge.captioner, "folder", None)
    if folder is None:
        raise UsageError(f"{judge.name} lies in no folder of its own", hint="name the file: -o judge.json")
    return Path(folder) / FILE_NAME


if __name__ == "__main__":
    raise SystemExit(main())
