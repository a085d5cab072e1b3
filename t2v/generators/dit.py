"""The project's own generator: the bundled starter, or a folder that `t2v train` wrote.

In: prompts. Out: `Frames`. The starter was taught a cartoon world and nothing else; whatever a prompt says beyond that
is named in a warning, never passed over in silence.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cineloop.errors import MissingDependencyError, Notice, UsageError
from cineloop.world import vocabulary as words
from cineloop.world.language.phrases import vocabulary, why_unread
from cineloop.world.language.read_text import parse
from cineloop.world.language.stated import StatedFacts
from cineloop.world.scenes.solo import ON_THE_SPOT
from t2v import STARTER
from t2v.generators.pipelines import PipelineGenerator
from t2v.shape import Shape

_WORLD = "the bundled generator knows only its cartoon world"


class Generator(PipelineGenerator):
    """`CineloopPipeline`; see `PipelineGenerator`. No model is the bundled starter."""

    name = "dit"
    batch_size = 4
    default_model = "starter"
    dtypes = {"starter": "float32"}  # it is small, and the same on every device

    @property
    def is_starter(self) -> bool:
        """Whether it is the bundled model."""
        return self.model == "starter"

    def find(self) -> Path:
        """The starter's, or the one that was named.

        Raises:
            MissingDependencyError: this installation has no starter, or the folder holds no pipeline.
        """
        folder = STARTER if self.is_starter else Path(self.model)
        if not (folder / "model_index.json").is_file():
            what = "this installation has no generator starter" if self.is_starter else f"{folder} holds no pipeline"
            raise MissingDependencyError(what, hint="train one with `t2v train`, and give its folder as --model")
        return folder

    def load(self) -> Any:
        """The pipeline, which must be one of ours.

        Raises:
            MissingDependencyError: it cannot be loaded. UsageError: it is another one.
        """
        from t2v.pipeline import CineloopPipeline

        pipe = super().load()
        if not isinstance(pipe, CineloopPipeline):
            raise UsageError(f"{self.model} is a {type(pipe).__name__}", hint="--generator diffusers runs it")
        pipe.warns_of_unknown_words = not self.is_starter  # `warnings_for` names them
        return pipe

    @property
    def fps(self) -> float:
        """What it was trained on."""
        return float(self.pipeline.transformer.config.sample_fps)

    def nearest(self, num_frames: int | None, height: int | None, width: int | None) -> Shape:
        """The nearest shape; None is what it was trained on."""
        shape: Shape = self.pipeline.valid_shape(num_frames, height, width)
        return shape

    def warnings_for(self, prompt: str) -> tuple[Notice, ...]:
        """Of the starter: what a prompt says that it was never taught."""
        if not self.is_starter:
            return ()
        stated = parse(prompt)
        unknown = [word for word in stated.unread if word not in vocabulary()]
        strange = list(dict.fromkeys([*unknown, *self._unknown(prompt)]))
        loose = list(dict.fromkeys(word for word in stated.unread if word not in strange))
        problems = [f"not the words {', '.join(map(repr, strange))}"] if strange else []
        if loose:
            problems.append(why_unread(loose))
        if not stated.actors:
            problems.append("the prompt names no figure of it")
        elif more := _beyond_teaching(stated):
            problems.append(f"it was taught one figure doing one thing, not {more}")
        return (Notice("OUT_OF_DOMAIN", f"{_WORLD}: {'; '.join(problems)}"),) if problems else ()

    def _unknown(self, prompt: str) -> list[str]:
        """Words that the tokenizer has no token for."""
        tokenizer = self.pipeline.tokenizer
        tokens = tokenizer(prompt, return_offsets_mapping=True, verbose=False)
        spans = zip(tokens.input_ids, tokens.offset_mapping, strict=True)
        return [prompt[start:end].lower() for token, (start, end) in spans if token == tokenizer.unk_token_id]


def _beyond_teaching(stated: StatedFacts) -> str:
    """What of the world a prompt asks for that solo scenes do not have; "" for nothing."""
    more = []
    if len(stated.actors) > 1 or stated.actors[0].count not in (None, 1):
        more.append("several figures")
    if len(stated.events) > 1:
        more.append("several events")
    taught = (*words.TRAVEL, *ON_THE_SPOT)
    more += [f"{event.action!r}" for event in stated.events if event.action not in taught]
    if len(stated.shots) > 1:
        more.append("a cut")
    if any(shot.camera not in (None, "static") for shot in stated.shots):
        more.append("a moving camera")
    if stated.style not in (None, "flat"):
        more.append(f"the style {stated.style!r}")
    return ", ".join(dict.fromkeys(more))
