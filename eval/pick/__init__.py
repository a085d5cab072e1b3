"""The best of several checkpoints: draws of each for the same prompts, in looks that drop what is surely worse."""
