"""Prompts of another world than the starter's: words that its judge does not declare to know."""

from __future__ import annotations

FOREIGN = (
    "A giraffe plays the piano.", "A dragon breathes fire.", "A skateboarder does a kickflip.",
    "A chef slices onions in a kitchen.", "Two astronauts shake hands on the moon.",
    "A violinist performs on a stage.", "A barista pours latte art.", "A tractor ploughs a wheat field.",
    "A surfer rides a huge wave.", "A giraffe rolls to the left on the beach.",
)  # fmt: skip
