"""`videoreward:FOLDER`: VideoReward of VideoAlign (Liu et al. 2025, arXiv:2501.13918), three rewards.

A Qwen2-VL reads clip and instructions, in which three tokens stand: <|VQ_reward|>, <|MQ_reward|>, <|TA_reward|>. A
linear head without bias maps the last hidden state at each to its mark: of three outputs the first for visual quality,
the second for motion quality, the third for text alignment; of one output that one. Marks are normalised by the mean
and deviation in the configuration; `overall` is their sum. Tokens have plain positions 0 .. L - 1 in all three axes:
the published code calls the language model without positions, and transformers 4.45 then counts through, so M-RoPE's
places of pictures are not used.

The published files are a LoRA adapter and a pickle (.pth), and the instructions stand in the published code; neither is
read here. Once, where both are installed, in a checkout of VideoAlign:

    from inference import VideoVLMRewardInference
    from prompt_template import DETAILED_PROMPT_WITH_SPECIAL_TOKEN as text
    made = VideoVLMRewardInference("./checkpoints", device="cpu", dtype=torch.float32)
    made.model.merge_and_unload().save_pretrained("videoreward"); made.processor.save_pretrained("videoreward")
    shutil.copy("checkpoints/model_config.json", "videoreward"); open("videoreward/prompt.txt", "w").write(text)

Letters: L tokens, D width, K outputs of the head.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cineloop.documents import read_json
from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.training.runtime import find_dtype
from cineloop.video.frames import Frames
from v2t_eval.core import models
from v2t_eval.extractors import hub
from v2t_eval.raters import Rating, qwen

TOKENS = {"VQ": "<|VQ_reward|>", "MQ": "<|MQ_reward|>", "TA": "<|TA_reward|>"}
NAMES = {"VQ": "visual_quality", "MQ": "motion_quality", "TA": "text_alignment"}
PLACE = "{text_prompt}"  # in the instructions
_HEAD = "rm_head.weight"
_PICKLES = (".pth", ".pt", ".bin")
_HINT = "the head of v2t_eval/raters/videoreward.py says how the published files are converted once"


class Rater:
    """See `v2t_eval.raters.RaterLike`."""

    dimensions = tuple(NAMES.values())

    def __init__(self, where: str, mode: str) -> None:
        if mode == "compat":
            raise UsageError("videoreward has one formula, the published one: leave mode out")
        self.name = f"videoreward:{where}"
        self._folder = hub.model_folder(where, "videoreward")
        _require_form(self._folder)
        self._text, data, self._scale = _settings(self._folder)
        self._fps, self._most_pixels = float(data.get("fps") or 2.0), int(data.get("max_frame_pixels") or 240 * 320)
        device = models.device()
        self._dtype = find_dtype("auto", device)
        self._model = hub.load_model("Qwen2VLForConditionalGeneration", self._folder, device, dtype=self._dtype)
        self._processor = qwen.open_processor(self._folder)
        self._tokens = [self._processor.tokenizer.convert_tokens_to_ids(token) for token in TOKENS.values()]
        self._head = _head(self._folder, self._model.get_input_embeddings().weight)  # (K, D)
        unknown = self._processor.tokenizer.unk_token_id
        if any(number is None or number == unknown for number in self._tokens):
            raise MissingDependencyError(f"the tokenizer in {where} lacks {' '.join(TOKENS.values())}", code="MODEL",
                                         hint=_HINT)  # fmt: skip

    def fingerprint(self) -> dict[str, str]:
        stated = f"{self._fps:g} frames a second, at most {self._most_pixels} pixels each"
        scale = " ".join(f"{name} {value:g}" for name, value in sorted(self._scale.items())) or "none"
        return hub.about(self.name, self._folder, self._model, stated) | {"dtype": self._dtype, "scale": scale}

    def rate(self, frames: Frames, prompt: str) -> Rating:
        import torch

        # The control tokens of the instructions are not the prompt's to bring.
        qwen.refuse_control_tokens(self._processor.tokenizer, prompt)
        query = self._text.replace(PLACE, prompt)
        inputs = qwen.inputs_of(self._processor, frames, query, fps=self._fps, most_pixels=self._most_pixels)
        inputs = inputs.to(self._model.device)
        length = inputs["input_ids"].shape[1]
        positions = torch.arange(length, device=self._model.device).expand(3, 1, length)
        with torch.inference_mode():
            hidden = self._model.model(**inputs, position_ids=positions, use_cache=False).last_hidden_state[0]  # (L, D)
            outputs = (hidden @ self._head.T).float().cpu()  # (L, K)
        ids = inputs["input_ids"][0].tolist()
        marks = {}
        for number, (short, token) in enumerate(zip(NAMES, self._tokens, strict=True)):
            row = outputs[ids.index(token)]  # (K,)
            raw = float(row[number if len(row) > 1 else 0])
            marks[NAMES[short]] = (raw - self._scale.get(f"{short}_mean", 0.0)) / self._scale.get(f"{short}_std", 1.0)
        if not all(map(_is_finite, marks.values())):
            raise ItemError(f"{self.name} gave a mark that is not finite", code="MODEL_ERROR")
        return Rating(marks=marks, overall=sum(marks.values()))


def _is_finite(mark: float) -> bool:
    return mark - mark == 0.0


def _require_form(folder: Path) -> None:
    """Raises MissingDependencyError: what is there is the published form, or not whole."""
    if not list(folder.glob("*.safetensors")) or (folder / "adapter_config.json").is_file():
        pickles = sorted(path.name for path in folder.rglob("*") if path.suffix in _PICKLES)
        what = f"holds {pickles[0]}, a pickle, which is never loaded" if pickles else "holds no merged safetensors"
        raise MissingDependencyError(f"{folder} {what}", code="MODEL", hint=_HINT)


def _settings(folder: Path) -> tuple[str, dict[str, Any], dict[str, float]]:
    """The instructions, `data_config`, and the numbers of `inference_config` (none in older files).

    Raises:
        MissingDependencyError: a file is missing or not what it should be.
    """
    try:
        text = (folder / "prompt.txt").read_text(encoding="utf-8")
        config = read_json(folder / "model_config.json", finite=False)
    except (OSError, ValueError) as error:
        raise MissingDependencyError(
            f"cannot read the settings in {folder}: {error}", code="MODEL", hint=_HINT
        ) from error
    wrong = [part for part in (PLACE, *TOKENS.values()) if text.count(part) != 1]
    if wrong:
        raise MissingDependencyError(f"prompt.txt in {folder} must hold {wrong[0]} once", code="MODEL", hint=_HINT)
    data, scale = (
        config.get(name) if isinstance(config, dict) else None for name in ("data_config", "inference_config")
    )
    scale = scale if isinstance(scale, dict) else {}
    numbers = {f"{short}_{part}": scale.get(f"{short}_{part}") for short in TOKENS for part in ("mean", "std")}
    if scale and not all(isinstance(each, (int, float)) for each in numbers.values()):
        raise MissingDependencyError(f"inference_config in {folder} lacks a mean or std", code="MODEL", hint=_HINT)
    sized = {name: float(each) for name, each in numbers.items() if each is not None}
    if any(value == 0 for name, value in sized.items() if name.endswith("std")):
        raise MissingDependencyError(f"inference_config in {folder} has a std of 0", code="MODEL", hint=_HINT)
    return text, data if isinstance(data, dict) else {}, sized


def _head(folder: Path, like: Any) -> Any:
    """The head (K, D) on the device and in the precision of `like`.

    Raises:
        MissingDependencyError: there is none, or of another shape.
    """
    from safetensors import safe_open

    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            if _HEAD in file.keys():  # noqa: SIM118 - not a dict
                head = file.get_tensor(_HEAD)
                if head.ndim != 2 or head.shape[0] not in (1, len(TOKENS)) or head.shape[1] != like.shape[1]:
                    raise MissingDependencyError(
                        f"{_HEAD} in {folder} has the shape {tuple(head.shape)}, expected (1 or 3, {like.shape[1]})",
                        code="MODEL", hint=_HINT,
                    )  # fmt: skip
                return head.to(device=like.device, dtype=like.dtype)
    raise MissingDependencyError(f"the weights in {folder} hold no {_HEAD}", code="MODEL", hint=_HINT)
