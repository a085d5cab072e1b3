"""`open_clip_video:FOLDER`: a dual encoder of stage `contrastive_video`, for clips and texts; it sees order and motion.

In: a clip, of which the middle frame of each of as many equal parts is taken as the model takes frames at most; a text.
Out: their embeddings. Frames are prepared as the open_clip model in the folder prepares them.
Letters: T frames the model takes, D embedding width.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cineloop.errors import UsageError
from cineloop.video.frames import Frames
from v2t.model.video_text import WEIGHTS, VideoTextModel, see_frames
from v2t_eval.core.features import BaseExtractor
from v2t_eval.core.models import file_sha256
from v2t_eval.extractors import open_clip
from v2t_eval.vbench.picks import middle_indices

if TYPE_CHECKING:
    from torch import Tensor


class Extractor(open_clip.Extractor):
    kind = "clip"

    @property
    def folder(self) -> Path:
        if not self.where:
            raise UsageError(f"{self.name}: expected open_clip_video:FOLDER")
        return Path(self.where)

    def load(self) -> None:
        super().load()
        self.has_tokens = False
        self._video = VideoTextModel.load(self.folder).to(self.device)

    def _model_and_tag(self) -> tuple[str, str]:
        return f"local-dir:{self.folder}", ""

    # A clip's embedding is not made of its frames', nor a text's of its tokens'.
    _embed, _embed_tokens = BaseExtractor._embed, BaseExtractor._embed_tokens

    def _embed_clip(self, frames: Frames) -> Tensor:
        import torch

        most = self._video.config.num_frames
        picked = middle_indices(most, len(frames))  # (T,); of a short clip the last one again and again
        real = torch.arange(most, device=self.device)[None] < len(frames)  # (1, T)
        times = torch.tensor(frames.times_s[picked], dtype=torch.float32, device=self.device)[None]  # (1, T)
        pixels = self._to_input(frames.pixels[picked])  # (T, 3, h, w)
        seen = see_frames(self._model.visual, pixels, self._video.config.grid)
        return self._video.embed_clips(seen[0][None], seen[1][None], times, real)[0][0]  # (D,)

    def _embed_text(self, text: str) -> Tensor:
        return self._video.embed_texts(self._model, self._tokenizer([text]).to(self.device))[0][0]  # (D,)

    def describe(self) -> dict[str, str]:
        return super().describe() | {
            "video_text": file_sha256(self.folder / WEIGHTS),
            "frames": f"{self._video.config.num_frames} at most, the middle of equal parts",
        }
