"""How much faster `v2t caption` is than the loop one would write by hand, with the same weights and equal captions.

    python scripts/bench_caption.py [--num 200] [--model starter] [--styles short,detailed] [--size 256x256]

Draws a folder of clips of the cartoon world, then captions it twice. The plain loop: decord in this process, one clip
at a time, `generate`, results kept in a list. `v2t caption`: the whole job with finding the files, starting its decoder
processes, journal, sidecars and captions.jsonl. Both times leave out importing and loading the model (the same for
both) and both models are warmed up. The goal is 3 times the plain loop on 2 cores; captions must be equal.
Every round runs both, one after the other; the ratio is the median over rounds. On a busy machine look at the CPU
seconds too (all threads, decoder processes included): other programs cannot change those much.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from v2t.backends.local import Backend  # noqa: E402
from v2t.caption import run as caption  # noqa: E402


class Loaded:
    """A captioner whose weights are in memory already, so that neither side's time holds the loading."""

    def __init__(self, captioner: Backend) -> None:
        self._captioner = captioner
        captioner.load()

    def load(self) -> None:
        """Done before."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._captioner, name)


def cpu_s() -> float:
    """CPU seconds of this process, all threads, and of its children that have ended."""
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    )


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


class Bench:
    """Both sides, loaded and warmed up, and the clips."""

    def __init__(self, args: argparse.Namespace, place: Path) -> None:
        from cineloop.world.scenes.corpus import write_world
        from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

        self.args, self.place = args, place
        captioner = Backend(args.model, device=args.device, dtype="float32")
        self.ours = Loaded(captioner)
        self.processor = CineloopProcessor.from_pretrained(str(captioner.folder))
        model = CineloopForConditionalGeneration.from_pretrained(str(captioner.folder), dtype="float32")
        self.model = model.to(captioner._model.device).eval()
        width, height = map(int, args.size.split("x"))
        write_world(args.num, 4242, "seen", (height, width), 12, None, place / "clips")
        self.paths = sorted((place / "clips").glob("*.mp4"))
        self.compare("short", self.paths[:2])

    def compare(self, style: str, paths: list[Path]) -> dict[str, Any]:
        """One round: seconds, CPU seconds, and how many captions are equal."""
        begin = (time.perf_counter(), cpu_s())
        plain = plain_loop(paths, self.model, self.processor, importlib.import_module(f"v2t.styles.{style}"))
        middle = (time.perf_counter(), cpu_s())
        config = caption.CaptionConfig(
            style=style, batch_size=self.args.batch_size, workers=self.args.workers, on_outside="warn"
        )
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(dir=self.place) as out:
            summary = caption.run(list(map(str, paths)), Path(out), config, captioner=self.ours, emit=rows.append)
            end = (time.perf_counter(), cpu_s())
        return {
            "plain_s": middle[0] - begin[0],
            "v2t_s": end[0] - middle[0],
            "plain_cpu_s": middle[1] - begin[1],
            "v2t_cpu_s": end[1] - middle[1],
            "equal": sum(plain[row["id"]] == row["caption"] for row in rows),
            "tokens": summary.tokens,
            "times": dict(summary.times),
        }


def report(style: str, rounds: list[dict[str, Any]], num: int) -> dict[str, Any]:
    """Print one style's medians; returns them."""
    plain_s, v2t_s, plain_cpu_s, v2t_cpu_s = (
        statistics.median(r[name] for r in rounds) for name in ("plain_s", "v2t_s", "plain_cpu_s", "v2t_cpu_s")
    )
    ratio = statistics.median(r["plain_s"] / r["v2t_s"] for r in rounds)
    equal = min(r["equal"] for r in rounds)
    spent = ", ".join(f"{name} {value:.1f}" for name, value in rounds[-1]["times"].items())
    print(f"{style}: {rounds[-1]['tokens'] / num:.0f} tokens a caption, equal captions {equal} of {num}")
    print(f"  plain loop   {num / plain_s:6.1f} videos/s, {plain_cpu_s / num * 1000:.0f} ms of CPU a clip")
    print(f"  v2t caption  {num / v2t_s:6.1f} videos/s, {v2t_cpu_s / num * 1000:.0f} ms of CPU a clip ({spent} s)")
    print(f"  ratio {ratio:.2f}", flush=True)
    return {"style": style, "ratio": ratio, "equal": equal, "rounds": rounds}


def main() -> int:
    """Print the ratios; exit 1 when captions differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--styles", default="short,detailed")
    parser.add_argument("--size", default="256x256", metavar="WxH")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        bench = Bench(args, Path(place))
        print(f"{args.num} clips of {args.size}, batches of {args.batch_size}, {args.workers} decoder process(es)")
        results = []
        for style in args.styles.split(","):
            rounds = [bench.compare(style, bench.paths) for _ in range(args.rounds)]
            results.append(report(style, rounds, args.num))
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0 if all(result["equal"] == args.num for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
