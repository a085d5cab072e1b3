"""The verbs of `cineloop`; one file each, see `cineloop.cli`."""
