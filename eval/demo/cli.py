"""What `cineloop` itself can do, beside naming the three commands that do the work."""

from __future__ import annotations

ABOUT = "A first look at the three commands v2t, t2v and v2t-eval."
VERBS = ("demo",)
