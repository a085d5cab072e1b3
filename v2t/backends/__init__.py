"""One file per way to get text from a video, loaded by file name (`--captioner`, chosen from `--model` by default).

A module defines `class Backend(VideoLM)`: cheap to construct (it reads a small config and refuses an unsuitable
model at once), loaded when there is work, then called batch by batch through `v2t.backends.batching`.
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
from cineloop.model_folder import check_hub_id
from cineloop.training.runtime import check_device
from v2t.backends.abilities import Abilities

if TYPE_CHECKING:
    from torch import Tensor

    from cineloop.video.frames import Frames
    from cineloop.video.sample import SampleSpec


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """Decoding parameters of an answer.

    Attributes:
        max_new_tokens: longest answer, >= 1.
        temperature: 0 decodes greedily; above 0 samples, by `seed`.
        top_p: nucleus sampling: the likeliest tokens whose probabilities sum to this; 1 for all tokens. No backend
            applies further filters, whatever its checkpoint's defaults are.
        repetition_penalty: above 1 makes tokens of prompt and answer less likely to be repeated.
        presence_penalty, frequency_penalty: -2 to 2, as OpenAI defines them: the logit of a token that the answer holds
            n times falls by presence_penalty + n * frequency_penalty; the prompt does not count.
        seed: of sampling.
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


# The neutral value of each of transformers' filters (`GenerationMixin._get_logits_processor`).
_NO_FILTER = {
    **{"top_k": 0, "top_p": 1.0, "min_p": None, "top_h": None, "typical_p": 1.0},
    **{"epsilon_cutoff": 0.0, "eta_cutoff": 0.0},
}


class AnswerPenalties:
    """A logits processor for one call of `generate`: see `Decoding.presence_penalty`."""

    def __init__(self, presence: float, frequency: float) -> None:
        self._presence, self._frequency = presence, frequency
        self._prompt_length: int | None = None

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """Logits (B, vocabulary) after the tokens (B, L) so far (n of the answer); first the prompt alone."""
        import torch

        if self._prompt_length is None:
            self._prompt_length = input_ids.shape[1]
        answer = input_ids[:, self._prompt_length :]  # (B, n)
        counts = torch.zeros_like(scores).scatter_add_(1, answer, torch.ones_like(answer, dtype=scores.dtype))
        return scores - self._presence * (counts > 0) - self._frequency * counts


def sampling_settings(decoding: Decoding) -> dict[str, Any]:
    """Keyword arguments of transformers' `generate` for a `Decoding`; seeds torch where it samples.

    Every filter of transformers is set: an omitted one would take the checkpoint's value, or the default top_k of 50.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    known = vars(GenerationConfig())
    filters = {name: value for name, value in _NO_FILTER.items() if name in known}
    settings: dict[str, Any] = {
        "max_new_tokens": decoding.max_new_tokens,
        "num_beams": 1,
        "repetition_penalty": decoding.repetition_penalty,
    }
    if decoding.presence_penalty or decoding.frequency_penalty:
        # transformers applies it after the repetition penalty and before temperature and filters, as vLLM does.
        penalties = AnswerPenalties(decoding.presence_penalty, decoding.frequency_penalty)
        settings["logits_processor"] = LogitsProcessorList([penalties])  # type: ignore[list-item]
    if decoding.temperature == 0:
        # Unset: transformers warns of filters with greedy decoding.
        return {**settings, "do_sample": False, "temperature": None, **dict.fromkeys(filters)}
    torch.manual_seed(decoding.seed)
    return {**settings, "do_sample": True, "temperature": decoding.temperature, **filters, "top_p": decoding.top_p}


@dataclass(frozen=True, kw_only=True)
class Message:
    """One turn of a conversation; its videos precede its text."""

    role: Literal["system", "user", "assistant"]
    text: str
    videos: tuple[Frames, ...] = ()

    def chat_turn(self) -> dict[str, Any]:
        """As the chat template of this project's own models takes it."""
        parts = [*({"type": "video"} for _ in self.videos), {"type": "text", "text": self.text}]
        return {"role": self.role, "content": parts}


Conversation = Sequence[Message]


class Effect(Enum):
    """What an option of a captioner affects, declared at its parameter: `num_seqs: Annotated[int, COST]`."""

    TEXT = "captions made with another value are other captions"
    COST = "device and speed only; or what records state separately, such as the revision"


TEXT, COST = Effect.TEXT, Effect.COST


def effects(captioner: type) -> dict[str, Effect]:
    """What each option of a captioner's class affects, as declared; TEXT where nothing is declared."""
    return {
        name: next(iter(getattr(parameter.annotation, "__metadata__", ())), TEXT)
        for name, parameter in inspect.signature(captioner, eval_str=True).parameters.items()
        if name not in ("model", "device", "dtype")
    }


def user_turn(text: str, *videos: Frames) -> Conversation:
    """A conversation of one user turn: videos, then text."""
    return (Message(role="user", text=text, videos=videos),)


@dataclass(frozen=True, kw_only=True, eq=False)
class GenerateRequest:
    """A request to a model: a conversation that ends with a user turn, and the decoding parameters."""

    messages: Conversation
    decoding: Decoding


@dataclass(frozen=True, kw_only=True)
class Output:
    """The response of a captioner to one request.

    Attributes:
        finish: "stop" when the model ended the answer, "length" when it was cut at `max_new_tokens`.
        warnings: what a reader of the answer must know, such as OUT_OF_DOMAIN.
        prompt_tokens: tokens of the prompt; None where they are not reported.
    """

    text: str
    tokens: int
    finish: str = "stop"
    warnings: tuple[Notice, ...] = ()
    prompt_tokens: int | None = None


LikelihoodQuery = tuple[str, Sequence[str], bool]  # a question, its answers, whether each is the whole reply


class VideoLM(Protocol):
    """Base class of captioners; its attributes declare what a captioner can do.

    Constructed by `Backend(model, device=..., dtype=..., **options)`; called by `v2t.backends.batching`.

    Attributes:
        name: the model's name in records.
        revision: pins its weights (a hash, or a hub commit).
        spec: default frame sampling.
        frame_size: (H, W) frames are scaled to while decoding; None keeps their size.
        abilities: what the model can do in addition to answering, as declared.
        about: short description of the model and its domain; may be empty.
        folder: of its files, or None.
        device, dtype: of its weights in this process, as requested.
        concurrency: calls of `answer` that may run at once, from threads; 1 for a model in this process.
        batches_draws: whether answers do not depend on the batch even with sampling or penalties.
        reply_tokens: longest answer to a judge's question, reasoning included.
        has_likelihoods: whether `encode_clip`, `likelihoods` and `batch_likelihoods` are implemented.
    """

    name: str
    revision: str
    spec: SampleSpec
    frame_size: tuple[int, int] | None
    abilities: Abilities = Abilities()
    about: str = ""
    folder: Path | None = None
    device: str = "cpu"
    dtype: str = ""
    concurrency: int = 1
    batches_draws: bool = False
    reply_tokens: int = 16
    has_likelihoods: bool = False

    def load(self) -> None:
        """Load the weights into memory, or find the server."""

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[Output]:
        """One answer for each conversation, in order; answers do not depend on the batch.

        Each ends with a user turn. Videos of one batch have the same number and size of frames; a conversation
        without any video is answered from its text.

        Raises:
            ItemError: a conversation cannot be answered (too long, refused); for a batch, any one of them.
        """

    def stream(self, conversation: Conversation, decoding: Decoding) -> Iterator[str | Output]:
        """The answer to one conversation as a stream of text pieces, followed by the `Output` that `answer` returns.
        The joined pieces are its text, except for white space at the ends. Closing the iterator stops generation."""

    def encode_clip(self, frames: Frames) -> Any:
        """A clip in the form `likelihoods` takes, encoded once for all questions where the model allows it."""
        return frames

    def likelihoods(self, clip: Any, question: str, answers: Sequence[str], *, whole: bool = False) -> list[float]:
        """For each answer the log-probability that the reply to `question` begins with it, or, where `whole`, is that
        and no more; in nats: the sum over its tokens, exact, at temperature 1.

        Raises:
            UsageError: no answer, an empty one, or a model without likelihoods. ItemError: as `answer`.
        """
        raise UsageError(f"{self.name} does not provide likelihoods of answers")

    def batch_likelihoods(self, clip: Any, queries: Sequence[LikelihoodQuery]) -> list[list[float]]:
        """As `likelihoods` for many questions about one clip."""
        return [self.likelihoods(clip, question, answers, whole=whole) for question, answers, whole in queries]

    def close(self) -> None:
        """Free what `load` took."""
        return None


SAMPLING = ("sampler", "num_frames", "fps", "segment_s", "max_frames")  # what a model declares of a `SampleSpec`
OUT_OF_DOMAIN = "OUT_OF_DOMAIN"  # code of the warning that a clip is outside the model's domain


STARTER, OPENAI = "starter", "openai:"  # names of models beside folders and hub ids


def open_backend(
    model: str, *, captioner: str = "auto", device: str = "auto", dtype: str = "auto", options: Mapping[str, Any] = {}
) -> VideoLM:
    """The captioner for a model, not loaded yet.

    Args:
        model: "starter", a folder, a hub id, or "openai:URL[#model]".
        captioner: a file of this folder, or the path of another one; "auto" depends on the model.
        options: keyword arguments of its class.

    Raises:
        UsageError: no such captioner, or an option it does not know. MissingDependencyError: no such model.
    """
    check_device(device)
    name = choose(model) if captioner == "auto" else captioner
    backend_class = plugin.load("v2t.backends", name, "Backend", files=True).Backend
    hint = "the captioner is chosen by --model"
    backend: VideoLM = plugin.construct(
        "captioner", name, backend_class, model, device=device, dtype=dtype, options=options, hint=hint
    )
    return backend


def choose(model: str) -> str:
    """The backend for a model: by its address or its folder's config, otherwise `hf`.

    Raises:
        UsageError: a path that does not exist, or a name that is nearly that of the starter: no hub has these.
    """
    if model == STARTER:
        return "local"
    if model.startswith(OPENAI):
        return "openai"
    if not Path(model).exists():
        check_hub_id(model, (STARTER, OPENAI))
    try:
        config = read_json(Path(model) / "config.json", finite=False)
    except (OSError, ValueError):
        return "hf"
    return "local" if isinstance(config, dict) and config.get("model_type") == "cineloop" else "hf"
