"""Write a set that fits its trainer: clips at the model's rate, counts and sizes, captions and configuration.

In: a `CheckedSet`. Out: `DIR/TRAINER/`, see `v2t_eval.trainers.layout`; `DIR/left-out.jsonl` names every clip that is
not in it, and why. The source is only read. Clips are cut once (`v2t_eval.clips.store`): a run that was killed
continues, and the folder is moved to its place when it is whole.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cineloop.errors import ItemError, NothingMatchedError
from cineloop.files import raise_if_full, scratch_folder, write_atomic
from cineloop.log import logger, plural
from cineloop.manifest import dump_line
from cineloop.run_folder import RunFolder
from cineloop.threads import usable_cpus
from v2t_eval.clips.cut import Cut, CutFile
from v2t_eval.clips.placing import FormatPlaces, Record
from v2t_eval.clips.store import CUTS, JOURNAL, CutStore, WantedCut, cut_key
from v2t_eval.trainers.fitted import fitted_cut
from v2t_eval.trainers.layout import TrainerWriter
from v2t_eval.trainers.rows import CheckedClip, CheckedSet
from v2t_eval.trainers.settings import CheckSetConfig
from v2t_eval.trainers.setwide import usual

LEFT_OUT = "left-out.jsonl"


@dataclass
class WrittenSet:
    """What was written: the folder, clips in it, and codes of those left out, by path."""

    place: Path
    num_clips: int = 0
    left_out: dict[str, list[str]] = field(default_factory=dict)

    def as_tree(self) -> dict[str, Any]:
        """As JSON values."""
        return {"place": str(self.place), "clips": self.num_clips, "left_out": self.left_out}


def write_fitting(
    checked: CheckedSet,
    folder: Path,
    name: str,
    asked: CheckSetConfig,
    *,
    keep: frozenset[str] = frozenset(),
    workers: int | None = None,
    stop: Callable[[], bool] = lambda: False,
    show_progress: bool = False,
) -> WrittenSet:
    """Write the clips of a check that fit, or can be made to.

    Args:
        checked: the check.
        folder: of the set; locked meanwhile.
        name: of the trainer, which is that of the folder in it.
        asked: what a clip may lose.
        keep: codes of findings that do not keep a clip out.
        workers: clips cut at a time; None takes the CPUs.
        stop: polled between clips.

    Raises:
        NothingMatchedError: no clip is left. UsageError: LOCKED; EXISTS, a folder is there that no run wrote.
        MissingDependencyError: DISK_FULL, no decoder. KeyboardInterrupt: stopped.
    """
    writer = TrainerWriter(name, checked.rules, checked.folder.name or str(checked.folder))
    written = WrittenSet(place=folder / writer.NAME)
    rate = usual([round(clip.footage.info.fps, 3) for clip in checked.clips if clip.footage is not None])
    wanted: list[tuple[CheckedClip, WantedCut]] = []
    for clip in checked.clips:
        codes = [each.code for each in clip.findings if each.effect != "note" and not each.is_mended]
        if codes := [code for code in dict.fromkeys(codes) if code not in keep]:
            written.left_out[clip.path] = codes
            continue
        try:
            wanted.append((clip, _cut_job(checked, clip, rate, asked, keep)))
        except ItemError as error:
            written.left_out[clip.path] = [error.code]
    if not wanted:
        raise NothingMatchedError("no clip can be made to fit", hint="see the findings; --keep CODES keeps some")
    try:
        with RunFolder(folder, journal=JOURNAL) as run, scratch_folder("writing-", parent=run.state) as scratch:
            store, failed = CutStore(run, scratch), dict[str, ItemError]()
            pieces = store.fill([each for _, each in wanted], workers=workers or usable_cpus(), stop=stop,
                                show_progress=show_progress, failed=failed)  # fmt: skip
            if len(pieces) + len(failed) < len(wanted):
                logger.warning("stopped after %d of %d clips; the same command continues", len(pieces), len(wanted))
                raise KeyboardInterrupt
            written.left_out |= {path: [error.code] for path, error in failed.items()}
            records = [_record(clip, cut, *pieces[clip.path]) for clip, cut in wanted if clip.path in pieces]
            FormatPlaces(run, scratch).place(written.place, records, writer.write, writer.about)
            lines = [dump_line({"path": path, "codes": codes}) for path, codes in sorted(written.left_out.items())]
            write_atomic(folder / LEFT_OUT, b"".join(lines))
            store.sweep({key for key, _ in pieces.values()})
    except OSError as error:
        raise_if_full(error, folder)
        raise
    written.num_clips = len(records)
    logger.info("%s written, %d left out", plural(written.num_clips, "clip"), len(written.left_out))
    return written


def _cut_job(
    checked: CheckedSet, clip: CheckedClip, rate: float | None, asked: CheckSetConfig, keep: frozenset[str]
) -> WantedCut:
    if clip.footage is None:
        raise ItemError("it cannot be read", code="DECODE_ERROR")
    info = clip.footage.info
    # Up to the last frame that can be decoded: what a file claims beyond it is not there.
    end_s = info.duration_s if clip.footage.num_frames == info.num_frames else float(clip.footage.times_s[-1])
    pixel = 1 / info.sample_aspect if info.rotation % 180 else info.sample_aspect
    cut = Cut(start_s=0.0, end_s=end_s)
    size = (info.width, info.height)
    cut = fitted_cut(checked.rules, cut, size, info.fps, rate=rate, pixel=pixel, config=asked, keep=keep)
    return WantedCut(id=clip.path, key=cut_key(clip.sha, cut), cut=cut, film=lambda: clip.file)


def _record(clip: CheckedClip, wanted: WantedCut, key: str, piece: CutFile) -> Record:
    texts = [text for text in clip.captions.texts if text] if clip.captions else []
    return {
        "id": clip.path,
        "path": os.path.join(".cineloop", CUTS, f"{key}.mp4"),
        "status": "ok",
        "caption": texts[0] if texts else "",
        "captions": texts,
        "width": piece.width,
        "height": piece.height,
        "num_frames": piece.num_frames,
        "fps": wanted.cut.fps,
    }
