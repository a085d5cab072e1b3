"""Training of the captioner: `run` takes a recipe (a YAML file that names its stage) and runs that stage.

In: a recipe, settings, a run folder. Out: what `cineloop.training.recipe.run` gives. One file per stage: tower,
language, align, instruct, preference, reinforce, contrastive, contrastive_video.
"""

from __future__ import annotations

from functools import partial

from cineloop.training import recipe

run = partial(recipe.run, __name__)
read_recipe = partial(recipe.read_recipe, __name__)
stages = partial(recipe.stages, __name__)
