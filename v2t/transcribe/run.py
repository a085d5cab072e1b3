"""Films and recordings → transcripts: the job behind `v2t transcribe`.

In: paths, an output folder, a `TranscribeConfig`. Out: records, subtitles and text in the folder, a `CaptionSummary`.
The folder is that of `v2t caption` (`v2t.caption.outputs`): journal, shards, merge, status, edits by hand. A file is
read in blocks; the pieces of a block in which somebody may speak go to the model; a block's answer is journalled, so
what is killed goes on with the next one. A block ends at a pause where one is near its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from cineloop.audio import read as audio
from cineloop.audio.track import SoundTrack
from cineloop.clip import Clip, check, source_of
from cineloop.discovery import choose, discover
from cineloop.errors import CineloopError, ItemError, UsageError
from cineloop.interrupt import Stopping
from cineloop.journal import Entry
from cineloop.log import Progress, logger, stopwatch
from cineloop.suffixes import AUDIO_SUFFIXES, VIDEO_SUFFIXES
from cineloop.video.worker import DecoderPool
from v2t.backends import COST, effects
from v2t.caption.outputs import CaptionFolder
from v2t.caption.run import make_plan, note_run
from v2t.caption.shards import Shard, holder
from v2t.caption.summary import CaptionSummary
from v2t.long.items import WorkItem, fields_of
from v2t.transcribe.activity import Stretch, pieces
from v2t.transcribe.record import SpeechSettings, failed_record, record_of, segment_of
from v2t.transcribe.settings import TranscribeConfig
from v2t.transcribers import SpeechModel, engine_of, open_transcriber
from v2t.writers import Record

_NEAR_END_S = 1.0  # speech that ends later than this before a block's end goes on in the next one


def run(
    paths: Sequence[str],
    output: Path | None,
    config: TranscribeConfig,
    *,
    model: SpeechModel | None = None,
    emit: Callable[[Record], None] = lambda row: None,
    show_progress: bool = False,
) -> CaptionSummary:
    """Transcribe everything that `paths` name.

    Args:
        paths: folders, files, globs, lists, manifests (see `cineloop.discovery.discover`); of folders, files with the
            ending of a film or of a recording.
        output: folder of transcripts and journal; None stores nothing, records only go to `emit`.
        model: an instance to use instead of the one that `config.model` names.
        emit: called with each record once it is saved (with plan rows on a dry run).

    Raises:
        UsageError, NothingMatchedError, PolicyError: nothing was done.
        MissingDependencyError: no model, no disk space; what was done before is saved.
    """
    started = time.perf_counter()
    if output is None and config.shard is not None:
        raise UsageError("--shard needs a folder that the shards share", hint="give it by -o")
    if model is None and not config.model:
        raise UsageError(
            "no model of speech is named, and none is bundled",
            hint="--model openai/whisper-small, a folder, or openai:URL of a server",
        )
    clips = discover(
        paths,
        lists=config.lists,
        include=config.include,
        exclude=config.exclude,
        holds=holder(config.shard) if config.shard else lambda clip_id: True,
        suffixes=VIDEO_SUFFIXES | AUDIO_SUFFIXES,
    )
    clips = choose(clips, limit=config.limit, sample=None, seed=0)
    model = model or open_transcriber(
        config.model, engine=config.engine, device=config.device, dtype=config.dtype, options=config.options
    )
    settings = _settings(model, config)
    summary = CaptionSummary(model=model.name, dry_run=config.dry_run, is_kept=output is not None, verb="transcribed")
    with ExitStack() as stack:
        stop = stack.enter_context(Stopping())
        place = output or Path(stack.enter_context(TemporaryDirectory(prefix="v2t-")))
        shard = Shard(place, config.shard, clips) if config.shard else None
        formats = config.format if output else ()
        folder = stack.enter_context(CaptionFolder(place, formats, writable=not config.dry_run, shard=shard))
        folder.register(clips)
        mine = folder.shard.clips if folder.shard else clips
        plan = make_plan(mine, folder, settings, config)
        summary.count_plan(plan.values())
        todo = [clip for clip in mine if plan[clip.id] in ("caption", "retry", "again")]
        if config.dry_run:
            for clip_id, action in plan.items():
                emit({"id": clip_id, "action": "transcribe" if action == "caption" else action})
            summary.planned = len(todo)
        else:
            if todo:
                note_run(folder, settings, config, len(clips), len(mine))
                logger.info("transcribing %d of %d files with %s", len(todo), len(mine), model.name)
                pool = stack.enter_context(DecoderPool(1, config.limits))
                job = TranscribeJob(folder, settings, config, model, pool, stop, summary)
                try:
                    job.work(todo, emit, show_progress)
                except CineloopError as error:
                    if error.code != "DISK_FULL":
                        folder.close()
                    raise
            with stopwatch(summary.times, "write"):
                folder.close(is_complete=not stop.asked)
        summary.interrupted = stop.asked
    summary.seconds = time.perf_counter() - started
    return summary


def _settings(model: SpeechModel, config: TranscribeConfig) -> SpeechSettings:
    declared = effects(type(model))
    return SpeechSettings(
        model=model.name,
        revision=model.revision,
        engine=engine_of(config.model) if config.engine == "auto" else Path(config.engine).stem,
        language=config.language,
        track=config.track,
        options=tuple(sorted((k, v) for k, v in config.options.items() if declared.get(k) is not COST)),
    )


@dataclass(frozen=True)
class TranscribeJob:
    """Everything between the plan and the summary."""

    folder: CaptionFolder
    settings: SpeechSettings
    config: TranscribeConfig
    model: SpeechModel
    pool: DecoderPool
    stop: Stopping
    summary: CaptionSummary

    def work(self, todo: Sequence[Clip], emit: Callable[[Record], None], show_progress: bool) -> None:
        """Transcribe the files, until done or stopped.

        Raises:
            MissingDependencyError: the model does not load or cannot answer at all, or the disk is full.
        """
        with stopwatch(self.summary.times, "load"):
            self.model.load()
        with Progress(len(todo), "transcribing", enabled=show_progress) as progress:
            for clip in todo:
                item = WorkItem(clip, source=source_of(clip))
                record = self._record(item)
                if record is None:
                    return  # stopped: its finished blocks are in the journal
                item.answer = record
                with stopwatch(self.summary.times, "write"):
                    self.folder.write([item], self.settings.settings_key)
                    self.folder.update()
                self.summary.add(record)
                emit(record)
                progress.advance(1)

    def _record(self, item: WorkItem) -> Record | None:
        """The record of a file; None where the run was stopped before its end."""
        clip = item.clip
        try:
            check(clip)
            tracks = audio.tracks(self.pool, clip.file)
            if not tracks:
                return record_of(clip, [], self.settings, None, None)
            wanted = self.config.track
            if wanted is not None and wanted >= len(tracks):
                text = f"track {wanted} was asked for, the file has {len(tracks)}"
                raise ItemError(text, code="NO_AUDIO_STREAM", hint=f"--track 0 to {len(tracks) - 1}")
            track = next(t for t in tracks if (t.is_default if wanted is None else t.number == wanted))
            blocks = self._blocks(item, track)
            if blocks is None:
                return None
            check(clip)
        except ItemError as error:
            return failed_record(clip, self.settings, error)
        return record_of(clip, blocks, self.settings, track, blocks[-1]["end_s"] if blocks else 0.0)

    def _blocks(self, item: WorkItem, track: SoundTrack) -> list[Entry] | None:
        """The answers to all blocks of a file, those of an earlier run among them."""
        clip, end_s = item.clip, item.clip.end_s
        known = {} if self.config.overwrite else self.folder.ledger.parts_of(clip, self.settings.settings_key)
        earlier = {start_s: entry for (start_s, _), entry in known.items()}
        at_s, blocks, is_last = clip.start_s or min(0.0, track.start_s), list[Entry](), False
        while not is_last:
            if self.stop.asked:
                return None
            entry = earlier.get(at_s)
            if entry is None:
                entry = self._block(item, track, at_s)
                self.folder.append([entry])
            blocks.append(entry)
            self.summary.num_parts += 1
            at_s, is_last = entry["end_s"], entry["is_last"] or (end_s is not None and entry["end_s"] >= end_s)
            self.folder.update()
        return blocks

    def _block(self, item: WorkItem, track: SoundTrack, start_s: float) -> Entry:
        """The journal's entry of the block that begins at `start_s`."""
        until_s = start_s + self.config.block_s
        if item.clip.end_s is not None:
            until_s = min(until_s, item.clip.end_s)
        with stopwatch(self.summary.times, "decode"):
            sound = audio.read(self.pool, item.clip.file, start_s=start_s, end_s=until_s, track=track.number)
            spoken = pieces(sound.samples, self.model.longest_s)
        end_s = sound.end_s if sound.is_last else until_s
        if not sound.is_last and until_s != item.clip.end_s:
            spoken, end_s = _whole(spoken, start_s, until_s)
        began = time.perf_counter()
        segments, languages, warnings = [], list[str](), list(sound.warnings)
        for first_s, last_s in spoken:
            samples = sound.samples[round(first_s * sound.rate) : round(last_s * sound.rate)]
            with stopwatch(self.summary.times, "model"):
                answer = self.model.transcribe(samples, self.config.language)
            languages.append(answer.language)
            warnings += answer.warnings
            segments += [segment_of(one, start_s + first_s) for one in answer.utterances]
            self.folder.update()
        return {
            "kind": "part",
            "id": item.clip.id,
            "settings": self.settings.settings_key,
            "source": item.source,
            "start_s": start_s,
            "end_s": round(end_s, 6),
            "is_last": sound.is_last,
            "segments": segments,
            "language": max(languages, key=languages.count, default=""),
            "warnings": [fields_of(warning) for warning in dict.fromkeys(warnings)],
            "seconds": round(time.perf_counter() - began, 3),
            "error": None,
        }


def _whole(spoken: list[Stretch], start_s: float, until_s: float) -> tuple[list[Stretch], float]:
    """The pieces of a block without the one that goes on beyond its end, and where the next block begins; a piece that
    fills more than half of the block is cut all the same."""
    length_s = until_s - start_s
    if spoken and spoken[-1][1] > length_s - _NEAR_END_S and spoken[-1][0] > length_s / 2:
        return spoken[:-1], start_s + spoken[-1][0]
    return spoken, until_s
