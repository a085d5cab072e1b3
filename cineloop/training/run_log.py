"""What a training run writes down while it runs: log.jsonl, TensorBoard, plain lines with speed and time left.

In: each step's sums. Out: one JSON row a line in `log.jsonl` (`{"step", "seconds", "loss", terms…, metrics…,
"grad_norm", "lr_factor", "<unit>_per_s", "peak_memory_gib", "tokens_per_s", "tflops", "mfu"}` or `{"step", "eval":
{…}}`), the same figures in `tensorboard/`, and lines on stderr. `tflops` are the FLOPs that the plan counts by the
seconds they took, `mfu` (model FLOPs utilisation, Chowdhery et al. 2022, appendix B) is their share of the devices'
peak, where that is known. A resumed run drops the rows beyond its checkpoint, so no step is logged twice.
"""

from __future__ import annotations

import json
import math
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cineloop.clock import format_clock
from cineloop.log import logger
from cineloop.training.plan import peak_flops

if TYPE_CHECKING:
    from accelerate import Accelerator

    from cineloop.training.stage import LoopConfig, Stage, StepCost


class RunLog:
    """log.jsonl, TensorBoard and plain progress lines of the run in folder `out`; only the main process writes.

    `step` is the step of the checkpoint that the run resumed from, 0 at the start.
    """

    def __init__(
        self,
        out: Path,
        stage: Stage,
        config: LoopConfig,
        accelerator: Accelerator,
        step: int,
        cost: StepCost | None = None,
    ) -> None:
        self.stage, self.config, self.accelerator, self.cost = stage, config, accelerator, cost
        self.peak = peak_flops(accelerator.device) * accelerator.num_processes
        self.main, self.evaluating = accelerator.is_main_process, 0.0
        self.window: dict[str, Any] = {}
        self.steps, self.since = 0, time.monotonic()
        self.board, self.file = None, None
        if self.main:
            self.file = _reopen(out / "log.jsonl", step)
            self.board = _tensorboard(out / "tensorboard", step) if config.tensorboard else None

    def add(self, figures: dict[str, Any]) -> None:
        """Take in one step."""
        self.steps += 1
        accumulate(self.window, figures)
        for name, value in figures["counts"].items():
            self.window.setdefault("counts", {})
            self.window["counts"][name] = self.window["counts"].get(name, 0.0) + value
        self.window |= {"grad_norm": figures["grad_norm"], "lr_factor": figures["lr_factor"]}

    def train(self, step: int, seconds: float) -> None:
        """Write the means since the last line; `seconds` is how long the run has taken up to `step`."""
        accelerator, config, window = self.accelerator, self.config, self.window
        terms = {
            name: total(accelerator, value) / max(1.0, window["counts"][name])
            for name, value in window["terms"].items()
        }
        metrics = {
            name: total(accelerator, figure) / max(1.0, total(accelerator, count))
            for name, (figure, count) in window["metrics"].items()
        }
        loss = sum(self.stage.terms.get(name, 1.0) * value for name, value in terms.items()) if terms else math.nan
        passed = max(1e-9, time.monotonic() - self.since - self.evaluating)
        speed = self.steps * config.batch_size / passed
        row = {"step": step, "seconds": round(seconds, 2), "loss": loss, **terms, **metrics}
        row |= {"grad_norm": window["grad_norm"], "lr_factor": window["lr_factor"], f"{self.stage.unit}_per_s": speed}
        row["peak_memory_gib"] = peak_memory_gib(accelerator)
        costs = self._costs(passed)
        row |= costs
        left = (config.steps - step) * passed / self.steps
        shown = " ".join(f"{name} {value:.3f}" for name, value in {**terms, **metrics}.items())
        self._write("train", row)
        self._say(f"step {step}/{config.steps} loss {loss:.4f} | {shown} | {speed:.1f} {self.stage.unit}/s, "
                  f"{_costs_text(costs)}{format_clock(left)} left")  # fmt: skip
        self.window, self.steps, self.since, self.evaluating = {}, 0, time.monotonic(), 0.0

    def evaluation(self, step: int, seconds: float, figures: dict[str, float], took_s: float) -> None:
        """Write held-out figures, which took `took_s` seconds to compute."""
        self.evaluating += took_s
        row = {"step": step, "seconds": round(seconds, 2), "eval": figures}
        self._write("eval", row | {"eval_seconds": round(took_s, 2)})
        shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
        self._say(f"eval {step}/{self.config.steps} {shown} | {format_clock(took_s)}")

    def _costs(self, passed: float) -> dict[str, float]:
        """Tokens and FLOPs a second, and their share of the peak where it is known; nothing without a count."""
        if self.cost is None:
            return {}
        flops = self.steps * self.cost.flops / passed
        costs = {"tokens_per_s": self.steps * self.cost.tokens / passed, "tflops": flops / 1e12}
        return costs | ({"mfu": flops / self.peak} if self.peak else {})

    def close(self) -> None:
        """Flush and close."""
        for each in (self.file, self.board):
            if each is not None:
                each.close()

    def _write(self, kind: str, row: dict[str, Any]) -> None:
        if self.file is not None:
            self.file.write(json.dumps(_finite(row)) + "\n")
            self.file.flush()
        if self.board is not None:
            for name, value in (row.get("eval") or row).items():
                if isinstance(value, (int, float)) and name != "step":
                    self.board.add_scalar(f"{kind}/{name}", value, row["step"])

    def _say(self, text: str) -> None:
        if self.main:
            say(text)


def _costs_text(costs: Mapping[str, float]) -> str:
    if not costs:
        return ""
    share = f" ({costs['mfu']:.1%} of the peak)" if "mfu" in costs else ""
    return f"{costs['tokens_per_s']:,.0f} tokens/s, {costs['tflops']:.3g} TFLOP/s{share}, "


def say(text: str) -> None:
    """A plain message with the time of day."""
    logger.info("%s %s", time.strftime("%H:%M:%S"), text)


def accumulate(sums: dict[str, Any], output: Mapping[str, Any]) -> None:
    """Add an output's detached sums to running ones, without waiting for the device."""
    terms, metrics = sums.setdefault("terms", {}), sums.setdefault("metrics", {})
    for name, value in output["terms"].items():
        terms[name] = terms.get(name, 0.0) + value.detach()
    for name, (total, count) in output["metrics"].items():
        old_total, old_count = metrics.get(name, (0.0, 0.0))
        metrics[name] = (old_total + torch.as_tensor(total).detach(), old_count + torch.as_tensor(count).detach())


def total(accelerator: Accelerator, value: Any) -> float:
    """The sum of a scalar over all processes."""
    if accelerator.num_processes == 1:
        return float(value)
    tensor = torch.as_tensor(value, dtype=torch.float64, device=accelerator.device)
    return float(accelerator.reduce(tensor, "sum"))


def peak_memory_gib(accelerator: Accelerator) -> float:
    """The most a process has held so far, of the process that held most: on its GPU, or in RAM where there is none."""
    if accelerator.device.type == "cuda":
        held = torch.cuda.max_memory_allocated(accelerator.device)
    else:
        held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    each = accelerator.gather(torch.tensor([held / 2**30], device=accelerator.device))
    return round(float(each.max()), 3)


def _finite(tree: Any) -> Any:
    """JSON has no NaN: such figures become null."""
    if isinstance(tree, dict):
        return {key: _finite(value) for key, value in tree.items()}
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree


def _reopen(path: Path, step: int) -> Any:
    """The log open for appending, without the rows beyond `step` that a resumed run will write again."""
    if path.exists():
        rows = [line for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")]
        kept = [row for row in rows if json.loads(row)["step"] <= step]
        path.write_text("".join(kept), encoding="utf-8")
    return path.open("a", encoding="utf-8")


def _tensorboard(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        say("TensorBoard is not installed: log.jsonl only (pip install 'cineloop[train]')")
        return None
    return SummaryWriter(str(folder), purge_step=step + 1 if step else None)
