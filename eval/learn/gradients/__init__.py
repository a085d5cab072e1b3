"""Rewards with a gradient, for objective `draft`. Plug-in = file name; a user's own is a file anywhere."""
