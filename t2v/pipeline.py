"""Prompt to video, read top to bottom: a diffusers `DiffusionPipeline` around our transformer and autoencoder.

In: prompts, perhaps a first frame, seeds. Out: `CineloopPipelineOutput.frames`, float32 (B, T, H, W, 3) in [0, 1].
Steps and names follow diffusers' `WanPipeline`. What differs: everything a clip is made from (words, embeddings,
images) is repeated by one rule; padding of the text is masked; the guided and the unguided half run in one batch; and
the noise levels are a list that the scheduler must keep (`t2v.sampling`), not its own table.

Letters: P prompts, B clips = P × videos per prompt (those of one prompt stand together), T frames, H W pixels,
C channels, t h w latent size, L text, D text width. sigma: noise level in [0, 1]; timestep = 1000 sigma.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import diffusers
import numpy as np
import PIL.Image
import torch
from diffusers import DiffusionPipeline
from diffusers.callbacks import MultiPipelineCallbacks, PipelineCallback
from diffusers.image_processor import PipelineImageInput
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils import BaseOutput
from diffusers.video_processor import VideoProcessor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from cineloop.errors import MissingDependencyError, UsageError
from t2v import STARTER
from t2v.flow import GuidanceConfig, guide, inference_sigmas
from t2v.lora import LoraLoader
from t2v.model.dit import CineloopTransformer3DModel
from t2v.model.text import PromptEmbeds, join
from t2v.model.vae import AutoencoderKLCineloop
from t2v.pipeline_inputs import PipelineInputs
from t2v.sampling import set_sigmas, sigma_at


@dataclass
class CineloopPipelineOutput(BaseOutput):
    """`frames`: "np" float32 (B, T, H, W, 3) in [0, 1]; "pt" (B, T, 3, H, W); "pil" lists; "latent" (B, C, t, h, w)."""

    frames: np.ndarray | torch.Tensor | list[list[PIL.Image.Image]]


class CineloopPipeline(PipelineInputs, DiffusionPipeline, LoraLoader):
    """Text to video, and image to video where the first frame is given.

    `CineloopPipeline.from_pretrained(folder)` loads one; so does `DiffusionPipeline.from_pretrained(folder)` after
    `import t2v.pipeline`. No remote code.

    Args:
        vae, transformer: see their classes.
        scheduler: diffusers' `FlowMatchEulerDiscreteScheduler`; its `shift` is the shift of sampling.
        text_encoder, tokenizer: may be None where prompts come as embeddings.

    Arguments of a call:
        prompt, negative_prompt: what to show, and what not; a text or a list, of negatives one or as many.
        image: the first frame of the clip, kept as it is: one for all, or one for each prompt; a PIL image, or floats
            in [0, 1] as an array (H, W, 3) or a tensor (3, H, W). Resized to the clip.
        height, width, num_frames: pixels and frames; None for what the transformer was trained on. See `valid_shape`.
        num_inference_steps: noise levels of the sampler; None for the transformer's `sample_steps`.
        guidance_scale: 1 or less switches it off; None for the transformer's `sample_guidance`. guidance_interval,
            guidance_rescale: see `t2v.flow.GuidanceConfig`.
        num_videos_per_prompt: clips of each prompt, which come out together.
        generator: one for all, or a list with one for each clip: then a clip is the same in any batch.
        latents: noise to begin with (B, C, t, h, w); then it decides the size.
        prompt_embeds (P, L, D), prompt_attention_mask (P, L), pooled_prompt_embeds (P, ·), and the same for the
            negative side: as `encode_prompt` gives them, in place of words.
        output_type: "np", "pil", "pt" or "latent". return_dict: False for a tuple.
        attention_kwargs: {"scale": s} weighs LoRA layers.
        callback_on_step_end: called with (pipeline, step, timestep, tensors); what it returns takes their place.
        max_sequence_length: tokens of a prompt, at most.
    """

    model_cpu_offload_seq = "text_encoder->transformer->vae"
    _optional_components = ["text_encoder", "tokenizer"]
    _callback_tensor_inputs = ["latents", "prompt_embeds", "negative_prompt_embeds"]

    def __init__(
        self,
        vae: AutoencoderKLCineloop,
        transformer: CineloopTransformer3DModel,
        scheduler: SchedulerMixin,
        text_encoder: PreTrainedModel | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            vae=vae, transformer=transformer, scheduler=scheduler, text_encoder=text_encoder, tokenizer=tokenizer
        )
        self.vae_step = vae.config.spatial_compression_ratio
        self.frame_step = vae.config.temporal_compression_ratio
        patch = tuple(transformer.config.patch_size)
        if patch[0] != 1 or patch[1] != patch[2]:
            raise UsageError(f"the pipeline wants square patches of one latent frame, got {patch}")
        self.patch = patch[1]
        self.video_processor = VideoProcessor(vae_scale_factor=self.vae_step * self.patch, do_convert_rgb=True)

    @property
    def guidance_scale(self) -> float:
        """The scale in force; a callback may change it between steps by setting `_guidance_scale`."""
        return self._guidance_scale

    @property
    def sampling_defaults(self) -> dict[str, Any]:
        """`num_inference_steps` and `guidance_scale` of a call that does not say."""
        config = self.transformer.config
        return {"num_inference_steps": config.sample_steps, "guidance_scale": config.sample_guidance}

    @property
    def do_classifier_free_guidance(self) -> bool:
        """Whether an unconditional prediction is made at all."""
        return self._guidance_scale > 1.0

    @property
    def num_timesteps(self) -> int:
        """Steps of the running or last loop."""
        return self._num_timesteps

    @property
    def interrupt(self) -> bool:
        """A callback may set `_interrupt` to end the loop; what is there is decoded."""
        return self._interrupt

    @torch.no_grad()
    def __call__(
        self,
        prompt: str | list[str] | None = None,
        negative_prompt: str | list[str] | None = "",
        image: PipelineImageInput | None = None,
        height: int | None = None,
        width: int | None = None,
        num_frames: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        guidance_interval: tuple[float, float] = (0.0, 1.0),
        guidance_rescale: float = 0.0,
        num_videos_per_prompt: int = 1,
        generator: torch.Generator | list[torch.Generator] | None = None,
        latents: torch.Tensor | None = None,
        prompt_embeds: torch.Tensor | None = None,
        prompt_attention_mask: torch.Tensor | None = None,
        pooled_prompt_embeds: torch.Tensor | None = None,
        negative_prompt_embeds: torch.Tensor | None = None,
        negative_prompt_attention_mask: torch.Tensor | None = None,
        negative_pooled_prompt_embeds: torch.Tensor | None = None,
        output_type: str = "np",
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
        callback_on_step_end: Callable | PipelineCallback | MultiPipelineCallbacks | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = ("latents",),
        max_sequence_length: int | None = None,
    ) -> CineloopPipelineOutput | tuple:
        """Make clips; see the class for the arguments. Raises UsageError where they do not fit each other."""
        # 1. Check inputs
        own = self.sampling_defaults
        num_inference_steps = own["num_inference_steps"] if num_inference_steps is None else num_inference_steps
        guidance_scale = own["guidance_scale"] if guidance_scale is None else guidance_scale
        names = getattr(callback_on_step_end, "tensor_inputs", callback_on_step_end_tensor_inputs)
        prompts = self.check_inputs(
            prompt, negative_prompt, prompt_embeds, negative_prompt_embeds, num_videos_per_prompt, output_type, names
        )
        guidance = GuidanceConfig(scale=guidance_scale, interval=guidance_interval, rescale=guidance_rescale)
        self._guidance_scale, self._interrupt = guidance_scale, False
        shape = self._shape(num_frames, height, width, latents)
        clips = prompts * num_videos_per_prompt
        # 2. Encode the prompts
        given = (prompt_embeds, prompt_attention_mask, pooled_prompt_embeds)
        negative = (negative_prompt_embeds, negative_prompt_attention_mask, negative_pooled_prompt_embeds)
        words = (prompt, negative_prompt, self.do_classifier_free_guidance, num_videos_per_prompt)
        encoded = self.encode_prompt(*words, *given, *negative, max_sequence_length=max_sequence_length)
        # 3. Prepare the noise and the first frame
        latents = self.prepare_latents(clips, shape, generator, latents)
        first_frame = None if image is None else self.prepare_first_frame(image, clips, prompts, shape)
        # 4. Set the noise levels
        shift = self.scheduler.config.get("shift") or 1.0
        set_sigmas(self.scheduler, inference_sigmas(num_inference_steps, shift), latents.device)
        # 5. Denoise
        text, avoid = PromptEmbeds(*encoded[:3]), None if encoded[3] is None else PromptEmbeds(*encoded[3:])
        callback = (callback_on_step_end, names)
        latents = self._denoise(latents, first_frame, text, avoid, guidance, attention_kwargs, *callback)
        # 6. Decode
        frames = latents if output_type == "latent" else self._decode(latents, output_type)
        self.maybe_free_model_hooks()
        return CineloopPipelineOutput(frames=frames) if return_dict else (frames,)

    def _denoise(
        self,
        latents: torch.Tensor,
        first_frame: torch.Tensor | None,
        text: PromptEmbeds,
        avoid: PromptEmbeds | None,
        guidance: GuidanceConfig,
        attention_kwargs: dict[str, Any] | None,
        callback: Callable | None,
        names: Sequence[str],
    ) -> torch.Tensor:
        """From noise to clean latents, (B, C, t, h, w) both; a given first frame stays as it is."""
        timesteps = self.scheduler.timesteps
        self._num_timesteps = len(timesteps)
        if first_frame is not None:
            latents = torch.cat([first_frame, latents[:, :, 1:]], dim=2)
        with self.progress_bar(total=len(timesteps)) as bar:
            for step, timestep in enumerate(timesteps):
                sigma = sigma_at(self.scheduler, timestep)
                now = replace(guidance, scale=self.guidance_scale if self.do_classifier_free_guidance else 1.0)
                beside = avoid if now.acts_at(sigma) else None
                given = first_frame is not None
                velocity, unguided = self._predict(latents, timestep, given, text, beside, attention_kwargs)
                velocity = guide(velocity, unguided, now, sigma)
                latents = self.scheduler.step(velocity, timestep, latents, return_dict=False)[0]
                if first_frame is not None:
                    latents = torch.cat([first_frame, latents[:, :, 1:]], dim=2)
                if callback is not None:
                    tensors: dict[str, Any] = {"latents": latents, "prompt_embeds": text.embeds}
                    tensors["negative_prompt_embeds"] = None if avoid is None else avoid.embeds
                    tensors |= callback(self, step, timestep, {name: tensors[name] for name in names})
                    latents, text = tensors["latents"], replace(text, embeds=tensors["prompt_embeds"])
                    avoid = avoid and replace(avoid, embeds=tensors["negative_prompt_embeds"])
                bar.update()
                if self._interrupt:
                    break
        return latents

    def _predict(
        self,
        latents: torch.Tensor,
        timestep: torch.Tensor,
        first_frame_given: bool,
        text: PromptEmbeds,
        avoid: PromptEmbeds | None,
        attention_kwargs: dict[str, Any] | None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The transformer's predictions for `text`, and for `avoid` where it is given, float32 (B, C, t, h, w) each."""
        dtype = self.transformer.dtype
        both = text if avoid is None else join(text, avoid)
        inputs = latents if avoid is None else torch.cat([latents, latents])
        both = both.to(inputs.device, dtype)
        times = timestep.to(inputs.device, torch.float32).expand(len(inputs))  # (B,)
        if first_frame_given:  # its tokens are clean: time 0 for them, the clip's for the rest
            t, h, w = latents.shape[2], latents.shape[3] // self.patch, latents.shape[4] // self.patch
            later = torch.arange(t, device=inputs.device).repeat_interleave(h * w) > 0  # (N,)
            times = times[:, None] * later  # (B, N)
        with self.transformer.cache_context("alone" if avoid is None else "guided"):
            predicted = self.transformer(
                hidden_states=inputs.to(dtype),
                timestep=times,
                encoder_hidden_states=both.embeds,
                encoder_attention_mask=both.mask,
                pooled_projections=both.pooled,
                attention_kwargs=attention_kwargs,
                return_dict=False,
            )[0].float()
        return (predicted, None) if avoid is None else tuple(predicted.chunk(2))

    def _decode(self, latents: torch.Tensor, output_type: str) -> Any:
        """Latents (B, C, t, h, w) to frames of the asked type."""
        video = self.vae.decode_normalized(latents.to(self.vae.dtype)).float()  # (B, 3, T, H, W)
        return self.video_processor.postprocess_video(video, output_type=output_type)


# diffusers looks for the class a folder names among its own names alone, so it is given this one.
diffusers.CineloopPipeline = CineloopPipeline


def load_starter(device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32) -> CineloopPipeline:
    """The generator that comes with the package.

    Raises:
        MissingDependencyError: this installation has no weights of it.
    """
    if not (STARTER / "model_index.json").is_file():
        raise MissingDependencyError(
            "this installation has no generator starter",
            hint="train one with `t2v train`, and give its folder as the model",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer diffusers call it dtype, older ones do not know that
        return CineloopPipeline.from_pretrained(STARTER, torch_dtype=dtype, local_files_only=True).to(device)
