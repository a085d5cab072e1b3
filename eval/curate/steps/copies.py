"""Exact copies: the same bytes under several names; the first in the order of names is the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from v2t_eval.curate.step import BaseStep, Column, Row


class Step(BaseStep):
    name = "copies"
    columns = {"copy": Column("1 where an earlier clip has the same bytes and the same seconds, else 0", 0, 1)}
    detects = "files with equal bytes"
    misses = "the same film in another codec, size or cut"

    def compare(self, rows: Sequence[Row]) -> Mapping[str, Sequence[float | None]]:
        """Also sets `duplicate_of` of each copy to the id of its original."""
        originals = {copy: original for original, copy in self.pairs(rows)}
        for row in rows:
            row["duplicate_of"] = originals.get(row["id"])
        return {"copy": [float(row["id"] in originals) for row in rows]}

    def pairs(self, rows: Sequence[Row]) -> Sequence[tuple[str, str]]:
        seen: dict[tuple[str, float, float], str] = {}
        found = []
        for row in rows:
            first = seen.setdefault((row["source_sha"], row["start_s"], row["end_s"]), row["id"])
            if first != row["id"] and row["source_sha"]:
                found.append((first, row["id"]))
        return found
