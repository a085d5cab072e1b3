"""The loop on a small task: accumulation, resume, freezing, budgets, signals, non-finite losses."""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cineloop.errors import CineloopError, UsageError
from cineloop.training import checkpoint
from cineloop.training.loader import spans
from cineloop.training.loop import Loop
from cineloop.training.rates import OptimConfig
from cineloop.training.runtime import RuntimeConfig
from cineloop.training.stage import LoopConfig
from started_python import TRAINING, Starter


def numbers(start: int, count: int) -> dict[str, torch.Tensor]:
    """Samples with unequal numbers of targets: sample n has 1 + n % 4 of them."""
    rows = [torch.randn(4, 8, generator=torch.Generator().manual_seed(n)) for n in range(start, start + count)]
    mask = torch.stack([torch.arange(4) <= n % 4 for n in range(start, start + count)])
    return {"x": torch.stack(rows), "mask": mask, "first": torch.tensor(start)}


class Task(nn.Module):
    _no_split_modules = ["Linear"]

    def __init__(self, dropout: float, poison: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Dropout(dropout), nn.Linear(16, 16))
        self.head = nn.Linear(16, 8)
        self.poison = poison

    def forward(self, batch):
        error = (self.head(self.body(batch["x"])) - batch["x"].flip(-1)).square().sum(-1)
        loss = (error * batch["mask"]).sum()
        if int(batch["first"]) == self.poison:
            loss = loss * float("nan")
        return {"terms": {"error": loss}, "metrics": {"rows": (batch["mask"].any(1).sum(), len(error))}}


class Toy:
    name, unit, terms = "toy", "rows", {"error": 1.0}

    def __init__(self, dropout: float = 0.0, poison: int = -1, kill_at: int | None = None) -> None:
        self.dropout, self.poison, self.kill_at = dropout, poison, kill_at

    def build(self):
        return Task(self.dropout, self.poison)

    def parts(self, task):
        return {"body": [task.body], "head": [task.head]}

    def source(self):
        return numbers

    def counts(self, batch):
        return {"error": float(batch["mask"].sum())}

    def evaluate(self, task, device):
        torch.rand(3)  # a draw, to show that judging does not move the training's random state
        output = task(numbers(10_000, 8))
        return {"score": -float(output["terms"]["error"])}

    def export(self, task, folder):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "exported").write_text("yes")


def make(out: Path, stage=None, *, resume=False, overwrite=False, optim=None, **loop) -> Loop:
    settings = {"steps": 6, "batch_size": 8, "save_every": 3, "workers": 0, "log_every": 2, "tensorboard": False} | loop
    optim = OptimConfig(**({"base_lr": 1e-2, "warmup_steps": 2} | (optim or {})))
    config = LoopConfig(optim=optim, **settings)
    start = RuntimeConfig(device="cpu", precision="fp32", seed=3)
    return Loop(
        stage or Toy(),
        config,
        out,
        runtime_config=start,
        resolved={"loop": settings},
        resume=resume,
        overwrite=overwrite,
    )


def weights(run: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(checkpoint.step_folder(run, step) / "weights.safetensors")


def rows(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_accumulation_equals_one_large_batch_with_unequal_targets(tmp_path):
    make(tmp_path / "large").run()
    make(tmp_path / "split", micro_batch=2).run()
    large, split = weights(tmp_path / "large", 6), weights(tmp_path / "split", 6)
    for name, value in large.items():
        torch.testing.assert_close(split[name], value, rtol=1e-4, atol=1e-6)
    # AdamW forgives a gradient of the wrong size, so the sizes are compared too.
    logged = {
        run: [row[key] for row in rows(tmp_path / run) if "loss" in row for key in ("loss", "grad_norm")]
        for run in ("large", "split")
    }
    assert logged["split"] == pytest.approx(logged["large"], rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_resume_equals_uninterrupted_to_the_bit(tmp_path, optimizer):
    optim = {"optimizer": optimizer, "ema": 0.9}
    make(tmp_path / "whole", Toy(dropout=0.3), optim=optim, eval_every=2, log_every=3).run()
    make(tmp_path / "cut", Toy(dropout=0.3), optim=optim, eval_every=2, log_every=3).run()
    # As if killed after step 5: what lies beyond the checkpoint of step 3 is torn or gone.
    folder = checkpoint.step_folder(tmp_path / "cut", 6)
    (folder / "state.json").unlink()
    folder.rename(folder.with_name(f".{folder.name}.tmp"))
    make(tmp_path / "cut", Toy(dropout=0.3), resume=True, optim=optim, eval_every=2, log_every=3).run()
    for group in ("weights", "optimizer", "ema"):
        paths = [checkpoint.step_folder(tmp_path / run, 6) / f"{group}.safetensors" for run in ("whole", "cut")]
        assert paths[0].read_bytes() == paths[1].read_bytes(), group
    keep = ("step", "loss", "eval", "grad_norm")
    assert [[r.get(k) for k in keep] for r in rows(tmp_path / "whole")] == [
        [r.get(k) for k in keep] for r in rows(tmp_path / "cut")
    ]


@pytest.mark.slow
def test_killed_run_resumes_to_the_same_weights(tmp_path):
    """Kill -9 in the middle of a step, in a process of its own, with a loader process ahead of it."""
    script = textwrap.dedent("""
        import os, signal, sys
        sys.path.insert(0, sys.argv[2])
        from test_loop import Path, Task, Toy, make

        class Killer(Toy):
            def counts(self, batch):
                if int(batch["first"]) == 32 and sys.argv[3] == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if int(batch["first"]) == 32 and sys.argv[3] == "term":
                    os.killpg(os.getpgrp(), signal.SIGTERM)
                return super().counts(batch)

        outcome = make(Path(sys.argv[1]), Killer(dropout=0.3), resume=sys.argv[3] == "resume", workers=1).run()
        sys.exit(7 if outcome.status == "interrupted" else 0)
    """)

    here, root = str(Path(__file__).parent), str(Path(__file__).resolve().parents[3])
    with Starter([*TRAINING, "test_loop"], [here, root]) as starter:

        def call(out: Path, how: str) -> int:
            return starter.run(script, [str(out), here, how])[0]

        assert call(tmp_path / "stopped", "term") == 7  # loader process included, the group is asked to stop: it saves
        assert checkpoint.steps(tmp_path / "stopped") == [3, 5]
        assert call(tmp_path / "cut", "kill") == -signal.SIGKILL
        assert checkpoint.steps(tmp_path / "cut") == [3]
        assert call(tmp_path / "cut", "resume") == 0
    torch.set_num_threads(1)
    make(tmp_path / "whole", Toy(dropout=0.3)).run()
    for name, value in weights(tmp_path / "whole", 6).items():
        assert torch.equal(value, weights(tmp_path / "cut", 6)[name]), name


@pytest.mark.slow
def test_what_a_thread_writes_is_the_step_that_was_saved(tmp_path, monkeypatch):
    settings = {"steps": 9, "keep_last": 9, "optim": {"ema": 0.9}}
    make(tmp_path / "plain", Toy(dropout=0.3), **settings).run()
    loop, write = make(tmp_path / "thread", Toy(dropout=0.3), save_in_thread=True, **settings), checkpoint.write

    def late(folder: Path, *content) -> None:
        while folder.name == "step-00000003" and loop.step < 5:
            time.sleep(0.001)
        write(folder, *content)

    monkeypatch.setattr(checkpoint, "write", late)
    loop.run()
    for step in (3, 6, 9):
        (groups, state), (others, other) = (
            checkpoint.read(checkpoint.step_folder(tmp_path / name, step)) for name in ("plain", "thread")
        )
        assert {**state, "seconds": 0} == {**other, "seconds": 0} and groups.keys() == others.keys() >= {"ema"}
        for name, tensors in groups.items():
            assert all(torch.equal(value, others[name][key]) for key, value in tensors.items())


def test_a_checkpoint_that_a_thread_cannot_write_ends_the_run(tmp_path, monkeypatch):
    def fails(*content) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(checkpoint, "write", fails)
    loop = make(tmp_path / "run", save_in_thread=True)
    with pytest.raises(OSError, match="no space left"):
        loop.run()
    assert loop.step == 6  # the next checkpoint


def test_non_finite_loss_stops_and_names_the_step(tmp_path):
    with pytest.raises(CineloopError, match=r"step 5: loss terms error; gradients of 6 parameters") as caught:
        make(tmp_path, Toy(poison=32)).run()
    assert caught.value.code == "NON_FINITE"
    assert checkpoint.steps(tmp_path) == [3]
    assert all(torch.isfinite(value).all() for value in weights(tmp_path, 3).values())


def test_a_part_with_rate_zero_stays_and_an_unknown_part_is_refused(tmp_path):
    loop = make(tmp_path / "a", optim={"lr": {"body": 0.0}}, save_every=0)
    before = {name: value.clone() for name, value in loop.task.state_dict().items()}
    assert not loop.task.body.training
    loop.run()
    moved = {name for name, value in loop.task.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"head.weight", "head.bias"}
    assert set(weights(tmp_path / "a", 6)) == moved  # frozen weights are not in the checkpoint
    with pytest.raises(UsageError, match=r"unknown part 'boby'.*body, head"):
        make(tmp_path / "b", optim={"lr": {"boby": 1e-3}})


def test_budget_ends_saved_and_exported_and_goes_on_later(tmp_path):
    outcome = make(tmp_path, max_seconds=0.0).run()
    assert (outcome.status, outcome.step) == ("budget", 1)
    assert (tmp_path / "final" / "exported").exists()
    outcome = make(tmp_path, resume=True).run()
    assert (outcome.status, outcome.step) == ("done", 6)


def test_first_signal_saves_stops_and_says_how_to_go_on(tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("cineloop.training.loop.say", said.append)

    class Interrupted(Toy):
        def counts(self, batch):
            if int(batch["first"]) == 8:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().counts(batch)

    outcome = make(tmp_path, Interrupted(), save_every=0).run()
    assert (outcome.status, outcome.step) == ("interrupted", 2)
    assert checkpoint.steps(tmp_path) == [2]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert said[-1] == "stopped and saved at step 2 of 6; the same command with --resume continues"


@pytest.mark.slow
def test_judging_does_not_move_the_training(tmp_path):
    make(tmp_path / "judged", Toy(dropout=0.3), eval_every=1).run()
    make(tmp_path / "not", Toy(dropout=0.3)).run()
    for name, value in weights(tmp_path / "judged", 6).items():
        assert torch.equal(value, weights(tmp_path / "not", 6)[name]), name


def test_best_weights_are_the_ones_exported(tmp_path):
    class Falling(Toy):
        scores = iter([0.1, 0.9, 0.3])

        def evaluate(self, task, device):
            return {"score": next(self.scores)}

    outcome = make(tmp_path, Falling(), eval_every=2, save_every=2).run()
    assert outcome.best == 0.9
    assert json.loads((tmp_path / "final" / "scores.json").read_text())["step"] == 4
    assert checkpoint.steps(tmp_path, "best") == [4]
    assert checkpoint.steps(tmp_path) == [4, 6]


@pytest.mark.slow
def test_a_run_is_not_overwritten_unasked_and_batches_must_divide(tmp_path):
    make(tmp_path).run()
    with pytest.raises(UsageError, match="already exists"):
        make(tmp_path)
    make(tmp_path, overwrite=True).run()
    assert sum("loss" in row for row in rows(tmp_path)) == 3
    with pytest.raises(ValueError, match="micro_batch 3 does not divide batch_size 8"):
        make(tmp_path / "b", micro_batch=3)
    with pytest.raises(UsageError, match="batch_size 4 differs"):
        make(tmp_path, resume=True, batch_size=4)


def test_run_folder_says_what_is_needed_to_repeat_it(tmp_path):
    make(tmp_path).run()
    run = json.loads((tmp_path / "run.json").read_text())
    assert run["seed"] == 3 and run["versions"]["torch"] and run["source_commit"] and run["device"]
    assert not list(tmp_path.rglob("*.pt")) and not list(tmp_path.rglob("*.bin"))


def test_spans_of_all_processes_cover_each_step_once():
    for world in (1, 2, 4):
        seen = [
            n
            for rank in range(world)
            for first, count in spans(2, 4, 8, 2, rank, world)
            for n in range(first, first + count)
        ]
        assert sorted(seen) == list(range(16, 32))


class Skipping(Toy):
    """Every clip of step 3 was skipped: its samples have no target."""

    def source(self):
        def batch(start, count):
            found = numbers(start, count)
            if 16 <= start < 24:
                found["mask"] = torch.zeros_like(found["mask"])
            return found

        return batch


@pytest.mark.parametrize("micro_batch", [0, 4])
def test_a_step_of_which_every_clip_was_skipped_changes_nothing(tmp_path, caplog, micro_batch):
    caplog.set_level("INFO")
    make(tmp_path, Skipping(), micro_batch=micro_batch, save_every=1, keep_last=9, log_every=1).run()
    before, at, after = (weights(tmp_path, step) for step in (2, 3, 4))
    assert all(torch.equal(before[name], at[name]) for name in before)
    assert any(not torch.equal(at[name], after[name]) for name in at)
    assert [row["loss"] is None for row in rows(tmp_path) if "loss" in row] == [False, False, True] + [False] * 3
    assert "step 3 has no target" in caplog.text


@pytest.mark.slow
def test_resume_before_the_first_checkpoint_begins_anew_and_says_so(tmp_path, caplog):
    caplog.set_level("INFO")
    make(tmp_path / "killed", save_every=0)  # it ends before it has saved anything
    assert (tmp_path / "killed" / "config.yaml").exists()
    for name in ("killed", "new"):
        assert make(tmp_path / name, resume=True).run().step == 6
    assert caplog.text.count("holds no checkpoint yet; the run begins at step 1") == 2
    make(tmp_path / "whole").run()
    assert all(
        torch.equal(value, weights(tmp_path / "whole", 6)[name])
        for name, value in weights(tmp_path / "killed", 6).items()
    )


def test_resume_keeps_what_a_run_exported(tmp_path):
    make(tmp_path).run()
    checkpoint.forget_after(tmp_path, -1)
    with pytest.raises(UsageError, match="nothing to resume.*exported"):
        make(tmp_path, resume=True)
    assert (tmp_path / "final" / "exported").exists()
