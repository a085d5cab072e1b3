"""Frozen models that turn frames, clips and texts into vectors: one file a family, a class `Extractor` in each.

They are opened by name through `v2t_eval.core.features.open_extractor`; the part of the name before ":" is the file.
"""
