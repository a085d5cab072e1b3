"""What a generation begins with: checked arguments, encoded prompts, noise, the first frame. Used by `t2v.pipeline`.

In: what a caller gave. Out: tensors of B clips. Everything a clip is made from (words, embeddings, images) is repeated
by one rule: the clips of one prompt stand together.

Letters: P prompts, B clips = P × videos per prompt, T frames, H W pixels, C channels, t h w latent size, L text,
D text width, n images.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers.image_processor import PipelineImageInput
from diffusers.utils.torch_utils import randn_tensor

from cineloop.errors import UsageError
from t2v.model.text import PromptEmbeds, PromptEncoder
from t2v.shape import Shape, valid_shape

OUTPUT_TYPES = ("np", "pil", "pt", "latent")


class PipelineInputs:
    """The steps before the loop, as methods of a diffusers pipeline that has the components named here."""

    vae: Any
    transformer: Any
    text_encoder: Any
    tokenizer: Any
    video_processor: Any
    vae_step: int  # pixels of one latent place
    frame_step: int  # frames of one latent frame but the first
    patch: int  # latent places of one token, down and across
    _execution_device: torch.device
    _callback_tensor_inputs: list[str]
    _prompt_encoder: PromptEncoder | None = None
    warns_of_unknown_words: bool = True  # False where the caller names them itself

    def check_inputs(
        self,
        prompt: str | list[str] | None,
        negative_prompt: str | list[str] | None,
        prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        num_videos_per_prompt: int = 1,
        output_type: str = "np",
        callback_on_step_end_tensor_inputs: Sequence[str] = (),
    ) -> int:
        """Refuse what cannot be meant, before anything is computed; returns P, the number of prompts.

        Raises:
            UsageError: neither or both of words and embeddings; a negative side of another number; words without a
                text encoder; an unknown output type or callback tensor.
        """
        if (prompt is None) == (prompt_embeds is None):
            raise UsageError("give either prompt or prompt_embeds, not both and not neither")
        if negative_prompt and negative_prompt_embeds is not None:
            raise UsageError("give either negative_prompt or negative_prompt_embeds, not both")
        for name, words in (("prompt", prompt), ("negative_prompt", negative_prompt)):
            if isinstance(words, list | tuple) and not (words and all(isinstance(text, str) for text in words)):
                raise UsageError(f"{name} must be a text or a list of texts with at least one, got {words!r}")
        prompts = (
            len(prompt_embeds) if prompt_embeds is not None else 1 if isinstance(prompt, str) else len(prompt or ())
        )
        negatives = negative_prompt_embeds if negative_prompt_embeds is not None else negative_prompt
        if negatives is not None and not isinstance(negatives, str) and len(negatives) != prompts:
            raise UsageError(f"{len(negatives)} negative prompts for {prompts} prompts: give one text, or one for each")
        if num_videos_per_prompt < 1:
            raise UsageError(f"num_videos_per_prompt must be at least 1, got {num_videos_per_prompt}")
        if output_type not in OUTPUT_TYPES:
            raise UsageError(f"output_type must be one of {', '.join(OUTPUT_TYPES)}, got {output_type!r}")
        if unknown := [name for name in callback_on_step_end_tensor_inputs if name not in self._callback_tensor_inputs]:
            raise UsageError(f"callbacks may ask for {', '.join(self._callback_tensor_inputs)}, not {unknown}")
        return prompts

    def encode_prompt(
        self,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = "",
        do_classifier_free_guidance: bool = True,
        num_videos_per_prompt: int = 1,
        prompt_embeds: torch.Tensor | None = None,
        prompt_attention_mask: torch.Tensor | None = None,
        pooled_prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        negative_prompt_attention_mask: torch.Tensor | None = None,
        negative_pooled_prompt_embeds: torch.Tensor | None = None,
        max_sequence_length: int | None = None,
        device: torch.device | None = None,
    ) -> tuple[Any, ...]:
        """The transformer's text inputs, of the prompts and of what to avoid. Usable alone.

        What comes out with `num_videos_per_prompt=1` may be given to the pipeline in place of words. Each row is
        repeated `num_videos_per_prompt` times, whether it came as words or as embeddings.

        Returns:
            Embeddings (B, L, D), their mask (B, L) bool, pooled vectors (B, ·) or None; then the same three of the
            negative side, all None without guidance.
        """
        device = device or self._execution_device
        given = (prompt_embeds, prompt_attention_mask, pooled_prompt_embeds)
        text = self._embeds(prompt, given, max_sequence_length).to(device)
        avoid = None
        if do_classifier_free_guidance:
            words: str | list[str] | None = negative_prompt or ""
            words = [words] * len(text) if isinstance(words, str) else words
            given = (negative_prompt_embeds, negative_prompt_attention_mask, negative_pooled_prompt_embeds)
            avoid = self._embeds(words, given, max_sequence_length).to(device).repeat(num_videos_per_prompt)
        text = text.repeat(num_videos_per_prompt)
        prompt_embeds, prompt_attention_mask, pooled_prompt_embeds = text.embeds, text.mask, text.pooled
        if avoid is not None:
            negative_prompt_embeds, negative_prompt_attention_mask = avoid.embeds, avoid.mask
            negative_pooled_prompt_embeds = avoid.pooled
        return (
            prompt_embeds,
            prompt_attention_mask,
            pooled_prompt_embeds,
            negative_prompt_embeds,
            negative_prompt_attention_mask,
            negative_pooled_prompt_embeds,
        )

    def prepare_latents(
        self,
        clips: int,
        shape: Shape,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Noise to begin with, float32 (B, C, t, h, w); of a list of generators each clip has its own.

        Raises:
            UsageError: latents of another shape, or another number of generators than clips.
        """
        device = self._execution_device
        t = (shape.num_frames - 1) // self.frame_step + 1
        size = (
            clips,
            self.transformer.config.in_channels,
            t,
            shape.height // self.vae_step,
            shape.width // self.vae_step,
        )
        if latents is not None:
            if tuple(latents.shape) != size:
                raise UsageError(f"{clips} clips of {shape} want latents {size}, got {tuple(latents.shape)}")
            return latents.to(device, torch.float32)
        if isinstance(generator, list) and len(generator) != clips:
            raise UsageError(f"{len(generator)} generators for {clips} clips: give one for each, or a single one")
        return randn_tensor(size, generator=generator, device=device, dtype=torch.float32)

    def prepare_first_frame(self, image: PipelineImageInput, clips: int, prompts: int, shape: Shape) -> torch.Tensor:
        """The clean latents of the given first frames: (B, C, 1, h, w).

        Raises:
            UsageError: another number of images than one or P, or values outside [0, 1].
        """
        pixels = self.video_processor.preprocess(image, height=shape.height, width=shape.width)  # (n, 3, H, W)
        if len(pixels) not in (1, prompts):
            raise UsageError(f"{len(pixels)} images for {prompts} prompts: give one, or one for each")
        if pixels.shape[1] != 3 or pixels.abs().max() > 1.01:
            raise UsageError("an image must have three channels of values in [0, 1], or be a PIL image")
        pixels = pixels[:, :, None].to(self._execution_device, self.vae.dtype)  # (n, 3, 1, H, W)
        return self.vae.encode_normalized(pixels).float().repeat_interleave(clips // len(pixels), dim=0)

    def _shape(
        self, num_frames: int | None, height: int | None, width: int | None, latents: torch.Tensor | None
    ) -> Shape:
        """The shape that was asked for, or the one that given latents have."""
        if latents is not None and latents.ndim == 5:
            t, h, w = latents.shape[2:]
            num_frames = num_frames or (t - 1) * self.frame_step + 1
            height, width = height or h * self.vae_step, width or w * self.vae_step
        return self.valid_shape(num_frames, height, width)

    def valid_shape(self, num_frames: int | None = None, height: int | None = None, width: int | None = None) -> Shape:
        """The nearest shape this pipeline can make; None is what the transformer was trained on."""
        usual = self.transformer.config
        return valid_shape(
            usual.sample_frames if num_frames is None else num_frames,
            usual.sample_height if height is None else height,
            usual.sample_width if width is None else width,
            frame_step=self.frame_step,
            size_step=self.vae_step * self.patch,
        )

    def _embeds(self, words: str | list[str] | None, given: tuple, max_length: int | None) -> PromptEmbeds:
        """Words encoded, or embeddings as they were given."""
        embeds, mask, pooled = given
        if embeds is not None:
            mask = torch.ones(embeds.shape[:2], dtype=torch.bool) if mask is None else mask.bool()
            if tuple(mask.shape) != tuple(embeds.shape[:2]):
                raise UsageError(
                    f"embeddings {tuple(embeds.shape)} want a mask of their first two sizes, got {mask.shape}"
                )
            return PromptEmbeds(embeds, mask, pooled)
        if words is None or self.text_encoder is None or self.tokenizer is None:
            raise UsageError(
                "this pipeline has no text encoder to read words with",
                hint="give prompt_embeds, and negative_prompt_embeds where guidance_scale is above 1",
            )
        encoder = self._prompt_encoder
        if encoder is None or encoder.text_encoder is not self.text_encoder or encoder.tokenizer is not self.tokenizer:
            encoder = self._prompt_encoder = PromptEncoder(
                self.tokenizer, self.text_encoder, warns_of_unknown_words=self.warns_of_unknown_words
            )
        return encoder.encode(words, max_length)
