"""Any server with `POST URL/audio/transcriptions`: OpenAI's, vLLM's, a local Whisper server.

In: "openai:URL[#model]". Out: utterances, with the times of words where the server gives them. The piece goes over as
a WAV file. A server that knows no verbose answer gives text without times: one utterance a piece, and a warning.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np

from cineloop.audio.read import SPEECH_RATE
from cineloop.errors import Notice, UsageError
from v2t.backends import COST
from v2t.backends.endpoint import BadReply, Endpoint, Refusal, address_of
from v2t.transcribers import Recognition, SpeechModel, SpokenWord, Utterance

_VERBOSE = {"response_format": "verbose_json", "timestamp_granularities": ["word", "segment"]}


class Transcriber(SpeechModel):
    """A server's model. Keys come from the environment alone.

    Args:
        model: "openai:URL#model"; without a name the server must list a single one.
        device, dtype: ignored; chosen by the server.
        prompt: names and terms to expect.
        connect_s, read_s, total_s, retries, api_key_env, use_env_proxy: see `v2t.backends.endpoint.Endpoint`.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        prompt: str = "",
        connect_s: Annotated[float, COST] = 10.0,
        read_s: Annotated[float, COST] = 300.0,
        total_s: Annotated[float, COST] = 900.0,
        retries: Annotated[int, COST] = 6,
        api_key_env: Annotated[str, COST] = "OPENAI_API_KEY",
        use_env_proxy: Annotated[bool, COST] = False,
    ) -> None:
        if not model.startswith("openai:"):
            raise UsageError(f"the engine openai takes openai:URL[#model], got {model!r}")
        url, self._served = address_of(model)
        self.name = self._served or url
        self._prompt, self._is_verbose = prompt, True
        self._endpoint = Endpoint(
            url, key_env=api_key_env, connect_s=connect_s, read_s=read_s, total_s=total_s, retries=retries,
            use_env_proxy=use_env_proxy,
        )  # fmt: skip

    def load(self) -> None:
        if not self._served:
            self._served = self.name = str(self._endpoint.card("")["id"])

    def transcribe(self, samples: np.ndarray, language: str | None) -> Recognition:
        form: dict[str, Any] = {"model": self._served, "file": ("piece.wav", wav(samples), "audio/wav")}
        form |= {"language": language} if language else {}
        form |= {"prompt": self._prompt} if self._prompt else {}
        seconds = len(samples) / SPEECH_RATE
        if self._is_verbose:
            try:
                return self._endpoint.transcribe({**form, **_VERBOSE}, lambda reply: recognition_of(reply, seconds))
            except Refusal as refusal:
                if refusal.code != "BAD_REQUEST" or "format" not in f"{refusal.param} {refusal.words}":
                    raise
                self._is_verbose = False  # as servers of newer models do, which give text alone
        return self._endpoint.transcribe({**form, "response_format": "json"}, lambda r: recognition_of(r, seconds))


def wav(samples: np.ndarray) -> bytes:
    """float32 (S,) at 16 kHz as a WAV file of 16 bits."""
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SPEECH_RATE)
        file.writeframes((np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes())
    return data.getvalue()


def recognition_of(reply: Mapping[str, Any], seconds: float) -> Recognition:
    """What a server's answer says of a piece of so many seconds. Raises BadReply: it has not the form of one."""
    try:
        language = str(reply.get("language") or "")
        words = tuple(
            SpokenWord(text=str(word["word"]).strip(), start_s=float(word["start"]), end_s=float(word["end"]))
            for word in reply.get("words") or ()
        )
        spoken = tuple(
            Utterance(
                text=str(part["text"]).strip(),
                start_s=max(0.0, float(part["start"])),
                end_s=min(seconds, float(part["end"])),
                words=tuple(word for word in words if float(part["start"]) <= word.start_s < float(part["end"])),
                no_speech=_number(part.get("no_speech_prob")),
                logprob=_number(part.get("avg_logprob")),
            )
            for part in reply.get("segments") or ()
            if str(part["text"]).strip()
        )
        if spoken or reply.get("segments") is not None:
            return Recognition(utterances=spoken, language=language)
        text = reply["text"]
        if not isinstance(text, str):
            raise TypeError("text is no string")
    except (KeyError, TypeError, ValueError) as error:
        raise BadReply(f"no transcription: {type(error).__name__} {error}") from error
    notice = Notice("NO_TIMES", "the server gives text without times: each utterance is a whole piece")
    whole = (Utterance(text=text.strip(), start_s=0.0, end_s=seconds, words=words),) if text.strip() else ()
    return Recognition(utterances=whole, language=language, warnings=(notice,) if whole else ())


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
