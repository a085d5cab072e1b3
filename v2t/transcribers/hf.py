"""Speech models of transformers: Whisper with its times, CTC models with the times of words, others as text.

In: a folder or hub id with safetensors. Out: utterances. Whisper runs as in its paper: log-mel features of one piece of
at most 30 seconds, greedy, with timestamps and without the text before, which it would repeat. A model that gives no
times (Moonshine and other sequence-to-sequence families) has one utterance a piece: pieces are cut at pauses.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cineloop.audio.read import SPEECH_RATE
from cineloop.errors import Notice, UsageError
from cineloop.model_folder import load_weights
from cineloop.training.runtime import check_dtype, find_device, find_dtype
from v2t.backends.hf_source import ModelSource
from v2t.transcribers import Recognition, SpeechModel, SpokenWord, Utterance


class Transcriber(SpeechModel):
    """A model of transformers.

    Args:
        model: folder or hub id.
        device, dtype: as everywhere; "auto" takes a GPU if there is one.
        revision: branch, tag or commit of a hub id.
        max_new_tokens: of a piece.
    """

    def __init__(
        self, model: str, *, device: str = "auto", dtype: str = "auto", revision: str | None = None,
        max_new_tokens: int = 400,
    ) -> None:  # fmt: skip
        if not 1 <= max_new_tokens <= 4096:
            raise UsageError(f"max_new_tokens must be 1 to 4096, got {max_new_tokens}")
        check_dtype(dtype)
        self._source = ModelSource.find(model, revision, False)
        self.name, self.revision = model, self._source.revision
        self._device, self._dtype, self._max_new_tokens = device, dtype, max_new_tokens
        self._model: Any = None

    def load(self) -> None:
        import torch
        import transformers

        config = self._source.config()
        device = find_device(self._device)
        dtype = getattr(torch, find_dtype(self._dtype, device))
        mappings = ("AutoModelForCTC", "AutoModelForSpeechSeq2Seq")
        autos = [getattr(transformers, name) for name in mappings]
        auto = next((auto for auto in autos if type(config) in auto._model_mapping), None)
        if auto is None:
            raise UsageError(
                f"{self.name} ({type(config).__name__}) is not a model that writes down speech",
                code="NOT_A_TRANSCRIBER",
                hint="name a speech recognition model, such as openai/whisper-small",
            )
        self._processor = self._source.processor()
        self._model = load_weights(auto, self._source.folder, config=config, dtype=dtype)
        self._model.to(device)
        self._is_ctc = auto is autos[0]
        self._has_times = config.model_type == "whisper"

    def transcribe(self, samples: np.ndarray, language: str | None) -> Recognition:
        import torch

        inputs = self._processor(samples, sampling_rate=SPEECH_RATE, return_tensors="pt")
        inputs = {name: self._place(value) for name, value in inputs.items()}
        seconds = len(samples) / SPEECH_RATE
        with torch.inference_mode():
            if self._is_ctc:
                return self._by_frames(self._model(**inputs).logits[0], seconds)
            if self._has_times:
                return self._whisper(inputs, seconds, language)
            ids = self._model.generate(**inputs, max_new_tokens=self._max_new_tokens)
        text = self._processor.batch_decode(ids, skip_special_tokens=True)[0].strip()
        spoken = (Utterance(text=text, start_s=0.0, end_s=seconds),) if text else ()
        return Recognition(
            utterances=spoken, warnings=(Notice("NO_TIMES", f"{self.name} gives no times: each is of a whole piece"),)
        )

    def _place(self, value: Any) -> Any:
        value = value.to(self._model.device)
        return value.to(self._model.dtype) if value.is_floating_point() else value

    def _whisper(self, inputs: dict[str, Any], seconds: float, language: str | None) -> Recognition:
        generation = self._model.generation_config
        multilingual = bool(getattr(generation, "is_multilingual", False))
        known = getattr(generation, "lang_to_id", None) or {}
        asked: dict[str, Any] = {}
        if multilingual:
            if language and f"<|{language}|>" not in known:
                raise UsageError(f"{self.name} knows no language {language!r}", hint="a code such as en, de, zh")
            language = language or self._language(inputs)
            asked = {"language": language, "task": "transcribe"}
        ids = self._model.generate(
            inputs["input_features"], return_timestamps=True, max_new_tokens=self._max_new_tokens, **asked
        )[0]
        tokenizer = self._processor.tokenizer
        offsets = tokenizer.decode(ids, output_offsets=True, skip_special_tokens=True)["offsets"]
        spoken = []
        for offset in offsets:
            start_s, end_s = offset["timestamp"]
            end_s = seconds if end_s is None else min(end_s, seconds)  # a cut-off answer lacks its last time
            text = offset["text"].strip()
            if text and start_s < seconds:
                spoken.append(Utterance(text=text, start_s=start_s, end_s=max(start_s, end_s)))
        if not offsets and (text := tokenizer.decode(ids, skip_special_tokens=True).strip()):
            spoken = [Utterance(text=text, start_s=0.0, end_s=seconds)]
        return Recognition(utterances=tuple(spoken), language=language or ("" if multilingual else "en"))

    def _language(self, inputs: dict[str, Any]) -> str:
        number_of = int(self._model.detect_language(inputs["input_features"])[0])
        codes = {number: token for token, number in self._model.generation_config.lang_to_id.items()}
        return str(codes[number_of]).strip("<|>")

    def _by_frames(self, logits: Any, seconds: float) -> Recognition:
        """Words of a CTC model: (frames, tokens) → text with times."""
        ids = logits.argmax(-1)  # (frames,)
        decoded = self._processor.decode(ids, output_word_offsets=True)
        step_s = seconds / max(1, len(ids))
        words = tuple(
            SpokenWord(text=word["word"], start_s=word["start_offset"] * step_s, end_s=word["end_offset"] * step_s)
            for word in decoded["word_offsets"] or ()
            if word["word"].strip()
        )
        if not words:
            return Recognition(utterances=())
        text = " ".join(word.text for word in words)
        return Recognition(
            utterances=(Utterance(text=text, start_s=words[0].start_s, end_s=words[-1].end_s, words=words),)
        )
