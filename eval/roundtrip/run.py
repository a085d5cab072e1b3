"""Run a round trip: prompts to clips to captions, and how much of the prompts is recovered.

In: a `RoundtripConfig` and a folder. Out: `RoundtripResult`, and in the folder every stage: `made/` (a run folder of
`t2v generate`), `captions/`, `ceiling/made/`, `ceiling/captions/`, the evidence of a scoring, then `roundtrip.json`,
`report.md` and `report.html`. Each stage keeps its finished items, so that the same command continues after a stop; a
stage refuses items made with other settings.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from cineloop.errors import Notice
from cineloop.files import write_atomic
from cineloop.interrupt import Stopping
from cineloop.log import logger, printable
from cineloop.manifest import write_manifest
from cineloop.run_folder import STATE, RunFolder
from v2t.backends import VideoLM
from v2t.caption.run import read_records
from v2t.caption.run import run as caption
from v2t.caption.settings import CaptionConfig
from v2t_eval.core.measurement import UNAUDITED
from v2t_eval.core.models import on_device
from v2t_eval.core.sample import Sample
from v2t_eval.judge.judge import Judge, open_judge
from v2t_eval.report import markdown, page
from v2t_eval.roundtrip import clips, figures, leakage, report
from v2t_eval.roundtrip.calibration import Pair, SampleKey, others
from v2t_eval.roundtrip.result import RoundtripResult, TripSide
from v2t_eval.roundtrip.scoring import means_same, pairs_of, score_pairs
from v2t_eval.roundtrip.settings import NUM_OTHERS, RoundtripConfig
from v2t_eval.semantics.prompt_questions import remarks
from v2t_eval.semantics.sources import GRAMMAR

RESULT, NAMES = "roundtrip.json", ("roundtrip.json", "report.md", "report.html")


def run(
    config: RoundtripConfig,
    out: Path,
    *,
    captioner: VideoLM | None = None,
    judge: Judge | None = None,
    show_progress: bool = False,
) -> RoundtripResult:
    """Run all stages and write the reports.

    Args:
        config: the settings. out: the folder, made when absent.
        captioner, judge: instances to use instead of those that the settings name.

    Raises:
        UsageError: settings that do not fit, or a stage holds clips or captions of other settings.
        NothingMatchedError: no prompts. MissingDependencyError: no such model.
        KeyboardInterrupt: stopped; every stage keeps its finished items.
    """
    with RunFolder(out), on_device(config.device):
        side, ceiling, notes = _clips(config, out, show_progress)
        for each, folder in ((side, out), (ceiling, out / "ceiling")):
            if each is not None:
                add_captions(each, config, folder, captioner=captioner, show_progress=show_progress)
        judge, unjudged = _judge(config, side, judge)
        prompts = side.prompts
        compared = others(len(prompts), NUM_OTHERS, lambda a, b: means_same(prompts[a], prompts[b]), config.seed)
        table: list[Pair] = []
        samples: dict[SampleKey, Sample] = {}
        for each in (side, ceiling):
            if each is not None:
                pairs, more = pairs_of(each, prompts, compared, config.questions)
                table += pairs
                samples |= more
        with Stopping() as stop:
            scores = score_pairs(samples, config, out / STATE, judge, stop=stop, show_progress=show_progress)
        result = figures.result_of(config, out, side, ceiling, table, scores, judge)
        result = replace(
            result,
            notes=(*notes, *unjudged, *remarks(prompts, config.questions), *result.notes),
            guards=tuple(_guards(config, side, judge)),
        )
        _write(result, out)
    return result


def plan(config: RoundtripConfig, out: Path) -> list[dict[str, str]]:
    """The planned items of a run: rows of id, prompt and action. Writes nothing."""
    if config.clips is not None:
        from v2t_eval.core.inputs import read_inputs

        prompts = Path(config.prompts[0]) if config.prompts else None
        samples = read_inputs(config.clips, prompts=prompts, limit=config.limit).samples
        return [{"id": one.id, "prompt": one.prompt or "", "action": "bring"} for one in samples]
    rows = clips.prompt_rows(config)
    made = set()
    if (out / "made" / "manifest.jsonl").exists():
        made = {
            trip.prompt
            for trip in (clips.as_trip(each, "generator") for each in clips.rows_of(out / "made"))
            if trip.clip is not None
        }
    return [
        {"id": row["id"], "prompt": row["prompt"], "action": "keep" if row["prompt"] in made else "make"}
        for row in rows
    ]


def _clips(config: RoundtripConfig, out: Path, show_progress: bool) -> tuple[TripSide, TripSide | None, list[str]]:
    """The clips of both sides, and notes."""
    if config.clips is not None:
        side = clips.import_side(config, out)
        rows = [{"id": trip.id, "prompt": trip.prompt, "seed": config.seed} for trip in side.trips]
    else:
        rows = clips.prompt_rows(config)
        side = clips.generator_side(rows, config, out, show_progress=show_progress)
    notes = [*side.notes]
    ceiling = None
    if config.reference_clips is not None:
        ceiling = clips.references(side, config, out)
        notes += [f"ceiling: {note}" for note in ceiling.notes]
    elif config.ceiling:
        ceiling = clips.world_side(rows, side, config, out, show_progress=show_progress)
        if ceiling is None:
            notes.append(
                "There is no ceiling: the cartoon world can draw none of the prompts and no reference clips were given "
                "(--reference-clips). Chance-corrected scores are of the theoretical best, 1."
            )
    else:
        notes.append("There is no ceiling, as requested: chance-corrected scores are of the theoretical best, 1.")
    if ceiling is not None:
        without = set(side.prompts) - {trip.prompt for trip in ceiling.captioned or ceiling.trips}
        if without:
            notes.append(
                f"{len(without)} prompts have no clip at the ceiling and are left out of the calibrated figures."
            )
    return side, ceiling, notes


def _judge(config: RoundtripConfig, side: TripSide, judge: Judge | None) -> tuple[Judge | None, list[str]]:
    """The judge of clips, and a note on prompts that it cannot be asked about. By default None where it could be asked
    about none of them."""
    if judge is None and (config.judge == "none" or (config.judge == "auto" and config.questions != GRAMMAR)):
        return None, []
    judge = judge or open_judge("v2t" if config.judge == "auto" else config.judge, device=config.device)
    prompts, notes = side.prompts, []
    unread = {prompt: why for prompt in prompts if config.questions == GRAMMAR and (why := judge.why_unread(prompt))}
    if unread:
        first = printable(next(iter(unread.values())), 200)
        notes.append(
            f"{UNAUDITED}: the clips of {len(unread)} of {len(prompts)} prompts are asked nothing and count neither as "
            f"right nor as wrong, for example: {first}. Name a --judge that knows these words."
        )
    if config.judge == "auto" and len(unread) == len(prompts):
        return None, notes
    judge.load()
    return judge, notes


def _guards(config: RoundtripConfig, side: TripSide, judge: Judge | None) -> list[str]:
    lines = ["Captioner and judge got files under neutral names, without prompts, ids or tags."]
    if config.clips is None:
        tagged = [trip.name for trip in side.trips if trip.path is not None and leakage.texts_of(trip.path)]
        lines.append(f"{len(tagged)} of the generated files have text in their container's tags.")
    name = None if judge is None else config.judge.partition(":")[2] or "starter"
    return [*lines, *leakage.warnings_for(config.captioner, name, side.about)]


def _write(result: RoundtripResult, out: Path) -> None:
    data = json.dumps(result.as_dict(), ensure_ascii=False, allow_nan=False, indent=1).encode("utf-8", "replace")
    write_atomic(out / RESULT, data + b"\n")
    document = report.document(result, out)
    write_atomic(out / "report.md", markdown.render(document).encode())
    write_atomic(out / "report.html", page.render(document, out))
    logger.info("look at %s", printable(str(out / "report.html")))


SHOWN = "shown.jsonl"


def add_captions(
    side: TripSide,
    config: RoundtripConfig,
    out: Path,
    *,
    captioner: VideoLM | None = None,
    show_progress: bool = False,
) -> None:
    """Caption clips without a caption and record captions and failures in the trips.

    Raises:
        KeyboardInterrupt: stopped; what was captioned is kept. CineloopError: see `v2t.caption.run.run`.
    """
    if not side.made:
        return
    rows = []
    for trip in side.made:
        if trip.clip is not None and trip.path is not None:
            spans = {"start_s": trip.clip.start_s, "end_s": trip.clip.end_s}
            row = {"id": trip.name, "path": trip.path.relative_to(out).as_posix()}
            rows.append(row | {key: second for key, second in spans.items() if second is not None})
    write_manifest(rows, out / SHOWN)
    settings = CaptionConfig(
        model=config.captioner, style=config.style, format=("jsonl",), device=config.device,
        overwrite=config.overwrite, retry_failed=config.retry_failed,
        on_outside="warn",  # generated clips count as they are; the report counts these warnings
    )  # fmt: skip
    summary = caption(
        [str(out / SHOWN)], out / "captions", settings, captioner=captioner, show_progress=show_progress
    )  # fmt: skip
    if summary.interrupted:
        raise KeyboardInterrupt
    records = {row["id"]: row for row in read_records(out / "captions")}
    for trip in side.made:
        record = records.get(trip.name, {"status": "failed"})
        trip.warnings = tuple(map(Notice.read, record.get("warnings") or ()))
        if record["status"] == "ok":
            trip.caption = record["caption"]
        else:
            trip.error = record.get("error") or {"code": "NO_CAPTION", "message": "the clip has no caption", "hint": ""}
