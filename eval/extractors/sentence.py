"""`sentence:ID_OR_FOLDER`: any sentence encoder in the form of sentence-transformers, for texts.

In: texts. Out: the vectors that sentence-transformers gives. Its files are read, not its code: `modules.json` (which
steps), `1_Pooling/config.json` (how tokens become one vector), `sentence_bert_config.json` (longest text, lower case),
`2_Dense`, and the prompt that goes before every text by default. A folder without `modules.json` is pooled by the mean
over its tokens, as sentence-transformers does. Letters: L tokens, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cineloop.documents import read_json
from cineloop.errors import ItemError, MissingDependencyError
from v2t_eval.core.features import BaseExtractor
from v2t_eval.core.models import file_sha256
from v2t_eval.extractors import hub

if TYPE_CHECKING:
    from torch import Tensor

# In the order in which sentence-transformers joins them.
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
_KEYS = {"cls": "cls_token", "max": "max_tokens", "mean": "mean_tokens", "weightedmean": "weightedmean_tokens"}
_ACTIVATIONS = {"Tanh": "tanh", "Identity": "", "ReLU": "relu", "GELU": "gelu"}


def pool(tokens: Tensor, mode: str) -> Tensor:
    """One vector (D,) of the vectors of all tokens (L, D), none of them padding; `mode` is one of `POOLINGS`."""
    import torch

    if mode == "cls":
        return tokens[0]
    if mode == "lasttoken":
        return tokens[-1]
    if mode == "max":
        return tokens.max(0).values
    if mode == "weightedmean":
        weights = torch.arange(1, len(tokens) + 1, device=tokens.device, dtype=tokens.dtype)  # (L,)
        return (tokens * weights[:, None]).sum(0) / weights.sum()
    return tokens.sum(0) / (len(tokens) if mode == "mean" else len(tokens) ** 0.5)


class Extractor(BaseExtractor):
    kind = "text"
    preprocesses = ("text",)
    has_text = True

    def load(self) -> None:
        import transformers

        self.folder = hub.model_folder(self.where, "sentence")
        hub.config_of(self.folder)
        options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
        try:
            config = transformers.AutoConfig.from_pretrained(str(self.folder), **options)
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(str(self.folder), **options)
        except (OSError, ValueError, KeyError) as error:
            raise MissingDependencyError(
                f"no encoder with tokenizer in {self.folder}: {error}", code="MODEL"
            ) from error
        kind: Any = transformers.MODEL_MAPPING.get(type(config), None)
        # The pooling layer of BERT-like models is not part of a sentence encoder, and its files may lack it.
        has_pooler = kind is not None and "add_pooling_layer" in inspect.signature(kind).parameters
        without: dict[str, Any] = {"add_pooling_layer": False} if has_pooler else {}
        model = hub.load_model("AutoModel", self.folder, self.device, **without)
        self._model: Any = model.get_encoder() if getattr(config, "is_encoder_decoder", False) else model
        settings = _read(self.folder / "sentence_bert_config.json")
        self._lower = bool(settings.get("do_lower_case"))
        longest = [settings.get("max_seq_length"), getattr(config, "max_position_embeddings", None)]
        longest = longest[:1] if longest[0] else [longest[1], self._tokenizer.model_max_length]
        self._longest = min(number for number in longest if number) if any(longest) else None
        self._prefix = self._default_prompt()
        self._steps = self._read_steps()

    def _default_prompt(self) -> str:
        about = _read(self.folder / "config_sentence_transformers.json")
        return str((about.get("prompts") or {}).get(about.get("default_prompt_name") or "", ""))

    def _read_steps(self) -> list[tuple[str, Any]]:
        """What is done with the vectors of the tokens: (name, settings) in order."""
        listed = _read(self.folder / "modules.json") or [{"type": "Transformer"}, {"type": "Pooling", "path": ""}]
        steps: list[tuple[str, Any]] = []
        for module in sorted(listed, key=lambda module: module.get("idx", 0)):
            kind, folder = str(module.get("type", "")).rpartition(".")[2], self.folder / str(module.get("path", ""))
            if kind == "Pooling":
                steps.append(("pooling", self._modes(_read(folder / "config.json") if module.get("path") else {})))
            elif kind == "Dense":
                steps.append(("dense", self._dense(folder)))
            elif kind == "Normalize":
                steps.append(("normalize", None))
            elif kind not in ("Transformer", "Dropout"):
                raise MissingDependencyError(
                    f"{self.folder}: its step {module.get('type')!r} is not known here",
                    code="MODEL",
                    hint="an encoder of Transformer, Pooling, Dense and Normalize is expected",
                )
        return steps

    def _modes(self, config: dict[str, Any]) -> tuple[str, ...]:
        if config.get("include_prompt") is False and self._prefix:
            raise MissingDependencyError(f"{self.folder} leaves its prompt out of the pooling: not known", code="MODEL")
        named = config.get("pooling_mode")
        if isinstance(named, str):
            modes = tuple(named.lower().split("+"))
        elif named:
            modes = tuple(named)
        else:
            modes = tuple(mode for mode in POOLINGS if config.get(f"pooling_mode_{_KEYS.get(mode, mode)}")) or ("mean",)
        if unknown := set(modes) - set(POOLINGS):
            raise MissingDependencyError(f"{self.folder}: pooling {', '.join(unknown)} is not known", code="MODEL")
        return modes

    def _dense(self, folder: Path) -> tuple[Any, str]:
        import torch
        from safetensors.torch import load_file

        config, file = _read(folder / "config.json"), folder / "model.safetensors"
        activation = str(config.get("activation_function", "torch.nn.modules.activation.Tanh")).rpartition(".")[2]
        if not file.is_file() or activation not in _ACTIVATIONS:
            raise MissingDependencyError(
                f"{folder}: a dense layer by safetensors with one of {', '.join(_ACTIVATIONS)} is expected",
                code="MODEL",
            )
        layer = torch.nn.Linear(config["in_features"], config["out_features"], bias=config.get("bias", True))
        layer.load_state_dict({name.removeprefix("linear."): value for name, value in load_file(file).items()})
        return layer.to(self.device).float().eval(), _ACTIVATIONS[activation]

    def _encode(self, text: str, **options: Any) -> Any:
        text = self._prefix + text.strip()
        return self._tokenizer(text.lower() if self._lower else text, **options)

    def _embed_text(self, text: str) -> Tensor:
        import torch

        options = {"truncation": True, "max_length": self._longest} if self._longest else {}
        encoded = self._encode(text, return_tensors="pt", **options)
        if not encoded["input_ids"].numel():
            raise ItemError("the text is empty", code="EMPTY_TEXT")
        known = inspect.signature(self._model.forward).parameters
        inputs = {name: value.to(self.device) for name, value in encoded.items() if name in known}
        vectors = self._model(**inputs).last_hidden_state[0]  # (L, D)
        embedding = vectors
        for name, about in self._steps:
            if name == "pooling":
                embedding = torch.cat([pool(vectors, mode) for mode in about])  # (D,) of each
            elif name == "dense":
                layer, activation = about
                embedding = (
                    getattr(torch.nn.functional, activation)(layer(embedding)) if activation else layer(embedding)
                )
            else:
                embedding = torch.nn.functional.normalize(embedding, dim=-1)
        return embedding

    def are_truncated(self, texts: Sequence[str]) -> list[bool]:
        limit = self._longest
        return [limit is not None and len(self._encode(text)["input_ids"]) > limit for text in texts]

    def describe(self) -> dict[str, str]:
        stated = [f"{name} {'+'.join(about)}" if name == "pooling" else name for name, about in self._steps]
        dense = [file_sha256(path) for path in sorted(self.folder.glob("*_Dense/model.safetensors"))]
        about = hub.about(self.name, self.folder, self._model, f"longest {self._longest}, lower case {self._lower}")
        return about | {"steps": ", ".join(stated), "prompt": repr(self._prefix), "dense": " ".join(dense)}


def _read(path: Path) -> Any:
    """A JSON file; an empty mapping where there is none."""
    try:
        return read_json(path, finite=False)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise MissingDependencyError(f"cannot read {path}: {error}", code="MODEL") from error
