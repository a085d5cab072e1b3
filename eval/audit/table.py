"""Sensitivity table of metric by fault, from clean and corrupted clips through the scoring.

In: clean clips, metrics of single clips. Out: `FaultResponse` rows. A clip is measured once clean and once for every
fault and severity; evidence is cached as in any scoring. A metric that gives a frozen clip no value (VBench's in mode
fixed) is shown with its raw value, to see whether it is fooled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from v2t_eval.audit.clips import AuditClip, WorldAuditClip
from v2t_eval.audit.faults import FAULTS, SEVERITIES
from v2t_eval.audit.record import Cell, FaultResponse
from v2t_eval.audit.sensitivity import cell
from v2t_eval.core.metric import MetricResult
from v2t_eval.core.sample import Sample
from v2t_eval.core.scores import Scores

PROMPT = "prompt"
OF_PICTURE = ("hue",)  # replaces another colour where it is not
USUAL = ("subject_consistency", "background_consistency", "temporal_flickering", "motion_smoothness", "dynamic_degree",
         "ssim_consistency", "warping_error", "camera_motion", "first_frame_fidelity", "sharpness", "motion", "clipsim",
         "question_score", "vqascore")  # fmt: skip
SAYS = {
    **{name: fault.says for name, fault in FAULTS.items()},
    "color": "the figure has another color, rendered anew",
    "drop": "the figure is not there in the last part of the clip, rendered anew; at 5 in all of it",
    PROMPT: "the prompt of another clip",
}
MP4 = ", through mp4"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One clip with one fault at one severity, and the sample it is scored as."""

    clip: AuditClip
    fault: str
    severity: int
    sample: Sample


def faults_of(clip: AuditClip) -> dict[str, tuple[int, ...]]:
    """The faults that can be planted in a clip, with their severities; that of the prompt comes last."""
    severities = {name: fault.severities for name, fault in FAULTS.items() if name not in OF_PICTURE}
    if isinstance(clip.source, WorldAuditClip):
        severities |= {"color": (5,), "drop": SEVERITIES}
    else:
        severities |= {name: FAULTS[name].severities for name in OF_PICTURE}
    return severities | ({PROMPT: (5,)} if clip.prompt else {})


def others_prompt(clips: Sequence[AuditClip]) -> dict[str, str]:
    """For each clip with a prompt that of the next one that has another; none where all are the same."""
    prompted = [clip for clip in clips if clip.prompt]
    partners = {}
    for number, clip in enumerate(prompted):
        after = [*prompted[number + 1 :], *prompted[:number]]
        other = next((each.prompt for each in after if each.prompt != clip.prompt), None)
        if other:
            partners[clip.id] = other
    return partners


def cases(clips: Sequence[AuditClip], *, codec: bool = False) -> list[Case]:
    """Every clip clean (fault "") and with every fault, clip by clip; with `codec` all of it again through mp4."""
    prompts = others_prompt(clips)
    listed = []
    for clip in clips:
        for mp4 in (False, True) if codec else (False,):
            todo = [("", 0), *((fault, s) for fault, severities in faults_of(clip).items() for s in severities)]
            for fault, severity in todo:
                if fault == PROMPT and clip.id not in prompts:
                    continue
                prompt = prompts[clip.id] if fault == PROMPT else None
                planted = "" if fault == PROMPT else fault
                sample = clip.sample(planted, severity, codec=mp4, prompt=prompt)
                listed.append(Case(clip=clip, fault=fault + (MP4 if mp4 else ""), severity=severity, sample=sample))
    return listed


def rows(scores: Scores, planted: Sequence[Case]) -> tuple[list[FaultResponse], list[str]]:
    """The table, metric by metric, and notes on it."""
    table, notes = [], []
    for result in scores.results:
        values, shown_raw = _values(result)
        if shown_raw:
            notes.append(
                f"{result.name}: {shown_raw} corrupted clips in which nothing moves get no value and cannot pass by "
                "it; the table shows the raw value"
            )
        for fault in dict.fromkeys(case.fault for case in planted):
            base = fault.endswith(MP4)
            if fault in ("", MP4):
                continue
            one = one_cell(values, planted, MP4 if base else "", fault)
            if one is None:
                notes.append(f"{result.name} has no value for two clips or more under {fault}")
                continue
            mark = one.mark(result.higher_is_better)
            table.append(FaultResponse(metric=result.name, fault=fault, mark=mark, cell=one))
    return table, notes


def one_cell(values: dict[str, float], planted: Sequence[Case], clean: str, fault: str) -> Cell | None:
    """The cell over the clips that have a value clean and at every severity; None where fewer than two have."""
    first = {case.clip.id: case for case in planted if case.fault == clean}
    corrupted: dict[int, dict[str, Case]] = {}
    for case in planted:
        if case.fault == fault:
            corrupted.setdefault(case.severity, {})[case.clip.id] = case
    columns = [first, *(corrupted[severity] for severity in sorted(corrupted))]
    whole = [id for id in first if all(id in column and column[id].sample.id in values for column in columns)]
    if len(whole) < 2:
        return None
    numbers = [[values[column[id].sample.id] for id in whole] for column in columns]
    return cell(numbers[0], numbers[1:], [first[id].clip.cluster for id in whole])


def _values(result: MetricResult) -> tuple[dict[str, float], int]:
    """The value of each sample, and how many of them are raw values that do not count."""
    by_id, num_raw = {}, 0
    for item in result.items:
        value = item.get("value")
        if value is None and item.get("raw") is not None:
            value, num_raw = item["raw"], num_raw + 1
        if value is not None:
            by_id[str(item["id"])] = float(value)
    return by_id, num_raw
