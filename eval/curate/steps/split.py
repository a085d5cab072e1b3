"""Split a film into clips of one shot each: at cuts, fades, dissolves and wipes; a film of one shot stays whole.

The pictures during a fade, dissolve or wipe belong to no clip; a dark stretch of the least length of a clip is one of
its own. A shot shorter than that is joined with a neighbour where both show the same picture (a flash, a false cut),
never across a change of pictures: its length drops it (`duration_s`). A longer one than allowed is cut into equal
parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from v2t_eval.curate.step import BaseStep, Piece
from v2t_eval.curate.transitions import Transition, dark_stretches, dissolves, edges, faint_cuts, flash_end, with_fades
from v2t_eval.frames.survey import Survey


@dataclass(frozen=True, kw_only=True)
class SplitSettings:
    """How to split.

    Attributes:
        shortest_s, longest_s: of a clip.
        trim_frames: left out on both sides of a change of shots: a codec smears it over them.
        dark_level, dark_frames: so many frames in a row are dark where 99 % of their pixels are below this grey level.
        cut_levels: grey levels by which a faint cut changes the picture on average; 0 leaves cuts to the detector.
        dissolve_levels: grey levels by which a dissolve changes the picture on average; 0 does not look for dissolves.
        wipe_levels: as much, of wipes, other shapes and slides.
        flash_s: the longest flash: the picture before it is back then.
        alike_levels: pictures that differ by less on average are the same.
    """

    shortest_s: float = 2.0
    longest_s: float = 60.0
    trim_frames: int = 2
    dark_level: int = 16
    dark_frames: int = 3
    cut_levels: float = 6.0
    dissolve_levels: float = 10.0
    wipe_levels: float = 10.0
    flash_s: float = 0.4
    alike_levels: float = 6.0

    def __post_init__(self) -> None:
        if not 0 < self.shortest_s < self.longest_s:
            raise ValueError(f"expected 0 < shortest_s < longest_s, got {self.shortest_s} and {self.longest_s}")
        if (
            self.trim_frames < 0
            or self.dark_frames < 1
            or min(self.cut_levels, self.dissolve_levels, self.wipe_levels, self.alike_levels, self.flash_s) < 0
        ):
            raise ValueError("trim_frames, levels and flash_s must be at least 0, and dark_frames 1")


class Step(BaseStep):
    name = "split"
    version = 2
    detects = "cuts, fades, dissolves, wipes, other shapes and slides"
    misses = "morphs, cuts within 0.6 s of one another, dissolves between pictures of like light and shade"
    Settings = SplitSettings

    def cut(self, survey: Survey, pieces: Sequence[Piece]) -> Sequence[Piece]:
        changes = self._join_changes(survey, self.changes(survey))
        shots: list[Piece] = []
        for piece in pieces:
            inside = [c for c in changes if piece.start_s < c.end_s and c.start_s < piece.end_s]
            shots += self._between(survey, piece, inside)
        return shots or pieces

    def changes(self, survey: Survey) -> list[Transition]:
        """Every change of shots, in order; none overlaps another."""
        settings = self.settings
        dark = dark_stretches(survey, settings.dark_level, settings.dark_frames)
        gradual = dissolves(survey, settings.dissolve_levels) if settings.dissolve_levels else []
        transitions = [Transition(*span, "dissolve") for span in gradual]
        transitions += (
            [Transition(*span, "wipe") for span in edges(survey, settings.wipe_levels)] if settings.wipe_levels else []
        )
        for start, end in dark:
            first, last = with_fades(survey, start, end)
            if end - start < settings.shortest_s:
                transitions.append(Transition(first, last, "fade"))
            else:
                transitions += [Transition(first, start, "black"), Transition(end, last, "black")]
        near = 2 / survey.info.fps
        faint = faint_cuts(survey, settings.cut_levels) if settings.cut_levels else []
        transitions += [Transition(second, second, "cut") for second in {*survey.cuts, *faint}]
        transitions.sort(key=lambda change: (change.start_s, change.end_s))
        merged: list[Transition] = []
        for each in transitions:
            if merged and each.start_s <= merged[-1].end_s + near:
                kinds = (merged[-1].kind, each.kind)
                kind = next(kind for kind in ("black", "fade", "wipe", "dissolve", "cut") if kind in kinds)
                merged[-1] = Transition(merged[-1].start_s, max(merged[-1].end_s, each.end_s), kind)
            else:
                merged.append(each)
        return merged

    def _join_changes(self, survey: Survey, changes: list[Transition]) -> list[Transition]:
        """The changes without flashes, and without the cuts about short shots between pictures that are alike."""
        kept: list[Transition] = []
        dark_s = 0.0  # end of a flash
        for each in changes:
            if each.kind in ("cut", "fade") and each.start_s >= dark_s:
                dark_s = flash_end(survey, each.start_s, self.settings.flash_s, self.settings.alike_levels) or dark_s
            if each.kind not in ("cut", "fade") or each.end_s > dark_s + 1e-6:
                kept.append(each)
        number = 0
        while number < len(kept):
            one, after = kept[number], kept[number + 1] if number + 1 < len(kept) else None
            end = after.start_s if after is not None else survey.info.duration_s
            start = kept[number - 1].end_s if number else float(survey.times_s[0])
            if one.kind != "cut":
                number += 1
            elif (
                after is not None
                and after.kind == "cut"
                and end - one.end_s < self.settings.shortest_s
                and (self._alike(survey, one.start_s, after.end_s))
            ):
                del kept[number : number + 2]
            elif min(end - one.end_s, one.start_s - start) < self.settings.shortest_s and (
                self._alike(survey, one.start_s, one.end_s)
            ):
                del kept[number]
            else:
                number += 1
        return kept

    def _alike(self, survey: Survey, before_s: float, after_s: float) -> bool:
        """Whether the last picture before a second and the first one from another on are the same."""
        last = max(0, int(np.searchsorted(survey.times_s, before_s - 1e-3)) - 1)
        first = min(int(np.searchsorted(survey.times_s, after_s - 1e-3)), len(survey.times_s) - 1)
        pictures = survey.thumbs[[last, first]].astype(np.float32)
        return bool(np.abs(pictures[1] - pictures[0]).mean() < self.settings.alike_levels)

    def _between(self, survey: Survey, piece: Piece, changes: list[Transition]) -> list[Piece]:
        parts: list[Piece] = []
        margin = self.settings.trim_frames / survey.info.fps
        start_s, begins = piece.start_s, piece.begins
        for change in [*changes, None]:
            end_s, ends = (piece.end_s, piece.ends) if change is None else (change.start_s, change.kind)
            if end_s > start_s:
                shot = Piece(start_s=start_s, end_s=end_s, begins=begins, ends=ends)
                parts += self._parts(survey, _trim(shot, piece, margin))
            if change is not None:
                start_s, begins = change.end_s, change.kind
        return parts

    def _parts(self, survey: Survey, shot: Piece) -> list[Piece]:
        """Equal parts of a shot, none longer than allowed; up to a frame, since each begins with one of its own: a
        frame that is shown over an edge would be in both."""
        length = shot.end_s - shot.start_s
        num = max(1, math.ceil(length / self.settings.longest_s - 1e-6))
        edges = self._edges(survey, shot, num)
        if max(b - a for a, b in pairwise(edges)) > self.settings.longest_s + 1e-6:
            num += 1
            edges = self._edges(survey, shot, num)
        return [
            Piece(
                start_s=edges[n],
                end_s=edges[n + 1],
                begins="length" if n else shot.begins,
                ends="length" if n < num - 1 else shot.ends,
            )
            for n in range(num)
        ]

    @staticmethod
    def _edges(survey: Survey, shot: Piece, num: int) -> list[float]:
        """Seconds (num + 1) of the ends of parts; those between two parts are times of frames."""
        even = np.linspace(shot.start_s, shot.end_s, num + 1)[1:-1]
        shown = np.searchsorted(survey.times_s, even + 1e-6) - 1
        return [shot.start_s, *survey.times_s[shown].tolist(), shot.end_s]


def _trim(shot: Piece, film: Piece, margin: float) -> Piece:
    """Without the margin at changes of shots, where enough is left."""
    start_s = shot.start_s + (margin if shot.start_s > film.start_s else 0.0)
    end_s = shot.end_s - (margin if shot.end_s < film.end_s else 0.0)
    return replace(shot, start_s=start_s, end_s=end_s) if end_s - start_s > margin else shot
