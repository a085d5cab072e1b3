"""The cartoon world: clips whose truth is known exactly."""
