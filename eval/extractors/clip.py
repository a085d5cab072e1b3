"""`clip:ID_OR_FOLDER`: CLIP or SigLIP of transformers, for frames and texts; of CLIP also single tokens.

Frames as the model's own processor prepares them, through PIL ("pil"), or as VBench does ("vbench"). The activation is
the one its `config.json` names; OpenAI's weights need `quick_gelu`.
Letters: n frames, L tokens without padding, D embedding width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.errors import MissingDependencyError
from v2t_eval.core.features import BaseExtractor
from v2t_eval.extractors import hub
from v2t_eval.extractors.pixels import CLIP_MEAN, CLIP_STD, normalise, tensor_square

if TYPE_CHECKING:
    from torch import Tensor


class Extractor(BaseExtractor):
    preprocesses = ("pil", "vbench")
    has_text = True

    def load(self) -> None:
        from transformers import AutoTokenizer

        self.folder = hub.model_folder(self.where, "clip")
        config = hub.config_of(self.folder)
        if config.get("model_type") not in ("clip", "siglip", "siglip2"):
            raise MissingDependencyError(
                f"{self.folder} holds a model of type {config.get('model_type')!r}; CLIP or SigLIP is expected",
                code="MODEL",
            )
        self._model = hub.load_model("AutoModel", self.folder, self.device)
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                str(self.folder), local_files_only=True, trust_remote_code=False
            )
        except (OSError, ValueError) as error:
            raise MissingDependencyError(f"no tokenizer in {self.folder}: {error}", code="MODEL") from error
        self._settings = hub.processor_settings(self.folder)
        self._context = int(self._model.config.text_config.max_position_embeddings)
        self.activation = str(self._model.config.vision_config.hidden_act)
        self.has_tokens = config["model_type"] == "clip"
        self.end_token = self._tokenizer.eos_token_id or -1
        if "openai" in self.name.lower() and self.activation != "quick_gelu":
            self.warnings += (
                f"{self.name}: OpenAI's weights need quick_gelu and config.json has {self.activation},"
                " so scores are wrong",
            )

    def _embed(self, pixels: np.ndarray) -> Tensor:
        return self._model.get_image_features(pixel_values=self._to_input(pixels)).pooler_output  # (n, D)

    def _to_input(self, pixels: np.ndarray) -> Tensor:
        settings, trained = self._settings, int(self._model.config.vision_config.image_size)
        if self.preprocess == "vbench":
            values = tensor_square(pixels, trained, self.device)
        else:
            values = hub.pil_input(pixels, settings, trained, self.device, crops=None, resample=3)
        return normalise(values, settings.get("image_mean", CLIP_MEAN), settings.get("image_std", CLIP_STD))

    def _encode(self, text: str) -> dict[str, Tensor]:
        options = {"padding": "max_length", "max_length": self._context, "truncation": True, "return_tensors": "pt"}
        encoded = self._tokenizer([text], **options)
        # SigLIP was trained with its padding in sight; of CLIP no token sees what comes after it.
        return {"input_ids": encoded["input_ids"].to(self.device)}

    def _embed_text(self, text: str) -> Tensor:
        return self._model.get_text_features(**self._encode(text)).pooler_output[0]  # (D,)

    def _embed_tokens(self, text: str) -> tuple[list[int], Tensor]:
        if not self.has_tokens:
            raise TypeError(f"{self.name}: only CLIP shows its tokens")
        encoded = self._encode(text)
        states = self._model.text_model(**encoded).last_hidden_state[0]  # (context, width)
        length = min(len(self._tokenizer(text).input_ids), self._context)
        real = slice(-length, None) if self._tokenizer.padding_side == "left" else slice(0, length)
        return encoded["input_ids"][0, real].tolist(), self._model.text_projection(states[real])  # (L,), (L, D)

    def are_truncated(self, texts: Sequence[str]) -> list[bool]:
        return [len(self._tokenizer(text).input_ids) > self._context for text in texts]

    def describe(self) -> dict[str, str]:
        names = ("size", "crop_size", "do_center_crop", "resample", "image_mean", "image_std")
        settings = {name: self._settings[name] for name in names if name in self._settings}
        quick = {"quick_gelu": str(self.activation == "quick_gelu").lower(), "context_length": str(self._context)}
        return hub.about(self.name, self.folder, self._model, f"{self.preprocess} {settings}") | quick
