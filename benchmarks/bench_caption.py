"""How much faster `v2t caption` is than the loop one would write by hand, with the same weights and equal captions.

    python benchmarks/bench_caption.py [--full] [--num 200] [--model starter] [--styles short,detailed] [--size 256x256]

Draws a folder of clips of the cartoon world, then captions it twice. The plain loop: decord in this process, one clip
at a time, `generate`, results kept in a list. `v2t caption`: the whole job with finding the files, starting its decoder
processes, journal, sidecars and captions.jsonl. Both times leave out importing and loading the model (the same for
both) and both models are warmed up. The goal is 3 times the plain loop on 2 cores; captions must be equal.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from harness import LoadedCaptioner, Options, Row, Size, main, turns


def plain_loop(paths: list[Path], model: Any, processor: Any, style: ModuleType) -> dict[str, str]:
    """Captions by file name: what a script of thirty lines does."""
    import decord
    import numpy as np
    import torch

    from cineloop.video.sample import choose  # the same frames as the other side, so that captions can be compared

    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": style.PROMPT}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    captions = {}
    for path in paths:
        reader = decord.VideoReader(str(path))
        times_s = reader.get_frame_timestamp(range(len(reader)))[:, 0].astype(np.float64)
        times_s -= times_s[0]
        duration_s = len(reader) / reader.get_avg_fps()
        picked = choose(processor.video_processor.sample_spec(), times_s, duration_s)
        pixels = reader.get_batch(picked.tolist()).asnumpy()  # (T, H, W, 3)
        inputs = processor(text=[text], videos=[pixels], frame_times_s=[times_s[picked]], return_tensors="pt")
        inputs = inputs.to(model.device)
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=style.MAX_NEW_TOKENS, do_sample=False)
        answer = ids[0, inputs["input_ids"].shape[1] :]
        captions[path.name] = processor.tokenizer.decode(answer, skip_special_tokens=True).strip()
    return captions


def captions(options: Options, folder: Path) -> Iterator[Row]:
    """Both ways, style by style."""
    from cineloop.world.scenes.corpus import write_world
    from v2t.backends.local import Backend
    from v2t.caption import run as caption
    from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

    captioner = Backend(options.model, device=options.device, dtype="float32")
    loaded, place = LoadedCaptioner(captioner), str(captioner.folder)
    processor = CineloopProcessor.from_pretrained(place)
    model = CineloopForConditionalGeneration.from_pretrained(place, dtype="float32")
    model = model.to(captioner._model.device).eval()
    width, height = map(int, options.size.split("x"))
    write_world(options.num, 4242, "seen", (height, width), 12, None, folder / "clips")
    paths = sorted((folder / "clips").glob("*.mp4"))

    def plain(style: str, some: list[Path]) -> dict[str, str]:
        return plain_loop(some, model, processor, importlib.import_module(f"v2t.styles.{style}"))

    def ours(style: str, some: list[Path]) -> tuple[dict[str, str], Any]:
        config = caption.CaptionConfig(
            style=style, batch_size=options.batch_size, workers=options.workers, on_outside="warn"
        )
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(dir=folder) as out:
            summary = caption.run(list(map(str, some)), Path(out), config, captioner=loaded, emit=rows.append)
        return {row["id"]: row["caption"] for row in rows}, summary

    plain("short", paths[:2]), ours("short", paths[:2])
    for style in options.styles.split(","):
        runs = {"plain loop": lambda s=style: plain(s, paths), "v2t caption": lambda s=style: ours(s, paths)}
        loop, job = turns(style, runs, options.rounds, base="plain loop", items=options.num, warm_up=False)
        summary = job.results[-1][1]
        equal = min(
            sum(texts.get(name) == text for name, text in expected.items())
            for expected, (texts, _) in zip(loop.results, job.results, strict=True)
        )
        job.goal, job.figures = ">= 3", {"equal captions": equal, "tokens a caption": summary.tokens / options.num}
        job.figures |= {f"{name}, s": seconds for name, seconds in dict(summary.times).items()}
        if equal < options.num:
            job.wrong = f"{options.num - equal} of {options.num} captions differ from the plain loop's"
        yield from (loop, job)


def flags(parser: argparse.ArgumentParser) -> None:
    """What is no size."""
    parser.add_argument("--model", default="starter")
    parser.add_argument("--styles", default="short,detailed")
    parser.add_argument("--size", default="256x256", metavar="WxH")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto")


if __name__ == "__main__":
    sys.exit(main(__doc__, {"captions": captions}, Size("num", 40, 200, "clips"), rounds=(1, 1), more=flags))
