"""Prompts to vectors for the generator: the starter's own encoder, T5, UMT5 or CLIP.

In: prompts. Out: `PromptEmbeds`: a vector per token (B, L, D), which of them are real (B, L), and where the encoder has
one a vector per prompt (B, P). Padded to the longest prompt of the batch, zero where padded, and what stands at a real
token does not depend on the padding. Losses of a prompt are logged: words cut off at the end, unknown words. Importing
this module registers the starter's encoder with transformers' Auto classes.
As diffusers' pipelines take them: T5 and UMT5 the last hidden state (Wan, CogVideoX), CLIP also its pooled vector
(Stable Diffusion 3).
Letters: B batch, L tokens, D width, P width of the pooled vector.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from torch.nn import functional as nnf
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from cineloop.errors import MissingDependencyError, UsageError
from cineloop.log import logger, printable
from t2v.model.text_starter import CineloopTextConfig, CineloopTextModel, build_tokenizer, world_words

__all__ = [
    "CineloopTextConfig",
    "CineloopTextModel",
    "PromptEmbeds",
    "PromptEncoder",
    "build_tokenizer",
    "join",
    "open_text_encoder",
    "world_words",
]

# Kinds of encoder by the model type of their config; the class loads the encoder alone out of a larger model.
ENCODERS = {
    "cineloop_text": "CineloopTextModel",
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "mt5": "MT5EncoderModel",
    "clip": "CLIPTextModel",
    "clip_text_model": "CLIPTextModel",
}
MOST_TOKENS = 512  # where neither tokenizer nor encoder says


@dataclass(frozen=True)
class PromptEmbeds:
    """Encoded prompts: `embeds` (B, L, D), zero where `mask` (B, L, bool) is False; `pooled` (B, P) or None."""

    embeds: Tensor
    mask: Tensor
    pooled: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeds)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PromptEmbeds:
        """The same elsewhere, or in another floating type; the mask stays boolean."""
        pooled = None if self.pooled is None else self.pooled.to(device, dtype)
        return PromptEmbeds(self.embeds.to(device, dtype), self.mask.to(device), pooled)

    def repeat(self, times: int) -> PromptEmbeds:
        """Each prompt `times` times in a row: (B * times, L, D)."""
        pooled = None if self.pooled is None else self.pooled.repeat_interleave(times, 0)
        return PromptEmbeds(self.embeds.repeat_interleave(times, 0), self.mask.repeat_interleave(times, 0), pooled)

    def pad_to(self, length: int) -> PromptEmbeds:
        """At least `length` tokens, the added ones masked: (B, max(L, length), D)."""
        more = max(0, length - self.mask.shape[1])
        return PromptEmbeds(nnf.pad(self.embeds, (0, 0, 0, more)), nnf.pad(self.mask, (0, more)), self.pooled)


def join(*parts: PromptEmbeds) -> PromptEmbeds:
    """One batch of several, padded to the longest; such as the prompts and the empty prompts of guidance."""
    length = max(part.mask.shape[1] for part in parts)
    parts = tuple(part.pad_to(length) for part in parts)
    pooled = [part.pooled for part in parts if part.pooled is not None]
    if pooled and len(pooled) < len(parts):
        raise UsageError("prompts with and without a pooled vector do not go into one batch")
    embeds, mask = torch.cat([p.embeds for p in parts]), torch.cat([p.mask for p in parts])  # (sum B, L, D), (sum B, L)
    return PromptEmbeds(embeds, mask, torch.cat(pooled) if pooled else None)


class PromptEncoder:
    """A tokenizer with its text encoder; what kind of encoder it is, its config says.

    Args:
        tokenizer, text_encoder: that belong together; both as transformers loads them.
        warns_of_unknown_words: False where the caller names them itself.

    Raises:
        UsageError: an encoder that cannot be used for prompts.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder: PreTrainedModel,
        *,
        warns_of_unknown_words: bool = True,
    ) -> None:
        self.tokenizer: Any = tokenizer
        self.text_encoder: Any = text_encoder
        self.warns_of_unknown_words = warns_of_unknown_words
        _encoder_class(text_encoder.config)
        self._logged: set[str] = set()

    @property
    def width(self) -> int:
        """D, of the vectors of tokens."""
        config = self.text_encoder.config
        return int(getattr(config, "d_model", None) or config.hidden_size)

    @property
    def most_tokens(self) -> int:
        """The longest prompt in tokens: what tokenizer and encoder can take, and at most `MOST_TOKENS`."""
        config = self.text_encoder.config
        known = [getattr(config, name, None) for name in ("max_position", "max_position_embeddings")]
        return min(MOST_TOKENS, self.tokenizer.model_max_length, *(n for n in known if n))

    @torch.no_grad()
    def encode(self, prompts: str | Sequence[str], max_length: int | None = None) -> PromptEmbeds:
        """Encode prompts; an empty one is the unconditional one.

        Args:
            prompts: B texts.
            max_length: most tokens of a prompt, those that begin and end it included; None for all the encoder takes.

        Returns:
            Embeddings on the encoder's device in its dtype, L that of the longest prompt.

        Raises:
            UsageError: no prompt, or `max_length` beyond what the encoder takes.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        if not prompts:
            raise UsageError("there is no prompt to encode")
        most = self.most_tokens
        if max_length is not None and not 1 <= max_length <= most:
            raise UsageError(f"max_length must lie from 1 to {most} for this text encoder, not {max_length}")
        ids, mask = self._tokens(prompts, max_length or most)
        # Hooks that keep the weights elsewhere until they are wanted bring the input along, and weights may be nowhere.
        device = torch.device("cpu") if self.text_encoder.device.type == "meta" else self.text_encoder.device
        output = self.text_encoder(input_ids=ids.to(device), attention_mask=mask.to(device))
        hidden = output.last_hidden_state  # (B, L, D)
        real = mask.to(hidden.device).bool()
        return PromptEmbeds(hidden.masked_fill(~real[..., None], 0), real, getattr(output, "pooler_output", None))

    def _tokens(self, prompts: list[str], most: int) -> tuple[Tensor, Tensor]:
        """Token ids and mask, (B, L) each, padded on the right; the losses are warned of."""
        rows = []
        for text in prompts:
            # `verbose` would say of the whole prompt that it is too long, before it is cut.
            row = self.tokenizer(text, verbose=False)
            if len(whole := row.input_ids) > most:
                row = self.tokenizer(text, truncation=True, max_length=most)
                lost = self._lost_words(text, whole, row.input_ids)
                self._say(f"the prompt has {len(whole)} tokens, {most} are read; lost: {lost}")
            if self.warns_of_unknown_words and (unknown := self._unknown(text, row.input_ids)):
                self._say(f"words the text encoder does not know: {', '.join(unknown)}")
            rows.append(list(row.input_ids))
        length = max(map(len, rows))
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows])  # (B, L)
        counts = torch.tensor([[len(row)] for row in rows])  # (B, 1)
        return ids, (torch.arange(length) < counts).long()

    def _say(self, message: str) -> None:
        """Warn of the same thing once only: prompts come again and again in training."""
        if message not in self._logged:
            self._logged.add(message)
            logger.warning("%s", printable(message))

    def _spans(self, text: str) -> list[tuple[int, int]]:
        """From where to where each token of the whole prompt stands in it; nothing where the tokenizer cannot say."""
        if not self.tokenizer.is_fast:
            return []
        return self.tokenizer(text, return_offsets_mapping=True, verbose=False).offset_mapping

    def _lost_words(self, text: str, whole: list[int], kept: list[int]) -> str:
        """The words that truncation took, the one it cut through included."""
        shared = sum(1 for a, b in zip(whole, kept, strict=False) if a == b)  # all of `kept` but perhaps a final token
        spans = self._spans(text)
        if not spans:
            return str(self.tokenizer.decode(whole[shared:], skip_special_tokens=True)).strip()
        end = spans[shared][0] if shared < len(spans) else len(text)
        while 0 < end < len(text) and text[end - 1].isalnum() and text[end].isalnum():
            end -= 1
        return text[end:].strip()

    def _unknown(self, text: str, ids: list[int]) -> list[str]:
        unknown = self.tokenizer.unk_token_id
        if unknown is None or unknown not in ids or unknown == self.tokenizer.eos_token_id:
            return []
        spans = self._spans(text)
        return list(dict.fromkeys(text[a:b] for i, (a, b) in zip(ids, spans, strict=False) if i == unknown))


def open_text_encoder(
    name_or_folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> PromptEncoder:
    """Load a text encoder with its tokenizer, from safetensors and without remote code.

    Args:
        name_or_folder: of a model, or of a diffusers pipeline with `text_encoder` and `tokenizer` in it; a local folder
            or a hub id. What kind it is, its config says: the starter's own, T5, UMT5, mT5 or CLIP.
        device, dtype: where the weights go, and as what.

    Raises:
        MissingDependencyError: nothing there that could be loaded.
        UsageError: a model of another kind.
    """
    name = str(name_or_folder)
    config, parts = _probe(name)
    kind = _encoder_class(config)
    loader = CineloopTextModel if kind == "CineloopTextModel" else getattr(transformers, kind)
    options = {"dtype": dtype, "use_safetensors": True, **({"subfolder": parts[0]} if parts else {})}
    try:
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=False, subfolder=parts[1] if parts else "")
        model = loader.from_pretrained(name, **options)
    except (OSError, ValueError) as error:
        raise MissingDependencyError(f"the text encoder {name} could not be loaded: {error}") from error
    model = model.to(device).eval().requires_grad_(False)
    return PromptEncoder(tokenizer, model)


def _probe(name: str) -> tuple[Any, tuple[str, str] | None]:
    """The config of the encoder, and the folders of encoder and tokenizer where `name` is that of a pipeline."""
    first: Exception | None = None
    for parts in (None, ("text_encoder", "tokenizer")):
        try:
            return AutoConfig.from_pretrained(name, trust_remote_code=False, subfolder=parts[0] if parts else ""), parts
        except (OSError, ValueError) as error:
            first = first or error
    raise MissingDependencyError(
        f"no text encoder at {name}: {first}",
        hint="give a folder or hub id with a config.json, or one with text_encoder/ and tokenizer/",
    ) from first


def _encoder_class(config: Any) -> str:
    """The class of transformers that encodes prompts for this config.

    Raises:
        UsageError: another kind of model.
    """
    if config.model_type not in ENCODERS:
        raise UsageError(f"a text encoder must be one of {', '.join(ENCODERS)}, not {config.model_type!r}")
    return ENCODERS[config.model_type]
