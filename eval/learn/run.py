"""Rounds of learning: draw clips, judge them, learn from the rewards; every few rounds measure, and stop in time.

In: a `LearnConfig` and a folder. Out: `Learning`, and in the folder `round-001/` (`prompts.jsonl`; `drawn/`, a run
folder of `t2v generate` with latents and `rewards.jsonl`; `train/`, a run folder of `t2v train`; `round.json`),
`measure-000/` (`drawn/`, `measure.json`), `report.html`, `learn.json`. Each stage keeps what is finished, so that the
same command continues after a stop and comes to the same end.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

from cineloop import config as configs
from cineloop.documents import json_lines, read_json
from cineloop.errors import EXIT_INTERRUPTED, UsageError
from cineloop.files import write_atomic
from cineloop.interrupt import Stopping
from cineloop.lock import FolderLock
from cineloop.log import logger
from cineloop.manifest import dump_line, read_manifest
from cineloop.training import checkpoint
from t2v import STARTER
from t2v.generate.run import run as generate
from t2v.generate.settings import GenerateConfig
from t2v.train import run as train
from t2v.train.drift import drift
from t2v.train.rewarded import MANIFEST, REWARDS, read_rewards
from v2t_eval.core.cluster import place_on
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.models import on_device
from v2t_eval.core.score import ScoreConfig
from v2t_eval.gate.sides import gate_verdict, scores_of
from v2t_eval.judge.prompt import of_world
from v2t_eval.learn.measures import FILE, Measure, Measurer
from v2t_eval.learn.prompts import prompt_rows
from v2t_eval.learn.report import as_dict, document
from v2t_eval.learn.result import Learning, Round
from v2t_eval.learn.rewards import OK, Reward
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.learn.stopping import divergence
from v2t_eval.report import page
from v2t_eval.suites.suite import read_suite

STATE, RESULT, ROUND, PROMPTS = ".cineloop", "learn.json", "round.json", "prompts.jsonl"
_HELD_OUT = 1 << 20  # added to the seed of held-out prompts and clips, far from those of any round
_DRIFT_CLIPS = 32


@dataclass(frozen=True)
class _Policy:
    model: str
    adapter: Path | None = None


class Learner:
    """One learning in a folder; `run` does it all."""

    def __init__(self, config: LearnConfig, out: Path, stop: Callable[[], bool]) -> None:
        self.config, self.out, self.stop = config, out, stop
        starter = config.generator == "dit" and config.model == "starter"
        self.first = _Policy(str(STARTER) if starter else config.model)
        self.scoring = ScoreConfig(workers=1, cache=out / STATE / "evidence", device=config.device,
                                   place=place_on(config.cluster, out / STATE, out / STATE / "evidence"))  # fmt: skip
        self.measurer = Measurer(config)

    def run(self) -> Learning:
        """All rounds that are not done yet."""
        policy, rounds = self.first, []
        if self.config.drawn is None:
            self.drawn_rows(1)  # before anything is drawn: prompts that are all held out are refused
        history, policies = [self._measured(0, policy)], {0: policy}
        stopped = None
        for number in range(1, self.config.rounds + 1):
            policy, done = self._round(number, policy)
            rounds.append(done)
            if number not in self.config.measured_rounds:
                continue
            history.append(self._measured(number, policy))
            policies[number] = policy
            self._log(history)
            stopped = divergence(history, self.config.guards, self.config.tolerated)
            if stopped is not None:
                logger.warning("stopped after round %d: %s", number, stopped.reason)
                break
        kept = history[stopped.kept if stopped else -1].round
        policy = policies[kept]
        adapter = None if policy.adapter is None else str(policy.adapter)
        return Learning(rounds=tuple(rounds), history=tuple(history), stopped=stopped, model=policy.model,
                        adapter=adapter, gate=self._gated(kept) if kept else {})  # fmt: skip

    def round_folder(self, number: int) -> Path:
        """Of a round, from 1."""
        return self.out / f"round-{number:03d}"

    def measure_folder(self, number: int) -> Path:
        """Of the measure after so many rounds."""
        return self.out / f"measure-{number:03d}"

    # --- a round

    def _round(self, number: int, policy: _Policy) -> tuple[_Policy, Round]:
        folder = self.round_folder(number)
        learnt = self._learnt(folder)
        if (folder / ROUND).exists():
            return learnt, Round(**read_json(folder / ROUND))
        drawn, seconds = self.config.drawn, dict[str, float]()
        if drawn is None:
            drawn = folder / "drawn"
            with _timed(seconds, "draw"):
                prompts = self._written(folder, lambda: self.drawn_rows(number))
                self.draw(drawn, prompts, policy, self.config.num_videos, self.config.seed + 1000 * number,
                           self.config.clips)  # fmt: skip
        with _timed(seconds, "judge"):
            rewards, statuses = self._judge(drawn)
        with _timed(seconds, "learn"):
            self._train(folder / "train", number, policy, drawn, rewards)
        reward = fmean(read_rewards(rewards).values())  # there is one, or training would have refused
        done = Round(number=number, reward=reward, statuses=statuses, seconds=seconds)
        shutil.rmtree(folder / "train" / "checkpoints", ignore_errors=True)  # the next round begins from `final`
        write_atomic(folder / ROUND, json.dumps(asdict(done), allow_nan=False).encode())
        logger.info("round %d: mean reward %.4f, %s", number, reward,
                    ", ".join(f"{count} {status}" for status, count in statuses.items()))  # fmt: skip
        return learnt, done

    def _judge(self, drawn: Path) -> tuple[Path, dict[str, int]]:
        """The file of rewards, and how many clips have each status."""
        if self.config.rewards is not None:
            return self.config.rewards, {OK: len(read_rewards(self.config.rewards))}
        return drawn / REWARDS, Reward(self.config.reward).write(drawn, self.scoring, stop=self.stop)

    def _learnt(self, folder: Path) -> _Policy:
        final = folder / "train" / "final"
        return _Policy(self.first.model, final) if self.config.rank else _Policy(str(final))

    # --- prompts

    def held_out_rows(self) -> list[dict[str, Any]]:
        """The prompts of the measures: those of the folder, or new ones, none of which was drawn for by hand.

        Raises:
            UsageError: without one of these no prompt is left.
        """
        path, config = self.out / "held-out" / PROMPTS, self.config
        if path.exists():
            return [row for _, row in json_lines(path)]
        drawn = () if config.drawn is None else [row["prompt"] for row in read_manifest(config.drawn / MANIFEST)]
        return prompt_rows(config.held_out, config.seed + _HELD_OUT, config.seed, drawn)

    def drawn_rows(self, number: int) -> list[dict[str, Any]]:
        """The prompts of a round, none of which is held out; see `held_out_rows`."""
        held_out = [row["prompt"] for row in self.held_out_rows()]
        return prompt_rows(self.config.prompts, self.config.seed + number, self.config.seed, held_out)

    def _written(self, folder: Path, rows: Callable[[], list[dict[str, Any]]]) -> Path:
        """A file with prompts, written once."""
        path = folder / PROMPTS
        if not path.exists():
            write_atomic(path, b"".join(map(dump_line, rows())))
        return path

    def draw(
        self, out: Path, prompts: Path, policy: _Policy, num_videos: int, seed: int, clips: dict[str, Any]
    ) -> None:
        """Clips of a policy for a file of prompts."""
        config = configs.from_dict(GenerateConfig, {
            **clips, "generator": self.config.generator, "model": policy.model, "seed": seed,
            "num_videos": num_videos, "device": self.config.device, "dtype": self.config.dtype,
            "lora": [] if policy.adapter is None else [str(policy.adapter)],
            "options": {"latents": True} | clips.get("options", {}),
            "cluster": configs.to_dict(self.config.cluster),
        })  # fmt: skip
        summary = generate([], [str(prompts)], out, config)
        if summary.interrupted or self.stop():
            raise KeyboardInterrupt
        if summary.failures:
            logger.warning("%d of %d clips could not be drawn", len(summary.failures), summary.asked)

    def _train(self, folder: Path, number: int, policy: _Policy, drawn: Path, rewards: Path) -> None:
        tree = {
            "stage": "reward", "out": str(folder), "model": policy.model, "clips": str(drawn),
            "rewards": str(rewards), "objective": self.config.objective, "settings": self.config.settings,
            "rank": self.config.rank, "adapter": None if policy.adapter is None else str(policy.adapter),
            "data_seed": self.config.seed + number, "loop": {"steps": 16, "batch_size": 32, "workers": 0,
            "tensorboard": False, "optim": {"base_lr": 5e-5, "warmup_steps": 0, "schedule": "constant"}},
            "runtime": {"seed": self.config.seed + number, "device": self.config.device},
        }  # fmt: skip
        recipe = folder.parent / "train.yaml"
        write_atomic(recipe, configs.dump(tree).encode())
        begun = bool(checkpoint.steps(folder))
        sets = [f"{key}={json.dumps(value)}" for key, value in self.config.train.items()]
        if train(recipe, sets=sets, resume=begun, overwrite=not begun) == EXIT_INTERRUPTED:
            raise KeyboardInterrupt

    # --- a measure

    def _drawn(self, number: int) -> Path:
        return self.measure_folder(number) / "drawn"

    def _measured(self, number: int, policy: _Policy) -> Measure:
        folder = self._drawn(number).parent
        if (folder / FILE).exists():
            return Measure.read(folder / FILE)
        prompts = self._written(self.out / "held-out", self.held_out_rows)
        drawn = self._drawn(number)
        clips = self.config.clips | self.config.held_out_clips
        self.draw(drawn, prompts, policy, self.config.held_out_videos, self.config.seed + _HELD_OUT, clips)
        moved = None if number == 0 else self._drift(drawn, policy)
        real = self._real(prompts) if self.measurer.distances else None
        found = self.measurer.measure(drawn, number, self.scoring, real=real, drift=moved, stop=self.stop)
        found.write(folder / FILE)
        return found

    def _drift(self, drawn: Path, policy: _Policy) -> float:
        rows = islice(read_manifest(drawn / MANIFEST), _DRIFT_CLIPS)
        clips = [(drawn / row["latents"], row["prompt"]) for row in rows]
        return drift(policy.model, self.first.model, clips, adapter=policy.adapter, device=self.config.device)

    def _real(self, prompts: Path) -> Path | None:
        """Clips that show the held-out prompts truly, or None."""
        if self.config.real is not None:
            return self.config.real
        folder = self.out / "real"
        listed = [row["prompt"] for _, row in json_lines(prompts)]
        if (folder / "failures.jsonl").exists() or any(of_world(prompt) is None for prompt in listed):
            return None
        sizes = {key: value for key, value in self.config.clips.items() if key in ("num_frames", "height", "width")}
        config = configs.from_dict(GenerateConfig, {**sizes, "generator": "world", "seed": self.config.seed})
        summary = generate([], [str(prompts)], folder, config)
        if summary.failures:
            logger.warning("the world cannot show every held-out prompt: no distance to real clips")
        return None if summary.failures or summary.interrupted else folder

    def _gated(self, kept: int) -> dict[str, str]:
        """Outcome and reason of the gate on the model after `kept` rounds, against the first; {} without a suite."""
        if self.config.gate is None:
            return {}
        suite = Path(self.config.gate)
        before = scores_of(read_inputs(self._drawn(0)), read_suite(suite).metrics, self.scoring)
        verdict = gate_verdict(self._drawn(kept), suite, before, self.scoring)
        return {"outcome": verdict.outcome, "reason": verdict.reason}

    def _log(self, history: Sequence[Measure]) -> None:
        start, now = history[0], history[-1]
        changes = (f"{name} {start.figures[name].value:.3f} → {one.value:.3f}" for name, one in now.figures.items()
                   if name in start.figures)  # fmt: skip
        logger.info("after round %d: %s", now.round, ", ".join(changes))


@contextmanager
def _timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[phase] = round(time.monotonic() - started, 2)


def run(config: LearnConfig, out: Path) -> Learning:
    """Learn, and write the report.

    Args:
        config: the recipe. out: the folder, made when absent.

    Raises:
        UsageError: settings that do not fit each other, or the folder was begun with others.
        MissingDependencyError: no such model, judge or metric. KeyboardInterrupt: stopped; the same command continues.
    """
    with FolderLock(out / STATE / "lock"), on_device(config.device), Stopping() as stop:
        check_recipe(config, out)
        write_atomic(out / "config.yaml", configs.dump(configs.to_dict(config)).encode())
        found = Learner(config, out, stop).run()
        _write(found, config, out)
    return found


def check_recipe(config: LearnConfig, out: Path) -> None:
    """Refuse a folder that was begun with another recipe.

    Raises:
        UsageError: EXISTS.
    """
    path, tree = out / "config.yaml", configs.to_dict(config)
    if path.exists():
        before = configs.to_dict(configs.load(LearnConfig, file=path))
        free = {name: before[name] for name in ("rounds", "cluster")}  # what is learnt is the same
        if changes := configs.changes(before, tree | free):
            raise UsageError(f"{out} was begun with another recipe: {'; '.join(changes[:5])}", code="EXISTS",
                             hint="another folder with -o")  # fmt: skip


def _write(found: Learning, config: LearnConfig, out: Path) -> None:
    write_atomic(out / RESULT, (json.dumps(as_dict(found), allow_nan=False, indent=1) + "\n").encode())
    write_atomic(out / "report.html", page.render(document(found, config, out), out))
