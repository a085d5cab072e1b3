"""Rank generators: by people's votes, by a judge of pairs, by metrics; and how far judge and metrics agree with people.

In: folders of clips for the same prompts, votes, or both. Out: `RankedSet`. Clips are measured by the scoring, pairs by
the metric `preference`: evidence is cached, so an interrupted ranking continues where it stopped. Each source of
comparisons gives one `Ranking` by the same model (`v2t_eval.rank.bradley_terry`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cineloop.errors import EXIT_FAILED_ITEMS, EXIT_OK, ItemError, NothingMatchedError, UsageError
from cineloop.log import printable
from v2t_eval.core.inputs import Inputs
from v2t_eval.core.sample import Sample
from v2t_eval.core.score import score
from v2t_eval.core.scores import Scores
from v2t_eval.rank.agreement import BetweenVoters, PeopleAgreement, agreement_with, between_voters
from v2t_eval.rank.bradley_terry import LEFT, RIGHT, TIE, Strengths, best, fit, groups, order_of, ranks
from v2t_eval.rank.entrants import Entrant, clip_pairs, clips_of_vote, read_entrants
from v2t_eval.rank.settings import RankConfig
from v2t_eval.rank.votes import PairVote, VoteTable, components, notes_on, problem_of, read_votes
from v2t_eval.suites.suite import parse_metrics

NONE = "none"
By = Literal["people", "judge", "metric"]


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Generators ranked by one source of comparisons, see `ranking_of`.

    Attributes:
        name: people, the judge's, or the metric's title; `by`: what it is.
        names: the generators, in the order of `strengths`, `counts`, `ranks`.
        strengths: None where the comparisons are of one prompt alone.
        counts: (k, 3) how often each won, tied, lost.
        ranks: best and worst place that is open; `groups`: numbers of generators that cannot be distinguished, from
            strong to weak; `best`: the number of the one that is stronger than all others for sure, or None.
        notes: code and sentence each.
    """

    name: str
    by: By
    names: tuple[str, ...]
    votes: tuple[PairVote, ...]
    strengths: Strengths | None
    counts: np.ndarray
    ranks: tuple[tuple[int, int], ...] = ()
    groups: tuple[tuple[int, ...], ...] = ()
    best: int | None = None
    notes: tuple[tuple[str, str], ...] = ()

    @property
    def order(self) -> list[int]:
        """Numbers of the generators from strong to weak."""
        if self.strengths is None:
            return list(range(len(self.names)))
        return order_of(self.strengths.values)


@dataclass(frozen=True, kw_only=True)
class RankedSet:
    """Everything a ranking came to: `clips` and `pairs` are the scores of the metrics and of the judge of pairs."""

    entrants: tuple[Entrant, ...]
    rankings: tuple[Ranking, ...]
    votes: VoteTable | None
    voters: BetweenVoters | None
    agreement: tuple[PeopleAgreement, ...]
    clips: Scores | None
    pairs: Scores | None
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """As of a scoring; 3 also where a vote does not count."""
        codes = [scores.exit_code for scores in (self.clips, self.pairs) if scores is not None]
        return max([*codes, EXIT_FAILED_ITEMS if self.votes is not None and self.votes.problems else EXIT_OK])


def rank(
    folders: Sequence[Path], votes: Path | None, settings: RankConfig, prompts: Path | None = None, **options: Any
) -> RankedSet:
    """Rank generators.

    Args:
        folders: of clips, one a generator; none where votes alone are ranked.
        votes: file of people's votes, see `v2t_eval.rank.votes`.
        prompts: of the clips, where their manifests have none.
        options: keywords of `v2t_eval.core.score.score`.

    Raises:
        UsageError: one folder; a metric that cannot compare; neither folders nor votes. NothingMatchedError: no prompt
            in common, no vote that counts. Also as `score`.
    """
    if not folders and votes is None:
        raise UsageError("nothing to rank", hint="name folders of clips, or --votes")
    entrants = read_entrants(folders, prompts) if folders else []
    metrics = parse_metrics(settings.by) if entrants and settings.by != NONE else []
    for metric in metrics:
        if metric.level != "clip" or metric.higher_is_better is None or "reference_video" in metric.needs:
            raise UsageError(
                f"{metric.title} cannot compare: it has no value for each clip of which more, or less, is better",
                hint="v2t-eval list shows levels and directions",
            )
    table = read_votes(votes) if votes is not None else None
    if table is not None and entrants:
        table = _with_clips(table, entrants)
    rankings = [ranking_of("people", "people", table.votes, position=True)] if table is not None else []
    pairs = list(clip_pairs(entrants)) if entrants else []
    clips = judged = None
    signed: dict[str, dict[tuple[str, str], float]] = {}
    if settings.judge != NONE and pairs:
        (metric,) = parse_metrics(f"preference[judge={settings.judge},shown={settings.shown}]")
        judged = score(Inputs(samples=[_pair(prompt, one, other) for *_, prompt, one, other in pairs]), [metric],
                       **options)  # fmt: skip
        judged.require_all()
        values = values_of(judged, metric.title)
        named = {(one.id, other.id): values[_id(one, other)] - 0.5 for *_, one, other in pairs
                 if _id(one, other) in values}  # fmt: skip
        signed[f"judge {settings.judge}"] = named
        rankings.append(ranking_of(f"judge {settings.judge}", "judge", _comparisons(pairs, named, 0.0)))
    if metrics:
        inputs = Inputs(samples=[sample for entrant in entrants for sample in entrant.samples])
        clips = score(inputs, metrics, **options)
        clips.require_all()
        for metric in metrics:
            values = {id: value * (1 if metric.higher_is_better else -1)
                      for id, value in values_of(clips, metric.title).items()}  # fmt: skip
            gaps = _gaps(entrants, pairs, values)
            signed[metric.title] = gaps
            rankings.append(ranking_of(metric.title, "metric", _comparisons(pairs, gaps, settings.tie_below)))
    agreement, voters = _with_people(table, entrants, signed)
    return RankedSet(
        entrants=tuple(entrants), rankings=tuple(rankings), votes=table, voters=voters, agreement=agreement,
        clips=clips, pairs=judged, notes=_notes(settings, entrants, pairs),
    )  # fmt: skip


def ranking_of(name: str, by: By, votes: Sequence[PairVote], *, position: bool = False) -> Ranking:
    """The ranking by comparisons. `position`: left may have an advantage as such, see `bradley_terry.fit`.

    Raises:
        NothingMatchedError: there is no comparison.
    """
    if not votes:
        raise NothingMatchedError(f"{name}: no two clips are compared", hint="see the failures: no clip has a value")
    names = tuple(sorted({side for vote in votes for side in (vote.left, vote.right)}))
    number = {name: at for at, name in enumerate(names)}
    left, right = ([number[getattr(vote, side)] for vote in votes] for side in ("left", "right"))
    winner = np.array([vote.winner for vote in votes])
    counts = np.zeros((len(names), 3), dtype=int)
    for a, b, who in zip(left, right, winner, strict=True):
        counts[a, who] += 1
        counts[b, {LEFT: RIGHT, RIGHT: LEFT, TIE: TIE}[int(who)]] += 1
    common: dict[str, Any] = {"name": name, "by": by, "names": names, "votes": tuple(votes), "counts": counts}
    notes = notes_on(votes) if by == "people" else [each for each in notes_on(votes) if each[0] == "ALL_TIES"]
    prompts = [vote.prompt for vote in votes]
    if len(set(prompts)) < 2 or len(names) < 2:
        few = ("FEW_PROMPTS", "all comparisons are of one prompt, or of one generator: no interval can be given")
        return Ranking(**common, strengths=None, notes=(*notes, few))
    strengths = fit(left, right, winner, prompts, len(names), position=position)
    apart = strengths.apart()
    connected = len(components(votes)) == 1
    return Ranking(
        **common, strengths=strengths, ranks=tuple(ranks(apart)), groups=tuple(groups(strengths.values, apart)),
        best=best(apart) if connected else None, notes=tuple(notes),
    )  # fmt: skip


def values_of(scores: Scores, title: str) -> dict[str, float]:
    """The value of each sample that has one."""
    return {str(item["id"]): float(item["value"]) for item in scores.result(title).items if item["value"] is not None}


def _with_clips(table: VoteTable, entrants: Sequence[Entrant]) -> VoteTable:
    """The votes on clips that are there, each by the clips' prompt.

    Raises:
        NothingMatchedError: there is none.
    """
    votes, rows, problems = [], [], list(table.problems)
    for number, vote in zip(table.rows, table.votes, strict=True):
        try:
            votes.append(replace(vote, prompt=clips_of_vote(vote, entrants)[0][0].cluster))
            rows.append(number)
        except ItemError as error:
            problems.append(problem_of(number, error))
    if not votes:
        raise NothingMatchedError(
            f"no vote is about clips of these folders: {problems[-1]['message']}",
            hint="left and right name the folders, prompt the prompt, its id, or a clip's id",
        )
    problems.sort(key=lambda each: int(each["row"]))
    return VoteTable(votes=tuple(votes), rows=tuple(rows), problems=tuple(problems))


def _id(one: Sample, other: Sample) -> str:
    return f"{one.id} | {other.id}"


def _pair(prompt: str, one: Sample, other: Sample) -> Sample:
    """A clip with the one it is compared with."""
    return Sample(id=_id(one, other), clip=one.clip, reference_video=other.clip, prompt=one.prompt, cluster=prompt,
                  row=one.row)  # fmt: skip


Pairs = Sequence[tuple[Entrant, Entrant, str, Sample, Sample]]


def _gaps(entrants: Sequence[Entrant], pairs: Pairs, values: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """By the ids of two clips, how far the first is better; of all clips of one prompt, since a vote may be on any."""
    of_prompt: dict[str, list[str]] = {}
    for entrant in entrants:
        for sample in entrant.samples:
            if sample.id in values:
                of_prompt.setdefault(sample.cluster, []).append(sample.id)
    return {(a, b): values[a] - values[b] for ids in of_prompt.values() for a in ids for b in ids if a != b}


def _comparisons(pairs: Pairs, gaps: Mapping[tuple[str, str], float], tie_below: float) -> list[PairVote]:
    """One comparison of each two clips that have a value."""
    votes = []
    for first, second, prompt, one, other in pairs:
        gap = gaps.get((one.id, other.id))
        if gap is not None:
            winner = TIE if abs(gap) <= tie_below else LEFT if gap > 0 else RIGHT
            votes.append(
                PairVote(prompt=prompt, left=first.name, right=second.name, winner=winner,
                         left_clip=one.id, right_clip=other.id)
            )  # fmt: skip
    return votes


def gap_of_vote(left: Iterable[Sample], right: Sequence[Sample], gaps: Mapping[tuple[str, str], float]) -> float | None:
    """How far the clips left are better than those right: the mean over the pairs that have a value; None without."""
    known = [gaps.get((one.id, other.id), _negative(gaps.get((other.id, one.id)))) for one in left for other in right]
    here = [each for each in known if each is not None]
    return float(np.mean(here)) if here else None


def _negative(value: float | None) -> float | None:
    return None if value is None else -value


def _with_people(
    table: VoteTable | None, entrants: Sequence[Entrant], signed: Mapping[str, Mapping[tuple[str, str], float]]
) -> tuple[tuple[PeopleAgreement, ...], BetweenVoters | None]:
    """The agreement of every judge and metric with the votes, and of the voters with each other."""
    if table is None:
        return (), None
    prompts = [vote.prompt for vote in table.votes]
    listed = []
    for name, gaps in signed.items():
        judged = [(gap_of_vote(*clips_of_vote(vote, entrants), gaps), vote.winner, vote.prompt) for vote in table.votes]
        known = [(gap, winner, prompt) for gap, winner, prompt in judged if gap is not None]
        if known:
            differences, winners, where = zip(*known, strict=True)
            listed.append(agreement_with(name, differences, winners, where, lost=len(judged) - len(known)))
    return tuple(listed), between_voters(table.votes, prompts)


def _notes(settings: RankConfig, entrants: Sequence[Entrant], pairs: Pairs) -> tuple[str, ...]:
    """What a reader must know of how clips were compared."""
    notes = []
    if entrants and settings.judge == NONE and "question_score" in settings.by:
        notes.append(
            "question_score compares by the judge's calibrated answers about each clip alone: the bundled judge "
            "watches one clip; a model that takes two is asked for its preference by --judge v2t:MODEL"
        )
    shared = {prompt for *_, prompt, _, _ in pairs}
    alone = {prompt for entrant in entrants for prompt in entrant.by_prompt} - shared
    if alone:
        notes.append(f"{len(alone)} prompts have clips of one generator alone, such as "
                     f"{printable(min(alone), 60)!r}: they compare nothing")  # fmt: skip
    return tuple(notes)
