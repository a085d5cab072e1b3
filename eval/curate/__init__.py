"""From a pile of films to a training set: measure every clip, throw nothing away, ask for a set by limits."""
