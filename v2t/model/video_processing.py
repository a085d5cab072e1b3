"""The video processor: clips sampled, resized, normalised and cut into segments, every frame with its time.

In: per clip a path, `Frames`, an array (T, H, W, 3) uint8 with times or `VideoMetadata`, a picture, or a list of
pictures. Out: pixels (S, F, 3, H, W) float32, times (S, F) in seconds, mask (S, F), segments per clip (V,).
The sampling settings are part of the checkpoint. Frames are stretched to the tower's size (the starter does this) or
letterboxed. Nothing here needs torchvision: pixels go through OpenCV, area averages where they shrink.
Letters: V clips, T frames of a clip, S segments of all clips, F frames of a segment, H W pixels.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from transformers.image_processing_utils import BatchFeature
from transformers.processing_utils import VideosKwargs
from transformers.video_processing_utils import BaseVideoProcessor
from transformers.video_utils import VideoMetadata

from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec, choose
from v2t.model.clips import FITS, Still, cut_segments, fit_frames, flat_clips, frames_with_times, rgb_frames

# Settings beyond those every video processor of transformers has. In this form the types are real objects, which
# transformers needs, and not the strings that annotations are in this file.
CineloopVideosKwargs = TypedDict(
    "CineloopVideosKwargs",
    {
        **VideosKwargs.__annotations__,  # type: ignore[misc]
        "sampler": str | None,
        "segment_frames": int | None,
        "segment_s": float | None,
        "max_frames": int | None,
        "fit": str | None,
        "frame_times_s": Any,
    },
    total=False,
)


class CineloopVideoProcessor(BaseVideoProcessor):
    """Turns clips into segments.

    Args (all stored with the checkpoint; each may also be given to one call):
        size: {"height", "width"} of the vision tower's pixels.
        fit: `stretch` (aspect ratio is lost) or `letterbox` (grey bars).
        image_mean, image_std: per channel, of pixels in [0, 1].
        sampler, num_frames, fps, segment_s, max_frames: see `cineloop.video.sample.SampleSpec`.
        segment_frames: F; longer clips have more segments, the last one filled up with masked frames.
        do_sample_frames: sample arrays too, unless their times or indices say that they are a sample already.
        do_resize, do_rescale, rescale_factor, do_normalize: as in every processor of transformers.
    """

    model_input_names = ["pixel_values_videos", "frame_times_s", "frame_mask"]
    valid_kwargs = CineloopVideosKwargs
    size = {"height": 64, "width": 64}
    fit = "stretch"
    image_mean = [0.5, 0.5, 0.5]
    image_std = [0.5, 0.5, 0.5]
    do_resize = True
    do_rescale = True
    do_normalize = True
    do_convert_rgb = True
    do_sample_frames = True
    sampler = "uniform"
    num_frames = 16
    segment_frames = 16
    segment_s = 4.0
    max_frames = 768

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if self.fit not in FITS:
            raise UsageError(f"fit={self.fit!r}; choose one of {', '.join(FITS)}")
        self.sample_spec()

    def sample_spec(self, **changes: Any) -> SampleSpec:
        """The checkpoint's sampling settings, with changes: naming only `fps` or `num_frames` picks their sampler."""
        if changes.get("sampler") is None and changes.get("fps") is not None:
            changes["sampler"] = "fps"
        elif changes.get("sampler") is None and changes.get("num_frames") is not None and self.sampler == "fps":
            changes["sampler"] = "uniform"
        names = ("sampler", "num_frames", "fps", "segment_s", "max_frames")
        return SampleSpec(**{n: changes[n] if changes.get(n) is not None else getattr(self, n) for n in names})

    def preprocess(
        self,
        videos: Any,
        *,
        video_metadata: Any = None,
        frame_times_s: Any = None,
        return_metadata: bool | None = None,
        return_tensors: Any = None,
        **changes: Any,
    ) -> BatchFeature:
        """Segments of all clips, in order.

        Args:
            videos: one clip or any nesting of lists of clips; a list of pictures is one clip.
            video_metadata: for arrays: one `VideoMetadata` (or dict) per clip, without pictures; `fps` is needed, and
                `frames_indices` where the frames are a sample.
            frame_times_s: for arrays, instead of metadata: (T,) seconds for each clip that is not a picture.
            return_metadata: also return `video_metadata`, one per clip.
            return_tensors: "pt", "np" or None.
            changes: settings for this call only.

        Returns:
            pixel_values_videos (S, F, 3, H, W) float32, frame_times_s (S, F) float32, frame_mask (S, F) bool,
            num_segments (V,).

        Raises:
            UsageError: a clip of unknown form, an unknown setting.
            ItemError: a file that cannot be decoded.
        """
        unknown = sorted(set(changes) - set(self.valid_kwargs.__annotations__))
        if unknown:
            raise UsageError(f"video processor: unknown settings {', '.join(unknown)}")
        clips = self._clips(flat_clips(videos), video_metadata, frame_times_s, changes)
        size = changes.get("size") or self.size
        fit = changes.get("fit") or self.fit
        length = changes.get("segment_frames") or self.segment_frames
        data: dict[str, list] = {name: [] for name in (*self.model_input_names, "num_segments")}
        for clip in clips:
            pixels = clip.pixels
            if _setting(changes, self, "do_resize"):
                pixels = fit_frames(pixels, (size["height"], size["width"]), fit)
            seconds = np.maximum(clip.relative_times_s, 0)  # (T,)
            parts = cut_segments(self._normalise(pixels, changes), seconds, length)
            for name, part in zip(self.model_input_names, parts, strict=True):
                data[name].append(part)
            data["num_segments"].append(len(parts[0]))
        joined: dict[str, Any] = {name: np.concatenate(data[name]) for name in self.model_input_names}
        joined["num_segments"] = np.array(data["num_segments"])
        features = BatchFeature(joined, tensor_type=return_tensors)
        if return_metadata:
            features["video_metadata"] = [_metadata(clip) for clip in clips]
        return features

    def _clips(self, videos: list[Any], metadata: Any, times: Any, changes: dict[str, Any]) -> list[Frames]:
        described = sum(not isinstance(video, Still) for video in videos)
        metadata = iter(_one_each(metadata, described, "video_metadata"))
        times = iter(_one_each(times, described, "frame_times_s"))
        return [
            video.frames() if isinstance(video, Still) else self._clip(video, next(metadata), next(times), changes)
            for video in videos
        ]

    def _clip(self, video: Any, metadata: Mapping | None, times: Any, changes: dict[str, Any]) -> Frames:
        if isinstance(video, Frames):
            return video
        spec = self.sample_spec(**changes)
        if isinstance(video, str | os.PathLike):
            from cineloop.video.decode import Request, decode

            size = changes.get("size") or self.size
            stretched = _setting(changes, self, "do_resize") and (changes.get("fit") or self.fit) == "stretch"
            return decode(video, Request(spec=spec, size=(size["height"], size["width"]) if stretched else None))
        pixels = rgb_frames(video)
        sampled = times is not None or (metadata is not None and metadata.get("frames_indices") is not None)
        frames = frames_with_times(pixels, metadata, times)
        asked = changes.get("do_sample_frames")
        if asked or (asked is None and self.do_sample_frames and not sampled):
            kept = choose(spec, frames.times_s, frames.duration_s, **_whole_grid(frames, spec))
            frames = Frames(frames.pixels[kept], frames.times_s[kept], frames.duration_s, frames.fps, frames.decoder)
        return frames

    def _normalise(self, pixels: np.ndarray, changes: dict[str, Any]) -> np.ndarray:
        values = pixels.astype(np.float32).transpose(0, 3, 1, 2)  # (T, 3, H, W)
        if _setting(changes, self, "do_rescale"):
            values = values * np.float32(_setting(changes, self, "rescale_factor"))
        if _setting(changes, self, "do_normalize"):
            mean, std = (
                np.broadcast_to(np.asarray(_setting(changes, self, name), np.float32), 3)[:, None, None]
                for name in ("image_mean", "image_std")
            )
            values = (values - mean) / std
        return values


def _setting(changes: Mapping[str, Any], processor: Any, name: str) -> Any:
    return changes[name] if changes.get(name) is not None else getattr(processor, name)


def _one_each(given: Any, count: int, name: str) -> list[Any]:
    """`given` as a list of one entry per clip; a lone entry, and metadata nested by prompt, are unfolded."""
    if given is None:
        return [None] * count
    entries = [given] if isinstance(given, Mapping) else list(given)
    if entries and isinstance(entries[0], list | tuple) and entries[0] and isinstance(entries[0][0], Mapping):
        entries = [entry for prompt in entries for entry in prompt]
    elif entries and entries[0] is not None and not isinstance(entries[0], Mapping) and np.ndim(entries[0]) == 0:
        entries = [given]
    if len(entries) != count:
        raise UsageError(f"{name}: expected one entry per clip, {count}; got {len(entries)}")
    return entries


def _whole_grid(frames: Frames, spec: SampleSpec) -> dict[str, np.ndarray]:
    """Input of content-dependent samplers from an array: motion is measured, key frames are unknown."""
    if spec.sampler == "keyframe":
        return {"keyframe_times_s": np.zeros(0)}
    if spec.sampler == "motion":
        from cineloop.video.sample import motion_energy

        return {"motion_times_s": frames.times_s, "motion_energy": motion_energy(frames.pixels[..., 1])}
    return {}


def _metadata(clip: Frames) -> VideoMetadata:
    return VideoMetadata(
        total_num_frames=max(len(clip), round(clip.duration_s * clip.fps)),
        fps=clip.fps,
        width=clip.size[1],
        height=clip.size[0],
        duration=clip.duration_s,
        video_backend=clip.decoder,
        frames_indices=[round(second * clip.fps) for second in clip.times_s.tolist()],
    )
