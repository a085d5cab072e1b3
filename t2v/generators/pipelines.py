"""What `dit` and `diffusers` share: a diffusers pipeline, loaded from a folder and run for requests.

In: a pipeline's folder, requests, settings. Out: `Frames`. What a pipeline takes is read from the signature of its
call, so that only what was asked for is passed and its own defaults stay; each clip has a random generator of its own,
on the CPU, so that a seed gives the same noise on every machine and in every batch. Safetensors only, and no code from
the folder.
"""

from __future__ import annotations

import inspect
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from pathlib import Path
from typing import Any

from cineloop import model_folder
from cineloop.errors import CineloopError, ItemError, MissingDependencyError, Notice, UsageError, first_line
from cineloop.log import logger
from cineloop.training.runtime import check_dtype, find_device, find_dtype
from cineloop.video.frames import Frames
from t2v.generators import ClipRequest, FramesOfLatents, OnStep
from t2v.generators.pictures import read_picture, to_frames
from t2v.generators.weights import lora_of, sha256_of
from t2v.settings import GenerateSettings
from t2v.shape import Shape

OFFLOADS = ("none", "model", "sequential")
NAMES = {"steps": "num_inference_steps", "guidance": "guidance_scale"}  # ours -> those of a pipeline's call
MODULAR = "modular_model_index.json"  # what a modular pipeline has in the place of model_index.json
RATES = ("frame_rate", "fps")  # as what a pipeline may take frames a second


class PipelineGenerator(ABC):
    """A diffusers pipeline as a generator.

    Args:
        model: a folder or hub id; None for `default_model`.
        device, dtype: "auto" takes CUDA and bfloat16 where there is a GPU, else the CPU and float32.
        lora: files as PATH or PATH:WEIGHT.
        offload: keep the parts in main memory and bring them to the GPU one by one: "model" a whole part at a time,
            "sequential" layer by layer (least memory, slowest).
        tiling: decode in tiles and clip by clip.
        latents: return `FramesOfLatents`, with the latents of each clip, for `t2v train` with rewards.
        path: with the latents of every step too, for objectives that learn from steps.
        stochastic: how much noise the sampler adds in each step (Flow-GRPO's a, usually 0.7), 0 for none; with a path.

    Raises:
        UsageError: no model, an unknown dtype, offload or LoRA weight, a negative `stochastic`.
    """

    name = ""
    batch_size = 1
    default_model = ""
    dtypes: Mapping[str, str] = {}  # model → what "auto" is for it

    def __init__(
        self,
        model: str | None = None,
        *,
        device: str = "auto",
        dtype: str = "auto",
        lora: Sequence[str] = (),
        offload: str = "none",
        tiling: bool = False,
        latents: bool = False,
        path: bool = False,
        stochastic: float = 0.0,
    ) -> None:
        if not 0 <= stochastic < math.inf:
            raise UsageError(f"stochastic must be a number of at least 0, got {stochastic}")
        check_dtype(dtype)
        if offload not in OFFLOADS:
            raise UsageError(f"offload must be one of {', '.join(OFFLOADS)}, got {offload!r}")
        self.model, self.offload, self.tiling = model or self.default_model, offload, tiling
        if not self.model:
            raise UsageError(f"the generator {self.name!r} needs a model", hint="--model with a folder or hub id")
        self.path = path or stochastic > 0
        self.latents, self.stochastic = latents or path, stochastic
        self._device, self._dtype = device, self.dtypes.get(self.model, dtype) if dtype == "auto" else dtype
        self._loras = [lora_of(text) for text in lora]
        self._shapes: dict[tuple[int | None, ...], Shape] = {}

    # --- the model
    @cached_property
    def folder(self) -> Path:
        """Where the pipeline's files are."""
        return self.find()

    def find(self) -> Path:
        """The folder of the model; that of a hub id is downloaded.

        Raises:
            MissingDependencyError: no such folder, and the hub gives nothing of that name; MODEL, a modular pipeline.
        """
        path = Path(self.model)
        if (path / "model_index.json").is_file():
            return path
        if (path / MODULAR).is_file():
            raise modular(self.model)
        if path.exists():
            raise MissingDependencyError(
                f"{self.model} is no pipeline: it has no model_index.json",
                hint="give a folder written by save_pretrained, or a hub id",
            )
        from diffusers import DiffusionPipeline

        try:
            return Path(DiffusionPipeline.download(self.model, use_safetensors=True))
        except (OSError, ValueError) as error:
            if is_modular(self.model):
                raise modular(self.model) from error
            raise MissingDependencyError(
                f"no folder {self.model}, and the hub gives no pipeline of that name: {first_line(error)}"
            ) from error

    def fingerprint(self) -> dict[str, Any]:
        """Model, hash of its weights, and the LoRAs with theirs."""
        print_: dict[str, Any] = {"generator": self.name, "model": self.model, "weights_sha256": self._weights}
        if self._loras:
            print_["lora"] = [each.record() for each in self._loras]
        return print_ | ({"dtype": self._dtype} if self._dtype != "auto" else {})

    @cached_property
    def _weights(self) -> str:
        return sha256_of(self.folder)

    @cached_property
    def device(self) -> str:
        """Where it runs, with "auto" decided."""
        return find_device(self._device)

    @cached_property
    def dtype(self) -> str:
        """In which numbers it runs, with "auto" decided."""
        return find_dtype(self._dtype, self.device)

    @cached_property
    def pipeline(self) -> Any:
        """The loaded pipeline, LoRAs in it, on its device."""
        pipe = self.load()
        pipe.set_progress_bar_config(disable=True)
        if self.path:
            pipe.scheduler = self._path_scheduler(pipe.scheduler)
        if self._loras:
            self._load_loras(pipe)
        if self.tiling:
            for how in ("enable_tiling", "enable_slicing"):
                if hasattr(pipe.vae, how):
                    getattr(pipe.vae, how)()
                else:
                    logger.warning("%s of this model has no %s", type(pipe.vae).__name__, how.removeprefix("enable_"))
        if self.offload == "none":
            return pipe.to(self.device)
        if self.device == "cpu":
            raise MissingDependencyError("offload moves parts to a GPU, and there is none", hint="--offload none")
        offload = "enable_model_cpu_offload" if self.offload == "model" else "enable_sequential_cpu_offload"
        getattr(pipe, offload)(device=self.device)
        return pipe

    def load(self) -> Any:
        """The pipeline in main memory.

        Raises:
            MissingDependencyError: it cannot be loaded: files or packages are missing, or weights are no safetensors.
        """
        import diffusers
        import torch
        import transformers

        import t2v.pipeline  # noqa: F401  a folder may be one of ours

        for folder in (self.folder, *(part for part in self.folder.iterdir() if part.is_dir())):
            model_folder.check(folder)
        for library in (diffusers, transformers):  # their bars would stand beside ours
            library.utils.logging.disable_progress_bar()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # newer ones call it dtype, older ones do not know that
                return diffusers.DiffusionPipeline.from_pretrained(
                    self.folder, torch_dtype=getattr(torch, self.dtype), use_safetensors=True, local_files_only=True
                )
        except Exception as error:  # a folder can be wrong in as many ways as diffusers has lines
            text = f"cannot load the pipeline {self.model}: {type(error).__name__}: {first_line(error)}"
            raise MissingDependencyError(text, code="MODEL") from error

    def _path_scheduler(self, scheduler: Any) -> Any:
        from diffusers import FlowMatchEulerDiscreteScheduler

        from t2v.sampling import PathScheduler

        if not isinstance(scheduler, FlowMatchEulerDiscreteScheduler):
            raise UsageError(
                f"the path of a sampler is that of FlowMatchEulerDiscreteScheduler, not of {type(scheduler).__name__}"
            )
        kept = PathScheduler.from_config(scheduler.config)
        kept.level = self.stochastic
        return kept

    def _load_loras(self, pipe: Any) -> None:
        """Put the adapters into the network, and make all of them act; keys that fit nowhere are an error."""
        from t2v.lora import load_lora

        names = [f"lora{number}" for number in range(len(self._loras))]
        if getattr(pipe, "transformer", None) is not None:
            for name, each in zip(names, self._loras, strict=True):
                load_lora(pipe.transformer, each.path, adapter_name=name, weight=each.weight)
            return
        if not hasattr(pipe, "load_lora_weights"):
            raise UsageError(f"{type(pipe).__name__} takes no LoRA")
        paths = ", ".join(each.path for each in self._loras)
        try:
            for name, each in zip(names, self._loras, strict=True):
                pipe.load_lora_weights(each.path, adapter_name=name)
            pipe.set_adapters(names, [each.weight for each in self._loras])
        except Exception as error:  # each loader of diffusers has its own way to say that keys do not fit
            raise UsageError(f"{paths}: no LoRA for {type(pipe).__name__}: {first_line(error)}") from error

    # --- its call
    @cached_property
    def parameters(self) -> dict[str, Any]:
        """Names that the pipeline's call takes, with their defaults."""
        return {name: each.default for name, each in inspect.signature(self.pipeline.__call__).parameters.items()}

    @property
    @abstractmethod
    def fps(self) -> float:
        """Frames a second of its clips."""

    def valid_shape(self, num_frames: int | None, height: int | None, width: int | None) -> Shape:
        """The nearest shape it can make; a change is logged once."""
        asked = (num_frames, height, width)
        if asked not in self._shapes:
            self._shapes[asked] = self.nearest(*asked)
        return self._shapes[asked]

    @abstractmethod
    def nearest(self, num_frames: int | None, height: int | None, width: int | None) -> Shape:
        """The nearest shape it can make; None takes its own value."""

    def effective(self, settings: GenerateSettings) -> dict[str, Any]:
        """Settings with the pipeline's own values where nothing was asked."""
        shape = self.valid_shape(settings.num_frames, settings.height, settings.width)
        defaults = self.parameters | getattr(self.pipeline, "sampling_defaults", {})
        own = {ours: defaults.get(theirs) for ours, theirs in NAMES.items()}
        return {
            "num_frames": shape.num_frames,
            "height": shape.height,
            "width": shape.width,
            "fps": settings.fps or self.fps,
            "steps": settings.steps or own["steps"],
            "guidance": own["guidance"] if settings.guidance is None else settings.guidance,
            "device": self.device,
            "dtype": self.dtype,
        }

    def warnings_for(self, prompt: str) -> tuple[Notice, ...]:
        """None."""
        return ()

    def generate(
        self, requests: Sequence[ClipRequest], settings: GenerateSettings, on_step: OnStep | None = None
    ) -> list[Frames]:
        """Clips of the requests; those with a first frame are made one by one, as pipelines differ in batching them.

        Raises:
            ItemError: OUT_OF_MEMORY; MODEL_ERROR, the pipeline failed or made no picture (NaN); PROMPT_REFUSED, it
                takes no first frame or no negative prompt.
        """
        if len(requests) > 1 and requests[0].image is not None:
            return [clip for each in requests for clip in self.generate([each], settings, on_step)]
        words = self._words(requests, settings)
        last: dict[str, Any] = {}  # latents after the last step
        if "callback_on_step_end" in self.parameters:
            steps = settings.steps or self.parameters.get(NAMES["steps"])
            words["callback_on_step_end"] = _callback(on_step, steps, last)
        elif self.latents:
            raise UsageError(f"{self.model} gives no latents: its call takes no callback_on_step_end")
        import torch

        try:
            words["generator"] = [torch.Generator("cpu").manual_seed(each.seed) for each in requests]
            if self.path:  # a stream far from those of the first noises, which are seeded one after the other
                self.pipeline.scheduler.begin([(each.seed + 2**62) % 2**63 for each in requests])
            with torch.no_grad():
                result = self.pipeline(**words)
            clips = to_frames(result, len(requests), settings.fps or self.fps, self.name)
            return [self._frames_of(clip, last, n) for n, clip in enumerate(clips)] if self.latents else clips
        except CineloopError:
            raise
        except (ImportError, NameError) as error:  # pipelines use some packages only where they are installed
            raise MissingDependencyError(
                f"{self.model} wants a package that is missing: {first_line(error)}",
                hint="pip install 'cineloop[t2v]'",
            ) from error
        except Exception as error:  # whatever a model fails with, the rest of the run may still go well
            raise fault(error) from error

    def _frames_of(self, clip: Frames, last: Mapping[str, Any], place: int) -> FramesOfLatents:
        """A clip of the batch with its latents."""
        kept = {"latents": last["latents"][place].float().cpu()}
        if self.path:
            import torch

            scheduler = self.pipeline.scheduler
            kept["sigmas"] = scheduler.sigmas.float().cpu()
            kept["path"] = torch.stack([each[place] for each in scheduler.path])
            kept["level"] = torch.tensor(self.stochastic)
        return FramesOfLatents(**{each.name: getattr(clip, each.name) for each in fields(Frames)}, latents=kept)

    def _words(self, requests: Sequence[ClipRequest], settings: GenerateSettings) -> dict[str, Any]:
        """The arguments of the call, generators and callback left out."""
        known = self.parameters
        words: dict[str, Any] = {"prompt": [each.prompt for each in requests]}
        if any(each.negative_prompt for each in requests):
            if "negative_prompt" not in known:
                raise ItemError(f"{self.model} takes no negative prompt", code="PROMPT_REFUSED")
            words["negative_prompt"] = [each.negative_prompt for each in requests]
        image = requests[0].image
        if image is not None:
            if "image" not in known:
                raise ItemError(
                    f"{self.model} takes no first frame: it is text to video only",
                    code="PROMPT_REFUSED",
                    hint="leave --image out, or name an image-to-video model",
                )
            words["image"] = read_picture(image)
        elif next(iter(known)) == "image":  # image-to-video pipelines take it before the prompt, others behind it
            raise UsageError(f"{self.model} makes a video from a picture", hint="give the first frame with --image")
        shape = self.valid_shape(settings.num_frames, settings.height, settings.width)
        for name in ("num_frames", "height", "width"):
            if getattr(settings, name) is not None:
                self._need(name, name)
                words[name] = getattr(shape, name)
        for ours, theirs in NAMES.items():
            if getattr(settings, ours) is not None:
                self._need(ours, theirs)
                words[theirs] = getattr(settings, ours)
        for name in RATES:
            if settings.fps is not None and name in known:
                words[name] = settings.fps
        if "output_type" in known:
            words["output_type"] = "np"
        return words

    def _need(self, ours: str, theirs: str) -> None:
        if theirs not in self.parameters:
            raise UsageError(f"{self.model} has no setting {ours!r}", hint=f"leave --{ours.replace('_', '-')} out")


def _callback(on_step: OnStep | None, steps: Any, last: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    def callback(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        last.update(tensors)
        if on_step is not None:
            on_step(step + 1, int(getattr(pipe, "num_timesteps", None) or steps or step + 1))
        return tensors

    return callback


def is_modular(hub_id: str) -> bool:
    """Whether the hub has a modular pipeline of that name, as far as it can be asked."""
    from huggingface_hub import hf_hub_download

    try:
        return bool(hf_hub_download(hub_id, MODULAR))
    except (OSError, ValueError):  # no such file, no such id, no network
        return False


def modular(model: str) -> MissingDependencyError:
    """The refusal of a modular pipeline."""
    return MissingDependencyError(
        f"{model} is a modular pipeline, which is a program and no pipeline: it is not loaded here",
        code="MODEL",
        hint="name the same model with a model_index.json; most are published in both forms",
    )


def fault(error: BaseException) -> ItemError:
    """An error of a pipeline as that of one request."""
    import torch

    line = first_line(error)
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in line:
        return ItemError(
            f"out of memory: {line}",
            code="OUT_OF_MEMORY",
            hint="fewer frames or pixels, --batch-size 1, --tiling, --offload model",
        )
    return ItemError(f"the model failed: {type(error).__name__}: {line}", code="MODEL_ERROR")
