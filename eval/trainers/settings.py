"""Settings of a check. Imported for --help: nothing heavy here."""

from __future__ import annotations

from dataclasses import dataclass

from cineloop.options import option


@dataclass(frozen=True, kw_only=True)
class CheckSetConfig:
    """What a clip may lose, and by what captions are read. The shares go from 0 to 1."""

    tokenizer: str = option("", "folder or hub id of the text encoder's tokenizer (default: tokens are estimated, "
        "rather high)", metavar="MODEL")  # fmt: skip
    encoder: str = option("starter-video", "dual encoder of the test for shifted captions: starter-video (default, "
        "cartoons), open_clip:MODEL/WEIGHTS, none", metavar="MODEL")  # fmt: skip
    language: str = option("", "of the captions, as de, en, es, fr, it, nl, pt (default: that of most)")
    most_lost: float = option(0.25, "share of a clip's seconds that may not be trained on")
    most_cropped: float = option(0.2, "share of the picture that may be cropped away")
    most_stretched: float = option(0.1, "by how much the aspect may change")
    most_enlarged: float = option(1.2, "how many times a picture may be enlarged")
    most_retimed: float = option(0.1, "by how much the speed may change")
    most_uneven: float = option(0.05, "share of the steps between frames that may differ from the usual one")

    def __post_init__(self) -> None:
        for name in ("most_lost", "most_cropped", "most_stretched", "most_retimed", "most_uneven"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")
        if self.most_enlarged < 1:
            raise ValueError(f"most_enlarged must be at least 1, got {self.most_enlarged}")
