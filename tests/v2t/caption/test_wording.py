"""From an answer to the caption that is written: preambles, templates, loops, lengths."""

from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cineloop.errors import ItemError, MissingDependencyError, Notice
from cineloop.world.language.stated import STYLES
from cineloop.world.language.words import caption
from cineloop.world.scenes.sampler import sample_scene
from refusals import refusal, refusal_code
from v2t.backends.batching import loop
from v2t.caption.wording import Wording, strip_preamble

RECORD = {
    "id": "a/b/dog 1.v2.mp4",
    "path": "a/b/dog 1.v2.mp4",
    "duration_s": 2.5,
    "style": "timed",
    "model": "starter",
    "segments": [
        {"start_s": 0.0, "end_s": 1.0, "caption": "a dog runs."},
        {"start_s": 1.0, "end_s": 2.5, "caption": "it jumps."},
    ],
}


# ---- prefix, suffix, trigger


@given(*[st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")) for _ in range(3)])
def test_prefix_suffix_and_trigger_are_verbatim_with_nothing_between(prefix, suffix, trigger):
    made = Wording(prefix=prefix, suffix=suffix, trigger=trigger).apply("A dog runs.", RECORD)
    assert made == trigger + prefix + "A dog runs." + suffix


@pytest.mark.parametrize("name", ["prefix", "suffix", "trigger", "template"])
def test_what_no_file_can_hold_is_refused(name):
    for text in ("a\0b", "\ud800"):
        error = refusal(Wording, **{name: text})
        assert error.code == "USAGE" and error.message.startswith(name)


# ---- preambles

STRIPPED = [
    ('Sure! Here is a caption:\n\n"A dog runs."', "A dog runs."),
    ("Sure, here's a detailed description of the video:\n\nA dog runs.", "A dog runs."),
    ("Certainly! A dog runs.", "A dog runs."),
    ("Here are the tags for your video: dog, snow", "dog, snow"),
    ("The video shows: a dog runs.", "a dog runs."),
    ("**Caption:** A dog runs.", "A dog runs."),
    ("## Video Description:\nA dog runs.\nIt jumps.", "A dog runs.\nIt jumps."),
    ("```text\nA dog runs.\n```", "A dog runs."),
    ("\u201cA dog runs.\u201d", "A dog runs."),
    ("<think>Is it a dog?\n\nYes.</think>\n\nA dog runs.", "A dog runs."),
    ("It is a dog.</think>A dog runs.", "A dog runs."),
    ("A dog runs. Let me know if you would like more detail!", "A dog runs."),
    ("  A dog runs.\n", "A dog runs."),
]
KEPT = [
    "The video shows a dog.",
    "Here is a dog: it runs.",
    "Here is a man reading a list of names aloud. He says: stop.",
    "A sign reads: \"Caption: none\".",
    '"Stop!" says the man, and the dog says "Woof".',
    "'Tis the season: a dog runs in the dogs'",
    "Subject: a dog\nAction: it runs",
    "Caption: a dog\nTags: dog, snow",
    "Sure-footed, a goat climbs.",
    "Sure, the goat climbs.",
    "Sure!",
    "0.0-1.0s: a dog runs.\n1.0-2.0s: the camera pans.",
    "```js\nx\n``` is written on the board ```",
    "This is a description of nothing: a dog.",
]  # fmt: skip


@pytest.mark.parametrize(("answer", "expected"), STRIPPED)
def test_what_is_no_content_goes(answer, expected):
    assert strip_preamble(answer) == expected
    assert Wording().apply(answer, RECORD) == expected
    assert Wording(strip_preamble=False).apply(answer, RECORD) == answer


@pytest.mark.parametrize("answer", KEPT)
def test_what_may_be_content_stays(answer):
    assert strip_preamble(answer) == answer


def true_captions(num: int) -> list[str]:
    """`num` true captions in each style of the world, one clip in seven up to 25 s long."""
    made = []
    for index in range(num):
        long = (8.0, 25.0) if index % 7 == 0 else None
        facts = sample_scene(("train", "seen", "unseen")[index % 3], 23, index, seconds=long).facts()
        made += [caption(facts, style, random.Random(index)) for style in STYLES]
    return made


@pytest.fixture(scope="module")
def world() -> list[str]:
    return true_captions(1000)


@pytest.mark.slow
def test_true_captions_are_left_as_they_are(world):
    assert len(world) >= 3000
    assert [text for text in world if strip_preamble(text) != text] == []


# ---- loops


@pytest.mark.slow
def test_no_true_caption_is_taken_for_a_loop(world):
    assert [text for text in world if loop(text)] == []


def test_lists_of_events_that_look_alike_are_no_loop():
    lines = [f"{i}.0-{i + 1}.0s: a brown dog jumps in the snow." for i in range(300)]
    assert loop("\n".join(lines)) is None
    assert loop("A very, very, very old man says no, no, no, no. " + "-" * 40) is None
    assert loop("The dog runs left. The dog runs right. The dog runs left. The dog runs right.") is None
    assert loop("") is None and loop("dog") is None


@pytest.mark.parametrize("period", [1, 2, 3, 5, 8, 13, 30, 60])
def test_planted_loops_are_found_and_named(world, period):
    rng = random.Random(period)
    names = [f"word{i}" for i in range(400)]
    for index in range(40):
        start = world[index * 7]
        phrase = " ".join(rng.sample(names, period))
        times = {1: 6, 2: 5}.get(period, 4 if period < 12 else 3)
        for tail in ("", " " + phrase[: len(phrase) // 2]):  # a loop is cut wherever the tokens end
            found = loop(f"{start} " + " ".join([phrase] * times) + tail)
            assert found and f"{times} times" in found and "word" in found
        assert loop(f"{start} " + " ".join([phrase] * (times - 2))) is None


@pytest.mark.parametrize(
    "text",
    [
        "Ein Hund läuft. " + "的狗在跑" * 12,
        "A dog. " + "ha" * 30,
        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        "A dog runs " + "!" * 200,
        "".join(f"The camera pans left. Then comes dog {i}. The camera pans left. " for i in range(6)),
        "- a dog runs\n" * 5,
        "The dog runs, The dog runs. the dog runs; The Dog runs",
    ],
)
def test_other_shapes_of_loops(text):
    assert loop(text)


def test_loops_are_looked_for_in_bounded_time():
    for text in ("word " * 200_000, "a" * 1_000_000, "ab" * 500_000, " ".join(map(str, range(200_000)))):
        start = time.process_time()
        loop(text)
        strip_preamble(text)
        assert time.process_time() - start < 5


# ---- templates


def test_a_template_may_name_what_is_known_of_a_clip():
    text = (
        "{{ name }} in {{ folder }} ({{ duration_s|round(1) }} s, {{ style }}, {{ model }}): {{ caption|lower }}"
        "{% for s in segments %}\n{{ loop.index }}. {{ s.start_s }}-{{ s.end_s }} {{ s.caption|replace('.', '!') }}"
        "{% endfor %}{% if segments|length > 1 %}\n{{ id }} {{ path }}{% endif %}\n"
    )
    assert Wording(template=text).apply("A Dog.", RECORD) == (
        "dog 1.v2 in a/b (2.5 s, timed, starter): a dog.\n1. 0.0-1.0 a dog runs!\n2. 1.0-2.5 it jumps!\n"
        "a/b/dog 1.v2.mp4 a/b/dog 1.v2.mp4\n"
    )


def test_what_a_caption_says_is_never_a_template():
    hostile = "{{ ''.__class__ }} {% for i in x %} {# note #}"
    assert Wording(template="[{{ caption }}]").apply(hostile, RECORD) == f"[{hostile}]"
    assert Wording(prefix="{{ id }} ").apply("A dog.", RECORD) == "{{ id }} A dog."


def test_a_template_may_compute():
    text = "{% set place = path.split('/')[0] %}{{ place ~ ': ' ~ caption }}{% if style is none %}!{% endif %}"
    assert Wording(template=text).apply("A dog.", RECORD | {"style": None}) == "a: A dog.!"


@pytest.mark.parametrize(
    "text",
    [
        "{{ ''.__class__ }}",
        "{{ caption.__class__.__mro__ }}",
        "{{ segments.nothing }}",
        "{{ captoin }}",
        "{{ loop.index }}",
        "a\n{{ caption",
        "{{ caption|shout }}",
        "{% for i in range(99999999) %}x{% endfor %}",
        "{{ 1 / 0 }}",
        "{% include 'x' %}",
    ],
)
def test_a_template_that_is_wrong_or_reaches_out_is_refused_at_once(text):
    assert refusal_code(Wording, template=text) == (2, "TEMPLATE")


def test_a_template_that_fails_on_one_clip_fails_that_clip():
    wording = Wording(template="{{ caption }} {{ duration_s|round }}")
    assert refusal_code(wording.apply, "A dog.", {"id": "a", "path": "a.mp4"}) == (3, "TEMPLATE")
    with pytest.raises(ItemError) as caught:
        Wording(template="{% if duration_s is none %}{{ caption }}{% endif %}").apply("A dog.", RECORD)
    assert caught.value.code == "BAD_CAPTION"


# ---- lengths


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory):
    """A CLIP-like tokenizer: one token a word, a start and an end."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = {"<s>": 0, "</s>": 1, "<unk>": 2} | {f"w{i}": i + 3 for i in range(100)}
    inner = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    folder = tmp_path_factory.mktemp("tokenizer")
    made = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
    made.model_max_length = 77
    made.save_pretrained(folder)
    return str(folder)


def test_tokens_are_counted_with_the_encoders_own_tokenizer(tokenizer_folder):
    text = " ".join(f"w{i}" for i in range(80))
    wording = Wording(encoder="clip", tokenizer=tokenizer_folder)
    assert wording.warnings(text) == [
        Notice("LONG_FOR_ENCODER", "82 tokens, clip reads 77; it will not read: w75 w76 w77 w78 w79")
    ]
    assert wording.warnings(" ".join(f"w{i}" for i in range(75))) == []
    assert wording.warnings("w1") == [] == Wording().warnings(text)


def test_without_a_tokenizer_the_count_is_called_an_estimate():
    text = "A small brown dog runs to the left in the snow, then it jumps over a fence. " * 5
    text = text.strip()
    (warning,) = Wording(encoder="clip").warnings(text)
    count, cut = re.fullmatch(
        "an estimated ([0-9]+) tokens, clip reads 77; it will not read: (.+)", warning.message
    ).groups()
    assert warning.code == "LONG_FOR_ENCODER" and 80 <= int(count) <= 130
    assert text.endswith(cut) and Wording(encoder="clip").warnings(text.removesuffix(cut)) == []
    assert Wording(encoder="cogvideox").warnings(text) == []
    assert Wording(max_tokens=20).warnings(text) != []


def test_an_encoder_or_tokenizer_that_is_not_there(tmp_path):
    for options in ({"encoder": "clipp"}, {"tokenizer": "somewhere"}, {"max_tokens": 1}):
        assert refusal_code(Wording, **options) == (2, "USAGE")
    with pytest.raises(MissingDependencyError) as caught:
        Wording(encoder="clip", tokenizer=str(tmp_path / "none")).warnings("A dog.")
    assert caught.value.code == "NO_TOKENIZER"
