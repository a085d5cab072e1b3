"""The caption record: one clip's row, whether it was captioned or failed (design: contracts).

In: a clip, its frames and the model's output, or the error that ended it. Out: a plain dict for the journal and the
writers. `caption` is null in a failed row and `error` is null in a good one; `seconds` is the clip's share of the
model's time; `frame_times_s` are the true times of the frames the model saw.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from v2t.base.errors import ItemError
from v2t.base.files import text_key
from v2t.caption.inputs import Clip
from v2t.captioners import CaptionerLike, CaptionOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from v2t.video.frames import Frames
    from v2t.video.sample import SampleSpec


@dataclass(frozen=True, kw_only=True)
class Question:
    """What every clip of a run is asked, and how: all that a caption depends on besides the clip."""

    model: str
    revision: str
    style: str
    prompt: str
    max_new_tokens: int
    spec: SampleSpec
    frame_size: tuple[int, int] | None
    segments: Callable[[str, float], list[dict[str, Any]]] | None = None

    @classmethod
    def to(cls, captioner: CaptionerLike, **rest: Any) -> Question:
        """The question as put to a captioner."""
        return cls(model=captioner.name, revision=captioner.revision, frame_size=captioner.frame_size, **rest)

    @property
    def settings(self) -> dict[str, Any]:
        """The values that a later run compares with its own. A style is a name for a prompt: the prompt stands here."""
        return {
            "model": self.model,
            "revision": self.revision,
            "prompt": self.prompt,
            "max_new_tokens": self.max_new_tokens,
            "frame_size": list(self.frame_size) if self.frame_size else None,
            **{f"sampling.{k}": v for k, v in asdict(self.spec).items() if k not in ("start_s", "end_s")},
        }

    @property
    def settings_key(self) -> str:
        """Short hash of `settings`."""
        return text_key(repr(sorted(self.settings.items())).encode("utf-8", "surrogatepass"))


def captioned(clip: Clip, frames: Frames, output: CaptionOutput, question: Question, seconds: float) -> dict[str, Any]:
    """The record of a clip the model answered.

    Raises:
        ItemError: BAD_CAPTION, the answer is empty.
    """
    text = _utf8(output.text).strip()
    if not text:
        raise ItemError(
            "the model answered with an empty caption", code="BAD_CAPTION", hint="another --prompt or model"
        )
    warnings = [_utf8(warning) for warning in (*frames.warnings, *output.warnings)]
    if output.finish == "length":
        warnings.append(f"CUT: the caption was cut after {output.tokens} tokens")
    segments = question.segments(text, float(frames.duration_s)) if question.segments else []
    return {
        **_head(clip, "ok"),
        "caption": text,
        "segments": segments,
        **_provenance(question),
        "decoder": frames.decoder,
        "frame_times_s": [round(float(t), 4) for t in frames.times_s],
        "duration_s": round(float(frames.duration_s), 4),
        "tokens": output.tokens,
        "seconds": round(seconds, 4),
        "warnings": warnings,
        "error": None,
    }


def failed(clip: Clip, error: ItemError, question: Question) -> dict[str, Any]:
    """The record of a clip that could not be captioned."""
    return {
        **_head(clip, "failed"),
        "caption": None,
        "segments": [],
        **_provenance(question),
        "decoder": None,
        "frame_times_s": [],
        "duration_s": None,
        "tokens": 0,
        "seconds": 0.0,
        "warnings": [],
        "error": {key: _utf8(str(value)) for key, value in error.record().items()},
    }


def _utf8(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates, from file names or a model's JSON, are spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _head(clip: Clip, status: str) -> dict[str, Any]:
    head: dict[str, Any] = {"id": clip.id, "path": clip.path, "status": status}
    if clip.start_s is not None or clip.end_s is not None:
        head |= {"start_s": clip.start_s, "end_s": clip.end_s}
    return head


def _provenance(question: Question) -> dict[str, Any]:
    return {
        "model": question.model,
        "revision": question.revision,
        "style": question.style,
        "prompt_sha": text_key(question.prompt.encode("utf-8", "surrogatepass")),
    }
