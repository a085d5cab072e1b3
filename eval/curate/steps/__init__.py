"""The steps of a curation; a step is one file, see `v2t_eval.curate.step`."""
