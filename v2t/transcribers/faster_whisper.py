"""faster-whisper: Whisper by CTranslate2, int8 on a CPU (pip install faster-whisper).

In: the name of a Whisper model, or a folder of converted weights. Out: utterances with the times of words. Its own
voice detection is off, since pieces of speech are what it is given; so is conditioning on the text before, which loops.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cineloop.audio.read import SPEECH_RATE
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.threads import usable_cpus
from cineloop.training.runtime import find_device
from v2t.transcribers import Recognition, SpeechModel, SpokenWord, Utterance

_COMPUTE = {"auto": "default", "float32": "float32", "float16": "float16", "bfloat16": "bfloat16"}


class Transcriber(SpeechModel):
    """A model of faster-whisper.

    Args:
        model: "large-v3-turbo", a hub id of converted weights, or their folder.
        device: auto, cpu, cuda. dtype: auto (int8 on a CPU), float32, float16, bfloat16.
        beam_size: of the search, 1 is greedy.
        hotwords: names and terms to expect.
        temperature: of the search; None begins with 0 and raises it where the answer repeats itself or is unsure.
    """

    def __init__(
        self, model: str, *, device: str = "auto", dtype: str = "auto", beam_size: int = 5, hotwords: str = "",
        temperature: float | None = None,
    ) -> None:  # fmt: skip
        if dtype not in _COMPUTE:
            raise UsageError(f"dtype must be one of {', '.join(_COMPUTE)}, got {dtype!r}")
        if not 1 <= beam_size <= 100:
            raise UsageError(f"beam_size must be 1 to 100, got {beam_size}")
        self.name = model
        self._device, self._dtype, self._beam_size, self._hotwords = device, dtype, beam_size, hotwords
        self._more = {} if temperature is None else {"temperature": temperature}
        self._model: Any = None

    def load(self) -> None:
        try:
            from faster_whisper import WhisperModel
        except ImportError as error:
            raise MissingDependencyError(
                f"the engine faster_whisper needs its package: {error}", hint="pip install faster-whisper"
            ) from error
        device = find_device(self._device).partition(":")[0]
        compute = "int8" if self._dtype == "auto" and device == "cpu" else _COMPUTE[self._dtype]
        try:
            self._model = WhisperModel(self.name, device=device, compute_type=compute, cpu_threads=usable_cpus())
        except Exception as error:  # CTranslate2 and the hub raise of their own
            raise MissingDependencyError(f"cannot load {self.name}: {error}", code="MODEL") from error

    def transcribe(self, samples: np.ndarray, language: str | None) -> Recognition:
        parts, info = self._model.transcribe(
            samples,
            language=language,
            beam_size=self._beam_size,
            word_timestamps=True,
            condition_on_previous_text=False,
            vad_filter=False,
            hotwords=self._hotwords or None,
            **self._more,
        )
        seconds = len(samples) / SPEECH_RATE  # the model may give times beyond it: its window has 30 seconds
        spoken = tuple(
            Utterance(
                text=part.text.strip(),
                start_s=float(part.start),
                end_s=min(seconds, float(part.end)),
                words=tuple(
                    SpokenWord(text=word.word.strip(), start_s=float(word.start), end_s=float(word.end),
                               probability=float(word.probability))
                    for word in part.words or ()
                ),
                no_speech=float(part.no_speech_prob),
                logprob=float(part.avg_logprob),
            )
            for part in parts
            if part.text.strip() and part.start < seconds
        )  # fmt: skip
        return Recognition(
            utterances=spoken, language=info.language or "", language_probability=float(info.language_probability)
        )
