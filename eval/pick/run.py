"""Pick the best checkpoint: looks at more and more prompts, each of which drops what is surely worse or copies.

In: a `PickConfig` and a folder. Out: `Pick`, and in the folder `drawn/NAME/` of each checkpoint (a run folder of
`t2v generate` with `scores.json`), `training/NAME/` (clips for prompts of the training set), `prompts.jsonl`,
`pick.json`, `report.md`, `report.html`. The journal holds what each look decided; the same command continues after a
stop, with more prompts too, and comes to the same end.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cineloop import config as configs
from cineloop.errors import CineloopError, MissingDependencyError, Notice, UsageError
from cineloop.files import write_atomic
from cineloop.interrupt import Stopping
from cineloop.log import logger, plural, printable
from cineloop.run_folder import STATE, RunFolder, other_settings
from v2t_eval.core.cluster import place_on
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.metric import BaseMetric
from v2t_eval.core.models import on_device
from v2t_eval.core.score import ScoreConfig, score
from v2t_eval.core.scores import RESULTS, Scores, read_scores, render_scores
from v2t_eval.pick.checkpoints import BadCheckpoint, Checkpoint, read_checkpoints
from v2t_eval.pick.choice import drops, look_sizes
from v2t_eval.pick.copies import CopyGuard
from v2t_eval.pick.draw import PROMPTS, PromptRow, draw, folder_of, keep_prompts, prompt_rows
from v2t_eval.pick.field import ValueField
from v2t_eval.pick.report import as_dict, document
from v2t_eval.pick.result import CopyCount, LookRecord, Pick
from v2t_eval.pick.settings import PickConfig
from v2t_eval.pick.standing import standings_of
from v2t_eval.report import markdown, page
from v2t_eval.suites.suite import each_once, parse_metric, read_suite

RESULT, NAMES, JOURNAL = "pick.json", ("pick.json", "report.md", "report.html"), "pick.jsonl"
_OF_THE_RUN = {"DISK_FULL", "OUTPUT_FOLDER", "LOCKED", "OTHER_SETTINGS", "EXISTS"}  # no fault of a checkpoint
_FREE = ("prompts", "limit", "device", "cluster", "checkpoints")  # may change: checked by what they mean


def run(config: PickConfig, out: Path) -> Pick:
    """Draw, score, drop, and write the report.

    Raises:
        UsageError: ONE_CHECKPOINT, OTHER_SETTINGS, a metric that cannot decide. NothingMatchedError: no prompts, no
            checkpoints, no training clips. MissingDependencyError: no checkpoint loads, a full disk, no such metric.
        KeyboardInterrupt: stopped; the same command continues.
    """
    checkpoints, bad = read_checkpoints(config.checkpoints)
    metrics = deciding_metrics(config)
    with RunFolder(out, journal=JOURNAL) as folder, on_device(config.device), Stopping() as stop:
        _check_settings(config, checkpoints, out)
        rows = prompt_rows(config, out)
        write_atomic(out / "config.yaml", configs.dump(configs.to_dict(config)).encode())
        keep_prompts(rows, out / PROMPTS)
        pick = Picker(config, out, folder, checkpoints, bad, rows, metrics, stop).run()
        text = json.dumps(as_dict(pick), allow_nan=False, indent=1, ensure_ascii=False) + "\n"
        write_atomic(out / RESULT, text.encode("utf-8", "replace"))
        about = document(pick, out)
        write_atomic(out / "report.md", markdown.render(about).encode())
        write_atomic(out / "report.html", page.render(about, out))
    return pick


def deciding_metrics(config: PickConfig) -> list[BaseMetric]:
    """The metrics of the suite, the one that decides first.

    Raises:
        UsageError: it gives no value to single clips, or has no preferred direction.
    """
    suite = read_suite(Path(config.suite)).metrics
    by = suite[0] if config.by is None else parse_metric(config.by)
    if by.level != "clip" or by.higher_is_better is None:
        what = f"is a metric of a {by.level}" if by.level != "clip" else "has no preferred direction"
        raise UsageError(f"{by.title} {what}, so it cannot decide", hint="--by METRIC; v2t-eval list shows them")
    return each_once([by, *(metric for metric in suite if metric.title != by.title)])


def plan(config: PickConfig) -> list[dict[str, Any]]:
    """What a run would draw at most, by checkpoint. Writes nothing."""
    checkpoints, bad = read_checkpoints(config.checkpoints)
    num = len(prompt_rows(config, Path(".absent")))
    rows: list[dict[str, Any]] = [
        {"name": one.name, "kind": one.kind, "step": one.step, "path": str(one.path), "clips": num * config.num_videos}
        for one in checkpoints
    ]
    return rows + [{"name": one.name, "path": str(one.path), "error": one.code} for one in bad]


class Picker:
    """One pick in a folder; `run` does it all."""

    def __init__(
        self, config: PickConfig, out: Path, folder: RunFolder, checkpoints: Sequence[Checkpoint],
        bad: Sequence[BadCheckpoint], rows: Sequence[PromptRow], metrics: Sequence[BaseMetric],
        stop: Callable[[], bool],
    ) -> None:  # fmt: skip
        self.config, self.out, self.folder, self.rows, self.stop = config, out, folder, rows, stop
        self.checkpoints = {one.name: one for one in checkpoints}
        self.bad = {one.name: one for one in bad}
        self.metrics, self.by = list(metrics), metrics[0].title
        cache = out / STATE / "evidence"
        self.scoring = ScoreConfig(workers=1, cache=cache, device=config.device, is_suite=True, decides=(self.by,),
                                   place=place_on(config.cluster, out / STATE, cache))  # fmt: skip
        self.guard = None if config.training_set is None else CopyGuard(config.training_set, config, self.scoring)
        self.rounds: list[LookRecord] = []
        self.scores: dict[str, Scores] = {}
        self.copies: dict[str, dict[str, CopyCount]] = {}
        self.notices: list[Notice] = []

    def run(self) -> Pick:
        """All looks that are not done yet."""
        self._replay()
        done = [look.prompts for look in self.rounds]
        for number, size in enumerate(look_sizes(len(self.rows), done), start=1):
            if number <= len(self.rounds):
                continue
            if len(self._left) < 2 and self.rounds:
                break
            self._look(number, size)
        if not any(name in self.scores for name in self.checkpoints):
            whys = "; ".join(f"{one.name}: {one.code}, {one.message}" for one in [*self.bad.values()][:3])
            raise MissingDependencyError(f"no checkpoint could be drawn with: {whys}", code="NO_CHECKPOINT",
                                         hint="does --model name the model that they belong to?")  # fmt: skip
        return self._result()

    @property
    def _left(self) -> list[str]:
        gone = {name for look in self.rounds for name in look.dropped}
        return [name for name in self.checkpoints if name not in gone and name not in self.bad]

    def _replay(self) -> None:
        """What the journal says of looks so far, with the scores and copies that they saw."""
        for entry in self.folder.replay():
            if entry["kind"] == "failed":
                path = self.checkpoints[entry["name"]].path
                self.bad[entry["name"]] = BadCheckpoint(
                    name=entry["name"], path=path, code=entry["code"], message=entry["message"]
                )
            elif entry["kind"] == "copies":
                self.copies.setdefault(entry["name"], {})[entry["part"]] = CopyCount(
                    num=entry["num"], pairs=tuple((id, known, share) for id, known, share in entry["pairs"])
                )
            else:
                self.rounds.append(LookRecord.read(entry))
        for name in self.checkpoints:
            path = folder_of(self.out, name) / RESULTS
            if path.exists() and any(name in look.left for look in self.rounds):
                self.scores[name] = read_scores(path)

    def _look(self, number: int, size: int) -> None:
        """Draw for more prompts with what is left, score, and drop what is worse or copies."""
        prompts = keep_prompts(self.rows[:size], self.out / STATE / f"prompts-{size}.jsonl")
        draws = 0
        for name in self._left:
            draws += self._draw_and_score(name, prompts)
        for name in [name for name in self._left if self.guard is not None]:
            self._count_copies(name)
        left = self._left
        dropped = self._copying(number, left)
        others = [name for name in left if name not in dropped]
        level = 0.0
        if len(others) > 1:
            field = self._field()
            compared = [(look.prompts, look.compared) for look in self.rounds]
            totals = [field.totals(names, num) for num, names in [*compared, (size, others)] if len(names) > 1]
            worse, level = drops(totals)
            for one in worse:
                name, better = others[one.number], others[one.better]
                message = f"worse than {better} by {self.by} (p {one.p:.2g}, level {level:.2g})"
                dropped[name] = Notice("WORSE", message)
        look = LookRecord(number=number, prompts=size, draws=draws, level=level, left=tuple(left),
                          compared=tuple(others), dropped=dropped)  # fmt: skip
        self.folder.append([{"kind": "look", **look.entry()}])
        self.rounds.append(look)
        logger.info("%s: %d of %d checkpoints left%s", plural(size, "prompt"), len(self._left), len(self.checkpoints),
                    "".join(f"; {printable(name)}: {notice.message}" for name, notice in dropped.items()))  # fmt: skip

    def _draw_and_score(self, name: str, prompts: Path) -> int:
        """Clips drawn; 0 of a checkpoint that cannot be drawn with, which is then among the bad ones."""
        folder = folder_of(self.out, name)
        try:
            summary = draw(self.config, self.checkpoints[name], prompts, folder, self.stop)
            if summary.failures and len(summary.failures) == summary.asked:
                error = summary.failures[0]["error"]
                raise UsageError(f"all {summary.asked} clips failed: {error['message']}", code=error["code"])
        except CineloopError as error:
            if error.code in _OF_THE_RUN:
                raise
            self._fail(name, error.code, error.message)
            return 0
        scores = score(read_inputs(folder), self.metrics, self.scoring, stop=self.stop)
        for one in scores.skipped:
            if one.metric == self.by:
                scores.require_all()
        write_atomic(folder / RESULTS, render_scores(scores))
        self.scores[name] = scores
        return summary.made + len(summary.failures) + summary.skipped - self._draws_before(name)

    def _draws_before(self, name: str) -> int:
        last = max((look.prompts for look in self.rounds if name in look.left), default=0)
        return last * self.config.num_videos

    def _fail(self, name: str, code: str, message: str) -> None:
        self.folder.append([{"kind": "failed", "name": name, "code": code, "message": message}])
        self.bad[name] = BadCheckpoint(name=name, path=self.checkpoints[name].path, code=code, message=message)
        logger.warning("%s: %s, %s", printable(name), code, printable(message))

    def _count_copies(self, name: str) -> None:
        guard = self.guard
        if guard is None:
            return
        parts = {"held_out": folder_of(self.out, name)}
        rows = guard.prompt_rows()
        if rows and "training" not in self.copies.get(name, {}):
            parts["training"] = folder_of(self.out, name, "training")
            prompts = keep_prompts(rows, self.out / STATE / "prompts-training.jsonl")
            draw(self.config, self.checkpoints[name], prompts, parts["training"], self.stop)
        for part, folder in parts.items():
            count = guard.count(read_inputs(folder).samples, self.stop)
            self.folder.append([{"kind": "copies", "name": name, "part": part, "num": count.num, "pairs": count.pairs}])
            self.copies.setdefault(name, {})[part] = count

    def _copying(self, number: int, left: Sequence[str]) -> dict[str, Notice]:
        dropped = dict[str, Notice]()
        for name in left if self.guard is not None else ():
            counts = self.copies[name]
            if self.guard is not None and self.guard.is_copying([*counts.values()], number, len(self.checkpoints)):
                shares = (f"{len(one.pairs)} of {one.num} {part.replace('_', '-')}" for part, one in counts.items())
                dropped[name] = Notice("COPIES", f"copies training clips: {', '.join(shares)} clips")
        return dropped

    def _field(self) -> ValueField:
        policy = read_suite(Path(self.config.suite)).policy
        rules = {rule.metric: rule for rule in policy.primary} if policy is not None else {}
        return ValueField(self.scores, self.by, [row["prompt"] for row in self.rows], rules.get(self.by))

    def _result(self) -> Pick:
        usable = [name for name in self.checkpoints if name not in self.bad]
        standings = standings_of(self.checkpoints, self.bad, self.rounds, self._field(), self.copies)
        sizes = {clip.size for name in usable for clip in self.scores[name].clips if clip.size is not None}
        if len(sizes) > 1:
            shown = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
            message = f"clips differ in size ({shown}), which metrics of pixels see: --set clips.height and clips.width"
            self.notices.append(Notice("DIFFERENT_SIZES", message))
        for notice in self.notices:
            logger.warning("%s", notice)
        each = len(self.rows) * self.config.num_videos
        return Pick(
            by=self.by, standings=standings, rounds=tuple(self.rounds), prompts=len(self.rows),
            draws=sum(look.draws for look in self.rounds), all_draws=len(usable) * each,
            notices=tuple(self.notices),
        )  # fmt: skip


def _check_settings(config: PickConfig, checkpoints: Sequence[Checkpoint], out: Path) -> None:
    """Refuse a folder that was begun with other settings or checkpoints.

    Raises:
        UsageError: OTHER_SETTINGS.
    """
    path, state = out / "config.yaml", out / STATE / "checkpoints.json"
    weights = {one.name: one.sha256 for one in checkpoints}
    if path.exists():
        before, now = (configs.to_dict(each) for each in (configs.load(PickConfig, file=path), config))
        same = now | {name: before[name] for name in _FREE}
        known = json.loads(state.read_text("utf-8")) if state.exists() else weights
        if before != same or known != weights:
            raise other_settings(f"{out} was", before | known, same | weights, hint="choose another -o")
    write_atomic(state, json.dumps(weights).encode())
