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
from cineloop.manifest import write_manifest
from v2t_eval.curate.captions import caption_of, faults
from v2t_eval.curate.step import BaseStep, Column, Row, Work, check_file, film_of

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

    def examine(self, rows: Sequence[Row], work: Work) -> dict[str, Any]:
        """`captions`: those of the file, by id of clip; ids that are `unknown`, and of films that are `split`."""
        if not self.settings.captions:
            return {"captions": {}, "unknown": [], "split": []}
        given = read_captions(Path(self.settings.captions))
        films: dict[str, list[str]] = {}
        for row in rows:
            films.setdefault(film_of(row), []).append(row["id"])
        found = {row["id"]: given[row["id"]] for row in rows if row["id"] in given}
        for film, ids in films.items():
            if film in given and len(ids) == 1:
                found.setdefault(ids[0], given[film])
        split = sorted(film for film, ids in films.items() if film in given and len(ids) > 1)
        unknown = sorted(set(given) - {row["id"] for row in rows} - set(films))
        return {"captions": found, "unknown": unknown, "split": split}

    def compare(self, rows: Sequence[Row]) -> Mapping[str, Sequence[float | None]]:
        """Sets `caption` of each row. Warns of captions that are of no clip."""
        for ids, what in ((self.known["unknown"], "no clip"), (self.known["split"], "films with several clips")):
            if ids:
                name, num = printable(Path(self.settings.captions).name), plural(len(ids), "caption")
                logger.warning("%s holds %s of %s, for example of %s", name, num, what, printable(ids[0]))
        texts: dict[str, str] = {row["id"]: self.known["captions"].get(row["id"], "") for row in rows}
        tries = dict.fromkeys(texts, 0)
        left = [row for row in rows if not texts[row["id"]]]
        for again in ({}, _AGAIN) if self.settings.model else ():
            answers = self._ask(left, again) if left else {}
            for id, text in answers.items():
                tries[id] += 1
                if not texts[id] or (text and len(faults(text)) < len(faults(texts[id]))):
                    texts[id] = text
            left = [row for row in left if faults(answers.get(row["id"], ""))]
        for row in rows:
            row["caption"] = texts[row["id"]] or None
        return {
            "caption_words": [float(len(texts[row["id"]].split())) for row in rows],
            "caption_tries": [float(tries[row["id"]]) for row in rows],
        }

    def _ask(self, rows: Sequence[Row], again: Mapping[str, Any]) -> dict[str, str]:
        """Captions by id of clip; those that were captioned before with these settings are not captioned again."""
        from v2t.caption.run import read_records, run
        from v2t.caption.settings import CaptionConfig

        asked = {key: getattr(self.settings, key) for key in ("model", "captioner", "style", "prompt", "options")}
        config = CaptionConfig(**asked, **again, format=("jsonl",), retry_failed=True)
        key = text_key(json.dumps({**asked, **again}, sort_keys=True, default=str).encode())
        folder = self.work.folder / ".cineloop" / "captions" / key
        (folder / "films").mkdir(parents=True, exist_ok=True)
        listed = []
        for row in rows:  # a manifest names files within its folder
            file = self.work.file(row).resolve()
            link = folder / "films" / f"{row['source_sha'][:24]}{file.suffix}"
            if not link.is_symlink() or link.readlink() != file:
                link.unlink(missing_ok=True)
                link.symlink_to(file)
            window = {"start_s": row["start_s"], "end_s": row["end_s"]}
            listed.append({"id": row["id"], "path": f"films/{link.name}", **window})
        write_manifest(listed, folder / "clips.jsonl")
        if run([str(folder / "clips.jsonl")], folder / "out", config).interrupted:
            raise KeyboardInterrupt
        wanted = {row["id"] for row in rows}
        found = {record["id"]: record["caption"] or "" for record in read_records(folder / "out")}
        return {id: text for id, text in found.items() if id in wanted}


def read_captions(path: Path) -> dict[str, str]:
    """Captions by id of a file of JSON lines; of several of a clip the first.

    Raises:
        UsageError: the file cannot be read, or a line has no id.
    """
    found: dict[str, str] = {}
    for number, row in json_lines(path, code="MANIFEST"):
        if not isinstance(row.get("id"), str):
            raise UsageError(f"{printable(str(path))}, line {number}: expected an id, got {row.get('id')!r}")
        if words := caption_of(row).split():
            found.setdefault(row["id"], " ".join(words))
    return found
