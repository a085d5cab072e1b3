"""Input of a metric: one clip, or one text, with its data.

In: a manifest row, a caption record, a video file, or frames in memory. Out: `Sample`. A metric names its required
(`needs`) and optional (`uses`) inputs: "frames", "sound", "survey" (of a film of any length), "reference_video",
"first_frame", "prompt", "caption", "references", or any key of `row`. Metrics share what they compute from a sample
(tokens, embeddings) through `memo`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cineloop.audio.track import Sound
from cineloop.errors import ItemError
from cineloop.video.frames import Frames
from cineloop.video.sample import SampleSpec

T = TypeVar("T")
OF_CLIP = frozenset({"frames", "sound", "survey"})  # inputs that are read from the clip
BESIDE = ("reference_video", "first_frame")  # other clips of a sample, decoded like its own


@dataclass(eq=False)
class SampleClip:
    """A video: its path, a key of its content, and its frames once decoded.

    Attributes:
        content: key of the pixels: equal bytes and window give an equal string.
        path: the file; None for frames that were never a file.
        frames: every frame of the clip in its stored size; None while it is not decoded.
        sound: of the clip, all channels at the stored rate; None while it is not read.
        survey: what one pass over the frames showed, see `v2t_eval.core.measurement.FilmPass`; None without one.
        start_s, end_s: the part of the file that is the clip; None for the whole file.
        sampling: which frames of it are decoded; None for every one.
    """

    content: str
    path: Path | None = None
    frames: Frames | None = None
    sound: Sound | None = None
    survey: Any = None
    start_s: float | None = None
    end_s: float | None = None
    sampling: SampleSpec | None = None

    @property
    def window(self) -> dict[str, float | None]:
        """The part of the file that is the clip, by name."""
        return {"start_s": self.start_s, "end_s": self.end_s}

    @classmethod
    def from_frames(cls, frames: Frames, path: Path | None = None) -> SampleClip:
        """A clip in memory, named by its pixels and times."""
        digest = hashlib.sha256(frames.pixels.tobytes())
        digest.update(frames.times_s.tobytes())
        digest.update(repr((frames.pixels.shape, round(frames.fps, 6))).encode())
        return cls(content=f"pixels:{digest.hexdigest()}", path=path, frames=frames)


@dataclass(eq=False, kw_only=True)
class Sample:
    """One clip or one text, and what is known of it.

    Attributes:
        id: its name; no two samples of a set share one.
        clip: the video, where there is one.
        prompt: of the generator.
        caption: of the captioner.
        references: true descriptions of the clip, one or more.
        reference_video: the clip that this one is compared with, frame by frame, where there is one.
        first_frame: the picture that the generator was given to begin with (image to video), a clip of one frame.
        row: everything else by name: `facts`, `question`, `answer`, `spans`, `events`, `asked` ... (JSON values).
        cluster: samples that are not independent (seeds of one prompt) carry the same; the prompt, or else the id.
        memo: values computed in this pass, shared by metrics, and by samples with the same `SampleClip`: the key of a
            value computed from a text includes that text.
    """

    id: str
    clip: SampleClip | None = None
    prompt: str | None = None
    caption: str | None = None
    references: tuple[str, ...] = ()
    reference_video: SampleClip | None = None
    first_frame: SampleClip | None = None
    row: Mapping[str, Any] = field(default_factory=dict)
    cluster: str = ""
    memo: dict[Hashable, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cluster = self.cluster or self.prompt or self.id

    @property
    def frames(self) -> Frames:
        """All frames of the clip.

        Raises:
            ItemError: NO_FRAMES, there is no clip or it was not decoded.
        """
        if self.clip is None or self.clip.frames is None:
            raise ItemError(f"{self.id} has no decoded clip", code="NO_FRAMES", hint="name the folder of the clips")
        return self.clip.frames

    @property
    def sound(self) -> Sound:
        """The clip's sound.

        Raises:
            ItemError: NO_SOUND, there is no clip or its sound was not read.
        """
        if self.clip is None or self.clip.sound is None:
            raise ItemError(f"the sound of {self.id} was not read", code="NO_SOUND", hint=HINTS["sound"])
        return self.clip.sound

    @property
    def reference_frames(self) -> Frames:
        """All frames of the reference video.

        Raises:
            ItemError: NO_REFERENCE_VIDEO, there is none or it was not decoded.
        """
        return self._frames_beside("reference_video")

    @property
    def first_picture(self) -> np.ndarray:
        """uint8 (H, W, 3), the picture that the generator was given.

        Raises:
            ItemError: NO_FIRST_FRAME, there is none or it was not decoded.
        """
        picture: np.ndarray = self._frames_beside("first_frame").pixels[0]
        return picture

    def _frames_beside(self, name: str) -> Frames:
        clip: SampleClip | None = getattr(self, name)
        if clip is None or clip.frames is None:
            shown = name.replace("_", " ")
            raise ItemError(f"{self.id} has no decoded {shown}", code=f"NO_{name.upper()}", hint=HINTS[name])
        return clip.frames

    def get(self, name: str) -> Any:
        """The field `name`, see the module's docstring, or None."""
        if name in OF_CLIP:
            return self.clip
        if name in ("prompt", "caption", *BESIDE):
            return getattr(self, name)
        if name == "references":
            return self.references or None
        return self.row.get(name)

    def require(self, name: str) -> Any:
        """As `get`.

        Raises:
            ItemError: NO_<NAME>, there is none.
        """
        value = self.get(name)
        if value is None:
            raise ItemError(f"{self.id} has no {name}", code=f"NO_{name.upper()}", hint=HINTS.get(name, ""))
        return value

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """`make()`, computed once in this pass for all metrics that use `key`."""
        if key not in self.memo:
            self.memo[key] = make()
        value: T = self.memo[key]
        return value

    def content(self, names: tuple[str, ...]) -> str:
        """Hash of the fields `names`: equal for samples that are equal in these fields."""
        values = {name: self.get(name) for name in names}
        for name in {*OF_CLIP, *BESIDE} & values.keys():
            values[name] = None if values[name] is None else values[name].content
        text = json.dumps(values, sort_keys=True, ensure_ascii=True, default=list)
        return hashlib.sha256(text.encode("ascii")).hexdigest()


HINTS = {
    "prompt": "give --prompts, or a manifest with prompts",
    "caption": "give --captions, as `v2t caption` writes them",
    "references": "give --references",
    "frames": "name the folder of the clips",
    "sound": "name the folder of the clips",
    "survey": "name the folder of the films",
    "reference_video": "give --reference-videos, a folder of videos with the ids of the clips",
    "first_frame": "score the folder of `t2v generate --image`, or give --prompts, rows of id, prompt, image",
    "facts": "give --truth, a manifest with facts",
    "answer": "give --answers, rows of id, question, answer",
    "kind": "give --answers and --truth, a manifest with questions",
}
