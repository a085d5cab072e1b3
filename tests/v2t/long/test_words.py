"""The words of asking: times in answers, moments in questions, which notes a question is about, windows of a film."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import UsageError
from v2t.ask import moments
from v2t.ask.when import NEVER, QUESTION
from v2t.data.notes import Note, notes_prompt
from v2t.long import spans
from v2t.long.notebook import join_notes, read_notes
from v2t.long.recall import SceneNote, clauses, content, names_all, num_tokens, rank, recall, says_all
from v2t.long.segments import SegmentSpec, plan_segments, scenes, segment_at
from v2t.styles import load

TENTHS = st.integers(0, 80).map(lambda n: n / 10)


# --- times in answers
@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("from 1.2 to 3.0 seconds", [(1.2, 3.0)]),
        ("at 2.9 seconds", [(2.9, 2.9)]),
        ("The dog jumps from 0:02 to 0:04.", [(2, 4)]),
        ("From 2 seconds to 4 seconds and from 6.0 to 7.0 seconds.", [(2, 4), (6, 7)]),
        ("between 2 and 4 seconds", [(2, 4)]),
        ("It starts at 2 s and ends at 4 s.", [(2, 4)]),
        ("It begins at 1.0 seconds and finishes around 2.5 seconds", [(1, 2.5)]),
        ("[2, 4.5]", [(2, 4.5)]),
        ("00:01.2 --> 00:03.0", [(1.2, 3)]),
        ('{"start": 1.2, "end": 3.4}', [(1.2, 3.4)]),
        ('{"start_time": "0:02", "end_time": "0:04"}', [(2, 4)]),
        ("1.2s-3.4s", [(1.2, 3.4)]),
        ("from the 2-second mark to the 4-second mark", [(2, 4)]),
        ("around the 3-second mark", [(3, 3)]),
        ("about 3 seconds in", [(3, 3)]),
        ("It happens at 0:05.", [(5, 5)]),
        ("at 5.", [(5, 5)]),
        ("2.5", [(2.5, 2.5)]),
        ("throughout the video", [(0, 9)]),
        ("from 8.0 to 12.0 seconds", [(8, 9)]),
        ("at 0:34", []),
    ],
)
def test_times_in_answers(text, found):
    reading = spans.read_spans(text, 9.0, bare=True)
    assert list(reading.spans) == found and not reading.never


@pytest.mark.parametrize(
    "text",
    ["for 3 seconds", "There are 2 dogs.", "from 2 to 3 dogs", "2-3 dogs", "a 16:9 picture", "3 seconds in total"],
)
def test_numbers_that_are_no_times(text):
    assert spans.read_spans(text, 9.0) == spans.Reading(spans=())
    assert spans.shift_times(text, 100.0) == text


@pytest.mark.parametrize(
    "text", [NEVER, "No.", "It doesn't occur in the video.", "The dog is not shown jumping.", "That never happens."]
)
def test_refusals(text):
    assert spans.read_spans(text, 9.0).never


def test_the_words_are_those_the_starter_learns():
    from cineloop.world.language import times

    assert NEVER == times.NEVER
    assert QUESTION.format("the dog jumps") == "When does this happen: the dog jumps?"


@given(TENTHS, TENTHS, st.sampled_from(["from {:.1f} to {:.1f} seconds", "{:.1f}-{:.1f}s: a dog", "[{:.1f}, {:.1f}]"]))
def test_a_span_is_read_as_it_was_written_and_moves_by_as_much(one, other, form):
    start, end = sorted((one, other))
    text = form.format(start, end)
    assert spans.read_spans(text, 8.0).spans == ((start, end),)
    moved = spans.read_spans(spans.shift_times(text, 721.5), 1000.0).spans
    assert moved[0] == pytest.approx((start + 721.5, end + 721.5), abs=0.051)


@given(st.text(alphabet="0123456789:.-st fromo[],", max_size=60))
def test_any_text_is_survived(text):
    reading = spans.read_spans(text, 9.0, bare=True)
    assert all(0 <= start <= end <= 9.0 for start, end in reading.spans)
    spans.shift_times(text, 61.5)


def test_moved_times_are_told_on_the_clock():
    assert spans.shift_times("from 1.2 to 3.0 seconds.", 722.0) == "from 723.2 to 725.0 seconds (12:03.2-12:05.0)."
    assert spans.shift_times("at 2.9 seconds", 0.0) == "at 2.9 seconds"
    assert spans.shift_times("at 0:02", 3600.0) == "at 1:00:02"
    assert spans.format_span((723.2, 725.0)) == "12:03.2-12:05.0"
    assert spans.merge_spans([(5, 6), (1, 2), (2.2, 3)], 0.3) == [(1, 3), (5, 6)]


# --- moments in questions
@pytest.mark.parametrize(
    ("question", "span", "put"),
    [
        ("What happens at 34:22?", (2062, 2062), "What happens at 3.2 seconds?"),
        ("What is happening at 12.5 seconds?", (12.5, 12.5), "What is happening at 3.2 seconds?"),
        ("Who jumps between 1:00 and 1:05?", (60, 65), "Who jumps?"),
        ("From 1:00 to 2:00, what does the dog do?", (60, 120), "what does the dog do?"),
        ("What is it doing at the 5-second mark?", (5, 5), "What is it doing at 3.2 seconds?"),
        ("between 5 seconds and 0:09 who moves?", (5, 9), "who moves?"),
    ],
)
def test_moments_in_questions(question, span, put):
    moment = moments.find(question)
    assert moment is not None and (moment.start_s, moment.end_s) == span
    assert moments.within(question, moment, moment.start_s - 3.2) == put


@pytest.mark.parametrize(
    "question", ["Does it jump for 3 seconds?", "Who is there in the first 3 seconds?", "Are there 2 to 3 dogs?"]
)
def test_questions_without_a_moment(question):
    assert moments.find(question) is None


def test_moments_the_film_does_not_have():
    with pytest.raises(UsageError, match="the video is 5:12 long, so there is nothing at 34:22"):
        moments.check_within(2062, 2062, 312.0)
    with pytest.raises(UsageError, match="ends before it starts"):
        moments.find("Who jumps between 2:00 and 1:00?")
    moments.check_within(0.0, 312.4, 312.0)


# --- notes
def noted(*texts: str) -> list[SceneNote]:
    return [SceneNote(Note(start_s=10.0 * n, end_s=10.0 * n + 2, text=text), n) for n, text in enumerate(texts)]


FILM = noted(
    "a brown dog jumps in the snow.",
    "a red car rolls to the left in the city.",
    "a brown dog runs to the right in the snow.",
    "a red cat jumps in a room.",
    "a brown dog jumps on the beach.",
    "two red cats jump.",
)


@pytest.mark.parametrize(
    ("question", "numbers"),
    [
        ("How many times does a brown dog jump?", [0, 4]),
        ("How often do the dogs leap?", [0, 4]),
        ("Which jumps first, the brown dog or the red cat?", [0, 3, 4, 5]),
        ("Does a brown dog jump before or after a red car rolls for the first time?", [0, 1, 4]),
        ("What happens first: a brown dog jumps or a red car rolls?", [0, 1, 4]),
        ("What happens after the car rolled?", [1, 2, 3]),
        ("Where is the dog running?", [2]),
        ("What is this film about?", []),
        ("How does it end?", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_which_notes_a_question_is_about(question, numbers):
    assert [FILM.index(one) for one in recall(FILM, question, 500).notes] == numbers


def test_a_statement_is_said_by_one_note_or_named_by_several():
    def said(statement: str) -> list[int]:
        return [FILM.index(one) for score, one in rank(FILM, statement) if says_all(score)]

    assert said("a brown dog jumps") == [0, 4] and said("a red dog jumps") == []
    assert names_all(FILM, "the red dog leaps") and not names_all(FILM, "a zebra jumps")


def test_few_tokens_keep_the_best_notes_and_say_how_many_matched():
    found = recall(FILM, "How many times does a brown dog jump?", num_tokens(FILM[0].note.line()))
    assert [FILM.index(one) for one in found.notes] == [0] and found.num_matching == 2
    last = recall(FILM, "Where does a brown dog jump last?", num_tokens(FILM[4].note.line()))
    assert [FILM.index(one) for one in last.notes] == [4]


def test_a_later_note_is_known_by_its_scene():
    scene = [
        SceneNote(Note(start_s=n, end_s=n, text=t), 0) for n, t in enumerate(["a brown dog runs.", "the dog jumps."])
    ]
    others = [SceneNote(Note(start_s=9, end_s=9, text=t), 1) for t in ("the dog jumps.", "a red dog jumps.")]
    found = rank([*scene, *others], "a brown dog jumps")
    assert found[0][1] == scene[1] and found[0][0] > found[1][0]


def test_inflections_are_one_word():
    assert len({*content("jump jumps jumping jumped")}) == 1
    assert content("flies") == content("flying") == content("flew")
    assert content("chases") == content("chasing") and content("boxes") == content("box")
    assert content("running") == content("ran") and content("butterflies") == content("butterfly")
    assert content("red") != content("r") and content("roll") == content("rolled") != content("role")
    assert clauses("Which jumps first, the dog or the cat?") == [
        "Which jumps first  the dog",
        "Which jumps first  the cat?",
    ]


def test_the_best_notes_for_a_statement_come_first():
    assert [FILM.index(one) for _, one in rank(FILM, "the red cat jumps")][:2] == [3, 5]
    assert rank(FILM, "a zebra") == []


def test_notes_are_put_in_order_of_time_one_line_each():
    notes = [Note(start_s=75.4, end_s=77.6, text="a red\ncar rolls."), FILM[0].note]
    assert notes_prompt(notes, " Who? ") == (
        "Notes:\n0:00-0:02 a brown dog jumps in the snow.\n1:15-1:18 a red car rolls.\nWho?"
    )


def test_notes_in_any_form_are_read():
    style = load("notes")
    window = (60.0, 68.0)
    wanted = [Note(start_s=61.0, end_s=63.0, text="a dog jumps.")]
    assert read_notes("1.0-3.0s: a dog jumps.", window, style) == wanted
    assert read_notes("- [0:01 - 0:03] a dog jumps.\nThat is all.", window, style) == wanted
    assert read_notes("A dog jumps.", window, style) == [Note(start_s=60.0, end_s=68.0, text="A dog jumps.")]
    assert read_notes(" \n", window, style) == []
    assert read_notes("1.0-3.0s: a dog jumps.\n1.0-3.0s: a dog jumps.", window, style) == wanted


def test_an_event_cut_by_a_window_is_one_but_never_over_a_scene_cut():
    parts = [(0.0, 8.0), (8.0, 16.0), (16.0, 24.0)]
    told = [(5.0, 8.0, 0), (8.0, 16.0, 1), (16.1, 18.0, 2), (20.0, 21.0, 2)]
    placed = [SceneNote(Note(start_s=a, end_s=b, text="a dog runs."), n) for a, b, n in told]
    assert [(p.note.start_s, p.note.end_s) for p in join_notes(placed, parts, ())] == [(5.0, 18.0), (20.0, 21.0)]
    spans_of = [(p.note.start_s, p.note.end_s) for p in join_notes(placed, parts, (8.0,))]
    assert spans_of == [(5.0, 8.0), (8.0, 18.0), (20.0, 21.0)]


# --- windows
@given(st.floats(1, 4000), st.lists(st.floats(0, 4000), max_size=30), st.floats(2, 60))
def test_windows_cover_the_film_and_cross_no_cut(duration, cuts, length):
    parts = plan_segments(SegmentSpec(kind="scene", seconds=length), duration, [cut for cut in cuts if cut < duration])
    assert parts[0][0] == 0 and parts[-1][1] == duration
    assert all(before[1] == after[0] for before, after in zip(parts, parts[1:], strict=False))
    assert all(0 < end - start <= length + 1e-6 for start, end in parts)
    edges = [end for _, end in parts]
    assert all(end in edges for _, end in scenes(duration, [cut for cut in cuts if cut < duration]))


@given(st.floats(0, 99.9), st.lists(st.floats(0, 100), max_size=10), st.floats(2, 60))
def test_the_window_around_a_moment_holds_it(second, cuts, length):
    start, end = segment_at(second, 100.0, cuts, length)
    assert start <= second <= end and 0 <= start < end <= 100 and end - start <= length + 1e-6
    inside = next(scene for scene in scenes(100.0, cuts) if scene[0] <= second < scene[1])
    assert inside[0] <= start and end <= inside[1]
    assert (start, end) == inside or end - start == pytest.approx(length)
