"""Event F1: arithmetic over sources, the world's judge, a language model's replies, a server and a model of our own."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import openai_server
import v2t_eval.metrics.event_f1 as event_f1
from cineloop.errors import ItemError, MissingDependencyError
from cineloop.intervals import wilson
from cineloop.world.scenes.corpus import WorldConfig, manifest_row
from metric_results import result_of
from v2t_eval.core.sample import Sample
from v2t_eval.metrics.event_f1 import Metric, f1
from v2t_eval.text.events import LanguageJudge, open_judge, read_events, read_verdicts


class WordJudge:
    """Every word is an event, and a text entails the words that stand in it."""

    def describe(self) -> dict[str, str]:
        return {"judge": "words"}

    def events(self, text: str) -> list[str]:
        return text.split()

    def entails(self, events: list[str], text: str) -> list[str]:
        return ["entailment" if event in text.split() else "neutral" for event in events]


def asked(id: str, caption: str, reference: str, source: str | None = None) -> Sample:
    return Sample(id=id, caption=caption, references=(reference,), row={"source": source} if source else {})


score = partial(result_of, Metric)


@pytest.fixture
def by_words(monkeypatch):
    monkeypatch.setattr(event_f1, "open_judge", lambda name: WordJudge())


def test_f1_is_that_of_the_means_over_sources(by_words) -> None:
    samples = [
        asked("a", "x y", "x y z w", "tv"),  # recall 1/2, precision 1
        asked("b", "x", "y", "tv"),  # 0, 0
        asked("c", "x y z q", "x y z", "film"),  # 1, 3/4
    ]
    result = score(*samples)
    assert result.figures["recall"].value == pytest.approx((0.25 + 1) / 2)
    assert result.figures["precision"].value == pytest.approx((0.5 + 0.75) / 2)
    assert result.value == pytest.approx(f1(0.625, 0.625))
    assert result.figures["f1 of tv"].value == pytest.approx(f1(0.25, 0.5))
    assert [item["value"] for item in result.items] == pytest.approx([f1(0.5, 1), 0, f1(1, 0.75)])
    assert score(*reversed(samples)) == result
    alone = score(*[Sample(id=one.id, caption=one.caption, references=one.references) for one in samples])
    assert alone.figures["recall"].value == pytest.approx(1.5 / 3) and list(alone.figures) == [
        "f1",
        "recall",
        "precision",
    ]


def test_texts_without_events(by_words) -> None:
    samples = (asked("a", "x", "x"), asked("b", "", "x y"), asked("c", "x", ""))
    compat, fixed = score(*samples), score(*samples, mode="fixed")
    assert compat.figures["recall"].value == pytest.approx((1 + 0 + 1) / 3)
    assert compat.figures["precision"].value == pytest.approx((1 + 1 + 0) / 3)
    assert fixed.figures["recall"].value == 0.5 and fixed.figures["precision"].value == 0.5
    for result in (compat, fixed):
        assert result.counts["captions without events"] == result.counts["references without events"] == 1
        assert result.coverage == 1.0
    assert [item["value"] for item in fixed.items] == [1.0, None, None]
    silent = score(asked("a", "", "x y"), asked("b", "", "z"))
    assert silent.figures["precision"].value == 1.0 and silent.value == 0.0


def test_intervals_count_clusters(by_words) -> None:
    given = [asked(f"{n:03}", "x y"[: 1 + 2 * (n % 2)], "x y z"[: 1 + 2 * (n % 3)]) for n in range(60)]
    copies = [
        Sample(id=f"{one.id}/{copy}", caption=one.caption, references=one.references, cluster=one.id)
        for one in given
        for copy in range(3)
    ]
    whole, copied = score(*given).figures["f1"], score(*copies).figures["f1"]
    assert (copied.value, copied.low, copied.high) == pytest.approx((whole.value, whole.low, whole.high))
    assert 0.02 < whole.high - whole.low < 0.3
    few = score(*given[:5]).figures["f1"]
    assert few.high - few.low > 2 * (whole.high - whole.low)


# --- the judge of the cartoon world

SAID = "A red bird jumps while two yellow buses drive to the left. A cat chases a dog."


@pytest.mark.parametrize(
    ("other", "verdicts"),
    [
        (SAID, ["entailment"] * 3),
        ("A yellow bus drives left, then a small red bird jumps quickly.", ["entailment", "entailment", "neutral"]),
        ("A blue bird jumps. Two yellow buses drive to the right.", ["contradiction", "contradiction", "neutral"]),
        ("A bird jumps. A dog chases a cat.", ["neutral", "neutral", "neutral"]),
        ("A cat chases a bird.", ["neutral", "neutral", "contradiction"]),
        ("", ["neutral"] * 3),
    ],
)
def test_the_judge_of_the_world(other: str, verdicts: list[str]) -> None:
    judge = open_judge("world")
    events = judge.events(SAID)
    assert events[0] == "actor=bird; color=red; action=jump" and len(events) == 3
    assert judge.entails(events, other) == verdicts


def test_who_meets_whom_has_no_order() -> None:
    judge = open_judge("world")
    assert judge.entails(judge.events("A red bird meets a blue cat."), "A blue cat meets a red bird.") == ["entailment"]
    chase = judge.events("A red bird chases a blue cat.")
    assert judge.entails(chase, "A blue cat chases a red bird.") == ["neutral"]


def mirror(text: str) -> str:
    return text.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")


def test_true_captions_of_the_world_score_one_and_others_little() -> None:
    config = WorldConfig(num=40, seed=31, split="seen")
    rows = [manifest_row(config, index) for index in range(40)]
    texts = [row["captions"]["short"] for row in rows]
    same = score(*[asked(str(n), told[1], told[0]) for n, told in enumerate(texts)])
    assert same.value == 1.0 and same.figures["recall"].low == pytest.approx(wilson(40, 40).low)
    other = score(*[asked(str(n), texts[n - 1][0], told[0]) for n, told in enumerate(texts)])
    assert other.value < 0.1 < same.value and other.counts["neutral"] > 40
    mirrored = score(*[asked(str(n), mirror(told[0]), told[0]) for n, told in enumerate(texts)])
    assert other.value < mirrored.value < 0.9 and mirrored.counts["contradiction"] > 10


def test_text_from_elsewhere_is_a_failure_and_no_zero() -> None:
    speech = "A man in a grey suit is speaking into a microphone while people applaud. He walks off."
    result = score(asked("a", "A red bird jumps.", "A red bird jumps."), asked("b", speech, "A red bird jumps."))
    assert result.value == 1.0 and result.coverage == 0.5 and result.failures[0]["code"] == "OUT_OF_DOMAIN"


@pytest.mark.parametrize(
    "caption",
    ["A giraffe runs to the left.", "A red dog runs to the left, then a giraffe jumps.", "A red dog gallops."],
)
def test_a_text_with_one_unknown_word_is_not_read_without_it(caption: str) -> None:
    """Without the word, whatever runs would be the giraffe, the dog would jump, and nothing would happen at all."""
    true = "A red dog runs to the left in the meadow. It jumps."
    for pair in ((caption, true), (true, caption)):
        result = score(asked("a", *pair))
        assert result.coverage == 0 and [each["code"] for each in result.failures] == ["OUT_OF_DOMAIN"]


# --- a language model


@pytest.mark.parametrize(
    ("reply", "events"),
    [
        ('{"events": ["a dog runs", "a dog barks"]}', ["a dog runs", "a dog barks"]),
        ("{'events': ['the dog\\'s owner waves']}", ["the dog's owner waves"]),
        ('Sure!\n```json\n{"events": []}\n```', []),
        ('["a dog runs", "a dog  runs"]', ["a dog runs"]),
        ('<think>{"events": ["no"]}</think>{"events": ["yes"]}', ["yes"]),
        ('I counted [1] event: {"events": ["a dog runs"]} as asked', ["a dog runs"]),
        ("A dog runs.", None), ('{"events": "a dog runs"}', None), ('{"events": [1]}', None), ("", None),
        ('{"events": ["a dog', None),
    ],
)  # fmt: skip
def test_reading_events(reply: str, events: list[str] | None) -> None:
    if events is None:
        with pytest.raises(ValueError, match="no list"):
            read_events(reply)
    else:
        assert read_events(reply) == events


def told(*verdicts: str) -> str:
    return json.dumps({"events": [{"event": "e", "relationship": verdict} for verdict in verdicts]})


def test_reading_verdicts() -> None:
    assert read_verdicts(f"```json\n{told('Entailment', 'neutral ')}\n```", 2) == ["entailment", "neutral"]
    for reply, num in ((told("entailment"), 2), (told("entailed"), 1), ("yes", 1), ("{}", 1), (told(), 1)):
        with pytest.raises(ValueError, match="verdicts"):
            read_verdicts(reply, num)


class Scripted:
    """A model that gives prepared replies and remembers what it was asked."""

    def __init__(self, *replies: str) -> None:
        self.replies, self.asked = list(replies), []

    name, revision = "scripted", "1"

    def write(self, prompt: str, *, temperature: float, seed: int) -> str:
        self.asked.append((prompt, temperature, seed))
        return self.replies.pop(0)

    def describe(self) -> dict[str, str]:
        return {"judge": "scripted"}


def test_a_reply_that_cannot_be_read_is_asked_for_again() -> None:
    model = Scripted("hm", "hm", '{"events": ["a dog runs"]}')
    assert LanguageJudge(model).events('A "big" Dog runs') == ["a dog runs"]
    assert "a 'big' dog runs" in model.asked[0][0]
    assert [(heat, seed) for _, heat, seed in model.asked] == [(0.0, 0), (0.7, 1), (0.7, 2)]
    with pytest.raises(ItemError, match="3 replies") as caught:
        LanguageJudge(Scripted("hm", "hm", "hm")).events("a dog runs")
    assert caught.value.code == "JUDGE_UNREADABLE"
    silent = Scripted()
    assert LanguageJudge(silent).events(" ") == [] and LanguageJudge(silent).entails([], "x") == []


def test_unreadable_judgements_are_failures(monkeypatch) -> None:
    events, right = '{"events": ["a dog runs"]}', told("entailment")
    model = Scripted(events, events, right, right, events, events, "hm", "hm", "hm")
    monkeypatch.setattr(event_f1, "open_judge", lambda name: LanguageJudge(model))
    result = score(asked("a", "a dog runs", "a dog runs"), asked("b", "a dog runs", "a dog runs"), judge="somewhere")
    assert result.value == 1.0 and result.coverage == 0.5 and result.failures[0]["code"] == "JUDGE_UNREADABLE"


class Judge(openai_server.Handler):
    """Finds every word to be an event, and lets any text entail "dog"."""

    def reply(self, number: int, request: dict) -> None:
        asked = request["messages"][-1]["content"]
        prompt = asked if isinstance(asked, str) else " ".join(part.get("text", "") for part in asked)
        if "Here are some events" in prompt:
            events = json.loads(prompt[prompt.index("[") : prompt.index("]") + 1])
            return self.say(told(*["entailment" if event == "dog" else "contradiction" for event in events]))
        self.say(json.dumps({"events": prompt.splitlines()[1].split()}))


class Judging(openai_server.Server):
    handler, models = Judge, ({"id": "judge-1", "root": "judge-1"},)


def test_a_judge_behind_an_address() -> None:
    with openai_server.serving(Judging()) as server:
        result = score(asked("a", "Dog cat", "dog"), judge=server.address)
    assert result.figures["recall"].value == 1.0 and result.figures["precision"].value == 0.5
    assert result.items[0]["stated"] == [["dog", "entailment"], ["cat", "contradiction"]]
    assert result.fingerprint["judge"] == "judge-1" and result.counts["contradiction"] == 1


@pytest.mark.slow
def test_a_language_model_of_this_machine(tmp_path: Path, monkeypatch) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from v2t_eval.judge import language

    monkeypatch.setattr(language, "MAX_NEW_TOKENS", 12)
    tokens = Tokenizer(models.WordLevel({word: n for n, word in enumerate(["[UNK]", "a", "dog", "runs"])}, "[UNK]"))
    tokens.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokens, unk_token="[UNK]").save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        max_position_embeddings=400,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    metric = Metric(judge=str(tmp_path))
    metric.prepare()
    metric.update(asked("a", "a dog runs", "a dog runs"))
    failure = metric.compute().failures[0]
    assert failure["code"] == "JUDGE_UNREADABLE"  # it knows four words
    model = language.Local(str(tmp_path))
    assert metric.fingerprint()["judge_revision"] == model.revision

    def reply(prompt: str, temperature: float, seed: int) -> str:
        return model.write(prompt, temperature=temperature, seed=seed)

    assert reply("a dog", 0.0, 0) == reply("a dog", 0.0, 1)
    assert reply("a dog", 1.0, 1) == reply("a dog", 1.0, 1) != reply("a dog", 1.0, 2)
    with pytest.raises(ItemError, match="500 tokens"):
        reply("dog " * 500, 0.0, 0)
    with pytest.raises(MissingDependencyError):
        Metric(judge=str(tmp_path / "none")).prepare()
