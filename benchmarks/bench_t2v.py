"""How much the generator's steps cost: our transformer against diffusers' Wan of equal shape, caching, sampling.

    python benchmarks/bench_t2v.py [transformer] [cache] [sampler] [--full] [--model t2v/starter] [--batch 128]
        [--clips 8] [--rounds 7] [--threads 1]
    python benchmarks/bench_t2v.py --load 8 [--rounds 3]

On random latents of the model's own size, everything under bfloat16 autocast. transformer: a training step (forward and
backward) and a denoising step (two clips, no gradient) of both transformers, ours with the text mask and pooled text
that Wan does not have; beside them a 1024 matrix product, which gives the machine's peak (denoising has eight times
`--rounds`). cache: a training step on `--clips` clips whose latents are ready, against one that encodes the clips
first. sampler: one clip at several numbers of steps, and decoding. FLOPs are counted by torch on our model and stand
for both. On a CPU the ratio of CPU seconds counts.

With `--load N` only the bundled generator beside N programs that never sleep: two clips at two steps, as `t2v generate`
sets its threads, against `spinning` (threads that spin while they wait, which is what libgomp does by itself) and
against one thread. Each has a process of its own; they take turns under the same load.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

from harness import ROOT, Options, Row, Run, Size, main, rows_of, turns

PROMPT = "a small red ball bounces to the right on a beach"
PEAK_SIDE = 1024
_BUSY = "import time; end = time.monotonic() + 120\nwhile time.monotonic() < end: pass"  # not for ever, come what may
_PAINTER = """
import json, sys, time
from cineloop import threads
threads.prepare()
from t2v.generators import ClipRequest, open_generator
from t2v.settings import GenerateSettings
generator, steps = open_generator("dit"), GenerateSettings(steps=2)
requests = [ClipRequest(prompt="A red ball rolls to the right on the beach.", seed=seed) for seed in (0, 1)]
generator.generate(requests, steps)
print("ready", flush=True)
for _ in sys.stdin:
    began, cpu = time.perf_counter(), time.process_time()
    generator.generate(requests, steps)
    print(json.dumps([time.perf_counter() - began, time.process_time() - cpu]), flush=True)
"""


def wan_like(transformer: Any) -> Any:
    """Diffusers' Wan of the same sizes, with random weights."""
    from diffusers import WanTransformer3DModel

    accepted = set(inspect.signature(WanTransformer3DModel.__init__).parameters) - {"self"}
    sizes = {key: value for key, value in transformer.config.items() if key in accepted}
    return WanTransformer3DModel(**sizes).to(transformer.device)


def conditions(transformer: Any, batch: int, length: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Random inputs of `batch` clips with `length` text tokens: what Wan takes, and what ours takes beside."""
    import torch

    config, device = transformer.config, transformer.device
    grid = (1 + (config.sample_frames - 1) // 4, config.sample_height // 8, config.sample_width // 8)
    common = {
        "hidden_states": torch.randn(batch, config.in_channels, *grid, device=device),
        "timestep": 1000 * torch.rand(batch, device=device),
        "encoder_hidden_states": torch.randn(batch, length, config.text_dim, device=device),
    }
    mask = torch.arange(length, device=device) < torch.randint(length // 2, length + 1, (batch, 1), device=device)
    extra: dict[str, Any] = {"encoder_attention_mask": mask}
    if config.pooled_dim is not None:
        extra["pooled_projections"] = torch.randn(batch, config.pooled_dim, device=device)
    return common, extra


def train_step(model: Any, given: dict[str, Any]) -> None:
    """Forward and backward on a mean square error."""
    import torch

    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        guess = model(**given).sample
    torch.nn.functional.mse_loss(guess.float(), torch.zeros_like(guess, dtype=torch.float32)).backward()
    model.zero_grad()


def denoise_step(model: Any, given: dict[str, Any]) -> None:
    """Forward without gradient."""
    import torch

    with torch.no_grad(), torch.autocast(model.device.type, dtype=torch.bfloat16):
        model(**given)


def count_flops(run: Run) -> int:
    """Floating-point operations of matrix products, convolutions and attention in one run."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@cache
def open_pipeline(model: str, device: str, threads: int) -> Any:
    """The pipeline whose sizes are measured."""
    import torch

    from t2v.pipeline import STARTER, CineloopPipeline

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    return CineloopPipeline.from_pretrained(model or STARTER, local_files_only=True).to(device)


def pipeline_of(options: Options) -> Any:
    """See `open_pipeline`."""
    return open_pipeline(options.model, options.device, options.threads)


def whole(run: Run, device: Any) -> Run:
    """The run until a GPU has ended it too."""
    import torch

    if device.type != "cuda":
        return lambda: run() is None
    return lambda: (run(), torch.cuda.synchronize(device))[1]


def transformer(options: Options, folder: Path) -> Iterator[Row]:
    """Training and denoising step, ours and Wan's, with the share of the peak ours reaches."""
    import torch

    ours = pipeline_of(options).transformer.train()
    wan, device = wan_like(ours), ours.device
    left, right = (torch.randn(PEAK_SIDE, PEAK_SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    # A denoising step is short, so one round of it says little.
    for name, step, size, rounds in (
        ("training step", train_step, options.batch, options.rounds),
        ("denoising step", denoise_step, 2, 8 * options.rounds),
    ):
        common, extra = conditions(ours, size, options.text)
        runs: dict[str, Run] = {
            "ours": lambda step=step, given=common | extra: step(ours, given),
            "Wan": lambda step=step, given=common: step(wan, given),
            "peak": lambda: left @ right,
        }
        flops = count_flops(runs["ours"])
        rows = turns(
            f"{name} of {size} clips", {key: whole(run, device) for key, run in runs.items()}, rounds, base="Wan"
        )
        # By CPU seconds on a CPU, where other programs would stretch the clock.
        seconds = {row.name: row.wall_s if device.type == "cuda" else row.cpu_s for row in rows}
        speed, peak = flops / median(seconds["ours"]) / 1e9, 2 * PEAK_SIDE**3 / min(seconds["peak"]) / 1e9
        rows[0].figures = {"GFLOP": flops / 1e9, "GFLOP/s": speed, "of the peak": speed / peak}
        rows[2].figures, rows[2].base = {"GFLOP/s": peak}, None
        yield from rows


def cache_rows(options: Options, folder: Path) -> Iterator[Row]:
    """A training step on latents that are ready, and one that encodes its clips first."""
    import torch

    pipeline = pipeline_of(options)
    ours, vae = pipeline.transformer.train(), pipeline.vae.eval()
    config = ours.config
    common, extra = conditions(ours, options.clips, options.text)
    shape = (options.clips, 3, config.sample_frames, config.sample_height, config.sample_width)
    pixels = torch.rand(shape, device=ours.device) * 2 - 1  # (B, 3, T, H, W)

    def without_cache() -> None:
        with torch.no_grad(), torch.autocast(ours.device.type, dtype=torch.bfloat16):
            latents = vae.encode_normalized(pixels).float()
        train_step(ours, common | extra | {"hidden_states": latents})

    runs: dict[str, Run] = {"uncached": without_cache, "cached": lambda: train_step(ours, common | extra)}
    runs = {name: whole(run, ours.device) for name, run in runs.items()}
    yield from turns(f"training step on {options.clips} clips", runs, options.rounds, base="uncached")


def sampler(options: Options, folder: Path) -> Iterator[Row]:
    """One clip's latents by number of steps, with guidance, and decoding them."""
    import torch

    pipeline = pipeline_of(options)
    pipeline.transformer.eval()
    pipeline.set_progress_bar_config(disable=True)
    device = pipeline.transformer.device
    latents = pipeline(PROMPT, num_inference_steps=1, output_type="latent").frames

    def sample(steps: int) -> None:
        with torch.autocast(device.type, dtype=torch.bfloat16):
            pipeline(PROMPT, num_inference_steps=steps, output_type="latent")

    def decode() -> None:
        with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
            pipeline.vae.decode_normalized(latents)

    runs: dict[str, Run] = {f"{n} steps": lambda n=n: sample(n) for n in options.steps} | {"decode": decode}
    yield from turns("one clip", {name: whole(run, device) for name, run in runs.items()}, options.rounds)


def load(options: Options, folder: Path) -> Iterator[Row]:
    """Generating beside busy processes, by how the threads are set; seconds as the generating processes give them."""
    from cineloop.threads import usable_cpus

    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    ways = {"ours": {}, "spinning": {"GOMP_SPINCOUNT": "300000"}, "one thread": {"OMP_NUM_THREADS": "1"}}
    taken: dict[str, list[list[float]]] = {way: [] for way in ways}
    with ExitStack() as stack:

        def start(*words: str, **more: Any) -> subprocess.Popen[str]:
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", *words], text=True, cwd=ROOT, **more))
            stack.callback(process.kill)
            return process

        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        painters = {way: start(_PAINTER, env=plain | env, **pipes) for way, env in ways.items()}
        for painter in painters.values():
            painter.stdout.readline()  # loaded and warm
        for _ in range(options.load):
            start(_BUSY)
        for _ in range(options.rounds):
            for way, painter in painters.items():
                painter.stdin.write("go\n")
                painter.stdin.flush()
                taken[way].append(json.loads(painter.stdout.readline()))
    part = f"two clips at two steps beside {options.load} busy programs on {usable_cpus()} CPUs"
    seconds = [{way: [one[i] for one in each] for way, each in taken.items()} for i in (0, 1)]
    yield from rows_of(part, *seconds, base="ours")


def flags(parser: argparse.ArgumentParser) -> None:
    """What is no size."""
    parser.add_argument("--model", default="", help="pipeline folder whose sizes are measured (default: the starter)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--text", type=int, default=12, help="text tokens of a clip")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--load", type=int, default=0, metavar="N", help="only the generator, beside N busy programs")


if __name__ == "__main__":
    sizes = (
        Size("batch", 16, 128, "clips in the training step"),
        Size("clips", 4, 8, "clips in the cached and uncached step"),
        Size("steps", (4, 16), (4, 8, 16, 24, 48), "of the sampler"),
    )
    parts = {"transformer": transformer, "cache": cache_rows, "sampler": sampler}
    sys.exit(
        main(__doc__, parts, *sizes, rounds=(2, 7), more=flags, only=lambda given: {"load": load} if given.load else {})
    )
