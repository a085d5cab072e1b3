"""Clips and texts in one space, order and motion among what is compared: two small transformers on an open_clip model.

In: frames and texts. Out: one normalised embedding a clip and one a text, whose cosine says how well they fit. Each is
what the frozen open_clip model says (of a clip the mean of its frames' normalised embeddings) plus what a transformer
adds: one over the patch tokens of all frames, one over the tokens of the text. Each reads its tokens with a few learned
ones, which what is added is made of. A frame's patches are averaged to a coarse grid, so that it stays known what is
where; beside each cell goes its difference to the frame before. Both begin by adding nothing, so training starts at the
model for single frames and goes into what that misses.
`video_text.safetensors` and `video_text.json` in the folder of the open_clip model hold them.
Letters: n clips or texts, T frames, G cells a side of the grid, V width of the image half, L tokens, W width of the
text half, Q learned tokens, D width of the transformers, E embedding width.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cineloop.errors import MissingDependencyError
from v2t.model.configuration import CineloopResamplerConfig
from v2t.model.resampler import ResamplerBlock

WEIGHTS, CONFIG = "video_text.safetensors", "video_text.json"


@dataclass(frozen=True, kw_only=True)
class VideoTextConfig:
    """Shapes: `num_frames` T of a clip, `grid` G, `queries` Q, `width` D, `heads` of attention, `layers` over a clip's
    tokens and `text_layers` over those of a text. `image_width` V, `text_width` W and `embed_dim` E are those of the
    open_clip model, `pad` the token that fills up its texts."""

    CHOSEN: ClassVar[tuple[str, ...]] = ("num_frames", "grid", "queries", "width", "heads", "layers", "text_layers")
    image_width: int
    text_width: int
    embed_dim: int
    pad: int
    num_frames: int = 8
    grid: int = 4
    queries: int = 6
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


class VideoTextModel(nn.Module):
    """The two transformers, with the scale and bias of the sigmoid loss; each call is given the open_clip model."""

    def __init__(self, config: VideoTextConfig) -> None:
        super().__init__()
        self.config = config
        width, shape = config.width, CineloopResamplerConfig(hidden_size=config.width, num_heads=config.heads)

        def blocks(num: int) -> nn.ModuleList:
            return nn.ModuleList(ResamplerBlock(shape, cross=False) for _ in range(num))

        def out() -> nn.Sequential:
            last = nn.Linear(config.queries * width, config.embed_dim)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            return nn.Sequential(nn.Flatten(), last)

        self.video_in = nn.Linear(2 * config.image_width, width)
        self.times = nn.Parameter(0.02 * torch.randn(config.num_frames, 1, width))
        self.cells = nn.Parameter(0.02 * torch.randn(config.grid**2, width))
        self.video_queries = nn.Parameter(0.02 * torch.randn(config.queries, width))
        self.video, self.video_norm, self.video_out = blocks(config.layers), nn.LayerNorm(width), out()
        self.text_in = nn.Linear(config.text_width, width)
        self.text_queries = nn.Parameter(0.02 * torch.randn(config.queries, width))
        self.text, self.text_norm, self.text_out = blocks(config.text_layers), nn.LayerNorm(width), out()
        self.logit_scale = nn.Parameter(torch.tensor(10.0).log())
        self.logit_bias = nn.Parameter(torch.tensor(-10.0))

    def embed_clips(self, clip: Any, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """(n, E) normalised, and what was read (n, Q, D), of (n, T, 3, h, w) as the open_clip model `clip` takes
        frames."""
        with torch.no_grad():
            found = clip.visual.forward_intermediates(pixels.flatten(0, 1), indices=1, normalize_intermediates=True)
            each = F.normalize(found["image_features"].float(), dim=-1).unflatten(0, pixels.shape[:2])  # (n, T, E)
            plain = F.normalize(each.mean(1), dim=-1)  # (n, E)
            patches = F.adaptive_avg_pool2d(found["image_intermediates"][0], self.config.grid)  # (n*T, V, G, G)
            patches = patches.flatten(2).transpose(1, 2).unflatten(0, pixels.shape[:2])  # (n, T, G*G, V)
            # What moves is in the difference; attention alone would have to learn to subtract.
            change = F.pad(patches[:, 1:] - patches[:, :-1], (0, 0, 0, 0, 1, 0))
        states = self.video_in(torch.cat((patches, change), dim=-1)) + self.times + self.cells
        queries = self.video_queries.expand(len(states), -1, -1)
        states = torch.cat((queries, states.flatten(1, 2)), dim=1)  # (n, Q + T*G*G, D)
        for block in self.video:
            states = block(states)
        read = self.video_norm(states[:, : self.config.queries])
        return F.normalize(plain + self.video_out(read).float(), dim=-1), read

    def embed_texts(self, clip: Any, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(n, E) normalised, and what was read (n, Q, D), of token ids (n, L)."""
        with torch.no_grad():
            found = clip.forward_intermediates(text=ids, text_indices=1, normalize_intermediates=True)
        queries = self.text_queries.expand(len(ids), -1, -1)
        states = torch.cat((queries, self.text_in(found["text_intermediates"][0])), dim=1)  # (n, Q + L, D)
        real = F.pad(ids != self.config.pad, (self.config.queries, 0), value=True)  # (n, Q + L)
        for block in self.text:
            states = block(states, mask=real)
        read = self.text_norm(states[:, : self.config.queries])
        return F.normalize(found["text_features"].float() + self.text_out(read).float(), dim=-1), read

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
            model = cls(VideoTextConfig(**json.loads((folder / CONFIG).read_text("utf-8"))))
            model.load_state_dict({name: value.float() for name, value in load_file(folder / WEIGHTS).items()})
        except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
            raise MissingDependencyError(
                f"{folder} holds no dual encoder of clips: {error}",
                code="MODEL",
                hint="v2t train configs/starter/contrastive-video.yaml writes one: open_clip_model.safetensors,"
                f" {CONFIG}, {WEIGHTS}",
            ) from error
        return model.eval().requires_grad_(False)
