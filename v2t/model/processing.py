"""The processor: a conversation with videos as model inputs (text, placeholders, timestamps, pixels).

In: text with one `<video>` (or `<image>`) mark per clip (or picture), or a chat for the template below; the clips in
any form `CineloopVideoProcessor` takes. Out: `input_ids`, `attention_mask` and the segments of all clips in prompt
order. Each mark becomes, for every segment of its clip, the seconds it covers and Q placeholders:
`<0.0-2.9s><video><video>…`. A picture is a clip of one frame at second zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from transformers.processing_utils import MultiModalData, ProcessingKwargs, ProcessorMixin

from cineloop.errors import UsageError
from v2t.model.clips import flat_clips
from v2t.model.video_processing import CineloopVideoProcessor

VIDEO_TOKEN = "<video>"
IMAGE_MARK = "<image>"

# Marks and control tokens in a user's text are escaped, so that it cannot forge a clip or a role. Parts of
# type video and image give one mark each, which serving engines rely on too.
CHAT_TEMPLATE = """\
{%- macro plain(text) -%}
{{- text | replace('<|', '< |') | replace('<video>', '< video>') | replace('<image>', '< image>') -}}
{%- endmacro -%}
{%- macro parts(content) -%}
{%- if content is string -%}{{- plain(content) -}}
{%- else -%}
{%- for part in content -%}
{%- if part['type'] == 'video' -%}{{- '<video>\\n' -}}
{%- elif part['type'] in ('image', 'image_url') -%}{{- '<image>\\n' -}}
{%- elif part['type'] == 'text' -%}{{- plain(part['text']) -}}
{%- endif -%}
{%- endfor -%}
{%- endif -%}
{%- endmacro -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- parts(message['content']) + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- parts(message['content']) + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}
"""


class CineloopProcessorKwargs(ProcessingKwargs, total=False):  # type: ignore[call-arg]
    """Defaults of a call: tensors, padded on the left so that generation continues at the right.

    The chat template writes all marks there are, in training too, so the tokenizer adds none of its own (such as BOS).
    """

    _defaults = {
        "text_kwargs": {"padding": True, "padding_side": "left", "add_special_tokens": False},
        "common_kwargs": {"return_tensors": "pt"},
    }


class CineloopProcessor(ProcessorMixin):
    """A video processor and a tokenizer in one.

    Args:
        video_processor: a `CineloopVideoProcessor`.
        tokenizer: any fast tokenizer that knows `video_token` as one token.
        chat_template: Jinja text; None takes the tokenizer-independent default above.
        tokens_per_segment: Q, visual tokens of one segment.
        video_token: the placeholder.

    Raises:
        UsageError: the tokenizer does not know the placeholder.
    """

    valid_processor_kwargs = CineloopProcessorKwargs

    def __init__(
        self,
        video_processor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        tokens_per_segment: int = 32,
        video_token: str = VIDEO_TOKEN,
    ) -> None:
        self.tokens_per_segment = tokens_per_segment
        self.video_token = video_token
        self.video_token_id = tokenizer.convert_tokens_to_ids(video_token)
        if self.video_token_id in (None, tokenizer.unk_token_id):
            raise UsageError(
                f"the tokenizer does not know {video_token!r}",
                hint=f"tokenizer.add_special_tokens({{'additional_special_tokens': [{video_token!r}]}})",
            )
        super().__init__(video_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE)

    @property
    def unused_input_names(self) -> list[str]:
        """Outputs of the video processor that the model does not take."""
        return ["num_segments"]

    @property
    def model_input_names(self) -> list[str]:
        """Names of everything the model takes."""
        return [*self.tokenizer.model_input_names, *self.video_processor.model_input_names]

    def num_visual_tokens(self, num_frames: int) -> int:
        """Placeholders of a clip of `num_frames` sampled frames: ceil(T / F) * Q."""
        return -(-num_frames // self.video_processor.segment_frames) * self.tokens_per_segment

    def clip_text(self, times_s: Sequence[float]) -> str:
        """The prompt text of a clip whose sampled frames are shown at these seconds (T,)."""
        length = self.video_processor.segment_frames
        segments = [times_s[start : start + length] for start in range(0, len(times_s), length)]
        return "".join(segment_text(s[0], s[-1], self.tokens_per_segment, self.video_token) for s in segments)

    def check_argument_for_proper_class(self, argument_name: str, argument: Any) -> Any:
        """As in transformers, whose own check of a video processor needs torchvision."""
        if argument_name != "video_processor":
            return super().check_argument_for_proper_class(argument_name, argument)
        if not isinstance(argument, CineloopVideoProcessor):
            raise TypeError(f"video_processor must be a CineloopVideoProcessor, got {type(argument).__name__}")
        return CineloopVideoProcessor

    # Hooks of transformers' `ProcessorMixin.__call__`.

    def prepare_inputs_layout(
        self, images: Any = None, text: Any = None, videos: Any = None, audio: Any = None, **kwargs: Any
    ) -> tuple[None, list[str] | None, list[Any] | None, None]:
        """Texts as a list, pictures and videos as one list of clips in the order of their marks."""
        if audio is not None:
            raise UsageError("this model takes no audio")
        clips, pictures = ([] if given is None else flat_clips(given) for given in (videos, images))
        pictures = [_picture(picture) for picture in pictures] if images is not None else []
        if text is None:
            return None, None, (clips + pictures) or None, None
        texts = [text] if isinstance(text, str) else list(text)
        marks = [mark for t in texts for mark in re.findall(f"{re.escape(self.video_token)}|{IMAGE_MARK}", t)]
        counts = {mark: marks.count(mark) for mark in (self.video_token, IMAGE_MARK)}
        for mark, items, name in ((self.video_token, clips, "videos"), (IMAGE_MARK, pictures, "images")):
            if counts[mark] != len(items):
                raise UsageError(f"the text holds {counts[mark]} {mark} marks, but {len(items)} {name} were given")
        order = {self.video_token: iter(clips), IMAGE_MARK: iter(pictures)}
        ordered = [next(order[mark]) for mark in marks]
        return None, [t.replace(IMAGE_MARK, self.video_token) for t in texts], ordered or None, None

    def validate_inputs(self, images: Any = None, text: Any = None, videos: Any = None, **kwargs: Any) -> None:
        """Counts were compared above; here only that the input is not empty."""
        if text is None and videos is None:
            raise UsageError("give text, videos or both")

    def _process_videos(self, videos: list[Any], **kwargs: Any) -> tuple[Any, list[str]]:
        features = self.video_processor(videos, **kwargs)
        return features, [self.replace_video_token(features, index) for index in range(len(features["num_segments"]))]

    def replace_video_token(self, video_inputs: Any, video_idx: int, **kwargs: Any) -> str:
        """The prompt text of clip number `video_idx` of the video processor's output."""
        counts = np.asarray(video_inputs["num_segments"])
        first = int(counts[:video_idx].sum())
        rows = slice(first, first + int(counts[video_idx]))
        times, mask = (np.asarray(video_inputs[name])[rows] for name in ("frame_times_s", "frame_mask"))  # (S, F) each
        return self.clip_text(times[mask].tolist())

    def _get_num_multimodal_tokens(
        self, image_sizes: Any = None, video_sizes: Sequence[tuple[int, int, int]] | None = None, **kwargs: Any
    ) -> MultiModalData:
        """Placeholders of clips of (T, H, W) sampled frames, as vLLM's transformers backend asks."""
        counts = [self.num_visual_tokens(frames) for frames, *_ in video_sizes or ()]
        return MultiModalData(num_video_tokens=counts)


def segment_text(start_s: float, end_s: float, tokens: int, video_token: str = VIDEO_TOKEN) -> str:
    """`<0.0-2.9s>` and the placeholders of one segment whose frames show from `start_s` to `end_s`."""
    return f"<{start_s:.1f}-{end_s:.1f}s>" + video_token * tokens


def _picture(item: Any) -> Any:
    """A picture from a path or address; a picture is returned as it is."""
    if not isinstance(item, str):
        return item
    from transformers.image_utils import load_image

    return flat_clips(load_image(item))[0]
