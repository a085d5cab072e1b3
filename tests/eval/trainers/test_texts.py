"""Captions as texts: each fault seen, and none where there is none."""

from __future__ import annotations

from collections import Counter

import pytest

from trainer_sets import SENTENCES
from v2t.encoders import reader
from v2t_eval.trainers.texts import (
    UsualCaptions,
    cut_off,
    language_of,
    named_seconds,
    text_findings,
    usual_captions,
)

USUAL = usual_captions([*SENTENCES, "A dog barks at the moon in the night.", "The sun sets over the old town."])
ENCODER = reader("T5-XXL", 60)


def codes(text: str, duration_s: float | None = 2.0, usual: UsualCaptions = USUAL) -> list[str]:
    return [each.code for each in text_findings(text, usual, ENCODER, duration_s)]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("I'm sorry, but I can't view this video.", "REFUSAL"),
        ("As an AI language model I describe no films.", "REFUSAL"),
        ("A man walks and a man walks and a man walks and a man walks and a man walks.", "REPEATS_ITSELF"),
        ("A woman in a red coat walks along the", "CUT_OFF"),
        ("A woman in a red coat walks along the beach, and then,", "CUT_OFF"),
        ("A woman in a red coat (with a hat walks along", "CUT_OFF"),
        ('He says "come with me to the station and', "CUT_OFF"),
        ("A woman in a red coat walks along the beach", "CUT_OFF"),  # the others of the set end with a mark
        ("Der Hund und die Katze sind auf dem Sofa und schlafen nicht.", "OTHER_LANGUAGE"),
        ("Un homme est dans la rue et il marche avec son chien sur le trottoir.", "OTHER_LANGUAGE"),
        ("一只猫从沙发上跳下来。", "OTHER_LANGUAGE"),
        ("At 3 seconds the door opens.", "TIMES_BEYOND_END"),
        ("[0.0 - 1.2] A door. [1.2 - 4.8] A window.", "TIMES_BEYOND_END"),
        ("(00:12) The door opens.", "TIMES_BEYOND_END"),
        ("A very long tale. " + " ".join(f"word{n}" for n in range(60)) + ".", "TOO_LONG_FOR_ENCODER"),
    ],
)
def test_faults_are_seen(text, code):
    assert code in codes(text)


@pytest.mark.parametrize(
    "text",
    [
        *SENTENCES,
        'A sign reads "OPEN 24 hours" above the door of a shop.',
        "The clock on the wall shows 10:30, and nobody waits.",
        "A 16:9 frame, 24 fps, 35 mm film: a street in the rain.",
        "Within two seconds, 3 of the 12 balls have rolled away.",
        "At 1.5 s a ball appears. From 0.5 s to 2.0 s it rolls.",
        "It was built from 1920 to 1935 and stands by the sea.",
        "She is sorry for the mess; I like it, he says.",
        "A man in a T-shirt says: \u201cDie, fiend!\u201d and laughs (twice).",
        "A café in Zürich, seen from across the street.",
    ],
)
def test_sound_captions_have_no_finding(text):
    assert codes(text) == []


def test_captions_of_tags_need_no_mark_at_their_end():
    tags = usual_captions([f"cat, sofa, living room, soft light, number {n}" for n in range(20)])
    assert codes("dog, park, grass, afternoon sun, wide shot, film grain", usual=tags) == []


def test_a_set_in_another_language_is_no_fault():
    texts = ["Der Hund und die Katze sind auf dem Sofa.", "Ein Mann steht auf der Straße und wartet nicht."] * 6
    usual = usual_captions(texts)
    assert usual.language == "de" and "OTHER_LANGUAGE" not in codes("Die Frau ist mit dem Kind im Park.", usual=usual)
    assert "OTHER_LANGUAGE" in codes("The dog and the cat are on the sofa with a ball.", usual=usual)
    assert language_of("Rot.") == language_of("A o e.") == ""


def test_shared_texts_are_counted_without_case_and_marks():
    usual = usual_captions(["A cat sleeps on a sofa.", "a cat sleeps on a sofa", "A dog."])
    assert usual.counts == Counter({"a cat sleeps on a sofa": 2, "a dog": 1})
    assert codes("A cat, sleeps on a sofa", usual=usual) == ["REPEATED_CAPTION"]
    assert codes("sks cat", usual=usual_captions(["sks cat", "sks cat"])) == []  # a trigger word alone


def test_seconds_that_are_named():
    assert named_seconds("at 7.5 s, from 2 s to 9 sec, <12.25 s>, [0.5 - 3.2]") == [7.5, 2.0, 9.0, 12.25, 0.5, 3.2]
    assert named_seconds("(01:02:03) and [00:07]") == [3723.0, 7.0]


def test_why_a_caption_seems_cut_off_is_quoted():
    assert "along the" in cut_off("A woman in a red coat walks along the", USUAL)
    assert cut_off("A short one", USUAL) == ""


def test_what_an_encoder_cuts_is_quoted_and_one_that_is_not_known_cuts_nothing():
    text = "A very long tale. " + " ".join(f"word{n}" for n in range(60)) + "."
    (long,) = (each for each in text_findings(text, USUAL, ENCODER, None) if each.code == "TOO_LONG_FOR_ENCODER")
    assert "T5-XXL reads 60" in long.message and "it will not read: word" in long.message
    assert text_findings(text, USUAL, None, None) == []
