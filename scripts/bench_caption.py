"""How much faster `v2t caption` is than the loop one would write by hand, with the same weights and equal captions.

    python scripts/bench_caption.py [--num 200] [--model starter] [--size 256x256] [--batch-size 32] [--json]

Draws a folder of clips of the cartoon world, then captions it twice. The plain loop: decord in this process, one clip
at a time, `generate`, results kept in a list. `v2t caption`: the whole job with finding the files, starting its decoder
processes, journal, sidecars and captions.jsonl. Both times leave out importing and loading the model (the same for
both) and both models are warmed up. The goal is 3 times the plain loop on 2 cores; captions must be equal.
Every round runs both, one after the other, so that a busy machine slows both; the ratio is the median over rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from v2t import caption  # noqa: E402
from v2t.captioners.local import Captioner  # noqa: E402
from v2t.styles import short  # noqa: E402


class Loaded:
    """A captioner whose weights are in memory already, so that neither side's time holds the loading."""

    def __init__(self, captioner: Captioner) -> None:
        self._captioner = captioner
        captioner.load()

    def load(self) -> None:
        """Done before."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._captioner, name)


def plain_loop(paths: list[Path], model: Any, processor: Any, max_new_tokens: int) -> dict[str, str]:
    """Captions by file name: what a script of thirty lines does."""
    import decord
    import numpy as np
    import torch

    from v2t.video.sample import choose  # the same frames as the other side, so that captions can be compared

    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": short.PROMPT}]}]
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
            ids = model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        answer = ids[0, inputs["input_ids"].shape[1] :]
        captions[path.name] = processor.tokenizer.decode(answer, skip_special_tokens=True).strip()
    return captions


def main() -> int:
    """Print the ratio; exit 1 when captions differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--num", type=int, default=200)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--size", default="256x256", metavar="WxH")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=short.MAX_NEW_TOKENS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    from v2t.model import CineloopForConditionalGeneration, CineloopProcessor
    from v2t.world.corpus import write_world

    captioner = Captioner(args.model, device=args.device, dtype="float32")
    ours = Loaded(captioner)
    folder = str(captioner.folder)
    processor = CineloopProcessor.from_pretrained(folder)
    model = CineloopForConditionalGeneration.from_pretrained(folder, dtype="float32")
    model = model.to(captioner._model.device).eval()
    width, height = map(int, args.size.split("x"))
    config = caption.CaptionConfig(
        batch_size=args.batch_size, workers=args.workers, max_new_tokens=args.max_new_tokens, overwrite=True
    )
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as place:
        clips = Path(place) / "clips"
        write_world(args.num, 4242, "seen", (height, width), 12, None, clips)
        paths = sorted(clips.glob("*.mp4"))
        plain_loop(paths[:2], model, processor, 4)
        caption.run([str(p) for p in paths[:2]], None, config, captioner=ours)
        for number in range(args.rounds):
            start = time.perf_counter()
            plain = plain_loop(paths, model, processor, args.max_new_tokens)
            plain_s = time.perf_counter() - start
            rows: list[dict[str, Any]] = []
            start = time.perf_counter()
            summary = caption.run([str(clips)], Path(place) / f"out{number}", config, captioner=ours, emit=rows.append)
            ours_s = time.perf_counter() - start
            same = sum(plain[row["id"]] == row["caption"] for row in rows)
            rounds.append({"plain_s": plain_s, "ours_s": ours_s, "same": same, "times": dict(summary.times)})
    result = {
        "clips": args.num,
        "plain_videos_per_s": args.num / statistics.median(r["plain_s"] for r in rounds),
        "v2t_videos_per_s": args.num / statistics.median(r["ours_s"] for r in rounds),
        "ratio": statistics.median(r["plain_s"] / r["ours_s"] for r in rounds),
        "equal_captions": min(r["same"] for r in rounds),
        "rounds": rounds,
    }
    if args.json:
        print(json.dumps(result))
    else:
        spent = ", ".join(f"{name} {value:.1f} s" for name, value in rounds[-1]["times"].items())
        print(f"{args.num} clips of {args.size}, batch {args.batch_size}, {args.workers} decoder process(es)")
        print(f"plain loop   {result['plain_videos_per_s']:6.1f} videos/s")
        print(f"v2t caption  {result['v2t_videos_per_s']:6.1f} videos/s  ({spent})")
        print(f"ratio {result['ratio']:.2f}; equal captions {result['equal_captions']} of {args.num}")
    return 0 if result["equal_captions"] == args.num else 1


if __name__ == "__main__":
    sys.exit(main())
