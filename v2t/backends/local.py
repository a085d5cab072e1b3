"""This project's own model, from a folder: the embedded starter or one trained with `v2t train`.

In: a folder with weights and processor, batches of `Frames`. Out: captions by greedy decoding with a KV cache,
likelihoods of given answers, and a warning for clips outside the model's domain if its folder holds one
(`v2t.backends.domain`). The constructor reads two small JSON files; torch is imported by `load`.
Letters: S segments, F frames of a segment, N patches, D width of the vision tower, B clips.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cineloop import model_folder, startup
from cineloop.documents import read_json
from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.files import content_key, text_key
from cineloop.training.runtime import check_dtype, find_device, find_dtype
from cineloop.video.sample import SampleSpec
from v2t import STARTER
from v2t.backends import (
    SAMPLING,
    Conversation,
    Decoding,
    LikelihoodQuery,
    Output,
    VideoLM,
    abilities,
    domain,
    sampling_settings,
    user_turn,
)
from v2t.backends.trie import answer_log_probs

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from cineloop.video.frames import Frames

STARTER_NAME = "cineloop-starter"
ABOUT_STARTER = "a small model that knows only the cartoon world of v2t world; for other footage name a --model"
T = TypeVar("T")


@dataclass(frozen=True, eq=False, kw_only=True)
class EncodedVideo:
    """An encoded clip: its text in a prompt, its visual tokens (S, Q, D_llm), and the warnings `answer` would give."""

    text: str
    visual_tokens: Tensor
    warnings: tuple[Notice, ...] = ()


class Backend(VideoLM):
    """A captioner of `v2t.model` classes (see `v2t.backends.VideoLM`).

    Args:
        model: "starter" or a folder made by `save_pretrained` of model and processor.
        device: "auto" (CUDA when it is there), "cpu", "cuda", "cuda:1" …
        dtype: "auto" (float32 on CPU, bfloat16 on CUDA), "float32", "bfloat16", "float16".

    Attributes:
        max_model_len: set by a server: tokens of prompt and answer together, no more than the model has positions; None
            checks nothing. wanted: set by a server: checked before each token, False ends the answer.

    Raises:
        MissingDependencyError: the folder is absent or incomplete. UsageError: an unknown dtype.
    """

    folder: Path
    has_likelihoods = True
    max_model_len: int | None = None
    wanted: Callable[[], bool] | None = None

    def __init__(self, model: str = "starter", *, device: str = "auto", dtype: str = "auto") -> None:
        check_dtype(dtype)
        self.folder = STARTER if model == "starter" else Path(model)
        self.name = STARTER_NAME if model == "starter" else self.folder.resolve().name
        self.about = ABOUT_STARTER if model == "starter" else ""
        self.device, self.dtype = device, dtype
        config = _read_json(self.folder / "config.json")
        if config.get("model_type") != "cineloop":
            raise UsageError(
                f"{self.folder} holds a model of type {config.get('model_type')!r}, not 'cineloop'",
                hint="choose another --captioner for it",
            )
        model_folder.check(self.folder)
        settings = _read_json(self.folder / "processor_config.json").get("video_processor", {})
        with model_folder.loading(self.folder):
            self.spec = SampleSpec(**{name: settings[name] for name in SAMPLING if settings.get(name) is not None})
            # Scaled in the decoder's process, to transfer less. Letterboxing is done by the processor.
            stretches = settings.get("fit", "stretch") == "stretch"
            self.frame_size = (settings["size"]["height"], settings["size"]["width"]) if stretches else None
        self.revision = revision_of(self.folder)
        self.abilities = abilities.read(self.folder)
        self._model: Any = None
        self._processor: Any = None
        self._chunk_frames = 0
        self._domain: domain.Domain | None = None

    def load(self) -> None:
        """Load processor and weights onto the device. Raises MissingDependencyError: weights that do not load, or a
        missing device."""
        with startup.pause_collector():
            self._load()

    def _load(self) -> None:
        import torch
        from transformers.utils import logging as transformers_logging

        from v2t.model import CineloopForConditionalGeneration, CineloopProcessor

        device = find_device(self.device)
        transformers_logging.disable_progress_bar()
        with model_folder.loading(self.folder):
            self._processor = CineloopProcessor.from_pretrained(str(self.folder), local_files_only=True)
        dtype = find_dtype(self.dtype, device)
        model = model_folder.load_weights(CineloopForConditionalGeneration, self.folder, dtype=getattr(torch, dtype))
        self._model = model.to(device)
        # On a CPU the tower's activations should stay in its caches: 16 frames at a time took 40 ms a clip, 256 took
        # 59. A clip's numbers then also do not depend on the batch it is in.
        whole = model.config.vision_chunk_frames
        self._chunk_frames = min(whole, model.config.resampler_config.segment_frames) if device == "cpu" else whole
        if (self.folder / domain.FILE_NAME).exists():
            self._domain = domain.load(self.folder)

    def answer(self, conversations: Sequence[Conversation], decoding: Decoding, streamer: Any = None) -> list[Output]:
        """See `VideoLM.answer`; `streamer` is for one conversation."""
        import torch

        inputs = self._inputs(conversations)
        settings = self._settings(decoding, inputs)
        with torch.inference_mode():
            seen, warnings, _ = self._encode_videos(inputs, len(conversations))
            generated = self._model.generate(**seen, **settings, streamer=streamer)
        answers = generated[:, inputs["input_ids"].shape[1] :].tolist()  # (B, L_new)
        end = self._model.generation_config.eos_token_id
        ends = set(end if isinstance(end, list) else [end])
        outputs = []
        for ids, warning, mask in zip(answers, warnings, inputs["attention_mask"], strict=True):
            length = next((i for i, token in enumerate(ids) if token in ends), len(ids))
            output = Output(
                text=self._processor.tokenizer.decode(ids[:length], skip_special_tokens=True),
                tokens=length,
                finish="stop" if length < len(ids) else "length",
                warnings=(warning,) if warning else (),
                prompt_tokens=int(mask.sum()),
            )
            outputs.append(output)
        return outputs

    def stream(self, conversation: Conversation, decoding: Decoding) -> Iterator[str | Output]:
        """See `VideoLM.stream`."""
        write = partial(self.answer, [conversation], decoding)
        (output,) = yield from pieces(write, self._processor.tokenizer)
        yield output

    def encode_clip(self, frames: Frames) -> EncodedVideo:
        """A clip as input of the language model, encoded once for all questions about it; for `likelihoods`."""
        import torch

        inputs = self._inputs([user_turn("", frames)])
        times, mask = (inputs[name].cpu().numpy() for name in ("frame_times_s", "frame_mask"))  # (S, F) each
        with torch.inference_mode():
            seen, (warning,), _ = self._encode_videos(inputs, 1)
            names = ("vision_hidden_states", "frame_times_s", "frame_mask")
            tokens = self._model.get_video_features(**{name: seen[name] for name in names})  # (S, Q, D_llm)
        text = self._processor.clip_text(times[mask.astype(bool)].tolist())
        return EncodedVideo(text=text, visual_tokens=tokens, warnings=(warning,) if warning else ())

    def likelihoods(
        self, clip: EncodedVideo, question: str, answers: Sequence[str], *, whole: bool = False
    ) -> list[float]:
        """See `VideoLM.likelihoods`."""
        return self.batch_likelihoods(clip, [(question, answers, whole)])[0]

    def batch_likelihoods(self, clip: EncodedVideo, queries: Sequence[LikelihoodQuery]) -> list[list[float]]:
        """As `likelihoods` for many questions about one clip, in one forward pass where they are not too many;
        common prefixes of prompts and answers are computed once.

        Raises:
            UsageError: a question without an answer, or with an empty one.
        """
        tokenizer = self._processor.tokenizer
        ends = self._model.generation_config.eos_token_id
        end = ends[0] if isinstance(ends, list) else ends
        rows = []
        for question, answers, whole in queries:
            tokenized = [tokenizer(answer, add_special_tokens=False)["input_ids"] for answer in answers]
            if not tokenized or not all(tokenized):
                raise UsageError(f"likelihoods needs answers of one token or more, got {list(answers)!r}")
            rows.append((self._prompt(clip, question), [[*ids, end] if whole else ids for ids in tokenized]))
        return answer_log_probs(self._model, rows, clip.visual_tokens)

    def _prompt(self, clip: EncodedVideo, question: str) -> list[int]:
        chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": question}]}]
        with model_folder.template_deadline():
            text = self._processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        text = text.replace(self._processor.video_token, clip.text, 1)
        ids: list[int] = self._processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def features(self, batch: Sequence[Frames]) -> np.ndarray:
        """Pooled vision features float32 (B, 2 D) of clips: the input of `domain.fit` and of the warning."""
        import torch

        inputs = self._inputs([user_turn("", frames) for frames in batch])
        with torch.inference_mode():
            return self._encode_videos(inputs, len(batch))[2]

    def _inputs(self, conversations: Sequence[Conversation]) -> dict[str, Any]:
        if self._model is None:
            raise RuntimeError("load() the captioner first")
        with model_folder.template_deadline():
            chats = [[message.chat_turn() for message in conversation] for conversation in conversations]
            texts = self._processor.apply_chat_template(chats, tokenize=False, add_generation_prompt=True)
        videos = [frames for conversation in conversations for message in conversation for frames in message.videos]
        # Segments of each conversation's videos, so that their features can be kept apart.
        length = self._processor.video_processor.segment_frames
        counts = [sum(-(-len(v) // length) for m in c for v in m.videos) for c in conversations]
        inputs = self._processor(text=texts, videos=videos or None, return_tensors="pt")
        return {**inputs.to(self._model.device), "num_segments": counts}

    def _settings(self, decoding: Decoding, inputs: dict[str, Any]) -> dict[str, Any]:
        """Of `generate`, within the positions and while it is wanted, where a server sets these. Raises ItemError
        PROMPT_TOO_LONG."""
        if self.max_model_len is not None:
            positions = min(int(self._model.config.text_config.max_position_embeddings), self.max_model_len)
            longest = int(inputs["attention_mask"].sum(1).max())
            if longest >= positions:
                message = f"the prompt has {longest} tokens; the model takes {positions} with the answer"
                raise ItemError(message, code="PROMPT_TOO_LONG")
            if longest + decoding.max_new_tokens > positions:
                if len(inputs["attention_mask"]) > 1:  # the longest prompt must not cut the others: generate them alone
                    raise ItemError("the batch has no room for its longest answer", code="PROMPT_TOO_LONG")
                decoding = replace(decoding, max_new_tokens=positions - longest)
        settings = sampling_settings(decoding)
        if (wanted := self.wanted) is not None:
            settings["stopping_criteria"] = [
                lambda ids, scores, **_: ids.new_full((len(ids),), not wanted()).bool()
            ]  # (B,)
        return settings

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._processor.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _encode_videos(self, inputs: dict[str, Any], count: int) -> tuple[dict[str, Any], list[Notice | None], Any]:
        """Arguments of `generate` with the frames already encoded; a warning or None for each conversation; float32
        (B, 2 D), mean and standard deviation of all real patch tokens of each conversation with a video."""
        import torch

        from v2t.model.vision import encode_frames, patch_grid

        given = {name: inputs[name] for name in ("input_ids", "attention_mask")}
        warnings: list[Notice | None] = [None] * count
        if "pixel_values_videos" not in inputs:
            return given, warnings, None
        tower, pixels, masks = self._model.model.vision_tower, inputs["pixel_values_videos"], inputs["frame_mask"]
        tokens = encode_frames(tower, pixels, masks, self._chunk_frames)  # (S, F, N, D)
        watching = [i for i, segments in enumerate(inputs["num_segments"]) if segments]
        lengths, rows = [inputs["num_segments"][i] for i in watching], []
        for clip, mask in zip(tokens.split(lengths), masks.split(lengths), strict=True):
            real = clip[mask.bool()].flatten(0, -2).float()  # (frames * N, D)
            rows.append(torch.cat([real.mean(0), real.std(0, correction=0)]))  # (2 D,)
        features = torch.stack(rows).cpu().numpy()  # (B, 2 D)
        if self._domain is not None:
            for i, warning in zip(watching, self._domain.warnings(features), strict=True):
                warnings[i] = warning
        tokens = tokens.unflatten(2, patch_grid(tower.config, pixels.shape[-2:]))  # (S, F, rows, columns, D)
        seen = {"frame_times_s": inputs["frame_times_s"], "frame_mask": masks, "vision_hidden_states": tokens}
        return given | seen, warnings, features


def pieces(write: Callable[[Any], T], tokenizer: Any) -> Generator[str, None, T]:
    """Stream the text that `write(streamer)` generates; returns its result, raises its exception.

    Closing the generator stops the writer at its next token.
    """
    from transformers import TextIteratorStreamer

    class Streamer(TextIteratorStreamer):
        wanted = True

        def put(self, value: Any) -> None:
            if not self.wanted:
                raise _ReaderGone
            super().put(value)

    streamer = Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    written: Future[T] = Future()

    def work() -> None:
        try:
            written.set_result(write(streamer))
        except BaseException as error:  # handed over to the reader's thread
            written.set_exception(error)
            streamer.end()

    writer = threading.Thread(target=work, daemon=True)
    writer.start()
    try:
        yield from (piece for piece in streamer if piece)
    finally:
        streamer.wanted = False
        writer.join()
    return written.result()


class _ReaderGone(Exception):
    """The generator was closed."""


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path, finite=False)
    except (OSError, ValueError) as error:
        raise MissingDependencyError(
            f"no usable model in {path.parent}: cannot read {path.name} ({error})",
            code="MODEL",
            hint="a model folder holds config.json, processor_config.json, the tokenizer and *.safetensors",
        ) from error
    if not isinstance(value, dict):
        raise MissingDependencyError(f"{path} must hold a JSON object", code="MODEL")
    return value


def revision_of(folder: Path) -> str:
    """Short hash over weights, configs and tokenizer: identifies the model that wrote a caption. Raises
    MissingDependencyError: no weights in the folder."""
    files = [f for f in sorted(folder.iterdir()) if f.suffix in (".safetensors", ".json", ".jinja")]
    files = [
        f for f in files if f.name not in (domain.FILE_NAME, abilities.FILE_NAME, "judge.json")
    ]  # they do not affect captions
    if not any(f.suffix == ".safetensors" for f in files):
        raise MissingDependencyError(f"no weights (*.safetensors) in {folder}", code="MODEL")
    return text_key("".join(f"{f.name}={content_key(f)};" for f in files).encode())[:12]
