"""How many pictures a server takes with one request: declared by its kind, or read from its refusals.

In: an entry of its list of models; the status and the words of a refusal; the frames of a request. Out: a number of
pictures; frames spread evenly over what was there. Servers state the limit in words of their own, or state the tokens
of the prompt and of their context, or neither: then half as many are sent. Sources of the words, read 2026-11: vLLM
`At most 4 image(s) may be provided in one prompt`; llama.cpp `request (9412 tokens) exceeds the available context size
(8192 tokens)`, with the fields n_prompt_tokens and n_ctx; Ollama `prompt too long; exceeded max context length by 65
tokens`; LM Studio `Trying to keep the first 15857 tokens ... context length of only 4096 tokens`; hosted ones `Too many
images in request. Max is 10.`, 413.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import numpy as np

from cineloop.errors import Notice

if TYPE_CHECKING:
    from cineloop.video.frames import Frames

MOST_TRIES = 5  # requests of one question, each with fewer pictures: 64, 32, 16, 8, 4
_SLACK = 0.9  # of the context that the pictures of the next request may fill
_PICTURES = re.compile(r"\b(?:images?|pictures?|photos?|media)\b|image\(s\)", re.IGNORECASE)
_NAMED = re.compile(
    r"at most (\d+)|max(?:imum)?(?: allowed)?(?: (?:is|of))? ?:? (\d+)|limit(?:ed)? (?:is|of|to) (\d+)|> ?(\d+)\b|"
    r"image=(\d+)",
    re.IGNORECASE,
)
_CONTEXT = re.compile(
    r"context (?:size|length|window)|maximum context|max_model_len|n_ctx|prompt (?:is )?too long|too many tokens|"
    r"exceeds? the (?:model|context)|input length",
    re.IGNORECASE,
)
_LENGTH = re.compile(r"(?:context (?:size|length|window)|n_ctx)\D{0,24}(\d{2,9})\b", re.IGNORECASE)
_TOKENS = re.compile(
    r"\b(\d{2,9}) (?:prompt |input )?tokens|(?:n_prompt_tokens|n_keep|n_tokens|requested)\D{0,6}(\d{2,9})\b",
    re.IGNORECASE,
)
_SIZE = re.compile(r"too large|entity too|request exceeds the max|payload|body (?:is|exceeds)", re.IGNORECASE)
# By the address; what the operators of these services state. Others are found out by their refusals.
_HOSTED = {"api.groq.com": 5, "api.anthropic.com": 100}


def kind_of(card: dict[str, Any]) -> str:
    """The kind of a server by an entry of its list of models: "ollama", "lmstudio", "llamacpp", "vllm" or ""."""
    owner = str(card.get("owned_by") or "").lower()
    return {"library": "ollama", "organization_owner": "lmstudio", "llamacpp": "llamacpp", "vllm": "vllm"}.get(
        owner, ""
    )


def declared_limit(url: str, card: dict[str, Any], tokens_each: int) -> int | None:
    """The most pictures that a server declares for a model, None for none: by its address, or as many as fill three
    quarters of the context it lists (`max_model_len` of vLLM), each taking `tokens_each`."""
    hosted = _HOSTED.get(urlsplit(url).hostname or "")
    length = card.get("max_model_len")
    fitting = max(1, length * 3 // 4 // tokens_each) if type(length) is int and length > 0 else None
    known = [most for most in (hosted, fitting) if most is not None]
    return min(known, default=None)


def fewer(status: int, words: str, sent: int) -> int | None:
    """How many pictures to send after a refusal of `sent`, at least 1; None where fewer would not help.

    Args:
        status: of the refusal; 200 for an error in a stream that began well.
        words: its body as text.
    """
    if sent < 2:
        return None
    half = sent // 2
    if (most := stated_limit(words)) is not None and most < sent:
        return most
    if _CONTEXT.search(words):
        return max(1, min(sent - 1, int(sent * _share(words, half / sent))))
    if status == 413 or _SIZE.search(words):
        return half
    return half if _PICTURES.search(words) and re.search(r"too many|too much|exceed", words, re.IGNORECASE) else None


def stated_limit(words: str) -> int | None:
    """The number of pictures that a refusal names as the most of one request, at least 1; None where it names none."""
    numbers = [int(next(filter(None, match.groups()))) for match in _NAMED.finditer(words) if _PICTURES.search(words)]
    return numbers[0] if numbers and numbers[0] > 0 else None


def fewer_notice(sent: int, given: int, name: str) -> Notice:
    """The warning of an answer that was made from fewer frames than were chosen."""
    return Notice("FEWER_PICTURES", f"{sent} of {given} frames were sent: {name} takes no more pictures with a request")


def thin(videos: Sequence[Frames], most: int) -> list[Frames]:
    """The same videos with at most `most` frames in all but one of each, spread evenly from the first to the last."""
    total = sum(map(len, videos))
    if total <= most:
        return list(videos)
    kept = []
    for frames in videos:
        num = max(1, len(frames) * most // total)
        places = [len(frames) // 2] if num == 1 else np.linspace(0, len(frames) - 1, num).round().astype(int)
        kept.append(replace(frames, pixels=frames.pixels[places], times_s=frames.times_s[places]))
    return kept


def _share(words: str, otherwise: float) -> float:
    """The share of the pictures that fits a context whose length a refusal names, with the length of the prompt."""
    length = min(map(int, _LENGTH.findall(words)), default=0)
    prompt = max((int(a or b) for a, b in _TOKENS.findall(words)), default=0)
    return _SLACK * length / prompt if 0 < length < prompt else otherwise
