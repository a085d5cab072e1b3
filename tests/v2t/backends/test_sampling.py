"""A `Decoding` means the same in every backend: the tokens that two of them draw, and what two others are sent."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from v2t.backends import Decoding, GenerateRequest, hf, local, openai, user_turn, vllm
from v2t.backends.batching import Batcher

KINDS = {
    "greedy": {},
    "drawn": {"temperature": 1.5, "seed": 3},
    "another seed": {"temperature": 1.5, "seed": 4},
    "likeliest half": {"temperature": 1.5, "top_p": 0.5, "seed": 3},
    "penalised": {"repetition_penalty": 1.7},
    "penalised in the answer": {"presence_penalty": 0.5, "frequency_penalty": -2.0},
}


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """The same weights in both backends of this process."""
    from tiny_captioner import tiny_captioner

    folder = tmp_path_factory.mktemp("sampling")
    for part in tiny_captioner(seed=3):
        part.save_pretrained(folder)
    made = [module.Backend(str(folder), device="cpu") for module in (local, hf)]
    for captioner in made:
        captioner.load()
        captioner._model.generation_config.top_k = 2  # what a checkpoint prefers changes nothing
    return made


def requests(**decoding) -> list[GenerateRequest]:
    """Three questions without a video: how a clip's times are put in words is each backend's own."""
    how = Decoding(max_new_tokens=12, **decoding)
    return [GenerateRequest(messages=user_turn(f"What {i}?"), decoding=how) for i in range(3)]


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_two_backends_write_the_same_tokens_alone_and_in_a_batch(two, kind):
    one, other = (
        [output.text for output in Batcher(captioner).generate_many(requests(**KINDS[kind]))] for captioner in two
    )
    assert one == other and any(one)
    assert one == [Batcher(two[0]).generate(request).text for request in requests(**KINDS[kind])]


@pytest.mark.slow
def test_each_kind_of_decoding_writes_something_else(two):
    texts = [Batcher(two[0]).generate(requests(**how)[0]).text for how in KINDS.values()]
    assert len(set(texts)) == len(KINDS)


@pytest.mark.parametrize("owner", ["vllm", "other"])
def test_a_server_is_sent_all_that_it_would_else_take_from_the_checkpoint(owner):
    captioner = openai.Backend("openai:http://127.0.0.1:9/v1#m", frames_as="images")
    captioner._form, captioner._card = "images", {"id": "m", "owned_by": owner}
    names = {"temperature", "top_p", "top_k", "seed", "repetition_penalty", "presence_penalty", "frequency_penalty"}
    sent = {
        kind: {name: value for name, value in captioner._request(r.messages, r.decoding).items() if name in names}
        for kind, how in KINDS.items()
        for r in requests(**how)[:1]
    }
    everything = {"top_k": -1} if owner == "vllm" else {}  # OpenAI's own servers refuse the name
    assert sent["greedy"] == {"temperature": 0.0, "seed": 0}
    assert sent["drawn"] == {"temperature": 1.5, "top_p": 1.0, "seed": 3, **everything}
    assert sent["likeliest half"] == {"temperature": 1.5, "top_p": 0.5, "seed": 3, **everything}
    assert sent["penalised"] == {"temperature": 0.0, "seed": 0, "repetition_penalty": 1.7}
    assert sent["penalised in the answer"] == {
        "temperature": 0.0,
        "seed": 0,
        "presence_penalty": 0.5,
        "frequency_penalty": -2.0,
    }


def test_vllms_engine_is_given_the_same(monkeypatch):
    engine, params = ModuleType("vllm"), ModuleType("vllm.sampling_params")
    engine.SamplingParams = lambda **given: given
    params.RequestOutputKind = SimpleNamespace(DELTA="delta", FINAL_ONLY="final")
    monkeypatch.setitem(sys.modules, "vllm", engine)
    monkeypatch.setitem(sys.modules, "vllm.sampling_params", params)
    captioner = object.__new__(vllm.Backend)
    plain = {"max_tokens": 12, "temperature": 0.0, "top_p": 1.0, "seed": None, "output_kind": "final"}
    plain |= {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    for how in KINDS.values():
        drawn = {"seed": how["seed"]} if how.get("temperature") else {}
        assert captioner._sampling(requests(**how)[0].decoding) == {**plain, **how, **drawn}
