"""The form of a set that a trainer reads: clips, captions and its configuration, as one folder.

In: records of clips. Out: the folder NAME: `clips/` (`videos/` of the two-file form), captions beside them or in a
list, the configuration with its command, and which clip is of which source. Any caption is held as it is, but for line
breaks where captions are lines (they become spaces); a clip without a caption is left out. Names are plain, flat and
unique.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError
from cineloop.files import link_or_copy, unescape_name
from cineloop.manifest import dump_line
from v2t.writers import Rows
from v2t.writers.two_file import one_line
from v2t_eval.trainers.rules import TrainerRules

SOURCES = "sources.jsonl"
_PLAIN = re.compile(r"[^\w.-]+")


class TrainerWriter:
    """A format of a trainer's, as `v2t.writers`: `NAME` and `write`. `about` is all that determines it but records."""

    def __init__(self, name: str, rules: TrainerRules, source: str) -> None:
        self.NAME, self.rules, self.source = Path(name).stem, rules, source
        self.about = f"{rules!r} {rules.write.text} {source}"

    def write(self, rows: Rows, target: Path, place: Path) -> None:
        """All clips with a caption."""
        folder = "videos" if self.rules.write.form == "two-file" else "clips"
        (target / folder).mkdir(parents=True)
        entries: dict[str, list[str]] = {}
        shapes: set[tuple[int, int, int]] = set()
        fps: set[float] = set()
        sources = list[dict[str, str]]()
        for record, video in rows.with_videos():
            texts = [text for text in record.get("captions") or [record["caption"]] if text]
            if not texts:
                rows.leave_out(record, ItemError("it has no caption", code="NO_CAPTION"))
                continue
            try:
                texts = [one_line(text) for text in texts] if folder == "videos" else texts
            except ItemError as error:
                rows.leave_out(record, error)
                continue
            name = self._name(record, entries)
            link_or_copy(video, target / folder / name)
            entries[name] = texts
            sources.append({"file": f"{folder}/{name}", "source": record["id"]})
            shapes.add((record["width"], record["height"], record["num_frames"]))
            fps.add(round(float(record["fps"]), 3))
        self._captions(target, folder, entries)
        (target / SOURCES).write_bytes(b"".join(map(dump_line, sources)))
        text = self._configuration(place.absolute(), folder, sorted(shapes), sorted(fps))
        (target / self.rules.write.file).write_bytes(text.encode())

    def _name(self, record: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
        """A plain name that no other clip has, without the suffix too: trainers name caches after it."""
        path = unescape_name(str(record.get("source_name") or record["id"]))
        stem = _PLAIN.sub("_", os.path.splitext(path.split("#")[0])[0]).strip("._") or "clip"
        if "#t=" in path:
            stem += "_" + _PLAIN.sub("_", path.partition("#t=")[2]).replace(".", "_")
        name, number = f"{stem}.mp4", 2
        while name.lower() in {each.lower() for each in taken}:
            name, number = f"{stem}-{number}.mp4", number + 1
        return name

    def _captions(self, target: Path, folder: str, entries: Mapping[str, list[str]]) -> None:
        """The captions in the trainer's form."""
        form = self.rules.write.form
        if form == "captions-json" and all(len(texts) == 1 for texts in entries.values()):
            form = "sidecar"
        if form == "sidecar":
            for name, texts in entries.items():
                (target / folder / name).with_suffix(".txt").write_bytes(texts[0].encode() + b"\n")
        elif form == "captions-json":
            (target / folder / "captions.json").write_bytes(_json(dict(entries)))
        elif form == "dataset-json":
            rows = [{"caption": texts[0], "video": f"{folder}/{name}"} for name, texts in entries.items()]
            (target / "dataset.json").write_bytes(_json(rows))
        else:
            videos = "".join(f"{folder}/{name}\n" for name in entries)
            (target / "videos.txt").write_bytes(videos.encode())
            (target / "prompts.txt").write_bytes("".join(f"{texts[0]}\n" for texts in entries.values()).encode())

    def _configuration(self, place: Path, folder: str, shapes: list[tuple[int, int, int]], rates: list[float]) -> str:
        from jinja2 import Environment, StrictUndefined

        rules, settings = self.rules, self.rules.settings
        resolution = settings.resolution * 2 if len(settings.resolution) == 1 and rules.sizes.how == "area" else (
            settings.resolution)  # fmt: skip
        template = Environment(undefined=StrictUndefined, keep_trailing_newline=True).from_string(rules.write.text)
        return template.render(
            model=rules.model, source=self.source, repository=rules.source.repository,
            commit=rules.source.commit[:12], folder=str(place), clips=str(place / folder), batch=settings.batch,
            resolution=resolution, aspects=settings.aspects, frames=sorted({frames for *_, frames in shapes}),
            fps=", ".join(f"{rate:g}" for rate in rates), shapes=shapes,
            buckets=[f"{width}x{height}x{frames}" for width, height, frames in shapes],
        )  # fmt: skip


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode() + b"\n"
