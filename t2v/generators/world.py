"""The cartoon world as a generator: reads a prompt, draws the rest at random, renders. The round trip's ceiling.

In: prompts of the world. Out: `Frames` that show exactly what the prompt says; any frame size, rate and length. A
prompt with a word it does not know is refused, never guessed at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cineloop.errors import Notice, UsageError
from cineloop.video.frames import Frames
from cineloop.world.draw import Draw
from cineloop.world.language.read_text import parse
from cineloop.world.scenes.casting import refuse
from cineloop.world.scenes.scene import Scene
from cineloop.world.scenes.solo import FPS, NUM_FRAMES
from cineloop.world.scenes.staging import stage
from t2v.generators import ClipRequest, OnStep
from t2v.settings import GenerateSettings
from t2v.shape import Shape, valid_shape

SIZE = (64, 64)
FORMAT = 1  # raised whenever the same request would give another clip
_SMALLEST, _LARGEST = 16, 4096


class Generator:
    """The exact renderer.

    Raises:
        UsageError: a model is named; the world has none.
    """

    name = "world"
    batch_size = 1

    def __init__(self, model: str | None = None, *, device: str = "auto", dtype: str = "auto") -> None:
        if model is not None:
            raise UsageError(f"the generator 'world' draws and has no model, got {model!r}", hint="leave --model out")
        self._shapes: dict[tuple[int, int, int], Shape] = {}

    @property
    def fps(self) -> float:
        """Frames a second unless asked otherwise."""
        return FPS

    def fingerprint(self) -> dict[str, Any]:
        """There are no weights: the version of its drawing stands for them."""
        return {"generator": self.name, "model": f"world-{FORMAT}", "weights_sha256": None}

    def valid_shape(self, num_frames: int | None, height: int | None, width: int | None) -> Shape:
        """Any; sides are rounded up to even ones, as mp4 wants them."""
        height, width = SIZE[0] if height is None else height, SIZE[1] if width is None else width
        if min(height, width) < _SMALLEST or max(height, width) > _LARGEST:
            raise UsageError(f"the world draws {_SMALLEST} to {_LARGEST} pixels a side, not {width}x{height}")
        asked = (num_frames or NUM_FRAMES, height, width)
        if asked not in self._shapes:
            self._shapes[asked] = valid_shape(*asked, frame_step=1, size_step=2)
        return self._shapes[asked]

    def effective(self, settings: GenerateSettings) -> dict[str, Any]:
        """Size and rate; the length is the story's own unless asked for."""
        shape = self.valid_shape(settings.num_frames, settings.height, settings.width)
        return {
            "num_frames": settings.num_frames,
            "height": shape.height,
            "width": shape.width,
            "fps": settings.fps or FPS,
            "steps": None,
            "guidance": None,
        }

    def warnings_for(self, prompt: str) -> tuple[Notice, ...]:
        """None: what it does not know it refuses."""
        return ()

    def scene(self, request: ClipRequest, settings: GenerateSettings) -> Scene:
        """The scene that `generate` renders for a request.

        Raises:
            ItemError: PROMPT_REFUSED, the world cannot show it.
        """
        if request.negative_prompt or request.image is not None:
            raise refuse("it takes neither a negative prompt nor a first frame")
        seconds = None if settings.num_frames is None else settings.num_frames / (settings.fps or FPS)
        return stage(parse(request.prompt), Draw(f"prompt|{request.seed}|{request.prompt}"), seconds)

    def generate(
        self, requests: Sequence[ClipRequest], settings: GenerateSettings, on_step: OnStep | None = None
    ) -> list[Frames]:
        """Rendered clips."""
        from cineloop.world.scenes.render import render

        shape = self.valid_shape(settings.num_frames, settings.height, settings.width)
        made = []
        for number, request in enumerate(requests):
            fps = settings.fps or FPS
            pixels = render(self.scene(request, settings), (shape.height, shape.width), fps=fps)  # (T, H, W, 3)
            made.append(Frames.from_pixels(pixels, fps, decoder=self.name))
            if on_step is not None:
                on_step(number + 1, len(requests))
        return made
