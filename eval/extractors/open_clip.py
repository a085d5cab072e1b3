"""`open_clip:...`: any dual encoder that open_clip loads, for frames, texts and single tokens.

Names: `open_clip:ViT-B-32/openai` (model and tag, or model and a file of weights), `open_clip:local-dir:FOLDER` (made
by `v2t train` or by open_clip), `open_clip:hf-hub:ID`. Frames as CLIPScore prepares them ("pil": the model's own
resize mode, filter, mean and deviation) or as VBench does ("vbench").

QuickGELU: OpenAI's weights were trained with x*sigmoid(1.702x). Where a tag says so it is used, whatever the model's
configuration says; where weights are called "openai" and the configuration has the exact GELU, there is a warning,
since scores are then visibly wrong without any other sign (open_clip#771).
Letters: n frames, L tokens without padding, D embedding width.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.errors import MissingDependencyError, UsageError
from v2t_eval.core.features import BaseExtractor, versions
from v2t_eval.core.models import file_sha256
from v2t_eval.extractors.pixels import normalise, pil_square, tensor_square

if TYPE_CHECKING:
    from torch import Tensor

_PREFERRED = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "model.safetensors")
_HINT = "a tag is fetched once from the internet by open_clip; offline, name a folder: open_clip:local-dir:FOLDER"


class Extractor(BaseExtractor):
    preprocesses = ("pil", "vbench")
    has_text = True

    def load(self) -> None:
        try:
            import open_clip
        except (ImportError, RuntimeError) as error:  # RuntimeError: a torchvision built for another torch
            raise MissingDependencyError(f"needs open_clip: {error}", hint="pip install 'cineloop[eval]'") from error
        model_name, tag = self._model_and_tag()
        try:
            self._weights = self._weights_file(model_name, tag)
            self._model: Any = open_clip.create_model(
                model_name, tag or None, device=self.device, precision="fp32", require_pretrained=True,
                force_quick_gelu=self._lacks_quick_gelu(model_name, tag),
            )  # fmt: skip
            self._model.eval().requires_grad_(False)
            self._tokenizer: Any = open_clip.get_tokenizer(model_name)
        except (ImportError, OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise MissingDependencyError(f"cannot load {self.name}: {error}", code="MODEL", hint=_HINT) from error
        self._settings: dict[str, Any] = self._model.visual.preprocess_cfg
        self.quick_gelu = any(isinstance(part, open_clip.model.QuickGELU) for part in self._model.modules())
        if "openai" in self.name.lower() and not self.quick_gelu:
            self.warnings += (
                f"{self.name}: OpenAI's weights need QuickGELU and this configuration has none, so scores are wrong;"
                ' put "quick_gelu": true into its model_cfg, or name a model that ends in -quickgelu',
            )
        self._all_tokens = self._without_pooling()
        self.has_tokens = self._all_tokens is not None
        inner = getattr(self._tokenizer, "tokenizer", None)
        self.end_token = self._tokenizer.eot_token_id if inner is None else (inner.eos_token_id or -1)

    def _model_and_tag(self) -> tuple[str, str]:
        """Model (with its scheme) and tag, "" where the model brings its weights."""
        if self.where.startswith(("local-dir:", "hf-hub:")):
            return self.where, ""
        model, _, tag = self.where.partition("/")
        if not model or not tag:
            raise UsageError(
                f"{self.name}: expected open_clip:MODEL/PRETRAINED or open_clip:local-dir:FOLDER",
                hint="such as open_clip:ViT-B-32/openai",
            )
        return model, tag

    def _weights_file(self, model_name: str, tag: str) -> Path:
        import open_clip

        if model_name.startswith("local-dir:"):
            folder = Path(model_name.removeprefix("local-dir:"))
            files = {path.name: path for path in sorted(folder.glob("*.safetensors"))}
            if not files or not (folder / "open_clip_config.json").is_file():
                raise MissingDependencyError(
                    f"{folder} is not an open_clip model: open_clip_config.json and *.safetensors are expected",
                    code="MODEL",
                )
            return next((files[name] for name in _PREFERRED if name in files), next(iter(files.values())))
        if not tag:
            from open_clip.pretrained import download_pretrained_from_hf

            return Path(download_pretrained_from_hf(model_name.removeprefix("hf-hub:")))
        config = open_clip.get_pretrained_cfg(model_name, tag)
        return Path(open_clip.download_pretrained(config) if config else tag)

    def _lacks_quick_gelu(self, model_name: str, tag: str) -> bool:
        """Whether the tag's weights need QuickGELU and the model's configuration lacks it."""
        import open_clip

        required = bool(tag) and bool((open_clip.get_pretrained_cfg(model_name, tag) or {}).get("quick_gelu"))
        return required and not (open_clip.get_model_config(model_name) or {}).get("quick_gelu", False)

    def _without_pooling(self) -> Any:
        """The model with a text half that gives all its tokens, sharing all weights; None where it cannot."""
        model = copy.copy(self._model)
        if hasattr(model, "text_pool_type"):
            model.text_pool_type = "none"
        elif hasattr(getattr(model, "text", None), "pool_type"):
            model._modules = {**model._modules, "text": copy.copy(model.text)}
            model.text.pool_type = "none"
        else:
            return None
        return model

    def _embed(self, pixels: np.ndarray) -> Tensor:
        return self._model.encode_image(self._to_input(pixels))  # (n, D)

    def _side(self) -> tuple[int, int]:
        size = self._settings["size"]
        return (size, size) if isinstance(size, int) else tuple(size)

    def _to_input(self, pixels: np.ndarray) -> Tensor:
        settings, side = self._settings, self._side()
        if self.preprocess == "vbench":
            values = tensor_square(pixels, min(side), self.device)
        elif settings["resize_mode"] in ("shortest", "squash"):
            squash = settings["resize_mode"] == "squash"
            values = pil_square(pixels, side, self.device, squash=squash, filter=settings["interpolation"])
        else:
            raise UsageError(f"{self.name} needs the resize mode {settings['resize_mode']!r}, which is not known here")
        return normalise(values, settings["mean"], settings["std"])  # (n, 3, h, w)

    def _embed_text(self, text: str) -> Tensor:
        return self._model.encode_text(self._tokenizer([text]).to(self.device))[0]  # (D,)

    def _embed_tokens(self, text: str) -> tuple[list[int], Tensor]:
        if self._all_tokens is None:
            raise TypeError(f"{self.name} does not show its tokens")
        ids = self._tokenizer([text])  # (1, context)
        length = min(self._length(text), ids.shape[1])
        left = getattr(getattr(self._tokenizer, "tokenizer", None), "padding_side", "right") == "left"
        real = slice(ids.shape[1] - length, None) if left else slice(0, length)
        return ids[0, real].tolist(), self._all_tokens.encode_text(ids.to(self.device))[0, real]  # (L,), (L, D)

    def are_truncated(self, texts: list[str]) -> list[bool]:  # type: ignore[override]
        return [self._length(text) > self._tokenizer.context_length for text in texts]

    def _length(self, text: str) -> int:
        """Tokens of a text, marks of begin and end among them, however many the model takes."""
        if hasattr(self._tokenizer, "encode"):
            return len(self._tokenizer.encode(text)) + 2
        clean = getattr(self._tokenizer, "clean_fn", None)
        if clean is None:  # SigLipTokenizer
            from open_clip.tokenizer import basic_clean, canonicalize_text

            return len(self._tokenizer.tokenizer(canonicalize_text(basic_clean(text))).input_ids)
        return len(self._tokenizer.tokenizer(clean(text)).input_ids)

    def describe(self) -> dict[str, str]:
        return {
            "model": self.name,
            "weights": file_sha256(self._weights),
            "preprocess": f"{self.preprocess} {json.dumps(self._settings, sort_keys=True)}",
            "quick_gelu": str(self.quick_gelu).lower(),
            "context_length": str(self._tokenizer.context_length),
            "library": versions("open_clip_torch"),
        }
