"""A transcriber that says how long its piece is, `PAUSE_S` seconds for each."""

from __future__ import annotations

import os
import time

import numpy as np

from v2t.transcribers import Recognition, SpeechModel, SpokenWord, Utterance


class Transcriber(SpeechModel):
    """Its one utterance a piece begins and ends .2 s within it."""

    def __init__(self, model: str, *, device: str = "auto", dtype: str = "auto") -> None:
        self.name, self.revision = model, "1"

    def load(self) -> None: ...

    def transcribe(self, samples: np.ndarray, language: str | None) -> Recognition:
        time.sleep(float(os.environ.get("PAUSE_S", "0")))
        seconds = len(samples) / 16_000
        words = (SpokenWord(text="about", start_s=0.2, end_s=0.4, probability=0.9),)
        said = Utterance(text=f"about {seconds:.0f} s", start_s=0.2, end_s=seconds - 0.2, words=words)
        return Recognition(utterances=(said,), language=language or "en")
