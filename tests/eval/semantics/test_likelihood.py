"""How likely a captioner finds an answer: equal to what the model says token by token."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from small_clips import noise
from v2t.backends.local import Backend

QUESTION = "Is there a dog?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    from tiny_captioner import tiny_captioner

    model, processor = tiny_captioner(seed=5)
    made = tmp_path_factory.mktemp("likelihood") / "tiny"
    model.save_pretrained(made)
    processor.save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def captioner(folder) -> Backend:
    made = Backend(str(folder), device="cpu")
    made.load()
    return made


@pytest.fixture(scope="module")
def parts(folder) -> tuple:
    from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

    return CineloopForConditionalGeneration.from_pretrained(folder).eval(), CineloopProcessor.from_pretrained(folder)


def brute_force(parts: tuple, frames: Frames, answer: str, whole: bool = False) -> float:
    """One forward pass for each token, from pixels, without batch, padding or kept features."""
    import torch

    model, processor = parts
    chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}]
    text = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    inputs = processor(text=[text], videos=[frames], return_tensors="pt")
    ids, total = inputs.pop("input_ids"), 0.0
    inputs.pop("attention_mask")
    tokens = processor.tokenizer(answer, add_special_tokens=False)["input_ids"]
    for token in tokens + [processor.tokenizer.eos_token_id] * whole:
        with torch.no_grad():
            logits = model(input_ids=ids, **inputs).logits[0, -1].double()
        total += float(logits.log_softmax(-1)[token])
        ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
    return total


@pytest.mark.slow
def test_likelihoods_are_the_sum_over_tokens(captioner, parts):
    answers = ["yes", "no", "yellow", "y"]  # of different lengths, so that padding would show
    for seed, num in ((0, 6), (1, 1), (2, 9)):
        frames = noise(seed, num)
        found = captioner.likelihoods(captioner.encode_clip(frames), QUESTION, answers)
        assert found == pytest.approx([brute_force(parts, frames, answer) for answer in answers], abs=1e-4)
    found = captioner.likelihoods(captioner.encode_clip(frames), QUESTION, answers, whole=True)
    assert found == pytest.approx([brute_force(parts, frames, answer, True) for answer in answers], abs=1e-4)


@pytest.mark.slow
def test_each_answer_alone_is_as_likely_as_among_others(captioner):
    watched = captioner.encode_clip(noise(3))
    together = captioner.likelihoods(watched, QUESTION, ["yes", "no", "perhaps"])
    assert together == pytest.approx(
        [captioner.likelihoods(watched, QUESTION, [a])[0] for a in ("yes", "no", "perhaps")]
    )
    assert len({round(value, 6) for value in together}) == 3
    other = captioner.likelihoods(captioner.encode_clip(noise(4)), QUESTION, ["yes", "no", "perhaps"])
    assert other != pytest.approx(together)  # it depends on the clip


def test_chances_of_beginnings_are_shares_of_one(captioner):
    watched = captioner.encode_clip(noise(5))
    letters = [chr(code) for code in range(33, 127)]
    first = [math.exp(value) for value in captioner.likelihoods(watched, QUESTION, letters)]
    assert 0 < sum(first) < 1
    second = captioner.likelihoods(watched, QUESTION, [f"y{letter}" for letter in letters])
    assert 0 < sum(map(math.exp, second)) < first[letters.index("y")]


def test_no_answer_is_refused(captioner):
    watched = captioner.encode_clip(noise(0))
    for answers in ([], [""]):
        with pytest.raises(UsageError, match="one token or more"):
            captioner.likelihoods(watched, QUESTION, answers)


@pytest.mark.slow
def test_many_questions_at_once_are_as_one_by_one(captioner, parts):
    frames = noise(6)
    watched = captioner.encode_clip(frames)
    asks = [
        (QUESTION, ("yes", "no", "yellow", "y"), False),
        ("Is there a cat?", ("yes", "yes, two", "n"), True),
        (QUESTION, ("no",), True),
    ]
    together = captioner.batch_likelihoods(watched, asks)
    alone = [captioner.likelihoods(watched, text, answers, whole=whole) for text, answers, whole in asks]
    assert [len(each) for each in together] == [4, 3, 1]
    for one, other in zip(together, alone, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert together[2][0] == pytest.approx(brute_force(parts, frames, "no", True), abs=1e-4)


def test_questions_that_are_too_many_go_through_in_parts(captioner, monkeypatch):
    from v2t.backends import trie

    watched = captioner.encode_clip(noise(7))
    asks = [(f"Is there a {thing}?", ("yes", "no"), False) for thing in ("dog", "cat", "car", "bus")]
    whole = captioner.batch_likelihoods(watched, asks)
    rounds: list[int] = []
    read = trie._log_probs
    monkeypatch.setattr(trie, "_MAX_NODES", 1)
    monkeypatch.setattr(
        trie, "_log_probs", lambda model, t, steps, seen: rounds.append(len(t)) or read(model, t, steps, seen)
    )
    parts_of_it = captioner.batch_likelihoods(watched, asks)
    assert len(rounds) == 4
    for one, other in zip(whole, parts_of_it, strict=True):
        assert one == pytest.approx(other, abs=1e-4)


def test_a_trie_holds_each_beginning_once_and_shows_a_node_its_ancestors():
    from v2t.backends.trie import Trie

    trie = Trie()
    first = trie.add([5, 6, 7])
    assert trie.add([5, 6, 8]) == 3 and trie.add([6], at=first) == 4 and trie.add([5, 6, 7]) == first
    assert (trie.tokens, trie.parents, trie.depths) == ([5, 6, 7, 8, 6], [-1, 0, 1, 1, 2], [0, 1, 2, 2, 3])
    seen = [[node for node in range(5) if row[node]] for row in trie.attention_mask()]
    assert seen == [[0], [0, 1], [0, 1, 2], [0, 1, 3], [0, 1, 2, 4]]
