"""How often, and what is first: counted and compared over a film of coloured scenes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from square_film import Fake
from v2t.ask.answer import answer, ask
from v2t.ask.viewer import Viewer

pytestmark = pytest.mark.usefixtures("one_decoder")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("question", "text", "starts_s"),
    [
        ("How many times does a red square jump?", "three times", [1, 16, 31]),
        ("and how often does the white square jump in this film", "once", [21]),
        ("Does a white square jump before or after a green square jumps for the first time?", "after", [6, 21]),
        ("Does a red square jump before or after a blue square jumps?", "before", [1, 11]),
        ("Which jumps first, the blue square or the green square?", "the green square", [6, 11]),
        ("What happens first: a white square jumps or a blue square jumps?", "a blue square jumps", [11, 21]),
    ],
)
def test_events_of_a_long_film_are_counted_and_compared(film, config, question, text, starts_s):
    found = ask(film, question, config, captioner=Fake())
    assert found.answer == text and found.look == "when" and not found.warnings
    assert [span.start_s for span in found.spans] == starts_s and all(span.is_seen for span in found.spans)


@pytest.mark.slow
def test_every_matching_window_of_the_stretch_is_looked_at_again_and_no_other(film, config):
    fake = Fake()
    with Viewer(replace(config, top=1), fake) as viewer:
        opened = viewer.video(film)
        viewer.take_notes(opened, (0.0, opened.duration_s))
        fake.asked.clear()
        assert answer(viewer, opened, "How many times does a red square jump?").answer == "three times"
        assert len(fake.asked) == 3
        assert answer(viewer, opened, "How many times does a red square jump?", (0.0, 20.0)).answer == "twice"
        fake.when = "it does not happen"
        assert answer(viewer, opened, "How many times does a red square jump?").answer == "never"


@pytest.mark.parametrize(
    "question",
    [
        "How many times does a zebra jump?",
        "Does a zebra jump before or after a red square jumps?",
        "Which jumps first, the red zebra or the blue square?",
        "Does a red square jump before a blue square jumps?",
        "How many squares jump first?",
    ],
)
def test_what_the_notes_do_not_name_is_left_to_the_captioner(film, config, question):
    assert ask(film, question, config, captioner=Fake()).look == "notes"
