"""Questions by a language model: a server and a local model that answer well, badly, or not at all."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from v2t.base.errors import ItemError, MissingDependencyError
from v2t.judge.cache import AnswerCache
from v2t.judge.language import TEMPLATE, Questioner, open_writer, read_questions

ROWS = [
    {"id": "2", "question": "Is the dog red?", "parents": ["1"], "about": "color"},
    {"id": 1, "question": "Is there a dog?", "about": "kind"},
    {"id": "3", "question": "Is it raining?", "about": "weather"},
]
WHOLE = json.dumps({"questions": ROWS})


class Server(ThreadingHTTPServer):
    """An OpenAI-compatible server that replies from a list."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.replies: list[str | int] = []
        self.seen: list[dict] = []

    @property
    def address(self) -> str:
        return f"openai:http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args) -> None:
        pass

    def send(self, status: int, body: object) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self) -> None:
        self.send(200, {"object": "list", "data": [{"id": "writer", "root": "org/writer"}]})

    def do_POST(self) -> None:
        server = self.server
        server.seen.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        reply = server.replies[min(len(server.seen), len(server.replies)) - 1]
        if isinstance(reply, int):
            return self.send(reply, {"error": {"message": "no"}})
        message = {"role": "assistant", "content": reply}
        self.send(200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()


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
        ("1", (), "kind", "yes"), ("2", ("1",), "color", "yes"), ("3", (), "", "yes"),
    ]  # fmt: skip


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
    server.replies = ["I would rather not.", WHOLE]
    cache = AnswerCache(tmp_path / "questions.sqlite")
    asks = Questioner(open_writer(server.address), cache=cache)
    found = asks.questions("A red dog in the rain, {braces} and all")
    assert {q.id for q in found} == {"1", "2", "3"} and len(server.seen) == 2
    assert "{braces} and all" in json.dumps(server.seen[0]["messages"])
    assert server.seen[0]["temperature"] == 0 < server.seen[1]["temperature"]
    again = Questioner(open_writer(server.address), cache=AnswerCache(tmp_path / "questions.sqlite"))
    assert again.questions("A red dog in the rain, {braces} and all") == found and len(server.seen) == 2
    again.questions("Another prompt")
    assert len(server.seen) == 3 and again.fingerprint()["questions"].startswith("writer@")


def test_a_server_that_writes_garbage_or_refuses_is_an_error_of_that_prompt(server, tmp_path):
    server.replies = ["no"]
    cache = AnswerCache(tmp_path / "questions.sqlite")
    with pytest.raises(ItemError, match="2 replies") as problem:
        Questioner(open_writer(server.address), cache=cache).questions("A dog.")
    assert problem.value.code == "QUESTIONS_UNREADABLE" and len(server.seen) == 2
    server.replies = [400]
    with pytest.raises(ItemError) as problem:
        Questioner(open_writer(server.address)).questions("A dog.")
    assert problem.value.code == "BAD_REQUEST"


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
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, max_position_embeddings=len(TEMPLATE) + 200, eos_token_id=len(alphabet),
        bos_token_id=None,
    )  # fmt: skip
    Qwen3ForCausalLM(config).save_pretrained(tmp_path / "tiny")
    tokenizer.save_pretrained(tmp_path / "tiny")
    asks = Questioner(open_writer(str(tmp_path / "tiny")))
    assert asks.fingerprint()["questions"].startswith("tiny@")
    with pytest.raises(ItemError) as problem:
        asks.questions("A dog.")
    assert problem.value.code == "QUESTIONS_UNREADABLE"
    with pytest.raises(ItemError) as problem:
        asks.questions("A dog." * 99)
    assert problem.value.code == "PROMPT_TOO_LONG"
    with pytest.raises(MissingDependencyError):
        open_writer(str(tmp_path / "nothing"))
