"""A clip of a curation: an address in a film, what was measured there, and what comparing clips says of it.

In: what one pass over a film has seen. Out: `FilmClip`. Its fields, and those of `Links` in their place, are the
columns of `clips.parquet` in their order (`v2t_eval.curate.table`); the columns of steps stand in `scores`.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True, slots=True)
class Links:
    """What clips say of one another; None where nothing does.

    Attributes:
        duplicate_of: id of the clip that is kept of copies and near copies.
        leak_of: id of the clip of a held-out set that shows the same.
        split: train or val.
        caption: its text.
    """

    duplicate_of: str | None = None
    leak_of: str | None = None
    split: str | None = None
    caption: str | None = None


@dataclass(kw_only=True, slots=True)
class FilmClip:
    """One clip, or a film that failed as a whole.

    Attributes:
        id: its address, FILM#t=START,END; of a film that failed the film's.
        source, source_sha: path of the film in the folder of films, and the sha256 of its bytes.
        begins, ends: by what, see `v2t_eval.curate.step.Piece`.
        license, origin: `license` and `source` of the film in its manifest.
        error: code of a film that failed; such a row has no times and no scores.
        links: see `Links`.
        crop, crop_reason: x, y, width and height of the picture within the frame, and why.
        start_s, end_s: seconds of the film.
        fps, width, height, codec, warnings: of the film as it is shown; codes.
        scores: the columns of steps by name, None where there was nothing to measure.
    """

    id: str
    source: str
    source_sha: str = ""
    codec: str | None = None
    begins: str | None = None
    ends: str | None = None
    license: str | None = None
    origin: str | None = None
    error: str | None = None
    links: Links = field(default_factory=Links)
    crop_reason: str | None = None
    start_s: float = 0.0
    end_s: float = 0.0
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    crop: list[int] | None = None
    warnings: list[str] = field(default_factory=list)
    scores: dict[str, float | None] = field(default_factory=dict)

    @property
    def film(self) -> str:
        """The id of its film."""
        return self.id.rpartition("#t=")[0] if self.error is None else self.id

    @property
    def provenance(self) -> str:
        """What it comes from: `origin`, as a manifest names it, else its file."""
        return self.origin or self.source_sha or self.source
