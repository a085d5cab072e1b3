"""Read the samples to score: clips with prompts, captions, references and truth, joined by id.

In: a folder of videos, a manifest or a run folder, and the files that belong to it. Out: `Inputs`. Rows are joined to
clips by id, else by path, else by file name without its ending; a name that matches two clips is an error. A clip
without a row is kept and counts as not scored; a row without a clip is reported. Without clips the expected samples are
the rows of the truth, of the references or of the captions. Questions are samples of their own, in clusters of one
clip; their `row` holds `question`, `kind`, `answer` (None without one), `reference`, `answers` (the reference as a
list) and the fields of both files.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from cineloop.clock import timed_lines
from cineloop.discovery import discover
from cineloop.errors import NothingMatchedError, UsageError
from cineloop.files import unescape_name
from cineloop.log import printable
from cineloop.manifest import clip_path, is_rejected, read_manifest
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.core.tables import (
    Row,
    SampleRows,
    names_of,
    prompt_of,
    read_rows,
    references_of,
    requirements_of,
    texts_of,
)

MANIFEST, FAILURES = "manifest.jsonl", "failures.jsonl"
NAMINGS = ("rows", "vbench")
_ITS_OWN = ("id", "path", "start_s", "end_s")  # of a clip's row; the truth may name the clip differently


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Samples and the second set of clips, in the order of ids; the names of the files by role; samples with each
    role's data, and unmatched rows; the folder that paths of clips are relative to, None without clips."""

    samples: list[Sample]
    references: list[Sample] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    clips_root: Path | None = None  # what paths of rows are relative to: the clips' folder, without clips the truth's


def read_inputs(
    clips: Path | None = None,
    *,
    prompts: Path | None = None,
    captions: Path | None = None,
    references: Path | None = None,
    truth: Path | None = None,
    answers: Path | None = None,
    reference_clips: Path | None = None,
    reference_videos: Path | None = None,
    names: str = "rows",
    limit: int | None = None,
) -> Inputs:
    """Read and join everything.

    Args:
        clips: a folder of videos, a run folder of `t2v generate` or `v2t world`, a manifest, or one video.
        prompts: rows with a prompt, or a text file with one a line in the order of the clips' ids.
        captions: caption records, as `v2t caption` writes them; of two with one id the later is used. A clip that a
            person rejected is left out and counted as `captions_rejected`.
        references: texts that describe the clips correctly.
        truth: a manifest with facts, questions, or any other field a metric reads.
        answers: rows of id, question and answer; each question of the truth, or of these rows, is a sample.
        reference_clips: a second set, for distances between sets; read as `clips`.
        reference_videos: for each clip its reference, compared frame by frame; read as `clips`, joined by id.
        names: "vbench": clips are named PROMPT-NUMBER, which gives their prompts.
        limit: number of samples, the first ones.

    Raises:
        UsageError: a file cannot be read, a name matches two clips, numbers of prompts and clips differ.
        NothingMatchedError: there is nothing to score, or a file has no row for any clip.
    """
    if names not in NAMINGS:
        raise UsageError(f"names must be one of {', '.join(NAMINGS)}, not {names!r}")
    given = {"clips": clips, "prompts": prompts, "captions": captions, "references": references, "truth": truth,
             "answers": answers, "reference_clips": reference_clips, "reference_videos": reference_videos}  # fmt: skip
    sources = {role: printable(path.name or str(path)) for role, path in given.items() if path is not None}
    counts: Counter[str] = Counter()
    if answers is not None:
        if clips or captions or prompts or references:
            raise UsageError("answers are scored by themselves, with --truth or with the references in their rows")
        samples = read_questions(answers, truth, counts)
    else:
        rows = None if captions is None else _captions(captions, counts)
        samples = _expected_samples(clips, truth, references, rows, names)
        _add_truth(samples, truth, counts)
        rejected = _add_captions(samples, rows, captions, counts)
        _add_prompts(samples, prompts, names, counts)
        _add_references(samples, references, counts)
        _add_reference_videos(samples, reference_videos, counts)
        _cluster(samples)
        samples = [sample for sample in samples if sample.id not in rejected]  # now: prompts may be counted by lines
    samples.sort(key=lambda sample: sample.id)
    samples = samples[: len(samples) if limit is None else limit]
    if not samples:
        raise NothingMatchedError(
            "there is nothing to score", hint="name clips, or --captions, --references, --answers"
        )
    second = sorted(_clips(reference_clips), key=lambda sample: sample.id) if reference_clips is not None else []
    shown = clips or (truth if answers is None else None)  # captions alone are shown beside the clips of their truth
    counts["samples"], root = len(samples), None if shown is None else _root(shown)
    return Inputs(samples=samples, references=second, sources=sources, counts=dict(counts), clips_root=root)


# --- clips


def _root(place: Path) -> Path:
    return place if place.is_dir() else place.parent


def _clips(place: Path) -> list[Sample]:
    """Samples of a folder, a manifest or a video."""
    manifest = place / MANIFEST if place.is_dir() else place
    if manifest.suffix == ".jsonl" and manifest.is_file():
        samples = [_from_row(row, manifest) for row in read_manifest(manifest)]
        failures = manifest.parent / FAILURES
        if place.is_dir() and failures.is_file():  # clips a generator could not make are expected all the same
            known = {sample.id for sample in samples}
            rows = [row for row in read_rows(failures) if isinstance(row.get("id"), str) and row["id"] not in known]
            samples += [Sample(id=row["id"], prompt=row.get("prompt"), row=row) for row in rows]
        if not samples:
            raise NothingMatchedError(f"{printable(str(manifest))} has no row")
        return samples
    return [
        Sample(
            id=each.id,
            clip=SampleClip(content="", path=Path(each.file), start_s=each.start_s, end_s=each.end_s),
            row={"id": each.id, "path": each.path},
        )
        for each in discover([str(place)])
    ]


def _from_row(row: Row, manifest: Path) -> Sample:
    clip = SampleClip(content="", path=clip_path(manifest, row), start_s=row.get("start_s"), end_s=row.get("end_s"))
    prompt = row.get("prompt")
    references = tuple(references_of({"captions": row.get("captions")}))
    return Sample(id=row["id"], clip=clip, prompt=prompt if isinstance(prompt, str) else None, references=references,
                  first_frame=_first_frame(row, manifest), row=row)  # fmt: skip


def _first_frame(row: Row, beside: Path) -> SampleClip | None:
    """The picture that a row names as `image`, in or below the folder of its file; None where it names none."""
    image = row.get("image")
    if not isinstance(image, str) or not image:
        return None
    pure = PurePosixPath(image)
    is_inside = not pure.is_absolute() and ".." not in pure.parts
    return SampleClip(content="", path=beside.parent / unescape_name(image)) if is_inside else None


def _expected_samples(
    clips: Path | None, truth: Path | None, references: Path | None, captions: Sequence[Row] | None, names: str
) -> list[Sample]:
    """One sample for every expected item."""
    if clips is not None:
        if not clips.exists():
            raise NothingMatchedError(f"no file or folder {printable(str(clips))}")
        samples = _clips(clips)
        if names == "vbench":
            for sample in samples:
                sample.prompt = sample.prompt or prompt_and_index(str(sample.row.get("path") or sample.id))[0]
        return samples
    if truth is not None:
        return [Sample(id=row["id"], row=row) for row in read_manifest(truth)]
    rows = read_rows(references) if references is not None else captions or []
    ids = dict.fromkeys(named[0] for row in rows if (named := names_of(row)))
    return [Sample(id=id, row={"id": id}) for id in ids]


# --- data of clips


def _add_truth(samples: list[Sample], truth: Path | None, counts: Counter[str]) -> None:
    if truth is None:
        return
    joined = SampleRows(samples, list(read_manifest(truth)), truth, "truth")
    for sample, row in joined.pairs:
        sample.row = {**sample.row, **{key: value for key, value in row.items() if key not in _ITS_OWN}}
        sample.prompt = sample.prompt or (row["prompt"] if isinstance(row.get("prompt"), str) else None)
        sample.references = sample.references or tuple(references_of({"captions": row.get("captions")}))
    joined.report(counts)


def _captions(path: Path, counts: Counter[str]) -> list[Row]:
    """Caption records, the last of each name."""
    records: dict[str, Row] = {}
    rows = read_rows(path)
    for number, row in enumerate(rows, 1):
        names = names_of(row)
        if not names:
            raise UsageError(f"{printable(str(path))}, row {number}: a caption record needs an id")
        records[names[0]] = row
    if len(rows) > len(records):
        counts["captions_repeated"] = len(rows) - len(records)
    return list(records.values())


def _add_captions(
    samples: list[Sample], rows: Sequence[Row] | None, path: Path | None, counts: Counter[str]
) -> set[str]:
    """Returns the ids of clips that a person rejected."""
    if rows is None or path is None:
        return set()
    joined = SampleRows(samples, rows, path, "captions")
    if rejected := {sample.id for sample, record in joined.pairs if is_rejected(record)}:
        counts["captions_rejected"] = len(rejected)
        joined.leave_out(rejected)
    failed = 0
    for sample, record in joined.pairs:
        text = record.get("caption")
        more: Row = {}
        if isinstance(record.get("style"), str):
            more["style"] = record["style"]
            named = sample.row.get("captions")
            if isinstance(named, dict) and record["style"] in named:  # references of the same style
                sample.references = tuple(texts_of(named, record["style"]))
        if record.get("segments"):
            more["events"] = record["segments"]
            more |= _reference_events(sample.row)
        if record.get("status", "ok") == "ok" and isinstance(text, str):
            sample.caption = text
        else:
            failed += 1
            more["error"] = record.get("error") or {"code": "NO_CAPTION", "message": "the record holds no caption"}
        sample.row = {**sample.row, **more}
    if failed:
        counts["captions_failed"] = failed
    joined.report(counts)
    return rejected


def _reference_events(row: Mapping[str, Any]) -> Row:
    """The events in the timed caption of a manifest of `v2t world`."""
    named = row.get("captions")
    texts = texts_of(named.get("timed"), "timed") if isinstance(named, dict) else []
    return {"reference_events": timed_lines(texts[0], math.inf)} if texts else {}


def _add_prompts(samples: list[Sample], path: Path | None, names: str, counts: Counter[str]) -> None:
    if path is None:
        return
    rows = read_rows(path)
    if path.suffix == ".txt":
        if len(rows) != len(samples):
            raise UsageError(
                f"{printable(str(path))} has {len(rows)} prompts for {len(samples)} clips",
                hint="one line for each clip in the order of ids, or a .jsonl or .csv with ids",
            )
        for sample, row in zip(sorted(samples, key=lambda sample: sample.id), rows, strict=True):
            sample.prompt = row["prompt"]
        counts["with_prompts"] = len(samples)
        return
    rows = [{**row, "prompt": prompt_of(row, path, number)} for number, row in enumerate(rows, 1)]
    if names == "vbench":
        by_prompt = {row["prompt"]: row for row in rows}
        rows = [{**by_prompt[s.prompt], "id": s.id} for s in samples if s.prompt in by_prompt]
    joined = SampleRows(samples, rows, path, "prompts")
    prompt_by_id: dict[str, str] = {}
    for sample, row in joined.pairs:
        prompt = row["prompt"]
        if prompt_by_id.setdefault(sample.id, prompt) != prompt:
            raise UsageError(f"{printable(str(path))}: two prompts for {printable(sample.id)}", code="AMBIGUOUS")
        sample.prompt = prompt
        asked = {"asked": requirements_of(row)} if row.get("auxiliary_info") else {}
        sample.row = {**row, **asked, **sample.row}
        sample.first_frame = sample.first_frame or _first_frame(row, path)
    joined.report(counts)


def _add_references(samples: list[Sample], path: Path | None, counts: Counter[str]) -> None:
    if path is None:
        return
    joined = SampleRows(samples, read_rows(path), path, "references")
    by_id: dict[str, list[str]] = {}
    events: dict[str, Any] = {}
    for sample, row in joined.pairs:
        by_id.setdefault(sample.id, []).extend(references_of(row, str(sample.row.get("style") or "short")))
        listed = row.get("reference_events") or row.get("segments")
        if listed:
            events[sample.id] = listed
    for sample in samples:
        sample.references = tuple(by_id.get(sample.id, ()))
        if sample.id in events:
            sample.row = {**sample.row, "reference_events": events[sample.id]}
    joined.report(counts)


def _add_reference_videos(samples: list[Sample], place: Path | None, counts: Counter[str]) -> None:
    if place is None:
        return
    rows: list[Row] = [{"id": s.id, "path": str(s.row.get("path") or s.id), "clip": s.clip} for s in _clips(place)]
    joined = SampleRows(samples, rows, place, "reference_videos")
    for sample, row in joined.pairs:
        sample.reference_video = row["clip"]
    joined.report(counts)


def _cluster(samples: list[Sample]) -> None:
    """Clips of one prompt, and parts of one file, are not independent."""
    files = Counter(sample.clip.path for sample in samples if sample.clip is not None)
    for sample in samples:
        shared = sample.clip is not None and files[sample.clip.path] > 1
        sample.cluster = sample.prompt or (str(sample.row.get("path") or sample.id) if shared else sample.id)


_NAME = re.compile(r"(?P<prompt>.+?)(?:-(?P<index>\d+)(?:-Scene-\d+)?|-Scene-\d+)(?:_\d+)?")


def prompt_and_index(path: str | Path) -> tuple[str, int]:
    """The prompt and the number of its clip; pieces of VBench-Long (`-0_003`, `-Scene-1_000`) are understood.

    Raises:
        UsageError: the name does not end in a number.
    """
    match = _NAME.fullmatch(Path(path).stem)
    if match is None:
        raise UsageError(
            f"{Path(path).name} is not named as VBench names its videos",
            hint="PROMPT-INDEX.mp4, such as 'a cat eats-0.mp4', or give the prompts with --prompts",
        )
    return match["prompt"], int(match["index"] or 0)


def read_questions(answers: Path, truth: Path | None, counts: Counter[str]) -> list[Sample]:
    """The questions of the truth, or else of the answers' own rows.

    Raises:
        UsageError: a file cannot be read, or an answer lacks id or question.
        NothingMatchedError: no answer belongs to a question.
    """
    given: dict[tuple[str, str], Row] = {}
    for number, row in enumerate(read_rows(answers), 1):
        lacking = [key for key in ("id", "question") if not isinstance(row.get(key), str)]
        if lacking or "answer" not in row:
            raise UsageError(f"{printable(str(answers))}, row {number}: an answer needs id, question, answer")
        counts["answers_repeated"] += (row["id"], row["question"]) in given
        given[row["id"], row["question"]] = row
    asked = list(given.values())
    if truth is not None:
        asked = [
            {**turn, "id": row["id"], "reference": turn.get("answer")}
            for row in read_manifest(truth)
            for turn in row.get("questions") or ()
        ]
    samples: list[Sample] = []
    numbers: Counter[str] = Counter()
    matched = 0
    for turn in asked:
        answered = given.get((turn["id"], turn["question"]))
        matched += answered is not None
        numbers[turn["id"]] += 1
        row = {**(answered or {}), **{key: value for key, value in turn.items() if key != "answer"}}
        answer = (answered or {}).get("answer")
        row["answer"] = answer if isinstance(answer, str) else None
        reference = row.get("reference")
        if "answers" not in row and isinstance(reference, str):
            row["answers"] = [reference]
        counts["answers_failed"] += answered is not None and row["answer"] is None
        samples.append(Sample(id=f"{turn['id']}#{numbers[turn['id']]}", row=row, cluster=turn["id"]))
    if not matched:
        raise NothingMatchedError(
            f"no answer of {printable(str(answers))} belongs to a question", hint="ids and questions must match"
        )
    counts["answered"] = matched - counts["answers_failed"]
    counts["unanswered"] = len(asked) - matched
    counts["answers_unmatched"] = len(given) - matched
    for name in [name for name, count in counts.items() if not count]:
        del counts[name]
    return samples
