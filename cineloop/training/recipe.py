"""Recipes: a YAML file names a stage of a package and what differs from its defaults; `run` runs that stage.

In: a package with one file per stage (`v2t.train`, `t2v.train`), a recipe (a file, or the name of a shipped one such as
`starter/tower`), settings, a run folder. Out: the run folder
(see `cineloop.training.loop`), or with `plan` an account of what the run would cost. A stage's file holds `Config` (a
`StageConfig`), `build_stage(config) -> Stage` and, for `--plan`, `plan_pieces` (see `cineloop.training.plan`). The
package may hold `check_data(stage, settings)`, which raises for data that cannot be trained on.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from cineloop import config as configs
from cineloop import log, plugin, shipped, startup
from cineloop.errors import EXIT_INTERRUPTED, EXIT_OK, CineloopError, UsageError
from cineloop.training.runtime import RuntimeConfig
from cineloop.training.stage import LoopConfig

_FOLDER = Path(__file__).resolve().parents[1] / "recipes"
_OTHER = {"v2t.train": "t2v.train", "t2v.train": "v2t.train"}  # whose recipes are easily taken for one's own


@dataclass(frozen=True, kw_only=True)
class StageConfig:
    """A recipe: which stage, where the run is stored, on what it runs, how long.

    `runtime.seed` seeds weights and dropout; `data_seed` the order or stream of the data.
    """

    stage: str
    out: Path
    loop: LoopConfig
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    data_seed: int = 1


def stages(package: str) -> list[str]:
    """The stages there are in `package`."""
    return plugin.choices(package, "build_stage")


def recipes(package: str) -> dict[str, Path]:
    """The recipes that come with Cineloop for the stages of `package`, by name: `starter/tower`."""
    known, paths = stages(package), {}
    for path in sorted(_FOLDER.glob("*/*.yaml")):
        named = re.search(r"^stage: *([\w-]+)", path.read_text("utf-8"), re.MULTILINE)
        if named and named[1] in known:
            paths[path.relative_to(_FOLDER).with_suffix("").as_posix()] = path
    return paths


def read_recipe(
    package: str, config: Path, *, over: Iterable[Path] = (), sets: Iterable[str] = (), out: Path | None = None
) -> tuple[ModuleType, Any]:
    """The stage's module and its validated configuration; `config` is a file or the name of a shipped recipe, `over`
    are files of settings over it (or "gpu", the shipped one).

    Raises:
        UsageError: unknown recipe, stage or key, wrong value; the message names the nearest.
    """
    return _stage_and_config(package, *_layers(package, config, over, sets, out))


def _layers(
    package: str, config: Path, over: Iterable[Path], sets: Iterable[str], out: Path | None
) -> tuple[str, dict[str, Any]]:
    """The stage's name and the recipe's settings, not validated yet; see `read_recipe`."""
    sets, shipped_over = list(sets), {"gpu": _FOLDER / "gpu.yaml"}
    over = [shipped.find(each, shipped_over, "file of settings") for each in over]
    other = _OTHER.get(package, package)
    asked, config = config, shipped.find(config, recipes(package) | recipes(other), "recipe")
    settings = configs.merge_layers(file=config, over=over, sets=sets, flags={"out": out})
    name = settings.get("stage")
    if not isinstance(name, str):
        raise UsageError(f"{config} does not name its stage", hint=f"stage: {' | '.join(stages(package))}")
    if name not in stages(package) and name in stages(other):
        right = other.partition(".")[0]
        raise UsageError(
            f"{name} is a stage of {right}, not of {package.partition('.')[0]}", hint=f"{right} train {asked}"
        )
    return name, settings


def _stage_and_config(package: str, name: str, settings: dict[str, Any]) -> tuple[ModuleType, Any]:
    module = plugin.load(package, name, "build_stage", files=True)
    return module, _with_starters(configs.from_dict(module.Config, settings))


def _with_starters(config: Any) -> Any:
    """The recipe with `v2t/starter` and `t2v/starter` found where the packages lie, for there may be no checkout."""
    packages, starters = Path(__file__).resolve().parents[2], {}
    for each in fields(config):
        value = getattr(config, each.name)
        if each.name != "out" and isinstance(value, (str, Path)) and not Path(value).exists():
            if Path(value).parts[:2] in (("v2t", "starter"), ("t2v", "starter")):
                starters[each.name] = str(packages / value) if isinstance(value, str) else packages / value
    return replace(config, **starters)


def _check_data(package: str, name: str, settings: dict[str, Any], plan: bool) -> None:
    """What the package says of a stage's data: an error, of a plan a warning."""
    check_data = getattr(importlib.import_module(package), "check_data", None)
    if check_data is None:
        return
    try:
        check_data(name, settings)
    except CineloopError as error:
        if not plan:
            raise
        log.logger.warning("the training would not start: %s: %s", error.code, error)


def run(
    package: str,
    config: Path,
    *,
    over: Iterable[Path] = (),
    sets: Iterable[str] = (),
    out: Path | None = None,
    plan: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    as_json: bool = False,
) -> int:
    """Train one stage, or say what it would cost.

    Args:
        package: where the stages are, for example "t2v.train".
        config: the recipe.
        over, sets, out: files of settings, settings `a.b=c`, and the run folder, over the recipe's.
        plan: print parameters, memory, FLOPs and time per step; allocate nothing.
        resume: go on from the last checkpoint of the run folder.
        overwrite: restart in a folder that already holds a run.
        as_json: with `plan`, print JSON.

    Returns:
        Exit code: 0 done or out of its seconds, 130 interrupted (saved).

    Raises:
        CineloopError: recipe, environment or numbers went wrong.
    """
    if not log.logger.handlers:
        log.setup()
    name, settings = _layers(package, config, over, sets, out)
    _check_data(package, name, settings, plan)  # before torch is loaded, which takes longer
    with startup.pause_collector():
        module, resolved = _stage_and_config(package, name, settings)
        from cineloop.training.plan import count_step, make_plan, print_plan

        if plan:
            print_plan(make_plan(module, resolved), as_json=as_json)
            return EXIT_OK
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    from cineloop.training import runtime
    from cineloop.training.loop import Loop

    loop = Loop(
        module.build_stage(resolved),
        resolved.loop,
        resolved.out,
        runtime_config=resolved.runtime,
        resolved=configs.to_dict(resolved),
        resume=resume,
        overwrite=overwrite,
        cost=count_step(module, resolved),
    )
    outcome = loop.run()
    runtime.leave()
    return EXIT_INTERRUPTED if outcome.status == "interrupted" else EXIT_OK
