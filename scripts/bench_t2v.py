"""How much the generator's steps cost: our transformer against diffusers' Wan of equal shape, caching, sampling.

    python scripts/bench_t2v.py [--model t2v/starter] [--batch 128] [--clips 8] [--rounds 7] [--threads 1] [--json]
    python scripts/bench_t2v.py --load 8 [--rounds 3] [--json]

Three comparisons on random latents of the model's own size, everything under bfloat16 autocast. First a training step
(forward and backward) and a denoising step (two clips, no gradient) of both transformers, ours with the text mask and
pooled text that Wan does not have; beside them a 1024 matrix product, which gives the machine's peak. Then a training
step on `--clips` clips whose latents are ready, against one that encodes the clips first. Last the sampler at several
numbers of steps, and decoding. All take turns, round after round, so that a busy moment of the machine falls on all
alike; figures are medians, ratios medians over rounds (denoising has eight times `--rounds`). On a CPU the clock counts
the process's own CPU seconds (of all its threads), on a GPU seconds. FLOPs are counted by torch on our model and stand
for both.

With `--load N` only the bundled generator beside N programs that never sleep: seconds for two clips at two steps, as
`t2v generate` sets its threads, against the baseline `spinning` (threads that spin while they wait, which is what
libgomp does by itself) and against one thread. Each has a process of its own; they take turns under the same load.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cineloop.threads import usable_cpus  # noqa: E402
from t2v.pipeline import STARTER, CineloopPipeline  # noqa: E402

SAMPLER_STEPS = (4, 8, 16, 24, 48)
PROMPT = "a small red ball bounces to the right on a beach"
PEAK_SIDE = 1024
Run = Callable[[], Any]
_BUSY = "import time; end = time.monotonic() + 120\nwhile time.monotonic() < end: pass"  # not for ever, come what may
_PAINTER = """
import json, sys, time
from cineloop import threads
threads.prepare()
from t2v.generators import GenerateSettings, Request, open_generator
generator, steps = open_generator("dit"), GenerateSettings(steps=2)
requests = [Request(prompt="A red ball rolls to the right on the beach.", seed=seed) for seed in (0, 1)]
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
    with torch.autocast(model.device.type, dtype=torch.bfloat16):
        guess = model(**given).sample
    torch.nn.functional.mse_loss(guess.float(), torch.zeros_like(guess, dtype=torch.float32)).backward()
    model.zero_grad()


def denoise_step(model: Any, given: dict[str, Any]) -> None:
    """Forward without gradient."""
    with torch.no_grad(), torch.autocast(model.device.type, dtype=torch.bfloat16):
        model(**given)


def count_flops(run: Run) -> int:
    """Floating-point operations of matrix products, convolutions and attention in one run."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


def measure(runs: dict[str, Run], rounds: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds [round] of every run, the runs taking turns; the first round only warms up."""
    taken: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(rounds + 1):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = _clock(device)
            runs[name]()
            if turn:
                taken[name].append(_clock(device) - began)
    return taken


def _clock(device: torch.device) -> float:
    if device.type != "cuda":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def ratio(taken: dict[str, list[float]], ours: str, other: str) -> float:
    """Median over rounds of one run's time over another's in the same round."""
    return statistics.median(a / b for a, b in zip(taken[ours], taken[other], strict=True))


def bench_transformer(pipeline: Any, batch: int, length: int, rounds: int) -> dict[str, Any]:
    """Training and denoising step, ours and Wan's, with the share of the peak ours reaches."""
    ours, wan = pipeline.transformer.train(), wan_like(pipeline.transformer)
    device, results = ours.device, {}
    left, right = (torch.randn(PEAK_SIDE, PEAK_SIDE, device=device, dtype=torch.bfloat16) for _ in range(2))
    # A denoising step is short, so one round of it says little.
    for name, step, size, turns in (("train", train_step, batch, rounds), ("denoise", denoise_step, 2, 8 * rounds)):
        common, extra = conditions(ours, size, length)
        runs: dict[str, Run] = {
            "ours": lambda step=step, given=common | extra: step(ours, given),
            "wan": lambda step=step, given=common: step(wan, given),
            "peak": lambda: left @ right,
        }
        flops = count_flops(runs["ours"])
        taken = measure(runs, turns, device)
        seconds = {key: statistics.median(values) for key, values in taken.items()}
        peak = 2 * PEAK_SIDE**3 / min(taken["peak"]) / 1e9
        speed = flops / seconds["ours"] / 1e9
        results[name] = {
            "batch": size,
            "ours_s": seconds["ours"],
            "wan_s": seconds["wan"],
            "ratio": ratio(taken, "ours", "wan"),
            "gflop": flops / 1e9,
            "gflop_per_s": speed,
            "peak_gflop_per_s": peak,
            "share_of_peak": speed / peak,
        }
    return results


def bench_cache(pipeline: Any, clips: int, length: int, rounds: int) -> dict[str, float]:
    """A training step on latents that are ready, and one that encodes its clips first."""
    ours, vae = pipeline.transformer.train(), pipeline.vae.eval()
    config = ours.config
    common, extra = conditions(ours, clips, length)
    shape = (clips, 3, config.sample_frames, config.sample_height, config.sample_width)
    pixels = torch.rand(shape, device=ours.device) * 2 - 1  # (B, 3, T, H, W)

    def uncached() -> None:
        with torch.no_grad(), torch.autocast(ours.device.type, dtype=torch.bfloat16):
            latents = vae.encode_normalized(pixels).float()
        train_step(ours, common | extra | {"hidden_states": latents})

    runs: dict[str, Run] = {"cached": lambda: train_step(ours, common | extra), "uncached": uncached}
    taken = measure(runs, rounds, ours.device)
    row = {f"{name}_s": statistics.median(values) for name, values in taken.items()}
    return {"clips": clips, **row, "ratio": ratio(taken, "cached", "uncached")}


def bench_sampler(pipeline: Any, rounds: int) -> dict[str, float]:
    """Seconds for one clip's latents by number of steps, with guidance, and for decoding them."""
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

    runs: dict[str, Run] = {f"{n} steps": lambda n=n: sample(n) for n in SAMPLER_STEPS} | {"decode": decode}
    return {name: statistics.median(values) for name, values in measure(runs, rounds, device).items()}


def bench_load(num_busy: int, rounds: int) -> dict[str, Any]:
    """Seconds and CPU seconds of generating beside `num_busy` busy processes, by how the threads are set."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    ways = {"ours": {}, "spinning": {"GOMP_SPINCOUNT": "300000"}, "one thread": {"OMP_NUM_THREADS": "1"}}
    root = Path(__file__).resolve().parents[1]
    taken: dict[str, list[list[float]]] = {way: [] for way in ways}
    with ExitStack() as stack:

        def start(*words: str, **more: Any) -> subprocess.Popen[str]:
            process = stack.enter_context(subprocess.Popen([sys.executable, "-c", *words], text=True, cwd=root, **more))
            stack.callback(process.kill)
            return process

        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        painters = {way: start(_PAINTER, env=plain | env, **pipes) for way, env in ways.items()}
        for painter in painters.values():
            painter.stdout.readline()  # loaded and warm
        for _ in range(num_busy):
            start(_BUSY)
        for _ in range(rounds):
            for way, painter in painters.items():
                painter.stdin.write("go\n")
                painter.stdin.flush()
                taken[way].append(json.loads(painter.stdout.readline()))
    ours = taken["ours"]
    return {
        "busy": num_busy,
        "cpus": usable_cpus(),
        "rounds": rounds,
        **{
            way: {
                "seconds": statistics.median(wall for wall, _ in each),
                "cpu_seconds": statistics.median(cpu for _, cpu in each),
                "ours_over_it": statistics.median(a[0] / b[0] for a, b in zip(ours, each, strict=True)),
            }
            for way, each in taken.items()
        },
    }


def show_load(row: dict[str, Any]) -> None:
    """Print the figures of `bench_load` as text."""
    print(
        f"two clips at two steps beside {row['busy']} busy programs on {row['cpus']} CPUs, "
        f"medians of {row['rounds']} rounds"
    )
    for way in ("ours", "spinning", "one thread"):
        each = row[way]
        print(
            f"  {way:<10} {each['seconds']:6.2f} s {each['cpu_seconds']:6.2f} CPU s   "
            f"ours over it {each['ours_over_it']:.2f}"
        )


def show(results: dict[str, Any]) -> None:
    """Print the figures as text."""
    for name, row in results["transformer"].items():
        print(
            f"{name:<8} batch {row['batch']:<4} ours {1000 * row['ours_s']:8.1f} ms   Wan {1000 * row['wan_s']:8.1f} ms"
            f"   ratio {row['ratio']:.3f}   {row['gflop']:.1f} GFLOP at {row['gflop_per_s']:.0f} GFLOP/s, "
            f"{row['share_of_peak']:.0%} of the peak {row['peak_gflop_per_s']:.0f}"
        )
    row = results["cache"]
    print(
        f"training step on {row['clips']} clips: cached {1000 * row['cached_s']:.1f} ms, "
        f"uncached {1000 * row['uncached_s']:.1f} ms, ratio {row['ratio']:.3f}"
    )
    print("one clip: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in results["sampler"].items()))


def main() -> None:
    """Parse the arguments, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=STARTER, help="pipeline folder whose sizes are measured")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=128, help="clips in the training step")
    parser.add_argument("--clips", type=int, default=8, help="clips in the cached and uncached step")
    parser.add_argument("--text", type=int, default=12, help="text tokens of a clip")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--load", type=int, default=0, metavar="N", help="only the generator, beside N busy programs")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    if arguments.load:
        row = bench_load(arguments.load, arguments.rounds)
        print(json.dumps(row)) if arguments.json else show_load(row)
        return
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    pipeline = CineloopPipeline.from_pretrained(arguments.model, local_files_only=True).to(arguments.device)
    results = {
        "device": arguments.device,
        "threads": arguments.threads,
        "rounds": arguments.rounds,
        "transformer": bench_transformer(pipeline, arguments.batch, arguments.text, arguments.rounds),
        "cache": bench_cache(pipeline, arguments.clips, arguments.text, arguments.rounds),
        "sampler": bench_sampler(pipeline, arguments.rounds),
    }
    if arguments.json:
        print(json.dumps(results))
    else:
        show(results)


if __name__ == "__main__":
    main()
