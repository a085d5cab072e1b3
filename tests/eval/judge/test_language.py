"""Questions by a language model: a server and a local model that answer well, badly, or not at all."""

from __future__ import annotations

import json

import pytest

from cineloop.errors import ItemError, MissingDependencyError
from openai_server import serving
from v2t_eval.core.cache import EvidenceCache
from v2t_eval.judge.language import (
    DUPLICATE,
    MALFORMED,
    NOT_ENTAILED,
    TEMPLATE,
    Questioner,
    check_form,
    open_writer,
    read_questions,
)
from v2t_eval.judge.question import from_row

ROWS = [
    {"id": "2", "question": "Is the dog red?", "parents": ["1"], "about": "color"},
    {"id": 1, "question": "Is there a dog?", "about": "kind"},
    {"id": "3", "question": "Is it raining?", "about": "weather"},
]
WHOLE = json.dumps({"questions": ROWS})
VERDICTS = json.dumps({"answers": {"1": "yes", "2": "Yes", "3": "yes"}})


@pytest.fixture
def server():
    with serving() as made:
        yield made


@pytest.mark.parametrize(
    "reply",
    [
        WHOLE,
        json.dumps(ROWS),
        f"Here they are:\n```json\n{WHOLE}\n```\nDo you want more?",
        f"{WHOLE}\nI hope this helps {{you}}!",
        f"<think>[1, 2] or {{}}?</think>\n{WHOLE}",
    ],
)
def test_questions_are_read_from_json_with_whatever_stands_around_it(reply):
    found = sorted(read_questions(reply), key=lambda question: question.id)
    assert [(q.id, q.parents, q.about, q.answer) for q in found] == [
        ("1", (), "kind", "yes"),
        ("2", ("1",), "color", "yes"),
        ("3", (), "", "yes"),
    ]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("", "QUESTIONS_UNREADABLE"),
        ("1. Is there a dog?", "QUESTIONS_UNREADABLE"),
        (WHOLE[:-9], "QUESTIONS_UNREADABLE"),
        ('{"questions": []}', "QUESTIONS_UNREADABLE"),
        ('{"questions": ["Is there a dog?"]}', "QUESTIONS_UNREADABLE"),
        (json.dumps([ROWS[1]] * 30), "QUESTIONS_UNREADABLE"),
        (json.dumps([ROWS[0]]), "BAD_QUESTIONS"),
        (json.dumps([{"id": 1, "question": "A?", "parents": 5.5}]), None),
        ("[" * 100000, "QUESTIONS_UNREADABLE"),
    ],
)
def test_what_is_no_list_of_questions_is_an_error_with_a_code(reply, code):
    with pytest.raises(ItemError) as problem:
        read_questions(reply)
    assert problem.value.code == (code or "QUESTIONS_UNREADABLE")


def test_a_server_is_asked_with_the_prompt_once_more_after_garbage_and_never_again(server, tmp_path):
    server.replies = ["I would rather not.", WHOLE, VERDICTS, WHOLE, VERDICTS]
    cache = EvidenceCache(tmp_path).__enter__()
    asks = Questioner(open_writer(server.address), cache=cache)
    found, dropped = asks.questions_of("A red dog in the rain, {braces} and all")
    assert {q.id for q in found} == {"1", "2", "3"} and not dropped and len(server.seen) == 3
    assert all("{braces} and all" in json.dumps(seen["messages"]) for seen in server.seen)
    assert "Is it raining?" in json.dumps(server.seen[2]["messages"]), "the check shows the questions"
    assert server.seen[0]["temperature"] == 0 < server.seen[1]["temperature"]
    again = Questioner(open_writer(server.address), cache=EvidenceCache(tmp_path).__enter__())
    assert again.questions_of("A red dog in the rain, {braces} and all") == (found, []) and len(server.seen) == 3
    again.questions_of("Another prompt")
    assert len(server.seen) == 5 and again.fingerprint()["questions"].startswith("tiny@")


def test_a_question_that_the_prompt_does_not_answer_with_yes_is_dropped_and_its_children_move_up(server):
    rows = [
        {"id": 1, "question": "Is there a dog?"},
        {"id": 2, "question": "Is the dog large?", "parents": [1]},
        {"id": 3, "question": "Is the large dog red?", "parents": [2]},
        {"id": 4, "question": "is there a DOG?"},
        {"id": 5, "question": "Does the dog run?", "parents": [4]},
        {"id": 6, "question": "What does the dog do?", "parents": [1]},
    ]
    server.replies = [json.dumps(rows), json.dumps({"1": "yes", "2": "unknown", "3": "yes", "5": "yes"})]
    found, dropped = Questioner(open_writer(server.address)).questions_of("A red dog runs.")
    assert {q.id: q.parents for q in found} == {"1": (), "3": ("1",), "5": ("1",)}
    assert {(each.question, each.why) for each in dropped} == {
        ("is there a DOG?", DUPLICATE),
        ("What does the dog do?", MALFORMED),
        ("Is the dog large?", NOT_ENTAILED),
    }


def test_dropping_keeps_the_graph_whole():
    chain = [
        {"id": n, "question": f"Is it {n}?" if n % 2 else f"{n}?", "parents": [n - 1] if n else []} for n in range(7)
    ]
    kept, dropped = check_form(from_row(chain, "x"))
    assert {q.id: q.parents for q in kept} == {"1": (), "3": ("1",), "5": ("3",)} and len(dropped) == 4


def test_a_prompt_of_which_no_question_is_left_is_an_error(server):
    server.replies = [WHOLE, json.dumps({"1": "no", "2": "unknown", "3": "no"})]
    with pytest.raises(ItemError, match="all 3 questions") as problem:
        Questioner(open_writer(server.address)).questions_of("A cat.")
    assert problem.value.code == "QUESTIONS_DROPPED"


@pytest.mark.parametrize("verdicts", ["yes, all of them", '{"1": "yes"}', "[]"])
def test_a_check_that_cannot_be_read_is_an_error(server, verdicts):
    server.replies = [WHOLE, verdicts]
    with pytest.raises(ItemError, match="2 attempts") as problem:
        Questioner(open_writer(server.address)).questions_of("A dog.")
    assert problem.value.code == "QUESTIONS_UNREADABLE" and len(server.seen) == 3


def test_a_server_that_writes_garbage_or_refuses_is_an_error_of_that_prompt(server, tmp_path):
    server.replies = ["no"]
    cache = EvidenceCache(tmp_path).__enter__()
    with pytest.raises(ItemError, match="2 attempts") as problem:
        Questioner(open_writer(server.address), cache=cache).questions_of("A dog.")
    assert problem.value.code == "QUESTIONS_UNREADABLE" and len(server.seen) == 2
    server.replies = [400]
    with pytest.raises(ItemError) as problem:
        Questioner(open_writer(server.address)).questions_of("A dog.")
    assert problem.value.code == "BAD_REQUEST"


@pytest.mark.slow
def test_a_local_model_that_writes_garbage_fails_cleanly(tmp_path):
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    alphabet = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bpe = Tokenizer(models.BPE(vocab={**alphabet, "<end>": len(alphabet)}, merges=[]))
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<end>", pad_token="<end>")
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=len(TEMPLATE) + 200,
        eos_token_id=len(alphabet),
        bos_token_id=None,
    )
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    asks = Questioner(open_writer(str(tmp_path / "tiny")))
    assert asks.fingerprint()["questions"].startswith("tiny@")
    with pytest.raises(ItemError) as problem:
        asks.questions_of("A dog.")
    assert problem.value.code == "QUESTIONS_UNREADABLE"
    with pytest.raises(ItemError) as problem:
        asks.questions_of("A dog." * 99)
    assert problem.value.code == "PROMPT_TOO_LONG"
    with pytest.raises(MissingDependencyError):
        open_writer(str(tmp_path / "nothing"))
