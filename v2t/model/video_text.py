"""Clips and texts in one space, order and motion among what is compared: two small transformers on an open_clip model.

In: frames and texts. Out: one normalised embedding a clip and one a text, whose cosine says how well they fit. Each is
what the frozen open_clip model says (of a clip the mean of its frames' normalised embeddings) plus what a transformer
adds: of a clip the captioner's kind of resampler, over the patch tokens of all frames; of a text plain blocks over its
tokens with a few learned ones. Both begin by adding nothing, so training starts at the model for single frames and goes
into what that misses. `video_text.safetensors` and `video_text.json` in the folder of the open_clip model hold them.
Letters: n clips or texts, T frames, V width of the image half, L tokens, W width of the text half, Q tokens that carry
what is added, D width of the transformers, E embedding width.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cineloop.documents import read_json
from cineloop.errors import MissingDependencyError
from v2t.model.configuration import CineloopResamplerConfig
from v2t.model.resampler import CineloopResampler, ResamplerBlock, fourier

WEIGHTS, CONFIG = "video_text.safetensors", "video_text.json"


@dataclass(frozen=True, kw_only=True)
class VideoTextConfig:
    """Shapes: at most `num_frames` T of a clip, their patches averaged to `grid` x `grid`, two query tokens a frame, of
    which `carriers` Q carry what is added; `width` D, `heads` of attention, `layers` of the resampler, `text_layers`
    over a text's tokens. `image_width` V, `text_width` W and `embed_dim` E are those of the open_clip model, `pad` the
    token that fills up its texts."""

    CHOSEN: ClassVar[tuple[str, ...]] = ("num_frames", "grid", "carriers", "width", "heads", "layers", "text_layers")
    image_width: int
    text_width: int
    embed_dim: int
    pad: int
    num_frames: int = 16
    grid: int = 4
    carriers: int = 6
    width: int = 128
    heads: int = 4
    layers: int = 3
    text_layers: int = 2

    def __post_init__(self) -> None:
        for name in self.CHOSEN:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"heads {self.heads} do not divide width {self.width}")
        if self.carriers > 2 * self.num_frames:
            raise ValueError(f"{self.num_frames} frames have {2 * self.num_frames} tokens, not {self.carriers}")


@torch.no_grad()
def see_frames(visual: Any, pixels: Tensor, grid: int) -> tuple[Tensor, Tensor]:
    """What the image half of an open_clip model sees in frames (T, 3, h, w) as it takes them: their normalised
    embeddings (T, E) and their patch tokens (T, grid*grid, 2V) after half of its layers and after all, averaged to a
    grid. In the last layer is what the model was trained to tell, in the middle still how a figure stands."""
    last = len(visual.transformer.resblocks) - 1
    outputs = visual.forward_intermediates(pixels, indices=[last // 2, last], normalize_intermediates=True)
    layers = outputs["image_intermediates"]  # one where the model has one layer
    patches = F.adaptive_avg_pool2d(torch.cat((layers[0], layers[-1]), dim=1), grid)  # (T, 2V, grid, grid)
    return F.normalize(outputs["image_features"].float(), dim=-1), patches.flatten(2).transpose(1, 2)


class VideoTextModel(nn.Module):
    """The two transformers, with the scale and bias of the sigmoid loss."""

    def __init__(self, config: VideoTextConfig) -> None:
        super().__init__()
        self.config = config
        # Queries tied to frames learn motion at once; free ones over all patches see none for thousands of steps.
        shape = CineloopResamplerConfig(
            kind="qformer", queries="per_frame", segment_frames=config.num_frames, num_queries=2 * config.num_frames,
            hidden_size=config.width, num_heads=config.heads, num_layers=config.layers,
        )  # fmt: skip
        self.video = CineloopResampler(shape, 2 * config.image_width)
        self.text_in = nn.Linear(2 * config.text_width, config.width)
        self.text_carriers = nn.Parameter(0.02 * torch.randn(config.carriers, config.width))
        self.text = nn.ModuleList(ResamplerBlock(shape, cross=False) for _ in range(config.text_layers))
        self.text_norm = nn.LayerNorm(config.width)
        self.video_out, self.text_out = (nn.Linear(config.carriers * config.width, config.embed_dim) for _ in range(2))
        for out in (self.video_out, self.text_out):
            nn.init.zeros_(out.weight)
            nn.init.zeros_(out.bias)
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())
        self.logit_bias = nn.Parameter(torch.tensor(-10.0))

    def embed_clips(self, each: Tensor, patches: Tensor, times_s: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """(n, E) normalised, and the tokens that carry what is added (n, Q, D).

        Args:
            each: (n, T, E) normalised embeddings of the frames, as `see_frames` gives them.
            patches: (n, T, grid*grid, 2V), likewise.
            times_s: (n, T) seconds.
            real: (n, T), False for frames that only fill up; they are the last ones.
        """
        plain = F.normalize((each * real[..., None]).sum(1), dim=-1)  # (n, E)
        carried = self.video(patches, times_s, real)[:, : self.config.carriers]  # (n, Q, D)
        return F.normalize(plain + self.video_out(carried.flatten(1)).float(), dim=-1), carried

    def embed_texts(self, clip: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(n, E) normalised, and the tokens that carry what is added (n, Q, D), of token ids (n, L); `clip` is the
        open_clip model."""
        with torch.no_grad():
            outputs = clip.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True)
            # Words that frames cannot tell apart, such as left and right, may be one to the model: here they are two.
            words = F.layer_norm(clip.token_embedding(ids), (self.config.text_width,))  # (n, L, W)
            tokens = torch.cat((words, outputs["text_intermediates"][0]), dim=-1)  # (n, L, 2W)
        carriers = self.text_carriers.expand(len(ids), -1, -1)
        placed = self.text_in(tokens) + self._places(ids.shape[1], tokens)  # (n, L, D)
        states = torch.cat((carriers, placed), dim=1)  # (n, Q + L, D)
        real = F.pad(ids != self.config.pad, (self.config.carriers, 0), value=True)  # (n, Q + L)
        for block in self.text:
            states = block(states, mask=real)
        carried = self.text_norm(states[:, : self.config.carriers])
        features = outputs["text_features"].float() + self.text_out(carried.flatten(1)).float()
        return F.normalize(features, dim=-1), carried

    def _places(self, num: int, like: Tensor) -> Tensor:
        """(L, D) sines and cosines of the place of each token. A model of frames needs no order of words, and what it
        gives of a token hardly says where it stood."""
        periods = 2 * torch.logspace(0, 2, self.config.width // 2, device=like.device)
        return fourier(torch.arange(num, device=like.device).float(), periods).to(like.dtype)

    def save(self, folder: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write both files into the folder of the open_clip model."""
        from safetensors.torch import save_file

        save_file({name: value.to(dtype).contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS)
        (folder / CONFIG).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> VideoTextModel:
        """In float32, for use.

        Raises:
            MissingDependencyError: the folder holds none, or one of other shapes.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            model = cls(VideoTextConfig(**read_json(folder / CONFIG)))
            model.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise MissingDependencyError(
                f"{folder} holds no dual encoder of clips: {error}",
                code="MODEL",
                hint="v2t train configs/starter/contrastive-video.yaml writes one: open_clip_model.safetensors,"
                f" {CONFIG}, {WEIGHTS}",
            ) from error
        return model.eval().requires_grad_(False)
