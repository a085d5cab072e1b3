"""The one training loop, for every stage of video-to-text and text-to-video, on Accelerate.

In: a stage (what to train, on what, how to judge it), a `LoopConfig`, a run folder. Out: in the run folder
`config.yaml`, `run.json`, `log.jsonl`, `tensorboard/`, `checkpoints/`, and what the stage exports into `final/`.

The loss of a step is Σ weight · (Σ sums / Σ counts), the counts taken over the whole batch of the
optimiser step (all micro-batches, all processes) before the first backward pass; so accumulation, and more
processes, equal one large batch even where micro-batches hold unequal numbers of targets.
The number of a step fixes its samples, its learning rate and, through the saved random state, its noise; so a
resumed run equals an uninterrupted one to the bit on the same processes. Weights begin equal on all processes; after
that each process has random generators of its own (noise, dropout), which its checkpoints keep. Weights may be divided
over the processes (`cineloop.training.sharding`); a checkpoint holds them whole, so any number of processes resumes it.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch

from cineloop import config as configs
from cineloop.errors import CineloopError, UsageError
from cineloop.run_folder import refuse_existing
from cineloop.training import checkpoint, runtime, sharding
from cineloop.training.loader import spans, stream
from cineloop.training.optim import WeightAverage, build_optimizers, freeze, lr_factor
from cineloop.training.run_log import RunLog, accumulate, say
from cineloop.training.runtime import RuntimeConfig
from cineloop.training.stage import LoopConfig, RunOutcome, Stage, StepCost


class Loop:
    """One run of one stage; `run()` does it all."""

    def __init__(
        self,
        stage: Stage,
        config: LoopConfig,
        out: Path,
        *,
        runtime_config: RuntimeConfig,
        resolved: Mapping[str, Any],
        resume: bool = False,
        overwrite: bool = False,
        cost: StepCost | None = None,
    ) -> None:
        self.cost = cost
        self.stage, self.config, self.out, self.runtime_config = stage, config, Path(out), runtime_config
        self.accelerator = runtime.start(runtime_config)
        self.world, self.main = self.accelerator.num_processes, self.accelerator.is_main_process
        share, left = divmod(config.batch_size, self.world)
        self.micro = config.micro_batch or share
        if left or share % self.micro:
            raise UsageError(
                f"batch_size {config.batch_size} does not split into {self.world} processes × micro-batches of "
                f"{self.micro}",
                hint="batch_size must be a multiple of processes × micro_batch",
            )
        self.step, self.seconds, self.stopping = 0, 0.0, False
        self.best: float | None = None
        self.writer = checkpoint.CheckpointWriter(in_thread=config.save_in_thread)
        resume = self._prepare_folder(resolved, resume, overwrite)
        self._build()  # from the shared seed: every process begins with the same weights
        self.source = stage.source()
        runtime.seed_rank(runtime_config.seed, self.accelerator.process_index)
        if resume:
            self._resume()

    def run(self) -> RunOutcome:
        """Train to the end, to the budget, or to the first SIGINT or SIGTERM.

        Raises:
            CineloopError: a loss or gradient is not finite (code NON_FINITE, naming the step).
        """
        config, accelerator = self.config, self.accelerator
        num_micros = config.batch_size // self.world // self.micro
        wanted = spans(self.step, config.steps, config.batch_size, self.micro, accelerator.process_index, self.world)
        batches = stream(self.source, wanted, workers=config.workers, pin=accelerator.device.type == "cuda")
        log = RunLog(self.out, self.stage, config, accelerator, self.step, self.cost)
        status: Literal["done", "budget", "interrupted"] = "done"
        started, before = time.monotonic(), self.seconds
        with _stop_on_signals(self._ask_stop):
            while self.step < config.steps:
                figures = self._train_step([next(batches) for _ in range(num_micros)])
                self.step += 1
                self.seconds = before + time.monotonic() - started
                log.add(figures)
                last = self.step == config.steps
                if last or self.step % config.log_every == 0:
                    log.train(self.step, self.seconds)
                if last or (config.eval_every and self.step % config.eval_every == 0):
                    self._evaluate(log)
                out_of_time = config.max_seconds is not None and self.seconds >= config.max_seconds
                asked, late = self._any(self.stopping, out_of_time)
                stop = asked or late
                if last or stop or (config.save_every and self.step % config.save_every == 0):
                    self._save()
                if stop and not last:
                    status = "interrupted" if asked else "budget"
                    break
            self.writer.wait()
        if status != "interrupted":
            self._finish(log)
        elif self.main:
            say(f"stopped and saved at step {self.step} of {config.steps}; the same command with --resume continues")
        log.close()
        return RunOutcome(status=status, step=self.step, best=self.best, folder=self.out)

    # one step

    def _train_step(self, micros: list[Any]) -> dict[str, Any]:
        counts = self._sum_counts(micros)
        factor = lr_factor(self.step, self.config.steps, self.config.optim)
        sums: dict[str, Any] = {"terms": {}, "metrics": {}}
        if not any(counts.values()):  # of all processes, so that each of them leaves the step out
            if self.main:
                say(f"step {self.step + 1} has no target, as where every clip of it was skipped: it changes nothing")
            return {"counts": counts, "grad_norm": 0.0, "lr_factor": factor, **sums}
        for position, batch in enumerate(micros):
            last = position == len(micros) - 1
            # Gradients cross processes once a step, in the last backward pass.
            with contextlib.nullcontext() if last else self._no_sync():
                output = self.model(runtime.to_device(batch, self.accelerator.device))
                # DDP averages over processes; counts are sums over processes: hence the factor.
                loss = self.world * sum(
                    self.stage.terms.get(name, 1.0) / counts[name] * value
                    for name, value in output["terms"].items()
                    if counts[name] > 0
                )
                self.accelerator.backward(loss)
            accumulate(sums, output)
        norm = checkpoint.whole(self.accelerator.clip_grad_norm_(self._trainable, self.config.optim.clip))
        self._check_finite(norm, sums)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["peak_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update(self.step)
        return {"counts": counts, "grad_norm": float(norm), "lr_factor": factor, **sums}

    def _sum_counts(self, micros: list[Any]) -> dict[str, float]:
        each = [self.stage.counts(batch) for batch in micros]
        totals = torch.tensor([sum(float(one[name]) for one in each) for name in self.stage.terms], dtype=torch.float64)
        if self.world > 1:
            totals = self.accelerator.reduce(totals.to(self.accelerator.device), "sum")
        return dict(zip(self.stage.terms, totals.tolist(), strict=True))

    def _no_sync(self) -> Any:
        if not sharding.is_sharded(self.task):
            return self.accelerator.no_sync(self.model)
        return sharding.local_gradients(self.task)

    def _check_finite(self, norm: torch.Tensor, sums: Mapping[str, Any]) -> None:
        if math.isfinite(float(norm)):  # of the gradients of all processes: one bad process stops every one
            return
        mine = [name for name, value in sums["terms"].items() if not math.isfinite(float(value))]
        everyone = runtime.gather_objects(mine, self.world)
        bad = [
            f"{name} of process {rank}" if self.world > 1 else name
            for rank, each in enumerate(everyone)
            for name in each
        ]
        weights = [
            name for name, weight in self.task.named_parameters()
            if weight.grad is not None and not bool(torch.isfinite(checkpoint.whole(weight.grad)).all())
        ]  # fmt: skip
        raise CineloopError(
            f"not finite at step {self.step + 1}: "
            f"loss terms {', '.join(bad) or 'all finite'}; gradients of {len(weights)} parameters"
            + (f", first {weights[0]}" if weights else ""),
            code="NON_FINITE",
            hint="the last checkpoint is whole; lower the learning rate or look at the samples of this step",
        )

    # building, saving, resuming

    def _prepare_folder(self, resolved: Mapping[str, Any], resume: bool, overwrite: bool) -> bool:
        """Look at the run folder and prepare it; returns whether the run resumes."""
        saved = checkpoint.steps(self.out)
        if int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")):
            # A process died and torchrun started all of them again, by the command line of the first start.
            resume, overwrite = bool(saved), True
        if not resume:
            hint = "--resume continues the run, --overwrite restarts it"
            refuse_existing([self.out / "config.yaml"], overwrite=overwrite, hint=hint)
        self.accelerator.wait_for_everyone()  # everyone has looked before the main process changes anything
        if resume and not saved:
            if (self.out / "final").exists():
                raise UsageError(
                    f"nothing to resume: {self.out} holds what a run exported and no checkpoint",
                    hint="choose another folder with -o, or replace the run by --overwrite",
                )
            if self.main:
                say(f"nothing to resume: {self.out} holds no checkpoint yet; the run begins at step 1")
            resume = False
        if not self.main:
            return resume
        if not resume:
            for name in ("checkpoints", "tensorboard", "final"):
                shutil.rmtree(self.out / name, ignore_errors=True)
            (self.out / "log.jsonl").unlink(missing_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        if resume:
            for line in configs.changes(configs.read_yaml(self.out / "config.yaml"), dict(resolved)):
                say(f"resumed with a changed setting: {line}")
        (self.out / "config.yaml").write_text(configs.dump(resolved), encoding="utf-8")
        runtime.write_json(
            self.out / "run.json",
            runtime.provenance(self.runtime_config, stage=self.stage.name, processes=self.world, resumed=resume),
        )
        return resume

    def _build(self) -> None:
        task = self.stage.build()
        self.frozen = freeze(self.stage.parts(task), self.config.optim)
        task.train()
        for module in self.frozen:
            module.eval()
        if self.runtime_config.checkpointing == "full":
            runtime.checkpoint_blocks(task)
        if self.runtime_config.compile:
            runtime.compile_task(task, self.runtime_config.compile)
        shards = sharding.is_wanted()
        if self.world > 1 and not shards:
            runtime.align_gradients(task)
        # "Evaluation": device and autocast, without the wrapper of DDP.
        self.model = self.accelerator.prepare_model(task, evaluation_mode=shards)
        self.task = self.accelerator.unwrap_model(self.model, keep_fp32_wrapper=True)
        if shards:
            sharding.shard(self.task, optimizer=self.config.optim.optimizer, compiles=bool(self.runtime_config.compile))
        optimizers = build_optimizers(self.task, self.stage.parts(self.task), self.config.optim)
        self.optimizers = [self.accelerator.prepare_optimizer(each) for each in optimizers]
        self._trainable = [weight for weight in self.model.parameters() if weight.requires_grad]
        self.names = {weight: name for name, weight in self.task.named_parameters()}
        decay = self.config.optim.ema
        self.average = WeightAverage(self.task, decay) if decay else None
        if self.main:
            total = sum(weight.numel() for weight in self.task.parameters())
            trained = sum(weight.numel() for weight in self._trainable)
            say(
                f"{self.stage.name}: {total / 1e6:.2f} M parameters, {trained / 1e6:.2f} M trained, on "
                f"{self.accelerator.device.type} in {self.accelerator.mixed_precision.replace('no', 'fp32')}"
                + (f", over {self.world} processes{', sharded' if shards else ''}" if self.world > 1 else "")
            )

    def _save(self) -> None:
        self.writer.wait()  # so that memory holds one copy at a time
        plain, rng = runtime.rng_state()
        everyone = runtime.gather_objects((plain, rng), self.world)
        groups = {
            "weights": checkpoint.model_tensors(self.task),
            "optimizer": checkpoint.optimizer_tensors(self.optimizers, self.names),
        }
        if self.average is not None:
            groups["ema"] = self.average.tensors
        groups = {name: checkpoint.gather(tensors, keep=self.main) for name, tensors in groups.items()}
        groups |= {f"rng-{rank}": tensors for rank, (_, tensors) in enumerate(everyone)}
        folder = checkpoint.step_folder(self.out, self.step)
        if self.main and not folder.exists():
            state: dict[str, Any] = {"step": self.step, "samples": self.step * self.config.batch_size}
            state |= {"seconds": self.seconds, "data": getattr(self.source, "identity", None)}
            state |= {"best": self.best, "rng": [each for each, _ in everyone]}

            def write() -> None:
                checkpoint.write(folder, groups, state)
                checkpoint.prune(self.out, self.config.keep_last)

            self.writer.submit(write)
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        step = checkpoint.steps(self.out)[-1]
        groups, state = checkpoint.read(checkpoint.step_folder(self.out, step))
        if state["samples"] != state["step"] * self.config.batch_size:
            raise UsageError(
                f"the run saw {state['samples']} samples in {step} steps; batch_size {self.config.batch_size} differs",
                hint="resume with the batch_size the run was started with",
            )
        data = getattr(self.source, "identity", None)
        if data != state.get("data", data):
            raise UsageError(
                f"{self.out}: the training data is not that of the checkpoint of step {step}",
                hint="put the files back as they were, or begin a run of its own from the exported weights",
            )
        checkpoint.load_model_tensors(self.task, groups["weights"])
        checkpoint.load_optimizer_tensors(self.optimizers, self.names, groups["optimizer"])
        if self.average is not None:
            checkpoint.fill("averaged weights", self.average.tensors, groups["ema"])
        rank = self.accelerator.process_index
        if rank < len(state["rng"]):
            runtime.set_rng_state(state["rng"][rank], groups[f"rng-{rank}"])
        else:  # more processes than before: the new ones must not draw again what they would have drawn at step 0
            runtime.seed_rank(self.runtime_config.seed, rank, step)
        self.step, self.seconds = state["step"], state["seconds"]
        # Without the weights a best score is of no use: the next evaluation sets a new one.
        self.best = state["best"] if checkpoint.steps(self.out, "best") else None
        self.accelerator.wait_for_everyone()
        if self.main:
            checkpoint.forget_after(self.out, step)
            say(f"resumed at step {step}")

    # judging

    def _evaluate(self, log: RunLog) -> None:
        started = time.monotonic()
        self.task.eval()
        # Captions written with a cache would have every block compiled again.
        blocks = self.runtime_config.compile == "blocks"
        plain = torch.compiler.set_stance("force_eager") if blocks else contextlib.nullcontext()
        with runtime.kept_rng(), self._average_weights(), torch.no_grad(), plain:
            self.stage.step = self.step
            with sharding.whole(self.task), self.accelerator.autocast():
                figures = self.stage.evaluate(self.task, self.accelerator.device)
                # The main process decides, so that all agree on which weights are best and gather them together.
                figures = runtime.from_main(figures, self.world)
            if self.best is None or figures["score"] > self.best:
                self.best = figures["score"]
                weights = {"weights": checkpoint.gather(checkpoint.model_tensors(self.task), keep=self.main)}
                if self.main and not checkpoint.best_folder(self.out, self.step).exists():
                    folder = checkpoint.best_folder(self.out, self.step)
                    state = {"step": self.step, "figures": figures}
                    self.writer.submit(partial(checkpoint.write, folder, weights, state))
        self.task.train()
        for module in self.frozen:
            module.eval()
        log.evaluation(self.step, self.seconds, figures, time.monotonic() - started)

    def _finish(self, log: RunLog) -> None:
        """Export the best weights by the held-out score."""
        if not checkpoint.steps(self.out, "best"):
            self._evaluate(log)
            self.writer.wait()
        self.accelerator.wait_for_everyone()
        best = checkpoint.steps(self.out, "best")[-1]
        if self.main:
            groups, state = checkpoint.read(checkpoint.best_folder(self.out, best))
            task = self.task
            if sharding.is_sharded(task):  # this process holds a part: a task of its own takes the whole weights
                task = self.stage.build()
                freeze(self.stage.parts(task), self.config.optim)
            checkpoint.load_model_tensors(task, groups["weights"])
            task.eval()
            self.stage.export(task, self.out / "final")
            runtime.write_json(self.out / "final" / "scores.json", {"step": best, **state["figures"]})
            say(f"wrote {self.out / 'final'}: step {best}, score {state['figures']['score']:.4f}")

    def _average_weights(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self.average is None else self.average.swap_in()

    def _ask_stop(self) -> None:
        self.stopping = True

    def _any(self, *flags: bool) -> list[bool]:
        """Of each flag, whether it is up in any process."""
        if self.world == 1:
            return list(flags)
        raised = torch.tensor([float(flag) for flag in flags], device=self.accelerator.device)
        return [count > 0 for count in self.accelerator.reduce(raised, "sum").tolist()]


@contextlib.contextmanager
def _stop_on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """SIGINT or SIGTERM asks to stop at the end of the step; a second SIGINT acts as usual. A second SIGTERM does not:
    a scheduler sends one to every process of a job, and torchrun then one more to its own."""
    kept: dict[int, Any] = {}

    def first(number: int, _: Any) -> None:
        say("stopping after this step" + (" (again: at once)" if number == signal.SIGINT else ""))
        ask()
        if number == signal.SIGINT:
            signal.signal(number, kept[number])

    try:
        for number in (int(signal.SIGINT), int(signal.SIGTERM)):
            kept[number] = signal.signal(number, first)
    except ValueError:  # not in the main thread: the caller keeps its signals
        pass
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
