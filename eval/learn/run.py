"""Rounds of learning: draw clips, judge them, learn from the rewards; every few rounds measure, and stop in time.

In: a `LearnConfig` and a folder. Out: `Learning`, and in the folder `round-001/` (`prompts.jsonl`; `drawn/`, a run
folder of `t2v generate` with latents and `rewards.jsonl`; `train/`, a run folder of `t2v train`; `round.json`),
`measure-000/` (`drawn/`, `scores.json`), `report.html`, `learn.json`. The stages (`draw`, `rewards` and `measures`,
`train`) meet through these folders, and each keeps what is finished, so that the same command continues after a stop
and comes to the same end.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from cineloop import config as configs
from cineloop.documents import read_json
from cineloop.files import write_atomic
from cineloop.interrupt import Stopping
from cineloop.log import logger
from cineloop.run_folder import STATE, RunFolder, other_settings
from v2t_eval.core.cluster import place_on
from v2t_eval.core.models import on_device
from v2t_eval.core.score import ScoreConfig
from v2t_eval.core.scores import RESULTS, Scores, read_scores
from v2t_eval.gate.sides import GateInputs
from v2t_eval.learn.draw import Learnt, draw_round, draw_test_clips, drawn_rows, first_model, real_clips
from v2t_eval.learn.measures import Measurer, figures_to_show
from v2t_eval.learn.report import as_dict, document
from v2t_eval.learn.result import Learning, Round
from v2t_eval.learn.rewards import judge, mean_reward
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.learn.stopping import divergence
from v2t_eval.learn.train import delete_checkpoints, drift_of, learnt, train
from v2t_eval.report import page

RESULT, ROUND = "learn.json", "round.json"


def round_folder(out: Path, number: int) -> Path:
    """Of a round, from 1."""
    return out / f"round-{number:03d}"


def measure_folder(out: Path, number: int) -> Path:
    """Of the measure after so many rounds."""
    return out / f"measure-{number:03d}"


class Learner:
    """One learning in a folder; `run` does it all."""

    def __init__(self, config: LearnConfig, out: Path, stop: Callable[[], bool]) -> None:
        self.config, self.out, self.stop = config, out, stop
        self.scoring = ScoreConfig(workers=1, cache=out / STATE / "evidence", device=config.device,
                                   place=place_on(config.cluster, out / STATE, out / STATE / "evidence"))  # fmt: skip
        self.measurer = Measurer(config)

    def run(self) -> Learning:
        """All rounds that are not done yet."""
        config, model = self.config, first_model(self.config)
        if config.drawn is None:
            drawn_rows(config, self.out, 1)  # before anything is drawn: prompts that are all held out are refused
        rounds, history, models = list[Round](), {0: self._measure(0, model)}, {0: model}
        stopped = None
        for number in range(1, config.rounds + 1):
            model, done = self._round(number, model)
            rounds.append(done)
            if number not in config.measured_rounds:
                continue
            history[number], models[number] = self._measure(number, model), model
            self._log(history[0], history[number], number)
            measures = list(history.values())
            stopped = divergence(measures, self.measurer.roles, config.guards, config.tolerated)
            if stopped is not None:
                logger.warning("stopped after round %d: %s", number, stopped.reason)
                break
        kept = list(history)[stopped.kept if stopped else -1]
        adapter = models[kept].adapter
        return Learning(rounds=tuple(rounds), history=history, roles=self.measurer.roles, stopped=stopped,
                        model=models[kept].model, adapter=None if adapter is None else str(adapter),
                        gate=self._gate(kept) if kept else {})  # fmt: skip

    def _round(self, number: int, model: Learnt) -> tuple[Learnt, Round]:
        folder = round_folder(self.out, number)
        after = learnt(self.config, folder)
        if (folder / ROUND).exists():
            return after, Round(**read_json(folder / ROUND))
        seconds = dict[str, float]()
        drawn = self.config.drawn
        if drawn is None:
            with _time_phase(seconds, "draw"):
                drawn = draw_round(self.config, self.out, number, model, self.stop)
        with _time_phase(seconds, "judge"):
            rewards, statuses = judge(self.config, drawn, self.scoring, self.stop)
        with _time_phase(seconds, "learn"):
            train(self.config, folder, number, model, drawn, rewards)
        done = Round(number=number, reward=mean_reward(rewards), statuses=statuses, seconds=seconds)
        delete_checkpoints(folder)
        write_atomic(folder / ROUND, json.dumps(asdict(done), allow_nan=False).encode())
        logger.info("round %d: mean reward %.4f, %s", number, done.reward,
                    ", ".join(f"{count} {status}" for status, count in statuses.items()))  # fmt: skip
        return after, done

    def _measure(self, number: int, model: Learnt) -> Scores:
        folder = measure_folder(self.out, number)
        if not (folder / RESULTS).exists():
            drawn = draw_test_clips(self.config, self.out, folder, model, self.stop)
            drift = None if number == 0 else drift_of(self.config, drawn, model)
            real = real_clips(self.config, self.out) if self.measurer.distances else None
            self.measurer.measure(drawn, self.scoring, real=real, drift=drift, stop=self.stop)
        return read_scores(folder / RESULTS)

    def _gate(self, kept: int) -> dict[str, str]:
        """Outcome and reason of the gate on the model after `kept` rounds, against the first; {} without a suite."""
        if self.config.gate is None:
            return {}
        first, last = (GateInputs.read(measure_folder(self.out, number) / "drawn", Path(self.config.gate))
                       for number in (0, kept))  # fmt: skip
        verdict = replace(last, baseline=first.scores(self.scoring)).verdict(last.scores(self.scoring))
        return {"outcome": verdict.outcome, "reason": verdict.reason}

    def _log(self, start: Scores, now: Scores, number: int) -> None:
        before = figures_to_show(start, self.measurer.roles)
        after = figures_to_show(now, self.measurer.roles)
        both = {name: (before[name][1], figure) for name, (_, figure) in after.items() if name in before}
        changed = (f"{name} {old.value:.3f} → {new.value:.3f}" for name, (old, new) in both.items())
        logger.info("after round %d: %s", number, ", ".join(changed))


@contextmanager
def _time_phase(seconds: dict[str, float], phase: str) -> Iterator[None]:
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
    with RunFolder(out), on_device(config.device), Stopping() as stop:
        check_recipe(config, out)
        write_atomic(out / "config.yaml", configs.dump(configs.to_dict(config)).encode())
        learning = Learner(config, out, stop).run()
        text = json.dumps(as_dict(learning, config), allow_nan=False, indent=1) + "\n"
        write_atomic(out / RESULT, text.encode())
        write_atomic(out / "report.html", page.render(document(learning, config, out), out))
    return learning


def check_recipe(config: LearnConfig, out: Path) -> None:
    """Refuse a folder that was begun with another recipe.

    Raises:
        UsageError: OTHER_SETTINGS.
    """
    path, tree = out / "config.yaml", configs.to_dict(config)
    if path.exists():
        before = configs.to_dict(configs.load(LearnConfig, file=path))
        free = {name: before[name] for name in ("rounds", "cluster")}  # what is learnt is the same
        if before != tree | free:
            raise other_settings(f"{out} was", before, tree | free, hint="choose another -o")
