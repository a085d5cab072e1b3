"""Measure a captioner inside the cartoon world, with controls: facts stated, questions answered, on real mp4 files.

In: a model folder (the starter by default). Out: a table on stdout and, with -o, the same as JSON: per split the share
of facts right by kind with 95 % Wilson intervals and the questions' accuracy; per control the same on the first clips.
Controls, on the same clips: `blank` (grey frames), `one frame` (the middle one alone), `shuffled` (frames in random
order, times kept), `other clip` (the next clip's frames). Each fact must fall where a watcher without it would fall.
With --second-turns two questions of each clip, as a chat asks them: `alone` the second one by itself, `second turn`
after the first one and its answer.

    python scripts/measure_starter.py --num 1000 --controls 300 -o scores.json
    python scripts/measure_starter.py --num 400 --controls 0 --about-time --splits seen
    python scripts/measure_starter.py --num 300 --second-turns --splits seen
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cineloop.manifest import read_manifest
from cineloop.video.frames import Frames
from cineloop.video.worker import DecoderPool
from cineloop.world.language.questions import ABOUT_TIME
from cineloop.world.language.stated import STYLES
from cineloop.world.language.words import PROMPTS
from cineloop.world.scenes.corpus import write_world
from v2t.backends import Decoding, Message, user_turn
from v2t.backends.local import Backend
from v2t.long.spans import read_spans
from v2t_eval.core.metric import MetricResult, load_metric
from v2t_eval.core.sample import Sample

Change = Callable[[list[Frames], int], Frames]


def _shuffle(clips: list[Frames], index: int) -> Frames:
    order = list(range(len(clips[index])))
    random.Random(f"shuffle|{index}").shuffle(order)
    return replace(clips[index], pixels=clips[index].pixels[order])


def _one_frame(clips: list[Frames], index: int) -> Frames:
    middle = len(clips[index]) // 2
    clip = clips[index]
    return replace(clip, pixels=clip.pixels[middle : middle + 1], times_s=clip.times_s[middle : middle + 1])


CONTROLS: dict[str, Change] = {
    "blank": lambda clips, i: replace(clips[i], pixels=np.full_like(clips[i].pixels, 127)),
    "one frame": _one_frame,
    "shuffled": _shuffle,
    "other clip": lambda clips, i: clips[(i + 1) % len(clips)],
}


def ask(
    captioner: Backend, clips: Sequence[Frames], prompts: Sequence[str], tokens: int, batch: int,
    before: Sequence[tuple[str, str]] = (),
) -> list[str]:  # fmt: skip
    """One answer a clip, in order; clips are grouped by their number of frames. `before`: of each clip the question and
    answer of an earlier turn."""
    answers = [""] * len(clips)
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
    start = 0
    while start < len(order):
        same = [i for i in order[start : start + batch] if len(clips[i]) == len(clips[order[start]])]
        turns = [
            user_turn(prompts[i], clips[i])
            if not before
            else (
                *user_turn(before[i][0], clips[i]),
                Message(role="assistant", text=before[i][1]),
                *user_turn(prompts[i]),
            )
            for i in same
        ]
        outputs = captioner.answer(turns, Decoding(max_new_tokens=tokens))
        for i, output in zip(same, outputs, strict=True):
            answers[i] = output.text
        start += len(same)
    return answers


def measure(
    captioner: Backend, clips: list[Frames], rows: list[dict[str, Any]], args: argparse.Namespace
) -> tuple[list[MetricResult], list[str]]:
    """Facts of captions, answers to questions drawn from each row's (or to all about time); and the captions."""
    style, about_time, num_questions = args.style, args.about_time, args.questions
    facts, answers, spans = load_metric("facts")(), load_metric("answers")(), load_metric("spans")()
    captions = ask(captioner, clips, [PROMPTS[style]] * len(clips), 320, 32)
    for row, caption in zip(rows, captions, strict=True):
        facts.update(Sample(id=row["id"], caption=caption, row={"facts": row["facts"], "style": style}))
    drawn = [random.Random(f"ask|{row['id']}").sample(row["questions"], len(row["questions"])) for row in rows]
    if about_time:
        drawn = [[turn for turn in turns if turn["kind"] in ABOUT_TIME] for turns in drawn]
    for number in range(max(map(len, drawn)) if about_time else num_questions):
        chosen = [i for i in range(len(rows)) if number < len(drawn[i])]
        turns = [drawn[i][number] for i in chosen]
        replies = ask(captioner, [clips[i] for i in chosen], [turn["question"] for turn in turns], 40, 32)
        for i, turn, answer in zip(chosen, turns, replies, strict=True):
            id, clip = f"{rows[i]['id']}#{number}", rows[i]["id"]
            asked_of = {"kind": turn["kind"], "question": turn["question"], "answer": answer}
            answers.update(Sample(id=id, cluster=clip, row={**asked_of, "reference": turn["answer"]}))
            true = read_spans(turn["answer"], clips[i].duration_s).spans if turn["kind"] == "span" else ()
            if true:
                answer_s = read_spans(answer, clips[i].duration_s).spans
                spans.update(Sample(id=id, cluster=clip, row={"spans": answer_s, "reference_spans": true[:1]}))
    results = [facts.compute()]
    if about_time or num_questions:
        results.append(answers.compute())
    if about_time:
        results.append(spans.compute())
    return results, captions


def second_turns(captioner: Backend, clips: list[Frames], rows: list[dict[str, Any]]) -> dict[str, MetricResult]:
    """Answers to one question of each clip, by itself and after another question with the captioner's own answer."""
    chosen = [i for i, row in enumerate(rows) if len(row["questions"]) > 1]
    drawn = [random.Random(f"turns|{rows[i]['id']}").sample(rows[i]["questions"], 2) for i in chosen]
    some = [clips[i] for i in chosen]
    first, second = ([turns[n]["question"] for turns in drawn] for n in (0, 1))
    opening = ask(captioner, some, first, 40, 32)
    replies = {
        "alone": ask(captioner, some, second, 40, 32),
        "second turn": ask(captioner, some, second, 40, 32, before=list(zip(first, opening, strict=True))),
    }
    results = {}
    for name, answers in replies.items():
        metric = load_metric("answers")()
        for i, (_, turn), answer in zip(chosen, drawn, answers, strict=True):
            row = {"kind": turn["kind"], "question": turn["question"], "answer": answer, "reference": turn["answer"]}
            metric.update(Sample(id=rows[i]["id"], row=row))
        results[name] = metric.compute()
    return results


def show(title: str, results: list[MetricResult]) -> dict[str, Any]:
    """Print the figures; return them as data."""
    print(f"\n{title}")
    out: dict[str, Any] = {}
    for result in results:
        for kind, figure in result.figures.items():
            print(
                f"  {result.name:<8} {kind:<18} {figure.value:.3f} [{figure.low:.3f}, {figure.high:.3f}] n={figure.n}"
            )
            out[f"{result.name}/{kind}"] = {
                "value": figure.value,
                "low": figure.low,
                "high": figure.high,
                "n": figure.n,
            }
    sys.stdout.flush()
    return out


def main() -> None:
    """Make the clips, ask, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--num", type=int, default=1000, help="clips a split (default 1000)")
    parser.add_argument("--controls", type=int, default=300, help="clips of `seen` under each control (default 300)")
    parser.add_argument("--questions", type=int, default=2, help="questions a clip (default 2)")
    parser.add_argument("--about-time", action="store_true", help="every question about time instead, and their spans")
    parser.add_argument("--second-turns", action="store_true", help="a question alone and as a second turn instead")
    parser.add_argument("--seed", type=int, default=2026, help="seed of the clips, never one of training (1 or 7)")
    parser.add_argument("--splits", default="seen,unseen", help="which, so that two processes can share the work")
    parser.add_argument("--style", default="short", choices=STYLES)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    captioner = Backend(args.model)
    captioner.load()
    report: dict[str, Any] = {"model": captioner.name, "revision": captioner.revision, "arguments": vars(args)}
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch, DecoderPool(1) as pool:
        for split in args.splits.split(","):
            folder = Path(scratch) / split
            write_world(args.num, args.seed, split, (128, 128), out=folder)
            rows = list(read_manifest(folder / "manifest.jsonl"))
            clips = [pool.decode(folder / row["path"], captioner.spec, captioner.frame_size) for row in rows]
            if args.second_turns:
                for name, result in second_turns(captioner, clips, rows).items():
                    report[f"{split}, {name}"] = show(f"{split}, {len(rows)} clips, {name}", [result])
                continue
            results, captions = measure(captioner, clips, rows, args)
            report[split] = show(f"{split}, {len(rows)} clips, style {args.style}", results)
            report[f"{split} captions"] = captions[:50]
            for name, change in CONTROLS.items() if split == "seen" and args.controls else ():
                some = clips[: args.controls]
                changed = [change(some, i) for i in range(len(some))]
                results, captions = measure(captioner, changed, rows[: len(some)], args)
                report[name] = show(f"control: {name}, {len(some)} clips", results)
    print(f"\n{time.monotonic() - begun:.0f} s in all")
    if args.out:
        args.out.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
