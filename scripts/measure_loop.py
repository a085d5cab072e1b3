#!/usr/bin/env python
"""The judge, the round trip, the best of n and the gate on clips of the starter generator, by the product's commands.

    python scripts/measure_loop.py roundtrip -o trip.json     # prompt → clip → caption → score, 128 prompts
    python scripts/measure_loop.py selection -o best.json     # best of 1 to 16 clips, checked by the referee
    python scripts/measure_loop.py gate -o gate.json          # candidates of known faults against one baseline
    python scripts/measure_loop.py judge -o judge.json        # claims whose truth is known, `v2t-eval audit`

In: the shipped starters. Out: one JSON file; clips and reports of the commands stay in `--work` and are used again.
Prompts are of the cartoon world, split `seen`, of seeds that no training and no choice of margins used.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np

from cineloop.files import write_atomic

ROOT = Path(__file__).resolve().parent.parent
STEPS, SEED = 16, 2027
FAULTS = ("same clips", "other seeds", "4 steps", "noised weights", "swapped channels", "frozen clips")
NOISE = 0.2  # standard deviation added to the transformer's weights, as a share of each tensor's own


def command(*words: str | Path, may_fail: bool = False) -> dict[str, Any]:
    """Run one of the product's commands and return what it prints as JSON; {} where it prints none.

    Raises:
        SystemExit: it failed; with `may_fail` codes above 5 are answers.
    """
    module, *rest = map(str, words)
    print("+", *map(str, words), file=sys.stderr, flush=True)
    ran = subprocess.run([sys.executable, "-m", module, *rest], stdout=subprocess.PIPE, text=True)
    if ran.returncode and not (may_fail and ran.returncode > 5):
        raise SystemExit(f"{' '.join(map(str, words))}: exit {ran.returncode}")
    lines = ran.stdout.strip().splitlines()
    answer: dict[str, Any] = json.loads(lines[-1]) if lines and lines[-1].startswith("{") else {}
    return answer


def prompts(work: Path, num: int, seed: int) -> Path:
    """A file of `num` prompts of one figure each."""
    from t2v.data.world import solo_prompts

    path = work / f"prompts-{seed}.jsonl"
    rows = [{"id": f"{seed}-{i:04}", "prompt": prompt} for i, prompt in enumerate(solo_prompts("seen", seed, num))]
    write_atomic(path, "".join(json.dumps(row) + "\n" for row in rows).encode())
    return path


def roundtrip(work: Path, num: int) -> dict[str, Any]:
    """Families of the round trip, with floor and ceiling."""
    asked = ("--world", str(num), "--seed", str(SEED), "--steps", str(STEPS))
    return command("v2t_eval", "roundtrip", *asked, "-o", work / "trip", "--json")


def selection(work: Path, num: int) -> dict[str, Any]:
    """Expected value of the best of n by two metrics, under the metric and under the referee."""
    made = work / "many"
    generate = ("t2v", "generate", "--prompts", prompts(work, num, SEED + 1), "--steps", str(STEPS))
    command(*generate, "--num-videos", "16", "-o", made)
    figures = {}
    for by in ("question_score", "clipsim"):
        given = ("--by", by, "--check", "obedience", "-o", work / f"best-{by}", "--overwrite", "--json")
        best = command("v2t_eval", "select", made, *given)
        mistakes = sum(1 for one in best["clips"] if one["kept"] and one["check"] is not None and one["check"] < 1)
        figures[by] = {"best_of": best["best_of"], "kept clips that the referee finds wrong": mistakes}
    return {"prompts": num, "by": figures}


def gate(work: Path, num: int) -> dict[str, Any]:
    """Verdict on candidates of known faults, each against one baseline of 16 steps."""
    listed = prompts(work, num, SEED + 2)

    def folder_of(name: str, *settings: str | Path) -> Path:
        command("t2v", "generate", "--prompts", listed, "-o", work / name, *settings)
        return work / name

    base = folder_of("baseline", "--steps", str(STEPS))
    cache = ("--suite", "gate", "--cache", work / "cache")
    command("v2t_eval", "gate", "init", base, *cache, "-o", work / "baseline.json", "--overwrite")
    candidates = {
        "same clips": base,
        "other seeds": folder_of("seeds", "--steps", str(STEPS), "--seed", "1000"),
        "4 steps": folder_of("steps", "--steps", "4"),
        "noised weights": folder_of("noised", "--steps", str(STEPS), "--model", noisy_copy(work / "weights")),
        "swapped channels": change_clips(base, work / "swapped", lambda frames: frames[..., ::-1]),
        "frozen clips": change_clips(base, work / "frozen", lambda frames: np.repeat(frames[:1], len(frames), axis=0)),
    }
    verdicts = {}
    for name in FAULTS:
        given = (candidates[name], *cache, "--baseline", work / "baseline.json", "-o", work / f"gate {name}")
        verdict = command("v2t_eval", "gate", *given, "--json", "--overwrite", may_fail=True)
        keys = ("metric", "outcome", "role", "change", "low", "high", "margin", "num_clusters")
        metrics = [{key: one[key] for key in keys} for one in verdict["metrics"]]
        scored = command("v2t_eval", "score", candidates[name], "--metrics", "obedience", *cache[2:], "--json")
        joint = scored["results"][0]["figures"]["joint"]
        seen = {"outcome": verdict["outcome"], "reason": verdict["reason"], "metrics": metrics, "joint": joint}
        verdicts[name] = seen
    return {"prompts": num, "candidates": verdicts}


def noisy_copy(folder: Path) -> Path:
    """A copy of the starter generator whose transformer's weights carry noise."""
    import torch
    from safetensors.torch import load_file, save_file

    from t2v.pipeline import STARTER

    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(STARTER, folder)
    stream = torch.Generator().manual_seed(SEED)
    for path in (folder / "transformer").glob("*.safetensors"):
        tensors = load_file(path)
        for key, tensor in tensors.items():
            if tensor.is_floating_point() and tensor.numel() > 1:
                noise = torch.randn(tensor.shape, generator=stream) * tensor.float().std() * NOISE
                tensors[key] = (tensor.float() + noise).to(tensor.dtype)
        save_file(tensors, path)
    return folder


def change_clips(base: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> Path:
    """The clips of a run with `change` applied to their frames (T, H, W, 3), and their manifest."""
    from cineloop.video.encode import encode

    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(base / "manifest.jsonl", folder)
    for path in sorted(base.rglob("*.mp4")):
        target = folder / path.relative_to(base)
        target.parent.mkdir(parents=True, exist_ok=True)
        with av.open(str(path)) as container:
            rate = container.streams.video[0].average_rate or 8
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
        encode(np.ascontiguousarray(change(frames)), target, rate)
    return folder


def judge(work: Path, num: int) -> dict[str, Any]:
    """Agreement of the judge with the truth on clips of the world, degraded ones, and 256 generated ones, and what
    metrics and judge see of planted faults."""
    asked = ("--generate", "256", "--judge", "v2t", "--num", str(num), "--seed", "2026")
    record = command("v2t_eval", "audit", *asked, "-o", work / "audit", "--json")
    return {key: record[key] for key in ("judge", "agreement", "noticed", "stability")}


def ship_audit(work: Path) -> None:
    """Make the audit in `work` the one that gates of the starters cite, and its page that of the documents."""
    shutil.copy(work / "audit" / "audit.json", ROOT / "eval" / "audit" / "starter.json")
    shutil.copy(work / "audit" / "audit.md", ROOT / "docs" / "audit" / "starter.md")


PARTS: dict[str, tuple[Callable[[Path, int], dict[str, Any]], int]] = {
    "roundtrip": (roundtrip, 128),
    "selection": (selection, 64),
    "gate": (gate, 60),
    "judge": (judge, 40),
}


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--num", type=int, help="prompts, or clips of the world for the judge (default: as above)")
    parser.add_argument("--work", type=Path, default=Path("runs/loop"), help="folder for clips (default: runs/loop)")
    parser.add_argument("--ship-audit", action="store_true", help="of judge: replace eval/audit/starter.json")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    args = parser.parse_args()
    run, num = PARTS[args.part]
    args.work.mkdir(parents=True, exist_ok=True)
    figures = run(args.work, args.num or num)
    if args.ship_audit:
        ship_audit(args.work)
    write_atomic(args.output, (json.dumps(figures, indent=1) + "\n").encode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
