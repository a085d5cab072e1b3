"""Captions of the world before and after a training: facts said wrongly, made up or missed, in pairs by clip.

In: folders of `v2t world`, captioners of which tower, resampler and projector are the same (only the language model
learned), so that a clip is encoded once for all of them. `sample` writes caption records for `v2t-eval mine`, several
captions of each clip, drawn in batches; `score` captions greedily and compares with the first model, clip by clip.

    python scripts/measure_preference.py sample train/ -o sampled/ --num 3 --seed 1
    v2t-eval mine train/ --captions sampled/*.jsonl --pairs-by facts --judge none --encoder none -o mined/
    v2t train starter/preference --set manifests=[mined/preferences.jsonl] --set root=train
    python scripts/measure_preference.py score held-seen/ held-unseen/ --models starter runs/starter/preference/final
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from cineloop.world.language.comparison import compare
from cineloop.world.language.read_text import parse
from v2t.backends.local import STARTER
from v2t.data.manifest_clips import ManifestSource, read_clips
from v2t.model import CineloopForConditionalGeneration, CineloopProcessor
from v2t.train.caption_task import CaptionTask
from v2t.train.held_out import write_captions
from v2t_eval.stats import mean_interval

BATCH = 16
COUNTED = ("wrong", "made_up", "hallucinated", "missed", "right", "joint")


def folder_of(model: str) -> str:
    """The starter's folder, or the folder that was named."""
    return str(STARTER) if model == "starter" else model


class Clips:
    """The clips of a folder with their visual tokens (1, Q, D_llm) each, by one captioner."""

    def __init__(self, folder: Path, model: Any, processor: Any) -> None:
        source = ManifestSource(read_clips([folder / "manifest.jsonl"]), processor, 0, 4096)
        task, self.rows, tokens, self.texts = CaptionTask(model), [], [], []
        for start in range(0, len(source.clips), BATCH):
            count = min(BATCH, len(source.clips) - start)
            batch = source(start, count)
            if len(batch["times_s"]) != count:
                raise SystemExit(f"{folder}: clips of one segment are expected")
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                tokens.append(model.model.projector(task.query_tokens(batch)).float())  # (S, Q, D_llm)
            for number, (times, mask) in enumerate(zip(batch["times_s"], batch["mask"], strict=True)):
                self.texts.append(processor.clip_text(times[mask].tolist()))
                self.rows.append(source.clips[source.place(start + number)].row)
        self.tokens, self.tokenizer = torch.cat(tokens), processor.tokenizer

    def captions(self, model: Any, style: str, *, temperature: float = 0.0) -> Iterator[str]:
        """A caption of each clip, in order."""
        for start in range(0, len(self.rows), BATCH):
            part = slice(start, start + BATCH)
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
                yield from write_captions(
                    model, self.tokens[part], self.texts[part], self.tokenizer, style, 80, temperature=temperature
                )


def load(folder: str) -> tuple[Any, Any]:
    """A captioner in fp32, and its processor."""
    model = CineloopForConditionalGeneration.from_pretrained(folder, dtype=torch.float32).eval()
    return model, CineloopProcessor.from_pretrained(folder)


def sample(args: argparse.Namespace) -> None:
    """Write `NUMBER.jsonl`, a file for each draw."""
    model, processor = load(folder_of(args.model))
    clips = Clips(args.clips[0], model, processor)
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    for number in range(args.num):
        drawn = clips.captions(model, args.style, temperature=args.temperature)
        records = [
            {"id": row["id"], "path": row["path"], "status": "ok", "style": args.style, "caption": text}
            for row, text in zip(clips.rows, drawn, strict=True)
        ]
        records.sort(key=lambda record: record["id"])
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        (args.out / f"{number + 1}.jsonl").write_text(lines, encoding="utf-8")


def counts_of(text: str, facts: dict[str, Any], style: str) -> dict[str, float]:
    """What a caption says wrongly, makes up, misses."""
    found = compare(parse(text), facts, style)
    wrong, missed, right = (
        sum(getattr(tally, name) for tally in found.tallies.values()) for name in ("wrong", "missed", "right")
    )
    made_up = found.made_up
    values = (wrong, made_up, wrong + made_up, missed, right, found.joint)
    return {name: float(value) for name, value in zip(COUNTED, values, strict=True)}


def score(args: argparse.Namespace) -> None:
    """Print, for each folder and model, means per caption with 95 % intervals, and changes against the first model."""
    base, processor = load(folder_of(args.models[0]))
    report: dict[str, Any] = {"arguments": {**vars(args), "run": None}, "figures": {}}
    sets = {folder: Clips(folder, base, processor) for folder in args.clips}
    first: dict[Path, list[dict[str, float]]] = {}
    for name in args.models:
        model = load(folder_of(name))[0]
        for folder, clips in sets.items():
            texts = list(clips.captions(model, args.style))
            rows = [counts_of(t, row["facts"], args.style) for t, row in zip(texts, clips.rows, strict=True)]
            before = first.setdefault(folder, rows)
            figures = {key: figure([row[key] for row in rows]) for key in COUNTED}
            changes = {key: figure([a[key] - b[key] for a, b in zip(rows, before, strict=True)]) for key in COUNTED}
            words = figure([float(len(text.split())) for text in texts])
            report["figures"][f"{folder.name} {name}"] = {"n": len(rows), "words": words, **figures, "change": changes}
            print(f"{folder.name}, {name}, n = {len(rows)}, {words[0]:.1f} words a caption")
            for key in COUNTED:
                print(f"  {key:<13} {shown(figures[key])}   change {shown(changes[key], '+.3f')}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


def figure(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its interval over clips."""
    low, high = mean_interval(list(values))
    return sum(values) / len(values), low, high


def shown(each: tuple[float, float, float], form: str = ".3f") -> str:
    """`.123 [.100, .150]`."""
    return f"{each[0]:{form}} [{each[1]:{form}}, {each[2]:{form}}]"


def main() -> None:
    """Read the arguments, sample or score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("sample", "score"))
    parser.add_argument("clips", type=Path, nargs="+", help="folders of `v2t world`, clips of one segment")
    parser.add_argument("--model", default="starter", help="of sample")
    parser.add_argument("--models", nargs="+", default=["starter"], help="of score, the first is compared with")
    parser.add_argument("--style", default="short")
    parser.add_argument("--num", type=int, default=3, help="captions a clip (sample)")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    {"sample": sample, "score": score}[args.verb](args)


if __name__ == "__main__":
    main()
