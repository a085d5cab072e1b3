"""What prompts ask for, VBench's formulas with and without their mistakes, questions that hang on each other, the
judge: pure functions on made-up detections and a captioner that says what it is told."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from eval.sample import Clip, Sample
from eval.semantics import asked
from eval.semantics import formulas as vbench
from eval.semantics.formulas import Region
from eval.semantics.free_text import Thing, read, singular
from eval.semantics.judge import NO, WORDINGS, YES, Judge, yes_or_no
from eval.semantics.questions import dsg, from_row, of_text, parents_first
from v2t.base.errors import ItemError, UsageError
from v2t.captioners import CaptionOutput
from v2t.video.frames import Frames
from v2t.video.sample import SampleSpec


def sample(prompt: str | None = None, **row) -> Sample:
    pixels = np.zeros((6, 32, 32, 3), np.uint8)
    return Sample(id="s", clip=Clip.from_frames(Frames.from_pixels(pixels, fps=8)), prompt=prompt, row=row)


# --- what a prompt asks for
@pytest.mark.parametrize(
    ("prompt", "things"),
    [
        ("person", ["person"]),
        ("a red bicycle", ["red bicycle"]),
        ("an orange cat", ["orange cat"]),
        ("an orange", ["orange"]),
        ("a traffic light", ["traffic light"]),
        ("a bird and a cat", ["bird", "cat"]),
        ("bird and cat", ["bird", "cat"]),
        ("a black and white dog", ["black dog"]),
        ("a pair of scissors", ["scissors"]),
        ("a cute happy Corgi playing in park, sunset", ["corgi", "sunset"]),
        ("a green box with a colored ribbon", ["green box", "colored ribbon"]),
        ("a cat in a park", ["cat"]),
        ("", []),
    ],
)
def test_things_with_their_colours(prompt, things):
    assert [thing.told for thing in read(prompt).things] == things


def test_numbers_and_plurals():
    assert read("two dogs and three butterflies").things == (
        Thing(noun="dog", count=2),
        Thing(noun="butterfly", count=3),
    )
    plurals = ("buses", "grass", "people", "boxes", "scissors", "teddy bears", "canvas", "knives")
    assert [singular(word) for word in plurals] == [
        "bus", "grass", "person", "box", "scissors", "teddy bear", "canvas", "knife",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("prompt", "relation"),
    [
        ("a bicycle on the left of a car, front view", (0, "left of", 1)),
        ("a bicycle on the right of a car", (1, "left of", 0)),
        ("a fire hydrant on the bottom of a traffic light", (1, "above", 0)),
        ("an oven on the top of a toaster", (0, "above", 1)),
        ("a dog is standing behind a tree", (0, "behind", 1)),
        ("a dog in front of a tree", (1, "behind", 0)),
        ("a dog and a tree", None),
    ],
)
def test_relations(prompt, relation):
    assert read(prompt).relation == relation


@pytest.mark.parametrize(
    ("prompt", "scene", "action", "style"),
    [
        ("A person is riding a bike", None, "riding a bike", None),
        ("A person is roller skating", None, "roller skating", None),
        ("a person is playing guitar in the park", "park", "playing guitar", None),
        ("alley", "alley", None, None),
        ("a tranquil tableau of alley", "alley", None, None),
        ("A beautiful coastal beach in spring, Van Gogh style", "beach", None, "van gogh style"),
        ("a shark is swimming in the ocean, in the style of Hokusai", "ocean", "swimming", "hokusai"),
        ("a panda drinking coffee in a cafe, oil painting", None, "drinking coffee in a cafe", "oil painting"),
        ("a black and white cat", None, None, None),
        ("a cat, black and white", None, None, "black and white"),
        ("a tall building", "building", None, None),
    ],
)
def test_scenes_actions_and_styles(prompt, scene, action, style):
    found = read(prompt)
    assert (found.scene, found.action, found.style) == (scene, action, style)


def test_cartoon_prompts_are_read_by_the_worlds_own_reader():
    found = asked.of_prompt("A little red dog runs quickly through the woods.")
    assert (found.things, found.scene, found.action) == ((Thing(noun="dog", color="red"),), "forest", "running")
    assert asked.of_world("A little red dog runs through the supermarket.") is None


def test_the_row_goes_before_the_prompt_and_what_it_lacks_is_read_there():
    prompt = "a red bicycle and a blue car"
    assert asked.thing(sample(prompt)).noun == "bicycle"
    assert asked.thing(sample(prompt, asked={"object": "zebra"})) == Thing(noun="zebra")
    nested = {"multiple_objects": {"object": "bird and cat"}}
    assert asked.things(sample(prompt, asked=nested)) == (Thing(noun="bird"), Thing(noun="cat"))
    assert asked.colored(sample(prompt, asked={"color": "blue"})) == Thing(noun="car", color="blue")
    assert asked.colored(sample(prompt, asked={"color": "green"})).told == "green bicycle"
    told = {"object_a": "cow", "object_b": "sheep", "relationship": "on the left of"}
    a, how, b = asked.relation(sample(prompt, asked={"spatial_relationship": told}))
    assert (a.noun, how, b.noun) == ("cow", "on the left of", "sheep")
    assert asked.scene(sample(prompt, asked={"scene": {"scene": "arena"}})) == "arena"
    assert asked.style(sample(prompt, asked={"appearance_style": "cubism"})) == "cubism"


@pytest.mark.parametrize("what", ["thing", "things", "colored", "relation", "scene", "action", "style"])
@pytest.mark.parametrize("prompt", ["", "?!", None])
def test_nothing_asked_is_an_error_of_its_own(what, prompt):
    with pytest.raises(ItemError) as problem:
        getattr(asked, what)(sample(prompt))
    assert problem.value.code == "NOTHING_ASKED"


def test_one_thing_is_not_several():
    with pytest.raises(ItemError, match="two things or more"):
        asked.things(sample("a dog"))
    assert asked.things(sample("two dogs"))[0].count == 2
    with pytest.raises(ItemError, match="mapping"):
        asked.thing(sample("a dog", asked="dog"))


# --- VBench's formulas
def region(label: str, left: float, top: float, caption: str = "", size: float = 10) -> Region:
    return Region(label=label, box=(left, top, left + size, top + size), caption=caption)


A, B = region("a", 0, 0), region("b", 20, 0)


def test_a11_spatial_boxes():
    """Case A11 of the sheet: (0,0,10,10), (5,0,15,10), "left": .3 in the reference."""
    frame = [region("a", 0, 0), region("b", 5, 0)]
    assert vbench.spatial_score_compat(frame, "a", "on the left of", "b") == pytest.approx(0.3, abs=1e-6)
    assert vbench.spatial_score(frame, "a", "on the left of", "b") == pytest.approx(0.3, abs=1e-6)


@pytest.mark.parametrize(
    ("relation", "frame", "fixed", "compat"),
    [
        ("on the left of", [A, B], 1, 1),
        ("on the right of", [A, B], 0, 1),  # D1: left is right
        ("left of", [region("a", 20, 0), region("b", 0, 0)], 0, 1),
        ("on the top of", [A, B], 0, 0),
        ("on the top of", [region("a", 0, 0), region("b", 0, 20)], 1, 1),
        ("on the bottom of", [region("a", 0, 0), region("b", 0, 20)], 0, 1),  # D1: top is bottom
        ("above", [region("a", 1, 0), region("b", 0, 20)], 1, 1),
        ("on the left of", [region("a", 0, 0), region("a", 20, 0)], 0, 1),  # D2: two of a, none of b
        ("on the left of", [A], 0, 0),
        ("on the left of", [], 0, 0),
        ("on the left of", [region("a", 0, 0), region("b", 20, 20)], 0, 0),  # as far down as across
    ],
)
def test_d1_d2_fixed_tells_sides_and_things_apart(relation, frame, fixed, compat):
    assert vbench.spatial_score(frame, "a", relation, "b") == fixed
    assert vbench.spatial_score_compat(frame, "a", relation, "b") == compat


def test_the_best_pair_counts_and_one_box_is_no_pair():
    crowd = [region("b", -20, 0), A, B, region("a", 40, 0)]
    assert vbench.spatial_score(crowd, "a", "left of", "b") == 1
    twins = [region("dog", 0, 0), region("dog", 30, 0)]
    assert vbench.spatial_score(twins, "dog", "left of", "dog") == 1
    assert vbench.spatial_score(twins[:1], "dog", "left of", "dog") == 0


def test_relations_that_boxes_cannot_tell():
    for relation in ("behind", "inside", ""):
        with pytest.raises(ValueError, match="cannot tell"):
            vbench.spatial_score([A, B], "a", relation, "b")


CAR = Thing(noun="car", color="red")


@pytest.mark.parametrize(
    ("frame", "fixed", "compat"),
    [
        ([region("car", 0, 0, "a red car")], (1, 1), (1, 1)),
        ([region("car", 0, 0, "a blue car")], (1, 0), (1, 0)),
        ([region("car", 0, 0, "a colored car")], (1, 0), (1, 1)),  # D3: "red" stands in "colored"
        ([region("car", 0, 0, "a blue car"), region("sky", 9, 9, "a red sky")], (1, 0), (1, 1)),  # D3b
        ([region("sky", 9, 9, "a blue sky"), region("car", 0, 0, "a red car")], (1, 1), (0, 0)),  # D3b: best is no car
        ([region("car", 0, 0, "a car")], (1, 0), (0, 0)),  # D4: leaves the denominator
        ([region("dog", 0, 0, "a red dog")], (0, 0), (0, 0)),
        ([], (0, 0), (0, 0)),
    ],
)
def test_d3_d4_colours(frame, fixed, compat):
    assert vbench.color_counts([frame], CAR) == fixed
    assert vbench.color_counts_compat([frame], CAR) == compat


def test_colours_have_one_spelling_and_brown_is_one():
    grey = [region("car", 0, 0, "a grey car")]
    assert vbench.color_counts([grey], Thing(noun="car", color="gray")) == (1, 1)
    brown = [[region("car", 0, 0, "a brown car")], [region("car", 0, 0, "a brown and white car")]]
    assert vbench.color_counts(brown, Thing(noun="car", color="brown")) == (2, 2)
    assert vbench.color_counts_compat(brown, Thing(noun="car", color="brown")) == (1, 2)  # a ratio of 2, as it is there


def test_counting_things():
    one, two = [A, B], [A, region("a", 50, 0), B]
    wanted = [Thing(noun="a", count=2), Thing(noun="b")]
    assert [vbench.shown(frame, wanted) for frame in (one, two)] == [False, True]
    assert [vbench.shown_compat(frame, wanted) for frame in (one, two)] == [True, True]
    twins = [Thing(noun="a"), Thing(noun="a")]
    assert [vbench.shown(frame, twins) for frame in (one, two)] == [False, True]
    assert not vbench.shown_compat([A], wanted)


def test_scenes_are_words_of_their_own():
    assert vbench.scene_shown_compat("a barn by the river", "bar") and not vbench.scene_shown("a barn by it", "bar")
    for shown in (vbench.scene_shown, vbench.scene_shown_compat):
        assert shown("the gas is at the station", "gas station") and not shown("a station", "gas station")


def test_d11_actions_are_cut_where_the_reference_cuts_them():
    assert vbench.compat_action("A person is riding a bike") == "riding a bike"
    assert vbench.compat_action("A person is roller-skating") == "roller"
    ranked = [("swimming", 0.99), ("riding a bike", 0.86), ("x", 0.84), ("y", 0.8), ("z", 0.7), ("w", 0.6)]
    assert vbench.action_hit("riding a bike", ranked)
    assert not vbench.action_hit("x", ranked), "below .85"
    assert not vbench.action_hit("w", [(name, 0.9) for name, _ in ranked]), "the sixth"


# --- questions
TOY = [
    {"id": "q1", "question": "1?"},
    {"id": "q2", "question": "2?"},
    {"id": "q3", "question": "3?", "parents": ["q2"]},
    {"id": "q4", "question": "4?", "parents": ["q1"]},
    {"id": "q5", "question": "5?", "parents": ["q3"]},
]


def test_a15_the_score_of_a_graph_does_not_depend_on_the_order_it_is_listed_in():
    """Case A15 of the sheet: 1, 0, 1 (of q2), 1 (of q1), 1 (of q3): .4."""
    right = {"q1": True, "q2": False, "q3": True, "q4": True, "q5": True}
    for listed in itertools.permutations(TOY):
        counted = dsg(from_row(listed, "s"), right)
        assert counted == {"q1": True, "q2": False, "q3": False, "q4": True, "q5": False}
        assert sum(counted.values()) / len(counted) == pytest.approx(0.4, abs=1e-6)


def test_a_question_without_an_answer_leaves_the_denominator_and_passes_on_what_is_above_it():
    questions = from_row(TOY, "s")
    assert dsg(questions, {"q1": True, "q2": True, "q4": True, "q5": True}) == {
        "q1": True, "q2": True, "q4": True, "q5": True,
    }  # fmt: skip
    assert dsg(questions, {"q2": False, "q5": True}) == {"q2": False, "q5": False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"id": 1, "question": "a?", "parents": [2]}, {"id": 2, "question": "b?", "parents": [1]}], "circle"),
        ([{"id": 1, "question": "a?", "parents": [1]}], "circle"),
        ([{"id": 1, "question": "a?", "parents": [7]}], "hangs on 7"),
        ([{"id": 1, "question": "a?"}, {"id": 1, "question": "b?"}], "twice"),
        ([{"id": 1}], "no text"),
        ([{"question": "a?", "answer": "red", "choices": ["blue", "green"]}], "none of its choices"),
        ([], "list of questions"),
        ("Is there a dog?", "list of questions"),
    ],
)
def test_questions_that_cannot_be(given, message):
    with pytest.raises(ItemError, match=message) as problem:
        from_row(given, "s")
    assert problem.value.code == "BAD_QUESTIONS"


def texts(prompt: str) -> dict[str, list[str]]:
    made = of_text(prompt)
    assert parents_first(made) == sorted(made, key=lambda q: parents_first(made).index(q))
    by_id = {q.id: q.question for q in made}
    return {q.question: [by_id[parent] for parent in q.parents] for q in made}


def test_questions_of_a_cartoon_prompt_have_the_worlds_wording():
    assert texts("A little red ball rolls quickly to the left on the beach.") == {
        "Is there a ball?": [],
        "Is the ball red?": ["Is there a ball?"],
        "Is the ball small?": ["Is there a ball?"],
        "Does the ball roll?": ["Is there a ball?"],
        "Does the ball roll to the left?": ["Does the ball roll?"],
        "Does the ball roll quickly?": ["Does the ball roll?"],
        "Does this happen on the beach?": [],
    }
    assert texts("A red car chases a blue car in the city.") == {
        "Is there a car?": [],
        "Is there a red car?": ["Is there a car?"],
        "Is there a blue car?": ["Is there a car?"],
        "Does the red car chase the blue car?": ["Is there a red car?", "Is there a blue car?"],
        "Does this happen in the city?": [],
    }


def test_questions_of_any_other_prompt():
    assert texts("two zebras and a red truck on the left of a tree in the park") == {
        "Are there any zebras?": [],
        "Are there exactly two zebras?": ["Are there any zebras?"],
        "Is there a truck?": [],
        "Is the truck red?": ["Is there a truck?"],
        "Is there a tree?": [],
        "Is the truck to the left of the tree?": ["Is there a truck?", "Is there a tree?"],
        "Is the scene a park?": [],
    }
    assert "Is the person riding a bike?" in texts("A person is riding a bike")
    assert texts("") == {}


def test_every_question_of_the_worlds_wording_is_one_the_world_itself_asks():
    import random

    from v2t.world.questions import questions
    from v2t.world.solo import prompt, sample_solo

    for index in range(12):
        facts = sample_solo("seen", 3, index).facts()
        known = {
            q["question"]
            for seed in range(60)
            for q in questions(facts, random.Random(seed))
            if q["kind"].startswith("yesno-") and q["answer"] == "yes"
        }
        # Of a still figure alone in its place, what is always so is asked in the world too, only more seldom.
        assert set(texts(prompt(facts, random.Random(index)))) <= known


def test_open_questions_of_the_world_come_with_all_its_answers():
    made = {q.question: q for q in of_text("A little ball rolls quickly to the left on the beach.", closed=True)}
    assert {q.question: q.answer for q in made.values()} == {
        "Is there a ball?": "yes",
        "How big is the ball?": "small",
        "Does the ball roll?": "yes",
        "Which way does the ball roll?": "to the left",
        "How fast does the ball roll?": "quickly",
        "Where does this happen?": "on the beach",
    }
    assert set(made["Which way does the ball roll?"].choices) == {"to the left", "to the right", "up", "down"}
    assert len(made["Where does this happen?"].choices) == 8 and not made["Is there a ball?"].choices
    camera = of_text("A dog jumps in a room. The camera pans left. A pencil drawing.", closed=True)
    assert {"it pans left", "pencil drawing"} <= {q.answer for q in camera}


# --- the judge
class Says:
    """A captioner that replies from a list, or as a table of likelihoods says."""

    name, revision, spec, frame_size, concurrency = "says", "1", SampleSpec(num_frames=4), None, 1

    def __init__(self, *replies: str | ItemError) -> None:
        self.replies, self.heard = list(replies), []

    def load(self) -> None:
        """Nothing to load."""

    def answer(self, conversations, decoding):
        (message,) = conversations[0]
        self.heard.append((message.text, len(message.videos[0])))
        reply = self.replies[(len(self.heard) - 1) % len(self.replies)]
        if isinstance(reply, ItemError):
            raise reply
        return [CaptionOutput(text=reply, tokens=1)]


class Weighs(Says):
    """A captioner that tells likelihoods."""

    def __init__(self, **chances: float) -> None:
        super().__init__("?")
        self.chances, self.watched = chances, 0

    def watch(self, frames):
        self.watched += 1
        return frames

    def likelihoods(self, watched, question, answers, *, whole=False):
        return [math.log(self.chances[answer]) for answer in answers]


def test_probability_of_yes_from_likelihoods():
    captioner = Weighs(yes=0.3, Yes=0.1, no=0.1, No=0.0625)
    judge, one = Judge(captioner), sample("a dog")
    assert (YES, NO) == (("yes", "Yes"), ("no", "No"))
    assert judge.probability(one, "Is there a dog?") == pytest.approx(0.4 / 0.5625)
    judge.probability(one, "Is there a cat?")
    assert captioner.watched == 1, "a clip is encoded once for all questions"
    assert "likelihood" in judge.fingerprint()["answers"] and judge.fingerprint()["judge"] == "says@1"


def test_probability_of_yes_from_votes_over_wordings():
    captioner = Says("Yes.", "no", "**Yes**, there is one")
    judge = Judge(captioner)
    assert judge.probability(sample(), "Is there a dog?") == pytest.approx(2 / 3)
    assert [text for text, _ in captioner.heard] == [wording.format("Is there a dog?") for wording in WORDINGS]
    assert {num for _, num in captioner.heard} == {4}, "as many frames as the captioner asks for"
    assert Judge(Says("Yes", "a dog runs", "It is hard to say")).probability(sample(), "?") == 1.0
    with pytest.raises(UsageError, match="does not tell"):
        judge.log_likelihoods(sample(), "?", ("yes",))


def test_a_choice_is_told_by_its_share_or_picked_by_a_reply():
    judge = Judge(Weighs(left=0.3, right=0.1))
    assert judge.choice(sample(), "Which way?", ["left", "right"]) == pytest.approx([0.75, 0.25])
    assert Judge(Says("to the right")).choice(sample(), "Which way?", ["left", "right"]) == [0.0, 1.0]
    for reply, code in (("hm", "UNPARSABLE"), ("I'm sorry, I cannot see the video.", "REFUSED")):
        with pytest.raises(ItemError) as problem:
            Judge(Says(reply)).choice(sample(), "Which way?", ["left", "right"])
        assert problem.value.code == code


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        (["a dog runs"], "UNPARSABLE"),
        (["I'm sorry, I cannot help with that."], "REFUSED"),
        ([""], "UNPARSABLE"),
        ([ItemError("refused", code="PROMPT_REFUSED")], "PROMPT_REFUSED"),
    ],
)
def test_no_answer_is_never_a_no(replies, code):
    with pytest.raises(ItemError) as problem:
        Judge(Says(*replies)).probability(sample(), "Is there a dog?")
    assert problem.value.code == code


def test_replies_are_read_at_their_beginning():
    replies = {"Yes": True, "no.": False, "  **No**": False, "yesterday": None, "nothing": None, "It is: yes": None}
    assert {reply: yes_or_no(reply) for reply in replies} == replies


@pytest.mark.parametrize("sampler", ["uniform", "motion", "keyframe", "segment", "fps"])
def test_a_judge_sees_what_its_captioner_asks_for(sampler):
    captioner = Says("yes")
    captioner.spec = SampleSpec(sampler=sampler, num_frames=3, fps=4.0)
    assert 1 <= len(Judge(captioner).view(sample())) <= 6
