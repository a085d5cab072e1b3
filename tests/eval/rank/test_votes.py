"""Votes of files: ours, arenas', VideoReward's; rows that do not count."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cineloop.errors import ItemError, NothingMatchedError
from v2t_eval.rank.bradley_terry import LEFT, RIGHT, TIE
from v2t_eval.rank.votes import PairVote, components, notes_on, read_votes, vote_of


def vote(left: str, right: str, winner: int = LEFT, prompt: str = "p", voter: str = "") -> PairVote:
    return PairVote(prompt=prompt, left=left, right=right, winner=winner, voter=voter)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"prompt": "p", "left": "x", "right": "y", "winner": "left", "voter": "v"}, (LEFT, "x", "y", "v", False)),
        ({"question_id": "p", "model_a": "x", "model_b": "y", "winner": "model_b", "judge": "v"},
         (RIGHT, "x", "y", "v", False)),
        ({"prompt": "p", "model_a": "x", "model_b": "y", "winner": "tie (bothbad)"}, (TIE, "x", "y", "", True)),
        ({"prompt": "p", "left_model": "x", "right_model": "y", "vote_type": "leftvote"}, (LEFT, "x", "y", "", False)),
        ({"prompt": "p", "left_model": "x", "right_model": "y", "vote_type": "bothbad_vote"},
         (TIE, "x", "y", "", True)),
        ({"prompt": "p", "A_model": "x", "B_model": "y", "Overall": "same"}, (TIE, "x", "y", "", False)),
        ({"prompt": "p", "A_model": "x", "B_model": "y", "Overall": "B"}, (RIGHT, "x", "y", "", False)),
        ({"prompt": 7, "left": "x", "right": "y", "winner": "A=B=Bad"}, (TIE, "x", "y", "", True)),
    ],
)  # fmt: skip
def test_rows_of_every_export_are_read(row: dict, expected: tuple) -> None:
    one = vote_of(row)
    assert (one.winner, one.left, one.right, one.voter, one.both_bad) == expected
    assert vote_of(one.row()) == one, "what is written is read again"


@pytest.mark.parametrize(
    ("change", "code"),
    [({"winner": "purple"}, "BAD_VOTE"), ({"winner": ""}, "BAD_VOTE"), ({"prompt": None}, "BAD_VOTE"),
     ({"right": "x"}, "SAME_SIDES"), ({"left": ["x"]}, "BAD_VOTE")],
)  # fmt: skip
def test_a_row_that_is_no_vote_says_why(change: dict, code: str) -> None:
    with pytest.raises(ItemError) as caught:
        vote_of({"prompt": "p", "left": "x", "right": "y", "winner": "left"} | change)
    assert caught.value.code == code


def test_two_clips_of_one_generator_may_be_compared() -> None:
    row = {"prompt": "p", "left": "x", "right": "x", "winner": "left", "left_clip": "1.mp4", "right_clip": "2.mp4"}
    assert vote_of(row).left_clip == "1.mp4"


def test_doubles_are_kept_once_and_contradictions_not_at_all(tmp_path: Path) -> None:
    rows = [
        ("a", "b", "left", "v1"), ("b", "a", "right", "v1"), ("a", "b", "left", "v2"), ("a", "b", "tie", "v2"),
        ("a", "b", "left", ""), ("a", "b", "right", ""), ("a", "a", "left", "v3"), ("a", "b", "?", "v3"),
    ]  # fmt: skip
    path = tmp_path / "votes.csv"
    lines = [",".join(("p", *row)) for row in rows]
    path.write_text("\n".join(["prompt,left,right,winner,voter", *lines]), encoding="utf-8")
    table = read_votes(path)
    assert [(one.left, one.winner, one.voter) for one in table.votes] == [("a", LEFT, "v1"), ("a", LEFT, ""),
                                                                         ("a", RIGHT, "")]  # fmt: skip
    assert table.rows == (1, 5, 6)
    assert [(each["row"], each["code"]) for each in table.problems] == [
        (2, "DUPLICATE_VOTE"), (3, "CONTRADICTORY_VOTES"), (4, "CONTRADICTORY_VOTES"), (7, "SAME_SIDES"),
        (8, "BAD_VOTE"),
    ]  # fmt: skip


def test_a_file_without_a_vote_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    path.write_text(json.dumps({"prompt": "p", "left": "a", "right": "a", "winner": "left"}), encoding="utf-8")
    with pytest.raises(NothingMatchedError, match="none of 1 rows"):
        read_votes(path)


def test_what_votes_cannot_say_is_said() -> None:
    def codes(*votes: PairVote) -> list[str]:
        return [code for code, _ in notes_on(votes)]

    assert codes(vote("a", "b", voter="v"), vote("a", "b", voter="w")) == []
    assert codes(vote("a", "b", voter="v")) == ["ONE_VOTER"]
    assert codes(vote("a", "b", TIE), vote("b", "a", TIE)) == ["NO_VOTERS", "ALL_TIES"]
    assert codes(vote("a", "b", voter="v"), vote("c", "d", voter="w")) == ["NOT_CONNECTED"]
    chain = [vote("a", "b"), vote("c", "d"), vote("b", "c")]
    assert components(chain) == [{"a", "b", "c", "d"}] and len(components(chain[:2])) == 2
