"""What prompts ask for, and questions that hang on each other."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from cineloop.errors import ItemError
from cineloop.world.language.read_text import parse_whole
from v2t_eval.core.sample import Sample
from v2t_eval.judge.grammar.free_text import Thing, read
from v2t_eval.judge.grammar.noun_phrases import singular
from v2t_eval.judge.grammar.prompt import of_prompt
from v2t_eval.judge.grammar.wording import DESCRIBE, coverage, of_text, unread_parts
from v2t_eval.judge.question import dsg, from_row, parents_first
from v2t_eval.semantics import asked

SHEET = Path(__file__).resolve().parents[2] / "data" / "question_prompts.txt"


def sample(prompt: str | None = None, **row) -> Sample:
    return Sample(id="s", prompt=prompt, row=row)


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
        ("a green box with a colored ribbon", ["green box", "ribbon"]),
        ("a cat in a park", ["cat"]),
        ("", []),
    ],
)
def test_things_with_their_colours(prompt, things):
    assert [thing.phrase for thing in read(prompt).things] == things


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
    found = of_prompt("A little red dog runs quickly through the woods.")
    assert (found.things, found.scene, found.action) == ((Thing(noun="dog", color="red"),), "forest", "running")
    assert parse_whole("A little red dog runs through the supermarket.") is None


def test_the_row_goes_before_the_prompt_and_what_it_lacks_is_read_there():
    prompt = "a red bicycle and a blue car"
    assert asked.thing(sample(prompt)).noun == "bicycle"
    assert asked.thing(sample(prompt, asked={"object": "zebra"})) == Thing(noun="zebra")
    nested = {"multiple_objects": {"object": "bird and cat"}}
    assert asked.things(sample(prompt, asked=nested)) == (Thing(noun="bird"), Thing(noun="cat"))
    assert asked.colored_thing(sample(prompt, asked={"color": "blue"})) == Thing(noun="car", color="blue")
    assert asked.colored_thing(sample(prompt, asked={"color": "green"})).phrase == "green bicycle"
    told = {"object_a": "cow", "object_b": "sheep", "relationship": "on the left of"}
    a, how, b = asked.relation(sample(prompt, asked={"spatial_relationship": told}))
    assert (a.noun, how, b.noun) == ("cow", "on the left of", "sheep")
    assert asked.scene(sample(prompt, asked={"scene": {"scene": "arena"}})) == "arena"
    assert asked.style(sample(prompt, asked={"appearance_style": "cubism"})) == "cubism"


@pytest.mark.parametrize("what", ["thing", "things", "colored_thing", "relation", "scene", "action", "style"])
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


def test_a15_in_compat_a_parent_counts_by_its_own_answer_as_in_the_published_package():
    right = {"q1": True, "q2": False, "q3": True, "q4": True, "q5": True}
    counted = dsg(from_row(TOY, "s"), right, "compat")
    assert counted == {"q1": True, "q2": False, "q3": False, "q4": True, "q5": True}
    assert sum(counted.values()) / len(counted) == pytest.approx(0.6)


def test_parent_0_is_the_root_of_dsgs_data_unless_a_question_has_that_id():
    (root,) = from_row([{"id": 1, "question": "Is there a dog?", "parents": [0]}], "s")
    assert root.parents == ()
    numbered = from_row([{"id": 0, "question": "A?"}, {"id": 1, "question": "B?", "parents": [0]}], "s")
    assert numbered[1].parents == ("0",)


def test_a_question_without_an_answer_leaves_the_denominator_and_passes_on_what_is_above_it():
    questions = from_row(TOY, "s")
    assert dsg(questions, {"q1": True, "q2": True, "q4": True, "q5": True}) == {
        "q1": True, "q2": True, "q4": True, "q5": True,
    }  # fmt: skip
    assert dsg(questions, {"q2": False, "q5": True}) == {"q2": False, "q5": False}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([{"id": 1, "question": "a?", "parents": [2]}, {"id": 2, "question": "b?", "parents": [1]}], "cycle"),
        ([{"id": 1, "question": "a?", "parents": [1]}], "cycle"),
        ([{"id": 1, "question": "a?", "parents": [7]}], "depends on 7"),
        ([{"id": 1, "question": "a?"}, {"id": 1, "question": "b?"}], "twice"),
        ([{"id": 1}], "no text"),
        ([{"question": "a?", "answer": "red", "choices": ["blue", "green"]}], "not one of its choices"),
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


@pytest.mark.slow
def test_every_question_of_the_worlds_wording_is_one_the_world_itself_asks():
    import random

    from cineloop.world.language.questions import questions
    from cineloop.world.scenes.solo import prompt, sample_solo

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


def test_one_figure_and_one_event_are_asked_about_plainly():
    made = {q.about: q for q in of_text("A little ball rolls quickly to the left on the beach.", closed=True)}
    assert {about: q.answer for about, q in made.items()} == {
        "place": "on the beach", "kind": "a ball", "size": "small", "motion": "it moves along",
        "direction": "to the left", "speed": "fast",
    }  # fmt: skip
    assert not any(q.parents for q in made.values()) and all(len(q.texts) == 2 for q in made.values())
    assert len(made["kind"].choices) == 22 and "nowhere" in made["direction"].choices
    assert {"it hops", "it changes color"} <= set(made["motion"].choices)
    for prompt, told in (
        ("A red dog walks in the snow.", {"speed": "slowly"}),
        ("A red dog runs.", {"speed": "fast", "color": "red"}),
        ("A red dog turns blue.", {"motion": "it changes color", "color": "red", "to_color": "blue"}),
    ):
        assert told.items() <= {q.about: q.answer for q in of_text(prompt, closed=True)}.items()
    for prompt in ("Two dogs run.", "A dog runs. The camera pans left.", "A dog.", "A dog chases a cat."):
        assert not any("figure" in q.question for q in of_text(prompt, closed=True))


def test_open_questions_of_the_world_come_with_all_its_answers():
    text = "Two little balls roll quickly to the left on the beach."
    made = {q.question: q for q in of_text(text, closed=True)}
    assert {q.question: (q.answer, q.about) for q in made.values()} == {
        "Are there any balls?": ("yes", "kind"),
        "Are there exactly two balls?": ("yes", "count"),
        "How big are the balls?": ("small", "size"),
        "Do the balls roll?": ("yes", "action"),
        "Which way do the balls roll?": ("to the left", "direction"),
        "How fast do the balls roll?": ("quickly", "speed"),
        "Where does this happen?": ("on the beach", "place"),
    }
    assert set(made["Which way do the balls roll?"].choices) == {"to the left", "to the right", "up", "down"}
    assert len(made["Where does this happen?"].choices) == 8 and not made["Are there any balls?"].choices
    first = of_text("Two red dogs run in the snow.", closed=True)[0]
    assert (first.question, first.answer, first.begins) == (DESCRIBE, "Two red dogs", True)
    assert len(first.choices) == 22 and {"Two red cats", "Two red buses"} <= set(first.choices)
    camera = of_text("A dog jumps in a room. The camera pans left. A pencil drawing.", closed=True)
    assert {"it pans left", "pencil drawing"} <= {q.answer for q in camera}


# --- what the grammar does not know asks nothing
@pytest.mark.parametrize(
    ("prompt", "wanted", "left"),
    [
        ("A blue balloon rises in the beach scene.",
         {"Is there a balloon?", "Is the balloon blue?", "Is the balloon rising in the beach scene?"}, ()),
        ("A brown dog trots leftward across the meadow.",
         {"Is there a dog?", "Is the dog brown?", "Is the dog trotting leftward?", "Does this happen in the meadow?"},
         ()),
        ("A girl dressed in yellow waves at the camera.", {"Is there a girl?"},
         ("dressed in yellow waves at the camera",)),
        ("Two samurai face each other.",
         {"Are there any samurai?", "Are there exactly two samurai?", "Are the samurai facing each other?"}, ()),
        ("A dog watches a bird while birds watch it.",
         {"Is there a dog?", "Is there a bird?", "Are there any birds?", "Is the dog watching a bird?"},
         ()),
        ("A balloon vendor laughs.", {"Is there a balloon vendor?", "Is the balloon vendor laughing?"}, ()),
        ("A balloon frobnicator laughs.", set(), ("a balloon frobnicator laughs",)),
        ("The man not wearing a hat picks up a guitar.", {"Is there a man?"},
         ("not wearing a hat picks up a guitar",)),
        ("A fox, no people's faces visible, shallow depth of field.", {"Is there a fox?"},
         ("no people's faces visible", "shallow depth of field")),
        ("Somewhere in Paris, this run is blue.", set(), ("somewhere in paris", "this run is blue")),
        ("A queen sits on a golden throne.",
         {"Is there a queen?", "Is there a throne?", "Is the throne gold?", "Is the queen sitting on a golden throne?"},
         ()),
        ("Snow falling on a flock of sheep.",
         {"Is there any snow?", "Are there any sheep?", "Is the snow falling on a flock of sheep?"}, ()),
    ],
)  # fmt: skip
def test_a_clause_that_the_grammar_does_not_know_asks_nothing_and_is_told(prompt, wanted, left):
    assert {question.question for question in of_text(prompt, closed=False)} == wanted
    assert unread_parts(prompt) == left
    assert (coverage(prompt) == 1) == (not left)


def test_questions_about_the_sheet_of_prompts_name_only_things_and_verbs_that_are_known():
    sheet = [line for line in SHEET.read_text("utf-8").splitlines() if line and not line.startswith("#")]
    assert len(sheet) == 60
    asked_of = {prompt: of_text(prompt) for prompt in sheet}
    assert sum(map(len, asked_of.values())) == 242 and all(asked_of.values())
    for questions in asked_of.values():
        ids = {question.id for question in questions}
        assert all(set(question.parents) <= ids for question in questions)
    told = " ".join(question.question for questions in asked_of.values() for question in questions)
    for nonsense in ("a somewhere", "hour gold", "no people", "dressed", "a paris", "an us", "balloon rise?"):
        assert nonsense not in told


@pytest.mark.parametrize("action", ["push up", "tai chi", "squat", "archery", "rock scissors paper",
                                    "canoeing or kayaking", "clay pottery making", "baby waking up"])  # fmt: skip
def test_actions_that_are_no_gerunds_are_read_whole(action):
    assert asked.action(sample(f"A person is {action}")) == action
    assert f"Is the person {action}?" in texts(f"A person is {action}")
