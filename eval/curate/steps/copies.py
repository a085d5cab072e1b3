"""Exact copies: the same bytes under several names; the first in the order of names is the original."""

from __future__ import annotations

from collections.abc import Sequence

from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, Column, CompareResult


class Step(BaseStep):
    name = "copies"
    columns = {"copy": Column("1 where an earlier clip has the same bytes and the same seconds, else 0", 0, 1)}
    detects = "files with equal bytes"
    misses = "the same film in another codec, size or cut"

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        """Links: `duplicate_of` of each copy is the id of its original."""
        originals = {copy: original for original, copy in self.pairs(clips)}
        return CompareResult(
            columns={"copy": [float(clip.id in originals) for clip in clips]},
            links={"duplicate_of": [originals.get(clip.id) for clip in clips]},
        )

    def pairs(self, clips: Sequence[FilmClip]) -> Sequence[tuple[str, str]]:
        seen: dict[tuple[str, float, float], str] = {}
        copies = []
        for clip in clips:
            first = seen.setdefault((clip.source_sha, clip.start_s, clip.end_s), clip.id)
            if first != clip.id and clip.source_sha:
                copies.append((first, clip.id))
        return copies
