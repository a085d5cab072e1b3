"""Equivalence of two inference engines: the same prompts and seeds, compared pair by pair within measured margins."""
