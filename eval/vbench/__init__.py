"""The frame side of VBench: picks, consistency, flow, static filter, long clips, totals.

VBench (Huang et al. 2024, arXiv:2311.17982), read at 45e79ec. `compat` repeats the reference's numbers with its
defects, `fixed` repairs them; the backbones are whatever is available, and always named, so that no number here
pretends to be a leaderboard's.
"""
