"""vLLM's multi-modal processor: videos of a request as model inputs and prompt placeholders.

In: per video bytes (see `loader`), or an array uint8 (T, H, W, 3) with metadata of its times. Out: pixels, times
and mask by segments, and for each video token of the prompt what `v2t.model.processing` writes in its place: per
segment `<0.0-2.9s>` and Q placeholders, of which the placeholders alone are filled with embeddings.
All arithmetic is the checkpoint's own processor's. Letters: V videos, S segments of all videos, F frames of a segment,
T frames of a video, Q visual tokens of a segment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature
from vllm.multimodal.inputs import MultiModalFieldConfig
from vllm.multimodal.parse import MultiModalDataParser
from vllm.multimodal.processing import (
    BaseDummyInputsBuilder,
    BaseMultiModalProcessor,
    BaseProcessingInfo,
    PromptReplacement,
    PromptUpdateDetails,
)

from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from v2t.model import CineloopConfig, CineloopProcessor
from v2t.serve.plugin.loader import read

_STAMP_TOKENS = 24  # of one timestamp at most, for the largest clip that is planned for


class CineloopProcessingInfo(BaseProcessingInfo):
    """Facts about the checkpoint for vLLM."""

    def get_hf_config(self) -> CineloopConfig:
        """Its configuration."""
        return self.ctx.get_hf_config(CineloopConfig)

    def get_hf_processor(self, **kwargs: object) -> CineloopProcessor:
        """Its processor, as saved. Raises ValueError: settings of the processor were given; they are part of the
        checkpoint."""
        given = sorted({*kwargs, *(self.ctx.get_mm_config().mm_processor_kwargs or {})})
        if given:
            raise ValueError(f"this model takes no processor settings ({', '.join(given)}): its checkpoint has its own")
        return self.ctx.get_hf_processor(CineloopProcessor)

    def get_data_parser(self) -> MultiModalDataParser:
        """Videos come with their metadata, which count for the cache: equal frames at other times differ."""
        return MultiModalDataParser(
            video_needs_metadata=True,
            expected_hidden_size=self._get_expected_hidden_size(),
            allow_missing_mm_embeddings=self.allow_missing_mm_embeddings,
        )

    def get_supported_mm_limits(self) -> Mapping[str, int | None]:
        """Any number of videos; a picture is a video of one frame."""
        return {"video": None}

    def get_mm_max_tokens_per_item(self, seq_len: int, mm_counts: Mapping[str, int]) -> Mapping[str, int]:
        """Visual tokens of the longest clip that fits."""
        return {"video": self.get_hf_config().num_visual_tokens(self.most_frames(seq_len))}

    def most_frames(self, seq_len: int, num_videos: int = 1) -> int:
        """Frames of each of `num_videos` clips, at most, in a prompt of `seq_len` tokens: at least one segment."""
        resampler = self.get_hf_config().resampler_config
        per_segment = resampler.tokens_per_segment + _STAMP_TOKENS
        segments = max(1, seq_len // max(1, num_videos) // per_segment)
        return min(self.get_hf_processor().video_processor.max_frames, segments * resampler.segment_frames)


class CineloopDummyInputsBuilder(BaseDummyInputsBuilder[CineloopProcessingInfo]):
    """The largest input, by which vLLM measures memory."""

    def get_dummy_text(self, mm_counts: Mapping[str, int]) -> str:
        """One video token per video."""
        return self.info.get_hf_processor().video_token * mm_counts.get("video", 0)

    def get_dummy_mm_data(self, seq_len: int, mm_counts: Mapping[str, int], mm_options: Mapping[str, Any]) -> Any:
        """White clips at the checkpoint's frame size, a frame a second."""
        num_videos = mm_counts.get("video", 0)
        size = self.info.get_hf_processor().video_processor.size
        videos = self._get_dummy_videos(
            width=size["width"],
            height=size["height"],
            num_frames=self.info.most_frames(seq_len, num_videos),
            num_videos=num_videos,
            overrides=mm_options.get("video"),
        )
        return {"video": [(video, {"fps": 1.0, "frames_indices": list(range(len(video)))}) for video in videos]}


class CineloopMultiModalProcessor(BaseMultiModalProcessor[CineloopProcessingInfo]):
    """Videos to tensors, video tokens to timestamps and placeholders."""

    def _apply_hf_processor_main(self, mm_items: Any, hf_kwargs: Mapping[str, object]) -> BatchFeature:
        processor = self.info.get_hf_processor(**hf_kwargs)
        videos = [item for items in mm_items.values() for item in items.get_all()]
        if not videos:
            return BatchFeature({})
        parts = [_segments(video, metadata, processor) for video, metadata in videos]
        joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
        dtype = self.info.ctx.model_config.dtype
        return BatchFeature(
            {
                "pixel_values_videos": joined["pixel_values_videos"].to(dtype),  # (S, F, 3, H, W)
                # As bits: vLLM brings floats on their way to the model to its dtype, and bfloat16 seconds are coarse.
                "frame_times_bits": joined["frame_times_s"].view(torch.int32),  # (S, F)
                "frame_mask": joined["frame_mask"],  # (S, F)
                "num_segments": joined["num_segments"],  # (V,)
            }
        )

    def _get_mm_fields_config(
        self, hf_inputs: BatchFeature, hf_processor_mm_kwargs: Mapping[str, object]
    ) -> Mapping[str, MultiModalFieldConfig]:
        counts = hf_inputs.get("num_segments", torch.empty(0, dtype=torch.int64))
        by_segments = ("pixel_values_videos", "frame_times_bits", "frame_mask")
        fields = {name: MultiModalFieldConfig.flat_from_sizes("video", counts) for name in by_segments}
        return {**fields, "num_segments": MultiModalFieldConfig.batched("video", keep_on_cpu=True)}

    def _get_prompt_updates(
        self, mm_items: Any, hf_processor_mm_kwargs: Mapping[str, object], out_mm_kwargs: Any
    ) -> Sequence[PromptReplacement]:
        processor = self.info.get_hf_processor(**hf_processor_mm_kwargs)
        encode = self.info.get_tokenizer().encode
        video_token_id = self.info.get_hf_config().video_token_id

        def replacement(item_idx: int) -> PromptUpdateDetails:
            item = out_mm_kwargs["video"][item_idx]
            times = item["frame_times_bits"].data.view(torch.float32)  # (S, F)
            text = processor.clip_text(times[item["frame_mask"].data].tolist())
            # Behind a special token, as in the prompt; some tokenizers treat the first word in their own way.
            ids = encode(processor.video_token + text, add_special_tokens=False)[1:]
            return PromptUpdateDetails.select_token_id(ids, video_token_id)

        return [PromptReplacement(modality="video", target=[video_token_id], replacement=replacement)]

    def _apply_prompt_updates(self, token_ids: list[int], mm_prompt_updates: Any) -> tuple[list[int], Any]:
        """As vLLM, then timestamps are read together with the text before them, as if all had been one text."""
        ids, placeholders = super()._apply_prompt_updates(token_ids, mm_prompt_updates)
        tokenizer, video_token_id = self.info.get_tokenizer(), self.info.get_hf_config().video_token_id
        places = sorted(placeholders.get("video", []), key=lambda place: place.start_idx)
        special = set(tokenizer.all_special_ids) | {video_token_id}
        shift, moved = 0, []
        for place in places:
            start = place.start_idx + shift
            stamp = place.tokens.index(video_token_id)
            begin = start
            while begin and ids[begin - 1] not in special:
                begin -= 1
            before, apart = ids[begin:start], ids[begin : start + stamp]
            together = _read_as_one(tokenizer, ids[begin - 1] if begin else None, before, place.tokens[:stamp])
            if together is None or together == apart:
                moved.append(replace(place, start_idx=start))
                continue
            ids[begin : start + stamp] = together
            shift += len(together) - len(apart)
            embed = None if place.is_embed is None else place.is_embed[stamp:]
            moved.append(replace(place, start_idx=begin + len(together), tokens=place.tokens[stamp:], is_embed=embed))
        if places:
            placeholders = {**placeholders, "video": sorted(moved, key=lambda place: place.item_idx)}
        return ids, placeholders


def _segments(video: Any, metadata: Mapping[str, Any], processor: CineloopProcessor) -> dict[str, torch.Tensor]:
    """Tensors of one video, by segments. Raises ValueError: which vLLM answers as a bad request."""
    pixels = np.asarray(video)
    try:
        clip: Any
        if pixels.ndim == 1:
            clip, metadatas = read(pixels.tobytes(), processor.video_processor), None
        elif metadata.get("frame_times_s") is not None:
            clip, metadatas = _frames(pixels, metadata), None
        else:
            clip, metadatas = pixels, [{k: v for k, v in metadata.items() if k != "do_sample_frames"}]
        return dict(processor.video_processor([clip], video_metadata=metadatas, return_tensors="pt"))
    except ItemError as problem:
        raise ValueError(f"{problem.code}: {problem.message}") from problem


def _frames(pixels: np.ndarray, metadata: Mapping[str, Any]) -> Frames:
    times = np.asarray(metadata["frame_times_s"], dtype=np.float64)
    return Frames(
        pixels,
        times,
        duration_s=float(metadata.get("duration", times[-1])),
        fps=float(metadata.get("fps", 1.0)),
        start_s=float(metadata.get("start_s", 0.0)),
    )


def _read_as_one(tokenizer: Any, behind: int | None, before: list[int], stamp: list[int]) -> list[int] | None:
    """Tokens of the text `before` and the `stamp` after it as one text; None where the text cannot be tokenised again.

    Two signs in a row may be one token ("?<"), and then the model was trained on that one.
    """
    if not before:
        return None
    opening = "" if behind is None else tokenizer.convert_ids_to_tokens([behind])[0]
    skip = int(behind is not None)

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer.encode(opening + text, add_special_tokens=False)
        return ids[skip:]

    text = tokenizer.decode(before, skip_special_tokens=False)
    if encode(text) != before:
        return None
    return encode(text + tokenizer.decode(stamp, skip_special_tokens=False))
