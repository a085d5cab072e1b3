"""Transcribers: one file per way to get words out of speech.

In: mono samples at 16 kHz of a piece of sound, the language if it is known. Out: a `Recognition`, utterances with their
seconds. A file of this folder with a class `Transcriber(SpeechModel)` is a choice, and so is a user's own FILE.py.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cineloop import plugin
from cineloop.errors import Notice

FOLDER = "v2t.transcribers"


@dataclass(frozen=True, kw_only=True)
class SpokenWord:
    """A word, its seconds within the piece, and the model's probability for it, None where it gives none."""

    text: str
    start_s: float
    end_s: float
    probability: float | None = None


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """Words spoken in a stretch of the piece.

    Attributes:
        text: as it is written, without space around it.
        start_s, end_s: seconds within the piece.
        words: with their own seconds, where the model gives them.
        no_speech: the model's probability that nobody speaks; logprob: mean log-probability of its tokens; None where
            it gives none.
    """

    text: str
    start_s: float
    end_s: float
    words: tuple[SpokenWord, ...] = ()
    no_speech: float | None = None
    logprob: float | None = None


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """The utterances of a piece in order; `language` is a code such as "en", "" where the model names none."""

    utterances: tuple[Utterance, ...]
    language: str = ""
    language_probability: float | None = None
    warnings: tuple[Notice, ...] = ()


class SpeechModel(ABC):
    """A model of speech. `Transcriber(model, device=, dtype=, **options)` makes one; nothing is loaded before `load`.

    Attributes:
        name, revision: what a record says of it.
        longest_s: a piece is never longer.
    """

    longest_s: ClassVar[float] = 30.0
    name: str
    revision: str = ""

    @abstractmethod
    def load(self) -> None:
        """Load the weights. Raises MissingDependencyError: they are not available here."""

    @abstractmethod
    def transcribe(self, samples: np.ndarray, language: str | None) -> Recognition:
        """The words spoken in float32 (S,) at 16 kHz; `language` None lets the model find it out.

        Raises:
            ItemError: this piece cannot be transcribed.
            MissingDependencyError: no piece can.
        """


def open_transcriber(
    model: str,
    *,
    engine: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    options: Mapping[str, Any] | None = None,
) -> SpeechModel:
    """The transcriber of a model, not loaded yet.

    Args:
        model: a folder, a hub id, or openai:URL[#model].
        engine: a file of this folder, a user's FILE.py, or "auto", which goes by the model.

    Raises:
        UsageError: no such engine, or an option that it does not know.
    """
    engine = engine_of(model) if engine == "auto" else engine
    made: SpeechModel = plugin.construct(
        "transcriber",
        engine,
        plugin.load(FOLDER, engine, "Transcriber", files=True).Transcriber,
        model,
        options=options or {},
        device=device,
        dtype=dtype,
    )
    return made


def engine_of(model: str) -> str:
    """The engine that reads a model: openai an address, faster_whisper a folder of CTranslate2's, hf all else."""
    if model.startswith("openai:"):
        return "openai"
    return "faster_whisper" if (Path(model) / "model.bin").is_file() else "hf"
