"""Stage `language`: the starter's LLM, and its tokenizer, learn the words of the cartoon world from nothing.

In: captions, questions and answers of the world's scenes, no pixels. Out: `final/`, a causal LLM of transformers and
its byte-level BPE tokenizer. In a share of the conversations a line of facts stands where the video will stand, so the
LLM learns to describe the facts it is given before `align` gives them as visual tokens.
Letters: R sequences, L tokens of a sequence (conversations packed one after another), V vocabulary.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from cineloop.training.plan import ModelPart, causal_mask
from cineloop.training.recipe import StageConfig
from cineloop.training.runtime import to_device
from cineloop.world.language.questions import questions
from cineloop.world.language.words import PROMPTS, caption
from cineloop.world.scenes.sampler import sample_scene
from v2t.data.chat import END, IGNORE, START, LabelledTokens, Turn, encode
from v2t.data.film import film_turns
from v2t.train import held_out
from v2t.train.caption_task import answer_loss

VIDEO, END_OF_TEXT = "<video>", "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class Config(StageConfig):
    """The LLM and what it reads.

    `llm` holds `model_type` and the differences to that family's defaults; the vocabulary is set from the tokenizer.
    `init` instead continues from the LLM and tokenizer of a captioner.
    `sequence_length` tokens of conversations stand in a row. `facts_share` of the conversations begin with the facts;
    `film_share` are on notes of a film.
    `tokenizer` names a saved tokenizer; none trains one of `vocab_size` on the texts of `tokenizer_scenes` scenes.
    """

    llm: dict[str, Any] = field(default_factory=dict)
    init: Path | None = None
    vocab_size: int = 1536
    tokenizer_scenes: int = 20_000
    tokenizer: Path | None = None
    sequence_length: int = 512
    facts_share: float = 0.8
    film_share: float = 0.0
    eval_sequences: int = 64
    EVAL_SEED: ClassVar[int] = 7  # of the held-out clips: one value, so that runs compare

    def __post_init__(self) -> None:
        if self.vocab_size < 300:
            raise ValueError(f"vocab_size must hold 256 bytes and the special tokens, got {self.vocab_size}")
        if not (0 <= self.facts_share <= 1 and 0 <= self.film_share <= 1):
            raise ValueError(f"shares must be in [0, 1], got {self.facts_share} and {self.film_share}")
        if bool(self.llm) == bool(self.init):
            raise ValueError("give either llm, the shape of a fresh one, or init, a captioner to take it from")


def facts_line(facts: dict[str, Any]) -> str:
    """The facts of a scene as one terse line, in place of its video."""
    shots = [f"{s['start_s']:.1f}-{s['end_s']:.1f} {s['place']} {s['camera']}" for s in facts["shots"]]
    actors = [f"{a['count']} {a['size']} {a['color']} {a['kind']}" for a in facts["actors"]]
    events = []
    for event in facts["events"]:
        more = [event[key] for key in ("direction", "speed", "to_color") if event[key]]
        target = [f"at {event['target']}"] if event["target"] is not None else []
        times = f"{event['start_s']:.1f}-{event['end_s']:.1f}"
        events.append(" ".join([times, str(event["actor"]), event["action"], *more, *target]))
    relations = [f"{r['a']} {r['relation']} {r['b']}" for r in facts["relations"]]
    parts = [facts["style"], *shots, *(f"{n} is {text}" for n, text in enumerate(actors)), *events, *relations]
    return "; ".join(parts)


def conversation(split: str, seed: int, index: int, facts_share: float, film_share: float = 0.0) -> list[Turn]:
    """Conversation `index` of a stream: a caption in one of the styles, up to six questions, or one on a film."""
    rng = random.Random(f"language|{split}|{seed}|{index}")
    if film_share and rng.random() < film_share:
        return film_turns(split, seed, rng)
    facts = sample_scene(split, seed, index).facts()
    shown = facts_line(facts) + "\n" if rng.random() < facts_share else ""
    if rng.random() < 0.5:
        style = list(PROMPTS)[int(rng.random() * len(PROMPTS))]
        asked = [(PROMPTS[style], caption(facts, style, rng))]
    else:
        asked = [(q["question"], q["answer"]) for q in questions(facts, rng, 6)]
    turns = []
    for question, answer in asked:
        turns += [Turn("user", shown + question), Turn("assistant", answer)]
        shown = ""
    return turns


def train_tokenizer(config: Config) -> Any:
    """A byte-level BPE of `vocab_size` tokens, digits apart, with the chat's special tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    def texts() -> Any:
        for index in range(config.tokenizer_scenes):
            for turn in conversation("train", config.data_seed, index, 0.2):
                yield turn.text

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [END_OF_TEXT, START, END, VIDEO]
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=END_OF_TEXT,
        extra_special_tokens=[START, VIDEO],
        clean_up_tokenization_spaces=False,
    )


@dataclass(frozen=True)
class TextSource:
    """Packed sequences; a pure function of their numbers."""

    split: str
    seed: int
    length: int
    facts_share: float
    film_share: float
    tokenizer: Any

    def __call__(self, start: int, count: int) -> dict[str, torch.Tensor]:
        """`input_ids`, `labels`, `position_ids` (R, L); positions restart with each conversation."""
        rows = [self._row(number) for number in range(start, start + count)]
        return {name: torch.tensor([row[name] for row in rows]) for name in rows[0]}

    def _row(self, number: int) -> dict[str, list[int]]:
        row: dict[str, list[int]] = {"input_ids": [], "labels": [], "position_ids": []}
        index = number * self.length  # a conversation is longer than one token, so rows never share a scene
        while len(row["input_ids"]) < self.length:
            turns = conversation(self.split, self.seed, index, self.facts_share, self.film_share)
            one: LabelledTokens = encode(self.tokenizer, turns)
            row["input_ids"] += one.ids
            # The last token of one conversation must not be asked for the first of the next.
            row["labels"] += [IGNORE, *one.labels[1:]]
            row["position_ids"] += range(len(one.ids))
            index += 1
        return {name: values[: self.length] for name, values in row.items()}


class LanguageTask(nn.Module):
    """A causal LLM with its next-token loss on the answers."""

    def __init__(self, llm: Any) -> None:
        super().__init__()
        self.llm: Any = llm

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Loss sum over answer tokens, and how many of them are guessed right."""
        # Without a mask, transformers reads from the positions where a new conversation begins and keeps them apart.
        hidden = self.llm.model(
            input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False
        ).last_hidden_state  # (R, L, D)
        loss, right, count = answer_loss(hidden, batch["labels"], self.llm.lm_head)
        return {"terms": {"answers": loss}, "metrics": {"tokens_right": (right, count)}}


class LanguageStage:
    """See the module's head."""

    name, unit = "language", "sequences"
    terms = {"answers": 1.0}

    def __init__(self, config: Config) -> None:
        self.config = config
        self._held_out: dict[float, list[dict[str, torch.Tensor]]] = {}

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer: named, kept in the run folder, or trained now."""
        from transformers import AutoTokenizer

        kept = self.config.out / "tokenizer"
        named = self.config.tokenizer or self.config.init
        if named is None and (kept / "tokenizer.json").exists() and (self.config.out / "checkpoints").exists():
            named = kept
        if named is not None:
            return AutoTokenizer.from_pretrained(named)
        tokenizer = train_tokenizer(self.config)
        tokenizer.save_pretrained(kept)
        return tokenizer

    def build(self) -> nn.Module:
        """The LLM, with fresh weights or a captioner's."""
        from transformers import AutoConfig, AutoModelForCausalLM

        if self.config.init is not None:
            return LanguageTask(language_model_of(self.config.init))
        fields = dict(self.config.llm)
        tokenizer = self.tokenizer
        config = AutoConfig.for_model(
            fields.pop("model_type"),
            **fields,
            vocab_size=len(tokenizer),
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=None,
        )
        return LanguageTask(AutoModelForCausalLM.from_config(config))

    def parts(self, task: LanguageTask) -> dict[str, list[nn.Module]]:
        return {"llm": [task.llm]}

    def source(self) -> TextSource:
        return self._source("train", self.config.data_seed, self.config.facts_share)

    def counts(self, batch: dict[str, torch.Tensor]) -> dict[str, float]:
        return {"answers": float((batch["labels"][:, 1:] != IGNORE).sum())}

    def evaluate(self, task: LanguageTask, device: torch.device) -> dict[str, float]:
        """Loss and share of answer tokens guessed right, with the facts and without. `score`: right with facts."""
        figures: dict[str, float] = {}
        for name, share in (("with_facts", 1.0), ("without_facts", 0.0)):
            loss, right, count = 0.0, 0.0, 0.0
            for batch in self._sequences(share):
                output = task(to_device(batch, device))
                loss += float(output["terms"]["answers"])
                right += float(output["metrics"]["tokens_right"][0])
                count += float(output["metrics"]["tokens_right"][1])
            figures |= {f"loss_{name}": loss / count, f"tokens_right_{name}": right / count}
        return {"score": figures["tokens_right_with_facts"], **figures}

    def export(self, task: LanguageTask, folder: Path) -> None:
        """LLM and tokenizer, loadable by `AutoModelForCausalLM` and `AutoTokenizer`."""
        task.llm.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def _source(self, split: str, seed: int, facts_share: float) -> TextSource:
        film_share = self.config.film_share
        return TextSource(split, seed, self.config.sequence_length, facts_share, film_share, self.tokenizer)

    def _sequences(self, facts_share: float) -> list[dict[str, torch.Tensor]]:
        if facts_share not in self._held_out:
            source = self._source("seen", self.config.EVAL_SEED, facts_share)
            count = -(-self.config.eval_sequences // 8) * 8
            self._held_out[facts_share] = held_out.draw(source, count, 8, self.config.loop.workers)
        return self._held_out[facts_share]


def language_model_of(captioner: Path) -> Any:
    """The LLM of a captioner's folder, as a causal LLM of its own in fp32."""
    from transformers import AutoModelForCausalLM

    from v2t.model.weights import load_model

    whole = load_model(str(captioner), dtype=torch.float32)
    llm = AutoModelForCausalLM.from_config(whole.config.text_config, dtype=torch.float32)
    llm.model.load_state_dict(whole.model.language_model.state_dict())
    llm.lm_head.load_state_dict(whole.lm_head.state_dict())
    return llm


def plan_pieces(config: Config) -> tuple[list[ModelPart], str]:
    """The parts that `--plan` counts, and what a sample is."""
    from transformers import AutoConfig, AutoModelForCausalLM

    fields = dict(config.llm)
    shapes = AutoConfig.for_model(fields.pop("model_type"), **fields, vocab_size=config.vocab_size)
    llm: Any = AutoModelForCausalLM.from_config(shapes)
    ids = torch.empty(1, config.sequence_length, dtype=torch.long)
    piece = ModelPart(
        "llm",
        [llm],
        lambda: llm(input_ids=ids, attention_mask=causal_mask(ids), use_cache=False).logits,
        config.sequence_length,
        main=True,
    )
    return [piece], f"sequences of {config.sequence_length} tokens"


build_stage = LanguageStage
