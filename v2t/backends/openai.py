"""Any OpenAI-compatible server, vLLM first: `--model openai:URL[#model]`.

In: conversations with `Frames` that were sampled here. Out: answers of `POST URL/chat/completions`. A video is sent as
one `data:video/jpeg` list of JPEGs with the indices and the rate that give its true times (`media_io_kwargs`, vLLM), so
that the server neither resamples nor guesses; a server that does not support them (`load` probes with one tiny request)
gets images, each after its time as text, and no more of them than it takes (`v2t.backends.pictures`). A `v2t serve` of
one of our models declares its frame sampling (`v2t.backends.payload`) and gets exactly these frames, packed: its
captions equal those of the local model. The HTTP client is `v2t.backends.endpoint`. Proxies of the environment are used
only with `use_env_proxy`: clips are private, and most servers are local.
"""

from __future__ import annotations

import re
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import Annotated, Any, TypeVar, cast
from urllib.parse import urlsplit

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.files import text_key
from cineloop.log import logger
from cineloop.video.sample import SampleSpec
from v2t.backends import COST, TEXT, Conversation, Decoding, Output, VideoLM, payload, pictures
from v2t.backends.abilities import Abilities
from v2t.backends.endpoint import BadReply, Endpoint, Refusal, address_of
from v2t.backends.payload import MAX_SIDE, QUALITY, Form, StreamInfo, chat_fields, encode, num_tokens, text_of

_MOST_WARNINGS, _MOST_FRAMES = 8, 64
T = TypeVar("T")
_FORMS = ("auto", "video", "images")
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
# Parameters a server may not know, and what is sent instead; None omits them.
_STAND_INS: dict[str, str | None] = {
    "max_tokens": "max_completion_tokens",
    "repetition_penalty": None,
    "presence_penalty": None,
    "frequency_penalty": None,
    "temperature": None,
    "top_p": None,
    "top_k": None,
    "seed": None,
}
_UNKNOWN = re.compile(r"unsupported|not support|unrecogni|unknown|not permitted|unexpected|extra", re.IGNORECASE)


class Backend(VideoLM):
    """A captioner behind an address (see `v2t.backends.VideoLM`). Thread-safe.

    Args:
        model: "openai:URL[#model]", such as openai:http://localhost:8000/v1. Without a model's name the server must
            serve a single one. Keys are never part of it: they come from the environment.
        device, dtype: ignored; chosen by the server.
        frames_as: "video", "images", or "auto", which probes the server.
        max_side: frames whose longer side exceeds it are scaled down to it, pixels, >= 16.
        quality: of the JPEGs, 1 to 100.
        max_pictures: images of one request at most; None for as many as the server turns out to take.
        concurrency: requests in flight, >= 1.
        connect_s, read_s, total_s, retries: see `v2t.backends.endpoint.Endpoint`.
        api_key_env: the environment variable that holds the key.
        use_env_proxy: honour HTTP_PROXY, HTTPS_PROXY and NO_PROXY.

    Raises:
        UsageError: an invalid address or value. MissingDependencyError: the named variable is not set.
    """

    batches_draws = True  # each request is sampled independently
    reply_tokens = 1024  # longest answer to a judge's question: the served model may reason first

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        frames_as: Annotated[str, TEXT] = "auto",
        max_side: Annotated[int, TEXT] = MAX_SIDE,
        quality: Annotated[int, TEXT] = QUALITY,
        max_pictures: Annotated[int | None, TEXT] = None,
        concurrency: Annotated[int, COST] = 16,
        connect_s: Annotated[float, COST] = 10.0,
        read_s: Annotated[float, COST] = 300.0,
        total_s: Annotated[float, COST] = 900.0,
        retries: Annotated[int, COST] = 6,
        api_key_env: Annotated[str, COST] = "OPENAI_API_KEY",
        use_env_proxy: Annotated[bool, COST] = False,
    ) -> None:
        url, self._asked_for = address_of(model)
        if frames_as not in _FORMS:
            raise UsageError(f"frames_as must be one of {', '.join(_FORMS)}, got {frames_as!r}")
        for name, value, least, most in (
            ("max_side", max_side, 16, 16384),
            ("quality", quality, 1, 100),
            ("max_pictures", 1 if max_pictures is None else max_pictures, 1, 4096),
            ("concurrency", concurrency, 1, 1024),
            ("retries", retries, 0, 1000),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
                raise UsageError(f"{name} must be a whole number from {least} to {most}, got {value!r}")
        # Capitals only: a key given here by mistake is not repeated in a message.
        if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", str(api_key_env)):
            raise UsageError("api_key_env must be the NAME of an environment variable, in capitals, never a key itself")
        self.concurrency = concurrency
        self.about = f"served at {url}"
        self._max_side, self._quality = max_side, quality
        self._frames_as: Form | None = None if frames_as == "auto" else cast(Form, frames_as)
        self._endpoint = Endpoint(
            url,
            key_env=api_key_env,
            connect_s=connect_s,
            read_s=read_s,
            total_s=total_s,
            retries=retries,
            use_env_proxy=use_env_proxy,
        )
        if api_key_env != "OPENAI_API_KEY" and not self._endpoint.has_key:
            raise MissingDependencyError(
                f"the environment variable {api_key_env} is not set", code="SERVER_KEY", hint="put the key into it"
            )
        self._form: Form | None = None
        self._most_pictures = max_pictures or _MOST_FRAMES * 64
        self._stand_ins: dict[str, str | None] = {}
        self._lock = threading.Lock()

    @property
    def name(self) -> str:  # type: ignore[override]
        """The model's id. The first access may query the server, see `_card`."""
        return str(self._asked_for or self._card["id"])

    @cached_property
    def revision(self) -> str:  # type: ignore[override]
        """Hash of the model's description by the server, "unknown" if it gives none. `created` is left out: in vLLM it
        is the time of the request."""
        root = self._card.get("root")
        return text_key(f"{self.name}={root}".encode("utf-8", "surrogatepass"))[:12] if root else "unknown"

    @property
    def spec(self) -> SampleSpec:  # type: ignore[override]
        """Frame sampling the server declares, else two a second. The first access may query the server."""
        if self._wanted_frames:
            return self._wanted_frames[0]
        return SampleSpec(sampler="fps", fps=2.0, max_frames=min(_MOST_FRAMES, self._most_pictures))

    @property
    def frame_size(self) -> tuple[int, int] | None:  # type: ignore[override]
        """(H, W) of frames the server declares, else None. The first access may query the server."""
        return self._wanted_frames[1] if self._wanted_frames else None

    @cached_property
    def abilities(self) -> Abilities:  # type: ignore[override]
        """As a `v2t serve` declares; the defaults of large models for any other server."""
        try:
            about = self._card.get("cineloop")
            return Abilities.from_dict(about.get("abilities", {})) if isinstance(about, dict) else Abilities()
        except MissingDependencyError:
            return Abilities()  # `load` raises it when there is work
        except ValueError as problem:
            logger.warning("%s: %s; assumed to be a model that follows instructions", self._endpoint.url, problem)
            return Abilities()

    @cached_property
    def _wanted_frames(self) -> tuple[SampleSpec, tuple[int, int] | None] | None:
        """Frame sampling and size that a `v2t serve` declares; None for any other server."""
        if self._frames_as is not None:
            return None
        try:
            return payload.wanted_frames(self._card)
        except MissingDependencyError:
            return None  # `load` raises it when there is work
        except UsageError as problem:
            if problem.code != "CARD":
                raise
            logger.warning("%s: %s; its frames are chosen here", self._endpoint.url, problem.message)
            return None

    @cached_property
    def _card(self) -> dict[str, Any]:
        """The model's entry in the server's list."""
        return self._endpoint.card(self._asked_for)

    def load(self) -> None:
        """Probe the form in which the server takes frames, unless `frames_as` is set. Raises MissingDependencyError: no
        server, no model, or no valid key."""
        if self._form is not None:
            return
        url = urlsplit(self._endpoint.url)
        if url.scheme == "http" and url.hostname not in _LOCAL_HOSTS and self._endpoint.has_key:
            logger.warning("the key for %s is sent unencrypted: use https where possible", url.hostname)
        if self._frames_as is not None:
            self._form = self._frames_as
            return
        _ = self._card  # raises where the model is not served
        if self._wanted_frames is not None:
            self._form = "packed"
            return
        self._form, why = self._probe_form()
        if why:
            logger.warning("frames are sent to %s as images with their times as text: %s", self.name, why)

    def _probe_form(self) -> tuple[Form, str]:
        """The form in which the server takes frames, and why not as a video.

        The probe is a video of one frame with two frame numbers. A server that reads them reports a mismatch; one that
        answers has not read them, and would invent times and silently drop frames.
        """
        metadata = {"fps": 1.0, "frames_indices": [0, 1], "total_num_frames": 2, "num_frames": 1}
        (jpeg,) = encode(np.full((1, 56, 56, 3), 128, np.uint8), 56, 80)  # a small grey picture
        part = {"type": "video_url", "video_url": {"url": f"data:video/jpeg;base64,{jpeg}"}}
        words = {"type": "text", "text": "?"}
        try:
            self._probe([part, words], media_io_kwargs={"video": metadata})
        except Refusal as refusal:
            if "frames_indices" in refusal.message:
                return "video", ""
            if "trust-request-mm-kwargs" in refusal.message:
                return "images", "a vLLM server takes the true times of a video only with --trust-request-mm-kwargs"
            return "images", refusal.message
        except ItemError as problem:
            # Some servers answer 500 to unknown content, others are broken: probe without it.
            try:
                self._probe([words])
            except ItemError as still:
                if not isinstance(still, Refusal):
                    raise MissingDependencyError(
                        still.message, code="SERVER", hint="check the server's health"
                    ) from None
            return "images", problem.message
        return "images", "it does not read the times of a video"

    def _probe(self, parts: list[dict[str, Any]], **more: Any) -> None:
        body = {"model": self.name, "messages": [{"role": "user", "content": parts}], "max_tokens": 1, **more}
        self._endpoint.post(body, lambda reply: reply, retries=2)

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding) -> list[Output]:
        """See `VideoLM.answer`; sequential: concurrent requests come from as many threads."""

        def send(body: dict[str, Any]) -> Output:
            return self._endpoint.post(body, self._output)

        outputs = []
        for conversation in conversations:
            output, warnings = self._send(send, conversation, decoding)
            outputs.append(replace(output, warnings=(*output.warnings, *warnings)) if warnings else output)
        return outputs

    def stream(self, conversation: Conversation, decoding: Decoding) -> Iterator[str | Output]:
        """See `VideoLM.stream`. Reasoning is left out where it begins with its tag; where the server's template
        has already written the tag, only `answer` can remove it."""

        def begin(body: dict[str, Any]) -> tuple[dict[str, Any], Iterator[dict[str, Any]]]:
            events = self._endpoint.stream(body)
            return next(events, {}), events

        (first, rest), warnings = self._send(begin, conversation, decoding)
        text, last = "", StreamInfo(warnings=dict.fromkeys(warnings))
        with closing(rest):  # type: ignore[type-var]
            for piece in payload.without_reasoning(
                filter(None, (self._piece(event, last) for event in chain([first], rest)))
            ):
                text += piece
                yield piece
        yield Output(
            text=text,
            tokens=last.tokens,
            finish=last.finish,
            warnings=tuple(last.warnings),
            prompt_tokens=last.prompt_tokens,
        )

    def _send(
        self, send: Callable[[dict[str, Any]], T], conversation: Conversation, decoding: Decoding
    ) -> tuple[T, tuple[Notice, ...]]:
        """The result of `send(request)`, and warnings; retried without a parameter that the server turns out not to
        know, and with fewer pictures than it refuses."""
        given = sum(len(frames) for message in conversation for frames in message.videos)
        sent = min(given, self._most_pictures) if self._form == "images" else given
        request, tries = self._request(conversation, decoding, sent), 1
        while True:
            with self._lock:
                stand_ins = dict(self._stand_ins)
            renamed = ((stand_ins.get(key, key), value) for key, value in request.items())
            known = {key: value for key, value in renamed if key is not None}
            try:
                result = send(known)
                return result, () if sent == given else (pictures.fewer_notice(sent, given, self.name),)
            except Refusal as refusal:
                if (missing := _unknown_parameter(refusal, known)) is not None:
                    with self._lock:
                        if missing not in self._stand_ins:
                            self._stand_ins[missing] = _STAND_INS[missing]
                            logger.warning("%s does not take %s", self.name, missing)
                    continue
                most = pictures.fewer(refusal.status, refusal.words, sent) if self._form == "images" else None
                if most is None or tries == pictures.MOST_TRIES:
                    raise
                sent, tries = most, tries + 1
                self._most_pictures = min(sent, self._most_pictures)
                request = self._request(conversation, decoding, sent)

    def _request(
        self, conversation: Conversation, decoding: Decoding, most_frames: int = sys.maxsize
    ) -> dict[str, Any]:
        """The body of a request, with at most so many frames of its videos."""
        if self._form is None:
            raise RuntimeError("load() the captioner first")
        frames = iter(pictures.thin([each for message in conversation for each in message.videos], most_frames))
        conversation = [replace(each, videos=tuple(next(frames) for _ in each.videos)) for each in conversation]
        request: dict[str, Any] = {
            "model": self.name,
            **chat_fields(conversation, self._form, self._max_side, self._quality),
            "max_tokens": decoding.max_new_tokens,
            "temperature": decoding.temperature,
            "seed": decoding.seed,
        }
        if decoding.temperature > 0:
            request["top_p"] = decoding.top_p
            if self._card.get("owned_by") == "vllm":  # which otherwise applies the checkpoint's default
                request["top_k"] = -1
        neutral = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
        request |= {name: getattr(decoding, name) for name in neutral if getattr(decoding, name) != neutral[name]}
        return request

    def _output(self, reply: dict[str, Any]) -> Output:
        """The answer in a reply. Raises BadReply for an invalid reply, ItemError for a refusal."""
        choices = reply.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        message = choice.get("message") if isinstance(choice, dict) else None
        if not isinstance(choice, dict) or not isinstance(message, dict) or choice.get("index", 0) != 0:
            raise BadReply("a reply without a choice")
        self._check_refused(choice, message)
        text = self._endpoint.without_key(text_of(message.get("content")))
        if "</think>" in text and "<think>" not in text:  # the opening tag is part of the server's template
            text = text.rpartition("</think>")[2].lstrip()
        return Output(
            text="".join(payload.without_reasoning([text])),
            tokens=num_tokens(reply) or 0,
            prompt_tokens=num_tokens(reply, "prompt"),
            finish="length" if choice.get("finish_reason") == "length" else "stop",
            warnings=self._warnings(reply),
        )

    def _warnings(self, reply: dict[str, Any]) -> tuple[Notice, ...]:
        """The warnings a `v2t serve` attaches to the answer, such as OUT_OF_DOMAIN."""
        notices, redact = payload.warnings_of(reply)[:_MOST_WARNINGS], self._endpoint.redact
        return tuple(Notice(redact(one.code), redact(one.message)) for one in notices)

    def _piece(self, event: dict[str, Any], last: StreamInfo) -> str:
        """The text of one event of a stream, maybe empty; its other fields go into `last`."""
        last.tokens = num_tokens(event) or last.tokens
        last.prompt_tokens = num_tokens(event, "prompt") or last.prompt_tokens
        last.warnings |= dict.fromkeys(self._warnings(event))
        choices = event.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):
            return ""
        delta = choice.get("delta")
        delta = delta if isinstance(delta, dict) else {}
        self._check_refused(choice, delta)
        if choice.get("finish_reason") == "length":
            last.finish = "length"
        try:
            return text_of(delta.get("content"))
        except BadReply as problem:
            raise ItemError(f"the answer broke off: {problem}", code="SERVER_ERROR") from None

    def _check_refused(self, choice: dict[str, Any], message: dict[str, Any]) -> None:
        refusal = message.get("refusal")
        if refusal or choice.get("finish_reason") == "content_filter":
            raise ItemError(
                f"the model refused: {self._endpoint.redact(str(refusal or 'content filter'))}",
                code="REFUSED",
                hint="another --prompt or model",
            )


def _unknown_parameter(refusal: Refusal, request: dict[str, Any]) -> str | None:
    """The parameter that a server does not know and that can be left out or renamed; None if there is no such one."""
    if not _UNKNOWN.search(refusal.message):
        return None
    for name in _STAND_INS:
        if name in request and (refusal.param == name or re.search(rf"\b{name}\b", refusal.message)):
            return name
    return None
