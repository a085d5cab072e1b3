"""Preference pairs of captions with planted verdicts, and the order of ranked clips."""

from __future__ import annotations

import pytest

from cineloop.manifest import write_manifest
from v2t.data.preferences import read_pairs
from v2t_eval.core.sample import Sample
from v2t_eval.mine.claims import CaptionClaim, FactErrors, MinedCaption
from v2t_eval.mine.pairs import preferences
from v2t_eval.mine.ranking import kinds, rank


def stated(clip: str, turn: int, caption: str, doubts: str | list[float] = "", **more) -> MinedCaption:
    """A caption whose claims have the given doubts, or are denied (n) and held true (y)."""
    if isinstance(doubts, str):
        doubts = [0.9 if letter == "n" else 0.1 for letter in doubts]
    claims = tuple(
        CaptionClaim(kind="color" if n % 2 else "kind", question=f"Is it {n}?", doubt=doubt, denied=doubt > 0.5)
        for n, doubt in enumerate(doubts)
    )
    name = clip if turn == 0 else f"{clip}#{turn}"
    sample = Sample(id=name, caption=caption, row={"path": f"{clip}.mp4", "style": "short"}, cluster=clip)
    return MinedCaption(sample=sample, turn=turn, claims=claims, **more)


def made(*made_of: MinedCaption, by: str = "judge"):
    return preferences(made_of, by, "v2t@1", lambda one: "Say it.")


def test_by_the_judge_the_caption_with_fewer_denied_claims_is_chosen():
    found = made(
        stated("a", 0, "two wrong", "yynn"), stated("a", 1, "right", "yyyy"), stated("a", 2, "one wrong", "yyyn")
    )
    (row,) = found.rows
    assert (row["id"], row["path"], row["prompt"], row["judge"]) == ("a", "a.mp4", "Say it.", "v2t@1")
    assert (row["chosen"], row["rejected"]) == ("right", "two wrong")  # the pair that differs most
    assert row["reason"] == "0 of 4 claims denied; rejected: 2 of 4 claims denied (Is it 2?, Is it 3?)"
    assert found.counts == {"pairs": 1}


def test_a_caption_that_says_less_is_not_chosen_for_that():
    assert made(stated("a", 0, "much", "yyyn"), stated("a", 1, "little", "y")).counts == {"ties": 1}


def test_by_the_truth_missed_facts_count_as_errors():
    much = stated("a", 0, "much", truth=FactErrors(right=3, wrong={"color": 1}))
    little = stated("a", 1, "little", truth=FactErrors(right=1, missed={"action": 1, "place": 1}))
    odd = stated("a", 2, "odd", truth=FactErrors(right=4, made_up=3))
    (row,) = made(much, little, odd, by="facts").rows
    assert (row["chosen"], row["rejected"], row["judge"]) == ("much", "odd", "facts")
    assert row["reason"] == "1 errors (1 wrong color); rejected: 3 errors (3 made up)"
    (row,) = made(much, little, by="facts").rows
    assert row["rejected"] == "little" and "(1 missed action, 1 missed place)" in row["reason"]


def test_ties_single_captions_and_unread_judgements_give_no_pair_and_are_counted():
    found = made(
        *(stated("tie", 0, "x", "yn"), stated("tie", 1, "y", "ny")),
        *(stated("same", 0, "x", "yn"), stated("same", 1, "x ", "yn")),
        stated("one", 0, "x", "yn"),
        *(stated("refused", 0, "x", "yn"), stated("refused", 1, "y", "yy", code="REFUSED")),
        *(stated("outside", 0, "x", code="OUT_OF_DOMAIN"), stated("outside", 1, "y", "yy")),
    )
    assert not found.rows and found.counts == {"ties": 1, "one_caption": 2, "unjudged": 2}


def test_rows_are_what_training_reads(tmp_path):
    found = made(stated("a", 0, "wrong", "yn"), stated("a", 1, "right", "yy"))
    write_manifest(found.rows, tmp_path / "preferences.jsonl")
    (clip,) = read_pairs([tmp_path / "preferences.jsonl"], tmp_path / "clips")
    assert clip.path == tmp_path / "clips/a.mp4" and clip.row["chosen"] == "right"


def test_the_most_doubted_clip_comes_first():
    found = rank(
        [
            stated("both", 0, "x", [0.1, 0.9], place=4.0),
            stated("neither", 0, "x", [0.1], place=1.0),
            stated("judge", 0, "x", [0.9], place=1.0),
            stated("encoder", 0, "x", [0.1], place=2.0),
            stated("both", 1, "y", [0.99]),  # of the second file
            stated("silent", 0, "x"),
            stated("unread", 0, "x", [1.0], code="REFUSED", place=2.0),
        ]
    )
    assert [(one.caption.sample.id, round(one.disagreement, 3)) for one in found] == [
        ("both", 0.825), ("unread", 0.5), ("judge", 0.45), ("encoder", 0.3), ("neither", 0.05),
    ]  # fmt: skip
    assert found[0].worst.question == "Is it 1?" and found[1].judge is None and found[1].encoder == 0.5


def test_kinds_are_listed_by_the_share_that_is_denied():
    found = kinds(
        rank([stated("a", 0, "x", "nyn"), stated("b", 0, "x", "yn"), stated("c", 0, "x", "nn", code="REFUSED")])
    )
    assert [(kind.name, kind.claims, kind.denied) for kind in found] == [("kind", 3, 2), ("color", 2, 1)]
    assert found[0].doubt == pytest.approx((0.9 + 0.9 + 0.1) / 3)
