"""One file per way to get text from a video, loaded by file name (`--captioner`, chosen from `--model` by default).

A captioner module defines `class Captioner` as described by `CaptionerLike`: cheap to make (it reads a small config and
refuses a wrong model at once), loaded when there is work, then asked batch by batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cineloop import plugin
from cineloop.documents import read_json
from cineloop.errors import ItemError, UsageError
from cineloop.training.runtime import check_device
from v2t.captioners.abilities import Abilities

if TYPE_CHECKING:
    from cineloop.video.frames import Frames
    from cineloop.video.sample import SampleSpec


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How an answer is written.

    Attributes:
        max_new_tokens: longest answer, >= 1.
        temperature: 0 takes the likeliest token each time; above 0 draws, by `seed`.
        top_p: draws are among the likeliest tokens that have this share of the probability together; 1 for all of them.
            No backend narrows draws further, whatever its checkpoint prefers.
        repetition_penalty: above 1 makes tokens of prompt and answer less likely to come again.
        presence_penalty, frequency_penalty: -2 to 2, as OpenAI defines them: the logit of a token that the answer holds
            n times falls by presence_penalty + n * frequency_penalty; the prompt does not count.
        seed: of the draws.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or self.temperature < 0 or self.repetition_penalty <= 0:
            raise UsageError(
                "expected max_new_tokens >= 1, temperature >= 0, repetition_penalty > 0, got "
                f"{self.max_new_tokens}, {self.temperature}, {self.repetition_penalty}"
            )
        if not 0 < self.top_p <= 1:
            raise UsageError(f"expected top_p above 0 and at most 1, got {self.top_p}")
        for name in ("presence_penalty", "frequency_penalty"):
            if not -2 <= getattr(self, name) <= 2:
                raise UsageError(f"expected {name} from -2 to 2, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation; its videos stand before its text."""

    role: Literal["system", "user", "assistant"]
    text: str
    videos: tuple[Frames, ...] = ()


Conversation = Sequence[Message]


class Effect(Enum):
    """What an option of a captioner changes, declared at its parameter: `num_seqs: Annotated[int, COST]`."""

    TEXT = "captions made with another value are other captions"
    COST = "where and how fast it works; or what records state by themselves, such as the revision"


TEXT, COST = Effect.TEXT, Effect.COST


def effects(captioner: type) -> dict[str, Effect]:
    """What each option of a captioner's class changes, as declared; one that declares nothing changes the text."""
    return {
        name: next(iter(getattr(parameter.annotation, "__metadata__", ())), TEXT)
        for name, parameter in inspect.signature(captioner, eval_str=True).parameters.items()
        if name not in ("model", "device", "dtype")
    }


def asked(text: str, *videos: Frames) -> Conversation:
    """A conversation of one question about some videos."""
    return (Message(role="user", text=text, videos=videos),)


@dataclass(frozen=True, kw_only=True)
class CaptionOutput:
    """What a captioner answers to one conversation.

    Attributes:
        text: the answer as the model wrote it.
        tokens: how many tokens that took.
        finish: "stop" when the model ended by itself, "length" when it was cut at `max_new_tokens`.
        warnings: plain sentences, each starting with a stable code ("OUT_OF_DOMAIN: ...").
    """

    text: str
    tokens: int
    finish: str = "stop"
    warnings: tuple[str, ...] = field(default=())


class CaptionerLike(Protocol):
    """What this package's users need. Made by `Captioner(model, device=..., dtype=..., **options)`.

    Attributes:
        name: what records call the model.
        revision: pins its weights (a hash, or a hub commit).
        spec: the frames it wants when the user says nothing.
        frame_size: (H, W) frames are scaled to while decoding, or None for as they are.
        abilities: what the model can do beside answering, as declared.
        concurrency: calls of `answer` that may run at once, from threads; 1 for a model in this process.
        about (optional): what the model is and where it is at home, in a few words.
        reply_tokens (optional): longest answer to a judge's question, with the thoughts of a model that thinks.
    """

    name: str
    revision: str
    spec: SampleSpec
    frame_size: tuple[int, int] | None
    abilities: Abilities
    concurrency: int

    def load(self) -> None:
        """Bring the weights into memory, or find the server."""

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[CaptionOutput]:
        """One answer for each conversation, in order; a batch answers as each alone would.

        Each ends with a user's turn. Videos of one batch have the same number and size of frames; a conversation
        without any video is answered from its text.

        Raises:
            ItemError: a conversation cannot be answered (too long, refused); of a batch, any one.
        """

    def stream(self, conversation: Conversation, decoding: Decoding) -> Iterator[str | CaptionOutput]:
        """The answer to one conversation in pieces of text as they are written, and last the `CaptionOutput` that
        `answer` gives; the pieces joined are its text, but for spaces at the ends. Closing it ends the answer."""


OUT_OF_DOMAIN = "OUT_OF_DOMAIN"


def outside(warnings: Sequence[str]) -> str:
    """The warning that a clip lies outside what the model knows; empty where there is none."""
    return next((warning for warning in warnings if warning.partition(":")[0] == OUT_OF_DOMAIN), "")


def in_halves(
    ask: Callable[[Sequence[Conversation]], list[CaptionOutput]], batch: Sequence[Conversation]
) -> list[CaptionOutput | ItemError]:
    """What `ask` answers to a batch; where it raises ItemError, to its halves, down to the conversation at fault."""
    try:
        return list(ask(batch))
    except ItemError as problem:
        if len(batch) == 1:
            return [problem]
    middle = len(batch) // 2
    return [*in_halves(ask, batch[:middle]), *in_halves(ask, batch[middle:])]


def open_captioner(
    model: str, *, captioner: str = "auto", device: str = "auto", dtype: str = "auto", options: Mapping[str, Any] = {}
) -> CaptionerLike:
    """The captioner for a model, not loaded yet.

    Args:
        model: "starter", a folder, a hub id, or "openai:URL[#model]".
        captioner: a file of this folder, or the path of another one; "auto" goes by the model.
        device, dtype: "auto" or what torch calls them.
        options: what only some captioners know, by name: the keyword arguments of their class.

    Raises:
        UsageError: no such captioner, or an option it does not know. MissingDependencyError: no such model.
    """
    check_device(device)
    name = choose(model) if captioner == "auto" else captioner
    maker = plugin.load("v2t.captioners", name, "Captioner", files=True).Captioner
    known = list(effects(maker))
    for key in options:
        if key not in known:
            raise UsageError(
                f"captioner {name!r} has no option {key!r}; it knows: {', '.join(known) or 'none'}",
                code="UNKNOWN_OPTION",
                hint="which captioner runs a model goes by --model",
            )
    made: CaptionerLike = maker(model, device=device, dtype=dtype, **options)
    return made


def choose(model: str) -> str:
    """Which captioner speaks for a model: by its address, its folder's config, or `hf` for all that is left."""
    if model == "starter":
        return "local"
    if model.startswith("openai:"):
        return "openai"
    try:
        config = read_json(Path(model) / "config.json", finite=False)
    except (OSError, ValueError):
        return "hf"
    return "local" if isinstance(config, dict) and config.get("model_type") == "cineloop" else "hf"
