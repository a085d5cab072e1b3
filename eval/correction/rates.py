"""Error rates of a judge, answer by answer, from the confusion that an audit counted.

In: the rows of an audit (`Confusion`). Out: `ErrorRates`: of each answer the sensitivity and the rate of false alarms,
with draws of both. The answers of one kind of fact borrow from each other as far as they are alike: each rate is the
mean of a beta distribution whose prior is the kind's, with a precision by moments (beta-binomial; Kleinman 1973), so an
answer with three claims is near its kind and one with three hundred is its own. Draws: the kind's rate from Jeffreys'
posterior with its number of claims divided by the design effect of answers, then each answer's given that.
Letters: A answers, B draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from v2t_eval.audit.record import Confusion

DRAWS, SEED = 1000, 11
LEAST_CLAIMS = 20  # of a kind, true and false ones each
LEAST_CONTRAST = 0.1  # of sensitivity + specificity - 1: lower end of a kind, estimate of each answer
_TAIL, _SCALE_TAIL = 0.025, 0.05
_MOST_ALIKE = 1e4  # precision of a prior from which answers count as alike


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """Rates of A answers, in the order of `keys`, (kind, answer); an answer that was never claimed has its kind's.

    Attributes:
        hits, alarms: (A,), P(held true | true) and P(held true | false).
        drawn_hits, drawn_alarms: (B, A), draws of both.
        claims: by kind, true and false claims behind it.
        contrast: by kind, sensitivity + specificity - 1 over all its claims, and the lower end that 97.5 % of the draws
            are above.
        scale_error: by how much a difference that is corrected by these rates may be too small or too large, of its
            worst kind: 1.05 for 5 %; one in twenty audits is farther off.
    """

    keys: tuple[tuple[str, str], ...]
    hits: np.ndarray
    alarms: np.ndarray
    drawn_hits: np.ndarray
    drawn_alarms: np.ndarray
    claims: dict[str, tuple[int, int]]
    contrast: dict[str, tuple[float, float]]
    scale_error: float = 1.0

    @property
    def weak(self) -> list[str]:
        """Kinds in whose answers there is too little truth to correct anything: the judge's yes is hardly likelier
        where it is true, or too few claims show that it is."""
        least = {kind: 1.0 for kind in self.contrast}
        for (kind, _), contrast in zip(self.keys, self.hits - self.alarms, strict=True):
            least[kind] = min(least[kind], contrast)
        return [
            kind for kind, (_, low) in self.contrast.items()
            if min(low, least[kind]) < LEAST_CONTRAST or min(self.claims[kind]) < LEAST_CLAIMS
        ]  # fmt: skip


def error_rates(rows: Sequence[Confusion], keys: Sequence[tuple[str, str]]) -> ErrorRates:
    """The rates of the answers `keys`, each once.

    Raises:
        KeyError: a kind without a row.
    """
    rng = np.random.default_rng(SEED)
    hits, alarms = np.zeros(len(keys)), np.zeros(len(keys))
    drawn_hits, drawn_alarms = np.zeros((DRAWS, len(keys))), np.zeros((DRAWS, len(keys)))
    claims: dict[str, tuple[int, int]] = {}
    contrast: dict[str, tuple[float, float]] = {}
    scale = 1.0
    for kind in dict.fromkeys(kind for kind, _ in keys):
        own = {row.answer: row for row in rows if row.kind == kind}
        if not own:
            raise KeyError(kind)
        wanted = [answer for other, answer in keys if other == kind]
        at = [n for n, (other, _) in enumerate(keys) if other == kind]
        answers = [*own, *(answer for answer in wanted if answer not in own)]
        places = [answers.index(answer) for answer in wanted]
        counts = np.array([_counts(own.get(answer)) for answer in answers], float)  # (A, 4)
        if not counts[:, 1].sum() or not counts[:, 3].sum():
            claims[kind], contrast[kind] = (int(counts[:, 1].sum()), int(counts[:, 3].sum())), (0.0, -1.0)
            continue
        hit, hit_draws, whole_hits = _rates(counts[:, 0], counts[:, 1], rng)
        alarm, alarm_draws, whole_alarms = _rates(counts[:, 2], counts[:, 3], rng)
        hits[at], alarms[at] = hit[places], alarm[places]
        drawn_hits[:, at], drawn_alarms[:, at] = hit_draws[:, places], alarm_draws[:, places]
        sums = counts.sum(0)
        claims[kind] = int(sums[1]), int(sums[3])
        drawn, value = whole_hits - whole_alarms, float(sums[0] / sums[1] - sums[2] / sums[3])  # (B,)
        contrast[kind] = value, float(np.quantile(drawn, _TAIL))
        own = (drawn_hits - drawn_alarms)[:, at].mean(1)  # (B,), of the answers that are asked
        value = float((hits - alarms)[at].mean())
        least, most = np.quantile(own, (_SCALE_TAIL, 1 - _SCALE_TAIL))
        scale = max(scale, value / least, most / value) if least > 0 < value else np.inf
    return ErrorRates(keys=tuple(keys), hits=hits, alarms=alarms, drawn_hits=drawn_hits, drawn_alarms=drawn_alarms,
                      claims=claims, contrast=contrast, scale_error=float(scale))  # fmt: skip


def _counts(row: Confusion | None) -> tuple[float, float, float, float]:
    """Hits, true claims, alarms, false ones; where several come of one clip, as many as there are clips."""
    if row is None:
        return 0.0, 0.0, 0.0, 0.0
    alone = min(1.0, row.clips / max(row.true, row.false, 1))
    return row.hits * alone, row.true * alone, row.alarms * alone, row.false * alone


def _rates(right: np.ndarray, num: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of A answers with `right` of `num` cases the rate of each (A,), draws of these (B, A), and draws of the rate of
    all together (B,)."""
    total, squares = num.sum(), (num**2).sum()
    rate = right.sum() / total
    noise, present = rate * (1 - rate), num > 0
    shares = right[present] / num[present]
    degrees = present.sum() - 1
    room = total - squares / total - degrees
    across = (num[present] @ (shares - rate) ** 2 - degrees * noise) / room if room > 0 else 0.0
    precision = min(noise / across - 1, _MOST_ALIKE) if across > 0 else _MOST_ALIKE
    precision = max(precision, 1.0)
    alike = precision >= _MOST_ALIKE
    effect = 1.0 if alike else 1 + (squares / total - 1) / (precision + 1)
    cases = total / max(effect, 1.0)
    whole = rng.beta(rate * cases + 0.5, (1 - rate) * cases + 0.5, DRAWS)  # (B,)
    if alike:
        return np.full(len(num), rate), np.repeat(whole[:, None], len(num), 1), whole
    prior = precision * whole[:, None]  # (B, 1)
    draws = rng.beta(right + prior, num - right + precision - prior)  # (B, A)
    return (right + precision * rate) / (num + precision), draws, whole
