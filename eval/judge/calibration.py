"""Platt calibration of a judge's log-odds, and the reliability of its answers.

In: for claims true and false, the probability a judge gave the wanted answer. Out: a `Calibration`: for each kind of
fact a slope and an offset of the log-odds (Platt 1999), by penalised maximum likelihood; kinds with few claims stay
near the fit over all. Yes/no claims have maps of their own: a model answers yes more readily than it picks from a list.
Fitted on as many true claims as false ones, so a probability of one half is unbiased.
`judge.json`, next to the weights, stores it with the model and the wording that it was fitted with. It also lists
the answers the judge was audited for, each true of some clips, with the agreement measured on clips held out of the
fit (`v2t-eval calibrate`); an answer whose agreement may be below `LEAST_KAPPA` is not offered.
Letters: n claims; x log-odds, y truth, a slope, b offset.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from cineloop.config import from_dict
from cineloop.documents import read_json
from cineloop.errors import UsageError
from cineloop.files import text_key, write_atomic
from v2t_eval.judge.grammar.wording import LISTS
from v2t_eval.judge.question import Question
from v2t_eval.judge.replies import normalise

FILE_NAME = "judge.json"
SCHEMA = 2
ALL = "all"
_BESIDE = ("schema", "wordings")  # in the file, and no part of the calibration
LEAST_KAPPA, LEAST_CASES = 0.6, 10  # required of an offered answer: the lower end of its agreement, clips that show it
_LISTED = {claim: plain.answers[value] for plain in LISTS.values() for value, claim in plain.claims.items()}
_BELOW_HALF = math.nextafter(0.5, 0)
_LEAST = 1e-6  # probabilities are clipped to this distance from 0 and 1
_WIDE, _NARROW = (2.0, 4.0), (0.5, 1.0)  # standard deviations of slope and offset: over all, of a kind around that


@dataclass(frozen=True, kw_only=True)
class Platt:
    """chance = 1 / (1 + exp(-(slope * log-odds + offset))), fitted on `count` claims."""

    slope: float = 1.0
    offset: float = 0.0
    count: int = 0

    def chance(self, raw: float) -> float:
        """0 to 1; rises with `raw` or stays."""
        return 0.5 * (1 + math.tanh((self.slope * log_odds(raw) + self.offset) / 2))


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Accuracy of one answer of a closed list, or of one claim, on held-out clips.

    Attributes:
        n: clips of which it is true; `right`: those of which the judge took it to be true.
        kappa: Cohen's kappa over claims of this answer, true and false, -1 to 1, with its 95 % interval over clips.
    """

    n: int = 0
    right: int = 0
    kappa: float = 0.0
    low: float = -1.0
    high: float = 1.0

    @property
    def passes(self) -> bool:
        """Whether a judge may be asked about it."""
        return self.n >= LEAST_CASES and self.low >= LEAST_KAPPA

    def __str__(self) -> str:
        return f"kappa {self.kappa:.2f} [{self.low:.2f}, {self.high:.2f}], right on {self.right} of {self.n} clips"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Maps by kind of fact (see `kind_of`); `all` and `yes_no all` are the fallback for kinds without one.

    Attributes:
        judge: name@revision of the model it was fitted with.
        maps: by kind of fact, or `all` and `yes_no all`.
        clips, note: how many clips it was fitted on, and which.
        answers: by kind of fact, and by answer (by the claim's text where the kind is one of yes and no), the judge's
            accuracy; a missing kind was never audited, and all its answers are offered.
    """

    judge: str
    maps: dict[str, Platt]
    clips: int = 0
    note: str = ""
    answers: dict[str, dict[str, Reliability]] = field(default_factory=dict)

    def apply(self, question: Question) -> Question | Reliability:
        """The question with the answers that may be offered; the wanted answer's reliability where that may not.

        A list of other answers than the audited ones, or a claim in other words, is asked as it is.
        """
        known = self.answers.get(kind_of(question), {})
        wanted = question.question if question.form == "yes_no" else question.answer
        listed = known.keys() >= set(question.choices or [wanted])
        if question.form not in ("choice", "yes_no") or question.begins or not listed:
            return question
        if failed := self.refutation(kind_of(question), wanted):
            return failed
        kept = tuple(choice for choice in question.choices if known[choice].passes)
        return known[wanted] if len(kept) == 1 else replace(question, choices=kept)

    def refutation(self, kind: str, answer: str) -> Reliability | None:
        """The reliability for which an audited answer, or claim, is not offered; None where it is.

        A claim is only as good as the same answer in the list: "stands still" can be affirmed of every clip that does,
        and of the clips of the one motion that looks like it, which few false claims are about.
        """
        listed = self.answers.get(kind.removeprefix("yes_no "), {}).get(_LISTED.get(answer, ""))
        reliabilities = [self.answers[kind][answer], *([listed] if listed else [])]
        return next((each for each in reliabilities if not each.passes), None)

    def chance(self, question: Question, raw: float) -> float:
        """Calibrated probability of the wanted answer of `question`, given the judge's own, `raw`."""
        kind = kind_of(question)
        fitted = self.maps.get(kind) or self.maps.get(_whole(kind)) or Platt()
        if question.form == "yes_no" and normalise(question.answer) == "no":
            return 1 - fitted.chance(1 - raw)  # the map is for yes
        return fitted.chance(raw)

    def fits(self, judge: str) -> bool:
        """Whether it belongs to this judge (name@revision): same weights, whatever their folder is called."""
        revision = judge.rpartition("@")[2]
        same = self.judge if revision in ("", "unknown") else self.judge.rpartition("@")[2]
        return same == (judge if revision in ("", "unknown") else revision)

    @property
    def key(self) -> str:
        """Short hash of all that affects answers."""
        offered = {
            kind: sorted(a for a in table if not self.refutation(kind, a)) for kind, table in self.answers.items()
        }
        content = {"maps": {kind: asdict(each) for kind, each in self.maps.items()}, "offered": offered}
        return text_key(json.dumps(content, sort_keys=True).encode())[:12]

    def save(self, path: Path) -> None:
        """Write it to a file (`FILE_NAME` when a folder is named)."""
        tree = {
            "schema": SCHEMA, "judge": self.judge, "wordings": wordings_key(), "clips": self.clips, "note": self.note,
            "maps": {kind: asdict(self.maps[kind]) for kind in sorted(self.maps)},
            "answers": {kind: {a: asdict(r) for a, r in self.answers[kind].items()} for kind in sorted(self.answers)},
        }  # fmt: skip
        write_atomic(path / FILE_NAME if path.is_dir() else path, (json.dumps(tree, indent=1) + "\n").encode())


def load(path: Path) -> Calibration:
    """The calibration in a file.

    Raises:
        UsageError: no such file, not a calibration, or fitted with other wordings of the questions.
    """
    try:
        tree = read_json(path)
        if tree["schema"] != SCHEMA:
            raise ValueError(f"schema {tree['schema']}, this version reads {SCHEMA}")
        calibration = from_dict(Calibration, {key: value for key, value in tree.items() if key not in _BESIDE})
        if not all(math.isfinite(v) for m in calibration.maps.values() for v in (m.slope, m.offset)):
            raise ValueError("a slope or offset is not finite")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise UsageError(f"{path} is not a calibration of a judge: {error}", code="CALIBRATION") from error
    if tree.get("wordings") != wordings_key():
        raise UsageError(
            f"{path} was fitted with other wordings of the questions", code="CALIBRATION",
            hint="run `v2t-eval calibrate` again",
        )  # fmt: skip
    return calibration


def wordings_key() -> str:
    """Short hash of the questions' wordings, answers and claims."""
    lists = {name: [plain.wordings, dict(plain.answers), dict(plain.claims)] for name, plain in LISTS.items()}
    return text_key(json.dumps(lists, sort_keys=True).encode())[:12]


def chance_of(calibration: Calibration | None, question: Question, raw: float, likeliest: float | None = None) -> float:
    """The calibrated probability of the wanted answer; `raw` where there is no calibration.

    `likeliest`: the judge's own probability of another answer of the list that it finds likelier, None where there is
    none. A map lifts each answer by itself, and two answers that exclude each other may pass one half: so no more is
    left to the wanted one than the likeliest leaves, and less than one half.
    """
    own = raw if calibration is None else calibration.chance(question, raw)
    if likeliest is None:
        return own
    other = likeliest if calibration is None else calibration.chance(question, likeliest)
    return min(own, 1 - other, _BELOW_HALF)


def kind_of(question: Question) -> str:
    """The key of a question's map: its kind of fact, prefixed where it is a yes/no question."""
    kind = question.about or ALL
    return f"yes_no {kind}" if question.form == "yes_no" else kind


def claim_of(question: Question) -> tuple[str, str]:
    """What an audit counts a question under: its kind, and the answer of the closed list that it wants or claims, ""
    where there is no such list. A question that wants a no has a kind of its own: what is a hit there is an alarm
    elsewhere."""
    kind, plain = kind_of(question), LISTS.get(question.about)
    if question.form == "yes_no":
        wants_no = normalise(question.answer) == "no"
        return (f"{kind}, no", "") if wants_no else (kind, _LISTED.get(question.question, ""))
    listed = plain is not None and question.answer in plain.answers.values()
    return kind, question.answer if listed else ""


def _whole(kind: str) -> str:
    return f"yes_no {ALL}" if kind.startswith("yes_no ") else ALL


def log_odds(probability: float) -> float:
    """log(p / (1 - p)), p clipped to [1e-6, 1 - 1e-6]."""
    kept = min(max(probability, _LEAST), 1 - _LEAST)
    return math.log(kept / (1 - kept))


def fit(kinds: Sequence[str], raws: Sequence[float], truths: Sequence[bool], *, judge: str) -> Calibration:
    """A map for every kind, and one for all of a form.

    Args:
        kinds: (n,) by `kind_of`.
        raws: (n,) the judge's probability of the wanted answer, 0 to 1; of yes/no claims always that of yes.
        truths: (n,) whether it is true.

    Raises:
        UsageError: no claims, or lists of different lengths.
    """
    if not kinds or not len(kinds) == len(raws) == len(truths):
        raise UsageError(f"expected as many kinds as chances and truths, got {len(kinds)}, {len(raws)}, {len(truths)}")
    x = np.array([log_odds(raw) for raw in raws])  # (n,)
    y = np.array(truths, dtype=np.float64)  # (n,)
    forms = np.array([_whole(kind) for kind in kinds])
    each = np.array(kinds)
    maps: dict[str, Platt] = {}
    for form in sorted(set(forms.tolist())):
        of = forms == form
        maps[form] = _fit_slope(x[of], y[of], Platt(), _WIDE)
        for kind in sorted(set(each[of].tolist()) - {form}):
            of = each == kind
            maps[kind] = _fit_slope(x[of], y[of], maps[form], _NARROW)
    return Calibration(judge=judge, maps=maps)


def _fit_slope(x: np.ndarray, y: np.ndarray, around: Platt, spread: tuple[float, float]) -> Platt:
    """The maximum of the penalised likelihood; a slope that would be negative is 0 (no information)."""
    from scipy.optimize import minimize  # type: ignore[import-untyped]

    centre, weights = np.array([around.slope, around.offset]), 1 / np.square(spread)

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        """With its gradient (2,)."""
        z, away = point[0] * x + point[1], point - centre
        rest = 0.5 * (1 + np.tanh(z / 2)) - y  # (n,)
        value = float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * np.sum(weights * np.square(away)))
        return value, np.array([rest @ x, rest.sum()]) + weights * away

    exact = {"ftol": 0.0, "gtol": 1e-10, "maxiter": 1000, "maxls": 50}
    fit = minimize(loss, centre, jac=True, method="L-BFGS-B", bounds=[(0, None), (None, None)], options=exact)
    return Platt(slope=float(fit.x[0]), offset=float(fit.x[1]), count=len(y))
