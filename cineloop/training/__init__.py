"""The training loop on Accelerate, and what a recipe, a stage and a run folder are."""
