"""Conversations as token ids, with labels on what the assistant says and on nothing else.

In: turns, or a conversation in the LLaVA form (`[{"from": "human"|"gpt"|"system", "value": …}]`), and what stands in
the text for each clip (see `CineloopProcessor.clip_text`). Out: ids and labels of equal length, -100 where no loss is
wanted. The text is that of the processor's chat template, cut at exactly the places where a prompt ends and the model
goes on by itself, so training sees the tokens that generation sees.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cineloop.errors import UsageError

IGNORE = -100
START, END = "<|im_start|>", "<|im_end|>"
MARKS = ("<video>", "<image>")
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


@dataclass(frozen=True)
class Turn:
    """One message: `role` is system, user or assistant; `clips` video or image marks stand before its text."""

    role: str
    text: str
    clips: int = 0


@dataclass(frozen=True)
class LabelledTokens:
    """Token ids and labels of one conversation, lists of equal length; label -100 means no loss.

    `num_clips` says how many clips its text shows.
    """

    ids: list[int]
    labels: list[int]
    num_clips: int = 1

    @property
    def num_targets(self) -> int:
        """Positions that carry a loss."""
        return sum(label != IGNORE for label in self.labels)


def from_llava(conversation: Sequence[dict[str, Any]]) -> list[Turn]:
    """Turns of a conversation in the LLaVA form; `<video>` and `<image>` in a value are its marks.

    Raises:
        UsageError: an unknown speaker, a missing field, or no answer at all.
    """
    turns = []
    for number, message in enumerate(conversation):
        role = ROLES.get(str(message.get("from", message.get("role"))))
        text = message.get("value", message.get("content"))
        if role is None or not isinstance(text, str):
            raise UsageError(
                f"turn {number} of a conversation must hold 'from' ({', '.join(ROLES)}) and 'value', got {message!r}"
            )
        clips = sum(text.count(mark) for mark in MARKS) if role != "assistant" else 0
        for mark in MARKS:
            text = text.replace(f"{mark}\n", "").replace(f"\n{mark}", "").replace(mark, "")
        turns.append(Turn(role, text.strip(), clips))
    if not any(turn.role == "assistant" for turn in turns):
        raise UsageError("a conversation without an answer teaches nothing", hint="add a turn from 'gpt'")
    return turns


def pieces(turns: Iterable[Turn], clip_texts: Sequence[str] = ()) -> list[tuple[str, bool]]:
    """The chat as (text, is target) pieces; joined they are what the processor's chat template writes.

    Args:
        clip_texts: what stands for each clip, in order: a timestamp and placeholders for every segment.

    Raises:
        UsageError: marks and clips differ in number.
    """
    turns = list(turns)
    wanted = sum(turn.clips for turn in turns)
    if wanted != len(clip_texts):
        raise UsageError(f"the conversation holds {wanted} video marks, but {len(clip_texts)} clips were given")
    clips = iter(clip_texts)
    out = []
    for turn in turns:
        shown = "".join(next(clips) + "\n" for _ in range(turn.clips))
        if turn.role == "assistant":
            out += [(f"{START}assistant\n", False), (_plain(turn.text) + END, True), ("\n", False)]
        else:
            out.append((f"{START}{turn.role}\n{shown}{_plain(turn.text)}{END}\n", False))
    return out


def encode(tokenizer: Any, turns: Iterable[Turn], clip_texts: Sequence[str] = ()) -> LabelledTokens:
    """Ids and labels of a conversation; only what the assistant says, and its `<|im_end|>`, is a target."""
    ids: list[int] = []
    labels: list[int] = []
    for text, target in pieces(turns, clip_texts):
        part = tokenizer.encode(text, add_special_tokens=False)
        ids += part
        labels += part if target else [IGNORE] * len(part)
    return LabelledTokens(ids, labels, len(clip_texts))


def check_labels(encoded: LabelledTokens, what: str, *, max_length: int | None = None) -> None:
    """Refuse a sample that teaches nothing.

    Raises:
        UsageError: no target token, or the targets lie behind `max_length`.
    """
    if encoded.num_targets == 0:
        raise UsageError(f"{what}: no token of an answer is a training target", hint="the answers are empty")
    if max_length is not None and all(label == IGNORE for label in encoded.labels[:max_length]):
        raise UsageError(
            f"{what}: its {len(encoded.ids)} tokens are cut to {max_length}, before the first answer",
            hint="raise max_length, or use fewer frames",
        )


def _plain(text: str) -> str:
    """Control tokens and marks inside a text defused, as the chat template does."""
    text = text.replace("<|", "< |")
    for mark in MARKS:
        text = text.replace(mark, f"< {mark[1:]}")
    return text
