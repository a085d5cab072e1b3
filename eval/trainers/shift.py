"""The test for shifted captions: from some clip on, does every caption fit a neighbour better than its own clip?

In: embeddings of clips and of their captions in one order, (n, D) each. Out: `ShiftTest`. A trainer that leaves a clip
out but keeps its caption, or a list with a line too many, moves every caption behind it by one. For an offset k, clip i
and D_i = S(i, i + k) - S(i, i), S the similarity without the part that a clip or a caption has with everything. Under
true captions D is below 0, under an encoder that knows nothing it is as likely above as below: signs are flipped to see
how large the statistic gets by chance, the greatest over offsets and first clips j of sum(D_j..) / sqrt(sum(D²_j..)).
Letters: n clips, D width.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OFFSETS = (1, -1, 2, -2)
FEWEST = 12  # clips behind the first shifted one; fewer prove nothing
LEVEL = 0.01  # chance of an alarm where captions are right, or the encoder knows nothing
_FLIPS = 999
_KNOWS = 3.0  # standard errors by which pairs must stand out for the encoder to know the set


@dataclass(frozen=True, kw_only=True)
class ShiftTest:
    """The result.

    Attributes:
        num_clips: n.
        offset: by how many places captions are moved, 0 for none: caption i + offset belongs to clip i.
        first: the first clip of which that holds, 0 where none.
        p: chance of such a statistic without a shift.
        own: how many standard errors the similarity of clips to their own captions lies above that to any.
        knows: whether the encoder tells these clips' captions apart; where it does not, nothing was tested.
    """

    num_clips: int
    offset: int
    first: int
    p: float
    own: float
    knows: bool


def shift_of(clips: np.ndarray, words: np.ndarray, *, seed: int = 0) -> ShiftTest:
    """Test embeddings (n, D) of clips and of their captions, in the order that the trainer has them."""
    clips, words = (np.asarray(each, dtype=np.float64) for each in (clips, words))
    num = len(clips)
    own = _similar(clips, words, 0)
    stands_out = _errors_above(own)
    none = ShiftTest(num_clips=num, offset=0, first=0, p=1.0, own=stands_out, knows=stands_out > _KNOWS)
    if num < FEWEST + max(map(abs, OFFSETS)):
        return none
    gains = {k: np.nan_to_num(_similar(clips, words, k) - own) for k in OFFSETS}  # (n,), 0 beyond the ends
    best = max(gains, key=lambda k: _statistic(gains[k][None])[0])
    top = float(_statistic(gains[best][None])[0])
    rng = np.random.default_rng(seed)
    reached = np.zeros(_FLIPS)
    for start in range(0, _FLIPS, 100):
        signs = rng.choice((-1.0, 1.0), size=(min(100, _FLIPS - start), num))  # the same for all offsets
        every = np.stack([_statistic(signs * gain) for gain in gains.values()])  # (offsets, flips)
        reached[start : start + len(signs)] = every.max(0)
    p = float((1 + (reached >= top).sum()) / (1 + _FLIPS))
    # The first clip of the shift: where the gain that is left is greatest.
    behind = np.cumsum(gains[best][::-1])[::-1]
    first = int(behind[: num - FEWEST + 1].argmax())
    fits = _errors_above(_similar(clips, words, best)[first:])
    if p > LEVEL or fits <= _KNOWS:
        return none
    return ShiftTest(num_clips=num, offset=best, first=first, p=p, own=stands_out, knows=True)


def _similar(clips: np.ndarray, words: np.ndarray, offset: int) -> np.ndarray:
    """float64 (n,): similarity of clip i to caption i + offset beyond what either has with all; NaN beyond the ends."""
    of_clips, of_words = clips @ words.mean(0), words @ clips.mean(0)
    both = clips.mean(0) @ words.mean(0)
    place = np.arange(len(clips)) + offset
    inside = (place >= 0) & (place < len(clips))
    similar = np.full(len(clips), np.nan)
    i, j = np.flatnonzero(inside), place[inside]
    similar[i] = np.einsum("nd,nd->n", clips[i], words[j]) - of_clips[i] - of_words[j] + both
    return similar


def _statistic(gains: np.ndarray) -> np.ndarray:
    """float64 (m,): the greatest normalised sum of the tails of (m, n) gains."""
    sums = np.cumsum(gains[:, ::-1], axis=1)[:, FEWEST - 1 :]
    squares = np.cumsum(np.square(gains[:, ::-1]), axis=1)[:, FEWEST - 1 :]
    greatest: np.ndarray = (sums / np.sqrt(np.maximum(squares, 1e-30))).max(1)
    return greatest


def _errors_above(values: np.ndarray) -> float:
    """Mean over standard error."""
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return 0.0
    spread = float(values.std(ddof=1))
    return float(values.mean() / max(spread / np.sqrt(len(values)), 1e-12))
