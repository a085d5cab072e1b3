"""The starter's own text encoder: a word-level tokenizer and a small bidirectional transformer, trained with the DiT.

In: prompts. Out: a vector per token (B, L, D) for cross-attention, and one per prompt (B, D) for what holds of the
whole clip. Pre-norm blocks (arXiv:2002.04745) with learned positions; no token sees a masked one, so a prompt gets the
same vectors in any batch. The empty prompt is `[BOS][EOS]`, whose learned vectors are the unconditional ones of
guidance. Importing this module registers the classes with transformers' Auto classes.
Letters: B batch, L tokens, D width, h heads, d width of a head.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerFast
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling

from cineloop.errors import UsageError

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[BOS]", "[EOS]")
PAD, UNK, BOS, EOS = range(4)
MAX_TOKENS = 40


class CineloopTextConfig(PreTrainedConfig):
    """Shape of the starter's text encoder.

    Args:
        vocab_size: words and special tokens.
        hidden_size: D; a multiple of `num_heads`.
        num_layers: blocks.
        num_heads: heads of attention.
        ffn_ratio: inner width of a block's feed-forward part in units of D.
        max_position: most tokens of a prompt, `[BOS]` and `[EOS]` included.
        initializer_range: deviation of the initial weights.
        layer_norm_eps: of every norm.

    Raises:
        UsageError: a size below 1, or a width that the heads do not divide.
    """

    model_type = "cineloop_text"

    def __init__(
        self,
        vocab_size: int = 512,
        hidden_size: int = 256,
        num_layers: int = 2,
        num_heads: int = 4,
        ffn_ratio: float = 4.0,
        max_position: int = MAX_TOKENS,
        initializer_range: float = 0.02,
        layer_norm_eps: float = 1e-6,
        **kwargs: Any,
    ) -> None:
        sizes = {
            "vocab_size": vocab_size,
            "hidden_size": hidden_size,
            "num_layers": num_layers,
            "num_heads": num_heads,
            "max_position": max_position,
        }
        for name, value in sizes.items():
            if value < 1:
                raise UsageError(f"{name} must be at least 1, not {value}")
        if hidden_size % num_heads:
            raise UsageError(f"hidden_size must be a multiple of num_heads, not {hidden_size} with {num_heads} heads")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.num_heads = num_heads
        self.ffn_ratio = ffn_ratio
        self.max_position = max_position
        self.initializer_range = initializer_range
        self.layer_norm_eps = layer_norm_eps
        kwargs.setdefault("pad_token_id", PAD)
        kwargs.setdefault("bos_token_id", BOS)
        kwargs.setdefault("eos_token_id", EOS)
        super().__init__(**kwargs)


class CineloopTextBlock(nn.Module):
    """Self-attention over the unmasked tokens, then a feed-forward part; each on a norm of the stream."""

    def __init__(self, config: CineloopTextConfig) -> None:
        super().__init__()
        width, inner = config.hidden_size, int(config.hidden_size * config.ffn_ratio)
        self.num_heads = config.num_heads
        self.norm1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.ffn_in = nn.Linear(width, inner)
        self.ffn_out = nn.Linear(inner, width)

    def forward(self, hidden: Tensor, bias: Tensor) -> Tensor:
        """`hidden` (B, L, D) and what to add to the scores (B, 1, 1, L): (B, L, D)."""
        normed = self.norm1(hidden)
        query, key, value = (
            project(normed).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)  # (B, h, L, d)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        scores = query @ key.transpose(-1, -2) * query.shape[-1] ** -0.5  # (B, h, L, L)
        weights = (scores.float() + bias).softmax(-1).to(value.dtype)
        hidden = hidden + self.to_out((weights @ value).transpose(1, 2).flatten(2))  # (B, L, D)
        return hidden + self.ffn_out(nn.functional.silu(self.ffn_in(self.norm2(hidden))))


class CineloopTextModel(PreTrainedModel):
    """The starter's text encoder; `pooler_output` is the mean over the unmasked tokens through one layer and SiLU."""

    config_class = CineloopTextConfig
    base_model_prefix = "text"
    main_input_name = "input_ids"
    _no_split_modules = ["CineloopTextBlock"]
    _input_embed_layer = "token_embedding"

    def __init__(self, config: CineloopTextConfig) -> None:
        super().__init__(config)
        self.token_embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = nn.Embedding(config.max_position, config.hidden_size)
        self.blocks = nn.ModuleList(CineloopTextBlock(config) for _ in range(config.num_layers))
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.pooler = nn.Linear(config.hidden_size, config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            init.normal_(module.weight, std=self.config.initializer_range)
            init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            init.normal_(module.weight, std=self.config.initializer_range)
        elif isinstance(module, nn.LayerNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        return_dict: bool | None = None,
        **_: Any,
    ) -> BaseModelOutputWithPooling | tuple[Tensor, Tensor]:
        """Encode token ids.

        Args:
            input_ids: (B, L) integers, L at most `config.max_position`; padded on the right.
            attention_mask: (B, L), non-zero where a token is real; None when all are.
            return_dict: False for a plain tuple.

        Returns:
            `last_hidden_state` (B, L, D), whose masked positions mean nothing, and `pooler_output` (B, D).

        Raises:
            UsageError: more tokens than the encoder has positions.
        """
        length = input_ids.shape[1]
        if length > self.config.max_position:
            raise UsageError(
                f"at most {self.config.max_position} tokens a prompt, not {length}",
                hint="shorten the prompt, or let the tokenizer truncate it",
            )
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        real = mask.bool()  # (B, L)
        positions = torch.arange(length, device=input_ids.device)
        hidden = self.token_embedding(input_ids) + self.position_embedding(positions)  # (B, L, D)
        bias = torch.zeros(real.shape, device=hidden.device).masked_fill(~real, torch.finfo(torch.float32).min)
        for block in self.blocks:
            hidden = block(hidden, bias[:, None, None])
        hidden = self.norm(hidden)
        share = real.to(hidden.dtype)[..., None]  # (B, L, 1)
        mean = (hidden * share).sum(1) / share.sum(1).clamp(min=1)  # (B, D)
        pooled = nn.functional.silu(self.pooler(mean))
        if return_dict is False:
            return hidden, pooled
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=pooled)


AutoConfig.register("cineloop_text", CineloopTextConfig, exist_ok=True)
AutoModel.register(CineloopTextConfig, CineloopTextModel, exist_ok=True)


def build_tokenizer(words: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer that knows `words` and the special tokens: lower case, every punctuation mark apart.

    Ids: 0 `[PAD]`, 1 `[UNK]`, 2 `[BOS]`, 3 `[EOS]`, then the words in the order given. A prompt becomes
    `[BOS] … [EOS]`, at most `MAX_TOKENS` with truncation on.

    Raises:
        UsageError: a word twice, or one that is not a single lower-case token.
    """
    from tokenizers import Tokenizer, models, processors

    words = list(words)
    splitter = _splitter()
    for word in words:
        if [piece for piece, _ in splitter.pre_tokenize_str(word)] != [word] or word != word.lower():
            raise UsageError(f"a word of the vocabulary must be one lower-case token, not {word!r}")
    if len(set(words)) < len(words):
        twice = sorted({word for word in words if words.count(word) > 1})
        raise UsageError(f"words of the vocabulary must differ; twice: {', '.join(twice)}")
    ids = {word: i for i, word in enumerate((*SPECIAL_TOKENS, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocab=ids, unk_token="[UNK]"))
    tokenizer.normalizer = _normalizer()
    tokenizer.pre_tokenizer = splitter
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", BOS), ("[EOS]", EOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[BOS]",
        eos_token="[EOS]",
        model_max_length=MAX_TOKENS,
        padding_side="right",
        truncation_side="right",
        clean_up_tokenization_spaces=False,
    )


def _normalizer() -> Any:
    from tokenizers import normalizers

    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])


def _splitter() -> Any:
    from tokenizers import pre_tokenizers

    return pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")])


@cache
def world_words(num_scenes: int = 3000) -> tuple[str, ...]:
    """Every word the cartoon world's prompts and captions are written with, sorted; the same list on every machine.

    Verbs come from the lexicon in all their forms; the rest from `num_scenes` scenes of one figure and as many of the
    full world, in all the wordings a prompt may have, those held out from training included.
    """
    from cineloop.world.language import lexicon
    from cineloop.world.language.grammar import inflect
    from cineloop.world.language.words import caption
    from cineloop.world.scenes.sampler import sample_scene
    from cineloop.world.scenes.solo import prompt, sample_solo

    rng = random.Random("words of the world")
    texts = [inflect(verb, ending) for ending in ("bare", "s", "ing") for v in lexicon.VERBS.values() for verb in v]
    for index in range(num_scenes):
        solo = sample_solo("unseen" if index % 2 else "train", 0, index).facts()
        texts += [prompt(solo, rng, unseen_wording=held_out) for held_out in (False, True)]
        for facts in (solo, sample_scene("unseen" if index % 2 else "train", 0, index).facts()):
            texts += [caption(facts, style, rng) for style in ("short", "detailed")]
    normalizer, splitter = _normalizer(), _splitter()
    return tuple(sorted({w for text in texts for w, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))}))
