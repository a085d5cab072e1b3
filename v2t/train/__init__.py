"""Training: `run` takes a recipe (a YAML file that names its stage) and runs that stage in the one loop.

In: a recipe, settings, a run folder. Out: the run folder (see `v2t.base.loop`), or with `plan` an account of what the
run would cost. One file per stage: tower, language, align, instruct, contrastive.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from v2t.base.errors import EXIT_INTERRUPTED, EXIT_OK, UsageError


def read_recipe(config: Path, *, sets: Iterable[str] = (), out: Path | None = None) -> tuple[Any, Any]:
    """The stage's module and its validated configuration.

    Raises:
        UsageError: unknown stage or key, wrong value; the message names the nearest.
    """
    from v2t.base import config as configs
    from v2t.base import plugin

    sets = list(sets)
    name = configs.read_yaml(config).get("stage")
    name = dict(map(configs.parse_set, sets)).get("stage", name)
    if not isinstance(name, str):
        raise UsageError(f"{config} does not name its stage", hint=f"stage: {' | '.join(stages())}")
    module = plugin.load("v2t.train", name, "build_stage")
    return module, configs.load(module.Config, file=config, sets=sets, flags={"out": out})


def stages() -> list[str]:
    """The stages there are."""
    from v2t.base import plugin

    return plugin.choices("v2t.train", "build_stage")


def run(
    config: Path,
    *,
    sets: Iterable[str] = (),
    out: Path | None = None,
    plan: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    as_json: bool = False,
) -> int:
    """Train one stage, or say what it would cost.

    Args:
        config: the recipe.
        sets: settings `a.b=c` over the recipe.
        out: run folder, over the recipe's.
        plan: print parameters, memory, FLOPs and time per step; allocate nothing.
        resume: go on from the last checkpoint of the run folder.
        overwrite: restart in a folder that already holds a run.
        as_json: with `plan`, print JSON.

    Returns:
        Exit code: 0 done or out of its seconds, 130 interrupted (saved).

    Raises:
        CineloopError: recipe, environment or numbers went wrong.
    """
    from v2t.base import log

    if not log.logger.handlers:
        log.setup()
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    module, resolved = read_recipe(config, sets=sets, out=out)
    if plan:
        from v2t.train.plan import print_plan

        print_plan(module.build_stage(resolved), resolved, as_json=as_json)
        return EXIT_OK
    from v2t.base import runtime
    from v2t.base.config import to_dict
    from v2t.base.loop import Loop

    loop = Loop(
        module.build_stage(resolved),
        resolved.loop,
        resolved.out,
        runtime_config=resolved.runtime,
        resolved=to_dict(resolved),
        resume=resume,
        overwrite=overwrite,
    )
    outcome = loop.run()
    runtime.leave()
    return EXIT_INTERRUPTED if outcome.status == "interrupted" else EXIT_OK
