"""Any model that transformers loads for videos or images, from a hub id or a folder.

In: a checkpoint, batches of conversations with `Frames`. Out: answers by `generate`, and likelihoods of given answers.
`v2t.backends.hf_source` selects the files to load, `v2t.backends.hf_prompt` turns conversations into tensors; this
module holds the weights and runs them. The constructor reads configuration and processor; `load` reads the weights.
Letters: B conversations, L tokens of the padded prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cineloop.errors import ItemError, MissingDependencyError, UsageError
from cineloop.log import printable
from cineloop.training.runtime import check_dtype, find_device, find_dtype
from v2t.backends import COST, TEXT, Conversation, Decoding, Output, VideoLM, sampling_settings, user_turn
from v2t.backends.abilities import Abilities, read
from v2t.backends.hf_prompt import Prompter, noise_clip
from v2t.backends.hf_source import ModelSource
from v2t.backends.local import STARTER, STARTER_NAME, pieces

if TYPE_CHECKING:
    from torch import Tensor

    from cineloop.video.frames import Frames

_QUANTIZE = {"4bit": "nf4", "8bit": "int8"}


class Backend(VideoLM):
    """A captioner of any video or image language model (see `v2t.backends.VideoLM`).

    Args:
        model: a hub id, "starter", or a folder made by `save_pretrained` of model and processor.
        device: "auto" (CUDA when it is there), "cpu", "cuda", "cuda:1" …
        dtype: "auto" (float32 on CPU, bfloat16 on CUDA), "float32", "bfloat16", "float16".
        revision: branch, tag or commit of a hub id; records name the resolved commit.
        quantize: "4bit" or "8bit" packs the language model's weights with bitsandbytes.
        device_map: how accelerate distributes the model over devices: "auto", "balanced" … instead of `device`.
        trust_remote_code: run the code that comes with the checkpoint.
        thinking: let a model that may do so reason before it answers; wants many more tokens an answer.

    Raises:
        MissingDependencyError: no such checkpoint here or on the hub, or a package it needs (TORCHVISION, PACKAGE).
        PolicyError: REMOTE_CODE, it needs its own code. UsageError: an invalid option, or not a model of this kind.
    """

    reply_tokens = 1024  # longest answer to a judge's question: the model may reason first

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        revision: Annotated[str | None, COST] = None,
        quantize: Annotated[str | None, TEXT] = None,
        device_map: Annotated[str | None, COST] = None,
        trust_remote_code: Annotated[bool, COST] = False,
        thinking: Annotated[bool, TEXT] = False,
    ) -> None:
        check_dtype(dtype)
        if quantize is not None and quantize not in _QUANTIZE:
            raise UsageError(f"quantize must be one of {', '.join(_QUANTIZE)}, got {quantize!r}")
        if not isinstance(trust_remote_code, bool):
            raise UsageError(f"trust_remote_code must be true or false, got {trust_remote_code!r}")
        if device_map is not None and device != "auto":
            raise UsageError(f"device_map={device_map!r} already places the model; got device={device!r} too")
        self.source = ModelSource.find(str(STARTER) if model == "starter" else model, revision, trust_remote_code)
        self.name = self.source.folder.resolve().name if self.source.local else model
        self.name = STARTER_NAME if model == "starter" else self.name
        self.revision = self.source.revision
        self.device, self.dtype, self.quantize, self.device_map = device, dtype, quantize, device_map
        self._config = self.source.config()
        self.abilities = read(self.source.folder) if self._config.model_type == "cineloop" else Abilities()
        self.source.model_class(self._config)
        text = self._config.get_text_config(decoder=True)
        self._has_decoder_start = bool(self._config.is_encoder_decoder or text.is_encoder_decoder)
        self.has_likelihoods = not self._has_decoder_start  # else the answer does not continue its prompt
        video_token = getattr(self._config, "video_token_id", getattr(self._config, "video_token_index", None))
        self.prompter = Prompter(
            self.source.processor(),
            getattr(text, "max_position_embeddings", None),
            video_token,
            getattr(self._config, "num_image_with_embedding", None),  # GIT for videos
            thinking,
        )
        self.spec = self.prompter.spec()
        self.frame_size = self.prompter.frame_size()
        self._model: Any = None
        self._set_by_model: set[str] = set()  # settings that its `generate` passes to a submodel by itself

    def load(self) -> None:
        """Load the weights onto the device. Raises MissingDependencyError: weights that do not load, or a missing
        device."""
        import torch
        from transformers.utils import logging as transformers_logging

        device = find_device(self.device)
        dtype = find_dtype(self.dtype, device)
        options: dict[str, Any] = {"dtype": getattr(torch, dtype)}
        if self.device_map is not None or self.quantize is not None:
            options["device_map"] = self.device_map or {"": device}
        if self.quantize is not None:
            options["quantization_config"] = self._quantization(self.quantize)
        transformers_logging.disable_progress_bar()
        self._model = self.source.weights(self._config, **options)
        if "device_map" not in options:
            self._model.to(device)
        if not self.prompter.takes_video and self.prompter.fixed_frames is None:
            self._probe_num_pictures()
        else:
            self._probe_answer()

    def _probe_answer(self) -> None:
        """Answer about noise once: damage that a load does not show (layers of other sizes, a quantization that this
        device lacks) would fail every clip. Raises MissingDependencyError: MODEL."""
        try:
            self.answer([user_turn("what", noise_clip(0, 1, 2, 3))], Decoding(max_new_tokens=1))
        except Exception as error:
            raise MissingDependencyError(
                f"{self.name} loads, and fails on a plain clip: {type(error).__name__}: {printable(str(error), 300)}",
                code="MODEL",
                hint="another --model, --device or --dtype, or without quantization; its config.json may not fit its "
                "weights",
            ) from error

    def _probe_num_pictures(self) -> None:
        """Test once whether the model takes several pictures; one that takes a single picture gets the middle frame.
        Raises MissingDependencyError: MODEL, it answers about no pictures at all."""
        problem = None
        for self.prompter.fixed_frames in (None, 1):
            try:
                self.answer([user_turn("what", noise_clip(0, 1, 2, size=(64, 64)))], Decoding(max_new_tokens=1))
            except Exception as error:  # an exception here would occur at every clip
                problem = problem or f"{type(error).__name__}: {error}"
            else:
                return
        raise MissingDependencyError(
            f"{self.name} answers neither about several pictures nor about one: {printable(str(problem), 300)}",
            code="MODEL",
            hint="another --model; or write a captioner, one file of v2t/backends",
        )

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding, streamer: Any = None) -> list[Output]:
        """See `VideoLM.answer`; `streamer` is for one conversation."""
        import torch

        inputs = self._inputs(conversations)
        settings = self._settings(decoding, inputs)
        if len(conversations) > 1 and settings["max_new_tokens"] < decoding.max_new_tokens:
            # The longest prompt of a batch must not cut the other answers: each is generated alone.
            raise ItemError("the batch has no room for its longest answer", code="PROMPT_TOO_LONG")
        with torch.inference_mode():
            generated = self._generate(inputs, settings if streamer is None else {**settings, "streamer": streamer})
        lengths = inputs["attention_mask"].sum(1).tolist()
        rows = zip(conversations, self._new_tokens(inputs, generated), lengths, strict=True)
        return [self._output(*row) for row in rows]

    def stream(self, conversation: Conversation, decoding: Decoding) -> Iterator[str | Output]:
        """See `VideoLM.stream`."""
        write = partial(self.answer, [conversation], decoding)
        (output,) = yield from pieces(write, self.prompter.processor.tokenizer)
        yield output

    def likelihoods(self, clip: Frames, question: str, answers: Sequence[str], *, whole: bool = False) -> list[float]:
        """See `VideoLM.likelihoods`. All answers of one token take one forward pass; longer ones take one per
        distinct prefix."""
        import torch

        if not self.has_likelihoods:
            raise UsageError(f"{self.name} is an encoder-decoder model and provides no likelihoods of answers")
        tokenizer = self.prompter.processor.tokenizer
        tokenized = [tuple(tokenizer(answer, add_special_tokens=False)["input_ids"]) for answer in answers]
        if not tokenized or not all(tokenized):
            raise UsageError(f"likelihoods needs answers of one token or more, got {list(answers)!r}")
        inputs = self._inputs([user_turn(question, clip)])
        logs = {
            begun: self._log_probs_after(inputs, begun)
            for begun in sorted({ids if whole else ids[:-1] for ids in tokenized})
        }
        log_probs = []
        for ids in tokenized:
            steps = logs[ids if whole else ids[:-1]]
            ends = [end for end in self._end_tokens() if end < steps.shape[1]] if whole else []
            total = float(steps[range(len(ids)), ids].sum())
            log_probs.append(total + (float(torch.logsumexp(steps[-1, ends], 0)) if whole else 0.0))
        return log_probs

    def _log_probs_after(self, inputs: dict[str, Any], begun: tuple[int, ...]) -> Tensor:
        """Log-probabilities float64 (n + 1, vocabulary) after the prompt and after each of n tokens that follow it."""
        import inspect

        import torch

        length = inputs["input_ids"].shape[1]
        known = inspect.signature(self._model.forward).parameters
        given = {name: value for name, value in inputs.items() if name in known}
        for name, value in given.items():
            if isinstance(value, torch.Tensor) and value.shape == (1, length):  # one value per token
                rest = {"input_ids": list(begun), "attention_mask": [1] * len(begun)}.get(name, [0] * len(begun))
                given[name] = torch.cat([value, value.new_tensor([rest])], dim=1)  # (1, L + n)
        with torch.inference_mode():
            logits = self._model(**given, use_cache=False).logits[0, length - 1 :]  # (n + 1, vocabulary)
        return logits.float().log_softmax(-1).double().cpu()

    def _generate(self, inputs: dict[str, Any], settings: dict[str, Any]) -> Tensor:
        """The output of `generate`. Some models pass settings such as `eos_token_id` to the `generate` of a submodel
        and fail if the caller gives them too (BLIP in transformers 5): those are left out."""
        while True:
            given = {name: value for name, value in settings.items() if name not in self._set_by_model}
            try:
                generated: Tensor = self._model.generate(**inputs, **given)
                return generated
            except TypeError as error:
                clash = re.search(r"multiple values for keyword argument '(\w+)'", str(error))
                if clash is None or clash[1] not in given:
                    raise
                self._set_by_model.add(clash[1])

    def _new_tokens(self, inputs: dict[str, Any], generated: Tensor) -> list[list[int]]:
        """The answers in the output of `generate`: some models return the prompt before it, some the answer alone."""
        import torch

        prompt = inputs["input_ids"]  # (B, L)
        length = prompt.shape[1]
        if generated.shape[1] >= length and torch.equal(generated[:, :length], prompt):
            generated = generated[:, length:]  # (B, L_new)
        elif generated.shape[1] >= length - 1 > 1 and torch.equal(generated[:, 1 : length - 1], prompt[:, 1:-1]):
            generated = generated[:, length - 1 :]  # starts with another token in place of the prompt's last one
        elif self._has_decoder_start:
            generated = generated[:, 1:]  # without the decoder's start token
        ids: list[list[int]] = generated.tolist()
        return ids

    def _inputs(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        """Tensors for `generate`, on the model's device; pixels in its precision."""
        import inspect

        import torch

        if self._model is None:
            raise RuntimeError("load() the captioner first")
        known = inspect.signature(self._model.forward).parameters
        inputs: dict[str, Any] = {}
        for name, value in self.prompter.encode(conversations).items():
            if name == "token_type_ids" and name not in known:
                continue  # some tokenizers return it, and not every model takes it
            if isinstance(value, torch.Tensor):
                value = value.to(self._model.device, self._model.dtype if "pixel_values" in name else None)
            inputs[name] = value
        needed = inspect.signature(self._model.generate).parameters.values()
        missing = [p.name for p in needed if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
        missing = [name for name in missing if name not in inputs]
        if missing:
            raise ItemError(f"this model answers only about a video (needs {missing[0]})", code="PROMPT_REFUSED")
        return inputs

    def _settings(self, decoding: Decoding, inputs: dict[str, Any]) -> dict[str, Any]:
        tokenizer = self.prompter.processor.tokenizer
        room = decoding.max_new_tokens
        if self.prompter.positions is not None:
            room = min(room, self.prompter.positions - inputs["input_ids"].shape[1])
        return {
            **sampling_settings(decoding),
            "max_new_tokens": room,
            "eos_token_id": self._end_tokens() or None,
            "pad_token_id": tokenizer.pad_token_id,
        }

    def _end_tokens(self) -> list[int]:
        """Tokens that end an answer."""
        ends = self._model.generation_config.eos_token_id
        tokenizer = self.prompter.processor.tokenizer
        last = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
        tokens = {*(ends if isinstance(ends, list) else [ends]), last}
        return sorted(tokens - {None})

    def _output(self, conversation: Conversation, ids: list[int], prompt_tokens: int) -> Output:
        ends = set(self._end_tokens())
        length = next((i for i, token in enumerate(ids) if token in ends), len(ids))
        return Output(
            text=self.prompter.processor.tokenizer.decode(ids[:length], skip_special_tokens=True),
            tokens=length,
            finish="stop" if length < len(ids) else "length",
            warnings=self.prompter.frame_warnings(conversation),
            prompt_tokens=prompt_tokens,
        )

    def _quantization(self, kind: str) -> Any:
        """Quantise the language model's layers only; vision tower, connector and head keep their precision."""
        import torch

        from v2t.model.weights import quantization

        made = quantization(_QUANTIZE[kind])
        made_by = self.source.model_class(self._config)
        with torch.device("meta"):
            empty = (getattr(made_by, "from_config", None) or made_by._from_config)(self._config)
        made.llm_int8_skip_modules = _siblings(empty, empty.get_decoder()) or None
        return made


def _siblings(model: Any, kept: Any) -> list[str]:
    """Names of the sibling modules of `kept`, at every level on the path to it."""
    path = next((name for name, module in model.named_modules() if module is kept), "")
    names, at = [], ""
    for step in path.split(".") if path else []:
        parent = model.get_submodule(at)
        names += [f"{at}.{name}".lstrip(".") for name, _ in parent.named_children() if name != step]
        at = f"{at}.{step}".lstrip(".")
    return names
