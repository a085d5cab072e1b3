"""Findings: what is wrong with a clip or its caption for a trainer, as codes.

In: nothing. Out: `SetFinding`, and `CODES`, what each code means and whether a written set is free of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Effect = Literal["stops", "dropped", "changed", "note"]
EFFECTS: tuple[Effect, ...] = ("stops", "dropped", "changed", "note")


class FindingKind(NamedTuple):
    """What a code means; `is_mended`: cutting the clip anew can make it free of it (`v2t_eval.trainers.fitted` says
    where it cannot); a clip with another code is left out of a written set."""

    meaning: str
    is_mended: bool = False


CODES = {
    # files
    "UNLISTED_SUFFIX": FindingKind("the trainer does not look for files with this suffix", True),
    "IN_SUBFOLDER": FindingKind("the trainer does not look into subfolders", True),
    "SAME_STEM": FindingKind("another clip has the same name but for the suffix", True),
    "DAMAGED": FindingKind("the file is cut off or its times are not sound"),
    "COUNT_MISMATCH": FindingKind("the container claims more frames than can be decoded", True),
    "OTHER_STREAM": FindingKind("players show another of its video streams than the trainer takes", True),
    # frames
    "TOO_SHORT": FindingKind("fewer frames than the smallest bucket has", True),
    "FRAMES_LOST": FindingKind("a large part of the clip is not trained on", True),
    "WRONG_RATE": FindingKind("frames are taken one by one, but the model counts on another rate", True),
    "MIXED_RATE": FindingKind("another rate than most of the set, and the trainer does not mind rates", True),
    "RETIMED": FindingKind("frames are spread over the clip: it plays faster or slower", True),
    "UNEVEN_STEPS": FindingKind("frames are left out at unequal distances", True),
    "FRAMES_REPEATED": FindingKind("frames are shown more than once", True),
    "VARIABLE_RATE": FindingKind("the times between frames vary, and the trainer counts frames", True),
    "OFF_GRID": FindingKind("the frames taken are not of a count that the model has", True),
    # picture
    "TOO_SMALL": FindingKind("the picture is smaller than the bucket", True),
    "CROPPED": FindingKind("a large part of the picture is cropped away", True),
    "DISTORTED": FindingKind("the picture is stretched to another aspect", True),
    "OTHER_ORIENTATION": FindingKind("it stands upright while most of the set lies, or the other way round"),
    "TURNED": FindingKind("the file asks players to turn the picture, and the trainer does not", True),
    "PIXEL_ASPECT": FindingKind("the pixels are not square, and the trainer takes them for such", True),
    "HDR": FindingKind("high dynamic range, which is read pale"),
    # captions
    "NO_CAPTION": FindingKind("there is no caption"),
    "EMPTY_CAPTION": FindingKind("the caption is empty"),
    "NOT_UTF8": FindingKind("the caption is not UTF-8"),
    "BYTE_ORDER_MARK": FindingKind("the file begins with a byte order mark, which becomes text", True),
    "LINE_ENDINGS": FindingKind("the caption's file has carriage returns", True),
    "UNUSED_CAPTIONS": FindingKind("the trainer takes the first of several captions", True),
    "REPEATED_CAPTION": FindingKind("other clips have the same caption"),
    "REFUSAL": FindingKind("the captioner speaks of itself, or of a missing video"),
    "REPEATS_ITSELF": FindingKind("the caption goes round in circles"),
    "CUT_OFF": FindingKind("the caption ends in the middle of a sentence"),
    "OTHER_LANGUAGE": FindingKind("the caption is in another language or script than the set"),
    "TIMES_BEYOND_END": FindingKind("the caption names seconds that the clip, or what is kept of it, does not have"),
    "TOO_LONG_FOR_ENCODER": FindingKind("the caption has more tokens than the text encoder takes"),
    "SHIFTED_CAPTION": FindingKind("from this clip on, captions belong to a neighbour"),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SetFinding:
    """One thing that is wrong.

    Attributes:
        code: of `CODES`, or the code of a file that cannot be read.
        effect: the trainer's run stops, the clip is dropped, it is trained otherwise than it is, or only noted.
        message: one plain sentence with figures.
    """

    code: str
    effect: Effect
    message: str

    def record(self) -> dict[str, Any]:
        """As JSON values."""
        return {"code": self.code, "effect": self.effect, "message": self.message}

    @property
    def is_mended(self) -> bool:
        """Whether a cut can make the clip free of it."""
        return self.code in CODES and CODES[self.code].is_mended


def worst(findings: list[SetFinding]) -> Effect | None:
    """The gravest effect, None of no findings."""
    return min((each.effect for each in findings), key=EFFECTS.index, default=None)
