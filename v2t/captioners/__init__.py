"""One file per way to get text from a video, loaded by file name (`--captioner`, chosen from `--model` by default).

A captioner module defines `class Captioner` as described by `CaptionerLike`: cheap to make (it reads a small config and
refuses a wrong model at once), loaded when there is work, then asked batch by batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from v2t.video.frames import Frames
    from v2t.video.sample import SampleSpec


@dataclass(frozen=True, kw_only=True)
class CaptionOutput:
    """What a captioner says of one clip.

    Attributes:
        text: the caption as the model wrote it.
        tokens: how many tokens that took.
        finish: "stop" when the model ended by itself, "length" when it was cut at `max_new_tokens`.
        warnings: plain sentences, each starting with a stable code ("OUT_OF_DOMAIN: ...").
    """

    text: str
    tokens: int
    finish: str = "stop"
    warnings: tuple[str, ...] = ()


class CaptionerLike(Protocol):
    """What `v2t.caption` needs. Made by `Captioner(model, device=..., dtype=...)`.

    Attributes:
        name: what records call the model.
        revision: pins its weights (a hash, or a hub commit).
        spec: the frames it wants when the user says nothing.
        frame_size: (H, W) frames are scaled to while decoding, or None for as they are.
        about (optional): what the model is and where it is at home, in a few words.
    """

    name: str
    revision: str
    spec: SampleSpec
    frame_size: tuple[int, int] | None

    def load(self) -> None:
        """Bring the weights into memory."""

    def caption(
        self, batch: Sequence[Frames], prompts: Sequence[str], *, max_new_tokens: int, seed: int
    ) -> list[CaptionOutput]:
        """One output for each clip, in order. Clips of one batch have the same number and size of frames."""


def choose(model: str) -> str:
    """Which captioner speaks for a model: ours for the starter and for folders of this project's model, else `hf`."""
    import json
    from pathlib import Path

    if model == "starter":
        return "local"
    try:
        config = json.loads((Path(model) / "config.json").read_bytes())
    except (OSError, ValueError):
        return "hf"
    return "local" if isinstance(config, dict) and config.get("model_type") == "cineloop" else "hf"
