"""Training of the generator: `run` takes a recipe (a YAML file that names its stage) and runs that stage.

In: a recipe, settings, a run folder. Out: what `cineloop.training.recipe.run` gives. One file per stage: vae, text,
dit, lora, clips, reward.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from cineloop import config as configs
from cineloop.training import recipe
from t2v.data.layouts import ClipPlaces

_ON_CLIPS = ("lora", "clips")

run = partial(recipe.run, __name__)
read_recipe = partial(recipe.read_recipe, __name__)
stages = partial(recipe.stages, __name__)


def check_data(stage: str, settings: Mapping[str, Any]) -> None:
    """Look at the clips that the settings of a stage name, as `t2v.data.layouts.read_items` does.

    Raises:
        UsageError: faults in them. NothingMatchedError: there are none.
    """
    if stage not in _ON_CLIPS:
        return
    named = {field.name: settings[field.name] for field in fields(ClipPlaces) if field.name in settings}
    places = configs.from_dict(ClipPlaces, named)
    places.items("data")
    places.items("eval_data")
