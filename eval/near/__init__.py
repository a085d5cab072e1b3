"""Near copies: clips that show the same pictures; what `curate`, `pick` and the metric of copies share."""
