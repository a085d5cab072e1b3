"""One file per way to get text from a video, loaded by file name (`--captioner`, chosen from `--model` by default).

A module defines `class Backend(VideoLM)`: cheap to make (it reads a small config and refuses a wrong model at once),
loaded when there is work, then asked batch by batch through `v2t.backends.batching`.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from cineloop import plugin
from cineloop.documents import read_json
from cineloop.errors import Notice, UsageError
from cineloop.training.runtime import check_device
from v2t.backends.abilities import Abilities

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


def user_turn(text: str, *videos: Frames) -> Conversation:
    """A conversation of one question about some videos."""
    return (Message(role="user", text=text, videos=videos),)


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerateRequest:
    """What a model is asked, whoever asks: a conversation that ends with a user's turn, and how it is answered."""

    messages: Conversation
    decoding: Decoding


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a captioner answers to one request.

    Attributes:
        text: the answer as the model wrote it.
        tokens: how many tokens that took.
        finish: "stop" when the model ended by itself, "length" when it was cut at `max_new_tokens`.
        warnings: what a reader of the answer must know, such as OUT_OF_DOMAIN.
        prompt_tokens: tokens of the prompt; None where nobody says how many.
    """

    text: str
    tokens: int
    finish: str = "stop"
    warnings: tuple[Notice, ...] = ()
    prompt_tokens: int | None = None

    def usage(self) -> dict[str, int] | None:
        """Tokens as OpenAI's clients read them; None where those of the prompt are not known."""
        if self.prompt_tokens is None:
            return None
        total = self.prompt_tokens + self.tokens
        return {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.tokens, "total_tokens": total}


LikelihoodQuery = tuple[str, Sequence[str], bool]  # a question, its answers, whether each is the whole reply


class VideoLM(Protocol):
    """What answers `GenerateRequest`s; a base class whose attributes declare what a captioner can do.

    Made by `Backend(model, device=..., dtype=..., **options)`. Requests are put to it by `v2t.backends.batching`.

    Attributes:
        name: what records call the model.
        revision: pins its weights (a hash, or a hub commit).
        spec: the frames it wants when the user says nothing.
        frame_size: (H, W) frames are scaled to while decoding, or None for as they are.
        abilities: what the model can do beside answering, as declared.
        about: what the model is and what it knows, in a few words; may be empty.
        folder: where its files are, or None. dtype: of its weights, as asked for.
        concurrency: calls of `answer` that may run at once, from threads; 1 for a model in this process.
        batches_draws: whether a batch answers as each request alone would also where tokens are drawn or penalised.
        reply_tokens: longest answer to a judge's question, with the thoughts of a model that thinks.
        has_likelihoods: whether `encode_clip`, `likelihoods` and `batch_likelihoods` can be asked.
    """

    name: str
    revision: str
    spec: SampleSpec
    frame_size: tuple[int, int] | None
    abilities: Abilities
    about: str = ""
    folder: Path | None = None
    dtype: str = ""
    concurrency: int = 1
    batches_draws: bool = False
    reply_tokens: int = 16
    has_likelihoods: bool = False

    def load(self) -> None:
        """Bring the weights into memory, or find the server."""

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[Output]:
        """One answer for each conversation, in order; a batch answers as each alone would.

        Each ends with a user's turn. Videos of one batch have the same number and size of frames; a conversation
        without any video is answered from its text.

        Raises:
            ItemError: a conversation cannot be answered (too long, refused); of a batch, any one.
        """

    def stream(self, conversation: Conversation, decoding: Decoding) -> Iterator[str | Output]:
        """The answer to one conversation in pieces of text as they are written, and last the `Output` that
        `answer` gives; the pieces joined are its text, but for spaces at the ends. Closing it ends the answer."""

    def encode_clip(self, frames: Frames) -> Any:
        """A clip as `likelihoods` takes it, encoded once for all questions where the model allows it."""
        return frames

    def likelihoods(self, clip: Any, question: str, answers: Sequence[str], *, whole: bool = False) -> list[float]:
        """For each answer the log-probability that the reply to `question` begins with it, or, where `whole`, is that
        and no more; in nats: the sum over its tokens, exact, at temperature 1.

        Raises:
            UsageError: no answer, an empty one, or a model that does not tell. ItemError: as `answer`.
        """
        raise UsageError(f"{self.name} does not tell how likely an answer is")

    def batch_likelihoods(self, clip: Any, queries: Sequence[LikelihoodQuery]) -> list[list[float]]:
        """As `likelihoods` for many questions about one clip."""
        return [self.likelihoods(clip, question, answers, whole=whole) for question, answers, whole in queries]

    def close(self) -> None:
        """Free what `load` took."""
        return None


OUT_OF_DOMAIN = "OUT_OF_DOMAIN"  # code of the warning that a clip lies outside what the model knows


def open_backend(
    model: str, *, captioner: str = "auto", device: str = "auto", dtype: str = "auto", options: Mapping[str, Any] = {}
) -> VideoLM:
    """The captioner for a model, not loaded yet.

    Args:
        model: "starter", a folder, a hub id, or "openai:URL[#model]".
        captioner: a file of this folder, or the path of another one; "auto" goes by the model.
        device, dtype: "auto" or what torch calls them.
        options: what only some backends know, by name: the keyword arguments of their class.

    Raises:
        UsageError: no such captioner, or an option it does not know. MissingDependencyError: no such model.
    """
    check_device(device)
    name = choose(model) if captioner == "auto" else captioner
    backend_class = plugin.load("v2t.backends", name, "Backend", files=True).Backend
    known = list(effects(backend_class))
    for key in options:
        if key not in known:
            raise UsageError(
                f"captioner {name!r} has no option {key!r}; it knows: {', '.join(known) or 'none'}",
                code="UNKNOWN_OPTION",
                hint="which captioner runs a model goes by --model",
            )
    backend: VideoLM = backend_class(model, device=device, dtype=dtype, **options)
    return backend


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
