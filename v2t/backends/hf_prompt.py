"""Conversations as inputs of a transformers processor, every frame with its true time.

In: `Conversation`s whose videos are `Frames`; a processor. Out: its tensors. A processor's capabilities are
probed when it is opened: does its chat template take videos or only pictures, does its prompt contain the time of each
frame, does it take any number of frames. Frames are passed on as they are, never resampled. Where a prompt contains no
times, they are added as text; frames that are passed as pictures have their times before them.
Letters: B conversations, T frames, L tokens, H W pixels.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from cineloop.errors import ItemError, MissingDependencyError, Notice, UsageError
from cineloop.log import printable
from cineloop.model_folder import template_deadline
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec
from v2t.backends import Conversation, Message, user_turn

if TYPE_CHECKING:
    from PIL.Image import Image

_ANSWER = 512  # tokens reserved for question and answer when the number of frames is computed
_PROBE = (360, 640)
_MOST_CHARS = 4_000_000  # of a prompt; a template that writes more would only exhaust the memory
_STILL_S = 1.0  # duration of a picture in cineloop.video
_FRAMES, _FPS, _MAX_FRAMES = 8, 2.0, 768  # for checkpoints that declare no sampling
# Processors compute a frame's time as `frames_indices / fps`, and write it as seconds or tenths. In milliseconds,
# fractions of one kept, the quotient is the true time at any rate, also a variable one; some compute int(1000 / fps)
# first, so the grid must not be finer.
_TICKS = 1000.0
# Processors that accept several pictures for models that were trained on one.
_TRAINED_ON_ONE = ("JanusProcessor", "PaliGemmaProcessor")


@dataclass(frozen=True, eq=False)
class ShownFrames:
    """The frames a model sees of a clip; unlike in `Frames` one may occur twice.

    Attributes:
        pixels: uint8 (T, H, W, 3).
        times_s: float64 (T,), seconds from the start of the clip or window, >= 0, not decreasing.
        duration_s: of the clip or window.
    """

    pixels: np.ndarray
    times_s: np.ndarray
    duration_s: float

    @classmethod
    def of(cls, frames: Frames, picked: np.ndarray | None = None) -> ShownFrames:
        """The frames at the positions `picked` (T,), or all."""
        # The frame on screen when a window opens may have begun before it.
        times = np.maximum(frames.relative_times_s, 0.0)
        pixels = frames.pixels
        if picked is not None:
            pixels, times = pixels[picked], times[picked]
        return cls(pixels, times, float(frames.duration_s))

    def metadata(self) -> Any:
        """`VideoMetadata` whose `timestamps` are the true times and whose `sampled_fps` is the frames' mean rate."""
        from transformers.video_utils import VideoMetadata

        times = self.times_s
        num = len(times)
        gap_s = (times[-1] - times[0]) / (num - 1) if times[-1] > times[0] else self.duration_s / num
        return VideoMetadata(
            # Not the file's frames: `sampled_fps`, which some models space positions by, is computed from this.
            total_num_frames=max(1, round(num * gap_s * _TICKS)),
            fps=_TICKS,
            height=self.pixels.shape[1],
            width=self.pixels.shape[2],
            duration=self.duration_s,
            frames_indices=[float(time * _TICKS) for time in times],
        )

    def pictures(self) -> list[Image]:
        """The frames as PIL images."""
        from PIL import Image

        return [Image.fromarray(pixels) for pixels in self.pixels]

    def as_text(self) -> str:
        """Duration and times in the wording of LLaVA-Video (arXiv:2410.02713)."""
        num = len(self.times_s)
        shown = "One frame of it is" if num == 1 else f"{num} frames of it are"
        listed = ", ".join(f"{time:.2f} s" for time in self.times_s)
        return f"\nThe video lasts for {self.duration_s:.2f} seconds. {shown} shown, at {listed}.\n"


@dataclass
class Prompter:
    """Writes prompts for one processor.

    Args:
        processor: of transformers; its tokenizer is set to pad on the left.
        positions: maximum prompt length in tokens, or None.
        video_token_id: of the model's configuration, or None.
        stacked: pictures that the model takes as one clip (B, T, C, H, W), or None.
        thinking: let a model reason before it answers, where its chat template leaves the choice.

    Attributes:
        fixed_frames: frames of every clip, where the model takes no other number; None for any number.
        adds_token: the processor writes the placeholders of pictures itself.
    """

    processor: Any
    positions: int | None = None
    video_token_id: int | None = None
    stacked: int | None = None
    thinking: bool = False
    form: str = field(init=False, default="plain")
    takes_video: bool = field(init=False, default=False)
    has_times: bool = field(init=False, default=False)
    fixed_frames: int | None = field(init=False, default=None)
    adds_token: bool = field(init=False, default=False)
    tokens_per_frame: float = field(init=False, default=1.0)

    def __post_init__(self) -> None:
        processor = self.processor
        tokenizer = getattr(processor, "tokenizer", None)
        self._video = getattr(processor, "video_processor", None)
        if tokenizer is None or (self._video is None and getattr(processor, "image_processor", None) is None):
            raise UsageError(
                f"a {type(processor).__name__} takes neither videos nor images",
                code="NOT_A_CAPTIONER",
                hint="a model whose processor takes text and pictures together is needed",
            )
        tokenizer.padding_side = "left"
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if self._video is not None:
            self._video.do_sample_frames = False
            # Where a checkpoint sets no limit, frames are no larger than in the family's reference code.
            if getattr(self._video, "cap_pixels_per_frame", False) is None:
                self._video.cap_pixels_per_frame = True
        if not processor.chat_template:
            processor.chat_template = getattr(tokenizer, "chat_template", None)
        self._by_name = "videos" in inspect.signature(type(processor).__call__).parameters
        self.form, self.takes_video = self._read_template()
        self.fixed_frames = self.stacked
        try:
            if not self.takes_video:
                self._find_form()
            if self.fixed_frames is None:
                self._probe()
        except MissingDependencyError:
            raise
        except Exception as error:  # a processor that fails on a plain clip would fail on every clip
            raise UsageError(
                f"a {type(processor).__name__} cannot take a plain clip: {type(error).__name__}: {error}",
                code="NOT_A_CAPTIONER",
            ) from error

    def encode(self, conversations: Sequence[Conversation]) -> Any:
        """A `BatchFeature` of left-padded tensors: input_ids (B, L), attention_mask (B, L), pixels and others.

        Raises:
            ItemError: PROMPT_REFUSED, the processor or its chat template does not support such a conversation;
                PROMPT_TOO_LONG, it is longer than the model's positions.
        """
        texts = [self.text(conversation) for conversation in conversations]
        shown = [[self._fit(v) for m in c for v in m.videos] for c in conversations]
        given: dict[str, Any] = {"text": texts, "padding": True, "return_tensors": "pt"}
        start = self.processor.tokenizer.bos_token
        if start and self.form != "plain" and all(text.startswith(start) for text in texts):
            given["add_special_tokens"] = False
        if any(shown) and not self.takes_video:
            given["images"] = [[picture for video in videos for picture in video.pictures()] for videos in shown]
        elif any(shown) and self._by_name:
            given["videos"] = [video.pixels for videos in shown for video in videos]
            metadata = [video.metadata() for videos in shown for video in videos]
            given["videos_kwargs"] = {"video_metadata": metadata, "do_sample_frames": False}
        elif any(shown):
            if any(len(videos) != 1 for videos in shown):
                raise ItemError("this model takes exactly one video at a time", code="PROMPT_REFUSED")
            given["images"] = [videos[0].pixels for videos in shown]
        try:
            encoded = self.processor(**given)
        except ValueError as error:
            raise ItemError(
                f"the model's processor refuses the conversation: {error}", code="PROMPT_REFUSED"
            ) from error
        longest = int(encoded["attention_mask"].sum(-1).max())
        if self.positions is not None and longest >= self.positions:
            raise ItemError(
                f"the prompt has {longest} tokens and the model takes {self.positions}",
                code="PROMPT_TOO_LONG",
                hint="fewer --frames, a shorter part of the video, or a model with a longer context",
            )
        if any(shown) and self.stacked is not None:
            encoded["pixel_values"] = encoded["pixel_values"].unflatten(0, (-1, self.stacked))  # (B, T, C, H, W)
        return encoded

    def text(self, conversation: Conversation) -> str:
        """The conversation as the chat template renders it, with one placeholder for each video or picture. Raises
        ItemError: PROMPT_REFUSED, the chat template does not support such a conversation."""
        if self.form == "plain":
            return self._plain_text(conversation)
        turns = [{"role": message.role, "content": self._content(message)} for message in conversation]
        return self._render(turns)

    def spec(self) -> SampleSpec:
        """Default sampling: as the processor declares, limited by the model's positions."""
        most = _MAX_FRAMES
        if self.positions is not None:
            most = max(1, int((self.positions - min(_ANSWER, self.positions // 2)) / max(self.tokens_per_frame, 1e-6)))
        wanted = self._video if self.takes_video else None
        num, fps, cap = (getattr(wanted, name, None) for name in ("num_frames", "fps", "max_frames"))
        if self.fixed_frames is not None:
            return SampleSpec(num_frames=self.fixed_frames)
        if fps or (cap and not num):
            return SampleSpec(sampler="fps", fps=float(fps or _FPS), max_frames=min(cap or num or _MAX_FRAMES, most))
        return SampleSpec(num_frames=min(num or _FRAMES, most))

    def frame_size(self) -> tuple[int, int] | None:
        """(H, W) when the processor stretches every frame to one size: done while decoding, to transfer less."""
        video = self._video if self.takes_video else None
        if video is None or not video.do_resize or getattr(video, "do_center_crop", None):
            return None
        height, width = (video.size.get(side) for side in ("height", "width"))
        return (int(height), int(width)) if height and width else None

    def frame_warnings(self, conversation: Conversation) -> tuple[Notice, ...]:
        """Warnings for videos with more frames than the model takes."""
        most = self.fixed_frames
        if most == 1:
            if all(len(v) == 1 and v.duration_s <= _STILL_S for message in conversation for v in message.videos):
                return ()
            return (
                Notice(
                    "ONE_PICTURE", "this model takes one picture: it saw the middle frame of the video and no motion"
                ),
            )
        return tuple(
            Notice(
                "FRAMES_LEFT_OUT",
                f"this model takes {most} frames; {len(video) - most} of {len(video)} were not looked at",
            )
            for message in conversation
            for video in message.videos
            if most is not None and len(video) > most
        )

    def _content(self, message: Message) -> Any:
        words = self._escape(message.text)
        if self.form == "text":
            return (
                "".join(f"{part['text'] if part['type'] == 'text' else self._token}\n" for part in self._parts(message))
                + words
            )
        return [*self._parts(message), {"type": "text", "text": words}]

    def _parts(self, message: Message) -> list[dict[str, str]]:
        """The parts before a message's text: its videos, or their pictures, and their times."""
        parts: list[dict[str, str]] = []
        for video in message.videos:
            shown = self._fit(video)
            is_still = len(video) == 1 and not video.duration_s
            if not self.takes_video:
                for time in shown.times_s:
                    parts += [] if is_still or self.fixed_frames == 1 else [{"type": "text", "text": f"{time:.2f} s: "}]
                    parts += [] if self.adds_token else [{"type": "image"}]
                continue
            parts.append({"type": "video"})
            if not self.has_times and not is_still:
                parts.append({"type": "text", "text": shown.as_text()})
        return parts

    def _plain_text(self, conversation: Conversation) -> str:
        """A prompt for a checkpoint without chat template: the text alone, or question and answer in turns."""
        token = self._token if self._by_name else ""
        blocks = []
        for message in conversation:
            before = [part.get("text", token).strip() for part in self._parts(message)]
            blocks.append("\n".join([*filter(None, before), self._escape(message.text)]))
        if len(blocks) == 1:
            return blocks[0]
        names = {"system": "", "user": "Question: ", "assistant": "Answer: "}
        turns = [names[message.role] + block for message, block in zip(conversation, blocks, strict=True)]
        return "\n".join([*turns, "Answer:"])

    @property
    def _token(self) -> str:
        token = getattr(self.processor, "video_token" if self.takes_video else "image_token", None)
        return str(getattr(token, "content", token) or "")

    def _escape(self, words: str) -> str:
        """Text in which control tokens and placeholders are broken by a space."""
        tokenizer = self.processor.tokenizer
        tokens = {token.content for token in tokenizer.added_tokens_decoder.values() if token.special}
        tokens |= {str(getattr(self.processor, f"{kind}_token", None) or "") for kind in ("image", "video")}
        for token in sorted(tokens, key=len, reverse=True):
            if len(token) > 1 and not token.isspace():
                words = words.replace(token, f"{token[0]} {token[1:]}")
        return words

    def _render(self, turns: list[dict[str, Any]]) -> str:
        from jinja2 import TemplateError

        text, more = "", {}
        if not self.thinking and "enable_thinking" in str(self.processor.chat_template):
            more = {"enable_thinking": False}  # Qwen3.5 and others reason unless this says not to
        try:
            with template_deadline():
                text = str(
                    self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True, **more)
                )
            problem = f"it writes {len(text)} characters" if len(text) > _MOST_CHARS else ""
        except (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
            problem = str(error)
        except (MemoryError, RecursionError) as error:  # of rendering text: fewer frames would not help
            problem = f"{type(error).__name__} while it is rendered"
        if problem:
            raise ItemError(
                f"the model's chat template refuses the conversation: {printable(problem, 300)}",
                code="PROMPT_REFUSED",
                hint="the fault is the model's, not the video's: check its chat_template, or name another --model",
            )
        return text

    def _read_template(self) -> tuple[str, bool]:
        """The form of content that the chat template takes, and whether it takes videos."""
        can_video = self._video is not None
        if not self.processor.chat_template or (can_video and not self._by_name):
            return "plain", can_video
        for form, kind in (("parts", "video"), ("parts", "image"), ("text", "video"), ("text", "image")):
            token = str(getattr(self.processor, f"{kind}_token", None) or "")
            if not token or (kind == "video" and not can_video):
                continue
            content = [{"type": kind}, {"type": "text", "text": "what"}] if form == "parts" else f"{token}\nwhat"
            try:
                text = self._render([{"role": "user", "content": content}])
            except ItemError:
                continue
            if "what" in text and "'type'" not in text and text.count(token) == 1:
                return form, kind == "video"
        return "plain", can_video

    def _find_form(self) -> None:
        """The first way in which the processor takes pictures: several, or one; with placeholders, or without."""
        takes_one = type(self.processor).__name__ in _TRAINED_ON_ONE
        ways = [(number, adds) for number in ((1,) if takes_one else (self.stacked, 1)) for adds in (False, True)]
        problems = []
        for self.fixed_frames, self.adds_token in ways:
            try:
                self.encode([user_turn("what", noise_clip(0, 10, 20, 60))])
                return
            except Exception as error:  # some raise built-in exceptions
                problems.append(error)
        raise problems[0]

    def _probe(self) -> None:
        """Probe the processor with noise: does the prompt change with the times, and grow with the frames?"""
        clip = noise_clip

        def ids(*times: float) -> list[int]:
            return list(self.encode([user_turn("what", clip(*times))])["input_ids"][0].tolist())

        positions, self.positions = self.positions, None  # the probe may exceed the maximum prompt length
        self.has_times = True  # so that times as text make no difference
        four, eight = ids(0, 10, 20, 60), ids(0, 10, 20, 60, 61, 62, 63, 64)
        self.has_times = four != ids(0, 30, 40, 60)
        self.positions = positions
        self.tokens_per_frame = (len(eight) - len(four)) / 4
        queries = getattr(self.processor, "num_query_tokens", None)
        if self.tokens_per_frame == 0 and queries and self.video_token_id is not None:
            self.fixed_frames = four.count(self.video_token_id) // queries
        if self.takes_video and not self.has_times:
            words = self.processor.tokenizer([ShownFrames.of(clip(*range(num))).as_text() for num in (4, 8)])[
                "input_ids"
            ]
            self.tokens_per_frame += (len(words[1]) - len(words[0])) / 4

    def _fit(self, frames: Frames) -> ShownFrames:
        """As many frames as the model takes. Only the last frame is ever repeated, as padding."""
        have = len(frames)
        least = getattr(self._video, "temporal_patch_size", None) or 1
        if self.fixed_frames is not None:
            if self.fixed_frames == 1:
                return ShownFrames.of(frames, np.array([have // 2]))
            return ShownFrames.of(frames, np.round(np.linspace(0, have - 1, self.fixed_frames)).astype(int))
        if self.takes_video and have < least:
            return ShownFrames.of(frames, np.minimum(np.arange(least), have - 1))
        return ShownFrames.of(frames)


def noise_clip(*times_s: float, size: tuple[int, int] = _PROBE) -> Frames:
    """A clip of noise with frames at given seconds, to probe what processors and models take."""
    pixels = np.random.default_rng(0).integers(0, 256, (len(times_s), *size, 3), dtype=np.uint8)
    return Frames(pixels, np.array(times_s), duration_s=100.0, fps=1.0)
