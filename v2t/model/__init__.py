"""The captioner as transformers classes; importing this package registers them with the Auto classes.

In: nothing. Out: configuration, model and processor classes, which `AutoConfig`, `AutoModel…` and `AutoProcessor` find
by the model type `cineloop` once this package is imported.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, AutoProcessor

# By its module: without torchvision the top-level name is a dummy that cannot be registered with.
from transformers.models.auto.video_processing_auto import AutoVideoProcessor

from v2t.model.configuration import CineloopConfig, CineloopResamplerConfig
from v2t.model.modeling import CineloopForConditionalGeneration, CineloopModel, CineloopOutput
from v2t.model.processing import CineloopProcessor
from v2t.model.projector import CineloopProjector
from v2t.model.resampler import CineloopResampler
from v2t.model.video_processing import CineloopVideoProcessor

__all__ = [
    "CineloopConfig",
    "CineloopForConditionalGeneration",
    "CineloopModel",
    "CineloopOutput",
    "CineloopProcessor",
    "CineloopProjector",
    "CineloopResampler",
    "CineloopResamplerConfig",
    "CineloopVideoProcessor",
]

AutoConfig.register("cineloop", CineloopConfig, exist_ok=True)
AutoConfig.register("cineloop_resampler", CineloopResamplerConfig, exist_ok=True)
AutoModel.register(CineloopConfig, CineloopModel, exist_ok=True)
AutoModelForImageTextToText.register(CineloopConfig, CineloopForConditionalGeneration, exist_ok=True)
AutoVideoProcessor.register(CineloopConfig, CineloopVideoProcessor, exist_ok=True)
AutoProcessor.register(CineloopConfig, CineloopProcessor, exist_ok=True)
