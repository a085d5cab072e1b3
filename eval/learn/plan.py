"""What a learning would draw, measure and how long it would take; nothing is kept.

In: a recipe, the folder it would work in. Out: `plan`, as data, and as a page. Seconds a clip are those of the clips in
the folder; where it has none, of one held-out clip that is drawn in a temporary folder. Judging and learning are
timed by the rounds in the folder, and not known before the first.
"""

from __future__ import annotations

from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from cineloop.documents import read_json
from cineloop.log import plural
from cineloop.manifest import dump_line, read_manifest
from t2v.train.rewarded import MANIFEST
from v2t_eval.core.scores import RESULTS
from v2t_eval.learn.draw import PROMPTS, draw, drawn_rows, first_model, held_out_rows
from v2t_eval.learn.measures import Measurer
from v2t_eval.learn.run import ROUND, check_recipe, measure_folder, round_folder
from v2t_eval.learn.settings import LearnConfig
from v2t_eval.report.document import Banner, Cell, Document, Section, Table


def plan(config: LearnConfig, out: Path) -> dict[str, Any]:
    """Rounds, measures, prompts, clips, metrics with their roles, and seconds.

    Raises:
        UsageError, MissingDependencyError, NothingMatchedError: as of `v2t_eval.learn.run.run`.
    """
    check_recipe(config, out)
    held_out = held_out_rows(config, out)
    rounds, measures = range(1, config.rounds + 1), config.measured_rounds
    drawn = [] if config.drawn is not None else [len(drawn_rows(config, out, number)) for number in rounds]
    done = [number for number in rounds if (round_folder(out, number) / ROUND).exists()]
    measured = [number for number in measures if (measure_folder(out, number) / RESULTS).exists()]
    clips = [prompts * config.num_videos for prompts in drawn]
    each = len(held_out) * config.held_out_videos
    left = sum(count for number, count in zip(rounds, clips, strict=False) if number not in done)
    left += each * (len(measures) - len(measured))
    seconds: dict[str, float | None] = {"clip": _of_a_clip(config, out, held_out) if left else None}
    timed = [read_json(round_folder(out, number) / ROUND)["seconds"] for number in done]
    for phase in ("judge", "learn"):
        seconds[phase] = fmean(one[phase] for one in timed) if timed else None
    seconds["left"] = (seconds["clip"] or 0.0) * left + (config.rounds - len(done)) * sum(
        seconds[phase] or 0.0 for phase in ("judge", "learn")
    )
    return {
        "schema": 1,
        "rounds": {"asked": config.rounds, "done": len(done), "prompts": drawn, "clips": clips},
        "measures": {"after_rounds": measures, "done": len(measured), "prompts": len(held_out), "clips": each},
        "metrics": Measurer(config).roles,
        "gate": config.gate,
        "clips_left": left,
        "seconds": seconds,
    }


def _of_a_clip(config: LearnConfig, out: Path, held_out: list[dict[str, Any]]) -> float:
    """Mean seconds of drawing a clip."""
    known = sorted(out.glob(f"*/drawn/{MANIFEST}"))
    if known:
        return fmean(row["seconds"] for path in known for row in read_manifest(path))
    with TemporaryDirectory() as folder:
        prompts = Path(folder) / PROMPTS
        prompts.write_bytes(dump_line(held_out[0]))
        made = Path(folder) / "drawn"
        draw(config, made, prompts, first_model(config), 1, config.seed, config.clips, lambda: False)
        return float(fmean(row["seconds"] for row in read_manifest(made / MANIFEST)))


def page(planned: dict[str, Any]) -> Document:
    """The plan for a reader."""
    rounds, measures, seconds = planned["rounds"], planned["measures"], planned["seconds"]
    rows: list[tuple[Cell, ...]] = [
        ("rounds", rounds["asked"], rounds["done"], sum(rounds["clips"]) or "clips that are there"),
        ("measures", len(measures["after_rounds"]), measures["done"],
         measures["clips"] * len(measures["after_rounds"])),
    ]  # fmt: skip
    about = (
        f"about {seconds['left'] / 60:.0f} min" if seconds["left"] < 7200 else f"about {seconds['left'] / 3600:.1f} h"
    )
    if seconds["judge"] is None:
        about += f" of drawing ({seconds['clip'] or 0:.3g} s a clip); judging and learning are timed by the first round"
    after = ", ".join(map(str, measures["after_rounds"][1:]))
    lines = (
        f"A round draws for {max(rounds['prompts'])} prompts, none of which is held out." if rounds["prompts"] else
        "The clips of the round are given.",
        f"Measured at the start and after round {after}, on {plural(measures['prompts'], 'held-out prompt')}, "
        f"{plural(measures['clips'], 'clip')} each time.",
        f"Gate at the end: {planned['gate'] or 'none'}.",
    )  # fmt: skip
    return Document(
        title="What would be learnt from",
        banner=Banner(word="planned", sentence=f"{plural(planned['clips_left'], 'clip')} to draw, {about}. "
                      "Nothing was written."),
        sections=(
            Section(title="Course", text=lines),
            Section(title="What would be drawn",
                    tables=(Table(columns=("Stage", "Number", "Done", "Clips"), rows=tuple(rows)),)),
            Section(title="What would be measured",
                    tables=(Table(columns=("Metric", "Role"), rows=tuple(planned["metrics"].items())),)),
        ),
    )  # fmt: skip
