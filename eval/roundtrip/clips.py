"""The clips of both sides: the generator's, generated or imported, and the ceiling's, rendered or imported.

In: a `RoundtripConfig` and the folder of the round trip. Out: `TripSide`s. `made/` is a run folder of `t2v generate`,
or existing clips under neutral names; `ceiling/made/` holds the world's renderings of the same prompts, or reference
clips. Clips that exist are not made again.
"""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cineloop.documents import json_lines
from cineloop.errors import ItemError, NothingMatchedError, UsageError
from cineloop.files import write_atomic
from cineloop.log import logger, printable
from cineloop.manifest import dump_line
from cineloop.world.language.read_text import parse_whole
from t2v.generate.prompts import plan
from t2v.generate.run import run as generate
from t2v.generate.settings import GenerateConfig
from v2t_eval.core.inputs import read_inputs
from v2t_eval.core.sample import Sample, SampleClip
from v2t_eval.roundtrip import leakage
from v2t_eval.roundtrip.result import Trip, TripSide
from v2t_eval.roundtrip.settings import RoundtripConfig

PROMPTS = "prompts.jsonl"
_OTHER_DRAWING = 1_000_003  # added to seeds, so that the ceiling of the generator `world` is another rendering
_LARGEST = 256  # pixels of the ceiling's shorter side
PromptRow = dict[str, Any]


def prompt_rows(config: RoundtripConfig) -> list[PromptRow]:
    """The prompts as rows of id, prompt, seed and, where they are known, facts.

    Raises:
        UsageError, NothingMatchedError: see `t2v.generate.prompts.plan`.
    """
    if config.world is not None:
        rows = _of_world(config)
    else:
        files = [text for text in config.prompts if text == "-" or text.endswith((".jsonl", ".txt")) or _is_file(text)]
        rows = []
        for clip in plan(
            [text for text in config.prompts if text not in files], files, GenerateConfig(seed=config.seed)
        ):
            if clip.request.image is not None:
                raise UsageError(f"{printable(clip.id)}: a first frame states more than the prompt: leave `image` out")
            row = {"id": clip.id, "prompt": clip.request.prompt, "seed": clip.request.seed}
            more = {"negative_prompt": clip.request.negative_prompt, "facts": clip.facts}
            rows.append(row | {key: value for key, value in more.items() if value})
    return rows[: config.limit]


def generator_side(rows: Sequence[PromptRow], config: RoundtripConfig, out: Path, *, show_progress: bool) -> TripSide:
    """The generator's clips of these prompts.

    Raises:
        KeyboardInterrupt: stopped; finished clips are kept. CineloopError: see `t2v.generate.run.run`.
    """
    settings = GenerateConfig(
        generator=config.generator, model=config.model, steps=config.steps, num_videos=config.num_videos,
        device=config.device, overwrite=config.overwrite,
    )  # fmt: skip
    return _generate_side("generator", rows, settings, out / PROMPTS, out / "made", show_progress)


def import_side(config: RoundtripConfig, out: Path) -> TripSide:
    """The user's existing clips.

    Raises:
        UsageError, NothingMatchedError: see `v2t_eval.core.inputs.read_inputs`; or no clip has a prompt.
    """
    prompts = Path(config.prompts[0]) if config.prompts else None
    inputs = read_inputs(config.clips, prompts=prompts, limit=config.limit)
    without = [sample.id for sample in inputs.samples if not sample.prompt]
    if len(without) == len(inputs.samples):
        raise NothingMatchedError("no clip has a prompt", hint="give a file of prompts, or a manifest with prompts")
    side = _link_side("generator", [sample for sample in inputs.samples if sample.prompt], out / "made")
    if without:
        side.notes.append(f"{len(without)} clips without a prompt were left out, for example {printable(without[0])}")
    return side


def world_side(
    rows: Sequence[PromptRow], side: TripSide, config: RoundtripConfig, out: Path, *, show_progress: bool
) -> TripSide | None:
    """The world's exact clip of each prompt that it can read, one a prompt; None if it can read none.

    Raises:
        KeyboardInterrupt: stopped; finished clips are kept.
    """
    wanted: dict[str, PromptRow] = {}
    for row in rows:
        if parse_whole(row["prompt"]) is not None and row["prompt"] not in wanted:
            wanted[row["prompt"]] = {
                "id": leakage.neutral_name(row["prompt"]),
                "prompt": row["prompt"],
                "seed": int(row.get("seed") or 0) + _OTHER_DRAWING,
            }
    if not wanted:
        return None
    height, width = _size(side)
    settings = GenerateConfig(generator="world", height=height, width=width, overwrite=config.overwrite)
    return _generate_side(
        "ceiling", list(wanted.values()), settings, out / "ceiling" / PROMPTS, out / "ceiling" / "made", show_progress
    )


def references(side: TripSide, config: RoundtripConfig, out: Path) -> TripSide:
    """Reference clips, joined to the generator's by id, else by prompt.

    Raises:
        NothingMatchedError: none belongs to a prompt.
    """
    by_id = {trip.id: trip.prompt for trip in side.trips}
    known = set(by_id.values())
    by_prompt: dict[str, Sample] = {}
    for sample in read_inputs(config.reference_clips).samples:
        prompt = by_id.get(sample.id) or (sample.prompt if sample.prompt in known else None)
        if prompt is not None and prompt not in by_prompt:
            sample.prompt = prompt
            by_prompt[prompt] = sample
    if not by_prompt:
        raise NothingMatchedError(
            f"no clip of {printable(str(config.reference_clips))} has the id or the prompt of a clip",
            hint="a manifest with the same ids, or with the same prompts",
        )
    return _link_side("ceiling", list(by_prompt.values()), out / "ceiling" / "made")


def _generate_side(
    name: str, rows: Sequence[PromptRow], settings: GenerateConfig, prompts: Path, folder: Path, show_progress: bool
) -> TripSide:
    lines = b"".join(dump_line(row) for row in rows)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / PROMPTS
        file.write_bytes(lines)
        summary = generate([], [str(file)], folder, settings, show_progress=show_progress)
        ids = [clip.id for clip in plan([], [str(file)], settings)]
    write_atomic(prompts, lines)  # once the generator took them: a refused run leaves nothing
    if summary.interrupted:
        raise KeyboardInterrupt
    samples = {sample.id: sample for sample in rows_of(folder)}
    side = TripSide(name=name, trips=[as_trip(samples[id], name) for id in ids if id in samples])
    side.about = _about([dict(samples[id].row) for id in ids if id in samples])
    return side


def rows_of(folder: Path) -> list[Sample]:
    """All clips of a run folder, failed ones included."""
    try:
        return read_inputs(folder).samples
    except NothingMatchedError:  # a manifest without a row: everything failed
        rows = [row for _, row in json_lines(folder / "failures.jsonl")]
        return [Sample(id=row["id"], prompt=row["prompt"], row=row) for row in rows]


def as_trip(sample: Sample, side: str) -> Trip:
    """The trip of a sample; a missing file is an error."""
    error, clip = sample.row.get("error"), sample.clip
    path = None if clip is None else clip.path
    if path is not None and not path.is_file():
        error, path = ItemError(f"no such file: {path.name}", code="NOT_FOUND").record(), None
    if clip is not None and path is not None:
        clip = SampleClip(content="", path=path, start_s=clip.start_s, end_s=clip.end_s)
    return Trip(
        id=sample.id,
        side=side,
        name=sample.id if path is None else path.stem,
        prompt=sample.prompt or "",
        clip=clip if path is not None else None,
        error=error,
    )


def _link_side(name: str, samples: Sequence[Sample], folder: Path) -> TripSide:
    """Link external clips under neutral names."""
    side = TripSide(name=name, about=_about([dict(sample.row) for sample in samples]))
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    revealing, tagged = [], 0
    for sample in samples:
        trip = as_trip(sample, name)
        side.trips.append(trip)
        source = trip.path
        if trip.clip is None or source is None:
            continue
        if leakage.reveals(source.stem, trip.prompt):
            revealing.append(source.name)
        target = folder / "clips" / f"{leakage.neutral_name(sample.id)}{source.suffix.lower()}"
        try:
            tagged += leakage.bring(source, target)
            trip.clip.path, trip.name = target, target.stem
        except (OSError, ValueError, IndexError) as error:
            trip.clip, trip.error = None, {"code": "UNREADABLE", "message": f"{source.name}: {error}", "hint": ""}
    side.notes.append(
        f"{len(revealing)} of {len(samples)} file names share two words or more with their prompt"
        + (f", for example {printable(revealing[0], 80)}" if revealing else "")
        + "; all clips are used under neutral names."
    )
    if tagged:
        side.notes.append(f"{tagged} files had text in their container's tags: it was removed.")
    if revealing or tagged:
        logger.warning("%s", " ".join(side.notes))
    return side


def _about(rows: Sequence[PromptRow]) -> dict[str, str]:
    """The generator of the clips, as far as all rows agree."""
    about: dict[str, str] = {}
    for key in ("generator", "model", "weights_sha256"):
        values = Counter(str(row[key]) for row in rows if row.get(key))
        if values:
            about[key] = next(iter(values)) if len(values) == 1 else f"{len(values)} different"
    steps = {row["settings"].get("steps") for row in rows if isinstance(row.get("settings"), dict)} - {None}
    return about | ({"steps": ", ".join(map(str, sorted(steps)))} if steps else {})


def _size(side: TripSide) -> tuple[int | None, int | None]:
    """(height, width) of the generator's clips, the shorter side at most `_LARGEST`; (None, None) if unknown."""
    from cineloop.video.worker import DecoderPool

    with DecoderPool(1) as pool:
        for trip in side.trips:
            if trip.path is not None:
                try:
                    info = pool.probe(trip.path)
                except ItemError:
                    continue
                scale = min(1.0, _LARGEST / min(info.height, info.width))
                return max(16, round(info.height * scale)), max(16, round(info.width * scale))
    return None, None


def _of_world(config: RoundtripConfig) -> list[PromptRow]:
    from cineloop.world.scenes.solo import prompt, sample_solo

    rows = []
    for index in range(config.world or 0):
        facts = sample_solo(config.split, config.seed, index).facts()
        text = prompt(facts, random.Random(f"roundtrip|{config.split}|{config.seed}|{index}"))
        id = f"{config.split}-{config.seed}-{index:05d}"
        rows.append({"id": id, "prompt": text, "seed": config.seed, "facts": facts})
    return rows


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # longer than a name may be: a prompt
        return False
