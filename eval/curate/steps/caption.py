"""Caption: the text of each clip, from captions that the user has, or by any model of `v2t caption`.

The clips that are left are captioned by the job of `v2t caption`, which resumes. A caption with a fault that the text
alone shows (`caption_check.faults`) is asked again once, sampled by another seed, and replaced where that is better.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines
from cineloop.errors import UsageError
from cineloop.files import text_key
from cineloop.log import logger, plural, printable
from cineloop.manifest import is_rejected, write_manifest
from v2t_eval.curate.clip import FilmClip
from v2t_eval.curate.step import BaseStep, Column, CompareResult, Work, check_file
from v2t_eval.text.caption_faults import caption_of, faults

_AGAIN = {"temperature": 0.7, "seed": 1}


@dataclass(frozen=True, kw_only=True)
class CaptionSettings:
    """Where captions come from; with both, the model captions what the file leaves out.

    Attributes:
        captions: JSON lines with `id` of a clip, or of a film that is one clip, and `caption` or `captions`: records of
            `v2t caption`, a manifest.
        model, captioner, style, prompt, options: as of `v2t caption`; without a model nothing is asked.
    """

    captions: str = ""
    model: str = ""
    captioner: str = "auto"
    style: str = "short"
    prompt: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_file("captions", self.captions)


class Step(BaseStep):
    name = "caption"
    columns = {
        "caption_words": Column("words of the caption, 0 without one"),
        "caption_tries": Column("how often the model was asked: 2 where the first caption had a fault", 0, 2),
    }
    detects = "clips without a caption"
    misses = "what is wrong with a caption, see caption_check"
    Settings = CaptionSettings

    def examine(self, clips: Sequence[FilmClip], work: Work) -> dict[str, Any]:
        """`captions`: those of the file, by id of clip; ids that are `unknown`, and of films that are `split`."""
        if not self.settings.captions:
            return {"captions": {}, "unknown": [], "split": []}
        given = read_captions(Path(self.settings.captions))
        films: dict[str, list[str]] = {}
        for clip in clips:
            films.setdefault(clip.film, []).append(clip.id)
        captions = {clip.id: given[clip.id] for clip in clips if clip.id in given}
        for film, ids in films.items():
            if film in given and len(ids) == 1:
                captions.setdefault(ids[0], given[film])
        split = sorted(film for film, ids in films.items() if film in given and len(ids) > 1)
        unknown = sorted(set(given) - {clip.id for clip in clips} - set(films))
        return {"captions": captions, "unknown": unknown, "split": split}

    def compare(self, clips: Sequence[FilmClip]) -> CompareResult:
        """Links: `caption`. Warns of captions that are of no clip."""
        for ids, what in ((self.known["unknown"], "no clip"), (self.known["split"], "films with several clips")):
            if ids:
                name, num = printable(Path(self.settings.captions).name), plural(len(ids), "caption")
                logger.warning("%s holds %s of %s, for example of %s", name, num, what, printable(ids[0]))
        texts: dict[str, str] = {clip.id: self.known["captions"].get(clip.id, "") for clip in clips}
        tries = dict.fromkeys(texts, 0)
        left = [clip for clip in clips if not texts[clip.id]]
        for again in ({}, _AGAIN) if self.settings.model else ():
            answers = self._ask(left, again) if left else {}
            for id, text in answers.items():
                tries[id] += 1
                if not texts[id] or (text and len(faults(text)) < len(faults(texts[id]))):
                    texts[id] = text
            left = [clip for clip in left if faults(answers.get(clip.id, ""))]
        words = [float(len(texts[clip.id].split())) for clip in clips]
        asked = [float(tries[clip.id]) for clip in clips]
        return CompareResult(
            columns={"caption_words": words, "caption_tries": asked},
            links={"caption": [texts[clip.id] or None for clip in clips]},
        )

    def _ask(self, clips: Sequence[FilmClip], again: Mapping[str, Any]) -> dict[str, str]:
        """Captions by id of clip; those that were captioned before with these settings are not captioned again."""
        from v2t.caption.run import read_records, run
        from v2t.caption.settings import CaptionConfig

        asked = {key: getattr(self.settings, key) for key in ("model", "captioner", "style", "prompt", "options")}
        config = CaptionConfig(**asked, **again, format=("jsonl",), retry_failed=True)
        key = text_key(json.dumps({**asked, **again}, sort_keys=True, default=str).encode())
        folder = self.work.folder / ".cineloop" / "captions" / key
        (folder / "films").mkdir(parents=True, exist_ok=True)
        listed = []
        for clip in clips:  # a manifest names files within its folder
            file = self.work.file(clip).resolve()
            link = folder / "films" / f"{clip.source_sha[:24]}{file.suffix}"
            if not link.is_symlink() or link.readlink() != file:
                link.unlink(missing_ok=True)
                link.symlink_to(file)
            window = {"start_s": clip.start_s, "end_s": clip.end_s}
            listed.append({"id": clip.id, "path": f"films/{link.name}", **window})
        write_manifest(listed, folder / "clips.jsonl")
        if run([str(folder / "clips.jsonl")], folder / "out", config).interrupted:
            raise KeyboardInterrupt
        wanted = {clip.id for clip in clips}
        records = [record for record in read_records(folder / "out") if record["id"] in wanted]
        return {record["id"]: record["caption"] or "" for record in records}


def read_captions(path: Path) -> dict[str, str]:
    """Captions by id of a file of JSON lines, but for those that a person rejected; of several of a clip the first.

    Raises:
        UsageError: the file cannot be read, or a line has no id.
    """
    captions: dict[str, str] = {}
    for number, row in json_lines(path, code="MANIFEST"):
        if not isinstance(row.get("id"), str):
            raise UsageError(f"{printable(str(path))}, line {number}: expected an id, got {row.get('id')!r}")
        if (words := caption_of(row).split()) and not is_rejected(row):
            captions.setdefault(row["id"], " ".join(words))
    return captions
