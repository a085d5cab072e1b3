"""Cineloop: what `v2t`, `t2v` and `v2t_eval` stand on. Layers: v2t_eval -> (v2t | t2v) -> cineloop."""
