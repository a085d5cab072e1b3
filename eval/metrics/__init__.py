"""Metrics, one file each, found by file name: `facts` (captions), `answers` (questions). See `v2t_eval.core.metric`."""
