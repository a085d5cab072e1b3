"""How many tokens a caption has for the text encoder: by a tokenizer that is named, else by a stated estimate."""

from __future__ import annotations

from cineloop.errors import MissingDependencyError
from v2t_eval.trainers.rules import TrainerModel
from v2t_eval.trainers.texts import TokenLimit, estimated_tokens


def token_limit(model: TrainerModel, tokenizer: str = "") -> TokenLimit:
    """The limit of a model's text encoder, none where it is not known.

    Args:
        model: of the trainer.
        tokenizer: a folder or hub id that transformers reads; "" estimates.

    Raises:
        MissingDependencyError: MODEL, the tokenizer cannot be loaded.
    """
    most = None if isinstance(model.tokens, str) else model.tokens
    if not tokenizer:
        return TokenLimit(most=most, encoder=model.encoder, count=estimated_tokens, is_estimate=True)
    from transformers import AutoTokenizer

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (OSError, ValueError, KeyError) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise MissingDependencyError(
            f"cannot load the tokenizer {tokenizer!r}: {line}",
            code="MODEL",
            hint="name a folder with tokenizer.json, or leave --tokenizer out for an estimate",
        ) from error

    def count(text: str) -> int:
        return len(loaded(text, truncation=False)["input_ids"])

    return TokenLimit(most=most, encoder=model.encoder, count=count, is_estimate=False)
