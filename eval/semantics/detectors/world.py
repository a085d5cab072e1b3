"""`world`: the cartoon world's referee. It reads its own world's clips (flat style, a still camera, up to four figures)
and says of others that it cannot.

In: samples. Out: the figures with their boxes frame by frame, the place in all its names, what the figures do. A box is
as wide and high as the figure's unit box in the first frame. A figure whose kind is not plain has the label
`SOMETHING`; where the number of figures is not sure each frame holds `MORE`; a figure whose action is not read does
`SOMETHING`. A figure that changes colour has the old one until it is done.
"""

from __future__ import annotations

from typing import Any

from cineloop.errors import ItemError, UsageError
from cineloop.world import vocabulary as words
from cineloop.world.language import lexicon as lex
from cineloop.world.language.grammar import inflect
from cineloop.world.referee.read import CLEAR, FigureRead, ReadBack, read_back
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.noun_phrases import singular
from v2t_eval.semantics.detectors import NUM_FRAMES
from v2t_eval.semantics.formulas import MORE, SOMETHING, Frame, Region
from v2t_eval.vbench.picks import middle_indices

VERSION = (
    2  # raised whenever `cineloop.world.referee.read` may read a clip in another way: then measure the ceilings again
)


class Detector:
    name = "world"

    def __init__(self, where: str = "") -> None:
        if where:
            raise UsageError(f"the detector 'world' takes nothing after a colon, got {where!r}")

    def fingerprint(self) -> dict[str, str]:
        return {"detector": f"world, the cartoon world's referee, version {VERSION}"}

    def regions(self, sample: Sample, nouns: tuple[str, ...], colors: tuple[str, ...] = ()) -> list[Frame]:
        """See `Detector`; the caption of a region is its colour and noun."""
        read, frames = self._figures(sample), sample.frames
        labels = {kind_of(noun): noun for noun in nouns}
        wide = frames.size[0] / frames.size[1]
        is_sure = read.num_figures is not None and all(f.certainty["share"] >= CLEAR for f in read.figures)
        more = [] if is_sure else [Region(label=MORE, box=(0.0, 0.0, 0.0, 0.0), score=0.0)]
        by_frame: list[Frame] = []
        for index in middle_indices(NUM_FRAMES, len(frames)):
            at_s = float(frames.times_s[index])
            there = [figure for figure in read.figures if figure.path[index] is not None]
            by_frame.append([*(_region(figure, index, at_s, labels, wide) for figure in there), *more])
        return by_frame

    def captions(self, sample: Sample) -> list[str]:
        """See `Detector`: every name of the place, the same for all frames."""
        place = _read(sample).place or ""
        names = [name for name, meant in lex.PLACE_NOUNS.items() if meant == place]
        return [" ".join([lex.PLACE_NAMES[place], *names])] * NUM_FRAMES

    def actions(self, sample: Sample) -> list[tuple[str, float]]:
        """See `Detector`: what the figures do, as gerunds in every wording."""
        read = self._figures(sample)
        actions_found: dict[str, float] = {}
        for figure in read.figures:
            if figure.action is not None:
                verbs = [f"turn {figure.to_color}"] if figure.action == "recolor" else lex.VERBS[figure.action]
                actions_found |= {inflect(each, "ing"): 1.0 for each in verbs}
        if read.num_figures is None or any(figure.action is None for figure in read.figures):
            actions_found[SOMETHING] = 0.0
        return list(actions_found.items())

    def _figures(self, sample: Sample) -> ReadBack:
        """As it was read, where it is known which figures there are."""
        read = _read(sample)
        if not read.figures and read.num_figures != 0:
            raise ItemError(f"{sample.id}: {next(iter(read.unread.values()), 'no figure is read')}", code="UNREAD")
        return read


def kind_of(noun: str) -> str:
    """The kind of the world that a noun names; another noun stays as it is."""
    noun = singular(noun.lower())
    return lex.KIND_SYNONYMS.get(noun, noun)


def _region(figure: FigureRead, index: int, at_s: float, labels: dict[str, str], wide: float) -> Region:
    x, y = figure.path[index] or (figure.x, figure.y)
    high = figure.height / 2
    kind = figure.kind or SOMETHING
    turned = figure.to_color and figure.end_s is not None and at_s >= figure.end_s
    color = figure.to_color if turned else figure.color
    label = labels.get(kind, kind)
    return Region(
        label=label,
        box=(x - high * wide, y - high, x + high * wide, y + high),
        score=min(1.0, max(0.0, figure.certainty.get("share", 0.0))),
        caption=f"a {color} {label}" if color in words.COLORS else f"a {label}",
    )


def reading(sample: Sample) -> ReadBack:
    """The clip as the referee reads it, once for all metrics; without a place where it is not of the cartoon world.

    Raises:
        ItemError: TOO_SHORT, too few or too small frames.
    """
    frames = sample.frames

    def make() -> Any:
        try:
            return read_back(frames.pixels, frames.times_s)
        except ValueError as problem:
            return ItemError(f"{sample.id}: {problem}", code="TOO_SHORT")

    read = sample.once("read back", make)
    if isinstance(read, ItemError):
        raise read
    return read  # type: ignore[no-any-return]


def _read(sample: Sample) -> ReadBack:
    read = reading(sample)
    if read.place is None:
        raise ItemError(
            f"{sample.id} is not a clip of the cartoon world: {next(iter(read.unread.values()), '')}",
            code="OUT_OF_DOMAIN",
            hint="the detector 'world' knows that world only; name another, hf:... or v2t:...",
        )
    return read
