"""A ranking as a page and as data: strengths with intervals, who cannot be distinguished, agreement with people, pairs.

In: `RankedSet`. Out: a `Document`, the tree of `ranking.json`, rows of `comparisons.jsonl`, which `--votes` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.files import write_atomic
from cineloop.log import plural, printable
from cineloop.manifest import dump_line
from v2t_eval.core.sample import Sample
from v2t_eval.core.scores import Scores, render_scores
from v2t_eval.core.statistics import Estimate
from v2t_eval.rank.agreement import PeopleAgreement
from v2t_eval.rank.run import RankedSet, Ranking
from v2t_eval.rank.votes import WINNERS
from v2t_eval.report import page
from v2t_eval.report.document import Banner, Card, Cell, Document, IntervalCell, Section, Table

DATA, CLIPS, PAIRS, COMPARISONS, PAGE = NAMES = (
    "ranking.json", "scores.json", "pairs.json", "comparisons.jsonl", "index.html",
)  # fmt: skip
_CARDS = 12


def write(ranked: RankedSet, output: Path, cache: Path | None) -> None:
    """All files of a ranking; those of clips and pairs where there are such scores."""
    import json

    text = json.dumps(as_dict(ranked), ensure_ascii=False, allow_nan=False, indent=1) + "\n"
    write_atomic(output / DATA, text.encode())
    for name, scores in ((CLIPS, ranked.clips), (PAIRS, ranked.pairs)):
        if scores is not None:
            write_atomic(output / name, render_scores(scores))
    rows = [vote.row() | {"voter": one.name} for one in ranked.rankings if one.by != "people" for vote in one.votes]
    if rows:
        write_atomic(output / COMPARISONS, b"".join(map(dump_line, rows)))
    write_atomic(output / PAGE, page.render(document(ranked, output), output, cache))


def as_dict(ranked: RankedSet) -> dict[str, Any]:
    """The ranking as JSON holds it."""
    voters = ranked.voters
    return {
        "schema": 1,
        "generators": {entrant.name: len(entrant.samples) for entrant in ranked.entrants},
        "rankings": [_ranking(one) for one in ranked.rankings],
        "agreement": [_agreement(one) for one in ranked.agreement],
        "voters": voters and {"alpha": _estimate(voters.alpha), "same": _estimate(voters.same), "pairs": voters.pairs,
                              "voters": voters.voters},
        "position_bias": position_bias(ranked.pairs),
        "votes": None if ranked.votes is None else {"used": len(ranked.votes.votes), "problems": ranked.votes.problems},
        "notes": list(ranked.notes),
    }  # fmt: skip


def _ranking(one: Ranking) -> dict[str, Any]:
    rows = []
    for number in one.order:
        won, tied, lost = (int(each) for each in one.counts[number])
        row: dict[str, Any] = {"name": one.names[number], "won": won, "tied": tied, "lost": lost}
        if one.strengths is not None:
            low, high = one.strengths.interval(number)
            row |= {"strength": float(one.strengths.values[number]), "low": low, "high": high,
                    "best_place": one.ranks[number][0], "worst_place": one.ranks[number][1]}  # fmt: skip
        rows.append(row)
    tree: dict[str, Any] = {"name": one.name, "by": one.by, "comparisons": len(one.votes),
                            "prompts": len({vote.prompt for vote in one.votes}), "generators": rows}  # fmt: skip
    if one.strengths is not None:
        position, ends = one.strengths.position, one.strengths.position_interval()
        tree["pairs"] = [_difference(one, a, b) for n, a in enumerate(one.order) for b in one.order[n + 1 :]]
        tree["position"] = None if position is None or ends is None else {"value": position[0], "low": ends.low,
                                                                          "high": ends.high}  # fmt: skip
    tree |= {"groups": [[one.names[each] for each in group] for group in one.groups],
             "best": None if one.best is None else one.names[one.best],
             "notes": [{"code": code, "message": text} for code, text in one.notes]}  # fmt: skip
    return tree


def _difference(one: Ranking, a: int, b: int) -> dict[str, Any]:
    if one.strengths is None:
        raise ValueError("a difference needs strengths")
    value, ends, p = one.strengths.difference(a, b)
    return {"first": one.names[a], "second": one.names[b], "difference": value, "low": ends.low, "high": ends.high,
            "p": p, "chance": one.strengths.chance(a, b)}  # fmt: skip


def _agreement(one: PeopleAgreement) -> dict[str, Any]:
    value, low, high = one.seen
    return {"name": one.name, "votes": one.voted, "without_value": one.without_value,
            "with_ties": _estimate(one.with_ties), "without_ties": _estimate(one.without_ties),
            "kappa": _estimate(one.kappa), "tie_below": one.tie_below,
            "seen_difference": {"value": value, "low": low, "high": high}}  # fmt: skip


def _estimate(one: Estimate | None) -> dict[str, Any] | None:
    return None if one is None else {"value": one.value, "low": one.low, "high": one.high, "n": one.n}


def position_bias(pairs: Scores | None) -> dict[str, Any] | None:
    """Of the judge of pairs: the share of pairs whose two orders contradict each other, and of the answers that prefer
    a video the share that names the first place; None without such a judge."""
    if pairs is None:
        return None
    figures = pairs.results[0].figures
    if "consistent" not in figures:
        return None
    same, first = figures["consistent"], figures.get("first_place")
    contradicted = Estimate(value=1 - same.value, low=1 - same.high, high=1 - same.low, n=same.n)
    return {"contradictions": _estimate(contradicted), "first_place": _estimate(first)}


def document(ranked: RankedSet, folder: Path | None) -> Document:
    """The report; with `folder`, where the page will lie, it shows pairs of clips."""
    sections = [_section(one) for one in ranked.rankings]
    sections += [_people(ranked), _bias(ranked), _problems(ranked)]
    sections += [Section(title="Notes", text=ranked.notes), _pairs(ranked) if folder else Section(title="Pairs")]
    first = ranked.rankings[0]
    facts = [("generators", str(len(first.names))), ("comparisons", str(len(first.votes)))]
    return Document(title="Ranking", banner=Banner(word=headline(first), sentence=sentence(first), facts=tuple(facts)),
                    sections=tuple(sections), data=DATA)  # fmt: skip


def headline(one: Ranking) -> str:
    """Who is best, by this ranking."""
    return "no best" if one.best is None else f"{printable(one.names[one.best])} is best"


def sentence(one: Ranking) -> str:
    """By what, and who cannot be distinguished."""
    first = one.groups[0] if one.groups else ()
    by = {"people": "By people's votes", "judge": "By the judge of pairs", "metric": f"By {one.name}"}[one.by]
    if one.strengths is None:
        return f"{by}: too few prompts for intervals."
    if one.best is not None:
        return f"{by} it is stronger than every other one, at 5 % over all pairs together."
    return f"{by} {_enumeration([printable(one.names[each]) for each in first])} cannot be distinguished."


def _enumeration(names: Sequence[str]) -> str:
    *rest, last = names
    return f"{', '.join(rest)} and {last}" if rest else last


def _section(one: Ranking) -> Section:
    letters = {number: "".join(chr(ord("A") + n % 26) for n, group in enumerate(one.groups) if number in group)
               for number in range(len(one.names))}  # fmt: skip
    rows: list[tuple[Cell, ...]] = []
    for number in one.order:
        won, tied, lost = (int(each) for each in one.counts[number])
        cells: tuple[Cell, ...] = ("", None, "")
        if one.strengths is not None:
            low, high = one.strengths.interval(number)
            best, worst = one.ranks[number]
            cells = (str(best) if best == worst else f"{best} to {worst}",
                     IntervalCell(value=float(one.strengths.values[number]), low=low, high=high, zero=0.0),
                     letters[number])  # fmt: skip
        rows.append((cells[0], printable(one.names[number]), cells[1], cells[2], won, tied, lost))
    columns = ("Place", "Generator", "Strength (log-odds)", "Not apart", "Won", "Tied", "Lost")
    title = {"people": "By people's votes", "judge": f"By {one.name}, both orders", "metric": f"By {one.name}"}[one.by]
    prompts = len({vote.prompt for vote in one.votes})
    text = [f"{plural(len(one.votes), 'comparison')} on {plural(prompts, 'prompt')}; generators with a letter in "
            "common cannot be distinguished (5 % over all pairs together)."]  # fmt: skip
    if one.strengths is not None and one.by == "people" and (ends := one.strengths.position_interval()):
        low, high = ends
        value = one.strengths.position[0] if one.strengths.position else 0.0
        text.append(f"The place left gains {value:+.2f} [{low:+.2f}, {high:+.2f}] log-odds over right.")
    text += [f"{code}: {note}." for code, note in one.notes]
    return Section(title=title, text=tuple(text), tables=(Table(columns=columns, rows=tuple(rows)),))


def _people(ranked: RankedSet) -> Section:
    if not ranked.agreement and ranked.voters is None:
        return Section(title="Agreement with people")
    rows: list[tuple[Cell, ...]] = []
    for one in ranked.agreement:
        value, low, high = one.seen
        seen = "none" if value is None else f"{value:.3g} [{low or 0:.3g}, {'...' if high is None else f'{high:.3g}'}]"
        rows.append((one.name, one.with_ties.n, _cell(one.with_ties), _cell(one.without_ties), _cell(one.kappa),
                     f"{one.tie_below:.3g}", seen))  # fmt: skip
    if ranked.voters is not None:
        rows.append(("another voter", ranked.voters.same.n, _cell(ranked.voters.same), None, None, None, None))
    columns = ("By", "Votes", "Accuracy with ties", "Without ties", "Kappa", "Tie up to", "Seen by 3 in 4")
    text = []
    if ranked.voters is not None:
        alpha = ranked.voters.alpha
        stated = "undefined" if alpha is None else f"{alpha.value:.2f} [{alpha.low:.2f}, {alpha.high:.2f}]"
        text.append(
            f"Between voters: Krippendorff's alpha {stated}, on {plural(ranked.voters.pairs, 'pair')} with two votes "
            "or more. How often two voters agree is about the most that a metric can agree with one."
        )
    return Section(title="Agreement with people", text=tuple(text), tables=(Table(columns=columns, rows=tuple(rows)),))


def _cell(one: Estimate | None) -> Cell:
    return None if one is None else IntervalCell(value=one.value, low=one.low, high=one.high)


def _bias(ranked: RankedSet) -> Section:
    """What the exchange of places shows of the judge of pairs."""
    bias = position_bias(ranked.pairs)
    if bias is None:
        return Section(title="Position bias of the judge")
    rows: list[tuple[Cell, ...]] = []
    names = {"contradictions": "both orders name the same place: a tie", "first_place": "answers for the first place"}
    for key, name in names.items():
        if one := bias[key]:
            rows.append((name, one["n"], IntervalCell(value=one["value"], low=one["low"], high=one["high"], least=0.0,
                                                      most=1.0)))  # fmt: skip
    return Section(title="Position bias of the judge", tables=(Table(columns=("Share", "Of", ""), rows=tuple(rows)),))


def _problems(ranked: RankedSet) -> Section:
    if ranked.votes is None or not ranked.votes.problems:
        return Section(title="Votes that do not count")
    rows: list[tuple[Cell, ...]] = []
    for code, count in sorted(ranked.votes.codes.items()):
        example = next(each for each in ranked.votes.problems if each["code"] == code)
        rows.append((code, count, f"row {example['row']}: {printable(example['message'], 160)}"))
    table = Table(columns=("Code", "Rows", "Such as"), rows=tuple(rows))
    return Section(title="Votes that do not count", tables=(table,))


def _pairs(ranked: RankedSet) -> Section:
    """Pairs of clips side by side: those on which the rankings disagree first."""
    by_id: dict[str, Sample] = {sample.id: sample for entrant in ranked.entrants for sample in entrant.samples}
    text: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for one in ranked.rankings:
        for vote in one.votes:
            if vote.left_clip in by_id and vote.right_clip in by_id:
                text.setdefault((vote.left_clip, vote.right_clip), []).append((one.name, vote.winner))
    order = sorted(text.items(), key=lambda each: -len({winner for _, winner in each[1]}))
    cards = []
    for (left, right), words in order[:_CARDS]:
        mine, other = by_id[left], by_id[right]
        if mine.clip is None or other.clip is None or mine.clip.path is None or other.clip.path is None:
            continue
        labels = left.partition("/")[0], right.partition("/")[0]
        shown = {"left": labels[0], "right": labels[1], "tie": "neither"}
        lines = tuple(f"{name}: {printable(shown[WINNERS[winner]])}" for name, winner in words)
        cards.append(Card(title=mine.prompt or mine.id, clip=mine.clip.path, other=other.clip.path, lines=lines,
                          labels=labels))  # fmt: skip
    return Section(title="Pairs", cards=tuple(cards))
