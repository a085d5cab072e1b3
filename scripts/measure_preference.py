"""Captions of the world before and after a training: facts stated wrongly, made up or missed, in pairs by clip.

In: a folder of `v2t world`, clips of one segment. `write` writes caption records, greedy ones or (with a temperature)
several draws of each clip, in batches; `--tokens` keeps what tower, resampler and projector give, for captioners of
which only the language model differs. `score` compares caption files with the facts, and with the first file clip by
clip.

    python scripts/measure_preference.py write train/ -o drawn/ --num 3 --temperature 1 --seed 1
    v2t-eval mine train/ --captions drawn/*.jsonl --pairs-by facts --judge none --encoder none -o mined/
    v2t train starter/preference --set manifests=[mined/preferences.jsonl] --set root=train
    python scripts/measure_preference.py write held/ -o before/ --tokens held.safetensors
    python scripts/measure_preference.py write held/ -o after/ --tokens held.safetensors --model MODEL
    python scripts/measure_preference.py score held/ --captions before/1.jsonl after/1.jsonl
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cineloop.documents import json_lines
from cineloop.manifest import read_manifest
from cineloop.world.language.comparison import compare
from cineloop.world.language.read_text import parse
from v2t.backends.local import STARTER
from v2t.data.manifest_clips import ManifestSource, read_clips
from v2t.model import CineloopForConditionalGeneration, CineloopProcessor
from v2t.train.caption_task import CaptionTask
from v2t.train.held_out import texts_of_clips, write_captions
from v2t_eval.stats import mean_interval

BATCH = 16
COUNTED = ("wrong", "made_up", "hallucinated", "missed", "right", "joint")


def folder_of(model: str) -> str:
    """The starter's folder, or the folder that was named."""
    return str(STARTER) if model == "starter" else model


class Clips:
    """The clips of a folder with their visual tokens (1, Q, D_llm) each, computed or kept in the file `kept`."""

    def __init__(self, folder: Path, model: Any, processor: Any, kept: Path | None, limit: int | None) -> None:
        source = ManifestSource(read_clips([folder / "manifest.jsonl"])[:limit], processor, 0, 4096)
        self.rows = [source.clips[source.place(number)].row for number in range(len(source.clips))]
        self.tokenizer = processor.tokenizer
        if kept is None or not kept.exists():
            tokens, times, masks = (torch.cat(each) for each in zip(*_encoded(source, model), strict=True))
            if kept is not None:
                save_file({"tokens": tokens, "times_s": times, "mask": masks}, kept)
        else:
            tokens, times, masks = (load_file(kept)[name] for name in ("tokens", "times_s", "mask"))
        if len(tokens) != len(self.rows):
            raise SystemExit(f"{len(self.rows)} clips of one segment are expected, not {len(tokens)}")
        self.tokens = tokens
        self.texts = texts_of_clips(processor, times, masks)

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
    model.config.vision_chunk_frames = 16  # on a CPU the tower's activations should stay in its caches
    model.model.vision_tower.set_attn_implementation("eager")
    return model, CineloopProcessor.from_pretrained(folder)


def _encoded(source: ManifestSource, model: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    task = CaptionTask(model)
    for start in range(0, len(source.clips), BATCH):
        batch = source(start, min(BATCH, len(source.clips) - start))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            tokens = model.model.projector(task.query_tokens(batch)).float()  # (S, Q, D_llm)
        yield tokens, batch["times_s"], batch["mask"]


def write(args: argparse.Namespace) -> None:
    """Write `NUMBER.jsonl`, a file for each draw."""
    model, processor = load(folder_of(args.model))
    clips = Clips(args.clips, model, processor, args.tokens, args.limit)
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
    total, made_up = found.total, found.made_up
    values = (total.wrong, made_up, total.wrong + made_up, total.missed, total.right, found.joint)
    return {name: float(value) for name, value in zip(COUNTED, values, strict=True)}


def score(args: argparse.Namespace) -> None:
    """Print, for each file of captions, means per caption with 95 % intervals, and changes against the first file."""
    facts = {row["id"]: row["facts"] for row in read_manifest(args.clips / "manifest.jsonl")}
    report: dict[str, Any] = {}
    first: list[dict[str, float]] = []
    for path in args.captions:
        texts = {row["id"]: row["caption"] for _, row in json_lines(path)}
        rows = [counts_of(texts[id], true, args.style) for id, true in facts.items()]
        first = first or rows
        figures = {key: figure([row[key] for row in rows]) for key in COUNTED}
        changes = {key: figure([a[key] - b[key] for a, b in zip(rows, first, strict=True)]) for key in COUNTED}
        report[str(path)] = {"n": len(rows), "figures": figures, "changes": changes}
        words = sum(len(text.split()) for text in texts.values()) / len(texts)
        print(f"{path}, n = {len(rows)}, {words:.1f} words a caption")
        for key in COUNTED:
            print(f"  {key:<13} {shown(figures[key])}   change {shown(changes[key], '+.3f')}", flush=True)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def figure(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its interval over clips."""
    low, high = mean_interval(list(values))
    return sum(values) / len(values), low, high


def shown(each: tuple[float, float, float], form: str = ".3f") -> str:
    """`.123 [.100, .150]`."""
    return f"{each[0]:{form}} [{each[1]:{form}}, {each[2]:{form}}]"


def main() -> None:
    """Read the arguments, write or score."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=("write", "score"))
    parser.add_argument("clips", type=Path, help="folder of `v2t world`, clips of one segment")
    parser.add_argument("--model", default="starter")
    parser.add_argument("--tokens", type=Path, help="file that keeps the clips' visual tokens")
    parser.add_argument("--captions", type=Path, nargs="+", help="of score, the first is compared with")
    parser.add_argument("--limit", type=int, help="only the first clips")
    parser.add_argument("--style", default="short")
    parser.add_argument("--num", type=int, default=1, help="captions a clip")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("-o", "--out", type=Path, help="folder of captions, or file of scores")
    args = parser.parse_args()
    {"write": write, "score": score}[args.verb](args)


if __name__ == "__main__":
    main()
