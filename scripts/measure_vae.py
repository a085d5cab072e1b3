"""Measure the generator's autoencoder on clips it never saw, beside a linear codec of equal size.

In: a model folder (the starter's by default). Out: a table on stdout and, with -o, the same as JSON. Quality: PSNR in
dB of all pixels of all clips together, of the pixels of figures, of the first frames, with 95 % bootstrap intervals
over clips; the mean of the clips' own PSNR; the mean and deviation of the normalised latents. Beside it PCA: per block
of 4 × 8 × 8 pixels (1 × 8 × 8 in the first frame) the best linear code of as many values as the autoencoder has
latent channels. Cost: seconds to encode and decode one clip; peak memory and seconds of a long clip, whole and in
chunks of time; and what tiles do to a large picture. Goals: 33 dB, and 5 dB above PCA.

    python scripts/measure_vae.py --num 256 -o vae.json
    python scripts/measure_vae.py --model runs/t2v/vae/final

Letters: n clips, T frames, H W size, k values of a code.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cineloop.world.scenes.render import label_masks
from t2v.data.world import TIMES_S, solo_clips, to_video
from t2v.model.vae import AutoencoderKLCineloop
from t2v.train.vae import psnr
from v2t_eval.core.statistics import bootstrap

GOAL_DB, GOAL_ABOVE_PCA_DB = 33.0, 5.0


class BlockPca:
    """The best linear codec of blocks of (frames, 8, 8, 3) values: mean and the first `k` principal directions."""

    def __init__(self, frames: int, k: int) -> None:
        self.frames, self.k = frames, k
        self.count, self.sum, self.squares = 0, 0.0, 0.0

    def blocks(self, video: torch.Tensor) -> torch.Tensor:
        """(n, 3, T, H, W) to (blocks, frames · 192)."""
        n, c, t, h, w = video.shape
        x = video.reshape(n, c, t // self.frames, self.frames, h // 8, 8, w // 8, 8)
        return x.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, c * self.frames * 64).double()

    def add(self, video: torch.Tensor) -> None:
        """Fit on these too."""
        x = self.blocks(video)
        self.count += len(x)
        self.sum, self.squares = self.sum + x.sum(0), self.squares + x.T @ x

    def close(self) -> None:
        """Work out the directions."""
        self.mean = self.sum / self.count
        covariance = self.squares / self.count - torch.outer(self.mean, self.mean)
        self.basis = torch.linalg.eigh(covariance).eigenvectors[:, -self.k :]  # (values, k)

    def __call__(self, video: torch.Tensor) -> torch.Tensor:
        """There and back, (n, 3, T, H, W)."""
        n, c, t, h, w = video.shape
        x = self.blocks(video) - self.mean
        x = (x @ self.basis @ self.basis.T + self.mean).float()
        x = x.reshape(n, t // self.frames, h // 8, w // 8, c, self.frames, 8, 8).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return x.reshape(n, c, t, h, w)


def fit_pca(k: int, num: int, size: tuple[int, int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The linear codec, fitted on `num` clips of the training split."""
    first, rest = BlockPca(1, k), BlockPca(4, k)
    for video, _ in clips("train", 1, num, size):
        first.add(video[:, :, :1])
        rest.add(video[:, :, 1:])
    first.close()
    rest.close()
    return lambda video: torch.cat([first(video[:, :, :1]), rest(video[:, :, 1:])], dim=2).clamp(-1, 1)


def clips(split: str, seed: int, num: int, size: tuple[int, int]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Up to 16 clips at a time: video (n, 3, T, H, W) in [-1, 1], and where figures are, bool (n, T, H, W)."""
    for start in range(0, num, 16):
        frames, scenes = solo_clips(split, seed, start, min(16, num - start), size)
        yield to_video(frames), torch.from_numpy(np.stack([label_masks(s, TIMES_S, size)[0] >= 0 for s in scenes]))


class Errors:
    """Per clip: squared error (scale 0 to 1) and the number of values, of all pixels, figures and first frames."""

    def __init__(self) -> None:
        self.parts: dict[str, list[tuple[float, int]]] = {"pixels": [], "figures": [], "first frames": []}

    def add(self, given: torch.Tensor, video: torch.Tensor, masks: torch.Tensor) -> None:
        """Clips (n, 3, T, H, W) and their reconstructions."""
        squared = ((given - video) / 2).square().sum(1).double()  # (n, T, H, W)
        for error, mask in zip(squared, masks, strict=True):
            for name, part in (("pixels", error), ("figures", error[mask]), ("first frames", error[0])):
                self.parts[name].append((float(part.sum()), 3 * part.numel()))

    def figures(self) -> dict[str, Any]:
        """PSNR in dB with intervals."""
        own = [psnr(total / count) for total, count in self.parts["pixels"]]
        out: dict[str, Any] = {"mean of clips": {"db": statistics.fmean(own), "interval": bootstrap(own)}}
        for name, parts in self.parts.items():
            together = lambda drawn, parts=parts: psnr(  # noqa: E731
                sum(parts[int(i)][0] for i in drawn) / max(1, sum(parts[int(i)][1] for i in drawn))
            )
            # Clips are drawn by number, so that error and count stay together.
            out[name] = {
                "db": together(range(len(parts))),
                "interval": bootstrap(range(len(parts)), statistic=together),
            }
        return out


@torch.no_grad()
def quality(vae: AutoencoderKLCineloop, num: int, num_pca: int, size: tuple[int, int], seed: int) -> dict[str, Any]:
    """Errors of the autoencoder and of PCA on the same clips, and the latents' mean and deviation."""
    pca = fit_pca(vae.config.latent_channels, num_pca, size)
    ours, linear = Errors(), Errors()
    latents = []
    for video, masks in clips("seen", seed, num, size):
        codes = vae.encode_normalized(video.to(vae.device))
        latents.append(codes.float().cpu().transpose(0, 1).flatten(1))  # (c, values)
        ours.add(vae.decode_normalized(codes).float().cpu(), video, masks)
        linear.add(pca(video), video, masks)
    together = torch.cat(latents, dim=1)
    return {
        "clips": num,
        "pca_clips": num_pca,
        "autoencoder": ours.figures(),
        "pca": linear.figures(),
        "latents": {"mean": together.mean(1).tolist(), "std": together.std(1).tolist()},
    }


def seconds_of(run: Callable[[], Any], device: torch.device, repeats: int) -> dict[str, float]:
    """Medians after one warm-up: wall time, and CPU time of all threads, which other programs cannot change much."""
    wall, cpu = [], []
    for _ in range(repeats + 1):
        begun = time.perf_counter(), time.process_time()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        wall.append(time.perf_counter() - begun[0])
        cpu.append(time.process_time() - begun[1])
    return {"wall_s": statistics.median(wall[1:]), "cpu_s": statistics.median(cpu[1:])}


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors made inside that are alive, and the most there were (kernels' scratch is not)."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        storages = [x.untyped_storage() for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        given = {x.untyped_storage().data_ptr() for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        for storage in storages:
            place, size = storage.data_ptr(), storage.nbytes()
            if size and place not in self._known and place not in given:  # else a view, or changed in place
                self._known.add(place)
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._on_free, place, size)
        return out

    def _on_free(self, place: int, size: int) -> None:
        self._known.discard(place)
        self.now -= size


def peak_mib(run: Callable[[], torch.Tensor]) -> float:
    """MiB of tensors at the highest point of `run`, beyond what it gives."""
    with LiveBytes() as live:
        size = run().nbytes
    return (live.peak - size) / 2**20


@torch.no_grad()
def speed(vae: AutoencoderKLCineloop, size: tuple[int, int], repeats: int) -> dict[str, Any]:
    """Seconds to encode and to decode one clip."""
    clip = next(clips("seen", 11, 1, size))[0].to(vae.device)
    codes = vae.encode_normalized(clip)
    return {
        "encode": seconds_of(lambda: vae.encode_normalized(clip), vae.device, repeats),
        "decode": seconds_of(lambda: vae.decode_normalized(codes), vae.device, repeats),
    }


@torch.no_grad()
def chunks(vae: AutoencoderKLCineloop, size: tuple[int, int], length: int) -> list[dict[str, Any]]:
    """Seconds and peak memory of both ways for a clip of `length` frames, whole and in chunks."""
    clip = next(clips("seen", 11, 1, size))[0].to(vae.device)
    video = clip.repeat(1, 1, -(-length // clip.shape[2]), 1, 1)[:, :, :length]
    codes = vae.encode_normalized(video)
    expected = vae.decode_normalized(codes)
    rows: list[dict[str, Any]] = []
    for step in (None, 4, 1):
        vae.use_framewise_encoding = vae.use_framewise_decoding = step is not None
        vae.num_latent_frames_batch_size, vae.num_sample_frames_batch_size = step or 4, 4 * (step or 4)
        row: dict[str, Any] = {"frames": length, "chunk": step or "whole"}
        for name, run in (
            ("encode", lambda: vae.encode_normalized(video)),
            ("decode", lambda: vae.decode_normalized(codes)),
        ):
            row[name] = {"mib": peak_mib(run)} | seconds_of(run, vae.device, 1)
        row["difference"] = float((vae.decode_normalized(codes) - expected).abs().max())
        rows.append(row)
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    return rows


@torch.no_grad()
def tiles(vae: AutoencoderKLCineloop, size: tuple[int, int], num: int, seed: int) -> list[dict[str, Any]]:
    """PSNR against the clip, whole and in tiles of several sizes, and of the tiled result against the whole one."""
    video = torch.cat([video for video, _ in clips("seen", seed, num, size)])[:, :, :5].to(vae.device)
    whole = vae.decode_normalized(vae.encode_normalized(video))
    rows = [{"tile": "whole", "db": psnr(_mse(whole, video))}]
    for tile, stride in ((size[0] // 2, size[0] // 4), (size[0] // 2, size[0] * 3 // 8)):
        vae.enable_tiling(tile, tile, stride, stride)
        tiled = vae.decode_normalized(vae.encode_normalized(video))
        vae.disable_tiling()
        rows.append(
            {
                "tile": f"{tile}, {stride} apart",
                "db": psnr(_mse(tiled, video)),
                "db_to_whole": psnr(_mse(tiled, whole)),
                "largest": float((tiled - whole).abs().max() / 2),
            }
        )
    return rows


def _mse(given: torch.Tensor, video: torch.Tensor) -> float:
    return float(((given - video) / 2).square().mean())


def show_quality(report: dict[str, Any]) -> None:
    """The figures of `quality` as text."""
    print(f"{report['clips']} held-out clips; PCA fitted on {report['pca_clips']} clips; dB [95 % interval]")
    for kind, ours in report["autoencoder"].items():
        cells = [
            f"{x['db']:6.2f} [{x['interval'][0]:.2f}, {x['interval'][1]:.2f}]" for x in (ours, report["pca"][kind])
        ]
        print(f"  {kind:<14} autoencoder {cells[0]}  pca {cells[1]}")
    db = report["autoencoder"]["pixels"]["db"]
    gain = db - report["pca"]["pixels"]["db"]
    reached = "reached" if db >= GOAL_DB and gain >= GOAL_ABOVE_PCA_DB else "NOT reached"
    print(f"  above PCA {gain:+.2f} dB; goals of {GOAL_DB:g} dB and {GOAL_ABOVE_PCA_DB:+g} dB {reached}")
    mean, std = report["latents"]["mean"], report["latents"]["std"]
    print(
        f"  normalised latents: means {min(mean):+.3f} to {max(mean):+.3f}, deviations {min(std):.3f} to {max(std):.3f}"
    )


def show_cost(report: dict[str, Any]) -> None:
    """The figures of `speed`, `chunks` and `tiles` as text."""

    def cell(row: dict[str, Any], name: str) -> str:
        memory = f" {row[name]['mib']:7.1f} MiB" if "mib" in row[name] else ""
        return f"{name} {row[name]['wall_s']:.3f} s (CPU {row[name]['cpu_s']:.3f}){memory}"

    print(f"  one clip: {cell(report, 'encode')}, {cell(report, 'decode')}")
    for row in report["long"]:
        head = f"  {row['frames']:4d} frames, chunk {row['chunk']!s:<5}"
        print(f"{head}: {cell(row, 'encode')}, {cell(row, 'decode')}, largest difference {row['difference']:.1e}")
    for row in report["tiles"]:
        beside = f", {row['db_to_whole']:.2f} dB to the whole, at most {row['largest']:.3f}" if "largest" in row else ""
        print(f"  tiles {row['tile']}: {row['db']:.2f} dB{beside}")


def main() -> None:
    """Load, measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path(__file__).resolve().parents[1] / "t2v/starter/vae")
    parser.add_argument("--num", type=int, default=256, help="held-out clips (default 256)")
    parser.add_argument("--pca", type=int, default=256, help="training clips the linear codec is fitted on")
    parser.add_argument("--size", type=int, nargs=2, default=(64, 64), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=2026, help="seed of the clips, never one of training (1 or 7)")
    parser.add_argument("--lengths", type=int, nargs="*", default=[65, 257], help="long clips, 4k + 1 frames each")
    parser.add_argument("--repeats", type=int, default=10, help="runs a time is the median of")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-o", "--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    size = tuple(args.size)
    vae = AutoencoderKLCineloop.from_pretrained(args.model).eval().to(args.device)
    report: dict[str, Any] = {
        "model": str(args.model),
        "parameters": sum(parameter.numel() for parameter in vae.parameters()),
        "device": f"{args.device}, {args.threads} threads",
        "arguments": vars(args),
    }
    print(f"{report['model']}, {report['parameters'] / 1e6:.2f} M parameters, {report['device']}")
    report |= quality(vae, args.num, args.pca, size, args.seed)
    show_quality(report)
    sys.stdout.flush()
    report |= speed(vae, size, args.repeats)
    large = (2 * size[0], 2 * size[1])
    report["long"] = [row for length in args.lengths for row in chunks(vae, large, length)]
    report["tiles"] = tiles(vae, large, min(16, args.num), args.seed)
    show_cost(report)
    if args.out:
        args.out.write_text(json.dumps(report, indent=1, default=str) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
