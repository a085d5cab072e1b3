#!/usr/bin/env python
"""Clips of the bundled generator: judged, corrected for the judge's errors, by labels, and by the referee.

    python scripts/measure_judged.py --prompts 240 -o judged.json     # about 15 CPU minutes, most of them for the clips

In: the shipped starters and the shipped audit. Out: one JSON file; clips and scores stay in `--work` and are used
again. Prompts are of the cartoon world, split `seen`, of a seed that neither training nor audit used, with two seeds
each. The truth is what the referee measures in the decoded clip. It is compared over the clips of which it reads
every fact that the judge was asked about; how many that are, and what the judge says of the others, is reported. The
labels are the referee's answers about 60 of the prompts, drawn at random.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from measure_loop import command

from cineloop.errors import ItemError
from cineloop.files import write_atomic
from v2t_eval.audit.judging import of_reading
from v2t_eval.audit.record import read_audit
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.scores import RESULTS, Scores, read_scores
from v2t_eval.core.statistics import mean_interval
from v2t_eval.correction.labels import Labels
from v2t_eval.correction.scoring import JudgedClip, judged_clips, with_corrections
from v2t_eval.gate.self_test import self_test
from v2t_eval.judge.grammar.wording import LISTS
from v2t_eval.semantics.detectors.world import reading
from v2t_eval.suites.suite import audit_path, read_suite

SEED, LABELLED = 4107, 60
METRICS = "question_score,clipsim,sharpness,temporal_flickering,motion"


def prompts(work: Path, num: int) -> Path:
    """A file of so many different prompts."""
    from t2v.data.world import prompt_of, solo_scene

    path, listed, index = work / "prompts.jsonl", dict[str, int](), 0
    while len(listed) < num:
        listed.setdefault(prompt_of(solo_scene("seen", SEED, index), SEED, index), len(listed))
        index += 1
    rows = "".join(json.dumps({"id": f"p{n:03d}", "prompt": text}) + "\n" for text, n in listed.items())
    write_atomic(path, rows.encode())
    return path


def truths(samples: Sequence[Sample], cache: Path) -> dict[str, dict[str, str]]:
    """By clip what the referee reads, as answers by kind of fact; stored beside the clips."""
    if cache.exists():
        stored: dict[str, dict[str, str]] = json.loads(cache.read_text("utf-8"))
        return stored
    from cineloop.video.decode import Request, decode
    from cineloop.video.sample import SampleSpec

    known: dict[str, dict[str, str]] = {}
    for sample in samples:
        if sample.clip is None or sample.clip.path is None:
            continue
        frames = decode(sample.clip.path, Request(spec=SampleSpec(num_frames=17), threads=1))
        try:
            truth = of_reading(reading(Sample(id=sample.id, clip=SampleClip(content="", frames=frames))))
        except ItemError:
            continue
        known[sample.id] = {kind: LISTS[kind].answers[value] for kind, value in truth.values.items()}
        if len(known) % 20 == 0:
            print(f"  referee: {len(known)} of {len(samples)}", file=sys.stderr, flush=True)
    write_atomic(cache, json.dumps(known).encode())
    return known


def right(clip: JudgedClip, truth: Mapping[str, str]) -> dict[str, bool]:
    """By claim whether it is true, of the claims whose kind the referee reads."""
    return {str(c["id"]): truth[c["kind"]] == c["wanted"] for c in clip.claims if c["kind"] in truth}


def held_share(clip: JudgedClip) -> float:
    """Share of a clip's claims that the judge holds true."""
    return float(np.mean([bool(claim["right"]) for claim in clip.claims]))


def part(scores: Scores, ids: set[str]) -> Scores:
    """The scores of some clips."""
    results = [replace(one, items=[item for item in one.items if item["id"] in ids]) for one in scores.results]
    return replace(scores, clips=[clip for clip in scores.clips if clip.id in ids], results=results)


def share(clips: Sequence[JudgedClip], values: Sequence[float]) -> dict[str, float]:
    """A mean with its interval over prompts."""
    low, high = mean_interval(values, [clip.cluster for clip in clips])
    return {"value": float(np.mean(values)), "low": low, "high": high}


def comparison(scores: Scores, samples: Sequence[Sample], known: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """All four, and the counts behind."""
    clusters = {clip.id: clip.cluster for clip in scores.clips}
    clips = judged_clips(scores.by_name["question_score"], clusters)
    whole = [clip for clip in clips if len(right(clip, known.get(clip.id, {}))) == len(clip.claims)]
    ids = {clip.id for clip in whole}
    names = sorted({clip.cluster for clip in whole})
    drawn = set(random.Random(SEED).sample(names, LABELLED))
    answers = {c.id: {str(q["id"]): known[c.id][q["kind"]] for q in c.claims} for c in whole if c.cluster in drawn}
    made = with_corrections(
        part(scores, ids), samples, read_audit(audit_path(Path("starter"))), Labels(answers=answers)
    )
    (result,) = (one for one in made.results if one.name == "question_score")
    figures = {name: asdict(figure) for name, figure in result.figures.items() if name.startswith("accuracy_")}
    judged = [held_share(clip) for clip in whole]
    true = [float(np.mean([*right(clip, known[clip.id]).values()])) for clip in whole]
    rest = [clip for clip in clips if clip.id not in ids]
    outcome = {
        "clips": len(clips), "read": len(whole), "prompts": len(names), "labelled": len(answers),
        "outside": sum(clip.outside for clip in clips),
        "judged": share(whole, judged), "referee": share(whole, true), **figures,
        "judged, not read": float(np.mean([held_share(clip) for clip in rest])) if rest else None,
        "kinds": by_kind(whole, known), "notes": [note for note in result.notes if "correct" in note],
    }  # fmt: skip
    return outcome


def by_kind(clips: Sequence[JudgedClip], known: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """Of each kind of fact the claims, those judged true, those that are, and those where both agree."""
    rows: dict[str, list[tuple[bool, bool]]] = {}
    for clip in clips:
        for claim in clip.claims:
            rows.setdefault(claim["kind"], []).append(
                (bool(claim["right"]), known[clip.id][claim["kind"]] == claim["wanted"])
            )
    return {
        kind: {"claims": len(pairs), "judged": sum(held for held, _ in pairs), "true": sum(true for _, true in pairs),
               "agree": sum(held == true for held, true in pairs)}
        for kind, pairs in rows.items()
    }  # fmt: skip


def main() -> None:
    """Make, score, read, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=240, metavar="N", help="two clips each (default: 240)")
    parser.add_argument("--work", type=Path, default=Path("runs/correction"), metavar="DIR")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    clips = args.work / "clips"
    command(
        "t2v",
        "generate",
        "--prompts",
        prompts(args.work, args.prompts),
        "-o",
        clips,
        "--num-videos",
        "2",
        "--batch-size",
        "8",
        "--json",
    )
    command("v2t_eval", "score", clips, "--metrics", METRICS, "-o", args.work / "scores", "--overwrite", "--json")
    scores, samples = read_scores(args.work / "scores" / RESULTS), read_inputs(clips).samples
    result = comparison(scores, samples, truths(samples, args.work / "referee.json"))
    result["self_test"] = self_test(scores, read_suite(Path("gate")).rules).as_dict()
    write_atomic(args.output, (json.dumps(result, indent=1) + "\n").encode())
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
