"""Votes in pairs: who was shown left and right for which prompt, and which was preferred; read from people's exports.

In: a table (CSV, JSON or JSON lines). Out: `VoteTable`: votes, and the invalid rows, each with a code. Columns go
by our names (prompt, left, right, winner, voter; left_clip, right_clip where a prompt has several clips) or by those of
Chatbot Arena and GenAI-Arena (model_a, left_model, vote_type) and of VideoReward's test set (A_model, path_A, Overall).
A bad row is counted and the rest is used: BAD_VOTE, SAME_SIDES, DUPLICATE_VOTE, CONTRADICTORY_VOTES, and of a set of
clips UNKNOWN_GENERATOR and UNKNOWN_CLIP (`v2t_eval.rank.entrants`). One that cannot be ranked alone says so by a note.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError, NothingMatchedError
from cineloop.log import printable
from v2t_eval.core.tables import Row, read_rows
from v2t_eval.rank.bradley_terry import LEFT, RIGHT, TIE

WINNERS = {LEFT: "left", TIE: "tie", RIGHT: "right"}
BOTH_BAD = "both_bad"
_PROMPTS = ("prompt_id", "prompt", "question_id", "question", "id")
_SIDES = {
    LEFT: ("left", "model_a", "model_left", "left_model", "A_model", "a"),
    RIGHT: ("right", "model_b", "model_right", "right_model", "B_model", "b"),
}
_CLIPS = {
    LEFT: ("left_clip", "left_video", "video_a", "path_A", "left_path"),
    RIGHT: ("right_clip", "right_video", "video_b", "path_B", "right_path"),
}
_WINNER = ("winner", "vote_type", "vote", "preference", "Overall")
_VOTER = ("voter", "voter_id", "annotator", "annotator_id", "worker_id", "user", "user_id", "judge")
_WORDS = {
    LEFT: {"left", "a", "modela", "leftvote", "leftwins", "a>b", "a>>b", "1"},
    RIGHT: {"right", "b", "modelb", "rightvote", "rightwins", "b>a", "b>>a", "2"},
    TIE: {"tie", "tievote", "same", "equal", "draw", "a=b", "a=b=good"},
}
_BAD = {"bothbad", "tiebothbad", "bothbadvote", "a=b=bad", "neither"}


@dataclass(frozen=True, kw_only=True)
class PairVote:
    """One vote: the prompt, the generators left and right, LEFT, TIE or RIGHT; `voter` is "" where none is named.
    `both_bad`: the tie was between two bad ones. The clips' names, where the row has them."""

    prompt: str
    left: str
    right: str
    winner: int
    voter: str = ""
    both_bad: bool = False
    left_clip: str = ""
    right_clip: str = ""

    @property
    def pair(self) -> tuple[str, ...]:
        """What was compared, in either order: two votes on the same are of one pair."""
        sides = sorted([(self.left, self.left_clip), (self.right, self.right_clip)])
        return (self.prompt, *sides[0], *sides[1])

    @property
    def verdict(self) -> str:
        """The generator that was preferred, "" for a tie: whatever side it was on."""
        return {LEFT: self.left, RIGHT: self.right, TIE: ""}[self.winner]

    def row(self) -> dict[str, str]:
        """As `read_votes` reads it."""
        word = BOTH_BAD if self.both_bad else WINNERS[self.winner]
        named = {"left_clip": self.left_clip, "right_clip": self.right_clip}
        return {"prompt": self.prompt, "left": self.left, "right": self.right, "winner": word, "voter": self.voter,
                **{name: clip for name, clip in named.items() if clip}}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class VoteTable:
    """Votes that count with their rows (from 1), and the error of every row that does not: `row`, `code`, `message`."""

    votes: tuple[PairVote, ...]
    rows: tuple[int, ...]
    problems: tuple[dict[str, Any], ...] = ()

    @property
    def codes(self) -> Counter[str]:
        """How many rows each code has."""
        return Counter(problem["code"] for problem in self.problems)


def read_votes(path: Path) -> VoteTable:
    """The votes of a file.

    Raises:
        UsageError: the file cannot be read. NothingMatchedError: no row of it is a vote.
    """
    votes: list[tuple[int, PairVote]] = []
    problems: list[dict[str, Any]] = []
    rows = read_rows(path)
    for number, row in enumerate(rows, 1):
        try:
            votes.append((number, vote_of(row)))
        except ItemError as error:
            problems.append(problem_of(number, error))
    kept, double = _without_doubles(votes)
    problems += double
    if not kept:
        why = f": {problems[0]['message']}" if problems else ""
        raise NothingMatchedError(
            f"none of {len(rows)} rows of {printable(str(path))} is a vote that counts{why}",
            hint="columns: prompt, left, right, winner (left, right, tie, both_bad), voter",
        )
    problems.sort(key=lambda each: int(each["row"]))
    return VoteTable(votes=tuple(vote for _, vote in kept), rows=tuple(at for at, _ in kept), problems=tuple(problems))


def vote_of(row: Row) -> PairVote:
    """The vote of a row.

    Raises:
        ItemError: BAD_VOTE, a column is missing or the winner is not one of the words; SAME_SIDES.
    """
    left, right = (_cell(row, names) or _cell(row, _CLIPS[side]) for side, names in _SIDES.items())
    prompt, winner = _cell(row, _PROMPTS), _cell(row, _WINNER)
    for name, value in (("prompt", prompt), ("left", left), ("right", right), ("winner", winner)):
        if not value:
            raise ItemError(
                f"the vote has no {name}; its columns are {printable(', '.join(map(str, row)), 120)}",
                code="BAD_VOTE",
                hint="prompt, left, right, winner, voter",
            )
    spelled = re.sub(r"[^a-z0-9=>]", "", winner.lower())
    decided = next((side for side, words in _WORDS.items() if spelled in words), None)
    if decided is None and spelled not in _BAD:
        raise ItemError(
            f"the winner is {printable(winner, 40)!r}, expected left, right, tie or both_bad", code="BAD_VOTE"
        )
    clips = {side: _cell(row, names) for side, names in _CLIPS.items()}
    if (left, clips[LEFT]) == (right, clips[RIGHT]):
        raise ItemError(f"left and right are both {printable(left, 60)!r}", code="SAME_SIDES")
    return PairVote(
        prompt=prompt, left=left, right=right, winner=TIE if decided is None else decided, voter=_cell(row, _VOTER),
        both_bad=decided is None, left_clip=clips[LEFT], right_clip=clips[RIGHT],
    )  # fmt: skip


def problem_of(number: int, error: ItemError) -> dict[str, Any]:
    """The error of a row."""
    return {"row": number, "code": error.code, "message": error.message}


def _without_doubles(
    votes: Iterable[tuple[int, PairVote]],
) -> tuple[list[tuple[int, PairVote]], list[dict[str, Any]]]:
    """Of a named voter's votes on one pair the first, where all say the same; none, where they contradict."""
    by_voter: dict[tuple[str, ...], list[tuple[int, PairVote]]] = {}
    kept: list[tuple[int, PairVote]] = []
    problems = []
    for number, vote in votes:
        if vote.voter:
            by_voter.setdefault((vote.voter, *vote.pair), []).append((number, vote))
        else:
            kept.append((number, vote))
    for group in by_voter.values():
        first = group[0]
        if len({vote.verdict for _, vote in group}) == 1:
            kept.append(first)
            error = ItemError(f"{first[1].voter} voted the same on this pair in row {first[0]}", code="DUPLICATE_VOTE")
            problems += [problem_of(number, error) for number, _ in group[1:]]
            continue
        rows = ", ".join(str(number) for number, _ in group)
        error = ItemError(f"{first[1].voter} contradicts themselves in rows {rows}", code="CONTRADICTORY_VOTES")
        problems += [problem_of(number, error) for number, _ in group]
    return sorted(kept, key=lambda each: each[0]), problems


def notes_on(votes: Sequence[PairVote]) -> list[tuple[str, str]]:
    """Code and sentence of what the votes cannot say: ONE_VOTER, NO_VOTERS, ALL_TIES, NOT_CONNECTED."""
    voters = {vote.voter for vote in votes}
    notes = []
    if voters == {""}:
        notes.append(("NO_VOTERS", "no vote names its voter: votes of one person are not distinguished from others'"))
    elif len(voters) == 1:
        notes.append(("ONE_VOTER", f"all votes are of one voter, {printable(next(iter(voters)), 40)}: how far people "
                      "agree, which is the most that a metric can agree with them, is not known"))  # fmt: skip
    if all(vote.winner == TIE for vote in votes):
        notes.append(("ALL_TIES", "every vote is a tie: the strengths are equal, and their intervals the prior's"))
    if len(parts := components(votes)) > 1:
        sets = "; ".join(", ".join(sorted(part)) for part in parts)
        notes.append(("NOT_CONNECTED", f"no vote compares {sets}: between these sets only the prior speaks"))
    return notes


def components(votes: Iterable[PairVote]) -> list[set[str]]:
    """Sets of generators that votes connect, directly or through others."""
    parts: list[set[str]] = []
    for vote in votes:
        touched = [part for part in parts if vote.left in part or vote.right in part]
        parts = [part for part in parts if part not in touched] + [{vote.left, vote.right}.union(*touched)]
    return parts


def _cell(row: Row, names: Sequence[str]) -> str:
    """The first of the columns that has something in it."""
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip():
            return str(value).strip()
    return ""
