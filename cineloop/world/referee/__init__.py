"""Reads a clip of the cartoon world back from its pixels, by rules."""
