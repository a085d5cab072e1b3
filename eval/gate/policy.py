"""Rules of a gate: the `gate` part of a suite file.

In: YAML. Out: `Policy`. Only metrics that are named here decide; they are declared before anything is measured, and all
others of the suite are reported as exploratory.

    gate:
      primary:
        - {metric: question_score, margin: 0.05, at_least: 0.6}
        - {metric: temporal_flickering, margin: 0.01, worst: 0.8}
      alpha: 0.05
      power: 0.8
      max_lost: 0.02
      max_frozen: 0.05
      min_motion: 0.7
      corrected: true
      audit: audit/audit.json
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Requirements on one primary metric.

    Attributes:
        metric: its title in the suite, `frechet[feature=clip]`.
        margin: the harm that must not pass, in the metric's own units, above zero; None: it is not compared with
            the baseline.
        accepted: the harm that must not fail, from zero to the margin (default: half the margin).
        worst, best: values beyond which no clip lies: one that is lost completely, one that is perfect (default: the
            ends of the metric's range). They limit what prompts that the sample lacks can lose.
        gain: the most that such a prompt can get better, where that is known (default: from worst to best).
        at_least, at_most: absolute bounds, tested on the bound of the 95 % interval and not on the mean.
    """

    metric: str
    margin: float | None = None
    accepted: float | None = None
    worst: float | None = None
    best: float | None = None
    gain: float | None = None
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if self.margin is None and self.at_least is None and self.at_most is None:
            raise ValueError(f"{self.metric}: give a margin (against the baseline), at_least or at_most")
        if self.margin is not None and not self.margin > 0:
            raise ValueError(f"{self.metric}: margin must be above zero, got {self.margin}")
        for name in ("accepted", "worst", "best", "gain"):
            if self.margin is None and getattr(self, name) is not None:
                raise ValueError(f"{self.metric}: {name} belongs to a margin, and there is none")
        if self.worst is not None and self.worst == self.best:
            raise ValueError(f"{self.metric}: worst and best must differ, both are {self.worst}")
        if self.gain is not None and not self.gain >= 0:
            raise ValueError(f"{self.metric}: gain must be at least 0, got {self.gain}")
        if self.margin is not None and not 0 <= self.accepts <= self.margin:
            raise ValueError(f"{self.metric}: accepted must be from 0 to the margin {self.margin}, got {self.accepted}")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"{self.metric}: at_least {self.at_least} is above at_most {self.at_most}")

    @property
    def accepts(self) -> float:
        """The accepted harm: as given, or half the margin; 0 without a margin."""
        return self.accepted if self.accepted is not None else (self.margin or 0.0) / 2


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The rules of a verdict.

    Attributes:
        primary: the rules; Holm's correction is over these and the guards that are tests.
        alpha: chance of a false alarm over all of these together where no harm is above the accepted one, and chance
            of a pass where the harm of a metric is its margin or more.
        power: chance with which the printed least change fails, and an unchanged candidate passes the printed margin.
        max_lost: share of the baseline's clips that the candidate may lack or that may have no score.
        max_frozen: maximum allowed share of frozen clips.
        min_motion: share of the baseline's motion that the candidate must have where the suite measures it; 0 for none.
        corrected: gate the judged metrics by values with the judge's errors taken out, by the audit's counts.
        audit: audit file whose blind spots are shown with each metric, relative to the suite's folder; or `starter`,
            that of the bundled models, which comes with the package.
    """

    primary: tuple[Rule, ...]
    alpha: float = 0.05
    power: float = 0.8
    max_lost: float = 0.02
    max_frozen: float = 0.05
    min_motion: float = 0.7
    corrected: bool = False
    audit: Path | None = None

    @property
    def decides(self) -> tuple[str, ...]:
        """Titles of the metrics that have a rule."""
        return tuple(rule.metric for rule in self.primary)

    def allowing(self, scale_errors: Mapping[str, float]) -> Policy:
        """The policy with margins divided, and accepted harms multiplied, by the factor by which the differences of a
        metric may be off (`MetricResult.scale_error`). `worst` and `best` are of single clips' true values, which
        corrected ones go beyond: they are left to the metric's range."""

        def narrower_rule(rule: Rule) -> Rule:
            scale = scale_errors.get(rule.metric, 1.0)
            if scale <= 1 or rule.margin is None:
                return rule
            margin = rule.margin / scale
            return replace(rule, margin=margin, accepted=min(rule.accepts * scale, margin), worst=None, best=None)

        return replace(self, primary=tuple(map(narrower_rule, self.primary)))

    def __post_init__(self) -> None:
        names = [rule.metric for rule in self.primary]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"primary must name each metric once, and at least one; got {', '.join(names) or 'none'}")
        if not (0 < self.alpha < 0.5 and 0.5 <= self.power < 1):
            raise ValueError(f"alpha must be in (0, 0.5) and power in [0.5, 1), got {self.alpha} and {self.power}")
        if not all(0 <= share <= 1 for share in (self.max_lost, self.max_frozen, self.min_motion)):
            raise ValueError(f"shares must be within 0 and 1, got {self.max_lost} and {self.max_frozen}")
