"""What training on clips must know of a kind of model: how it codes video and text, and what it is asked.

In: a pipeline folder in diffusers layout (or a hub id). Out: a `ModelFamily`: its rules for lengths and sizes, latents
of mean 0 and standard deviation 1, prompts as tensors, predictions in the terms of `t2v.flow`, and a pipeline to draw
samples with. Known are our own model and Wan; another one is a class here. Models of two experts (Wan 2.2 A14B) are
refused: an adapter for one of them, trained on all noise levels, would do harm. Letters: B batch, c t h w latents, T H
W video, L text, D text width, P pooled width.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from cineloop import documents
from cineloop.errors import MissingDependencyError, UsageError
from cineloop.files import write_atomic
from t2v.data.buckets import Bucket, BucketConfig

if TYPE_CHECKING:
    from t2v.model.text import PromptEmbeds

Tensors = dict[str, torch.Tensor]


class ModelFamily:
    """Our own model; the base of the others.

    Args:
        name: folder or hub id of the pipeline; of a hub id nothing but configurations is fetched until it is needed.
        vae: folder of another autoencoder, in place of the pipeline's.
    """

    pad_to: int | None = None  # tokens every prompt is filled up to with zeros; None pads to the longest and masks

    def __init__(self, name: str, vae: Path | None = None) -> None:
        self.name, self.vae = name, vae
        self.shape = read_config(name, "transformer")
        given = read_config(name, "vae") if vae is None else read_config(str(vae), ".")
        space = given.get("spatial_compression_ratio") or given.get("scale_factor_spatial") or 8
        time = given.get("temporal_compression_ratio") or given.get("scale_factor_temporal") or 4
        self.frame_step, self.space = int(time), int(space)
        self.size_step = int(space) * int(self.shape["patch_size"][1])
        self.channels = int(given.get("latent_channels") or given.get("z_dim") or self.shape["in_channels"])

    @property
    def fps(self) -> float:
        """The rate the model was made for."""
        return float(self.shape.get("sample_fps", 8.0))

    def check(self, buckets: BucketConfig) -> None:
        """Raise UsageError where a length or size breaks the model's rule."""
        for length in buckets.lengths:
            if (length - 1) % self.frame_step:
                raise UsageError(f"buckets.lengths: this model takes {self.frame_step}k + 1 frames, got {length}")
        for side in (side for size in buckets.sizes for side in size):
            if side % self.size_step:
                raise UsageError(f"buckets.sizes: this model takes multiples of {self.size_step}, got {side}")

    def latent_shape(self, bucket: Bucket) -> tuple[int, int, int, int]:
        """(c, t, h, w) of a bucket's clips."""
        frames = 1 + (bucket.num_frames - 1) // self.frame_step
        return self.channels, frames, bucket.height // self.space, bucket.width // self.space

    # parts of the model

    def folder(self, part: str) -> Path:
        """The folder of a part, fetched when it is not there yet.

        Raises:
            MissingDependencyError: the hub does not give it.
        """
        if part == "vae" and self.vae is not None:
            return self.vae
        if Path(self.name).is_dir():
            return Path(self.name) / part
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.name, allow_patterns=[f"{part}/*.json", f"{part}/*.safetensors"])) / part
        except (OSError, ValueError) as error:
            raise MissingDependencyError(f"the {part} of {self.name} cannot be fetched: {error}") from error

    def transformer_class(self) -> Any:
        """The transformer's class."""
        from t2v.model.dit import CineloopTransformer3DModel

        return CineloopTransformer3DModel

    def vae_class(self) -> Any:
        """The autoencoder's class."""
        from t2v.model.vae import AutoencoderKLCineloop

        return AutoencoderKLCineloop

    def load_transformer(self, dtype: torch.dtype) -> Any:
        """The transformer with its weights, frozen.

        Raises:
            MissingDependencyError: its weights are not there.
        """
        return self._load(self.transformer_class(), "transformer", dtype)

    def load_vae(self, dtype: torch.dtype) -> Any:
        """The autoencoder with its weights, frozen, in inference mode."""
        return self._load(self.vae_class(), "vae", dtype).eval()

    def load_text_encoder(self, device: str, dtype: torch.dtype) -> Any:
        """The text encoder with its tokenizer."""
        from t2v.model.text import open_text_encoder

        return open_text_encoder(self.name, device, dtype)

    def _load(self, kind: Any, part: str, dtype: torch.dtype) -> Any:
        try:
            model = kind.from_pretrained(self.folder(part), torch_dtype=dtype, use_safetensors=True)
        except (OSError, ValueError) as error:
            raise MissingDependencyError(f"the {part} of {self.name} could not be loaded: {error}") from error
        return model.requires_grad_(False)

    def save_pipeline(self, transformer: Any, folder: Path) -> None:
        """Write the whole pipeline with another transformer: its other parts and its index are copied as they are.

        Raises:
            MissingDependencyError: the hub does not give a part.
        """
        index = read_json(self.name, "model_index.json")
        for part in (name for name, kind in index.items() if isinstance(kind, list) and kind[0] is not None):
            if part != "transformer":
                shutil.copytree(self.folder(part), folder / part, dirs_exist_ok=True)  # of a run that was continued
        transformer.save_pretrained(folder / "transformer")
        write_atomic(folder / "model_index.json", (json.dumps(index, indent=2) + "\n").encode())

    # data and predictions

    @torch.inference_mode()
    def encode(self, vae: Any, pixels: np.ndarray) -> torch.Tensor:
        """Latents (c, t, h, w) of a clip uint8 (T, H, W, 3)."""
        video = torch.from_numpy(np.ascontiguousarray(pixels)).to(vae.device).permute(3, 0, 1, 2)  # (3, T, H, W)
        video = (video.float() / 127.5 - 1)[None].to(vae.dtype)  # (1, 3, T, H, W)
        return self.normalise(vae, video)[0].float()

    def normalise(self, vae: Any, video: torch.Tensor) -> torch.Tensor:
        """Latents (1, c, t, h, w) of mean 0 and standard deviation 1, from video (1, 3, T, H, W) in [-1, 1]."""
        return vae.encode_normalized(video)

    @torch.inference_mode()
    def embed(self, encoder: Any, prompt: str) -> Tensors:
        """A prompt as `embeds` (L, D), its real tokens only, and `pooled` (P) where the model wants it."""
        encoded: PromptEmbeds = encoder.encode([prompt], min(self.pad_to or encoder.most_tokens, encoder.most_tokens))
        tensors = {"embeds": encoded.embeds[0, encoded.mask[0]]}
        return tensors | (
            {"pooled": encoded.pooled[0]} if encoded.pooled is not None and self.shape.get("pooled_dim") else {}
        )

    def collate(self, prompts: Sequence[Tensors]) -> Tensors:
        """Prompts of a batch: `embeds` (B, L, D) zero-padded, `mask` (B, L), perhaps `pooled` (B, P)."""
        longest = self.pad_to or max(len(prompt["embeds"]) for prompt in prompts)
        embeds = prompts[0]["embeds"].new_zeros(len(prompts), longest, prompts[0]["embeds"].shape[-1])
        mask = torch.zeros(len(prompts), longest, dtype=torch.bool)
        for row, prompt in enumerate(prompts):
            embeds[row, : len(prompt["embeds"])] = prompt["embeds"]
            mask[row, : len(prompt["embeds"])] = True
        pooled = [prompt["pooled"] for prompt in prompts if "pooled" in prompt]
        return {"embeds": embeds, "mask": mask} | ({"pooled": torch.stack(pooled)} if pooled else {})

    def predict(self, transformer: Any, noisy: torch.Tensor, sigma: torch.Tensor, text: Tensors) -> torch.Tensor:
        """The velocity (B, c, t, h, w) of noisy latents at levels `sigma` (B,) under prompts of `collate`."""
        dtype = transformer.dtype
        return transformer(
            noisy.to(dtype),
            1000 * sigma,
            text["embeds"].to(dtype),
            encoder_attention_mask=text.get("mask"),
            pooled_projections=text["pooled"].to(dtype) if "pooled" in text else None,
        ).sample

    # samples

    def pipeline(self, transformer: Any, vae: Any) -> Any:
        """A pipeline around these parts, for prompts that are encoded already."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        from t2v.pipeline import CineloopPipeline

        scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(self.name, subfolder="scheduler")
        return CineloopPipeline(vae=vae, transformer=transformer, scheduler=scheduler)

    def call_arguments(self, text: Tensors, negative: Tensors) -> dict[str, Any]:
        """Arguments of the pipeline's call for a prompt and for what to avoid, each of `collate`."""
        given = {"prompt_embeds": text["embeds"], "prompt_attention_mask": text["mask"]}
        given |= {"negative_prompt_embeds": negative["embeds"], "negative_prompt_attention_mask": negative["mask"]}
        if "pooled" in text:
            given |= {"pooled_prompt_embeds": text["pooled"], "negative_pooled_prompt_embeds": negative["pooled"]}
        return {"prompt": None, "negative_prompt": None, **given}

    def draw(
        self,
        pipeline: Any,
        bucket: Bucket,
        text: Tensors,
        negative: Tensors,
        *,
        steps: int,
        guidance: float,
        seed: int,
        on_step: Callable[[], None],
    ) -> np.ndarray:
        """A clip uint8 (T, H, W, 3); `on_step` is called after each step and may raise to end it."""

        def record_step(_pipeline: Any, _step: int, _timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
            on_step()
            return tensors

        pipeline.set_progress_bar_config(disable=True)
        frames = pipeline(
            **{name: value.to(pipeline.device) if torch.is_tensor(value) else value
               for name, value in self.call_arguments(text, negative).items()},
            num_frames=bucket.num_frames, height=bucket.height, width=bucket.width,
            num_inference_steps=steps, guidance_scale=guidance, generator=torch.Generator("cpu").manual_seed(seed),
            callback_on_step_end=record_step, output_type="np",
        ).frames[0]  # fmt: skip
        return np.rint(np.asarray(frames) * 255).clip(0, 255).astype(np.uint8)


class Wan(ModelFamily):
    """Wan 2.1 and the 5 B model of Wan 2.2: 512 text tokens, filled up with zeros that count."""

    pad_to = 512

    def __init__(self, name: str, vae: Path | None = None) -> None:
        super().__init__(name, vae)
        if (read_json(name, "model_index.json").get("transformer_2") or [None])[0] is not None:
            raise UsageError(f"{name} is a model of two experts (transformer and transformer_2)", code="MODEL")

    @property
    def fps(self) -> float:
        """16; the 5 B model (16 × 16 pixels a latent place) 24."""
        return 24.0 if self.space == 16 else 16.0

    def transformer_class(self) -> Any:
        """Diffusers' own."""
        from diffusers import WanTransformer3DModel

        return WanTransformer3DModel

    def vae_class(self) -> Any:
        """Diffusers' own."""
        from diffusers import AutoencoderKLWan

        return AutoencoderKLWan

    def normalise(self, vae: Any, video: torch.Tensor) -> torch.Tensor:
        """The most likely latents, by the statistics in the autoencoder's config (a deviation, not its inverse)."""
        mean, std = _statistics(vae)
        return (vae.encode(video).latent_dist.mode().float() - mean) / std

    def predict(self, transformer: Any, noisy: torch.Tensor, sigma: torch.Tensor, text: Tensors) -> torch.Tensor:
        """As Wan's pipeline asks."""
        dtype = transformer.dtype
        return transformer(noisy.to(dtype), 1000 * sigma, text["embeds"].to(dtype)).sample

    def pipeline(self, transformer: Any, vae: Any) -> Any:
        """Wan's pipeline with the scheduler of the folder."""
        from diffusers import WanPipeline

        return WanPipeline.from_pretrained(
            self.name, transformer=transformer, vae=vae, text_encoder=None, tokenizer=None
        )

    def call_arguments(self, text: Tensors, negative: Tensors) -> dict[str, Any]:
        """Embeddings alone."""
        return {"prompt_embeds": text["embeds"], "negative_prompt_embeds": negative["embeds"]}


def _statistics(vae: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of Wan's latents, (1, c, 1, 1, 1)."""
    mean, std = (
        torch.tensor(values, device=vae.device, dtype=torch.float32).view(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )
    return mean, std


FAMILIES: dict[str, type[ModelFamily]] = {"CineloopTransformer3DModel": ModelFamily, "WanTransformer3DModel": Wan}


def open_family(model: str, vae: Path | None = None) -> ModelFamily:
    """The family of a pipeline folder or hub id, `vae` in place of its own autoencoder.

    Raises:
        MissingDependencyError: nothing of that name.
        UsageError: a model of a family that is not known here, or no pipeline with a transformer.
    """
    kind = read_config(model, "transformer").get("_class_name")
    if kind not in FAMILIES:
        raise UsageError(
            f"{model} has a {kind}; adapters are trained for {', '.join(FAMILIES)}",
            code="MODEL",
            hint="another family is a class in t2v/train/families.py",
        )
    return FAMILIES[kind](model, vae)


def read_config(name: str, part: str) -> dict[str, Any]:
    """`config.json` of a part of a pipeline; raises as `read_json` does, and UsageError when there is none."""
    config = read_json(name, f"{part}/config.json")
    if not config:
        raise UsageError(f"{name} is no pipeline in diffusers layout: it has no {part}/config.json", code="MODEL")
    return config


def read_json(name: str, file: str) -> dict[str, Any]:
    """A JSON file of a folder or hub repository; {} when the folder lacks it.

    Raises:
        MissingDependencyError: no such folder, and the hub does not give it.
    """
    path = Path(name) / file
    if not Path(name).is_dir():
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(name, file))
        except (OSError, ValueError) as error:
            raise MissingDependencyError(f"no folder {name}, and the hub does not give {file}: {error}") from error
    return documents.read_json(path, finite=False) if path.is_file() else {}
